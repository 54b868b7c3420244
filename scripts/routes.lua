-- SPDX-License-Identifier: MIT
-- The routes of the default policy: streams, publishing, health and metrics.

local sluice = require "sluice"

local JSON = { ["Content-Type"] = "application/json" }

local function events(stream, request)
  local channels = request:query_all("channel")
  if #channels == 0 then channels = { "default" } end
  stream:subscribe(channels)
end

-- Where the log cannot be reached (503) the client is told when to try again; with an Idempotency-Key it may, also where
-- it is not known whether the message is in the log (state "unknown").
local function refused(status, why, state)
  if status ~= 503 then sluice.reject(status, why) end
  local headers = { ["Content-Type"] = "application/json", ["Retry-After"] = "1" }
  return status, sluice.json.encode({ error = why, state = state }), headers
end

local function publish(request)
  local message, problem = request:message()
  if not message then sluice.reject(400, problem) end
  local id, subscribers, status, state = sluice.publish(message.channel, message, request)
  if not id then return refused(status, subscribers, state) end
  return 200, '{"id":"' .. id .. '","subscribers":' .. subscribers .. "}", JSON
end

-- Why a reload failed is told to administrators only, where there is a key to know them by.
local function health(request)
  local rights = request.claims and request.claims.sluice
  local body, status = sluice.health(not sluice.jwt.has_key or (rights ~= nil and rights.admin == true))
  return status, body, JSON
end

local function metrics(request)
  local body, content_type = sluice.metrics(request:header("Accept") or "")
  return 200, body, { ["Content-Type"] = content_type }
end

---@type sluice.script
return {
  name = "routes",
  priority = 0,
  routes = function(route)
    route:stream("/events", events)
    route:post("/publish", publish)
    route:get("/health", { auth = false }, health)
    route:get("/metrics", { auth = false }, metrics)
  end,
}
