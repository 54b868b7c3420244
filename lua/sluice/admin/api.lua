-- SPDX-License-Identifier: MIT
-- What programs ask an administrator's routes: streams, channels, reloads, counts as JSON; frames as an event stream. doc/observability.md lists them.

local NO_CACHE = { ["Cache-Control"] = "no-store" }

-- Query parameters by name, those that are there; numbers where they are some.
local function options_of(request, names)
  local options = {}
  for _, name in ipairs(names) do
    local text = request:query(name)
    if text and text ~= "" then options[name] = name == "limit" and math.tointeger(tonumber(text)) or text end
  end
  return options
end

-- A frame as text: what is not UTF-8 (only comments of scripts can hold such) shows as a replacement.
local function readable(frame)
  if utf8.len(frame) then return frame end
  return (frame:gsub("[\x80-\xff]", "\u{FFFD}"))
end

return function(route, sluice)
  local admin, reject = sluice.admin, sluice.reject

  -- Calls a function of sluice.admin; what it says about its arguments is a 400.
  local function call(run, ...)
    local ok, result = pcall(run, ...)
    if ok then return result end
    local why = type(result) == "string" and result:match("^sluice%.admin%.%w+: (.*)$")
    if why then reject(400, why) end
    error(result, 0)
  end

  route:get("/_sluice/streams", function(request)
    return 200, call(admin.streams, options_of(request, { "limit", "after", "sort", "user", "address", "channel" })), NO_CACHE
  end)

  route:post("/_sluice/close", function(request)
    local body, problem = request:json()
    if type(body) ~= "table" then reject(400, problem or "the body must be a JSON object") end
    if type(body.stream) ~= "string" then reject(400, "stream, the id of the stream to close, must be a string") end
    if not call(admin.close, body.stream) then reject(404, ("there is no stream '%s'"):format(body.stream)) end
    return 200, { closed = true }, NO_CACHE
  end)

  route:get("/_sluice/channels", function(request)
    return 200, call(admin.channels, options_of(request, { "limit", "sort", "prefix" })), NO_CACHE
  end)

  route:get("/_sluice/reloads", function()
    return 200, { reloads = admin.reloads() }, NO_CACHE
  end)

  route:get("/_sluice/metrics", function()
    return 200, admin.metrics(), NO_CACHE
  end)

  route:stream("/_sluice/tap", function(stream, request)
    local rule = options_of(request, { "stream", "address", "channel" })
    local tap <close> = call(admin.tap, rule)
    stream:comment("tapping") -- the head goes out now
    while true do
      local frames, dropped = tap:read()
      for _, frame in ipairs(frames) do
        frame.frame = readable(frame.frame)
        stream:send({ event = "frame", data = frame })
      end
      if dropped > 0 then stream:send({ event = "dropped", data = { count = dropped } }) end
    end
  end)
end
