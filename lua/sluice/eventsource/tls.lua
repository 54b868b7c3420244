-- SPDX-License-Identifier: MIT
-- TLS for the client, by LuaSec where that is installed: https:// needs nothing else, http:// does not need it.

local tls = {}

-- Where systems keep the certificates they trust: Debian and Alpine, Fedora, openSUSE, FreeBSD, macOS.
local BUNDLES = {
  "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
  "/usr/local/share/certs/ca-root-nss.crt", "/etc/ssl/cert.pem",
}
local ALTERNATIVE_NAMES = "2.5.29.17"
local RECEIVE_BYTES = 16384

-- Returns LuaSec; or nil and what to install.
function tls.available()
  local ok, ssl = pcall(require, "ssl")
  if ok then return ssl end
  return nil, "https:// needs LuaSec: install Debian's package lua-sec, or `luarocks install luasec`; "
    .. "without it use the server's plain port, as http://host:port"
end

local function trusted_certificates()
  local given = os.getenv("SSL_CERT_FILE")
  if given and given ~= "" then return given end
  for _, path in ipairs(BUNDLES) do
    local file = io.open(path, "r")
    if file then
      file:close()
      return path
    end
  end
  return nil, "no file of trusted certificates is to be found: name one with --ca FILE or SSL_CERT_FILE"
end

-- Makes what connections share. `ca` is a PEM file of the certificates to trust, nil: the system's. Returns it, or nil and a message.
function tls.context(ca)
  local ssl, message = tls.available()
  if not ssl then return nil, message end
  if not ca then
    ca, message = trusted_certificates()
    if not ca then return nil, message end
  end
  local context
  context, message = ssl.newcontext({ mode = "client", protocol = "any", options = { "all", "no_sslv2", "no_sslv3", "no_tlsv1", "no_tlsv1_1" },
    verify = "peer", cafile = ca })
  if not context then return nil, ("%s: %s"):format(ca, message) end
  return context
end

-- Whether a name of a certificate, which may begin with "*.", covers a host (RFC 9525, 6.3).
function tls.covers(name, host)
  name, host = name:lower(), host:lower():gsub("%.$", "")
  if name == host then return true end
  local suffix = name:match("^%*(%..+%..+)$")
  return suffix ~= nil and #host > #suffix and host:sub(-#suffix) == suffix and not host:sub(1, -#suffix - 1):find(".", 1, true)
end

local function is_address(host) return host:find(":", 1, true) ~= nil or host:find("^%d+%.%d+%.%d+%.%d+$") ~= nil end

-- Whether the certificate is the host's: OpenSSL has checked who signed it, not for whom.
local function is_for(certificate, host)
  local names = (certificate and certificate:extensions() or {})[ALTERNATIVE_NAMES] or {}
  if is_address(host) then
    for _, address in ipairs(names.iPAddress or {}) do
      if address:lower() == host:lower() then return true end
    end
    return false
  end
  for _, name in ipairs(names.dNSName or {}) do
    if tls.covers(name, host) then return true end
  end
  return false
end

-- --- a connection ------------------------------------------------------------------------------------

local connection = {}
connection.__index = connection

-- Puts TLS on a connected descriptor of core.client, which is not to be used any more. Returns the connection, or nil and a message.
function tls.wrap(context, descriptor, host)
  local handle, message = tls.available().wrap({ getfd = function() return descriptor:release() end, setfd = function() end }, context)
  if not handle then return nil, message end
  handle:settimeout(0)
  if not is_address(host) then handle:sni(host) end
  return setmetatable({ handle = handle, host = host, wants = "w" }, connection)
end

function connection:fd() return self.handle:getfd() end

-- What is wrong, of LuaSec's words; nil where it is only to be called again.
function connection:problem(message)
  if message == "wantread" or message == "timeout" then
    self.wants = "r"
  elseif message == "wantwrite" then
    self.wants = "w"
  else
    return message
  end
end

-- Returns whether the connection is secure now; or nil, a message, and whether it is the certificate. `wants` says what to wait for before the
-- next call, "r" or "w".
function connection:handshake()
  local done, message = self.handle:dohandshake()
  if not done then
    local problem = self:problem(message)
    if problem then return nil, problem, problem:find("certificate", 1, true) ~= nil end
    return false
  end
  if not is_for(self.handle:getpeercertificate(), self.host) then return nil, "the certificate is not for " .. self.host, true end
  self.wants = "w"
  return true
end

-- Like those of a descriptor.
function connection:send(bytes, from)
  local last, message, partial = self.handle:send(bytes, from)
  if last then return last - from + 1 end
  local problem = self:problem(message)
  if problem then return nil, problem end
  return math.max((partial or from - 1) - from + 1, 0)
end

function connection:receive()
  local bytes, message, partial = self.handle:receive(RECEIVE_BYTES)
  bytes = bytes or partial
  if bytes and bytes ~= "" then return bytes end
  if message == "closed" then return nil end
  local problem = self:problem(message)
  if problem then return nil, problem end
  return false
end

-- Whether something was received that no poll will tell of.
function connection:has_more() return self.handle:dirty() end

function connection:close() self.handle:close() end

return tls
