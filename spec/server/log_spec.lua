-- SPDX-License-Identifier: MIT
-- The log of a server: the access log, request ids, frames, what never gets into it, and settings that change while it runs.
local helper = require("spec.helper")
local http = helper.http
local jwt = require("spec.support.jwt")

local json, process = helper.json, helper.process
local KEY = "the key of the log spec"

-- The records of an area, as tables; the server logs in JSON.
local function records(server, area, message)
  local list = {}
  for line in server:log():gmatch("[^\n]+") do
    local ok, record = pcall(json.decode, line)
    assert.is_true(ok, "no JSON: " .. line)
    if record.area == area and (not message or record.message == message) then list[#list + 1] = record end
  end
  return list
end

-- Waits for that many of them, and returns them.
local function wait_records(server, count, area, message)
  return helper.eventually(function()
    local list = records(server, area, message)
    return #list >= count and list
  end)
end

local function stream_id(stream)
  return json.decode(stream.events[1].data).stream
end

describe("the access log", function()
  after_each(helper.cleanup)

  it("has a record for each request", function()
    local server = helper.serve({ config = { log = { access = true, format = "json" } } })
    server:request("GET", "/health?x=1")
    server:request("POST", "/publish?channel=a", { body = "hello" })
    server:request("GET", "/no/such", { headers = { ["X-Request-Id"] = "mine-1" } })
    local list = wait_records(server, 3, "access", "request")
    local seen = {}
    for i, record in ipairs(list) do
      seen[i] = { record.method, record.target, record.status, record.address }
      assert.is_true(record.bytes > 0 and record.seconds >= 0 and record.seconds < helper.TEST_TIMEOUT)
    end
    assert.same({
      { "GET", "/health?x=1", 200, "127.0.0.1" }, { "POST", "/publish?channel=a", 200, "127.0.0.1" }, { "GET", "/no/such", 404, "127.0.0.1" },
    }, seen)
    assert.equal("mine-1", list[3].request)
  end)

  it("has a record when a stream opens and one when it ends: why, how long, what went out", function()
    local server = helper.serve({ config = { log = { access = true, format = "json" }, jwt = { key = KEY } } })
    local token = jwt.make(KEY, { sub = "ann" })
    local admin = jwt.make(KEY, { sluice = { admin = true, publish = { "*" } } })
    local stream = server:stream("/events?channel=a&channel=b&token=" .. token, { headers = { ["X-Request-Id"] = "r-7" } }):wait_open()
    server:publish("a", "one", nil, { headers = { Authorization = "Bearer " .. admin } })
    stream:wait_messages(1)
    local id = stream_id(stream)
    local headers = { Authorization = "Bearer " .. admin }
    assert.equal(200, server:request("POST", "/_sluice/close", { body = json.encode({ stream = id }), headers = headers }).status)
    stream:wait_end()
    local ends = wait_records(server, 1, "access", "stream ends")[1]
    local opens = records(server, "access", "stream opens")[1]
    assert.same({ id, "GET", "/events?channel=a&channel=b&token=***", "127.0.0.1", "ann", "a b", "r-7" },
      { opens.stream, opens.method, opens.target, opens.address, opens.user, opens.channels, opens.request })
    assert.same({ id, "closed", 1, "127.0.0.1", "ann", "a b", "r-7" },
      { ends.stream, ends.reason, ends.events, ends.address, ends.user, ends.channels, ends.request })
    assert.is_true(ends.bytes > 0 and ends.seconds >= 0)
    assert.equal(0, #records(server, "access", "request") - 2) -- the stream is no request of its own
  end)

  it("tells of refusals, of what was no request, and of clients that went before the answer", function()
    local server = helper.serve({ config = { log = { access = true, format = "json" } }, defaults = true, scripts = { ["slow.lua"] = [[return {
      routes = function(route) route:get("/slow", function() sluice.sleep(3600) end) end }]] } })
    http.exchange(server:connect(), "GET", "/events?channel=*")
    local connection = server:connect()
    connection:send("NONSENSE\r\n\r\n")
    connection:read_all()
    local slow = server:connect()
    slow:send(http.format("GET", "/slow"))
    helper.eventually(function() return json.decode(server:request("GET", "/metrics").body).openConnections >= 2 end)
    server:stop() -- with the request still unanswered
    local seen = {}
    for _, record in ipairs(records(server, "access", "request")) do seen[("%d %s"):format(record.status, record.target)] = true end
    assert.same({ true, true, true }, { seen["400 /events?channel=*"], seen["400 -"], seen["0 /slow"] })
  end)

  it("is not there unless it is asked for", function()
    local server = helper.serve({ config = { log = { format = "json", level = "debug" } } })
    server:stream("/events"):wait_open():close()
    server:request("GET", "/health")
    server:stop()
    assert.same({}, records(server, "access"))
    assert.same({}, records(server, "frame"))
  end)
end)

describe("secrets", function()
  after_each(helper.cleanup)

  it("never get into the log, however they come", function()
    local server = helper.serve({ config = {
      log = { access = true, frames = true, level = "debug", format = "json" }, jwt = { key = KEY, cookie = "session" },
    } })
    local token = jwt.make(KEY, { sub = "ann" })
    for _, case in ipairs({
      { "/events?token=" .. token }, { "/events?%74oken=" .. token }, { "/events?a=1&TOKEN=" .. token .. "&b=2" }, { "/events?access_token=" .. token },
      { "/events?api_key=" .. token }, { "/no/such?password=" .. token }, { "/events?tok%zzen=" .. token },
      { "/events?x=%22" .. token .. "%22" }, { "/reset/" .. token .. "/x" },
      { "/events?" .. token }, { "/events?a&" .. token .. "=b" },
      { "/events", { Authorization = "Bearer " .. token } }, { "/events", { Cookie = "session=" .. token } },
      { "/events", { Authorization = "Bearer " .. token .. "broken" } },
    }) do
      local stream = server:stream(case[1], { headers = case[2] })
      stream:wait_head()
      stream:close()
    end
    helper.eventually(function() return #records(server, "access") >= 18 end)
    server:stop()
    local log = server:log()
    assert.is_nil(log:find(token, 1, true))
    assert.is_nil(log:find(token:sub(-20), 1, true))
    assert.is_nil(log:find(KEY, 1, true))
  end)

  it("of a client cannot forge a record", function()
    for _, format in ipairs({ "text", "json" }) do
      local server = helper.serve({ config = { log = { access = true, format = format } } })
      local before = select(2, server:log():gsub("\n", ""))
      server:request("GET", "/x?a=%0A2026-01-01T00:00:00.000Z error forged", { headers = { ["X-Request-Id"] = "a\tb forged" } })
      server:request("GET", '/"quoted"\\\x7f')
      local stream = server:stream("/events?channel=" .. "a%22%20forged=%221"):wait_open()
      stream:close()
      local text = helper.eventually(function()
        local log = server:log()
        return log:find("stream ends", 1, true) and log
      end)
      assert.equal(before + 4, select(2, text:gsub("\n", "")), text)
      assert.is_nil(text:find("\n2026-01-01", 1, true))
      assert.is_nil(text:find(' forged="1', 1, true))
    end
  end)
end)

describe("request ids", function()
  local server
  setup(function() server = helper.start({ defaults = true, scripts = { ["broken.lua"] = [[return { routes = function(route)
    route:get("/broken", function() error("oops") end)
    route:get("/id", function(request) return 200, request.id end)
    route:get("/own", function() return 200, "", { ["X-Request-Id"] = "x" } end)
  end }]] } }) end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  local function id_of(target, id, method)
    local response = server:request(method or "GET", target, { headers = { ["X-Request-Id"] = id } })
    return response.headers["x-request-id"], response
  end

  it("are on every answer: the client's own where it is one", function()
    for _, id in ipairs({ "a", "abc-123_x.y:z/+=@", ("x"):rep(64) }) do
      for _, target in ipairs({ "/health", "/no/such", "/broken", "/events?channel=*" }) do assert.equal(id, (id_of(target, id)), target) end
      assert.equal(id, (id_of("/publish", id, "DELETE")))
      assert.equal(id, server:stream("/events", { headers = { ["X-Request-Id"] = id } }):wait_open().headers["x-request-id"])
      local _, response = id_of("/id", id)
      assert.equal(id, response.body)
      _, response = id_of("/broken", id)
      assert.same({ error = "internal error", request = id }, json.decode(response.body))
    end
  end)

  it("are made where there is none that is sane", function()
    local seen = {}
    for _, id in ipairs({ "", ("x"):rep(65), "two words", "quote\"", "<b>", "semi;colon", "ü" }) do
      local made = id_of("/health", id)
      assert.is_truthy(made:find("^%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x$"), made)
      assert.is_nil(seen[made])
      seen[made] = true
    end
    assert.is_truthy((id_of("/health")):find("^%x+$"))
    local connection = server:connect()
    connection:send("NONSENSE\r\n\r\n")
    assert.is_truthy(connection:read_all():find("\r\nX%-Request%-Id: %x+\r\n"))
  end)

  it("are the server's to write", function() assert.equal(500, select(2, id_of("/own")).status) end)
end)

describe("log.frames", function()
  after_each(helper.cleanup)

  it("has every frame, with stream and channel, but those below /_sluice/", function()
    local server = helper.serve({ config = { log = { frames = true, format = "json" }, stream = { heartbeat = 0.2 } } })
    local one, other = server:stream("/events?channel=a"):wait_open(), server:stream("/events?channel=b"):wait_open()
    server:stream("/_sluice/tap?channel=a"):wait_head()
    local id = server:publish("a", "two\nlines", "kind")
    one:wait_messages(1)
    helper.eventually(function()
      one:poll()
      return #one.comments > 0
    end)
    local seen = {}
    for _, record in ipairs(wait_records(server, 4, "frame")) do
      seen[record.stream .. " " .. (record.channel or "-") .. " " .. record.frame:gsub("^retry: %d+\nid: [%d-]+\n", "")] = true
    end
    assert.is_true(seen[("%s a id: %s\nevent: kind\ndata: two\ndata: lines\n\n"):format(stream_id(one), id)])
    assert.is_true(seen[("%s - :\n"):format(stream_id(one))])
    for _, stream in ipairs({ one, other }) do
      assert.is_true(seen[('%s - event: sluice.open\ndata: {"stream":"%s"}\n\n'):format(stream_id(stream), stream_id(stream))])
    end
    for frame in pairs(seen) do assert.is_nil(frame:find("tapping", 1, true)) end
  end)
end)

describe("settings of the log", function()
  after_each(helper.cleanup)

  it("change with SIGHUP where the server was started from a configuration; mistakes leave them as they are", function()
    local server = helper.serve({ config = { log = { level = "warn" } } })
    local path = server.dir .. "/sluice.conf.lua"
    local text = process.read_file(path)
    local function hang_up(with)
      process.write_file(path, (text:gsub('%["level"%] = "warn"', with)))
      server:signal("HUP")
    end
    server:request("GET", "/health")
    hang_up('["level"] = "debug", ["access"] = true, ["frames"] = true')
    helper.eventually(function()
      server:request("GET", "/health?on")
      return server:log():find("/health?on", 1, true)
    end)
    local stream = server:stream("/events"):wait_open()
    helper.eventually(function() return server:log():find(stream_id(stream), 1, true) and server:log():find("frame: sent", 1, true) end)
    hang_up('["level"] = "loud"')
    helper.eventually(function() return server:log():find("the settings of the log stay as they are: .*log%.level") end)
    server:request("GET", "/health?still")
    helper.eventually(function() return server:log():find("/health?still", 1, true) end)
    hang_up('["level"] = "error"')
    helper.eventually(function()
      local before = #server:log()
      server:request("GET", "/health?off")
      return #server:log() == before
    end)
  end)

  it("change by server:set_log for a host program", function()
    local server = helper.start()
    assert.is_true(server.host:set_log({ level = "error" }))
    assert.same({ nil, true }, { server.host:set_log({ level = "loud" }), true })
    local ok, message = server.host:set_log({ colour = true })
    assert.is_nil(ok)
    assert.is_truthy(message:find("log.colour", 1, true), message)
    assert.is_true(server.host:set_log({ format = "json", access = false }))
  end)
end)
