-- SPDX-License-Identifier: MIT
-- The page. The routes it talks to are those of the default policy: a scripts folder replaces that whole, so this one links
-- to its five files.
local sluice = require "sluice"

local PAGE = sluice.read_file("page/index.html")
local PAGE_HEADERS = {
  ["Content-Type"] = "text/html; charset=utf-8",
  ["Cache-Control"] = "no-cache",
  ["Content-Security-Policy"] = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    .. "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}

---@type sluice.script
return {
  name = "page",

  routes = function(route)
    route:get("/", { auth = false }, function()
      return 200, PAGE, PAGE_HEADERS
    end)
  end,
}
