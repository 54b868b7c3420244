-- SPDX-License-Identifier: MIT
-- Runs what a newcomer runs: the quickstart, the example programs, and the scripts that README.md and the tutorial tell to save.
local helper = require("spec.helper")
local http, json, process, sse = helper.http, helper.json, helper.process, helper.sse

local QUICKSTART = helper.root .. "/examples/quickstart"

-- Serves a folder as `make serve` serves the quickstart, on a free port.
local function serve_folder(folder)
  return helper.serve{ no_config = true, args = { "--config", folder .. "/sluice.conf.lua", "--listen", "127.0.0.1:0", "--workers", "2" } }
end

-- A copy of the quickstart that may be changed.
local function copy_quickstart()
  local folder = process.temp_dir() .. "/quickstart"
  assert(os.execute(("cp -rL %s %s"):format(process.quote(QUICKSTART), process.quote(folder))))
  return folder
end

local function post_json(port, target, value)
  return http.request(port, "POST", target, { headers = { ["Content-Type"] = "application/json" }, body = json.encode(value) })
end

describe("the quickstart", function()
  local server

  setup(function()
    server = serve_folder(QUICKSTART)
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("serves one page that needs no other host", function()
    local page = server:request("GET", "/")
    assert.equal(200, page.status)
    assert.equal("text/html; charset=utf-8", page.headers["content-type"])
    assert.truthy(page.headers["content-security-policy"]:find("default-src 'none'", 1, true))
    for _, id in ipairs{ "state", "events", "channel", "event", "text", "publish", "clock", "countdown" } do
      assert.truthy(page.body:find(('id="%s"'):format(id), 1, true), "no element " .. id)
    end
    assert.is_nil(page.body:find("src=[\"']?%w+:"), "a foreign source")
    assert.is_nil(page.body:find("@import", 1, true))
    assert.is_nil(page.body:find("url%([\"']?%w+:"))
  end)

  it("delivers what is published in either form", function()
    local stream = server:stream("/events?channel=a&channel=b"):wait_open()
    local answer = post_json(server.port, "/publish", { channel = "a", event = "note", data = { n = 1 } })
    assert.equal(200, answer.status)
    assert.equal(1, json.decode(answer.body).subscribers)
    local id = server:publish("b", "plain")
    local messages = stream:wait_messages(2)
    assert.same({ "note", '{"n":1}' }, { messages[1].event, messages[1].data })
    assert.same({ "message", "plain", id }, { messages[2].event, messages[2].data, messages[2].id })
  end)

  it("says what is wrong with a bad publish", function()
    local answer = post_json(server.port, "/publish", { channel = "a", dato = "x" })
    assert.equal(400, answer.status)
    assert.truthy(json.decode(answer.body).error:find("unknown member", 1, true))
  end)

  it("answers /health and /metrics", function()
    local health = server:request("GET", "/health")
    assert.equal(200, health.status)
    assert.equal("ok", json.decode(health.body).status)
    local metrics = server:request("GET", "/metrics")
    assert.equal(200, metrics.status)
    assert.equal("number", type(json.decode(metrics.body).totalConnections))
  end)

  it("sends the time every second", function()
    local messages = server:stream("/clock"):wait_messages(2)
    for _, message in ipairs(messages) do
      assert.equal("time", message.event)
      assert.truthy(message.data:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$"), message.data)
    end
    assert.not_equal(messages[1].data, messages[2].data)
  end)

  it("counts down and ends the stream", function()
    local stream = server:stream("/countdown?from=2")
    assert.equal("chunk", stream:wait_end())
    local seen = {}
    for index, message in ipairs(stream:messages()) do
      seen[index] = message.event .. " " .. message.data
    end
    assert.same({ 'tick {"left":2}', 'tick {"left":1}', 'done {"left":0}' }, seen)
    assert.equal(400, server:request("GET", "/countdown?from=soon").status)
  end)
end)

describe("an edit of the quickstart", function()
  after_each(helper.cleanup)

  it("comes into force while streams stay open", function()
    local folder = copy_quickstart()
    local server = serve_folder(folder)
    local stream = server:stream("/events?channel=a"):wait_open()

    local page = folder .. "/scripts/page/index.html"
    local text = process.read_file(page)
    process.write_file(page, (text:gsub("<h1>.-</h1>", "<h1>Edited</h1>")))
    server:signal("HUP")
    helper.eventually(function()
      return server:request("GET", "/").body:find("<h1>Edited</h1>", 1, true)
    end)

    server:publish("a", "still here")
    assert.equal("still here", stream:wait_messages(1)[1].data)
  end)
end)

describe("the scripts that the documents tell to save", function()
  local server

  setup(function()
    local folder = copy_quickstart()
    local count = 0
    for _, document in ipairs{ "README.md", "doc/tutorial.md" } do
      local text = assert(process.read_file(helper.root .. "/" .. document), document)
      for name, source in text:gmatch("ave[^\n`]- as `examples/quickstart/scripts/([%w_]+%.lua)`.-\n```lua script\n(.-)\n```") do
        process.write_file(folder .. "/scripts/" .. name, source)
        count = count + 1
      end
    end
    assert.equal(4, count)
    server = serve_folder(folder)
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("stars.lua sends as many as asked for", function()
    local stream = server:stream("/stars/2")
    assert.equal("chunk", stream:wait_end())
    assert.same({ '{"n":1}', '{"n":2}' }, stream:data())
  end)

  it("dice.lua rolls, and refuses a die with one side", function()
    local message = server:stream("/dice/6"):wait_messages(1)[1]
    assert.equal("roll", message.event)
    assert.equal(400, server:request("GET", "/dice/1").status)
  end)

  it("weather.lua publishes each reading once", function()
    local messages = server:stream("/weather?last_event_id=earliest"):wait_messages(2)
    assert.equal("reading", messages[1].event)
    local first, second = tonumber(messages[1].id:match("^%d+")), tonumber(messages[2].id:match("^%d+"))
    assert.is_true(second - first > 1500, "two readings within " .. second - first .. " ms")
  end)

  it("rules.lua refuses secret channels and changes what is published", function()
    local refused = server:request("GET", "/events?channel=secret.plans")
    assert.equal(403, refused.status)
    assert.equal("secret channels are not for you", json.decode(refused.body).error)
    local stream = server:stream("/events"):wait_open()
    server:publish("default", "darn it, darned")
    assert.equal("**** it, darned", stream:wait_messages(1)[1].data)
  end)
end)

describe("examples/llm_tokens.lua", function()
  local port

  setup(function()
    local program = process.spawn({ "lua5.4", "examples/llm_tokens.lua", "0" },
      { cwd = helper.root, preload = os.getenv("SLUICE_PRELOAD") })
    port = helper.eventually(function()
      if not program:is_running() then error(program:errors(), 0) end
      return tonumber(program:output():match("http://127%.0%.0%.1:(%d+)\n"))
    end)
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  local function complete(prompt)
    return sse.open(port, "/completions", {
      method = "POST", headers = { ["Content-Type"] = "application/json" }, body = json.encode{ prompt = prompt },
    })
  end

  local function until_done(messages)
    return #messages > 0 and messages[#messages].event == "done"
  end

  -- Ids and text of a list of events, from `start` to `done`.
  local function read(messages)
    local ids, text = {}, {}
    for index, message in ipairs(messages) do
      ids[index] = message.id
      if message.event == "token" then text[#text + 1] = json.decode(message.data).text end
    end
    return ids, table.concat(text)
  end

  it("streams tokens in answer to a POST", function()
    local messages = complete("What is a sluice?"):wait_messages(until_done)
    assert.equal("start", messages[1].event)
    assert.equal(#messages - 2, json.decode(messages[#messages].data).tokens)
    local _, text = read(messages)
    assert.truthy(text:find("^You asked: What is a sluice%?\n\nThis .* twice%.$"), text)
  end)

  it("gives a client that was cut off the rest, without loss or repeat", function()
    local first = complete("Cut me off")
    local head = first:wait_messages(4)
    local target = "/completions/" .. json.decode(head[1].data).id
    local last_id = first:last_event_id()
    local received = #first:messages()
    first:close(true)

    local rest = sse.open(port, target, { last_event_id = last_id }):wait_messages(until_done)
    local whole = sse.open(port, target .. "?last_event_id=earliest"):wait_messages(until_done)
    local joined = table.move(rest, 1, #rest, received + 1, table.move(first:messages(), 1, received, 1, {}))
    assert.same({ read(whole) }, { read(joined) })
  end)

  it("refuses a body without a prompt, and an id that it does not know", function()
    for _, body in ipairs{ "", "{", "[]", "7", "{}", '{"prompt":7}', '{"prompt":""}' } do
      local answer = http.request(port, "POST", "/completions", { headers = { ["Content-Type"] = "application/json" }, body = body })
      assert.equal(400, answer.status, body)
    end
    assert.equal(404, http.request(port, "GET", "/completions/0123456789abcdef").status)
    assert.equal(405, http.request(port, "GET", "/completions").status)
  end)
end)
