-- SPDX-License-Identifier: MIT
-- Calls of the core fail one by one, allocations (the core's own and Lua's) and those on sockets, while a server starts, serves, reloads and leaves. It may
-- then refuse to start, with one line, or fail the request or stream that the call was for; it may not crash, leak, or leave anything stuck.
-- Here a sample is tried, for some seconds; FAULTS=all tries all. FAULTS_SEED repeats a sample.
local faults = require("spec.support.faults")
local helper = require("spec.helper")
local session = require("spec.support.session")
local socket = require("socket")

local ALL = os.getenv("FAULTS") == "all"
local SEED = math.tointeger(tonumber(os.getenv("FAULTS_SEED"))) or os.time()
local WARM_UP = 5 -- sessions
local MARGIN = 20 -- by how many calls runs differ
local PARTIAL = { 1, 2, 3 } -- what is tried in any case

local function options(control)
  return control:options(session.options())
end

-- A server under control after so many sessions that each further one asks for about the same.
local function serve(control)
  local server = helper.serve(options(control))
  for _ = 1, WARM_UP do
    session.serve(server, function() end)
  end
  return server
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

-- Has calls of a kind fail, one in each run of `work`, for so many seconds where not all are tried. A run may have `allowed` failures.
local function try(server, control, kind, error_name, times, work, seconds, allowed)
  local before = control:state(kind)
  work(server, function() end)
  local after = control:state(kind)
  local deadline = socket.gettime() + seconds
  local reached = 0
  for n in numbers(after - before + MARGIN) do
    control:arm(kind, n, error_name, times)
    local done = false
    local function settle()
      if not done and control:disarm(kind, times) then
        reached = reached + 1
      end
      done = true
    end
    local ok, result = pcall(work, server, settle)
    settle()
    if not ok or not server.process:is_running() or #result > allowed then
      local what = ok and table.concat(result, "\n") or tostring(type(result) == "table" and result.message or result)
      error(("%s number %d, %s, seed %d: %s\n%s"):format(kind, n, error_name, SEED, what, server:log():sub(-6000)), 0)
    end
    if not ALL and socket.gettime() > deadline then
      break
    end
  end
  assert(reached > 0, "no call has failed: is build/faults the build that it should be?")
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

describe(("faults of memory (FAULTS_SEED=%d)"):format(SEED), function()
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
      local server = serve(control)
      try(server, control, kind, "ENOMEM", times, session.serve, 4, 1)
      no_panic(leave(server))
    end)

    it("of " .. kind .. " during a reload leave the old scripts in force", function()
      local server = serve(control)
      try(server, control, kind, "ENOMEM", times, session.reload, 2, 0)
      no_panic(leave(server))
    end)

    it("of " .. kind .. " at the start end it with one line, or do no harm", function()
      local first = control:state(kind)
      local server = helper.serve(options(control))
      local last = control:state(kind)
      leave(server)
      local deadline = socket.gettime() + 3
      for n in numbers(last - first + MARGIN) do
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
      local clients = session.of(server)
      clients.open("/events?channel=a"):wait_open()
      clients.open("/filtered?channel=a"):wait_open()
      control:arm("malloc", n, "ENOMEM")
      no_panic(leave(server))
      control:disarm("malloc")
      if not ALL and socket.gettime() > deadline then
        break
      end
    end
  end)

end)

describe(("faults of the system (FAULTS_SEED=%d)"):format(SEED), function()
  local control, server

  setup(function()
    math.randomseed(SEED)
    control = faults.new()
    server = serve(control)
  end)

  teardown(helper.cleanup)

  -- What the system says when nothing is wrong: clients do not notice.
  for _, case in ipairs{
    { "send", "SHORT" }, { "send", "EAGAIN", 20 }, { "send", "EINTR" }, { "send", "ENOBUFS" }, { "recv", "SHORT" },
    { "recv", "EAGAIN", 20 }, { "recv", "EINTR" }, { "accept", "EINTR" }, { "accept", "EAGAIN", 20 }, { "accept", "ECONNABORTED" },
    { "accept", "EMFILE" }, { "accept", "ENOMEM" }, { "epoll_wait", "EINTR" }, { "epoll_wait", "SHORT", 1000 },
  } do
    local kind, name, times = case[1], case[2], case[3]
    it(("of %s by %s are not noticed"):format(kind, name), function()
      try(server, control, kind, name, times, session.serve, 0.4, 0)
    end)
  end

  for _, case in ipairs{ { "send", "ECONNRESET" }, { "send", "EPIPE" }, { "recv", "ECONNRESET" }, { "recv", "ETIMEDOUT" }, { "epoll_ctl", "ENOMEM" },
    { "epoll_ctl", "ENOSPC" } } do
    local kind, name = case[1], case[2]
    it(("of %s by %s cost one connection at most"):format(kind, name), function()
      try(server, control, kind, name, 1, session.serve, 0.5, 1)
    end)
  end

  it("leave a server that ends as it should", function()
    leave(server)
  end)
end)
