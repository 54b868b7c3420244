-- SPDX-License-Identifier: MIT
-- GET /clock: the server's time, every second. A handler is sequential code of its own for each client: it waits where the
-- client is slow, and it is ended when the client leaves.
local sluice = require "sluice"

---@type sluice.script
return {
  name = "clock",

  routes = function(route)
    route:stream("/clock", function(stream)
      while true do
        stream:send{ event = "time", data = os.date("!%Y-%m-%dT%H:%M:%SZ") }
        sluice.sleep(1)
      end
    end)
  end,
}
