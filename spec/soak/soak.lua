-- SPDX-License-Identifier: MIT
-- The soak: what shows only with much of it. Connections come and go while messages are published over many channel names, and the
-- server's memory must end where it was after the first tenth; then healthy clients beside stuck ones. Prints its figures.
--
--   make soak                             the full figures, some minutes
--   make soak SOAK="--connections 20000"  other figures, by the names of FULL
--
-- spec/soak/soak_spec.lua is its short form in `make test`. Exit status 1 where something was lost, repeated, or grew.
local FULL = { connections = 200000, messages = 1000000, channels = 10000, streams = 500, stuck = 100, healthy = 20, seconds = 5, rounds = 3, rate = 200 }

local helper = require("spec.helper")
local load = require("spec.support.load")
local socket = require("socket")

local soak = {}

local MIB = 1024 * 1024

-- History that is full after the first tenth, or it would look like a leak.
local function serve()
  return helper.serve{ config = {
    workers = 2,
    limits = { connections = 9000, queue_bytes = 256 * 1024 },
    history = { messages = 4 },
    ratelimit = { max = 100000000, concurrent = 100000 },
    channels = { ["latency.drop"] = { slow = "drop_oldest" } },
    log = { level = "warn" },
  } }
end

-- Connections and messages by the numbers of `sizes`. Returns the figures: streams, messages, received, lost, repeated, gaps, refused, rss (bytes,
-- after each tenth), rss_tenth, rss_end, rss_idle, queue_bytes, script_errors, seconds.
function soak.churn(sizes)
  local server = serve()
  local began = socket.gettime()
  local child = load.start("churn", server.port, sizes.connections, sizes.messages, sizes.channels, sizes.streams)
  local rss = {}
  local done = load.wait(child, "done", sizes.patience or 1800, function()
    rss[#rss + 1] = server.process:resident() -- a tenth is done
  end)
  local figures = { streams = done.connections, messages = done.published, received = done.received, lost = done.lost, repeated = done.repeated,
    gaps = done.gaps, refused = done.refused, rss = rss, rss_tenth = rss[1], rss_end = rss[#rss], seconds = socket.gettime() - began }
  child:wait(10)
  local metrics
  helper.eventually(function()
    metrics = helper.json.decode(server:request("GET", "/metrics", { headers = { Accept = "application/json" } }).body)
    return metrics.activeConnections == 0 and metrics.openConnections == 1
  end)
  figures.rss_idle = server.process:resident()
  figures.queue_bytes, figures.script_errors = metrics.queueBytes, metrics.scriptErrors
  server:stop()
  return figures
end

-- Healthy clients without and with stuck ones beside them, in turn. Returns { alone, beside } with p50_us, p99_us, worst_us, lost, repeated: the
-- best round of each, since what else the machine does only adds; `worst_us` is the worst of all rounds.
function soak.latency(sizes, channel)
  local server = serve()
  local best = {}
  for _ = 1, sizes.rounds do
    for name, stuck in pairs{ alone = 0, beside = sizes.stuck } do
      local child = load.start("latency", server.port, sizes.seconds, sizes.rate, sizes.healthy, stuck, channel)
      local result = load.wait(child, "p99_us", sizes.seconds + 30)
      child:wait(10)
      local so_far = best[name]
      if so_far then
        result.worst_us = math.max(result.worst_us, so_far.worst_us)
        result.lost, result.repeated = result.lost + so_far.lost, result.repeated + so_far.repeated
        result.p99_us, result.p50_us = math.min(result.p99_us, so_far.p99_us), math.min(result.p50_us, so_far.p50_us)
      end
      best[name] = result
    end
  end
  server:stop()
  return best
end

local function megabytes(bytes)
  return ("%.1f MiB"):format(bytes / MIB)
end

-- Prints the figures of a churn. Returns a list of what is wrong with them.
function soak.judge_churn(figures, say)
  local wrong = {}
  say(("churn: %d streams, %d messages (%d received), %d lost, %d repeated, %d gaps said, in %.1f s"):format(figures.streams,
    figures.messages, figures.received, figures.lost, figures.repeated, figures.gaps, figures.seconds))
  local tenths = {}
  for index, bytes in ipairs(figures.rss) do
    tenths[index] = ("%.1f"):format(bytes / MIB)
  end
  say("  resident after each tenth, MiB: " .. table.concat(tenths, " "))
  say(("  resident after the first tenth %s, at the end %s (%+.1f%%), when all have left %s"):format(megabytes(figures.rss_tenth), megabytes(figures.rss_end),
    (figures.rss_end / figures.rss_tenth - 1) * 100, megabytes(figures.rss_idle)))
  for _, name in ipairs{ "lost", "repeated", "refused", "queue_bytes", "script_errors" } do
    if figures[name] ~= 0 then
      wrong[#wrong + 1] = ("%s: %d"):format(name, figures[name])
    end
  end
  -- A tenth, and what allocators and the garbage of the workers' scripts need to settle.
  local allowed = figures.rss_tenth * 1.1 + 5 * MIB
  local sanitized = (os.getenv("SLUICE_PRELOAD") or "") ~= "" -- a sanitizer keeps what was freed
  if figures.rss_end > allowed and not sanitized then
    wrong[#wrong + 1] = ("memory grew from %s to %s"):format(megabytes(figures.rss_tenth), megabytes(figures.rss_end))
  end
  return wrong
end

-- Prints the figures of a latency run. Returns a list of what is wrong with them.
function soak.judge_latency(figures, channel, say)
  local wrong = {}
  for _, name in ipairs{ "alone", "beside" } do
    local f = figures[name]
    say(("latency, %s, %s: p50 %d us, p99 %d us, worst %d us; %d lost, %d repeated%s"):format(channel,
      f.stuck == 0 and "healthy clients alone" or ("beside %d stuck ones"):format(f.stuck), f.p50_us, f.p99_us, f.worst_us, f.lost, f.repeated,
      f.stuck > 0 and ("; stuck ones cut off %d times"):format(f.cut_off) or ""))
    if f.lost + f.repeated > 0 then
      wrong[#wrong + 1] = ("healthy clients %s: %d lost, %d repeated"):format(name, f.lost, f.repeated)
    end
  end
  say(("  p99 beside stuck clients is %.2f x p99 without"):format(figures.beside.p99_us / figures.alone.p99_us))
  return wrong
end

local function main(words)
  local sizes = {}
  for name, value in pairs(FULL) do
    sizes[name] = value
  end
  for index = 1, #words, 2 do
    local name = words[index]:match("^%-%-(%w+)$")
    if not FULL[name] or not math.tointeger(tonumber(words[index + 1])) then
      io.stderr:write("soak: unknown flag ", words[index], "\n")
      os.exit(2)
    end
    sizes[name] = math.tointeger(tonumber(words[index + 1]))
  end
  io.stdout:setvbuf("line")
  local wrong = soak.judge_churn(soak.churn(sizes), print)
  for _, channel in ipairs{ "latency", "latency.drop" } do
    local figures = soak.latency(sizes, channel)
    table.move(soak.judge_latency(figures, channel, print), 1, 100, #wrong + 1, wrong)
    if figures.beside.p99_us > 2 * figures.alone.p99_us then
      wrong[#wrong + 1] = channel .. ": stuck clients more than double the p99 of healthy ones"
    end
  end
  helper.cleanup()
  for _, line in ipairs(wrong) do
    print("WRONG: " .. line)
  end
  os.exit(#wrong == 0, true)
end

if arg and arg[0] and arg[0]:find("soak%.lua$") then
  main(arg)
end

return soak
