-- SPDX-License-Identifier: MIT
-- A server inside a program that has a loop of its own: it looks for primes without a pause, and publishes what it finds and how far it is.
--
-- Usage: lua5.4 examples/embedded.lua [port [how many primes]]
--
--   curl -N http://127.0.0.1:8080/progress                                          # where it is, twice a second
--   curl -N 'http://127.0.0.1:8080/primes?last_event_id=earliest'                   # the primes it has found, and those to come
--
-- The server has threads of its own, so clients are served while this loop works, and a call of server:publish takes microseconds.
local HERE = arg[0]:match("^(.*)/[^/]*$") or "."

-- The module of this source tree, once `make` has built it; else the installed one.
local BUILD = os.getenv("SLUICE_BUILD") or HERE .. "/../build/release"
package.path = HERE .. "/../lua/?.lua;" .. HERE .. "/../lua/?/init.lua;" .. package.path
package.cpath = BUILD .. "/?.so;" .. package.cpath
local sluice = require "sluice"

local COUNT = tonumber(arg[2] or math.huge)

-- What the server lets clients do: listen to two channels, and no more.
local ROUTES = [[
return {
  routes = function(route)
    route:stream("/progress", function(stream) stream:subscribe("progress") end)
    route:stream("/primes", function(stream) stream:subscribe("primes") end)
  end,
}
]]

local server = assert(sluice.start{
  listen = "127.0.0.1:" .. (arg[1] or "8080"),
  scripts = { ["routes.lua"] = ROUTES },
  channels = { ["progress"] = { slow = "conflate", messages = 1 } }, -- only the newest counts
})
io.stdout:setvbuf("line")
print("embedded: listening on http://127.0.0.1:" .. server:port())

local function is_prime(n)
  for divisor = 3, math.floor(math.sqrt(n)), 2 do
    if n % divisor == 0 then return false end
  end
  return true
end

local candidate, found, told = 1000001, 0, 0
while found < COUNT do
  if is_prime(candidate) then
    found = found + 1
    if found % 1000 == 0 then assert(server:publish("primes", { event = "prime", data = { n = candidate, found = found } })) end
  end
  candidate = candidate + 2
  if os.clock() - told >= 0.5 then
    told = os.clock()
    assert(server:publish("progress", { event = "progress", data = { at = candidate, found = found, listeners = server:stats().activeConnections } }))
  end
end

-- Streams end one by one, each with all that was published.
server:stop{ drain = 1 }
