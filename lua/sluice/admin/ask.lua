-- SPDX-License-Identifier: MIT
-- Asking sluice.admin what a request asks for.

local ask = {}

-- Query parameters by name, those that are there: `prefix` .. name for each of `names`. `limit` is a number where it can be.
function ask.options(request, names, prefix)
  local options = {}
  for _, name in ipairs(names) do
    local text = request:query((prefix or "") .. name)
    if text and text ~= "" then options[name] = name == "limit" and math.tointeger(tonumber(text)) or text end
  end
  return options
end

-- Calls a function of sluice.admin; what it says about its arguments answers the request with 400. `reject` is sluice.reject.
function ask.call(reject, run, ...)
  local ok, result = pcall(run, ...)
  if ok then return result end
  local why = type(result) == "string" and result:match("^sluice%.admin%.%w+: (.*)$")
  if why then reject(400, why) end
  error(result, 0)
end

return ask
