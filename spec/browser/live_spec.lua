-- SPDX-License-Identifier: MIT
-- The live page in a real browser: Debian's Chromium, headless.
local helper = require("spec.helper")
local jwt = require("spec.support.jwt")
local webdriver = require("spec.support.webdriver")
local json, process = helper.json, helper.process

local KEY = "the key of the live page's spec"
local HOSTILE = [[<img src=x onerror="window.broken=1"><script>window.broken=1</script>]]
local LONG = 3 * helper.TEST_TIMEOUT

local browser

local function page_of(server) return ("http://127.0.0.1:%d/_sluice/"):format(server.port) end

local function wait_page(condition, what)
  return helper.eventually(condition, LONG, what)
end

local function wait_text(selector, text)
  wait_page(function() return browser:text(selector):find(text, 1, true) end, ("%s to say %q"):format(selector, text))
end

-- The text of each element that a selector finds.
local function texts(selector)
  return browser:run("return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)", selector)
end

-- A button of a table's row by what it does and to whom.
local function button(label) return ('button[aria-label="%s"]'):format(label) end

-- How many pixels of a chart have the colour of its first series.
local INK = [[
  const canvas = document.querySelector("#chart-" + arguments[0] + " canvas");
  const colour = getComputedStyle(canvas).getPropertyValue("--first").match(/[0-9a-f]{2}/gi).map((two) => parseInt(two, 16));
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] === 255 && colour.every((value, part) => Math.abs(data[i + part] - value) < 3)) count++;
  }
  return count;
]]

-- A script that writes three minutes of the samples that the server takes of itself.
local PAST = [[
sluice.spawn(function()
  local now = os.time() // 10
  for i = 1, 18 do
    local sample = { at = (now - i) * 10, uptimeSeconds = 1000 - i * 10, activeConnections = 5, messagesSent = 10000 - i * 70 }
    for _, name in ipairs({ "messagesPublished", "bytesSent", "slowConsumerDrops", "slowConsumersDisconnected", "staleDisconnected", "errors",
      "requestsRefused", "gaps" }) do sample[name] = 0 end
    sluice.shared:set("sluice.live." .. (now - i) % 90, sluice.json.encode(sample))
  end
end)
return {}
]]

setup(function() browser = webdriver.start() end)
teardown(helper.cleanup)

describe("the live page in Chromium", function()
  local server, client

  setup(function()
    server = helper.serve({ scripts = { ["mine.lua"] = "return {}\n" }, defaults = true, config = { workers = 2, stream = { retry = 100 } } })
    client = server:stream("/events?" .. helper.http.query({ { "channel", HOSTILE }, { "channel", "news" } })):wait_open()
    browser:open(page_of(server))
    wait_text("#state", "live")
    -- The same ink for a fifth of the time.
    browser:run("const span = document.getElementById('span'); span.value = '60'; span.dispatchEvent(new Event('change'))")
  end)

  it("draws what happens", function()
    wait_page(function()
      server:publish("news", "something to count")
      return browser:run(INK, "messages") > 3 and browser:run(INK, "bytes") > 3 and browser:run(INK, "streams") > 3
    end, "lines in the charts")
    wait_page(function()
      server:publish("news", "something to time")
      return browser:run(INK, "lag") > 3 and browser:text("#chart-lag dd"):find("^[%d.]+ ms$")
    end, "the lag")
    assert.equal("2", browser:text("#chart-streams dd"))
    assert.is_truthy(browser:run("return document.querySelector('#chart-streams canvas').getAttribute('aria-label')"):find("^Streams: open 2"))
    assert.is_truthy(table.concat(texts("#facts dt"), " "):find("health", 1, true))
  end)

  it("is read with the keyboard and by ear too", function()
    browser:run([[
      const canvas = document.querySelector("#chart-messages canvas");
      canvas.focus();
      for (const key of ["Home", "ArrowRight"]) canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    ]])
    assert.is_truthy(browser:text("#chart-messages .at"):find("^%d%d:%d%d:%d%d\ndelivered "))
    assert.is_truthy(texts("#said")[1]:find("^%d%d:%d%d:%d%d, delivered "))
    assert.equal(0, browser:run([[
      const named = (element) => element.labels?.length || element.getAttribute("aria-label") || element.textContent.trim();
      return [...document.querySelectorAll("input, select, textarea, button, a, [tabindex='0'], section, nav, [role=region]")]
        .filter((element) => !named(element) && !element.getAttribute("aria-labelledby")).length;
    ]]))
    assert.same({}, texts("[tabindex]:not([tabindex='0']):not([tabindex='-1'])"))
  end)

  it("fits a phone, in the dark", function()
    local function emulate(command, parameters)
      browser:call("POST", browser.path .. "/goog/cdp/execute", { cmd = "Emulation." .. command, params = parameters })
    end
    local light = browser:run("return getComputedStyle(document.body).backgroundColor")
    emulate("setDeviceMetricsOverride", { width = 360, height = 740, deviceScaleFactor = 2, mobile = true })
    emulate("setEmulatedMedia", { features = { { name = "prefers-color-scheme", value = "dark" } } })
    assert.equal(360, browser:run("return document.documentElement.scrollWidth"))
    assert.not_equal(light, browser:run("return getComputedStyle(document.body).backgroundColor"))
    wait_page(function() return browser:run(INK, "messages") > 3 end, "a chart in the colours of the dark")
    browser:call("POST", browser.path .. "/goog/cdp/execute", '{"cmd":"Emulation.clearDeviceMetricsOverride","params":{}}')
    emulate("setEmulatedMedia", { features = { { name = "prefers-color-scheme", value = "" } } })
  end)

  it("shows names of strangers as text, whatever they hold", function()
    server:publish(HOSTILE, HOSTILE, HOSTILE)
    wait_page(function() return #texts("#channels-table tbody th") >= 2 end, "the channels")
    assert.is_truthy(table.concat(texts("#channels-table tbody th"), "\n"):find(HOSTILE, 1, true))
    wait_page(function() return table.concat(texts("#streams-table tbody"), "\n"):find(HOSTILE, 1, true) end, "the stream's channels")
    browser:run("document.getElementById('subscribe-channels').value = arguments[0]", HOSTILE)
    browser:click("#subscribe-go")
    wait_text("#subscribe-state", "subscribed")
    browser:run("document.getElementById('tap-by').value = 'channel'; document.getElementById('tap-value').value = arguments[0]", HOSTILE)
    browser:click("#tap-go")
    wait_text("#tap-state", "watching")
    server:publish(HOSTILE, HOSTILE, HOSTILE)
    for _, list in ipairs({ "#subscribe-list", "#tap-list" }) do
      wait_page(function() return browser:text(list):find(HOSTILE, 1, true) end, list .. " with the event")
    end
    browser:click("#subscribe-go")
    browser:click("#tap-go")
    assert.is_nil(browser:run("return window.broken ?? null"))
    assert.equal(0, browser:run("return document.images.length"))
    -- Nor is there a way for text to become more than text.
    assert.equal("TypeError", browser:run("try { document.body.innerHTML = '<b>' } catch (problem) { return problem.name }"))
  end)

  it("publishes and subscribes", function()
    browser:run("document.getElementById('subscribe-list').replaceChildren()")
    browser:type("#subscribe-channels", "talk, news")
    browser:click("#subscribe-go")
    wait_text("#subscribe-state", "subscribed")
    browser:type("#publish-channel", "talk")
    browser:type("#publish-event", "greeting")
    browser:type("#publish-data", "hello \u{E9}\nthere")
    browser:click("#publish button")
    wait_text("#publish-result", "to 1 stream.")
    wait_text("#subscribe-list", "hello \u{E9}\nthere")
    assert.same({ "greeting" }, texts("#subscribe-list .type"))
    browser:type("#publish-event", "")
    browser:type("#publish-channel", "no*star")
    browser:click("#publish button")
    wait_text("#publish-result", "Refused: ")
    browser:click("#subscribe-go")
    wait_text("#subscribe-state", "not subscribed")
    -- From the beginning of what is kept.
    browser:run("document.getElementById('subscribe-list').replaceChildren()")
    browser:type("#subscribe-id", "earliest")
    browser:type("#subscribe-channels", "talk")
    browser:click("#subscribe-go")
    wait_text("#subscribe-list", "hello \u{E9}")
    browser:click("#subscribe-go")
  end)

  it("shows the streams of one channel, address or user, and says what makes no sense", function()
    local function filter(by, value)
      browser:run("document.getElementById('streams-by').value = arguments[0]", by)
      browser:type("#streams-value", value)
      browser:click("#streams-filter button")
    end
    filter("channel", "news")
    wait_page(function() return browser:text("#streams-count") == "1" end, "the one stream")
    filter("address", "nobody")
    wait_text("#streams-said", "address")
    wait_page(function() return tonumber(browser:text("#streams-count")) >= 2 end, "all streams")
    wait_text("#state", "live")
  end)

  it("closes a stream", function()
    local id = json.decode(client.events[1].data).stream
    wait_page(function() return browser:run("return document.querySelector(arguments[0]) !== null", button("Close stream " .. id)) end, "the stream's row")
    browser:click(button("Close stream " .. id))
    client:wait_end(helper.TEST_TIMEOUT)
    wait_text("#streams-said", ("Stream %s is closed."):format(id))
    browser:run("document.activeElement.blur()")
  end)

  it("shows why scripts cannot be loaded, in its place, until they can", function()
    process.write_file(server.dir .. "/scripts/mine.lua", "return {\n  " .. HOSTILE .. "\n}\n")
    wait_page(function() return browser:text("#alarm"):find("mine.lua:2", 1, true) end, "the alarm")
    wait_page(function() return #texts("#reloads-list .failed") > 0 end, "the reload that failed")
    assert.is_truthy(texts("#reloads-list .failed pre")[1]:find("mine.lua:2", 1, true))
    process.write_file(server.dir .. "/scripts/mine.lua", "return {}\n")
    wait_page(function() return browser:run("return document.getElementById('alarm').hidden") end, "no alarm any more")
    wait_page(function() return texts("#reloads-list li")[1]:find("^Loaded") end, "the reload that did not fail")
  end)

  it("comes back by itself, and keeps its charts over a reload of the page", function()
    local shown = browser:run(INK, "messages")
    assert.is_true(shown > 3)
    browser:open(page_of(server))
    wait_text("#state", "live")
    assert.is_true(browser:run(INK, "messages") > 3)
    server:stop()
    wait_page(function() return browser:run("return document.getElementById('state').dataset.state") == "lost" end, "the loss")
    local again = helper.serve({ config = { listen = "127.0.0.1:" .. server.port } })
    wait_text("#state", "live")
    again:stop()
  end)
end)

describe("the live page's door in Chromium", function()
  local server

  local function token(claims) return jwt.make(KEY, json.encode(claims)) end

  setup(function()
    server = helper.serve({ scripts = { ["past.lua"] = PAST }, defaults = true, config = { jwt = { key = KEY } } })
    browser:open(page_of(server))
  end)

  local function sign_in(text)
    wait_page(function() return browser:run("return !document.querySelector('#door-token').closest('.door').hidden") end, "the door")
    browser:type("#door-token", text)
    browser:click(".door button")
  end

  it("gives nothing to a wrong token", function()
    local refusals = { [token({ sub = "visitor" })] = "no administrator", ["a.b.c"] = "the header is not", ["no token at all"] = "This is no token." }
    for text, why in pairs(refusals) do
      sign_in(text)
      wait_text("#door-problem", why)
    end
    assert.equal(0, browser:run("return document.querySelectorAll('.chart, table, .panel').length"))
    assert.equal(1, browser:run("return document.scripts.length"))
    assert.is_nil(browser:run("return sessionStorage.getItem('sluice.token')"))
    for _, target in ipairs({ "page", "live", "streams", "reloads" }) do
      assert.equal(401, browser:run("const r = new XMLHttpRequest(); r.open('GET', arguments[0], false); r.send(); return r.status", target))
    end
  end)

  it("lets an administrator in, keeps the token out of addresses, and lets out again", function()
    sign_in(token({ sub = "root", sluice = { admin = true } }))
    wait_text("#state", "live")
    wait_page(function() return browser:run(INK, "streams") > 40 and browser:run(INK, "messages") > 40 end, "what happened before the page was opened")
    assert.is_nil(browser:run("return performance.getEntriesByType('resource').map((entry) => entry.name).join(' ') + location"):find("ey[%w_-]+%."))
    browser:click("#leave")
    wait_page(function() return browser:run("return document.querySelector('.door') !== null && !document.querySelector('.door').hidden") end, "the door")
    assert.is_nil(browser:run("return sessionStorage.getItem('sluice.token')"))
  end)

  it("takes a token from the address, and out of it", function()
    browser:open(page_of(server) .. "?token=" .. token({ sub = "root", sluice = { admin = true } }))
    wait_text("#state", "live")
    assert.equal(page_of(server), browser:run("return location.href"))
    browser:click("#leave")
  end)

  it("is back when the token has expired", function()
    sign_in(token({ sub = "root", exp = os.time() + 3, sluice = { admin = true } }))
    wait_text("#state", "live")
    wait_text("#door-problem", "expired")
  end)
end)
