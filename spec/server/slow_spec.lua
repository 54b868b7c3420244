-- SPDX-License-Identifier: MIT
-- Slow consumers (guarantee 6): each channel's rule, the gap that is said where messages were dropped, handlers that wait, and nobody else who notices.
local helper = require("spec.helper")
local http, json, socket = helper.http, helper.json, require("socket")

local QUEUE = 64 * 1024

-- A server whose queues are small and whose kernel buffers fill fast, with a rule for each kind of channel.
local function serve(config)
  local base = {
    limits = { queue_bytes = QUEUE },
    history = { messages = 100000, bytes = 256 * 1024 * 1024 },
    channels = { ["drop.*"] = { slow = "drop_oldest" }, ["conflate.*"] = { slow = "conflate" } },
  }
  for key, value in pairs(config or {}) do
    base[key] = value
  end
  return helper.serve{ config = base }
end

-- Keeps clients from being collected, which would close them.
local kept = {}

local function cleanup()
  kept = {}
  helper.cleanup()
end

-- A stream whose client does not read on after its opening event.
local function stuck_stream(server, target, options)
  options = options or {}
  options.receive_buffer = 4096
  kept[#kept + 1] = server:stream(target, options):wait_open()
  return kept[#kept]
end

local function metrics_of(server)
  return json.decode(server:request("GET", "/metrics", { headers = { Accept = "application/json" } }).body)
end

-- Publishes numbered messages of some size in one go, from `first` to `last`.
local function publish_numbers(server, channel, first, last, size, event)
  local list = {}
  for number = first, last do
    list[#list + 1] = { channel, number .. " " .. ("x"):rep(size), event }
  end
  return server:publish_all(list)
end

local function number_of(message)
  return tonumber(message.data:match("^(%d+) "))
end

local function is_less(a, b)
  local a_ms, a_n = a:match("^(%d+)%-(%d+)$")
  local b_ms, b_n = b:match("^(%d+)%-(%d+)$")
  a_ms, a_n, b_ms, b_n = tonumber(a_ms), tonumber(a_n), tonumber(b_ms), tonumber(b_n)
  return a_ms < b_ms or (a_ms == b_ms and a_n < b_n)
end

-- Reads a stream to the message with this number.
local function read_up_to(stream, number)
  return stream:wait_messages(function(messages)
    local last = messages[#messages]
    return last and last.event ~= "sluice.gap" and number_of(last) == number
  end)
end

-- Checks what came after drops: numbers rise by one, save behind a gap event, which says what is missing. Returns how many gaps there were.
local function check_gaps(messages, ids, channel)
  local last, last_id, gaps, in_gap = 0, nil, 0, nil
  for _, message in ipairs(messages) do
    if message.event == "sluice.gap" then
      local data = json.decode(message.data)
      assert.is_nil(in_gap, "two gaps in a row")
      assert.same({ channel }, data.channels)
      assert.equal(last_id or data.requested, data.requested)
      assert.equal(ids[1], data.oldest)
      assert.is_false(is_less(message.own_id, data.requested))
      in_gap, gaps = message.own_id, gaps + 1
    else
      local number = number_of(message)
      if in_gap then
        assert.is_true(number > last + 1, "a gap before " .. number .. " where nothing is missing")
        assert.is_true(is_less(in_gap, message.id))
        assert.is_false(is_less(in_gap, ids[number - 1])) -- a client that comes back with it misses nothing and repeats nothing
      else
        assert.equal(last + 1, number)
      end
      assert.equal(ids[number], message.id)
      last, last_id, in_gap = number, message.id, nil
    end
  end
  return gaps
end

describe("drop_oldest:", function()
  after_each(cleanup)

  for _, version in ipairs{ "1.1", "1.0" } do
    it("keeps the client, drops the oldest, and says so once before the next message, HTTP/" .. version, function()
      local server = serve()
      local slow = stuck_stream(server, "/events?channel=drop.a", { version = version })
      local ids = publish_numbers(server, "drop.a", 1, 2000, 1000)
      local messages = read_up_to(slow, 2000)
      assert.equal(1, check_gaps(messages, ids, "drop.a"))
      assert.is_nil(slow.ended)
      local metrics = metrics_of(server)
      assert.equal(2000 - (#messages - 1), metrics.slowConsumerDrops)
      assert.equal(0, metrics.slowConsumersDisconnected)
      assert.equal(1, metrics.gaps)
      -- What is left at the end is about a queue of the newest.
      local behind = 0
      for index = #messages, 1, -1 do
        if messages[index].event == "sluice.gap" then break end
        behind = behind + 1
      end
      assert.is_true(behind * 1000 <= QUEUE and behind * 1000 > QUEUE / 2, behind .. " messages were left")
    end)
  end

  it("says each run of drops by itself", function()
    local server = serve()
    local slow = stuck_stream(server, "/events?channel=drop.a")
    local ids = {}
    for round = 1, 3 do
      table.move(publish_numbers(server, "drop.a", round * 1000 - 999, round * 1000, 1000), 1, 1000, #ids + 1, ids)
      read_up_to(slow, round * 1000)
    end
    assert.equal(3, check_gaps(slow:messages(), ids, "drop.a"))
    assert.equal(3, metrics_of(server).gaps)
  end)

  it("a client that comes back with the gap's id, or with the one before it, goes on from there", function()
    local server = serve()
    local slow = stuck_stream(server, "/events?channel=drop.a")
    publish_numbers(server, "drop.a", 1, 2000, 1000)
    local messages = read_up_to(slow, 2000)
    local gap, before, after
    for index, message in ipairs(messages) do
      if message.event == "sluice.gap" then
        gap, before, after = message, messages[index - 1], messages[index + 1]
      end
    end
    local back = server:stream("/events?channel=drop.a", { last_event_id = gap.own_id }):wait_open()
    local first = back:wait_messages(2000 - number_of(after) + 1)[1]
    assert.equal(number_of(after), number_of(first))
    assert.equal(2000 - number_of(after) + 1, #back:messages())
    back = server:stream("/events?channel=drop.a", { last_event_id = json.decode(gap.data).requested }):wait_open()
    first = back:wait_messages(2000 - number_of(before))[1]
    assert.equal(number_of(before) + 1, number_of(first)) -- what was dropped is still in history
  end)

  it("a client that never came to a message is told from where it opened", function()
    local server = serve()
    local slow = stuck_stream(server, "/events?channel=drop.a&channel=quiet")
    local opened = slow:last_event_id()
    -- One message that fills all there is, and one that takes the queue: what follows drops it.
    local ids = publish_numbers(server, "drop.a", 1, 400, 60 * 1024)
    local messages = read_up_to(slow, 400)
    check_gaps(messages, ids, "drop.a")
    local first_gap
    for index, message in ipairs(messages) do
      if message.event == "sluice.gap" then
        first_gap = first_gap or { json.decode(message.data), messages[index - 1] }
      end
    end
    assert.equal(first_gap[2] and first_gap[2].id or opened, first_gap[1].requested)
  end)

  it("does not drop messages of a channel that is to lose none: then the client is cut off", function()
    local server = serve()
    local slow = stuck_stream(server, "/events?channel=drop.a&channel=whole")
    publish_numbers(server, "drop.a", 1, 500, 1000)
    publish_numbers(server, "whole", 1, 10, 1000, "whole")
    publish_numbers(server, "drop.a", 501, 1000, 1000)
    assert.equal(0, metrics_of(server).slowConsumersDisconnected)
    publish_numbers(server, "whole", 11, 200, 1000, "whole")
    helper.eventually(function()
      return metrics_of(server).slowConsumersDisconnected == 1
    end)
    slow:wait_end()
    -- With its last id it misses none of them.
    local back = server:stream("/events?channel=whole", { last_event_id = slow:last_event_id() }):wait_open()
    local whole = {}
    for _, stream in ipairs{ slow, back } do
      if stream == back then
        back:wait_messages(200 - #whole)
      end
      for _, message in ipairs(stream:messages()) do
        if message.event == "whole" then
          whole[#whole + 1] = number_of(message)
        end
      end
    end
    for number = 1, 200 do
      assert.equal(number, whole[number])
    end
  end)

  it("a message that is larger than the queue still comes, and is no reason to lose the client", function()
    local server = serve()
    local slow = stuck_stream(server, "/events?channel=drop.a")
    local ids = publish_numbers(server, "drop.a", 1, 20, 300 * 1024)
    local messages = read_up_to(slow, 20)
    assert.is_true(check_gaps(messages, ids, "drop.a") >= 1)
    assert.equal(0, metrics_of(server).slowConsumersDisconnected)
  end)

  it("sluice.all has a rule too, and its gap names it", function()
    local server = serve{ channels = { ["sluice.all"] = { slow = "drop_oldest" } } }
    local slow = stuck_stream(server, "/events?channel=other")
    local ids = publish_numbers(server, "sluice.all", 1, 2000, 1000)
    assert.equal(1, check_gaps(read_up_to(slow, 2000), ids, "sluice.all"))
  end)

  it("a gap that waits is still said when the stream is ended in good order", function()
    local server = serve{ drain = 5 }
    local slow = stuck_stream(server, "/events?channel=drop.a")
    local ids = publish_numbers(server, "drop.a", 1, 2000, 1000)
    server:signal("TERM")
    helper.eventually(function()
      return not helper.tcp.try_connect(server.port)
    end)
    slow:wait_end()
    assert.equal("chunk", slow.ended)
    assert.equal(1, check_gaps(slow:messages(), ids, "drop.a"))
    assert.equal(2000, number_of(slow:messages()[#slow:messages()]))
    assert.equal(0, server:wait())
  end)
end)

describe("conflate:", function()
  after_each(cleanup)

  it("keeps the newest of each event type, and says nothing", function()
    local server = serve()
    local slow = stuck_stream(server, "/events?channel=conflate.a")
    local list = {}
    for number = 1, 4000 do
      list[number] = { "conflate.a", number .. " " .. ("x"):rep(1000), number % 4 == 0 and "even" or nil }
    end
    local ids = server:publish_all(list)
    local messages = read_up_to(slow, 4000)
    local last = 0
    for _, message in ipairs(messages) do
      assert.is_not_equal("sluice.gap", message.event)
      assert.is_true(number_of(message) > last)
      assert.equal(ids[number_of(message)], message.id)
      last = number_of(message)
    end
    assert.equal(3999, number_of(messages[#messages - 1]))
    assert.equal("even", messages[#messages].event)
    local metrics = metrics_of(server)
    assert.equal(4000 - #messages, metrics.slowConsumerDrops)
    assert.equal(0, metrics.slowConsumersDisconnected + metrics.gaps)
  end)

  it("with more event types than fit the oldest go, and that is said", function()
    local server = serve()
    local slow = stuck_stream(server, "/events?channel=conflate.a")
    local list = {}
    for number = 1, 2000 do
      list[number] = { "conflate.a", number .. " " .. ("x"):rep(1000), "type" .. number }
    end
    local ids = server:publish_all(list)
    assert.equal(1, check_gaps(read_up_to(slow, 2000), ids, "conflate.a"))
  end)
end)

-- How many of the server's sockets the kernel still keeps for what nobody will read: those that were closed, and wait to get rid of their bytes.
local function orphans(port)
  local count = 0
  for line in io.lines("/proc/net/tcp") do
    local from, state = line:match("^%s*%d+: %x+:(%x+) %x+:%x+ (%x+)")
    if from and tonumber(from, 16) == port and state == "04" then
      count = count + 1
    end
  end
  return count
end

describe("a stuck client", function()
  after_each(cleanup)

  it("that is cut off leaves nothing in the kernel either", function()
    local server = serve{ limits = { queue_bytes = QUEUE, idle_timeout = 0.5 } }
    stuck_stream(server, "/events?channel=whole")
    publish_numbers(server, "whole", 1, 1000, 1000) -- too slow
    kept[#kept + 1] = server:connect{ receive_buffer = 4096 }
    assert(kept[#kept]:send(http.format("GET", "/metrics"):rep(500))) -- answers that it does not take
    helper.eventually(function()
      local metrics = metrics_of(server)
      return metrics.slowConsumersDisconnected == 1 and metrics.openConnections == 1
    end)
    assert.equal(0, orphans(server.port))
  end)

  it("takes a bounded part of the server's memory, whatever its channel's rule", function()
    local server = serve()
    local streams = {}
    for index = 1, 30 do
      streams[index] = stuck_stream(server, "/events?channel=" .. ({ "drop.a", "conflate.a", "plain" })[index % 3 + 1])
    end
    local metrics
    for _, channel in ipairs{ "drop.a", "conflate.a", "plain" } do
      for round = 0, 3 do
        publish_numbers(server, channel, round * 500 + 1, round * 500 + 500, 2000)
        metrics = metrics_of(server)
        assert.is_true(metrics.queueBytes <= 30 * (QUEUE + 4096), metrics.queueBytes .. " bytes wait")
      end
    end
    assert.equal(10, metrics.slowConsumersDisconnected)
    assert.equal(20, metrics.activeConnections)
    for _, stream in ipairs(streams) do
      stream:close()
    end
    helper.eventually(function()
      metrics = metrics_of(server)
      return metrics.queueBytes == 0
    end, 3, metrics.queueBytes .. " of bytes in " .. metrics.activeConnections)
  end)

  it("never lets a publisher or another client wait", function()
    local server = serve()
    for _ = 1, 30 do
      stuck_stream(server, "/events?channel=drop.a")
    end
    local quick = server:stream("/events?channel=drop.a"):wait_open()
    local publisher = server:connect()
    local worst = 0
    for number = 1, 200 do
      local began = socket.gettime()
      local response = http.exchange(publisher, "POST", "/publish?channel=drop.a", { body = number .. " " .. ("x"):rep(4000) })
      assert.equal(200, response.status)
      quick:wait_messages(number)
      worst = math.max(worst, socket.gettime() - began)
    end
    assert.is_true(worst < 1, ("one message took %.3f s"):format(worst))
    assert.equal(200, number_of(quick:messages()[200]))
  end)

  it("makes its handler's stream:send wait, and gets everything once it reads", function()
    local server = helper.serve{ config = { workers = 1, limits = { queue_bytes = QUEUE } }, scripts = { ["flood.lua"] = [[
      local sent = 0
      return {
        name = "flood",
        routes = function(route)
          route:stream("/flood", function(stream)
            for n = 1, 1000 do
              stream:send{ data = n .. " " .. ("x"):rep(16000) }
              sent = n
            end
          end)
          route:get("/sent", function() return 200, tostring(sent) end)
          route:get("/metrics", function(request) return 200, (sluice.metrics("application/json")) end)
        end,
      }
    ]] } }
    local slow = server:stream("/flood", { receive_buffer = 4096 }):wait_open()
    local function sent()
      return tonumber(server:request("GET", "/sent").body)
    end
    local reached = 0
    helper.eventually(function()
      local before = reached
      socket.select(nil, nil, 0.05)
      reached = sent()
      return reached == before
    end)
    assert.is_true(reached > 0 and reached < 500, reached .. " were sent to a client that does not read")
    assert.is_true(metrics_of(server).queueBytes < 64 * 1024 + 2 * 16100)
    slow:wait_end()
    assert.equal("chunk", slow.ended)
    local messages = slow:messages()
    assert.equal(1000, #messages)
    for index, message in ipairs(messages) do
      assert.equal(index, number_of(message))
    end
  end)

  it("whose handler sends a large event is not cut off for what comes from channels meanwhile", function()
    local server = helper.serve{ config = { limits = { queue_bytes = QUEUE } }, scripts = { ["large.lua"] = [[
      return {
        name = "large",
        routes = function(route)
          route:stream("/large", function(stream)
            stream:subscribe("a")
            stream:send{ event = "large", data = ("x"):rep(1000000) }
          end)
        end,
      }
    ]] }, defaults = true }
    local slow = stuck_stream(server, "/large")
    publish_numbers(server, "a", 1, 20, 1000)
    local messages = read_up_to(slow, 20)
    assert.equal(21, #messages)
    assert.equal(1000000, #messages[1].data)
  end)
end)
