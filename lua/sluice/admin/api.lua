-- SPDX-License-Identifier: MIT
-- What programs ask an administrator's routes: streams, channels, reloads, counts as JSON; frames as an event stream. doc/observability.md lists them.

local ask = require "sluice.admin.ask"

local AT_ONCE = 64 -- frames: then it is the turn of others

local NO_CACHE = { ["Cache-Control"] = "no-store" }

-- A frame as text: what is not UTF-8 (only comments of scripts can hold such) shows as a replacement.
local function readable(frame)
  if utf8.len(frame) then return frame end
  return (frame:gsub("[\x80-\xff]", "\u{FFFD}"))
end

return function(route, sluice)
  local admin, reject, sleep = sluice.admin, sluice.reject, sluice.sleep

  local function call(run, ...) return ask.call(reject, run, ...) end

  route:get("/_sluice/streams", function(request)
    return 200, call(admin.streams, ask.options(request, { "limit", "after", "sort", "user", "address", "channel" })), NO_CACHE
  end)

  route:post("/_sluice/close", function(request)
    local body, problem = request:json()
    if type(body) ~= "table" then reject(400, problem or "the body must be a JSON object") end
    if type(body.stream) ~= "string" then reject(400, "stream, the id of the stream to close, must be a string") end
    if not call(admin.close, body.stream) then reject(404, ("there is no stream '%s'"):format(body.stream)) end
    return 200, { closed = true }, NO_CACHE
  end)

  route:get("/_sluice/channels", function(request)
    return 200, call(admin.channels, ask.options(request, { "limit", "sort", "prefix" })), NO_CACHE
  end)

  route:get("/_sluice/reloads", function()
    return 200, { reloads = admin.reloads() }, NO_CACHE
  end)

  route:get("/_sluice/metrics", function()
    return 200, admin.metrics(), NO_CACHE
  end)

  route:stream("/_sluice/tap", function(stream, request)
    local rule = ask.options(request, { "stream", "address", "channel" })
    local tap <close> = call(admin.tap, rule)
    stream:comment("tapping") -- the head goes out now
    while true do
      local frames, dropped = tap:read()
      for index, frame in ipairs(frames) do
        frame.frame = readable(frame.frame)
        stream:send({ event = "frame", data = frame })
        if index % AT_ONCE == 0 then sleep(0) end -- a busy channel has thousands at a time
      end
      if dropped > 0 then stream:send({ event = "dropped", data = { count = dropped } }) end
    end
  end)
end
