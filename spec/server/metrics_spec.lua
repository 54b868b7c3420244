-- SPDX-License-Identifier: MIT
-- GET /metrics as monitoring systems read it: the formats as promtool and Prometheus' own client library take them, each count where it belongs, the list in
-- the manual, and that a crowd of readers slows no stream.
local helper = require("spec.helper")
local redis_server = require("spec.support.redis")
local socket = require("socket")

local json, process = helper.json, helper.process

local PROMETHEUS = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
local PARSER = [[
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
print(json.dumps({family.name: [family.type, len(family.samples)] for family in text_string_to_metric_families(sys.stdin.read())}))
]]

local function scrape(server, accept)
  local response = server:request("GET", "/metrics", { headers = { Accept = accept } })
  assert.equal(200, response.status)
  return response.body, response.headers["content-type"]
end

local function counts(server)
  return json.decode((scrape(server, "application/json")))
end

-- Name (with labels) -> number.
local function samples(server)
  local found = {}
  for line in scrape(server, "text/plain"):gmatch("[^\n]+") do
    local name, value = line:match("^([%w_]+%b{}) (%S+)$")
    if not name then name, value = line:match("^([%w_]+) (%S+)$") end
    if name and line:sub(1, 1) ~= "#" then
      assert.is_nil(found[name], name .. " twice")
      found[name] = tonumber(value)
    end
  end
  return found
end

local function run(argv, input)
  local path = process.temp_dir() .. "/input"
  process.write_file(path, input)
  return process.run(argv, { stdin = path })
end

describe("GET /metrics", function()
  local server

  setup(function()
    server = helper.start({ config = { workers = 2 } })
    local stream = server:stream("/events?channel=a"):wait_open()
    server:publish("a", "x")
    stream:wait_messages(1)
    stream:close()
    server:request("GET", "/no/such")
  end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("answers what Accept asks for, and says what it is", function()
    local JSON, TEXT = "application/json", "text/plain; version=0.0.4; charset=utf-8"
    local OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    for _, case in ipairs({
      { nil, JSON }, { "*/*", JSON }, { "application/json", JSON }, { "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON },
      { "text/plain", TEXT }, { "text/plain;version=0.0.4", TEXT }, { "text/*", TEXT }, { "application/json;q=0.5, text/plain", TEXT },
      { PROMETHEUS, OPEN }, { "application/openmetrics-text", OPEN }, { "text/plain;q=0.5,application/json", JSON },
    }) do
      local body, content_type = scrape(server, case[1])
      assert.equal(case[2], content_type, case[1])
      assert.equal(content_type == JSON, body:sub(1, 1) == "{")
      assert.equal(content_type == OPEN, body:sub(-6) == "# EOF\n")
    end
  end)

  it("is text that promtool finds nothing to say about", function()
    process.need("promtool", "prometheus")
    local status, out, err = run({ "promtool", "check", "metrics" }, (scrape(server, "text/plain")))
    assert.same({ 0, "", "" }, { status, out, err })
    status = run({ "promtool", "check", "metrics" }, "# TYPE sluice_x counter\nsluice_x 1\n")
    assert.not_equal(0, status) -- it looks
  end)

  it("is OpenMetrics that Prometheus' own parser takes, with the same families", function()
    local status, out, err = run({ "/usr/bin/python3", "-c", PARSER }, (scrape(server, PROMETHEUS)))
    assert.equal(0, status, err .. "\n(Debian: python3-prometheus-client)")
    local families, in_text = json.decode(out), 0
    for name, kind in scrape(server, "text/plain"):gmatch("# TYPE ([%w_]+) (%w+)") do
      local family = families[kind == "counter" and name:gsub("_total$", "") or name]
      assert.equal(kind, family and family[1], name)
      in_text = in_text + 1
    end
    for _ in pairs(families) do in_text = in_text - 1 end
    assert.equal(0, in_text)
  end)

  -- Compares a server with the manual's list; rows in `out` are those that this server is not to have.
  local function compare(with, out)
    local listed, there = {}, {}
    local manual = process.read_file("doc/observability.md"):match("\n## Metrics\n(.-)\n### ")
    local body = counts(with)
    for name, json_name, kind in manual:gmatch("\n| `([%w_]+)[^`]*` |([^|]*)| (%w+) |") do
      json_name = json_name:match("`(%w+)`")
      if not out(name) then
        listed[name] = kind
        if json_name and json_name ~= "perWorker" then assert.is_not_nil(body[json_name], json_name) end
      end
    end
    for name, kind in scrape(with, "text/plain"):gmatch("# TYPE ([%w_]+) (%w+)") do there[name] = kind end
    assert.same(listed, there)
    for name in pairs(body) do assert.is_truthy(manual:find("`" .. name .. "`", 1, true), name .. " is not in doc/observability.md") end
  end

  it("has what the manual lists, and the manual lists what it has", function()
    compare(server, function(name)
      return name:find("^sluice_cluster_") or name:find("^sluice_redis_") or name:find("^sluice_log_") or name == "sluice_publishes_unavailable_total"
    end)
  end)

  it("has in a cluster what the manual lists besides", function()
    local redis = redis_server.start()
    compare(helper.start({ config = { redis = { url = redis:url() } } }), function() return false end)
  end)

  it("has no label but those with few known values", function()
    local allowed = { reason = true, status = true, worker = true, le = true }
    for name in pairs(samples(server)) do
      for label in (name:match("{(.*)}") or ""):gmatch("([%w_]+)=") do assert.is_true(allowed[label], name) end
    end
  end)

  it("is public where tokens are asked for elsewhere", function()
    local keyed = helper.start({ config = { jwt = { key = "the key of the metrics spec" } } })
    assert.equal(200, keyed:request("GET", "/metrics").status)
    assert.equal(401, keyed:request("POST", "/publish", { body = "x" }).status)
    assert.equal(1, samples(keyed)['sluice_http_refusals_total{status="401"}'])
  end)
end)

describe("the counts", function()
  after_each(helper.cleanup)

  it("of refusals go by status", function()
    local server = helper.start({ scripts = { ["teapot.lua"] = [[return { routes = function(route)
      route:get("/teapot", function() return 418, "short" end)
      route:get("/broken", function() error("oops") end)
    end }]] }, defaults = true })
    for target, status in pairs({ ["/teapot"] = 418, ["/broken"] = 500, ["/no/such"] = 404, ["/events?channel=*"] = 400 }) do
      assert.equal(status, server:request("GET", target).status)
    end
    assert.equal(405, server:request("GET", "/publish").status)
    local found = samples(server)
    for status, count in pairs({ ["400"] = 1, ["404"] = 1, ["405"] = 1, ["500"] = 1, other = 1, ["401"] = 0, ["503"] = 0 }) do
      assert.equal(count, found[('sluice_http_refusals_total{status="%s"}'):format(status)], status)
    end
    local body = counts(server)
    assert.same({ 5, 1, 1 }, { body.requestsRefused, body.scriptErrors, body.refusals["404"] })
  end)

  it("of ends and drops go by reason", function()
    local server = helper.start({ defaults = true, scripts = { ["ends.lua"] = [[return {
      routes = function(route)
        route:stream("/finished", function(stream) stream:send("x") end)
        route:stream("/closed", function(stream) stream:send("x") stream:close() end)
        route:stream("/error", function(stream) stream:send("x") error("oops") end)
        route:stream("/expired", function(stream, request) request.expires = os.time() + 0.2 - 1 stream:subscribe("a") end)
      end,
      on_message = function(message) if message.data == "secret" then return false end end }]] } })
    for _, reason in ipairs({ "finished", "closed", "error", "expired" }) do server:stream("/" .. reason):wait_end() end
    local stream = server:stream("/events?channel=b"):wait_open()
    server:publish("b", "secret")
    server:publish("b", "open")
    stream:wait_messages(1)
    stream:close()
    local body = helper.eventually(function()
      local now = counts(server)
      return now.activeConnections == 0 and now
    end)
    for reason, count in pairs({ finished = 1, closed = 1, error = 1, expired = 1, left = 1, slow = 0, drained = 0 }) do
      assert.equal(count, body.closes[reason], reason)
    end
    assert.same({ 1, 1, 5, 2 }, { body.drops.script, body.messagesSkipped, body.totalConnections, body.errors })
  end)

  it("of times are histograms that agree with themselves", function()
    local server = helper.start({ config = { workers = 1 } })
    local streams = {}
    for i = 1, 100 do streams[i] = server:stream("/events?channel=a"):wait_open() end
    for i = 1, 20 do server:publish("a", "x" .. i) end
    for _, stream in ipairs(streams) do stream:wait_messages(20) end
    helper.eventually(function() return counts(server).loopLagSeconds.count > 0 end) -- once a second
    local found = samples(server)
    for _, name in ipairs({ "sluice_delivery_lag_seconds", "sluice_script_seconds", "sluice_loop_lag_seconds" }) do
      local count = found[name .. "_count"]
      assert.is_true(count > 0, name)
      assert.equal(count, found[name .. '_bucket{le="+Inf"}'], name)
      local last = 0
      for _, bound in ipairs({ "2.5e-05", "0.001", "0.01", "0.1", "1.0", "5.0" }) do
        local below = found[('%s_bucket{le="%s"}'):format(name, bound)]
        assert.is_true(below >= last and below <= count, name)
        last = below
      end
      assert.is_true(found[name .. "_sum"] > 0, name)
    end
    -- One for a slice: far fewer than the 2000 deliveries, and at least one a publish.
    local lag = counts(server).deliveryLagSeconds
    assert.is_true(lag.count >= 20 and lag.count <= 200, "observations: " .. lag.count)
    assert.is_true(lag.p50 <= lag.p90 and lag.p90 <= lag.p99)
    local sum, upper = 0, 0
    for bound, count in pairs(lag.buckets) do
      sum = sum + count
      if tonumber(bound) and tonumber(bound) <= lag.p50 then upper = upper + count end
    end
    assert.equal(lag.count, sum)
    assert.is_true(upper >= lag.count / 2)
    assert.is_true(found["sluice_worker_messages_sent_total{worker=\"0\"}"] == 2000)
    assert.is_true(found["sluice_worker_cpu_seconds_total{worker=\"0\"}"] > 0)
    assert.is_true(found.process_resident_memory_bytes > 1e6)
    assert.is_true(math.abs(found.process_start_time_seconds - os.time()) < 60)
  end)

  it("tell of refused scripts until better ones are there", function()
    local server = helper.start({ scripts = { ["a.lua"] = "return {}" }, defaults = true })
    process.write_file(server.dir .. "/scripts/a.lua", "return {")
    assert.is_nil(server.host:reload())
    local stats = server.host:stats()
    assert.is_true(stats.reloadErrors >= 1)
    assert.equal(1, stats.reloadFailed)
    process.write_file(server.dir .. "/scripts/a.lua", "return {}")
    assert.is_true(server.host:reload())
    assert.equal(0, server.host:stats().reloadFailed)
  end)
end)

describe("a crowd that reads the metrics", function()
  after_each(helper.cleanup)

  -- Publishes `count` messages to one stream, one at a time; returns the slowest and the median time until it has one.
  local function delays(server, count)
    local stream = server:stream("/events?channel=lag"):wait_open()
    local times = {}
    for i = 1, count do
      local before = socket.gettime()
      server:publish("lag", "x" .. i)
      stream:wait_messages(i)
      times[i] = socket.gettime() - before
    end
    table.sort(times)
    return times[#times], times[#times // 2 + 1]
  end

  it("slows no stream", function()
    local server = helper.serve({ config = { workers = 1 } })
    delays(server, 20) -- warm
    local crowd = {}
    for i = 1, 8 do
      crowd[i] = process.spawn({ "sh", "-c", ('while :; do curl -s -o /dev/null -H "Accept: text/plain" "http://127.0.0.1:%d/metrics?[1-500]" || exit 0; done')
        :format(server.port) })
    end
    helper.eventually(function() return counts(server).requests > 500 end)
    local before = counts(server).requests
    local slowest, median = delays(server, 100)
    local scrapes = counts(server).requests - before
    for _, child in ipairs(crowd) do child:signal("KILL") end
    assert.is_true(scrapes > 500, "only " .. scrapes .. " scrapes: that is no crowd")
    assert.is_true(median < 0.05, ("median %.1f ms"):format(median * 1000))
    assert.is_true(slowest < 1, ("slowest %.1f ms"):format(slowest * 1000))
    local p99 = counts(server).deliveryLagSeconds.p99 -- the server's own part of it
    assert.is_true(p99 <= 0.05, ("lag p99 %.1f ms"):format(p99 * 1000))
  end)
end)

describe("examples/monitoring", function()
  local FOLDER = "examples/monitoring/"
  after_each(helper.cleanup)

  it("is a configuration and alerts that promtool takes", function()
    process.need("promtool", "prometheus")
    local status, out, err = process.run({ "promtool", "check", "config", FOLDER .. "prometheus.yml" })
    assert.equal(0, status, out .. err)
    assert.is_truthy(out:find("rules found", 1, true), out)
  end)

  it("asks for metrics and labels that a server has", function()
    local found = samples(helper.start())
    local names = {}
    for name in pairs(found) do
      local base, labels = name:match("^([%w_]+)(.*)$")
      names[base] = (names[base] or "") .. labels
    end
    local dashboard = json.decode(process.read_file(FOLDER .. "dashboard.json"))
    local expressions = { process.read_file(FOLDER .. "alerts.yml") }
    for _, panel in ipairs(dashboard.panels) do
      for _, target in ipairs(panel.targets) do expressions[#expressions + 1] = target.expr end
    end
    for _, variable in ipairs(dashboard.templating.list) do
      expressions[#expressions + 1] = type(variable.query) == "table" and variable.query.query or ""
    end
    expressions[#expressions + 1] = dashboard.annotations.list[1].expr
    local asked = 0
    for _, text in ipairs(expressions) do
      for name in text:gmatch("%f[%w_](%l+_[%w_]+)%f[^%w_]") do
        if name:find("^sluice_") or name:find("^process_") then
          assert.is_not_nil(names[name], name)
          asked = asked + 1
        end
      end
      for reason in text:gmatch('reason="([^"]*)"') do
        assert.is_truthy(names.sluice_stream_closes_total:find(('reason="%s"'):format(reason), 1, true), reason)
      end
    end
    assert.is_true(asked > 25, "only " .. asked)
  end)
end)
