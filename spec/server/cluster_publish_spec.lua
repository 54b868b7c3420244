-- SPDX-License-Identifier: MIT
-- Publishing to a log in Redis: by scripts, by the host, by other programs with XADD, with an Idempotency-Key, and much of it.
local cluster = require("spec.support.cluster")
local helper = require("spec.helper")
local messages_of = require("spec.support.messages")
local redis_server = require("spec.support.redis")
local http, json, socket, sse = helper.http, helper.json, require("socket"), helper.sse

describe("other programs publish with XADD:", function()
  local redis, nodes

  setup(function()
    redis = redis_server.start()
    nodes = cluster.nodes(redis, 2, {
      defaults = true,
      config = { limits = { body_bytes = 1000 } },
      scripts = { ["seen.lua"] = [[
        return {
          on_publish = function(message) return false, "never" end,
          on_message = function(message, stream) message.data = "shaped " .. message.data; return message end,
        }
      ]] },
    })
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("channel, event and data are enough; on_publish is not asked, on_message is", function()
    local streams = { nodes[1]:stream("/events?channel=a"):wait_open(), nodes[2]:stream("/events?channel=a"):wait_open() }
    local ids = {
      redis:command("XADD", "sluice:log", "*", "channel", "a", "event", "note", "data", "one\ntwo"),
      redis:command("XADD", "sluice:log", "*", "data", "no event", "trace", "of their own", "channel", "a"),
      redis:command("XADD", "sluice:log", "*", "channel", "sluice.all", "data", ""),
    }
    for _, stream in ipairs(streams) do
      assert.same(ids, messages_of.ids(stream:wait_messages(3)))
      assert.same({ "shaped one\ntwo", "shaped no event", "shaped " }, stream:data())
      assert.equal("note", stream:messages()[1].event)
    end
  end)

  it("what is no message is passed over, counted and logged, and hurts nobody", function()
    local stream = nodes[1]:stream("/events?channel=a"):wait_open()
    local bad = {
      { "foo", "bar" }, { "channel", "a" }, { "data", "x" }, { "channel", "", "data", "x" }, { "channel", "a*", "data", "x" },
      { "channel", ("c"):rep(201), "data", "x" }, { "channel", "a", "data", "\xff" }, { "channel", "\xff", "data", "x" },
      { "channel", "a", "data", "x", "data", "y" }, { "channel", "a", "event", "a\nid: 1", "data", "x" },
      { "channel", "a", "event", "a\0", "data", "x" }, { "channel", "a", "event", "\r", "data", "x" },
      { "channel", "a", "data", ("x"):rep(1001) },
    }
    local before = cluster.metrics(nodes[2]).logMalformedEntries
    for _, fields in ipairs(bad) do redis:command("XADD", "sluice:log", "*", table.unpack(fields)) end
    local id = redis:command("XADD", "sluice:log", "*", "channel", "a", "data", "good")
    assert.equal(id, stream:wait_messages(1)[1].id)
    for _, node in ipairs(nodes) do
      helper.eventually(function() return cluster.metrics(node).logMalformedEntries == before + #bad end)
      local told = select(2, node:log():gsub("entry %d+%-%d+ of the log is no message and is passed over: ", ""))
      assert.equal(10, told) -- and no more in ten seconds
      for _, why in ipairs({ "it has no channel", "it has no data", "data is UTF-8" }) do
        assert.is_truthy(node:log():find("passed over: " .. why, 1, true), why)
      end
    end
    local resumed = nodes[2]:stream("/events?channel=a", { last_event_id = messages_of.ids(stream:messages())[1] }):wait_open()
    redis:command("XADD", "sluice:log", "*", "channel", "a", "data", "next")
    assert.equal("shaped next", resumed:wait_messages(1)[1].data)
  end)
end)

describe("scripts and the host program", function()
  local redis
  local SCRIPT = { ["script.lua"] = [[
    local sluice = require "sluice"
    local log = {}
    sluice.spawn(function() sluice.publish("tasks", "from a task") end)
    return {
      on_request = function(request)
        if request.path == "/hook" then log.hook = sluice.publish("hooks", "from on_request") end
      end,
      on_disconnect = function(stream, reason)
        local id, subscribers = sluice.publish("left", "somebody left: " .. reason)
        log.left = id and subscribers
      end,
      routes = function(route)
        route:get("/hook", function() return log end)
        route:get("/own", function()
          local ok, why = pcall(coroutine.wrap(function() sluice.publish("a", "x") end))
          return { ok = ok, why = why }
        end)
        route:get("/closing", function()
          local closing <close> = setmetatable({}, { __close = function() log.closing = { sluice.publish("closed", "from a <close> variable") } end })
          sluice.publish("closed", "from a handler")
          return log
        end)
        route:stream("/chat", function(stream)
          stream:subscribe("chat")
          local before = sluice.publish("chat", "before the stream has begun")
          stream:send{ event = "newest", data = tostring(sluice.channel("chat").newest == before) }
          sluice.publish("chat", "hello")
          sluice.sleep(60)
        end)
      end,
    }
  ]] }

  setup(function() redis = redis_server.start() end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("wait for the log's answer wherever they publish", function()
    local node = cluster.node(redis, { defaults = true, scripts = SCRIPT })
    helper.eventually(function() return json.decode(node:request("GET", "/hook").body).hook end)
    local stream = node:stream("/events?channel=tasks&channel=hooks&channel=left&channel=closed&last_event_id=earliest"):wait_open()
    stream:wait_messages(function(list)
      local seen = {}
      for _, message in ipairs(list) do seen[message.data] = true end
      return seen["from a task"] and seen["from on_request"]
    end)
    local gone = node:stream("/events?channel=other"):wait_open()
    gone:close()
    stream:wait_messages(function(list) return list[#list] and list[#list].data == "somebody left: left" end)
    helper.eventually(function() return json.decode(node:request("GET", "/hook").body).left == 1 end)
    node:request("GET", "/closing")
    stream:wait_messages(function(list) return list[#list] and list[#list].data == "from a <close> variable" end)
    local own = json.decode(node:request("GET", "/own").body)
    assert.is_false(own.ok)
    assert.is_truthy(own.why:find("a coroutine of your own", 1, true), own.why)
    local chat = node:stream("/chat"):wait_head()
    assert.same({ "true", "hello" }, (chat:wait_messages(2) and chat:data())) -- as without Redis: what was answered is in the history here
    assert.equal(0, cluster.metrics(node).scriptErrors)
  end)

  it("the host's server:publish waits too, and several servers of one process are nodes of their own", function()
    local config = { redis = { url = redis:url(), key = "of hosts" } }
    local one, two = helper.start{ config = config }, helper.start{ config = config }
    local stream = two:stream("/events?channel=a"):wait_open()
    local id, subscribers = one.host:publish("a", { event = "e", data = { x = 1 } })
    assert.equal('{"x":1}', stream:wait_messages(1)[1].data)
    assert.equal(id, stream:messages()[1].id)
    assert.is_true(subscribers <= 1)
    helper.eventually(function() return select(2, one.host:publish("a", "again")) == 1 and one.host:stats().clusterNodes == 2 end)
  end)

  it("a message takes the on_message of the generation that published it, on its own node", function()
    local function script(name) return ([[
      return {
        on_publish = function(message) message.data = message.data .. " published by %s"; return message end,
        on_message = function(message) message.data = message.data .. ", shaped by %s"; return message end,
      }]]):format(name, name) end
    local node = cluster.node(redis, { defaults = true, scripts = { ["shape.lua"] = script("one") }, config = { redis = { key = "generations" } } })
    local other = cluster.node(redis, { defaults = true, scripts = { ["shape.lua"] = script("other") }, config = { redis = { key = "generations" } } })
    local streams = { node:stream("/events?channel=a"):wait_open(), other:stream("/events?channel=a"):wait_open() }
    node:publish("a", "m")
    helper.process.write_file(node.dir .. "/scripts/shape.lua", script("two"))
    node:signal("HUP")
    helper.eventually(function() return cluster.health(node).generation == 2 end)
    node:publish("a", "m")
    streams[1]:wait_messages(2)
    assert.same({ "m published by one, shaped by one", "m published by two, shaped by two" }, streams[1]:data())
    streams[2]:wait_messages(2)
    assert.same({ "m published by one, shaped by other", "m published by two, shaped by other" }, streams[2]:data())
    local entry = redis:command("XREVRANGE", "generations", "+", "-", "COUNT", 1)[1][2]
    assert.same({ "sluice.generation", "2" }, { entry[#entry - 1], entry[#entry] })
  end)

  it("an Idempotency-Key holds on all nodes, also when they are asked at once", function()
    local nodes = cluster.nodes(redis, 3, { config = { redis = { key = "keys" } } })
    local stream = nodes[1]:stream("/events?channel=a"):wait_open()
    local connections = {}
    for index = 1, 30 do
      connections[index] = nodes[index % 3 + 1]:connect()
      connections[index]:send(http.format("POST", "/publish?channel=a", { body = "x", headers = { ["Idempotency-Key"] = "k" } }))
    end
    local answers = {}
    for _, connection in ipairs(connections) do
      local response = assert(http.read_response(connection))
      assert.equal(200, response.status)
      answers[response.body] = true
    end
    local answer = next(answers)
    assert.is_nil(next(answers, answer))
    local refused = nodes[2]:request("POST", "/publish?channel=b", { body = "x", headers = { ["Idempotency-Key"] = "k" } })
    assert.equal(422, refused.status)
    nodes[1]:publish("a", "last")
    assert.same({ "x", "last" }, (stream:wait_messages(2) and stream:data()))
    assert.equal(json.decode(answer).id, stream:messages()[1].id)
  end)
end)

describe("ten thousand messages a second", function()
  teardown(helper.cleanup)

  it("reach every subscriber of three nodes, complete and in order", function()
    local redis = redis_server.start()
    local nodes, streams = cluster.nodes(redis, 3), {}
    for index = 1, 3 do streams[index] = nodes[index]:stream("/events?channel=fast"):wait_open() end
    local SECONDS, RATE = 1, 10000
    local began, sent = socket.gettime(), 0
    -- Foreign publishers and one node's in turn: what is sent is what ought to have been by now.
    local connection, answered = nodes[1]:connect(), 0
    while sent < SECONDS * RATE do
      local due = math.min(((socket.gettime() - began) * RATE) // 1, SECONDS * RATE)
      local list, requests = {}, {}
      while sent < due do
        sent = sent + 1
        if sent % 40 == 0 then
          requests[#requests + 1] = http.format("POST", "/publish?channel=fast", { body = tostring(sent) })
        else
          list[#list + 1] = { "XADD", "sluice:log", "MAXLEN", "~", "100000", "*", "channel", "fast", "data", tostring(sent) }
        end
      end
      if #requests > 0 then assert(connection:send(table.concat(requests))) end
      if #list > 0 then redis:commands(list) end
      if #requests > 0 then
        for _ = 1, #requests do
          assert.equal(200, assert(http.read_response(connection)).status)
          answered = answered + 1
        end
      end
      sse.pump(streams, 0)
    end
    local rate = sent / (socket.gettime() - began)
    sse.wait_for(streams, function()
      for _, stream in ipairs(streams) do
        if #stream.events < sent + 1 then return false end
      end
      return true
    end, 3 * helper.TEST_TIMEOUT)
    print(("cluster_publish_spec: %d messages at %.0f a second, %d of them over HTTP"):format(sent, rate, answered))
    local first = messages_of.ids(streams[1]:messages())
    local seen = {}
    for place, message in ipairs(streams[1]:messages()) do
      assert(not seen[message.data] and (place == 1 or messages_of.before(first[place - 1], message.id)))
      seen[message.data] = true
    end
    for _, stream in ipairs(streams) do assert.same(first, messages_of.ids(stream:messages())) end
    assert.is_true(rate > RATE * 0.1, "the machine is too slow to mean anything")
  end)
end)
