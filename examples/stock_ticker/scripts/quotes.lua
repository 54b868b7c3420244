-- SPDX-License-Identifier: MIT
-- GET /quotes?key=...: the quotes of the user's watchlist.
local sluice = require "sluice"
local accounts = require "lib.accounts"

local STREAMS_OF_A_USER = { concurrent = 2 }

local function user_of(key)
  for user, account in pairs(accounts) do
    if account.key == key then return user end
  end
end

---@type sluice.script
return {
  name = "quotes",

  on_request = function(request)
    local user = user_of(request:query("key"))
    if not user then return sluice.reject(401, "there is no account with this key", { ["WWW-Authenticate"] = "Key" }) end
    request.user = user -- stream.user from now on
    if not request.options or not request.options.stream then return end
    if not sluice.limit("user:" .. user, STREAMS_OF_A_USER) then
      return sluice.reject(429, "you have two streams open, close one", { ["Retry-After"] = "5" })
    end
  end,

  -- Runs for each subscriber of each message: the same quote, as far as the plan goes.
  on_message = function(message, stream)
    if message.channel ~= "quotes" or accounts[stream.user].plan == "pro" then return end
    local quote = sluice.json.decode(message.data)
    quote.bid, quote.ask = nil, nil
    message.data = sluice.json.encode(quote)
    return message
  end,

  routes = function(route)
    route:stream("/quotes", function(stream, request)
      -- Which stocks is decided without a call into Lua: what is not on the list costs nothing.
      stream:subscribe("quotes", { events = accounts[request.user].watchlist })
    end)
  end,
}
