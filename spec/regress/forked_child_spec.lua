-- SPDX-License-Identifier: MIT
-- A host program that starts children while connections close: a child has the server's descriptors until it executes, and for so long
-- the system went on to report what happened to connections that were closed and freed.
local helper = require("spec.helper")

describe("a host program that starts children", function()
  teardown(helper.cleanup)

  it("keeps its server whole while clients come and go", function()
    local server = helper.start({ config = { workers = 2 } })
    for _ = 1, 120 do
      local streams = {}
      for i = 1, 10 do streams[i] = server:stream("/events"):wait_open() end
      for i = 1, 10 do streams[i]:close(i % 2 == 0) end
      os.execute("true")
    end
    assert.equal(200, server:request("GET", "/health").status)
  end)
end)
