-- SPDX-License-Identifier: MIT
-- ratelimit.shared: limits that count over all nodes of a cluster.
local cluster = require("spec.support.cluster")
local helper = require("spec.helper")
local redis_server = require("spec.support.redis")
local json = helper.json

describe("shared limits", function()
  local redis, nodes

  setup(function()
    redis = redis_server.start()
    nodes = cluster.nodes(redis, 2, {
      defaults = true,
      config = { ratelimit = { shared = true, max = 1000000, concurrent = 4 } },
      scripts = { ["limit.lua"] = [[
        return { routes = function(route)
          route:get("/limited", function()
            local allowed, info = sluice.limit("page", { max = 20, window = 60 })
            return { allowed = allowed, remaining = info.remaining, reset = info.reset }
          end)
        end }
      ]] },
    })
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  local function ask(node) return json.decode(node:request("GET", "/limited").body) end

  it("count events on all nodes in one window", function()
    local allowed = 0
    for _ = 1, 8 do allowed = allowed + (ask(nodes[1]).allowed and 1 or 0) end
    for _ = 1, 4 do allowed = allowed + (ask(nodes[2]).allowed and 1 or 0) end
    -- Each node learns what the other has counted in a moment.
    for index, node in ipairs(nodes) do
      helper.eventually(function()
        local answer = ask(node)
        allowed = allowed + (answer.allowed and 1 or 0)
        return answer.remaining < (index == 1 and 9 or 8)
      end)
    end
    helper.eventually(function()
      local refused = 0
      for _, node in ipairs(nodes) do
        local answer = ask(node)
        allowed = allowed + (answer.allowed and 1 or 0)
        refused = refused + (answer.allowed and 0 or 1)
      end
      return refused == 2
    end)
    -- As exact as what the nodes have told each other: some more than the 20 may have slipped through, not twice as many.
    assert.is_true(allowed >= 20 and allowed < 35, tostring(allowed))
    helper.eventually(function() return allowed == tonumber(redis:command("GET", "sluice:log:limit:page")) end)
    assert.is_true(redis:command("PTTL", "sluice:log:limit:page") > 30000)
  end)

  it("count what is open on all nodes", function()
    local streams = {}
    for index = 1, 3 do streams[index] = nodes[1]:stream("/events?channel=a"):wait_open() end
    streams[4] = nodes[2]:stream("/events?channel=a"):wait_open()
    local function refused(node)
      local stream = node:stream("/events?channel=a"):wait_head()
      local status = stream.status
      stream:close()
      return status == 429
    end
    for _, node in ipairs(nodes) do helper.eventually(function() return refused(node) end) end
    streams[1]:close()
    helper.eventually(function() return not refused(nodes[2]) end)
    for index = 2, 4 do streams[index]:close() end
    -- Nothing is left of them, neither here nor in Redis.
    helper.eventually(function() return #redis:command("HGETALL", "sluice:log:streams") == 0 end)
  end)

  it("need a Redis to share by", function()
    local server, why = require("sluice").start{ ratelimit = { shared = true } }
    assert.is_nil(server)
    assert.is_truthy(why:find("redis.url is not set", 1, true), why)
  end)
end)
