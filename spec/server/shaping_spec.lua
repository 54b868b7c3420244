-- SPDX-License-Identifier: MIT
-- What a message looks like, and who gets it: on_publish, on_message, the filters of stream:subscribe, and the default shape.lua.
local helper = require("spec.helper")
local http, json, process = helper.http, helper.json, helper.process

local SCRIPT = [[
  local function publish(message)
    local channel = message.channel
    if channel == "renamed" then
      message.event = "new." .. (message.event or "none")
      return message
    elseif channel == "moved" then
      return { channel = "elsewhere", event = message.event, data = message.data }
    elseif channel == "redacted" then
      message.data = message.data:gsub("%d%d%d%d", "****")
      return message
    elseif channel == "enriched" then
      return { channel = channel, data = ('{"text":%s,"length":%d}'):format(sluice.json.encode(message.data), #message.data) }
    elseif channel == "refused" then
      return false, "not today"
    elseif channel == "rejected" then
      return sluice.reject(409, "a conflict", { ["Retry-After"] = "7" })
    elseif channel == "changed in place" then
      message.data = "changed" -- and not returned: it goes on unchanged
    elseif channel == "bad data" then
      return { channel = channel, data = 5 }
    elseif channel == "bad event" then
      return { channel = channel, data = "x", event = "a\nb" }
    elseif channel == "bad answer" then
      return "text"
    elseif channel == "broken" then
      error("on purpose")
    end
  end

  return {
    on_request = function(request) request.user = request:query("user") end,
    on_publish = publish,

    routes = function(route)
      route:post("/publish", function(request)
        local message = assert(request:message())
        local id, why, status = sluice.publish(message.channel, message, request)
        if id then return 200, { id = id } end
        return type(why) == "table" and why or sluice.reject(status, why)
      end)
      route:stream("/events", function(stream, request)
        stream:subscribe(request:query_all("channel"))
      end)
      route:stream("/filtered", function(stream, request)
        local options = load("return " .. request:query("options"))()
        stream:subscribe(request:query_all("channel"), options)
      end)
      route:get("/calls", function() return tostring(sluice.shared:get("calls") or 0) end)
    end,
  }]]

local ON_MESSAGE = [[
  return {
    priority = 5,
    on_message = function(message, stream)
      sluice.shared:incr("calls")
      local channel = message.channel
      if channel == "shared secret" then
        if stream.user ~= "admin" then message.data = message.data:gsub("secret", "******") end
        return message
      elseif channel == "skipped" then
        if message.data:find("skip", 1, true) then return false end
      elseif channel == "ended" then
        if message.data == "end" then stream:close() end
      elseif channel == "renamed for each" then
        return { event = stream.user, data = message.data .. " for " .. tostring(stream.user) .. " as " .. message.id }
      elseif channel == "two scripts" then
        message.data = message.data .. " first"
        return message
      elseif channel == "bad shape" and message.data ~= "good" then
        return load("return " .. message.data)()
      elseif channel == "broken shape" and message.data ~= "good" then
        error("on purpose")
      end
    end,
  }]]

local SECOND = [[
  return {
    priority = 4,
    on_message = function(message)
      if message.channel == "two scripts" then
        message.data = message.data .. " second"
        return message
      end
    end,
  }]]

local function publish(server, channel, data, event)
  local query = { { "channel", channel }, event and { "event", event } }
  return server:request("POST", "/publish?" .. http.query(query), { body = data, headers = { ["Content-Type"] = "text/plain" } })
end

local function events_of(stream, count)
  local list = {}
  for index, message in ipairs(stream:wait_messages(count)) do list[index] = { message.event, message.data } end
  return list
end

local function open(server, path, channels, more)
  local query = more or {}
  for _, channel in ipairs(channels) do query[#query + 1] = { "channel", channel } end
  return server:stream(path .. "?" .. http.query(query))
end

describe("on_publish", function()
  local server

  setup(function() server = helper.serve{ scripts = { ["shape.lua"] = SCRIPT } } end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  -- channel, event, data; what a stream gets
  local SHAPES = {
    { "renamed", "note", "x", { "new.note", "x" } },
    { "renamed", nil, "x", { "new.none", "x" } },
    { "redacted", "card", "4711 and 0815", { "card", "**** and ****" } },
    { "enriched", "note", "four", { "message", '{"text":"four","length":4}' } },
    { "changed in place", nil, "x", { "message", "x" } },
    { "untouched", "note", "line\nline", { "note", "line\nline" } },
  }

  for _, case in ipairs(SHAPES) do
    local channel, event, data, expected = table.unpack(case, 1, 4)
    it(("shapes what is %s (%s) once, for live streams and for replay"):format(channel, event or "no type"), function()
      local live = open(server, "/events", { channel }):wait_open()
      assert.equal(200, publish(server, channel, data, event).status)
      assert.same({ expected }, events_of(live, 1))
      local replayed = open(server, "/events", { channel }, { { "last_event_id", "earliest" } }):wait_messages(1)
      assert.equal(live:messages()[1].data, replayed[#replayed].data)
      assert.equal(live:messages()[1].id, replayed[#replayed].id)
    end)
  end

  it("may send a message to another channel", function()
    local streams = { open(server, "/events", { "elsewhere" }):wait_open(), open(server, "/events", { "moved" }):wait_open() }
    assert.equal(200, publish(server, "moved", "a", "t").status)
    assert.same({ { "t", "a" } }, events_of(streams[1], 1))
    publish(server, "elsewhere", "b")
    assert.same({ { "t", "a" }, { "message", "b" } }, events_of(streams[1], 2))
    assert.same({}, streams[2]:messages())
  end)

  -- channel, status, error, further
  local REFUSALS = {
    { "refused", 403, "not today" },
    { "rejected", 409, "a conflict" },
    { "bad event", 400, nil },
    { "bad data", 500, "internal error" },
    { "bad answer", 500, "internal error" },
    { "broken", 500, "internal error" },
  }

  for _, case in ipairs(REFUSALS) do
    local channel, status, message = table.unpack(case, 1, 3)
    it(("answers %d for what is %s, and sends nothing"):format(status, channel), function()
      local stream = open(server, "/events", { channel, "end" }):wait_open()
      local response = publish(server, channel, "x")
      assert.equal(status, response.status)
      if message then assert.equal(message, json.decode(response.body).error) end
      if status == 409 then assert.equal("7", response.headers["retry-after"]) end
      publish(server, "end", "end")
      assert.same({ { "message", "end" } }, events_of(stream, 1))
    end)
  end
end)

describe("on_message", function()
  local server

  setup(function()
    server = helper.serve{ scripts = { ["shape.lua"] = SCRIPT, ["message.lua"] = ON_MESSAGE, ["second.lua"] = SECOND } }
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  local function user(name)
    return { { "user", name } }
  end

  local function replay(name)
    return { { "user", name }, { "last_event_id", "earliest" } }
  end

  it("redacts for one user and not for another, replay too", function()
    local admin = open(server, "/events", { "shared secret" }, user("admin")):wait_open()
    local guest = open(server, "/events", { "shared secret" }, user("guest")):wait_open()
    publish(server, "shared secret", "the secret is 5")
    assert.same({ { "message", "the secret is 5" } }, events_of(admin, 1))
    assert.same({ { "message", "the ****** is 5" } }, events_of(guest, 1))
    assert.same({ { "message", "the secret is 5" } }, events_of(open(server, "/events", { "shared secret" }, replay("admin")), 1))
    assert.same({ { "message", "the ****** is 5" } }, events_of(open(server, "/events", { "shared secret" }, replay("guest")), 1))
  end)

  it("skips by false, replay too, and goes on", function()
    local live = open(server, "/events", { "skipped" }):wait_open()
    for _, data in ipairs{ "a", "skip me", "b", "skip", "c" } do publish(server, "skipped", data) end
    live:wait_messages(3)
    assert.same({ "a", "b", "c" }, live:data())
    local again = open(server, "/events", { "skipped" }, { { "last_event_id", "earliest" } })
    again:wait_messages(3)
    assert.same({ "a", "b", "c" }, again:data())
    assert.equal(live:last_event_id(), again:last_event_id())
  end)

  it("may close the stream, which has got all that came before, in whatever bursts it came", function()
    for _, data in ipairs{ "a", "b", "end", "c" } do publish(server, "ended", data) end
    local stream = open(server, "/events", { "ended" }, { { "last_event_id", "earliest" } })
    stream:wait_end()
    assert.same({ { "message", "a" }, { "message", "b" } }, events_of(stream, 2))
    assert.equal(2, #stream:messages())
  end)

  it("sees the id, and may give each stream its own event", function()
    local ann = open(server, "/events", { "renamed for each" }, user("ann")):wait_open()
    local bob = open(server, "/events", { "renamed for each" }, user("bob")):wait_open()
    local id = json.decode(publish(server, "renamed for each", "x", "type").body).id
    assert.same({ { "ann", "x for ann as " .. id } }, events_of(ann, 1))
    assert.same({ { "bob", "x for bob as " .. id } }, events_of(bob, 1))
    assert.equal(id, ann:last_event_id())
  end)

  it("runs script after script, by priority", function()
    local stream = open(server, "/events", { "two scripts" }):wait_open()
    publish(server, "two scripts", "zeroth")
    assert.same({ { "message", "zeroth first second" } }, events_of(stream, 1))
  end)

  -- Nothing is ever sent unshaped.
  for _, case in ipairs{ { "bad shape", "5" }, { "bad shape", "'text'" }, { "bad shape", "true" }, { "bad shape", "{ data = 5 }" },
    { "bad shape", "{}" }, { "bad shape", "{ data = 'x', event = 'a\\nb' }" }, { "bad shape", "{ data = '\\255' }" }, { "broken shape", "x" } } do
    it(("that answers wrong (%s, %s) skips the message and says so"):format(case[1], case[2]), function()
      local stream = open(server, "/events", { case[1] }):wait_open()
      local before = #server:log()
      assert.equal(200, publish(server, case[1], case[2]).status)
      publish(server, case[1], "good")
      assert.same({ { "message", "good" } }, events_of(stream, 1))
      helper.eventually(function() return server:log():find("skipped", before + 1, true) end)
    end)
  end
end)

describe("a filter of stream:subscribe", function()
  local server

  -- on_message counts its calls: a delivery that the core alone decides costs none.
  setup(function()
    server = helper.serve{ scripts = { ["shape.lua"] = SCRIPT, ["message.lua"] = ON_MESSAGE } }
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  local PUBLISHED = { { "a", "1" }, { "ab", "2" }, { nil, "3" }, { "b.c", "4" }, { "b.d", "5" }, { "message", "6" }, { "b", "7" }, { "a", "8" } }

  -- options, the data that come through
  local FILTERS = {
    { "{ events = { 'a' } }", { "1", "8" } },
    { "{ events = { 'a', 'b.c' } }", { "1", "4", "8" } },
    { "{ events = { 'message' } }", { "3", "6" } },
    { "{ events = { 'A' } }", {} },
    { "{ prefix = 'b.' }", { "4", "5" } },
    { "{ prefix = 'a' }", { "1", "2", "8" } },
    { "{ prefix = '' }", { "1", "2", "3", "4", "5", "6", "7", "8" } },
    { "{ prefix = 'a', events = { 'ab', 'b.c' } }", { "2" } },
    { "{}", { "1", "2", "3", "4", "5", "6", "7", "8" } },
    { "{ filter = function(message) return message.data > '5' end }", { "6", "7", "8" } },
    { "{ filter = function(message) return message.data > '5' end, events = { 'a', 'b' } }", { "7", "8" } },
    { "{ filter = function(message, stream) return message.data == '3' and #message.id > 0 and stream:is_open() end }", { "3" } },
    { "{ filter = function(message) return message.data ~= '2' or error('on purpose') end }", { "1", "3", "4", "5", "6", "7", "8" } },
  }

  for index, case in ipairs(FILTERS) do
    it(("lets through what it should: %s"):format(case[1]), function()
      local channel = "filtered " .. index
      local function filtered(more)
        return open(server, "/filtered", { channel }, { { "options", case[1] }, more })
      end
      local live = filtered():wait_open()
      local before = tonumber(server:request("GET", "/calls").body)
      for _, message in ipairs(PUBLISHED) do publish(server, channel, message[2], message[1]) end
      local expected = case[2]
      live:wait_messages(#expected)
      local replayed = filtered{ "last_event_id", "earliest" }
      replayed:wait_messages(#expected)
      -- All has arrived once a stream without a filter has it all.
      open(server, "/events", { channel }, { { "last_event_id", "earliest" } }):wait_messages(#PUBLISHED)
      assert.same({ expected, expected }, { live:data(), replayed:data() })
      -- on_message was asked for what came through, on each of the three streams, and for nothing else.
      assert.equal(2 * #expected + #PUBLISHED, tonumber(server:request("GET", "/calls").body) - before)
    end)
  end

  it("is checked", function()
    for _, options in ipairs{ "5", "{ event = { 'a' } }", "{ events = 'a' }", "{ events = { 5 } }", "{ prefix = 5 }", "{ filter = 'x' }", "{ 'a' }" } do
      assert.equal(500, open(server, "/filtered", { "x" }, { { "options", options } }):wait_head().status, options)
    end
  end)
end)

describe("the default shape.lua", function()
  teardown(helper.cleanup)

  it("has no hook, so that no delivery costs a call into Lua", function()
    local script = assert(load(process.read_file("scripts/shape.lua")))()
    assert.same({ "name", "priority" }, (function()
      local keys = {}
      for key in pairs(script) do keys[#keys + 1] = key end
      table.sort(keys)
      return keys
    end)())
  end)

  it("does what its comments say once their signs are gone", function()
    local text = process.read_file("scripts/shape.lua"):gsub("\n  %-%-(   ?[^\n]*)", "\n%1"):gsub("\n  %-%- (on_%w+ = )", "\n  %1")
      :gsub("\n  %-%- end,", "\n  end,")
    local server = helper.serve{ scripts = { ["shape.lua"] = text, ["routes.lua"] = process.read_file("scripts/routes.lua") } }
    local stream = server:stream("/events?channel=a"):wait_open()
    assert.equal(403, publish(server, "a", ("x"):rep(10001)).status)
    publish(server, "a", "hidden", "internal")
    publish(server, "a", "shown")
    assert.same({ { "note", "shown" } }, events_of(stream, 1))
  end)

  it("is copied by sluice init with the other scripts", function()
    local dir = process.temp_dir() .. "/new"
    local child = helper.launch{ command = "init", no_config = true, args = { dir } }
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    for _, name in ipairs{ "auth", "cors", "ratelimit", "routes", "shape" } do
      local text = assert(process.read_file(("scripts/%s.lua"):format(name)), name)
      assert.equal(text, process.read_file(("%s/scripts/%s.lua"):format(dir, name)), name)
    end
  end)
end)
