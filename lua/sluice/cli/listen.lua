-- SPDX-License-Identifier: MIT
-- sluice listen: follows an event stream and prints its events.

local follow = require("sluice.cli.follow")
local live = require("sluice.cli.live")

local clock, visible = follow.clock, follow.visible

local STDOUT, STDERR = 1, 2
local NO_MORE = 204

local function check_header(text)
  if text:find("^[^:%s]+:") then return true end
  return nil, ('expected NAME:VALUE, got "%s"'):format(text)
end

local function check_id(text)
  if not text:find("%c") then return true end
  return nil, "an id has no control characters"
end

-- The header fields that flags give, as a list of { name, value }.
local function headers(given)
  local list = {}
  for _, flag in ipairs(given.list) do
    if flag[1] == "header" then list[#list + 1] = { flag[2]:match("^([^:]+):%s*(.-)%s*$") } end
  end
  return list
end

local function plain_line(event)
  return ("%s  %s  %s  %s"):format(clock(event.at, "%H:%M:%S"), event.id == "" and "-" or visible(event.id), visible(event.event), visible(event.data))
end

local function json_line(json, event)
  return ('{"id":%s,"event":%s,"data":%s,"at":"%sZ"}'):format(json.encode(event.id), json.encode(event.event), json.encode(event.data),
    clock(event.at, "!%Y-%m-%dT%H:%M:%S"))
end

local function connected_text(stats, problem)
  if stats.connected then return stats.stream and ("yes, stream %s"):format(visible(stats.stream)) or "yes" end
  if stats.wait and problem then return ("no, trying again in %.1f s"):format(stats.wait) end
  return stats.state == "closed" and "no" or "no, connecting"
end

-- The table on a terminal.
local function rows(url, stats, problem)
  local last = stats.lastMessage
  return {
    { "url", visible(url) },
    { "connected", connected_text(stats, problem) },
    { "messagesReceived", ("%d"):format(stats.messagesReceived) },
    { "errors", ("%d%s"):format(stats.errors, problem and ", last: " .. visible(problem) or "") },
    { "reconnects", ("%d"):format(stats.reconnects) },
    { "lastMessage", last and ("%s  id %s"):format(clock(last.at, "%H:%M:%S"), last.id == "" and "-" or visible(last.id)) or "-" },
    { "rate", ("%.1f/s"):format(stats.rate) },
    { "lag", stats.lag and ("%.0f ms"):format(stats.lag * 1000) or "-" },
  }
end

return {
  name = "listen",
  summary = "Follows the event stream at URL and prints its events; connects again as EventSource does.",
  arguments = { { name = "URL" } },
  flags = {
    { name = "json", description = 'Prints one object {"id","event","data","at"} a line and nothing else.' },
    { name = "count", value = "N", check = follow.check_count, description = "Ends after so many events." },
    { name = "for", value = "SECONDS", check = follow.check_seconds, description = "Ends after so many seconds." },
    { name = "token", value = "TOKEN", description = "Sends a token, as Authorization: Bearer." },
    { name = "header", value = "NAME:VALUE", many = true, check = check_header, description = "Sends a header field." },
    { name = "ca", value = "FILE", description = "Trusts the certificates in FILE (PEM) for https://, instead of the system's." },
    { name = "last-event-id", value = "ID", check = check_id, description = "Goes on after the message with this id." },
  },
  notes = "On a terminal a table above the events shows how the connection stands; otherwise that is told on standard error. A line has the time of\n"
    .. "arrival, the last event id, the event type and the data. The opening block of a stream (sluice.open) is no event here. Ends with 0 after\n"
    .. "--count, --for, an interrupt, or the server's 204; with 1 where the server refuses for good.\n"
    .. "Example: sluice listen 'http://127.0.0.1:8080/events?channel=news'\n",

  run = function(context, arguments, given)
    local core = context.core()
    local interrupt = core.client.signals()
    local eventsource = require("sluice.eventsource")
    local on_terminal = not given.json and core.client.terminal(STDOUT) ~= nil
    -- Two programs on one screen would spoil each other's lines.
    local quiet = on_terminal and core.client.terminal(STDERR) ~= nil
    local client, screen, problem, cannot_write

    local function say(text)
      if screen then screen:touch() end
      if not quiet then context.warn("sluice: " .. visible(text)) end
    end
    local function print_line(line)
      if screen then return screen:add(line) end
      if context.print(line) ~= 0 then
        cannot_write = true
        client:close()
      end
    end

    local message
    client, message = eventsource.open(arguments.URL, {
      headers = headers(given), token = given.token, ca = given.ca, last_event_id = given["last-event-id"], max_wait = follow.MAX_WAIT_S,
      on_open = function() say("connected to " .. arguments.URL) end,
      on_event = function(event) print_line(given.json and json_line(core.json, event) or plain_line(event)) end,
      on_error = function(what, wait)
        problem = what
        if wait then say(("%s: %s; trying again in %.1f s"):format(arguments.URL, what, wait)) end
      end,
    })
    if not client then return context.fail(message) end
    if on_terminal then
      screen = live.new({
        rows = function() return rows(arguments.URL, client:stats(), problem) end,
        size = function()
          local columns, height = core.client.terminal(STDOUT)
          return columns or 80, height or 24
        end,
        write = context.write, now = core.client.now,
      })
    end

    local terminal <close> = screen -- luacheck: ignore 211 (given back whatever happens)
    local ok, failure, status = client:run({
      count = math.tointeger(tonumber(given.count)), seconds = tonumber(given["for"]), until_ready = interrupt,
      on_turn = screen and function() return screen:turn() end,
    })
    client:close()
    if screen then screen:finish() end
    if cannot_write then return 1 end
    if ok then return 0 end
    local text = ("%s: %s"):format(visible(arguments.URL), visible(failure))
    if status ~= NO_MORE then return context.fail(text) end
    context.warn("sluice: " .. text)
    return 0
  end,
}
