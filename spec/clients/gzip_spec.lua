-- SPDX-License-Identifier: MIT
-- Decoders that others have written read Sluice's streams in gzip: curl, Node's fetch, Python's gzip, directly and through nginx. All but Python's,
-- which reads to the end, have each event as soon as it is there.
local front = require("spec.support.front")
local helper = require("spec.helper")
local json, process = helper.json, helper.process

local TARGET = "/events?channel=a"

local function without_opening(text)
  return (text:gsub("^retry: %d+\nid: [%d-]+\nevent: sluice.open\ndata: [^\n]*\n\n", ""))
end

local function metrics_of(server)
  return json.decode(server:request("GET", "/metrics").body)
end

describe("a stream in gzip is read by", function()
  after_each(helper.cleanup)

  it("curl, Node and Python, directly and through nginx", function()
    for _, name in ipairs{ "curl", "node", "python3" } do
      process.need(name, name)
    end
    local server = helper.serve{ config = { drain = 0.1, stream = { heartbeat = 0.2 } } }
    local plain = server:stream(TARGET):wait_open()
    local at_once, clients = {}, {}
    for where, port in pairs{ ["directly"] = server.port, ["through nginx"] = front.nginx({ server.port }).port } do
      local url = ("http://127.0.0.1:%d%s"):format(port, TARGET)
      at_once["curl " .. where] = process.spawn{ "curl", "-sSN", "--compressed", "--fail", url }
      at_once["node " .. where] = process.spawn{ "node", helper.root .. "/spec/clients/fetch_gzip.mjs", url }
      clients["python " .. where] = process.spawn{ "python3", helper.root .. "/spec/clients/gzip_reader.py", tostring(port), TARGET }
    end
    for name, client in pairs(at_once) do
      clients[name] = client
    end
    helper.eventually(function() return metrics_of(server).gzipConnections == 6 end, nil, "six clients in gzip")
    local function publish(text)
      server:publish("a", text)
      for name, client in pairs(at_once) do
        helper.eventually(function() return client:output():find(text, 1, true) end, nil, name .. " has " .. text:sub(1, 50))
      end
    end
    for number = 1, 20 do
      publish(("message %d, %s"):format(number, ("again and "):rep(number * number)))
    end
    local list = {}
    for number = 1, 200 do
      list[number] = { "a", json.encode{ number = number, text = ("\u{E9}"):rep(number % 100) }, number % 2 == 0 and "type" or nil }
    end
    server:publish_all(list)
    publish(("large "):rep(60000))
    plain:wait_messages(221)
    server:signal("TERM")
    assert.equal("chunk", plain:wait_end())
    local wanted = without_opening(plain:body():gsub("\n:%f[\n]", ""))
    for name, client in pairs(clients) do
      assert.equal(0, client:wait(helper.TEST_TIMEOUT), name .. ": " .. client:errors())
      assert.is_true(wanted == without_opening(client:output():gsub("\n:%f[\n]", "")), name .. " has another text")
    end
  end)
end)
