-- SPDX-License-Identifier: MIT
-- The types a configuration key can have: how a value is read from text, checked, and what is said to be expected.

local address = require("sluice.config.address")
local nearest = require("sluice.nearest")

local kinds = {}

-- By name of the type:
--   expected(row)      what a value of it is, for messages: "an integer from 1 to 256"
--   check(row, value)  the value in its normal form; or nil, and where a part of it is wrong a problem (as kinds.check)
--   parse(row, text)   the value that `text` stands for, not yet checked; nil, and perhaps what is expected instead,
--                      where it stands for none. Without it text is the value.
local KINDS = {}

-- Numbers as people write them, 600 rather than 600.0.
local function number_text(value)
  local whole = math.type(value) == "float" and value == value and math.tointeger(value)
  return whole and tostring(whole) or ("%.14g"):format(value)
end

-- Shows a value in a message: one line, not too long, no password of a URL.
function kinds.show(value)
  local kind = type(value)
  if kind == "number" then
    if math.type(value) == "integer" then return tostring(value) end
    return number_text(value)
  elseif kind == "boolean" or kind == "nil" then
    return tostring(value)
  elseif kind ~= "string" then
    return "a " .. kind
  end
  local text = value:gsub("://[^/%s]*@", "://***@")
  if #text > 60 then text = text:sub(1, 57):gsub("[\xC2-\xF4][\x80-\xBF]*$", "") .. "..." end
  text = text:gsub('[%c"\\]', function(c)
    return c:find("%c") and ("\\%d"):format(c:byte()) or "\\" .. c
  end)
  return '"' .. text .. '"'
end

local UNITS = { s = "seconds", ms = "milliseconds", bytes = "bytes" }

local function expected_number(row)
  local what = row.type == "integer" and "an integer" or "a number"
  if row.unit then what = ("a %snumber of %s"):format(row.type == "integer" and "whole " or "", UNITS[row.unit]) end
  return ("%s from %s to %s"):format(what, number_text(row.min), number_text(row.max))
end

-- Decimal notation only: what else tonumber takes (0x10, blanks) is more likely a mistake.
local function parse_number(_, text)
  if text:find("^[+-]?%d+%.?%d*[eE]?[+-]?%d*$") or text:find("^[+-]?%.%d+[eE]?[+-]?%d*$") then
    return tonumber(text)
  end
  return nil
end

KINDS.number = {
  expected = expected_number,
  parse = parse_number,
  check = function(row, value)
    -- Not-a-number fails both comparisons, an infinite number one of them.
    if type(value) == "number" and value >= row.min and value <= row.max then return value end
    return nil
  end,
}

KINDS.integer = {
  expected = expected_number,
  parse = parse_number,
  check = function(row, value)
    local whole = type(value) == "number" and math.tointeger(value)
    if whole and whole >= row.min and whole <= row.max then return whole end
    return nil
  end,
}

KINDS.boolean = {
  expected = function() return "true or false" end,
  parse = function(_, text)
    if text == "true" then return true end
    if text == "false" then return false end
    return nil
  end,
  check = function(_, value)
    if type(value) == "boolean" then return value end
    return nil
  end,
}

-- A kind of string: `accept` returns the normal form of good text, or nil.
local function string_kind(expected, accept)
  return {
    expected = function() return expected end,
    check = function(_, value)
      if type(value) ~= "string" then return nil end
      return accept(value)
    end,
  }
end

local function is_plain(text)
  return text ~= "" and not text:find("%c")
end

KINDS.string = string_kind("a string, not empty, without control characters", function(text)
  return is_plain(text) and text or nil
end)

KINDS.file = string_kind("the path of a file", function(text)
  return is_plain(text) and text or nil
end)

KINDS.folder = string_kind("the path of a folder", function(text)
  return is_plain(text) and text or nil
end)

KINDS.secret = string_kind("a string that is not empty", function(text)
  return text ~= "" and text or nil
end)

KINDS.name = string_kind("a cookie's name (letters, digits and !#$%&'*+-.^_`|~)", function(text)
  return text:find("^[%w!#$%%&'*+.^_`|~-]+$") and text or nil
end)

KINDS.address = string_kind('an address as "host:port" or "[IPv6]:port" with a port from 0 to 65535', function(text)
  local host, port = address.split(text)
  return host and address.join(host, port) or nil
end)

KINDS.network = string_kind('an IPv4 or IPv6 address, or a range such as "10.0.0.0/8" (nothing behind its bits)', function(text)
  return address.network(text) and text:lower() or nil
end)

local DEFAULT_PORTS = { http = "80", https = "443" }

local ORIGIN_EXPECTED = 'an origin such as "https://app.example:8443" or "https://*.example" (no path), or "*"'

-- Brings an origin to the form that browsers send (RFC 6454, 6.1): lower case, the scheme's own port left out.
KINDS.origin = string_kind(ORIGIN_EXPECTED, function(text)
  if text == "*" then return text end
  local scheme, rest = text:lower():match("^(%l[%l%d+.-]*)://(.+)$")
  if not scheme then return nil end
  local host, port = rest:match("^(.-):(%d+)$")
  host = host or rest
  local name = host:gsub("^%*%.", "", 1)
  if not name:find("^[%w_-][%w._-]*$") and not address.ipv6(host:match("^%[(.*)%]$") or "") then return nil end
  if not port or port == DEFAULT_PORTS[scheme] then return scheme .. "://" .. host end
  if #port > 5 or tonumber(port) > 65535 then return nil end
  return scheme .. "://" .. rest
end)

KINDS.redis_url = string_kind('"redis://[user:password@]host[:port][/database]", or rediss:// for TLS', function(text)
  local rest = text:match("^rediss?://(.*)$")
  if not rest or text:find("[%c ]") then return nil end
  local authority = rest:match("^(.*)/%d*$") or rest
  local host = authority:match("[^@]*$")
  if not host:find(":%d+$") or host:find("^%[.*%]$") then host = host .. ":6379" end
  return address.split(host) and text or nil
end)

KINDS.enum = {
  expected = function(row)
    local words = {}
    for i, word in ipairs(row.values) do words[i] = '"' .. word .. '"' end
    if #words == 1 then return words[1] end
    return table.concat(words, ", ", 1, #words - 1) .. " or " .. words[#words]
  end,
  check = function(row, value)
    for _, word in ipairs(row.values) do
      if word == value then return value end
    end
    return nil
  end,
}

KINDS.list = {
  expected = function(row)
    return (row.min_items and "a list, not empty, each " or "a list, each ") .. kinds.expected(row.item)
  end,
  parse = function(_, text)
    local list = {}
    for item in text:gmatch("[^,]+") do
      item = item:match("^%s*(.-)%s*$")
      if item ~= "" then list[#list + 1] = item end
    end
    return list
  end,
  check = function(row, value)
    if type(value) ~= "table" then return nil end
    local count = 0
    for _ in pairs(value) do count = count + 1 end
    if count ~= #value or count < (row.min_items or 0) then return nil end
    local list, seen = {}, {}
    for i, item in ipairs(value) do
      local checked = kinds.check(row.item, item)
      if checked == nil then
        return nil, { path = ("[%d]"):format(i), value = item, expected = kinds.expected(row.item) }
      end
      -- What stands there twice counts once.
      if not (row.unique and seen[checked]) then list[#list + 1] = checked end
      seen[checked] = true
    end
    return list
  end,
}

local PATTERN_EXPECTED = "a channel, or a prefix with * at its end (1 to 200 bytes of UTF-8, no control characters)"

-- True for a channel's name, or a prefix with * at its end.
function kinds.is_pattern(text)
  if type(text) ~= "string" or text == "" then return false end
  local prefix = text:gsub("%*$", "")
  return #prefix <= 200 and not prefix:find("[%c*]") and utf8.len(prefix) ~= nil
end

-- Checks one rule of `channels`: a table of the members of the row.
local function check_rule(row, pattern, rule)
  local path = ("[%s]"):format(kinds.show(pattern))
  if not kinds.is_pattern(pattern) then return nil, { path = path, value = pattern, expected = PATTERN_EXPECTED } end
  if type(rule) ~= "table" then
    return nil, { path = path, value = rule, expected = "a table such as { slow = \"conflate\", messages = 100 }" }
  end
  local checked, names, by_name = {}, {}, {}
  for i, member in ipairs(row.members) do
    names[i], by_name[member.key] = member.key, member
    local value = rule[member.key]
    if value ~= nil then
      checked[member.key] = kinds.check(member, value)
      if checked[member.key] == nil then
        return nil, { path = path .. "." .. member.key, value = value, expected = kinds.expected(member) }
      end
    end
  end
  for name, value in pairs(rule) do
    if checked[name] == nil then
      local member = by_name[(nearest.find(tostring(name), names))]
      return nil, {
        path = ("%s.%s"):format(path, tostring(name)), value = value, unknown = true,
        expected = ("%s (%s)"):format(member.key, kinds.expected(member)),
      }
    end
  end
  return checked
end

KINDS.channels = {
  expected = function() return "a table from channels (or prefix*) to tables of rules" end,
  parse = function() return nil, "a table, which only a configuration file can hold" end,
  check = function(row, value)
    if type(value) ~= "table" then return nil end
    local patterns, checked = {}, {}
    for pattern in pairs(value) do patterns[#patterns + 1] = pattern end
    -- In order, so that the same mistake is named each time.
    table.sort(patterns, function(a, b) return tostring(a) < tostring(b) end)
    for _, pattern in ipairs(patterns) do
      local problem
      checked[pattern], problem = check_rule(row, pattern, value[pattern])
      if problem then return nil, problem end
    end
    return checked
  end,
}

-- Says what a value of `row` is.
function kinds.expected(row)
  return KINDS[row.type].expected(row)
end

-- Reads `text`, from a flag or the environment, by the type of `row`. Returns a value to be checked; or, where it is
-- not even of that type, nil and what is expected.
function kinds.parse(row, text)
  local parse = KINDS[row.type].parse
  if not parse then return text end
  local value, expected = parse(row, text)
  if value ~= nil then return value end
  return nil, expected or kinds.expected(row)
end

-- Returns `value` in its normal form (tables are copied); or nil and a problem: { path = "" or where inside the
-- value, value = what is wrong there, expected = text, unknown = true for a member that nobody knows: then the text
-- says what is nearest }.
function kinds.check(row, value)
  local checked, problem = KINDS[row.type].check(row, value)
  if checked ~= nil then return checked end
  return nil, problem or { path = "", value = value, expected = kinds.expected(row) }
end

return kinds
