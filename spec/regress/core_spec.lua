-- SPDX-License-Identifier: MIT
-- Bugs that a review of the core found, each by the sequence that showed it.
local helper = require("spec.helper")
local json = require("cjson")

local function script(body)
  return { ["under_test.lua"] = "local held = {}\nreturn {\n" .. body .. "\n}" }
end

describe("pipelined requests behind one that waits", function()
  after_each(helper.cleanup)

  local SLOW = [[
    routes = function(route)
      route:get("/slow", function() sluice.sleep(0.3) return 200, "slow" end)
      route:get("/n", function(request) return 200, "n" .. request:query("i") end)
      route:get("/mark", function() sluice.shared.set("mark", 1) return 200, "ok" end)
    end]]

  local function get(path)
    return "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n"
  end

  it("are answered in the order in which they came, whenever their bytes came", function()
    local server = helper.serve{ scripts = script(SLOW), config = { workers = 1 } }
    local connection = server:connect()
    connection:send(get("/slow") .. get("/n?i=2") .. "GET /n?i=3 HT")
    server:request("GET", "/mark") -- the server has read what was sent before
    connection:send("TP/1.1\r\nHost: a\r\n\r\n" .. get("/n?i=4"))
    local seen = {}
    for index = 1, 4 do seen[index] = helper.http.read_response(connection, { method = "GET" }).body end
    assert.same({ "slow", "n2", "n3", "n4" }, seen)
  end)

  it("are all answered where the client ends its sending side", function()
    local server = helper.serve{ scripts = script(SLOW), config = { workers = 1 } }
    local connection = server:connect()
    connection:send(get("/slow") .. get("/n?i=2") .. get("/n?i=3") .. get("/n?i=4"))
    connection:half_close()
    local seen = {}
    for index = 1, 4 do seen[index] = helper.http.read_response(connection, { method = "GET" }).body end
    assert.same({ "slow", "n2", "n3", "n4" }, seen)
  end)
end)

describe("a stream that has not begun", function()
  after_each(helper.cleanup)

  it("is given up when its client leaves", function()
    local server = helper.serve{ scripts = script[[
      routes = function(route)
        route:stream("/park", function() sluice.shared.incr("parked") while true do sluice.sleep(0.05) end end)
        route:get("/parked", function() return 200, tostring(sluice.shared.get("parked") or 0) end)
        route:get("/metrics", function() return 200, (sluice.metrics()) end)
      end]] }
    local connection = server:connect()
    connection:send("GET /park HTTP/1.1\r\nHost: a\r\n\r\n")
    helper.eventually(function() return server:request("GET", "/parked").body == "1" end)
    connection:close()
    helper.eventually(function()
      return json.decode(server:request("GET", "/metrics").body).openConnections == 1
    end)
  end)

  it("keeps the channels it has collected, whoever leaves them meanwhile", function()
    local server = helper.serve{ config = { workers = 1 }, scripts = script[[
      routes = function(route)
        route:stream("/first", function(stream) stream:subscribe("x") stream:send("here") held.first = stream
          while true do sluice.sleep(1) end end)
        route:stream("/second", function(stream)
          stream:subscribe("x")
          held.first:unsubscribe("x")
          stream:send("hi")
        end)
        route:get("/publish", function() return 200, (sluice.publish("x", "news")) end)
      end]] }
    local first = server:stream("/first"):wait_messages(1)
    assert.equal("here", first[1].data)
    local second = server:stream("/second")
    second:wait_messages(1)
    server:request("GET", "/publish")
    assert.equal("news", second:wait_messages(2)[2].data)
  end)
end)

describe("what scripts may do to their answers", function()
  after_each(helper.cleanup)

  it("cannot make a worker hang or send a status that there is not", function()
    local server = helper.serve{ config = { workers = 1 }, scripts = script[[
      routes = function(route)
        route:get("/loop", function()
          local ok, rejection = pcall(sluice.reject, 400, "x")
          rejection.error = setmetatable({}, { __tostring = function() while true do end end })
          error(rejection)
        end)
        route:get("/meta", function()
          local ok, rejection = pcall(sluice.reject, 400, "x")
          return 200, type(getmetatable(rejection)) .. " " .. type(getmetatable(io.open("/dev/null")))
        end)
        route:get("/status", function()
          local ok, rejection = pcall(sluice.reject, 400, "x")
          rejection.status = 99999
          error(rejection)
        end)
      end]] }
    assert.equal(500, server:request("GET", "/loop").status)
    assert.equal("boolean boolean", server:request("GET", "/meta").body)
    assert.equal(500, server:request("GET", "/status").status)
  end)

  it("see the path that is matched, however it was spelt", function()
    local server = helper.serve{ scripts = script[[
      on_request = function(request) if request.path:find("^/admin") then sluice.reject(403, "no") end end,
      routes = function(route)
        route:get("/admin", function() return 200, "in" end)
        route:get("/caf\u{e9}/:name", function(request) return 200, request:param("name") end)
      end]] }
    assert.equal(403, server:request("GET", "/admin").status)
    assert.equal(403, server:request("GET", "/%61dmin").status)
    assert.equal(404, server:request("GET", "/x%2Fadmin").status)
    assert.equal("a/b", server:request("GET", "/caf%c3%A9/a%2Fb").body)
  end)

  it("leave a message as it was where a hook returns nothing", function()
    local server = helper.serve{ scripts = script[[
      on_publish = function(message)
        if message.data == "new" then return { data = "made" } end
        message.data = "mutated"
      end,
      routes = function(route)
        route:stream("/events", function(stream) stream:subscribe("a") end)
        route:post("/publish", function(request) return 200, (sluice.publish("a", request.body)) end)
      end]] }
    local stream = server:stream("/events"):wait_open()
    server:request("POST", "/publish", { body = "as it is" })
    server:request("POST", "/publish", { body = "new" })
    local messages = stream:wait_messages(2)
    assert.same({ "as it is", "made" }, { messages[1].data, messages[2].data })
  end)
end)

describe("leaving", function()
  after_each(helper.cleanup)

  it("ends at once on two signals that come together", function()
    local server = helper.serve{ config = { drain = 60 } }
    local stream = server:stream("/events"):wait_open()
    server:signal("TERM")
    server:signal("INT")
    assert.is_true(server:wait() > 128)
    assert.is_string(stream:wait_end())
  end)
end)

describe("a worker that a C call keeps busy", function()
  after_each(helper.cleanup)

  it("does not keep the process from ending on a second signal", function()
    local server = helper.serve{ config = { workers = 1 }, scripts = script[[
      routes = function(route)
        route:get("/stuck", function() return 200, tostring(("a"):rep(60):find(("a*"):rep(30) .. "b")) end)
      end]] }
    server:connect():send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
    helper.eventually(function() return not pcall(server.request, server, "GET", "/nothing", { timeout = 0.2 }) end)
    server:signal("TERM")
    server:signal("TERM")
    local status, signal = server:wait()
    assert.equal(15, signal or status - 128)
  end)
end)
