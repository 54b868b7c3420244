-- SPDX-License-Identifier: MIT
-- sluice tap: prints the frames that a server sends, as it sends them.

local follow = require("sluice.cli.follow")
local http = require("sluice.http")

local WRONG_USE = 2
local RULES = { "stream", "address", "channel" }
local HINTS = {
  [401] = "a token of an administrator is needed: --token",
  [404] = "is this a Sluice server, and is `admin` on there?",
}

local function check_stream(text)
  if text:find("^%x+$") and #text == 16 then return true end
  return nil, ('expected the id of a stream, 16 hexadecimal digits, got "%s"'):format(text)
end

-- The URL of the tap on the server at `url`; or nil and a message.
local function tap_url(url, given)
  if url:find("[?#]") then return nil, "URL: expected a server's, without a query" end
  local query = {}
  for _, name in ipairs(RULES) do
    if given[name] then query[#query + 1] = name .. "=" .. http.encode(given[name]) end
  end
  if #query == 0 then return nil, "tap needs at least one of --stream, --address and --channel" end
  return url:gsub("/+$", "") .. "/_sluice/tap?" .. table.concat(query, "&")
end

-- A frame for people: when, to whom, and its lines.
local function plain(frame)
  local head = ("%s  stream %s"):format(follow.clock(frame.at, "%H:%M:%S"), follow.visible(frame.stream))
  if frame.channel then head = head .. "  channel " .. follow.visible(frame.channel) end
  local lines = { head }
  for line in frame.frame:gmatch("([^\n]*)\n") do
    if line ~= "" then lines[#lines + 1] = "  " .. follow.visible(line) end
  end
  return table.concat(lines, "\n")
end

return {
  name = "tap",
  summary = "Prints the frames that the server at URL sends, as it sends them, without touching its streams.",
  arguments = { { name = "URL" } },
  flags = {
    { name = "stream", value = "ID", check = check_stream, description = "Only those of one stream." },
    { name = "address", value = "ADDRESS", description = "Only those of one client's address." },
    { name = "channel", value = "CHANNEL", description = "Only messages of one channel." },
    { name = "token", value = "TOKEN", description = "Sends a token, as Authorization: Bearer; its claim sluice.admin must be true." },
    { name = "ca", value = "FILE", description = "Trusts the certificates in FILE (PEM) for https://, instead of the system's." },
    { name = "json", description = 'Prints one object {"stream","channel","at","worker","frame"} a line and nothing else.' },
    { name = "count", value = "N", check = follow.check_count, description = "Ends after so many frames." },
    { name = "for", value = "SECONDS", check = follow.check_seconds, description = "Ends after so many seconds." },
  },
  notes = "At least one of --stream, --address and --channel says which; what is given must all match. Frames that came faster than they could be taken are\n"
    .. "dropped, and their number is told on standard error. Where the server has no key this works on its own machine only.\n"
    .. "Example: sluice tap http://127.0.0.1:8080 --channel news\n",

  run = function(context, arguments, given)
    local url, message = tap_url(arguments.URL, given)
    if not url then
      context.warn("sluice: " .. message)
      return WRONG_USE
    end
    local core = context.core()
    local interrupt = core.client.signals()
    local client, cannot_write
    local function say(text) context.warn("sluice: " .. follow.visible(text)) end

    local function on_event(event)
      local frame = core.json.decode(event.data)
      if event.event == "dropped" then
        say(("%d frames were dropped: they came too fast"):format(frame.count))
      elseif event.event == "frame" and context.print(given.json and event.data or plain(frame)) ~= 0 then
        cannot_write = true
        client:close()
      end
    end

    client, message = require("sluice.eventsource").open(url, {
      token = given.token, ca = given.ca, max_wait = follow.MAX_WAIT_S, on_event = on_event,
      on_open = function() say("connected to " .. arguments.URL) end,
      on_error = function(what, wait)
        if wait then say(("%s: %s; trying again in %.1f s"):format(arguments.URL, what, wait)) end
      end,
    })
    if not client then return context.fail(message) end
    local ok, failure, status = client:run({
      count = math.tointeger(tonumber(given.count)), seconds = tonumber(given["for"]), until_ready = interrupt,
    })
    client:close()
    if cannot_write then return 1 end
    if ok then return 0 end
    local hint = HINTS[status]
    return context.fail(("%s: %s%s"):format(follow.visible(arguments.URL), follow.visible(failure), hint and " (" .. hint .. ")" or ""))
  end,
}
