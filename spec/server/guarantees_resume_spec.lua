-- SPDX-License-Identifier: MIT
-- Guarantees 1 and 2 of the design: order, and resuming without loss or repeat. (Under concurrency: concurrency_spec.lua.)
local helper = require("spec.helper")
local messages_of = require("spec.support.messages")
local http, json, socket, sse = helper.http, helper.json, require("socket"), helper.sse
local before, ids_of, numbers, publish_numbers = messages_of.before, messages_of.ids, messages_of.numbers, messages_of.publish_numbers
local data_of, resumed = messages_of.data, messages_of.resumed

describe("guarantee 1: order:", function()
  local server

  setup(function()
    server = helper.serve()
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("ids are <unix ms>-<n>, strictly increasing over all channels and workers", function()
    local connections = {}
    for index = 1, 8 do
      connections[index] = server:connect()
    end
    local last
    for index = 1, 400 do
      local response = http.exchange(connections[index % 8 + 1], "POST", "/publish?channel=c" .. index % 5, { body = "x" })
      local id = json.decode(response.body).id
      assert.is_truthy(id:find("^%d+%-%d+$"), id)
      assert.is_true(math.abs(tonumber((messages_of.split_id(id))) / 1000 - socket.gettime()) < 60, id)
      assert.is_true(not last or before(last, id), ("%s then %s"):format(tostring(last), id))
      last = id
    end
  end)

  it("every stream sees one order, over channels and workers", function()
    local streams = {}
    for index = 1, 8 do
      streams[index] = server:stream("/events?channel=a&channel=b&channel=c"):wait_open()
    end
    local list = {}
    for index = 1, 300 do
      list[index] = { ({ "a", "b", "c" })[index % 3 + 1], tostring(index) }
    end
    local ids = server:publish_all(list)
    for _, stream in ipairs(streams) do
      assert.same(ids, ids_of(stream:wait_messages(300)))
      assert.same(numbers(1, 300), stream:data())
    end
  end)

  it("the id of the answer is the id that subscribers see", function()
    local stream = server:stream("/events?channel=same"):wait_open()
    local id = server:publish("same", "x")
    local message = stream:wait_messages(1)[1]
    assert.equal(id, message.own_id)
    assert.equal(id, stream:last_event_id())
  end)
end)

describe("guarantee 2: resume without loss or repeat:", function()
  local server, ids

  setup(function()
    server = helper.serve{ config = { history = { messages = 10000 } } }
    ids = publish_numbers(server, "n", 1, 50)
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("the header Last-Event-ID resumes", function()
    for _, from in ipairs{ 1, 17, 49, 50 } do
      assert.same(numbers(from + 1, 50), data_of(resumed(server, { "n" }, ids[from])))
    end
  end)

  it("the query resumes by both its names, and the header wins", function()
    assert.same(numbers(31, 50), data_of(resumed(server, { "n" }, ids[30], "last_event_id")))
    assert.same(numbers(41, 50), data_of(resumed(server, { "n" }, ids[40], "lastEventId")))
    for _, name in ipairs{ "last_event_id", "lastEventId" } do
      local stream = server:stream("/events?channel=n&" .. name .. "=" .. ids[30], { last_event_id = ids[45] }):wait_open()
      stream:wait_messages(5)
      assert.same(numbers(46, 50), stream:data())
    end
  end)

  it("earliest replays everything kept", function()
    for _, by in ipairs{ "header", "last_event_id", "lastEventId" } do
      local list = resumed(server, { "n" }, "earliest", by)
      assert.same(numbers(1, 50), data_of(list))
      assert.same(ids, ids_of(list))
    end
  end)

  it("an id between messages resumes at its place", function()
    local other = server:publish("other", "x")
    local late = publish_numbers(server, "n2", 1, 3)
    local stream = server:stream("/events?channel=n2", { last_event_id = other }):wait_open()
    assert.same(ids_of(stream:wait_messages(3)), late)
    assert.same(numbers(1, 3), stream:data())
  end)

  it("an empty id is no id", function()
    publish_numbers(server, "quiet", 1, 3)
    for _, by in ipairs{ "header", "last_event_id", "lastEventId" } do
      assert.same({}, resumed(server, { "quiet" }, "", by))
    end
  end)

  it("several channels are merged by id, each message once", function()
    local list = {}
    for index = 1, 90 do
      list[index] = { ({ "m1", "m2", "m3" })[index * 7 % 3 + 1], tostring(index) }
    end
    local all = server:publish_all(list)
    for _, from in ipairs{ 0, 1, 30, 89 } do
      local got = resumed(server, { "m3", "m1", "m2", "m1", "nothing" }, from == 0 and "earliest" or all[from])
      assert.same(table.move(all, from + 1, 90, 1, {}), ids_of(got))
    end
  end)

  it("live messages follow the replayed ones without a seam, while others publish", function()
    local seam = publish_numbers(server, "seam", 1, 200)
    local connection = server:connect()
    local streams, total = {}, 200
    for round = 1, 40 do
      streams[round] = server:stream("/events?channel=seam", { last_event_id = seam[round] })
      local requests = {}
      for index = 1, 10 do
        requests[index] = http.format("POST", "/publish?channel=seam", { body = tostring(total + index) })
      end
      total = total + 10
      connection:send(table.concat(requests))
      sse.pump(streams, 0)
    end
    for _ = 1, 400 do
      assert.equal(200, http.read_response(connection).status)
    end
    sse.wait_for(streams, function()
      for round, stream in ipairs(streams) do
        if #stream.events - 1 < total - round then
          return false
        end
      end
      return true
    end)
    for round, stream in ipairs(streams) do
      assert.same(numbers(round + 1, total), stream:data())
    end
  end)
end)

describe("guarantee 2: the reserved channel", function()
  after_each(helper.cleanup)

  it("sluice.all reaches every stream and is replayed to it", function()
    local server = helper.serve()
    local first = server:publish("mine", "1")
    server:publish("sluice.all", "2")
    server:publish("mine", "3")
    local resumed_one = server:stream("/events?channel=mine", { last_event_id = first }):wait_open()
    local fresh = server:stream("/events?channel=unrelated"):wait_open()
    server:publish("sluice.all", "4")
    resumed_one:wait_messages(3)
    assert.same({ "2", "3", "4" }, resumed_one:data())
    fresh:wait_messages(1)
    assert.same({ "4" }, fresh:data())
    local named = server:stream("/events?channel=sluice.all"):wait_open()
    server:publish("sluice.all", "5")
    named:wait_messages(1)
    assert.same({ "5" }, named:data())
  end)
end)

describe("guarantee 2: a replay that is larger than the out queue", function()
  after_each(helper.cleanup)

  local PAYLOAD = ("x"):rep(4096)

  local function fill(server, from, to)
    local list = {}
    for number = from, to do
      list[#list + 1] = { "big", number .. " " .. PAYLOAD }
    end
    return server:publish_all(list)
  end

  local function assert_numbers(stream, from, to)
    local expected = from
    for _, message in ipairs(stream:messages()) do
      assert.equal(expected, tonumber(message.data:match("^(%d+) ")), message.event .. " " .. message.data:sub(1, 100))
      assert.equal(PAYLOAD, message.data:match(" (.*)$"))
      expected = expected + 1
    end
    assert.equal(to + 1, expected)
  end

  it("reaches a slow reader whole, and live messages after it", function()
    local server = helper.serve{ config = { history = { messages = 10000, bytes = 64 * 1024 * 1024 }, limits = { queue_bytes = 65536 } } }
    fill(server, 1, 2500)
    local stream = server:stream("/events?channel=big&last_event_id=earliest", { receive_buffer = 4096 }):wait_open()
    -- The reader stands still while others publish: nothing of this may be queued for it whole.
    fill(server, 2501, 3000)
    stream:wait_messages(3000, 3 * helper.TEST_TIMEOUT)
    assert_numbers(stream, 1, 3000)
    server:publish("big", "3001 " .. PAYLOAD)
    stream:wait_messages(3001)
    assert_numbers(stream, 1, 3001)
  end)

  it("that history overtakes says the gap in its place", function()
    local server = helper.serve{ config = { history = { messages = 1500, bytes = 64 * 1024 * 1024 }, limits = { queue_bytes = 65536 } } }
    fill(server, 1, 1500)
    local stream = server:stream("/events?channel=big&last_event_id=earliest", { receive_buffer = 4096 }):wait_open()
    fill(server, 1501, 4500)
    stream:wait_messages(function(messages)
      return #messages > 0 and messages[#messages].data:find("^4500 ") ~= nil
    end, 3 * helper.TEST_TIMEOUT)
    local gaps, last = 0, 0
    local last_id
    for _, message in ipairs(stream:messages()) do
      if message.event == "sluice.gap" then
        gaps = gaps + 1
        local gap = messages_of.assert_gap(message, last_id, { "big" })
        assert.is_true(before(last_id, message.id) and before(message.id, gap.oldest))
        last = nil
      else
        local number = tonumber(message.data:match("^(%d+) "))
        assert.is_true(last == nil and number > 1500 or number == (last or 0) + 1, "unsaid gap before " .. number)
        last = number
      end
      assert.is_true(not last_id or before(last_id, message.id))
      last_id = message.id
    end
    assert.is_true(gaps >= 1)
    assert.equal(4500, last)
  end)
end)

describe("guarantee 2: what one stream handler subscribes to", function()
  after_each(helper.cleanup)

  local SCRIPT = [[
    return {
      name = "several",
      routes = function(route)
        route:stream("/loop", function(stream, request)
          for _, name in ipairs(request:query_all("channel")) do
            stream:subscribe(name)
          end
        end)
        route:stream("/later", function(stream)
          stream:subscribe("first")
          stream:send{ event = "said", data = "by the handler" }
          stream:subscribe("second")
          stream:send{ event = "said", data = "both" }
        end)
      end,
    }
  ]]

  it("before its header goes out has one replay merged by id; later is live only", function()
    local server = helper.serve{ scripts = { ["several.lua"] = SCRIPT }, defaults = true }
    local list = {}
    for index = 1, 40 do
      list[index] = { index % 2 == 0 and "first" or "second", tostring(index) }
    end
    local ids = server:publish_all(list)
    local stream = server:stream("/loop?channel=second&channel=first", { last_event_id = ids[10] }):wait_open()
    stream:wait_messages(30)
    assert.same(numbers(11, 40), stream:data())

    stream = server:stream("/later", { last_event_id = ids[10] }):wait_open()
    stream:wait_messages(function(messages)
      return #messages > 0 and messages[#messages].data == "both" or #messages >= 17
    end)
    server:publish("first", "41")
    server:publish("second", "42")
    local messages = stream:wait_messages(function(found)
      return #found > 0 and found[#found].data == "42"
    end)
    local published, last = {}, nil
    for _, message in ipairs(messages) do
      if message.event == "message" then
        published[#published + 1] = message.data
        assert.is_true(not last or before(last, message.id))
        last = message.id
      end
    end
    local expected = {}
    for index = 12, 40, 2 do
      expected[#expected + 1] = tostring(index)
    end
    expected[#expected + 1] = "41"
    expected[#expected + 1] = "42"
    assert.same(expected, published)
  end)
end)

