-- SPDX-License-Identifier: MIT
-- Guarantees 1 and 2 under concurrency, on one server with two workers. (Over several servers: cluster_spec.lua.)
local crowd = require("spec.support.crowd")
local helper = require("spec.helper")

describe("guarantee 2 under concurrency:", function()
  after_each(helper.cleanup)

  it("every stream gets every message of its channels once, in order, however often it is cut", function()
    local server = helper.serve{ config = { workers = 2, history = { messages = 100000, bytes = 64 * 1024 * 1024 } } }
    crowd.run{ name = "concurrency_spec", servers = { server }, streams = 60, messages = 500 }
  end)
end)
