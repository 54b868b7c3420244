-- SPDX-License-Identifier: MIT
-- Guarantees 3 and 4 of the design: a gap is said, and a stream can be resumed from its first byte.
local helper = require("spec.helper")
local messages_of = require("spec.support.messages")
local http, json, socket = helper.http, helper.json, require("socket")
local before, data_of, ids_of, numbers = messages_of.before, messages_of.data, messages_of.ids, messages_of.numbers
local publish_numbers, split_id, up_to_mark = messages_of.publish_numbers, messages_of.split_id, messages_of.up_to_mark

describe("guarantee 3: a gap is said:", function()
  local server

  setup(function()
    server = helper.serve{ config = { history = { messages = 1000 },
      channels = { ["short.*"] = { messages = 5 }, ["small.*"] = { bytes = 20000 }, ["brief.*"] = { age = 0.3 } } } }
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  -- The messages a stream gets on resuming from `id` (by query), up to now.
  local function resumed(channel, id)
    local stream = server:stream("/events?" .. http.query{ { "channel", channel }, { "last_event_id", id } }):wait_open()
    local messages = up_to_mark(server, stream, channel)
    stream:close()
    return messages
  end

  local senseless = { "x", "1", "1-", "-1", "-", "1-2-3", " 1-1", "1-1 ", "1.0-1", "0x1-1", "+1-1", "1-a", "latest", "EARLIEST", "9999999999999-0",
    "99999999999999999999999999-0", "1-99999999999999999999999999", ("1"):rep(300), "1-1\nevent: forged", "1-1\r\n\r\ndata: forged", "\u{E9}", "\"}\\" }
  for index, id in ipairs(senseless) do
    it(("for an id that makes no sense (%q), and everything kept follows"):format(id):gsub("\\?\n", "\\n"):gsub("\r", "\\r"), function()
      local channel = "senseless" .. index
      local ids = publish_numbers(server, channel, 1, 4)
      local stream = server:stream("/events?" .. http.query{ { "channel", channel }, { "last_event_id", id } }):wait_open()
      local messages = stream:wait_messages(5)
      messages_of.assert_gap(messages[1], id, { channel })
      assert.equal(ids[1], json.decode(messages[1].data).oldest)
      assert.equal(ids[4], json.decode(messages[1].data).newest)
      assert.is_true(before(messages[1].id, ids[1]))
      assert.same({ "1", "2", "3", "4" }, { messages[2].data, messages[3].data, messages[4].data, messages[5].data })
      assert.is_nil(stream:body():find("\nevent: forged", 1, true))
      assert.is_nil(stream:body():find("\ndata: forged", 1, true))
      stream:close()
      -- The gap's own id is a place to resume from, without another gap.
      local again = resumed(channel, messages[1].id)
      assert.same({ "1", "2", "3", "4" }, data_of(again))
    end)
  end

  it("for an id in the header that makes no sense", function()
    local ids = publish_numbers(server, "header", 1, 2)
    local stream = server:stream("/events?channel=header", { last_event_id = "no id at all" }):wait_open()
    local messages = stream:wait_messages(3)
    messages_of.assert_gap(messages[1], "no id at all", { "header" })
    assert.same(ids, { messages[2].id, messages[3].id })
  end)

  it("for an id from before the log's start", function()
    local ids = publish_numbers(server, "start", 1, 3)
    local messages = resumed("start", "1000-0")
    local gap = messages_of.assert_gap(messages[1], "1000-0", { "start" })
    assert.equal(ids[1], gap.oldest)
    assert.is_true(before(messages[1].id, ids[1]))
    table.remove(messages, 1)
    assert.same(numbers(1, 3), data_of(messages))
  end)

  it("with null for what is not there, on an empty channel, and its id is the newest", function()
    local newest = server:publish("something", "else")
    local stream = server:stream("/events?channel=empty&last_event_id=nonsense"):wait_open()
    local message = stream:wait_messages(1)[1]
    local gap = messages_of.assert_gap(message, "nonsense", { "empty" })
    assert.equal(json.null, gap.oldest)
    assert.equal(newest, message.id)
    -- From there on nothing is missing.
    server:publish("empty", "first")
    stream:close()
    assert.same({ "first" }, data_of(resumed("empty", message.id)))
  end)

  it("where history was trimmed by count, and not one message sooner", function()
    local ids = publish_numbers(server, "short.a", 1, 20)
    for _, from in ipairs{ 1, 7, 14 } do
      local stream = server:stream("/events?channel=short.a&last_event_id=" .. ids[from]):wait_open()
      local messages = stream:wait_messages(6)
      local gap = messages_of.assert_gap(messages[1], ids[from], { "short.a" })
      assert.equal(ids[16], gap.oldest)
      assert.equal(ids[20], gap.newest)
      assert.is_true(before(ids[15], messages[1].id) or ids[15] == messages[1].id)
      assert.is_true(before(messages[1].id, ids[16]))
      assert.same({ "sluice.gap", "16", "17", "18", "19", "20" },
        { messages[1].event, messages[2].data, messages[3].data, messages[4].data, messages[5].data, messages[6].data })
      stream:close()
    end
    for _, from in ipairs{ 15, 16, 19 } do
      local stream = server:stream("/events?channel=short.a&last_event_id=" .. ids[from]):wait_open()
      stream:wait_messages(20 - from)
      assert.same(numbers(from + 1, 20), stream:data())
      stream:close()
    end
  end)

  it("where history was trimmed by bytes", function()
    local list = {}
    for index = 1, 60 do
      list[index] = { "small.a", index .. " " .. ("x"):rep(1000) }
    end
    local ids = server:publish_all(list)
    local messages = resumed("small.a", ids[1])
    local gap = messages_of.assert_gap(messages[1], ids[1], { "small.a" })
    assert.is_true(#messages > 5 and #messages <= 21, #messages .. " kept")
    assert.equal(messages[2].id, gap.oldest)
    assert.equal(ids[60], messages[#messages].id)
    for index = 2, #messages do
      assert.equal(ids[60 - #messages + index], messages[index].id)
    end
  end)

  it("where history was trimmed by age, also when the channel itself is long gone", function()
    local ids = publish_numbers(server, "brief.a", 1, 3)
    helper.eventually(function()
      local stream = server:stream("/events?channel=brief.a&last_event_id=" .. ids[1]):wait_open()
      local first = up_to_mark(server, stream, "brief.a")[1]
      stream:close()
      return first and first.event == "sluice.gap" and json.decode(first.data).requested == ids[1]
    end)
  end)

  it("of one channel among several: it alone is named, and the others lose nothing", function()
    local first = server:publish("whole", "w1")
    local list = {}
    for index = 1, 10 do
      list[#list + 1] = { "short.b", "s" .. index }
      list[#list + 1] = { "whole", "w" .. (index + 1) }
    end
    server:publish_all(list)
    local stream = server:stream("/events?channel=short.b&channel=whole&last_event_id=" .. first):wait_open()
    local messages = stream:wait_messages(16)
    local gap = messages_of.assert_gap(messages[1], first, { "short.b" })
    assert.is_true(before(messages[1].id, messages[2].id))
    table.remove(messages, 1)
    local expected = {}
    for index = 1, 10 do
      if index > 5 then
        expected[#expected + 1] = "s" .. index
      end
      expected[#expected + 1] = "w" .. (index + 1)
    end
    assert.same(expected, data_of(messages))
    assert.is_string(gap.oldest)
  end)

  it("never to a stream that is new, resumes in time, or asks for earliest", function()
    local ids = publish_numbers(server, "short.c", 1, 20)
    for _, id in ipairs{ "", "earliest", ids[20], ids[15] } do
      local stream = server:stream("/events?" .. http.query{ { "channel", "short.c" }, { "channel", "mark.c" }, { "last_event_id", id } }):wait_open()
      for _, message in ipairs(up_to_mark(server, stream, "mark.c")) do
        assert.equal("message", message.event)
      end
      stream:close()
    end
  end)
end)

describe("guarantee 3: a gap of sluice.all", function()
  after_each(helper.cleanup)

  it("is said to every stream", function()
    local server = helper.serve{ config = { history = { messages = 5 } } }
    local first = server:publish("mine", "0")
    publish_numbers(server, "sluice.all", 1, 20)
    local stream = server:stream("/events?channel=mine", { last_event_id = first }):wait_open()
    local messages = stream:wait_messages(6)
    messages_of.assert_gap(messages[1], first, { "sluice.all" })
    table.remove(messages, 1)
    assert.same(numbers(16, 20), data_of(messages))
  end)
end)

describe("guarantee 3: a gap is said after a restart:", function()
  after_each(helper.cleanup)

  it("an id of the old log is a gap in the new one", function()
    local server = helper.serve()
    local stream = server:stream("/events?channel=r"):wait_open()
    local opening = stream:last_event_id()
    local id = server:publish("r", "x")
    stream:wait_messages(1)
    server:stop()
    server = helper.serve()
    for _, old in ipairs{ id, opening } do
      local again = server:stream("/events?channel=r", { last_event_id = old }):wait_open()
      messages_of.assert_gap(again:wait_messages(1)[1], old, { "r" })
    end
  end)

  it("many channels that came and went are not forgotten", function()
    local server = helper.serve{ config = { history = { age = 0.2 } } }
    local list = {}
    for index = 1, 3000 do
      list[index] = { "gone." .. index, "x" }
    end
    local opening = server:stream("/events?channel=none"):wait_open():last_event_id()
    server:publish_all(list)
    helper.eventually(function()
      for _, index in ipairs{ 1, 1500, 3000 } do
        local stream = server:stream(("/events?channel=gone.%d&last_event_id=%s"):format(index, opening)):wait_open()
        server:publish("sluice.all", "mark")
        local first = stream:wait_messages(1)[1]
        stream:close()
        if first.event ~= "sluice.gap" then
          return false
        end
      end
      return true
    end)
  end)
end)

describe("guarantee 4: resumable from the first byte:", function()
  after_each(helper.cleanup)

  it("a new stream on a fresh server opens with <start ms>-0", function()
    local began = socket.gettime()
    local server = helper.serve()
    local id = server:stream("/events"):wait_open():last_event_id()
    local ms, n = split_id(id)
    assert.equal("0", n)
    assert.is_true(ms / 1000 >= began - 1 and ms / 1000 <= socket.gettime() + 1, id)
    -- Nothing published after the opening is lost to a stream that comes back with it.
    local ids = publish_numbers(server, "default", 1, 5)
    local stream = server:stream("/events", { last_event_id = id }):wait_open()
    assert.same(ids, ids_of(stream:wait_messages(5)))
  end)

  it("a new stream opens with the newest id of the log, of whatever channel", function()
    local server = helper.serve()
    local id = server:publish("elsewhere", "x")
    assert.equal(id, server:stream("/events"):wait_open():last_event_id())
    assert.equal(id, server:stream("/events?channel=unknown"):wait_open():last_event_id())
  end)

  it("a resumed stream opens with the client's own id", function()
    local server = helper.serve()
    local ids = publish_numbers(server, "default", 1, 5)
    local stream = server:stream("/events", { last_event_id = ids[2] }):wait_open()
    assert.equal(ids[2], stream.events[1].id)
    stream = server:stream("/events?last_event_id=" .. ids[4]):wait_open()
    assert.equal(ids[4], stream.events[1].id)
  end)

  it("with earliest it opens just before the first message, and that id replays the same", function()
    local server = helper.serve{ config = { history = { messages = 10 } } }
    local ids = publish_numbers(server, "default", 1, 30)
    local stream = server:stream("/events?last_event_id=earliest"):wait_open()
    assert.same(numbers(21, 30), data_of(stream:wait_messages(10)))
    local opening = stream.events[1].id
    assert.is_true(before(opening, ids[21]))
    assert.is_true(not before(opening, ids[20]))
    local again = server:stream("/events", { last_event_id = opening }):wait_open()
    assert.same(numbers(21, 30), data_of(again:wait_messages(10)))
    -- Where nothing is kept there is still a place to resume from.
    local empty = server:stream("/events?channel=empty&last_event_id=earliest"):wait_open():last_event_id()
    server:publish("empty", "x")
    local third = server:stream("/events?channel=empty", { last_event_id = empty }):wait_open()
    assert.same({ "x" }, data_of(third:wait_messages(1)))
  end)

  it("stream.opening = false leaves the block out and resuming works on", function()
    local server = helper.serve{ config = { stream = { opening = false } } }
    local ids = publish_numbers(server, "default", 1, 5)
    local stream = server:stream("/events", { last_event_id = ids[2] })
    assert.same({ ids[3], ids[4], ids[5] }, ids_of(stream:wait_messages(3)))
    assert.is_truthy(stream:body():find("^id: " .. ids[3]:gsub("%-", "%%-") .. "\n"))
  end)

  it("a route's { opening = false } leaves it out for that route", function()
    local server = helper.serve{ defaults = true, scripts = { ["bare.lua"] = [[
      return {
        name = "bare",
        routes = function(route)
          route:stream("/bare", { opening = false }, function(stream) stream:subscribe("default") end)
        end,
      }
    ]] } }
    local bare = server:stream("/bare"):wait_head()
    server:stream("/events"):wait_open()
    local id = server:publish("default", "x")
    bare:wait_messages(1)
    assert.equal("id: " .. id .. "\ndata: x\n\n", bare:body())
  end)
end)

