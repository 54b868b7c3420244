-- SPDX-License-Identifier: MIT
-- What a message looks like: the place for your own rules. As it stands it does nothing and costs nothing. Take away
-- the comment signs of what you need; the change is in force as soon as the file is saved.
--
-- A message is a table { channel, event, data }; `data` is a string, `event` nil or a string. Change it and return
-- it, or return a new one; nothing goes on with it unchanged. doc/policy.md says more.

---@type sluice.script
return {
  name = "shape",
  priority = 100,

  -- Once per publish, before the message is kept: what all may see. `false, reason` refuses it.
  --
  -- on_publish = function(message, request)
  --   if #message.data > 10000 then return false, "too long" end
  --   message.event = message.event or "note"
  --   return message
  -- end,

  -- Once for each subscriber of each message, replayed ones too: what this one may see. `false` skips it for this
  -- stream. It costs a call into Lua per delivery; a choice by event type is made for nothing by
  -- stream:subscribe(channels, { events = { ... }, prefix = "..." }).
  --
  -- on_message = function(message, stream)
  --   if message.event == "internal" and stream.user ~= "admin" then return false end
  -- end,
}
