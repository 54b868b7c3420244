-- SPDX-License-Identifier: MIT
-- The bytes of an event stream, and what may be published into one.
local helper = require("spec.helper")
local http, json, sse = helper.http, helper.json, helper.sse

describe("an event stream", function()
  local server

  setup(function()
    server = helper.serve{ config = { stream = { retry = 3000 }, limits = { body_bytes = 1024 * 1024 } } }
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  -- What a stream of `channel` carries for one message published: the bytes after the opening block.
  local function bytes_of(channel, data, event)
    local stream = server:stream("/events?" .. http.query{ { "channel", channel } }):wait_open()
    local before = #stream:body()
    local id = server:publish(channel, data, event)
    stream:wait_messages(1)
    local bytes = stream:body():sub(before + 1)
    local message = stream:messages()[1]
    stream:close()
    return bytes, id, message
  end

  it("has this head", function()
    local stream = server:stream("/events"):wait_open()
    assert.is_truthy(stream.head:find("^HTTP/1%.1 200 OK\r\n"))
    local allowed = { ["content-type"] = "text/event-stream", ["cache-control"] = "no-cache, no-transform", ["x-accel-buffering"] = "no",
      ["transfer-encoding"] = "chunked" }
    for name, value in pairs(allowed) do
      assert.equal(value, stream.headers[name], name)
    end
    assert.is_string(stream.headers.date)
    assert.is_nil(stream.headers["content-length"])
    assert.is_nil(stream.headers["content-encoding"])
    local names = {}
    for _, field in ipairs(stream.fields) do
      local name = field[1]:lower()
      assert.is_nil(names[name], "twice: " .. name)
      names[name] = true
    end
  end)

  it("opens with one block: retry, id, event, data", function()
    local retries = {}
    for _ = 1, 20 do
      local stream = server:stream("/events"):wait_open()
      local retry, id, name = stream:body():match('^retry: (%d+)\nid: (%d+%-%d+)\nevent: sluice%.open\ndata: ({"stream":"[^"]+"})\n\n$')
      assert.is_string(retry, ("%q"):format(stream:body()))
      retry = tonumber(retry)
      assert.is_true(retry >= 3000 and retry <= 6000, "retry " .. retry)
      retries[retry] = true
      assert.equal(id, stream:last_event_id())
      assert.equal(retry, stream:retry())
      assert.is_string(json.decode(name).stream)
      stream:close()
    end
    assert.is_not_nil(next(retries, next(retries)), "retry is not spread")
  end)

  it("gives each stream its own name", function()
    local seen = {}
    for _ = 1, 20 do
      local stream = server:stream("/events"):wait_open()
      local name = json.decode(stream.events[1].data).stream
      assert.is_nil(seen[name])
      seen[name] = true
    end
  end)

  local framings = {
    { "one line", "hello", "data: hello\n" },
    { "LF", "a\nb", "data: a\ndata: b\n" },
    { "CR", "a\rb", "data: a\ndata: b\n" },
    { "CRLF", "a\r\nb", "data: a\ndata: b\n" },
    { "LF CR", "a\n\rb", "data: a\ndata: \ndata: b\n" },
    { "CR CR LF LF", "a\r\r\n\nb", "data: a\ndata: \ndata: \ndata: b\n" },
    { "a trailing LF", "a\n", "data: a\ndata: \n" },
    { "a trailing CR", "a\r", "data: a\ndata: \n" },
    { "a trailing CRLF", "a\r\n", "data: a\ndata: \n" },
    { "two trailing LFs", "a\n\n", "data: a\ndata: \ndata: \n" },
    { "a leading LF", "\na", "data: \ndata: a\n" },
    { "line ends alone", "\r\n", "data: \ndata: \n" },
    { "no data", "", "data: \n" },
    { "a leading blank", " a", "data:  a\n" },
    { "a leading colon", ":a", "data: :a\n" },
    { "what looks like fields", "x\nid: 1-1\nevent: forged\n\ndata: y", "data: x\ndata: id: 1-1\ndata: event: forged\ndata: \ndata: data: y\n" },
    { "Unicode", "\u{65E5}\u{672C} \u{1F600} e\u{301} \u{FEFF} \u{2028}\u{2029}\u{85}",
      "data: \u{65E5}\u{672C} \u{1F600} e\u{301} \u{FEFF} \u{2028}\u{2029}\u{85}\n" },
    { "control characters", "\0\1\t\11\12\127", "data: \0\1\t\11\12\127\n" },
  }
  for _, case in ipairs(framings) do
    it("frames data with " .. case[1], function()
      local bytes, id, message = bytes_of("framing", case[2])
      assert.equal("id: " .. id .. "\n" .. case[3] .. "\n", bytes)
      assert.equal((case[2]:gsub("\r\n", "\n"):gsub("\r", "\n")), message.data)
      assert.equal("message", message.event)
      assert.equal(id, message.id)
    end)
  end

  it("names the event type between id and data", function()
    local bytes, id = bytes_of("typed", "x", "price change: \u{20AC}")
    assert.equal("id: " .. id .. "\nevent: price change: \u{20AC}\ndata: x\n\n", bytes)
  end)

  it("takes an event type that begins with a blank apart from one that does not", function()
    local _, _, message = bytes_of("typed", "x", " spaced")
    assert.equal(" spaced", message.event)
  end)

  it("leaves an empty event type out", function()
    local bytes, id = bytes_of("typed", "x", "")
    assert.equal("id: " .. id .. "\ndata: x\n\n", bytes)
  end)

  it("carries an event of 300 KB whole", function()
    local lines = {}
    for index = 1, 6000 do
      lines[index] = ("line %d %s"):format(index, ("\u{E9}"):rep(20))
    end
    local data = table.concat(lines, "\n")
    assert.is_true(#data > 300000)
    local _, _, message = bytes_of("large", data)
    assert.is_true(data == message.data)
    data = ("0123456789"):rep(30000)
    _, _, message = bytes_of("large", data)
    assert.is_true(data == message.data)
  end)

  it("keeps channel names of any kind apart", function()
    local names = { "a", "A", "a b", "a/b", "\u{E9}\u{1F600}", "a&b=c", "%41", "user.42.x", ("n"):rep(200) }
    for index, name in ipairs(names) do
      local _, _, message = bytes_of(name, "for " .. index)
      assert.equal("for " .. index, message.data)
    end
  end)
end)

describe("a silent stream", function()
  after_each(helper.cleanup)

  it("carries a comment line as heartbeat, alone", function()
    local server = helper.serve{ config = { stream = { heartbeat = 0.2 } } }
    local stream = server:stream("/events"):wait_open()
    local opening = stream:body()
    sse.wait_for({ stream }, function()
      return #stream.comments >= 3
    end)
    assert.equal(":\n:\n:\n", stream:body():sub(#opening + 1, #opening + 6))
    assert.equal(1, #stream.events)
    assert.equal(0, stream.parser.blank_blocks)
    -- An event after heartbeats is whole.
    server:publish("default", "after")
    assert.equal("after", stream:wait_messages(1)[1].data)
  end)

  it("has no heartbeat while events flow", function()
    local server = helper.serve{ config = { stream = { heartbeat = 2 } } }
    local stream = server:stream("/events"):wait_open()
    for index = 1, 20 do
      server:publish("default", index)
      stream:wait_messages(index)
    end
    assert.equal(0, #stream.comments)
  end)

  it("without an opening block has nothing before its first event", function()
    local server = helper.serve{ config = { stream = { opening = false } } }
    local stream = server:stream("/events"):wait_head()
    assert.equal(200, stream.status)
    local id = server:publish("default", "first")
    stream:wait_messages(1)
    assert.equal("id: " .. id .. "\ndata: first\n\n", stream:body())
  end)
end)

describe("publishing", function()
  local server

  setup(function()
    server = helper.serve()
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  local function post(body, headers, target)
    return server:request("POST", target or "/publish", { body = body, headers = headers or { ["Content-Type"] = "application/json" } })
  end

  local function assert_refused(body, headers, target)
    local response = post(body, headers, target)
    assert.equal(400, response.status, ("%q -> %s"):format(body:sub(1, 200), response.body))
    assert.is_string(json.decode(response.body).error)
  end

  describe("JSON", function()
    -- The text of `data`, and what subscribers must get.
    local values = {
      { '"text"', "text" },
      { '""', "" },
      { [["line\nline\r\nline\rline"]], "line\nline\nline\nline" },
      { [["\u00e9\ud83d\ude00\"\\\/\b\f\t"]], "\u{E9}\u{1F600}\"\\/\b\f\t" },
      { [["\u0000"]], "\0" },
      { '"\u{E9}\u{1F600}"', "\u{E9}\u{1F600}" },
      { "12345678901234567890", "12345678901234567890" },
      { "123456789012345678901234567890.123456789012345678901234567890", "123456789012345678901234567890.123456789012345678901234567890" },
      { "1.0", "1.0" },
      { "-0", "-0" },
      { "-0.0", "-0.0" },
      { "1e400", "1e400" },
      { "1E+2", "1E+2" },
      { "true", "true" },
      { "false", "false" },
      { "null", "null" },
      { "[]", "[]" },
      { "{}", "{}" },
      { "[[],{},[{}]]", "[[],{},[{}]]" },
      { '{ "b" : 1 ,\t"a" : [ 1 , 2.50 ] }', '{ "b" : 1 ,\t"a" : [ 1 , 2.50 ] }' },
      { '{"a":1,"a":2}', '{"a":1,"a":2}' },
      { '{\n  "a": 1\r\n}', '{\n  "a": 1\n}' },
      { [[{"k":"\u00e9\/"}]], [[{"k":"\u00e9\/"}]] },
      { '{"id":9007199254740993}', '{"id":9007199254740993}' },
    }
    for _, case in ipairs(values) do
      it("data " .. case[1]:gsub("%c", " ") .. " goes out with its own text", function()
        local stream = server:stream("/events?channel=json"):wait_open()
        local response = post('{"channel":"json","event":"e","data":' .. case[1] .. "}")
        assert.equal(200, response.status, response.body)
        local message = stream:wait_messages(1)[1]
        assert.equal(case[2], message.data)
        assert.equal("e", message.event)
        assert.equal(message.id, json.decode(response.body).id)
      end)
    end

    it("may have blanks around everything and its members in any order", function()
      local stream = server:stream("/events?channel=json"):wait_open()
      local response = post(' \r\n\t{ "data" :  [ 1 ]  , "event" : "e" ,\n"channel":"json" } \n')
      assert.equal(200, response.status, response.body)
      assert.equal("[ 1 ]", stream:wait_messages(1)[1].data)
    end)

    it("may escape the names of members", function()
      local stream = server:stream("/events?channel=json"):wait_open()
      assert.equal(200, post([[{"ch\u0061nnel":"json","d\u0061ta":"x"}]]).status)
      assert.equal("x", stream:wait_messages(1)[1].data)
    end)

    it("without a channel goes to the default one", function()
      local stream = server:stream("/events"):wait_open()
      assert.equal(200, post('{"data":"x"}').status)
      assert.equal("x", stream:wait_messages(1)[1].data)
    end)

    it("is told by its media type, parameters and case aside", function()
      local stream = server:stream("/events?channel=json"):wait_open()
      assert.equal(200, post('{"channel":"json","data":1}', { ["Content-Type"] = "Application/JSON; charset=utf-8" }).status)
      assert.equal("1", stream:wait_messages(1)[1].data)
    end)

    it("is answered with the id and the number of streams over all workers", function()
      local streams = {}
      for index = 1, 6 do
        streams[index] = server:stream("/events?channel=count&channel=other"):wait_open()
      end
      local response = post('{"channel":"count","data":"x"}')
      assert.equal("application/json", response.headers["content-type"])
      assert.is_truthy(response.body:find('^{"id":"%d+%-%d+","subscribers":6}\n?$'), response.body)
      streams[1]:close()
      helper.eventually(function()
        return json.decode(post('{"channel":"count","data":"x"}').body).subscribers == 5
      end)
      assert.equal(0, json.decode(post('{"channel":"nobody","data":"x"}').body).subscribers)
    end)

    local refused = {
      ["an unknown member"] = '{"channel":"a","data":1,"id":"1-1"}',
      ["a member in other case"] = '{"Channel":"a","data":1}',
      ["no data"] = '{"channel":"a"}',
      ["nothing"] = "",
      ["an empty object"] = "{}",
      ["data twice"] = '{"data":1,"data":2}',
      ["channel twice"] = '{"channel":"a","data":1,"channel":"b"}',
      ["a member twice, once escaped"] = [[{"data":1,"d\u0061ta":2}]],
      ["a channel that is a number"] = '{"channel":1,"data":1}',
      ["a channel that is an array"] = '{"channel":["a"],"data":1}',
      ["an event that is a number"] = '{"event":1,"data":1}',
      ["an event that is an object"] = '{"event":{},"data":1}',
      ["an empty channel"] = '{"channel":"","data":1}',
      ["a channel of 201 bytes"] = '{"channel":"' .. ("x"):rep(201) .. '","data":1}',
      ["a channel with a star"] = '{"channel":"a*","data":1}',
      ["a channel with a control character"] = [[{"channel":"a\u0001","data":1}]],
      ["a channel with NUL"] = [[{"channel":"a\u0000b","data":1}]],
      ["a channel with DEL"] = [[{"channel":"a\u007f","data":1}]],
      ["an event with LF"] = [[{"event":"a\nb","data":1}]],
      ["an event with CR"] = [[{"event":"a\rb","data":1}]],
      ["an event with NUL"] = [[{"event":"a\u0000b","data":1}]],
      ["an array"] = "[1]",
      ["a string"] = '"data"',
      ["text after the object"] = '{"data":1} x',
      ["two objects"] = '{"data":1}{"data":2}',
      ["a comma at the end"] = '{"data":1,}',
      ["a number with leading zero"] = '{"data":01}',
      ["NaN"] = '{"data":NaN}',
      ["a hexadecimal number"] = '{"data":0x10}',
      ["single quotes"] = "{'data':1}",
      ["a comment"] = '{"data":1/**/}',
      ["a raw control character in a string"] = '{"data":"a\nb"}',
      ["a bad escape"] = [[{"data":"\x41"}]],
      ["a lone surrogate"] = [[{"data":"\ud800"}]],
      ["a lone surrogate inside a value"] = [[{"data":["\udc00"]}]],
      ["invalid UTF-8 in data"] = '{"data":"\xff"}',
      ["invalid UTF-8 inside a value"] = '{"data":["\xc0\xaf"]}',
      ["invalid UTF-8 in the channel"] = '{"channel":"\xed\xa0\x80","data":1}',
      ["half an object"] = '{"data":{"a":[1',
      ["very deep nesting"] = '{"data":' .. ("["):rep(100000) .. ("]"):rep(100000) .. "}",
      ["a byte order mark"] = '\u{FEFF}{"data":1}',
    }
    local names = {}
    for name in pairs(refused) do
      names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
      it("with " .. name .. " is refused with 400", function()
        assert_refused(refused[name])
      end)
    end
  end)

  describe("raw data", function()
    it("of any other type is taken as it is", function()
      local stream = server:stream("/events?channel=raw"):wait_open()
      local texts = { '{"data":1}', " x ", "a=b&c=d", "" }
      for index, media in ipairs{ "text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "application/jsonx" } do
        assert.equal(200, post(texts[index], { ["Content-Type"] = media }, "/publish?channel=raw").status)
      end
      stream:wait_messages(4)
      assert.same(texts, stream:data())
    end)

    it("needs no media type", function()
      local stream = server:stream("/events?channel=raw"):wait_open()
      assert.equal(200, post("plain", {}, "/publish?channel=raw&event=t").status)
      local message = stream:wait_messages(1)[1]
      assert.same({ "plain", "t" }, { message.data, message.event })
    end)

    it("may come in chunks", function()
      local stream = server:stream("/events?channel=raw"):wait_open()
      local connection = server:connect()
      connection:send("POST /publish?channel=raw HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        .. "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: z\r\n\r\n")
      assert.equal(200, http.read_response(connection).status)
      assert.equal("abcde", stream:wait_messages(1)[1].data)
    end)

    it("that is not UTF-8 is refused with 400", function()
      local plain = { ["Content-Type"] = "text/plain" }
      for _, data in ipairs{ "\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x28\xa1" } do
        assert_refused(data, plain, "/publish?channel=raw")
      end
    end)

    it("with a forged event type or a bad channel is refused with 400", function()
      local plain = { ["Content-Type"] = "text/plain" }
      for _, query in ipairs{ "event=a%0Adata:%20x", "event=a%0D", "event=%00", "event=%ff", "channel=", "channel=%0A", "channel=a*",
        "channel=%ff", "channel=" .. ("x"):rep(201), "event=%zz" } do
        assert_refused("x", plain, "/publish?" .. query)
      end
    end)

    it("that is coded is refused with 415", function()
      local response = post("x", { ["Content-Type"] = "text/plain", ["Content-Encoding"] = "gzip" }, "/publish?channel=raw")
      assert.equal(415, response.status)
    end)
  end)
end)

describe("subscribing", function()
  local server

  setup(function()
    server = helper.serve()
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("is refused with 400 for a channel name that cannot be", function()
    for _, query in ipairs{ "channel=", "channel=%0A", "channel=a*", "channel=*", "channel=%ff", "channel=" .. ("x"):rep(201),
      "channel=ok&channel=%00" } do
      local response = server:request("GET", "/events?" .. query)
      assert.equal(400, response.status, query)
      assert.is_string(json.decode(response.body).error)
    end
  end)

  it("to 100 channels is taken, to 101 refused with 400", function()
    local names = {}
    for index = 1, 100 do
      names[index] = "channel=c" .. index
    end
    local stream = server:stream("/events?" .. table.concat(names, "&")):wait_open()
    server:publish("c100", "x")
    assert.equal("x", stream:wait_messages(1)[1].data)
    names[101] = "channel=c101"
    assert.equal(400, server:request("GET", "/events?" .. table.concat(names, "&")).status)
  end)

  it("twice to one channel counts once", function()
    local stream = server:stream("/events?channel=twice&channel=twice&channel=tw%69ce"):wait_open()
    local _, subscribers = server:publish("twice", "x")
    assert.equal(1, subscribers)
    server:publish("twice", "y")
    stream:wait_messages(2)
    assert.same({ "x", "y" }, stream:data())
  end)
end)
