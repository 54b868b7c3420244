-- SPDX-License-Identifier: MIT
-- The quickstart's page in a real browser: Debian's Chromium, headless.
local helper = require("spec.helper")
local proxy = require("spec.support.proxy")
local webdriver = require("spec.support.webdriver")
local json = helper.json

local CONFIG = helper.root .. "/examples/quickstart/sluice.conf.lua"

local function serve()
  return helper.serve{ no_config = true, args = { "--config", CONFIG, "--listen", "127.0.0.1:0", "--workers", "2", "--set", "stream.retry=200" } }
end

-- The page's list, oldest first: { { type, id, data }, ... }.
local EVENTS = [[
  return [...document.querySelectorAll("#events > li")].reverse().map((item) =>
    [".type", ".id", ".data"].map((name) => item.querySelector(name).textContent));
]]

local browser

local function shown(type)
  local found = {}
  for _, event in ipairs(browser:run(EVENTS)) do
    if event[1] == type then
      found[#found + 1] = { id = event[2], data = event[3] }
    end
  end
  return found
end

local function shown_data(type)
  local list = {}
  for index, event in ipairs(shown(type or "message")) do
    list[index] = event.data
  end
  return list
end

-- Waits until the page shows exactly this data in its ordinary events.
local function wait_for_data(expected)
  helper.eventually(function()
    return #shown_data() >= #expected
  end, 2 * helper.TEST_TIMEOUT, "the page shows " .. table.concat(expected, ", "))
  assert.same(expected, shown_data())
end

local function wait_for_state(word)
  helper.eventually(function()
    return browser:text("#state"):find(word, 1, true)
  end, 2 * helper.TEST_TIMEOUT, "the page's state is " .. word)
end

describe("the quickstart page in Chromium", function()
  after_each(helper.cleanup)

  it("shows events, publishes, comes back after a cut with every message once, and is told the gap after a restart", function()
    local server = serve()
    local between = proxy.start(server.port)
    browser = webdriver.start()
    browser:open(("http://127.0.0.1:%d/"):format(between.port))
    wait_for_state("open")
    assert.equal(1, #shown("sluice.open"))

    -- Sees what others publish.
    server:publish("default", "from outside \u{1F600}")
    wait_for_data{ "from outside \u{1F600}" }

    -- Publishes from the page, and others see it.
    local other = server:stream("/events?channel=default"):wait_open()
    browser:type("#text", "typed \u{E9}")
    browser:click("#publish")
    assert.equal("typed \u{E9}", other:wait_messages(1)[1].data)
    wait_for_data{ "from outside \u{1F600}", "typed \u{E9}" }

    -- The handlers written in Lua run.
    helper.eventually(function()
      return browser:text("#clock"):find("%d%d:%d%d")
    end)

    -- Is cut off and kept off; what is published meanwhile is there once it is back, once and in order.
    between:set_target(helper.tcp.free_port())
    assert.is_true(between:cut() > 0)
    helper.eventually(function()
      return not browser:text("#state"):find("open", 1, true)
    end)
    local expected = { "from outside \u{1F600}", "typed \u{E9}" }
    for index = 1, 5 do
      expected[#expected + 1] = "while away " .. index
      server:publish("default", expected[#expected])
    end
    between:set_target(server.port)
    wait_for_state("open")
    wait_for_data(expected)
    assert.equal(0, #shown("sluice.gap"))

    -- Cut in the middle of a flow.
    for index = 1, 30 do
      expected[#expected + 1] = "in a flow " .. index
      server:publish("default", expected[#expected])
      if index == 10 or index == 20 then
        between:cut()
      end
    end
    wait_for_data(expected)
    assert.equal(0, #shown("sluice.gap"))

    -- After a restart it is told the gap, and goes on.
    local messages = shown("message")
    local last_id = messages[#messages].id
    server:stop()
    server = serve()
    between:set_target(server.port)
    helper.eventually(function()
      return #shown("sluice.gap") > 0
    end, 4 * helper.TEST_TIMEOUT, "the page shows the gap")
    local gap = json.decode(shown("sluice.gap")[1].data)
    assert.equal(last_id, gap.requested)
    assert.is_truthy(table.concat(gap.channels, " "):find("default", 1, true))
    wait_for_state("open")
    expected[#expected + 1] = "after the restart"
    server:publish("default", "after the restart")
    wait_for_data(expected)
    assert.equal(1, #shown("sluice.gap"))
  end)
end)
