-- SPDX-License-Identifier: MIT
-- Which web pages may do what: the `Origin` of a request against `cors.origins` and the server's own. `sluice.origins` for scripts, and what guards the
-- routes below /_sluice/. Runs inside workers.

local origins = {}
origins.__index = origins

-- `settings` is the table of `cors`, `keyed` whether tokens are asked for, `cookie` the name of the cookie that may carry one.
function origins.new(settings, keyed, cookie, insecure)
  local self = setmetatable({ exact = {}, families = {}, anyone = false, keyed = keyed, cookie = cookie, insecure = insecure }, origins)
  for _, origin in ipairs(settings.origins) do
    local scheme, rest = origin:match("^(.-://)%*(.*)$")
    if scheme then
      self.families[#self.families + 1] = { scheme, rest }
    elseif origin == "*" then
      self.anyone = true
    else
      self.exact[origin] = true
    end
  end
  return self
end

-- True where cors.origins names the origin, or its family (https://*.app.example).
function origins:is_listed(origin)
  if self.exact[origin] then return true end
  for _, family in ipairs(self.families) do
    local scheme, rest = family[1], family[2]
    local below = origin:sub(#scheme + 1, -#rest - 1)
    if origin == scheme .. below .. rest and below:find("^[%w_-][%w._-]*$") then return true end
  end
  return false
end

-- True for names that mean this machine wherever they are looked up: what an attacker's name resolves to is the attacker's choice (DNS rebinding).
function origins.is_loopback(host)
  local name = host:match("^%[(.*)%]") or host:match("^[^:]*")
  return name == "localhost" or name == "::1" or name:find("^127%.%d+%.%d+%.%d+$") ~= nil or name:find("%.localhost$") ~= nil
end

-- True where `origin` is the one that the request was sent to.
local function is_own(self, origin, host)
  local scheme, authority = origin:match("^(https?)://(.+)$")
  if not scheme then return false end
  host = host:gsub(scheme == "https" and ":443$" or ":80$", "")
  return authority == host and (self.keyed or self.is_loopback(host))
end

-- A page that is told "any origin" may still not act with its visitor's cookie.
local function carries_cookie(self, request)
  return self.cookie ~= nil and request:cookie(self.cookie) ~= nil
end

-- A browser leaves Origin out where a page only loads something: then the other marks of such a request count.
local function is_hidden_page(self, request, host)
  if not self.keyed and not self.insecure and not self.is_loopback(host) then return true end
  local site = request:header("Sec-Fetch-Site")
  return (site == "cross-site" or site == "same-site") and request:header("Sec-Fetch-Dest") ~= "document"
end

-- Whether the page that a request comes from, if any, may act on the server: one of cors.origins, or the server's own. `inside` is for what is about the
-- server itself: there a request without Origin must not come from another page either. Returns true, or nil and why not.
function origins:may_act(request, inside)
  local origin = request:header("Origin")
  local host = (request:header("Host") or ""):lower()
  if not origin then
    if inside and is_hidden_page(self, request, host) then return nil, "pages of other origins may not do this" end
    return true
  end
  if self:is_listed(origin) or is_own(self, origin, host) or (self.anyone and not carries_cookie(self, request)) then return true end
  return nil, ("pages of origin '%s' may not do this: it is not in cors.origins"):format(origin)
end

return origins
