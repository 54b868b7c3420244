-- SPDX-License-Identifier: MIT
-- The page of examples/envelope in Chromium: what the server compressed, a browser opens.
local helper = require("spec.helper")
local webdriver = require("spec.support.webdriver")

local CONFIG = helper.root .. "/examples/envelope/sluice.conf.lua"
local ITEMS = [[return [...document.querySelectorAll("#reports > li")].map((item) => [item.firstChild.data, +item.dataset.length, item.dataset.tail]);]]

describe("the envelopes' page in Chromium", function()
  after_each(helper.cleanup)

  it("opens small and large data, JSON and text, in order", function()
    local server = helper.serve{ no_config = true, args = { "--config", CONFIG, "--listen", "127.0.0.1:0", "--workers", "2" } }
    local page = webdriver.start()
    page:open(("http://127.0.0.1:%d/"):format(server.port))
    helper.eventually(function() return page:run("return source.readyState === 1") end, 2 * helper.TEST_TIMEOUT, "the page's stream is open")
    local long = ("Ünïcode \u{1F600} text, "):rep(200) .. "with an end"
    local numbers = {}
    for n = 1, 1000 do numbers[n] = n end
    local array = helper.json.encode(numbers)
    for _, data in ipairs{ "short text", long, '{"a":[1,2]}', array, "last" } do server:publish("reports", data) end
    helper.eventually(function() return #page:run(ITEMS) == 5 end, 2 * helper.TEST_TIMEOUT, "all five are shown")
    local items = page:run(ITEMS)
    assert.equal("short text", items[1][1])
    assert.equal("with an end", items[2][3]:sub(-11))
    assert.equal(#long - 200 * 2 - 200 * 2, items[2][2]) -- UTF-16: both vowels one unit for two bytes, the face two for four
    assert.equal('{"a":[1,2]}', items[3][1])
    assert.equal(#array, items[4][2])
    assert.equal("last", items[5][1])
  end)
end)
