-- SPDX-License-Identifier: MIT
-- A plain HTTP/1.1 client on tcp.lua: writes requests, reads responses (sized, chunked, or to the end of the connection)
-- strictly, one after the other on a connection that is kept.
local socket = require("socket")
local tcp = require("spec.support.tcp")

local http = {}

-- Percent-encodes everything that is not unreserved (RFC 3986, 2.3).
function http.escape(text)
  return (text:gsub("[^%w%-%._~]", function(byte)
    return ("%%%02X"):format(byte:byte())
  end))
end

-- Builds a query string from a list of { name, value } pairs.
function http.query(pairs_list)
  local parts = {}
  for index, pair in ipairs(pairs_list) do
    parts[index] = http.escape(pair[1]) .. "=" .. http.escape(pair[2])
  end
  return table.concat(parts, "&")
end

-- Writes a request. Options: `version` ("1.1"), `headers` (a table, or a list of { name, value } where order or repetition
-- matters; Host is added where it is not given), `body` (adds Content-Length).
function http.format(method, target, options)
  options = options or {}
  local lines = { ("%s %s HTTP/%s"):format(method, target, options.version or "1.1") }
  local seen = {}
  local function add(name, value)
    seen[name:lower()] = true
    lines[#lines + 1] = name .. ": " .. tostring(value)
  end
  for key, value in pairs(options.headers or {}) do
    if type(key) == "number" then
      add(value[1], value[2])
    else
      add(key, value)
    end
  end
  if not seen.host then
    add("Host", "127.0.0.1")
  end
  if options.body and not seen["content-length"] and not seen["transfer-encoding"] then
    add("Content-Length", #options.body)
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (options.body or "")
end

-- Parses a response head, blank line included. Returns { status, reason, version, headers (by lower-case name; repeated ones joined
-- with ", "), fields (a list of { name, value }) }, or nil and what is wrong.
function http.parse_head(text)
  local version, status, reason, rest = text:match("^HTTP/(%d%.%d) (%d%d%d) ([^\r\n]*)\r\n(.*)$")
  if not version then
    return nil, "bad status line: " .. text:sub(1, 80)
  end
  local head = { version = version, status = tonumber(status), reason = reason, headers = {}, fields = {} }
  for line in rest:gmatch("(.-)\r\n") do
    if line == "" then
      return head
    end
    local name, value = line:match("^([%w!#$%%&'*+%-.^_`|~]+):[ \t]*(.-)[ \t]*$")
    if not name then
      return nil, "bad header field: " .. line
    end
    head.fields[#head.fields + 1] = { name, value }
    local key = name:lower()
    head.headers[key] = head.headers[key] and head.headers[key] .. ", " .. value or value
  end
  return nil, "the head does not end"
end

local function read_chunked(connection, timeout)
  local parts = {}
  while true do
    local line, message = connection:read_until("\r\n", timeout)
    local size = line and line:match("^(%x+)\r\n$")
    if not size then
      return nil, "bad chunk size: " .. tostring(line or message)
    end
    local count = tonumber(size, 16)
    local bytes = connection:read(count + 2, timeout)
    if not bytes or bytes:sub(-2) ~= "\r\n" then
      return nil, "bad chunk end"
    end
    if count == 0 then
      return table.concat(parts)
    end
    parts[#parts + 1] = bytes:sub(1, count)
  end
end

-- Reads one response. `options`: `method` of the request (HEAD has no body), `timeout`. Interim responses (100) are returned like any other, without a body.
-- Returns the head's table with `body` added, or nil and what is wrong ("closed", "timeout", ...).
function http.read_response(connection, options)
  options = options or {}
  local text, message = connection:read_until("\r\n\r\n", options.timeout)
  if not text then
    return nil, message
  end
  local response
  response, message = http.parse_head(text)
  if not response then
    return nil, message
  end
  response.head = text
  local status, headers = response.status, response.headers
  if options.method == "HEAD" or status < 200 or status == 204 or status == 304 then
    response.body = ""
  elseif headers["transfer-encoding"] then
    response.body, message = read_chunked(connection, options.timeout)
  elseif headers["content-length"] then
    response.body, message = connection:read(tonumber(headers["content-length"]), options.timeout)
  else
    local ended
    response.body, ended = connection:read_all(options.timeout)
    message = not ended and "timeout" or nil
  end
  if message then
    return nil, message
  end
  return response
end

-- One request on a kept connection: sends it and reads its answer. Raises where there is none.
function http.exchange(connection, method, target, options)
  local sent, message = connection:send(http.format(method, target, options))
  local response, failure = http.read_response(connection, { method = method, timeout = options and options.timeout })
  if not response then
    error(("%s %s: no answer: %s"):format(method, target, sent and failure or message), 2)
  end
  return response
end

-- One request on a connection of its own.
function http.request(port, method, target, options)
  local connection = tcp.connect(port)
  local ok, response = pcall(http.exchange, connection, method, target, options)
  connection:close()
  if not ok then
    error(response, 2)
  end
  return response
end

-- Sends many requests on one connection without waiting (in windows of `window`, 64 by default) and returns their responses in order.
-- `list` holds what http.format takes: { method, target, options }.
function http.pipeline(connection, list, window)
  window = window or 64
  local responses, sent = {}, 0
  local deadline = socket.gettime() + tcp.timeout
  while #responses < #list do
    local batch = {}
    while sent < #list and sent - #responses < window do
      sent = sent + 1
      batch[#batch + 1] = http.format(table.unpack(list[sent], 1, 3))
    end
    if #batch > 0 then
      assert(connection:send(table.concat(batch)))
    end
    local index = #responses + 1
    local response, message = http.read_response(connection, { method = list[index][1], timeout = deadline - socket.gettime() })
    if not response then
      error(("request %d of %d: %s"):format(index, #list, message), 2)
    end
    responses[index] = response
  end
  return responses
end

return http
