-- SPDX-License-Identifier: MIT
-- Random interleavings of channels, joins, leavings, replays, gaps, filters, heartbeats and slow clients, on two workers: every stream in gzip
-- decodes to exactly what its twin gets as it is, up to a good trailer. GZIP_SEED repeats a run that failed.
local helper = require("spec.helper")
local json, http, socket = helper.json, helper.http, require("socket")

local CHANNELS = { "a", "b", "c", "deep/channel \u{E9}", "sluice.all" }
local SETS = { { 1 }, { 1, 2 }, { 2, 1 }, { 1, 2, 3, 4 } } -- few, so that many streams share a chain
local STEPS = 45
local HEARTBEAT = 0.05

local ROUTES = [[return { name = "twins", routes = function(route)
  route:stream("/ticks", { opening = false }, function(stream, request)
    stream:subscribe(request:query_all("channel"), { events = { "tick" } })
  end)
end }]]

-- Numbers that are the same for the same seed, whatever else asks math.random.
local function generator(seed)
  local state = seed
  return function(n)
    state = (state * 6364136223846793005 + 1442695040888963407) & 0x7fffffffffffffff
    return (state >> 33) % n + 1
  end
end

local function once_in(random, n)
  return random(n) == 1
end

-- Text that looks like itself, with figures that do not.
local function data_of(random, number)
  local size = once_in(random, 20) and 20000 or once_in(random, 3) and 1500 or random(250)
  local parts = { ('{"number":%d'):format(number) }
  while size > 0 do
    parts[#parts + 1] = (',"symbol%d":%d.%02d'):format(random(50), random(500), random(100) - 1)
    size = size - 16
  end
  return table.concat(parts) .. "}" .. (once_in(random, 10) and "\n\nlines\n" or "")
end

local function publish(server, random, state)
  local list = {}
  for index = 1, random(once_in(random, 5) and 90 or 12) do
    state.number = state.number + 1
    local channel = once_in(random, 30) and "sluice.all" or CHANNELS[random(#CHANNELS - 1)]
    list[index] = { channel, data_of(random, state.number), once_in(random, 2) and "tick" or nil }
  end
  for _, id in ipairs(server:publish_all(list)) do
    state.ids[#state.ids + 1] = id
  end
end

-- Publishes a message that reaches every stream, and waits until these have it.
local function wait_for_all(server, streams, state)
  local id = server:publish("sluice.all", "a mark", "tick")
  state.ids[#state.ids + 1] = id
  helper.sse.wait_for(streams, function()
    for _, stream in ipairs(streams) do
      assert(not stream.ended, stream:describe())
      if stream:last_event_id() ~= id then return false end
    end
    return true
  end)
end

-- Two streams of the same channels from the same id, at a moment in which nothing is being published.
local function open_pair(server, random, state)
  local query = {}
  for _, index in ipairs(SETS[random(#SETS)]) do
    query[#query + 1] = { "channel", CHANNELS[index] }
  end
  local from = state.ids[#state.ids]
  if once_in(random, 2) then
    from = once_in(random, 8) and "nonsense" or state.ids[random(#state.ids)]
  end
  local target = (once_in(random, 4) and "/ticks?" or "/events?") .. http.query(query)
  local version = once_in(random, 5) and "1.0" or "1.1"
  local pair = {}
  for name, accept in pairs{ plain = "identity", coded = "gzip" } do
    pair[name] = server:stream(target, { last_event_id = from, version = version, headers = { ["Accept-Encoding"] = accept } })
  end
  helper.sse.wait_for({ pair.plain, pair.coded }, function() return pair.plain.head and pair.coded.head end)
  assert.equal("gzip", pair.coded.headers["content-encoding"])
  assert.is_nil(pair.plain.headers["content-encoding"])
  state.pairs[#state.pairs + 1] = pair
  -- What follows could push messages out of history that one of them has replayed already and the other has not.
  wait_for_all(server, { pair.plain, pair.coded }, state)
end

-- What both twins must have in common: not the opening block, which is each one's own, nor heartbeats.
local function common_text(stream)
  local text = stream:body():gsub("^retry: %d+\nid: [%d-]+\nevent: sluice.open\ndata: [^\n]*\n\n", "")
  return (("\n" .. text):gsub("\n:%f[\n]", ""):sub(2))
end

-- Long texts: says where they part.
local function assert_same_text(plain, coded, where)
  if plain == coded then
    return
  end
  local at = 1
  while plain:byte(at) == coded:byte(at) do
    at = at + 1
  end
  error(("%sfrom byte %d on: %q, and in gzip %q"):format(where, at, plain:sub(at - 100, at + 100), coded:sub(at - 100, at + 100)))
end

local function all_streams(state)
  local list = {}
  for _, pair in ipairs(state.pairs) do
    list[#list + 1] = pair.plain
    list[#list + 1] = pair.coded
  end
  return list
end

local function pump_for(streams, seconds)
  local deadline = socket.gettime() + seconds
  repeat
    helper.sse.pump(streams, deadline - socket.gettime())
  until socket.gettime() >= deadline
end

local function run_twins(seed)
  local random = generator(seed)
  local server = helper.serve{ defaults = true, scripts = { ["twins.lua"] = ROUTES }, config = { drain = 0.1, history = { messages = 60 },
    stream = { heartbeat = HEARTBEAT }, limits = { connections = 200 } } }
  local state = { number = 0, ids = {}, pairs = {} }
  publish(server, random, state)
  for _ = 1, STEPS do
    local choice = random(10)
    if choice <= 6 then
      publish(server, random, state)
    elseif choice <= 8 and #state.pairs < 30 then
      open_pair(server, random, state)
    elseif choice == 9 and #state.pairs > 4 then
      local pair = table.remove(state.pairs, random(#state.pairs))
      pair.plain:close(once_in(random, 2))
      pair.coded:close(once_in(random, 2))
    else
      pump_for(all_streams(state), HEARTBEAT * random(6))
    end
    if once_in(random, 2) then
      helper.sse.pump(all_streams(state), 0)
    end
  end
  wait_for_all(server, all_streams(state), state)
  local metrics = json.decode(server:request("GET", "/metrics").body)
  server:signal("TERM")
  for index, pair in ipairs(state.pairs) do
    local where = ("pair %d, %s: "):format(index, pair.coded.target)
    assert.equal(pair.plain:wait_end(), pair.coded:wait_end(), where .. tostring(pair.coded.failure))
    assert_same_text(common_text(pair.plain), common_text(pair.coded), where)
    local text, coded = pair.coded:gunzipped()
    assert.is_string(text, where .. tostring(coded))
  end
  server:wait()
  -- Each form was made once, whoever needed it, and there were chains.
  assert.is_true(metrics.gzipForms <= #state.ids, metrics.gzipForms .. " whole forms")
  assert.is_true(metrics.gzipLinks > 0)
end

describe("each stream in gzip decodes to what its twin gets as it is,", function()
  after_each(helper.cleanup)

  local base = tonumber(os.getenv("GZIP_SEED")) or os.time() % 1000000
  for run = 1, os.getenv("GZIP_SEED") and 1 or 2 do
    it("whatever happens, run " .. run, function()
      local ok, problem = xpcall(run_twins, function(e) return type(e) == "table" and e or debug.traceback(e) end, base + run - 1)
      if not ok then
        error(("GZIP_SEED=%d: %s"):format(base + run - 1, tostring(type(problem) == "table" and problem.message or problem)), 0)
      end
    end)
  end
end)
