-- SPDX-License-Identifier: MIT
-- Seven tabs of one browser, a stream in each, through nginx: over HTTP/1.1 the seventh waits for ever, over HTTP/2 all share one connection.
local front = require("spec.support.front")
local helper = require("spec.helper")
local process = helper.process
local webdriver = require("spec.support.webdriver")

local TABS = 7

local PAGE = [[
return { name = "page", routes = function(route)
  route:get("/", function() return 200, "<!doctype html><title>tab</title>", { ["Content-Type"] = "text/html" } end)
end }
]]

-- A certificate that nobody signed but itself, good for a day.
local function make_certificate()
  process.need("openssl", "openssl")
  local dir = process.temp_dir()
  local status, _, err = process.run({ "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", dir .. "/key.pem", "-out", dir .. "/cert.pem" })
  assert.equal(0, status, err)
  return { dir .. "/cert.pem", dir .. "/key.pem" }
end

-- How many TCP connections to a port of ours are open.
local function connections_to(port)
  local count = 0
  for state in process.read_file("/proc/net/tcp"):gmatch(("\n *%%d+: %%x+:%04X %%x+:%%x+ (%%x+) "):format(port)) do
    if state == "01" then count = count + 1 end
  end
  return count
end

describe("seven tabs through nginx", function()
  local server, nginx, browser

  setup(function()
    server = helper.serve{ config = { trust_proxy = { "127.0.0.1" } }, scripts = { ["page.lua"] = PAGE }, defaults = true }
    nginx = front.nginx({ server.port }, make_certificate())
    browser = webdriver.start()
  end)

  teardown(helper.cleanup)

  -- Opens the tabs and starts a stream in each. Returns a function that tells how many are open and have got `wanted` messages.
  local function open_tabs(origin)
    local tabs = {}
    for n = 1, TABS do
      tabs[n] = browser:new_tab()
      browser:select(tabs[n])
      browser:open(origin .. "/")
    end
    for _, tab in ipairs(tabs) do
      browser:select(tab)
      browser:run[[
        window.got = 0;
        window.source = new EventSource("/events?channel=tabs");
        source.onmessage = () => got++;
      ]]
    end
    return function(wanted)
      local count = 0
      for _, tab in ipairs(tabs) do
        browser:select(tab)
        if browser:run("return source.readyState === 1 && got >= arguments[0]", wanted) then count = count + 1 end
      end
      return count
    end, function()
      for _, tab in ipairs(tabs) do
        browser:select(tab)
        browser:run("source.close()")
      end
      return tabs
    end
  end

  it("have seven streams on one connection over HTTP/2", function()
    local count, close = open_tabs("https://127.0.0.1:" .. nginx.tls_port)
    helper.eventually(function() return count(0) == TABS end, nil, "all tabs have an open stream")
    server:publish("tabs", "one")
    assert.equal(TABS, select(2, server:publish("tabs", "two")))
    helper.eventually(function() return count(2) == TABS end, nil, "all tabs have both messages")
    assert.equal(1, connections_to(nginx.tls_port))
    assert.equal("h2", browser:run("return performance.getEntriesByType('navigation')[0].nextHopProtocol"))
    close()
    local one
    helper.eventually(function()
      local streams = 0
      for connection, protocol in process.read_file(nginx.log):gmatch("(%d+) (HTTP/[%d.]+) 200 GET /events") do
        one = one or connection
        assert.same({ one, "HTTP/2.0" }, { connection, protocol })
        streams = streams + 1
      end
      return streams == TABS
    end)
  end)

  it("have six streams over HTTP/1.1, and the seventh waits", function()
    local count, close = open_tabs("http://127.0.0.1:" .. nginx.port)
    helper.eventually(function() return count(0) == TABS - 1 end, nil, "six tabs have an open stream")
    assert.equal(TABS - 1, select(2, server:publish("tabs", "for six")))
    helper.eventually(function() return count(1) == TABS - 1 end)
    close()
  end)
end)
