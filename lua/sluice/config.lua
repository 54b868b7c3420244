-- SPDX-License-Identifier: MIT
-- The configuration: brings together defaults, a file, the environment and flags, and checks all of it against the
-- schema.
--
-- A resolved configuration is a flat table from dotted keys ("limits.connections") to values in their normal form; a
-- key that is unset is absent. It may be given to from_table again, which returns an equal one. Nothing here raises;
-- failures are nil and one line that names the key, the value, what was expected and, for an unknown key, the nearest
-- known one.

local address = require("sluice.config.address")
local file = require("sluice.config.file")
local kinds = require("sluice.config.kinds")
local nearest = require("sluice.nearest")
local schema = require("sluice.config.schema")

local config = {
  schema = schema.rows, -- see sluice.config.schema for what a row has
}

local KEYS = {}
for i, row in ipairs(schema.rows) do KEYS[i] = row.key end

local SECTIONS = {} -- names in order, and by each the first key in it
for _, key in ipairs(KEYS) do
  local section = key:match("^(.-)%.")
  if section and not SECTIONS[section] then SECTIONS[#SECTIONS + 1], SECTIONS[section] = section, key end
end

-- Words in a name that is no key which tell that its value may be a secret meant for another.
local SECRET_WORDS = { "key", "secret", "pass", "token", "jwt", "redis", "auth" }

local function may_be_secret(key)
  key = key:lower()
  for _, word in ipairs(SECRET_WORDS) do
    if key:find(word, 1, true) then return true end
  end
  return false
end

local function show_key(key)
  if key:find("%c") or #key > 100 then return kinds.show(key) end
  return key
end

-- Every message about one value: "sluice.conf.lua: workers = 0: expected an integer from 1 to 256".
local function complaint(source, key, value, secret, what)
  local shown = kinds.show(value)
  if secret and type(value) ~= "nil" and type(value) ~= "table" then shown = value == "" and '""' or "(not shown)" end
  return ("%s%s = %s: %s"):format(source and source .. ": " or "", show_key(key), shown, what)
end

local function unknown_key(source, key, value)
  if SECTIONS[key] then return complaint(source, key, value, may_be_secret(key), "expected one of its keys, such as " .. SECTIONS[key]) end
  local best, distance = nearest.find(key, KEYS)
  if type(value) == "table" then
    local section, far = nearest.find(key, SECTIONS)
    if far <= distance then return complaint(source, key, value, false, ("unknown key; the nearest is %s (a table of keys)"):format(section)) end
  end
  local row = schema.by_key[best]
  return complaint(source, key, value, row.secret and distance <= 3 or may_be_secret(key),
    ("unknown key; the nearest is %s (%s)"):format(best, kinds.expected(row)))
end

-- Checks `value` for `row`. Returns its normal form, or nil and a message.
local function check_value(source, row, value)
  local checked, problem = kinds.check(row, value)
  if checked ~= nil then return checked end
  local key = row.key .. problem.path
  local what = (problem.unknown and "unknown key; the nearest is " or "expected ") .. problem.expected
  return nil, complaint(source, key, problem.value, row.secret, what)
end

-- Walks a table that may be nested, flat or both, and collects found[key] = value. Returns nil, or a message.
local function collect(source, prefix, values, found)
  local names = {}
  for name in pairs(values) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end) -- so that the same mistake is named each time
  for _, name in ipairs(names) do
    local value = values[name]
    local key = type(name) == "string" and prefix .. name or ("%s[%s]"):format(prefix, tostring(name))
    local message
    if type(name) ~= "string" then
      message = complaint(source, key, value, true, "expected only named keys, such as listen = \"127.0.0.1:8080\"")
    elseif schema.by_key[key] then
      if found[key] ~= nil and found[key] ~= value then
        message = complaint(source, key, value, schema.by_key[key].secret, "set twice, with different values")
      end
      found[key] = value
    elseif not SECTIONS[key] then
      message = unknown_key(source, key, value)
    elseif type(value) ~= "table" then
      message = complaint(source, key, value, may_be_secret(key), ("expected a table of the keys of %s"):format(key))
    else
      message = collect(source, key .. ".", value, found)
    end
    if message then return message end
  end
  return nil
end

-- Puts the checked content of `values` into `cfg`. `path` is the file they come from, or nil. Returns true, or nil
-- and a message.
local function merge_table(cfg, values, path)
  if type(values) ~= "table" then
    return nil, ("configuration: expected a table, got %s"):format(kinds.show(values))
  end
  local found = {}
  local message = collect(path, "", values, found)
  if message then return nil, message end
  for _, row in ipairs(schema.rows) do
    local value = found[row.key]
    if value ~= nil then
      local checked
      checked, message = check_value(path, row, value)
      if checked == nil then return nil, message end
      if path and (row.type == "file" or row.type == "folder") then checked = file.beside(path, checked) end
      cfg[row.key] = checked
    end
  end
  return true
end

-- Sets `key` from text: a flag or a variable, named by `source`. Returns true, or nil and a message.
local function merge_text(cfg, source, key, text)
  local row = schema.by_key[key]
  if not row then return nil, unknown_key(source, key, text) end
  local value, message = kinds.parse(row, text)
  if value == nil then return nil, complaint(source, key, text, row.secret, "expected " .. message) end
  value, message = check_value(source, row, value)
  if value == nil then return nil, message end
  cfg[key] = value
  return true
end

-- PORT replaces the port of the listen address that holds so far.
local function merge_port(cfg, source, text)
  local host = address.split(cfg.listen)
  local joined = text:find("^%d+$") and address.join(host, 0):gsub("0$", text)
  if not joined or not address.split(joined) then
    return nil, complaint(source, "listen", text, false, "expected a port from 0 to 65535")
  end
  return merge_text(cfg, source, "listen", joined)
end

local function merge_environment(cfg, env)
  for _, row in ipairs(schema.rows) do
    local text = row.env and env(row.env)
    if text then
      local source = "environment variable " .. row.env
      local ok, message
      if row.type == "address" then
        ok, message = merge_port(cfg, source, text)
      else
        ok, message = merge_text(cfg, source, row.key, text)
      end
      if not ok then return nil, message end
    end
  end
  return true
end

local function copy(value)
  if type(value) ~= "table" then return value end
  local result = {}
  for k, v in pairs(value) do result[k] = copy(v) end
  return result
end

local function core_count()
  return require("sluice.core").cores()
end

-- Returns a configuration where nothing is set. `cores` is a function that returns the number of online cores; by
-- default the core's.
function config.defaults(cores)
  local cfg = {}
  for _, row in ipairs(schema.rows) do cfg[row.key] = copy(row.default) end
  local row = schema.by_key.workers
  cfg.workers = math.max(row.min, math.min(row.max, (cores or core_count)()))
  return cfg
end

-- Returns the key that tokens are verified with: jwt.key, or what jwt.key_file holds, without the line end that editors and
-- echo put after a secret; nil where none is configured; nil and a message where the file gives none. `read` as for check.
function config.key(cfg, read)
  if not cfg["jwt.key_file"] then return cfg["jwt.key"] end
  local content, message = (read or file.read)(cfg["jwt.key_file"])
  if not content then return nil, "jwt.key_file: cannot read " .. message end
  if not content:find("%S") then
    return nil, ("jwt.key_file = %s: the file is empty"):format(kinds.show(cfg["jwt.key_file"]))
  end
  return (content:gsub("\r?\n$", ""))
end

-- Checks what no single key can tell. `read` reads a file (path -> content, or nil and a message); by default from
-- disk. Returns true, or nil and a message.
function config.check(cfg, read)
  if cfg["jwt.key"] and cfg["jwt.key_file"] then
    return nil, "jwt.key and jwt.key_file are both set: set one (the variable JWT_SECRET sets jwt.key)"
  end
  local _, message = config.key(cfg, read)
  if message then return nil, message end

  local family
  for _, algorithm in ipairs(cfg["jwt.algorithms"]) do
    -- One key serves one family, and a curve only its own algorithm.
    local mine = algorithm:find("^ES") and algorithm or algorithm:sub(1, 2)
    if family and mine ~= family then
      return nil, ("jwt.algorithms = {%s}: no key serves all of these; expected only HS*, only RS*, or one ES*"):format(
        table.concat(cfg["jwt.algorithms"], ", "))
    end
    family = mine
  end

  if cfg["cors.credentials"] then
    for _, origin in ipairs(cfg["cors.origins"]) do
      if origin == "*" then
        return nil, 'cors.origins = "*": expected a list of origins, since cors.credentials is true '
          .. "and any page could act as its visitor"
      end
    end
  end

  -- Who sets one of these does not want the password to go in the clear.
  for _, key in ipairs({ "redis.ca_file", "redis.cert_file" }) do
    if cfg[key] and (cfg["redis.url"] or ""):find("^redis://") then
      return nil, ("%s = %s: redis.url is without TLS; expected rediss://"):format(key, kinds.show(cfg[key]))
    end
  end

  local keyless = not cfg["jwt.key"] and not cfg["jwt.key_file"]
  if keyless and not cfg.insecure and not address.is_loopback((address.split(cfg.listen))) then
    return nil, ('listen = "%s": not a loopback address, and without a key anyone could subscribe and publish; '
      .. "set JWT_SECRET or jwt.key, or pass --insecure (insecure = true)"):format(cfg.listen)
  end
  return true
end

-- Resolves a configuration; what comes later wins:
--   file    path of a configuration file, or nil
--   env     function from the name of an environment variable to its text or nil; nil: no variable counts
--   values  a table, nested or flat, or nil
--   set     a list of { key, text, source }, read by the type of the key; `source` names it in messages; "--set"
--           where absent
--   cores   as for defaults
--   loose   true: what no single key can tell is not checked (see check)
-- Returns it checked (check included), or nil and a message.
function config.load(options)
  local cfg = config.defaults(options.cores)
  local ok, message
  if options.file then
    local values
    values, message = file.load(options.file, options.env or os.getenv)
    if not values then return nil, message end
    ok, message = merge_table(cfg, values, options.file)
    if not ok then return nil, message end
  end
  if options.env then
    ok, message = merge_environment(cfg, options.env)
    if not ok then return nil, message end
  end
  if options.values ~= nil then
    ok, message = merge_table(cfg, options.values, nil)
    if not ok then return nil, message end
  end
  for _, pair in ipairs(options.set or {}) do
    ok, message = merge_text(cfg, pair[3] or "--set", pair[1], pair[2])
    if not ok then return nil, message end
  end
  if not options.loose then
    ok, message = config.check(cfg)
    if not ok then return nil, message end
  end
  return cfg
end

-- Resolves a table that a host program gives to sluice.start: nested, flat, both, or a resolved configuration. Files
-- and the environment do not count. Returns as load does.
function config.from_table(values, cores)
  return config.load({ values = values, cores = cores })
end

-- Splits the listen address of a resolved configuration: host (no brackets), port.
function config.listen_address(cfg)
  return address.split(cfg.listen)
end

-- Returns the folder of the default policy: beside the module where installed, at the top of the source tree
-- otherwise. Or nil and a message.
function config.default_scripts()
  local module = package.searchpath("sluice.config", package.path)
  local folder = module and module:match("^(.*)/[^/]*$")
  if not folder then return nil, "cannot find the default policy: sluice.config is not on package.path" end
  local installed = folder .. "/scripts"
  for _, candidate in ipairs({ installed, (folder:gsub("lua/sluice$", "scripts")) }) do
    local handle = io.open(candidate .. "/routes.lua", "r")
    if handle then
      handle:close()
      return candidate
    end
  end
  return nil, "cannot find the default policy: no routes.lua in " .. installed
end

-- Returns the folder of the annotations for editors.
function config.library()
  return package.searchpath("sluice.config", package.path):match("^(.*)/[^/]*$") .. "/library"
end

-- Exact names before prefixes, longer prefixes before shorter ones: the first that matches is the longest.
local function before(a, b)
  local a_prefix, b_prefix = a.pattern:sub(-1) == "*", b.pattern:sub(-1) == "*"
  if a_prefix ~= b_prefix then return b_prefix end
  if #a.pattern ~= #b.pattern then return #a.pattern > #b.pattern end
  return a.pattern < b.pattern
end

-- Returns a copy of `cfg`, nested as in a file, without what may hold a secret: what scripts see as sluice.config.
function config.public(cfg)
  local result = {}
  for section in pairs(schema.sections) do result[section] = {} end
  for _, row in ipairs(schema.rows) do
    if not row.secret then
      local section, name = row.key:match("^(.-)%.(.*)$")
      local target = section and result[section] or result
      target[name or row.key] = copy(cfg[row.key])
    end
  end
  return result
end

-- Returns the table for the core: a copy of `cfg` in which `listen` is "listen.host" and "listen.port", and
-- `channels` a list of
-- { pattern, slow, messages, bytes, age }, complete, of which the first whose pattern matches a channel is the one
-- that counts.
function config.flatten(cfg)
  local flat = copy(cfg)
  flat.listen = nil
  flat["listen.host"], flat["listen.port"] = address.split(cfg.listen)
  local rules = {}
  for pattern, rule in pairs(cfg.channels) do
    local complete = { pattern = pattern }
    for _, member in ipairs(schema.by_key.channels.members) do
      complete[member.key] = rule[member.key] or member.default or cfg[member.inherits]
    end
    rules[#rules + 1] = complete
  end
  table.sort(rules, before)
  flat.channels = rules
  return flat
end

return config
