-- SPDX-License-Identifier: MIT
-- Two nodes with one Redis behind each proxy of examples/deploy. One after the other is restarted, while clients read and come back as EventSource does, and a
-- publisher goes on through the proxy: every request is answered well, and every client gets every message once.
local front = require("spec.support.front")
local helper = require("spec.helper")
local http, json, sse, tcp = helper.http, helper.json, helper.sse, helper.tcp
local redis = require("spec.support.redis")
local socket = require("socket")

local CLIENTS = 8

local function start_node(shared, port)
  return helper.serve{ config = { listen = "127.0.0.1:" .. port, workers = 1, drain = 0.5, trust_proxy = { "127.0.0.1" }, redis = { url = shared:url() } } }
end

-- A client that reconnects with its last id as soon as its stream has ended.
local function make_client(port)
  local client = { got = {}, opened = 0, taken = 0 }
  local function open()
    client.stream = sse.open(port, "/events?channel=rolling", { last_event_id = client.id })
    client.opened, client.taken = client.opened + 1, 0
  end
  function client.turn()
    local stream = client.stream
    stream:poll()
    local messages = stream:messages()
    while client.taken < #messages do
      client.taken = client.taken + 1
      client.got[#client.got + 1] = messages[client.taken].event .. " " .. messages[client.taken].data
    end
    if stream.ended then
      assert.equal(200, stream.status, "EventSource would give up here")
      client.id = stream:last_event_id() ~= "" and stream:last_event_id() or client.id
      open()
    end
  end
  open()
  return client
end

for _, name in ipairs({ "nginx", "haproxy", "caddy" }) do
  it("a restart of one node after the other behind " .. name .. " loses nothing", function()
    finally(helper.cleanup)
    local shared = redis.start()
    local ports = { tcp.free_port(), tcp.free_port() }
    local nodes = { start_node(shared, ports[1]), start_node(shared, ports[2]) }
    local port = front[name](ports).port
    local clients, published = {}, {}
    for n = 1, CLIENTS do
      clients[n] = make_client(port)
      clients[n].stream:wait_open()
    end

    -- One message, and a look at each client.
    local function turn()
      local number = #published + 1
      local answer
      repeat
        answer = http.request(port, "POST", "/publish?channel=rolling", { body = tostring(number) })
      until answer.status ~= 502 or name ~= "caddy" -- see its file
      assert.equal(200, answer.status, answer.body)
      published[number] = "message " .. number
      for _, client in ipairs(clients) do client.turn() end
      socket.select(nil, nil, 0.005)
    end

    -- Goes on until it is true; a condition that raises ends the test.
    local function turn_until(condition, what)
      local deadline = socket.gettime() + helper.TEST_TIMEOUT
      repeat
        turn()
        assert(socket.gettime() < deadline, what)
      until condition()
    end

    local function count(node, what)
      return json.decode(node:request("GET", "/metrics").body)[what]
    end

    turn_until(function() return count(nodes[1], "activeConnections") > 0 and count(nodes[2], "activeConnections") > 0 end, "both nodes have streams")
    for index, node in ipairs(nodes) do
      node:signal("TERM")
      turn_until(function() return not node.process:is_running() end, "the node ends")
      assert.equal(0, node:wait())
      nodes[index] = start_node(shared, ports[index])
      turn_until(function() return count(nodes[index], "messagesPublished") > 0 end, "the proxy has found the node again")
    end
    local deadline = socket.gettime() + helper.TEST_TIMEOUT
    for _, client in ipairs(clients) do
      while #client.got < #published and socket.gettime() < deadline do
        sse.pump({ client.stream }, 0.05)
        client.turn()
      end
      assert.same(published, client.got)
    end
    local opened = 0
    for _, client in ipairs(clients) do opened = opened + client.opened end
    assert.is_true(opened > CLIENTS)
  end)
end
