-- SPDX-License-Identifier: MIT
-- sluice serve: runs a server in this process until a signal ends it.

local address = require("sluice.config.address")
local config = require("sluice.config")
local options = require("sluice.cli.options")

-- SIGHUP has the configuration read anew for the settings of the log; all others are for a start.
local function read_log_settings(context, given, server)
  local cfg, message = options.resolve(context, given)
  if cfg then
    local _
    _, message = server:set_log({
      level = cfg["log.level"], format = cfg["log.format"], access = cfg["log.access"], frames = cfg["log.frames"],
    })
  end
  if message then context.warn("sluice: the settings of the log stay as they are: " .. message) end
end

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
    return server:wait({ on_hangup = function() read_log_settings(context, given, server) end })
  end,
}
