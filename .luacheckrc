-- SPDX-License-Identifier: MIT
std = "lua54"
max_line_length = 160
exclude_files = { "build", "build.luarocks" }
include_files = { "bin/sluice", "**/*.lua", "spec/run", ".busted", ".luacheckrc", "rockspec/*.rockspec" }

files["spec/**/*_spec.lua"] = { std = "+busted" }
files[".luacheckrc"] = { std = "+luacheckrc" }
files["rockspec"] = { std = "+rockspec" }
-- Policy scripts find the library as a global.
files["scripts"] = { read_globals = { "sluice" } }
files["examples/**/scripts"] = { read_globals = { "sluice" } }
-- Declarations for editors; nothing in them runs.
files["lua/sluice/library"] = { ignore = { "111", "112", "113", "211", "212", "241", "431", "631" } }
