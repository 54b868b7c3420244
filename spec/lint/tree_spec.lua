-- SPDX-License-Identifier: MIT
-- What no compiler checks: the rules that keep the layers apart, and what may leave the module.
local lfs = require("lfs")

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

-- All files below a folder whose path matches.
local function find(folder, pattern, list)
  list = list or {}
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    local mode = lfs.attributes(path, "mode")
    if mode == "directory" and not name:find("^%.") then
      find(path, pattern, list)
    elseif mode == "file" and path:find(pattern) then
      list[#list + 1] = path
    end
  end
  table.sort(list)
  return list
end

-- The core's files that include a header whose name matches, by name of the file.
local function includers(pattern)
  local list = {}
  for _, path in ipairs(find("core", "%.[ch]$")) do
    for header in read(path):gmatch('#%s*include%s+[<"]([^>"]+)[>"]') do
      if header:find(pattern) then
        list[#list + 1] = path:match("[^/]+$")
        break
      end
    end
  end
  return list
end

local function outside(names, allowed)
  local list = {}
  for _, name in ipairs(names) do
    if not name:find(allowed) then
      list[#list + 1] = name
    end
  end
  return list
end

describe("the tree", function()
  it("has a core", function()
    assert.is_true(#find("core", "%.c$") > 0)
  end)

  it("says its licence in each source file", function()
    local without = {}
    for _, folder in ipairs({ "core", "lua", "scripts", "spec", "examples", "cmake", "bin", "bench", "doc", "share" }) do
      if lfs.attributes(folder, "mode") == "directory" then
        for _, path in ipairs(find(folder, "%.[chl]u?a?$")) do
          if not read(path):sub(1, 200):find("SPDX-License-Identifier: MIT", 1, true) then
            without[#without + 1] = path
          end
        end
      end
    end
    assert.same({}, without)
  end)

  it("includes headers of a file's own layer or below, by the map in CONTRIBUTING.md, which names every file", function()
    local layers, found = {}, {}
    for layer, row in read("CONTRIBUTING.md"):gmatch("\n| L(%d) ([^\n]+)") do
      for name in row:gmatch("`([%w_]+)%.?h?`") do layers[name] = layers[name] or tonumber(layer) end
    end
    for _, path in ipairs(find("core", "%.[ch]$")) do
      local layer = layers[path:match("([^/]+)%.[ch]$")]
      if not layer then found[#found + 1] = path .. " is not in the map" end
      for header in read(path):gmatch('#%s*include%s+"([%w_]+)%.h"') do
        if (layers[header] or 0) > (layer or 0) then found[#found + 1] = path .. " includes " .. header .. ".h" end
      end
      local uv = read(path):find("#%s*include%s+<uv%.h>")
      if uv and layer and layer < 3 then found[#found + 1] = path .. " includes uv.h" end
    end
    assert.same({}, found)
  end)

  it("includes Lua's headers and the files that do in lua_*.c and .h only", function()
    assert.same({}, outside(includers("^lua%.h$"), "^lua_"))
    assert.same({}, outside(includers("^lauxlib%.h$"), "^lua_"))
    assert.same({}, outside(includers("^lualib%.h$"), "^lua_"))
    assert.same({}, outside(includers("^lua_.*%.h$"), "^lua_"))
  end)

  it("includes a library's header only in the module that is for it", function()
    assert.same({}, outside(includers("^llhttp"), "^http_request%.c$"))
    assert.same({}, outside(includers("^zlib%.h$"), "^gu?n?zip%.c$"))
    assert.same({}, outside(includers("^jwt%.h$"), "^token%.c$"))
    assert.same({}, outside(includers("hiredis"), "^redis_"))
  end)

  it("neither prints nor exits from the core", function()
    local found = {}
    for _, path in ipairs(find("core", "%.c$")) do
      local code = read(path):gsub("/%*.-%*/", ""):gsub('"[^"\n]*"', '""')
      for _, call in ipairs({ "exit", "_exit", "printf", "puts", "perror", "putchar" }) do
        if code:find("%f[%w_]" .. call .. "%s*%(") then
          found[#found + 1] = path .. ": " .. call
        end
      end
    end
    assert.same({}, found)
  end)

  it("locks the npm clients without naming a registry", function()
    assert.is_nil(read("spec/npm/package-lock.json"):find('"resolved"', 1, true))
  end)
end)

describe("sluice/core.so", function()
  it("exports luaopen_sluice_core and nothing else", function()
    local build = os.getenv("SLUICE_BUILD") or "build/release"
    local pipe = assert(io.popen(("nm -D --defined-only '%s/sluice/core.so' 2>&1"):format(build)))
    local names = {}
    for line in pipe:lines() do
      names[#names + 1] = line:match("%s%u%s(%S+)$") or line
    end
    pipe:close()
    assert.same({ "luaopen_sluice_core" }, names)
  end)
end)
