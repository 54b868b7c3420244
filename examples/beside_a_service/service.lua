-- SPDX-License-Identifier: MIT
-- A web service that exists already (people log in and place orders), with live events mounted beside it: one process, one login, one origin.
--
-- Usage: lua5.4 examples/beside_a_service/service.lua [port of the service [port of the events]]      8081 and 8082 unless given
--        nginx -p /tmp -c "$PWD/examples/beside_a_service/nginx.conf"                                 joins both on http://127.0.0.1:8080
--
-- Shared login: the cookie that the service sets is a token that the event server verifies; it names the one channel that this person may hear.
-- Publishing: the service calls server:publish. Were it a process of its own, in whatever language, it would POST to /publish (doc/howto/beside_a_service.md).
local HERE = arg[0]:match("^(.*)/[^/]*$") or "."
local BUILD = os.getenv("SLUICE_BUILD") or HERE .. "/../../build/release"
package.path = HERE .. "/../../lua/?.lua;" .. HERE .. "/../../lua/?/init.lua;" .. package.path
package.cpath = BUILD .. "/?.so;" .. package.cpath
local sluice = require "sluice"
local socket = require "socket"

local SECRET = os.getenv("JWT_SECRET") or "this secret is for the example only: set JWT_SECRET"
local PASSWORDS = { ann = "anemone", bob = "begonia" }

-- The default policy: /events for those who have a token.
local events = assert(sluice.start{
  listen = "127.0.0.1:" .. (arg[2] or "8082"),
  jwt = { key = SECRET, cookie = "session" },
})

-- --- the service -----------------------------------------------------------------------------------------

local sessions, orders = {}, 0

local function log_in(form)
  local name = form:match("^name=(%w+)&password=") or ""
  if PASSWORDS[name] ~= form:match("&password=(%w+)$") or not PASSWORDS[name] then return "401 Unauthorized", "wrong name or password\n" end
  local token = assert(sluice.sign({ sub = name, exp = os.time() + 3600, sluice = { subscribe = { "orders." .. name } } }, { key = SECRET }))
  sessions[token] = name
  return "200 OK", "welcome\n", ("Set-Cookie: session=%s; HttpOnly; SameSite=Strict; Path=/\r\n"):format(token)
end

local function place_order(form, user)
  if not user then return "401 Unauthorized", "log in first\n" end
  orders = orders + 1
  assert(events:publish("orders." .. user, { event = "order", data = { number = orders, what = form:match("^what=(%w+)") or "nothing" } }))
  return "200 OK", ("order %d\n"):format(orders)
end

local function page()
  return "200 OK", [[<!doctype html><title>Orders</title><p>Log in, order, and see it here.<ul id="list"></ul><script>
new EventSource("/events?channel=orders.ann").addEventListener("order", (event) => {
  document.getElementById("list").append(Object.assign(document.createElement("li"), { textContent: event.data }));
});</script>]], "Content-Type: text/html\r\n"
end

local ROUTES = { ["GET /"] = page, ["POST /login"] = log_in, ["POST /orders"] = place_order }

local function answer(client)
  client:settimeout(5)
  local line, length, user = client:receive("*l"), 0, nil
  repeat
    local field = client:receive("*l") or ""
    length = tonumber(field:lower():match("^content%-length: *(%d+)")) or length
    user = user or sessions[field:match("^[Cc]ookie:.*session=([%w%._-]+)") or ""]
  until field == ""
  local route = ROUTES[(line or ""):match("^(%u+ [^ ?]*)") or ""]
  local status, body, fields = "404 Not Found", "no such page\n", ""
  if route then status, body, fields = route(length > 0 and client:receive(length) or "", user) end
  client:send(("HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n%s"):format(status, #body, fields or "", body))
  client:close()
end

local listener = assert(socket.bind("127.0.0.1", tonumber(arg[1] or 8081)))
io.stdout:setvbuf("line")
print(("service: http://127.0.0.1:%d, events: http://127.0.0.1:%d"):format(select(2, listener:getsockname()), events:port()))
while true do answer(assert(listener:accept())) end
