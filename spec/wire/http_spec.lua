-- SPDX-License-Identifier: MIT
-- HTTP as it is seen on the wire: raw bytes in, exact answers out.
local helper = require("spec.helper")
local http, json, socket, tcp = helper.http, helper.json, require("socket"), helper.tcp

local GET_HEALTH = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"

-- Reads one answer and fails where there is none.
local function answer(connection, options)
  local response, message = http.read_response(connection, options)
  assert(response, "no answer: " .. tostring(message))
  return response
end

local function assert_error(response, status)
  assert.equal(status, response.status, response.body)
  assert.equal("application/json", response.headers["content-type"])
  local body = json.decode(response.body)
  assert.is_string(body.error)
  assert.is_true(#body.error > 0)
end

-- Every case of the table on a connection of its own, all side by side, each cut into pieces by `split`: one piece of each case is
-- sent in turn, so pieces of one request arrive apart without any waiting. Returns for each case a list of statuses and whether the server closed.
local function run_table(port, cases, split)
  local runs = {}
  for index, case in ipairs(cases) do
    runs[index] = { case = case, pieces = split(case.request), next = 1, connection = tcp.connect(port) }
  end
  local sending = true
  while sending do
    sending = false
    for _, run in ipairs(runs) do
      local piece = run.pieces[run.next]
      if piece and not run.gone then
        sending = true
        run.next = run.next + 1
        -- An early error may end it before everything is sent: the answer is still there to read.
        local sent = run.connection:send(piece)
        run.connection:fill()
        run.gone = not sent or run.connection.ended
      end
    end
  end
  for _, run in ipairs(runs) do
    local case = run.case
    local statuses = {}
    local wanted = type(case.status) == "table" and case.status or { case.status }
    local methods = case.methods or { case.request:match("^%s*(%u+) ") }
    for index = 1, #wanted do
      local response, message = http.read_response(run.connection, { method = methods[index] })
      if response and response.status == 100 and wanted[index] ~= 100 then
        response, message = http.read_response(run.connection, { method = methods[index] })
      end
      if not response then
        run.failure = message
        break
      end
      statuses[index] = response.status
    end
    if case.close then
      local rest, closed = run.connection:read_all()
      run.closed, run.rest = closed, rest
    elseif not run.failure then
      -- A connection that is kept answers the next request.
      local sent = run.connection:send(GET_HEALTH)
      local response = sent and http.read_response(run.connection)
      run.closed = not (response and response.status == 200)
      run.rest = ""
    end
    run.wanted, run.statuses, run.was_reset = wanted, statuses, run.connection.was_reset
    run.connection:close()
  end
  return runs
end

local function check_run(run)
  local case = run.case
  assert.same(run.wanted, run.statuses, (run.failure or "") .. " for " .. ("%q"):format(case.request:sub(1, 300)))
  assert.equal(case.close or false, run.closed, "closed? " .. ("%q"):format(case.request:sub(1, 300)))
  assert.is_nil(run.was_reset, "ended by a reset")
  assert.equal("", run.rest or "", "bytes after the last answer")
end

local function pieces_at(text, cuts)
  local pieces, from = {}, 1
  for _, cut in ipairs(cuts) do
    pieces[#pieces + 1] = text:sub(from, cut)
    from = cut + 1
  end
  if from <= #text then
    pieces[#pieces + 1] = text:sub(from)
  end
  return pieces
end

local SPLITS = {
  { "whole", function(text)
    return { text }
  end },
  -- Bytes beyond 3,000 go in one piece: a large field or body is no different at its 70,000th byte.
  { "byte by byte", function(text)
    local cuts = {}
    for at = 1, math.min(#text, 3000) do
      cuts[at] = at
    end
    return pieces_at(text, cuts)
  end },
  { "cut after every CRLF", function(text)
    local cuts = {}
    for at in text:gmatch("\r\n()") do
      cuts[#cuts + 1] = at - 1
    end
    return pieces_at(text, cuts)
  end },
  { "cut inside every CRLF", function(text)
    local cuts = {}
    for at in text:gmatch("\r()\n") do
      cuts[#cuts + 1] = at - 1
    end
    return pieces_at(text, cuts)
  end },
}

describe("requests on the wire:", function()
  local table_of_requests = require("spec.wire.requests")
  local server

  setup(function()
    server = helper.serve{ config = table_of_requests.config }
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  for _, split in ipairs(SPLITS) do
    describe(split[1], function()
      local runs

      setup(function()
        runs = run_table(server.port, table_of_requests.cases, split[2])
      end)

      for index, case in ipairs(table_of_requests.cases) do
        it(case.name, function()
          check_run(runs[index])
        end)
      end
    end)
  end
end)

describe("a connection", function()
  local server

  setup(function()
    server = helper.serve{ config = { limits = { header_timeout = 0.3, idle_timeout = 0.5 } } }
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("is kept for the next request", function()
    local connection = server:connect()
    for _ = 1, 5 do
      local response = http.exchange(connection, "GET", "/health")
      assert.equal(200, response.status)
      assert.is_nil((response.headers.connection or ""):lower():match("close"))
      assert.equal("ok", json.decode(response.body).status)
    end
  end)

  it("answers pipelined requests in their order", function()
    local connection = server:connect()
    local requests = {}
    for index = 1, 50 do
      requests[#requests + 1] = ({ "GET /health HTTP/1.1\r\nHost: a\r\n\r\n", "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        ("POST /publish?channel=order HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"):format(#tostring(index), index) })[index % 3 + 1]
    end
    assert(connection:send(table.concat(requests)))
    for index = 1, 50 do
      local response = answer(connection)
      assert.equal(({ 200, 404, 200 })[index % 3 + 1], response.status)
      assert.equal(index % 3 == 2, response.body:find('"id"', 1, true) ~= nil)
    end
    assert.equal("", connection.buffer)
  end)

  it("is closed after the answer where the request says so", function()
    local connection = server:connect()
    local response = http.exchange(connection, "GET", "/health", { headers = { Connection = "close" } })
    assert.equal(200, response.status)
    assert.equal("close", response.headers.connection)
    assert.same({ "", true }, { connection:read_all() })
  end)

  it("answers only what came before a request to close", function()
    local connection = server:connect()
    connection:send("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" .. GET_HEALTH)
    assert.equal(200, answer(connection).status)
    assert.same({ "", true }, { connection:read_all() })
  end)

  it("of HTTP/1.0 is closed after the answer", function()
    local connection = server:connect()
    local response = http.exchange(connection, "GET", "/health", { version = "1.0" })
    assert.equal(200, response.status)
    assert.equal("1.1", response.version)
    assert.same({ "", true }, { connection:read_all() })
  end)

  it("of HTTP/1.0 is kept where the client asks for it, and told so", function()
    local connection = server:connect()
    for _ = 1, 2 do
      local response = http.exchange(connection, "GET", "/health", { version = "1.0", headers = { Connection = "keep-alive" } })
      assert.equal(200, response.status)
      assert.equal("keep-alive", (response.headers.connection or ""):lower())
    end
  end)

  it("whose sending side ended still gets all its answers, then the end", function()
    local connection = server:connect()
    connection:send(GET_HEALTH .. GET_HEALTH .. "POST /publish?channel=half HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    connection:half_close()
    for _ = 1, 3 do
      assert.equal(200, answer(connection).status)
    end
    assert.same({ "", true }, { connection:read_all() })
  end)

  it("that ends in the middle of a request gets no answer to it", function()
    local connection = server:connect()
    connection:send(GET_HEALTH .. "GET /heal")
    connection:half_close()
    assert.equal(200, answer(connection).status)
    local rest, closed = connection:read_all()
    assert.is_true(closed)
    assert.is_nil(rest:find("HTTP/1.1 200", 1, true))
  end)

  it("gets 408 when the head takes too long", function()
    local connection = server:connect()
    connection:send("GET /health HTTP/1.1\r\nHo")
    local response = answer(connection)
    assert_error(response, 408)
    assert.equal("close", response.headers.connection)
    assert.same({ "", true }, { connection:read_all() })
  end)

  it("gets 408 for a slow head after an answered request too", function()
    local connection = server:connect()
    connection:send(GET_HEALTH .. "GET ")
    assert.equal(200, answer(connection).status)
    assert_error(answer(connection), 408)
    assert.same({ "", true }, { connection:read_all() })
  end)

  it("that trickles its head is cut by the same deadline", function()
    local connection = server:connect()
    local started = socket.gettime()
    local head = "GET /health HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(10000)
    local sent = 0
    helper.eventually(function()
      sent = sent + 1
      connection:send(head:sub(sent, sent))
      connection:fill()
      return connection.buffer:find("\r\n\r\n", 1, true)
    end)
    assert_error(answer(connection), 408)
    assert.is_true(socket.gettime() - started < 5)
  end)

  it("that stays idle is closed without a word", function()
    local connection = server:connect()
    assert.equal(200, http.exchange(connection, "GET", "/health").status)
    local rest, closed = connection:read_all()
    assert.equal("", rest)
    assert.is_true(closed)
    assert.is_nil(connection.was_reset)
  end)
end)

describe("an answer", function()
  local server

  setup(function()
    server = helper.serve()
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("carries the date in the fixed form", function()
    local date = server:request("GET", "/health").headers.date
    local day, month, year, hour, minute, second = date:match("^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
    assert.is_string(day, date)
    local months = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12 }
    local now = os.date("!*t")
    local said = os.time{ year = year, month = months[month], day = day, hour = hour, min = minute, sec = second }
    assert.is_true(math.abs(os.time(now) - said) <= 2, date)
  end)

  it("to HEAD has the head of GET and no body", function()
    local connection = server:connect()
    connection:send("HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n" .. GET_HEALTH)
    local head = answer(connection, { method = "HEAD" })
    local get = answer(connection)
    assert.equal(200, head.status)
    assert.equal(get.headers["content-type"], head.headers["content-type"])
    assert.equal(#get.body, tonumber(head.headers["content-length"]))
    assert.equal("", connection.buffer)
  end)

  it("to HEAD has no body where it is an error either", function()
    local connection = server:connect()
    connection:send("HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n" .. GET_HEALTH)
    assert.equal(404, answer(connection, { method = "HEAD" }).status)
    assert.equal(200, answer(connection).status)
  end)

  it("to an unknown path is 404", function()
    assert_error(server:request("GET", "/nowhere"), 404)
    assert_error(server:request("GET", "/events/"), 404)
  end)

  it("to a method that the route does not have is 405 and says which it has", function()
    local response = server:request("GET", "/publish")
    assert_error(response, 405)
    assert.is_truthy((", " .. response.headers.allow .. ","):find(", POST,", 1, true), response.headers.allow)
    assert.is_nil((", " .. response.headers.allow .. ","):find(", GET,", 1, true), response.headers.allow)
    response = server:request("POST", "/events", { body = "x" })
    assert_error(response, 405)
    assert.is_truthy((", " .. response.headers.allow .. ","):find(", GET,", 1, true), response.headers.allow)
    response = server:request("DELETE", "/health")
    assert_error(response, 405)
    assert.is_truthy((", " .. response.headers.allow .. ","):find(", GET,", 1, true), response.headers.allow)
  end)

  it("to OPTIONS is 204", function()
    local response = server:request("OPTIONS", "/events", { headers = { Origin = "http://127.0.0.1",
      ["Access-Control-Request-Method"] = "GET" } })
    assert.equal(204, response.status)
    assert.is_nil(response.headers["content-length"])
  end)

  it("to a stream request is 406 where Accept excludes event streams", function()
    for _, accept in ipairs{ "application/json", "text/html, image/*", "text/event-stream;q=0", "*/*, text/event-stream;q=0", "*/*;q=0" } do
      assert_error(server:request("GET", "/events", { headers = { Accept = accept } }), 406)
    end
  end)

  it("to a stream request is a stream where Accept takes event streams", function()
    for _, accept in ipairs{ "text/event-stream", "*/*", "text/*", "text/html, text/event-stream;q=0.1", "TEXT/Event-Stream" } do
      local stream = server:stream("/events", { headers = { Accept = accept } }):wait_open()
      assert.equal(200, stream.status)
      stream:close()
    end
    local connection = server:connect()
    connection:send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.is_truthy(connection:read_until("\r\n\r\n"):find("^HTTP/1.1 200 "))
  end)

  it("follows 100 Continue where the client waits for it", function()
    local connection = server:connect()
    connection:send("POST /publish?channel=e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    local interim = answer(connection)
    assert.equal(100, interim.status)
    assert.equal("HTTP/1.1 100 Continue\r\n\r\n", interim.head)
    connection:send("hello")
    assert.equal(200, answer(connection).status)
    assert.equal(200, http.exchange(connection, "GET", "/health").status)
  end)

  it("comes instead of 100 Continue where the request is refused", function()
    local connection = server:connect()
    connection:send("POST /publish?channel=e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
    assert_error(answer(connection), 413)
  end)

  it("to a client that does not wait for 100 Continue is the same", function()
    local connection = server:connect()
    connection:send("POST /publish?channel=e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
    local response = answer(connection)
    if response.status == 100 then
      response = answer(connection)
    end
    assert.equal(200, response.status)
    assert.equal(200, http.exchange(connection, "GET", "/health").status)
  end)

  for _, framing in ipairs{ "sized", "chunked" } do
    it("to a " .. framing .. " body that is too large can be read by a client that sends all of it first", function()
      local connection = server:connect()
      local size = 2 * 1024 * 1024
      local body = ("x"):rep(size)
      if framing == "sized" then
        connection:send(("POST /publish?channel=big HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"):format(size))
        assert.is_true(connection:send(body))
      else
        connection:send("POST /publish?channel=big HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert.is_true(connection:send(("%x\r\n%s\r\n0\r\n\r\n"):format(size, body)))
      end
      local response = answer(connection)
      assert_error(response, 413)
      assert.equal("close", response.headers.connection)
      local rest, closed = connection:read_all()
      assert.equal("", rest)
      assert.is_true(closed)
      assert.is_nil(connection.was_reset)
    end)
  end

  it("ends the connection soon where a refused client goes on sending for ever", function()
    local connection = server:connect()
    local started = socket.gettime()
    connection:send("POST /publish?channel=big HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
    local block = ("x"):rep(65536)
    helper.eventually(function()
      return not connection:send(block)
    end)
    assert.is_true(socket.gettime() - started < 4)
  end)
end)

describe("a stream", function()
  local server

  setup(function()
    server = helper.serve()
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("on HTTP/1.0 is not chunked and lasts to the end of the connection", function()
    local leaving = helper.serve{ config = { drain = 0.2 } }
    local stream = leaving:stream("/events?channel=old", { version = "1.0" }):wait_open()
    assert.is_nil(stream.headers["transfer-encoding"])
    assert.is_nil(stream.headers["content-length"])
    leaving:publish("old", "first\nsecond")
    assert.equal("first\nsecond", stream:wait_messages(1)[1].data)
    leaving:signal("TERM")
    assert.equal("closed", stream:wait_end())
    assert.equal("\n\n", stream:body():sub(-2))
    assert.equal(0, leaving:wait())
  end)

  it("ends when the client ends its sending side", function()
    local stream = server:stream("/events?channel=half"):wait_open()
    stream.connection:half_close()
    assert.is_string(stream:wait_end())
    helper.eventually(function()
      local _, subscribers = server:publish("half", "x")
      return subscribers == 0
    end)
  end)

  it("ignores what the client sends after its request", function()
    local stream = server:stream("/events?channel=talk"):wait_open()
    stream.connection:send(GET_HEALTH .. "anything at all\0\r\n" .. ("x"):rep(10000))
    server:publish("talk", "still here")
    assert.equal("still here", stream:wait_messages(1)[1].data)
    assert.equal(1, #stream:messages())
  end)

  it("ends when the client sends more than 64 KiB after its request", function()
    local stream = server:stream("/events?channel=flood"):wait_open()
    local block = ("x"):rep(16384)
    for _ = 1, 8 do
      stream.connection:send(block)
    end
    assert.is_string(stream:wait_end())
  end)

  it("may come after other requests on the same connection", function()
    local connection = server:connect()
    connection:send(GET_HEALTH .. "GET /events?channel=later HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.equal(200, answer(connection).status)
    assert.is_truthy(connection:read_until("\r\n\r\n"):find("\r\nContent%-Type: text/event%-stream\r\n"))
    assert.is_truthy(connection:read_until("\n\n"):find("sluice.open", 1, true))
  end)
end)
