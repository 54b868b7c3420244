-- SPDX-License-Identifier: MIT
-- The page, and the routes it talks to. A scripts folder replaces the default policy whole, so they are named here.
local sluice = require "sluice"

local PAGE = sluice.read_file("page/index.html")
local PAGE_HEADERS = {
  ["Content-Type"] = "text/html; charset=utf-8",
  ["Cache-Control"] = "no-cache",
  ["Content-Security-Policy"] = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    .. "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}

return {
  name = "routes",

  routes = function(route)
    route:get("/", function()
      return 200, PAGE, PAGE_HEADERS
    end)

    -- GET /events?channel=a&channel=b
    route:stream("/events", function(stream, request)
      local channels = request:query_all("channel")
      if #channels == 0 then channels = { "default" } end
      stream:subscribe(channels)
    end)

    -- POST /publish, as JSON or with the body as the data
    route:post("/publish", function(request)
      local message, why = request:message()
      if not message then sluice.reject(400, why) end
      local id, subscribers, status = sluice.publish(message.channel, message, request)
      if not id then sluice.reject(status, subscribers) end -- instead of the number, why not
      return 200, { id = id, subscribers = subscribers }
    end)

    route:get("/health", function()
      local body, status = sluice.health(true)
      return status, body, { ["Content-Type"] = "application/json" }
    end)

    route:get("/metrics", function(request)
      local body, content_type = sluice.metrics(request:header("Accept"))
      return 200, body, { ["Content-Type"] = content_type }
    end)
  end,
}
