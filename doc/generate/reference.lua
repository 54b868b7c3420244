-- SPDX-License-Identifier: MIT
-- Writes doc/reference.md from the annotations of lua/sluice/library and from the commands' own tables:
--
--   make doc        (or: LUA_PATH="./?.lua;./lua/?.lua;./lua/?/init.lua;;" lua5.4 doc/generate/reference.lua)
--
-- OUTLINE is the page; {{…}} stands for what is made:
--   {{text CLASS}}       the text of a class
--   {{fields CLASS TITLE}}  a table of its fields, the first column's head is TITLE
--   {{methods CLASS}}    a table of its functions
--   {{functions CLASS}}  a heading and a paragraph for each
--   {{commands}}         the command line
local annotations = require("doc.generate.annotations")
local args = require("sluice.cli.args")

local reference = {}

local OUTLINE = [[
# Reference

This page is made from the annotations in `lua/sluice/library` and from the commands; write it anew with `make doc`.

- [The host interface](#the-host-interface): a server inside a Lua program, [a client](#sluiceeventsource), and [tests](#sluicetesting)
- [The script interface](#the-script-interface): [`sluice`](#sluice), [`request`](#request), [`stream`](#stream), [`route`](#route),
  [script tables](#script-tables)
- [Configuration](#configuration)
- [Commands](#commands)
- [Completion in editors](#completion-in-editors)

Times are in seconds, fractions allowed, and sizes in bytes, unless a name ends in `_ms`. "Raises" means a Lua error;
failures that are ordinary come as `nil, message`. A `?` marks what may be left out or be nil.

## The host interface

{{text sluice.host}}

{{functions sluice.host}}

{{fields sluice.host also}}

#### `server`

{{text sluice.server}}

{{methods sluice.server}}

### `sluice.eventsource`

{{text sluice.eventsource}}

{{functions sluice.eventsource}}

{{fields sluice.eventsource_options option}}

`client`:

{{methods sluice.eventsource_client}}

An event:

{{fields sluice.event event}}

{{fields sluice.eventsource_stats in `client:stats()`}}

### `sluice.testing`

{{text sluice.testing}}

{{fields sluice.testing member}}

{{functions sluice.testing}}

{{fields sluice.testing_options option of `testing.start`}}

{{text sluice.testing_options}}

#### The server of a test

{{text sluice.testing_server}}

{{methods sluice.testing_server}}

{{fields sluice.testing_request_options option of `request` and `open`}}

An answer:

{{fields sluice.testing_answer member}}

{{methods sluice.testing_answer}}

#### The stream of a test

{{text sluice.testing_stream}}

{{fields sluice.testing_stream member}}

{{methods sluice.testing_stream}}

An event has `id`, `event` and `data`, and

{{methods sluice.testing_event}}

## The script interface

### `sluice`

{{text sluice.policy}}

{{functions sluice.policy}}

#### Tables of `sluice`'s functions

A message to send:

{{fields sluice.message_to_send member}}

What `sluice.channel` returns:

{{fields sluice.channel_info member}}

A limit, and what is told of it:

{{fields sluice.limit limit}}

{{fields sluice.limit_info info}}

#### `sluice.admin`

{{text sluice.admin}}

{{methods sluice.admin}}

{{fields sluice.admin_streams option of `streams`}}

What it returns:

{{fields sluice.admin_stream_list member}}

A stream:

{{fields sluice.admin_stream member}}

{{fields sluice.admin_channels option of `channels`}}

A channel:

{{fields sluice.admin_channel member}}

A load of the scripts:

{{fields sluice.admin_reload member}}

A tap: {{text sluice.tap}}

{{methods sluice.tap}}

A frame:

{{fields sluice.tap_frame member}}

#### `sluice.origins`

{{text sluice.origins}}

{{fields sluice.origins member}}

{{methods sluice.origins}}

#### `sluice.shared`

{{text sluice.shared}}

{{methods sluice.shared}}

#### `sluice.jwt`

{{text sluice.jwt}}

{{fields sluice.jwt member}}

{{methods sluice.jwt}}

{{fields sluice.jwt_verify_options option of `verify`}}

{{fields sluice.jwt_sign_options option of `sign`}}

#### `sluice.json`

{{methods sluice.json}}

{{fields sluice.json member}}

#### `sluice.log`

{{text sluice.log}}

{{methods sluice.log}}

#### `sluice.config`

The configuration as a read-only table, nested as in the file, without what holds a secret: `sluice.config.limits.connections`.

### `request`

{{text sluice.request}}

{{fields sluice.request member}}

{{methods sluice.request}}

`request.options` has

{{fields sluice.route_found member}}

### `stream`

{{fields sluice.stream member}}

{{methods sluice.stream}}

{{fields sluice.subscribe_options option of `subscribe`}}

{{text sluice.subscribe_options}}

### `route`

{{text sluice.route}}

{{methods sluice.route}}

{{fields sluice.route_options option}}

### Script tables

{{text sluice.script}}

{{fields sluice.script member}}

#### Messages in hooks

{{text sluice.message}}

{{fields sluice.message member}}

## Configuration

[configuration.md](configuration.md) lists the keys and says where they come from.

## Commands

Standard output holds only a command's result; log and errors go to standard error. Exit status: 0, 1 for an error, 2 for
a wrong flag. Flags may stand before or after arguments; `--help` explains each command.

{{commands}}

## Completion in editors

`lua/sluice/library` holds annotations for the [Lua language server](https://luals.github.io). `sluice init DIR` writes a `DIR/.luarc.json` that points
there, for policy scripts: `sluice`, hooks, `request`, `stream` and `route` are completed and checked. Put `---@type sluice.script` above the `return` of
a script: the parameters of its hooks then have their types. `---@type sluice.settings` does the same for a configuration file.
A host program takes `library/host` in the place of `library/policy`:

```json
{ "runtime.version": "Lua 5.4", "workspace.library": ["/usr/local/share/lua/5.4/sluice/library/host", "/usr/local/share/lua/5.4/sluice/library/common"] }
```
]]

local function cell(text)
  return (text:gsub("\n", " "):gsub("|", "\\|"):gsub("%s+$", ""))
end

local function row(...)
  local cells = { ... }
  for index, text in ipairs(cells) do cells[index] = cell(text) end
  return "| " .. table.concat(cells, " | ") .. " |"
end

-- A type for people: without the prefix of class names.
local function type_text(type)
  return (type:gsub("sluice%.([%a_][%w_]*)", function(name) return (name:gsub("_", " ")) end))
end

local function code(text) return "`" .. text .. "`" end

-- Tables of functions that are members of another one are shown under their whole name.
local SHOWN_AS = { ["sluice.shared"] = "sluice.shared", ["sluice.jwt"] = "sluice.jwt", ["sluice.json"] = "sluice.json", ["sluice.log"] = "sluice.log" }

-- "sluice.sleep(seconds)"; `typed`: "sluice.sleep(seconds: number)".
local function signature(entry, typed)
  local parts = {}
  for index, param in ipairs(entry.params) do
    -- A function with an overload takes its options in the middle.
    local optional = param.optional or #entry.overloads > 0 and param.name == "options"
    parts[index] = param.name .. (optional and "?" or "") .. (typed and param.name ~= "..." and ": " .. type_text(param.type) or "")
  end
  local name = SHOWN_AS[entry.owner.name] and SHOWN_AS[entry.owner.name] .. (entry.method and ":" or ".") .. entry.member or entry.name
  return ("%s(%s)"):format(name, table.concat(parts, ", "))
end

local function returns_text(entry)
  local parts = {}
  for index, value in ipairs(entry.returns) do parts[index] = type_text(value.type) end
  return #parts > 0 and code(table.concat(parts, ", ")) or ""
end

local function sentence_end(text) return text:find("[%.:]%s*$") and text or text .. "." end

-- The text of a function, and what its parameters and results have to say, as one paragraph.
local function whole_text(entry)
  local parts = {}
  if entry.text ~= "" then parts[1] = entry.text end
  for _, param in ipairs(entry.params) do
    if param.text ~= "" then parts[#parts + 1] = sentence_end(("`%s`: %s"):format(param.name, param.text)) end
  end
  for _, value in ipairs(entry.returns) do
    if value.text and value.text ~= "" then parts[#parts + 1] = sentence_end(("`%s`: %s"):format(value.name, value.text)) end
  end
  return table.concat(parts, " ")
end

local make = {}

function make.text(class) return class.text end

function make.fields(class, title)
  local lines = { row(title, "type", ""), row("---", "---", "---") }
  for _, field in ipairs(class.fields) do
    lines[#lines + 1] = row(code(field.name .. (field.optional and "?" or "")), code(type_text(field.type)), field.text)
  end
  return table.concat(lines, "\n")
end

function make.methods(class)
  local lines = { row("call", "returns", ""), row("---", "---", "---") }
  for _, entry in ipairs(class.functions) do
    lines[#lines + 1] = row(code(signature(entry)), returns_text(entry), whole_text(entry))
  end
  return table.concat(lines, "\n")
end

-- A table of parameters or results, where there is more to say of them than the type.
local function rows_of(title, list)
  local lines, any = { row(title, "type", ""), row("---", "---", "---") }, false
  for _, one in ipairs(list) do
    any = any or one.text and one.text ~= ""
    lines[#lines + 1] = row(one.name and code(one.name .. (one.optional and "?" or "")) or "", code(type_text(one.type)), one.text or "")
  end
  return any and table.concat(lines, "\n") or nil
end

function make.functions(class)
  local parts = {}
  for _, entry in ipairs(class.functions) do
    parts[#parts + 1] = "#### `" .. entry.name .. "`"
    local returns = {}
    for index, value in ipairs(entry.returns) do returns[index] = (value.name and value.name .. ": " or "") .. type_text(value.type) end
    parts[#parts + 1] = code(signature(entry, true) .. (#returns > 0 and " → " .. table.concat(returns, ", ") or ""))
    if entry.text ~= "" then parts[#parts + 1] = entry.text end
    parts[#parts + 1] = rows_of("parameter", entry.params)
    parts[#parts + 1] = rows_of("returns", entry.returns)
  end
  return table.concat(parts, "\n\n")
end

local function commands(names)
  local parts = {}
  for _, name in ipairs(names) do
    local command = require("sluice.cli." .. name)
    parts[#parts + 1] = "### `sluice " .. name .. "`"
    parts[#parts + 1] = "`" .. args.usage(command) .. "`"
    parts[#parts + 1] = command.summary
    if #command.flags > 0 then
      local lines = { row("flag", ""), row("---", "---") }
      for _, flag in ipairs(command.flags) do
        local shown = "--" .. flag.name .. (flag.value and " " .. flag.value or "")
        lines[#lines + 1] = row(code(shown), flag.description .. (flag.many and " May be repeated." or ""))
      end
      parts[#parts + 1] = table.concat(lines, "\n")
    end
    if type(command.notes) == "string" then
      parts[#parts + 1] = "<!-- not run: a part of `--help` -->\n```text\n" .. command.notes:gsub("\n$", "") .. "\n```"
    end
  end
  return table.concat(parts, "\n\n")
end

-- Returns the page. `root` is the top of the source tree.
function reference.page(root)
  local set = annotations.load(root)
  local used = {}
  local page = OUTLINE:gsub("{{(%a+) ?([%w_%.]*) ?([^}]*)}}", function(what, name, title)
    if what == "commands" then return commands(require("sluice.cli").COMMANDS) end
    local class = set.classes[name]
    if not class then error("doc/generate/reference.lua: there is no class " .. name, 0) end
    used[name] = true
    return make[what](class, title)
  end)
  -- What nobody placed on the page would be missing from it in silence.
  for name in pairs(set.classes) do
    if not used[name] and not name:find("^sluice%.settings") and name ~= "sluice.host_settings" and name ~= "sluice.channel_rule" then
      error(("the class %s is annotated, but OUTLINE of doc/generate/reference.lua does not show it"):format(name), 0)
    end
  end
  return page
end

if arg and arg[0] and arg[0]:find("doc/generate/reference%.lua$") then
  local document = require("sluice.config.document")
  local function write(path, text)
    local handle = assert(io.open(path, "w"))
    assert(handle:write(text))
    assert(handle:close())
    print("wrote " .. path)
  end
  write("lua/sluice/library/common/config.lua", document.annotations())
  write("doc/configuration.md", document.markdown())
  write("doc/reference.md", reference.page("."))
  local completion = require("doc.generate.completion")
  write("share/man/sluice.1", require("doc.generate.manual").page())
  for _, shell in ipairs({ "bash", "zsh", "fish" }) do write("share/completion/sluice." .. shell, completion[shell]()) end
end

return reference
