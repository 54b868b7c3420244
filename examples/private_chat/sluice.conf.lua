-- SPDX-License-Identifier: MIT
-- A chat in private rooms: who is in a room reads and writes there, nobody else does, and a token says so.
--
-- Usage: bin/sluice serve --config examples/private_chat/sluice.conf.lua, then open http://127.0.0.1:8080 twice: as ann (password "anemone",
-- both rooms) and as bob (password "begonia", the lobby). scripts/auth.lua is the default policy's own; scripts/chat.lua is all the rest.
return {
  listen = "127.0.0.1:8080",
  scripts = "scripts",
  jwt = { key = "this key is for the example only: set JWT_SECRET to a secret of your own" },
}
