-- SPDX-License-Identifier: MIT
-- Both streams, and what is published to them. scripts/auth.lua, the default policy's own, asks for a token wherever a route is not left open.
local sluice = require "sluice"

sluice.every(1, function()
  sluice.publish("public", { event = "time", data = os.date("!%H:%M:%S") })
  sluice.publish("secure", { event = "audience", data = { public = sluice.channel("public").subscribers, secure = sluice.channel("secure").subscribers } })
end)

---@type sluice.script
return {
  name = "streams",

  routes = function(route)
    -- Open: so it says by itself what may be seen here.
    route:stream("/events", { auth = false }, function(stream) stream:subscribe("public") end)

    route:stream("/secure-events", function(stream)
      stream:subscribe("secure") -- 403 where the token has channels and this is none of them
      stream:send{ event = "welcome", data = { user = stream.user } }
    end)
  end,
}
