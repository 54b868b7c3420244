-- SPDX-License-Identifier: MIT
rockspec_format = "3.0"
package = "sluice"
version = "scm-1"
source = {
  -- The working tree itself: `luarocks --lua-version 5.4 make rockspec/sluice-scm-1.rockspec`.
  url = "file://.",
}
description = {
  summary = "A Server-Sent Events server that is programmed in Lua",
  detailed = [[
    A C core on libuv owns the event loop, HTTP, framing, channels and history; every decision is a Lua script that can be
    changed while clients stay connected. Start a server from any Lua program with one require, or with the command sluice.
  ]],
  license = "MIT",
  labels = { "sse", "http", "server", "realtime" },
}
dependencies = {
  "lua ~> 5.4",
  "lua-cjson >= 2.1",
}
build = {
  -- CMake finds the C libraries and names what is missing (see README.md).
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    LUA_INCDIR = "$(LUA_INCDIR)",
    LIBDIR = "$(LIBDIR)",
    LUADIR = "$(LUADIR)",
    BINDIR = "$(BINDIR)",
  },
}
