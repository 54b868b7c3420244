-- SPDX-License-Identifier: MIT
-- sluice token: makes a signed token for trying things out.

local config = require("sluice.config")
local kinds = require("sluice.config.kinds")
local options = require("sluice.cli.options")
local schema = require("sluice.config.schema")

local LIFETIME_S = 3600
local ALGORITHM = schema.by_key["jwt.algorithms"].item

-- The channels of a list with commas; or nil and a message.
local function split(text)
  local list = {}
  for item in (text .. ","):gmatch("([^,]*),") do
    item = item:match("^%s*(.-)%s*$")
    if not kinds.is_pattern(item) then
      return nil, ('expected channels, or prefixes with * at their end, with commas between, got "%s"'):format(text)
    end
    list[#list + 1] = item
  end
  return list
end

-- All channels that flags of this name give; nil where there is no such flag.
local function channels(given, name)
  local all
  for _, flag in ipairs(given.list) do
    if flag[1] == name then
      all = all or {}
      for _, channel in ipairs(split(flag[2])) do all[#all + 1] = channel end
    end
  end
  return all
end

local function check_lifetime(text)
  local seconds = tonumber(text)
  if text == "never" or (seconds and seconds == seconds and math.abs(seconds) <= 1e10) then return true end
  return nil, ('expected a number of seconds, or never, got "%s"'):format(text)
end

-- What the token says: who, until when, for which channels, and what the configuration asks of issuer and audience.
local function make_claims(core, cfg, given, now)
  local claims = { sub = given.sub, iat = now, iss = cfg["jwt.issuer"], aud = cfg["jwt.audience"] }
  if given.exp ~= "never" then
    local expiry = now + (tonumber(given.exp) or LIFETIME_S)
    claims.exp = math.tointeger(expiry) or expiry
  end
  local subscribe, publish = channels(given, "subscribe"), channels(given, "publish")
  if subscribe or publish or given.admin then
    claims.sluice = {
      subscribe = subscribe and core.json.array(subscribe),
      publish = publish and core.json.array(publish),
      admin = given.admin,
    }
  end
  return claims
end

return {
  name = "token",
  summary = "Makes a signed token for trying things out.",
  arguments = {},
  flags = {
    { name = "sub", value = "USER", description = "Names the user (sub): what scripts see as request.user and stream.user." },
    { name = "subscribe", value = "LIST", many = true, check = split, description = "Allows to subscribe to these channels: news,user.42.*" },
    { name = "publish", value = "LIST", many = true, check = split, description = "Allows to publish to these channels." },
    { name = "admin", description = "Makes it an administrator's." },
    {
      name = "exp", value = "SECONDS", check = check_lifetime,
      description = ("Expires so many seconds from now (%d), or never."):format(LIFETIME_S),
    },
    { name = "key", value = "KEY", description = "Signs with this secret; by default with the configuration's key." },
    {
      name = "algorithm", value = "NAME", description = "Signs by this algorithm; by default the first of jwt.algorithms.",
      check = function(text)
        if kinds.check(ALGORITHM, text) then return true end
        return nil, ('expected %s, got "%s"'):format(kinds.expected(ALGORITHM), text)
      end,
    },
    options.flag("config"),
    options.flag("set"),
  },
  notes = "Without --subscribe, --publish and --admin the token may subscribe anywhere and publish nowhere; with one of them only what they say.\n"
    .. "The key is that of JWT_SECRET, --config or --set. A private key as PEM signs RS* and ES*:\n"
    .. "  sluice token --set jwt.key_file=private.pem --algorithm RS256 --sub ann\n"
    .. "Example: sluice publish http://127.0.0.1:8080 news hello --token \"$(sluice token --publish news)\"\n",

  run = function(context, _, given)
    local cfg, message = options.resolve(context, given, true)
    if not cfg then return context.fail(message) end
    local key = given.key
    if not key then
      key, message = config.key(cfg)
      if message then return context.fail(message) end
    end
    if not key or key == "" then
      return context.fail("no key to sign with: set JWT_SECRET, or give --key, --config or --set jwt.key_file=FILE")
    end
    local core = context.core()
    local token
    token, message = core.token_sign(key, given.algorithm or cfg["jwt.algorithms"][1], make_claims(core, cfg, given, os.time()))
    if not token then return context.fail("token: " .. message) end
    return context.print(token)
  end,
}
