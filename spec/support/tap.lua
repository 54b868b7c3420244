-- SPDX-License-Identifier: MIT
-- busted's results as TAP, for spec/run: one line a test as soon as it has ended, before it what it is (so that a crash
-- has a name) and why it failed. Unlike busted's own it survives errors that have no place, such as a syntax error.
local busted = require("busted")
local base = require("busted.outputHandlers.base")
local pretty = require("pl.pretty")

local write, flush = io.write, io.flush

local function comment(text)
  write("# ", (tostring(text):gsub("\n+$", ""):gsub("\n", "\n# ")), "\n")
end

return function()
  local handler = base()
  local count = 0

  local function explain(result)
    local message = result.message
    comment(type(message) == "string" and message or message == nil and "nil was raised" or pretty.write(message))
    if result.trace and result.trace.traceback then
      comment((result.trace.traceback:gsub("^\n+", "")))
    end
  end

  local function report(status, name)
    count = count + 1
    write(status, " ", count, " - ", (name:gsub("%s+", " ")), "\n")
    flush()
  end

  local function on_test_start(element)
    comment("running: " .. handler.getFullName(element))
    flush()
    return nil, true
  end

  local function on_test_end(element, _, status)
    local name = handler.getFullName(element)
    if status == "success" then
      report("ok", name)
    elseif status == "pending" then
      report("ok", name .. " # SKIP")
    else
      local list = status == "failure" and handler.failures or handler.errors
      explain(list[#list])
      report("not ok", name)
    end
    return nil, true
  end

  -- What goes wrong outside a test: in a file, a describe, a setup or a teardown.
  local function on_error(element)
    if element.descriptor ~= "it" then
      local result = handler.errors[#handler.errors]
      explain(result)
      report("not ok", element.descriptor .. " " .. tostring(result.name or element.name or ""))
    end
    return nil, true
  end

  local function on_suite_end()
    write("1..", count, "\n")
    flush()
    return nil, true
  end

  busted.subscribe({ "test", "start" }, on_test_start)
  busted.subscribe({ "test", "end" }, on_test_end)
  busted.subscribe({ "error" }, on_error)
  busted.subscribe({ "suite", "end" }, on_suite_end)
  return handler
end
