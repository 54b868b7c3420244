---@meta sluice
-- SPDX-License-Identifier: MIT
-- Annotations for editors (LuaLS), and the text of doc/reference.md: what policy scripts see as `sluice`. Never run.

---A global in policy scripts; also `require "sluice"`. [policy.md](policy.md#phases-what-may-be-called-where) says what may be called where.
---@class sluice.policy
---@field config sluice.settings The configuration as a read-only table, nested as in the file, without secrets.
---@field admin sluice.admin
---@field json sluice.json
---@field jwt sluice.jwt
---@field log sluice.log
---@field origins sluice.origins
---@field shared sluice.shared
sluice = {}

---Runs the `on_publish` hooks, gives the message its id and its place in the channel's history, and hands it to all workers. Returns nil, the reason and the status to
---answer with where a hook refused (403) or the channel's name, the event type or the data is not valid (400). Raises for arguments of a wrong type and for
---unknown members. Where the log is in Redis it waits for the answer, and 503 tells that there is none ([cluster.md](cluster.md#publishing-from-scripts)).
---@param channel string
---@param message string|sluice.message_to_send a string is the data
---@param request? sluice.request what `on_publish` gets as its second argument; without it the message is the server's own, and no token is asked for
---@return string? id nil where it was refused
---@return integer|string subscribers the streams subscribed to the channel now, over all workers; where it was refused, why
---@return integer? status where it was refused, the status to answer with
---@return string? state `"unknown"` where it was sent to Redis, but the answer was lost
function sluice.publish(channel, message, request) end

---What the server knows of a channel. Raises for a bad name.
---@param name string
---@return sluice.channel_info
function sluice.channel(name) end

---Waits. Other requests go on meanwhile. Raises in a coroutine that the script made itself: only the handler's own may wait.
---@param seconds number
function sluice.sleep(seconds) end

---Calls `f()` every so many seconds, for as long as its generation is in force; the next call is timed after the last has returned. `f` may
---wait. While loading: in the first worker only; with `{ all = true }` in each. An error in `f` is logged, and the next call comes.
---@param seconds number
---@param f fun()
---@param options? { all: boolean? }
function sluice.every(seconds, f, options) end

---Runs `f()` in a coroutine of its own, which may wait. While loading: in the first worker only, with `{ all = true }` in each, once the
---generation is in force. In a handler: on this worker, independent of the request. Ends with its generation.
---@param f fun()
---@param options? { all: boolean? }
function sluice.spawn(f, options) end

---Counts one event on `key` and says whether it is within the limit: at most `max` events in `window` seconds, at most `concurrent` at once, or both. All workers count
---together, exactly. What is not allowed does not count. [ratelimit.md](ratelimit.md) has examples. Allowed in `on_request`, `on_subscribe`, `on_publish`, handlers and
---tasks. Raises for wrong arguments, and where no further key can be counted.
---@param key string 1 to 512 bytes
---@param limit sluice.limit
---@return boolean allowed
---@return sluice.limit_info info
function sluice.limit(key, limit) end

---Answers now with `status`, the body `{"error": message}` and the fields of the table `headers`. It does not return: it raises an error that ends the hook or handler
---(`pcall` around it would catch it). In a stream's handler it is the answer as long as the header has not gone out; in `server:publish` its message is the reason.
---@param status integer 300 to 599; or 204, without a body
---@param message? string
---@param headers? table<string, string>
function sluice.reject(status, message, headers) end

---The text of a file in a sub-folder of the scripts folder (at most 1 MiB), read in the same moment as the scripts. Raises when it is missing.
---@param path string
---@return string
function sluice.read_file(path) end

---A variable of the environment.
---@param name string
---@return string?
function sluice.env(name) end

---What `/health` answers, as text; for routes of your own. Without `details` the reasons of a failed reload are left out.
---@param details? boolean
---@return string body
---@return integer status
function sluice.health(details) end

---What `/metrics` answers, as text; for routes of your own.
---@param accept? string the request's `Accept`: JSON, or Prometheus text
---@return string body
---@return string content_type
function sluice.metrics(accept) end

---One gzip member (RFC 1952) that holds `data`. The same data gives the same bytes. Everywhere, also while loading. One call on a long text takes its time (about 30 ms for 1 MiB at
---level 6), and all of it counts as the script's.
---@param data string
---@param level? integer 0 (stored) to 9 (smallest); 6
---@return string
function sluice.gzip(data, level) end

---A new message, of the same channel and event, with its data in an envelope; a string gives a string. Everywhere, also while loading.
---
---The envelope is for clients and proxies that cannot take `Content-Encoding: gzip`: data of more than `threshold` bytes becomes `{"compressed":true,"data":"<base64 of gzip>"}`,
---which inflates to the data, byte for byte; smaller data `{"compressed":false,"data":…}`, where data that is JSON stands as it is and any other as a JSON string.
---Called in `on_publish`, it works once per message, whoever many listen. [`examples/envelope/`](../examples/envelope/scripts/page/index.html) has the few lines of a page that undo it.
---@param message sluice.message|string
---@param options? { threshold: integer?, level: integer? } `threshold` in bytes (1024), `level` as for `sluice.gzip`
---@return sluice.message|string
function sluice.envelope(message, options) end

---What is published. Unknown members raise an error.
---@class sluice.message_to_send
---@field data any a string is sent as it is, anything else that `sluice.json.encode` takes as JSON. UTF-8
---@field event? string the event type; no CR, LF or NUL
---@field key? string an [idempotency key](http.md#repeating-a-publish): with the same one the message is published once

---The streams subscribed to a channel over all workers, and its history.
---@class sluice.channel_info
---@field subscribers integer
---@field messages integer
---@field bytes integer
---@field oldest? string an id; nil where nothing is kept
---@field newest? string an id; nil where nothing is kept

---@class sluice.limit
---@field max? integer not negative; with `window`
---@field window? number in seconds, above 0. A window begins with the first event in it; a key has one, so a call with another `window` waits for its end
---@field concurrent? integer what is open counts until the stream ends, or the request where it becomes none; so there must be a request: not in a task

---@class sluice.limit_info
---@field limit? integer with `max`: `max` itself
---@field remaining? integer with `max`: how many are left in this window
---@field reset? number with `max`: seconds until the window ends
---@field open? integer with `concurrent`: how many are open now, this one included
---@field by? "max"|"concurrent" what refused

---A dictionary that all workers see; it outlives reloads. Keys are strings of 1 to 512 bytes; values strings, numbers and booleans.
---@class sluice.shared
local shared = {}

---@param key string
---@return string|number|boolean|nil
function shared:get(key) end

---Sets a value; nil deletes it. Returns nil and a message when the dictionary is full.
---@param key string
---@param value string|number|boolean|nil
---@param ttl? number seconds, else for ever
---@return boolean? ok
---@return string? message
function shared:set(key, value, ttl) end

---Adds to a number, 0 where there is none; in one step over all workers. Returns the sum.
---@param key string
---@param by? number 1
---@param ttl? number seconds; counts where the key is new
---@return number? sum
---@return string? message
function shared:incr(key, by, ttl) end

---True where it was there.
---@param key string
---@return boolean
function shared:delete(key) end

---Tokens (RFC 7519); [auth.md](auth.md) says what they are for. Everywhere, also while loading. No message holds a part of a token or a key.
---@class sluice.jwt
---@field has_key boolean Whether `jwt.key` or `jwt.key_file` is set.
local jwt = {}

---Verifies a token by the settings under `jwt`, or by the options in their place, one by one; with options nothing is remembered, and each call verifies anew (7 µs with
---HS256, 0.5 ms with RS256 and ES256). Raises for options of the wrong type or that do not fit together, and where there is no key.
---@param token string
---@param options? sluice.jwt_verify_options
---@return table? claims as `sluice.json.decode` makes it
---@return string? message why not
---@return ("malformed"|"forged"|"expired"|"early"|"claim")? kind `claim`: issuer, audience
function jwt.verify(token, options) end

---Makes a token. Nothing is added to the claims: `exp = os.time() + 3600`.
---@param claims table a JSON object
---@param options? sluice.jwt_sign_options
---@return string? token
---@return string? message
function jwt.sign(claims, options) end

---Whether a list of channels, as in the claim `sluice`, covers a channel: by its name, or by a prefix that ends in `*`. Channels that begin with `sluice.` are covered by
---their name only. No list (nil) covers nothing; nil where it is anything but a list of strings.
---@param list? string[]
---@param channel string
---@return boolean?
function jwt.covers(list, channel) end

---@class sluice.jwt_verify_options
---@field key? string
---@field algorithms? string[]
---@field leeway? number seconds
---@field issuer? string|false false: any
---@field audience? string|false false: any

---@class sluice.jwt_sign_options
---@field key? string `RS*` and `ES*` need a private key
---@field algorithm? string the first of `jwt.algorithms`

---Lines to the server's log. Arguments are turned into text like those of `print`, with blanks between them. `sluice.log(…)` and `print(…)` are `sluice.log.info`.
---@class sluice.log
---@overload fun(...: any)
local log = {}

---@param ... any
function log.debug(...) end

---@param ... any
function log.info(...) end

---@param ... any
function log.warn(...) end

---@param ... any
function log.error(...) end

return sluice
