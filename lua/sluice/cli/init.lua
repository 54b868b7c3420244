-- SPDX-License-Identifier: MIT
-- sluice init: writes a configuration file, a copy of the default policy to start from, and the settings that let an editor complete and check
-- scripts. Never overwrites.

local config = require("sluice.config")
local document = require("sluice.config.document")

-- True where anything lies at `path`, readable or not.
local function exists(path)
  local handle, _, code = io.open(path, "rb")
  if handle then handle:close() end
  local ENOENT <const>, ENOTDIR <const> = 2, 20
  return handle ~= nil or (code ~= ENOENT and code ~= ENOTDIR)
end

local function read_file(path)
  local handle, message = io.open(path, "rb")
  if not handle then return nil, message end
  local text
  text, message = handle:read("a")
  handle:close()
  if not text then return nil, ("%s: %s"):format(path, message) end
  return text
end

local function write_file(path, text)
  local handle, message = io.open(path, "wb")
  if not handle then return nil, message end
  local ok
  ok, message = handle:write(text)
  if ok then
    ok, message = handle:close()
  else
    handle:close()
  end
  if not ok then
    os.remove(path)
    return nil, ("%s: %s"):format(path, message)
  end
  return true
end

-- Makes `path` and what lies above it, where missing.
local function make_folder(core, path)
  for stop in path:gmatch("()/+") do
    local above = path:sub(1, stop - 1)
    if above ~= "" and not exists(above) then
      local ok, message = core.mkdir(above)
      if not ok then return nil, message end
    end
  end
  if exists(path) then return true end
  return core.mkdir(path)
end

-- Where the annotations for editors lie, as an absolute path.
local function library_folder()
  local folder = config.library()
  if folder:sub(1, 1) == "/" then return folder end
  local pipe = io.popen("pwd -P")
  local here = pipe and pipe:read("l")
  if pipe then pipe:close() end
  return (here or ".") .. "/" .. folder:gsub("^%./", "")
end

-- The settings of the Lua language server: which Lua scripts are, and where `sluice` is described.
local function editor_settings()
  local library = library_folder():gsub('["\\]', "\\%0")
  return ([[
{
  "runtime.version": "Lua 5.4",
  "runtime.path": ["?.lua", "?/init.lua", "scripts/?.lua", "scripts/?/init.lua"],
  "runtime.builtin": { "debug": "disable", "package": "disable" },
  "workspace.library": ["%s/policy", "%s/common"],
  "workspace.checkThirdParty": false,
  "diagnostics.globals": ["describe", "it", "setup", "teardown", "before_each", "after_each"]
}
]]):format(library, library)
end

-- The files to write: a list of { path under DIR, text, own = true: one that is there is the user's and stays }. Or nil and a message.
local function plan(core)
  local folder, message = config.default_scripts()
  if not folder then return nil, message end
  local names
  names, message = core.list_dir(folder)
  if not names then return nil, message end
  table.sort(names)
  local files = { { "sluice.conf.lua", document.sample({ scripts = "scripts" }) }, { ".luarc.json", editor_settings(), own = true } }
  for _, name in ipairs(names) do
    if name:find("%.lua$") and name:sub(1, 1) ~= "." then
      local text
      text, message = read_file(folder .. "/" .. name)
      if not text then return nil, message end
      files[#files + 1] = { "scripts/" .. name, text }
    end
  end
  return files
end

return {
  name = "init",
  summary = "Writes DIR/sluice.conf.lua and DIR/scripts/*.lua to start from, and DIR/.luarc.json for editors; never overwrites.",
  arguments = { { name = "DIR" } },
  flags = {},

  run = function(context, arguments)
    local dir = arguments.DIR:gsub("(.)/+$", "%1")
    if dir == "" then return context.fail("DIR is empty: expected the path of a folder") end
    local core = context.core()
    local files, message = plan(core)
    if not files then return context.fail(message) end
    local wanted = {}
    for _, entry in ipairs(files) do
      local path = dir .. "/" .. entry[1]
      local there = exists(path)
      if there and not entry.own then return context.fail(("%s exists already: nothing written"):format(path)) end
      if not there then wanted[#wanted + 1] = entry end
    end

    local ok
    ok, message = make_folder(core, dir .. "/scripts")
    if not ok then return context.fail(message) end
    local written = {}
    for _, entry in ipairs(wanted) do
      local path = dir .. "/" .. entry[1]
      ok, message = write_file(path, entry[2])
      if not ok then
        for _, done in ipairs(written) do os.remove(done) end
        return context.fail(("cannot write %s"):format(message))
      end
      written[#written + 1] = path
    end
    for _, path in ipairs(written) do context.print("wrote " .. path) end
    return 0
  end,
}
