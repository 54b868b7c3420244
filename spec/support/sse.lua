-- SPDX-License-Identifier: MIT
-- An event stream client in plain Lua, written from the HTML standard (9.2.6) and RFC 9112 (7.1) alone: it shares nothing with the
-- server's own parser, so that the two check each other. Many streams at once are read through one socket.select.
local http = require("spec.support.http")
local process = require("spec.support.process")
local socket = require("socket")
local tcp = require("spec.support.tcp")

local sse = {}

-- --- the parser -------------------------------------------------------------------------------------

local Parser = {}
Parser.__index = Parser

-- Makes a parser. It fills `events` (each { id = last event id at dispatch, event, data, own_id = the block's own id field, at }),
-- `comments` (text after the colon), `retry` (ms), `last_event_id`.
function sse.parser(last_event_id)
  return setmetatable({ events = {}, comments = {}, last_event_id = last_event_id or "", id_buffer = last_event_id or "",
    pending = "", data = {}, event_type = "", blank_blocks = 0 }, Parser)
end

function Parser:dispatch()
  self.last_event_id = self.id_buffer
  if #self.data == 0 then
    self.blank_blocks = self.blank_blocks + 1
  else
    self.events[#self.events + 1] = { id = self.last_event_id, own_id = self.own_id, data = table.concat(self.data, "\n"),
      event = self.event_type == "" and "message" or self.event_type, at = socket.gettime() }
  end
  self.data, self.event_type, self.own_id = {}, "", nil
end

function Parser:line(line)
  if line == "" then
    return self:dispatch()
  end
  local colon = line:find(":", 1, true)
  if colon == 1 then
    self.comments[#self.comments + 1] = line:sub(2)
    return
  end
  local name = colon and line:sub(1, colon - 1) or line
  local value = colon and line:sub(colon + 1) or ""
  if value:sub(1, 1) == " " then
    value = value:sub(2)
  end
  if name == "data" then
    self.data[#self.data + 1] = value
  elseif name == "event" then
    self.event_type = value
  elseif name == "id" then
    if not value:find("\0", 1, true) then
      self.id_buffer, self.own_id = value, value
    end
  elseif name == "retry" then
    if value:find("^%d+$") then
      self.retry = tonumber(value)
    end
  else
    self.unknown = self.unknown or {}
    table.insert(self.unknown, line)
  end
end

function Parser:feed(bytes)
  local text = self.pending .. bytes
  if not self.began then
    if #text < 3 and ("\xEF\xBB\xBF"):sub(1, #text) == text then
      self.pending = text
      return
    end
    self.began = true
    if text:sub(1, 3) == "\xEF\xBB\xBF" then
      text = text:sub(4)
    end
  end
  local from = 1
  if self.skip_lf and text ~= "" then
    self.skip_lf = false
    if text:byte(1) == 10 then
      from = 2
    end
  end
  while true do
    local at = text:find("[\r\n]", from)
    if not at then
      break
    end
    self:line(text:sub(from, at - 1))
    from = at + 1
    if text:byte(at) == 13 then
      if from > #text then
        self.skip_lf = true
      elseif text:byte(from) == 10 then
        from = from + 1
      end
    end
  end
  self.pending = text:sub(from)
end

-- --- chunked decoding ---------------------------------------------------------------------------------

local Chunked = {}
Chunked.__index = Chunked

function sse.chunked()
  return setmetatable({ pending = "", left = 0, state = "size", done = false }, Chunked)
end

-- Decodes what came. Returns the payload bytes, or nil and what is wrong. `done` is set after the last chunk.
function Chunked:feed(bytes)
  local text, at, out = self.pending .. bytes, 1, {}
  while at <= #text do
    if self.done then
      return nil, "bytes after the last chunk"
    elseif self.state == "size" then
      local first, last = text:find("\r\n", at, true)
      if not first then
        break
      end
      local size = text:sub(at, first - 1)
      if not size:find("^%x+$") then
        return nil, "bad chunk size: " .. size
      end
      at, self.left = last + 1, tonumber(size, 16)
      self.state = self.left == 0 and "last" or "data"
    elseif self.state == "data" then
      local piece = text:sub(at, at + self.left - 1)
      out[#out + 1] = piece
      at, self.left = at + #piece, self.left - #piece
      if self.left == 0 then
        self.state = "end"
      end
    else -- the CRLF after a chunk's data, or the one that ends the body
      if #text - at < 1 then
        break
      end
      if text:sub(at, at + 1) ~= "\r\n" then
        return nil, "chunk without CRLF at its end"
      end
      at = at + 2
      self.done = self.state == "last"
      self.state = "size"
    end
  end
  self.pending = text:sub(at)
  return table.concat(out)
end

-- --- streams --------------------------------------------------------------------------------------------

local Stream = {}
Stream.__index = Stream

-- Opens a stream: connects and sends the request; nothing is read yet. Options: `last_event_id` (sent as the header), `headers`, `version`, `method`,
-- `body`, `receive_buffer`. The stream has, as they come: `status`, `headers`, `head`, `body` (all bytes after the head, chunk framing
-- and gzip removed; of a refusal the answer), `coded` (list of the bytes before gzip was removed), `events`, `comments`, `retry`,
-- `last_event_id`, and at the end `ended` = "chunk" (proper last chunk), "length" (a sized answer is complete), "closed" (connection
-- closed) or "error" (with `failure`).
function sse.open(port, target, options)
  options = options or {}
  local self = setmetatable({ target = target, parser = sse.parser(options.last_event_id), parts = {}, seen = 0 }, Stream)
  self.events, self.comments = self.parser.events, self.parser.comments
  local headers = { { "Accept", "text/event-stream" } }
  for name, value in pairs(options.headers or {}) do
    if name == "Accept" then
      headers[1][2] = value
    else
      headers[#headers + 1] = { name, value }
    end
  end
  if options.last_event_id then
    headers[#headers + 1] = { "Last-Event-ID", options.last_event_id }
  end
  self.connection = tcp.connect(port, { receive_buffer = options.receive_buffer })
  assert(self.connection:send(http.format(options.method or "GET", target,
    { headers = headers, version = options.version, body = options.body })))
  return self
end

function Stream:finish(how, failure)
  self.ended, self.failure = how, failure
  self.connection:close()
end

-- Handles bytes of the body.
function Stream:take(bytes)
  if bytes == "" then
    return
  end
  local payload = bytes
  if self.decoder then
    local message
    payload, message = self.decoder:feed(bytes)
    if not payload then
      return self:finish("error", message)
    end
  end
  if self.gunzip and payload ~= "" then
    local message
    self.coded[#self.coded + 1] = payload
    payload, message = self.gunzip:feed(payload)
    if not payload then
      return self:finish("error", message)
    end
  end
  self.parts[#self.parts + 1] = payload
  self.received = (self.received or 0) + #payload
  if self.is_event_stream then
    self.parser:feed(payload)
  end
  if self.decoder and self.decoder.done then
    self:finish("chunk")
  elseif self.length and self.received >= self.length then
    self:finish("length")
  end
end

-- Reads what is there, without waiting. Returns true where something came.
function Stream:poll()
  if self.ended then
    return false
  end
  local connection = self.connection
  local ok, message = connection:fill()
  if ok and not self.head then
    local _, last = connection.buffer:find("\r\n\r\n", 1, true)
    if last then
      local text = connection:take(last)
      local head, failure = http.parse_head(text)
      if not head then
        self:finish("error", failure)
        return true
      end
      self.head, self.status, self.headers, self.fields = text, head.status, head.headers, head.fields
      self.is_event_stream = (head.headers["content-type"] or ""):find("^text/event%-stream") ~= nil
      self.decoder = head.headers["transfer-encoding"] and sse.chunked() or nil
      if head.headers["content-encoding"] == "gzip" then
        self.gunzip, self.coded = require("sluice.core").client.gunzip(), {}
      end
      self.length = tonumber(head.headers["content-length"])
      if self.length == 0 then
        self:finish("length")
      end
    end
  end
  if self.head and not self.ended then
    self:take(connection:take(#connection.buffer))
  end
  if message == "closed" and not self.ended then
    self:finish("closed")
  end
  return ok == true or message == "closed"
end

function Stream:body()
  local text = table.concat(self.parts)
  self.parts = { text }
  return text
end

-- Has the program gzip read all that came of a stream in gzip that has ended, trailer and end included. Returns its text, which is that of body(), and
-- the number of coded bytes; or nil and what is wrong.
function Stream:gunzipped()
  local coded = table.concat(self.coded)
  local path = process.temp_dir() .. "/coded"
  process.write_file(path, coded)
  local status, text, errors = process.run({ "gzip", "-dc" }, { stdin = path })
  if status ~= 0 then
    return nil, errors
  elseif text ~= self:body() then
    return nil, "gzip reads another text"
  end
  return text, #coded
end

function Stream:last_event_id()
  return self.parser.last_event_id
end

function Stream:retry()
  return self.parser.retry
end

-- The events without the opening one.
function Stream:messages()
  local list = {}
  for _, event in ipairs(self.events) do
    if event.event ~= "sluice.open" then
      list[#list + 1] = event
    end
  end
  return list
end

-- The data of all events without the opening one.
function Stream:data()
  local list = {}
  for index, event in ipairs(self:messages()) do
    list[index] = event.data
  end
  return list
end

-- Leaves, by a reset where `reset` is true.
function Stream:close(reset)
  if not self.ended then
    self.ended = "left"
    if reset then
      self.connection:reset()
    else
      self.connection:close()
    end
  end
end

-- What a failed wait prints about a stream.
function Stream:describe()
  return ("%s: status %s, %d events, last id %q, ended %s%s, last data %q"):format(self.target, tostring(self.status), #self.events,
    self:last_event_id(), tostring(self.ended), self.failure and " (" .. self.failure .. ")" or "",
    self.events[1] and self.events[#self.events].data:sub(1, 200) or self:body():sub(1, 200))
end

-- Reads all streams that have something, waiting at most `timeout` seconds for the first. Returns whether anything came.
function sse.pump(streams, timeout)
  local sockets, owners = {}, {}
  for _, stream in ipairs(streams) do
    if not stream.ended then
      sockets[#sockets + 1] = stream.connection.socket
      owners[stream.connection.socket] = stream
    end
  end
  local readable = socket.select(sockets, nil, timeout)
  local any = false
  for _, sock in ipairs(readable) do
    any = owners[sock]:poll() or any
  end
  return any
end

-- Pumps until `condition()` holds. Raises after `timeout` seconds (tcp.timeout by default), saying how the streams stand.
function sse.wait_for(streams, condition, timeout)
  local deadline = socket.gettime() + (timeout or tcp.timeout)
  while not condition() do
    local left = deadline - socket.gettime()
    if left <= 0 then
      local lines = {}
      for index = 1, math.min(#streams, 5) do
        lines[index] = "  " .. streams[index]:describe()
      end
      error("gave up waiting; streams:\n" .. table.concat(lines, "\n"), 2)
    end
    sse.pump(streams, math.min(left, 0.05))
  end
end

-- Waits until the answer's head is there. Returns the stream.
function Stream:wait_head(timeout)
  sse.wait_for({ self }, function()
    return self.head or self.ended
  end, timeout)
  return self
end

-- Waits until `wanted` events other than the opening one have come (a function: until it says yes to them), and returns them.
-- Fails for a stream that ends before.
function Stream:wait_messages(wanted, timeout)
  local messages
  local function enough()
    messages = self:messages()
    if type(wanted) == "function" then
      return wanted(messages)
    end
    return #messages >= wanted
  end
  sse.wait_for({ self }, function()
    return enough() or self.ended
  end, timeout)
  if not enough() then
    error("the stream ended too early: " .. self:describe(), 2)
  end
  return messages
end

-- Waits for the opening event: the stream is subscribed then. Returns the stream.
function Stream:wait_open(timeout)
  sse.wait_for({ self }, function()
    return #self.events > 0 or self.ended
  end, timeout)
  if not self.events[1] or self.events[1].event ~= "sluice.open" then
    error("no opening event: " .. self:describe(), 2)
  end
  return self
end

-- Waits for the stream's end and returns how it ended.
function Stream:wait_end(timeout)
  sse.wait_for({ self }, function()
    return self.ended
  end, timeout)
  return self.ended
end

return sse
