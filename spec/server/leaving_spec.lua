-- SPDX-License-Identifier: MIT
-- Leaving and coming back (guarantee 8) under load: signals, a worker that is stuck, a restart. (spec/server/guarantees_bounds_spec.lua has the rest.)
local helper = require("spec.helper")
local http, json, socket, sse, tcp = helper.http, helper.json, require("socket"), helper.sse, helper.tcp

local kept

local function keep(client)
  kept[#kept + 1] = client
  return client
end

local function cleanup()
  kept = {}
  helper.cleanup()
end

local function wait_refused(port)
  helper.eventually(function()
    return not tcp.try_connect(port)
  end)
end

-- A script with a route that keeps its worker in one C call for as long as nobody writes to a pipe. Returns scripts for helper.serve and the pipe's path.
local function blocking_script()
  local pipe = helper.process.temp_dir() .. "/pipe"
  assert(os.execute("mkfifo " .. pipe))
  return { ["block.lua"] = ([[
    return {
      name = "block",
      routes = function(route)
        route:get("/block", function()
          io.open(%q):close()
          return 200, "unblocked"
        end)
      end,
    }
  ]]):format(pipe) }, pipe
end

-- Sends the request that blocks a worker, and waits until one is.
local function block(server)
  local blocked = keep(server:connect())
  assert(blocked:send(http.format("GET", "/block")))
  helper.eventually(function()
    local probe = server:connect()
    assert(probe:send(http.format("GET", "/health")))
    local answer = probe:read_until("\r\n", 0.2)
    probe:close()
    return not answer
  end)
  return blocked
end

describe("a second signal", function()
  before_each(function()
    kept = {}
  end)
  after_each(cleanup)

  for name, number in pairs{ TERM = 15, INT = 2 } do
    it("SIG" .. name .. " ends it at once with status " .. 128 + number, function()
      local server = helper.serve{ config = { drain = 60 } }
      for _ = 1, 20 do
        keep(server:stream("/events")):wait_open()
      end
      local began = socket.gettime()
      server:signal(name)
      wait_refused(server.port)
      server:signal(name)
      assert.equal(128 + number, server:wait())
      assert.is_true(socket.gettime() - began < 3)
    end)
  end

  it("may be another one than the first, and counts with its own number", function()
    local server = helper.serve{ config = { drain = 60 } }
    keep(server:stream("/events")):wait_open()
    server:signal("TERM")
    wait_refused(server.port)
    server:signal("INT")
    assert.equal(130, server:wait())
  end)

  it("also ends a server whose worker does not come back from a script", function()
    local server = helper.serve{ scripts = blocking_script(), defaults = true, config = { drain = 1, workers = 1 } }
    block(server)
    server:signal("TERM")
    helper.eventually(function()
      return server:log():find("SIGTERM: leaving", 1, true)
    end)
    local began = socket.gettime()
    server:signal("TERM")
    local status, signal = server:wait()
    assert.equal(143, status or 128 + signal) -- a shell says 143 either way
    assert.is_true(socket.gettime() - began < 5)
  end)
end)

-- Publishes numbered messages on one connection as fast as they are answered, until the server does not answer any more. Returns a
-- function that goes on for a moment; it returns how many were answered with 200, and false once it is over.
local function publisher(server, channel)
  local connection = keep(server:connect())
  local sent, answered, open = 0, 0, true
  return function()
    while open and sent - answered < 8 do
      sent = sent + 1
      open = connection:send(http.format("POST", "/publish?channel=" .. channel, { body = tostring(sent) })) == true
    end
    local _, message = connection:fill()
    while true do
      local _, last = connection.buffer:find("\r\n\r\n%b{}")
      if not last then break end
      local answer = connection:take(last)
      if answer:find("^HTTP/1%.1 200 ") then
        answered = answered + 1
      end
    end
    open = open and message ~= "closed"
    return answered, open
  end
end

local function assert_counts_up(messages, from)
  for index, message in ipairs(messages) do
    assert.equal(tostring(from + index - 1), message.data)
  end
end

describe("leaving under load", function()
  before_each(function()
    kept = {}
  end)
  after_each(cleanup)

  it("loses nothing up to each stream's end, which is in good order, and the status is 0", function()
    local server = helper.serve{ config = { drain = 2, history = { messages = 1000000, bytes = 64 * 1024 * 1024 } } }
    local streams = {}
    for index = 1, 40 do
      streams[index] = keep(server:stream("/events?channel=a")):wait_open()
    end
    local go_on = publisher(server, "a")
    local answered, open = 0, true
    local signalled = false
    sse.wait_for(streams, function()
      if open then
        answered, open = go_on()
      end
      if answered > 500 and not signalled then
        signalled = server:signal("TERM")
      end
      for _, stream in ipairs(streams) do
        if not stream.ended then return false end
      end
      return true
    end, 30)
    local longest = 0
    for _, stream in ipairs(streams) do
      assert.equal("chunk", stream.ended)
      assert_counts_up(stream:messages(), 1)
      longest = math.max(longest, #stream:messages())
    end
    assert.is_true(longest >= 500)
    assert.equal(0, server:wait())
  end)

  it("after a restart those who come back are told the gap, and miss nothing of the new life", function()
    local port = tcp.free_port()
    local config = { listen = "127.0.0.1:" .. port, drain = 0.3 }
    local server = helper.serve{ config = config }
    local streams = {}
    for index = 1, 20 do
      streams[index] = keep(server:stream("/events?channel=a")):wait_open()
    end
    for number = 1, 5 do
      server:publish("a", tostring(number))
    end
    for _, stream in ipairs(streams) do
      assert_counts_up(stream:wait_messages(5), 1)
    end
    server:signal("TERM")
    assert.equal(0, server:wait())
    server = helper.serve{ config = config }
    assert.equal(port, server.port)
    local ids = {}
    for number = 6, 8 do
      ids[#ids + 1] = server:publish("a", tostring(number))
    end
    for _, stream in ipairs(streams) do
      local back = keep(server:stream("/events?channel=a", { last_event_id = stream:last_event_id() }))
      local messages = back:wait_messages(4)
      assert.equal("sluice.gap", messages[1].event)
      local gap = json.decode(messages[1].data)
      assert.equal(stream:last_event_id(), gap.requested)
      assert.same({ "a" }, gap.channels)
      assert.equal(ids[1], gap.oldest)
      assert_counts_up({ table.unpack(messages, 2) }, 6)
    end
  end)
end)

describe("a worker that falls behind", function()
  before_each(function()
    kept = {}
  end)
  after_each(cleanup)

  it("drops its overfull inbox; its streams read what they missed from history, in order and once", function()
    local MIB = 1024 * 1024
    local scripts, pipe = blocking_script()
    local server = helper.serve{ scripts = scripts, defaults = true, config = { history = { messages = 1000, bytes = 128 * MIB },
      limits = { script_ms = 60000, queue_bytes = 256 * MIB } } }
    local streams = {}
    for index = 1, 14 do
      streams[index] = keep(server:stream("/events?channel=a&channel=b")):wait_open()
    end
    local blocked = block(server)
    -- A connection to the worker that still works, and by a first message which streams are its own. Three are enough.
    local connection = helper.eventually(function()
      local probe = keep(server:connect())
      assert(probe:send(http.format("GET", "/health")))
      return http.read_response(probe, { timeout = 0.2 }) and probe
    end)
    http.exchange(connection, "POST", "/publish?channel=a", { body = "1x" })
    local working, stuck = {}, {}
    sse.wait_for(streams, function()
      working, stuck = {}, {}
      for _, stream in ipairs(streams) do
        table.insert(#stream:messages() > 0 and working or stuck, stream)
      end
      return #working > 0
    end)
    assert(#stuck >= 2, "all streams came to one worker")
    streams = { working[1], stuck[1], stuck[2] }
    -- More than an inbox may hold (64 MiB).
    local COUNT, FILLING = 150, ("\n" .. ("x"):rep(1023)):rep(512)
    for number = 2, COUNT do
      local body = number .. FILLING
      assert.equal(200, http.exchange(connection, "POST", "/publish?channel=" .. (number % 3 == 0 and "b" or "a"), { body = body }).status)
    end
    working[1]:wait_messages(COUNT, 60)
    local resident = server.process:resident()
    assert.is_true((os.getenv("SLUICE_PRELOAD") or "") ~= "" or resident < 200 * MIB, "the server takes " .. resident // MIB .. " MiB")
    assert.equal(0, #stuck[1]:messages() + #stuck[2]:messages())
    assert(io.open(pipe, "w")):close()
    assert.equal(200, assert(http.read_response(blocked)).status)
    connection:send(http.format("POST", "/publish?channel=a", { body = COUNT + 1 .. "x" }))
    sse.wait_for(streams, function()
      for _, stream in ipairs(streams) do
        if #stream:messages() <= COUNT then return false end
      end
      return true
    end, 60)
    for _, stream in ipairs(streams) do
      for index, message in ipairs(stream:messages()) do
        assert.equal("message", message.event)
        assert.equal(tostring(index), message.data:match("^%d+"))
        assert.equal(index == 1 or index > COUNT, #message.data < 10)
      end
      assert.equal(COUNT + 1, #stream:messages())
    end
    assert.is_truthy(server:log():find("fell behind", 1, true))
  end)
end)
