-- SPDX-License-Identifier: MIT
-- Guarantees 5, 6 and 8 of the design: no forged fields, bounds, and a graceful end. (5 at the wire: spec/wire/sse_spec.lua.)
local helper = require("spec.helper")
local messages_of = require("spec.support.messages")
local http, json, socket, sse, tcp = helper.http, helper.json, require("socket"), helper.sse, helper.tcp
local up_to_mark = messages_of.up_to_mark

describe("guarantee 5: no forged fields:", function()
  after_each(helper.cleanup)

  it("data never becomes another field, however it is broken into lines", function()
    local server = helper.serve()
    local stream = server:stream("/events"):wait_open()
    local hostile = { "a\n\nid: 1-1\n\nevent: forged\ndata: b", "a\r\rid: 1-1\r\revent: forged", "a\r\n\r\nretry: 1\r\n\r\n", ":comment\n:\n", "\n\n\n",
      "data: x\nid\nevent\n" }
    local opening_retry = stream:retry()
    for _, data in ipairs(hostile) do
      server:publish("default", data)
    end
    local messages = stream:wait_messages(#hostile)
    for index, data in ipairs(hostile) do
      assert.equal((data:gsub("\r\n", "\n"):gsub("\r", "\n")), messages[index].data)
      assert.equal("message", messages[index].event)
    end
    assert.equal(opening_retry, stream:retry())
    assert.equal(0, #stream.comments)
    assert.is_nil(stream.parser.unknown)
  end)

  it("CR, LF or NUL in an event type is refused with 400 and published nowhere", function()
    local server = helper.serve()
    local stream = server:stream("/events"):wait_open()
    for _, event in ipairs{ "a\nb", "a\rb", "\r\n", "a\0b", "\n", "\0" } do
      local response = server:request("POST", "/publish?" .. http.query{ { "event", event } }, { body = "x" })
      assert.equal(400, response.status)
      response = server:request("POST", "/publish", { body = json.encode{ event = event, data = "x" },
        headers = { ["Content-Type"] = "application/json" } })
      assert.equal(400, response.status)
    end
    assert.same({}, up_to_mark(server, stream, "default"))
  end)

  it("nor can a handler send or publish one", function()
    local server = helper.serve{ scripts = { ["forge.lua"] = [[
      return {
        name = "forge",
        routes = function(route)
          route:stream("/send", function(stream, request) stream:send{ event = request:query("event"), data = "x" } end)
          route:get("/publish-as", function(request)
            local id, message = sluice.publish("a", { event = request:query("event"), data = "x" })
            return id and 200 or 400, id or message
          end)
        end,
      }
    ]] } }
    for _, event in ipairs{ "a%0Ab", "a%0Db", "a%00b" } do
      local response = server:request("GET", "/send?event=" .. event, { headers = { Accept = "*/*" } })
      assert.equal(500, response.status)
      assert.is_nil(response.body:find("data: x", 1, true))
      response = server:request("GET", "/publish-as?event=" .. event)
      assert.is_true(response.status == 400 or response.status == 500, "status " .. response.status)
    end
    assert.equal(200, server:request("GET", "/publish-as?event=fine").status)
  end)
end)

describe("guarantee 6: bounded:", function()
  after_each(helper.cleanup)

  it("at the connection cap a new stream gets 503, and health, metrics and publishes are answered", function()
    local server = helper.serve{ config = { limits = { connections = 5 } } }
    local streams = {}
    for index = 1, 5 do
      streams[index] = server:stream("/events"):wait_open()
    end
    local refused = server:stream("/events")
    assert.equal("length", refused:wait_end())
    assert.equal(503, refused.status)
    assert.is_truthy(refused.headers["retry-after"]:find("^%d+$"))
    assert.equal(200, server:request("GET", "/health").status)
    assert.equal(200, server:request("GET", "/metrics").status)
    local _, subscribers = server:publish("default", "x")
    assert.equal(5, subscribers)
    for _, stream in ipairs(streams) do
      assert.equal("x", stream:wait_messages(1)[1].data)
    end
    streams[1]:close()
    helper.eventually(function()
      local stream = server:stream("/events"):wait_head()
      return stream.status == 200
    end)
  end)

  it("with limits.busy = \"retry\" a new stream gets a stream that says when to come back", function()
    local server = helper.serve{ config = { limits = { connections = 2, busy = "retry" } } }
    local streams = { server:stream("/events"):wait_open(), server:stream("/events"):wait_open() }
    local refused = server:stream("/events")
    assert.is_not_equal("error", refused:wait_end())
    assert.equal(200, refused.status)
    assert.equal("text/event-stream", refused.headers["content-type"])
    assert.is_number(refused:retry())
    assert.equal(0, #refused.events)
    assert.equal(2, #streams)
  end)

  it("a consumer that does not read is cut off, slows no one, and misses nothing once it is back", function()
    local server = helper.serve{ config = { limits = { queue_bytes = 65536 }, history = { messages = 10000, bytes = 256 * 1024 * 1024 } } }
    local slow = server:stream("/events", { receive_buffer = 4096 }):wait_open()
    local quick = server:stream("/events"):wait_open()
    local connection = server:connect()
    local payload = ("y"):rep(8192)
    local count = 0
    helper.eventually(function()
      -- Few enough at a time for one that reads between them.
      local batch = {}
      for index = 1, 4 do
        batch[index] = { "POST", "/publish", { body = count + index .. " " .. payload } }
      end
      http.pipeline(connection, batch)
      count = count + 4
      quick:wait_messages(count)
      local metrics = http.exchange(connection, "GET", "/metrics", { headers = { Accept = "application/json" } })
      return json.decode(metrics.body).activeConnections == 1
    end)
    slow:wait_end()
    local seen = #slow:messages()
    assert.is_true(seen < count)
    local back = server:stream("/events", { last_event_id = slow:last_event_id() }):wait_open()
    back:wait_messages(count - seen)
    for index, message in ipairs(back:messages()) do
      assert.equal(seen + index, tonumber(message.data:match("^(%d+) ")))
    end
    assert.equal(count, #quick:messages())
  end)
end)

describe("guarantee 8: leaving is graceful:", function()
  after_each(helper.cleanup)

  for _, signal in ipairs{ "TERM", "INT" } do
    it("SIG" .. signal .. " ends every stream with a proper last chunk and no event, and the status is 0", function()
      local server = helper.serve{ config = { drain = 0.5 } }
      local streams = {}
      for index = 1, 10 do
        streams[index] = server:stream("/events"):wait_open()
      end
      server:publish("default", "last words")
      server:signal(signal)
      sse.wait_for(streams, function()
        for _, stream in ipairs(streams) do
          if not stream.ended then
            return false
          end
        end
        return true
      end)
      for _, stream in ipairs(streams) do
        assert.equal("chunk", stream.ended)
        assert.same({ "last words" }, stream:data())
      end
      assert.equal(0, server:wait())
    end)
  end

  it("without a stream it is gone at once", function()
    local server = helper.serve{ config = { drain = 60 } }
    server:connect()
    assert.equal(200, server:request("GET", "/health").status)
    local began = socket.gettime()
    server:signal("TERM")
    assert.equal(0, server:wait())
    assert.is_true(socket.gettime() - began < 5)
  end)

  it("new connections are refused at once, kept ones hear 503 from health, streams end spread over the time", function()
    local server = helper.serve{ config = { drain = 2 } }
    local kept = server:connect()
    assert.equal(200, http.exchange(kept, "GET", "/health").status)
    local streams = {}
    for index = 1, 40 do
      streams[index] = server:stream("/events"):wait_open()
    end
    server:signal("TERM")
    local response = helper.eventually(function()
      local found = http.exchange(kept, "GET", "/health")
      return found.status == 503 and found
    end)
    assert.equal("draining", json.decode(response.body).status)
    -- Each worker has a listener of its own.
    helper.eventually(function()
      return not tcp.try_connect(server.port)
    end)
    local refused_at = socket.gettime()
    local ends = {}
    sse.wait_for(streams, function()
      for _, stream in ipairs(streams) do
        if stream.ended and not ends[stream] then
          ends[stream] = socket.gettime()
          ends[#ends + 1] = ends[stream]
        end
      end
      return #ends == #streams
    end)
    assert.is_true(ends[#ends] - refused_at > 0.3, "refused only when the streams had ended")
    assert.is_true(ends[#ends] - ends[1] > 0.5, ("all ended within %.2f s"):format(ends[#ends] - ends[1]))
    assert.equal(0, server:wait())
  end)

  it("a client that does not read cannot hold it longer than the drain time", function()
    local server = helper.serve{ config = { drain = 0.5, limits = { queue_bytes = 64 * 1024 * 1024 } } }
    server:stream("/events", { receive_buffer = 4096 }):wait_open()
    local list = {}
    for index = 1, 500 do
      list[index] = { "default", ("z"):rep(16384) }
    end
    server:publish_all(list)
    server:signal("TERM")
    assert.equal(0, server:wait())
  end)

  it("a second signal ends it at once", function()
    local server = helper.serve{ config = { drain = 60 } }
    for _ = 1, 20 do
      server:stream("/events"):wait_open()
    end
    local began = socket.gettime()
    server:signal("TERM")
    helper.eventually(function()
      return not tcp.try_connect(server.port)
    end)
    server:signal("TERM")
    server:wait()
    assert.is_true(socket.gettime() - began < 5)
  end)
end)
