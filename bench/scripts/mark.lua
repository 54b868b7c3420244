-- SPDX-License-Identifier: MIT
-- The benchmark's policy script: edits each message for each subscriber. It puts the stream's own mark where the load generator has
-- left dashes (bench/payload.h), so that the message keeps its size and the generator sees that each stream got its own.

local MARK_AT, MARK = 48, 8

return {
  name = "mark",
  on_message = function(message, stream)
    local data = message.data
    message.data = data:sub(1, MARK_AT) .. stream.id:sub(1, MARK) .. data:sub(MARK_AT + MARK + 1)
    return message
  end,
}
