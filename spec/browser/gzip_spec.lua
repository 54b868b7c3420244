-- SPDX-License-Identifier: MIT
-- Chromium's EventSource reads a stream in gzip: each event as soon as it is there.
local helper = require("spec.helper")
local webdriver = require("spec.support.webdriver")
local json = helper.json

describe("Chromium's EventSource", function()
  after_each(helper.cleanup)

  it("reads a stream in gzip", function()
    local server = helper.serve{ config = { drain = 0.1, stream = { heartbeat = 0.2 } } }
    local browser = webdriver.start()
    browser:open(("http://127.0.0.1:%d/health"):format(server.port))
    browser:run([[
      window.got = [];
      window.source = new EventSource("/events?channel=a");
      source.onmessage = (event) => got.push(event.data);
      source.addEventListener("tick", (event) => got.push(event.data));
    ]])
    helper.eventually(function()
      return json.decode(server:request("GET", "/metrics").body).gzipConnections == 1
    end, nil, "a stream in gzip")
    local wanted = {}
    local function publish(text, event)
      wanted[#wanted + 1] = text
      server:publish("a", text, event)
    end
    for number = 1, 10 do
      publish(("message %d \u{E9} %s"):format(number, ("again and "):rep(number * number * 10)), number % 3 == 0 and "tick" or nil)
      helper.eventually(function() return browser:run("return got.length") == number end, nil, "message " .. number)
    end
    for number = 11, 200 do
      publish(json.encode{ number = number, bid = number * 1.25, ask = number * 1.25 + 0.5 })
    end
    helper.eventually(function() return browser:run("return got.length") >= #wanted end)
    assert.same(wanted, browser:run("return got"))
  end)
end)
