-- SPDX-License-Identifier: MIT
-- Who may: scripts/auth.lua in a running server. What makes a token good or bad is the table of jwt_table_spec.lua.
local helper = require("spec.helper")
local jwt = require("spec.support.jwt")
local http, json, process = helper.http, helper.json, helper.process

local SECRET = "a secret of the specs, longer than the thirty-two bytes that it needs"

-- What the default routes do not show of a token.
local PROBE = [[
local sluice = require "sluice"
return {
  on_disconnect = function(stream, reason) sluice.shared:set("left", tostring(stream.user) .. " " .. reason) end,
  routes = function(route)
    route:get("/whoami", function(request) return 200, { user = request.user, claims = request.claims, expires = request.expires } end)
    route:get("/open", { auth = false }, function(request) return 200, { user = request.user } end)
    route:get("/left", { auth = false }, function() return 200, sluice.shared:get("left") or "" end)
    route:get("/config", { auth = false }, function() return 200, sluice.json.encode(sluice.config.jwt) end)
    route:get("/config/all", { auth = false }, function()
      local all = {}
      for name, value in pairs(sluice.config) do all[name] = value end
      return 200, all
    end)
    route:get("/fail", function(request) error("no luck with " .. request.path) end)
    route:post("/open-publish", { auth = false }, function(request)
      local id = sluice.publish("news", request.body, request)
      return id and 200 or 500, id
    end)
    route:stream("/public", { auth = false }, function(stream) stream:subscribe("news") end)
    route:stream("/who", function(stream)
      stream:send(stream.user or "nobody")
      stream:subscribe("default")
    end)
    route:stream("/later", function(stream)
      stream:subscribe("default")
      sluice.sleep(0)
      local ok, why = stream:subscribe("secret")
      stream:send{ event = "later", data = { ok = ok, why = why } }
    end)
    route:get("/set", function(request)
      local ok, why = pcall(function() request[request:query("name")] = sluice.json.decode(request:query("value")) end)
      return 200, { ok = ok, why = why, value = request[request:query("name")] }
    end)
    route:get("/jwt", function(request)
      local given = sluice.json.decode(request:query("given"))
      local results = table.pack(pcall(sluice.jwt[request:query("call")], given[1], given[2]))
      local list = sluice.json.array({})
      for i = 1, results.n do list[i] = results[i] == nil and sluice.json.null or results[i] end
      return 200, list
    end)
  end,
}
]]

local function with_probe(config, more)
  local options = { scripts = { ["probe.lua"] = PROBE }, defaults = true, config = config }
  for name, value in pairs(more or {}) do options[name] = value end
  return options
end

local function bearer(token) return { Authorization = "Bearer " .. token } end

local function token_for(rights, more)
  local claims = { sub = "ann", exp = os.time() + 600, sluice = rights }
  for name, value in pairs(more or {}) do claims[name] = value end
  return jwt.make(SECRET, claims)
end

local function error_of(answer) return json.decode(answer.body).error end

describe("auth.lua with a key", function()
  local server
  local token = {} -- made once: { plain = without the claim, ... }

  setup(function()
    server = helper.serve(with_probe({ jwt = { key = SECRET, leeway = 0.25 }, log = { level = "debug", access = true } }))
    token.plain = token_for(nil)
    token.news = token_for({ subscribe = { "default", "news", "user.42.*" }, publish = { "news", "user.42.*" } })
    token.all = token_for({ subscribe = { "*" }, publish = { "*" } })
    token.reserved = token_for({ subscribe = { "sluice.*", "slu*" }, publish = { "sluice.*", "slu*", "sluice.a*" } })
    token.exact = token_for({ subscribe = {}, publish = { "sluice.all" } })
    token.admin = token_for({ admin = true })
    token.no_admin = token_for({ admin = false, subscribe = { "*" } })
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  local function publish(channel, with)
    return server:request("POST", "/publish?" .. http.query({ { "channel", channel } }), { body = "to " .. channel, headers = bearer(with) })
  end

  local function subscribe(target, with, options)
    options = options or {}
    options.headers = bearer(with)
    return server:stream(target, options):wait_head()
  end

  it("answers 401 and asks for a token where there is none", function()
    for _, request in ipairs({ { "GET", "/events" }, { "GET", "/events?channel=a&channel=b" }, { "POST", "/publish" }, { "GET", "/whoami" },
      { "HEAD", "/whoami" }, { "GET", "/no/such/route" }, { "DELETE", "/publish" } }) do
      local answer = server:request(request[1], request[2])
      assert.equal(401, answer.status)
      assert.equal('Bearer realm="sluice"', answer.headers["www-authenticate"])
      if request[1] ~= "HEAD" then assert.equal("missing token", error_of(answer)) end
    end
  end)

  it("lets OPTIONS, /health and /metrics pass without one, or with a bad one", function()
    for _, headers in ipairs({ {}, bearer("bad") }) do
      assert.equal(204, server:request("OPTIONS", "/events", { headers = headers }).status)
      assert.equal(200, server:request("GET", "/health", { headers = headers }).status)
      assert.equal(200, server:request("GET", "/metrics", { headers = headers }).status)
    end
  end)

  it("lets a public route stand beside a protected one", function()
    local stream = server:stream("/public"):wait_open()
    assert.equal(200, publish("news", token.news).status)
    assert.same({ "to news" }, stream:wait_messages(1) and stream:data())
    assert.equal(200, server:request("POST", "/open-publish", { body = "y" }).status)
    assert.equal("y", stream:wait_messages(2)[2].data)
    -- A good token says who it is there, too; a bad one is as good as none.
    assert.same({ user = "ann" }, json.decode(server:request("GET", "/open", { headers = bearer(token.plain) }).body))
    assert.same({}, json.decode(server:request("GET", "/open", { headers = bearer(token.plain .. "x") }).body))
    assert.equal(401, server:stream("/events?channel=news"):wait_head().status)
  end)

  it("hands the claims and the user on, exactly", function()
    local payload = '{"sub":"ann","exp":4102444800,"n":9007199254740993,"list":[],"deep":{"a":[1,2.5,null]}}'
    local answer = server:request("GET", "/whoami", { headers = bearer(jwt.make(SECRET, payload)) })
    assert.equal(200, answer.status)
    assert.truthy(answer.body:find('"n":9007199254740993', 1, true), answer.body)
    assert.truthy(answer.body:find('"list":[]', 1, true), answer.body)
    local told = json.decode(answer.body)
    assert.equal("ann", told.user)
    assert.equal(4102444800, told.expires)
    assert.equal(2.5, told.claims.deep.a[2])
  end)

  -- Claims, the channel, whether it may be subscribed to, whether it may be published to.
  local COVERAGE = {
    { "plain", "anything", true, false },
    { "plain", "sluice.all", true, false },
    { "news", "news", true, true },
    { "news", "news2", false, false },
    { "news", "new", false, false },
    { "news", "NEWS", false, false },
    { "news", "user.42.a", true, true },
    { "news", "user.42.", true, true },
    { "news", "user.42", false, false },
    { "news", "user.421.a", false, false },
    { "news", "x.user.42.a", false, false },
    { "news", "sluice.all", true, false },
    { "all", "anything", true, true },
    { "all", "sluice.other", false, false },
    { "all", "sluice.all", true, false },
    { "all", "sluices", true, true },
    { "reserved", "sluice.other", false, false },
    { "reserved", "sluice.all", true, false },
    { "reserved", "slush", true, true },
    { "exact", "sluice.all", true, true },
    { "exact", "news", false, false },
    { "admin", "news", false, false },
  }
  for _, case in ipairs(COVERAGE) do
    local name, channel, may_subscribe, may_publish = table.unpack(case)
    it(("with the claims '%s' on channel '%s'"):format(name, channel), function()
      local stream = subscribe("/events?" .. http.query({ { "channel", channel } }), token[name])
      assert.equal(may_subscribe and 200 or 403, stream.status)
      if not may_subscribe then
        stream:wait_end()
        assert.truthy(json.decode(stream:body()).error:find("does not allow to subscribe to '" .. channel .. "'", 1, true), stream:body())
      end
      local answer = publish(channel, token[name])
      assert.equal(may_publish and 200 or 403, answer.status)
      if not may_publish then assert.truthy(error_of(answer):find("does not allow to publish", 1, true)) end
    end)
  end

  it("refuses a request for the one channel of several that is not covered", function()
    assert.equal(200, subscribe("/events?channel=news&channel=default", token.news).status)
    assert.equal(403, subscribe("/events?channel=news&channel=secret&channel=default", token.news).status)
    assert.equal(403, server:request("POST", "/publish", {
      body = '{"channel":"secret","data":1}', headers = { Authorization = "Bearer " .. token.news, ["Content-Type"] = "application/json" },
    }).status)
  end)

  it("replays nothing of a channel that is not covered", function()
    assert.equal(200, publish("user.7.a", token.all).status)
    assert.equal(200, publish("user.42.replay", token.all).status)
    assert.equal(403, subscribe("/events?channel=user.7.a&last_event_id=earliest", token.news).status)
    assert.equal(403, subscribe("/events?channel=user.7.a", token.news, { last_event_id = "1-0" }).status)
    local stream = subscribe("/events?channel=user.42.replay&last_event_id=earliest", token.news)
    stream:wait_messages(function(messages) return messages[#messages] and messages[#messages].data == "to user.42.replay" end)
    for _, data in ipairs(stream:data()) do assert.not_equal("to user.7.a", data) end
  end)

  it("tells a handler that subscribes later what it may not", function()
    local stream = subscribe("/later", token.news)
    local told = json.decode(stream:wait_messages(1)[1].data)
    assert.same({ why = "the token does not allow to subscribe to 'secret'" }, told)
  end)

  it("gives a stream its user, to its end", function()
    local stream = subscribe("/who", token.plain)
    assert.equal("ann", stream:wait_messages(1)[1].data)
    stream:close()
    helper.eventually(function() return server:request("GET", "/left").body == "ann left" end)
  end)

  it("ends a stream when its token expires, with an event that has no id", function()
    local expiry = os.time() + 2.5
    local short = jwt.make(SECRET, ('{"sub":"ann","exp":%.1f}'):format(expiry))
    local streams = { subscribe("/events", short), subscribe("/events?channel=a", short, { version = "1.0" }) }
    local forever = server:stream("/public?token=" .. short):wait_open()
    for index, stream in ipairs(streams) do
      stream:wait_open()
      local id = stream:last_event_id()
      local how = stream:wait_end()
      assert.equal(index == 1 and "chunk" or "closed", how)
      local last = stream.events[#stream.events]
      assert.equal("sluice.expired", last.event)
      assert.equal(("{\"exp\":%.16g}"):format(expiry), last.data)
      assert.is_nil(last.own_id)
      assert.equal(id, stream:last_event_id())
      -- Not before exp and the leeway of 0.25 s; the loop's clock may lag a little.
      assert.is_true(last.at >= expiry + 0.25 - 0.05, "too early")
      assert.is_true(last.at <= expiry + 5, "too late")
    end
    assert.equal(401, server:request("GET", "/whoami", { headers = bearer(short) }).status) -- the cache does not make it live longer
    helper.eventually(function() return server:request("GET", "/left").body == "ann expired" end)
    assert.is_nil(forever.ended) -- a route that needs no token
    assert.equal(200, publish("news", token.news).status)
    forever:wait_messages(1)
  end)

  it("writes a whole second as it stands, and lets a stream without exp be", function()
    local expiry = os.time() + 2
    local short = subscribe("/events", jwt.make(SECRET, { exp = expiry }))
    local lasting = subscribe("/events", jwt.make(SECRET, "{}")):wait_open()
    local far = subscribe("/events", jwt.make(SECRET, '{"exp":1e300}')):wait_open()
    assert.equal("chunk", short:wait_end())
    assert.equal(('{"exp":%d}'):format(expiry), short.events[#short.events].data)
    helper.sse.pump({ lasting, far }, 0)
    assert.is_nil(lasting.ended)
    assert.is_nil(far.ended)
  end)

  it("lets scripts set the user, the claims and the end, and nothing else", function()
    local function set(name, value)
      local answer = server:request("GET", "/set?" .. http.query({ { "name", name }, { "value", value } }), { headers = bearer(token.plain) })
      assert.equal(200, answer.status)
      return json.decode(answer.body)
    end
    assert.same({ ok = true, value = "bob" }, set("user", '"bob"'))
    assert.same({ ok = true, value = { a = 1 } }, set("claims", '{"a":1}'))
    assert.same({ ok = true, value = 12.5 }, set("expires", "12.5"))
    for _, case in ipairs({ { "user", "5" }, { "user", '"a\\u0000b"' }, { "user", ('"%s"'):format(("x"):rep(257)) }, { "claims", '"a"' }, { "expires", '"5"' },
      { "expires", "true" } }) do
      local told = set(case[1], case[2])
      assert.is_false(told.ok, case[2])
      assert.truthy(told.why:find("request." .. case[1], 1, true), told.why)
    end
    assert.truthy(set("path", '"/x"').why:find("cannot be set", 1, true))
  end)

  describe("sluice.jwt", function()
    -- Calls verify or sign in a script; returns what pcall does.
    local function call(name, ...)
      local target = "/jwt?" .. http.query({ { "call", name }, { "given", json.encode({ ... }) } })
      local answer = server:request("GET", target, { headers = bearer(token.plain) })
      assert.equal(200, answer.status, answer.body)
      return table.unpack(json.decode(answer.body))
    end

    it("signs with the server's key what it verifies", function()
      local _, made = call("sign", { sub = "bob", n = 5 })
      local ok, claims = call("verify", made)
      assert.is_true(ok)
      assert.same({ sub = "bob", n = 5 }, claims)
      assert.equal(200, server:request("GET", "/whoami", { headers = bearer(made) }).status)
    end)

    it("takes other keys, algorithms and rules", function()
      local _, made = call("sign", { sub = "bob", iss = "me", aud = "you" }, { key = "other", algorithm = "HS512" })
      local _, none, why, kind = call("verify", made)
      assert.same({ json.null, "forged" }, { none, kind })
      assert.truthy(why:find("alg", 1, true))
      local options = { key = "other", algorithms = { "HS256", "HS512" }, issuer = "me", audience = "you" }
      local _, claims = call("verify", made, options)
      assert.equal("bob", claims.sub)
      options.issuer = "them"
      _, none, _, kind = call("verify", made, options)
      assert.same({ json.null, "claim" }, { none, kind })
      options.issuer = false
      _, claims = call("verify", made, options)
      assert.equal("bob", claims.sub)
    end)

    it("says of what kind a failure is", function()
      local now = os.time()
      for _, case in ipairs({
        { "a.b", "malformed" }, { token.plain .. "AAAA", "forged" }, { jwt.make(SECRET, { exp = now - 100 }), "expired" },
        { jwt.make(SECRET, { nbf = now + 100 }), "early" },
      }) do
        local _, none, why, kind = call("verify", case[1])
        assert.same({ json.null, case[2] }, { none, kind })
        assert.is_nil(why:find(case[1], 1, true))
      end
      local _, claims = call("verify", jwt.make(SECRET, { sub = "a", exp = now - 100 }), { leeway = 200 })
      assert.equal("a", claims.sub)
    end)

    it("raises for what cannot be meant, without the key", function()
      for _, case in ipairs({
        { "verify", 5 }, { "verify", token.plain, { kee = "a hidden key" } }, { "verify", token.plain, { key = 5 } },
        { "verify", token.plain, { key = "a hidden key", algorithms = { "RS256" } } }, { "verify", token.plain, { algorithms = "HS256" } },
        { "verify", token.plain, { algorithms = {} } }, { "verify", token.plain, { leeway = -1 } }, { "verify", token.plain, { leeway = "5" } },
        { "verify", token.plain, { key = "" } }, { "sign", "a" }, { "sign", { a = 1 }, { algorithms = { "HS256" } } }, { "sign", { a = 1 }, { key = "" } },
      }) do
        local ok, why = call(table.unpack(case))
        assert.is_false(ok, json.encode(case))
        assert.is_nil(why:find("hidden", 1, true))
      end
    end)

    it("tells which channels a list covers", function()
      for _, case in ipairs({
        { { "news" }, "news", true }, { { "news" }, "new", false }, { { "new" }, "news", false }, { { "a", "b" }, "b", true }, { {}, "a", false },
        { { "user.*" }, "user.1", true }, { { "user.*" }, "user.", true }, { { "user.*" }, "user", false }, { { "*" }, "a", true }, { { "" }, "a", false },
        { { "*" }, "sluice.all", false }, { { "sluice.*" }, "sluice.all", false }, { { "sluice.all" }, "sluice.all", true }, { { "slu*" }, "sluice", true },
        { { 1 }, "1", json.null }, { { "a", 5 }, "a", json.null }, { { x = "a" }, "a", json.null }, { "a", "a", json.null },
      }) do
        local ok, covered = call("covers", case[1], case[2])
        assert.same({ true, case[3] }, { ok, covered }, json.encode(case))
      end
    end)

    it("returns nil and a message where it cannot sign", function()
      for _, case in ipairs({ { { 1, 2 } }, { { a = 1 }, { algorithm = "none" } }, { { a = 1 }, { algorithm = "RS256" } } }) do
        local ok, none, why = call("sign", table.unpack(case))
        assert.is_true(ok)
        assert.equal(json.null, none)
        assert.equal("string", type(why))
      end
    end)
  end)

  it("keeps the key out of sluice.config", function()
    local text = server:request("GET", "/config").body
    assert.is_nil(text:find(SECRET, 1, true))
    assert.truthy(text:find('"algorithms":["HS256"]', 1, true), text)
  end)

  it("lets scripts go over sluice.config, without the key too", function()
    local text = server:request("GET", "/config/all").body
    assert.is_nil(text:find(SECRET, 1, true))
    local all = json.decode(text)
    assert.same({ 10000, 0.25, "debug" }, { all.limits.connections, all.jwt.leeway, all.log.level })
  end)

  it("writes no token to the log, whatever goes wrong with its request", function()
    assert.equal(500, server:request("GET", "/fail?token=" .. token.plain).status)
    assert.equal(405, server:request("DELETE", "/publish?token=" .. token.plain).status)
    assert.equal(400, server:request("POST", "/publish?channel=a*&token=" .. token.all, { body = "x" }).status)
    assert.equal(400, server:request("GET", "/whoami?%zz=x&token=" .. token.plain).status)
    local connection = server:connect()
    connection:send("GET /whoami?token=" .. token.plain .. " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " .. token.plain .. "\0\r\n\r\n")
    assert.equal(400, http.read_response(connection).status)
    helper.eventually(function() return server:log():find("no luck with /fail", 1, true) end)
    local log = server:log()
    for name, text in pairs(token) do
      assert.is_nil(log:find(text, 1, true), name)
      assert.is_nil(log:find(text:match("[^.]*$"), 1, true), name)
    end
    assert.is_nil(log:find(SECRET, 1, true))
  end)

  it("tells only an administrator why a reload failed", function()
    local path = server.dir .. "/scripts/broken.lua"
    process.write_file(path, "return nonsense(")
    server:signal("HUP")
    local function health(with)
      return json.decode(server:request("GET", "/health", { headers = with and bearer(with) }).body)
    end
    helper.eventually(function() return health().status == "degraded" end)
    assert.equal("broken.lua", health(token.admin).reload_error.file)
    for _, with in ipairs({ false, token.plain, token.no_admin, token.all, token.admin .. "x" }) do
      local told = health(with)
      assert.equal("degraded", told.status)
      assert.is_nil(json.encode(told):find("broken.lua", 1, true))
      assert.is_nil(json.encode(told):find("nonsense", 1, true))
    end
    os.remove(path)
    server:signal("HUP")
    helper.eventually(function() return health().status == "ok" end)
  end)
end)

describe("auth.lua without a key", function()
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("lets everybody do everything and ignores tokens", function()
    local server = helper.serve(with_probe({}))
    for _, headers in ipairs({ {}, bearer("bad"), bearer(token_for({ subscribe = {} })) }) do
      assert.equal(200, server:request("POST", "/publish?channel=a", { body = "x", headers = headers }).status)
      assert.equal(200, server:stream("/events?channel=a", { headers = headers }):wait_head().status)
      assert.same({}, json.decode(server:request("GET", "/whoami", { headers = headers }).body))
    end
    process.write_file(server.dir .. "/scripts/broken.lua", "return nonsense(")
    server:signal("HUP")
    helper.eventually(function()
      local told = json.decode(server:request("GET", "/health").body)
      return told.status == "degraded" and told.reload_error.file == "broken.lua"
    end)
  end)
end)

describe("a key", function()
  after_each(helper.cleanup)

  -- Starts a server that must not start. Returns what it said.
  local function refused(options)
    local child = helper.launch(options)
    assert.equal(1, child:wait(helper.TEST_TIMEOUT))
    assert.equal("", child:output())
    local text = child:errors()
    assert.truthy(text:find("^sluice: [^\n]+\n$"), text)
    return text
  end

  it("that cannot be read or used is an error at start, which does not show it", function()
    local keys = jwt.make_keys({ rsa = { rsa = 2048 }, small = { rsa = 1024 }, p384 = { ec = "P-384" } })
    local function file(text)
      local path = process.temp_dir() .. "/key"
      process.write_file(path, text)
      return path
    end
    for _, case in ipairs({
      { { key_file = "/nowhere/key" }, "jwt.key_file: cannot read /nowhere/key" },
      { { key_file = file("\n") }, "the file is empty" },
      { { key_file = file("hidden") , algorithms = { "RS256" } }, "jwt.key_file: RS256 needs an RSA key, and the key is a shared secret" },
      { { key_file = file(keys.rsa.public) }, "jwt.key_file: HS256 needs a shared secret, and the key is an RSA key" },
      { { key_file = file(keys.p384.public), algorithms = { "ES256" } }, "jwt.key_file: ES256 needs an EC key on P-256, and the key is an EC key on P-384" },
      { { key_file = file(keys.small.public), algorithms = { "RS256" } }, "jwt.key_file: the RSA key has 1024 bits" },
      { { key_file = file("-----BEGIN PUBLIC KEY-----\nhidden\n"), algorithms = { "RS256" } }, "jwt.key_file: the key's PEM cannot be read" },
      { { key = "hidden", algorithms = { "ES256" } }, "jwt.key: ES256 needs an EC key on P-256, and the key is a shared secret" },
      { { key = "hidden", key_file = file("hidden") }, "jwt.key and jwt.key_file are both set" },
    }) do
      local text = refused({ config = { jwt = case[1] } })
      assert.truthy(text:find(case[2], 1, true), text)
      assert.is_nil(text:find("hidden", 1, true))
    end
  end)

  it("that is empty in the environment is an error, not none", function()
    assert.truthy(refused({ env = { JWT_SECRET = "" } }):find("JWT_SECRET", 1, true))
  end)

  it("is asked for where the server would be open to the network", function()
    for _, listen in ipairs({ "0.0.0.0:0", "[::]:0" }) do
      local text = refused({ config = { listen = listen } })
      assert.truthy(text:find("set JWT_SECRET or jwt.key, or pass --insecure", 1, true), text)
    end
    helper.serve({ config = { listen = "0.0.0.0:0" }, env = { JWT_SECRET = SECRET } })
    helper.serve({ config = { listen = "0.0.0.0:0" }, args = { "--insecure" } })
  end)

  it("without any guard in the scripts is warned about", function()
    local scripts = { ["routes.lua"] = 'return { routes = function(route) route:get("/", function() return 200, "" end) end }' }
    local server = helper.serve({ scripts = scripts, config = { jwt = { key = SECRET } } })
    helper.eventually(function() return server:log():find("no script has a guard", 1, true) end)
    local guarded = helper.serve({ config = { jwt = { key = SECRET } } })
    guarded:request("GET", "/health")
    assert.is_nil(guarded:log():find("guard", 1, true))
    local folder = process.temp_dir()
    process.write_file(folder .. "/routes.lua", scripts["routes.lua"])
    for _, args in ipairs({ { "--scripts", folder }, {} }) do
      local checked = helper.launch({ command = "check", no_config = true, args = args, env = { JWT_SECRET = SECRET } })
      assert.equal(0, checked:wait(helper.TEST_TIMEOUT))
      assert.equal(#args > 0, checked:errors():find("no script has a guard", 1, true) ~= nil)
    end
  end)

  it("in a file may end with a line end, and makes tokens with sluice token", function()
    local path = process.temp_dir() .. "/key"
    process.write_file(path, SECRET .. "\n")
    local server = helper.serve({ config = { jwt = { key_file = path } } })
    local function run(command, ...)
      local child = helper.launch({ command = command, no_config = true, args = { ... } })
      return child:wait(helper.TEST_TIMEOUT), child:output(), child:errors()
    end
    local function token(...)
      local status, out, err = run("token", "--set", "jwt.key_file=" .. path, ...)
      assert.equal(0, status, err)
      return out:match("^(%S+)\n$")
    end
    local stream = server:stream("/events?channel=news", { headers = bearer(token("--sub", "ann")) }):wait_open()
    local url = ("http://127.0.0.1:%d"):format(server.port)
    local function publish(with) return run("publish", url, "news", "hello", "--token", with) end
    local status, out, err = publish(token("--publish", "news"))
    assert.equal("", err)
    assert.equal(0, status)
    assert.truthy(out:find('"subscribers":1', 1, true), out)
    assert.same({ "hello" }, stream:wait_messages(1) and stream:data())
    status, out, err = publish(token("--publish", "sport"))
    assert.equal("", out)
    assert.equal(1, status)
    assert.truthy(err:find("403", 1, true), err)
    status, out, err = publish(token("--exp", "-1"))
    assert.equal("", out)
    assert.equal(1, status)
    assert.truthy(err:find("401: the token has expired", 1, true), err)
  end)
end)
