-- SPDX-License-Identifier: MIT
-- The command line: finds the command, reads its flags, runs it. Exit status: 0 done, 1 failed, 2 wrong use.

local args = require("sluice.cli.args")
local nearest = require("sluice.nearest")

local cli = {}

local OK, FAILED, WRONG_USE = 0, 1, 2

-- A command is a module sluice.cli.<name>; see sluice.cli.args for what it returns.
local COMMANDS = { "serve", "check", "init", "listen", "tap", "publish", "token" }
cli.COMMANDS = COMMANDS

local function load_command(name)
  for _, known in ipairs(COMMANDS) do
    if known == name then return require("sluice.cli." .. name) end
  end
  return nil
end

local function overview()
  local rows = {}
  for i, name in ipairs(COMMANDS) do
    local command = load_command(name)
    rows[i] = { args.usage(command):gsub("^sluice ", ""):gsub(" %[flags%]", ""), command.summary }
  end
  rows[#rows + 1] = { "help COMMAND", "Shows the help of a command, as COMMAND --help does." }
  return "usage: sluice COMMAND [flags] [arguments]\n\nA Server-Sent Events server, programmed in Lua.\n\nCommands:\n"
    .. args.columns(rows)
    .. "\nFlags:\n" .. args.columns({ { "--help", "Shows this help." }, { "--version", "Shows the version." } })
end

-- The flags of all commands by name, to tell a flag's value from the command in `sluice --config FILE serve`.
local function takes_value(word)
  local wanted = word:match("^%-%-([^=]+)$")
  if not wanted then return false end
  for _, name in ipairs(COMMANDS) do
    for _, flag in ipairs(load_command(name).flags) do
      if flag.name == wanted then return flag.value ~= nil end
    end
  end
  return false
end

-- Splits words into the command's name (nil where there is none) and the words before and after it.
local function split(words)
  local rest, name = {}, nil
  local i = 1
  while i <= #words do
    local word = words[i]
    if not name and word:sub(1, 1) ~= "-" then
      name = word
    else
      rest[#rest + 1] = word
      if not name and takes_value(word) and words[i + 1] then
        i = i + 1
        rest[#rest + 1] = words[i]
      end
    end
    i = i + 1
  end
  return name, rest
end

local function core_module()
  local ok, core = pcall(require, "sluice.core")
  if not ok then
    local reason = tostring(core):gsub(":?\n\tno f.*$", ""):gsub("%s*\n%s*", " ") -- without the list of places looked at
    error({ message = "cannot load the module sluice.core (in the source tree, `make` builds it): " .. reason }, 0)
  end
  return core
end

-- What commands work with, so that specs can put something else in its place:
--   print(line)    writes a line of the result to standard output; returns OK, or FAILED where it cannot be written
--   fail(message)  says on standard error why it failed; returns FAILED
--   read_all()     the whole of standard input, or nil
--   getenv(name)   an environment variable
--   core(), sluice()  the modules sluice.core and sluice; they end the command with a clear message where not to be had
local function default_context()
  local context = { getenv = os.getenv, core = core_module }
  io.stdout:setvbuf("line")
  function context.write(text) return io.stdout:write(text) and io.stdout:flush() end
  function context.warn(line) io.stderr:write(line, "\n") end
  function context.read_all() return io.stdin:read("a") end
  function context.sluice()
    core_module()
    return require("sluice")
  end
  return context
end

local function complete(context)
  local result = default_context()
  for name, value in pairs(context or {}) do result[name] = value end
  function result.print(line)
    if result.write(line .. "\n") then return OK end
    return result.fail("cannot write to standard output")
  end
  function result.fail(message)
    result.warn("sluice: " .. tostring(message))
    return FAILED
  end
  return result
end

local function wrong_use(context, message)
  context.warn("sluice: " .. message)
  return WRONG_USE
end

local function show(context, text)
  return context.print((text:gsub("\n$", "")))
end

local function unknown_command(context, name)
  local best = nearest.resembling(name, COMMANDS)
  return wrong_use(context, ('unknown command "%s"%s'):format(name,
    best and ("; did you mean %s?"):format(best) or " (see sluice --help)"))
end

local function dispatch(context, words)
  local name, rest = split(words)
  if name == "help" then
    if not rest[1] then return show(context, overview()) end
    local command = load_command(rest[1])
    if not command then return unknown_command(context, rest[1]) end
    return show(context, args.help(command))
  end
  if not name then
    if rest[1] == "--help" or rest[1] == "-h" then return show(context, overview()) end
    if rest[1] == "--version" then return show(context, "sluice " .. require("sluice.version")) end
    local flag = rest[1] and ("unknown flag %s, and "):format(rest[1]) or ""
    return wrong_use(context, flag .. "no command (see sluice --help)")
  end
  local command = load_command(name)
  if not command then return unknown_command(context, name) end
  local arguments, given = args.parse(command, rest)
  if not arguments then return wrong_use(context, given) end
  if given.help then return show(context, args.help(command)) end
  return command.run(context, arguments, given)
end

-- Runs the command that `words` (a list of strings, without the program's name) ask for and returns the exit status.
-- `context` replaces parts of the one above (write, warn, read_all, getenv, core, sluice); nil for the process's own.
-- Never raises.
function cli.main(words, context)
  context = complete(context)
  local ok, status = xpcall(dispatch, function(problem)
    if type(problem) == "table" and problem.message then return problem end
    return { message = "internal error: " .. debug.traceback(tostring(problem), 2) }
  end, context, words)
  if ok then return status end
  return context.fail(status.message)
end

return cli
