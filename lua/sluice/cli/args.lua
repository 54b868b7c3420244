-- SPDX-License-Identifier: MIT
-- Reads a command's flags and arguments, and writes its help.
--
-- A command has
--   name, summary  for the list of commands
--   arguments      list of { name, optional = true or nil }, in order
--   flags          list of { name, description, value = "FILE" (none: a switch), many = true (for the help: each
--                  one counts), check = function(text) -> true, or nil and a message }
--   notes          more text for its help, or nil; or a function that returns it
--   run            function(context, arguments by name, given) -> exit status

local nearest = require("sluice.nearest")

local args = {}

local HELP = { name = "help", description = "Shows this help." }

local function find_flag(command, name)
  if name == HELP.name then return HELP end
  for _, flag in ipairs(command.flags) do
    if flag.name == name then return flag end
  end
  return nil
end

local function unknown_flag(command, text)
  local names = { "--help" }
  for _, flag in ipairs(command.flags) do names[#names + 1] = "--" .. flag.name end
  local best = nearest.resembling(text, names)
  if best then return ("unknown flag %s; did you mean %s?"):format(text, best) end
  return ("unknown flag %s (see sluice %s --help)"):format(text, command.name)
end

-- Reads the flag that `word` is or begins. Returns the flag, its text (true for a switch) and whether `next_word` was
-- its text; or nil and a message.
local function read_flag(command, word, next_word)
  local name, equals, text = word:match("^%-%-([^=]+)(=?)(.*)$")
  if word == "-h" then name, equals = HELP.name, "" end
  local flag = name and find_flag(command, name)
  if not flag then return nil, unknown_flag(command, word:match("^[^=]*")) end
  if not flag.value then
    if equals == "=" then return nil, ("flag --%s takes no value"):format(name) end
    return flag, true, false
  end
  local is_next = equals == ""
  if is_next then
    if not next_word or next_word:sub(1, 2) == "--" then
      return nil, ("flag --%s needs a value: --%s %s"):format(name, name, flag.value)
    end
    text = next_word
  end
  if flag.check then
    local ok, message = flag.check(text)
    if not ok then return nil, ("flag --%s: %s"):format(name, message) end
  end
  return flag, text, is_next
end

-- Gives the words that are no flags their names. Returns text by argument name, or nil and a message.
local function name_arguments(command, words)
  local arguments = {}
  for i, argument in ipairs(command.arguments) do
    if not words[i] and not argument.optional then
      return nil, ("missing argument %s (see sluice %s --help)"):format(argument.name, command.name)
    end
    arguments[argument.name] = words[i]
  end
  local extra = words[#command.arguments + 1]
  if extra then return nil, ('unexpected argument "%s" (see sluice %s --help)'):format(extra, command.name) end
  return arguments
end

-- Sorts `words` into arguments and flags; flags may stand anywhere before "--", and the last of the same name counts.
-- Returns
--   arguments  text by argument name
--   given      { list = { { flag name, text or true }, ... as they were given }, [flag name] = the last text or true }
-- or nil and a message about a wrong use. With --help, arguments may be missing.
function args.parse(command, words)
  local others, given = {}, { list = {} }
  local i, flags_end = 1, false
  while i <= #words do
    local word = words[i]
    if flags_end or word == "-" or word:sub(1, 1) ~= "-" then
      others[#others + 1] = word
    elseif word == "--" then
      flags_end = true
    else
      local flag, text, is_next = read_flag(command, word, words[i + 1])
      if not flag then return nil, text end
      given[flag.name] = text
      given.list[#given.list + 1] = { flag.name, text }
      if is_next then i = i + 1 end
    end
    i = i + 1
  end
  if given.help then return {}, given end
  local arguments, message = name_arguments(command, others)
  if not arguments then return nil, message end
  return arguments, given
end

-- The line that shows how a command is called.
function args.usage(command)
  local parts = { "sluice " .. command.name }
  if #command.flags > 0 then parts[2] = "[flags]" end
  for _, argument in ipairs(command.arguments) do
    parts[#parts + 1] = argument.optional and ("[%s]"):format(argument.name) or argument.name
  end
  return table.concat(parts, " ")
end

-- Lays out { left, right } pairs in two columns.
function args.columns(rows)
  local width, lines = 0, {}
  for _, row in ipairs(rows) do width = math.max(width, #row[1]) end
  for i, row in ipairs(rows) do
    lines[i] = ("  %s%s  %s\n"):format(row[1], (" "):rep(width - #row[1]), row[2])
  end
  return table.concat(lines)
end

-- The whole help of a command.
function args.help(command)
  local flags = {}
  for _, flag in ipairs(command.flags) do
    local left = "--" .. flag.name .. (flag.value and " " .. flag.value or "")
    flags[#flags + 1] = { left, flag.description .. (flag.many and " May be repeated." or "") }
  end
  flags[#flags + 1] = { "--help", HELP.description }
  local notes = command.notes
  if type(notes) == "function" then notes = notes() end
  return ("usage: %s\n\n%s\n\nFlags:\n%s%s"):format(args.usage(command), command.summary, args.columns(flags),
    notes and "\n" .. notes or "")
end

return args
