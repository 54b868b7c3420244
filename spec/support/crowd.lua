-- SPDX-License-Identifier: MIT
-- Guarantees 1 and 2 under concurrency: many publishers, streams that are cut and resumed at random, several channels, over all workers of one server or
-- over several that share a log. Every stream must end with every message of its channels exactly once, in the log's order. SEED in the environment
-- repeats a run.
local helper = require("spec.helper")
local messages_of = require("spec.support.messages")
local luassert = require("luassert")
local http, socket, sse = helper.http, require("socket"), helper.sse

local crowd = {}

local CHANNELS, PUBLISHERS = 8, 6

-- --- publishers -----------------------------------------------------------------------------------------

local Publisher = {}
Publisher.__index = Publisher

-- Sends numbered messages to random channels on one kept connection, a few at a time; `log` takes id -> message.
local function new_publisher(server, name, log, count)
  return setmetatable({ connection = server:connect(), name = name, log = log, count = count, sent = 0, waiting = {} }, Publisher)
end

function Publisher:finished()
  return self.sent == self.count and #self.waiting == 0
end

function Publisher:send_more()
  local batch = {}
  for _ = 1, math.random(1, 4) do
    if self.sent < self.count and #self.waiting < 6 then
      self.sent = self.sent + 1
      local message = { channel = "c" .. math.random(CHANNELS), data = ("%s %d %s"):format(self.name, self.sent, ("."):rep(math.random(0, 200))) }
      self.waiting[#self.waiting + 1] = message
      batch[#batch + 1] = http.format("POST", "/publish?channel=" .. message.channel, { body = message.data })
    end
  end
  if #batch > 0 then
    assert(self.connection:send(table.concat(batch)))
  end
end

-- Reads the answers that are there and goes on.
function Publisher:poll()
  local connection = self.connection
  local _, message = connection:fill()
  assert(message ~= "closed", "the publisher's connection was closed")
  while true do
    local head = connection.buffer:match("^.-\r\n\r\n")
    local length = head and tonumber(head:match("\r\n[Cc]ontent%-[Ll]ength: (%d+)"))
    if not length or #connection.buffer < #head + length then
      break
    end
    assert(head:find("^HTTP/1.1 200 "), connection.buffer)
    local body = connection:take(#head + length):sub(#head + 1)
    local id = assert(body:match('"id":"([%d%-]+)"'), body)
    assert(not self.log[id], "one id twice: " .. id)
    local published = table.remove(self.waiting, 1)
    published.id = id
    self.log[id] = published
    self.log[#self.log + 1] = published
  end
  self:send_more()
end

-- --- subscribers ----------------------------------------------------------------------------------------

local Subscriber = {}
Subscriber.__index = Subscriber

local function new_subscriber(servers)
  local self = setmetatable({ servers = servers, received = {}, channels = {}, cuts = 0 }, Subscriber)
  local query = {}
  for _ = 1, math.random(1, CHANNELS) do
    local channel = "c" .. math.random(CHANNELS)
    self.channels[channel] = true
    query[#query + 1] = { "channel", channel }
  end
  self.target = "/events?" .. http.query(query)
  self:open()
  return self
end

function Subscriber:open()
  self.stream = self.servers[math.random(#self.servers)]:stream(self.target, { last_event_id = self.last_id,
    receive_buffer = math.random(3) == 1 and 4096 or nil })
  self.taken = 0
end

-- Takes over what the stream has dispatched.
function Subscriber:collect()
  local stream = self.stream
  while self.taken < #stream.events do
    self.taken = self.taken + 1
    local event = stream.events[self.taken]
    self.last_id = event.id
    if event.event == "sluice.open" then
      self.first_id = self.first_id or event.id
    else
      self.received[#self.received + 1] = event
    end
  end
end

-- Cuts the connection as it stands, in the middle of an event as may be.
function Subscriber:cut()
  self:collect()
  self.stream:close(math.random(2) == 1)
  self.cuts = self.cuts + 1
end

function Subscriber:poll()
  self.stream:poll()
  self:collect()
end

-- Reads whatever is ready among publishers and subscribers.
local function pump(actors)
  local sockets, owners = {}, {}
  for _, actor in ipairs(actors) do
    local connection = actor.connection or actor.stream.connection
    if not connection.ended then
      sockets[#sockets + 1] = connection.socket
      owners[connection.socket] = actor
    end
  end
  for _, sock in ipairs((socket.select(sockets, nil, 0.05))) do
    owners[sock]:poll()
  end
end

-- Options: `name` (of the spec), `servers`, `streams` (how many), `messages` (of each of the six publishers).
function crowd.run(options)
  local seed = tonumber(os.getenv("SEED") or os.time())
  math.randomseed(seed)
  print(("%s: SEED=%d"):format(options.name, seed))
  local servers, streams_wanted = options.servers, options.streams
  local log, publishers, subscribers, actors = {}, {}, {}, {}
  local function join()
    local subscriber = new_subscriber(servers)
    subscribers[#subscribers + 1], actors[#actors + 1] = subscriber, subscriber
  end
  for index = 1, PUBLISHERS do
    publishers[index] = new_publisher(servers[index % #servers + 1], "p" .. index, log, options.messages)
    actors[#actors + 1] = publishers[index]
  end
  for _ = 1, streams_wanted * 2 // 3 do
    join() -- the others come while messages flow
  end

  local function published_all()
    for _, publisher in ipairs(publishers) do
      if not publisher:finished() then
        return false
      end
    end
    return true
  end

  local deadline = socket.gettime() + 6 * helper.TEST_TIMEOUT
  for _, publisher in ipairs(publishers) do
    publisher:send_more()
  end
  while not published_all() do
    assert(socket.gettime() < deadline, "publishing took too long")
    pump(actors)
    for _ = 1, math.random(0, 3) do
      local subscriber = subscribers[math.random(#subscribers)]
      if subscriber.stream.ended then
        subscriber:open()
      elseif subscriber.first_id then
        subscriber:cut()
        if math.random(3) > 1 then
          subscriber:open()
        end
      end
    end
    if #subscribers < streams_wanted and math.random(8) == 1 then
      join()
    end
  end
  while #subscribers < streams_wanted do
    join()
  end

  -- A last message to every channel: when it is there, so is all before it, and a repeat would have shown.
  for index = 1, CHANNELS do
    local message = { channel = "c" .. index, data = "the end of " .. index }
    message.id = servers[1]:publish(message.channel, message.data)
    log[#log + 1] = message
  end
  table.sort(log, function(a, b)
    return messages_of.before(a.id, b.id)
  end)

  local function expected_of(subscriber)
    local list = {}
    for _, message in ipairs(log) do
      if subscriber.channels[message.channel] and messages_of.before(subscriber.first_id, message.id) then
        list[#list + 1] = message
      end
    end
    return list
  end

  local streams = {}
  for index, subscriber in ipairs(subscribers) do
    if subscriber.stream.ended then
      subscriber:open()
    end
    streams[index] = subscriber.stream
  end
  local function has_all(subscriber)
    subscriber:collect()
    if not subscriber.wanted and subscriber.first_id then
      subscriber.wanted = expected_of(subscriber)
    end
    return subscriber.wanted and #subscriber.received >= #subscriber.wanted
  end
  deadline = socket.gettime() + 3 * helper.TEST_TIMEOUT
  local lacking
  repeat
    sse.pump(streams, 0.05)
    lacking = nil
    for _, subscriber in ipairs(subscribers) do
      lacking = lacking or (not has_all(subscriber) and subscriber)
    end
  until not lacking or socket.gettime() > deadline
  if lacking then
    error(("SEED=%d: a stream has %d of %d messages after %d cuts: %s"):format(seed, #lacking.received, #(lacking.wanted or {}), lacking.cuts,
      lacking.stream:describe()))
  end

  local cuts, events = 0, 0
  for index, subscriber in ipairs(subscribers) do
    cuts, events = cuts + subscriber.cuts, events + #subscriber.received
    for place, message in ipairs(subscriber.wanted) do
      local got = subscriber.received[place] or {}
      assert(got.id == message.id and got.data == message.data, ("SEED=%d: stream %d (%s), place %d of %d: wanted %s %q, got %s %s %q"):format(
        seed, index, subscriber.target, place, #subscriber.wanted, message.id, message.data, tostring(got.id), tostring(got.event), tostring(got.data)))
    end
    luassert.equal(#subscriber.wanted, #subscriber.received)
  end
  luassert.equal(PUBLISHERS * options.messages + CHANNELS, #log)
  luassert.is_true(cuts > streams_wanted, "too few cuts to mean anything: " .. cuts)
  print(("%s: %d messages, %d streams, %d events received, %d cuts"):format(options.name, #log, streams_wanted, events, cuts))
end

return crowd
