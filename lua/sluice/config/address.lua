-- SPDX-License-Identifier: MIT
-- Reads listen addresses (`host:port`) and IP addresses. Pure text: resolves no name.

local address = {}

-- The four bytes of a dotted IPv4 address in its only unambiguous form (no leading zero, no short form), or nil.
function address.ipv4(text)
  local bytes = { text:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$") }
  if #bytes == 0 then return nil end
  for i, digits in ipairs(bytes) do
    if #digits > 1 and digits:sub(1, 1) == "0" then return nil end
    bytes[i] = tonumber(digits)
    if bytes[i] > 255 then return nil end
  end
  return bytes
end

-- Appends the 16-bit groups of `text` ("1:2:3", perhaps with an IPv4 address at its end) to `groups`. False where it
-- is wrong.
local function read_groups(text, groups, may_end_in_ipv4)
  if text == "" then return true end
  for part, after in (text .. ":"):gmatch("([^:]*):()") do
    local bytes = may_end_in_ipv4 and after > #text + 1 and address.ipv4(part)
    if bytes then
      groups[#groups + 1] = bytes[1] << 8 | bytes[2]
      groups[#groups + 1] = bytes[3] << 8 | bytes[4]
    elseif part:find("^%x%x?%x?%x?$") then
      groups[#groups + 1] = tonumber(part, 16)
    else
      return false
    end
  end
  return true
end

-- The eight 16-bit groups of an IPv6 address (RFC 4291, 2.2; no brackets, no zone), or nil.
function address.ipv6(text)
  local head, tail = text:match("^(.-)::(.*)$")
  local groups = {}
  if not head then
    if text ~= "" and read_groups(text, groups, true) and #groups == 8 then return groups end
    return nil
  end
  local low = {}
  if tail:find("::", 1, true) then return nil end
  if not read_groups(head, groups, false) or not read_groups(tail, low, true) then return nil end
  local zeros = 8 - #groups - #low
  if zeros < 1 then return nil end
  for _ = 1, zeros do groups[#groups + 1] = 0 end
  table.move(low, 1, #low, #groups + 1, groups)
  return groups
end

-- True for an IPv4 or IPv6 address, alone or as a range `address/bits` without a bit set behind those.
function address.network(text)
  local base, digits = text:match("^([^/]+)/(%d%d?%d?)$")
  base = base or text
  local parts, width = address.ipv4(base), 8
  if not parts then parts, width = address.ipv6(base), 16 end
  if not parts then return false end
  if not digits then return true end
  local bits = tonumber(digits)
  if bits > #parts * width or #digits > 1 and digits:sub(1, 1) == "0" then return false end
  for index, part in ipairs(parts) do
    local free = math.max(0, math.min(width, index * width - bits)) -- bits of this part that are behind
    if part & (1 << free) - 1 ~= 0 then return false end
  end
  return true
end

-- True for a host name (RFC 1123, 2.1). What looks like a number is none: it would be read as an odd IPv4 address.
local function is_name(text)
  if #text > 253 or not text:find("^[%w.-]+$") or text:find("..", 1, true) then return false end
  for label in text:gmatch("[^.]*") do
    if #label > 63 or label:find("^-") or label:find("-$") then return false end
  end
  local last = text:match("([^.]*)%.?$")
  return text:sub(1, 1) ~= "." and last:find("%a") ~= nil and not last:find("^0[xX]%x*$")
end

-- Splits "127.0.0.1:80", "[::1]:80" or "name:80". Returns host (without brackets) and port as an integer, or nil.
function address.split(text)
  local host, digits = text:match("^%[([^%[%]]*)%]:(%d+)$")
  if host then
    if not address.ipv6(host) then return nil end
  else
    host, digits = text:match("^([^:]+):(%d+)$")
    if not host or not (address.ipv4(host) or is_name(host)) then return nil end
  end
  local port = #digits <= 5 and tonumber(digits)
  if not port or port > 65535 then return nil end
  return host, port
end

-- The opposite of split.
function address.join(host, port)
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  return ("%s:%d"):format(host, port)
end

-- True where only this machine can reach a listener on `host`.
function address.is_loopback(host)
  if host:lower() == "localhost" then return true end
  local bytes = address.ipv4(host)
  if bytes then return bytes[1] == 127 end
  local groups = address.ipv6(host)
  if not groups then return false end
  for i = 1, 5 do
    if groups[i] ~= 0 then return false end
  end
  if groups[6] == 0xffff then return groups[7] >> 8 == 127 end -- an IPv4 address in IPv6 clothes
  return groups[6] == 0 and groups[7] == 0 and groups[8] == 1
end

return address
