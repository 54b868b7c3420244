-- SPDX-License-Identifier: MIT
-- How many streams one address may open (ratelimit.max in ratelimit.window) and have open at once
-- (ratelimit.concurrent). doc/ratelimit.md shows limits by other things than the address.
local sluice = require "sluice"

local config = sluice.config.ratelimit
local RULE = { max = config.max, window = config.window, concurrent = config.concurrent }
local POLICY = ("%d;w=%d"):format(config.max, math.ceil(config.window))
local BUSY = 5 -- seconds to wait where too many are open: when one will end is not known

---@type sluice.script
return {
  name = "ratelimit",
  priority = 900,

  on_request = function(request)
    local options = request.options
    if not options or not options.stream then return end
    local allowed, info = sluice.limit("address:" .. request.ip, RULE)
    request:respond_header("RateLimit-Limit", info.limit)
    request:respond_header("RateLimit-Remaining", info.remaining)
    request:respond_header("RateLimit-Reset", math.ceil(info.reset))
    request:respond_header("RateLimit-Policy", POLICY)
    if allowed then return end
    -- Spread, so that those who were refused together do not come back together.
    local wait = (info.by == "max" and info.reset or BUSY) * (1 + math.random())
    return sluice.reject(429, config.message, { ["Retry-After"] = math.ceil(wait) })
  end,
}
