-- SPDX-License-Identifier: MIT
-- What the commands that follow a stream have in common: listen and tap.

local follow = {}

follow.MAX_WAIT_S = 5 -- who watches does not want to wait half a minute for a server that is back

function follow.check_count(text)
  local count = math.tointeger(tonumber(text))
  if count and count > 0 then return true end
  return nil, ('expected a number of events, at least 1, got "%s"'):format(text)
end

function follow.check_seconds(text)
  local seconds = tonumber(text)
  if seconds and seconds > 0 and seconds <= 1e9 then return true end
  return nil, ('expected a number of seconds, got "%s"'):format(text)
end

-- A time of day with milliseconds; `format` is os.date's.
function follow.clock(at, format)
  return os.date(format, math.floor(at)) .. (".%03d"):format(math.floor(at % 1 * 1000))
end

local ESCAPES = { ["\n"] = "\\n", ["\t"] = "\\t", ["\\"] = "\\\\" }

-- On one line and without anything that a terminal would obey: control characters, those of Unicode's second block too, show as escapes.
function follow.visible(text)
  text = text:gsub("[%c\\]", function(c) return ESCAPES[c] or ("\\x%02x"):format(c:byte()) end)
  return (text:gsub("\xc2([\x80-\x9f])", function(c) return ("\\u%04x"):format(c:byte()) end))
end

return follow
