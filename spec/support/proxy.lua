-- SPDX-License-Identifier: MIT
-- Starts and commands the TCP proxy of proxy_server.lua.
local helper = require("spec.helper")

local proxy = {}

local Proxy = {}
Proxy.__index = Proxy

-- Starts a proxy to 127.0.0.1:`target`. The object has `port`; helper.cleanup ends it.
function proxy.start(target)
  local child = helper.process.spawn({ "lua5.4", helper.root .. "/spec/support/proxy_server.lua", tostring(target) })
  helper.eventually(function()
    return child:output():find("\n", 1, true)
  end, nil, "the proxy says its ports")
  local port, control = child:output():match("^proxy (%d+) control (%d+)\n")
  return setmetatable({ port = math.tointeger(tonumber(port)), control = helper.tcp.connect(math.tointeger(tonumber(control))) }, Proxy)
end

-- Sends a command and returns the number in its answer.
function Proxy:command(text)
  assert(self.control:send(text .. "\n"))
  local answer = assert(self.control:read_until("\n"))
  return tonumber(answer:match("^ok (%d+)\n$"))
end

-- Connections from now on go to another port.
function Proxy:set_target(port)
  self:command("target " .. port)
end

-- Ends all connections, in the middle of whatever they carry. Returns how many.
function Proxy:cut()
  return self:command("cut")
end

-- Lets nothing pass any more, as a cut network would, while all connections stay open.
function Proxy:stall()
  self:command("stall")
end

-- Lets nothing pass that the target sends.
function Proxy:mute()
  self:command("mute")
end

-- Lets everything pass again.
function Proxy:go()
  self:command("go")
end

return proxy
