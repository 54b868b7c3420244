---@meta sluice
-- SPDX-License-Identifier: MIT
-- Annotations for editors (LuaLS), and the text of doc/reference.md: the library for host programs. Never run.

---`local sluice = require "sluice"` in a Lua 5.4 program.
---@class sluice.host
---@field json sluice.json as for [scripts](#sluicejson)
---@field version string
local sluice = {}

---Starts a server with threads of its own and returns at once, when it listens. The host's thread stays free. Prints nothing to standard output; takes no signals unless
---told to. Fails with a message that names what, where and what to do: a port in use, a scripts folder that is missing, a script that does not load, an unknown key. Several servers can run
---in one process.
---@param settings? sluice.host_settings the keys of [Configuration](#configuration), nested or dotted
---@param options? { signals: boolean? } `signals = true`: SIGTERM and SIGINT stop it, SIGHUP reloads
---@return sluice.server? server
---@return string? message
function sluice.start(settings, options) end

---Loads configuration and scripts as `start` would, without listening.
---@param settings? sluice.host_settings
---@return true? ok
---@return string? message
function sluice.check(settings) end

---Makes a signed token, to which nothing is added: `exp = os.time() + 3600`. A program that knows who is logged in makes tokens for its own server with it.
---@param claims table a JSON object, such as `{ sub = "ann", sluice = { subscribe = { "user.ann" } } }`
---@param options { key: string, algorithm: string? } `key` the secret, or a private key as PEM for `RS*` and `ES*`; `algorithm` is `HS256` unless given
---@return string? token
---@return string? message
function sluice.sign(claims, options) end

---@class sluice.host_settings: sluice.settings
---@field scripts? string|table<string, string> a folder; or a table from names to source texts: `{ ["routes.lua"] = "return { … }" }`

---A running server. Once it has stopped, the calls but `stop` and `wait` raise. A server that is collected is stopped at once; so is one in a `<close>` variable.
---@class sluice.server
local server = {}

---The port it listens on; useful with `listen = "127.0.0.1:0"`.
---@return integer
function server:port() end

---Runs the `on_publish` hooks on one worker and waits for the outcome.
---@param channel string
---@param message string|sluice.message_to_send as in [`sluice.publish`](#sluicepublish)
---@return string? id
---@return integer|string subscribers or why it was refused
function server:publish(channel, message) end

---Loads the scripts anew and waits; on failure (`"file:line: what is wrong"`) the old policy stays.
---@return true? ok
---@return string? message
function server:reload() end

---The counts of `/metrics`.
---@return table<string, any>
function server:stats() end

---Ends the streams over the drain period, by default the configuration's `drain`, and waits as `wait` does.
---@param options? { drain: number? } `drain` in seconds
---@return integer status
function server:stop(options) end

---Waits until the server has stopped; the exit status: 0, or 128 + signal after a second signal. `on_hangup` is called after each SIGHUP, which the server takes with
---`{ signals = true }`.
---@param options? { on_hangup: fun(server: sluice.server)? }
---@return integer status
function server:wait(options) end

---Changes settings of the [log](observability.md#logs) while the server runs; what is left out stays. Nil and a message where they are wrong, with nothing changed.
---@param settings { level: string?, format: string?, access: boolean?, frames: boolean? } as `log.*` in the configuration
---@return boolean? done
---@return string? message
function server:set_log(settings) end

return sluice
