---@meta
-- SPDX-License-Identifier: MIT
-- Annotations for editors (LuaLS), and the text of doc/reference.md: a stream. Never run.

---@class sluice.stream
---@field id string
---@field request? sluice.request nil once the handler has returned
---@field user? string what `request.user` was when the stream began
---@field opening boolean may be set before the stream has begun: whether it opens with `sluice.open`
---@field last_event_id? string what the client came back with; nil once the handler has returned
local stream = {}

---An event without an id to this client. Waits while the client is slow; called from elsewhere than the stream's own handler it cannot wait, and returns false, message where
---the client is slow. Raises for CR, LF or NUL in `event`.
---@param message string|sluice.message_to_send as in `sluice.publish`
---@return boolean ok
---@return string? message
function stream:send(message) end

---A comment, which clients ignore.
---@param text string
function stream:comment(text) end

---Subscribes. Where a channel is refused (403) or its name is not valid (400), the handler is ended with that answer; once the header is out: returns nil, message.
---@param channels string|string[] a name or a table of names; an empty table means `default`
---@param options? sluice.subscribe_options
---@return boolean? ok
---@return string? message
function stream:subscribe(channels, options) end

---False where it had no such subscription.
---@param channel string
---@return boolean
function stream:unsubscribe(channel) end

---Ends the stream when what is queued has been sent.
function stream:close() end

---@return boolean
function stream:is_open() end

---All that are given must agree. `events` and `prefix` cost no call into Lua for what they leave out or let through; `filter` and `on_message` are asked last, for what is left. Replayed messages
---pass the same way.
---@class sluice.subscribe_options
---@field events? string[] only messages of these event types; one without a type is `message`
---@field prefix? string only messages whose event type begins with it
---@field filter? fun(message: sluice.message, stream: sluice.stream): boolean? only messages for which it returns true; the stream then keeps Lua. An error in it skips the message
