-- SPDX-License-Identifier: MIT
-- The world a generation of scripts lives in: copies of the standard tables, so that nothing a script changes outlives its generation, without what could
-- stop or escape the worker; and a `require` that sees the scripts folder and nothing else.

local environment = {}

local BASE = { "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen", "rawset", "select", "tonumber",
  "tostring", "type", "_VERSION" }
local OS = { "clock", "date", "difftime", "time", "getenv" }
local IO = { "open", "lines", "type" }

local function copy(from, names)
  local to = {}
  if names then
    for _, name in ipairs(names) do to[name] = from[name] end
  else
    for name, value in pairs(from) do to[name] = value end
  end
  return to
end

-- A metatable with __gc would run code outside every budget.
local function checked_setmetatable(object, meta)
  if type(meta) == "table" and rawget(meta, "__gc") ~= nil then
    error("setmetatable: __gc is not available in scripts", 2)
  end
  return setmetatable(object, meta)
end

-- coroutine.* for scripts: whoever resumes a coroutine that has used up the time of its call is stopped with it, however deep they are nested.
local function make_coroutines(resumed)
  local coroutines = copy(coroutine)
  local create, resume, close = coroutine.create, coroutine.resume, coroutine.close

  function coroutines.resume(co, ...) return resumed(resume(co, ...)) end

  function coroutines.close(co) return resumed(close(co)) end

  local function finish(co, ok, ...)
    if ok then return ... end
    local problem = ...
    close(co)
    error(problem, type(problem) == "string" and not problem:find("^[^\n:]+:%d+:") and 2 or 0) -- 2: where the wrapped function was called
  end

  function coroutines.wrap(f)
    local co = create(f)
    return function(...) return finish(co, resumed(resume(co, ...))) end
  end

  return coroutines
end

local function make_require(env, files, sluice)
  local loaded, loading = { sluice = sluice }, {}
  return function(name)
    if type(name) ~= "string" then error("require: a module's name is a string", 2) end
    if loaded[name] ~= nil then return loaded[name] end
    local path = name:gsub("%.", "/")
    local file = path .. ".lua"
    local text = files[file]
    if not text then
      file = path .. "/init.lua"
      text = files[file]
    end
    if not text or not file:find("/", 1, true) then
      error(("module '%s' not found: modules lie in sub-folders of the scripts folder, this one would be %s.lua"):format(name, path), 2)
    end
    if loading[name] then error("module '" .. name .. "' requires itself", 2) end
    loading[name] = true
    local chunk, problem = load(text, "@" .. file, "t", env)
    if not chunk then error(problem, 0) end
    local value = chunk(name, file)
    loading[name] = nil
    loaded[name] = value == nil and true or value
    return loaded[name]
  end
end

-- `core` is the table of C functions, `files` the snapshot (name -> text), `sluice` what scripts see under that name.
function environment.new(core, files, sluice)
  local env = copy(_G, BASE)
  env._G = env
  env.string, env.table, env.math, env.utf8 = copy(string), copy(table), copy(math), copy(utf8)
  env.os, env.io = copy(os, OS), copy(io, IO)
  env.coroutine = make_coroutines(core.resumed)
  env.setmetatable = checked_setmetatable
  env.xpcall = core.xpcall
  env.print = core.print
  env.sluice = sluice
  env.require = make_require(env, files, sluice)

  function env.load(chunk, name, _, environ)
    if type(chunk) ~= "string" then error("load: the chunk must be a string", 2) end
    return load(chunk, name, "t", environ == nil and env or environ)
  end

  function sluice.read_file(name)
    local text = files[name]
    if type(name) ~= "string" or not text or name:find("^[^/]+%.lua$") then
      error(("read_file: there is no file '%s' in a sub-folder of the scripts folder"):format(tostring(name)), 2)
    end
    return text
  end

  return env
end

return environment
