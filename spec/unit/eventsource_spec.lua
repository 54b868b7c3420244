-- SPDX-License-Identifier: MIT
-- sluice.eventsource against a server that says what the spec says.
local helper = require("spec.helper")
local body = require("sluice.eventsource.body")
local core = require("sluice.core")
local date = require("sluice.eventsource.date")
local eventsource = require("sluice.eventsource")
local request = require("sluice.eventsource.request")
local scripted = require("spec.support.scripted")
local socket = require("socket")
local tls = require("sluice.eventsource.tls")

local until_true = scripted.until_true

local OK = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
local TO_THE_END = OK .. "\r\n"
local CHUNKED = OK .. "Transfer-Encoding: chunked\r\n\r\n"

after_each(function()
  scripted.cleanup()
  helper.cleanup()
end)

local function chunk(text)
  return ("%x\r\n%s\r\n"):format(#text, text)
end

-- A client of the server, which keeps what it is told in `events`, `failures` ({ message, wait }) and `opens`.
local function open(server, options, path)
  local seen = { events = {}, failures = {}, opens = 0 }
  local all = {
    retry = 1,
    on_event = function(event) seen.events[#seen.events + 1] = event end,
    on_error = function(message, wait) seen.failures[#seen.failures + 1] = { message, wait } end,
    on_open = function() seen.opens = seen.opens + 1 end,
  }
  for name, value in pairs(options or {}) do all[name] = value end
  local client = assert(eventsource.open(("http://127.0.0.1:%d%s"):format(server.port, path or "/events"), all))
  helper.defer(function() client:close() end)
  return client, seen
end

local function short(events)
  local list = {}
  for i, event in ipairs(events) do list[i] = ("%s|%s|%s"):format(event.id, event.event, event.data) end
  return list
end

local function wait_events(client, seen, count)
  until_true(client, function() return #seen.events >= count end, count .. " events")
  return short(seen.events)
end

local function wait_failure(client, seen, count)
  until_true(client, function() return #seen.failures >= (count or 1) end, "a failure")
  return seen.failures[count or 1]
end

local function contains(text, part)
  assert.is_truthy(text and text:find(part, 1, true), ("%q is not in %q"):format(part, tostring(text)))
end

-- --- the format -------------------------------------------------------------------------------------

local STREAM = "\u{FEFF}: comment\r\nid: 1\rdata: gr\u{FC}n\r\ndata: \u{1F600}\n\nevent: add\r\rdata\r\n\r\n"
  .. "event:x\ndata:  two blanks\nid\n\nretry: 1\n:\nid: 2\ndata: a\rdata\r\rdata: cut off"
local EVENTS = { "1|message|gr\u{FC}n\n\u{1F600}", "1|message|", "|x| two blanks", "2|message|a\n" }

local function parse(parts, last_id)
  local parser, list = core.client.parser(1 << 20, last_id), {}
  for _, part in ipairs(parts) do
    table.move(assert(parser:feed(part)), 1, 100, #list + 1, list)
  end
  return short(list), parser
end

describe("the event stream:", function()
  it("is read the same wherever it is cut", function()
    assert.same(EVENTS, (parse({ STREAM })))
    for at = 0, #STREAM do
      assert.same(EVENTS, (parse({ STREAM:sub(1, at), STREAM:sub(at + 1) })), "cut at " .. at)
    end
    local bytes = {}
    for i = 1, #STREAM do bytes[i] = STREAM:sub(i, i) end
    assert.same(EVENTS, (parse(bytes)))
  end)

  local CASES = {
    { "stocks", "data: YHOO\ndata: +2\ndata: 10\n\n", { "|message|YHOO\n+2\n10" } },
    { "an id that is set, and unset by an id without a value", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
      { "1|message|first event", "|message|second event" } },
    { "empty data", "data\n\ndata\ndata\n\ndata:", { "|message|", "|message|\n" } },
    { "one blank after the colon left out", "data:test\n\ndata: test\n\n", { "|message|test", "|message|test" } },
    { "unknown fields and fields with blanks around left out", "foo: 1\n data: 2\ndata : 3\nDATA: 4\n\n", {} },
    { "an id with NUL left out", "id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", { "1|message|a", "1|message|b" } },
    { "a type without data forgotten", "event: a\n\ndata: b\n\n", { "|message|b" } },
    { "the last type counting", "event: a\nevent: b\ndata: c\n\n", { "|b|c" } },
    { "an empty type as message", "event: a\nevent:\ndata: c\n\n", { "|message|c" } },
    { "one byte order mark left out and no more", "\u{FEFF}\u{FEFF}data: a\n\ndata: b\n\n", { "|message|b" } },
    { "NUL in data", "data: a\0b\n\n", { "|message|a\0b" } },
  }
  for _, case in ipairs(CASES) do
    it("has " .. case[1], function() assert.same(case[3], (parse({ case[2] }))) end)
  end

  it("keeps the last event id that it begins with until it is told another", function()
    local events, parser = parse({ "data: a\n\nid: 8\n\n" }, "7")
    assert.same({ "7|message|a" }, events)
    assert.equal("8", parser:last_id())
  end)

  local UTF8 = {
    { "a\xffb", "a\u{FFFD}b" }, { "\xc3", "\u{FFFD}" }, { "\xe2\x82", "\u{FFFD}" }, { "\xe2\x82\xac", "\u{20AC}" }, { "\xf0\x9f\x98z", "\u{FFFD}z" },
    { "\xed\xa0\x80", "\u{FFFD}\u{FFFD}\u{FFFD}" }, { "\xc0\x80", "\u{FFFD}\u{FFFD}" }, { "\xf4\x90\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}" },
    { "\xe0\x80\xaf", "\u{FFFD}\u{FFFD}\u{FFFD}" }, { "\xf0\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}" }, { "\xe2\x82\xe2\x82\xac", "\u{FFFD}\u{20AC}" },
  }
  for _, case in ipairs(UTF8) do
    it(("decodes %q with replacement characters"):format(case[1]), function()
      assert.same({ ("%s|%s|%s"):format(case[2], case[2], case[2]) },
        (parse({ ("id: %s\nevent: %s\ndata: %s\n\n"):format(case[1], case[1], case[1]) })))
    end)
  end

  it("is read as another parser reads it, whatever comes", function()
    math.randomseed(20)
    local PIECES = { "data", "id", "event", "retry", ":", ": ", " ", "\r", "\n", "\r\n", "\n\n", "a", "7", "\0", "\u{FEFF}", "\u{FC}" }
    for round = 1, 400 do
      local parts, theirs = {}, helper.sse.parser()
      for i = 1, math.random(60) do
        parts[i] = PIECES[math.random(#PIECES)]
        theirs:feed(parts[i])
      end
      local events, parser = parse(parts)
      assert.same(short(theirs.events), events, ("round %d: %q"):format(round, table.concat(parts)))
      assert.equal(theirs.last_event_id, parser:last_id())
    end
  end)

  it("may not have larger events than it is told", function()
    local parser = core.client.parser(10)
    local events, message = parser:feed("data: " .. ("x"):rep(20))
    assert.is_nil(events)
    assert.equal("an event is too large", message)
    assert.has_error(function() parser:feed("\n") end)
  end)
end)

-- --- bodies -----------------------------------------------------------------------------------------

local function gzip(text)
  local dir = helper.process.temp_dir()
  helper.process.write_file(dir .. "/text", text)
  assert(os.execute(("gzip -c '%s/text' > '%s/coded'"):format(dir, dir)))
  return helper.process.read_file(dir .. "/coded")
end

local function decode(headers, parts)
  local decoder, message = body.decoder(headers)
  if not decoder then return nil, message end
  local list = {}
  for i, part in ipairs(parts) do
    list[i], message = decoder:feed(part)
    if not list[i] then return nil, message end
  end
  return table.concat(list), decoder.done
end

describe("a body:", function()
  local CHUNKS = "5;a=b\r\nhello\r\n00001\r\n,\r\nA \r\n 123456\r\n8\r\n0\r\nTrailer: x\r\n\r\n"

  it("in chunks is read wherever it is cut", function()
    for at = 0, #CHUNKS do
      local text, done = decode({ ["transfer-encoding"] = "Chunked" }, { CHUNKS:sub(1, at), CHUNKS:sub(at + 1) })
      assert.equal("hello, 123456\r\n8", text)
      assert.is_true(done)
    end
  end)

  it("in chunks is complete after the last one only", function()
    local text, done = decode({ ["transfer-encoding"] = "chunked" }, { CHUNKS:sub(1, -2) })
    assert.equal("hello, 123456\r\n8", text)
    assert.is_nil(done)
  end)

  for _, wrong in ipairs({ "x\r\n", "\r\n", "-1\r\n", "1 1\r\n", "1\r\nab\r\n", "ffffffffffffffff\r\n", "0x1\r\n", ("1"):rep(9000), "1;" .. ("a"):rep(9000),
    "0\r\n" .. ("a: b\r\n"):rep(200) }) do
    it(("in chunks is refused: %q"):format(wrong:sub(1, 30)), function()
      assert.is_nil((decode({ ["transfer-encoding"] = "chunked" }, { wrong })))
    end)
  end

  it("with a length ends there", function()
    assert.same({ "abc", true }, { decode({ ["content-length"] = "3" }, { "ab", "cd", "ef" }) })
    assert.same({ "", true }, { decode({ ["content-length"] = "0" }, {}) })
    assert.is_nil((decode({ ["content-length"] = "3x" }, {})))
  end)

  it("without either goes to the end", function()
    assert.same({ "abcd" }, { decode({}, { "ab", "cd" }) })
  end)

  it("with gzip is read wherever it is cut, in several members too", function()
    local text = STREAM:rep(3)
    local coded = gzip(text)
    for at = 0, #coded do
      assert.equal(text, (decode({ ["content-encoding"] = "gzip" }, { coded:sub(1, at), coded:sub(at + 1) })))
    end
    assert.equal(text .. text, (decode({ ["content-encoding"] = "X-Gzip" }, { coded .. coded })))
    assert.same({ text, true }, { decode({ ["content-encoding"] = "gzip", ["content-length"] = tostring(#coded) }, { coded .. "more" }) })
    local large = ("0123456789"):rep(100000)
    assert.equal(large, (decode({ ["content-encoding"] = "gzip" }, { gzip(large) })))
  end)

  it("with gzip that is damaged is refused", function()
    local coded = gzip("hello")
    assert.same({ nil, "the body is no gzip, or damaged" }, { decode({ ["content-encoding"] = "gzip" }, { "hello" }) })
    assert.is_nil((decode({ ["content-encoding"] = "gzip" }, { coded:sub(1, -9) .. "\0\0\0\0" .. coded:sub(-4) })))
    assert.is_nil((decode({ ["content-encoding"] = "gzip" }, { coded .. "more" })))
  end)

  it("with another coding is refused", function()
    contains(select(2, decode({ ["content-encoding"] = "br" }, {})), "br")
    contains(select(2, decode({ ["transfer-encoding"] = "gzip, chunked" }, {})), "gzip, chunked")
  end)
end)

-- --- text -------------------------------------------------------------------------------------------

describe("a date:", function()
  local NOW = 1795341600
  for text, expected in pairs({
    ["Sun, 06 Nov 1994 08:49:37 GMT"] = 784111777, ["Sunday, 06-Nov-94 08:49:37 GMT"] = 784111777, ["Sun Nov  6 08:49:37 1994"] = 784111777,
    ["Thu, 01 Jan 1970 00:00:00 GMT"] = 0, ["Tue, 29 Feb 2000 12:00:00 GMT"] = 951825600, ["Thu, 31-Dec-37 23:59:59 GMT"] = 2145916799,
  }) do
    it("reads " .. text, function() assert.equal(expected, date.parse(text, NOW)) end)
  end
  for _, text in ipairs({ "", "tomorrow", "Sun, 06 Foo 1994 08:49:37 GMT", "06 Nov 1994", "Sun, 06 Nov 1994 08:49:37 CET" }) do
    it(("does not read %q"):format(text), function() assert.is_nil(date.parse(text, NOW)) end)
  end

  it("or seconds say when to try again", function()
    assert.equal(7, date.retry_after("7", NOW))
    assert.equal(10, date.retry_after("Thu, 01 Jan 1970 00:00:20 GMT", 10))
    assert.equal(0, date.retry_after("Thu, 01 Jan 1970 00:00:20 GMT", NOW))
    assert.is_nil(date.retry_after("soon", NOW))
    assert.is_nil(date.retry_after(nil, NOW))
  end)
end)

describe("a redirect", function()
  local base = assert(request.parse_url("http://a:1/b/c?d"))
  for reference, expected in pairs({
    ["http://x/y"] = "http://x/y", ["//x:2/y"] = "http://x:2/y", ["/y?z"] = "http://a:1/y?z", ["y"] = "http://a:1/b/y", ["?z"] = "http://a:1/b/c?z",
    ["../y"] = "http://a:1/y", ["./y/../z#f"] = "http://a:1/b/z", ["../../../y"] = "http://a:1/y", [".."] = "http://a:1/", [""] = "http://a:1/b/c?d",
  }) do
    it(("to %q leads to %s"):format(reference, expected), function() assert.equal(expected, request.resolve(base, reference).text) end)
  end
  for _, reference in ipairs({ "ftp://x/", "mailto:x", "http://", "/a b" }) do
    it(("to %q is refused"):format(reference), function() assert.is_nil((request.resolve(base, reference))) end)
  end
end)

-- --- the client -------------------------------------------------------------------------------------

describe("a certificate's name", function()
  local CASES = {
    { "a.example", "a.example", true }, { "A.example", "a.EXAMPLE.", true }, { "a.example", "b.example", false }, { "*.a.example", "x.a.example", true },
    { "*.a.example", "a.example", false }, { "*.a.example", "x.y.a.example", false }, { "*.a.example", ".a.example", false },
    { "*.example", "a.example", false },
    { "*", "a", false }, { "x*.a.example", "xy.a.example", false }, { "a.example", "xa.example", false },
  }
  for _, case in ipairs(CASES) do
    it(("%s covers %s%s"):format(case[1], case[3] and "" or "not ", case[2]), function() assert.equal(case[3], tls.covers(case[1], case[2])) end)
  end
end)

describe("eventsource.open", function()
  for url, part in pairs({ ["ftp://a/"] = "begins with http://", ["a"] = "expected http://", ["http://a:x/"] = "host and port" }) do
    it("refuses " .. url, function()
      local client, message = eventsource.open(url)
      assert.is_nil(client)
      contains(message, part)
    end)
  end

  for name, value in pairs({ Host = "x", ["Last-Event-ID"] = "1", ["a b"] = "c", a = "b\r\nc", [""] = "x" }) do
    it(("refuses the header field %q"):format(name), function()
      assert.is_nil((eventsource.open("http://a/", { headers = { [name] = value } })))
      assert.is_nil((eventsource.open("http://a/", { headers = { { name, value } } })))
    end)
  end

  it("raises for options that are none", function()
    for _, options in ipairs({ { tokn = "x" }, { token = 1 }, { retry = -1 }, { on_event = "x" }, { last_event_id = "a\nb" }, { timeout = 0 } }) do
      assert.has_error(function() eventsource.open("http://a/", options) end)
    end
  end)
end)

describe("a client", function()
  it("asks for an event stream, with the header fields it is given", function()
    local server = scripted.listen()
    local client = open(server, { token = "t.o.k", headers = { ["X-A"] = "1", accept = "text/x" }, last_event_id = "5-1" }, "/a/?b=c#d")
    local peer = server:accept(client)
    assert.equal("/a/?b=c", peer.target)
    assert.same({
      host = "127.0.0.1:" .. server.port, connection = "close", ["x-a"] = "1", accept = "text/x", authorization = "Bearer t.o.k",
      ["last-event-id"] = "5-1", ["cache-control"] = "no-store", ["accept-encoding"] = "gzip", ["user-agent"] = peer.headers["user-agent"],
    }, peer.headers)
  end)

  it("hands over events however the answer is cut", function()
    for _, answer in ipairs({
      TO_THE_END .. STREAM,
      "HTTP/1.0 200\r\ncontent-type: Text/Event-Stream;charset=utf-8\r\n\r\n" .. STREAM,
      "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" .. CHUNKED .. STREAM:gsub(".", chunk),
      OK .. "Content-Length: " .. #STREAM .. "\r\n\r\n" .. STREAM,
    }) do
      local server = scripted.listen()
      local client, seen = open(server)
      server:accept(client):drip(client, answer)
      assert.same(EVENTS, wait_events(client, seen, #EVENTS))
      assert.is_nil(seen.events[1].lag)
      assert.is_true(math.abs(seen.events[1].at - socket.gettime()) < 60)
      client:close()
    end
  end)

  it("reads a stream in gzip as it comes", function()
    local server = scripted.listen()
    local client, seen = open(server)
    local peer = server:accept(client)
    peer:drip(client, OK .. "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" .. chunk(gzip(STREAM)))
    assert.same(EVENTS, wait_events(client, seen, 4))
    assert.equal(0, client:stats().errors)
    peer:send(chunk("no gzip at all!!")) -- no member begins like this
    contains(wait_failure(client, seen)[1], "no gzip")
    assert.equal("2", server:accept(client).headers["last-event-id"])
  end)

  it("says the last event id when it connects again, and hands over nothing of an event that was cut", function()
    for _, cut in ipairs({ "close", "reset" }) do
      local server = scripted.listen()
      local client, seen = open(server)
      local peer = server:accept(client)
      assert.is_nil(peer.headers["last-event-id"])
      peer:send(CHUNKED .. chunk("id: \u{FC}1\ndata: a\n\nid: 2\ndata: cut"))
      assert.same({ "\u{FC}1|message|a" }, wait_events(client, seen, 1))
      peer[cut](peer)
      contains(wait_failure(client, seen)[1], "connection lost")
      peer = server:accept(client)
      assert.equal("\u{FC}1", peer.headers["last-event-id"])
      peer:send(CHUNKED .. chunk("data: no id\n\nid: 3\n\n"))
      assert.same({ "\u{FC}1|message|a", "\u{FC}1|message|no id" }, wait_events(client, seen, 2))
      peer:send("0\r\n\r\n") -- an end in order is an end as well
      contains(wait_failure(client, seen, 2)[1], "the server ended the stream")
      assert.equal("3", server:accept(client).headers["last-event-id"])
      local stats = client:stats()
      assert.same({ 2, 2, 1 }, { stats.messagesReceived, stats.errors, stats.reconnects })
      client:close()
    end
  end)

  it("says no id once the server took it back", function()
    local server = scripted.listen()
    local client, seen = open(server, { last_event_id = "9" })
    server:accept(client):answer(TO_THE_END .. "id:\ndata: x\n\n")
    wait_events(client, seen, 1)
    assert.is_nil(server:accept(client).headers["last-event-id"])
  end)

  it("waits as long as retry says", function()
    local server = scripted.listen()
    local client, seen = open(server)
    server:accept(client):answer(TO_THE_END .. "retry: 12000\n\nretry: 5x\nretry:\nretry: -1\n")
    assert.equal(12, wait_failure(client, seen)[2])
    assert.is_true(client:timeout() > 11 and client:timeout() <= 12)
    assert.is_false(client:stats().connected)
    assert.is_true(server:is_idle())
  end)

  it("connects again no sooner than retry says", function()
    local server = scripted.listen()
    local client, seen = open(server)
    server:accept(client):answer(TO_THE_END .. "retry: 150\n\n")
    wait_failure(client, seen)
    local lost = socket.gettime()
    server:accept(client)
    assert.is_true(socket.gettime() - lost >= 0.14)
  end)

  local FINAL = {
    { "204", "HTTP/1.1 204 No Content\r\n\r\n", 204, "answers 204" },
    { "404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, "answers 404: Not Found" },
    { "401 with the reason in JSON", "HTTP/1.1 401 No\r\nContent-Length: 25\r\n\r\n{\"error\":\"missing token\"}", 401, "answers 401: missing token" },
    { "401 with the reason in chunks", "HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n" .. chunk('{"error":"be') .. chunk('gone"}') .. "0\r\n\r\n",
      401, "answers 401: begone" },
    { "500", "HTTP/1.1 500\r\n\r\nwhat", 500, "answers 500" },
    { "206", "HTTP/1.1 206 Partial\r\nContent-Type: text/event-stream\r\n\r\n", 206, "answers 206" },
    { "304", "HTTP/1.1 304 Same\r\n\r\n", 304, "answers 304" },
    { "another content type", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\ndata: x\n\n", 200, "content type text/html" },
    { "a content type that only begins so", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream2\r\n\r\ndata: x\n\n", 200, "text/event-stream2" },
    { "no content type", "HTTP/1.1 200 OK\r\n\r\ndata: x\n\n", 200, "content type unknown" },
    { "an unknown coding", OK .. "Content-Encoding: br\r\n\r\n", 200, "content coding br" },
    { "a redirect to nowhere", "HTTP/1.1 302 Found\r\n\r\n", 302, "without a Location" },
  }
  for _, case in ipairs(FINAL) do
    it("stops for good at " .. case[1], function()
      local server = scripted.listen()
      local client, seen = open(server)
      server:accept(client):answer(case[2])
      local failure = wait_failure(client, seen)
      contains(failure[1], case[4])
      assert.is_nil(failure[2])
      local ok, message, status = client:step(0)
      assert.is_nil(ok)
      assert.equal(failure[1], message)
      assert.equal(case[3], status)
      assert.same({ nil, message, status }, { client:run({ count = 1 }) })
      assert.is_true(server:is_idle())
      assert.same({}, seen.events)
      assert.is_nil(client:pollfd())
    end)
  end

  it("does not wait for ever to hear why it is refused", function()
    local server = scripted.listen()
    local client, seen = open(server)
    server:accept(client):send("HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\n{")
    contains(wait_failure(client, seen)[1], "answers 403: Forbidden")
  end)

  for _, status in ipairs({ 429, 503 }) do
    it(("tries again after %d as Retry-After says"):format(status), function()
      local server = scripted.listen()
      local client, seen = open(server)
      local function refuse(field)
        server:accept(client):answer(("HTTP/1.1 %d Busy\r\n%s\r\n"):format(status, field))
      end
      refuse("")
      assert.equal(0.001, wait_failure(client, seen, 1)[2])
      refuse("Retry-After: 1\r\n")
      assert.equal(1, wait_failure(client, seen, 2)[2])
      refuse(os.date("!Retry-After: %a, %d %b %Y %H:%M:%S GMT\r\n", os.time() + 60))
      local wait = wait_failure(client, seen, 3)[2]
      assert.is_true(wait > 57 and wait <= 60, tostring(wait))
      contains(seen.failures[3][1], ("answers %d: Busy"):format(status))
      assert.equal(3, client:stats().errors)
    end)
  end

  it("follows redirects, and remembers the permanent ones", function()
    for status, remembered in pairs({ [301] = true, [302] = false, [303] = false, [307] = false, [308] = true }) do
      local server, other = scripted.listen(), scripted.listen()
      local client, seen = open(server, { token = "secret", headers = { Cookie = "c", ["X-A"] = "1" } })
      server:accept(client):answer(("HTTP/1.1 %d R\r\nLocation: /here\r\n\r\n"):format(status))
      local peer = server:accept(client)
      assert.equal("/here", peer.target)
      assert.equal("Bearer secret", peer.headers.authorization)
      peer:answer(("HTTP/1.1 %d R\r\nLocation: http://127.0.0.1:%d/there?x\r\n\r\n"):format(status, other.port))
      peer = other:accept(client)
      assert.equal("/there?x", peer.target)
      assert.equal("127.0.0.1:" .. other.port, peer.headers.host)
      -- Secrets are for the server that they were given for.
      assert.is_nil(peer.headers.authorization)
      assert.is_nil(peer.headers.cookie)
      assert.equal("1", peer.headers["x-a"])
      peer:answer(TO_THE_END .. "id: 1\ndata: x\n\n")
      wait_events(client, seen, 1)
      peer = (remembered and other or server):accept(client)
      assert.equal(remembered and "/there?x" or "/events", peer.target)
      assert.equal("1", peer.headers["last-event-id"])
      assert.equal(not remembered and "Bearer secret" or nil, peer.headers.authorization)
      assert.equal(1, client:stats().errors)
      client:close()
    end
  end)

  it("forgets a permanent redirect behind a temporary one", function()
    local server = scripted.listen()
    local client, seen = open(server)
    server:accept(client):answer("HTTP/1.1 302 R\r\nLocation: /a\r\n\r\n")
    server:accept(client):answer("HTTP/1.1 301 R\r\nLocation: /b\r\n\r\n")
    server:accept(client):answer(TO_THE_END)
    wait_failure(client, seen)
    assert.equal("/events", server:accept(client).target)
  end)

  it("stops at redirects without end", function()
    local server = scripted.listen()
    local client = open(server)
    for _ = 1, 21 do server:accept(client):answer("HTTP/1.1 301 R\r\nLocation: /events\r\n\r\n") end
    until_true(client, function() return select(2, client:step(0)) == "too many redirects" end)
  end)

  local BROKEN = {
    { "no answer", "", "without an answer" },
    { "half a header", "HTTP/1.1 200 OK\r\nA: 1\r\n", "without an answer" },
    { "another protocol", "SSH-2.0-x\r\n", "not HTTP/1.1" },
    { "a line that is no field", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "malformed" },
    { "a header without end", "HTTP/1.1 200 OK\r\nA: " .. ("x"):rep(70000), "too large" },
    { "an upgrade", "HTTP/1.1 101 Switching\r\n\r\n", "another protocol" },
    { "wrong chunks", CHUNKED .. "zz\r\n", "chunks" },
  }
  for _, case in ipairs(BROKEN) do
    it("tries again after " .. case[1], function()
      local server = scripted.listen()
      local client, seen = open(server)
      server:accept(client):answer(case[2])
      contains(wait_failure(client, seen)[1], case[3])
      server:accept(client):send(TO_THE_END .. "data: x\n\n")
      assert.same({ "|message|x" }, wait_events(client, seen, 1))
    end)
  end

  it("tries again where no answer comes in time", function()
    local server = scripted.listen()
    local client, seen = open(server, { timeout = 0.05 })
    server:accept(client)
    contains(wait_failure(client, seen)[1], "in time")
    server:accept(client)
  end)

  it("goes on trying where the connection is refused, waiting longer each time, until there is a server", function()
    local port = helper.tcp.free_port()
    local client, seen = open({ port = port }, { retry = 10, max_wait = 0.05 })
    wait_failure(client, seen, 5)
    local waits = {}
    for i = 1, 5 do waits[i] = seen.failures[i][2] end
    assert.same({ 0.01, 0.02, 0.04, 0.05, 0.05 }, waits)
    contains(seen.failures[1][1], "Connection refused")
    local stats = client:stats()
    assert.is_false(stats.connected)
    assert.equal(#seen.failures, stats.errors)
    assert.equal(0, stats.reconnects)
    local server = scripted.listen(port)
    local peer = server:accept(client)
    peer:send(TO_THE_END)
    until_true(client, function() return seen.opens == 1 end)
    assert.is_true(client:stats().connected)
    peer:close()
    assert.equal(0.01, wait_failure(client, seen, #seen.failures + 1)[2])
  end)

  it("finds an IPv4 server where a name has an IPv6 address too", function()
    local server = scripted.listen()
    local client = assert(eventsource.open(("http://localhost:%d/"):format(server.port), { retry = 1 }))
    helper.defer(function() client:close() end)
    assert.equal("localhost:" .. server.port, server:accept(client).headers.host)
  end)

  it("stops for good at an event that is too large, after those before it", function()
    local server = scripted.listen()
    local client, seen = open(server, { max_event_bytes = 100 })
    local peer = server:accept(client)
    peer:send(TO_THE_END .. "data: a\n\n")
    wait_events(client, seen, 1)
    peer:send("data: " .. ("x"):rep(200))
    assert.same({ "an event is too large" }, wait_failure(client, seen))
    assert.is_nil((client:step(0)))
  end)
end)

describe("client:run", function()
  it("ends after so many events and keeps the others for the next run", function()
    local server = scripted.listen()
    local client, seen = open(server)
    server:accept(client):send(TO_THE_END .. "id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: c\n\n")
    assert.is_true(client:run({ count = 2, seconds = 10 }))
    assert.same({ "1|message|a", "2|message|b" }, short(seen.events))
    assert.equal("2", client:last_event_id())
    assert.is_true(client:run({ count = 1, seconds = 10 }))
    assert.equal("3|message|c", short(seen.events)[3])
  end)

  it("ends after so many seconds", function()
    local client = open(scripted.listen())
    local from = socket.gettime()
    assert.is_true(client:run({ seconds = 0.05 }))
    assert.is_true(socket.gettime() - from >= 0.05)
  end)

  it("ends where a callback closes the client, which is told nothing more", function()
    local server = scripted.listen()
    local client, events
    events = {}
    client = open(server, { on_event = function(event)
      events[#events + 1] = event.data
      client:close()
    end })
    server:accept(client):send(TO_THE_END .. "data: a\n\ndata: b\n\n")
    assert.is_true(client:run({ seconds = 10 }))
    assert.same({ "a" }, events)
    assert.same({ nil, "closed by the program" }, { client:step() })
  end)

  it("lets an error in a callback through and loses no event by it", function()
    local server = scripted.listen()
    local events = {}
    local client = open(server, { on_event = function(event)
      events[#events + 1] = event.data
      if event.data == "a" then error("mine", 0) end
    end })
    server:accept(client):answer(TO_THE_END .. "data: a\n\nid: 2\ndata: b\n\n")
    local ok, message = pcall(client.run, client, { seconds = 10 })
    assert.is_false(ok)
    assert.equal("mine", message)
    assert.is_true(client:run({ count = 1, seconds = 10 }))
    assert.same({ "a", "b" }, events)
    assert.equal("2", server:accept(client).headers["last-event-id"])
  end)
end)

describe("eventsource.step", function()
  it("serves several clients in one thread", function()
    local server = scripted.listen()
    local first, seen_first = open(server, nil, "/1")
    local second, seen_second = open(server, nil, "/2")
    local both = { step = function(_, timeout) eventsource.step({ first, second }, timeout) end }
    local peers = {}
    for _ = 1, 2 do
      local peer = server:accept(both)
      peers[peer.target] = peer
    end
    peers["/2"]:send(TO_THE_END .. "data: two\n\n")
    until_true(both, function() return #seen_second.events == 1 end)
    peers["/1"]:send(TO_THE_END .. "data: one\n\n")
    until_true(both, function() return #seen_first.events == 1 end)
    assert.same({ "|message|one" }, short(seen_first.events))
    assert.same({ "|message|two" }, short(seen_second.events))
    assert.is_true(first:pollfd() ~= second:pollfd())
    assert.equal("r", first:events())
    assert.is_nil(first:timeout())
  end)
end)

describe("client:stats", function()
  it("begins with nothing", function()
    local stats = open(scripted.listen()):stats()
    assert.same({ state = "waiting", connected = false, messagesReceived = 0, errors = 0, reconnects = 0, rate = 0, wait = stats.wait }, stats)
  end)

  it("counts messages, not the opening block, and measures the lag of an id of its own", function()
    local server = scripted.listen()
    local client, seen = open(server)
    local peer = server:accept(client)
    peer:send(TO_THE_END .. 'retry: 1\nid: 1000-0\nevent: sluice.open\ndata: {"stream":"abc"}\n\n')
    until_true(client, function() return client:stats().stream == "abc" end)
    assert.equal("1000-0", client:last_event_id())
    assert.equal(0, client:stats().messagesReceived)
    peer:send("data: no id\n\nid: 999-1\nevent: sluice.gap\ndata: {}\n\nid: x\ndata: odd\n\n")
    wait_events(client, seen, 3)
    assert.is_nil(client:stats().lag)
    peer:send(("id: %d-0\ndata: x\n\n"):format(math.floor((socket.gettime() - 5) * 1000)))
    wait_events(client, seen, 4)
    local stats = client:stats()
    assert.is_true(stats.lag >= 5 and stats.lag < 60, tostring(stats.lag))
    assert.equal(4, stats.messagesReceived)
    assert.equal(seen.events[4], stats.lastMessage)
    assert.equal("x", stats.lastMessage.data)
    assert.is_true(stats.connected)
    assert.is_true(stats.rate > 0 and stats.rate <= 4)
    -- Only a stream's first block is the opening one.
    peer:send("event: sluice.open\ndata: x\n\n")
    wait_events(client, seen, 5)
  end)
end)

it("leaves no descriptor open", function()
  local function count()
    collectgarbage()
    collectgarbage()
    local files = 0
    for _ in require("lfs").dir("/proc/self/fd") do files = files + 1 end
    return files
  end
  local server = scripted.listen()
  open(server):step(0)
  helper.cleanup()
  local before = count()
  for _ = 1, 20 do
    local client <close> = assert(eventsource.open(("http://127.0.0.1:%d/"):format(server.port)))
    client:step(0)
    local dropped = assert(eventsource.open(("http://127.0.0.1:%d/"):format(server.port)))
    dropped:step(0)
  end
  assert.equal(before, count())
end)
