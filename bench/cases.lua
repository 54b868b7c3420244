-- SPDX-License-Identifier: MIT
-- What is measured. A case is one start of each server with one crowd of clients; its scenes follow one another on it.
--
--   name       to ask for it: `make bench BENCH="full fan-1000"`
--   title      for the table
--   clients    streams that are open at one time
--   tokens     different tokens, where each client has its own (as many as clients)
--   arguments  of the load generator
--   servers    names from bench/servers.lua
--   scenes     { { what it is given, title, key }, ... }; the key names the row, whatever the level's durations
--   address_each  each client has its own address, where each has its own token

local LEVELS = {
  quick = { runs = 2, seconds = 0.25, crowds = { 100, 1000, 10000 }, sizes = { 128 }, replay_clients = 200, idle_clients = 2000,
    connects = 4000 },
  full = { runs = 5, seconds = 1, crowds = { 100, 1000, 10000, 18000 }, sizes = { 128, 1024, 16384 }, replay_clients = 1000,
    idle_clients = 10000, connects = 20000 },
}

local ALL = { "floor", "sluice", "nchan" }
local GZIP = { "sluice", "sluice, gzip" }
local OWN_TOKENS = "sluice, tokens"

local function thousands(n)
  return (tostring(n):reverse():gsub("(%d%d%d)(%d)", "%1,%2"):reverse())
end

local function size(bytes)
  return bytes < 1024 and bytes .. " B" or bytes // 1024 .. " KiB"
end

local function fan_scenes(level, sizes)
  local scenes = {}
  for _, bytes in ipairs(sizes) do
    scenes[#scenes + 1] = { ("single:%d:%g"):format(bytes, level.seconds), size(bytes) .. ", one at a time", "single:" .. bytes }
    scenes[#scenes + 1] = { ("burst:%d:%g"):format(bytes, level.seconds), size(bytes) .. ", bursts of 16", "burst:" .. bytes }
  end
  return scenes
end

local function fan_case(level, count)
  local case = {
    name = "fan-" .. count, title = thousands(count) .. " subscribers", clients = count,
    arguments = { "--subscribers", count }, servers = ALL, scenes = fan_scenes(level, level.sizes),
  }
  if count == 10000 then
    local span = level.seconds < 1 and 2 or 5
    case.scenes[#case.scenes + 1] = { ("paced:128:%d:5"):format(span), "128 B, 5 a second", "paced:128" }
  end
  return case
end

-- Returns the level (runs and sizes) and the list of cases.
local function cases(name)
  local level = LEVELS[name]
  local list = {}
  local function add(case)
    list[#list + 1] = case
  end

  for _, count in ipairs(level.crowds) do
    add(fan_case(level, count))
  end
  for _, channels in ipairs(name == "full" and { 1000, 10000 } or { 1000 }) do
    add({
      name = "channels-" .. channels, title = "10,000 subscribers over " .. thousands(channels) .. " channels", clients = 10000,
      arguments = { "--subscribers", 10000, "--channels", channels }, servers = ALL, scenes = fan_scenes(level, { 128 }),
    })
  end
  for _, count in ipairs(name == "full" and { 1000, 10000 } or { 1000 }) do
    add({
      name = "workers-" .. count, title = thousands(count) .. " subscribers, 1 and 2 workers", clients = count,
      arguments = { "--subscribers", count }, servers = { "floor", "sluice", "sluice, 2 workers" },
      scenes = fan_scenes(level, { 128 }),
    })
  end
  add({
    name = "on-message", title = "1,000 subscribers, each message edited for each", clients = 1000,
    arguments = { "--subscribers", 1000 }, servers = { "floor", "sluice, on_message" },
    scenes = fan_scenes(level, name == "full" and { 128, 1024 } or { 128 }),
  })
  add({
    name = "stuck", title = "1,000 subscribers, one more that never reads", clients = 1001,
    arguments = { "--subscribers", 1000, "--stuck", 1 }, servers = ALL, scenes = fan_scenes(level, { 1024 }),
  })
  add({
    name = "replay", title = thousands(level.replay_clients) .. " returning clients", clients = level.replay_clients,
    arguments = { "--subscribers", level.replay_clients }, servers = ALL,
    scenes = { { "replay:128:1000", "replay of 1,000 messages of 128 B", "replay:128" } },
  })
  add({
    name = "publish", title = "publish only", clients = 64, arguments = {}, servers = ALL,
    scenes = {
      { ("publish:128:%g:1"):format(level.seconds), "128 B, 1 connection", "publish:128:1" },
      { ("publish:128:%g:64"):format(level.seconds), "128 B, 64 connections", "publish:128:64" },
    },
  })
  add({
    name = "connect", title = "connect and close", clients = 64, tokens = level.connects * 11 // 10, arguments = {},
    servers = { "floor", "sluice", OWN_TOKENS, "sluice, one token", "nchan" },
    scenes = { { ("connect:%d"):format(level.connects), "64 at a time", "connect" } },
  })
  add({
    name = "memory", title = "memory", clients = level.idle_clients, address_each = true,
    arguments = { "--subscribers", level.idle_clients }, servers = { "floor", "sluice", OWN_TOKENS, "sluice, gzip", "nchan" },
    scenes = { { "memory", thousands(level.idle_clients) .. " idle subscribers", "memory" } },
  })
  add({
    -- To decode all that comes would be more work than to send it, and the caches' most.
    name = "gzip", title = "1,000 subscribers, market data", clients = 1000,
    arguments = { "--subscribers", 1000, "--feed", "--decode", 50 }, servers = GZIP, scenes = fan_scenes(level, { 256, 1024, 16384 }),
  })
  add({
    name = "gzip-wire", title = "bytes on the wire, market data, as it comes", clients = 10,
    arguments = { "--subscribers", 10, "--feed" }, servers = GZIP,
    scenes = { { "single:128:0.1:1000", "128 B", "single:128" }, { "single:1024:0.1:1000", "1 KiB", "single:1024" } },
  })
  add({
    name = "gzip-replay", title = "bytes on the wire, market data, from history", clients = 10,
    arguments = { "--subscribers", 10, "--feed" }, servers = GZIP,
    scenes = { { "replay:1024:1000", "1 KiB", "replay:1024" } },
  })
  local CLUSTER = { "sluice", "sluice, Redis", "sluice, Redis, 3 nodes" }
  add({
    name = "cluster", title = "a cluster, 100 subscribers", clients = 100, arguments = { "--subscribers", 100 }, servers = CLUSTER,
    scenes = fan_scenes(level, { 128 }),
  })
  add({
    name = "cluster-publish", title = "a cluster, publish only", clients = 64, arguments = {}, servers = CLUSTER,
    scenes = {
      { ("publish:128:%g:1"):format(level.seconds), "128 B, 1 connection", "publish:128:1" },
      { ("publish:128:%g:64"):format(level.seconds), "128 B, 64 connections", "publish:128:64" },
    },
  })
  return level, list
end

return cases
