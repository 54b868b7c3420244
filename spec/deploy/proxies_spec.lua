-- SPDX-License-Identifier: MIT
-- The proxies of examples/deploy before real servers, with Debian's packages: what passes, and how.
local front = require("spec.support.front")
local helper = require("spec.helper")
local http, json, process, sse = helper.http, helper.json, helper.process, helper.sse
local socket = require("socket")

-- What a script learns of the client.
local WHO = [[
return { name = "who", routes = function(route)
  route:get("/who", function(request)
    return 200, { ip = request.ip, real = request:header("X-Real-IP"), proto = request:header("X-Forwarded-Proto"), host = request:header("Host") }
  end)
end }
]]

local CONFIG = { trust_proxy = { "127.0.0.1" }, stream = { heartbeat = 0.15 }, drain = 0.2 }

for _, name in ipairs({ "nginx", "haproxy", "caddy" }) do
  describe("behind " .. name, function()
    local server, port

    setup(function()
      server = helper.serve{ config = CONFIG, scripts = { ["who.lua"] = WHO }, defaults = true }
      port = front[name]({ server.port }).port
    end)

    teardown(helper.cleanup)
    after_each(helper.close_clients)

    local function curl(...)
      process.need("curl", "curl")
      local status, out, err = process.run({ "curl", "-sS", "--max-time", "10", ... })
      assert.equal(0, status, err)
      return out
    end

    it("an event passes at once, both ways", function()
      local stream = sse.open(port, "/events?channel=at_once"):wait_open()
      assert.equal("chunked", stream.headers["transfer-encoding"])
      assert.equal("no-cache, no-transform", stream.headers["cache-control"])
      local quickest = math.huge -- the machine may be busy now and then, a proxy that collects is slow each time
      for n = 1, 4 do
        local sent = socket.gettime()
        assert.equal(200, http.request(port, "POST", "/publish?channel=at_once", { body = "event " .. n }).status)
        local event = stream:wait_messages(n)[n]
        assert.equal("event " .. n, event.data)
        quickest = math.min(quickest, event.at - sent)
      end
      assert.is_true(quickest < 0.1, "it took " .. quickest .. " s")
    end)

    it("heartbeats pass, so that a silent stream stays open", function()
      local stream = sse.open(port, "/events?channel=silent"):wait_open()
      sse.wait_for({ stream }, function() return #stream.comments >= 3 end)
      assert.is_nil(stream.ended)
    end)

    it("Last-Event-ID arrives: a client goes on where it was", function()
      local stream = sse.open(port, "/events?channel=resume"):wait_open()
      server:publish("resume", "one")
      local id = stream:wait_messages(1)[1].id
      stream:close()
      server:publish("resume", "two")
      server:publish("resume", "three")
      local again = sse.open(port, "/events?channel=resume", { last_event_id = id })
      again:wait_messages(2)
      assert.same({ "two", "three" }, again:data())
    end)

    it("the client's address arrives, and one that it made up does not count", function()
      local url = ("http://127.0.0.1:%d/who"):format(port)
      local plain = json.decode(curl("--interface", "127.0.0.2", url))
      assert.same({ ip = "127.0.0.2", real = "127.0.0.2", proto = "http", host = "127.0.0.1:" .. port }, plain)
      local forged = json.decode(curl("--interface", "127.0.0.3", "-H", "X-Forwarded-For: 192.0.2.1", "-H", "X-Real-IP: 192.0.2.1", url))
      assert.same({ "127.0.0.3", "127.0.0.3" }, { forged.ip, forged.real })
    end)

    it("gzip passes for a client that takes it, each event at once, and none for one that does not", function()
      local stream = sse.open(port, "/events?channel=zipped", { headers = { ["Accept-Encoding"] = "gzip" } }):wait_open()
      assert.equal("gzip", stream.headers["content-encoding"])
      for n = 1, 2 do
        local data = ("event %d "):format(n):rep(100)
        server:publish("zipped", data)
        assert.equal(data, stream:wait_messages(n)[n].data)
      end
      local plain = sse.open(port, "/events?channel=zipped"):wait_open()
      assert.is_nil(plain.headers["content-encoding"])
    end)

    it("a client that leaves is gone for the server too", function()
      local function open()
        return json.decode(server:request("GET", "/metrics").body).activeConnections
      end
      helper.eventually(function() return open() == 0 end)
      local stream = sse.open(port, "/events?channel=leaves"):wait_open()
      assert.equal(1, open())
      stream:close()
      helper.eventually(function() return open() == 0 end)
    end)

    it("the server's end of a stream is a proper one", function()
      local stream = sse.open(port, "/events?channel=ends"):wait_open()
      server:signal("TERM")
      assert.equal("chunk", stream:wait_end(15))
      assert.equal(0, server:wait(15))
    end)
  end)
end
