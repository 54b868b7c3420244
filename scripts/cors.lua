-- SPDX-License-Identifier: MIT
-- Pages of other origins: those in `cors.origins` may read answers (CORS), and no other page may publish or look
-- inside the server. doc/cors.md says how to set it up. It is the first of the default scripts, so that a refusal by
-- any other carries its fields too.
local sluice = require "sluice"

local ALLOW_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
local ALLOW_HEADERS = "Authorization, Content-Type, Last-Event-ID, Cache-Control"
local EXPOSE_HEADERS = "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-Id"
local MAX_AGE = "7200" -- seconds for which a browser need not ask again; none keeps it longer

local config = sluice.config
local keyed = sluice.jwt.has_key

-- cors.origins: exact ones, families ({ "https://", ".app.example" }), or anyone.
local exact, families, anyone = {}, {}, false
for _, origin in ipairs(config.cors.origins) do
  local scheme, rest = origin:match("^(.-://)%*(.*)$")
  if scheme then
    families[#families + 1] = { scheme, rest }
  elseif origin == "*" then
    anyone = true
  else
    exact[origin] = true
  end
end

local function is_listed(origin)
  if exact[origin] then return true end
  for _, family in ipairs(families) do
    local scheme, rest = family[1], family[2]
    local below = origin:sub(#scheme + 1, -#rest - 1)
    if origin == scheme .. below .. rest and below:find("^[%w_-][%w._-]*$") then return true end
  end
  return false
end

-- True for names that mean this machine wherever they are looked up: what an attacker's name resolves to is the
-- attacker's choice (DNS rebinding).
local function is_loopback(host)
  local name = host:match("^%[(.*)%]") or host:match("^[^:]*")
  return name == "localhost" or name == "::1" or name:find("^127%.%d+%.%d+%.%d+$") ~= nil or name:find("%.localhost$") ~= nil
end

-- True where `origin` is the one that the request was sent to.
local function is_own(origin, host)
  local scheme, authority = origin:match("^(https?)://(.+)$")
  if not scheme then return false end
  host = host:gsub(scheme == "https" and ":443$" or ":80$", "")
  return authority == host and (keyed or is_loopback(host))
end

-- A page that is told "any origin" may still not act with its visitor's cookie.
local function carries_cookie(request)
  local name = config.jwt.cookie
  return name ~= nil and request:cookie(name) ~= nil
end

-- A browser leaves Origin out where a page only loads something: then the other marks of such a request count.
local function is_hidden_page(request, host)
  if not keyed and not config.insecure and not is_loopback(host) then return true end
  local site = request:header("Sec-Fetch-Site")
  return (site == "cross-site" or site == "same-site") and request:header("Sec-Fetch-Dest") ~= "document"
end

-- Refuses what comes from a page that may not do it: to publish, and all that is about the server itself.
local function check_page(request, origin, listed)
  local path = request.path
  local inside = path:find("/_sluice", 1, true) == 1 and path:find("^/_sluice%f[/\0]") ~= nil
  if not inside and not (origin and path == "/publish" and request.method == "POST") then return end
  local host = (request:header("Host") or ""):lower()
  if not origin then
    if is_hidden_page(request, host) then sluice.reject(403, "pages of other origins may not do this") end
  elseif not listed and not is_own(origin, host) and (not anyone or carries_cookie(request)) then
    sluice.reject(403, ("pages of origin '%s' may not do this: it is not in cors.origins"):format(origin))
  end
end

---@type sluice.script
return {
  name = "cors",
  priority = 1000,

  on_request = function(request)
    request:respond_header("Vary", "Origin")
    local origin = request:header("Origin")
    local listed = origin ~= nil and is_listed(origin)
    local allowed = listed or (origin ~= nil and anyone)
    if allowed then
      request:respond_header("Access-Control-Allow-Origin", listed and origin or "*")
      if listed and config.cors.credentials then request:respond_header("Access-Control-Allow-Credentials", "true") end
      request:respond_header("Access-Control-Expose-Headers", EXPOSE_HEADERS)
    end
    if origin and request.method == "OPTIONS" and request:header("Access-Control-Request-Method") then
      sluice.reject(204, nil, allowed and {
        ["Access-Control-Allow-Methods"] = ALLOW_METHODS,
        ["Access-Control-Allow-Headers"] = ALLOW_HEADERS,
        ["Access-Control-Max-Age"] = MAX_AGE,
      } or nil)
    end
    check_page(request, origin, listed)
  end,
}
