-- SPDX-License-Identifier: MIT
-- Runs the examples about limits and shaping as their headers tell to.
local helper = require("spec.helper")
local json, process = helper.json, helper.process

local function serve(name)
  local config = ("%s/examples/%s/sluice.conf.lua"):format(helper.root, name)
  return helper.serve{ no_config = true, args = { "--config", config, "--listen", "127.0.0.1:0", "--workers", "2" } }
end

describe("examples/rate_limit", function()
  teardown(helper.cleanup)

  it("lets ten new streams of an address through in 15 minutes", function()
    local server = serve("rate_limit")
    local streams = {}
    for index = 1, 12 do
      local stream = server:stream("/events"):wait_head()
      streams[index] = stream
      assert.equal(index <= 10 and 200 or 429, stream.status)
      assert.same({ "10", "10;w=900" }, { stream.headers["ratelimit-limit"], stream.headers["ratelimit-policy"] })
    end
    assert.is_true(tonumber(streams[11].headers["retry-after"]) >= 890)
  end)

  it("is one line of configuration, which the page about it shows", function()
    local text = process.read_file("examples/rate_limit/sluice.conf.lua")
    local line = text:match("\nreturn {\n  ([^\n]*)\n}\n$")
    assert.equal("ratelimit = { max = 10, window = 15 * 60 },", line)
    assert.truthy(process.read_file("doc/ratelimit.md"):find(line, 1, true))
  end)
end)

describe("examples/stock_ticker", function()
  local server

  setup(function() server = serve("stock_ticker") end)
  teardown(helper.cleanup)
  after_each(helper.close_clients)

  -- Reads quotes until each of `count` stocks was there, and returns them by stock.
  local function quotes(key, count)
    local by_stock
    server:stream("/quotes?key=" .. key):wait_messages(function(messages)
      by_stock = {}
      local seen = 0
      for _, message in ipairs(messages) do
        seen = seen + (by_stock[message.event] and 0 or 1)
        by_stock[message.event] = json.decode(message.data)
        assert.equal(message.event, by_stock[message.event].stock)
      end
      return seen >= count and #messages >= 3 * count
    end)
    return by_stock
  end

  local function names(map)
    local list = {}
    for name in pairs(map) do list[#list + 1] = name end
    table.sort(list)
    return list
  end

  it("sends each user the stocks of the watchlist, as far as the plan goes", function()
    local ann, bob = quotes("ann-key", 2), quotes("bob-key", 3)
    assert.same({ "ACME", "GLOBEX" }, names(ann))
    assert.same({ "GLOBEX", "HOOLI", "INITECH" }, names(bob))
    for _, quote in pairs(ann) do
      assert.same({ "ask", "bid", "price", "stock" }, names(quote))
      assert.is_true(quote.bid <= quote.price and quote.price <= quote.ask)
    end
    for _, quote in pairs(bob) do assert.same({ "price", "stock" }, names(quote)) end
  end)

  it("does not know other keys", function()
    for _, target in ipairs{ "/quotes", "/quotes?key=eve-key", "/elsewhere" } do
      assert.equal(401, server:request("GET", target).status)
    end
  end)

  it("lets a user open two streams at once", function()
    local streams = {}
    for index, status in ipairs{ 200, 200, 429 } do
      streams[index] = server:stream("/quotes?key=bob-key"):wait_head()
      assert.equal(status, streams[index].status)
    end
    streams[1]:close()
    helper.eventually(function()
      streams[3] = server:stream("/quotes?key=bob-key"):wait_head()
      return streams[3].status == 200
    end)
  end)
end)
