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
supported_platforms = { "linux" }
dependencies = {
  "lua ~> 5.4",
  "lua-cjson >= 2.1",
}
-- LuaRocks repeats a name when it does not find the library, so each says what to install. CMake names the rest, llhttp and versions, in the same way.
external_dependencies = {
  ["libuv (Debian: libuv1-dev, Alpine: libuv-dev)"] = { header = "uv.h", library = "uv" },
  ["zlib (Debian: zlib1g-dev, Alpine: zlib-dev)"] = { header = "zlib.h", library = "z" },
  ["libjwt 1.x (Debian: libjwt-dev, Alpine: libjwt-dev)"] = { header = "jwt.h", library = "jwt" },
  ["OpenSSL (Debian: libssl-dev, Alpine: openssl-dev)"] = { header = "openssl/evp.h", library = "crypto" },
}
build = {
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    CMAKE_INSTALL_PREFIX = "$(PREFIX)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    LIBDIR = "$(LIBDIR)",
    LUADIR = "$(LUADIR)",
    BINDIR = "$(BINDIR)",
    SLUICE_SERVICE = "OFF",
  },
}
