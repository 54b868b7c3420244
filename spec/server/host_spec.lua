-- SPDX-License-Identifier: MIT
-- Servers inside a Lua program: `sluice.start` and the server object.
local helper = require("spec.helper")
local sluice = require("sluice")
local tcp = helper.tcp

describe("sluice.start", function()
  after_each(helper.cleanup)

  it("gives a server that publishes, and says id and subscribers", function()
    local server = helper.start()
    local streams = {}
    for index = 1, 4 do
      streams[index] = server:stream("/events?channel=news"):wait_open()
    end
    local id, subscribers = server.host:publish("news", { event = "headline", data = "one" })
    assert.equal(4, subscribers)
    for _, stream in ipairs(streams) do
      local message = stream:wait_messages(1)[1]
      assert.same({ id, "headline", "one" }, { message.id, message.event, message.data })
    end
  end)

  it("refuses what cannot be published with nil and a message", function()
    local server = helper.start()
    for _, case in ipairs{ { "a*", { data = "x" } }, { "", { data = "x" } }, { "a", { event = "a\nb", data = "x" } }, { "a", { data = "\xff" } } } do
      local id, message = server.host:publish(case[1], case[2])
      assert.is_nil(id)
      assert.is_string(message)
    end
  end)

  it("may be called several times in one program, and nothing is shared", function()
    local first, second = helper.start(), helper.start()
    assert.is_not_equal(first.port, second.port)
    local on_first = first:stream("/events?channel=x"):wait_open()
    local on_second = second:stream("/events?channel=x"):wait_open()
    first.host:publish("x", { data = "to the first" })
    second.host:publish("x", { data = "to the second" })
    assert.equal("to the first", on_first:wait_messages(1)[1].data)
    assert.equal("to the second", on_second:wait_messages(1)[1].data)
  end)

  it("returns nil and a message that names the port where it is taken, by another server too", function()
    local server = helper.start()
    local host, message = sluice.start{ listen = "127.0.0.1:" .. server.port, workers = 1 }
    assert.is_nil(host)
    assert.is_truthy(message:find(tostring(server.port), 1, true), message)
    assert.equal(200, server:request("GET", "/health").status)
  end)

  it("raises for arguments of a wrong kind", function()
    for _, wrong in ipairs({ { 5 }, { "127.0.0.1:0" }, { {}, true } }) do
      local ok, message = pcall(sluice.start, table.unpack(wrong))
      assert.is_false(ok)
      assert.is_truthy(message:find("start: the %a+ are a table"), message)
    end
    assert.has_error(function() sluice.check(8080) end, "check: the settings are a table, not a number")
  end)

  it("gives a server that can be stopped, and started anew on its port", function()
    local server = helper.start()
    local stream = server:stream("/events"):wait_open()
    server.host:stop{ drain = 0 }
    server.host:wait()
    assert.is_string(stream:wait_end())
    assert.is_nil(tcp.try_connect(server.port))
    local again = helper.start{ config = { listen = "127.0.0.1:" .. server.port } }
    assert.equal(server.port, again.port)
    again:stream("/events"):wait_open()
  end)

  it("can be collected while it runs", function()
    local host = assert(sluice.start{ listen = "127.0.0.1:0", workers = 2 })
    local port = host:port()
    host = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    helper.eventually(function()
      return not tcp.try_connect(port)
    end)
  end)
end)

describe("sluice.sign", function()
  after_each(helper.cleanup)

  it("makes tokens that a server with the same key takes", function()
    local key = ("k"):rep(32)
    local server = helper.start{ config = { jwt = { key = key } } }
    local function status(token) return server:stream("/events?channel=a&token=" .. token):wait_head().status end
    local claims = { sub = "ann", sluice = { subscribe = { "a" } } }
    assert.equal(200, status(assert(sluice.sign(claims, { key = key }))))
    assert.equal(401, status(assert(sluice.sign(claims, { key = ("x"):rep(32) }))))
    assert.equal(401, status(assert(sluice.sign(claims, { key = key, algorithm = "HS512" }))))
  end)

  it("says what is wrong with its arguments", function()
    assert.has_error(function() sluice.sign("x", {}) end, "sign: the claims are a table, not a string")
    assert.has_error(function() sluice.sign({}, {}) end, "sign: options.key is the key to sign with")
    assert.has_error(function() sluice.sign({}, { key = "x", alg = "y" }) end, "sign: the options are key and algorithm, not 'alg'")
    local token, message = sluice.sign({}, { key = "no PEM", algorithm = "RS256" })
    assert.is_nil(token)
    assert.is_string(message)
  end)
end)
