-- SPDX-License-Identifier: MIT
-- A TCP proxy to put between a client and a server that is to be cut off or replaced: a program of its own, told what to do over a control connection.
--   lua5.4 spec/support/proxy_server.lua TARGET_PORT
-- Prints "proxy PORT control PORT". Commands, a line each, answered with "ok N": "target PORT", "cut" (ends all connections, N of them), "count" (N open now),
-- "stall" (nothing passes any more, while all stays open), "mute" (nothing passes from the target), "go" (everything passes again).
local socket = require("socket")

local target = assert(math.tointeger(tonumber(arg[1])), "usage: proxy_server.lua TARGET_PORT")
local listener = assert(socket.bind("127.0.0.1", 0, 128))
local control = assert(socket.bind("127.0.0.1", 0))
listener:settimeout(0)
control:settimeout(0)
local MOST = 1 << 20 -- bytes held for a side that does not read

local sides = {}       -- socket -> { socket, peer = the other side, out = bytes to write, reading = not ended }
local controllers = {} -- socket -> true
local stalled, muted = false, false

local function drop(side)
  for _, one in ipairs{ side, side.peer } do
    sides[one.socket] = nil
    one.socket:close()
  end
end

local function flush(side)
  while side.out ~= "" do
    local last, message, partial = side.socket:send(side.out)
    side.out = side.out:sub((last or partial) + 1)
    if not last then
      return message == "timeout"
    end
  end
  if not side.peer.reading then
    side.socket:shutdown("send")
    return side.reading or side.peer.out ~= ""
  end
  return true
end

local function accept()
  local client = listener:accept()
  if not client then
    return
  end
  local server = socket.connect("127.0.0.1", target)
  if not server then
    return client:close()
  end
  local near, far = { socket = client, out = "", reading = true }, { socket = server, out = "", reading = true, far = true }
  near.peer, far.peer = far, near
  for _, side in ipairs{ near, far } do
    side.socket:settimeout(0)
    side.socket:setoption("tcp-nodelay", true)
    sides[side.socket] = side
  end
end

local function read(side)
  local bytes, message, partial = side.socket:receive(65536)
  bytes = bytes or partial or ""
  side.peer.out = side.peer.out .. bytes
  if message == "closed" then
    side.reading = false
  end
  if not flush(side.peer) then
    drop(side)
  end
end

local function count()
  local number = 0
  for _ in pairs(sides) do
    number = number + 1
  end
  return number // 2
end

local function obey(line)
  local answer = count()
  local port = line:match("^target (%d+)$")
  if port then
    target = math.tointeger(tonumber(port))
  elseif line == "stall" or line == "mute" or line == "go" then
    stalled, muted = line == "stall", line == "mute"
  elseif line == "cut" then
    while next(sides) do
      local _, side = next(sides)
      drop(side)
    end
  end
  return "ok " .. answer .. "\n"
end

local function read_command(sock)
  local line, message = sock:receive("*l")
  if line then
    sock:send(obey(line))
  elseif message == "closed" then
    controllers[sock] = nil
    sock:close()
  end
end

local function port_of(sock)
  local _, port = sock:getsockname()
  return port
end

print(("proxy %s control %s"):format(port_of(listener), port_of(control)))
io.stdout:flush()

while true do
  local reading, writing = { listener, control }, {}
  for sock, side in pairs(sides) do
    if side.reading and not stalled and not (muted and side.far) and #side.peer.out < MOST then
      reading[#reading + 1] = sock
    end
    if side.out ~= "" and not stalled then
      writing[#writing + 1] = sock
    end
  end
  for sock in pairs(controllers) do
    reading[#reading + 1] = sock
  end
  local readable, writable = socket.select(reading, writing)
  for _, sock in ipairs(readable) do
    if sock == listener then
      accept()
    elseif sock == control then
      local controller = control:accept()
      if controller then
        controllers[controller] = true
      end
    elseif controllers[sock] then
      read_command(sock)
    elseif sides[sock] then
      read(sides[sock])
    end
  end
  for _, sock in ipairs(writable) do
    local side = sides[sock]
    if side and not flush(side) then
      drop(side)
    end
  end
end
