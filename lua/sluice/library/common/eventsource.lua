---@meta sluice.eventsource
-- SPDX-License-Identifier: MIT
-- Annotations for editors (LuaLS), and the text of doc/reference.md: the client. Never run.

---`local eventsource = require "sluice.eventsource"`: an EventSource for Lua programs, as the [HTML standard](https://html.spec.whatwg.org/multipage/server-sent-events.html)
---describes it. It works in the calling thread and only inside `step` and `run`; a worker's scripts would be held up by it.
---
---```lua program
---local eventsource = require "sluice.eventsource"
---local client = assert(eventsource.open("http://127.0.0.1:8080/clock", {
---  on_event = function(event) print(event.id, event.event, event.data) end,
---}))
---client:run{ count = 2 } -- two events, then it goes on
---```
---
---It connects again, with the last event id, whenever a connection ends or cannot be made; after 429 and 503 when `Retry-After` says (seconds or a date). A redirect (301, 302, 303, 307, 308)
---is followed, up to 20 in a row, a permanent one remembered; `Authorization` and `Cookie` go to the server of `url` only. Any other status than 200, 204 among them, or another content type than
---`text/event-stream` ends it for good. The last event id stays until the server sets another, over connections too, as in browsers. It takes gzip.
---
---`https://` needs [LuaSec](https://github.com/lunarmodules/luasec) (Debian's `lua-sec`, the rock `luasec`); without it `open` returns nil and says so. TLS 1.2 or later;
---the certificate must be signed by one that is trusted, and for the URL's host (a DNS name or an IP address among its alternative names); otherwise the client ends for good.
---@class sluice.eventsource
local eventsource = {}

---Begins to follow the stream at `url`; the first step connects. Fails for a URL or a header field that makes no sense; raises for an unknown option.
---@param url string
---@param options? sluice.eventsource_options
---@return sluice.eventsource_client? client
---@return string? message
function eventsource.open(url, options) end

---Does a step of several clients in one thread.
---@param clients sluice.eventsource_client[]
---@param timeout? number seconds; nil: without end
function eventsource.step(clients, timeout) end

---@class sluice.eventsource_options
---@field on_event? fun(event: sluice.event) for each event
---@field on_open? fun(status: integer) called for each connection that is made
---@field on_error? fun(message: string, wait: number?) a connection was lost or could not be made; `wait` seconds from now the next is tried, nil: never
---@field headers? table names to values, or a list of `{ name, value }`
---@field token? string sent as `Authorization: Bearer`
---@field ca? string for `https://`: a file of the certificates (PEM) to trust; `SSL_CERT_FILE`, or the system's
---@field last_event_id? string where to go on from
---@field retry? number milliseconds to wait before it connects again, until the server says another; 2000
---@field max_wait? number seconds that the wait grows to while no connection can be made: it doubles each time; 30
---@field timeout? number seconds that connecting, and then the answer's header, may take; 30
---@field max_event_bytes? integer the largest event; a larger one ends the client; 16 MiB

---@class sluice.event
---@field id string the last event id
---@field event string the event type; `message` where none was given
---@field data string
---@field at? number seconds since 1970 at its arrival

---@class sluice.eventsource_client
local client = {}

---Works until so many events were handed over, the time is over, or `client:close()` was called; nil once it has ended for good, with the answer's status if there was one.
---@param options? { count: integer?, seconds: number? }
---@return true? ok
---@return string? message
---@return integer? status
function client:run(options) end

---Waits until there is something to do, at most so many seconds, and does it. Returns as `run` does.
---@param timeout? number seconds; nil: without end
---@return true? ok
---@return string? message
---@return integer? status
function client:step(timeout) end

---Leaves.
function client:close() end

---`""`: none.
---@return string
function client:last_event_id() end

---@return sluice.eventsource_stats
function client:stats() end

---For event loops: the descriptor to wait for before the next `step`.
---@return integer?
function client:pollfd() end

---For event loops: what to wait for.
---@return "r"|"w"
function client:events() end

---For event loops: the seconds after which `step` is to be called in any case.
---@return number?
function client:timeout() end

---@class sluice.eventsource_stats
---@field connected boolean
---@field messagesReceived integer events handed over; the opening block of a Sluice stream is none
---@field errors integer connections lost or not made, and the end for good
---@field reconnects integer connections made after the first
---@field lastMessage? sluice.event the newest event
---@field rate number events a second over the last 10 seconds
---@field lag? number seconds from the time in the newest message's id to its arrival; of a replayed message its age
---@field stream? string the server's name for this stream
---@field state string
---@field wait? number seconds until the next attempt

return eventsource
