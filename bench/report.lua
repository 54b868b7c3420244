-- SPDX-License-Identifier: MIT
-- Makes rows of what the load generator has printed, a table of the rows, and the verdict on the goals.
--
-- A row is one scene on one server: { case, scene, title, server, unit, results = the generator's objects, one a run }, and
--   cost       { min, median, max, spread }   of all runs; spread is (max - min) / min
--   rate       median of what was done in a second
--   busy       median share of a core that the server used
--   wire       least bytes of a body for one event
--   p50, p99, worst   medians, in milliseconds; p99_min the least
--   floor_ratio, nchan_ratio   ratio of minima to that server in the same scene

local report = {}

local function sorted(list)
  local copy = table.move(list, 1, #list, 1, {})
  table.sort(copy)
  return copy
end

local function median(list)
  local copy = sorted(list)
  local middle = (#copy + 1) // 2
  return #copy % 2 == 1 and copy[middle] or (copy[middle] + copy[middle + 1]) / 2
end

local function pick(results, f)
  local list = {}
  for index, result in ipairs(results) do
    list[index] = f(result)
  end
  return list
end

-- How many units of work a result is about, and their name.
local function work_of(result)
  if result.scene == "publish" then
    return result.messages, "publish"
  elseif result.scene == "connect" then
    return result.streams, "stream"
  elseif result.scene == "memory" then
    return result.subscribers, "idle subscriber"
  end
  return result.events, "event"
end

-- Microseconds of CPU, or bytes, for one unit.
local function cost_of(result)
  local work = work_of(result)
  if result.scene == "memory" then
    return (result.pss_bytes - result.baseline_bytes) / work
  end
  return result.cpu_ns / 1000 / work
end

local function complete(row)
  local results = row.results
  local costs = sorted(pick(results, cost_of))
  row.unit = select(2, work_of(results[1]))
  row.cost = { min = costs[1], median = median(costs), max = costs[#costs], spread = (costs[#costs] - costs[1]) / costs[1] }
  if results[1].seconds then
    local rates = sorted(pick(results, function(result) return (work_of(result)) / result.seconds end))
    row.rate, row.best_rate = median(rates), rates[#rates]
    row.busy = median(pick(results, function(result) return result.cpu_ns / 1e9 / result.seconds end))
  end
  if results[1].wire_bytes then
    row.wire = sorted(pick(results, function(result) return result.wire_bytes / (work_of(result)) end))[1]
  end
  if results[1].p50_ns then
    local function ms(name)
      return pick(results, function(result) return result[name] / 1e6 end)
    end
    row.p50, row.p99, row.worst = median(ms("p50_ns")), median(ms("p99_ns")), median(ms("max_ns"))
    row.p99_min = sorted(ms("p99_ns"))[1]
  end
end

local function find(rows, case, scene, server)
  for _, row in ipairs(rows) do
    if row.case == case and row.scene == scene and row.server == server then
      return row
    end
  end
  return nil
end

-- Completes rows whose results are all there.
function report.complete(rows)
  for _, row in ipairs(rows) do
    complete(row)
  end
  for _, row in ipairs(rows) do
    for _, other in ipairs({ "floor", "nchan" }) do
      local base = find(rows, row.case, row.scene, other)
      if base and base ~= row then
        row[other .. "_ratio"] = row.cost.min / base.cost.min
      end
    end
  end
end

-- --- table ------------------------------------------------------------------------------------------

local function figure(value, format)
  return value and (format or "%.2f"):format(value) or ""
end

local COLUMNS = {
  { "server", function(row) return row.server end },
  { "min", function(row) return figure(row.cost.min, row.unit == "idle subscriber" and "%.0f" or "%.2f") end },
  { "median", function(row) return figure(row.cost.median, row.unit == "idle subscriber" and "%.0f" or "%.2f") end },
  { "spread", function(row) return figure(row.cost.spread * 100, "%.0f %%") end },
  { "x floor", function(row) return figure(row.floor_ratio) end },
  { "x Nchan", function(row) return figure(row.nchan_ratio) end },
  { "wire B", function(row) return figure(row.wire, "%.1f") end },
  { "a second", function(row) return figure(row.rate, "%.0f") end },
  { "core", function(row) return figure(row.busy and row.busy * 100, "%.0f %%") end },
  { "p50 ms", function(row) return figure(row.p50) end },
  { "p99 ms", function(row) return figure(row.p99) end },
  { "max ms", function(row) return figure(row.worst) end },
}

-- An aligned Markdown table; `columns` is a list of { title, function(row) }, the first `left` of them aligned left.
local function markdown(rows, columns, left)
  local cells, widths = { {} }, {}
  for c, column in ipairs(columns) do
    cells[1][c] = column[1]
  end
  for r, row in ipairs(rows) do
    cells[r + 1] = {}
    for c, column in ipairs(columns) do
      cells[r + 1][c] = column[2](row)
    end
  end
  for c = 1, #columns do
    widths[c] = 3
    for _, line in ipairs(cells) do
      widths[c] = math.max(widths[c], #line[c])
    end
  end
  local lines = {}
  for r, line in ipairs(cells) do
    local parts = {}
    for c, cell in ipairs(line) do
      parts[c] = ((c <= left and "%-" or "%") .. widths[c] .. "s"):format(cell)
    end
    lines[#lines + 1] = "| " .. table.concat(parts, " | ") .. " |"
    if r == 1 then
      for c = 1, #columns do
        parts[c] = c <= left and ("-"):rep(widths[c]) or ("-"):rep(widths[c] - 1) .. ":"
      end
      lines[#lines + 1] = "| " .. table.concat(parts, " | ") .. " |"
    end
  end
  return table.concat(lines, "\n")
end

-- All rows, a table for each scene.
function report.table(rows)
  local parts, group = {}, {}
  local function flush()
    if #group > 0 then
      local unit = group[1].unit == "idle subscriber" and "bytes" or "us of CPU"
      parts[#parts + 1] = ("**%s: %s** (%s per %s)\n\n%s\n"):format(group[1].title, group[1].scene_title, unit, group[1].unit,
        markdown(group, COLUMNS, 1))
    end
    group = {}
  end
  for _, row in ipairs(rows) do
    if group[1] and (group[1].case ~= row.case or group[1].scene ~= row.scene) then
      flush()
    end
    group[#group + 1] = row
  end
  flush()
  return table.concat(parts, "\n")
end

-- --- goals ------------------------------------------------------------------------------------------

-- At most this share of the plain bytes, by case and scene.
local WIRE = {
  ["gzip-wire"] = { ["single:128"] = 0.36, ["single:1024"] = 0.24 },
  ["gzip-replay"] = { ["replay:1024"] = 0.38 },
}

-- What gzip costs and saves, to the same without.
local function gzip_goals(rows, row, name, add)
  local plain = find(rows, row.case, row.scene, "sluice")
  local share = WIRE[row.case] and WIRE[row.case][row.scene]
  if not plain then
    return
  elseif share then
    add(name .. ", gzip: bytes to those without", row.wire / plain.wire, share)
  elseif row.case == "gzip" then
    add(name .. ", gzip: CPU to that without", row.cost.min / plain.cost.min, 1.1)
  elseif row.case == "memory" then
    add(name .. ", gzip: bytes beyond those without", row.cost.min - plain.cost.min, 64)
  end
end

-- Goals are functions of `rows` that give { what, value, limit } where the rows are there; reached: value <= limit.
local function ratio_goals(rows, goals)
  local function add(what, value, limit)
    if value then
      goals[#goals + 1] = { what = what, value = value, limit = limit }
    end
  end
  for _, row in ipairs(rows) do
    local name = row.title .. ", " .. row.scene_title
    local crowd = row.case:match("^fan%-(%d+)$")
    local kind = row.scene:match("^%a+")
    if row.server == "sluice" and (crowd == "1000" or crowd == "10000") then
      if kind == "single" then
        add(name .. ": to the floor", row.floor_ratio, 1.1)
        add(name .. ": to Nchan", row.nchan_ratio, 1)
      elseif kind == "burst" then
        add(name .. ": to the floor", row.floor_ratio, 0.35)
      else
        local floor = find(rows, row.case, row.scene, "floor")
        add(name .. ": p99 to the floor's", floor and row.p99_min / floor.p99_min, 1.2)
      end
    elseif row.server == "sluice, gzip" then
      gzip_goals(rows, row, name, add)
    elseif row.case == "memory" and row.server:find("^sluice") then
      add(("%s, %s: bytes"):format(name, row.server), row.cost.min, 1024)
      add(("%s, %s: bytes, beyond the goal"):format(name, row.server), row.cost.min, 600)
    elseif row.case == "connect" and row.server == "sluice, tokens" then
      add(name .. ", tokens: to Nchan", row.nchan_ratio, 1.5)
      add(name .. ", tokens: to Nchan, beyond the goal", row.nchan_ratio, 1)
    elseif row.case == "publish" and row.server == "sluice" then
      local nchan = find(rows, row.case, row.scene, "nchan")
      add(name .. ": Nchan's rate to Sluice's", nchan and nchan.best_rate / row.best_rate, 1)
    elseif row.server == "sluice, on_message" then
      add(name .. ": to the floor", row.floor_ratio, 2)
    elseif row.case == "replay" and row.server == "sluice" then
      local live = find(rows, "fan-1000", "single:128", "sluice")
      add(name .. ": to live delivery, one at a time", live and row.cost.min / live.cost.min, 1)
    end
  end
end

-- The least cost of an event without that of publishing, which a channel with few subscribers pays for few events. Nil where publishing alone
-- was not measured.
local function net_cost(rows, row)
  local publish = find(rows, "publish", "publish:128:1", row.server)
  if not publish then
    return nil
  end
  return sorted(pick(row.results, function(result)
    return (result.cpu_ns / 1000 - result.messages * publish.cost.min) / result.events
  end))[1]
end

local function whole_cost(_, row)
  return row.cost.min
end

-- How much the ratio to the floor differs over crowds or numbers of channels; `cost` says of what.
local function flat_goal(rows, goals, what, cases, cost)
  local least, most
  for _, case in ipairs(cases) do
    local row, floor = find(rows, case, "single:128", "sluice"), find(rows, case, "single:128", "floor")
    local own, base = row and cost(rows, row), floor and cost(rows, floor)
    if not own or not base then
      return
    end
    least = math.min(least or own / base, own / base)
    most = math.max(most or own / base, own / base)
  end
  goals[#goals + 1] = { what = what, value = most / least, limit = 1.15 }
end

function report.goals(rows)
  local goals = {}
  ratio_goals(rows, goals)
  local channels = { "fan-10000", "channels-1000", "channels-10000" }
  flat_goal(rows, goals, "ratio to the floor over 1,000 to 18,000 subscribers: most to least", { "fan-1000", "fan-10000", "fan-18000" }, whole_cost)
  flat_goal(rows, goals, "ratio to the floor over 1 to 10,000 channels: most to least", channels, whole_cost)
  flat_goal(rows, goals, "the same without what publishing costs", channels, net_cost)
  for _, goal in ipairs(goals) do
    goal.reached = goal.value <= goal.limit
  end
  return goals
end

function report.goals_table(goals)
  return markdown(goals, {
    { "goal", function(goal) return goal.what end },
    { "is", function(goal) return figure(goal.value, goal.limit > 10 and "%.0f" or "%.2f") end },
    { "at most", function(goal) return figure(goal.limit, goal.limit > 10 and "%.0f" or "%.2f") end },
    { "", function(goal) return goal.reached and "reached" or "missed" end },
  }, 1)
end

return report
