-- SPDX-License-Identifier: MIT
-- The policy of examples/llm_tokens.lua. A completion is a channel: whoever asked for it and whoever comes back read the same
-- messages with the same ids, and the producer does not care who listens.
local sluice = require "sluice"

local TOKEN_SECONDS = 0.03
local KEPT_SECONDS = 300 -- as long as a channel's history is kept by default
local MAX_PROMPT = 4000

local function channel_of(id)
  return "completion." .. id
end

-- Stands for a model: yields its answer in tokens, blanks included.
local function tokens_for(prompt)
  local answer = "You asked: " .. prompt .. "\n\nThis answer was made up token by token. Cut the connection and come back "
    .. "with the last id you saw: not one token is missing, and none comes twice."
  return answer:gmatch("%s*%S+")
end

local function produce(id, prompt)
  local channel, count = channel_of(id), 0
  sluice.publish(channel, { event = "start", data = { id = id } })
  for token in tokens_for(prompt) do
    count = count + 1
    sluice.publish(channel, { event = "token", data = { text = token } })
    sluice.sleep(TOKEN_SECONDS)
  end
  sluice.publish(channel, { event = "done", data = { tokens = count } })
end

---@type sluice.script
return {
  name = "completions",

  routes = function(route)
    -- POST /completions {"prompt": "..."}: starts a completion and streams it.
    route:stream("/completions", { methods = { "POST" } }, function(stream, request)
      local body, why = request:json()
      local prompt = type(body) == "table" and body.prompt
      if type(prompt) ~= "string" or prompt == "" or #prompt > MAX_PROMPT then
        sluice.reject(400, why or "the body must be {\"prompt\": \"...\"}, 1 to " .. MAX_PROMPT .. " bytes")
      end
      local id = string.format("%016x", math.random(0))
      sluice.shared:set(channel_of(id), true, KEPT_SECONDS)
      stream:subscribe(channel_of(id)) -- before the first token, so that none is missed
      sluice.spawn(function() produce(id, prompt) end) -- goes on when this client leaves
    end)

    -- GET /completions/<id>: the rest after Last-Event-ID or ?last_event_id=, all of it with ?last_event_id=earliest.
    route:stream("/completions/:id", function(stream, request)
      local channel = channel_of(request:param("id"))
      if not sluice.shared:get(channel) then sluice.reject(404, "no such completion, or no longer kept") end
      stream:subscribe(channel)
    end)
  end,
}
