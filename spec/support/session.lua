-- SPDX-License-Identifier: MIT
-- A scripted session with a server: publishes, streams of all kinds, a reload. For specs in which something fails meanwhile: each request and stream may fail,
-- and how is returned; none may be stuck, and what comes after the failure must succeed.
local helper = require("spec.helper")

local session = {}

local CHANNEL = "a b"
local SCRIPTS = {
  ["extra.lua"] = [[
local seen = 0
sluice.every(3600, function() seen = 0 end)
return {
  name = "extra",
  priority = 10,
  on_request = function(request)
    sluice.shared.incr("requests")
    request.user = request:query("user") or request:cookie("user")
    request:respond_header("X-Seen", tostring(seen))
  end,
  on_publish = function(message)
    if message.event == "shout" then message.data = message.data:upper() end
    return message
  end,
  on_message = function(message, stream)
    if message.event == "shaped" then message.data = message.data .. " for " .. tostring(stream.user) end
    return message
  end,
  on_disconnect = function(_, reason)
    seen = seen + 1
    sluice.shared.set("left", reason)
  end,
  routes = function(route)
    route:stream("/ticks", function(stream)
      for n = 1, 3 do
        stream:send{ event = "tick", data = { n = n, text = ("x"):rep(40) } }
        sluice.sleep(0.001)
      end
    end)
    route:stream("/filtered", function(stream, request)
      stream:subscribe(request:query_all("channel"), { filter = function(message) return message.data ~= "no" end })
    end)
    route:get("/yield", function() coroutine.yield() end)
    route:post("/json", function(request) return 200, request:json() end)
  end,
}
]],
}

local CONFIG = {
  workers = 1,
  drain = 0.3,
  history = { messages = 8 }, -- each session replays it: none is to be longer than the one before
  limits = { queue_bytes = 65536 },
  channels = { ["big"] = { slow = "drop_oldest" } },
}

-- Options of helper.serve for the server that the session is for.
function session.options()
  return { config = CONFIG, scripts = SCRIPTS, defaults = true }
end

-- A run of steps, each of which may fail: `failures` says how, one line a request or stream. A step that waits in vain is stuck, and that is an error.
function session.of(server)
  local failures, streams = {}, {}
  local self = { failures = failures, streams = streams }
  local told = {}
  local function failed(...)
    failures[#failures + 1] = (...):format(select(2, ...))
  end

  function self.lost(stream)
    if not told[stream] then
      told[stream] = true
      failed("%s", stream:describe())
    end
  end

  -- One request on a connection of its own, to which `wanted` (200) is the right answer. Returns that, or nil.
  function self.request(method, target, request_options, wanted)
    local ok, response = pcall(server.request, server, method, target, request_options)
    if not ok and tostring(response):find("timeout", 1, true) then
      error(("%s %s is stuck: %s"):format(method, target, response), 0)
    elseif not ok then
      failed("%s %s: %s", method, target, response)
    elseif response.status ~= (wanted or 200) then
      failed("%s %s: %d %s", method, target, response.status, response.body)
      return nil
    end
    return ok and response or nil
  end

  function self.publish(channel, event, data)
    local body = helper.json.encode({ channel = channel, event = event, data = data })
    return self.request("POST", "/publish?user=%41nn", { body = body, headers = { ["Content-Type"] = "application/json" } })
  end

  function self.open(target, stream_options)
    local ok, stream = pcall(server.stream, server, target, stream_options)
    if not ok then
      failed("%s: %s", target, stream)
      return
    end
    streams[#streams + 1] = stream
    stream:wait_head()
    if stream.status ~= 200 then
      self.lost(stream)
    end
    return stream
  end

  -- Waits until each stream that is open has the last word, or ends.
  function self.await(word)
    for _, stream in ipairs(streams) do
      helper.sse.wait_for({ stream }, function()
        local last = stream.events[#stream.events]
        return stream.ended or (last and last.data:find(word, 1, true))
      end)
      if stream.ended and stream.failure then
        error("a broken stream: " .. stream:describe(), 0)
      elseif stream.ended and stream.ended ~= "chunk" then
        self.lost(stream)
      end
    end
  end

  function self.close()
    for _, stream in ipairs(streams) do
      stream:close()
    end
  end
  return self
end

-- Everything that clients do. `settle` is called before what must succeed. Returns the list of what failed.
function session.serve(server, settle)
  local clients = session.of(server)
  local query = "?channel=a%20b&channel=big&user=%42ob"
  clients.publish(CHANNEL, "shout", "first")
  clients.publish(CHANNEL, nil, { nested = { 1, 2, "three" } })
  clients.open("/events" .. query .. "&last_event_id=%65arliest")
  clients.open("/filtered" .. query, { headers = { Cookie = "user=carl" }, last_event_id = "1-1" })
  clients.open("/events?channel=big", { receive_buffer = 2048 })
  clients.open("/events?channel=a%20b&channel=big", { headers = { ["Accept-Encoding"] = "gzip" } })
  local ticks = clients.open("/ticks", { headers = { ["Accept-Encoding"] = "gzip" } })
  for n = 1, 4 do
    clients.publish("big", "shaped", n .. (" "):rep(40000))
  end
  clients.request("POST", "/json", { body = '{"a":[1,2,{"b":"\\u00e9"}]}', headers = { ["Content-Type"] = "application/json" } })
  clients.request("GET", "/metrics")
  clients.request("GET", "/yield", nil, 500)
  clients.publish(CHANNEL, nil, "no")
  if ticks then
    ticks:wait_end()
    if ticks.ended ~= "chunk" or #ticks:messages() ~= 3 then
      clients.lost(ticks)
    end
  end
  settle()
  assert(clients.publish(CHANNEL, nil, "the last word"), table.concat(clients.failures, "\n"))
  assert(clients.publish("big", nil, "the last word"), table.concat(clients.failures, "\n"))
  clients.await("the last word")
  clients.close()
  return clients.failures
end

local function health(server)
  return helper.eventually(function()
    local response = server:request("GET", "/health")
    return response.status == 200 and helper.json.decode(response.body)
  end)
end

-- A reload that may fail, but comes to an end; the one after it succeeds.
function session.reload(server, settle)
  local before = health(server)
  local function answered()
    local now = health(server)
    return now.generation > before.generation or (now.reload_error ~= helper.json.null and now)
  end
  local function again()
    server:signal("HUP")
    return helper.eventually(function()
      return health(server).generation > before.generation
    end)
  end
  server:signal("HUP")
  helper.eventually(answered, nil, "a reload's end")
  settle()
  if health(server).generation == before.generation then
    again()
  end
  return {}
end

return session
