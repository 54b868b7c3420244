-- SPDX-License-Identifier: MIT
-- sluice.gzip and sluice.envelope, and the example that uses them.
local helper = require("spec.helper")
local json, process = helper.json, helper.process

-- What `command` makes of `input`.
local function through(command, input)
  local path = process.temp_dir() .. "/input"
  local file = assert(io.open(path, "wb"))
  file:write(input)
  file:close()
  local pipe = assert(io.popen(("{ %s; } < '%s' 2>&1"):format(command, path), "r"))
  local output = pipe:read("a")
  assert(pipe:close(), output)
  return output
end

-- Decoded by the system's own tools: base64 and gzip.
local function open(envelope)
  return envelope.compressed and through("base64 -d | gzip -dc", envelope.data) or envelope.data
end

describe("the example of envelopes", function()
  after_each(helper.cleanup)

  it("compresses what is over 1,024 bytes, once, and gives it to late comers too", function()
    local server = helper.serve{ no_config = true,
      args = { "--config", helper.root .. "/examples/envelope/sluice.conf.lua", "--listen", "127.0.0.1:0", "--workers", "2" } }
    local early = server:stream("/events?channel=reports"):wait_open()
    local long = ("a line with \u{E9}, \\ and \"\n"):rep(100)
    for _, data in ipairs{ "short\ntext", '{"n": 1.10}', ("x"):rep(1024), ("y"):rep(1025), long } do
      assert.equal(200, server:request("POST", "/publish?channel=reports", { body = data }).status)
    end
    local late = server:stream("/events?channel=reports&last_event_id=earliest"):wait_open()
    for _, stream in ipairs{ early, late } do
      local messages = stream:wait_messages(5)
      assert.equal('{"compressed":false,"data":"short\\ntext"}', messages[1].data)
      assert.equal('{"compressed":false,"data":{"n": 1.10}}', messages[2].data)
      assert.equal(('{"compressed":false,"data":"%s"}'):format(("x"):rep(1024)), messages[3].data)
      assert.is_true(json.decode(messages[4].data).compressed)
      assert.equal(("y"):rep(1025), open(json.decode(messages[4].data)))
      assert.equal(long, open(json.decode(messages[5].data)))
      assert.is_true(#messages[5].data < #long / 4)
    end
    local other = server:stream("/events"):wait_open()
    server:publish("default", (long:gsub("\n", " ")))
    assert.equal((long:gsub("\n", " ")), other:wait_messages(1)[1].data)
  end)
end)

describe("sluice.gzip and sluice.envelope", function()
  local server

  setup(function()
    server = helper.serve{ scripts = { ["calls.lua"] = [[
      local loaded = sluice.gzip("at load")
      local function call(request)
        local values = table.pack(pcall(load("return " .. request.body, "=call", "t", { sluice = sluice, loaded = loaded })))
        return values[1] and 200 or 422, values[2], { ["Content-Type"] = "application/octet-stream" }
      end
      return { routes = function(route)
        route:post("/call", call)
        route:stream("/one", function(stream) stream:send(sluice.envelope{ event = "note", data = { left = 1 } }) end)
      end }]] } }
  end)
  teardown(helper.cleanup)

  local function call(text)
    local answer = server:request("POST", "/call", { body = text })
    return answer.body, answer.status
  end

  it("make gzip that gzip reads", function()
    assert.equal("some text", through("gzip -dc", (call('sluice.gzip("some text")'))))
    assert.equal("", through("gzip -dc", (call('sluice.gzip("", 9)'))))
    assert.equal("at load", through("gzip -dc", (call("loaded"))))
    assert.is_true(#call('sluice.gzip(("abc"):rep(1000), 0)') > 3000)
  end)

  it("take strings, tables and options", function()
    assert.equal('{"compressed":false,"data":"text"}', (call('sluice.envelope("text")')))
    assert.equal("abcabc", open(json.decode((call('sluice.envelope("abcabc", { threshold = 5, level = 9 })')))))
    assert.equal('{"compressed":false,"data":{"left":1}}', server:stream("/one"):wait_messages(1)[1].data)
  end)

  it("say what is wrong", function()
    for text, problem in pairs{
      ["sluice.gzip()"] = "bad argument #1 to 'gzip' %(string expected, got no value%)",
      ['sluice.gzip("x", 10)'] = "a level is 0 %(stored%) to 9 %(smallest%)",
      ["sluice.envelope(5)"] = "message %(a table%) or string expected, got number",
      ["sluice.envelope({})"] = "the message has no data",
      ["sluice.envelope({ data = print })"] = "the message has no data",
      ["sluice.envelope({ data = sluice.gzip })"] = "data cannot be encoded: ",
      ['sluice.envelope("x", { treshold = 5 })'] = "the options are threshold and level",
      ['sluice.envelope("x", { threshold = -1 })'] = "threshold is a number of bytes",
      ['sluice.envelope("x", { level = "high" })'] = "level is 0",
    } do
      local answer, status = call(text)
      assert.equal(422, status)
      assert.matches(problem, answer)
    end
  end)
end)
