-- SPDX-License-Identifier: MIT
-- Runs the examples of who may do what as they stand: examples/private_chat and examples/public_and_secure.
local helper = require("spec.helper")
local json = helper.json

local function folder_of(name) return helper.root .. "/examples/" .. name end

local function serve(name)
  return helper.serve{ no_config = true, args = { "--config", folder_of(name) .. "/sluice.conf.lua", "--listen", "127.0.0.1:0", "--workers", "2" } }
end

local function bearer(token) return { Authorization = "Bearer " .. token } end

local function error_of(answer) return json.decode(answer.body).error end

describe("the private chat", function()
  local server, ann, bob

  local function log_in(name, password)
    return server:request("POST", "/login", { headers = { ["Content-Type"] = "application/json" }, body = json.encode({ name = name, password = password }) })
  end

  local function say(token, channel, text)
    return server:request("POST", "/publish?channel=" .. channel, { headers = bearer(token), body = text })
  end

  setup(function()
    server = serve("private_chat")
    ann = json.decode(log_in("ann", "anemone").body).token
    bob = json.decode(log_in("bob", "begonia").body).token
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("serves its page to everybody, and its rooms to nobody without a token", function()
    local page = server:request("GET", "/")
    assert.equal(200, page.status)
    assert.truthy(page.body:find("<title>Private chat</title>", 1, true))
    assert.equal(401, server:request("GET", "/events?channel=room.lobby").status)
    assert.equal(401, server:request("POST", "/publish?channel=room.lobby", { body = "x" }).status)
  end)

  it("logs in who knows the password", function()
    assert.same({ "room.lobby", "room.board" }, json.decode(log_in("ann", "anemone").body).rooms)
    for _, wrong in ipairs({ { "ann", "begonia" }, { "eve", "" }, { 1, 2 }, {} }) do
      local answer = log_in(wrong[1], wrong[2])
      assert.equal(401, answer.status)
      assert.equal("wrong name or password", error_of(answer))
    end
    assert.equal(401, server:request("POST", "/login", { body = "[" }).status)
  end)

  it("shows a room to those who are in it, and says who speaks", function()
    local streams = {}
    for index, token in ipairs({ ann, bob }) do streams[index] = server:stream("/events?channel=room.lobby&token=" .. token):wait_open() end
    assert.equal(200, say(bob, "room.lobby", '{"from":"ann"} <b>hi</b>').status)
    for _, stream in ipairs(streams) do
      assert.same({ from = "bob", text = '{"from":"ann"} <b>hi</b>' }, json.decode(stream:wait_messages(1)[1].data))
    end
    local late = server:stream("/events?channel=room.lobby&last_event_id=earliest&token=" .. ann)
    assert.equal("bob", json.decode(late:wait_messages(1)[1].data).from)
  end)

  it("keeps out who is not in a room", function()
    assert.equal(200, say(ann, "room.board", "between us").status)
    assert.equal(403, say(bob, "room.board", "me too").status)
    assert.equal(403, server:stream("/events?channel=room.board&last_event_id=earliest&token=" .. bob):wait_head().status)
    assert.equal(403, server:stream("/events?channel=room.lobby&channel=room.board&token=" .. bob):wait_head().status)
    assert.equal(403, say(ann, "elsewhere", "x").status)
    assert.equal(403, say(ann, "sluice.all", "x").status)
  end)

  it("takes no empty message", function()
    local answer = say(ann, "room.lobby", "")
    assert.equal(403, answer.status)
    assert.equal("a message has 1 to 2000 bytes", error_of(answer))
  end)
end)

describe("the public stream beside the secure one", function()
  local server

  setup(function() server = serve("public_and_secure") end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  local function token(...)
    local child = helper.launch{ command = "token", no_config = true, args = { "--config", folder_of("public_and_secure") .. "/sluice.conf.lua", ... } }
    assert.equal(0, child:wait(helper.TEST_TIMEOUT), child:errors())
    return child:output():match("^(%S+)\n$")
  end

  it("sends the public one to everybody", function()
    for _, headers in ipairs({ {}, bearer("bad") }) do
      local message = server:stream("/events", { headers = headers }):wait_messages(1)[1]
      assert.equal("time", message.event)
      assert.truthy(message.data:find("^%d%d:%d%d:%d%d$"))
    end
  end)

  it("sends the secure one to who has a token, until that expires", function()
    local refused = server:stream("/secure-events"):wait_head()
    assert.equal(401, refused.status)
    assert.equal('Bearer realm="sluice"', refused.headers["www-authenticate"])
    assert.equal(403, server:stream("/secure-events", { headers = bearer(token("--subscribe", "other")) }):wait_head().status)
    local stream = server:stream("/secure-events", { headers = bearer(token("--sub", "ann", "--exp", "3")) })
    local messages = stream:wait_messages(2)
    assert.same({ "welcome", '{"user":"ann"}' }, { messages[1].event, messages[1].data })
    assert.equal("audience", messages[2].event)
    assert.equal("number", type(json.decode(messages[2].data).secure))
    assert.equal("chunk", stream:wait_end())
    assert.equal("sluice.expired", stream.events[#stream.events].event)
  end)
end)
