-- SPDX-License-Identifier: MIT
-- The routes below /_sluice/, for those who run the server. They belong to the server, not to the default policy: a scripts folder of
-- one's own does not take them away, `admin = false` does. Runs inside workers, outside of the scripts' environment.

local access = require "sluice.admin.access"

-- Modules that define routes: functions (route, sluice), called for each generation before its scripts.
local PARTS = { (require "sluice.admin.api"), (require "sluice.admin.live") }

local METHODS = { "get", "post", "stream" }

-- Defines the routes with `collector`, a route object of the router. `sluice` is what scripts see, before any of them could change it.
--
-- A part's handler runs only for who may: with a key a token of an administrator, without one this machine only; pages of other origins
-- never. With the option `open` it runs for those without such a token too, and gets what is to be said to them behind the request: for what
-- holds no secret.
return function(collector, sluice)
  local guard = access.new(sluice)
  local route = {}

  for _, method in ipairs(METHODS) do
    route[method] = function(_, path, options, handler)
      if handler == nil then options, handler = {}, options end
      local open = options.open
      -- Who may is decided here, so that scripts need not know of it: their auth hook lets these pass.
      return collector[method](collector, path, { auth = false, opening = options.opening }, function(first, second)
        if open then return handler(first, guard(first, open)) end
        guard(second or first) -- (stream, request) or (request)
        return handler(first, second)
      end)
    end
  end

  for _, part in ipairs(PARTS) do part(route, sluice) end
end
