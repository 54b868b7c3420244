-- SPDX-License-Identifier: MIT
-- For tests of policies: a server on a free port in the test's own process, requests, streams, tokens, and waits that end. Under busted everything
-- that a test starts ends with it, also when it fails; elsewhere <close> variables and testing.cleanup see to that.

-- Before anything that other versions cannot even read.
if _VERSION ~= "Lua 5.4" then error("Sluice needs Lua 5.4, this is " .. _VERSION .. " (Debian's busted: lua5.4 /usr/bin/busted)", 0) end

local config = require("sluice.config")
local core = require("sluice.core")
local http = require("sluice.http")
local sluice = require("sluice")
local stream = require("sluice.testing.stream")

local testing = {
  timeout = tonumber(os.getenv("TEST_TIMEOUT") or "") or 5,
}

local TOKEN_S = 3600
local POLL_S = 0.01

-- Lie over the defaults and a configuration file, and under what a test sets.
local BASE = { listen = "127.0.0.1:0", workers = 2 }
-- Where there is no file, only what went wrong is logged.
local QUIET = "log.level"

-- --- cleaning up ---------------------------------------------------------------------------------------

local alive = {} -- what was started and is to be ended, in order

local function remember(object)
  alive[#alive + 1] = object
  return object
end

-- Ends what was started after the first `count`, the latest first. Raises what the first failure raised, once all is ended.
local function end_all_but(count)
  local failure
  for index = #alive, count + 1, -1 do
    local object = alive[index]
    alive[index] = nil
    local ok, problem = pcall(object.close, object)
    failure = failure or not ok and problem or nil
  end
  if failure then error(failure, 0) end
end

function testing.cleanup() end_all_but(0) end

-- Under busted: what a test has started ends with the test, what a describe block's setup has with the block, the rest with the file.
local function follow_busted()
  local busted = package.loaded["busted"]
  local ok, subscribe = pcall(function() return busted.subscribe end)
  if not ok or type(subscribe) ~= "function" then return end
  local marks = {}
  for _, element in ipairs({ "file", "describe", "test" }) do
    subscribe({ element, "start" }, function()
      marks[#marks + 1] = #alive
      return nil, true -- busted's other listeners are to hear of it too
    end)
    subscribe({ element, "end" }, function()
      end_all_but(table.remove(marks) or 0)
      return nil, true
    end)
  end
end
follow_busted()

-- --- waiting --------------------------------------------------------------------------------------------

function testing.eventually(condition, what, timeout)
  timeout = timeout or testing.timeout
  local deadline = core.client.now() + timeout
  while true do
    local ok, result = pcall(condition)
    if ok and result then return result end
    if core.client.now() >= deadline then
      if type(result) == "table" then result = result.message or tostring(result) end -- an assertion of busted
      local reason = ok and "" or ("; the last try raised: %s"):format(tostring(result))
      error(("waited %g s for %s%s"):format(timeout, what or "the condition", reason), 2)
    end
    core.client.poll({}, POLL_S)
  end
end

-- --- settings -------------------------------------------------------------------------------------------

local OWN = { config = "string", default_policy = "boolean", env = "table" } -- options of start that are no settings

local function check_own(options)
  for name, kind in pairs(OWN) do
    if options[name] ~= nil and type(options[name]) ~= kind then
      error(("testing.start: %s is a %s, not a %s"):format(name, kind, type(options[name])), 3)
    end
  end
end

-- The texts of the default policy's scripts, by file name.
local function default_scripts()
  local folder = assert(config.default_scripts())
  local files = {}
  for _, name in ipairs(assert(core.list_dir(folder))) do
    if name:find("%.lua$") then
      local handle = assert(io.open(folder .. "/" .. name, "rb"))
      files[name] = handle:read("a")
      handle:close()
    end
  end
  return files
end

-- The scripts that are given as a table, over the default policy's where that is asked for; nil where a folder counts.
local function scripts_of(options)
  local given = options.scripts
  if not options.default_policy then return type(given) == "table" and given or nil end
  if given ~= nil and type(given) ~= "table" then
    error("testing.start: default_policy wants scripts as a table from file names to texts: a folder replaces the default policy whole", 3)
  end
  local files = default_scripts()
  for name, text in pairs(given or {}) do files[name] = text end
  return files
end

local function is_set(values, key)
  local section, name = key:match("^(.-)%.(.*)$")
  return values[key] ~= nil or section ~= nil and type(values[section]) == "table" and values[section][name] ~= nil
end

-- Returns the resolved configuration; or nil and what is wrong.
local function resolve(options)
  local values = {}
  for name, value in pairs(options) do
    if not OWN[name] and not (name == "scripts" and type(value) == "table") then values[name] = value end
  end
  for key, value in pairs(BASE) do
    if not is_set(values, key) then values[key] = value end
  end
  if not options.config and not is_set(values, QUIET) then values[QUIET] = "error" end
  local env = options.env and function(name) return options.env[name] end
  return config.load({ file = options.config, env = env, values = values })
end

-- --- the server ------------------------------------------------------------------------------------------

local server = {}
server.__index = server
server.__name = "sluice.testing.server"

local answer = {}
answer.__index = answer

-- The body read as JSON; raises where it is none.
function answer:json()
  local value, message = core.json.decode(self.body)
  if message then error(("the answer's body is not JSON: %s: %s"):format(message, self.body:sub(1, 200)), 2) end
  return value
end

function testing.start(options)
  options = options or {}
  if type(options) ~= "table" then error("testing.start: options are a table, not a " .. type(options), 2) end
  check_own(options)
  local settings, message = resolve(options)
  if not settings then error("testing.start: " .. message, 2) end
  local key
  key, message = config.key(settings)
  if message then error("testing.start: " .. message, 2) end
  local for_core = {}
  for name, value in pairs(settings) do for_core[name] = value end
  for_core.scripts = scripts_of(options) or settings.scripts
  local host
  host, message = sluice.start(for_core)
  if not host then error("testing.start: " .. message, 2) end
  local self = setmetatable({ host = host, settings = settings, key = key, port = host:port() }, server)
  self.url = "http://127.0.0.1:" .. self.port
  return remember(self)
end

function server:close()
  if self.host then
    local host = self.host
    self.host = nil
    host:stop({ drain = 0 })
  end
end

server.__close = server.close

local function host_of(self)
  if not self.host then error("the server has been stopped", 3) end
  return self.host
end

function server:publish(channel, message) return host_of(self):publish(channel, message) end
function server:reload() return host_of(self):reload() end
function server:stats() return host_of(self):stats() end

function server:stop(options)
  local host = host_of(self)
  self.host = nil
  return host:stop(options or { drain = 0 })
end

-- Lists of channels that are empty stay lists.
local function with_arrays(claims)
  local rights = claims.sluice
  if type(rights) ~= "table" then return end
  for _, name in ipairs({ "subscribe", "publish" }) do
    if type(rights[name]) == "table" then core.json.array(rights[name]) end
  end
end

function server:token(claims, options)
  options = options or {}
  local key = options.key or self.key
  if not key then error("token: the server has no key: start it with jwt = { key = \"…\" }", 2) end
  local all = { exp = os.time() + TOKEN_S, iss = self.settings["jwt.issuer"], aud = self.settings["jwt.audience"] }
  for name, value in pairs(claims or {}) do all[name] = value end
  with_arrays(all)
  local token, message = core.token_sign(key, options.algorithm or self.settings["jwt.algorithms"][1], all)
  if not token then error("token: " .. message, 2) end
  return token
end

-- --- requests --------------------------------------------------------------------------------------------

local REQUEST_OPTIONS = {
  headers = "table", body = "string", json = "any", token = "string", last_event_id = "string", timeout = "number", method = "string",
}

local function check_request(name, target, options, allowed)
  if type(target) ~= "string" or target:sub(1, 1) ~= "/" then
    error(("%s: the target is a path that begins with '/', not %s"):format(name, tostring(target)), 3)
  end
  for key, value in pairs(options) do
    local kind = allowed[key]
    if not kind then error(("%s: unknown option '%s'"):format(name, tostring(key)), 3) end
    if kind ~= "any" and type(value) ~= kind then error(("%s: %s is a %s, not a %s"):format(name, key, kind, type(value)), 3) end
  end
  if options.json ~= nil and options.body then error(name .. ": json or body, not both", 3) end
end

-- The request's fields as a list, and its body.
local function fields_of(options, accept)
  local fields, given, text = {}, {}, options.body
  for name, value in pairs(options.headers or {}) do
    given[name:lower()] = true
    fields[#fields + 1] = { name, tostring(value) }
  end
  table.sort(fields, function(a, b) return a[1] < b[1] end)
  local function add(name, value)
    if not given[name:lower()] then fields[#fields + 1] = { name, value } end
  end
  if options.json ~= nil then
    text = assert(core.json.encode(options.json))
    add("Content-Type", "application/json")
  end
  if accept then add("Accept", accept) end
  if options.token then add("Authorization", "Bearer " .. options.token) end
  if options.last_event_id then add("Last-Event-ID", options.last_event_id) end
  return fields, text
end

local function request_bytes(self, method, target, options, accept)
  local fields, text = fields_of(options, accept)
  local bytes, message = http.build_request(method, "127.0.0.1:" .. self.port, target, fields, text)
  if not bytes then error(message, 3) end
  return bytes
end

local PLAIN = { headers = "table", body = "string", json = "any", token = "string", timeout = "number" }

function server:request(method, target, options)
  options = options or {}
  check_request("request", target, options, PLAIN)
  host_of(self)
  local timeout = options.timeout or testing.timeout
  local raw, message = core.http_request("127.0.0.1", self.port, request_bytes(self, method, target, options), timeout)
  if not raw then
    error(("%s %s: %s within %g s (a stream is opened with server:open)"):format(method, target, message, timeout), 2)
  end
  local found
  found, message = http.parse_response(raw, method)
  if not found then error(("%s %s: %s"):format(method, target, message), 2) end
  return setmetatable(found, answer)
end

function server:open(target, options)
  options = options or {}
  check_request("open", target, options, REQUEST_OPTIONS)
  host_of(self)
  local method = options.method or "GET"
  local opened, message = stream.open({
    method = method, target = target, port = self.port, last_event_id = options.last_event_id,
    bytes = request_bytes(self, method, target, options, "text/event-stream"),
    timeout = function() return options.timeout or testing.timeout end,
    reopen = function(id)
      local again = {}
      for name, value in pairs(options) do again[name] = value end
      again.last_event_id = id ~= "" and id or nil
      return self:open(target, again)
    end,
  })
  if not opened then error(("open %s: %s"):format(target, message), 2) end
  remember(opened)
  local ok, problem = pcall(opened.wait_head, opened)
  if not ok then error(problem, 2) end
  return opened
end

return testing
