-- SPDX-License-Identifier: MIT
-- The routes below /_sluice/: who may use them, what they tell over all workers, and taps.
local helper = require("spec.helper")
local jwt = require("spec.support.jwt")

local json = helper.json
local KEY = "the key of the admin spec"

local function token(claims)
  return jwt.make(KEY, json.encode(claims))
end

local function get(server, target, headers)
  local response = server:request("GET", target, { headers = headers })
  return response.status, response.status == 200 and json.decode(response.body) or response.body
end

local function post(server, target, body, headers)
  return server:request("POST", target, { body = json.encode(body), headers = headers })
end

local function stream_id(stream)
  return json.decode(stream.events[1].data).stream
end

-- What of a list of tables is at `key`, sorted.
local function pluck(list, key)
  local values = {}
  for i, item in ipairs(list) do values[i] = item[key] end
  table.sort(values)
  return values
end

describe("/_sluice/", function()
  local open, keyed, off

  setup(function()
    open = helper.start({ config = { workers = 3 } })
    keyed = helper.start({ config = { jwt = { key = KEY } } })
    off = helper.start({ config = { admin = false } })
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  describe("who may", function()
    local TARGETS = { "/_sluice/streams", "/_sluice/channels", "/_sluice/reloads", "/_sluice/metrics", "/_sluice/tap?channel=a" }

    it("with a key needs an administrator's token, from this machine too", function()
      local user = token({ sub = "u", sluice = { subscribe = { "*" } } })
      for _, target in ipairs(TARGETS) do
        assert.equal(401, keyed:request("GET", target).status, target)
        assert.equal(401, keyed:request("GET", target, { headers = { Authorization = "Bearer nonsense" } }).status, target)
        assert.equal(403, keyed:request("GET", target, { headers = { Authorization = "Bearer " .. user } }).status, target)
      end
      assert.equal(401, post(keyed, "/_sluice/close", { stream = ("0"):rep(16) }).status)
      local admin = { Authorization = "Bearer " .. token({ sluice = { admin = true } }) }
      assert.equal(200, (get(keyed, "/_sluice/streams", admin)))
      assert.equal(200, (get(keyed, "/_sluice/streams?token=" .. token({ sluice = { admin = true } }))))
    end)

    it("without a key is for clients on this machine, not behind a proxy on it", function()
      for _, target in ipairs({ TARGETS[1], TARGETS[2], TARGETS[3], TARGETS[4] }) do assert.equal(200, (get(open, target)), target) end
      for _, header in ipairs({ { "X-Forwarded-For", "192.0.2.1" }, { "Forwarded", "for=192.0.2.1" }, { "Host", "evil.example" } }) do
        assert.equal(403, (get(open, TARGETS[1], { [header[1]] = header[2] })), header[1])
      end
    end)

    it("refuses pages of other origins", function()
      assert.equal(403, (get(open, TARGETS[1], { Origin = "https://evil.example" })))
      assert.equal(403, post(open, "/_sluice/close", { stream = ("0"):rep(16) }, { Origin = "https://evil.example" }).status)
      local own = { Origin = "http://127.0.0.1:" .. open.port, Host = "127.0.0.1:" .. open.port }
      assert.equal(200, (get(open, TARGETS[1], own)))
    end)

    it("is not there where admin is false, and not to be taken by scripts where it is true", function()
      assert.equal(404, (get(off, TARGETS[1])))
      local ok, message = require("sluice").check({ scripts = { ["a.lua"] = "return { routes = function(r) r:get('/_sluice/streams', print) end }" } })
      assert.is_nil(ok)
      assert.is_truthy(message:find("GET /_sluice/streams is defined already, in the server itself", 1, true), message)
    end)

    it("works with any scripts, whose hooks may know administrators by other means", function()
      local own = helper.start({ config = { jwt = { key = KEY } }, scripts = { ["a.lua"] = [[return {
        on_request = function(request)
          if request:header("X-Operator") == "yes" then request.claims = { sluice = { admin = true } } end
        end }]] } })
      assert.equal(401, (get(own, TARGETS[1])))
      assert.equal(200, (get(own, TARGETS[1], { ["X-Operator"] = "yes" })))
      assert.equal(200, (get(own, TARGETS[1], { Authorization = "Bearer " .. token({ sluice = { admin = true } }) })))
    end)
  end)

  describe("streams", function()
    it("are listed over all workers, in pages", function()
      local streams, ids = {}, {} -- a client that nobody refers to is collected, and leaves
      for i = 1, 12 do
        streams[i] = open:stream("/events?channel=page"):wait_open()
        ids[i] = stream_id(streams[i])
      end
      table.sort(ids)
      local seen, after, pages = {}, nil, 0
      repeat
        local _, answer = get(open, "/_sluice/streams?limit=5&channel=page" .. (after and "&after=" .. after or ""))
        assert.equal(12, answer.total)
        for _, stream in ipairs(answer.streams) do seen[#seen + 1] = stream.id end
        after, pages = answer.next, pages + 1
      until not after
      assert.same(ids, seen)
      assert.equal(3, pages)
    end)

    it("tell who and what they are", function()
      local stream = keyed:stream("/events?channel=a&channel=b", { headers = { Authorization = "Bearer " .. token({ sub = "ann" }) } }):wait_open()
      local admin = { Authorization = "Bearer " .. token({ sluice = { admin = true } }) }
      local _, answer = get(keyed, "/_sluice/streams?user=ann", admin)
      local row = answer.streams[1]
      assert.same({ 1, stream_id(stream), "127.0.0.1", "ann", { "a", "b" }, 2, 0, 1 },
        { answer.total, row.id, row.address, row.user, row.channels, row.channel_count, row.queue, row.generation })
      assert.is_true(row.age >= 0 and row.age < helper.TEST_TIMEOUT)
      assert.is_truthy(row.worker == 0 or row.worker == 1)
      for query, total in pairs({ ["user=bob"] = 0, ["address=127.0.0.1"] = 1, ["address=::1"] = 0, ["channel=b"] = 1, ["channel=c"] = 0 }) do
        _, answer = get(keyed, "/_sluice/streams?" .. query, admin)
        assert.equal(total, answer.total, query)
      end
    end)

    it("come the busiest first where that is asked for", function()
      local quiet = open:stream("/events?channel=quiet"):wait_open()
      local busy = open:stream("/events?channel=busy"):wait_open()
      open:publish("busy", ("x"):rep(1000))
      busy:wait_messages(1)
      assert.is_nil(quiet.ended)
      for _, sort in ipairs({ "events", "bytes", "age", "queue" }) do
        local _, answer = get(open, "/_sluice/streams?sort=" .. sort)
        assert.equal(2, #answer.streams)
        if sort == "events" or sort == "bytes" then assert.equal(stream_id(busy), answer.streams[1].id, sort) end
        if sort == "age" then assert.is_true(answer.streams[1].age >= answer.streams[2].age) end
      end
    end)

    it("behind a proxy show the client's address", function()
      local proxied = helper.start({ config = { trust_proxy = { "127.0.0.1" } } })
      local stream = proxied:stream("/events", { headers = { ["X-Forwarded-For"] = "192.0.2.7" } }):wait_open()
      local _, answer = get(proxied, "/_sluice/streams")
      assert.same({ stream_id(stream), "192.0.2.7" }, { answer.streams[1].id, answer.streams[1].address })
    end)

    it("are closed by their id, whichever worker has them, with their handlers", function()
      local streams = {}
      for i = 1, 6 do streams[i] = open:stream("/events?channel=c"):wait_open() end
      for _, stream in ipairs(streams) do
        local answer = post(open, "/_sluice/close", { stream = stream_id(stream) })
        assert.same({ 200, '{"closed":true}' }, { answer.status, answer.body })
        assert.equal("chunk", stream:wait_end())
      end
      assert.equal(404, post(open, "/_sluice/close", { stream = stream_id(streams[1]) }).status)
    end)

    it("say what is wrong with a question", function()
      for target, why in pairs({
        ["streams?limit=0"] = "limit must be", ["streams?limit=1001"] = "limit must be", ["streams?limit=x"] = "limit must be",
        ["streams?sort=size"] = "there is no sort 'size'", ["streams?address=localhost"] = "is no IP address",
        ["streams?after=12"] = "is no id of a stream",
        ["streams?after=0000000000000000&sort=age"] = "after goes with", ["channels?sort=age"] = "there is no sort",
        ["tap"] = "needs stream, address or channel",
        ["tap?stream=zz"] = "is no id of a stream" }) do
        local status, body = get(open, "/_sluice/" .. target)
        assert.equal(400, status, target)
        assert.is_truthy(body:find(why, 1, true), target .. ": " .. tostring(body))
      end
      for _, body in ipairs({ "[]", '{"stream":1}', '{"stream":"x"}', "{", "" }) do
        assert.equal(400, open:request("POST", "/_sluice/close", { body = body }).status, body)
      end
    end)
  end)

  it("lists channels by activity", function()
    local stream = open:stream("/events?channel=act.two"):wait_open()
    for i = 1, 3 do open:publish("act.one", "x" .. i) end
    open:publish("act.two", "x")
    local _, answer = get(open, "/_sluice/channels?prefix=act.")
    assert.equal(2, answer.total)
    local one, two = answer.channels[1], answer.channels[2]
    assert.same({ "act.one", 0, 3, 3 }, { one.name, one.subscribers, one.messages, one.published })
    assert.same({ "act.two", 1, 1, 1 }, { two.name, two.subscribers, two.messages, two.published })
    assert.is_true(one.rate > two.rate and two.rate > 0 and one.rate <= 3)
    assert.is_nil(stream.ended)
    for sort, first in pairs({ subscribers = "act.two", messages = "act.one", name = "act.one", rate = "act.one" }) do
      _, answer = get(open, "/_sluice/channels?limit=1&prefix=act.&sort=" .. sort)
      assert.same({ 2, { first } }, { answer.total, pluck(answer.channels, "name") })
    end
  end)

  it("finds the busiest of thousands of channels, while the table grows", function()
    local list = {}
    for i = 1, 3000 do list[i] = { "many." .. i, "x" } end
    list[3001] = { "many.77", "again" }
    open:publish_all(list)
    local _, answer = get(open, "/_sluice/channels?prefix=many.&limit=3&sort=messages")
    assert.same({ 3000, "many.77", 2 }, { answer.total, answer.channels[1].name, answer.channels[1].messages })
  end)

  it("remembers how the last loads of the scripts went, newest first", function()
    local scripted = helper.start({ scripts = { ["a.lua"] = "return {}" } })
    helper.process.write_file(scripted.dir .. "/scripts/a.lua", "return {\n  broken")
    assert.is_nil(scripted.host:reload())
    helper.process.write_file(scripted.dir .. "/scripts/a.lua", "return { name = 'fine' }")
    assert.is_true(scripted.host:reload())
    local _, answer = get(scripted, "/_sluice/reloads")
    local newest, refused
    for _, load in ipairs(answer.reloads) do -- the watcher may have tried them, too
      newest = newest or load
      refused = refused or (not load.ok and load.error.line > 0 and load) -- it may have read half a file
    end
    assert.is_true(newest.ok)
    assert.is_true(newest.generation >= 2)
    assert.same({ "a.lua", 2, 1 }, { refused.error.file, refused.error.line, refused.generation })
    assert.is_truthy(refused.error.message:find("expected", 1, true))
    local first = answer.reloads[#answer.reloads]
    assert.same({ "start", true, 1 }, { first.why, first.ok, first.generation })
    assert.is_truthy(first.at:find("^%d+%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$"))
    assert.is_true(first.seconds > 0 and first.seconds < helper.TEST_TIMEOUT)
  end)

  it("tells the counts of each worker", function()
    local stream = open:stream("/events"):wait_open()
    local _, answer = get(open, "/_sluice/metrics")
    assert.is_nil(stream.ended)
    assert.equal(3, #answer.perWorker)
    local sum = 0
    for i, worker in ipairs(answer.perWorker) do
      assert.equal(i - 1, worker.worker)
      sum = sum + worker.activeConnections
    end
    assert.same({ answer.activeConnections, 1 }, { sum, sum })
  end)

  describe("tap", function()
    -- Waits until a tap is open on all workers: until a publish to `channel` shows.
    local function tap(server, query, headers)
      local stream = server:stream("/_sluice/tap?" .. query, { headers = headers }):wait_head()
      assert.equal(200, stream.status)
      helper.eventually(function()
        stream:poll()
        return #stream.comments > 0
      end)
      return stream
    end

    local function frames(stream, count)
      stream:wait_messages(count)
      local list = {}
      for i, event in ipairs(stream.events) do
        if event.event == "frame" then list[#list + 1] = json.decode(event.data) end
        assert.is_truthy(event.event == "frame" or i == 1, event.event)
      end
      return list
    end

    it("shows the frames of one channel, on all workers, as they are sent", function()
      local streams = {}
      for i = 1, 6 do streams[i] = open:stream("/events?channel=t1&channel=t2"):wait_open() end
      local watched = tap(open, "channel=t1")
      open:publish("t2", "not this")
      local id = open:publish("t1", "two\nlines", "kind")
      local list = frames(watched, 6)
      local ids = {}
      for i, stream in ipairs(streams) do ids[i] = stream_id(stream) end
      table.sort(ids)
      assert.same(ids, pluck(list, "stream"))
      for _, frame in ipairs(list) do
        assert.same({ "t1", ("id: %s\nevent: kind\ndata: two\ndata: lines\n\n"):format(id) }, { frame.channel, frame.frame })
      end
    end)

    it("shows all of one stream, heartbeats and what its handler sends too, and of no other", function()
      local server = helper.start({ config = { stream = { heartbeat = 0.05 } }, defaults = true, scripts = { ["own.lua"] = [[return {
        routes = function(route)
          route:stream("/own", function(stream)
            stream:comment("waits")
            while not sluice.shared.get("go") do sluice.sleep(0.01) end
            stream:send{ event = "own", data = "made" }
            sluice.sleep(3600)
          end)
          route:post("/go", function() sluice.shared.set("go", true) end)
        end }]] } })
      local other = server:stream("/events"):wait_open()
      local one = server:stream("/own"):wait_open()
      local watched = tap(server, "stream=" .. stream_id(one))
      assert.equal(204, server:request("POST", "/go").status)
      local list = frames(watched, function()
        local own, heartbeat
        for _, event in ipairs(watched.events) do
          own = own or event.data:find("event: own", 1, true)
          heartbeat = heartbeat or event.data:find('"frame":":\\n"', 1, true)
        end
        return own and heartbeat
      end)
      for _, frame in ipairs(list) do assert.equal(stream_id(one), frame.stream) end
      assert.is_not_nil(other)
    end)

    it("by address shows the opening of new streams, but never itself or another tap", function()
      local first = tap(open, "address=127.0.0.1")
      local second = tap(open, "address=127.0.0.1&channel=addr")
      local stream = open:stream("/events?channel=addr"):wait_open()
      open:publish("addr", "x")
      local list = frames(first, 2)
      assert.same({ stream_id(stream), stream_id(stream) }, pluck(list, "stream"))
      assert.is_truthy(list[1].frame:find("event: sluice.open", 1, true))
      assert.same({ "addr" }, pluck(frames(second, 1), "channel"))
    end)

    it("by address knows clients behind a proxy, from the opening on", function()
      local server = helper.start({ defaults = true, config = { trust_proxy = { "127.0.0.1" } } })
      local watched = tap(server, "address=203.0.113.7")
      local stream = server:stream("/events?channel=far", { headers = { ["X-Forwarded-For"] = "203.0.113.7" } }):wait_open()
      server:publish("far", "x")
      local list = frames(watched, 2)
      assert.is_truthy(list[1].frame:find("event: sluice.open", 1, true), list[1].frame)
      assert.same({ stream_id(stream), stream_id(stream) }, pluck(list, "stream"))
    end)

    it("never slows a stream, and says how many frames it has dropped", function()
      local server = helper.start({ config = { limits = { queue_bytes = 64 << 20 } } })
      local stream = server:stream("/events?channel=flood"):wait_open()
      local watched = server:stream("/_sluice/tap?channel=flood", { receive_buffer = 2048 })
      helper.eventually(function()
        local _, answer = get(server, "/_sluice/streams?sort=age")
        return answer.total == 2
      end)
      local list = {}
      for i = 1, 300 do list[i] = { "flood", ("x"):rep(30000) } end
      server:publish_all(list)
      stream:wait_messages(300) -- nobody reads the tap meanwhile
      local dropped, shown = 0, 0
      watched:wait_messages(function()
        dropped, shown = 0, 0
        for _, event in ipairs(watched.events) do
          if event.event == "dropped" then dropped = dropped + json.decode(event.data).count end
          if event.event == "frame" then shown = shown + 1 end
        end
        return dropped + shown >= 300
      end)
      assert.same({ 300, true }, { dropped + shown, dropped > 0 })
    end)

    it("has thousands of frames at a time without using up its script's time", function()
      local server = helper.start({ config = { workers = 1, limits = { script_ms = 10 } }, defaults = true, scripts = { ["burst.lua"] = [[return {
        routes = function(route) route:post("/burst", function()
          for _ = 1, 150 do sluice.publish("burst", { data = "x" }) end
        end) end }]] } })
      local streams = {}
      for i = 1, 60 do streams[i] = server:stream("/events?channel=burst"):wait_open() end
      local watched = tap(server, "channel=burst")
      assert.equal(204, server:request("POST", "/burst").status)
      local count, at = 0, 1
      watched:wait_messages(function()
        for i = at + 1, #watched.events do
          local event = watched.events[i]
          count, at = count + (event.event == "dropped" and json.decode(event.data).count or 1), i
        end
        return count >= 150 * #streams
      end)
    end)

    it("ends on all workers when its client leaves", function()
      local watched = tap(open, "channel=left")
      local stream = open:stream("/events?channel=left"):wait_open()
      watched:close()
      helper.eventually(function()
        local _, answer = get(open, "/_sluice/streams")
        return answer.total == 1
      end)
      open:publish("left", "x")
      stream:wait_messages(1)
    end)
  end)

  it("is there for scripts, in handlers and tasks", function()
    local server = helper.start({ defaults = true, scripts = { ["kick.lua"] = [[return {
      routes = function(route)
        route:post("/kick", function(request)
          local n = 0
          for _, stream in ipairs(sluice.admin.streams{ channel = request:query("channel") }.streams) do
            if sluice.admin.close(stream.id) then n = n + 1 end
          end
          return 200, { kicked = n }
        end)
        route:get("/rates", function()
          local before = sluice.admin.metrics()
          sluice.sleep(0.05)
          return 200, sluice.admin.metrics(before).rates
        end)
        route:get("/wrong", function() sluice.admin.streams{ limits = 3 } end)
        route:get("/tap", function()
          local tap <close> = sluice.admin.tap{ channel = "a" }
          local frames, dropped = tap:read(0.01)
          tap:close()
          return 200, { #frames, dropped, (pcall(tap.read, tap)) }
        end)
        route:get("/closed", function()
          local tap = sluice.admin.tap{ channel = "a" }
          sluice.spawn(function() tap:close() end)
          return 200, { #tap:read() } -- for ever, but for that
        end)
      end,
      on_subscribe = function() if sluice.shared.get("ask") then sluice.admin.close(("0"):rep(16)) end end }]] } })
    local bad = {}
    for i = 1, 4 do bad[i] = server:stream("/events?channel=bad"):wait_open() end
    assert.is_nil(bad[1].ended)
    local good = server:stream("/events?channel=good"):wait_open()
    assert.equal('{"kicked":4}', server:request("POST", "/kick?channel=bad").body)
    assert.is_nil(good.ended)
    local rates = json.decode(server:request("GET", "/rates").body)
    assert.is_true(rates.requests >= 0 and rates.messagesSent == 0)
    assert.equal(500, server:request("GET", "/wrong").status)
    assert.equal("[0,0,false]", server:request("GET", "/tap").body)
    assert.equal("[0]", server:request("GET", "/closed").body)
  end)
end)
