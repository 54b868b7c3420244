-- SPDX-License-Identifier: MIT
-- scripts/cors.lua: what a browser is told about pages of other origins, and what such pages may not do at all.
local helper = require("spec.helper")
local process = helper.process

local APP = "https://app.example"
local BELOW = "http://a.b.pages.example:3000"
local EVIL = "https://evil.example"
local ORIGINS = { APP, "http://*.pages.example:3000" }

local FIELDS = { "access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers",
  "access-control-allow-methods", "access-control-allow-headers", "access-control-max-age" }

-- The script under test and the routes, without the other default scripts, and something to be refused by.
local SCRIPTS = {
  ["cors.lua"] = process.read_file("scripts/cors.lua"),
  ["routes.lua"] = process.read_file("scripts/routes.lua"),
  ["more.lua"] = [[
    return {
      on_request = function(request)
        if request.path == "/refused" then return sluice.reject(401, "no", { ["WWW-Authenticate"] = "Bearer" }) end
      end,
      on_subscribe = function(_, channel)
        if channel == "secret" then return false end
      end,
      routes = function(route)
        local function ok() return 200, "ok" end
        route:get("/_sluice/inside", ok)
        route:put("/thing", ok)
        route:get("/broken", function() error("on purpose") end)
        route:get("/:any", ok)
      end,
    }]],
}

local function serve(config, env)
  return helper.serve{ config = config, scripts = SCRIPTS, env = env }
end

-- What an answer says about CORS; `Vary: Origin` is always there, of a stream with what else it depends on.
local function cors_of(response)
  local found = {}
  for _, name in ipairs(FIELDS) do found[name:gsub("^access%-control%-", "")] = response.headers[name] end
  local vary = 0
  for _, field in ipairs(response.fields) do
    if field[1]:lower() == "vary" and (field[2] == "Origin" or field[2] == "Origin, Accept-Encoding") then vary = vary + 1 end
  end
  assert.equal(1, vary, response.head)
  return found
end

local function request(server, method, target, origin, headers, body)
  local all = { Accept = "*/*" }
  for name, value in pairs(headers or {}) do all[name] = value end
  all.Origin = origin
  if method == "GET" and target:find("^/events") then
    local stream = server:stream(target, { headers = all }):wait_head()
    if stream.status ~= 200 then stream:wait_end() end
    return stream
  end
  return server:request(method, target, { headers = all, body = body })
end

local EXPOSED = "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-Id"

local function readable_by(origin, credentials)
  return { ["allow-origin"] = origin, ["allow-credentials"] = credentials and "true" or nil, ["expose-headers"] = EXPOSED }
end

-- Origins that look like those that are listed.
local STRANGERS = {
  EVIL, "null", "http://app.example", "https://app.example:444", "https://app.example.evil.example", "https://evilapp.example",
  "https://APP.example", "https://app.example/", "https://app.example, " .. APP, "http://pages.example:3000",
  "http://a.pages.example", "https://a.pages.example:3000", "http://.pages.example:3000", "http://..pages.example:3000", "http://apages.example:3000",
  "http://evil.example/.pages.example:3000", "http://evil.example:80.pages.example:3000", "http://u@.pages.example:3000",
  "http://a.pages.example:3000.evil.example", "http://*.pages.example:3000", "*", "",
}

describe("answers", function()
  local plain, with_credentials, for_all, closed

  setup(function()
    plain = serve{ cors = { origins = ORIGINS }, limits = { body_bytes = 1500, idle_timeout = 0.5 } }
    with_credentials = serve{ cors = { origins = ORIGINS, credentials = true } }
    for_all = serve{ cors = { origins = { "*", APP } } }
    closed = serve{}
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("may be read by listed origins, with credentials only where that is set", function()
    for _, origin in ipairs{ APP, BELOW, "http://a.pages.example:3000" } do
      for _, target in ipairs{ "/health", "/events?channel=a" } do
        assert.same(readable_by(origin), cors_of(request(plain, "GET", target, origin)))
        assert.same(readable_by(origin, true), cors_of(request(with_credentials, "GET", target, origin)))
      end
    end
  end)

  it("may be read by no other origin, however similar", function()
    for _, origin in ipairs(STRANGERS) do
      for _, server in ipairs{ plain, with_credentials } do
        for _, target in ipairs{ "/health", "/events?channel=a" } do
          local response = request(server, "GET", target, origin)
          assert.same({ 200, {} }, { response.status, cors_of(response) }, origin)
        end
      end
    end
  end)

  it("may be read by nobody where nothing is set, and by all without credentials where all are allowed", function()
    assert.same({}, cors_of(request(closed, "GET", "/health", APP)))
    assert.same(readable_by("*"), cors_of(request(for_all, "GET", "/health", EVIL)))
    assert.same(readable_by("*"), cors_of(request(for_all, "GET", "/health", "null")))
    assert.same(readable_by(APP), cors_of(request(for_all, "GET", "/health", APP)))
  end)

  it("vary by origin also where there is none", function()
    assert.same({}, cors_of(request(plain, "GET", "/health")))
    assert.same({}, cors_of(request(plain, "GET", "/events?channel=a")))
  end)

  -- method, target, status, headers, body
  local ERRORS = {
    { "GET", "/no/such", 404 },
    { "DELETE", "/events", 405 },
    { "GET", "/events?channel=secret", 403 },
    { "GET", "/events?channel=", 400 },
    { "GET", "/events", 406, { Accept = "text/html" } },
    { "POST", "/publish", 400, { ["Content-Type"] = "application/json" }, "{" },
    { "GET", "/refused", 401 },
    { "GET", "/broken", 500 },
    { "OPTIONS", "/events", 204 },
    { "HEAD", "/health", 200 },
    { "PUT", "/thing", 200 },
    -- Refused before a handler could have it.
    { "PUT", "/thing", 413, {}, ("x"):rep(2000) },
    { "PUT", "/thing", 413, { ["Transfer-Encoding"] = "chunked" }, ("400\r\n%s\r\n"):format(("x"):rep(1024)):rep(2) .. "0\r\n\r\n" },
    { "PUT", "/no/such", 415, { ["Content-Encoding"] = "gzip" }, "x" },
    { "PUT", "/thing", 417, { Expect = "miracles" }, "x" },
    { "PUT", "/thing", 400, { ["Transfer-Encoding"] = "chunked" }, "no size\r\n" },
  }

  for _, case in ipairs(ERRORS) do
    local method, target, status, headers, body = table.unpack(case, 1, 5)
    it(("to %s %s (%d) can be read by a listed origin and by no other"):format(method, target, status), function()
      local response = request(plain, method, target, APP, headers, body)
      assert.same({ status, readable_by(APP) }, { response.status, cors_of(response) })
      if method ~= "POST" then
        response = request(plain, method, target, EVIL, headers, body)
        assert.same({ status, {} }, { response.status, cors_of(response) })
      end
    end)
  end

  it("to a body that does not come (408) can be read by a listed origin", function()
    local connection = plain:connect()
    connection:send(helper.http.format("PUT", "/thing", { headers = { Origin = APP, ["Content-Length"] = 5 }, body = "x" }))
    local response = assert(helper.http.read_response(connection))
    assert.same({ 408, readable_by(APP) }, { response.status, cors_of(response) })
  end)

  it("take the origins from ALLOWED_ORIGINS", function()
    local server = serve({}, { ALLOWED_ORIGINS = APP .. ", http://*.pages.example:3000" })
    assert.same(readable_by(APP), cors_of(request(server, "GET", "/health", APP)))
    assert.same(readable_by(BELOW), cors_of(request(server, "GET", "/health", BELOW)))
    assert.same({}, cors_of(request(server, "GET", "/health", EVIL)))
  end)

  describe("to a preflight", function()
    local function preflight(server, target, origin, method)
      local response = request(server, "OPTIONS", target, origin, {
        ["Access-Control-Request-Method"] = method or "POST",
        ["Access-Control-Request-Headers"] = "authorization,content-type",
      })
      assert.same({ 204, "", nil }, { response.status, response.body, response.headers["content-type"] })
      return cors_of(response)
    end

    local function permission(origin, credentials)
      local all = readable_by(origin, credentials)
      all["allow-methods"] = "GET, HEAD, POST, PUT, PATCH, DELETE"
      all["allow-headers"] = "Authorization, Content-Type, Last-Event-ID, Cache-Control"
      all["max-age"] = "7200"
      return all
    end

    it("permit Idempotency-Key and X-Request-Id where they are asked for", function()
      for asked, more in pairs({ ["content-type, idempotency-key"] = ", Idempotency-Key", ["X-Request-Id,Idempotency-Key"] = ", Idempotency-Key, X-Request-Id",
        ["x-idempotency-key"] = "" }) do
        local response = request(plain, "OPTIONS", "/publish", APP, {
          ["Access-Control-Request-Method"] = "POST", ["Access-Control-Request-Headers"] = asked,
        })
        assert.equal("Authorization, Content-Type, Last-Event-ID, Cache-Control" .. more, cors_of(response)["allow-headers"])
      end
    end)

    for _, target in ipairs{ "/events", "/publish", "/refused", "/no/such", "/_sluice/inside" } do
      it("for " .. target .. " permit listed origins, and nobody else", function()
        assert.same(permission(APP), preflight(plain, target, APP))
        assert.same(permission(BELOW, true), preflight(with_credentials, target, BELOW, "GET"))
        assert.same(permission("*"), preflight(for_all, target, EVIL))
        assert.same({}, preflight(plain, target, EVIL))
        assert.same({}, preflight(with_credentials, target, "null"))
        assert.same({}, preflight(closed, target, APP))
      end)
    end
  end)
end)

describe("the server refuses", function()
  local servers

  setup(function()
    local key = ("k"):rep(32)
    servers = {
      loopback = serve{},
      listed = serve{ cors = { origins = ORIGINS } },
      all = serve{ cors = { origins = { "*" } }, jwt = { key = key, cookie = "token" } },
      keyed = serve{ jwt = { key = key } },
      insecure = serve{ insecure = true },
    }
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  -- server, Origin, Host (default: where it listens), allowed, further headers
  local PAGES = {
    { "loopback", nil, nil, true },
    { "loopback", "own", nil, true },
    { "loopback", "http://localhost:8080", "localhost:8080", true },
    { "loopback", "http://LOCALHOST", "localhost", false },
    { "loopback", "http://localhost", "localhost:80", true },
    { "loopback", "https://localhost", "LOCALHOST:443", true },
    { "loopback", "http://app.localhost:3000", "app.localhost:3000", true },
    { "loopback", "http://[::1]:3000", "[::1]:3000", true },
    { "loopback", "http://localhost:3000", nil, false },
    { "loopback", "http://127.0.0.1", nil, false },
    { "loopback", "null", nil, false },
    { "loopback", EVIL, nil, false },
    { "loopback", "file://", nil, false },
    -- The attacker's name leads to this machine: the page is of the same origin, by name only.
    { "loopback", "http://rebound.example:8080", "rebound.example:8080", false },
    { "loopback", "http://127.0.0.1.rebound.example", "127.0.0.1.rebound.example", false },
    { "loopback", "http://localhost.rebound.example", "localhost.rebound.example", false },
    { "loopback", "http://rebound-localhost", "rebound-localhost", false },
    { "loopback", "http://192.168.1.5:8080", "192.168.1.5:8080", false },
    { "insecure", "http://rebound.example:8080", "rebound.example:8080", false },
    { "listed", APP, nil, true },
    { "listed", BELOW, nil, true },
    { "listed", "own", nil, true },
    { "listed", EVIL, nil, false },
    { "keyed", "https://chat.example", "chat.example", true },
    { "keyed", "https://chat.example", "chat.example:443", true },
    { "keyed", "http://chat.example", "chat.example:443", false },
    { "keyed", "https://chat.example", "chat.example:8443", false },
    { "keyed", EVIL, "chat.example", false },
    { "all", EVIL, nil, true },
    { "all", EVIL, nil, true, { Cookie = "other=1" } },
    { "all", EVIL, nil, false, { Cookie = "token=abc" } },
  }

  for _, case in ipairs(PAGES) do
    local name, origin, host, allowed, headers = table.unpack(case, 1, 5)
    it(("%s %s of %s at %s%s"):format(allowed and "not" or "to", name, origin or "no page", host or "its address",
      headers and ", " .. headers.Cookie or ""), function()
      local server = servers[name]
      local all = { Host = host or "127.0.0.1:" .. server.port, ["Content-Type"] = "text/plain" }
      for field, value in pairs(headers or {}) do all[field] = value end
      local from = origin == "own" and "http://" .. all.Host or origin
      -- As sent and percent-encoded.
      for _, target in ipairs{ "/publish?channel=a", "/%70ublish?channel=a" } do
        assert.equal(allowed and 200 or 403, request(server, "POST", target, from, all, "x").status, target)
      end
      for _, target in ipairs{ "/_sluice/inside", "/%5fsluice/inside" } do
        assert.equal(allowed and 200 or 403, request(server, "GET", target, from, all).status, target)
      end
      -- Reading is the browser's to refuse.
      assert.equal(200, request(server, "GET", "/health", from, all).status)
      assert.equal(200, request(server, "GET", "/events?channel=a", from, all).status)
    end)
  end

  it("a publish of a page with words that name it, and publishes nothing", function()
    local stream = servers.loopback:stream("/events?channel=quiet"):wait_open()
    local response = request(servers.loopback, "POST", "/publish?channel=quiet", EVIL, { ["Content-Type"] = "text/plain" }, "evil")
    assert.same({ 403, "pages of origin 'https://evil.example' may not do this: it is not in cors.origins" },
      { response.status, helper.json.decode(response.body).error })
    servers.loopback:publish("quiet", "good")
    assert.equal("good", stream:wait_messages(1)[1].data)
  end)

  -- A page that loads /_sluice/ without asking, as an image, a script or a frame, sends no Origin.
  local HIDDEN = {
    { "loopback", { Host = "rebound.example:8080" }, 403 },
    { "loopback", { Host = "localhost:8080" }, 200 },
    { "insecure", { Host = "build-box:8080" }, 200 },
    { "keyed", { Host = "chat.example" }, 200 },
    { "keyed", { ["Sec-Fetch-Site"] = "cross-site", ["Sec-Fetch-Dest"] = "script" }, 403 },
    { "keyed", { ["Sec-Fetch-Site"] = "cross-site", ["Sec-Fetch-Dest"] = "iframe" }, 403 },
    { "keyed", { ["Sec-Fetch-Site"] = "same-site", ["Sec-Fetch-Dest"] = "empty" }, 403 },
    { "keyed", { ["Sec-Fetch-Site"] = "cross-site", ["Sec-Fetch-Dest"] = "document" }, 200 },
    { "keyed", { ["Sec-Fetch-Site"] = "same-origin", ["Sec-Fetch-Dest"] = "empty" }, 200 },
    { "keyed", { ["Sec-Fetch-Site"] = "none", ["Sec-Fetch-Dest"] = "document" }, 200 },
  }

  for index, case in ipairs(HIDDEN) do
    it(("or not, by other marks than Origin (%d)"):format(index), function()
      local name, headers, status = table.unpack(case)
      assert.equal(status, request(servers[name], "GET", "/_sluice/inside", nil, headers).status)
      assert.equal(200, request(servers[name], "GET", "/health", nil, headers).status)
    end)
  end
end)
