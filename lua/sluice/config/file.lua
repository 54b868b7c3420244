-- SPDX-License-Identifier: MIT
-- Runs a configuration file: Lua text that returns a table, in a small environment without input or output.

local file = {}

local CHUNK = "=sluice.conf" -- stands for the path while Lua makes messages, since Lua cuts long ones

local SHARED = {
  "assert", "error", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen", "select", "tonumber",
  "tostring", "type",
}

local function copy(library)
  local result = {}
  for name, value in pairs(library) do result[name] = value end
  return result
end

-- Fresh tables for each file, so that it changes nothing outside.
local function environment(getenv)
  local env = {
    string = copy(string), table = copy(table), math = copy(math), utf8 = copy(utf8),
    os = { getenv = getenv, time = os.time, date = os.date },
    _VERSION = _VERSION,
  }
  env.string.dump = nil
  for _, name in ipairs(SHARED) do env[name] = _G[name] end
  env._G = env
  return env
end

-- Makes one line "path:3: what" of a message of Lua. Lua quotes the strings it stumbles over; they may be a secret's,
-- so they go.
local function clear_message(path, message)
  local text = tostring(message):gsub("[\r\n].*$", "")
  text = text:gsub(" near '[\"'].+$", " near a string"):gsub(" near '%[[%[=].+$", " near a string")
  text = text:gsub(" %(constant '.*'%)", "")
  local line, rest = text:match("^sluice%.conf:(%d+): (.*)$")
  if line then return ("%s:%s: %s"):format(path, line, rest) end
  return ("%s: %s"):format(path, text)
end

local function read(path)
  local handle, reason = io.open(path, "rb")
  if not handle then return nil, reason end
  local text
  text, reason = handle:read("a")
  handle:close()
  if not text then return nil, ("%s: %s"):format(path, reason) end
  return text
end

-- Returns the whole content of `path`, or nil and a message that names it.
file.read = read

-- Returns the table that the file returns; or nil and one line that names the file, and the line in it where there is
-- one. `getenv` is what the file has as os.getenv.
function file.load(path, getenv)
  local text, reason = read(path)
  if not text then return nil, "cannot read " .. reason end
  text = text:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", "")
  local chunk
  chunk, reason = load(text, CHUNK, "t", environment(getenv))
  if not chunk then return nil, clear_message(path, reason) end
  local ok, result = pcall(chunk)
  if not ok then return nil, clear_message(path, result) end
  if type(result) ~= "table" then
    return nil, ("%s: the file returns %s; expected a table: return { listen = \"127.0.0.1:8080\" }"):format(
      path, result == nil and "nothing" or "a " .. type(result))
  end
  return result
end

-- Returns `path`, taken as relative to the folder of `from`.
function file.beside(from, path)
  local folder = from:match("^(.*/)[^/]*$")
  if not folder or path:sub(1, 1) == "/" then return path end
  return folder .. path
end

return file
