-- SPDX-License-Identifier: MIT
-- A stream of a test: one request and what comes in answer, read in the calling thread and only while it waits. Unlike sluice.eventsource it never
-- connects again, and keeps everything to be looked at.

local body = require("sluice.eventsource.body")
local core = require("sluice.core")
local http = require("sluice.http")

local poll, now = core.client.poll, core.client.now

local EVENT_BYTES = 64 << 20
local SHOWN_EVENTS, SHOWN_BYTES = 10, 120

local stream = {}
stream.__index = stream
stream.__name = "sluice.testing.stream"

-- --- events ------------------------------------------------------------------------------------------

local event = {}
event.__index = event

-- The data read as JSON; raises where it is none.
function event:json()
  local value, message = core.json.decode(self.data)
  if message then error(("the data of the event is not JSON: %s: %s"):format(message, self.data:sub(1, SHOWN_BYTES)), 2) end
  return value
end

local function shorten(text)
  if #text <= SHOWN_BYTES then return ("%q"):format(text) end
  return ("%q… (%d bytes)"):format(text:sub(1, SHOWN_BYTES), #text)
end

function event:__tostring()
  return ("%s %s%s"):format(self.event, shorten(self.data), self.id ~= "" and " id " .. self.id or "")
end

local function list_of(events)
  if #events == 0 then return "no event" end
  local lines, first = {}, math.max(1, #events - SHOWN_EVENTS + 1)
  if first > 1 then lines[1] = ("\n  … %d before"):format(first - 1) end
  for index = first, #events do lines[#lines + 1] = "\n  " .. tostring(events[index]) end
  return ("%d event%s:%s"):format(#events, #events == 1 and "" or "s", table.concat(lines))
end

-- --- reading -----------------------------------------------------------------------------------------

-- Opens a stream. `request` is { method, target, bytes, last_event_id, port, timeout, reopen = function(last event id) }. The head of the answer is
-- waited for by wait_head.
function stream.open(request)
  local socket, message = core.client.connect("127.0.0.1", request.port)
  if not socket then return nil, message end
  return setmetatable({
    request = request, socket = socket, unsent = request.bytes, sent = 0, buffer = "",
    events = {}, taken = 0, body = "", last_id = request.last_event_id or "",
  }, stream)
end

function stream:__tostring()
  local state = not self.status and "no answer yet" or ("status %d, %s"):format(self.status, self.ended or "open")
  return ("%s %s (%s)"):format(self.request.method, self.request.target, state)
end

function stream:finish(how)
  self.ended = how
  if self.socket then self.socket:close() end
  self.socket = nil
end

function stream:take_events(events)
  for _, one in ipairs(events) do
    setmetatable(one, event)
    self.last_id = one.id
    if one.event == "sluice.open" and not self.opening and #self.events == 0 then
      self.opening, self.id = one, one:json().stream
    else
      self.events[#self.events + 1] = one
    end
  end
end

function stream:take_body(bytes)
  local text, message = self.decoder:feed(bytes)
  if not text then return self:finish("broken: " .. message) end
  self.body = self.body .. text
  if self.parser then
    local events, retry_ms = self.parser:feed(text)
    if not events then return self:finish("broken: " .. retry_ms) end
    self:take_events(events)
    self.retry = retry_ms or self.retry
  end
  if self.decoder.done then self:finish("ended") end
end

function stream:take_head()
  if not self.buffer:find("\r\n\r\n", 1, true) then return end
  local head, from = http.parse_head(self.buffer, 1)
  if not head then return self:finish("broken: " .. from) end
  self.status, self.headers = head.status, head.headers
  local message
  self.decoder, message = body.decoder(head.headers)
  if not self.decoder then return self:finish("broken: " .. message) end
  if (head.headers["content-type"] or ""):find("^text/event%-stream") then self.parser = core.client.parser(EVENT_BYTES, self.last_id) end
  local rest = self.buffer:sub(from)
  self.buffer = nil
  self:take_body(rest)
end

function stream:connection_ended(message)
  if self.decoder and self.decoder.open_ended and not message then return self:finish("ended") end
  self:finish(self.status and "cut off" or "closed without an answer")
end

function stream:receive()
  local bytes, message = self.socket:receive()
  if bytes == nil then return self:connection_ended(message) end
  if not bytes then return end
  if self.status then return self:take_body(bytes) end
  self.buffer = self.buffer .. bytes
  self:take_head()
end

function stream:send_request()
  local count, message = self.socket:connected()
  if count then count, message = self.socket:send(self.unsent, self.sent + 1) end
  if count == nil then return self:finish("cannot connect: " .. message) end
  self.sent = self.sent + (count or 0)
  if self.sent == #self.unsent then self.unsent = nil end
end

-- Reads what is there, waiting at most `timeout` seconds for it.
function stream:step(timeout)
  if not self.socket then return end
  local ready = poll({ { fd = self.socket:fd(), write = self.unsent ~= nil } }, timeout)
  if not ready[1] then return end
  if self.unsent then return self:send_request() end
  self:receive()
end

-- Steps until `condition` returns something true, and returns that; nil where the stream ended or the time was over before.
local function step_until(self, timeout, condition)
  local deadline = now() + timeout
  while true do
    local result = condition()
    if result then return result end
    local left = deadline - now()
    if self.ended or left <= 0 then return nil end
    self:step(left)
  end
end

local function wait(self, timeout, what, condition)
  timeout = timeout or self.request.timeout()
  local result = step_until(self, timeout, condition)
  if result then return result end
  local got = "got " .. list_of(self.events)
  if self.status and not self.parser then got = "its body is " .. (self.body == "" and "empty" or self.body:sub(1, SHOWN_BYTES)) end
  if self.ended then error(("waited for %s, but %s is over; %s"):format(what, tostring(self), got), 3) end
  error(("waited %g s for %s on %s; %s"):format(timeout, what, tostring(self), got), 3)
end

-- --- what tests call ---------------------------------------------------------------------------------

-- Waits for the answer's head; where it is no event stream, for its whole body.
function stream:wait_head(timeout)
  wait(self, timeout, "an answer", function() return self.status and (self.parser or self.ended) end)
  return self
end

local function shown(want)
  if want == nil then return "an event" end
  if type(want) == "string" then return ("an event of type %q"):format(want) end
  if type(want) == "function" then return "an event that the test's function accepts" end
  local parts = {}
  for _, name in ipairs({ "event", "data", "id" }) do
    if want[name] ~= nil then parts[#parts + 1] = ("%s = %s"):format(name, shorten(tostring(want[name]))) end
  end
  return "an event with " .. table.concat(parts, ", ")
end

local FIELDS = { event = true, data = true, id = true }

local function matcher(want)
  if want == nil then return function() return true end end
  if type(want) == "string" then return function(one) return one.event == want end end
  if type(want) == "function" then return want end
  if type(want) ~= "table" then error("wait_event: what to wait for is an event type, a table, or a function, not a " .. type(want), 3) end
  for name in pairs(want) do
    if not FIELDS[name] then error(("wait_event: an event has event, data and id, not '%s'"):format(tostring(name)), 3) end
  end
  return function(one)
    for name, value in pairs(want) do
      if one[name] ~= value then return false end
    end
    return true
  end
end

function stream:wait_event(want, timeout)
  local matches = matcher(want)
  local seen = self.taken
  return wait(self, timeout, shown(want), function()
    while seen < #self.events do
      seen = seen + 1
      if matches(self.events[seen]) then
        self.taken = seen
        return self.events[seen]
      end
    end
  end)
end

function stream:wait_events(count, timeout)
  if math.type(count) ~= "integer" or count < 1 then error("wait_events: how many is an integer, at least 1", 2) end
  wait(self, timeout, ("%d more event%s"):format(count, count == 1 and "" or "s"), function() return #self.events - self.taken >= count end)
  self.taken = self.taken + count
  return table.move(self.events, self.taken - count + 1, self.taken, 1, {})
end

function stream:wait_end(timeout)
  timeout = timeout or self.request.timeout()
  if not step_until(self, timeout, function() return self.ended end) then
    error(("waited %g s for the end of %s; got %s"):format(timeout, tostring(self), list_of(self.events)), 2)
  end
  return self.ended == "ended", self.ended
end

function stream:last_event_id() return self.last_id end

function stream:resume()
  self:close()
  return self.request.reopen(self.last_id)
end

function stream:close()
  if not self.ended then self:finish("closed by the test") end
end

stream.__close = stream.close
stream.__gc = stream.close

return stream
