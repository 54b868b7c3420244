-- SPDX-License-Identifier: MIT
-- A raw TCP client on LuaSocket: sends bytes as they are, reads with deadlines, half-closes, resets.
-- Everything waits in socket.select, never longer than its deadline.
local socket = require("socket")

local tcp = {}

local Connection = {}
Connection.__index = Connection

local open = setmetatable({}, { __mode = "k" })

tcp.timeout = 10

-- Connects to 127.0.0.1:`port`. Options: `receive_buffer` bytes of SO_RCVBUF (the kernel doubles it). Returns nil and a message
-- where the connection is refused.
function tcp.try_connect(port, options)
  local sock = assert(socket.tcp4())
  if options and options.receive_buffer then
    assert(sock:setoption("recv-buffer-size", options.receive_buffer))
  end
  sock:settimeout(tcp.timeout)
  local ok, message = sock:connect("127.0.0.1", port)
  if not ok then
    sock:close()
    return nil, message
  end
  sock:setoption("tcp-nodelay", true)
  sock:settimeout(0)
  local self = setmetatable({ socket = sock, buffer = "", port = port }, Connection)
  open[self] = true
  return self
end

function tcp.connect(port, options)
  local self, message = tcp.try_connect(port, options)
  if not self then
    error(("connect to port %s: %s"):format(port, message), 2)
  end
  return self
end

-- Writes what the kernel takes now. Returns how many bytes went, or nil, message once the peer is gone.
function Connection:try_send(bytes, from)
  local last, message, partial = self.socket:send(bytes, from or 1)
  if last then
    return last - (from or 1) + 1
  end
  if message ~= "timeout" then
    return nil, message
  end
  return partial - (from or 1) + 1
end

-- Sends everything. Returns true, or nil and a message where the peer closed before it was taken.
function Connection:send(bytes)
  local deadline = socket.gettime() + tcp.timeout
  local sent = 0
  while sent < #bytes do
    local count, message = self:try_send(bytes, sent + 1)
    if not count then
      return nil, message
    end
    sent = sent + count
    if sent < #bytes then
      local left = deadline - socket.gettime()
      if left <= 0 then
        return nil, "timeout"
      end
      socket.select(nil, { self.socket }, left)
    end
  end
  return true
end

-- Reads once what is there into `buffer`, without waiting. Returns true when bytes came; nil, "timeout" when none are there;
-- nil, "closed" at the end. `was_reset` is set where the peer ended by a reset.
function Connection:fill()
  if self.ended then
    return nil, "closed"
  end
  if self.socket:getoption("error") then
    self.was_reset = true -- reading SO_ERROR clears it, and what came before is still read below
  end
  local bytes, message, partial = self.socket:receive(65536)
  bytes = bytes or partial
  if bytes and #bytes > 0 then
    self.buffer = self.buffer .. bytes
    return true
  end
  if message == "timeout" then
    return nil, "timeout"
  end
  self.ended = true
  return nil, "closed"
end

-- Waits for bytes, the end of the stream, or the deadline (a time of day). Returns as fill does.
function Connection:wait(deadline)
  local ok, message = self:fill()
  if ok or message == "closed" then
    return ok, message
  end
  local left = deadline - socket.gettime()
  if left <= 0 then
    return nil, "timeout"
  end
  socket.select({ self.socket }, nil, left)
  return self:fill()
end

-- Takes the first `count` bytes of what was read.
function Connection:take(count)
  local bytes = self.buffer:sub(1, count)
  self.buffer = self.buffer:sub(count + 1)
  return bytes
end

-- Reads up to and including the plain text `mark`. Returns the bytes, or nil, "timeout"|"closed" with what came left in `buffer`.
function Connection:read_until(mark, timeout)
  local deadline = socket.gettime() + (timeout or tcp.timeout)
  local from = 1
  while true do
    local _, last = self.buffer:find(mark, from, true)
    if last then
      return self:take(last)
    end
    from = math.max(1, #self.buffer - #mark + 2)
    local ok, message = self:wait(deadline)
    if not ok and (message == "closed" or socket.gettime() >= deadline) then
      return nil, message
    end
  end
end

-- Reads exactly `count` bytes. Fails as read_until does.
function Connection:read(count, timeout)
  local deadline = socket.gettime() + (timeout or tcp.timeout)
  while #self.buffer < count do
    local ok, message = self:wait(deadline)
    if not ok and (message == "closed" or socket.gettime() >= deadline) then
      return nil, message
    end
  end
  return self:take(count)
end

-- Reads until the peer closes. Returns all bytes and true, or what came and false where it was still open at the deadline.
function Connection:read_all(timeout)
  local deadline = socket.gettime() + (timeout or tcp.timeout)
  while true do
    local ok, message = self:wait(deadline)
    if not ok and message == "closed" then
      return self:take(#self.buffer), true
    end
    if socket.gettime() >= deadline then
      return self:take(#self.buffer), false
    end
  end
end

-- Ends the sending side only.
function Connection:half_close()
  self.socket:shutdown("send")
end

-- Ends with a reset: what the peer still sends is refused.
function Connection:reset()
  if open[self] then
    self.socket:setoption("linger", { on = true, timeout = 0 })
    self:close()
  end
end

function Connection:close()
  if open[self] then
    open[self] = nil
    self.ended = true
    self.socket:close()
  end
end

-- Closes every connection that is still open.
function tcp.close_all()
  local list = {}
  for connection in pairs(open) do
    list[#list + 1] = connection
  end
  for _, connection in ipairs(list) do
    connection:close()
  end
end

-- A port on which nothing listens (at this moment).
function tcp.free_port()
  local sock = assert(socket.bind("127.0.0.1", 0))
  local _, port = sock:getsockname()
  sock:close()
  return math.tointeger(tonumber(port))
end

return tcp
