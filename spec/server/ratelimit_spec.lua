-- SPDX-License-Identifier: MIT
-- sluice.limit, scripts/ratelimit.lua on top of it, and the address that is counted behind a proxy.
local helper = require("spec.helper")
local json, process, sse = helper.json, helper.process, helper.sse

-- The default policy's script with routes of its own beside it.
local function serve(ratelimit, options)
  options = options or {}
  local config = options.config or {}
  config.ratelimit = ratelimit
  local scripts = { ["ratelimit.lua"] = process.read_file("scripts/ratelimit.lua"), ["routes.lua"] = process.read_file("scripts/routes.lua") }
  for name, text in pairs(options.scripts or {}) do scripts[name] = text end
  return helper.serve{ config = config, scripts = scripts }
end

local opened = {} -- what nobody refers to would be collected, and closed

local function open(server, headers)
  local stream = server:stream("/events?channel=a", { headers = headers }):wait_head()
  opened[#opened + 1] = stream
  return stream
end

local function wait_refusal(stream)
  assert.equal(429, stream.status)
  stream:wait_end()
  return stream
end

-- Opens `count` streams at once and returns how many got each status.
local function open_many(server, count)
  local streams, statuses = {}, {}
  for index = 1, count do streams[index] = server:stream("/events?channel=a") end
  sse.wait_for(streams, function()
    for _, stream in ipairs(streams) do
      if not stream.head then return false end
    end
    return true
  end)
  for _, stream in ipairs(streams) do statuses[stream.status] = (statuses[stream.status] or 0) + 1 end
  return statuses, streams
end

describe("ratelimit.lua", function()
  after_each(function()
    opened = {}
    helper.cleanup()
  end)

  it("lets so many new streams of an address through and tells the rest when to come back", function()
    local server = serve{ max = 3, window = 900, concurrent = 100 }
    for index = 1, 3 do
      local headers = open(server).headers
      assert.same({ "3", tostring(3 - index), "3;w=900", nil }, { headers["ratelimit-limit"], headers["ratelimit-remaining"],
        headers["ratelimit-policy"], headers["retry-after"] })
      assert.is_true(tonumber(headers["ratelimit-reset"]) >= 899 and tonumber(headers["ratelimit-reset"]) <= 900)
      assert.is_nil(headers["x-ratelimit-limit"])
    end
    local waits, distinct = {}, 0
    for index = 1, 20 do
      local stream = wait_refusal(open(server))
      local headers = stream.headers
      assert.same({ "3", "0", "3;w=900", "application/json" }, { headers["ratelimit-limit"], headers["ratelimit-remaining"],
        headers["ratelimit-policy"], headers["content-type"] })
      assert.same({ error = "too many streams from this address, try again later" }, json.decode(stream:body()))
      local wait = tonumber(headers["retry-after"])
      assert.is_true(wait >= 890 and wait <= 1800, headers["retry-after"])
      distinct = distinct + (waits[wait] and 0 or 1)
      waits[wait] = index
    end
    assert.is_true(distinct > 10, "the waits are not spread")
  end)

  it("counts streams only", function()
    local server = serve{ max = 1, window = 900, concurrent = 100 }
    for _ = 1, 5 do
      local response = server:request("GET", "/health")
      assert.same({ 200, nil }, { response.status, response.headers["ratelimit-limit"] })
      server:publish("a", "x")
      assert.equal(405, server:request("DELETE", "/events").status)
    end
    assert.equal(200, open(server).status)
    assert.equal(429, open(server).status)
    assert.equal(200, server:request("GET", "/health").status)
  end)

  it("begins again when the window is over", function()
    local server = serve{ max = 2, window = 0.3, concurrent = 100 }
    for _ = 1, 2 do assert.equal(200, open(server).status) end
    local refused = wait_refusal(open(server))
    assert.same({ "1", "2;w=1" }, { refused.headers["ratelimit-reset"], refused.headers["ratelimit-policy"] })
    helper.eventually(function() return open(server).status == 200 end)
  end)

  it("limits what is open at once, until a stream ends", function()
    local server = serve{ max = 1000, window = 900, concurrent = 2 }
    local first = open(server)
    open(server)
    local refused = wait_refusal(open(server))
    local wait = tonumber(refused.headers["retry-after"])
    assert.is_true(wait >= 5 and wait <= 10, refused.headers["retry-after"])
    assert.equal("998", refused.headers["ratelimit-remaining"])
    first:close()
    helper.eventually(function() return open(server).status == 200 end)
    assert.equal(429, open(server).status)
  end)

  it("says the text that is set", function()
    local server = serve{ max = 1, window = 900, concurrent = 1, message = 'slow "down"' }
    open(server)
    assert.same({ error = 'slow "down"' }, json.decode(wait_refusal(open(server)):body()))
  end)

  it("is exact over workers", function()
    for _, limit in ipairs{ { max = 37, window = 900, concurrent = 1000 }, { max = 1000, window = 900, concurrent = 37 } } do
      local server = serve(limit, { config = { workers = 2 } })
      local statuses, streams = open_many(server, 100)
      assert.same({ [200] = 37, [429] = 63 }, statuses)
      for _, stream in ipairs(streams) do stream:close() end
      if limit.concurrent == 37 then
        -- All of them are free again, none more.
        helper.eventually(function() return server:request("GET", "/metrics").body:find('"activeConnections":0', 1, true) end)
        assert.same({ [200] = 37, [429] = 63 }, (open_many(server, 100)))
      end
    end
  end)

  it("goes on counting after a reload", function()
    local server = serve{ max = 2, window = 900, concurrent = 100 }
    open(server)
    server:signal("HUP")
    helper.eventually(function() return server:request("GET", "/health").body:find('"generation":2', 1, true) end)
    assert.equal(200, open(server).status)
    assert.equal(429, open(server).status)
  end)

  it("counts each address behind a proxy that is trusted, and the proxy where it is not", function()
    local server = serve({ max = 2, window = 900, concurrent = 100 }, { config = { trust_proxy = { "127.0.0.1" } } })
    for _, address in ipairs{ "192.0.2.1", "192.0.2.2", "2001:db8::7" } do
      local headers = { ["X-Forwarded-For"] = address }
      assert.same({ 200, 200, 429 }, { open(server, headers).status, open(server, headers).status, open(server, headers).status })
    end
    server = serve{ max = 2, window = 900, concurrent = 100 }
    local statuses = {}
    for index = 1, 3 do statuses[index] = open(server, { ["X-Forwarded-For"] = "192.0.2." .. index }).status end
    assert.same({ 200, 200, 429 }, statuses)
  end)
end)

describe("request.ip", function()
  local servers

  setup(function()
    local script = [[return { routes = function(route) route:get("/ip", function(request) return request.ip end) end }]]
    servers = {}
    for name, list in pairs{ none = {}, proxies = { "127.0.0.1", "10.0.0.1", "2001:DB8:0::1", "::ffff:10.0.0.3" }, other = { "10.0.0.1" },
      ranges = { "127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32" } } do
      servers[name] = helper.serve{ config = { trust_proxy = list }, scripts = { ["ip.lua"] = script } }
    end
  end)

  teardown(helper.cleanup)

  -- X-Forwarded-For (nil: not sent; a table: several fields), whose list of proxies, the address
  local ADDRESSES = {
    { nil, "none", "127.0.0.1" },
    { "192.0.2.1", "none", "127.0.0.1" },
    { "192.0.2.1", "other", "127.0.0.1" },
    { nil, "proxies", "127.0.0.1" },
    { "192.0.2.1", "proxies", "192.0.2.1" },
    { "  192.0.2.1\t", "proxies", "192.0.2.1" },
    -- What the client itself has written stands left of what the proxy saw.
    { "198.51.100.9, 192.0.2.1", "proxies", "192.0.2.1" },
    { "127.0.0.1, 192.0.2.1", "proxies", "192.0.2.1" },
    { "192.0.2.1, 10.0.0.1", "proxies", "192.0.2.1" },
    { "198.51.100.9,192.0.2.1,10.0.0.1 , 10.0.0.3", "proxies", "192.0.2.1" },
    { "192.0.2.1, 10.0.0.2", "proxies", "10.0.0.2" },
    { { "198.51.100.9", "192.0.2.1, 10.0.0.1" }, "proxies", "192.0.2.1" },
    { { "192.0.2.1", "10.0.0.1", "10.0.0.1" }, "proxies", "192.0.2.1" },
    { "198.51.100.9, 192.0.2.1, 10.1.2.3, 2001:db8:1::1", "ranges", "192.0.2.1" },
    { "192.0.2.1, 11.1.2.3, 10.1.2.3", "ranges", "11.1.2.3" },
    -- All are proxies: the one that nobody stands behind.
    { "10.0.0.1", "proxies", "10.0.0.1" },
    { "10.0.0.3, 10.0.0.1", "proxies", "10.0.0.3" },
    -- IPv6, ports.
    { "2001:db8::2", "proxies", "2001:db8::2" },
    { "2001:0DB8:0:0::2", "proxies", "2001:db8::2" },
    { "192.0.2.1, 2001:db8:0:0:0:0:0:1", "proxies", "192.0.2.1" },
    { "::ffff:192.0.2.1", "proxies", "192.0.2.1" },
    { "192.0.2.1, ::ffff:10.0.0.1", "proxies", "192.0.2.1" },
    { "192.0.2.1:4711", "proxies", "192.0.2.1" },
    { "[2001:db8::2]", "proxies", "2001:db8::2" },
    { "[2001:db8::2]:4711", "proxies", "2001:db8::2" },
    { "192.0.2.1, [2001:db8::1]:443, 10.0.0.1:80", "proxies", "192.0.2.1" },
    -- What is no address ends the walk at the last good one.
    { "", "proxies", "127.0.0.1" },
    { ",", "proxies", "127.0.0.1" },
    { "unknown", "proxies", "127.0.0.1" },
    { "192.0.2.1,", "proxies", "127.0.0.1" },
    { "192.0.2.1, unknown, 10.0.0.1", "proxies", "10.0.0.1" },
    { "192.0.2.1, , 10.0.0.1", "proxies", "10.0.0.1" },
    { "192.0.2.1 10.0.0.1", "proxies", "127.0.0.1" },
    { "192.0.2.256", "proxies", "127.0.0.1" },
    { "192.0.2", "proxies", "127.0.0.1" },
    { "192.0.2.01", "proxies", "127.0.0.1" },
    { "0x7f.1", "proxies", "127.0.0.1" },
    { "192.0.2.1:", "proxies", "127.0.0.1" },
    { "192.0.2.1:123456", "proxies", "127.0.0.1" },
    { "192.0.2.1:80:80", "proxies", "127.0.0.1" },
    { "[192.0.2.1]", "proxies", "127.0.0.1" },
    { "[2001:db8::2", "proxies", "127.0.0.1" },
    { "2001:db8::2]", "proxies", "127.0.0.1" },
    { "[2001:db8::2]x", "proxies", "127.0.0.1" },
    { "[]", "proxies", "127.0.0.1" },
    { "[", "proxies", "127.0.0.1" },
    { "fe80::1%eth0", "proxies", "127.0.0.1" },
    { "1:2:3:4:5:6:7:8:9", "proxies", "127.0.0.1" },
    { ("1"):rep(200), "proxies", "127.0.0.1" },
    { '"192.0.2.1"', "proxies", "127.0.0.1" },
  }

  for index, case in ipairs(ADDRESSES) do
    local forwarded, name, address = case[1], case[2], case[3]
    it(("is %s for %s (%d, %s)"):format(address, json.encode(forwarded or json.null), index, name), function()
      local headers = {}
      for i, value in ipairs(type(forwarded) == "table" and forwarded or { forwarded }) do headers[i] = { "X-Forwarded-For", value } end
      assert.equal(address, servers[name]:request("GET", "/ip", { headers = headers }).body)
    end)
  end
end)

describe("sluice.limit", function()
  local server

  -- GET /take?key=k&rule=<Lua table> answers with what sluice.limit returned.
  local SCRIPT = [[
    local function take(key, rule)
      local allowed, info = sluice.limit(key, rule)
      info.allowed = allowed
      return 200, info
    end

    return {
      on_request = function(request)
        local key = request:query("early")
        if key and not sluice.limit(key, { concurrent = 1 }) then return sluice.reject(429, "early") end
      end,

      on_subscribe = function(stream, channel)
        if channel == "refused" then return false end
        if channel == "one" and not sluice.limit("subscriber of " .. channel, { concurrent = 1 }) then return false, "one is enough" end
      end,

      on_publish = function(message, request)
        local rule = message.channel == "twice" and { max = 2, window = 900 } or message.channel == "held" and { concurrent = 1 }
        if rule and not sluice.limit("publish " .. message.channel, rule) then return false, "enough of " .. message.channel end
      end,

      on_message = function(message)
        if message.channel == "delivered" then sluice.limit("k", { concurrent = 1 }) end
      end,

      routes = function(route)
        route:get("/take", function(request)
          return take(request:query("key") or "k", load("return " .. request:query("rule"))())
        end)
        route:get("/call", function(request)
          local ok, message = pcall(sluice.limit, table.unpack(load("return {" .. request:query("arguments") .. "}")()))
          return 200, tostring(message)
        end)
        route:get("/fail", function() error("on purpose") end)
        route:get("/sleep", function()
          sluice.shared:incr("asleep")
          sluice.sleep(3600)
        end)
        route:get("/asleep", function() return tostring(sluice.shared:get("asleep") or 0) end)
        route:get("/task", function()
          local result
          sluice.spawn(function() result = select(2, pcall(sluice.limit, "k", { concurrent = 1 })) end)
          while not result do sluice.sleep(0.001) end
          return 200, result
        end)
        route:post("/publish", function(request)
          local id, why = sluice.publish(request:query("channel"), request.body, request)
          return id and 200 or 403, tostring(why)
        end)
        route:stream("/events", function(stream, request)
          local channels = request:query_all("channel")
          if #channels > 0 then stream:subscribe(channels) end
        end)
        route:stream("/later", function(stream)
          stream:send("begun")
          local allowed, info = sluice.limit("later", { concurrent = 1 })
          stream:send{ data = { allowed = allowed, open = info.open } }
          sluice.sleep(3600)
        end)
        route:stream("/kept", function(stream)
          stream:subscribe("a")
          stream:comment("begun")
          stream:send(tostring(sluice.limit("kept", { concurrent = 1 })))
        end)
      end,
    }]]

  setup(function()
    server = helper.serve{ scripts = { ["limit.lua"] = SCRIPT } }
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  local function get(target, ...)
    local query = {}
    for index, pair in ipairs{ ... } do query[index] = pair end
    return server:request("GET", #query > 0 and target .. "?" .. helper.http.query(query) or target)
  end

  local function take(key, rule)
    local response = get("/take", { "key", key }, { "rule", rule })
    assert.equal(200, response.status, response.body)
    return json.decode(response.body)
  end

  it("counts events in a window", function()
    for remaining = 2, 0, -1 do
      local info = take("window", "{ max = 3, window = 900 }")
      assert.is_true(info.reset > 890 and info.reset <= 900)
      info.reset = nil
      assert.same({ allowed = true, limit = 3, remaining = remaining }, info)
    end
    local info = take("window", "{ max = 3, window = 900 }")
    info.reset = nil
    assert.same({ allowed = false, limit = 3, remaining = 0, by = "max" }, info)
    assert.is_true(take("another", "{ max = 3, window = 900 }").allowed)
    -- A rule that allows more counts on.
    assert.equal(1, take("window", "{ max = 5, window = 900.0 }").remaining)
  end)

  it("counts what is open, until the request is over", function()
    for _ = 1, 3 do assert.same({ allowed = true, open = 1 }, take("open", "{ concurrent = 1 }")) end
    assert.same({ allowed = false, open = 0, by = "concurrent" }, take("open", "{ concurrent = 0 }"))
    local info = take("both", "{ concurrent = 1, max = 1, window = 900 }")
    info.reset = nil
    assert.same({ allowed = true, limit = 1, remaining = 0, open = 1 }, info)
    assert.same("max", take("both", "{ concurrent = 1, max = 1, window = 900 }").by)
  end)

  -- How a request or stream that holds the key ends: each gives it back.
  local ENDS = {
    ["an answer"] = function(query) get("/take?rule={concurrent=9}&" .. query) end,
    ["an error"] = function(query) assert.equal(500, get("/fail?" .. query).status) end,
    ["no route"] = function(query) assert.equal(404, get("/nothing?" .. query).status) end,
    ["a stream that was refused"] = function(query) assert.equal(403, get("/events?channel=refused&" .. query).status) end,
    ["a client that leaves a handler"] = function(query)
      local connection, before = server:connect(), get("/asleep").body
      connection:send(helper.http.format("GET", "/sleep?" .. query))
      helper.eventually(function() return get("/asleep").body ~= before end)
      assert.equal(429, get("/nothing?" .. query).status)
      connection:reset()
    end,
    ["a stream that is left"] = function(query)
      local stream = server:stream("/events?channel=a&" .. query):wait_open()
      assert.equal(429, get("/nothing?" .. query).status)
      stream:close()
    end,
    ["a stream that is reset"] = function(query)
      local stream = server:stream("/events?channel=a&" .. query):wait_open()
      assert.equal(429, get("/nothing?" .. query).status)
      stream:close(true)
    end,
    ["a stream without subscriptions"] = function(query) server:stream("/events?" .. query):wait_end() end,
  }

  for name, act in pairs(ENDS) do
    it("holds until the end, which may be " .. name, function()
      local query = "early=" .. name:gsub(" ", "+")
      for _ = 1, 3 do
        act(query)
        helper.eventually(function() return get("/take?rule={concurrent=9}&" .. query).status == 200 end)
      end
    end)
  end

  it("holds for the stream where a handler asks after it began", function()
    local streams = {}
    local function later()
      streams[#streams + 1] = server:stream("/later")
      return json.decode(streams[#streams]:wait_messages(2)[2].data)
    end
    assert.same({ allowed = true, open = 1 }, later())
    assert.same({ allowed = false, open = 1 }, later())
    helper.close_clients()
    helper.eventually(function() return later().allowed end)
  end)

  it("holds for the stream after its handler has returned", function()
    local first = server:stream("/kept")
    assert.equal("true", first:wait_messages(1)[1].data)
    local function again()
      local stream = server:stream("/kept")
      return stream:wait_messages(1)[1].data
    end
    assert.equal("false", again())
    server:request("POST", "/publish?channel=a", { body = "still there" })
    assert.equal("still there", first:wait_messages(2)[2].data)
    assert.equal("false", again())
    first:close()
    helper.eventually(function() return again() == "true" end)
  end)

  it("holds for the stream where on_subscribe asks", function()
    local stream = server:stream("/events?channel=one"):wait_open()
    local refused = get("/events?channel=one")
    assert.same({ 403, "one is enough" }, { refused.status, json.decode(refused.body).error })
    stream:close()
    helper.eventually(function() return server:stream("/events?channel=one"):wait_head().status == 200 end)
  end)

  it("limits publishing", function()
    for _, status in ipairs{ 200, 200, 403, 403 } do
      assert.equal(status, server:request("POST", "/publish?channel=twice", { body = "x" }).status)
    end
    for _ = 1, 3 do assert.equal(200, server:request("POST", "/publish?channel=held", { body = "x" }).status) end
  end)

  -- arguments of the call, part of what is said
  local WRONG = {
    { "", "bad argument #1" },
    { "5, { max = 1, window = 1 }", "bad argument #1" },
    { "'', { max = 1, window = 1 }", "a key has 1 to 512 bytes" },
    { "('k'):rep(513), { max = 1, window = 1 }", "a key has 1 to 512 bytes" },
    { "'k'", "bad argument #2" },
    { "'k', 5", "bad argument #2" },
    { "'k', {}", "a limit has max and window, or concurrent, or all three" },
    { "'k', { max = 1 }", "max and window (in seconds) belong together" },
    { "'k', { window = 1 }", "max and window (in seconds) belong together" },
    { "'k', { window = 1, concurrent = 1 }", "max and window (in seconds) belong together" },
    { "'k', { max = -1, window = 1 }", "max must be a whole number, not negative; it is -1" },
    { "'k', { max = 1.5, window = 1 }", "max must be a whole number, not negative; it is 1.5" },
    { "'k', { max = '1', window = 1 }", "max must be a whole number" },
    { "'k', { max = 0/0, window = 1 }", "max must be a whole number" },
    { "'k', { concurrent = 1e300 }", "concurrent must be a whole number" },
    { "'k', { concurrent = true }", "concurrent must be a whole number, not negative; it is true" },
    { "'k', { max = 1, window = 0 }", "window must be a number of seconds above 0; it is 0" },
    { "'k', { max = 1, window = 0/0 }", "window must be a number of seconds" },
    { "'k', { max = 1, window = 1/0 }", "window must be a number of seconds" },
    { "'k', { max = 1, window = '1' }", "window must be a number of seconds" },
    { "'k', { maximum = 1, window = 1 }", "a limit has max, window and concurrent, not 'maximum'" },
    { "'k', { 5 }", "a limit has max, window and concurrent, not '?'" },
  }

  for _, case in ipairs(WRONG) do
    it("refuses " .. case[1], function()
      local body = get("/call", { "arguments", case[1] }).body
      assert.truthy(body:find(case[2], 1, true), body)
    end)
  end

  it("says where it may be called", function()
    local text = get("/task").body
    assert.truthy(text:find("concurrent counts until a request or stream ends, and none is being handled here", 1, true), text)

    local stream = server:stream("/events?channel=delivered&channel=a"):wait_open()
    server:request("POST", "/publish?channel=delivered", { body = "never sent" })
    server:request("POST", "/publish?channel=a", { body = "sent" })
    assert.same({ "sent" }, stream:wait_messages(1) and stream:data())
    assert.truthy(server:log():find("sluice.limit cannot be called in on_message", 1, true), server:log())

    local child = helper.launch{ command = "check", scripts = { ["load.lua"] = [[sluice.limit("k", { max = 1, window = 1 }) return {}]] } }
    assert.equal(1, child:wait(helper.TEST_TIMEOUT))
    assert.truthy(child:errors():find("load.lua:1: sluice.limit cannot be called while loading", 1, true), child:errors())
  end)
end)
