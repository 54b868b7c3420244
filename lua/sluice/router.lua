-- SPDX-License-Identifier: MIT
-- Routes by method and path. A path is made of segments; one that begins with ":" matches any one segment and is read with
-- request:param(name). A path without such segments wins over one with them; among those the one defined first.

local router = {}
router.__index = router

local METHODS = { get = "GET", post = "POST", put = "PUT", delete = "DELETE", patch = "PATCH", options = "OPTIONS", head = "HEAD" }
local OPTIONS = { methods = true, auth = true, opening = true }
local IS_STREAM = 3 -- in a route { handler, description, is stream }: core/lua_dispatch.c reads it

function router.new()
  return setmetatable({ exact = {}, patterns = {} }, router)
end

local function split(path)
  local segments = {}
  for segment in path:gmatch("/([^/]*)") do segments[#segments + 1] = segment end
  return segments
end

local function decode(segment)
  return (segment:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- One spelling for each path (RFC 3986, 6.2.2): what need not be encoded is not, the rest has upper case digits. So a hook that looks at
-- request.path sees what was matched.
function router.normalize(path)
  return (path:gsub("%%(%x%x)", function(hex)
    local char = string.char(tonumber(hex, 16))
    return char:find("[%w%-%._~]") and char or "%" .. hex:upper()
  end))
end

-- A route's path as it comes in requests.
local function encode(path)
  return router.normalize((path:gsub("[^%w%-%._~!$&'()*+,;=:@/%%]", function(char) return ("%%%02X"):format(char:byte()) end)))
end

-- The entry (method -> route) for a path as it was defined.
local function entry_for(self, path)
  if not path:find("/:", 1, true) then
    self.exact[path] = self.exact[path] or {}
    return self.exact[path]
  end
  for _, pattern in ipairs(self.patterns) do
    if pattern.path == path then return pattern.methods end
  end
  local pattern = { path = path, segments = split(path), methods = {} }
  self.patterns[#self.patterns + 1] = pattern
  return pattern.methods
end

local function check_options(options, path)
  if type(options) ~= "table" then
    error(("route '%s': options must be a table, not a %s"):format(path, type(options)), 3)
  end
  for key in pairs(options) do
    if not OPTIONS[key] then
      error(("route '%s': unknown option '%s'; there are methods, auth and opening"):format(path, tostring(key)), 3)
    end
  end
end

-- What hooks see as request.options: the options as they were given, the path as it was defined, and whether it is a
-- stream's; and what `extra` says of all routes of its kind.
local function describe(options, path, stream, extra)
  local described = { path = path, stream = stream }
  for name, value in pairs(extra or {}) do described[name] = value end
  for name, value in pairs(options) do described[name] = value end
  return described
end

local function add(self, file, methods, path, options, handler, stream, extra)
  if handler == nil then options, handler = {}, options end
  if type(path) ~= "string" or path:sub(1, 1) ~= "/" then
    error("a route's path is a string that begins with '/', not " .. tostring(path), 3)
  end
  check_options(options, path)
  if type(handler) ~= "function" then
    error(("route '%s': the handler must be a function, not a %s"):format(path, type(handler)), 3)
  end
  local entry, described = entry_for(self, encode(path)), describe(options, path, stream, extra)
  for _, method in ipairs(options.methods or methods) do
    if type(method) ~= "string" or not METHODS[method:lower()] or method:upper() ~= method then
      error(("route '%s': methods are upper case names such as GET, not %s"):format(path, tostring(method)), 3)
    end
    if entry[method] then
      error(("route %s %s is defined already, in %s: a route belongs to one script"):format(method, path, entry[method].file), 3)
    end
    entry[method] = { handler, described, stream, file = file }
  end
end

-- What a script's `routes` function gets. `extra` (may be nil) are further members of request.options.
function router:collector(file, extra)
  local route = {}
  for name, method in pairs(METHODS) do
    route[name] = function(_, path, options, handler)
      add(self, file, { method }, path, options, handler, false, extra)
    end
  end
  function route.stream(_, path, options, handler)
    add(self, file, { "GET" }, path, options, handler, true, extra)
  end
  return route
end

local function match_pattern(pattern, segments)
  if #pattern.segments ~= #segments then return nil end
  local params = {}
  for i, segment in ipairs(pattern.segments) do
    if segment:sub(1, 1) == ":" then
      local value = decode(segments[i])
      if value == "" then return nil end
      params[segment:sub(2)] = value
    elseif segment ~= segments[i] then
      return nil
    end
  end
  return params
end

local function find_pattern(self, path)
  if #self.patterns == 0 then return nil end
  local segments = split(path)
  for _, pattern in ipairs(self.patterns) do
    local params = match_pattern(pattern, segments)
    if params then return pattern.methods, params end
  end
end

local function allowed(methods)
  local names = { OPTIONS = true }
  for method, route in pairs(methods) do
    names[method] = true
    if method == "GET" and not route[IS_STREAM] then names.HEAD = true end
  end
  local list = {}
  for name in pairs(names) do list[#list + 1] = name end
  table.sort(list)
  return table.concat(list, ", ")
end

-- Returns the route and its path's parameters; or nil and the methods that the path has as text (nil: no such path). HEAD is
-- answered by an ordinary GET route. `path` is normalized.
function router:match(method, path)
  local methods, params = self.exact[path], nil
  local route = methods and methods[method]
  if route then return route end
  if not methods then methods, params = find_pattern(self, path) end
  if not methods then
    if path == "*" then return nil, "GET, HEAD, OPTIONS, POST" end
    return nil, nil
  end
  route = methods[method]
  if not route and method == "HEAD" and methods.GET and not methods.GET[IS_STREAM] then route = methods.GET end
  if not route then return nil, allowed(methods) end
  return route, params
end

return router
