---@meta sluice.testing
-- SPDX-License-Identifier: MIT
-- Annotations for editors (LuaLS), and the text of doc/reference.md: sluice.testing. Never run.

---`local testing = require "sluice.testing"`: tests of a policy, with real servers and real requests. [Testing a policy](howto/testing.md) begins with a first spec.
---
---What goes wrong raises an error that says what was waited for and what came instead, so a test needs no checks of its own for it. Under [busted](https://lunarmodules.github.io/busted/)
---everything ends with the test, the `describe` block (what was started in its `setup` or `before_each`) or the file that began it, also where it fails. Elsewhere it ends with its
---`<close>` variable or with `testing.cleanup()`.
---@class sluice.testing
---@field timeout number How many seconds a wait takes at most: 5, or what the variable `TEST_TIMEOUT` says; may be set.
local testing = {}

---Starts a server in threads of this process, on a free port of 127.0.0.1, with two workers, logging errors only. Raises where it does not start.
---@param options? sluice.testing_options
---@return sluice.testing_server
function testing.start(options) end

---Calls `condition` until it returns something true, and returns that. An error in it counts as "not yet".
---@generic T
---@param condition fun(): T?
---@param what? string what is waited for, for the message
---@param timeout? number seconds
---@return T
function testing.eventually(condition, what, timeout) end

---Ends all streams and servers that tests have started and that still run.
function testing.cleanup() end

---The keys of [Configuration](#configuration), nested or dotted, lie over the configuration file; `scripts` may be a table from file names to texts, too. The file's `listen` and
---`workers` do not count.
---@class sluice.testing_options: sluice.host_settings
---@field config? string a configuration file to begin with
---@field default_policy? boolean true: the default policy's scripts, with those that `scripts` (a table) gives beside them or in their place
---@field env? table<string, string> the environment variables that the configuration sees (`JWT_SECRET` …); without it only those that a file asks for with `os.getenv`

---`port` and `url` (`http://127.0.0.1:<port>`) say where it is.
---@class sluice.testing_server
---@field port integer
---@field url string
---@field host? sluice.server the server object of the library; nil once it has been stopped
local server = {}

---Sends a request and waits for the whole answer. Raises where none comes.
---@param method string
---@param target string path and query: `"/publish?channel=news"`
---@param options? sluice.testing_request_options
---@return sluice.testing_answer
function server:request(method, target, options) end

---Sends a request that is to become a stream and waits for the answer's head; where it is a refusal, for its body too. The stream is subscribed then: what is published from now on arrives.
---@param target string
---@param options? sluice.testing_request_options
---@return sluice.testing_stream
function server:open(target, options) end

---Publishes as the server itself: hooks run, no token is asked for. What publishers may do is tried with `server:request("POST", "/publish", …)`.
---@param channel string
---@param message string|sluice.message_to_send
---@return string? id
---@return integer|string subscribers or why a hook refused it
function server:publish(channel, message) end

---Signs a token with the server's key, its first algorithm, issuer and audience. It is good for an hour unless the claims say otherwise (`exp = os.time() - 1`).
---@param claims? table `{ sub = "ann", sluice = { subscribe = { "news" } } }`
---@param options? { key: string?, algorithm: string? } another key: for a forged token, or the private one of `RS*` and `ES*`
---@return string
function server:token(claims, options) end

---Loads the scripts anew and waits.
---@return true? ok
---@return string? message
function server:reload() end

---The counts of `/metrics`.
---@return table<string, any>
function server:stats() end

---Stops it, at once unless `drain` says otherwise, and waits.
---@param options? { drain: number? } `drain` in seconds
---@return integer status
function server:stop(options) end

---@class sluice.testing_request_options
---@field headers? table<string, string>
---@field body? string
---@field json? any a body sent as JSON
---@field token? string sent as `Authorization: Bearer`
---@field timeout? number seconds, in the place of `testing.timeout`
---@field last_event_id? string `open` only: where to go on from
---@field method? string `open` only: `GET` unless given

---@class sluice.testing_answer
---@field status integer
---@field headers table<string, string> names in lower case
---@field body string
local answer = {}

---The body read as JSON. Raises where it is none.
---@return any
function answer:json() end

---It is read while the test waits.
---@class sluice.testing_stream
---@field status integer
---@field headers table<string, string> names in lower case
---@field body string all that came, as it came
---@field events sluice.testing_event[] all events so far, without the opening one
---@field opening? sluice.testing_event the opening one, `sluice.open`
---@field id? string the server's name for the stream
---@field retry? integer the reconnection time that it was told, in milliseconds
local stream = {}

---Waits for the next event that is wanted, and returns it. Each wait goes on behind the event of the last; those passed over are in `events`. Raises when the time is over or the
---stream ends before.
---@param want? string|table|fun(event: sluice.testing_event): boolean? an event type; `{ event, data, id }`, of which those that are given must be equal; a function; nil: any
---@param timeout? number seconds, in the place of `testing.timeout`
---@return sluice.testing_event
function stream:wait_event(want, timeout) end

---Waits for the next so many events.
---@param count integer
---@param timeout? number
---@return sluice.testing_event[]
function stream:wait_events(count, timeout) end

---Waits for the stream's end. Says whether it was a proper one, and in words how it ended.
---@param timeout? number
---@return boolean properly
---@return string how
function stream:wait_end(timeout) end

---Waits for the answer's head, which `open` has done.
---@param timeout? number
---@return sluice.testing_stream
function stream:wait_head(timeout) end

---The id to go on from; `""`: none.
---@return string
function stream:last_event_id() end

---Leaves, and opens the same stream again with `Last-Event-ID`, as an EventSource does.
---@return sluice.testing_stream
function stream:resume() end

---Leaves.
function stream:close() end

---@class sluice.testing_event: sluice.event
local event = {}

---The data read as JSON. Raises where it is none.
---@return any
function event:json() end

return testing
