-- SPDX-License-Identifier: MIT
-- Pages of other origins: those in `cors.origins` may read answers (CORS), and no other page may publish or look
-- inside the server. doc/cors.md says how to set it up. It is the first of the default scripts, so that a refusal by
-- any other carries its fields too.
local sluice = require "sluice"

local ALLOW_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
local ALLOW_HEADERS = "Authorization, Content-Type, Last-Event-ID, Cache-Control"
local ALLOW_ASKED = { "Idempotency-Key", "X-Request-Id" } -- said to those only who ask for them
local EXPOSE_HEADERS = "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-Id"
local INSIDE = "^/_sluice%f[/\0]" -- paths of what is about the server itself
local MAX_AGE = "7200" -- seconds for which a browser need not ask again; none keeps it longer

local find = string.find
local config, origins = sluice.config, sluice.origins

-- The header fields that a page may send, for a preflight.
local function allowed_headers(request)
  local asked = "," .. (request:header("Access-Control-Request-Headers") or ""):lower():gsub("%s", "") .. ","
  local list = { ALLOW_HEADERS }
  for _, name in ipairs(ALLOW_ASKED) do
    if asked:find("," .. name:lower() .. ",", 1, true) then list[#list + 1] = name end
  end
  return table.concat(list, ", ")
end

---@type sluice.script
return {
  name = "cors",
  priority = 1000,

  on_request = function(request)
    request:respond_header("Vary", "Origin")
    local origin, path = request:header("Origin"), request.path
    local inside = find(path, INSIDE) ~= nil
    if not origin and not inside then return end -- from no page, as far as one can tell, and nothing that a page must not do
    local listed = origin ~= nil and origins:is_listed(origin)
    local allowed = listed or (origin ~= nil and origins.anyone)
    if allowed then
      request:respond_header("Access-Control-Allow-Origin", listed and origin or "*")
      if listed and config.cors.credentials then request:respond_header("Access-Control-Allow-Credentials", "true") end
      request:respond_header("Access-Control-Expose-Headers", EXPOSE_HEADERS)
    end
    if origin and request.method == "OPTIONS" and request:header("Access-Control-Request-Method") then
      sluice.reject(204, nil, allowed and {
        ["Access-Control-Allow-Methods"] = ALLOW_METHODS,
        ["Access-Control-Allow-Headers"] = allowed_headers(request),
        ["Access-Control-Max-Age"] = MAX_AGE,
      } or nil)
    end
    -- To publish, and all that is about the server itself.
    if inside or (origin and path == "/publish" and request.method == "POST") then
      local may, why = origins:may_act(request, inside)
      if not may then sluice.reject(403, why) end
    end
  end,
}
