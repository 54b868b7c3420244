-- SPDX-License-Identifier: MIT
-- Clients that mean harm, or are broken. Each is bounded in time and in the server's memory, gets the right status where there is
-- one, and is noticed by nobody else.
local helper = require("spec.helper")
local load = require("spec.support.load")
local http, json, socket = helper.http, helper.json, require("socket")

local MIB = 1024 * 1024
-- A sanitizer's memory says nothing about ours.
local MEASURED = (os.getenv("SLUICE_PRELOAD") or "") == ""

local server, kept

local function keep(client)
  kept[#kept + 1] = client
  return client
end

local function metrics()
  return json.decode(server:request("GET", "/metrics", { headers = { Accept = "application/json" } }).body)
end

local function start(config)
  kept = {}
  server = helper.serve{ config = config }
  metrics() -- what the first request needs is there
end

-- Fails where `action` lets the server's memory grow by more than `bytes`, at its end or at any look on the way.
local function bounded(bytes, action)
  local before, most = server.process:resident(), 0
  local function look()
    most = math.max(most, server.process:resident() - before)
  end
  local result = action(look)
  look()
  assert.is_true(not MEASURED or most <= bytes, ("the server grew by %.2f MiB"):format(most / MIB))
  return result
end

-- Drips `bytes` over all connections in turn, one each, every `pause` seconds, until the server has ended all. Returns how long that took, and what each got.
local function drip(connections, bytes, pause, longest)
  local began, open, got = socket.gettime(), #connections, {}
  while open > 0 do
    assert.is_true(socket.gettime() - began < longest, ("%d of %d are still open"):format(open, #connections))
    for index, connection in ipairs(connections) do
      if not connection.ended then
        connection:try_send(bytes)
        local _, message = connection:fill()
        if message == "closed" then
          got[index] = connection.buffer
          open = open - 1
        end
      end
    end
    socket.select(nil, nil, pause)
  end
  return socket.gettime() - began, got
end

local function connect_all(count, opening)
  local list = {}
  for index = 1, count do
    list[index] = keep(server:connect())
    assert(list[index]:send(opening))
  end
  return list
end

-- Sends `bytes` again and again without reading, until nothing is taken for `pause` seconds or the connection ends. Returns how much went.
local function pour(connection, bytes, most, pause)
  local sent, at, since = 0, 1, socket.gettime()
  while sent < most do
    local count = connection:try_send(bytes, at)
    if not count then
      return sent, true
    end
    if count > 0 then
      since, sent, at = socket.gettime(), sent + count, at + count
      if at > #bytes then
        at = 1
      end
    elseif socket.gettime() - since > pause then
      return sent, false
    else
      socket.select(nil, { connection.socket }, 0.05)
    end
  end
  return sent, false
end

local function status_of(text)
  return tonumber(text:match("^HTTP/1%.1 (%d%d%d) "))
end

local function is_healthy()
  assert.equal(200, server:request("GET", "/health").status)
  server:publish("default", "x")
end

local function cleanup()
  kept = nil
  helper.cleanup()
end

describe("slow and endless requests:", function()
  after_each(cleanup)

  for _, case in ipairs{
    { "a header that drips in", "GET /health HTTP/1.1\r\nHost: x\r\nX-A: ", "a", 0.6 },
    { "a request line that drips in", "GET /", "a", 0.6 },
    { "a sized body that drips in", "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "b", 1 },
    { "a chunked body that drips in", "POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n", "b", 1 },
    { "a body after 100 Continue", "POST /publish HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", "", 1 },
  } do
    it(case[1] .. " has one time for all of it, then 408", function()
      start{ limits = { header_timeout = 0.6, idle_timeout = 1 } }
      bounded(4 * MIB, function()
        local took, got = drip(connect_all(100, case[2]), case[3], 0.05, 8)
        for _, text in ipairs(got) do
          assert.equal(408, status_of((text:gsub("^HTTP/1.1 100 Continue\r\n\r\n", ""))))
        end
        assert.is_true(took >= case[4] - 0.05 and took < case[4] + 2, ("it took %.2f s"):format(took))
      end)
      is_healthy()
    end)
  end

  it("a body's time begins with the body, also on a connection that was idle long", function()
    start{ limits = { idle_timeout = 1.5 } }
    local connection = server:connect()
    assert.equal(200, http.exchange(connection, "GET", "/health").status)
    socket.select(nil, nil, 1)
    assert(connection:send("POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab"))
    socket.select(nil, nil, 0.9)
    assert(connection:send("cd"))
    assert.equal(200, assert(http.read_response(connection)).status)
  end)

  it("blank lines instead of a request do not keep a connection alive", function()
    start{ limits = { idle_timeout = 0.6 } }
    local took = drip(connect_all(20, "\r\n"), "\r\n", 0.05, 5)
    assert.is_true(took < 2.5, ("it took %.2f s"):format(took))
  end)

  for _, case in ipairs{
    { "a header field", "GET /health HTTP/1.1\r\nHost: x\r\nX-A: ", "a", { 431 } },
    { "a header of many fields", "GET /health HTTP/1.1\r\nHost: x\r\n", "X-A: a\r\n", { 431 } },
    { "a request target", "GET /", "a", { 414 } },
    { "a method", "", "A", { 400, 501 } },
    { "a chunk extension", "POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;", "a", { 400, 413, 431 } },
    { "a trailer", "POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-A: a\r\n", { 400, 431 } },
    { "a chunked body", "POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", { 413 } },
    { "blank lines", "", "\r\n", { 400 } },
  } do
    it(case[1] .. " without an end is refused", function()
      start()
      bounded(8 * MIB, function(look)
        for _ = 1, 10 do
          local connection = server:connect()
          assert(connection:send(case[2]))
          pour(connection, case[3]:rep(16384 // #case[3]), 64 * MIB, 3)
          look()
          local text, closed = connection:read_all()
          assert.is_true(closed)
          -- What was on its way when the server closed may have cost the answer.
          local status = status_of(text)
          local expected = status == nil
          for _, allowed in ipairs(case[4]) do
            expected = expected or status == allowed
          end
          assert.is_true(expected, text:sub(1, 100))
        end
      end)
      is_healthy()
    end)
  end
end)

describe("clients that do not read:", function()
  after_each(cleanup)

  it("pipelining without reading is held back, and ended in time", function()
    start{ limits = { idle_timeout = 1 } }
    bounded(8 * MIB, function(look)
      local connections = {}
      for index = 1, 10 do
        connections[index] = keep(server:connect{ receive_buffer = 4096 })
        local sent = pour(connections[index], http.format("GET", "/metrics"):rep(100), 64 * MIB, 0.3)
        assert.is_true(sent < 32 * MIB, "the server took " .. sent .. " bytes")
        look()
      end
      helper.eventually(function()
        return metrics().openConnections == 1
      end)
    end)
    assert.equal(0, metrics().queueBytes)
    is_healthy()
  end)

  it("streams that are read a byte at a time are bounded, and the others get everything", function()
    start{ limits = { queue_bytes = 65536 }, channels = { ["d"] = { slow = "drop_oldest" } } }
    local slow = {}
    for index = 1, 20 do
      slow[index] = keep(server:stream("/events?channel=" .. (index % 2 == 0 and "d" or "c"), { receive_buffer = 4096 })):wait_open()
    end
    local quick = keep(server:stream("/events?channel=c&channel=d")):wait_open()
    bounded(20 * MIB, function(look)
      for round = 1, 50 do
        local list = {}
        for index = 1, 10 do -- few enough for one that reads between them
          list[index] = { index % 2 == 0 and "d" or "c", ("x"):rep(4000) }
        end
        server:publish_all(list)
        quick:wait_messages(round * 10)
        for _, stream in ipairs(slow) do
          stream.connection.socket:receive(1)
        end
        look()
      end
    end)
    local counts = metrics()
    assert.equal(10, counts.slowConsumersDisconnected)
    assert.is_true(counts.queueBytes <= 10 * (65536 + 4096))
    assert.equal(11, counts.activeConnections)
  end)
end)

describe("clients that send too much or nothing:", function()
  after_each(cleanup)

  it("a stream's client that sends megabytes is ended", function()
    start()
    bounded(4 * MIB, function(look)
      for _ = 1, 10 do
        local stream = keep(server:stream("/events")):wait_open()
        local sent, ended = pour(stream.connection, ("x"):rep(65536), 64 * MIB, 5)
        assert.is_true(ended, sent .. " bytes were taken")
        look()
      end
      helper.eventually(function()
        return metrics().activeConnections == 0
      end)
    end)
    is_healthy()
  end)

  it("one that sends a little stays", function()
    start()
    local stream = server:stream("/events"):wait_open()
    for _ = 1, 60 do
      assert(stream.connection:send(("x"):rep(1000)))
    end
    server:publish("default", "still here")
    assert.equal("still here", stream:wait_messages(1)[1].data)
  end)

  it("thousands of connections that send nothing cost little, and go in time", function()
    start{ limits = { connections = 10000, idle_timeout = 4 } }
    local files = tonumber(helper.process.read_file("/proc/self/limits"):match("Max open files%s+%d+%s+(%d+)"))
    local count = math.min(5000, files - 300)
    bounded(count * 1024 + 4 * MIB, function()
      local child = load.start("hold", server.port, count)
      load.wait(child, "open", 30)
      helper.eventually(function()
        return metrics().openConnections > count * 0.9
      end)
      local began = socket.gettime()
      is_healthy()
      assert.is_true(socket.gettime() - began < 1)
      assert.equal(0, child:wait(20)) -- the server has closed all
    end)
    is_healthy()
  end)

  it("connections that come and go leave nothing behind", function()
    start()
    local function round(count)
      for index = 1, count do
        local connection = server:connect()
        local way = index % 4
        if way == 1 then
          connection:send("GET /events HTTP/1.1\r\nHost: x\r\n")
        elseif way >= 2 then
          connection:send(http.format("GET", way == 2 and "/events" or "/health"))
        end
        if index % 3 == 0 then
          connection:reset()
        else
          connection:close()
        end
      end
      helper.eventually(function()
        return metrics().openConnections == 1
      end)
    end
    round(500)
    bounded(1 * MIB, function()
      round(3000)
    end)
    assert.equal(0, metrics().activeConnections)
    assert.is_true(server.process:files() < 64)
  end)
end)

-- --- half-closes and resets at every point ------------------------------------------------------------------

local WAYS = {
  half_close = function(connection)
    connection:half_close()
  end,
  reset = function(connection)
    connection:reset()
  end,
  close = function(connection)
    connection:close()
  end,
}

describe("an end at any point", function()
  after_each(cleanup)

  for name, case in pairs{
    ["a stream's request"] = { text = http.format("GET", "/events?channel=a", { headers = { ["Last-Event-ID"] = "1-1" } }), stream = true },
    ["a publish"] = { text = http.format("POST", "/publish?channel=a", { body = "0123456789" }), answers = 1 },
    ["a chunked publish"] = { text = "POST /publish?channel=a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. "5\r\n01234\r\n5;x=y\r\n56789\r\n0\r\nX-T: 1\r\n\r\n", answers = 1 },
    ["two requests in one"] = { text = http.format("GET", "/health") .. http.format("POST", "/publish", { body = "ab" }), answers = 2 },
    ["a refused request"] = { text = http.format("GET", "/events", { headers = { { "Host", "x" }, { "Host", "y" } } }), answers = 1, status = 400 },
  } do
    it("of " .. name .. " leaves nothing behind, and what was asked in full is answered", function()
      start()
      for way, act in pairs(WAYS) do
        for cut = 0, #case.text do
          local connection = server:connect()
          assert(connection:send(case.text:sub(1, cut)))
          act(connection)
          if way == "half_close" then
            local text, closed = connection:read_all()
            assert.is_true(closed, ("cut at %d: still open"):format(cut))
            local _, answers = text:gsub("HTTP/1%.1 %d%d%d ", "")
            if cut == #case.text and case.answers then
              assert.equal(case.answers, answers)
              assert.equal(case.status or 200, status_of(text))
            else
              assert.is_true(answers <= (case.answers or 1), text)
            end
            connection:close()
          end
        end
      end
      helper.eventually(function()
        local counts = metrics()
        return counts.openConnections == 1 and counts.activeConnections == 0
      end)
      local counts = metrics()
      assert.equal(0, counts.queueBytes)
      assert.equal(0, counts.scriptErrors)
      is_healthy()
    end)
  end

  it("of a stream leaves nothing behind: opening, replay, live, behind, full", function()
    start{ limits = { queue_bytes = 65536 }, channels = { ["d"] = { slow = "drop_oldest" } }, history = { messages = 2000, bytes = 64 * MIB } }
    local function publish(channel, count, size)
      local list = {}
      for index = 1, count do
        list[index] = { channel, index .. (" "):rep(size) }
      end
      server:publish_all(list)
    end
    publish("r", 500, 2000)
    local points = {
      ["before its head is read"] = function()
        return server:stream("/events?channel=a")
      end,
      ["after its opening event"] = function()
        return server:stream("/events?channel=a"):wait_open()
      end,
      ["in a replay"] = function()
        local stream = server:stream("/events?channel=r&last_event_id=earliest", { receive_buffer = 4096 })
        stream:wait_messages(3)
        return stream
      end,
      ["behind a live message"] = function()
        local stream = server:stream("/events?channel=a"):wait_open()
        server:publish("a", "x")
        stream:wait_messages(1)
        return stream
      end,
      ["with a full queue"] = function()
        local stream = server:stream("/events?channel=d", { receive_buffer = 4096 }):wait_open()
        publish("d", 100, 4000)
        return stream
      end,
      ["cut off as slow"] = function()
        local stream = server:stream("/events?channel=c", { receive_buffer = 4096 }):wait_open()
        publish("c", 200, 4000)
        return stream
      end,
      ["over HTTP/1.0"] = function()
        return server:stream("/events?channel=a", { version = "1.0" }):wait_open()
      end,
    }
    for _, act in pairs(WAYS) do
      for point, open in pairs(points) do
        for _ = 1, 3 do
          local stream = keep(open())
          act(stream.connection)
          if point == "with a full queue" or point == "in a replay" then
            publish(point == "in a replay" and "r" or "d", 5, 4000)
          end
          helper.eventually(function()
            return metrics().activeConnections == 0
          end, nil, point .. ": the stream to be gone")
        end
      end
    end
    helper.eventually(function()
      return metrics().openConnections == 1
    end)
    local counts = metrics()
    assert.equal(0, counts.queueBytes)
    assert.equal(0, counts.scriptErrors)
    is_healthy()
  end)
end)
