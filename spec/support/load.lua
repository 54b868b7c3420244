-- SPDX-License-Identifier: MIT
-- Runs spec/support/load.c, the client for what is too much for one in Lua. It is built when it is first needed.
local json = require("cjson")
local process = require("spec.support.process")
local socket = require("socket")

local load = {}

local program

local function build()
  if program then
    return program
  end
  local status, output, errors = process.run({ "cmake/build.sh", "release", "load" }, { timeout = 300 })
  assert(status == 0, output .. errors)
  local pipe = assert(io.popen("pwd"))
  program = pipe:read("l") .. "/build/release/spec/c/load"
  pipe:close()
  return program
end

-- Starts it with these arguments (see load.c). Returns the process.
function load.start(...)
  return process.spawn({ build(), ... }, { stubborn = true })
end

-- The lines that it has printed so far, as tables.
function load.results(child)
  local list = {}
  for line in child:output():gmatch("([^\n]+)\n") do
    list[#list + 1] = json.decode(line)
  end
  return list
end

-- Waits until it has printed a line with this member and returns it. Calls `watch` with every line before, as it comes.
function load.wait(child, member, seconds, watch)
  local deadline = socket.gettime() + seconds
  local seen = 0
  while true do
    local over = not child:is_running() -- before the last look
    local results = load.results(child)
    while seen < #results do
      seen = seen + 1
      if results[seen][member] then
        return results[seen]
      end
      if watch then
        watch(results[seen])
      end
    end
    if over or socket.gettime() > deadline then
      error(("load: no %s (%s): %s"):format(member, over and "it has ended" or "still running", child:errors()), 2)
    end
    socket.select(nil, nil, 0.02)
  end
end

return load
