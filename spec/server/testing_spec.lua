-- SPDX-License-Identifier: MIT
-- sluice.testing: what its waits return and say, what it starts, and that nothing is left behind.
local process = require("spec.support.process")
local tcp = require("spec.support.tcp")
local testing = require("sluice.testing")

local SCRIPT = [[return { routes = function(route)
  route:stream("/events", function(stream, request) stream:subscribe(request:query_all("channel")) end)
  route:stream("/three", function(stream)
    for n = 1, 3 do stream:send{ event = "n", data = { n = n } } end
  end)
  route:stream("/plain", { opening = false }, function(stream) stream:subscribe("news") end)
  route:stream("/long", function(stream)
    for n = 1, 20 do stream:send(("x"):rep(200) .. n) end
  end)
  route:post("/echo", function(request) return 201, request.body, { ["X-Type"] = request:header("Content-Type") or "none" } end)
  route:stream("/posted", { methods = { "POST" } }, function(stream, request) stream:send(request.body) end)
end }]]

local SCRIPTS = { ["routes.lua"] = SCRIPT }

-- What f(...) raises.
local function raised(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return (message:gsub("^[%w_/]*_spec%.lua:%d+: ", ""))
end

describe("a stream of sluice.testing", function()
  local server

  setup(function() server = testing.start{ scripts = SCRIPTS } end)

  it("has status, headers, its name and its reconnection time", function()
    local stream = server:open("/events?channel=news")
    assert.equal(200, stream.status)
    assert.equal("text/event-stream", stream.headers["content-type"])
    server:publish("news", "x")
    stream:wait_event()
    assert.equal(stream.opening:json().stream, stream.id)
    assert.is_true(stream.retry >= 2000)
  end)

  it("hands over events one after the other, by type, members or a function", function()
    local stream = server:open("/events?channel=news")
    local ids = {}
    for n, event in ipairs({ "a", "b", "a", "c", "a" }) do ids[n] = server:publish("news", { event = event, data = { n = n } }) end
    assert.same({ n = 1 }, stream:wait_event():json())
    assert.same({ n = 3 }, stream:wait_event("a"):json())
    assert.equal(ids[4], stream:wait_event({ event = "c", data = '{"n":4}' }).id)
    assert.equal(ids[5], stream:wait_event(function(event) return event:json().n == 5 end).id)
    assert.equal(5, #stream.events)
    assert.equal(ids[5], stream:last_event_id())
  end)

  it("hands over several at once", function()
    local stream = server:open("/three")
    local events = stream:wait_events(2)
    assert.same({ '{"n":1}', '{"n":2}' }, { events[1].data, events[2].data })
    assert.same({ n = 3 }, stream:wait_event():json())
    assert.same({ true, "ended" }, { stream:wait_end() })
  end)

  it("goes on where it was with resume, without an opening block too", function()
    for _, target in ipairs({ "/events?channel=news", "/plain" }) do
      local stream = server:open(target)
      server:publish("news", "one")
      stream:wait_event{ data = "one" }
      stream:close()
      server:publish("news", "two")
      assert.equal("two", stream:resume():wait_event().data)
    end
  end)

  it("takes a method and a body", function()
    assert.equal("hello", server:open("/posted", { method = "POST", body = "hello" }):wait_event().data)
    assert.equal('{"a":1}', server:open("/posted", { method = "POST", json = { a = 1 } }):wait_event().data)
  end)

  it("is the whole answer where it was refused", function()
    local stream = server:open("/nowhere")
    assert.equal(404, stream.status)
    assert.equal('{"error":"no route for /nowhere"}', stream.body)
  end)

  it("says what a wait was for and what came instead", function()
    local stream = server:open("/events?channel=news")
    assert.equal('waited 0.05 s for an event of type "x" on GET /events?channel=news (status 200, open); got no event',
      raised(stream.wait_event, stream, "x", 0.05))
    local id = server:publish("news", { event = "y", data = "why" })
    stream:wait_event("y")
    assert.equal('waited 0.05 s for an event with event = "x", data = "1" on GET /events?channel=news (status 200, open); got 1 event:\n  y "why" id ' .. id,
      raised(stream.wait_event, stream, { event = "x", data = "1" }, 0.05))
    assert.truthy(raised(stream.wait_events, stream, 2, 0.05):find("^waited 0%.05 s for 2 more events on "))
    assert.truthy(raised(stream.wait_event, stream, function() return false end, 0.05):find("for an event that the test's function accepts", 1, true))
    assert.truthy(raised(stream.wait_end, stream, 0.05):find("^waited 0%.05 s for the end of GET /events"))
  end)

  it("says at once where the stream is over, and why", function()
    local three = server:open("/three")
    assert.truthy(raised(three.wait_event, three, "x"):find('^waited for an event of type "x", but GET /three %(status 200, ended%) is over; got 3 events:\n'
      .. '  n "{\\"n\\":1}" id %S+\n  n "{\\"n\\":2}" id %S+\n  n "{\\"n\\":3}" id %S+$'))
    local nowhere = server:open("/nowhere")
    assert.equal('waited for an event, but GET /nowhere (status 404, ended) is over; its body is {"error":"no route for /nowhere"}',
      raised(nowhere.wait_event, nowhere))
  end)

  it("shows the last events only, and the beginning of long data", function()
    local stream = server:open("/long")
    local message = raised(stream.wait_event, stream, "x")
    assert.truthy(message:find("got 20 events:\n  … 10 before\n  message \"x+\"… %(202 bytes%) id"), message)
    assert.is_true(#message < 2500)
  end)

  it("refuses what it does not know, with a sentence", function()
    local stream = server:open("/events")
    assert.equal("wait_event: an event has event, data and id, not 'type'", raised(stream.wait_event, stream, { type = "x" }))
    assert.equal("wait_event: what to wait for is an event type, a table, or a function, not a number", raised(stream.wait_event, stream, 2))
    assert.equal("wait_events: how many is an integer, at least 1", raised(stream.wait_events, stream, "x"))
    assert.equal("open: unknown option 'tokn'", raised(server.open, server, "/events", { tokn = "x" }))
    assert.equal("request: unknown option 'last_event_id'", raised(server.request, server, "GET", "/", { last_event_id = "x" }))
    assert.equal("request: json or body, not both", raised(server.request, server, "GET", "/", { json = 1, body = "x" }))
    assert.equal("open: the target is a path that begins with '/', not events", raised(server.open, server, "events"))
    server:publish("default", "no json")
    local event = stream:wait_event()
    assert.truthy(raised(event.json, event):find("^the data of the event is not JSON: .*: no json$"))
  end)
end)

describe("a server of sluice.testing", function()
  it("answers requests", function()
    local server = testing.start{ scripts = SCRIPTS }
    local answer = server:request("POST", "/echo", { json = { a = { 1, 2 } }, headers = { ["X-Other"] = "y" } })
    assert.same({ 201, "application/json" }, { answer.status, answer.headers["x-type"] })
    assert.same({ a = { 1, 2 } }, answer:json())
    assert.equal("text", server:request("POST", "/echo", { body = "text" }).body)
    local plain = server:request("POST", "/echo", { body = "text" })
    assert.truthy(raised(plain.json, plain):find("^the answer's body is not JSON"))
    assert.truthy(raised(server.request, server, "GET", "/events", { timeout = 0.05 }):find("a stream is opened with server:open", 1, true))
  end)

  it("signs tokens that the default policy takes", function()
    local server = testing.start{ default_policy = true, jwt = { key = ("k"):rep(32), issuer = "me" } }
    assert.equal(401, server:open("/events").status)
    local token = server:token{ sub = "ann", sluice = { subscribe = { "news" }, publish = {} } }
    assert.equal(200, server:open("/events?channel=news", { token = token }).status)
    assert.equal(403, server:open("/events?channel=other", { token = token }).status)
    assert.equal(403, server:request("POST", "/publish", { token = token, json = { channel = "news", data = 1 } }).status)
    for _, bad in ipairs({ server:token({}, { key = ("x"):rep(32) }), server:token({ exp = os.time() - 1 }), server:token({ iss = "you" }) }) do
      assert.equal(401, server:open("/events", { token = bad }).status)
    end
    local keyless = testing.start{ default_policy = true }
    assert.equal('token: the server has no key: start it with jwt = { key = "…" }', raised(keyless.token, keyless))
  end)

  it("takes a configuration file, on another port and with settings of the test's own", function()
    local folder = process.temp_dir()
    process.write_file(folder .. "/sluice.conf.lua", 'return { listen = "127.0.0.1:1", history = { messages = 7 }, jwt = { key = os.getenv("THE_KEY") } }')
    local script = [[return {
      on_request = function() end,
      routes = function(r) r:get("/", function() return { sluice.config.history.messages, sluice.config.history.age, sluice.jwt.has_key } end) end,
    }]]
    local server = testing.start{
      config = folder .. "/sluice.conf.lua", env = { THE_KEY = ("k"):rep(32) }, ["history.age"] = 9, scripts = { ["a.lua"] = script },
    }
    assert.same({ 7, 9, true }, server:request("GET", "/"):json())
    process.cleanup()
  end)

  it("says what is wrong with its options", function()
    assert.truthy(raised(testing.start, { ratelimt = {} }):find("^testing.start: ratelimt = a table: unknown key; the nearest is ratelimit"))
    assert.truthy(raised(testing.start, { scripts = { ["a.lua"] = "return {" } }):find("^testing.start: a.lua:1: "))
    assert.equal("testing.start: config is a string, not a boolean", raised(testing.start, { config = true }))
    assert.truthy(raised(testing.start, { scripts = "scripts", default_policy = true }):find("a folder replaces the default policy whole", 1, true))
  end)

  it("cannot be used once it is stopped", function()
    local server = testing.start()
    assert.equal(0, server:stop())
    assert.equal("the server has been stopped", raised(server.publish, server, "a", "b"))
  end)
end)

describe("another Lua than 5.4", function()
  it("is told so in one line", function()
    process.need("lua5.1", "lua5.1")
    for _, module in ipairs({ "sluice", "sluice.testing" }) do
      local program = ("package.path = 'lua/?.lua;lua/?/init.lua'; local ok, message = pcall(require, '%s'); print(message)"):format(module)
      local _, out = process.run({ "lua5.1", "-e", program })
      assert.truthy(out:find("Sluice needs Lua 5.4, this is Lua 5.1", 1, true), out)
    end
  end)
end)

describe("testing.eventually", function()
  it("returns what came true, and says what did not with the last error", function()
    local count = 0
    assert.equal(3, testing.eventually(function()
      count = count + 1
      if count < 2 then error("not yet") end
      return count > 2 and count
    end))
    assert.equal("waited 0.02 s for rain", raised(testing.eventually, function() return false end, "rain", 0.02))
    assert.truthy(raised(testing.eventually, function() error("dry") end, nil, 0.02):find("^waited 0%.02 s for the condition; the last try raised: .*dry$"))
  end)
end)

-- A spec file as a user has it: what it prints tells which ports were open when.
local LEAKS = [[
local testing = require("sluice.testing")
local socket = require("socket")
local function is_open(port)
  local sock = socket.connect("127.0.0.1", port)
  if sock then sock:close() end
  return sock ~= nil
end
local shared, first, other
describe("outer", function()
  setup(function() shared = testing.start() end)
  it("fails", function()
    first = testing.start()
    first:open("/events")
    error("on purpose")
  end)
  it("comes later", function()
    io.stderr:write("first ", tostring(is_open(first.port)), " shared ", tostring(is_open(shared.port)), "\n")
  end)
end)
describe("another", function()
  it("has a server of its own", function()
    io.stderr:write("after ", tostring(is_open(shared.port)), "\n")
    other = testing.start()
  end)
end)
]]

describe("cleaning up", function()
  after_each(process.cleanup)

  local function run(argv)
    return process.run(argv, { env = { LUA_PATH = package.path, LUA_CPATH = package.cpath }, preload = os.getenv("SLUICE_PRELOAD") })
  end

  it("is done under busted after each test and each describe block, also where they fail", function()
    local path = process.temp_dir() .. "/leaks_spec.lua"
    process.write_file(path, LEAKS)
    local status, out, err = run({ "lua5.4", "/usr/bin/busted", path })
    assert.equal(1, status, out .. err)
    assert.truthy(out:find("2 successes / 0 failures / 1 error", 1, true), out)
    assert.equal("first false shared true\nafter false\n", err)
  end)

  it("is done elsewhere by <close>, or by cleanup", function()
    local path = process.temp_dir() .. "/program.lua"
    process.write_file(path, [[
      local testing = require("sluice.testing")
      local ports = {}
      pcall(function()
        local server <close> = testing.start()
        ports[1] = server.port
        error("x")
      end)
      ports[2] = testing.start().port
      testing.cleanup()
      for _, port in ipairs(ports) do assert(testing.start{ listen = "127.0.0.1:" .. port }.port == port) end
      print("done")
    ]])
    local status, out, err = run({ "lua5.4", path })
    assert.same({ 0, "done\n" }, { status, out }, err)
  end)

  it("ends what this file has started", function()
    local server = testing.start()
    testing.cleanup()
    assert.is_nil(tcp.try_connect(server.port))
  end)
end)
