-- SPDX-License-Identifier: MIT
-- Redis servers of the specs' own, on ports of their own, and commands to them over a plain socket.
local helper = require("spec.helper")
local process = require("spec.support.process")
local socket = require("socket")

local redis = {}

local Redis = {}
Redis.__index = Redis

local function free_port()
  local probe = assert(socket.bind("127.0.0.1", 0))
  local _, port = probe:getsockname()
  probe:close()
  return math.tointeger(tonumber(port))
end

-- Starts a server. Options: `port` (a free one), `dir` (a new one), `appendonly` (true: what was acknowledged survives a kill), `args` (more words of its
-- command line), `wait` (false: do not wait until it answers).
function redis.start(options)
  options = options or {}
  process.need("redis-server", "redis-server")
  local self = setmetatable({ port = options.port or free_port(), dir = options.dir or process.temp_dir(), options = options }, Redis)
  self:launch()
  return self
end

function Redis:launch()
  local options = self.options
  local words = { "redis-server", "--port", tostring(self.port), "--bind", "127.0.0.1", "--dir", self.dir, "--save", "",
    "--appendonly", options.appendonly and "yes" or "no", "--appendfsync", "always", "--daemonize", "no", "--loglevel", "warning" }
  for _, word in ipairs(options.args or {}) do
    words[#words + 1] = word
  end
  self.process = process.spawn(words)
  if options.wait ~= false then
    helper.eventually(function() return self:command("PING") == "PONG" end, nil, "redis-server answers")
  end
end

function Redis:url(path)
  return ("redis://127.0.0.1:%d%s"):format(self.port, path or "")
end

-- Ends it at once, as a crash would.
function Redis:kill()
  self:close()
  self.process:kill()
end

-- Starts it again, on the same port and folder.
function Redis:restart()
  self:kill()
  self:launch()
end

function Redis:close()
  if self.socket then
    self.socket:close()
    self.socket = nil
  end
end

local function read_reply(sock)
  local line = assert(sock:receive("*l"))
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == "+" then return rest end
  if kind == "-" then error("redis: " .. rest, 0) end
  if kind == ":" then return math.tointeger(tonumber(rest)) end
  local count = math.tointeger(tonumber(rest))
  if count < 0 then return nil end
  if kind == "$" then return (assert(sock:receive(count + 2)):sub(1, -3)) end
  local list = {}
  for index = 1, count do
    local ok, reply = pcall(read_reply, sock)
    list[index] = ok and reply or false
  end
  return list
end

-- Sends one command and returns its reply; raises with Redis' error.
function Redis:command(...)
  return self:commands({ { ... } })[1]
end

-- Sends many at once and returns their replies.
function Redis:commands(list)
  if not self.socket then
    self.socket = assert(socket.connect("127.0.0.1", self.port))
    self.socket:settimeout(helper.TEST_TIMEOUT)
  end
  local parts = {}
  for _, words in ipairs(list) do
    parts[#parts + 1] = ("*%d\r\n"):format(#words)
    for _, word in ipairs(words) do
      word = tostring(word)
      parts[#parts + 1] = ("$%d\r\n%s\r\n"):format(#word, word)
    end
  end
  local ok, replies = pcall(function()
    assert(self.socket:send(table.concat(parts)))
    local result = {}
    for index = 1, #list do
      result[index] = read_reply(self.socket)
    end
    return result
  end)
  if not ok then
    self:close()
    error(replies, 2)
  end
  return replies
end

-- How many clients whose name begins with "sluice:" there are.
function Redis:sluice_clients()
  local _, count = self:command("CLIENT", "LIST"):gsub("name=sluice:", "")
  return count
end

return redis
