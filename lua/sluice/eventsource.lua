-- SPDX-License-Identifier: MIT
-- An EventSource for Lua programs (HTML standard, 9.2): follows an event stream over http:// (and with LuaSec https://), connects again with the last event id.
--
--   local eventsource = require "sluice.eventsource"
--   local client = assert(eventsource.open("http://127.0.0.1:8080/events", {
--     on_event = function(event) print(event.id, event.event, event.data) end,
--   }))
--   client:run{ count = 10 }
--
-- Nothing happens but inside step and run, in the calling thread; resolving a host's name waits, nothing else does. For host programs: in a
-- server's scripts it would hold up the worker. Raises for wrong arguments only, and lets through what a callback raises.

local body = require "sluice.eventsource.body"
local core = require "sluice.core"
local date = require "sluice.eventsource.date"
local http = require "sluice.http"
local request = require "sluice.eventsource.request"
local tls = require "sluice.eventsource.tls"

local poll, now, time_of_day = core.client.poll, core.client.now, core.client.time

local eventsource = {}

local RETRY_MS = 2000
local TIMEOUT_S = 30
local MAX_WAIT_S = 30
local EVENT_BYTES = 16 << 20
local HEAD_BYTES = 65536
local REFUSAL_BYTES, REFUSAL_S = 16384, 1 -- of a refusal's body: it may say why
local REDIRECTS = 20
local RATE_S = 10

local REDIRECT = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }
local PERMANENT = { [301] = true, [308] = true }
local BUSY = { [429] = true, [503] = true }

-- --- options -----------------------------------------------------------------------------------------

local function is_positive(value) return type(value) == "number" and value > 0 and value < math.huge end

local OPTIONS = {
  headers = { "a table", function(value) return type(value) == "table" end },
  token = { "a string", function(value) return type(value) == "string" end },
  ca = { "the name of a file", function(value) return type(value) == "string" end },
  last_event_id = { "a string without CR, LF or NUL", function(value) return type(value) == "string" and not value:find("[\r\n\0]") end },
  retry = { "milliseconds, not negative", function(value) return value == 0 or is_positive(value) end },
  timeout = { "seconds", is_positive },
  max_wait = { "seconds", is_positive },
  max_event_bytes = { "a size", function(value) return math.type(value) == "integer" and value > 0 end },
}
for _, name in ipairs({ "on_open", "on_event", "on_error" }) do
  OPTIONS[name] = { "a function", function(value) return type(value) == "function" end }
end

local function check_options(options)
  for name, value in pairs(options) do
    local option = OPTIONS[name]
    if not option then error(("eventsource.open: unknown option '%s'"):format(tostring(name)), 3) end
    if not option[2](value) then error(("eventsource.open: %s is %s"):format(name, option[1]), 3) end
  end
end

-- The header fields that the options give, as a list of { name, value }: `headers` is such a list, or a table from names to values.
local function fields_of(options)
  local fields = {}
  for key, value in pairs(options.headers or {}) do
    if type(key) ~= "number" then fields[#fields + 1] = { key, value } end
  end
  table.sort(fields, function(a, b) return tostring(a[1]) < tostring(b[1]) end)
  table.move(options.headers or {}, 1, #(options.headers or {}), #fields + 1, fields)
  if options.token then fields[#fields + 1] = { "Authorization", "Bearer " .. options.token } end
  for _, field in ipairs(fields) do
    local ok, message = request.check_field(field[1], field[2])
    if not ok then return nil, message end
  end
  return fields
end

-- --- the client --------------------------------------------------------------------------------------

local client = {}
client.__index = client
client.__name = "sluice.eventsource"

local on_ready = {} -- by state: function(self), called when the descriptor is ready
local on_deadline = {} -- by state: function(self), called when self.deadline has come

local function nothing() end

-- Begins to follow the stream at `url`; the first step connects. Options, all of which may be missing:
--   headers          name -> value, or a list of { name, value }
--   token            sent as Authorization: Bearer
--   ca               a file of the certificates (PEM) to trust for https://; nil: SSL_CERT_FILE, or the system's
--   last_event_id    where to go on from
--   on_event(event)  { id = last event id, event = type, data, at = seconds since 1970 }
--   on_open(status)  connected; called for each connection
--   on_error(message, wait)  a connection was lost or could not be made, `wait` seconds from now the next is tried; nil: never again
--   retry            milliseconds to wait before connecting again, until the server says (2000)
--   timeout          seconds that connecting, and then the answer's header, may take (30)
--   max_wait         seconds that the wait grows to while no connection can be made, unless `retry` is longer (30)
--   max_event_bytes  of one event (16 MiB)
-- Returns the client; or nil and a message where the URL or a header field makes no sense.
function eventsource.open(url, options)
  options = options or {}
  if type(url) ~= "string" then error("eventsource.open: the URL is a string", 2) end
  if type(options) ~= "table" then error("eventsource.open: options are a table", 2) end
  check_options(options)
  local parsed, message = request.parse_url(url)
  if not parsed then return nil, message end
  local fields
  fields, message = fields_of(options)
  if not fields then return nil, message end
  local context
  if parsed.scheme == "https" then
    context, message = tls.context(options.ca)
    if not context then return nil, message end
  end
  local start = now()
  return setmetatable({
    url = parsed, -- where each attempt begins; a permanent redirect moves it
    origin = parsed.origin, -- whom the header fields are for
    fields = fields,
    ca = options.ca, tls_context = context,
    last_id = options.last_event_id or "",
    retry_ms = options.retry or RETRY_MS,
    timeout_s = options.timeout or TIMEOUT_S,
    max_wait_s = options.max_wait or MAX_WAIT_S,
    max_event_bytes = options.max_event_bytes or EVENT_BYTES,
    on_event = options.on_event or nothing,
    on_open = options.on_open or nothing,
    on_error = options.on_error or nothing,
    state = "waiting", deadline = start, started = start,
    failures = 0, -- attempts in a row that led to no stream
    queue = {}, queue_at = 1, -- events that were read and not handed over
    opened = 0, received = 0, errors = 0, per_second = {},
  }, client)
end

function client:__tostring()
  return ("sluice.eventsource (%s, %s)"):format(self.url.text, self.state)
end

-- --- ends and new beginnings -------------------------------------------------------------------------

function client:drop_connection()
  if self.socket then self.socket:close() end
  self.socket, self.decoder, self.parser, self.buffer = nil, nil, nil, nil
end

-- Ends for good.
function client:fail_with(message, status)
  self:drop_connection()
  self.state, self.deadline = "closed", nil
  self.failure, self.status = message, status
  self.errors = self.errors + 1
  self.on_error(message, nil)
end

-- "Reestablish the connection" (HTML, 9.2.3). The wait doubles with each attempt in a row that failed; a server that says how long is heard.
function client:try_again(message, asked_s)
  self:drop_connection()
  local wait = asked_s
  if not wait or wait <= 0 then
    local retry = self.retry_ms / 1000
    wait = math.min(retry * 2.0 ^ math.min(math.max(self.failures - 1, 0), 30), math.max(self.max_wait_s, retry))
  end
  self.state, self.deadline = "waiting", now() + wait
  self.errors = self.errors + 1
  self.on_error(message, wait)
end

function client:attempt_failed(message, asked_s)
  self.failures = self.failures + 1
  self:try_again(message, asked_s)
end

-- Leaves; no callback is called any more. The last event id stays to be had.
function client:close()
  self:drop_connection()
  if self.state ~= "closed" then
    self.state, self.deadline, self.failure = "closed", nil, "closed by the program"
  end
  self.queue, self.queue_at = {}, 1
end

client.__gc = client.close
client.__close = client.close

-- --- connecting --------------------------------------------------------------------------------------

function client:connect(url)
  self.current = url
  self.deadline = now() + self.timeout_s
  local bytes, message = request.build(url, self.fields, self.last_id, url.origin ~= self.origin)
  if not bytes then return self:fail_with(message) end
  if url.scheme == "https" and not self.tls_context then
    self.tls_context, message = tls.context(self.ca)
    if not self.tls_context then return self:fail_with(message) end
  end
  self.unsent, self.sent = bytes, 0
  self.socket, message = core.client.connect(url.host, url.port)
  if not self.socket then return self:attempt_failed("cannot connect: " .. message) end
  self.state = "connecting"
end

function on_deadline.waiting(self)
  self.redirects, self.only_permanent = 0, true
  self:connect(self.url)
end

function on_ready.connecting(self)
  local connected, message = self.socket:connected()
  if connected == nil then return self:attempt_failed("cannot connect: " .. message) end
  if not connected then return end
  self.state = "sending"
  if self.current.scheme == "https" then
    self.socket, message = tls.wrap(self.tls_context, self.socket, self.current.host)
    if not self.socket then return self:attempt_failed("no TLS: " .. message) end
    self.state = "securing"
  end
end

function on_ready.securing(self)
  local done, message, certificate = self.socket:handshake()
  if done then
    self.state = "sending"
  elseif certificate then
    self:fail_with("no TLS: " .. message)
  elseif message then
    self:attempt_failed("no TLS: " .. message)
  end
end

function on_deadline.connecting(self) self:attempt_failed("cannot connect: no answer in time") end

function on_ready.sending(self)
  local count, message = self.socket:send(self.unsent, self.sent + 1)
  if not count then return self:attempt_failed("cannot send the request: " .. message) end
  self.sent = self.sent + count
  if self.sent < #self.unsent then return end
  self.state, self.buffer, self.unsent = "head", "", nil
  self.deadline = now() + self.timeout_s
end

on_deadline.sending, on_deadline.securing = on_deadline.connecting, on_deadline.connecting
function on_deadline.head(self) self:attempt_failed("the server did not answer in time") end

-- --- the answer --------------------------------------------------------------------------------------

function client:redirect(head)
  local location = head.headers.location
  if not location then return self:fail_with(("answers %d without a Location"):format(head.status), head.status) end
  local url, message = request.resolve(self.current, location)
  if not url then return self:fail_with(("redirects to %s: %s"):format(location, message), head.status) end
  self.redirects = self.redirects + 1
  if self.redirects > REDIRECTS then return self:fail_with("too many redirects", head.status) end
  self.only_permanent = self.only_permanent and PERMANENT[head.status]
  if self.only_permanent then self.url = url end
  self:drop_connection()
  self:connect(url)
end

-- What a refusal says, in a line.
local function reason_of(head, text)
  local decoded = core.json.decode(text)
  if type(decoded) == "table" and type(decoded.error) == "string" then return (decoded.error:gsub("%c", " ")) end
  return (head.reason:gsub("%c", " "))
end

function client:judge_refusal()
  local head = self.head
  local message = ("answers %d"):format(head.status)
  local reason = reason_of(head, self.buffer)
  if reason ~= "" then message = message .. ": " .. reason end
  if BUSY[head.status] then return self:attempt_failed(message, date.retry_after(head.headers["retry-after"], time_of_day())) end
  self:fail_with(message, head.status)
end

function client:take_refusal(bytes)
  local text, message = self.decoder:feed(bytes)
  self.buffer = self.buffer .. (text or "")
  if message or self.decoder.done or #self.buffer >= REFUSAL_BYTES then self:judge_refusal() end
end

function on_deadline.refused(self) self:judge_refusal() end

-- The content type without its parameters.
local function essence(value)
  return (value or ""):match("^[^;,]*"):lower():match("^%s*(.-)%s*$")
end

function client:take_head(head, rest)
  local message
  self.head = head
  if REDIRECT[head.status] then return self:redirect(head) end
  if head.status == 204 then return self:fail_with("answers 204: there is no more to come", 204) end
  self.decoder, message = body.decoder(head.headers)
  if head.status ~= 200 then
    self.buffer = ""
    if not self.decoder then return self:judge_refusal() end
    self.state, self.deadline = "refused", now() + REFUSAL_S
    return self:take_refusal(rest)
  end
  local kind = essence(head.headers["content-type"])
  if kind ~= "text/event-stream" then
    return self:fail_with(("answers with content type %s, not text/event-stream"):format(kind == "" and "unknown" or kind), 200)
  end
  if not self.decoder then return self:fail_with(message, 200) end
  self.parser = core.client.parser(self.max_event_bytes, self.last_id)
  self.state, self.deadline, self.buffer = "open", nil, nil
  self.failures, self.opened, self.at_start, self.stream = 0, self.opened + 1, true, nil
  self:take_body(rest)
  self.on_open(head.status)
end

function client:take_bytes_of_head(bytes)
  self.buffer = self.buffer .. bytes
  while true do
    local first = ("HTTP/1."):sub(1, #self.buffer)
    if self.buffer:sub(1, #first) ~= first then return self:attempt_failed("the answer is not HTTP/1.1") end
    if not self.buffer:find("\r\n\r\n", 1, true) then
      if #self.buffer > HEAD_BYTES then return self:attempt_failed("the answer's header is too large") end
      return
    end
    local head, from = http.parse_head(self.buffer, 1)
    if not head then return self:attempt_failed(from) end
    local rest = self.buffer:sub(from)
    if head.status >= 200 then return self:take_head(head, rest) end
    if head.status == 101 then return self:attempt_failed("the server changes to another protocol") end
    self.buffer = rest
  end
end

-- --- events ------------------------------------------------------------------------------------------

-- Seconds from the time in an id, `<unix ms>-<n>`, to `at`; nil for another id.
local function lag_of(id, at)
  local ms = id:match("^(%d+)%-%d+$")
  return ms and #ms <= 15 and at - tonumber(ms) / 1000 or nil
end

function client:count(event)
  self.received = self.received + 1
  self.last_message = event
  local second = math.floor(now())
  local slot = self.per_second[second % RATE_S]
  if not slot or slot.second ~= second then
    slot = { second = second, count = 0 }
    self.per_second[second % RATE_S] = slot
  end
  slot.count = slot.count + 1
  -- An event without an id of its own shows the one before it, and the server's own events are not from their ids' time.
  if event.id ~= self.last_id and not event.event:find("^sluice%.") then
    self.lag = lag_of(event.id, event.at) or self.lag
  end
end

-- The block that every stream of a Sluice server begins with says where it goes on from. It is no message.
function client:is_opening(event)
  if not self.at_start or event.event ~= "sluice.open" then return false end
  local decoded = core.json.decode(event.data)
  self.stream = type(decoded) == "table" and type(decoded.stream) == "string" and decoded.stream or nil
  return true
end

-- Hands over what was read, at most `limit` events (nil: all). What a callback raises goes through; the events behind are not lost.
function client:deliver(limit)
  while self.queue[self.queue_at] and limit ~= 0 do
    local event = self.queue[self.queue_at]
    self.queue[self.queue_at] = nil
    self.queue_at = self.queue_at + 1
    if self:is_opening(event) then
      self.last_id = event.id
    else
      self:count(event)
      self.last_id = event.id
      limit = limit and limit - 1
      self.on_event(event)
    end
    self.at_start = false
  end
  if not self.queue[self.queue_at] then
    self.queue, self.queue_at = {}, 1
    -- A block with an id and no data moves it too (HTML, 9.2.6).
    if self.parser then self.last_id = self.parser:last_id() end
  end
  return limit
end

function client:take_body(bytes)
  local text, message = self.decoder:feed(bytes)
  if not text then return self:lose(message) end
  local events, retry_ms = self.parser:feed(text)
  -- It would be as large the next time.
  if not events then return self:lose(retry_ms, true) end
  local at = time_of_day()
  for _, event in ipairs(events) do
    event.at = at
    self.queue[#self.queue + 1] = event
  end
  self.retry_ms = retry_ms or self.retry_ms
  if self.decoder.done then self:lose("the server ended the stream") end
end

-- The connection is gone (for good: no other is to be made); what was read before goes out first.
function client:lose(message, for_good)
  self.lost, self.lost_for_good = message, for_good
  self.state, self.deadline = "lost", now()
end

function on_deadline.lost(self)
  if self.lost_for_good then return self:fail_with(self.lost) end
  self:try_again(self.lost)
end

-- --- reading -----------------------------------------------------------------------------------------

local on_bytes = { head = client.take_bytes_of_head, refused = client.take_refusal, open = client.take_body }

local function ended(self, message)
  if self.state == "head" then return self:attempt_failed(message or "the server closed the connection without an answer") end
  if self.state == "refused" then return self:judge_refusal() end
  if message then return self:lose("connection lost: " .. message) end
  self:lose(self.decoder.open_ended and "the server ended the stream" or "connection lost")
end

local function read(self)
  local bytes, message = self.socket:receive()
  if bytes then return on_bytes[self.state](self, bytes) end
  if bytes == nil then return ended(self, message) end
end

on_ready.head, on_ready.refused, on_ready.open = read, read, read

-- --- steps -------------------------------------------------------------------------------------------

-- For event loops: the descriptor to wait for (nil: none), for what ("r" or "w"), and the seconds (nil: without end) after which step is to be
-- called in any case. They may be different after each step.
function client:pollfd() return self.state ~= "lost" and self.socket and self.socket:fd() or nil end

function client:events()
  if self.state == "securing" or self.state == "sending" then return self.socket.wants or "w" end
  return self.state == "connecting" and "w" or "r"
end

-- Whether bytes were received that no poll tells of any more.
local function has_more(self) return self.tls_context ~= nil and on_bytes[self.state] ~= nil and self.socket.has_more ~= nil and self.socket:has_more() end

function client:timeout()
  if self.queue[self.queue_at] or has_more(self) then return 0 end
  return self.deadline and math.max(0, self.deadline - now())
end

local function advance(self, ready, limit)
  limit = self:deliver(limit)
  if limit == 0 or self.state == "closed" then return end
  if ready then
    on_ready[self.state](self)
  elseif self.deadline and now() >= self.deadline then
    on_deadline[self.state](self)
  end
  self:deliver(limit)
end

-- Waits for any of the clients, at most `timeout` seconds (nil: without end; a signal ends it too), and lets each do what there is to do;
-- `limits[client]` is how many events it may hand over at most. `extra` is a descriptor of core.client to wait for as well. Returns whether that is ready.
local function step_all(clients, timeout, limits, extra)
  local waits, owners = {}, {}
  for _, one in ipairs(clients) do
    local left, fd = one:timeout(), one:pollfd()
    if left and (not timeout or left < timeout) then timeout = left end
    if fd then
      waits[#waits + 1] = { fd = fd, write = one:events() == "w" }
      owners[one] = #waits
    end
  end
  if extra then waits[#waits + 1] = { fd = extra:fd() } end
  if #waits == 0 and not timeout then return false end
  local ready = poll(waits, timeout)
  for _, one in ipairs(clients) do
    if one.state ~= "closed" then advance(one, owners[one] and ready[owners[one]] or has_more(one), limits and limits[one]) end
  end
  return extra ~= nil and ready[#waits]
end

-- One step of several clients in one thread: waits until one of them has something to do, at most `timeout` seconds (nil: without end).
function eventsource.step(clients, timeout)
  step_all(clients, timeout)
end

-- Waits until there is something to do, at most `timeout` seconds (nil: without end), and does it. Returns true; or nil, message, status once
-- the stream has ended for good: status is the answer's, nil where it was none.
function client:step(timeout)
  if self.state ~= "closed" then step_all({ self }, timeout) end
  if self.state ~= "closed" then return true end
  return nil, self.failure, self.status
end

-- Steps until `options.count` events have been handed over or `options.seconds` are over (neither: for ever), or the program closes the client. Then
-- returns true; or, once the stream has ended for good, nil, message, status as step does.
-- `options.until_ready` is a descriptor of
-- core.client that ends it too; `options.on_turn` is called before each step, and may return after how many seconds it wants to be called again.
function client:run(options)
  options = options or {}
  local deadline = options.seconds and now() + options.seconds
  local goal = options.count and self.received + options.count
  local on_turn = options.on_turn or nothing
  while self.state ~= "closed" do
    local left = deadline and deadline - now()
    if (left and left <= 0) or (goal and self.received >= goal) then return true end
    local turn_left = on_turn()
    if turn_left and (not left or turn_left < left) then left = turn_left end
    if step_all({ self }, left, goal and { [self] = goal - self.received }, options.until_ready) then return true end
  end
  if self.failure == "closed by the program" then return true end
  return nil, self.failure, self.status
end

-- --- what can be known -------------------------------------------------------------------------------

-- The id that the next connection goes on from; "" where there is none.
function client:last_event_id() return self.last_id end

-- Events a second over the last seconds.
local function rate(self)
  local at = now()
  local sum = 0
  for _, slot in pairs(self.per_second) do
    if slot.second > at - RATE_S then sum = sum + slot.count end
  end
  return sum / math.max(1, math.min(RATE_S, at - self.started))
end

-- How it stands: state (waiting, connecting, securing, sending, head, refused, open, lost, closed), connected (boolean), messagesReceived, errors,
-- reconnects (connections after the first), lastMessage (the event, or nil), rate (events a second), lag (seconds from the time in the newest id
-- to its arrival, or nil), stream (the server's name for this stream, or nil), wait (seconds until the next attempt, or nil).
function client:stats()
  local connected = self.state == "open" or self.state == "lost"
  return {
    state = self.state, connected = connected,
    messagesReceived = self.received, errors = self.errors, reconnects = math.max(0, self.opened - 1),
    lastMessage = self.last_message, rate = rate(self), lag = self.lag,
    stream = connected and self.stream or nil,
    wait = self.state == "waiting" and self:timeout() or nil,
  }
end

return eventsource
