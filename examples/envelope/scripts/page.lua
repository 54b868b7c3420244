-- SPDX-License-Identifier: MIT
-- The page that undoes the envelope.
local sluice = require "sluice"

local PAGE = sluice.read_file("page/index.html")
local HEADERS = {
  ["Content-Type"] = "text/html; charset=utf-8",
  ["Cache-Control"] = "no-cache",
  ["Content-Security-Policy"] = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'",
}

---@type sluice.script
return {
  name = "page",
  routes = function(route)
    route:get("/", { auth = false }, function() return 200, PAGE, HEADERS end)
  end,
}
