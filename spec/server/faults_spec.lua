-- SPDX-License-Identifier: MIT
-- Calls of the core fail one by one, allocations (the core's own and Lua's) and those on sockets, while a server starts, serves, reloads and leaves. It may
-- then refuse to start, with one line, or fail the request or stream that the call was for; it may not crash, leak, or leave anything stuck.
-- Here a sample is tried, for some seconds; FAULTS=all tries all. FAULTS_SEED repeats a sample.
local faults = require("spec.support.faults")
local helper = require("spec.helper")
local socket = require("socket")

local ALL = os.getenv("FAULTS") == "all"
local SEED = math.tointeger(tonumber(os.getenv("FAULTS_SEED"))) or os.time()
local CHANNEL = "a b"
local PARTIAL = { 1, 2, 3 } -- what is tried in any case

local SCRIPTS = {
  ["extra.lua"] = [[
local seen = 0
sluice.every(3600, function() seen = 0 end)
return {
  name = "extra",
  priority = 10,
  on_request = function(request)
    sluice.shared.incr("requests")
    request.user = request:query("user") or request:cookie("user")
    request:respond_header("X-Seen", tostring(seen))
  end,
  on_publish = function(message)
    if message.event == "shout" then message.data = message.data:upper() end
    return message
  end,
  on_message = function(message, stream)
    if message.event == "shaped" then message.data = message.data .. " for " .. tostring(stream.user) end
    return message
  end,
  on_disconnect = function(_, reason)
    seen = seen + 1
    sluice.shared.set("left", reason)
  end,
  routes = function(route)
    route:stream("/ticks", function(stream)
      for n = 1, 3 do
        stream:send{ event = "tick", data = { n = n, text = ("x"):rep(40) } }
        sluice.sleep(0.001)
      end
    end)
    route:stream("/filtered", function(stream, request)
      stream:subscribe(request:query_all("channel"), { filter = function(message) return message.data ~= "no" end })
    end)
    route:post("/json", function(request) return 200, request:json() end)
  end,
}
]],
}

local CONFIG = { workers = 1, drain = 0.3, limits = { queue_bytes = 65536 }, channels = { ["big"] = { slow = "drop_oldest" } } }

local function options(control)
  return control:options{ config = CONFIG, scripts = SCRIPTS, defaults = true }
end

-- --- what a session does ----------------------------------------------------------------------------

-- A run of steps, each of which may fail: `failures` says how. A step that waits in vain is stuck, and that is an error.
local function session_of(server)
  local failures, streams = {}, {}
  local session = { failures = failures, streams = streams }
  local function failed(...)
    failures[#failures + 1] = (...):format(select(2, ...))
  end

  -- One request on a connection of its own; the answer, or nil.
  function session.request(method, target, request_options)
    local ok, response = pcall(server.request, server, method, target, request_options)
    if not ok and tostring(response):find("timeout", 1, true) then
      error(("%s %s is stuck: %s"):format(method, target, response), 0)
    elseif not ok then
      failed("%s %s: %s", method, target, response)
    elseif response.status ~= 200 then
      failed("%s %s: %d %s", method, target, response.status, response.body)
      return nil
    end
    return ok and response or nil
  end

  function session.publish(channel, event, data)
    local body = helper.json.encode({ channel = channel, event = event, data = data })
    return session.request("POST", "/publish?user=%41nn", { body = body, headers = { ["Content-Type"] = "application/json" } })
  end

  function session.open(target, stream_options)
    local ok, stream = pcall(server.stream, server, target, stream_options)
    if not ok then
      failed("%s: %s", target, stream)
      return
    end
    streams[#streams + 1] = stream
    stream:wait_head()
    if stream.status ~= 200 then
      failed("%s: %s", target, stream:describe())
    end
    return stream
  end

  -- Waits until each stream that is open has the last word, or ends.
  function session.await(word)
    for _, stream in ipairs(streams) do
      helper.sse.wait_for({ stream }, function()
        local last = stream.events[#stream.events]
        return stream.ended or (last and last.data:find(word, 1, true))
      end)
      if stream.ended and stream.failure then
        error("a broken stream: " .. stream:describe(), 0)
      elseif stream.ended and stream.ended ~= "chunk" then
        failed("%s", stream:describe())
      end
    end
  end

  function session.close()
    for _, stream in ipairs(streams) do
      stream:close()
    end
  end
  return session
end

-- Everything that clients do. `settle` is called before what must succeed. Returns the list of what failed.
local function serve_clients(server, settle)
  local session = session_of(server)
  local query = "?channel=a%20b&channel=big&user=%42ob"
  session.publish(CHANNEL, "shout", "first")
  session.publish(CHANNEL, nil, { nested = { 1, 2, "three" } })
  session.open("/events" .. query .. "&last_event_id=%65arliest")
  session.open("/filtered" .. query, { headers = { Cookie = "user=carl" }, last_event_id = "1-1" })
  session.open("/events?channel=big", { receive_buffer = 2048 })
  local ticks = session.open("/ticks")
  for n = 1, 4 do
    session.publish("big", "shaped", n .. (" "):rep(40000))
  end
  session.request("POST", "/json", { body = '{"a":[1,2,{"b":"\\u00e9"}]}', headers = { ["Content-Type"] = "application/json" } })
  session.request("GET", "/metrics")
  session.publish(CHANNEL, nil, "no")
  if ticks then
    ticks:wait_end()
    if ticks.ended ~= "chunk" or #ticks:messages() ~= 3 then
      session.failures[#session.failures + 1] = ticks:describe()
    end
  end
  settle()
  assert.is_not_nil(session.publish(CHANNEL, nil, "the last word"), table.concat(session.failures, "\n"))
  assert.is_not_nil(session.publish("big", nil, "the last word"), table.concat(session.failures, "\n"))
  session.await("the last word")
  session.close()
  return session.failures
end

local function health(server)
  return helper.eventually(function()
    local response = server:request("GET", "/health")
    return response.status == 200 and helper.json.decode(response.body)
  end)
end

-- A reload that may fail, but comes to an end; the one after it succeeds.
local function reload(server, settle)
  local before = health(server)
  local function answered()
    local now = health(server)
    return now.generation > before.generation or (now.reload_error ~= helper.json.null and now)
  end
  local function again()
    server:signal("HUP")
    return helper.eventually(function()
      return health(server).generation > before.generation
    end)
  end
  server:signal("HUP")
  helper.eventually(answered, nil, "a reload's end")
  settle()
  if health(server).generation == before.generation then
    again()
  end
  return {}
end

-- --- trying -------------------------------------------------------------------------------------------

-- Which of `count` calls are to fail: all, or a sample without end.
local function numbers(count)
  local n = 0
  return function()
    n = n + 1
    if ALL then
      return n <= count and n or nil
    end
    return PARTIAL[n] or math.random(count)
  end
end

-- Has calls of a kind fail, one in each run of `work`, for at most so many seconds. Returns the number of runs.
local function try(server, control, kind, error_name, times, work, seconds, check)
  local _, before = control:state(kind)
  work(server, function() end)
  local _, after = control:state(kind)
  local deadline = socket.gettime() + seconds
  local runs = 0
  for n in numbers(after - before + 5) do
    control:arm(kind, n, error_name, times)
    local settled = false
    local function settle()
      settled = true
      control:disarm(kind)
    end
    local ok, result = pcall(work, server, settle)
    settle()
    if not ok or not server.process:is_running() then
      error(("%s number %d, %s, seed %d: %s\n%s"):format(kind, n, error_name, SEED, tostring(type(result) == "table" and result.message or result),
        server:log():sub(-6000)), 0)
    end
    assert(settled)
    check(result, n)
    runs = runs + 1
    if not ALL and socket.gettime() > deadline then
      break
    end
  end
  return runs
end

local function accept_failures() end

local function refuse_failures(failures, n)
  assert(#failures == 0, ("call number %d: %s"):format(n, table.concat(failures, "\n")))
end

-- SIGTERM ends it in time, with status 0, and nothing has leaked (or its status would be the sanitizer's).
local function leave(server)
  server:signal("TERM")
  local status = server:wait()
  assert(status == 0, ("status %s, seed %d:\n%s"):format(status, SEED, server:log():sub(-6000)))
  return server:log()
end

local function no_panic(log)
  assert(not log:find("PANIC", 1, true) and not log:find("Assertion", 1, true), log:sub(-6000))
end

describe(("faults (FAULTS_SEED=%d)"):format(SEED), function()
  local control

  before_each(function()
    math.randomseed(SEED)
    control = faults.new()
  end)

  after_each(helper.cleanup)

  for _, kind in ipairs{ "malloc", "lua" } do
    -- Lua collects and tries again: two in a row are one failure.
    local times = kind == "lua" and 2 or 1

    it("of " .. kind .. " while clients are served cost one request or stream at most", function()
      local server = helper.serve(options(control))
      try(server, control, kind, "ENOMEM", times, serve_clients, kind == "lua" and 6 or 4, accept_failures)
      no_panic(leave(server))
    end)

    it("of " .. kind .. " during a reload leave the old scripts in force", function()
      local server = helper.serve(options(control))
      try(server, control, kind, "ENOMEM", times, reload, kind == "lua" and 4 or 2, accept_failures)
      no_panic(leave(server))
    end)

    it("of " .. kind .. " at the start end it with one line, or do no harm", function()
      local _, first = control:state(kind)
      local server = helper.serve(options(control))
      local _, last = control:state(kind)
      leave(server)
      local deadline = socket.gettime() + 4
      for n in numbers(last - first + 5) do
        control:arm(kind, n, "ENOMEM", times)
        local child = helper.launch(options(control))
        local port
        helper.eventually(function()
          port = child:output():match("sluice: listening on http://[^\n]-:(%d+)\n")
          return port or not child:is_running()
        end, nil, "ready, or not")
        control:disarm(kind)
        if port then
          assert.are.equal(200, helper.http.request(tonumber(port), "GET", "/health").status)
          child:signal("TERM")
          assert.are.equal(0, child:wait(helper.TEST_TIMEOUT), child:errors())
        else
          assert.are.equal(1, child:wait(1), child:errors())
          local last_line = child:errors():match("([^\n]*)\n$")
          assert(last_line and last_line:find("^sluice: "), ("%s number %d: %s"):format(kind, n, child:errors()))
        end
        no_panic(child:errors())
        if not ALL and socket.gettime() > deadline then
          break
        end
      end
    end)
  end

  it("of malloc while it leaves do not keep it", function()
    local deadline = socket.gettime() + 3
    for n in numbers(40) do
      local server = helper.serve(options(control))
      local session = session_of(server)
      session.open("/events?channel=a"):wait_open()
      session.open("/filtered?channel=a"):wait_open()
      control:arm("malloc", n, "ENOMEM")
      no_panic(leave(server))
      control:disarm("malloc")
      if not ALL and socket.gettime() > deadline then
        break
      end
    end
  end)

  -- What the system says when nothing is wrong: clients do not notice.
  for _, case in ipairs{
    { "send", "SHORT" }, { "send", "EAGAIN", 20 }, { "send", "EINTR" }, { "send", "ENOBUFS" }, { "recv", "SHORT" },
    { "recv", "EAGAIN", 20 }, { "recv", "EINTR" }, { "accept", "EINTR" }, { "accept", "EAGAIN", 20 }, { "accept", "ECONNABORTED" },
    { "accept", "EMFILE" }, { "accept", "ENOMEM" }, { "epoll_wait", "EINTR" }, { "epoll_wait", "SHORT", 1000 },
  } do
    local kind, name, times = case[1], case[2], case[3]
    it(("of %s by %s are not noticed"):format(kind, name), function()
      local server = helper.serve(options(control))
      try(server, control, kind, name, times, serve_clients, 0.4, refuse_failures)
      leave(server)
    end)
  end

  for _, case in ipairs{ { "send", "ECONNRESET" }, { "send", "EPIPE" }, { "recv", "ECONNRESET" }, { "recv", "ETIMEDOUT" }, { "epoll_ctl", "ENOMEM" },
    { "epoll_ctl", "ENOSPC" } } do
    local kind, name = case[1], case[2]
    it(("of %s by %s cost one connection at most"):format(kind, name), function()
      local server = helper.serve(options(control))
      try(server, control, kind, name, 1, serve_clients, 0.5, accept_failures)
      leave(server)
    end)
  end
end)
