-- SPDX-License-Identifier: MIT
-- Who may use the routes below /_sluice/. Does not rely on the policy scripts, which may be anybody's: it verifies the token itself. What
-- a script has put into request.claims counts as well, so that scripts can know administrators by other means.

local access = {}

local CHALLENGE = 'Bearer realm="sluice"' -- RFC 6750, 3

-- The token a request carries: in Authorization, as ?token=, or in the configured cookie.
local function find_token(request, cookie)
  local scheme, credentials = (request:header("Authorization") or ""):match("^(%S+) +(.+)$")
  if scheme and scheme:lower() == "bearer" then return credentials end
  return request:query("token") or (cookie and request:cookie(cookie))
end

-- Returns a function (request, open). Where the request may go on it returns nothing, and otherwise raises the refusal; `open` has one for want of an
-- administrator's token returned instead: status, problem, headers. `sluice` is what scripts see.
function access.new(sluice)
  local config, reject, verify, has_key = sluice.config, sluice.reject, sluice.jwt.verify, sluice.jwt.has_key
  local origins, cookie, proxied = sluice.origins, config.jwt.cookie, #config.trust_proxy > 0

  -- Returns nothing where the request is an administrator's; or status, problem, headers.
  local function check_claims(request)
    local claims = request.claims
    if not claims then
      local token = find_token(request, cookie)
      local problem = "missing token"
      if token and token ~= "" then claims, problem = verify(token) end
      if not claims then return 401, problem, { ["WWW-Authenticate"] = CHALLENGE } end
    end
    local rights = claims.sluice
    if type(rights) ~= "table" or rights.admin ~= true then return 403, "the token is no administrator's: its claim sluice.admin must be true" end
    if type(claims.exp) == "number" then request.expires = claims.exp end
  end

  -- Without a key only this machine may. A proxy on it makes everyone look so, but says for whom it asks.
  local function check_place(request)
    local forwarded = not proxied and (request:header("X-Forwarded-For") or request:header("Forwarded"))
    if forwarded or not origins.is_loopback(request.ip:find(":", 1, true) and "[" .. request.ip .. "]" or request.ip) then
      reject(403, "without a key (jwt.key) this is for clients on the server's own machine only")
    end
  end

  return function(request, open)
    local allowed, why = origins:may_act(request, true)
    if not allowed then reject(403, why) end
    if not has_key then return check_place(request) end
    local status, problem, headers = check_claims(request)
    if open then return status, problem, headers end
    if status then reject(status, problem, headers) end
  end
end

return access
