-- SPDX-License-Identifier: MIT
-- Reads the annotations of lua/sluice/library: the part of LuaLS' language that they use. What it does not know is an error, so nothing is
-- left out of the reference in silence.
--
-- A set of annotations has, by name,
--   classes    { name, text, parents, fields = list of { name, type, optional, text }, functions = list, calls = list of overloads }
--   functions  { name = "sluice.publish" or "request:query", owner = class, member = "query", method = boolean, text,
--              params = list of { name, type, optional, text }, returns = list of { type, name, text }, overloads = list }
--   modules    what a file is for `require`: name -> path
local annotations = {}

annotations.folder = "lua/sluice/library"

local CLOSING = { ["("] = ")", ["{"] = "}", ["["] = "]", ["<"] = ">" }

-- Where the word (a type, or a name) that begins at `from` ends: at a blank outside of brackets and quotes, unless a `|`, `,` or `:` goes on.
local function end_of_word(text, from)
  local depth, at, quote = 0, from, nil
  while at <= #text do
    local char = text:sub(at, at)
    if quote then
      if char == quote then quote = nil end
    elseif char == '"' then
      quote = char
    elseif CLOSING[char] then
      depth = depth + 1
    elseif char == ")" or char == "}" or char == "]" or char == ">" then
      depth = depth - 1
    elseif char == " " and depth == 0 and not text:sub(at - 1, at - 1):find("[,:|]") then
      return at - 1
    end
    at = at + 1
  end
  return #text
end

local function word(text)
  local last = end_of_word(text, 1)
  return text:sub(1, last), (text:sub(last + 1):gsub("^%s+", ""):gsub("^#%s*", ""))
end

-- "name? type text" of a field or parameter.
local function named(text)
  local name, rest = text:match("^([%w_%.]+%??)%s+(.+)$")
  local optional = name:sub(-1) == "?"
  local type, description = word(rest)
  return { name = optional and name:sub(1, -2) or name, type = type, optional = optional, text = description }
end

local function returned(text)
  local type, rest = word(text)
  local name, description = rest:match("^([%w_]+)%s*(.*)$")
  return { type = type, name = name, text = description or "" }
end

local tags = {}

function tags.class(block, text)
  local name, parents = text:match("^([%w_%.]+):?%s*(.*)$")
  block.class = { name = name, parents = parents ~= "" and parents or nil, fields = {}, functions = {}, calls = {} }
end

function tags.field(block, text) table.insert(block.class.fields, named(text)) end
function tags.param(block, text) table.insert(block.params, named(text)) end
tags["return"] = function(block, text) table.insert(block.returns, returned(text)) end
function tags.overload(block, text) table.insert(block.class and block.class.calls or block.overloads, text) end
function tags.generic() end

function tags.alias(block, text)
  local name, type = text:match("^([%w_%.]+)%s+(.+)$")
  block.set.aliases[name] = type
end

function tags.meta(block, text)
  if text ~= "" then block.set.modules[text] = block.file end
end

-- Takes over a block of comments with the line of code below it (nil: none).
local function finish(set, block, code, classes_here)
  local text = table.concat(block.text, "\n")
  if block.class then
    block.class.text = text
    set.classes[block.class.name] = block.class
    local variable = code and (code:match("^local ([%w_]+) = {}$") or code:match("^([%w_]+) = {}$"))
    if variable then classes_here[variable] = block.class end
    block.class.variable = variable
    return
  end
  local name, list = (code or ""):match("^function ([%w_%.:]+)%((.-)%) end$")
  if not name then
    if #block.params + #block.returns > 0 then error(block.file .. ": @param or @return without a function: " .. tostring(code), 0) end
    return
  end
  local variable, mark, member = name:match("^([%w_]+)([.:])([%w_]+)$")
  local owner = classes_here[variable]
  if not owner then error(("%s: function %s belongs to no class of this file"):format(block.file, name), 0) end
  local names = {}
  for one in list:gmatch("[^%s,]+") do names[#names + 1] = one end
  for index, param in ipairs(block.params) do
    if names[index] ~= param.name then
      error(("%s: function %s: parameter %d is %s, annotated is %s"):format(block.file, name, index, tostring(names[index]), param.name), 0)
    end
  end
  if #names ~= #block.params then error(("%s: function %s: a parameter is not annotated"):format(block.file, name), 0) end
  local entry = {
    name = name, owner = owner, member = member, method = mark == ":", text = text, params = block.params, returns = block.returns,
    overloads = block.overloads,
  }
  table.insert(owner.functions, entry)
  set.functions[owner.name .. mark .. member] = entry
end

local function new_block(set, file)
  return { set = set, file = file, text = {}, params = {}, returns = {}, overloads = {} }
end

local function read(set, file, text)
  local block, classes_here = new_block(set, file), {}
  local has_comment = false
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local comment = line:match("^%-%-%-(.*)$")
    if comment then
      has_comment = true
      local tag, rest = comment:match("^@(%w+)%s*(.*)$")
      if tag == "overload" or tag == "class" or not tag then
        if not tag then table.insert(block.text, comment) end
      end
      if tag then
        if not tags[tag] then error(("%s: unknown annotation @%s"):format(file, tag), 0) end
        tags[tag](block, rest)
      end
    else
      local code = line ~= "" and not line:find("^%-%-") and line or nil
      if has_comment or (code and code:find("^function")) then
        finish(set, block, code, classes_here)
      end
      block, has_comment = new_block(set, file), false
    end
  end
end

-- Reads all files. `root` is the top of the source tree.
function annotations.load(root)
  local set = { classes = {}, functions = {}, modules = {}, aliases = {} }
  local list = assert(io.popen(("ls '%s/%s'/*/*.lua"):format(root, annotations.folder)))
  for path in list:lines() do
    local handle = assert(io.open(path))
    read(set, path:match("[^/]*/[^/]*$"), handle:read("a"))
    handle:close()
  end
  list:close()
  return set
end

return annotations
