-- SPDX-License-Identifier: MIT
-- Guarantee 7: a bad script harms one request or one delivery. Whatever a script does, the request gets 500 with exactly one body, the
-- log names file and line, and the worker goes on with all others.
local helper = require("spec.helper")
local json = helper.json

-- Functions of the script, each on a line of its own, by the name that the query `do` or a channel gives.
local BAD = {
  { "error", [[error("boom")]] },
  { "error without a position", [[error("boom", 0)]] },
  { "error with a table", [[error({ "boom" })]] },
  { "error with nil", [[error()]] },
  { "error whose text loops", [[error(setmetatable({}, { __tostring = function() while true do end end }))]] },
  { "call of nil", [[local nothing; nothing()]] },
  { "endless loop", [[while true do end]] },
  { "endless loop in pcall", [[while true do pcall(function() while true do end end) end]] },
  { "endless loop of pcalls", [[while true do pcall(error) end]] },
  { "endless loop in a coroutine made at load", [[coroutine.resume(LOOP)]], "LOOP" },
  { "endless loop in a wrapped coroutine made at load", [[while true do pcall(WRAPPED_LOOP) end]], "WRAPPED_LOOP" },
  { "endless loop in nested coroutines", [[local function f(n) while true do coroutine.wrap(function() return n > 0 and f(n - 1) end)() end end f(6)]] },
  { "endless loop in coroutines that cannot yield",
    [[while true do pcall(coroutine.wrap(function() table.sort({ 2, 1 }, function() while true do end end) end)) end]] },
  { "endless loop in an xpcall handler", [[xpcall(error, function() while true do end end)]] },
  { "endless loop of xpcalls", [[while true do xpcall(error, function() while true do end end) end]] },
  { "endless loop in a gsub callback", [[while true do pcall(string.gsub, "x", "x", function() while true do end end) end]] },
  { "endless loop in a sort comparator", [[while true do pcall(table.sort, { 3, 2, 1 }, function() while true do end end) end]] },
  { "endless loop in __close", [[local x <close> = setmetatable({}, { __close = function() while true do end end })]] },
  { "endless loop in __close after an error", [[local x <close> = setmetatable({}, { __close = function() while true do end end }) error("first")]] },
  { "endless loop in coroutine.close", [[while true do coroutine.close(CLOSES_SLOWLY()) end]], "CLOSES_SLOWLY" },
  { "endless loop in __index", [[return setmetatable({}, { __index = function() while true do end end }).x]] },
  { "endless loop in __concat", [[return setmetatable({}, { __concat = function() while true do end end }) .. "x"]] },
  { "endless recursion", [[local function f() return 1 + f() end f()]] },
  { "endless recursion of pcalls", [[local function f() return pcall(f) and 1 or error("up") end error(f())]] },
  { "endless recursion in __index", [[local t = setmetatable({}, { __index = function(t, k) return t[k] end }) return t.x]] },
  { "endless recursion through gsub", [[local function f() return (("x"):gsub("x", f)) end return f()]] },
  { "endless recursion of coroutines", [[local function f() local x = coroutine.wrap(f)() return x end local x = f() return x]] },
  { "a string that is too large", [[return ("x"):rep(1e9)]] },
  { "a string that doubles", [[local s = "x" while true do s = s .. s end]] },
  { "a table that grows", [[local t = {} for i = 1, math.huge do t[i] = i end]] },
  { "tables that grow", [[local t = {} while true do t = { t, {}, {} } end]] },
  { "memory asked for again and again", [[while true do pcall(string.rep, "x", 1e9) end]] },
  { "yield across sort", [[table.sort({ 3, 2, 1 }, function() coroutine.yield() end)]] },
  { "sleep across sort", [[table.sort({ 3, 2, 1 }, function() sluice.sleep(0.001) end)]] },
  { "sleep in a coroutine of its own", [[assert(coroutine.resume(coroutine.create(function() sluice.sleep(0.001) end)))]] },
  { "yield to the server", [[coroutine.yield("x")]] },
  { "a finaliser", [[setmetatable({}, { __gc = function() end })]] },
  { "a binary chunk", [[assert(load("\27Lua"))]] },
  { "dump of a function", [[return ("").dump(function() end)]] },
  { "a table within itself as JSON", [[local t = {} t.t = t return 200, t.t and assert(sluice.json.encode(t))]] },
}

local LOADED = {
  LOOP = "LOOP = coroutine.create(function() while true do end end)",
  WRAPPED_LOOP = "WRAPPED_LOOP = coroutine.wrap(function() while true do end end)",
  CLOSES_SLOWLY = "CLOSES_SLOWLY = function() local co = coroutine.create(function() local x <close> = setmetatable({}, "
    .. "{ __close = function() while true do end end }) coroutine.yield() end) coroutine.resume(co) return co end",
}

-- The text of a script in which BAD[name]() does it, and the line of each.
local function bad_script(tail)
  local lines, line_of = { "local BAD, LOOP, WRAPPED_LOOP, CLOSES_SLOWLY = {}" }, {}
  for name, text in pairs(LOADED) do
    lines[#lines + 1] = text
    line_of[name] = #lines
  end
  for _, bad in ipairs(BAD) do
    lines[#lines + 1] = ("BAD[%q] = function() %s end"):format(bad[1], bad[2])
    line_of[bad[1]] = #lines
  end
  lines[#lines + 1] = tail
  return table.concat(lines, "\n"), line_of
end

-- The place that the log must name for an entry of BAD.
local function place_of(bad, line_of)
  return ("bad.lua:%d:"):format(line_of[bad[3] or bad[1]])
end

-- Waits until the log, from byte `from` on, has a line with all of `texts`.
local function wait_log(server, from, ...)
  local texts = { ... }
  helper.eventually(function()
    for line in server:log():sub(from):gmatch("[^\n]+") do
      local all = true
      for _, text in ipairs(texts) do
        all = all and line:find(text, 1, true)
      end
      if all then return true end
    end
    error(("no line in the log has all of: %s\n%s"):format(table.concat(texts, ", "), server:log():sub(from)), 0)
  end)
end

-- Asserts the one answer to a script's failure. Returns the request's id.
local function assert_500(response)
  assert.equal(500, response.status)
  local id = response.body:match('^{"error":"internal error","request":"(%x+)"}$')
  assert.truthy(id, response.body)
  assert.equal("application/json", response.headers["content-type"])
  return id
end

local function query(path, pairs_list)
  return path .. "?" .. helper.http.query(pairs_list)
end

local ROUTES = [[
  routes = function(route)
    route:get("/ok", function() return 200, "ok" end)
    route:stream("/events", function(stream, request) stream:subscribe(request:query_all("channel")) end)
    route:post("/publish", function(request)
      local message = request:message()
      local id, subscribers = assert(sluice.publish(message.channel, message, request))
      return 200, { id = id, subscribers = subscribers }
    end)
    route:get("/metrics", function() return 200, (sluice.metrics("application/json")) end)
    %s
  end,
]]

local function metric(server, name)
  return json.decode(server:request("GET", "/metrics").body)[name]
end

describe("guarantee 7: a handler that does something bad gets 500 and harms no one else:", function()
  local server, line_of, bystander, said

  setup(function()
    local text
    text, line_of = bad_script("return {" .. ROUTES:format([[
      route:get("/bad", function(request) return 200, BAD[request:query("do")]() or "came through" end)
      route:stream("/bad-stream", function(stream, request)
        if request:query("begin") then stream:send("begun") end
        BAD[request:query("do")]()
      end)
    ]]) .. "}")
    server = helper.serve{ scripts = { ["bad.lua"] = text }, config = { workers = 1, limits = { script_ms = 30 } } }
    bystander = server:stream("/events?channel=all"):wait_open()
    said = 0
  end)

  teardown(helper.cleanup)

  -- The worker's other stream is open and gets what is published.
  local function assert_unharmed()
    said = said + 1
    server:publish("all", tostring(said))
    assert.equal(tostring(said), bystander:wait_messages(said)[said].data)
    assert.is_nil(bystander.ended)
  end

  for _, bad in ipairs(BAD) do
    it(bad[1], function()
      local from = #server:log() + 1
      local id = assert_500(server:request("GET", query("/bad", { { "do", bad[1] } })))
      wait_log(server, from, id, place_of(bad, line_of), "stack traceback")
      assert_unharmed()
    end)
  end

  it("an answer of a wrong kind", function()
    for _, script in ipairs{ "return 99", "return 200.5", "return true", "return 200, 5", "return 200, true", "return 200, 'x', 'y'",
      "return 200, 'x', { 'y' }", "return 200, 'x', { ['a b'] = 'y' }", "return 200, 'x', { ['Content-Length'] = '5' }", "return 200, 'x', { a = 'b\\n' }",
      "return 200, 'x', { a = {} }", "return function() end" } do
      local bad = helper.serve{ scripts = { ["bad.lua"] = "return {" .. ROUTES:format(("route:get('/bad', function() %s end)"):format(script)) .. "}" } }
      local id = assert_500(bad:request("GET", "/bad"))
      wait_log(bad, 1, id)
      assert.equal(200, bad:request("GET", "/ok").status, script)
      bad:stop()
    end
  end)

  for _, name in ipairs{ "error", "endless loop", "a table that grows", "yield to the server" } do
    it(name .. ", in a stream's handler", function()
      local response = server:request("GET", query("/bad-stream", { { "do", name } }))
      assert_500(response)
      local before = metric(server, "errors")
      local from = #server:log() + 1
      local stream = server:stream(query("/bad-stream", { { "do", name }, { "begin", "1" } }))
      assert.equal("chunk", stream:wait_end())
      assert.same({ "begun" }, stream:data())
      assert.is_true(metric(server, "errors") > before)
      wait_log(server, from, ("bad.lua:%d:"):format(line_of[name]))
      assert_unharmed()
    end)
  end
end)

describe("guarantee 7: a guard that fails, fails closed:", function()
  local server, line_of

  setup(function()
    local text
    text, line_of = bad_script([[
      return {
        on_request = function(request) local bad = request:query("request") if bad then BAD[bad]() end end,
        on_subscribe = function(stream, channel) if BAD[channel] then BAD[channel]() end end,
        on_publish = function(message) if BAD[message.data] then BAD[message.data]() end end,
      ]] .. ROUTES:format("") .. "}")
    server = helper.serve{ scripts = { ["bad.lua"] = text }, config = { limits = { script_ms = 30 } } }
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  for _, bad in ipairs(BAD) do
    it(bad[1], function()
      local from = #server:log() + 1
      local id = assert_500(server:request("GET", query("/ok", { { "request", bad[1] } })))
      wait_log(server, from, id, place_of(bad, line_of))
      id = assert_500(server:request("GET", query("/events", { { "channel", "fine" }, { "channel", bad[1] } })))
      wait_log(server, from, id, place_of(bad, line_of))

      local stream = server:stream("/events?channel=a"):wait_open()
      id = assert_500(server:request("POST", "/publish?channel=a", { body = bad[1] }))
      wait_log(server, from, id, place_of(bad, line_of))
      server:publish("a", "good")
      assert.same({ "good" }, stream:wait_messages(1) and stream:data())
    end)
  end
end)

describe("guarantee 7: a hook's answer of a wrong kind", function()
  after_each(helper.cleanup)

  for _, case in ipairs{
    { "on_request", { "false", "true", "5", "'x'", "{}" } },
    { "on_subscribe", { "5", "'x'", "{}", "function() end" } },
    { "on_publish", { "true", "5", "'x'", "{}", "{ data = 5 }", "{ data = 'x', event = 5 }", "{ data = 'x', channel = {} }" } },
  } do
    it(("of %s refuses"):format(case[1]), function()
      local script = [[
        local n = 0
        return {
          %s = function(subject)
            if type(subject) == "userdata" and tostring(subject):find("request") and not subject:query("n") then return end
            n = n + 1
            return select(n, %s)
          end,
      ]] .. ROUTES:format("") .. "}"
      local server = helper.serve{ scripts = { ["bad.lua"] = script:format(case[1], table.concat(case[2], ", ")) }, config = { workers = 1 } }
      for index = 1, #case[2] do
        local from = #server:log() + 1
        local id
        if case[1] == "on_publish" then
          id = assert_500(server:request("POST", "/publish?channel=a", { body = "x" }))
        else
          id = assert_500(server:request("GET", "/events?channel=a&n=1"))
        end
        if index <= 5 then wait_log(server, from, id, "bad.lua:3: " .. case[1]) end -- the rest is only counted
      end
    end)
  end

  it("of on_message or of a filter skips the message, of on_disconnect is told", function()
    local server = helper.serve{ scripts = { ["bad.lua"] = [[
      local ANSWERS = { number = 5, text = "x", yes = true, empty = {}, ["number as data"] = { data = 5 }, ["number as event"] = { data = "x", event = 5 } }
      return {
        on_message = function(message) return ANSWERS[message.data] end,
        on_disconnect = function() return "what for" end,
      ]] .. ROUTES:format("") .. "}" }, config = { workers = 1 } }
    local stream = server:stream("/events?channel=a"):wait_open()
    local skipped = metric(server, "messagesSkipped")
    for _, data in ipairs{ "number", "text", "yes", "empty", "number as data", "number as event" } do
      server:publish("a", data)
    end
    server:publish("a", "good")
    assert.same({ "good" }, stream:wait_messages(1) and stream:data())
    assert.equal(skipped + 6, metric(server, "messagesSkipped"))
    wait_log(server, 1, "bad.lua:3: on_message")
    stream:close()
    wait_log(server, 1, "bad.lua:4: on_disconnect")
  end)
end)

describe("guarantee 7: on_message, filter and on_disconnect", function()
  local server, line_of

  setup(function()
    local text
    text, line_of = bad_script([[
      return {
        on_message = function(message, stream)
          local bad = message.event == "hook" and BAD[message.data]
          if bad then bad() end
        end,
        on_disconnect = function(stream, reason)
          local bad = BAD[stream.user]
          if bad then bad() end
        end,
      ]] .. ROUTES:format([[
        route:stream("/filtered", function(stream)
          stream:subscribe("a", { filter = function(message)
            local bad = message.event == "filter" and BAD[message.data]
            if bad then bad() end
            return true
          end })
        end)
        route:stream("/leave", function(stream, request)
          request.user = request:query("do")
          stream:send("hello")
        end)
      ]]) .. "}")
    server = helper.serve{ scripts = { ["bad.lua"] = text }, config = { workers = 1, limits = { script_ms = 30 } } }
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  for _, bad in ipairs(BAD) do
    it(("that do something bad (%s) skip the message for that stream, nothing is sent unshaped"):format(bad[1]), function()
      local filtered = server:stream("/filtered"):wait_open()
      local plain = server:stream("/events?channel=a"):wait_open()
      local from, skipped, errors = #server:log() + 1, metric(server, "messagesSkipped"), metric(server, "errors")
      server:publish("a", bad[1], "filter")
      server:publish("a", bad[1], "hook")
      server:publish("a", "good", "hook")
      assert.same({ "good" }, filtered:wait_messages(1) and filtered:data())
      assert.same({ bad[1], "good" }, plain:wait_messages(2) and plain:data())
      wait_log(server, from, "skipped", place_of(bad, line_of))
      assert.equal(skipped + 3, metric(server, "messagesSkipped"))
      local after = metric(server, "errors")
      assert.is_true(after >= errors + 3) -- what fails may fail once more while it is closed
      assert.equal("chunk", server:stream(query("/leave", { { "do", bad[1] } })):wait_end())
      helper.eventually(function() return metric(server, "errors") > after end)
    end)
  end
end)

describe("guarantee 7: a hook that closes its own stream", function()
  after_each(helper.cleanup)

  it("ends it in an orderly way, wherever it does so", function()
    local server = helper.serve{ scripts = { ["bad.lua"] = [[
      return {
        on_subscribe = function(stream, channel) if channel == "close" then stream:close() end end,
        on_message = function(message, stream) if message.data == "close" then stream:close() end end,
        on_disconnect = function(stream) stream:close() end,
      ]] .. ROUTES:format([[
        route:stream("/filtered", function(stream)
          stream:subscribe("a", { filter = function(message) if message.data == "filter" then stream:close() end return true end })
        end)
        route:stream("/later", function(stream)
          stream:subscribe("a")
          sluice.sleep(0.001)
          stream:subscribe("close")
          sluice.sleep(60)
        end)
      ]]) .. "}" }, config = { workers = 1 } }
    local closed = server:stream("/events?channel=b&channel=close&channel=c")
    assert.equal("chunk", closed:wait_end())
    assert.equal(200, closed.status)
    assert.equal("chunk", server:stream("/later"):wait_end())

    local streams = {}
    for index = 1, 20 do
      streams[index] = server:stream(index % 2 == 0 and "/events?channel=a" or "/filtered"):wait_open()
    end
    server:publish("a", "first")
    server:publish("a", "filter")
    server:publish("a", "close")
    server:publish("a", "never seen")
    for index, stream in ipairs(streams) do
      assert.equal("chunk", stream:wait_end())
      assert.same(index % 2 == 0 and { "first", "filter" } or { "first" }, stream:data())
    end
    -- In the middle of a replay, too.
    local replayed = server:stream("/events?channel=a&last_event_id=earliest")
    assert.equal("chunk", replayed:wait_end())
    assert.same({ "first", "filter" }, replayed:data())
    helper.eventually(function() return metric(server, "activeConnections") == 0 end)
  end)
end)

describe("guarantee 7: a coroutine.wrap as handler", function()
  after_each(helper.cleanup)

  it("answers until it is dead, and then harms only itself", function()
    local server = helper.serve{ scripts = { ["bad.lua"] = "return {" .. ROUTES:format([[
      route:get("/wrapped", coroutine.wrap(function() coroutine.yield(200, "one") coroutine.yield(200, "two") end))
      route:get("/again", coroutine.wrap(function(request) while true do request = coroutine.yield(200, request.path) end end))
      route:stream("/stream", coroutine.wrap(function(stream) while true do stream:send("x") stream = coroutine.yield() end end))
      route:get("/sleeps", coroutine.wrap(function() sluice.sleep(1) end))
    ]]) .. "}" }, config = { workers = 1 } }
    assert.equal("one", server:request("GET", "/wrapped").body)
    assert.equal("two", server:request("GET", "/wrapped").body)
    assert.equal(204, server:request("GET", "/wrapped").status)
    assert_500(server:request("GET", "/wrapped"))
    for _ = 1, 3 do
      assert.equal("/again", server:request("GET", "/again").body)
      local stream = server:stream("/stream")
      assert.equal("chunk", stream:wait_end())
      assert.same({ "x" }, stream:data())
    end
    assert_500(server:request("GET", "/sleeps"))
    wait_log(server, 1, "coroutine of your own")
  end)
end)

describe("guarantee 7: a task that fails", function()
  after_each(helper.cleanup)

  it("is told, and an every goes on with its next round", function()
    local server = helper.serve{ scripts = { ["bad.lua"] = [[
      local n = 0
      sluice.every(0.01, function()
        n = n + 1
        sluice.publish("ticks", tostring(n))
        if n % 3 == 0 then error("third") end
        if n % 3 == 1 then while true do end end
      end)
      sluice.spawn(function() error("spawned") end)
      return {]] .. ROUTES:format("") .. "}" }, config = { workers = 1, limits = { script_ms = 20 } } }
    server:stream("/events?channel=ticks"):wait_messages(7)
    wait_log(server, 1, "a task failed", "bad.lua:5: third")
    wait_log(server, 1, "a task failed", "bad.lua:6:")
    wait_log(server, 1, "a task failed", "bad.lua:8: spawned")
  end)
end)

describe("guarantee 7: closing the variables of a handler whose client has left", function()
  after_each(helper.cleanup)

  it("may loop or fail, and may change what is shared", function()
    local server = helper.serve{ scripts = { ["bad.lua"] = [[
      local function closing(f) return setmetatable({}, { __close = f }) end
      return {]] .. ROUTES:format([[
        route:stream("/loops", function(stream)
          local x <close> = closing(function() while true do end end)
          stream:send("x") sluice.sleep(60)
        end)
        route:stream("/fails", function(stream)
          local x <close> = closing(function() error("not closed") end)
          stream:send("x") sluice.sleep(60)
        end)
        route:stream("/counts", function(stream)
          sluice.shared:incr("here")
          local x <close> = closing(function() sluice.shared:incr("here", -1) sluice.publish("left", "bye") stream:close() end)
          stream:send("x") sluice.sleep(60)
        end)
        route:get("/here", function() return 200, tostring(sluice.shared:get("here")) end)
      ]]) .. "}" }, config = { workers = 1, limits = { script_ms = 20 } } }
    local left = server:stream("/events?channel=left"):wait_open()
    local streams = {}
    for index, path in ipairs{ "/loops", "/fails", "/counts", "/counts" } do
      streams[index] = server:stream(path)
      streams[index]:wait_messages(1)
    end
    assert.equal("2", server:request("GET", "/here").body)
    for _, stream in ipairs(streams) do
      stream:close()
    end
    left:wait_messages(2)
    helper.eventually(function() return server:request("GET", "/here").body == "0" end)
    wait_log(server, 1, "bad.lua:12:", "time")
    wait_log(server, 1, "bad.lua:16: not closed")
    assert.equal(200, server:request("GET", "/ok").status)
  end)
end)

describe("guarantee 7: the log", function()
  after_each(helper.cleanup)

  it("is not flooded by one error that clients cause again and again", function()
    local server = helper.serve{ scripts = { ["bad.lua"] = "return {" .. ROUTES:format([[
      route:get("/bad", function() error("the same again") end)
      route:get("/other", function() error("something else") end)
    ]]) .. "}" }, config = { workers = 1 } }
    local connection = server:connect()
    for _ = 1, 20 do
      local requests = {}
      for index = 1, 50 do
        requests[index] = { "GET", "/bad" }
      end
      for _, response in ipairs(helper.http.pipeline(connection, requests)) do
        assert_500(response)
      end
    end
    assert_500(server:request("GET", "/other"))
    wait_log(server, 1, "something else")
    local _, count = server:log():gsub("the same again\\nstack", "")
    assert.is_true(count >= 1 and count <= 10, count .. " of 1000 are told")
    assert.equal(1001, metric(server, "errors"))
    helper.eventually(function() return server:log():find("bad.lua:%d+: %d+ more like it within") end, 15)
    local hidden = tonumber(server:log():match("(%d+) more like it"))
    assert.equal(1000, count + hidden)
  end)
end)

describe("guarantee 7: scripts that keep memory for ever", function()
  after_each(helper.cleanup)

  it("cost their worker a fresh state, not the server its life", function()
    local server = helper.serve{ scripts = {
      ["bad.lua"] = [[
        local helper = require "lib.helper"
        local kept = {}
        local state = tostring(kept)
        sluice.every(0.02, function() sluice.publish("ticks", state) end)
        return {
          on_message = function(message) if message.channel == "shaped" then return { data = helper.shape(message.data) } end end,
        ]] .. ROUTES:format([[
          route:post("/keep", function() kept[#kept + 1] = ("x"):rep(1024 * 1024) return 200, tostring(#kept) end)
          route:get("/state", function() return 200, state end)
          route:stream("/handler", function(stream) stream:subscribe("a") while true do stream:comment("here") sluice.sleep(0.01) end end)
          route:stream("/filtered", function(stream) stream:subscribe("a", { filter = function() return true end }) end)
          route:get("/waits", function() sluice.sleep(60) end)
        ]]) .. "}",
      ["lib/helper.lua"] = "return { shape = function(data) return 'shaped ' .. data end }",
    }, config = { workers = 1, limits = { script_bytes = 16 * 1024 * 1024 } } }
    local before = server:request("GET", "/state").body
    local plain = server:stream("/events?channel=a&channel=shaped"):wait_open()
    local handler = server:stream("/handler"):wait_open()
    local filtered = server:stream("/filtered"):wait_open()
    local waits = server:stream("/waits")
    local ticks = server:stream("/events?channel=ticks"):wait_open()
    server:publish("a", "1")
    handler:wait_messages(1)

    local kept = 0
    helper.eventually(function()
      kept = kept + 1
      assert.equal(200, server:request("POST", "/keep", { body = "" }).status)
      return server:request("GET", "/state").body ~= before
    end)
    assert.is_true(kept > 10 and kept < 20, kept .. " MiB were kept")
    wait_log(server, 1, "begins anew", "limits.script_bytes")

    -- Who holds Lua comes back, who does not stays.
    assert.equal("chunk", handler:wait_end())
    assert.equal("chunk", filtered:wait_end())
    assert.equal("length", waits:wait_end())
    assert.equal(503, waits.status)
    assert.equal("1", waits.headers["retry-after"])
    server:publish("a", "2")
    server:publish("shaped", "3")
    assert.same({ "1", "2", "shaped 3" }, plain:wait_messages(3) and plain:data())
    local again = server:stream("/handler", { last_event_id = handler:last_event_id() })
    assert.equal("2", again:wait_messages(1)[1].data)
    -- Tasks begin anew, once.
    local now = server:request("GET", "/state").body
    local changed
    ticks:wait_messages(function(messages)
      for index, message in ipairs(messages) do
        changed = changed or message.data == now and index
      end
      return changed and #messages > changed + 10
    end)
    for index = changed, changed + 10 do
      assert.equal(now, ticks:messages()[index].data)
    end
    assert.equal(1, json.decode(server:request("GET", "/metrics").body).generation)
    assert.equal("1", server:request("POST", "/keep", { body = "" }).body)
  end)

  it("are not in force at all where loading alone is too much", function()
    local child = helper.launch{ scripts = { ["bad.lua"] = [[
      KEPT = {}
      for i = 1, 20 do KEPT[i] = ("x"):rep(1024 * 1024) end
      return { on_publish = function() KEPT[1] = nil end }
    ]] }, config = { limits = { script_bytes = 16 * 1024 * 1024 } } }
    assert.equal(1, child:wait(helper.TEST_TIMEOUT))
    assert.truthy(child:errors():find("limits.script_bytes", 1, true), child:errors())
  end)
end)

describe("guarantee 7: a C call that does not end", function()
  after_each(helper.cleanup)

  it("is named in the log and in /health, and the other workers go on", function()
    local server = helper.serve{ scripts = { ["bad.lua"] = "return {" .. ROUTES:format([[
      -- Too few instructions for the budget to look at the clock: the time goes into calls of C.
      route:get("/slow", function()
        local until_s = os.time() + 4
        while os.time() < until_s do ("a"):rep(500):find((".-"):rep(2) .. "b") end
        return 200, "slow"
      end)
      route:get("/health", function() local body, status = sluice.health(true) return status, body end)
    ]]) .. "}" } }
    local slow = server:stream("/slow")
    -- New connections go to either worker: those that the stuck one gets are not answered.
    local function health()
      local stream = server:stream("/health")
      pcall(stream.wait_end, stream, 0.2)
      return stream.status and json.decode(stream:body()), stream
    end
    local found = helper.eventually(function()
      local body = health()
      return body and body.status == "degraded" and body
    end)
    assert.equal(1, #found.stuck)
    assert.is_true(found.stuck[1].seconds >= 1)
    assert.equal("in a handler", found.stuck[1].where)
    wait_log(server, 1, ("worker %d has been busy"):format(found.stuck[1].worker), "in a handler")
    slow:wait_end()
    helper.eventually(function()
      local body = health()
      return body and body.status == "ok" and body.stuck == nil
    end)
    wait_log(server, 1, ("worker %d goes on"):format(found.stuck[1].worker))
  end)
end)

describe("guarantee 7: a script that is bad while it loads", function()
  after_each(helper.cleanup)

  local CASES = {
    { "a syntax error", "return {\n  routes = function(\n}", "bad.lua:3: " },
    { "an error", "\nerror('boom')", "bad.lua:2: boom" },
    { "an error without a position", "\n\nerror('boom', 0)", "bad.lua:3: boom" },
    { "an error that is no text", "\nerror({})", "bad.lua:2: " },
    { "an endless loop", "local n = 1\n\nwhile true do n = n + 1 end", "bad.lua:3: the script has used up its time" },
    { "an endless loop in a module", "require 'lib.loop'", "lib/loop.lua:2: the script has used up its time" },
    { "an error in a module", "require 'lib.fails'", "lib/fails.lua:1: not today" },
    { "a module that is not there", "\nrequire 'lib.none'", "bad.lua:2: module 'lib.none' not found" },
    { "endless recursion", "local function f()\n  return 1 + f()\nend\nf()", "bad.lua:2: " },
    { "too much memory", "\nlocal s = ('x'):rep(1e9)", "bad.lua:2: not enough memory" },
    { "an answer that is no table", "return 5", "bad.lua: a script returns a table" },
    { "an unknown field", "return { on_reqest = function() end }", "bad.lua: unknown field 'on_reqest'" },
    { "a hook that is no function", "return { on_publish = {} }", "bad.lua: on_publish must be a function" },
    { "a publish", "\nsluice.publish('a', 'x')", "bad.lua:2: sluice.publish cannot be called while loading" },
    { "a sleep", "\nsluice.sleep(1)", "bad.lua:2: sluice.sleep cannot be called while loading" },
    { "a change of what is shared", "\nsluice.shared:set('a', 1)", "bad.lua:2: sluice.shared.set cannot be called while loading" },
    { "a yield", "\ncoroutine.yield()", "bad.lua:2: " },
    { "an error in routes", "return { routes = function(route)\n  route:get('no slash', function() end)\nend }", "bad.lua:2: " },
  }
  local MODULES = { ["lib/loop.lua"] = "local n = 0\nwhile true do n = n + 1 end", ["lib/fails.lua"] = "error('not today')" }

  local function scripts(text)
    local files = { ["good.lua"] = "return {" .. ROUTES:format("") .. "}", ["bad.lua"] = text }
    for name, module in pairs(MODULES) do
      files[name] = module
    end
    return files
  end

  it("ends the start with one clear line and status 1", function()
    for _, case in ipairs(CASES) do
      local child = helper.launch{ scripts = scripts(case[2]) }
      assert.equal(1, child:wait(helper.TEST_TIMEOUT), case[1])
      local lines = child:errors()
      assert.equal(1, select(2, lines:gsub("\n", "")), lines)
      assert.equal("sluice: " .. case[3], lines:sub(1, #case[3] + 8), lines)
      assert.equal("", child:output())
    end
  end)

  it("is refused in a reload, with the old scripts in force", function()
    local server = helper.serve{ scripts = scripts("return {}"), config = { workers = 2 } }
    local health = [[
      return { routes = function(route) route:get("/health", function() local body, status = sluice.health(true) return status, body end) end }
    ]]
    helper.process.write_file(server.dir .. "/scripts/health.lua", health)
    local function state()
      local response = server:request("GET", "/health")
      return response.status == 200 and json.decode(response.body)
    end
    helper.eventually(function() return state() and state().generation == 2 end)
    local stream = server:stream("/events?channel=a"):wait_open()
    for index, case in ipairs(CASES) do
      helper.process.write_file(server.dir .. "/scripts/bad.lua", case[2])
      local found = helper.eventually(function()
        local now = state()
        assert.equal(index, metric(server, "reloadErrors"))
        local why = now.reload_error ~= json.null and now.reload_error
        local text = why and (why.line > 0 and ("%s:%d: %s"):format(why.file, why.line, why.message) or ("%s: %s"):format(why.file, why.message))
        assert.equal(case[3], text and text:sub(1, #case[3]))
        return now
      end)
      assert.equal("degraded", found.status)
      assert.equal(2, found.generation)
      assert.truthy(found.reload_error.at:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$"))
      wait_log(server, 1, "refused, generation 2 stays: " .. case[3])
    end
    helper.process.write_file(server.dir .. "/scripts/bad.lua", "return {}")
    helper.eventually(function() return state().reload_error == json.null end)
    assert.equal("ok", state().status)
    assert.equal(3, state().generation)
    server:publish("a", "still here")
    assert.equal("still here", stream:wait_messages(1)[1].data)
  end)
end)
