-- SPDX-License-Identifier: MIT
-- Runs the examples of who may do what as they stand: examples/private_chat and examples/public_and_secure. Written with sluice.testing only, as a user's
-- own specs are.
local testing = require("sluice.testing")

local function start(name) return testing.start{ config = "examples/" .. name .. "/sluice.conf.lua" } end

describe("the private chat", function()
  local server, ann, bob

  local function log_in(name, password) return server:request("POST", "/login", { json = { name = name, password = password } }) end

  local function say(token, channel, text)
    return server:request("POST", "/publish?channel=" .. channel, { token = token, body = text, headers = { ["Content-Type"] = "text/plain" } })
  end

  setup(function()
    server = start("private_chat")
    ann, bob = log_in("ann", "anemone"):json().token, log_in("bob", "begonia"):json().token
  end)

  it("serves its page to everybody, and its rooms to nobody without a token", function()
    local page = server:request("GET", "/")
    assert.equal(200, page.status)
    assert.truthy(page.body:find("<title>Private chat</title>", 1, true))
    assert.equal(401, server:open("/events?channel=room.lobby").status)
    assert.equal(401, server:request("POST", "/publish?channel=room.lobby", { body = "x" }).status)
  end)

  it("logs in who knows the password", function()
    assert.same({ "room.lobby", "room.board" }, log_in("ann", "anemone"):json().rooms)
    for _, wrong in ipairs({ { "ann", "begonia" }, { "eve", "" }, { 1, 2 }, {} }) do
      local answer = log_in(wrong[1], wrong[2])
      assert.equal(401, answer.status)
      assert.equal("wrong name or password", answer:json().error)
    end
    assert.equal(401, server:request("POST", "/login", { body = "[" }).status)
  end)

  it("shows a room to those who are in it, and says who speaks", function()
    local streams = {}
    for index, token in ipairs({ ann, bob }) do streams[index] = server:open("/events?channel=room.lobby&token=" .. token) end
    assert.equal(200, say(bob, "room.lobby", '{"from":"ann"} <b>hi</b>').status)
    for _, stream in ipairs(streams) do
      assert.same({ from = "bob", text = '{"from":"ann"} <b>hi</b>' }, stream:wait_event():json())
    end
    local late = server:open("/events?channel=room.lobby&last_event_id=earliest&token=" .. ann)
    assert.equal("bob", late:wait_event():json().from)
  end)

  it("keeps out who is not in a room", function()
    assert.equal(200, say(ann, "room.board", "between us").status)
    assert.equal(403, say(bob, "room.board", "me too").status)
    assert.equal(403, server:open("/events?channel=room.board&last_event_id=earliest&token=" .. bob).status)
    assert.equal(403, server:open("/events?channel=room.lobby&channel=room.board&token=" .. bob).status)
    assert.equal(403, say(ann, "elsewhere", "x").status)
    assert.equal(403, say(ann, "sluice.all", "x").status)
  end)

  it("takes no empty message", function()
    local answer = say(ann, "room.lobby", "")
    assert.equal(403, answer.status)
    assert.equal("a message has 1 to 2000 bytes", answer:json().error)
  end)
end)

describe("the public stream beside the secure one", function()
  local server

  setup(function() server = start("public_and_secure") end)

  it("sends the public one to everybody", function()
    for _, options in ipairs({ {}, { token = "bad" } }) do
      assert.truthy(server:open("/events", options):wait_event("time").data:find("^%d%d:%d%d:%d%d$"))
    end
  end)

  it("sends the secure one to who has a token, until that expires", function()
    local refused = server:open("/secure-events")
    assert.equal(401, refused.status)
    assert.equal('Bearer realm="sluice"', refused.headers["www-authenticate"])
    assert.equal(403, server:open("/secure-events", { token = server:token{ sluice = { subscribe = { "other" } } } }).status)
    local stream = server:open("/secure-events", { token = server:token{ sub = "ann", exp = os.time() + 3 } })
    assert.same({ user = "ann" }, stream:wait_event("welcome"):json())
    assert.equal("number", type(stream:wait_event("audience"):json().secure))
    stream:wait_event("sluice.expired")
    assert.is_true(stream:wait_end())
  end)
end)
