#!/usr/bin/env lua5.4
-- SPDX-License-Identifier: MIT
-- One short session under valgrind's memcheck: nothing is read that was not written, nothing is lost. Run by `make valgrind`; SLUICE_BUILD says which build.
package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path

local helper = require("spec.helper")
local process = require("spec.support.process")
local session = require("spec.support.session")

local FOUND = 99

process.need("valgrind", "valgrind")
helper.TEST_TIMEOUT = 120
helper.tcp.timeout = helper.TEST_TIMEOUT

local options = session.options()
options.under = { "valgrind", "--quiet", "--error-exitcode=" .. FOUND, "--leak-check=full", "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite" }
local ok, problem = pcall(function()
  local server = helper.serve(options)
  for _, work in ipairs{ session.serve, session.reload, session.serve } do
    local failures = work(server, function() end)
    assert(#failures == 0, table.concat(failures, "\n"))
  end
  server:signal("TERM")
  local status = server:wait()
  assert(status == 0, ("exit status %s:\n%s"):format(status, server:log()))
  assert(not server:log():find("==%d+=="), server:log())
end)
pcall(helper.cleanup)
if not ok then
  io.stderr:write("valgrind: ", tostring(problem), "\n")
  os.exit(1)
end
print("valgrind: a session without a finding")
