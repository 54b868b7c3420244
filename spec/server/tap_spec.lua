-- SPDX-License-Identifier: MIT
-- sluice tap, as somebody who looks for a bug uses it. What a tap shows and when it drops is in admin_spec.lua.
local helper = require("spec.helper")
local jwt = require("spec.support.jwt")

local json = helper.json
local KEY = "the key of the tap spec"

-- Starts `sluice tap` at a server; `words` are more of its command line.
local function tap(server, words)
  local args = table.move(words, 1, #words, 2, { "http://127.0.0.1:" .. server.port })
  return (helper.launch({ command = "tap", no_config = true, args = args }))
end

-- The same, once it is connected and so watches all workers.
local function connected(server, words)
  local child = tap(server, words)
  helper.eventually(function() return child:errors():find("connected to", 1, true) end)
  return child
end

local function stream_id(stream)
  return json.decode(stream.events[1].data).stream
end

describe("sluice tap", function()
  local server
  setup(function() server = helper.start() end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("prints frames as they are sent: when, to whom, and their lines", function()
    local one, other = server:stream("/events?channel=a"):wait_open(), server:stream("/events?channel=b"):wait_open()
    local child = connected(server, { "--channel", "a", "--count", "2" })
    server:publish("b", "not this")
    local id = server:publish("a", "two\nlines", "kind")
    server:publish("a", "\27[31mred")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    local lines = {}
    for line in child:output():gmatch("[^\n]+") do lines[#lines + 1] = line end
    assert.is_truthy(lines[1]:find(("^%%d%%d:%%d%%d:%%d%%d%%.%%d%%d%%d  stream %s  channel a$"):format(stream_id(one))), lines[1])
    assert.same({ "  id: " .. id, "  event: kind", "  data: two", "  data: lines" }, { table.unpack(lines, 2, 5) })
    assert.equal("  data: \\x1b[31mred", lines[8])
    assert.equal(8, #lines)
    assert.is_nil(other.ended)
  end)

  it("prints objects for programs, of one stream", function()
    local one, other = server:stream("/events?channel=a"):wait_open(), server:stream("/events?channel=a"):wait_open()
    local child = connected(server, { "--json", "--stream", stream_id(other), "--count", "1" })
    local id = server:publish("a", "x")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    local frame = json.decode(child:output())
    assert.same({ stream_id(other), "a", ("id: %s\ndata: x\n\n"):format(id) }, { frame.stream, frame.channel, frame.frame })
    assert.is_true(math.abs(frame.at - os.time()) < 60)
    assert.is_nil(one.ended)
  end)

  it("ends with 0 after --for and at an interrupt", function()
    assert.equal(0, connected(server, { "--channel", "a", "--for", "0.1" }):wait(helper.TEST_TIMEOUT))
    local child = connected(server, { "--address", "127.0.0.1" })
    child:signal("INT")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
  end)

  it("says what is wrong, and how to put it right", function()
    for _, case in ipairs({
      { {}, 2, "at least one of --stream, --address and --channel" }, { { "--stream", "xyz" }, 2, "16 hexadecimal digits" },
      { { "--address", "localhost" }, 1, "is no IP address" }, { { "--channel", "a", "--count", "0" }, 2, "at least 1" },
    }) do
      local child = tap(server, case[1])
      assert.equal(case[2], child:wait(helper.TEST_TIMEOUT))
      assert.is_truthy(child:errors():find(case[3], 1, true), child:errors())
      assert.equal("", child:output())
    end
  end)

  it("needs an administrator's token where there is a key", function()
    local keyed = helper.start({ config = { jwt = { key = KEY } } })
    local user, admin = jwt.make(KEY, { sub = "u" }), jwt.make(KEY, { sluice = { admin = true } })
    local child = tap(keyed, { "--channel", "a" })
    assert.equal(1, child:wait(helper.TEST_TIMEOUT))
    assert.is_truthy(child:errors():find("401: missing token (a token of an administrator is needed: --token)", 1, true), child:errors())
    child = tap(keyed, { "--channel", "a", "--token", user })
    assert.equal(1, child:wait(helper.TEST_TIMEOUT))
    assert.is_truthy(child:errors():find("403", 1, true), child:errors())
    child = connected(keyed, { "--channel", "a", "--token", admin })
    child:signal("INT")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
  end)

  it("goes on where a reload has ended its stream", function()
    local scripted = helper.start({ scripts = { ["a.lua"] = "return {}" }, defaults = true })
    local child = connected(scripted, { "--channel", "a" })
    for _ = 1, 2 do assert.is_true(scripted.host:reload()) end
    helper.eventually(function() return select(2, child:errors():gsub("connected to", "")) == 2 end)
    local stream = scripted:stream("/events?channel=a"):wait_open()
    scripted:publish("a", "after")
    stream:wait_messages(1)
    helper.eventually(function() return child:output():find("  data: after", 1, true) end)
    child:signal("INT")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
  end)
end)
