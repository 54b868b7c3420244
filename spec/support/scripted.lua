-- SPDX-License-Identifier: MIT
-- A server that says what the spec says, byte by byte, to a client in the same thread: every wait lets the client take a step.
local socket = require("socket")

local scripted = {}

local Server, Peer = {}, {}
Server.__index, Peer.__index = Server, Peer

local open = {}
local STEP_S = 0.005

scripted.timeout = 10

-- Listens on a free port of 127.0.0.1; `port` takes a certain one.
function scripted.listen(port)
  local listener = assert(socket.bind("127.0.0.1", port or 0))
  listener:settimeout(0)
  local _, bound = listener:getsockname()
  local self = setmetatable({ listener = listener, port = math.tointeger(tonumber(bound)) }, Server)
  open[#open + 1] = listener
  return self
end

-- Lets the client (anything with step(seconds)) go on until `condition` returns something true, and returns that.
function scripted.until_true(client, condition, what)
  local deadline = socket.gettime() + scripted.timeout
  while true do
    local result = condition()
    if result then
      return result
    end
    if socket.gettime() > deadline then
      error("never came true: " .. (what or "the condition"), 2)
    end
    client:step(STEP_S)
  end
end

-- Waits for the client's next connection and reads its request. The peer has `request` (text), `target`, `headers` (by lower-case name).
function Server:accept(client)
  local sock = scripted.until_true(client, function()
    return self.listener:accept()
  end, "a connection")
  sock:settimeout(0)
  sock:setoption("tcp-nodelay", true)
  open[#open + 1] = sock
  local peer = setmetatable({ socket = sock, request = "" }, Peer)
  scripted.until_true(client, function()
    local bytes, _, partial = sock:receive(65536)
    peer.request = peer.request .. (bytes or partial or "")
    return peer.request:find("\r\n\r\n", 1, true)
  end, "a request")
  peer.target = peer.request:match("^GET (%S+) HTTP/1%.1\r\n")
  peer.headers = {}
  for name, value in peer.request:gmatch("\r\n([^:\r\n]+): ([^\r\n]*)") do
    peer.headers[name:lower()] = value
  end
  return peer
end

-- True where nobody waits to be accepted.
function Server:is_idle()
  local sock = self.listener:accept()
  if sock then
    sock:close()
  end
  return sock == nil
end

function Server:close()
  self.listener:close()
end

function Peer:send(bytes)
  assert(self.socket:send(bytes))
  return self
end

-- Sends byte by byte, the client taking a step after each.
function Peer:drip(client, bytes)
  for i = 1, #bytes do
    self:send(bytes:sub(i, i))
    client:step(STEP_S)
  end
  return self
end

-- Answers and leaves.
function Peer:answer(text)
  self:send(text)
  self:close()
end

function Peer:close()
  self.socket:close()
end

-- Ends the connection with a reset.
function Peer:reset()
  self.socket:setoption("linger", { on = true, timeout = 0 })
  self.socket:close()
end

-- Closes everything that is still open. For after_each.
function scripted.cleanup()
  for _, one in ipairs(open) do
    one:close()
  end
  open = {}
end

return scripted
