-- SPDX-License-Identifier: MIT
-- stream:subscribe with an empty table subscribed to nothing, so that the stream ended at once; it means the channel `default`, as a request without a
-- channel does.
local testing = require("sluice.testing")

local SCRIPT = [[return { routes = function(route)
  route:stream("/events", function(stream, request) stream:subscribe(request:query_all("channel")) end)
end }]]

describe("stream:subscribe", function()
  it("takes an empty table for the channel default", function()
    local server = testing.start{ scripts = { ["routes.lua"] = SCRIPT } }
    local stream = server:open("/events")
    server:publish("other", "no")
    server:publish("default", "yes")
    assert.equal("yes", stream:wait_event().data)
  end)
end)
