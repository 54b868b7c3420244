-- SPDX-License-Identifier: MIT
-- The header Idempotency-Key of a publish, without Redis. (With it: cluster_publish_spec.lua, cluster_outage_spec.lua.)
local helper = require("spec.helper")
local http, json = helper.http, helper.json

describe("a publish with an Idempotency-Key", function()
  local server

  setup(function()
    server = helper.serve{
      defaults = true,
      config = { jwt = { key = "secret" } },
      scripts = { ["stamp.lua"] = [[
        local n = 0
        return { on_publish = function(message) n = n + 1; message.data = message.data .. " #" .. n; return message end }
      ]] },
    }
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  local function token(user)
    return assert(require("sluice.core").token_sign("secret", "HS256", { sub = user, sluice = { subscribe = { "*" }, publish = { "*" } } }))
  end

  local function publish(channel, data, key, user)
    local headers = { ["Idempotency-Key"] = key, Authorization = "Bearer " .. token(user or "ann") }
    local response = server:request("POST", "/publish?channel=" .. channel, { body = data, headers = headers })
    return response.status, response.body
  end

  it("is published once, and answered alike each time, though hooks change it", function()
    local stream = server:stream("/events?channel=a&token=" .. token("eve")):wait_open()
    local status, first = publish("a", "one", "k1")
    assert.equal(200, status)
    for _, key in ipairs{ "k1", '"k1"' } do
      local _, again = publish("a", "one", key)
      assert.equal(first, again)
    end
    local _, other = publish("a", "two", "k2")
    assert.are_not.equal(first, other)
    assert.equal(2, #stream:wait_messages(2))
    assert.equal(json.decode(first).id, stream:messages()[1].id)
    assert.equal(json.decode(other).id, stream:messages()[2].id)
  end)

  it("is refused where the key was used for another message", function()
    assert.equal(200, (publish("a", "x", "other")))
    for _, case in ipairs{ { "a", "y" }, { "b", "x" } } do
      local status, body = publish(case[1], case[2], "other")
      assert.equal(422, status)
      assert.is_truthy(json.decode(body).error:find("idempotency key", 1, true))
    end
  end)

  it("is the user's own: another may choose the same key", function()
    local _, first = publish("a", "mine", "same", "ann")
    local status, second = publish("a", "yours", "same", "bob")
    assert.equal(200, status)
    assert.are_not.equal(json.decode(first).id, json.decode(second).id)
  end)

  it("needs a key of 1 to 255 visible characters", function()
    for _, key in ipairs{ '""', ("k"):rep(256), "two words", "gr\xc3\xbcn" } do
      local status, body = publish("a", "x", key)
      assert.equal(400, status, key)
      assert.is_truthy(json.decode(body).error:find("1 to 255", 1, true))
    end
    assert.equal(200, (publish("a", "x", ("k"):rep(255))))
  end)

  it("is published once, however many ask at the same time", function()
    local stream = server:stream("/events?channel=race&token=" .. token("eve")):wait_open()
    local connections, headers = {}, { ["Idempotency-Key"] = "race", Authorization = "Bearer " .. token("ann") }
    for index = 1, 40 do connections[index] = server:connect() end
    for _, connection in ipairs(connections) do
      connection:send(http.format("POST", "/publish?channel=race", { body = "x", headers = headers }))
    end
    local id
    for _, connection in ipairs(connections) do
      local response = assert(http.read_response(connection))
      assert.is_true(response.status == 200 or response.status == 409, response.body)
      if response.status == 200 then
        id = id or json.decode(response.body).id
        assert.equal(id, json.decode(response.body).id)
      end
    end
    publish("race", "last", "last")
    assert.equal(id, stream:wait_messages(2)[1].id)
  end)

  it("says so in scripts by the message's key", function()
    local host = helper.start{ scripts = { ["task.lua"] = [[
      return { routes = function(route)
        route:get("/twice", function()
          local a = sluice.publish("a", { data = "x", key = "k" })
          local b = sluice.publish("a", { data = "x", key = "k" })
          local id, why, status = sluice.publish("a", { data = "y", key = "k" })
          return { same = a == b, id = id, why = why, status = status }
        end)
      end }
    ]] } }
    assert.same({ same = true, why = "another message was published with this idempotency key before", status = 422 },
      json.decode(host:request("GET", "/twice").body))
  end)
end)
