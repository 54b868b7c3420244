-- SPDX-License-Identifier: MIT
-- Makes quotes up: each stock walks at random. The event type is the stock, so that streams can choose by it.
local sluice = require "sluice"

local prices = { ACME = 101, GLOBEX = 250, HOOLI = 75, INITECH = 12 }

-- What scripts start while they load runs in one worker only: each quote is published once.
sluice.every(0.25, function()
  for stock, price in pairs(prices) do
    prices[stock] = math.max(1, price * (1 + (math.random() - 0.5) / 100))
    local function round(value) return math.floor(value * 100 + 0.5) / 100 end
    sluice.publish("quotes", {
      event = stock,
      data = { stock = stock, price = round(price), bid = round(price * 0.999), ask = round(price * 1.001) },
    })
  end
end)

---@type sluice.script
return { name = "market" }
