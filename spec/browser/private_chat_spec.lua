-- SPDX-License-Identifier: MIT
-- The page of examples/private_chat in Chromium: two people in one room.
local helper = require("spec.helper")
local webdriver = require("spec.support.webdriver")

local CONFIG = helper.root .. "/examples/private_chat/sluice.conf.lua"

local function wait_for_text(browser, selector, wanted)
  helper.eventually(function()
    return browser:text(selector):find(wanted, 1, true)
  end, 2 * helper.TEST_TIMEOUT, ("%s shows %s"):format(selector, wanted))
end

local function log_in(browser, name, password)
  browser:type("#name", name)
  browser:type("#password", password)
  browser:click("#login button")
end

describe("the private chat's page in Chromium", function()
  after_each(helper.cleanup)

  it("logs in, shows who says what, and says why it does not let in", function()
    local server = helper.serve{ no_config = true, args = { "--config", CONFIG, "--listen", "127.0.0.1:0", "--workers", "2" } }
    local url = ("http://127.0.0.1:%d/"):format(server.port)
    local page = webdriver.start()
    page:open(url)
    log_in(page, "ann", "wrong")
    wait_for_text(page, "#state", "wrong name or password")
    log_in(page, "ann", "anemone")
    wait_for_text(page, "#state", "In room.lobby")
    page:type("#text", "is <b>anybody</b> here?")
    page:click("#room button")
    wait_for_text(page, "#said", "is <b>anybody</b> here?")

    -- The same browser as another person: what was said before is there.
    page:open(url)
    log_in(page, "bob", "begonia")
    wait_for_text(page, "#said", "ann")
    page:type("#text", "I am")
    page:click("#room button")
    wait_for_text(page, "#said", "I am")
    assert.same({ "annis <b>anybody</b> here?", "bobI am" }, page:run('return [...document.querySelectorAll("#said li")].map((line) => line.textContent)'))
    assert.same(1, page:run('return document.querySelectorAll("#channel option").length'))
  end)
end)
