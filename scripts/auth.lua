-- SPDX-License-Identifier: MIT
-- Who may: verifies the token of each request, and holds streams and publishers to the channels that it covers.
-- Routes with { auth = false } are open to all. Without a key (jwt.key, jwt.key_file) everything is, and tokens are
-- ignored. doc/auth.md tells it from the outside.
--
-- Leaves for other scripts what the token says: request.user (its `sub`) and request.claims (all of it); and with
-- request.expires (its `exp`) the stream ends when it does.

local sluice = require "sluice"

if not sluice.jwt.has_key then return { name = "auth", priority = 800 } end

local CHALLENGE = 'Bearer realm="sluice"' -- RFC 6750, 3
local MAX_USER_BYTES = 256
local ON_EVERY_STREAM = "sluice.all"

local cookie = sluice.config.jwt.cookie -- of which name a token may come; nil: none
local verify, covers = sluice.jwt.verify, sluice.jwt.covers

-- What is wrong with the claims that are ours; nil where nothing is. What is not understood must not be taken for a
-- permission.
local function problem_with(claims)
  local user, rights = claims.sub, claims.sluice
  if user ~= nil and (type(user) ~= "string" or #user > MAX_USER_BYTES or user:find("%c")) then
    return ("the claim sub must be a string of at most %d bytes without control characters"):format(MAX_USER_BYTES)
  end
  if rights == nil then return nil end
  if type(rights) ~= "table" then return "the claim sluice must be an object" end
  if covers(rights.subscribe, "") == nil then return "the claim sluice.subscribe must be a list of channels" end
  if covers(rights.publish, "") == nil then return "the claim sluice.publish must be a list of channels" end
  local admin = rights.admin
  if admin ~= nil and admin ~= true and admin ~= false then return "the claim sluice.admin must be true or false" end
  return nil
end

-- Returns the claims of a request's good token; or nil, and what is wrong with the token where there is one.
local function identify(request)
  local token, problem = request:token(cookie)
  if not token then return nil, problem end
  local claims, reason = verify(token)
  if not claims then return nil, reason end
  problem = problem_with(claims)
  if problem then return nil, problem end
  return claims
end

local function is_open(request)
  local options = request.options
  return options ~= nil and options.auth == false
end

---@type sluice.script
return {
  name = "auth",
  priority = 800,

  on_request = function(request)
    if request.method == "OPTIONS" then return end
    local claims, problem = identify(request)
    if claims then
      request.claims = claims
      if claims.sub and claims.sub ~= "" then request.user = claims.sub end
    end
    if is_open(request) then return end
    if claims then
      request.expires = claims.exp
      return
    end
    local challenge = CHALLENGE
    if problem then challenge = ('%s, error="invalid_token", error_description="%s"'):format(CHALLENGE, problem) end
    return sluice.reject(401, problem or "missing token", { ["WWW-Authenticate"] = challenge })
  end,

  on_subscribe = function(stream, channel)
    if channel == ON_EVERY_STREAM then return end
    local request = stream.request
    if not request then return false, "the stream's handler has ended, and with it what its token allowed" end
    if is_open(request) then return end
    local claims = request.claims
    if not claims then return false, "no token allows to subscribe" end
    if claims.sluice == nil or covers(claims.sluice.subscribe, channel) then return end
    return false, ("the token does not allow to subscribe to '%s'"):format(channel)
  end,

  on_publish = function(message, request)
    if not request or is_open(request) then return end -- the server's own, or the business of an open route
    local claims = request.claims
    if claims and claims.sluice and covers(claims.sluice.publish, message.channel) then return end
    return false, "the token does not allow to publish to this channel"
  end,
}
