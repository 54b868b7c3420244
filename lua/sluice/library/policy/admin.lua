---@meta
-- SPDX-License-Identifier: MIT
-- Annotations for editors (LuaLS), and the text of doc/reference.md: what scripts see of the whole server. Never run.

---What an operator sees of the whole server, and may do to it; [the routes below `/_sluice/`](observability.md#the-routes-below-_sluice) give the same over HTTP. In handlers and tasks only:
---most of it waits until all workers have answered, at most two seconds. Raises for arguments that make no sense.
---@class sluice.admin
local admin = {}

---The open streams of all workers.
---@param options? sluice.admin_streams
---@return sluice.admin_stream_list
function admin.streams(options) end

---Ends a stream, whichever worker has it; its reason is `closed`.
---@param id string as `stream.id` and `sluice.open` tell it
---@return boolean closed false where there is no such stream
function admin.close(id) end

---The channels that have subscribers or messages.
---@param options? sluice.admin_channels
---@return { total: integer, channels: sluice.admin_channel[] }
function admin.channels(options) end

---How the last 20 loads of the scripts went, newest first.
---@return sluice.admin_reload[]
function admin.reloads() end

---The members of [`GET /metrics`](observability.md#metrics), and `perWorker`, a list of the workers' own. With an earlier result also `rates`: how much each
---counter has grown since then, a second.
---@param previous? table
---@return table
function admin.metrics(previous) end

---Copies of the frames that streams are sent from now on, over all workers. At least one of the options; what is given must all match.
---@param options { stream: string?, address: string?, channel: string? }
---@return sluice.tap
function admin.tap(options) end

---@class sluice.admin_streams
---@field limit? integer at most so many, 1 to 1000; 100
---@field sort? "id"|"age"|"queue"|"events"|"bytes" by `id` the least first, by anything else the largest; `id`
---@field after? string only what comes after this id; with sort `id`
---@field user? string only streams of this user
---@field address? string only streams of this address
---@field channel? string only streams subscribed to this channel

---@class sluice.admin_stream_list
---@field total integer how many match, all pages together
---@field streams sluice.admin_stream[]
---@field next? string `after` for the next page; nil on the last
---@field missing? integer[] workers that have not answered in time

---@class sluice.admin_stream
---@field id string
---@field address string
---@field user? string
---@field age number seconds
---@field channels string[] the first 20
---@field channel_count integer
---@field queue integer bytes that wait for the client
---@field events integer sent so far
---@field bytes integer sent so far
---@field generation integer of the policy that opened it
---@field worker integer
---@field replaying? boolean true while it is sent history
---@field admin? boolean true for one below `/_sluice/`

---@class sluice.admin_channels
---@field limit? integer at most so many, 1 to 1000; 100
---@field sort? "rate"|"subscribers"|"messages"|"name" the largest first, names by the alphabet; `rate`
---@field prefix? string only channels whose names begin so

---@class sluice.admin_channel
---@field name string
---@field subscribers integer
---@field messages integer kept
---@field bytes integer kept
---@field published integer since the channel is there: one without subscribers and messages goes
---@field rate number published a second, over the last five or so

---@class sluice.admin_reload
---@field ok boolean
---@field why "start"|"changed"|"asked"
---@field at string ISO 8601
---@field seconds number how long it took
---@field generation integer in force after it
---@field error? { file: string, line: integer, message: string }

---A tap holds at most 1 MiB that was not read; what comes on top is dropped and counted, so it never slows a stream. Streams below `/_sluice/` are not tapped.
---@class sluice.tap
local tap = {}

---What has come since the last call; waits where that is nothing, at most `seconds` where they are given.
---@param seconds? number
---@return sluice.tap_frame[] frames
---@return integer dropped frames since the last call
function tap:read(seconds) end

---Ends it: a coroutine that waits in `tap:read` gets an empty list. The end of the handler does so for one that is `local tap <close>`.
function tap:close() end

---@class sluice.tap_frame
---@field stream string
---@field channel? string nil for what belongs to none: opening blocks, gaps, comments, `stream:send`
---@field at number seconds since 1970
---@field worker integer
---@field frame string the event's lines and the empty one, without chunked coding and compression

---Pages of other origins, by `cors.origins`.
---@class sluice.origins
---@field anyone boolean whether `cors.origins` has `*`
local origins = {}

---Whether `cors.origins` names the origin, or its family.
---@param origin string
---@return boolean
function origins:is_listed(origin) end

---Whether the page that sent the request, if any, may act on the server: one that is listed, or the server's own. `inside` asks for what is about the server itself: then a request without
---`Origin` must not come from another page either.
---@param request sluice.request
---@param inside? boolean
---@return boolean? allowed
---@return string? why where it may not
function origins:may_act(request, inside) end
