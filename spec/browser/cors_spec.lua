-- SPDX-License-Identifier: MIT
-- scripts/cors.lua as a browser sees it: pages of two origins in Debian's Chromium, one that is listed and one that is not.
local helper = require("spec.helper")
local process, webdriver = helper.process, require("spec.support.webdriver")

-- A page with nothing on it, for an origin of its own.
local PAGE = [[
  return {
    routes = function(route)
      route:get("/", function() return 200, "<!doctype html><title>page</title>", { ["Content-Type"] = "text/html" } end)
    end,
  }]]

-- The server under test: the default scripts for it, a route with an error, one that tells the cookie, and something inside.
local MORE = [[
  return {
    routes = function(route)
      route:get("/broken", { auth = false }, function() error("on purpose") end)
      route:get("/_sluice/inside", { auth = false }, function() return 200, "inside" end)
      route:get("/login", { auth = false }, function() return 200, "in", { ["Set-Cookie"] = "visitor=yes" } end)
      route:stream("/who", { auth = false }, function(stream, request)
        stream:send(request:cookie("visitor") or "nobody")
      end)
    end,
  }]]

local function scripts(names, more)
  local files = { ["more.lua"] = more }
  for _, name in ipairs(names) do files[name .. ".lua"] = process.read_file(("scripts/%s.lua"):format(name)) end
  return files
end

-- What pages do. Each returns a word or a list at once or later; `go` runs one and keeps its outcome for the spec to fetch.
local PAGE_FUNCTIONS = [[
  window.acts = {
    // GET or whatever `options` say: status, body, and what of the header the page can see.
    async fetch(url, options) {
      try {
        const response = await fetch(url, options);
        if (response.type === "opaque") return ["opaque"];
        return [response.status, await response.text(), response.headers.get("RateLimit-Limit"), response.headers.get("Retry-After") !== null];
      } catch (error) { return ["failed"]; }
    },
    // The first `count` messages of a stream.
    listen(url, count, options) {
      return new Promise((resolve) => {
        const source = new EventSource(url, options), seen = [];
        const end = (value) => { source.close(); resolve(value); };
        source.onerror = () => end(["failed", source.readyState === EventSource.CLOSED ? "for good" : "tries again"]);
        source.onmessage = (event) => { if (seen.push(event.data) === count) end(seen); };
      });
    },
    // A stream read with fetch, so that it can have headers: what its first bytes hold.
    async stream(url, headers) {
      try {
        const response = await fetch(url, { headers });
        const { value } = await response.body.getReader().read();
        return [response.status, new TextDecoder().decode(value).includes("sluice.open")];
      } catch (error) { return ["failed"]; }
    },
    // A form, which asks nobody: sent into a frame.
    form(url, text) {
      return new Promise((resolve) => {
        const frame = document.createElement("iframe");
        frame.name = "target";
        document.body.append(frame);
        const form = document.createElement("form");
        Object.assign(form, { method: "post", action: url, target: "target", enctype: "text/plain" });
        const field = document.createElement("input");
        Object.assign(field, { name: text, value: "" });
        form.append(field);
        document.body.append(form);
        frame.onload = () => resolve(["sent"]);
        form.submit();
      });
    },
    script(url) {
      return new Promise((resolve) => {
        const script = document.createElement("script");
        script.onload = () => resolve(["loaded"]);
        script.onerror = () => resolve(["failed"]);
        script.src = url;
        document.body.append(script);
      });
    },
  };
  window.outcome = null;
  window.go = (name, args) => {
    window.outcome = null;
    window.acts[name](...args).then((value) => { window.outcome = value; }, (error) => { window.outcome = ["error", String(error)]; });
  };
]]

describe("pages of two origins in Chromium", function()
  local browser, target, friend, stranger, with_cookies, url

  -- The pages are at 127.0.0.1; the server under test is at localhost, which is another origin and another site.
  setup(function()
    friend = helper.serve{ scripts = { ["page.lua"] = PAGE } }
    stranger = helper.serve{ scripts = { ["page.lua"] = PAGE } }
    local origins = { "http://127.0.0.1:" .. friend.port, "http://*.localhost:" .. friend.port }
    local set = { "cors", "ratelimit", "routes" }
    target = helper.serve{ scripts = scripts(set, MORE), config = { cors = { origins = origins } } }
    with_cookies = helper.serve{ scripts = scripts(set, MORE), config = { cors = { origins = origins, credentials = true } } }
    url = "http://localhost:" .. target.port
    browser = webdriver.start()
  end)

  teardown(helper.cleanup)

  local function visit(server, host)
    browser:open(("http://%s:%d/"):format(host or "127.0.0.1", server.port))
    browser:run(PAGE_FUNCTIONS)
  end

  local function start(name, ...)
    browser:run("go(arguments[0], Array.from(arguments).slice(1))", name, ...)
  end

  local function outcome()
    return helper.eventually(function() return browser:run("return window.outcome") end, 2 * helper.TEST_TIMEOUT)
  end

  local function act(name, ...)
    start(name, ...)
    return outcome()
  end

  -- Publishes from outside until the page that listens has what it waits for.
  local function listen(where, channel, server)
    start("listen", where, 1)
    local seen
    helper.eventually(function()
      server:publish(channel, "hello")
      seen = browser:run("return window.outcome")
      return seen
    end, 2 * helper.TEST_TIMEOUT)
    return seen
  end

  local JSON_PUBLISH = { method = "POST", headers = { ["Content-Type"] = "application/json", Authorization = "Bearer x" },
    body = '{"channel":"a","data":"from a page"}' }
  local PLAIN_PUBLISH = { method = "POST", mode = "no-cors", headers = { ["Content-Type"] = "text/plain" }, body = "from a page" }

  for _, host in ipairs{ "127.0.0.1", "app.localhost" } do
    it("let the listed one listen, publish, and read errors (" .. host .. ")", function()
      visit(friend, host)
      assert.same({ "hello" }, listen(url .. "/events?channel=heard", "heard", target))
      local answer = act("fetch", url .. "/publish", JSON_PUBLISH)
      assert.equal(200, answer[1])
      assert.truthy(answer[2]:find('"subscribers"', 1, true))
      -- With headers that need a preflight.
      assert.same({ 200, true }, act("stream", url .. "/events?channel=a",
        { Authorization = "Bearer x", ["Last-Event-ID"] = "1-1", ["Cache-Control"] = "no-store" }))
      for target_path, status in pairs{ ["/nowhere"] = 404, ["/broken"] = 500 } do
        assert.equal(status, act("fetch", url .. target_path)[1])
      end
      assert.equal("inside", act("fetch", url .. "/_sluice/inside")[2])
      -- Headers beyond those that are permitted are not.
      assert.same({ "failed" }, act("fetch", url .. "/health", { headers = { ["X-Other"] = "1" } }))
    end)
  end

  it("let the listed one read a 429 and its fields", function()
    local full = helper.serve{ scripts = scripts({ "cors", "ratelimit", "routes" }, MORE),
      config = { cors = { origins = { "http://127.0.0.1:" .. friend.port } }, ratelimit = { max = 1 } } }
    local where = ("http://localhost:%d/events"):format(full.port)
    local kept = full:stream("/events"):wait_open()
    visit(friend)
    assert.same({ 429, '{"error":"too many streams from this address, try again later"}', "1", true }, act("fetch", where))
    assert.same({ "failed", "for good" }, act("listen", where, 1))
    kept:close()
  end)

  it("do not let the other one do any of it", function()
    local listener = target:stream("/events?channel=a&channel=end"):wait_open()
    visit(stranger)
    assert.same({ "failed", "for good" }, act("listen", url .. "/events?channel=a", 1))
    assert.same({ "failed" }, act("stream", url .. "/events?channel=a"))
    assert.same({ "failed" }, act("fetch", url .. "/health"))
    assert.same({ "failed" }, act("fetch", url .. "/nowhere"))
    assert.same({ "failed" }, act("fetch", url .. "/publish", JSON_PUBLISH))
    assert.same({ "failed" }, act("fetch", url .. "/_sluice/inside"))
    -- What a browser sends without asking reaches the server, which refuses it.
    assert.same({ "opaque" }, act("fetch", url .. "/publish?channel=a", PLAIN_PUBLISH))
    assert.same({ "sent" }, act("form", url .. "/publish?channel=a", "from a page"))
    assert.same({ "failed" }, act("script", url .. "/_sluice/inside"))
    target:publish("end", "end")
    listener:wait_messages(1)
    assert.same({ "end" }, listener:data())
  end)

  it("let the listed one publish without asking, so that the above can fail", function()
    local listener = target:stream("/events?channel=a"):wait_open()
    visit(friend)
    assert.same({ "opaque" }, act("fetch", url .. "/publish?channel=a", PLAIN_PUBLISH))
    assert.same({ "sent" }, act("form", url .. "/publish?channel=a", "form"))
    listener:wait_messages(2)
    assert.same({ "from a page", "form=\n" }, listener:data())
  end)

  it("let the listed one send cookies only where that is set", function()
    -- Cookies know no port: one site with a cookie of its own, to which the page below belongs.
    local function at(server) return "http://127.0.0.1:" .. server.port end
    browser:open(at(with_cookies) .. "/login")
    visit(friend)
    local send = { withCredentials = true }
    assert.same({ "yes" }, act("listen", at(with_cookies) .. "/who", 1, send))
    assert.same({ "nobody" }, act("listen", at(with_cookies) .. "/who", 1))
    assert.same({ "failed", "for good" }, act("listen", at(target) .. "/who", 1, send))
    assert.same({ "nobody" }, act("listen", at(target) .. "/who", 1))
    visit(stranger)
    assert.same({ "failed", "for good" }, act("listen", at(with_cookies) .. "/who", 1, send))
  end)
end)
