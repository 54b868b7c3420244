-- SPDX-License-Identifier: MIT
-- Several nodes on one log in Redis, while all is well. (Outages: cluster_outage_spec.lua.)
local cluster = require("spec.support.cluster")
local crowd = require("spec.support.crowd")
local helper = require("spec.helper")
local messages_of = require("spec.support.messages")
local redis_server = require("spec.support.redis")
local ids_of, numbers, publish_numbers = messages_of.ids, messages_of.numbers, messages_of.publish_numbers

describe("three nodes on one log:", function()
  local redis, nodes

  setup(function()
    redis = redis_server.start()
    nodes = cluster.nodes(redis, 3)
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("a message published on any node reaches the streams of all, with Redis' id", function()
    local streams = {}
    for index, node in ipairs(nodes) do streams[index] = node:stream("/events?channel=all"):wait_open() end
    local ids = {}
    for index, node in ipairs(nodes) do ids[index] = node:publish("all", "from " .. index, "note") end
    for _, stream in ipairs(streams) do
      assert.same(ids, ids_of(stream:wait_messages(3)))
      assert.same({ "from 1", "from 2", "from 3" }, stream:data())
      assert.equal("note", stream:messages()[1].event)
    end
    local entry = redis:command("XRANGE", "sluice:log", ids[2], ids[2])[1]
    assert.equal(ids[2], entry[1])
    assert.same({ "channel", "all", "event", "note", "data", "from 2" }, { table.unpack(entry[2], 1, 6) })
  end)

  it("a stream resumes on any other node, from any id, without a gap", function()
    local ids = publish_numbers(nodes[1], "resume", 1, 30)
    for index, from in ipairs{ 1, 15, 29, 30 } do
      local stream = nodes[index % 3 + 1]:stream("/events?channel=resume", { last_event_id = ids[from] }):wait_open()
      local last = nodes[1]:publish("resume", "last")
      local messages = stream:wait_messages(function(list) return #list > 0 and list[#list].id == last end)
      for place = from + 1, 30 do assert.equal(ids[place], messages[place - from].id) end
      assert.equal(ids[from], stream.events[1].id)
    end
  end)

  it("an id that a node has not seen yet is waited for, one that Redis does not know is a gap", function()
    for round = 1, 20 do -- whether the other node has seen it yet is a matter of luck
      local id = nodes[1]:publish("ahead", tostring(round))
      local stream = nodes[2]:stream("/events?channel=ahead", { last_event_id = id }):wait_open()
      local next_id = nodes[3]:publish("ahead", "next")
      assert.same({ next_id }, ids_of(stream:wait_messages(1)))
    end
    local stream = nodes[2]:stream("/events?channel=ahead", { last_event_id = "99999999999999-0" }):wait_open()
    assert.equal("sluice.gap", stream:wait_messages(1)[1].event)
    assert.equal("1", stream:wait_messages(2)[2].data)
  end)

  it("a new stream opens with an id of the log", function()
    local id = nodes[1]:publish("opening", "x")
    helper.eventually(function()
      local stream = nodes[2]:stream("/events?channel=opening"):wait_open()
      return stream:last_event_id() == id
    end)
  end)

  it("a node that starts later has the same history", function()
    publish_numbers(nodes[1], "late", 1, 40)
    local late = cluster.node(redis)
    local stream = late:stream("/events?channel=late&last_event_id=earliest"):wait_open()
    stream:wait_messages(40)
    assert.same(numbers(1, 40), stream:data())
    assert.equal(0, select(2, late:log():gsub(" error ", "")))
    late:stop()
  end)

  it("each node has two connections to Redis, whatever the number of clients", function()
    local streams = {}
    for index = 1, 20 do streams[index] = nodes[index % 3 + 1]:stream("/events?channel=c" .. index):wait_open() end
    helper.eventually(function() return redis:sluice_clients() == 6 end)
    assert.equal(20, #streams)
  end)

  it("publish tells the streams of all nodes, and a node that leaves takes its own along", function()
    local function count_is(wanted)
      helper.eventually(function() return select(2, nodes[1]:publish("counted", "x")) == wanted end)
    end
    local streams = {} -- held, or they would be collected and closed
    for index = 1, 6 do streams[index] = nodes[index % 3 + 1]:stream("/events?channel=counted"):wait_open() end
    count_is(6)
    local leaving = cluster.node(redis)
    for index = 7, 8 do streams[index] = leaving:stream("/events?channel=counted"):wait_open() end
    count_is(#streams)
    leaving:stop()
    count_is(6)
    helper.close_clients()
    count_is(0)
  end)

  it("every stream gets every message once, in order, however often it is cut and on whatever node it resumes", function()
    crowd.run{ name = "cluster_spec", servers = nodes, streams = 40, messages = 200 }
  end)
end)
