-- SPDX-License-Identifier: MIT
-- The text of HTTP/1.1 for clients: URLs, requests, whole responses (RFC 9110, RFC 9112). Opens no socket.

local address = require("sluice.config.address")

local http = {}

-- Percent-encodes all but the unreserved characters (RFC 3986, 2.3).
function http.encode(text)
  return (text:gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local PORTS = { http = 80, https = 443 }

-- Reads an absolute http URL; with `secure` one of https too. Returns { scheme, host (no brackets), port, authority = what the Host field says,
-- path = "" or "/…" without a slash at its end, query = text or nil }; or nil and a message, which never shows a password.
function http.parse_url(url, secure)
  local scheme, rest = url:match("^(%a[%w+.-]*)://(.*)$")
  if not scheme then return nil, "not a URL: expected http://host:port" end
  scheme = scheme:lower()
  if scheme == "https" and not secure then
    return nil, "https:// is not supported: publish through the server's plain port, as http://host:port"
  end
  if not PORTS[scheme] then return nil, "expected a URL that begins with http://" end
  if rest:find("[%c ]") then return nil, "a URL holds no blanks or control characters" end
  rest = rest:gsub("#.*$", "")
  local authority, path, query = rest:match("^([^/?]*)([^?]*)%??(.*)$")
  if authority:find("@", 1, true) then return nil, "a name and password in the URL are not supported" end
  local has_port = authority:find(":%d+$") ~= nil
  local host, port = address.split(has_port and authority or ("%s:%d"):format(authority, PORTS[scheme]))
  if not host or port == 0 then return nil, "no good host and port in the URL: expected http://host:port" end
  if query == "" then query = nil end
  return { scheme = scheme, host = host, port = port, authority = authority, path = path:gsub("/+$", ""), query = query }
end

-- Writes a request that asks for the connection to be closed after the answer. `fields` is a list of { name, value };
-- nil where a value cannot stand in a header, then with a message.
function http.build_request(method, authority, target, fields, body)
  local lines = { ("%s %s HTTP/1.1"):format(method, target), "Host: " .. authority, "Connection: close" }
  for _, field in ipairs(fields) do
    if field[2]:find("%c") then return nil, ("control characters in %s"):format(field[1]) end
    lines[#lines + 1] = field[1] .. ": " .. field[2]
  end
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

-- Decodes a chunked body that begins at `from` (RFC 9112, 7.1). Returns it, or nil and a message.
local function read_chunks(raw, from)
  local parts = {}
  while true do
    local digits, start = raw:match("^(%x+)[^\r\n]*\r\n()", from)
    if not digits or #digits > 15 then return nil, "the answer is cut off or its chunks are wrong" end
    local size = tonumber(digits, 16)
    if size == 0 then return table.concat(parts) end
    if #raw < start + size + 1 or raw:sub(start + size, start + size + 1) ~= "\r\n" then
      return nil, "the answer is cut off or its chunks are wrong"
    end
    parts[#parts + 1] = raw:sub(start, start + size - 1)
    from = start + size + 2
  end
end

local function read_fields(head)
  local headers = {}
  for line in head:gmatch("[^\r\n]+") do
    local name, value = line:match("^([^%s:]+):[ \t]*(.-)[ \t]*$")
    if not name then return nil, "the answer's header is malformed" end
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  return headers
end

-- Reads the head of a response, which begins at `from`. Returns { status, reason, headers (names in lower case, repeated
-- ones joined by ", ") } and where its body begins; or nil and a message.
function http.parse_head(raw, from)
  local status, reason, rest = raw:match("^HTTP/1%.%d (%d%d%d) ?([^\r\n]*)\r\n()", from)
  if not status then return nil, "the answer is not HTTP/1.1" end
  local head_end, body_start = raw:match("()\r\n\r\n()", rest - 2)
  if not head_end then return nil, "the answer is cut off in its header" end
  local headers, message = read_fields(raw:sub(rest, head_end - 1))
  if not headers then return nil, message end
  return { status = tonumber(status), reason = reason, headers = headers }, body_start
end

-- Reads a whole response, as received until the server closed. Interim answers (1xx) are skipped. Returns what parse_head
-- does with the `body`; or nil and a message. `method` is the request's.
function http.parse_response(raw, method)
  local from = 1
  local answer
  repeat
    if from > #raw then return nil, "the server closed the connection without an answer" end
    answer, from = http.parse_head(raw, from)
    if not answer then return nil, from end
  until answer.status >= 200
  answer.body = ""
  if method == "HEAD" or answer.status == 204 or answer.status == 304 then return answer end
  if (answer.headers["transfer-encoding"] or ""):lower():find("chunked%s*$") then
    local body, message = read_chunks(raw, from)
    if not body then return nil, message end
    answer.body = body
    return answer
  end
  answer.body = raw:sub(from)
  local length = answer.headers["content-length"]
  if length then
    length = length:find("^%d+$") and #length <= 15 and tonumber(length)
    if not length then return nil, "the answer's Content-Length is malformed" end
    if #answer.body < length then return nil, "the answer is cut off in its body" end
    answer.body = answer.body:sub(1, length)
  end
  return answer
end

return http
