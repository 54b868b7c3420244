-- SPDX-License-Identifier: MIT
-- What a server does when there is too much of something (guarantee 6): dead peers, connections, descriptors.
local helper = require("spec.helper")
local http, json, socket = helper.http, helper.json, require("socket")

local function metrics_of(server)
  return json.decode(server:request("GET", "/metrics", { headers = { Accept = "application/json" } }).body)
end

local function wait_metric(server, name, value)
  helper.eventually(function()
    return metrics_of(server)[name] == value
  end, nil, name .. " to become " .. value)
end

-- Keeps clients from being collected, which would close them.
local kept = {}

local function keep(client)
  kept[#kept + 1] = client
  return client
end

local function cleanup()
  kept = {}
  helper.cleanup()
end

-- Waits until the server has closed the connection, and returns what it had sent.
local function wait_closed(connection, timeout)
  local bytes, closed = connection:read_all(timeout)
  assert.is_true(closed, "the connection is still open")
  return bytes
end

-- --- dead peers -----------------------------------------------------------------------------------------

-- Says why streams ended, under /reasons.
local REASONS = [[
  return {
    name = "reasons",
    on_disconnect = function(stream, reason) sluice.shared:incr("reason." .. reason) end,
    routes = function(route)
      route:get("/reasons/:name", function(request) return 200, tostring(sluice.shared:get("reason." .. request:param("name")) or 0) end)
    end,
  }
]]

local function serve_stale(config)
  return helper.serve{ scripts = { ["reasons.lua"] = REASONS }, defaults = true, config = { stream = config } }
end

local function count_of(server, reason)
  return tonumber(server:request("GET", "/reasons/" .. reason).body)
end

describe("stream.stale", function()
  after_each(cleanup)

  for _, case in ipairs{
    { name = "with messages queued", messages = 40, heartbeat = 0.1 },
    { name = "with bytes in the kernel only, and heartbeats on top", messages = 2, heartbeat = 0.1 },
    { name = "with rare heartbeats", messages = 40, heartbeat = 60 },
  } do
    it("ends a stream whose client acknowledges nothing, " .. case.name, function()
      local server = serve_stale{ stale = 1, heartbeat = case.heartbeat }
      keep(server:stream("/events", { receive_buffer = 4096 })):wait_open()
      local list = {}
      for index = 1, case.messages do
        list[index] = { "default", ("x"):rep(8000) }
      end
      server:publish_all(list)
      local began = socket.gettime()
      assert.equal(1, metrics_of(server).activeConnections)
      helper.eventually(function()
        return count_of(server, "stale") == 1
      end)
      local took = socket.gettime() - began
      assert.is_true(took > 0.9 and took < 2.5, ("ended after %.2f s"):format(took))
      local metrics = metrics_of(server)
      assert.equal(0, metrics.activeConnections)
      assert.equal(1, metrics.staleDisconnected)
      assert.equal(0, metrics.queueBytes)
    end)
  end

  it("leaves alone a stream that has nothing to acknowledge, and one whose client reads slowly", function()
    local server = serve_stale{ stale = 0.5, heartbeat = 60 }
    local idle = server:stream("/events?channel=idle"):wait_open()
    local slow = server:stream("/events", { receive_buffer = 4096 }):wait_open()
    local list = {}
    for index = 1, 60 do
      list[index] = { "default", ("x"):rep(8000) }
    end
    server:publish_all(list)
    local began = socket.gettime()
    while socket.gettime() - began < 2 do
      slow.connection.socket:receive(4000)
      socket.select(nil, nil, 0.05)
    end
    local metrics = metrics_of(server)
    assert.is_true(metrics.queueBytes > 0, "the slow client was not slow enough for this test")
    assert.equal(2, metrics.activeConnections)
    server:publish("idle", "still here")
    assert.equal("still here", idle:wait_messages(1)[1].data)
  end)
end)

describe("an answer that its client does not take", function()
  after_each(cleanup)

  local function serve_large()
    return helper.serve{ config = { workers = 1, limits = { idle_timeout = 0.5 } }, defaults = true, scripts = { ["large.lua"] = [[
      return { name = "large", routes = function(route)
        local body = ("x"):rep(8000000)
        route:get("/large", function() return 200, body end)
      end }
    ]] } }
  end

  for _, case in ipairs{ { "kept", {} }, { "closing", { headers = { Connection = "close" } } } } do
    it("is given up after limits.idle_timeout on a connection that is " .. case[1], function()
      local server = serve_large()
      local stuck = server:connect{ receive_buffer = 4096 }
      assert(stuck:send(http.format("GET", "/large", case[2])))
      helper.eventually(function()
        return metrics_of(server).queueBytes > 0
      end)
      local began = socket.gettime()
      wait_metric(server, "queueBytes", 0)
      wait_metric(server, "openConnections", 1)
      assert.is_true(socket.gettime() - began < 3)
    end)
  end

  it("goes on while its client takes it, however long that takes", function()
    local server = serve_large()
    local slow = server:connect{ receive_buffer = 65536 }
    assert(slow:send(http.format("GET", "/large")))
    local began, got = socket.gettime(), 0
    while got < 8000000 do
      local bytes, message, partial = slow.socket:receive(100000)
      got = got + #(bytes or partial)
      assert.is_true(message ~= "closed" or got >= 8000000, "closed after " .. got)
      socket.select(nil, nil, 0.02)
    end
    assert.is_true(socket.gettime() - began > 1)
  end)
end)

-- --- connections ----------------------------------------------------------------------------------------

describe("limits.connections", function()
  after_each(cleanup)

  it("lets 64 more in that get answers but no stream, and closes what comes beyond at once", function()
    local server = helper.serve{ config = { limits = { connections = 4 } } }
    for _ = 1, 4 do
      keep(server:stream("/events")):wait_open()
    end
    local extra = {}
    for index = 1, 64 do
      extra[index] = server:connect()
      assert.equal(200, http.exchange(extra[index], "GET", index % 2 == 0 and "/health" or "/metrics").status)
    end
    assert.equal(200, http.exchange(extra[1], "POST", "/publish", { body = "x" }).status)
    local response = http.exchange(extra[2], "GET", "/events")
    assert.equal(503, response.status)
    local wait = tonumber(response.headers["retry-after"])
    assert.is_true(wait >= 2 and wait <= 4, "Retry-After: " .. wait)
    assert.equal("", wait_closed(extra[2])) -- its place is free again
    helper.eventually(function()
      return http.request(server.port, "GET", "/health").status == 200
    end)
    extra[2] = helper.eventually(function()
      local connection = server:connect()
      return http.exchange(connection, "GET", "/health").status == 200 and connection
    end)
    for _ = 1, 10 do
      local beyond = server:connect()
      beyond:send(http.format("GET", "/health"))
      assert.equal("", wait_closed(beyond))
    end
    assert.equal(200, http.exchange(extra[64], "GET", "/health").status)
    local metrics = json.decode(http.exchange(extra[1], "GET", "/metrics", { headers = { Accept = "application/json" } }).body)
    assert.equal(4, metrics.activeConnections)
    assert.is_true(metrics.connectionsRefused >= 11)
  end)

  it("spreads Retry-After and retry, so that those who were refused do not come back all at once", function()
    for _, busy in ipairs{ "refuse", "retry" } do
      local server = helper.serve{ config = { workers = 1, stream = { retry = 20000 }, limits = { connections = 1, busy = busy } } }
      keep(server:stream("/events")):wait_open()
      local seen, kinds = {}, 0
      for _ = 1, 20 do
        local refused = server:stream("/events")
        refused:wait_end()
        local value = busy == "refuse" and tonumber(refused.headers["retry-after"]) * 1000 or refused:retry()
        assert.is_true(value >= 20000 and value <= 40000, busy .. ": " .. value)
        kinds = kinds + (seen[value] and 0 or 1)
        seen[value] = true
      end
      assert.is_true(kinds > 5, busy .. ": only " .. kinds .. " different times")
    end
  end)

  it("gives a stream to a connection that came over the limit once others have left", function()
    local server = helper.serve{ config = { workers = 1, limits = { connections = 2 } } }
    local first = server:stream("/events"):wait_open()
    keep(server:stream("/events")):wait_open()
    local late = server:connect()
    assert.equal(200, http.exchange(late, "GET", "/health").status)
    first:close()
    helper.eventually(function()
      local metrics = http.exchange(late, "GET", "/metrics", { headers = { Accept = "application/json" } })
      return json.decode(metrics.body).openConnections == 2
    end)
    assert(late:send(http.format("GET", "/events")))
    assert.is_truthy(late:read_until("\r\n\r\n"):find("^HTTP/1.1 200 "))
  end)

  it("does not let silent connections over the limit keep their places", function()
    local server = helper.serve{ config = { workers = 1, limits = { connections = 2, header_timeout = 0.3, idle_timeout = 30 } } }
    local silent = {}
    for index = 1, 2 do
      silent[index] = server:connect()
    end
    wait_metric(server, "openConnections", 3)
    for index = 3, 40 do
      silent[index] = server:connect()
    end
    for index = 3, 40 do
      assert.equal("", wait_closed(silent[index]))
    end
    assert.same({ nil, "timeout" }, { silent[1]:fill() }) -- those within the limit stay
    assert.same({ nil, "timeout" }, { silent[2]:fill() })
  end)

  it("makes room for newcomers by what is dead, and never by what lives", function()
    local server = helper.serve{ config = { limits = { connections = 6 }, stream = { stale = 1, heartbeat = 60 } } }
    local alive = {}
    for index = 1, 3 do
      alive[index] = server:stream("/events?channel=a"):wait_open()
      keep(server:stream("/events?channel=b", { receive_buffer = 4096 })):wait_open()
    end
    local list = {}
    for index = 1, 40 do
      list[index] = { "b", ("x"):rep(8000) }
    end
    server:publish_all(list)
    assert.equal(503, server:stream("/events"):wait_head().status)
    local newcomers = {}
    helper.eventually(function()
      local stream = server:stream("/events?channel=a"):wait_head()
      newcomers[#newcomers + 1] = stream.status == 200 and stream or nil
      return #newcomers == 3
    end)
    assert.equal(503, server:stream("/events"):wait_head().status)
    server:publish("a", "x")
    for _, stream in ipairs(alive) do
      assert.equal("x", stream:wait_messages(1)[1].data)
    end
    assert.equal(3, metrics_of(server).staleDisconnected)
  end)
end)

-- --- history ----------------------------------------------------------------------------------------------

describe("history", function()
  after_each(cleanup)

  it("is bounded over all channels, and a channel that is idle and empty goes away", function()
    local MIB = 1024 * 1024
    local server = helper.serve{ config = { history = { total_bytes = 4 * MIB, age = 1.5 } } }
    metrics_of(server)
    local before = server.process:resident()
    local stream = keep(server:stream("/events?channel=c1")):wait_open()
    for round = 1, 5 do
      local list = {}
      for index = 1, 1000 do
        list[index] = { "c" .. index, round .. (" "):rep(4000) }
      end
      server:publish_all(list)
    end
    local metrics = metrics_of(server)
    assert.is_true(metrics.historyBytes <= 4 * MIB and metrics.historyBytes > 3 * MIB, metrics.historyBytes .. " bytes are kept")
    assert.is_true((os.getenv("SLUICE_PRELOAD") or "") ~= "" or server.process:resident() - before < 12 * MIB)
    assert.equal(5, #stream:wait_messages(5))
    helper.eventually(function()
      metrics = metrics_of(server)
      return metrics.channels == 1 and metrics.historyBytes == 0 -- the one that has a subscriber
    end)
    stream:close()
    wait_metric(server, "channels", 0)
  end)
end)

-- --- descriptors ----------------------------------------------------------------------------------------

describe("out of descriptors", function()
  after_each(cleanup)

  it("accepting pauses and goes on, nothing spins, the streams stay", function()
    local server = helper.serve{ files = 64, config = { workers = 2, stream = { heartbeat = 60 } } }
    local stream = server:stream("/events"):wait_open()
    local silent = {}
    for index = 1, 150 do -- more than can be accepted: the rest waits in the backlog
      silent[index] = server:connect()
    end
    helper.eventually(function()
      return server:log():find("cannot accept connections", 1, true)
    end)
    assert.equal(64, server.process:files())
    local before, began = server.process:cpu(), socket.gettime()
    while socket.gettime() - began < 1 do
      socket.select(nil, nil, 0.05)
    end
    local used = server.process:cpu() - before
    assert.is_true(used < 0.3, ("%.2f s of CPU in one second"):format(used))
    local waiting = server:connect() -- behind all of them
    assert(waiting:send(http.format("POST", "/publish", { body = "after" })))
    for _, connection in ipairs(silent) do
      connection:close()
    end
    assert.equal(200, assert(http.read_response(waiting)).status)
    assert.equal("after", stream:wait_messages(1)[1].data)
    local _, lines = server:log():gsub("cannot accept connections", "")
    assert.is_true(lines <= 4, lines .. " lines about it in the log")
    assert.equal(0, server:stop() and 0)
  end)

  it("`sluice serve` raises the limit, and says where limits.connections lies above it", function()
    local server = helper.serve{ files = 200, config = { limits = { connections = 5000 } } }
    helper.eventually(function()
      return server:log():find("limits.connections is 5000, but the process may open only 200 files", 1, true)
    end)
    server = helper.serve{ config = { limits = { connections = 50 } } }
    server:request("GET", "/health")
    assert.is_nil(server:log():find("may open only", 1, true))
    local soft, hard = helper.process.read_file("/proc/" .. server.process.pid .. "/limits"):match("Max open files%s+(%d+)%s+(%d+)")
    assert.equal(hard, soft)
  end)
end)
