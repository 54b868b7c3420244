-- SPDX-License-Identifier: MIT
-- Puts what is published to `reports` into an envelope: once per message, whoever many listen and come back for it.
---@type sluice.script
return {
  name = "envelope",
  priority = 100,

  on_publish = function(message)
    if message.channel == "reports" then
      return sluice.envelope(message) -- over 1,024 bytes compressed; { threshold = 4096, level = 9 } for other rules
    end
  end,
}
