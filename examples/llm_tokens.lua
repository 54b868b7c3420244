-- SPDX-License-Identifier: MIT
-- Tokens of a language model, streamed in answer to a POST and resumable by id: a Lua program with a server in it.
--
-- Usage: lua5.4 examples/llm_tokens.lua [port]
--
--   curl -N -d '{"prompt":"What is a sluice?"}' -H 'Content-Type: application/json' http://127.0.0.1:8080/completions
--
-- prints `event: start` with the completion's id, one `event: token` after the other, and `event: done`, after which the
-- client closes. Stop it halfway (Ctrl-C) and get the rest with the last `id:` it printed:
--
--   curl -N -H 'Last-Event-ID: 1767225600000-7' http://127.0.0.1:8080/completions/<completion id>
--   curl -N 'http://127.0.0.1:8080/completions/<completion id>?last_event_id=earliest'     # or all of it again
--
-- The decisions are in examples/llm_tokens/completions.lua.
local HERE = arg[0]:match("^(.*)/[^/]*$") or "."

-- The module of this source tree, once `make` has built it; else the installed one.
local BUILD = os.getenv("SLUICE_BUILD") or HERE .. "/../build/release"
package.path = HERE .. "/../lua/?.lua;" .. HERE .. "/../lua/?/init.lua;" .. package.path
package.cpath = BUILD .. "/?.so;" .. package.cpath
local sluice = require "sluice"

local server = assert(sluice.start{
  listen = "127.0.0.1:" .. (arg[1] or "8080"),
  scripts = HERE .. "/llm_tokens",
  channels = { ["completion.*"] = { messages = 5000 } }, -- a long answer is kept whole
})

io.stdout:setvbuf("line")
print("llm_tokens: listening on http://127.0.0.1:" .. server:port())
server:wait()
