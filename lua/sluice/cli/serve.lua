-- SPDX-License-Identifier: MIT
-- sluice serve: runs a server in this process until a signal ends it.

local address = require("sluice.config.address")
local config = require("sluice.config")
local options = require("sluice.cli.options")

return {
  name = "serve",
  summary = "Runs a server; prints its address once it is ready.",
  arguments = {},
  flags = options.flags,
  notes = options.notes,

  run = function(context, _, given)
    local cfg, message = options.resolve(context, given)
    if not cfg then return context.fail(message) end
    -- Each connection is an open file. Where the limit cannot be raised the server runs with what there is.
    context.core().raise_files()
    local server
    server, message = context.sluice().start(cfg, { signals = true })
    if not server then return context.fail(message) end
    local host = config.listen_address(cfg)
    context.print("sluice: listening on http://" .. address.join(host, server:port()))
    return server:wait()
  end,
}
