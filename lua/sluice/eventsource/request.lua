-- SPDX-License-Identifier: MIT
-- The request of an event source: its URL, where a redirect leads, its header. Opens no socket.

local http = require "sluice.http"
local tls = require "sluice.eventsource.tls"
local version = require "sluice.version"

local request = {}

-- What the client itself must say, or the answer would not be what it reads.
local FIXED = { host = true, connection = true, ["content-length"] = true, ["transfer-encoding"] = true, ["last-event-id"] = true }
-- What is not for another server than the one it was meant for.
local SECRET = { authorization = true, cookie = true, ["proxy-authorization"] = true }

-- Reads a URL. Returns { scheme, host, port, authority, target, origin, text = without a fragment }; or nil and a message.
function request.parse_url(text)
  local url, message = http.parse_url(text, true)
  if not url then return nil, message end
  if url.scheme == "https" then
    local ok, why = tls.available()
    if not ok then return nil, why end
  end
  text = text:gsub("#.*$", "")
  local target = text:match("^%a+://[^/?]*(.*)$")
  if target:sub(1, 1) ~= "/" then target = "/" .. target end
  return {
    scheme = url.scheme, host = url.host, port = url.port, authority = url.authority, target = target, text = text,
    origin = ("%s://%s:%d"):format(url.scheme, url.host:lower(), url.port),
  }
end

-- Takes "." and ".." out of a path (RFC 3986, 5.2.4).
local function remove_dots(path)
  local parts = {}
  for part in path:gmatch("/([^/]*)") do
    if part == ".." then
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  if path:find("/%.%.?$") then parts[#parts + 1] = "" end
  return "/" .. table.concat(parts, "/")
end

-- The URL that a reference in an answer to `base` means (RFC 3986, 5.2.2); fails as parse_url does.
function request.resolve(base, reference)
  reference = reference:gsub("#.*$", "")
  if reference:find("^%a[%w+.-]*:") then return request.parse_url(reference) end
  if reference:find("^//") then return request.parse_url(base.scheme .. ":" .. reference) end
  local origin, path = base.scheme .. "://" .. base.authority, base.target:match("^[^?]*")
  if reference == "" then return base end
  if reference:find("^?") then return request.parse_url(origin .. path .. reference) end
  local new_path, query = reference:match("^([^?]*)(.*)$")
  if new_path:sub(1, 1) ~= "/" then new_path = path:match("^.*/") .. new_path end
  return request.parse_url(origin .. remove_dots(new_path) .. query)
end

-- Checks a header field that a user gives. Returns true, or nil and a message.
function request.check_field(name, value)
  if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
    return nil, ('"%s" is no name of a header field'):format(tostring(name))
  end
  if FIXED[name:lower()] then return nil, ("the header field %s is the client's own to set"):format(name) end
  if type(value) ~= "string" or value:find("%c") then
    return nil, ("the header field %s needs a string without control characters"):format(name)
  end
  return true
end

-- Writes the request. `fields` is a list of { name, value } from the user, which replace the defaults of the same name; `foreign` says that
-- `url` belongs to another server than they were given for.
function request.build(url, fields, last_id, foreign)
  local list, given = {}, {}
  for _, field in ipairs(fields) do
    local name = field[1]:lower()
    given[name] = true
    if not (foreign and SECRET[name]) then list[#list + 1] = field end
  end
  for _, field in ipairs({
    { "Accept", "text/event-stream" }, { "Cache-Control", "no-store" }, { "Accept-Encoding", "gzip" }, { "User-Agent", "sluice/" .. version },
  }) do
    if not given[field[1]:lower()] then list[#list + 1] = field end
  end
  -- Any id can stand here that a stream can set, save one with control characters: such a one is no header field's value.
  if last_id ~= "" and not last_id:find("%c") then list[#list + 1] = { "Last-Event-ID", last_id } end
  return http.build_request("GET", url.authority, url.target, list)
end

return request
