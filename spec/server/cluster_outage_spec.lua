-- SPDX-License-Identifier: MIT
-- What a cluster does when Redis, the network or a node fails, and when the log loses what a node has not read.
local cluster = require("spec.support.cluster")
local helper = require("spec.helper")
local messages_of = require("spec.support.messages")
local proxy_to = require("spec.support.proxy")
local redis_server = require("spec.support.redis")
local json, socket = helper.json, require("socket")
local numbers, publish_numbers = messages_of.numbers, messages_of.publish_numbers

local function publish(node, channel, data, headers)
  local response = node:request("POST", "/publish?channel=" .. channel, { body = data, headers = headers })
  return response.status, json.decode(response.body), response.headers
end

-- A stream that is held open by the list `streams`.
local function open(streams, node, target, options)
  local stream = node:stream(target, options):wait_open()
  streams[#streams + 1] = stream
  return stream
end

-- In one block, so that what takes its time does so beside the others: the node that waits ten seconds in vain is begun first and looked at last.
describe("a cluster", function()
  local hopeless, hopeless_since

  setup(function()
    hopeless_since = socket.gettime()
    hopeless = helper.launch{ config = { redis = { url = "redis://user:secret-word@127.0.0.1:1/0" } } }
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  describe("a node whose Redis is not there at the start", function()
    it("waits for it", function()
      local redis = redis_server.start()
      redis:kill()
      local child = helper.launch{ config = { redis = { url = redis:url() } } }
      helper.eventually(function() return child:errors():find("waiting for Redis at 127.0.0.1:%d+, 10 s at most: Connection refused") end)
      assert.equal("", child:output())
      redis:launch()
      helper.eventually(function() return child:output():find("sluice: listening on http://", 1, true) end)
    end)

    it("ends at once where Redis does not let it in, and names no password", function()
      local redis = redis_server.start{ wait = false, args = { "--requirepass", "right-word" } }
      helper.eventually(function() return pcall(redis.command, redis, "AUTH", "right-word") end)
      for _, case in ipairs{
        { url = "redis://127.0.0.1:%d", says = "NOAUTH" },
        { url = "redis://:wrong-word@127.0.0.1:%d", says = "WRONGPASS" },
        { url = "redis://nobody:wrong-word@127.0.0.1:%d", says = "WRONGPASS" },
        { url = "redis://:right-word@127.0.0.1:%d/99", says = "DB index is out of range" },
      } do
        local child = helper.launch{ config = { redis = { url = case.url:format(redis.port) } } }
        assert.equal(1, child:wait(5))
        assert.is_truthy(child:errors():find(case.says, 1, true), child:errors())
        assert.is_nil(child:errors():find("-word", 1, true), child:errors())
      end
      local node = helper.serve{ config = { redis = { url = ("redis://:right-word@127.0.0.1:%d/3"):format(redis.port) } } }
      node:publish("a", "in database 3")
      redis:command("AUTH", "right-word")
      redis:command("SELECT", "3")
      assert.equal(2, redis:command("XLEN", "sluice:log"))
      local other = helper.serve{ config = { redis = { url = redis:url("/3") } }, env = { REDIS_PASSWORD = "right-word", REDIS_USER = "default" } }
      assert.equal("connected", cluster.health(other).redis)
      assert.is_nil((node:log() .. other:log()):find("-word", 1, true))
    end)

    it("resolves names, and says what is wrong with a log of another kind", function()
      local redis = redis_server.start()
      helper.serve{ config = { redis = { url = ("redis://localhost:%d"):format(redis.port), key = "other" } } }
      redis:command("SET", "sluice:log", "x")
      local child = helper.launch{ config = { redis = { url = redis:url() } } }
      assert.equal(1, child:wait(5))
      assert.is_truthy(child:errors():find("WRONGTYPE", 1, true), child:errors())
    end)
  end)

  describe("when Redis ends and comes back", function()
    it("with its append-only file, nothing is lost and nothing comes twice", function()
      local redis = redis_server.start{ appendonly = true }
      local nodes, streams = cluster.nodes(redis, 3), {}
      for index = 1, 6 do open(streams, nodes[index % 3 + 1], "/events?channel=a") end
      local ids = publish_numbers(nodes[1], "a", 1, 50)
      redis:kill()

      for _, node in ipairs(nodes) do
        local health = cluster.wait_for(node, "^[^c]")
        assert.equal("degraded", health.status)
        local status, answer, headers = publish(node, "a", "refused")
        assert.equal(503, status)
        assert.is_truthy(answer.error:find("Redis cannot be reached", 1, true))
        assert.is_nil(answer.state)
        assert.is_truthy(tonumber(headers["retry-after"]))
      end
      local unsure = open(streams, nodes[2], "/events?channel=a", { last_event_id = "99999999999999-7" }) -- nobody can be asked
      local resumed = open(streams, nodes[3], "/events?channel=a", { last_event_id = ids[40] })

      redis:launch()
      redis:command("XADD", "sluice:log", "*", "channel", "a", "data", "51")
      for _, node in ipairs(nodes) do assert.equal("ok", cluster.wait_for(node).status) end
      for number = 52, 60 do nodes[number % 3 + 1]:publish("a", tostring(number)) end
      for index = 1, 6 do
        streams[index]:wait_messages(60)
        assert.same(numbers(1, 60), streams[index]:data())
      end
      resumed:wait_messages(20)
      assert.same(numbers(41, 60), resumed:data())
      -- The id that made no sense is told when Redis could be asked.
      local gap = unsure:wait_messages(61)[1]
      assert.equal("sluice.gap", gap.event)
      assert.equal("99999999999999-7", json.decode(gap.data).requested)
      assert.equal("60", unsure:messages()[61].data)
      assert.is_truthy(nodes[1]:log():find("connected again", 1, true))
    end)

    it("without it, the log begins anew: all streams are told a gap and go on", function()
      local redis = redis_server.start()
      local nodes, streams = cluster.nodes(redis, 3), {}
      for index = 1, 3 do open(streams, nodes[index], "/events?channel=a") end
      local ids = publish_numbers(nodes[1], "a", 1, 20)
      for _, stream in ipairs(streams) do stream:wait_messages(20) end
      redis:restart()
      for _, node in ipairs(nodes) do cluster.wait_for(node) end
      local id = nodes[2]:publish("a", "after")
      for index = 1, 3 do
        local stream = streams[index]
        local messages = stream:wait_messages(22)
        assert.equal("sluice.gap", messages[21].event)
        assert.equal("after", messages[22].data)
        assert.equal(id, messages[22].id)
        assert.equal(22, #stream:messages())
        -- An id of the old log is a gap on every node; what the new one holds follows.
        local resumed = open(streams, nodes[index], "/events?channel=a", { last_event_id = ids[10] })
        assert.equal("sluice.gap", resumed:wait_messages(1)[1].event)
        assert.same({ "after" }, { table.unpack((resumed:wait_messages(2) and resumed:data()), 2) })
      end
    end)

    it("with ids that go back, while all are connected, that is noticed", function()
      local redis = redis_server.start()
      local node, streams = cluster.node(redis), {}
      local stream = open(streams, node, "/events?channel=a")
      node:publish("a", "1")
      local older = ("%d-1"):format((socket.gettime() - 30) * 1000 // 1)
      redis:command("DEL", "sluice:log")
      redis:command("XADD", "sluice:log", older, "channel", "a", "data", "of an older log")
      local messages = stream:wait_messages(3)
      assert.same({ "1", "sluice.gap", "of an older log" }, { messages[1].data, messages[2].event, messages[3].data })
      assert.equal(older, messages[3].id)
      assert.is_truthy(node:log():find("the log has gone back", 1, true))
      local id = node:publish("a", "goes on")
      assert.equal(id, stream:wait_messages(4)[4].id)
      assert.equal(4, #stream:messages())
    end)
  end)

  describe("when one node is cut off from Redis", function()
    local redis, proxy, near, far, streams

    before_each(function()
      redis = redis_server.start()
      proxy = proxy_to.start(redis.port)
      near = cluster.node(redis, { config = { redis = { maxlen = 40 } } })
      far = cluster.node(redis, { port = proxy.port, config = { redis = { maxlen = 40 } } })
      streams = {}
    end)
    it("by a stall and then a cut: it says so, the others go on, and it catches up in order", function()
      local stream = open(streams, far, "/events?channel=a")
      near:publish("a", "1")
      stream:wait_messages(1)
      proxy:stall()
      publish_numbers(near, "a", 2, 20)
      local health = cluster.wait_for(far, "no answer for")
      assert.equal("degraded", health.status)
      assert.equal(503, (publish(far, "a", "refused")))
      proxy:cut()
      publish_numbers(near, "a", 21, 30)
      assert.same({ "1" }, stream:data())
      proxy:go()
      cluster.wait_for(far)
      stream:wait_messages(30)
      far:publish("a", "31")
      stream:wait_messages(31)
      assert.same(numbers(1, 31), stream:data())
      assert.equal("connected", cluster.health(near).redis)
    end)

    it("and the log is trimmed meanwhile, a gap comes before what is kept", function()
      local stream = open(streams, far, "/events?channel=a")
      near:publish("a", "1")
      stream:wait_messages(1)
      proxy:set_target(1) -- nobody listens there
      proxy:cut()
      cluster.wait_for(far, "^[^c]")
      publish_numbers(near, "a", 2, 100)
      proxy:set_target(redis.port)
      cluster.wait_for(far)
      local messages = stream:wait_messages(42)
      assert.equal("sluice.gap", messages[2].event)
      local told = json.decode(messages[2].data)
      assert.equal(messages[1].id, told.requested)
      local data = stream:data()
      assert.same(numbers(61, 100), { table.unpack(data, 3) })
      assert.is_true(messages_of.before(messages[1].id, messages[2].id) and messages_of.before(messages[2].id, messages[3].id))
    end)

    it("after Redis took a message: it is not known, and can be repeated with its key", function()
      local stream = open(streams, near, "/events?channel=a")
      local key = { ["Idempotency-Key"] = '"8e03978e-40d5-43dd-bc93-6894a57f9324"' }
      proxy:mute()
      local before = redis:command("XLEN", "sluice:log")
      local connection = far:connect()
      connection:send(helper.http.format("POST", "/publish?channel=a", { body = "once", headers = key }))
      helper.eventually(function() return redis:command("XLEN", "sluice:log") == before + 1 end)
      proxy:cut()
      proxy:go()
      local response = assert(helper.http.read_response(connection))
      assert.equal(503, response.status)
      assert.equal("unknown", json.decode(response.body).state)
      assert.is_truthy(tonumber(response.headers["retry-after"]))

      cluster.wait_for(far)
      local ids = {}
      for index, node in ipairs{ far, near, far } do
        local status, answer = publish(node, "a", "once", key)
        assert.equal(200, status)
        ids[index] = answer.id
      end
      near:publish("a", "last")
      assert.same({ "once", "last" }, (stream:wait_messages(2) and stream:data()))
      assert.same({ stream:messages()[1].id, ids[1], ids[1] }, ids)
      assert.equal(422, (publish(near, "a", "something else", key)))
    end)
  end)

  describe("when a node is killed", function()
    it("its streams resume elsewhere, its own go from the counts, and it comes back", function()
      local redis = redis_server.start()
      local nodes, streams = cluster.nodes(redis, 3), {}
      local first = open(streams, nodes[1], "/events?channel=a")
      local second = open(streams, nodes[2], "/events?channel=a")
      publish_numbers(nodes[3], "a", 1, 10)
      first:wait_messages(10)
      helper.eventually(function() return select(2, nodes[2]:publish("count", "x")) == 0 and cluster.metrics(nodes[2]).clusterConnections == 2 end)
      nodes[1].process:kill()
      publish_numbers(nodes[2], "a", 11, 20)
      local resumed = open(streams, nodes[3], "/events?channel=a", { last_event_id = first:last_event_id() })
      assert.same(numbers(11, 20), (resumed:wait_messages(10) and resumed:data()))
      assert.same(numbers(1, 20), (second:wait_messages(20) and second:data()))
      local again = cluster.node(redis)
      local late = open(streams, again, "/events?channel=a", { last_event_id = first:messages()[5].id })
      assert.same(numbers(6, 20), (late:wait_messages(15) and late:data()))
      helper.eventually(function() return cluster.metrics(again).clusterNodes == 3 end)
      assert.equal(3, select(2, again:publish("a", "count")))
    end)
  end)

  describe("a Redis that is full", function()
    it("is told in the log once, not at each attempt, and all is well when it has room again", function()
      local redis = redis_server.start()
      local node = cluster.node(redis)
      local stream = node:stream("/events?channel=a"):wait_open()
      redis:command("CONFIG", "SET", "maxmemory", "1")
      helper.eventually(function()
        return tonumber(redis:command("INFO", "errorstats"):match("errorstat_OOM:count=(%d+)") or 0) > 5
      end)
      local _, records = node.process:errors():gsub("cannot be told: OOM", "")
      assert.equal(1, records)
      redis:command("CONFIG", "SET", "maxmemory", "0")
      helper.eventually(function() return redis:command("HGET", "sluice:log:streams", "a") == "1" end)
      node:publish("a", "room")
      assert.equal("room", stream:wait_messages(1)[1].data)
    end)
  end)

  it("whose Redis never comes ends with status 1 after ten seconds, and says why", function()
    assert.equal(1, hopeless:wait(15))
    local took = socket.gettime() - hopeless_since
    assert.is_true(took > 9, tostring(took))
    assert.is_truthy(hopeless:errors():find("no Redis at 127.0.0.1:1 after 10 s: Connection refused", 1, true), hopeless:errors())
    assert.is_nil(hopeless:errors():find("secret-word", 1, true))
  end)
end)
