-- SPDX-License-Identifier: MIT
-- What the live page is made of, over HTTP: who gets what, the Content Security Policy, the stream that feeds it. spec/browser/live_spec.lua looks at it.
local core = require("sluice.core")
local helper = require("spec.helper")
local jwt = require("spec.support.jwt")

local json = helper.json
local KEY = "the key of the live spec"

local function bearer(claims)
  return { Authorization = "Bearer " .. jwt.make(KEY, json.encode(claims)) }
end

local ADMIN = bearer({ sub = "root", sluice = { admin = true } })

describe("the live page", function()
  local open, keyed, off

  setup(function()
    open = helper.start({ config = { workers = 2 } })
    keyed = helper.start({ config = { jwt = { key = KEY } } })
    off = helper.start({ config = { admin = false } })
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("has a door that anyone may see where there is a key, that says who may by its status, and that holds nothing of the page", function()
    local good = keyed:request("GET", "/_sluice/", { headers = ADMIN })
    assert.equal(200, good.status)
    assert.is_string(good.headers.etag)
    local refused = {
      { 401, {} }, { 401, { Authorization = "Bearer wrong" } },
      { 403, bearer({ sub = "u" }) }, { 403, bearer({ sluice = { admin = false } }) },
    }
    for _, case in ipairs(refused) do
      local status, headers = case[1], case[2]
      local door = keyed:request("GET", "/_sluice/", { headers = headers })
      assert.equal(status, door.status)
      assert.equal(status == 401, door.headers["www-authenticate"] ~= nil)
      assert.equal("text/html; charset=utf-8", door.headers["content-type"])
      assert.equal("no-store", door.headers["cache-control"])
      assert.equal(good.body, door.body)
      for _, target in ipairs({ "/_sluice/page", "/_sluice/live" }) do
        local answer = keyed:request("GET", target, { headers = headers })
        assert.equal(status, answer.status, target)
        assert.is_true(#answer.body < 200)
      end
    end
    assert.equal(401, keyed:request("GET", "/_sluice/", { headers = { ["If-None-Match"] = good.headers.etag } }).status)
    assert.equal(200, keyed:request("GET", "/_sluice/page", { headers = ADMIN }).status)
  end)

  it("without a key is for loopback names only, and for no other page", function()
    for _, target in ipairs({ "/_sluice/", "/_sluice/page", "/_sluice/live" }) do
      assert.equal(403, open:request("GET", target, { headers = { Host = "rebound.example" } }).status, target)
      assert.equal(403, open:request("GET", target, { headers = { Origin = "http://evil.example" } }).status, target)
      assert.equal(403, open:request("GET", target, { headers = { ["X-Forwarded-For"] = "192.0.2.1" } }).status, target)
    end
  end)

  it("is not there where it is switched off", function()
    for _, target in ipairs({ "/_sluice/", "/_sluice/page", "/_sluice/live" }) do assert.equal(404, off:request("GET", target).status) end
  end)

  it("is found without its slash", function()
    local answer = open:request("GET", "/_sluice")
    assert.equal(308, answer.status)
    assert.equal("_sluice/", answer.headers.location)
  end)

  it("is asked for again only where it has changed", function()
    local door = open:request("GET", "/_sluice/")
    local again = open:request("GET", "/_sluice/", { headers = { ["If-None-Match"] = door.headers.etag } })
    assert.equal(304, again.status)
    assert.equal("", again.body)
    assert.equal(door.headers.etag, again.headers.etag)
    assert.equal(200, open:request("GET", "/_sluice/", { headers = { ["If-None-Match"] = '"other"' } }).status)
    assert.equal("no-store", open:request("GET", "/_sluice/page").headers["cache-control"])
  end)

  it("allows by its policy the scripts and styles that it has, by their digests, and nothing else", function()
    local door = open:request("GET", "/_sluice/")
    local page = json.decode(open:request("GET", "/_sluice/page").body)
    local policy = {}
    for directive, value in (door.headers["content-security-policy"] .. ";"):gmatch("([%w-]+) ?([^;]*);") do policy[directive] = value end
    local function digests(...)
      local list = {}
      for i, text in ipairs({ ... }) do list[i] = ("'sha256-%s'"):format(core.sha256(text)) end
      return table.concat(list, " ")
    end
    assert.same({
      ["default-src"] = "'none'", ["connect-src"] = "'self'", ["img-src"] = "data:", ["base-uri"] = "'none'", ["form-action"] = "'none'",
      ["frame-ancestors"] = "'none'", ["require-trusted-types-for"] = "'script'", ["trusted-types"] = "sluice",
      ["script-src"] = digests(door.body:match("<script>(.-)</script>"), page.script),
      ["style-src"] = digests(door.body:match("<style>(.-)</style>"), page.style),
    }, policy)
    assert.equal("nosniff", door.headers["x-content-type-options"])
    assert.equal("DENY", door.headers["x-frame-options"])
    assert.equal("no-referrer", door.headers["referrer-policy"])
  end)

  it("asks no other host, and has no style or handler in its markup", function()
    local page = json.decode(open:request("GET", "/_sluice/page").body)
    local door = open:request("GET", "/_sluice/").body
    for _, text in ipairs({ page.body, page.style, page.script, door }) do
      assert.is_nil(text:find("https?://"))
      assert.is_nil(text:find("innerHTML", 1, true) and text == page.script or nil)
    end
    for _, text in ipairs({ page.body, (door:gsub("<script>.*</script>", "")) }) do
      assert.is_nil(text:find("%son%w+%s*="))
      assert.is_nil(text:find("%sstyle%s*="))
    end
  end)

  describe("is fed by a stream", function()
    local function feed(server, query, headers)
      return server:stream("/_sluice/live?" .. (query or ""), { headers = headers })
    end

    -- The data of the newest event of a type.
    local function newest(stream, type)
      for i = #stream.events, 1, -1 do
        if stream.events[i].event == type then return json.decode(stream.events[i].data) end
      end
      return nil
    end

    local function wait_newest(stream, type, condition)
      return helper.eventually(function()
        stream:poll()
        local data = newest(stream, type)
        return data and (not condition or condition(data)) and data
      end, nil, "a " .. type .. " event")
    end

    it("that tells all there is at once, and the counts each second", function()
      local stream = feed(keyed, nil, ADMIN)
      for _, type in ipairs({ "server", "metrics", "health", "reloads", "channels", "streams" }) do wait_newest(stream, type) end
      assert.equal("ok", newest(stream, "health").status)
      assert.equal("start", newest(stream, "reloads").reloads[1].why)
      local list = wait_newest(stream, "streams", function(streams) return streams.total == 1 end).streams
      assert.is_true(list[1].mine)
      local uptime = newest(stream, "metrics").uptimeSeconds
      wait_newest(stream, "metrics", function(metrics) return metrics.uptimeSeconds > uptime + 0.9 end)
    end)

    it("that begins with what was before, as far as the page does not know it", function()
      local history = wait_newest(feed(open), "history")
      assert.equal(10, history.step)
      local sample = history.samples[#history.samples]
      assert.is_true(history.now - sample.at >= 0 and history.now - sample.at < 11)
      for _, name in ipairs({ "uptimeSeconds", "activeConnections", "messagesSent", "errors" }) do assert.is_number(sample[name], name) end
      assert.is_table(sample.deliveryLagSeconds.buckets)
      for _, missing in ipairs({ "3", "-1", "none" }) do
        local stream = feed(open, "missing=" .. missing)
        wait_newest(stream, "metrics")
        assert.equal(missing == "none", newest(stream, "history") ~= nil)
      end
    end)

    it("that shows what is asked for, and refuses what makes no sense", function()
      open:publish("a.one", "x")
      open:publish("b", "x")
      local one = open:stream("/events?channel=a.one"):wait_open()
      open:stream("/events?channel=b"):wait_open()
      local stream = feed(open, "channels.prefix=a.&channels.sort=name&streams.channel=a.one&streams.sort=queue")
      local channels = wait_newest(stream, "channels")
      assert.equal(1, #channels.channels)
      assert.equal("a.one", channels.channels[1].name)
      local streams = wait_newest(stream, "streams")
      assert.equal(1, streams.total)
      assert.equal(json.decode(one.events[1].data).stream, streams.streams[1].id)
      for _, query in ipairs({ "streams.sort=size", "channels.sort=age", "streams.address=nobody" }) do
        assert.equal(400, open:request("GET", "/_sluice/live?" .. query).status, query)
      end
    end)
  end)
end)
