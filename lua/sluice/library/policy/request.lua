---@meta
-- SPDX-License-Identifier: MIT
-- Annotations for editors (LuaLS), and the text of doc/reference.md: a request. Never run.

---Valid in hooks and in its handler.
---@class sluice.request
---@field method string `"GET"`
---@field path string without the query; what needs no percent-encoding is decoded
---@field body string empty where there is none
---@field ip string the client's address; [behind a proxy](ratelimit.md#behind-a-proxy) that is in `trust_proxy` the one in `X-Forwarded-For`
---@field id string names this request in the log, in `X-Request-Id` of its answer and in 500 answers: the client's own `X-Request-Id` [where that is one](observability.md#request-ids)
---@field user? string may be set, at most 256 bytes without NUL; becomes `stream.user`
---@field claims? table what the token said; may be set; gone with the request
---@field expires? number seconds since 1970; may be set: the stream that this request becomes ends then (plus `jwt.leeway`) with `sluice.expired`
---@field options? sluice.route_found the options of the route that was found; nil where there is none
local request = {}

---The first such query parameter, decoded.
---@param name string
---@return string?
function request:query(name) end

---All of them, in order; empty where there is none.
---@param name string
---@return string[]
function request:query_all(name) end

---A header field: case does not matter; repeated fields joined by `, `.
---@param name string
---@return string?
function request:header(name) end

---@param name string
---@return string?
function request:cookie(name) end

---The token that the request carries: of `Authorization: Bearer`, else of the query parameter `token`, else of the cookie of that name; nil where there is none, nil and
---what is wrong where the query has more than one.
---@param cookie? string Name of the cookie; without it none is looked at
---@return string? token
---@return string? problem
function request:token(cookie) end

---A `:name` of the route's path, decoded.
---@param name string
---@return string?
function request:param(name) end

---The body read as JSON; or nil and what is wrong.
---@return any value
---@return string? message
function request:json() end

---The body read as a publish request, in both forms of [`POST /publish`](http.md#post-publish); or nil and what is wrong.
---@return { channel: string, event: string?, data: string, key: string? }? message
---@return string? why
function request:message() end

---A header field on whatever answer this request gets, refusals too.
---@param name string
---@param value string
function request:respond_header(name, value) end

---The options of the route, as the script gave them, and
---@class sluice.route_found: sluice.route_options
---@field path string as the route defines it
---@field stream boolean whether it is a stream's
