-- SPDX-License-Identifier: MIT
-- Streams in gzip: who gets one, and that everything that is ever sent on a stream is part of one gzip member, read at once on arrival, with a good trailer
-- at the end. `gunzipped` asks the program gzip; what comes in between is read by zlib's inflate.
local helper = require("spec.helper")
local json = helper.json
local jwt = require("spec.support.jwt")

local KEY = "a key of thirty-two bytes or more"
local GZIP = { ["Accept-Encoding"] = "gzip" }

local function open(server, target, options)
  options = options or {}
  options.headers = options.headers or {}
  options.headers["Accept-Encoding"] = options.headers["Accept-Encoding"] or "gzip"
  local stream = server:stream(target, options):wait_head()
  assert.equal("gzip", stream.headers["content-encoding"])
  return stream
end

local function metrics_of(server)
  return json.decode(server:request("GET", "/metrics", { headers = { Accept = "application/json" } }).body)
end

-- All values of a header field.
local function fields_of(stream, name)
  local list = {}
  for line in stream.head:gmatch("[^\r\n]+") do
    local value = line:lower():match("^" .. name .. ":%s*(.-)$") and line:match(":%s*(.-)$")
    list[#list + 1] = value
  end
  return list
end

local function quote(number, padding)
  return ('{"symbol":"SYM%d","number":%d,"bid":%d.25,"ask":%d.50,"padding":"%s"}'):format(number % 50, number, 100 + number % 9,
    101 + number % 9, ("x"):rep(padding or 0))
end

-- Publishes numbered quotes one after another; returns their data.
local function publish_quotes(server, channel, from, to, padding)
  local list, data = {}, {}
  for number = from, to do
    data[#data + 1] = quote(number, padding)
    list[#list + 1] = { channel, data[#data] }
  end
  server:publish_all(list)
  return data
end

describe("a stream in gzip is negotiated:", function()
  local server, plain_server

  setup(function()
    server = helper.serve{ defaults = true, scripts = { ["vary.lua"] = [[return { name = "vary", on_request = function(request)
      if request:query("vary") then request:respond_header("Vary", request:query("vary")) end
    end }]] } }
    plain_server = helper.serve{ config = { compression = { gzip = false } } }
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  for accept, gzip in pairs{ ["gzip"] = true, ["gzip, deflate, br, zstd"] = true, ["GZip;q=0.2"] = true, ["*"] = true, ["deflate, gzip;q=1.0, *;q=0.5"] = true,
    ["identity;q=0.5, gzip"] = true, ["identity"] = false, [""] = false, ["gzip;q=0"] = false, ["gzip;q=0, *"] = false, ["*;q=0"] = false, ["br"] = false,
    ["identity, gzip;q=0.5"] = false, ["gzip;q=0.000"] = false, ["gzip;q=oops"] = false } do
    it(("Accept-Encoding: %s: %s"):format(accept, gzip and "gzip" or "as it is"), function()
      local stream = server:stream("/events?channel=a", { headers = { ["Accept-Encoding"] = accept } }):wait_open()
      assert.equal(gzip and "gzip" or nil, stream.headers["content-encoding"])
      assert.same({ "Origin, Accept-Encoding" }, fields_of(stream, "vary"))
      server:publish("a", "hello")
      assert.equal("hello", stream:wait_messages(1)[1].data)
    end)
  end

  it("without Accept-Encoding as it is", function()
    local stream = server:stream("/events?channel=a"):wait_open()
    assert.is_nil(stream.headers["content-encoding"])
    assert.same({ "Origin, Accept-Encoding" }, fields_of(stream, "vary"))
  end)

  it("and Vary is one field that names each header once, whoever adds to it", function()
    local stream = server:stream("/events?channel=a&vary=accept-encoding,%20Cookie,Origin", { headers = GZIP }):wait_open()
    assert.same({ "Origin, accept-encoding, Cookie" }, fields_of(stream, "vary"))
  end)

  it("never where compression.gzip is false, and then Vary does not name it", function()
    local stream = plain_server:stream("/events?channel=a", { headers = GZIP }):wait_open()
    assert.is_nil(stream.headers["content-encoding"])
    assert.same({ "Origin" }, fields_of(stream, "vary"))
  end)

  it("and counted", function()
    local before = metrics_of(server).gzipConnections
    local stream = open(server, "/events?channel=a"):wait_open()
    assert.equal(before + 1, metrics_of(server).gzipConnections)
    stream:close()
    helper.eventually(function() return metrics_of(server).gzipConnections == before end)
  end)
end)

describe("a stream in gzip", function()
  after_each(helper.cleanup)

  for _, version in ipairs{ "1.1", "1.0" } do
    it("is one whole member from its opening to its end, HTTP/" .. version, function()
      local server = helper.serve{ config = { drain = 0.2 } }
      local stream = open(server, "/events?channel=a&channel=b", { version = version }):wait_open()
      local data = publish_quotes(server, "a", 1, 100)
      for _, text in ipairs(publish_quotes(server, "b", 101, 200, 1000)) do
        data[#data + 1] = text
      end
      data[#data + 1] = ("large "):rep(50000)
      server:publish("a", data[#data])
      data[#data + 1] = ""
      server:publish("sluice.all", "", "note")
      stream:wait_messages(#data)
      assert.same(data, stream:data())
      server:signal("TERM")
      assert.equal(version == "1.1" and "chunk" or "closed", stream:wait_end())
      local text, coded = assert(stream:gunzipped())
      assert.is_true(coded < #text / 10)
    end)
  end

  it("gives every event at once", function()
    local server = helper.serve()
    local stream = open(server, "/events?channel=a"):wait_open()
    for number = 1, 70 do
      server:publish("a", quote(number, number % 2 * 500))
      assert.equal(quote(number, number % 2 * 500), stream:wait_messages(number)[number].data)
    end
  end)

  it("has everything a handler sends in it, and goes on in its chain after that", function()
    local server = helper.serve{ config = { drain = 0.1 }, defaults = true, scripts = { ["own.lua"] = [[return { name = "own", routes = function(route)
      route:stream("/own", { opening = false }, function(stream)
        stream:subscribe("own")
        for n = 1, 5 do
          stream:send{ event = "tick", data = ("%d "):format(n):rep(300) }
          stream:comment("a comment")
          sluice.publish("own", { data = ("published %d"):format(n) })
          sluice.sleep(0.03)
        end
      end)
      route:stream("/empty", { opening = false }, function() end)
    end }]] } }
    local stream = open(server, "/own")
    stream:wait_messages(10)
    local own = {}
    for index, message in ipairs(stream:messages()) do
      own[index] = message.event .. " " .. message.data:sub(1, 11)
    end
    table.sort(own)
    assert.same({ "message published 1", "message published 2", "message published 3", "message published 4", "message published 5",
      "tick 1 1 1 1 1 1", "tick 2 2 2 2 2 2", "tick 3 3 3 3 3 3", "tick 4 4 4 4 4 4", "tick 5 5 5 5 5 5" }, own)
    assert.same({ "a comment", "a comment", "a comment", "a comment", "a comment" }, stream.comments)
    local empty = open(server, "/empty")
    assert.equal("chunk", empty:wait_end())
    assert.equal("", assert(empty:gunzipped()))
    server:signal("TERM")
    stream:wait_end()
    assert(stream:gunzipped())
  end)

  it("has a replay, a gap and what comes after them in it", function()
    local server = helper.serve{ config = { history = { messages = 100 }, drain = 0.2 } }
    publish_quotes(server, "a", 1, 300)
    local streams = {}
    for index, id in ipairs{ "1-1", "nonsense", "earliest" } do
      streams[index] = open(server, "/events?channel=a&last_event_id=" .. id)
    end
    for index, stream in ipairs(streams) do
      stream:wait_messages(index < 3 and 101 or 100)
      assert.equal(index < 3 and "sluice.gap" or "message", stream:messages()[1].event)
    end
    local live = publish_quotes(server, "a", 301, 400)
    for index, stream in ipairs(streams) do
      stream:wait_messages(index < 3 and 201 or 200)
      assert.equal(live[100], stream:data()[index < 3 and 201 or 200])
    end
    server:signal("TERM")
    for _, stream in ipairs(streams) do
      stream:wait_end()
      assert(stream:gunzipped())
    end
  end)

  it("has the event in it that says that its token has expired", function()
    local server = helper.serve{ config = { jwt = { key = KEY } } }
    local token = jwt.make(KEY, ('{"sub":"ann","exp":%.3f}'):format(require("socket").gettime() + 1.5))
    local stream = open(server, "/events?channel=a", { headers = { Authorization = "Bearer " .. token } }):wait_open()
    assert.equal("chunk", stream:wait_end())
    assert.equal("sluice.expired", stream.events[#stream.events].event)
    assert(stream:gunzipped())
  end)

  it("is kept alive by blocks without text, which leave the chain whole, and by a comment each fourth time", function()
    local server = helper.serve{ config = { stream = { heartbeat = 0.1 }, drain = 0.1 } }
    local stream = open(server, "/events?channel=a"):wait_open()
    local plain = server:stream("/events?channel=a"):wait_open()
    helper.sse.wait_for({ stream, plain }, function() return #stream.comments >= 2 end)
    assert.is_true(#plain.comments >= 7 and #plain.comments <= 10, #plain.comments .. " comments on the plain stream")
    local _, empty = table.concat(stream.coded):gsub("%z%z%z\xff\xff", "")
    assert.is_true(empty >= 6, empty .. " empty blocks")
    server:signal("TERM")
    stream:wait_end()
    assert(stream:gunzipped())
  end)

  it("has what on_message makes of a message in it, and no other stream has", function()
    local server = helper.serve{ config = { drain = 0.1 }, defaults = true, scripts = { ["edit.lua"] = [[return { name = "edit",
      on_message = function(message, stream)
        local name = stream.user
        if message.data:find("skip " .. name, 1, true) then return false end
        if message.data:find("edit", 1, true) then message.data = message.data .. " for " .. name; return message end
      end,
      on_request = function(request) request.user = request:query("user") end }]] } }
    local streams, wanted = {}, { ann = {}, bob = {} }
    for _, name in ipairs{ "ann", "bob" } do
      streams[name] = open(server, "/events?channel=a&user=" .. name):wait_open()
    end
    local list = {}
    for number = 1, 200 do
      local kind = number % 10 == 0 and "skip ann" or number % 7 == 0 and "edit" or "plain"
      local data = ("%s %d %s"):format(kind, number, quote(number, number % 3 * 150))
      list[number] = { "a", data }
      if kind ~= "skip ann" then
        table.insert(wanted.ann, kind == "edit" and data .. " for ann" or data)
      end
      table.insert(wanted.bob, kind == "edit" and data .. " for bob" or data)
    end
    server:publish_all(list)
    for name, stream in pairs(streams) do
      stream:wait_messages(#wanted[name])
      assert.same(wanted[name], stream:data())
    end
    server:signal("TERM")
    for _, stream in pairs(streams) do
      stream:wait_end()
      assert(stream:gunzipped())
    end
  end)

  for _, rule in ipairs{ "drop_oldest", "conflate" } do
    it("stays whole when messages are dropped from its queue: " .. rule, function()
      local server = helper.serve{ config = { drain = 0.1, limits = { queue_bytes = 16384 }, stream = { heartbeat = 0.2 }, history = { messages = 100000 },
        channels = { ["*"] = { slow = rule } } } }
      local stream = open(server, "/events?channel=a", { receive_buffer = 4096 }):wait_open()
      local noise, list = {}, {}
      math.randomseed(1)
      for index = 1, 3000 do
        noise[index] = string.char(math.random(97, 122))
      end
      noise = table.concat(noise)
      for number = 1, 3000 do
        list[number] = { "a", ("%d %s"):format(number, noise:sub(number % 1500 + 1, number % 1500 + 900)), "type" .. number % 5 }
      end
      local ids = server:publish_all(list)
      stream:wait_messages(function(messages)
        return #messages > 0 and messages[#messages].id == ids[#ids]
      end)
      local messages, last = stream:messages(), 0
      assert.is_true(#messages < 3000, "nothing was dropped")
      for _, message in ipairs(messages) do
        if message.event ~= "sluice.gap" then
          local number = tonumber(message.data:match("^%d+"))
          assert.is_true(number > last)
          assert.equal(list[number][2], message.data)
          assert.equal(ids[number], message.id)
          last = number
        end
      end
      server:signal("TERM")
      assert.equal("chunk", stream:wait_end())
      assert(stream:gunzipped())
    end)
  end
end)
