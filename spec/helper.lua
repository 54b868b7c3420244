-- SPDX-License-Identifier: MIT
-- What specs share: servers as child processes and in process, clients, waiting with a deadline, and cleaning up.
--
--   local helper = require("spec.helper")
--   after_each(helper.cleanup)                 -- or teardown(helper.cleanup), where a server is shared
--   local server = helper.serve{ config = { workers = 2 } }
--   local stream = server:stream("/events?channel=a"):wait_open()
--   server:publish("a", "hello")
--   assert.same({ "hello" }, stream:wait_messages(1) and stream:data())
--
-- The environment says what is tested: TEST_TIMEOUT (seconds a wait may take), SLUICE_BUILD (the build's directory) and SLUICE_PRELOAD (a sanitizer's runtime,
-- loaded into servers only), SLUICE_INSTALLED (the prefix of an installed tree that is tested in the place of the source tree).
local http = require("spec.support.http")
local json = require("cjson")
local lfs = require("lfs")
local process = require("spec.support.process")
local socket = require("socket")
local sse = require("spec.support.sse")
local testing = require("sluice.testing")
local tcp = require("spec.support.tcp")

local helper = { http = http, json = json, process = process, sse = sse, tcp = tcp }

helper.root = lfs.currentdir()
helper.command = (os.getenv("SLUICE_INSTALLED") or helper.root) .. "/bin/sluice"
helper.TEST_TIMEOUT = tonumber(os.getenv("TEST_TIMEOUT") or 10)
tcp.timeout = helper.TEST_TIMEOUT

assert(lfs.attributes(helper.root .. "/bin/sluice") or lfs.attributes(helper.root .. "/core"), "run the specs from the top of the source tree")

-- Calls `condition` until it returns something true, and returns that. Raises after `timeout` seconds (TEST_TIMEOUT by default), with `what` and the last
-- error in the message. An error inside the condition counts as "not yet".
function helper.eventually(condition, timeout, what)
  return testing.eventually(condition, what, timeout or helper.TEST_TIMEOUT)
end

-- --- configuration ----------------------------------------------------------------------------------

-- Writes a Lua value as source text.
local function source_of(value, indent)
  if type(value) ~= "table" then
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
  end
  indent = (indent or "") .. "  "
  local lines = {}
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for _, key in ipairs(keys) do
    lines[#lines + 1] = ("%s[%s] = %s,\n"):format(indent, source_of(key), source_of(value[key], indent))
  end
  return "{\n" .. table.concat(lines) .. indent:sub(3) .. "}"
end

-- Lays `over` over `base`, table by table.
local function merge(base, over)
  local result = {}
  for key, value in pairs(base) do
    result[key] = value
  end
  for key, value in pairs(over or {}) do
    if type(value) == "table" and type(result[key]) == "table" then
      result[key] = merge(result[key], value)
    else
      result[key] = value
    end
  end
  return result
end

-- Two workers, so that what must hold over all of them is always tried over more than one; and no limit on new streams, since all
-- clients here have one address.
local BASE = {
  listen = "127.0.0.1:0",
  workers = 2,
  ratelimit = { max = 1000000, concurrent = 10000 },
}

-- Writes `files` (name -> text) under `dir`; with `defaults` the default policy's scripts are there too.
local function write_scripts(dir, files, defaults)
  assert(lfs.mkdir(dir))
  if defaults then
    assert(os.execute(("cp %s/scripts/*.lua %s/"):format(process.quote(helper.root), process.quote(dir))))
  end
  for name, text in pairs(files) do
    local folder = name:match("^(.*)/")
    if folder then
      lfs.mkdir(dir .. "/" .. folder)
    end
    process.write_file(dir .. "/" .. name, text)
  end
end

-- --- servers --------------------------------------------------------------------------------------------

local Server = {}
Server.__index = Server

-- Requests that both kinds of server answer in the same way.
function Server:request(method, target, options)
  return http.request(self.port, method, target, options)
end

function Server:connect(options)
  return tcp.connect(self.port, options)
end

function Server:stream(target, options)
  return sse.open(self.port, target, options)
end

-- Publishes `data` (bytes as they are) over HTTP and returns id, subscribers.
function Server:publish(channel, data, event, options)
  local query = { { "channel", channel } }
  if event then
    query[2] = { "event", event }
  end
  local headers = merge({ ["Content-Type"] = "text/plain" }, options and options.headers)
  local response = self:request("POST", "/publish?" .. http.query(query), { body = tostring(data), headers = headers })
  if response.status ~= 200 then
    error(("publish to %s: %d %s"):format(channel, response.status, response.body), 2)
  end
  local answer = json.decode(response.body)
  return answer.id, answer.subscribers
end

-- Publishes a list of { channel, data, event } on one connection, pipelined. Returns the ids.
function Server:publish_all(list)
  local connection = self:connect()
  local requests = {}
  for index, message in ipairs(list) do
    local query = { { "channel", message[1] } }
    if message[3] then
      query[2] = { "event", message[3] }
    end
    requests[index] = { "POST", "/publish?" .. http.query(query), { body = message[2], headers = { ["Content-Type"] = "text/plain" } } }
  end
  local ids = {}
  for index, response in ipairs(http.pipeline(connection, requests)) do
    if response.status ~= 200 then
      error(("publish %d: %d %s"):format(index, response.status, response.body), 2)
    end
    ids[index] = json.decode(response.body).id
  end
  connection:close()
  return ids
end

-- A server as a child process. Options: `config` (laid over the defaults above), `scripts` (name -> text of policy scripts), `defaults` (true: the default
-- policy's scripts beside them), `args` (more command line words), `env`, `no_config` (true: no --config at all), `command` ("serve"), `files` (limit of open
-- files), `preload` (a sanitizer's runtime, in the place of SLUICE_PRELOAD's), `under` (words of a command that runs the interpreter).
-- Returns at once an object with the process; `helper.serve` waits until it is ready.
function helper.launch(options)
  options = options or {}
  local dir = process.temp_dir()
  local argv = { helper.command, options.command or "serve" }
  local config = merge(BASE, options.config)
  if options.scripts then
    write_scripts(dir .. "/scripts", options.scripts, options.defaults)
    config.scripts = "scripts"
  end
  if not options.no_config then
    process.write_file(dir .. "/sluice.conf.lua", "return " .. source_of(config) .. "\n")
    argv[#argv + 1] = "--config"
    argv[#argv + 1] = dir .. "/sluice.conf.lua"
  end
  for _, word in ipairs(options.args or {}) do
    argv[#argv + 1] = word
  end
  -- The sanitizer goes into the interpreter itself: what the command's first line runs (env) would only pass on a cleared LD_PRELOAD.
  local preload = options.preload or os.getenv("SLUICE_PRELOAD")
  if preload and preload ~= "" then
    table.insert(argv, 1, "lua5.4")
  end
  if options.under then
    argv = table.move(argv, 1, #argv, #options.under + 2, table.move(options.under, 1, #options.under, 1, {}))
    argv[#options.under + 1] = "lua5.4"
  end
  local build = os.getenv("SLUICE_BUILD")
  local env = merge(build and { SLUICE_BUILD = build } or {}, options.env)
  return process.spawn(argv, { env = env, preload = preload, cwd = options.cwd, files = options.files }), dir
end

-- Starts `sluice serve` and waits for its ready line. The object has `port`, `process` (see process.lua), `dir` (config and scripts).
function helper.serve(options)
  local child, dir = helper.launch(options)
  local self = setmetatable({ process = child, dir = dir }, Server)
  local deadline = socket.gettime() + helper.TEST_TIMEOUT
  while not self.port do
    self.port = math.tointeger(tonumber(child:output():match("sluice: listening on http://[^\n]-:(%d+)\n")))
    if not self.port then
      if not child:is_running() then
        error(("the server ended with status %s:\n%s"):format(tostring(child:wait(1)), child:errors()), 2)
      end
      if socket.gettime() > deadline then
        error("the server did not become ready:\n" .. child:errors(), 2)
      end
      socket.select(nil, nil, 0.005)
    end
  end
  return self
end

-- Sends a signal to the server's process.
function Server:signal(name)
  return self.process:signal(name)
end

-- Waits for the process to end and returns its exit status (nil, signal where a signal ended it).
function Server:wait(timeout)
  return self.process:wait(timeout or helper.TEST_TIMEOUT)
end

-- Ends the process in an orderly way, as fast as it can.
function Server:stop()
  self:signal("TERM")
  self:signal("TERM")
  return self:wait()
end

function Server:log()
  return self.process:errors()
end

-- Starts a server in this process, as sluice.testing does, with `config` laid over the defaults above. Options as for serve. The object has
-- `port` and `host`, the server object of the library.
function helper.start(options)
  options = options or {}
  local config = merge(BASE, options.config)
  local dir
  if options.scripts then
    dir = process.temp_dir()
    write_scripts(dir .. "/scripts", options.scripts, options.defaults)
    config.scripts = dir .. "/scripts"
  end
  local server = testing.start(config)
  return setmetatable({ host = server.host, port = server.port, dir = dir }, Server)
end

-- --- cleaning up ------------------------------------------------------------------------------------

-- Closes all clients; servers stay. For `after_each` where a server is shared.
function helper.close_clients()
  tcp.close_all()
end

local on_cleanup = {}

-- Has `action` called by the next cleanup, latest first.
function helper.defer(action)
  on_cleanup[#on_cleanup + 1] = action
end

-- Ends all clients, servers and children and removes all directories. Raises where a child crashed, would not end, or left a sanitizer's report.
function helper.cleanup()
  for index = #on_cleanup, 1, -1 do
    pcall(on_cleanup[index])
  end
  on_cleanup = {}
  tcp.close_all()
  pcall(testing.cleanup)
  local complaints = process.cleanup()
  if #complaints > 0 then
    error(table.concat(complaints, "\n"), 0)
  end
end

return helper
