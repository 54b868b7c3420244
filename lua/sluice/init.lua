-- SPDX-License-Identifier: MIT
-- The library for host programs: starts and steers servers. Scripts see another table under the same name, see doc/reference.md.

-- Before anything that other versions cannot even read.
if _VERSION ~= "Lua 5.4" then error("Sluice needs Lua 5.4, this is " .. _VERSION, 0) end

local config = require "sluice.config"
local core = require "sluice.core"
local version = require "sluice.version"

local sluice = { version = version, json = core.json }

-- The settings of the log among those of a configuration.
local function log_settings(resolved)
  return { level = resolved["log.level"], format = resolved["log.format"], access = resolved["log.access"], frames = resolved["log.frames"] }
end

local server = {}
server.__index = server
server.__name = "sluice.server"

-- The port that the server listens on.
function server:port()
  return self.core:port()
end

-- Publishes a message: a string, or { event = type, data = string or JSON value }. Runs the on_publish hooks on one worker and waits for them.
-- Returns the id and the number of subscribers, or nil and why not.
function server:publish(channel, message)
  if type(channel) ~= "string" then error("publish: the channel is a string, not a " .. type(channel), 2) end
  if type(message) == "string" then return self.core:publish(channel, nil, message) end
  if type(message) ~= "table" then error("publish: a message is a string or a table, not a " .. type(message), 2) end
  for key in pairs(message) do
    if key ~= "event" and key ~= "data" and key ~= "channel" then
      error("publish: a message has event and data, not '" .. tostring(key) .. "'", 2)
    end
  end
  if message.data == nil then error("publish: the message needs data", 2) end
  local data = message.data
  if type(data) ~= "string" then data = core.json.encode(data) end
  return self.core:publish(channel, message.event, data)
end

-- Reads the scripts anew. Returns true once they are in force on all workers, or nil and "file:line: what is wrong" with the old ones in force.
function server:reload()
  return self.core:reload()
end

-- The counts that GET /metrics shows, as a table.
function server:stats()
  return self.core:stats()
end

-- Begins to leave: listeners close, streams are ended over `options.drain` seconds (default: the setting `drain`). Then waits for the end.
function server:stop(options)
  self.core:stop(options and options.drain)
  return self:wait()
end

-- Waits until the server has ended. Returns its exit status: 0, or 128 + signal after a second signal. `options.on_hangup(server)` is called after
-- SIGHUP, which the server takes with { signals = true }.
function server:wait(options)
  local on_hangup = options and options.on_hangup
  while true do
    local status, hangup = self.core:wait()
    if status then return status end
    if hangup and on_hangup then on_hangup(self) end
  end
end

-- Changes settings of the log while the server runs: any of { level, format, access, frames }, as in the configuration. Returns true, or nil and what is
-- wrong with them.
function server:set_log(settings)
  if type(settings) ~= "table" then error("set_log: the settings are a table, not a " .. type(settings), 2) end
  local wanted = {}
  for name, value in pairs(self.log) do wanted["log." .. name] = value end
  for name, value in pairs(settings) do wanted["log." .. tostring(name)] = value end
  local resolved, message = config.from_table(wanted, core.cores)
  if not resolved then return nil, message end
  self.log = log_settings(resolved)
  self.core:set_log(self.log)
  return true
end

server.__close = function(self) self:stop({ drain = 0 }) end

-- Resolves settings and where scripts come from, for start and check (`name`). Raises, for the caller's caller, for arguments of a wrong kind.
local function prepare(name, settings, options)
  settings = settings or {}
  if type(settings) ~= "table" then error(("%s: the settings are a table, not a %s"):format(name, type(settings)), 3) end
  if options ~= nil and type(options) ~= "table" then error(("%s: the options are a table, not a %s"):format(name, type(options)), 3) end
  local scripts
  if type(settings.scripts) == "table" then
    scripts = settings.scripts
    local rest = {}
    for key, value in pairs(settings) do
      if key ~= "scripts" then rest[key] = value end
    end
    settings = rest
  end
  local resolved, message = config.from_table(settings, core.cores)
  if not resolved then return nil, message end
  scripts = scripts or resolved.scripts
  if not scripts then
    scripts, message = config.default_scripts()
    if not scripts then return nil, message end
  end
  local flat = config.flatten(resolved)
  flat["jwt.key"], message = config.key(resolved)
  if message then return nil, message end
  local json, why = core.json.encode(config.public(resolved))
  if not json then return nil, why end
  flat.public_json = json
  return flat, {
    scripts = scripts,
    signals = options and options.signals or false,
    log = log_settings(resolved),
  }
end

-- Starts a server in threads of its own. `settings` are those of doc/configuration.md, nested or with dotted names; `scripts` may also be a table of
-- file names and texts. Returns the server, or nil and one line that says what is wrong. Prints nothing; takes signals only with { signals = true }.
function sluice.start(settings, options)
  local flat, rest = prepare("start", settings, options)
  if not flat then return nil, rest end
  local ok, handle, message = pcall(core.start, flat, rest) -- it raises where memory is short
  if not ok or not handle then return nil, message or handle end
  return setmetatable({ core = handle, log = rest.log }, server)
end

-- Loads settings and scripts as start would, without listening. Returns true, or nil and one line that says what is wrong.
function sluice.check(settings)
  local flat, rest = prepare("check", settings)
  if not flat then return nil, rest end
  local ok, result, message = pcall(core.check, flat, rest)
  if not ok then return nil, result end
  return result, message
end

-- Makes a signed token (JWT) of `claims`, to which nothing is added. `options.key` is the secret, or a private key as PEM for RS* and ES*;
-- `options.algorithm` is HS256 unless given. Returns the token, or nil and why not; raises for arguments of a wrong kind.
function sluice.sign(claims, options)
  if type(claims) ~= "table" then error("sign: the claims are a table, not a " .. type(claims), 2) end
  if type(options) ~= "table" or type(options.key) ~= "string" or options.key == "" then error("sign: options.key is the key to sign with", 2) end
  for name in pairs(options) do
    if name ~= "key" and name ~= "algorithm" then error("sign: the options are key and algorithm, not '" .. tostring(name) .. "'", 2) end
  end
  return core.token_sign(options.key, options.algorithm or "HS256", claims)
end

return sluice
