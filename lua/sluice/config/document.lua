-- SPDX-License-Identifier: MIT
-- Writes the configuration's documents from the schema: the reference page, the sample file, the lines of `--help`.

local kinds = require("sluice.config.kinds")
local schema = require("sluice.config.schema")

local document = {}

-- Writes a value as Lua text.
local function literal(value)
  if type(value) ~= "table" then return kinds.show(value) end
  local parts, keys = {}, {}
  for i, item in ipairs(value) do parts[i] = literal(item) end
  for key in pairs(value) do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local name = key:find("^[%a_][%w_]*$") and key or ('["%s"]'):format(key)
    parts[#parts + 1] = ("%s = %s"):format(name, literal(value[key]))
  end
  if #parts == 0 then return "{}" end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

-- What documents show as a row's default.
local function default_text(row)
  if row.default ~= nil then return literal(row.default) end
  return row.default_text or "unset"
end

document.default_text = default_text

-- Calls visit(section, rows) for the keys without a section (section is nil) and then for each section.
local function each_section(visit)
  local rows, current = {}, nil
  for _, row in ipairs(schema.rows) do
    local section = row.key:match("^(.-)%.")
    if section ~= current then
      visit(current, rows)
      rows, current = {}, section
    end
    rows[#rows + 1] = row
  end
  visit(current, rows)
end

local function table_row(...)
  local cells = { ... }
  -- A bar ends a cell, also within code.
  for i, cell in ipairs(cells) do cells[i] = cell:gsub("|", "\\|") end
  return "| " .. table.concat(cells, " | ") .. " |\n"
end

local INTRODUCTION = [[
# Configuration

This page is made from `lua/sluice/config/schema.lua`; write it anew with `make doc`.

A configuration file is Lua text that returns a table, nested or with dotted keys:

```lua config
return {
  listen = "127.0.0.1:8080",
  limits = { connections = 20000 },
  ["history.age"] = 600,
  jwt = { key = os.getenv("MY_KEY") },
}
```

It has `os.getenv`, `os.time`, `os.date`, `string`, `table`, `math`, `utf8` and the basic functions; no input or output.
Relative paths in it are relative to the file.

What comes later wins: defaults, the file, environment variables, flags. `--set KEY=VALUE` sets any key but `channels`;
the value is read by the key's type: a number, `true` or `false`, a string as it stands, a list with commas. A host
program gives the same table to `sluice.start`; there, neither a file nor the environment counts.

Times are seconds (fractions allowed), save names in `_ms` and `stream.retry`, which are milliseconds; sizes are bytes.

An unknown key, a wrong type or a value out of range is an error. So are: `jwt.key` and `jwt.key_file` together, an empty
key, algorithms that no single key serves, `cors.origins` of `*` with `cors.credentials`, files for TLS with a `redis.url`
of `redis://`, and a listen address beyond loopback with neither a key nor `insecure`.
]]

-- Returns the reference page, doc/configuration.md.
function document.markdown()
  local out = { INTRODUCTION }
  local function row_of(row)
    local default = row.default_text or row.inherits and "`" .. row.inherits .. "`" or "unset"
    if row.default ~= nil then default = "`" .. literal(row.default) .. "`" end
    local meaning = row.description
    if row.env then meaning = ("%s Variable: `%s`."):format(meaning, row.env) end
    return table_row("`" .. row.key .. "`", kinds.expected(row), default, meaning)
  end
  each_section(function(section, rows)
    out[#out + 1] = ("\n## %s\n\n"):format(section or "General")
    out[#out + 1] = table_row("key", "value", "default", "meaning") .. table_row("---", "---", "---", "---")
    for _, row in ipairs(rows) do out[#out + 1] = row_of(row) end
  end)
  local channels = schema.by_key.channels
  out[#out + 1] = "\n## Rules of `channels`\n\n"
  out[#out + 1] = ("For example `channels = %s`.\n\n"):format(literal(channels.example))
  out[#out + 1] = table_row("member", "value", "default", "meaning") .. table_row("---", "---", "---", "---")
  for _, member in ipairs(channels.members) do out[#out + 1] = row_of(member) end
  return table.concat(out)
end

local LUA_TYPES = { boolean = "boolean", integer = "integer", number = "number", channels = "table<string, sluice.channel_rule>" }

-- What the Lua language server calls the type of a key.
local function annotated_type(row)
  if row.type == "list" then
    local item = annotated_type(row.item)
    return (item:find("|", 1, true) and "(" .. item .. ")" or item) .. "[]"
  elseif row.type == "enum" then
    local words = {}
    for i, value in ipairs(row.values) do words[i] = ('"%s"'):format(value) end
    return table.concat(words, "|")
  end
  return LUA_TYPES[row.type] or "string"
end

-- Returns the annotations of the settings, lua/sluice/library/common/config.lua.
function document.annotations()
  local out = {
    "---@meta\n-- SPDX-License-Identifier: MIT\n"
      .. "-- Annotations for editors (LuaLS): the settings. Made from lua/sluice/config/schema.lua by `make doc`. Never run.\n",
  }
  local function class(name, text, rows, extra)
    out[#out + 1] = ("\n---%s\n---@class %s\n"):format(text, name)
    for _, row in ipairs(rows) do
      local default = row.default_text or row.default ~= nil and literal(row.default)
      out[#out + 1] = ("---@field %s? %s %s%s\n"):format(row.key:match("[^.]*$"), annotated_type(row), row.description:gsub("%.$", ""),
        default and ("; default: %s"):format(default) or "")
    end
    out[#out + 1] = extra
  end
  local sections = {}
  each_section(function(section)
    if section then sections[#sections + 1] = ("---@field %s? sluice.settings_%s\n"):format(section, section) end
  end)
  each_section(function(section, rows)
    if section then return class("sluice.settings_" .. section, ("The settings under `%s`."):format(section), rows) end
    class("sluice.settings", "What a configuration file returns.", rows, table.concat(sections))
  end)
  class("sluice.channel_rule", "A rule under `channels`.", schema.by_key.channels.members)
  return table.concat(out)
end

-- Breaks text into comment lines.
local function comment(indent, text)
  local lines, line = {}, indent .. "--"
  for word in text:gmatch("%S+") do
    if #line + 1 + #word > 100 then
      lines[#lines + 1] = line
      line = indent .. "--"
    end
    line = line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n") .. "\n"
end

local function sentence(text)
  return text:sub(1, 1):upper() .. text:sub(2) .. "."
end

-- Returns a configuration file with every key commented out, described and at its default (or an example, where it
-- has none). `active` maps keys to values that are set; may be nil.
function document.sample(active)
  active = active or {}
  local out = {
    "-- Configuration of Sluice: run `sluice serve --config` with this file.\n",
    "-- What is commented out shows its default. Relative paths are relative to this file.\n",
    "---@type sluice.settings\n",
    "return {\n",
  }
  each_section(function(section, rows)
    local indent = section and "    " or "  "
    if section then out[#out + 1] = ("\n  %s = {\n"):format(section) end
    for i, row in ipairs(rows) do
      if i > 1 then out[#out + 1] = "\n" end
      local unset = row.default == nil and (" Default: %s."):format(default_text(row)) or ""
      out[#out + 1] = comment(indent, ("%s %s%s"):format(row.description, sentence(kinds.expected(row)), unset))
      local value = active[row.key]
      local name = row.key:match("[^.]*$")
      if value ~= nil then
        out[#out + 1] = ("%s%s = %s,\n"):format(indent, name, literal(value))
      elseif row.default ~= nil then
        out[#out + 1] = ("%s-- %s = %s,\n"):format(indent, name, literal(row.default))
        if row.example then
          out[#out + 1] = ("%s-- for example: %s = %s,\n"):format(indent, name, literal(row.example))
        end
      else
        out[#out + 1] = ("%s-- %s = %s,\n"):format(indent, name, literal(row.example))
      end
    end
    if section then out[#out + 1] = "  },\n" end
  end)
  out[#out + 1] = "}\n"
  return table.concat(out)
end

-- Returns the keys for `--help`, a line each: key, the first part of its meaning, default.
function document.help()
  local lines, width = {}, 0
  for _, row in ipairs(schema.rows) do width = math.max(width, #row.key) end
  for i, row in ipairs(schema.rows) do
    local meaning = row.description:match("^(.-)[.:] ") or row.description:gsub("%.$", "")
    meaning = meaning:gsub("`", "")
    lines[i] = ("  %s%s  %s [%s]\n"):format(row.key, (" "):rep(width - #row.key), meaning, default_text(row))
  end
  return table.concat(lines)
end

return document
