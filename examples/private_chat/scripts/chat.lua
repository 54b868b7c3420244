-- SPDX-License-Identifier: MIT
-- Logging in, the rooms' streams, and what a message of the chat looks like.
local sluice = require "sluice"

local PAGE = sluice.read_file("page/index.html")
local LIFETIME_S = 8 * 3600

-- Stands for a database; a real one keeps no passwords as they are.
local PEOPLE = {
  ann = { password = "anemone", rooms = { "room.lobby", "room.board" } },
  bob = { password = "begonia", rooms = { "room.lobby" } },
}

-- POST /login {"name","password"}: a token for the rooms that this person is in.
local function log_in(request)
  if not sluice.limit("login " .. request.ip, { max = 20, window = 60 }) then sluice.reject(429, "too many tries, wait a minute") end
  local given = request:json()
  local person = type(given) == "table" and type(given.name) == "string" and PEOPLE[given.name]
  if not person or given.password ~= person.password then sluice.reject(401, "wrong name or password") end
  local rights = { subscribe = person.rooms, publish = person.rooms }
  local token = assert(sluice.jwt.sign({ sub = given.name, exp = os.time() + LIFETIME_S, sluice = rights }))
  return 200, { token = token, rooms = person.rooms }
end

local function say(request)
  local message, problem = request:message()
  if not message then sluice.reject(400, problem) end
  local id, why, status = sluice.publish(message.channel, message, request)
  if not id then sluice.reject(status, why) end
  return 200, { id = id }
end

---@type sluice.script
return {
  name = "chat",

  -- auth.lua has looked whether this user may; who it was is for the server to say, not for the client.
  on_publish = function(message, request)
    if message.data == "" or #message.data > 2000 then return false, "a message has 1 to 2000 bytes" end
    message.data = sluice.json.encode({ from = request.user, text = message.data })
    return message
  end,

  routes = function(route)
    route:get("/", { auth = false }, function() return 200, PAGE, { ["Content-Type"] = "text/html; charset=utf-8" } end)
    route:post("/login", { auth = false }, log_in)
    route:stream("/events", function(stream, request) stream:subscribe(request:query_all("channel")) end)
    route:post("/publish", say)
  end,
}
