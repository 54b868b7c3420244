-- SPDX-License-Identifier: MIT
-- The live page at /_sluice/ and the stream that feeds it. Its parts lie in live/ beside this file. Whoever comes gets the door only (door.*), which
-- holds nothing of the server's; the page itself (/_sluice/page) and what it shows are for administrators, see sluice.admin.

local ask = require "sluice.admin.ask"
local core = require "sluice.core"
local version = require "sluice.version"

local FOLDER = assert(package.searchpath("sluice.admin.live", package.path)):gsub("%.lua$", "/")
local SCRIPTS = { "text.js", "feed.js", "chart.js", "table.js", "console.js", "main.js" }

local METRICS_S = 1
local TABLES_EVERY = 2 -- of the metrics
local TABLES_EVERY_MANY, MANY = 5, 5000 -- with so many streams
local ROWS = 100

-- What charts show from before a page was opened: a sample of these counts each STEP_S, in the shared dictionary, where every worker finds it.
local STEP_S, SAMPLES = 10, 90
local SAMPLE_KEY = "sluice.live."
local SAMPLED = { "uptimeSeconds", "activeConnections", "messagesSent", "messagesPublished", "bytesSent", "slowConsumerDrops",
  "slowConsumersDisconnected", "staleDisconnected", "errors", "requestsRefused", "gaps", "deliveryLagSeconds" }

-- --- the page ----------------------------------------------------------------------------------------

local function read(name)
  local file = assert(io.open(FOLDER .. name, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function compose()
  local parts = { '(() => {\n"use strict";\nconst door = window.sluiceDoor;\ndelete window.sluiceDoor;\n' }
  for _, name in ipairs(SCRIPTS) do parts[#parts + 1] = read(name) end
  parts[#parts + 1] = "})();\n"
  local page = { body = read("page.html"), style = read("page.css"), script = table.concat(parts) }
  local inline = { ["door.css"] = read("door.css"), ["door.js"] = read("door.js") }
  local door = read("door.html"):gsub("@(door%.%a+)@", inline)
  local function hashes(...)
    local list = {}
    for i, text in ipairs({ ... }) do list[i] = ("'sha256-%s'"):format(core.sha256(text)) end
    return table.concat(list, " ")
  end
  local policy = table.concat({
    "default-src 'none'",
    "script-src " .. hashes(inline["door.js"], page.script),
    "style-src " .. hashes(inline["door.css"], page.style),
    "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    "require-trusted-types-for 'script'", "trusted-types sluice",
  }, "; ")
  return {
    page = page, door = door, policy = policy,
    tag = ('"%s"'):format(core.sha256(policy .. door .. page.body)),
  }
end

local composed -- by the first generation that has the page; the same for all of a state

-- --- samples -----------------------------------------------------------------------------------------

local function sample_number(at) return math.floor(at / STEP_S) end

local function sample_key(number) return SAMPLE_KEY .. number % SAMPLES end

-- Returns remember(), which takes a sample, and recall(seconds): those of so many last seconds as a JSON array, the oldest first.
local function sampler(sluice)
  local shared, metrics, encode = sluice.shared, sluice.admin.metrics, sluice.json.encode

  local function remember()
    local at, counts = core.client.time(), metrics()
    local sample = { at = at }
    for _, name in ipairs(SAMPLED) do sample[name] = counts[name] end
    -- A full dictionary is the scripts' own; then charts begin with the page.
    shared:set(sample_key(sample_number(at)), encode(sample), SAMPLES * STEP_S)
  end

  local function recall(seconds)
    local last, list = sample_number(core.client.time()), {}
    for number = last - sample_number(math.min(seconds, (SAMPLES - 1) * STEP_S)), last do list[#list + 1] = shared:get(sample_key(number)) end
    return "[" .. table.concat(list, ",") .. "]"
  end

  return remember, recall
end

return function(route, sluice)
  composed = composed or compose()
  local remember, recall = sampler(sluice)
  sluice.spawn(remember)
  sluice.every(STEP_S, remember)
  -- Of the door, with more.
  local function headers(more)
    local fields = {
      ["Content-Type"] = "text/html; charset=utf-8", ["Content-Security-Policy"] = composed.policy, ["X-Content-Type-Options"] = "nosniff",
      ["X-Frame-Options"] = "DENY", ["Referrer-Policy"] = "no-referrer",
      ["Cross-Origin-Opener-Policy"] = "same-origin", ["Cross-Origin-Resource-Policy"] = "same-origin",
    }
    for name, value in pairs(more) do fields[name] = value end
    return fields
  end

  route:get("/_sluice", { open = true }, function()
    return 308, "", { Location = "_sluice/" }
  end)

  -- Whoever may not go on is told so by the status, and shown where to sign in.
  route:get("/_sluice/", { open = true }, function(request, refused, _, challenge)
    if refused then
      local fields = challenge or {}
      fields["Cache-Control"] = "no-store"
      return refused, composed.door, headers(fields)
    end
    local fields = headers({ ETag = composed.tag, ["Cache-Control"] = "no-cache" })
    local known = request:header("If-None-Match")
    if known and (known == "*" or known:find(composed.tag, 1, true)) then return 304, nil, fields end
    return 200, composed.door, fields
  end)

  route:get("/_sluice/page", function()
    return 200, composed.page, { ["Cache-Control"] = "no-store", ["X-Content-Type-Options"] = "nosniff" }
  end)

  -- No opening block: what it says of coming back is for many clients, and an operator wants to be back at once.
  route:stream("/_sluice/live", { opening = false }, function(stream, request)
    local missing = tonumber(request:query("missing")) or SAMPLES * STEP_S -- seconds of which the page knows nothing
    local channels = ask.options(request, { "sort", "prefix" }, "channels.")
    local streams = ask.options(request, { "sort", "user", "address", "channel" }, "streams.")
    channels.limit, streams.limit = ROWS, ROWS
    local seen = {} -- of what seldom changes, what was sent last

    local function send_new(event, data)
      local text = type(data) == "string" and data or sluice.json.encode(data)
      if seen[event] == text then return end
      seen[event] = text
      stream:send({ event = event, data = text })
    end

    local function send_tables()
      -- Both before the first event: what makes no sense in them is still answered with 400.
      local found_channels = ask.call(sluice.reject, sluice.admin.channels, channels)
      local found_streams = ask.call(sluice.reject, sluice.admin.streams, streams)
      for _, one in ipairs(found_streams.streams) do one.mine = one.id == stream.id or nil end
      send_new("server", { version = version, page = composed.tag })
      if missing >= STEP_S then
        stream:send({ event = "history", data = ('{"now":%.3f,"step":%d,"samples":%s}'):format(core.client.time(), STEP_S, recall(missing)) })
        missing = 0
      end
      send_new("health", (sluice.health(true)))
      send_new("reloads", { reloads = sluice.admin.reloads() })
      stream:send({ event = "channels", data = found_channels })
      stream:send({ event = "streams", data = found_streams })
      return found_streams.total > MANY and TABLES_EVERY_MANY or TABLES_EVERY
    end

    local turn = 0
    while stream:is_open() do
      if turn <= 0 then turn = send_tables() end
      turn = turn - 1
      stream:send({ event = "metrics", data = sluice.admin.metrics() })
      sluice.sleep(METRICS_S)
    end
  end)
end
