-- SPDX-License-Identifier: MIT
-- A log in Redis that was emptied may give its ids to other messages. What was made of the old ones, in gzip or for on_message, is not theirs.
local cluster = require("spec.support.cluster")
local helper = require("spec.helper")
local redis = require("spec.support.redis")

local KEY = "sluice:log"
local MS = (os.time() - 20) * 1000 -- before the node began, and not too old for its histories

-- Empties the log and writes messages whose ids begin at MS-1 again.
local function begin_again(store, texts)
  local commands = { { "DEL", KEY } }
  for number, text in ipairs(texts) do commands[number + 1] = { "XADD", KEY, ("%d-%d"):format(MS, number), "channel", "a", "data", text } end
  store:commands(commands)
end

-- What was published, of all that a stream was sent.
local function published(stream, count)
  return helper.eventually(function()
    local list = {}
    for _, event in ipairs(stream.events) do
      if not (event.event or ""):find("^sluice%.") then list[#list + 1] = event.data end
    end
    stream:poll()
    return #list >= count and list
  end)
end

describe("a log that gives ids again", function()
  teardown(helper.cleanup)

  it("sends what they are now, in gzip too", function()
    local store = redis.start()
    local node = cluster.node(store, { config = { workers = 1 } })
    local zipped = node:stream("/events?channel=a", { headers = { ["Accept-Encoding"] = "gzip" } }):wait_open()
    local plain = node:stream("/events?channel=a"):wait_open()
    assert.equal("gzip", zipped.headers["content-encoding"])
    begin_again(store, { "one", "two", "three" })
    for _, stream in ipairs{ zipped, plain } do
      assert.same({ "one", "two", "three" }, published(stream, 3))
    end
    begin_again(store, { "first", "second" })
    for _, stream in ipairs{ zipped, plain } do
      assert.same({ "one", "two", "three", "first", "second" }, published(stream, 5))
    end
    -- Chains go on with the new log.
    local before = cluster.metrics(node).gzipLinks
    begin_again(store, { "I" })
    assert.equal("I", published(zipped, 6)[6])
    assert.equal(before + 1, cluster.metrics(node).gzipLinks)
  end)
end)
