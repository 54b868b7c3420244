---@meta
-- SPDX-License-Identifier: MIT
-- Annotations for editors (LuaLS), and the text of doc/reference.md: what a script returns, and routes. Never run.

---What a policy script returns; [policy.md](policy.md#hooks) says how hooks behave. `---@type sluice.script` above the `return` has editors check and complete it. An unknown
---member is an error at load.
---@class sluice.script
---@field name? string the file's name without `.lua`
---@field priority? number higher first; 0
---@field on_request? fun(request: sluice.request) for each request, before its handler; refuses with `sluice.reject`
---@field on_subscribe? fun(stream: sluice.stream, channel: string): boolean?, string? for each channel that a stream asks for; false and a reason: 403
---@field on_publish? fun(message: sluice.message, request: sluice.request?): (sluice.message|false)?, string? once per publish; a message: use it; false and a reason: 403
---@field on_message? fun(message: sluice.message, stream: sluice.stream): (sluice.message|false)? once per message and subscriber; a message: send it; false: skip it
---@field on_disconnect? fun(stream: sluice.stream, reason: string) when a stream has ended
---@field routes? fun(route: sluice.route) defines the routes

---A message as hooks see it: a plain table. Change it and return it, or return a new one.
---@class sluice.message
---@field channel? string
---@field event? string the event type; nil: none, which clients see as `message`
---@field data string what will be sent
---@field id? string only in `on_message` and `filter`

---What a script's `routes` function gets. A path's segment `:name` matches one segment, which `request:param("name")` gives. OPTIONS is answered with 204 and `Allow` and HEAD where GET is,
---unless there are routes for them. Raises for a path that does not begin with `/`, for an unknown option, and for a route that exists.
---@class sluice.route
local route = {}

---@alias sluice.handler fun(request: sluice.request): (integer|string|table)?, (string|table)?, table<string, string>?

---@param path string
---@param options sluice.route_options
---@param handler sluice.handler returns status, body, headers
---@overload fun(self: sluice.route, path: string, handler: sluice.handler)
function route:get(path, options, handler) end

---@param path string
---@param options sluice.route_options
---@param handler sluice.handler
---@overload fun(self: sluice.route, path: string, handler: sluice.handler)
function route:post(path, options, handler) end

---@param path string
---@param options sluice.route_options
---@param handler sluice.handler
---@overload fun(self: sluice.route, path: string, handler: sluice.handler)
function route:put(path, options, handler) end

---@param path string
---@param options sluice.route_options
---@param handler sluice.handler
---@overload fun(self: sluice.route, path: string, handler: sluice.handler)
function route:patch(path, options, handler) end

---@param path string
---@param options sluice.route_options
---@param handler sluice.handler
---@overload fun(self: sluice.route, path: string, handler: sluice.handler)
function route:delete(path, options, handler) end

---@param path string
---@param options sluice.route_options
---@param handler sluice.handler
---@overload fun(self: sluice.route, path: string, handler: sluice.handler)
function route:options(path, options, handler) end

---@param path string
---@param options sluice.route_options
---@param handler sluice.handler
---@overload fun(self: sluice.route, path: string, handler: sluice.handler)
function route:head(path, options, handler) end

---A stream; it answers GET, or what `methods` says.
---@param path string
---@param options sluice.route_options
---@param handler fun(stream: sluice.stream, request: sluice.request)
---@overload fun(self: sluice.route, path: string, handler: fun(stream: sluice.stream, request: sluice.request))
function route:stream(path, options, handler) end

---`options` may be left out.
---@class sluice.route_options
---@field auth? boolean false: needs no token
---@field methods? string[] streams: what they answer
---@field opening? boolean streams; false: no `sluice.open` block
