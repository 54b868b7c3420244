-- SPDX-License-Identifier: MIT
-- GET /countdown?from=10: a tick every second, and an end. An EventSource takes the end of a stream for an accident and
-- connects again, so the last event tells the page to close it.
local sluice = require "sluice"

---@type sluice.script
return {
  name = "countdown",

  routes = function(route)
    route:stream("/countdown", function(stream, request)
      local from = math.tointeger(tonumber(request:query("from") or 10))
      if not from or from < 1 or from > 3600 then sluice.reject(400, "from must be 1 to 3600") end
      for left = from, 1, -1 do
        stream:send{ event = "tick", data = { left = left } } -- a table is sent as JSON
        sluice.sleep(1)
      end
      stream:send{ event = "done", data = { left = 0 } }
    end)
  end,
}
