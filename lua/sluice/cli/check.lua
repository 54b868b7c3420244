-- SPDX-License-Identifier: MIT
-- sluice check: loads configuration and scripts as serve would, and says what is wrong with them.

local options = require("sluice.cli.options")

return {
  name = "check",
  summary = "Loads configuration and scripts as serve would, and says what is wrong.",
  arguments = {},
  flags = options.flags,
  notes = options.notes,

  run = function(context, _, given)
    local cfg, message = options.resolve(context, given)
    if not cfg then return context.fail(message) end
    local ok
    ok, message = context.sluice().check(cfg)
    if not ok then return context.fail(message) end
    local file, scripts = given.config or "default configuration", cfg.scripts or "the default policy"
    return context.print(("ok: %s, scripts of %s"):format(file, scripts))
  end,
}
