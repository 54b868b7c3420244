-- SPDX-License-Identifier: MIT
-- Several servers on one log in Redis.
local helper = require("spec.helper")

local cluster = {}

-- Laid under a node's configuration: histories that hold all a spec publishes.
local CONFIG = { history = { messages = 100000, bytes = 64 << 20 } }

-- Starts a node on `redis` (or on the port `options.port` in its place, a proxy's). `options` as for helper.serve.
function cluster.node(redis, options)
  options = options or {}
  local config = { redis = { url = ("redis://127.0.0.1:%d"):format(options.port or redis.port) } }
  for key, value in pairs(CONFIG) do config[key] = value end
  for key, value in pairs(options.config or {}) do
    if key == "redis" then
      for name, setting in pairs(value) do config.redis[name] = setting end
    else
      config[key] = value
    end
  end
  local copy = {}
  for key, value in pairs(options) do copy[key] = value end
  copy.config, copy.port = config, nil
  return helper.serve(copy)
end

-- Starts `count` nodes, each a process.
function cluster.nodes(redis, count, options)
  local nodes = {}
  for index = 1, count do nodes[index] = cluster.node(redis, options) end
  return nodes
end

function cluster.health(node)
  return helper.json.decode(node:request("GET", "/health").body)
end

-- Waits until the node says of Redis what `wanted` matches: a pattern, "connected" by default.
function cluster.wait_for(node, wanted, timeout)
  return helper.eventually(function()
    local health = cluster.health(node)
    return health.redis:find(wanted or "^connected$") and health
  end, timeout)
end

function cluster.metrics(node)
  return helper.json.decode(node:request("GET", "/metrics").body)
end

return cluster
