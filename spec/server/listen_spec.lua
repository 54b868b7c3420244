-- SPDX-License-Identifier: MIT
-- `sluice listen` as a process, on a real server.
local helper = require("spec.helper")
local jwt = require("spec.support.jwt")
local proxy = require("spec.support.proxy")
local scripted = require("spec.support.scripted")
local json, process, socket = helper.json, helper.process, require("socket")

after_each(function()
  scripted.cleanup()
  helper.cleanup()
end)

-- Starts `sluice listen` with these words.
local function listen(...)
  local child = helper.launch({ command = "listen", no_config = true, args = { ... } })
  child.idle = { step = function(_, seconds) socket.select(nil, nil, seconds) end }
  return child
end

local function url(port, target)
  return ("http://127.0.0.1:%d%s"):format(port, target or "/events?channel=a")
end

local function wait_error(child, text, times)
  helper.eventually(function() return select(2, child:errors():gsub(text:gsub("%p", "%%%0"), "")) >= (times or 1) end, nil,
    ("%q on standard error of sluice listen"):format(text))
end

-- Runs `argv`, in which a shell starts sluice by what sluice_command returns. A sanitizer's runtime goes into sluice alone.
local function spawn(argv, stdin)
  return process.spawn(argv, { stdin = stdin, env = { SLUICE_BUILD = os.getenv("SLUICE_BUILD") or "build/release" } })
end

local function sluice_command(words)
  local preload = os.getenv("SLUICE_PRELOAD") or ""
  return (preload == "" and "exec " or ("exec env LD_PRELOAD=%s lua5.4 "):format(process.quote(preload))) .. process.quote(helper.command) .. " " .. words
end

-- What --json printed, decoded.
local function objects(child)
  local list = {}
  for line in child:output():gmatch("([^\n]*)\n") do list[#list + 1] = json.decode(line) end
  return list
end

describe("sluice listen", function()
  it("--json prints one object a line and nothing else, --count ends it", function()
    local server = helper.serve()
    local child = listen(url(server.port), "--json", "--count", "3")
    wait_error(child, "connected to " .. url(server.port))
    local ids, data = {}, { "gr\u{FC}n \"x\"\\\n\tline 2\27", "", '{"a":1}' }
    ids[1] = server:publish("a", data[1], "added")
    ids[2] = server:publish("a", data[2])
    ids[3] = server:publish("a", data[3])
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    local list = objects(child)
    assert.equal(3, #list)
    for i, object in ipairs(list) do
      assert.is_truthy(object.at:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$"), object.at)
      object.at = nil
      assert.same({ id = ids[i], event = i == 1 and "added" or "message", data = data[i] }, object)
    end
    assert.is_truthy(child:output():find('^{"id":"[^"]+","event":"added","data":"'))
    assert.equal("sluice: connected to " .. url(server.port) .. "\n", child:errors())
  end)

  it("prints a line an event, which no terminal would obey", function()
    local server = helper.serve()
    server:publish("a", "two\nlines \27[2J\\ \u{85}\u{E9}", "added")
    local child = listen(url(server.port, "/events?channel=a&last_event_id=earliest"), "--count=1")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    local at, id, rest = child:output():match("^(%S+)  (%S+)  (.*)$")
    assert.is_truthy(at:find("^%d%d:%d%d:%d%d%.%d%d%d$"), at)
    assert.is_truthy(id:find("^%d+%-%d+$"), id)
    assert.equal("added  two\\nlines \\x1b[2J\\\\ \\u0085\u{E9}\n", rest)
  end)

  it("--for ends it, and says nothing of it", function()
    local server = helper.serve()
    local from = socket.gettime()
    local child = listen(url(server.port), "--for", "0.3")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    assert.is_true(socket.gettime() - from >= 0.3)
    assert.equal("", child:output())
  end)

  for _, signal in ipairs({ "INT", "TERM" }) do
    it("ends quietly at SIG" .. signal, function()
      local server = helper.serve()
      local child = listen(url(server.port), "--json")
      wait_error(child, "connected to")
      child:signal(signal)
      assert.equal(0, child:wait(helper.TEST_TIMEOUT))
      assert.equal("", child:output())
      assert.equal("sluice: connected to " .. url(server.port) .. "\n", child:errors())
    end)
  end

  it("goes on from the last id over a connection that is cut, losing and repeating nothing", function()
    local server = helper.serve({ config = { stream = { retry = 50 } } })
    local between = proxy.start(server.port)
    local child = listen(url(between.port), "--json", "--count", "40")
    wait_error(child, "connected to")
    local ids = {}
    for round = 1, 4 do
      for _ = 1, 10 do ids[#ids + 1] = server:publish("a", tostring(#ids + 1)) end
      if round < 4 then
        assert.equal(1, between:cut())
        wait_error(child, "trying again", round)
        ids[#ids + 1] = server:publish("a", tostring(#ids + 1)) -- while it is away
        wait_error(child, "connected to", round + 1)
      end
    end
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    local got = {}
    for i, object in ipairs(objects(child)) do
      got[i] = object.id
      assert.equal(tostring(i), object.data)
    end
    assert.same(table.move(ids, 1, 40, 1, {}), got)
    wait_error(child, "connection lost", 3)
  end)

  it("--last-event-id goes on behind that message", function()
    local server = helper.serve()
    local ids = {}
    for i = 1, 3 do ids[i] = server:publish("a", tostring(i)) end
    local child = listen("--last-event-id", ids[1], "--json", "--count", "2", url(server.port))
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    assert.same({ ids[2], ids[3] }, { objects(child)[1].id, objects(child)[2].id })
  end)

  it("shows a gap as the event that it is", function()
    local server = helper.serve()
    local child = listen("--last-event-id", "1-0", "--json", "--count", "1", url(server.port))
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    assert.equal("sluice.gap", objects(child)[1].event)
  end)

  it("--token is let in where nobody else is; a refusal ends it with 1 and one line", function()
    local key = ("k"):rep(32)
    local server = helper.serve({ config = { jwt = { key = key } } })
    local child = listen(url(server.port), "--json")
    assert.equal(1, child:wait(helper.TEST_TIMEOUT))
    assert.equal("", child:output())
    assert.is_truthy(child:errors():find("^sluice: " .. url(server.port):gsub("%p", "%%%0") .. ": answers 401: [^\n]+\n$"), child:errors())
    child = listen(url(server.port), "--json", "--for", "20", "--token", jwt.make(key, { sub = "ann" }))
    wait_error(child, "connected to")
  end)

  it("--header sends header fields, any number of them", function()
    local server = helper.serve({ scripts = { ["routes.lua"] = [[return { routes = function(route)
      route:stream("/who", function(stream, request) stream:send((request:header("x-a") or "") .. (request:header("x-b") or "")) end)
    end }]] } })
    local child = listen(url(server.port, "/who"), "--json", "--count", "1", "--header", "X-A: 1", "--header=X-B:2:3")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    assert.equal("12:3", objects(child)[1].data)
  end)

  it("reads a stream in gzip, and asks for it", function()
    local server = scripted.listen()
    local child = listen(url(server.port), "--json", "--count", "1")
    local peer = server:accept(child.idle)
    assert.equal("gzip", peer.headers["accept-encoding"])
    local coded = process.temp_dir() .. "/coded"
    assert(os.execute(("printf 'id: 7\\ndata: coded\\n\\n' | gzip -c > '%s'"):format(coded)))
    peer:send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n" .. process.read_file(coded))
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    assert.equal("coded", objects(child)[1].data)
  end)

  it("goes on trying where nobody listens, says so, and finds the server once it is there", function()
    local port = helper.tcp.free_port()
    local child = listen(url(port), "--json", "--count", "1")
    wait_error(child, ("sluice: %s: cannot connect: Connection refused; trying again in 2.0 s\n"):format(url(port)))
    assert.equal("", child:output())
    local server = scripted.listen(port)
    server:accept(child.idle):send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: there\n\n")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    assert.equal("there", objects(child)[1].data)
  end)

  it("tries again after 503 as Retry-After says", function()
    local server = scripted.listen()
    local child = listen(url(server.port), "--json", "--count", "1")
    server:accept(child.idle):answer("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\n")
    wait_error(child, "answers 503: Busy; trying again in 1.0 s")
    server:accept(child.idle):send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
  end)

  it("ends with 0 where the server says that there is no more, with 1 where there is no such stream", function()
    local server = scripted.listen()
    local child = listen(url(server.port))
    server:accept(child.idle):answer("HTTP/1.1 204 No Content\r\n\r\n")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    wait_error(child, "answers 204")
    child = listen(url(helper.serve().port, "/nothing"))
    assert.equal(1, child:wait(helper.TEST_TIMEOUT))
    wait_error(child, "answers 404: no route for /nothing")
  end)

  it("ends with 1 where its output is full", function()
    local server = helper.serve()
    server:publish("a", "x")
    local child = spawn({ "sh", "-c", sluice_command(("listen '%s' >/dev/full"):format(url(server.port, "/events?channel=a&last_event_id=earliest"))) })
    assert.equal(1, child:wait(helper.TEST_TIMEOUT))
    wait_error(child, "cannot write to standard output")
  end)
end)

describe("sluice listen over https://", function()
  local folder, port, server

  -- A key and a certificate for these names.
  local function certificate(name, names)
    process.need("openssl", "openssl")
    assert.is_true(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=sluice -days 2 -addext subjectAltName=%s "
      .. "-keyout %s/%s.key -out %s/%s.crt 2>/dev/null"):format(names, folder, name, folder, name)))
    return folder .. "/" .. name .. ".crt"
  end

  local function secure_proxy(name)
    process.need("node", "nodejs")
    local path = folder .. "/" .. name
    local between = process.spawn({ "node", "spec/support/tls_proxy.js", path .. ".key", path .. ".crt", tostring(server.port) })
    return helper.eventually(function() return math.tointeger(tonumber(between:output():match("%d+"))) end, nil, "the proxy's port")
  end

  before_each(function()
    folder = process.temp_dir()
    server = helper.serve()
    certificate("good", "DNS:localhost,IP:127.0.0.1")
    port = secure_proxy("good")
  end)

  it("follows a stream, small events and large ones, by name and by address", function()
    local ids = { server:publish("a", "one"), server:publish("a", ("x"):rep(300000)), server:publish("a", "three") }
    for _, host in ipairs({ "localhost", "127.0.0.1" }) do
      local target = ("https://%s:%d/events?channel=a&last_event_id=earliest"):format(host, port)
      local child = listen(target, "--json", "--count", "3", "--ca", folder .. "/good.crt")
      assert.equal(0, child:wait(helper.TEST_TIMEOUT), child:errors())
      local list = objects(child)
      assert.same({ ids[1], ids[2], ids[3] }, { list[1].id, list[2].id, list[3].id })
      assert.equal(300000, #list[2].data)
    end
  end)

  it("trusts no certificate that is signed by strangers, or for another name", function()
    local child = listen(("https://localhost:%d/events"):format(port))
    assert.equal(1, child:wait(helper.TEST_TIMEOUT))
    wait_error(child, "certificate verify failed")
    local other = certificate("other", "DNS:*.example,DNS:example.org")
    child = listen(("https://localhost:%d/events"):format(secure_proxy("other")), "--ca", other)
    assert.equal(1, child:wait(helper.TEST_TIMEOUT))
    wait_error(child, "the certificate is not for localhost")
  end)
end)

-- What a terminal of 24 lines shows after these bytes: moves to the beginning, carriage returns, line ends, clearing, the other screen.
local function screen_of(bytes)
  local lines, row, column, other = {}, 1, 1, false
  local at = 1
  while at <= #bytes do
    local escape, argument, command = bytes:match("^(\27%[(%??%d*)(%a))", at)
    if escape then
      at = at + #escape
      if command == "H" then
        row, column = 1, 1
      elseif command == "K" then
        lines[row] = (lines[row] or ""):sub(1, column - 1)
      elseif command == "J" then
        lines[row] = (lines[row] or ""):sub(1, column - 1)
        for below = row + 1, 24 do lines[below] = nil end
      elseif argument == "?1049" then
        other, lines, row, column = command == "h", {}, 1, 1
      end
    else
      local c = bytes:sub(at, at)
      at = at + 1
      if c == "\r" then
        column = 1
      elseif c == "\n" then
        row = row + 1
      else
        lines[row] = (lines[row] or ""):sub(1, column - 1) .. c .. (lines[row] or ""):sub(column + 1)
        column = column + 1
      end
    end
  end
  local list = {}
  for i = 1, 24 do list[i] = lines[i] or "" end
  return list, other
end

describe("sluice listen on a terminal", function()
  -- Starts it on a pseudo-terminal; `words` are shell words. `first` are commands of the shell before, `keys` a file to type from.
  local function listen_on_terminal(words, first, keys)
    process.need("script", "bsdutils")
    return spawn({ "script", "--quiet", "--return", "--flush", "--command",
      ("%s stty rows 24 cols 90; %s"):format(first or "", sluice_command("listen " .. words)), "/dev/null" }, keys)
  end

  local function wait_screen(child, row, pattern)
    return helper.eventually(function()
      local lines, other = screen_of(child:output())
      return lines[row] and lines[row]:find(pattern) and { lines = lines, other = other }
    end, nil, ("line %d of the screen to be %s; the output: %q"):format(row, pattern, child:output()))
  end

  it("shows a table that lives, above the events", function()
    local server = helper.serve({ config = { stream = { retry = 50 } } })
    local between = proxy.start(server.port)
    local child = listen_on_terminal(process.quote(url(between.port)))
    local shown = wait_screen(child, 2, "^connected         yes, stream %x+$")
    assert.is_true(shown.other)
    assert.equal("url               " .. url(between.port), shown.lines[1])
    assert.equal("messagesReceived  0", shown.lines[3])
    assert.equal("lastMessage       -", shown.lines[6])
    assert.equal("lag               -", shown.lines[8])
    server:publish("a", "one")
    local id = server:publish("a", "two \27[2J")
    shown = wait_screen(child, 11, "two")
    assert.equal("messagesReceived  2", shown.lines[3])
    assert.equal("errors            0", shown.lines[4])
    assert.equal("reconnects        0", shown.lines[5])
    assert.is_truthy(shown.lines[6]:find("^lastMessage       %d%d:%d%d:%d%d%.%d%d%d  id " .. id:gsub("%-", "%%-") .. "$"), shown.lines[6])
    assert.is_truthy(shown.lines[7]:find("^rate              %d%.%d/s$"), shown.lines[7])
    assert.is_truthy(shown.lines[8]:find("^lag               %d+ ms$"), shown.lines[8])
    assert.equal("", shown.lines[9])
    assert.is_truthy(shown.lines[10]:find("message  one$"), shown.lines[10])
    assert.is_truthy(shown.lines[11]:find("message  two \\x1b[2J", 1, true), shown.lines[11])
    between:cut()
    shown = wait_screen(child, 5, "^reconnects        1$")
    assert.is_truthy(shown.lines[4]:find("^errors            1, last: connection lost"), shown.lines[4])
    wait_screen(child, 2, "^connected         yes")
    for i = 1, 40 do server:publish("a", "line " .. i) end
    shown = wait_screen(child, 24, "line 40$")
    assert.equal("messagesReceived  42", shown.lines[3])
    assert.is_truthy(shown.lines[10]:find("line 26$"), shown.lines[10])
  end)

  it("cuts lines at the screen's width, and tells why it is not connected", function()
    local server = scripted.listen()
    local child = listen_on_terminal(process.quote(url(server.port)))
    local idle = { step = function(_, seconds) socket.select(nil, nil, seconds) end }
    server:accept(idle):answer("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 60000\ndata: " .. ("\u{FC}"):rep(200) .. "\n\n")
    local shown = wait_screen(child, 2, "^connected         no, trying again in %d%d%.%d s$")
    assert.equal(90, utf8.len(shown.lines[10]))
    assert.equal("errors            1, last: the server ended the stream", shown.lines[4])
  end)

  it("fits a screen that is made small, and one that is made large again", function()
    local server = helper.serve()
    local name = process.temp_dir() .. "/tty"
    local child = listen_on_terminal(process.quote(url(server.port)), ("tty >%s;"):format(name))
    wait_screen(child, 2, "^connected         yes")
    for i = 1, 30 do server:publish("a", "line " .. i .. " " .. ("x"):rep(100)) end
    wait_screen(child, 24, "line 30")
    local function resize(rows, columns)
      assert.is_true(os.execute(("stty -F %s rows %d cols %d"):format(process.read_file(name):match("%S+"), rows, columns)))
      local from = #child:output()
      -- The first picture that began after it is in the new size.
      return helper.eventually(function()
        local picture = child:output():sub(from + 1):match(".*\27%[H(.-)\27%[J")
        local lines = {}
        for line in (picture or ""):gsub("\27%[K", ""):gsub("\r", ""):gmatch("([^\n]*)\n?") do lines[#lines + 1] = line end
        return picture and #lines <= rows and #lines[1] <= columns and lines
      end, nil, ("a picture of %d by %d"):format(columns, rows))
    end
    local lines = resize(4, 12)
    assert.equal(4, #lines)
    assert.equal("connected   ", lines[2])
    lines = resize(12, 60)
    assert.equal(12, #lines)
    assert.is_truthy(lines[12]:find("line 30 x+$"), lines[12])
    assert.equal(60, #lines[12])
    resize(1, 1)
    server:publish("a", "still here")
    lines = resize(30, 100)
    assert.is_truthy(lines[30]:find("still here$"), lines[30])
  end)

  it("gives the terminal back at Ctrl-C", function()
    local server = helper.serve()
    local keys = process.temp_dir() .. "/keys"
    assert.is_true(os.execute("mkfifo " .. keys))
    local typed <close> = assert(io.open(keys, "r+"))
    local child = listen_on_terminal(process.quote(url(server.port)), nil, keys)
    local shown = wait_screen(child, 2, "^connected         yes")
    assert.is_true(shown.other)
    typed:write("\3")
    typed:flush()
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    local lines, other = screen_of(child:output())
    assert.is_false(other)
    assert.is_truthy(lines[2]:find("^connected"), lines[2])
    for _, mode in ipairs({ "?1049", "?25", "?7" }) do
      local last = child:output():match(".*\27%[" .. mode:gsub("%p", "%%%0") .. "(%a)")
      assert.equal(mode == "?1049" and "l" or "h", last)
    end
  end)

  it("leaves the last picture on the ordinary screen", function()
    local server = helper.serve()
    server:publish("a", "here")
    local child = listen_on_terminal(process.quote(url(server.port, "/events?channel=a&last_event_id=earliest")) .. " --count 1")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    local lines, other = screen_of(child:output())
    assert.is_false(other)
    assert.equal("messagesReceived  1", lines[3])
    assert.is_truthy(lines[10]:find("message  here$"), lines[10])
    assert.is_nil(child:output():find("sluice: ", 1, true))
  end)

  it("--json on a terminal is plain as ever", function()
    local server = helper.serve()
    server:publish("a", "here")
    local child = listen_on_terminal(process.quote(url(server.port, "/events?channel=a&last_event_id=earliest")) .. " --json --count 1")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    assert.is_nil(child:output():find("\27", 1, true))
    assert.is_truthy(child:output():find('"data":"here"', 1, true))
  end)
end)
