-- SPDX-License-Identifier: MIT
-- Completions of the command for bash, zsh and fish, share/completion/*, from the tables that the command line is made of. `make doc` writes them.

local cli = require("sluice.cli")
local schema = require("sluice.config.schema")

local completion = {}

local NOTE = "# SPDX-License-Identifier: MIT\n# Made by doc/generate/completion.lua: `make doc` writes it anew.\n"

local function commands()
  local list = {}
  for i, name in ipairs(cli.COMMANDS) do list[i] = require("sluice.cli." .. name) end
  return list
end

-- What a flag takes: "file", "folder", "setting", a list of words, "text" (nothing to offer), or nil for a switch.
local function takes(flag)
  if not flag.value then return nil end
  if flag.name == "algorithm" then return schema.by_key["jwt.algorithms"].item.values end
  return ({ FILE = "file", DIR = "folder", ["KEY=VALUE"] = "setting" })[flag.value] or "text"
end

-- What comes where no flag stands, other than text.
local function takes_arguments(command)
  for _, argument in ipairs(command.arguments) do
    if argument.name == "DIR" then return "folder" end
  end
  return nil
end

-- The keys that --set takes, each with its "=".
local function settings()
  local list = {}
  for _, row in ipairs(schema.rows) do
    if row.type ~= "channels" then list[#list + 1] = row.key .. "=" end
  end
  return list
end

local function flag_names(command)
  local list = {}
  for i, flag in ipairs(command.flags) do list[i] = "--" .. flag.name end
  list[#list + 1] = "--help"
  return table.concat(list, " ")
end

-- --- bash -------------------------------------------------------------------------------------------

local BASH = [=[
_sluice() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command="" flags="" word
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
        {{names}} | help)
            command=$word
            break
            ;;
        esac
    done
    COMPREPLY=()
    case $prev in
{{values}}
    esac
    case $command in
{{commands}}
    help) flags="{{words}}" ;;
    *) flags="{{words}} help --help --version" ;;
    esac
    if [[ $cur != -* && " {{folders}} " == *" $command "* && -n $command ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
    fi
}
complete -F _sluice sluice
]=]

local BASH_ACTIONS = {
  file = "        compopt -o filenames\n        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")",
  folder = "        compopt -o filenames\n        mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")",
  text = "        : # nothing to offer",
}

local function bash_words(list)
  return ('        mapfile -t COMPREPLY < <(compgen -W "%s" -- "$cur")'):format(table.concat(list, " "))
end

function completion.bash()
  local by_action, order, names, words, sections, folders = {}, {}, {}, {}, {}, {}
  for _, command in ipairs(commands()) do
    names[#names + 1], words[#words + 1] = command.name, command.name
    sections[#sections + 1] = ('    %s) flags="%s" ;;'):format(command.name, flag_names(command))
    if takes_arguments(command) == "folder" then
      folders[#folders + 1] = command.name
    end
    for _, flag in ipairs(command.flags) do
      local what = takes(flag)
      local action = what == "setting" and "        compopt -o nospace\n" .. bash_words(settings())
        or type(what) == "table" and bash_words(what) or BASH_ACTIONS[what]
      if action then
        if not by_action[action] then
          by_action[action] = {}
          order[#order + 1] = action
        end
        local flags = by_action[action]
        if not flags["--" .. flag.name] then
          flags["--" .. flag.name] = true
          flags[#flags + 1] = "--" .. flag.name
        end
      end
    end
  end
  local values = {}
  for i, action in ipairs(order) do
    values[i] = ("    %s)\n%s\n        return\n        ;;"):format(table.concat(by_action[action], " | "), action)
  end
  local parts = { names = table.concat(names, " | "), words = table.concat(words, " "), values = table.concat(values, "\n"),
    commands = table.concat(sections, "\n"), folders = table.concat(folders, " ") }
  return NOTE .. BASH:gsub("{{(%w+)}}", parts)
end

-- --- zsh --------------------------------------------------------------------------------------------

-- Between single quotes; what _arguments would read as its own is escaped.
local function zsh_text(text)
  return (text:gsub("'", "'\\''"):gsub("[%[%]:]", "\\%0"))
end

local ZSH = [=[

_sluice_settings() {
  local -a keys=({{settings}})
  compadd -S '' -a keys
}

_sluice() {
  local curcontext="$curcontext" state
  local -a commands=(
{{list}}
  )
  _arguments -C '--help[Shows help.]' '--version[Shows the version.]' '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $words[1] in
{{commands}}
        help) _describe command commands ;;
      esac
      ;;
  esac
}

_sluice "$@"
]=]

local ZSH_ACTIONS = { file = "_files", folder = "_files -/", setting = "_sluice_settings", text = " " }

function completion.zsh()
  local list, sections = {}, {}
  for _, command in ipairs(commands()) do
    list[#list + 1] = ("    '%s:%s'"):format(command.name, zsh_text(command.summary))
    local lines = {}
    for _, flag in ipairs(command.flags) do
      local what = takes(flag)
      local action = type(what) == "table" and "(" .. table.concat(what, " ") .. ")" or ZSH_ACTIONS[what]
      lines[#lines + 1] = ("'%s--%s%s[%s]%s'"):format(flag.many and "*" or "", flag.name, flag.value and "=" or "", zsh_text(flag.description),
        flag.value and (":%s:%s"):format(zsh_text(flag.value), action) or "")
    end
    lines[#lines + 1] = "'--help[Shows help.]'"
    for i, argument in ipairs(command.arguments) do
      lines[#lines + 1] = ("'%d:%s%s:%s'"):format(i, argument.optional and ":" or "", argument.name, argument.name == "DIR" and "_files -/" or " ")
    end
    sections[#sections + 1] = ("        %s)\n          _arguments %s\n          ;;"):format(command.name, table.concat(lines, " \\\n            "))
  end
  local parts = { list = table.concat(list, "\n"), commands = table.concat(sections, "\n"), settings = table.concat(settings(), " ") }
  return "#compdef sluice\n" .. NOTE .. ZSH:gsub("{{(%w+)}}", parts)
end

-- --- fish -------------------------------------------------------------------------------------------

local function fish_text(text)
  return "'" .. text:gsub("[\\']", "\\%0") .. "'"
end

function completion.fish()
  local out = { NOTE .. "complete -c sluice -f", "complete -c sluice -n __fish_use_subcommand -l help -d 'Shows help.'",
    "complete -c sluice -n __fish_use_subcommand -l version -d 'Shows the version.'" }
  local names = {}
  for _, command in ipairs(commands()) do
    names[#names + 1] = command.name
    out[#out + 1] = ("complete -c sluice -n __fish_use_subcommand -a %s -d %s"):format(command.name, fish_text(command.summary))
    local seen = ("complete -c sluice -n '__fish_seen_subcommand_from %s'"):format(command.name)
    for _, flag in ipairs(command.flags) do
      local what = takes(flag)
      local action = what == "file" and " -r -F" or what == "folder" and " -x -a '(__fish_complete_directories)'"
        or what == "setting" and " -x -a " .. fish_text(table.concat(settings(), " "))
        or type(what) == "table" and " -x -a " .. fish_text(table.concat(what, " ")) or what and " -x" or ""
      out[#out + 1] = ("%s -l %s%s -d %s"):format(seen, flag.name, action, fish_text(flag.description))
    end
    out[#out + 1] = seen .. " -l help -d 'Shows help.'"
    if takes_arguments(command) == "folder" then out[#out + 1] = seen .. " -a '(__fish_complete_directories)'" end
  end
  out[#out + 1] = "complete -c sluice -n __fish_use_subcommand -a help -d 'Shows the help of a command.'"
  out[#out + 1] = ("complete -c sluice -n '__fish_seen_subcommand_from help' -a '%s'"):format(table.concat(names, " "))
  return table.concat(out, "\n") .. "\n"
end

return completion
