-- SPDX-License-Identifier: MIT
-- Dates of HTTP header fields, and the wait that Retry-After asks for (RFC 9110, 5.6.7 and 10.2.3).

local date = {}

local MONTHS = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12 }

-- Days from 1970-01-01 to a date of the Gregorian calendar; years are counted from March, so that the leap day is their last.
local function days(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719469
end

-- A year of two digits is the one of that end that lies at most 50 years ahead.
local function full_year(text, now)
  local year = tonumber(text)
  if #text > 2 then return year end
  local this = tonumber(os.date("!%Y", math.floor(now)))
  year = this - this % 100 + year
  return year > this + 50 and year - 100 or year
end

-- Reads a date in any of the three forms. Returns the seconds since 1970, or nil where it is none. `now` is the time of day.
function date.parse(text, now)
  local day, month, year, hour, minute, second = text:match("^%a+, (%d%d)[ -](%a%a%a)[ -](%d+) (%d%d):(%d%d):(%d%d) GMT$")
  if not day then
    month, day, hour, minute, second, year = text:match("^%a%a%a (%a%a%a) ([%d ]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$")
  end
  month = MONTHS[month]
  if not month or (#year ~= 2 and #year ~= 4) then return nil end
  local at = days(full_year(year, now), month, tonumber(day))
  return ((at * 24 + tonumber(hour)) * 60 + tonumber(minute)) * 60 + tonumber(second)
end

-- The seconds to wait that a Retry-After field asks for; nil where it is missing or makes no sense.
function date.retry_after(text, now)
  if not text then return nil end
  if text:find("^%d+$") then return tonumber(text) end
  local at = date.parse(text, now)
  return at and math.max(0, at - now)
end

return date
