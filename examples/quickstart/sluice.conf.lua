-- SPDX-License-Identifier: MIT
-- The quickstart's configuration. Relative paths are relative to this file; doc/configuration.md has all keys.
return {
  listen = "127.0.0.1:8080",
  scripts = "scripts", -- the default policy (links) and the scripts of this example
}
