-- SPDX-License-Identifier: MIT
-- A small WebDriver client (W3C WebDriver) that starts chromedriver and a headless Chromium of its own.
local helper = require("spec.helper")
local http, json, process = helper.http, helper.json, helper.process

local webdriver = {}

local Session = {}
Session.__index = Session

-- Starts driver and browser. Fails with what to install where one is missing. helper.cleanup ends both.
function webdriver.start()
  process.need("chromedriver", "chromium-driver")
  process.need("chromium", "chromium")
  local profile = process.temp_dir()
  local driver = process.spawn({ "chromedriver", "--port=0", "--log-level=WARNING" }, { env = { HOME = profile, TMPDIR = profile } })
  helper.eventually(function()
    assert(driver:is_running(), driver:errors())
    return driver:output():find("successfully on port %d+")
  end, 3 * helper.TEST_TIMEOUT, "chromedriver is ready")
  local self = setmetatable({ driver = driver, port = math.tointeger(tonumber(driver:output():match("successfully on port (%d+)"))) }, Session)
  local answer = self:call("POST", "/session", { capabilities = { alwaysMatch = { browserName = "chrome", acceptInsecureCerts = true, ["goog:chromeOptions"] = {
    args = { "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server", "--user-data-dir=" .. profile },
  } } } })
  self.path = "/session/" .. answer.sessionId
  helper.defer(function()
    self:call("DELETE", self.path)
  end)
  return self
end

-- One command; `body` is a table, or JSON text. Returns its value; raises with the driver's message.
function Session:call(method, path, body)
  local response = http.request(self.port, method, path, { timeout = 6 * helper.TEST_TIMEOUT,
    headers = { ["Content-Type"] = "application/json; charset=utf-8", Connection = "close" }, body = type(body) == "table" and json.encode(body) or body })
  local value = json.decode(response.body).value
  if response.status ~= 200 then
    error(("webdriver %s %s: %s"):format(method, path, tostring(value.message)), 2)
  end
  return value
end

-- Opens an address and waits until it is loaded.
function Session:open(url)
  self:call("POST", self.path .. "/url", { url = url })
end

-- Opens a tab beside the others. Returns its handle, for select.
function Session:new_tab()
  return self:call("POST", self.path .. "/window/new", { type = "tab" }).handle
end

-- What follows is done in this tab.
function Session:select(tab)
  self:call("POST", self.path .. "/window", { handle = tab })
end

-- Runs JavaScript in the page with `arguments` and returns what it returns (null is nil).
function Session:run(script, ...)
  -- Written by hand, since cjson has no empty array.
  local arguments = {}
  for index, argument in ipairs{ ... } do
    arguments[index] = json.encode(argument)
  end
  local value = self:call("POST", self.path .. "/execute/sync",
    ('{"script":%s,"args":[%s]}'):format(json.encode(script), table.concat(arguments, ",")))
  if value == json.null then
    return nil
  end
  return value
end

local ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

-- The path of the one element that a CSS selector finds.
function Session:find(selector)
  return self.path .. "/element/" .. self:call("POST", self.path .. "/element", { using = "css selector", value = selector })[ELEMENT]
end

function Session:text(selector)
  return self:call("GET", self:find(selector) .. "/text")
end

-- Clicks as a user does.
function Session:click(selector)
  self:call("POST", self:find(selector) .. "/click", json.decode("{}"))
end

-- Replaces what stands in a field, key by key.
function Session:type(selector, text)
  local element = self:find(selector)
  self:call("POST", element .. "/clear", json.decode("{}"))
  self:call("POST", element .. "/value", { text = text })
end

return webdriver
