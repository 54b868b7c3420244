-- SPDX-License-Identifier: MIT
-- Data that is no JSON value was sent as an event without data, in silence.
local helper = require("spec.helper")

describe("stream:send", function()
  teardown(helper.cleanup)

  it("raises for data that cannot be sent as JSON, and sends nothing", function()
    local server = helper.start({ scripts = { ["a.lua"] = [[return { routes = function(route)
      route:stream("/x", function(stream)
        local ok, message = pcall(stream.send, stream, { data = { f = print } })
        stream:send({ event = "told", data = { ok, message } })
      end)
    end }]] } })
    local stream = server:stream("/x")
    stream:wait_end()
    local event = stream:messages()[1]
    assert.equal("told", event.event)
    assert.same({ "false" }, { event.data:match('^%[(%w+),"stream:send: data cannot be sent as JSON: ') })
  end)
end)
