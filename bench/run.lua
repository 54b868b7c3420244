#!/usr/bin/env lua5.4
-- SPDX-License-Identifier: MIT
-- The benchmark: starts each server on one core and the load generator on another, several runs of each case in turn, prints tables
-- and writes one JSON file. Exit status 0 only when every message of every run came once and in order.
local USAGE = [[
usage: bench/run.lua [quick|full] [--runs N] [--json FILE] [CASE]...

  quick  in less than three minutes, to see where one stands; full in less than forty, for figures to quote
  CASE   only these: fan (or one crowd, as fan-1000), channels, workers, on-message, stuck, replay, publish, connect, memory, gzip, cluster
  FILE   takes all results (build/bench/quick.json or full.json)
]]

local cjson = require("cjson")
local lfs = require("lfs")

assert(lfs.chdir((arg[0]:match("^(.*)/") or ".") .. "/.."))
package.path = "./?.lua;" .. package.path

local cases = require("bench.cases")
local process = require("spec.support.process")
local report = require("bench.report")
local servers = require("bench.servers")
local socket = require("socket")

local SPARE_FILES = 160    -- what a process needs beside the streams
local LOAD_SECONDS = 180   -- a run that takes longer has failed
local QUIET = 0.3          -- load average at which figures mean something
local PAUSE = 0.2          -- between runs

-- The first line a command prints, or nil.
local function line_of(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local line = pipe:read("l")
  pipe:close()
  return line ~= "" and line or nil
end

local function say(...)
  io.stderr:write(string.format(...), "\n")
end

-- --- the machine ------------------------------------------------------------------------------------

local function cores()
  return math.tointeger(tonumber(line_of("nproc --all"))) or 1
end

local function files_limit()
  local limit = line_of("ulimit -Hn")
  return limit == "unlimited" and 1048576 or math.tointeger(tonumber(limit))
end

local function load_average()
  return tonumber((process.read_file("/proc/loadavg") or "0"):match("^%S+"))
end

local function machine()
  return {
    at = os.date("!%Y-%m-%dT%H:%M:%SZ"),
    cpu = (process.read_file("/proc/cpuinfo") or ""):match("model name%s*:%s*([^\n]*)"),
    cores = cores(),
    kernel = line_of("uname -srm"),
    lua = line_of("lua5.4 -v"),
    nginx = line_of("(/usr/sbin/nginx -v 2>&1)"),
    nchan = line_of("dpkg-query -W -f '${Version}' libnginx-mod-nchan"),
    libuv = line_of("pkg-config --modversion libuv"),
    compiler = line_of("cc --version"),
    sluice = line_of("git describe --always --dirty") or require("lua.sluice.version"),
    load_average = load_average(),
  }
end

-- --- a run ------------------------------------------------------------------------------------------

-- Ends a server and forgets its files.
local function stop()
  for _, complaint in ipairs(process.cleanup()) do
    say("  %s", complaint)
  end
end

local function load_words(context, case, server, port, pids, more)
  local words = {
    "prlimit", ("--nofile=%d:%d"):format(context.files, context.files), "taskset", "-c", tostring(context.load_core),
    context.build .. "/bench/load", "--port", tostring(port), "--pids", table.concat(pids, ","),
  }
  if context.load_core ~= context.server_core then
    words[#words + 1] = "--spin"
  end
  for _, list in ipairs({ case.arguments, server.arguments and server.arguments(case) or {}, more or {} }) do
    for _, word in ipairs(list) do
      words[#words + 1] = tostring(word)
    end
  end
  for _, scene in ipairs(case.scenes) do
    words[#words + 1] = scene[1]
  end
  return words
end

-- One server, one crowd, all scenes. Returns the list of results, one a scene, or nil and what went wrong.
local function run_once(context, case, name)
  local server = servers[name]
  local _, port, pids, more = server.start(context)
  local status, out, errors = process.run(load_words(context, case, server, port, pids, more), { timeout = LOAD_SECONDS })
  local results = {}
  for line in out:gmatch("[^\n]+") do
    results[#results + 1] = cjson.decode(line)
  end
  if status == 0 and #results == #case.scenes then
    return results
  end
  return nil, ("exit status %d\n%s%s"):format(status, errors, out)
end

-- --- all runs ---------------------------------------------------------------------------------------

local function chosen(case, wanted)
  for _, name in ipairs(wanted) do
    if case.name == name or case.name:sub(1, #name + 1) == name .. "-" then
      return true
    end
  end
  return #wanted == 0
end

local function available(case, missing)
  local list = {}
  for _, name in ipairs(case.servers) do
    if not missing[name] then
      list[#list + 1] = name
    end
  end
  return list
end

-- The rows of a case: one for each scene and server, scene by scene.
local function make_rows(case, names)
  local rows, index = {}, {}
  for at, scene in ipairs(case.scenes) do
    for _, name in ipairs(names) do
      local row = {
        case = case.name, title = case.title, server = name, scene = scene[3], scene_title = scene[2], results = {},
      }
      rows[#rows + 1] = row
      index[at .. name] = row
    end
  end
  return rows, index
end

-- Runs a case `runs` times, each time with another server first. Adds its complete rows to `rows`, what failed to `failures`.
local function run_case(context, case, runs, rows, failures)
  local names = available(case, context.missing)
  local own, index = make_rows(case, names)
  local function fail(name, text)
    say("  FAILED %s: %s", name, text)
    failures[#failures + 1] = { case = case.name, server = name, text = text }
  end
  if case.clients + SPARE_FILES > context.files then
    return fail("all", ("needs %d open files, and the hard limit is %d: raise it (ulimit -Hn)"):format(case.clients + SPARE_FILES,
      context.files))
  end
  for run = 1, runs do
    for turn = 0, #names - 1 do
      local name = names[(run + turn) % #names + 1]
      say("%s, run %d of %d: %s", case.title, run, runs, name)
      local ok, results, problem = pcall(run_once, context, case, name)
      stop()
      socket.sleep(PAUSE)
      if ok and results then
        for at, result in ipairs(results) do
          table.insert(index[at .. name].results, result)
        end
      else
        fail(name, tostring(ok and problem or results))
      end
    end
  end
  for _, row in ipairs(own) do
    if #row.results > 0 then
      rows[#rows + 1] = row
    end
  end
end

local function find_missing(cases_to_run)
  local missing = {}
  for _, case in ipairs(cases_to_run) do
    for _, name in ipairs(case.servers) do
      local why = servers[name].missing and servers[name].missing()
      if why and not missing[name] then
        missing[name] = why
        say("without %s: %s", name, why)
      end
    end
  end
  return missing
end

-- --- the command ------------------------------------------------------------------------------------

local function usage_error(message)
  io.stderr:write("bench/run.lua: ", message, "\n", USAGE)
  os.exit(2)
end

local function parse(words)
  local options = { level = "quick", wanted = {} }
  local at = 1
  while at <= #words do
    local word = words[at]
    if word == "--help" then
      io.write(USAGE)
      os.exit(0)
    elseif word == "--runs" then
      at = at + 1
      options.runs = math.tointeger(tonumber(words[at])) or usage_error("--runs needs a number")
    elseif word == "--json" then
      at = at + 1
      options.json = words[at] or usage_error("--json needs a file")
    elseif word:find("^%-") then
      usage_error("unknown flag " .. word)
    elseif word == "quick" or word == "full" then
      options.level = word
    else
      table.insert(options.wanted, word)
    end
    at = at + 1
  end
  return options
end

local function wanted_cases(options, list)
  local kept = {}
  for _, case in ipairs(list) do
    if chosen(case, options.wanted) then
      kept[#kept + 1] = case
    end
  end
  if #kept == 0 then
    usage_error("there is no case " .. table.concat(options.wanted, ", "))
  end
  return kept
end

local function write_json(path, document)
  os.execute("mkdir -p " .. process.quote(path:match("^(.*)/") or "."))
  process.write_file(path, cjson.encode(document) .. "\n")
end

local function main()
  local options = parse(arg)
  local level, list = cases(options.level)
  local to_run = wanted_cases(options, list)
  local build = os.getenv("SLUICE_BUILD") or "build/release"
  local context = { build = build, files = files_limit(), server_core = 0, load_core = cores() > 1 and 1 or 0 }
  context.missing = find_missing(to_run)
  -- This process, too, stays away from the server's core.
  os.execute(("taskset -cp %d $PPID >/dev/null"):format(context.load_core))
  if context.load_core == 0 then
    say("there is one core only: load and server share it, and rates and latencies say nothing")
  end
  local host = machine()
  if host.load_average > QUIET then
    say("the machine is not quiet (load average %.2f): do not quote these figures", host.load_average)
  end

  local rows, failures, began = {}, {}, socket.gettime()
  for _, case in ipairs(to_run) do
    run_case(context, case, options.runs or level.runs, rows, failures)
  end
  report.complete(rows)
  local goals = report.goals(rows)
  local path = options.json or ("build/bench/%s.json"):format(options.level)
  write_json(path, { level = options.level, machine = host, rows = rows, goals = goals, failures = failures,
    seconds = socket.gettime() - began })

  print(("%s, %d cores, %s; Sluice %s; %s"):format(host.cpu or "?", host.cores, host.kernel or "?", host.sluice, host.nginx or "no nginx"))
  print()
  print(report.table(rows))
  if #goals > 0 then
    print(report.goals_table(goals))
    print()
  end
  for _, failure in ipairs(failures) do
    print(("FAILED %s, %s: %s"):format(failure.case, failure.server, failure.text))
  end
  print(("%s: %.0f s, %d failed"):format(path, socket.gettime() - began, #failures))
  return #failures == 0
end

local ok, result = xpcall(main, debug.traceback)
process.cleanup()
if not ok then
  io.stderr:write("bench/run.lua: ", result, "\n")
end
os.exit(ok and result)
