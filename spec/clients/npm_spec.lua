-- SPDX-License-Identifier: MIT
-- The npm clients `eventsource` and `@microsoft/fetch-event-source` read Sluice's streams as they were published.
local helper = require("spec.helper")
local lfs = require("lfs")
local proxy = require("spec.support.proxy")
local json, process = helper.json, helper.process

local MODULES = os.getenv("NODE_PATH") or helper.root .. "/build/npm/node_modules"

-- What is published, and what the HTML standard has clients hand over.
local function line_of(count)
  local parts = {}
  for index = 1, count do
    parts[index] = ("%d \u{E9}\u{1F600}"):format(index)
  end
  return table.concat(parts, " ")
end

local TEXTS = {
  "plain",
  "\u{65E5}\u{672C}\u{8A9E} \u{1F600} e\u{301} \u{2028} \u{85}",
  "a\nb",
  "a\rb",
  "a\r\nb",
  "a\n\nb\r\r\n\nc",
  "a trailing line end\n",
  "two trailing line ends\r\n\r\n",
  "",
  "  leading blanks",
  ": a colon",
  "x\nid: 1-1\nevent: forged\nretry: 1\n\ndata: y",
  "tab\tand\1control",
  line_of(25000),
  (line_of(20) .. "\n"):rep(900),
  '{"json":[1,2.0,12345678901234567890]}',
}

local function as_read(text)
  return (text:gsub("\r\n", "\n"):gsub("\r", "\n"))
end

-- A client process.
local Client = {}
Client.__index = Client

local function start_client(program, url, ...)
  return setmetatable({ child = process.spawn({ "node", helper.root .. "/spec/clients/" .. program, url, ... },
    { env = { NODE_PATH = MODULES } }), read = 0, records = {} }, Client)
end

-- All that it has printed of one kind.
function Client:list(kind)
  local file = assert(io.open(self.child.stdout, "rb"))
  file:seek("set", self.read)
  for line in file:lines("L") do
    if line:sub(-1) ~= "\n" then
      break -- still being written
    end
    self.read = self.read + #line
    self.records[#self.records + 1] = json.decode(line)
  end
  file:close()
  local found = {}
  for _, record in ipairs(self.records) do
    if record.kind == kind then
      found[#found + 1] = record
    end
  end
  return found
end

-- Waits for `count` records of a kind.
function Client:wait(kind, count)
  local found
  helper.eventually(function()
    found = self:list(kind)
    return #found >= count or not self.child:is_running()
  end, 2 * helper.TEST_TIMEOUT, ("%d records of kind %s"):format(count, kind))
  assert(#found >= count, ("the client ended: %s"):format(self.child:errors()))
  return found
end

-- The events but the opening ones.
function Client:messages()
  local found = {}
  for _, event in ipairs(self:list("event")) do
    if event.event ~= "sluice.open" then
      found[#found + 1] = event
    end
  end
  return found
end

function Client:wait_messages(count)
  helper.eventually(function()
    return #self:messages() >= count
  end, 2 * helper.TEST_TIMEOUT, ("%d messages at the client, which has %d; %s"):format(count, #self:messages(), self.child:errors()))
  return self:messages()
end

local CLIENTS = {
  { name = "eventsource", program = "eventsource.mjs" },
  { name = "@microsoft/fetch-event-source", program = "fetch_event_source.mjs" },
}

for _, client_kind in ipairs(CLIENTS) do
  describe("npm " .. client_kind.name, function()
    before_each(function()
      process.need("node", "nodejs")
      assert(lfs.attributes(MODULES .. "/" .. client_kind.name), client_kind.name .. " is missing: run `make deps`")
    end)
    after_each(helper.cleanup)

    local function start(port, query)
      return start_client(client_kind.program, ("http://127.0.0.1:%d/events?%s"):format(port, query or "channel=npm"),
        "sluice.open", "sluice.gap", "typed", "price change")
    end

    it("reads data, types and ids as they were published", function()
      local server = helper.serve()
      local client = start(server.port)
      client:wait("event", 1)
      local expected = {}
      for index, text in ipairs(TEXTS) do
        local event = ({ nil, "typed", "price change" })[index % 3 + 1]
        local id = server:publish("npm", text, event)
        expected[index] = { event = event or "message", data = as_read(text), id = id }
      end
      local messages = client:wait_messages(#TEXTS)
      for index, message in ipairs(messages) do
        assert.equal(expected[index].event, message.event)
        assert.is_true(expected[index].data == message.data, ("text %d: %q"):format(index, message.data:sub(1, 200)))
        assert.equal(expected[index].id, message.id)
      end
      assert.equal(#TEXTS, #messages)
    end)

    it("knows from the opening event where to go on, and waits as long as retry says", function()
      local server = helper.serve{ config = { stream = { retry = 300 } } }
      local between = proxy.start(server.port)
      local client = start(between.port)
      local opening = client:wait("event", 1)[1]
      assert.equal("sluice.open", opening.event)
      assert.is_truthy(opening.id:find("^%d+%-%d+$"), opening.id)
      -- Cut before any message came, and not connected while they are published.
      between:set_target(helper.tcp.free_port())
      between:cut()
      client:wait("error", 1)
      local ids = {}
      for index = 1, 5 do
        ids[index] = server:publish("npm", "message " .. index)
      end
      between:set_target(server.port)
      local messages = client:wait_messages(5)
      for index, message in ipairs(messages) do
        assert.same({ "message", "message " .. index, ids[index] }, { message.event, message.data, message.id })
      end
      assert.equal(5, #messages)
      local errors, opens = client:list("error"), client:list("open")
      local waited = opens[2].at - errors[1].at
      assert.is_true(waited >= 0.29, ("came back after %.3f s"):format(waited))
      if opening.retry then
        assert.is_true(opening.retry >= 300 and opening.retry <= 600, "retry " .. opening.retry)
      end
    end)

    it("has every message once, however often it is cut", function()
      local server = helper.serve{ config = { stream = { retry = 20 } } }
      local between = proxy.start(server.port)
      local client = start(between.port)
      client:wait("event", 1)
      local count = 0
      for round = 1, 6 do
        for _ = 1, 20 do
          count = count + 1
          server:publish("npm", tostring(count))
          if count % 20 == 7 then
            between:cut()
          end
        end
        client:wait("open", round + 1)
      end
      local messages = client:wait_messages(count)
      for index, message in ipairs(messages) do
        assert.equal(tostring(index), message.data)
      end
      assert.equal(count, #messages)
    end)

    it("is told the gap after a restart of the server, and goes on", function()
      local config = { stream = { retry = 50 } }
      local server = helper.serve{ config = config }
      local between = proxy.start(server.port)
      local client = start(between.port)
      client:wait("event", 1)
      local old = server:publish("npm", "before")
      client:wait_messages(1)
      server:stop()
      server = helper.serve{ config = config }
      between:set_target(server.port)
      local gap = client:wait_messages(2)[2]
      assert.equal("sluice.gap", gap.event)
      assert.equal(old, json.decode(gap.data).requested)
      server:publish("npm", "after")
      local messages = client:wait_messages(3)
      assert.equal("after", messages[3].data)
      assert.equal(3, #messages)
    end)
  end)
end
