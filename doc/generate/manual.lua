-- SPDX-License-Identifier: MIT
-- The manual page of the command, share/man/sluice.1 (mdoc), from the tables that the command line and the settings are made of. `make doc` writes it.

local cli = require("sluice.cli")
local document = require("sluice.config.document")
local kinds = require("sluice.config.kinds")
local schema = require("sluice.config.schema")

local manual = {}

local WIDTH = 80

local HEAD = [[
.\" SPDX-License-Identifier: MIT
.\" Made by doc/generate/manual.lua: `make doc` writes it anew.
.Dd November 22, 2026
.Dt SLUICE 1
.Os
.Sh NAME
.Nm sluice
.Nd Server-Sent Events server that is programmed in Lua
.Sh SYNOPSIS
{{synopsis}}
.Nm
.Cm help
.Ar COMMAND
.Nm
.Fl -help
.Nm
.Fl -version
.Sh DESCRIPTION
.Nm
serves event streams over HTTP: programs publish messages to channels, and browsers receive them with EventSource, in order and without loss when they
come back after a cut.
What is a decision, such as routes, who may connect or what a message looks like, is a Lua script that is changed while clients stay connected.
.Pp
Flags stand before or after arguments;
.Fl -
ends them.
Standard output holds only what a command yields; the log and errors go to standard error.
.Sh COMMANDS
{{commands}}
.Sh CONFIGURATION
The file that
.Fl -config
names is Lua text that returns a table; relative paths in it are relative to the file.
A key with a dot may be written nested:
.Pp
.Dl return { drain = 30, limits = { connections = 20000 } }
.Pp
What comes later wins: defaults, the file, environment variables, flags.
.Fl -set
sets any key but
.Cm channels ;
a list is written with commas.
Times are seconds, save those of
.Cm stream.retry
and of names that end in
.Cm _ms ,
which are milliseconds; sizes are bytes.
.Nm
.Cm init
writes a file with every key and what it means.
{{settings}}
.Sh ENVIRONMENT
.Bl -tag -width Ds
{{environment}}
.It Ev NOTIFY_SOCKET
Where
.Nm
.Cm serve
says that it is ready, reloads and leaves, as
.Fn sd_notify
of systemd describes it.
Set for services of
.Cm Type=notify .
.El
.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/sluice/sluice.conf.lua
The configuration that the unit for systemd runs.
.It Pa /etc/sluice/environment
Environment variables for it.
.El
.Sh SIGNALS
.Bl -tag -width Ds
.It Dv SIGTERM , Dv SIGINT
.Nm
.Cm serve
leaves: it stops listening, ends its streams over the time of the key
.Cm drain ,
and exits with 0 as soon as none is left.
A second one ends it at once.
.It Dv SIGHUP
Reads the scripts anew.
Where they are wrong, those in force stay.
So does a change of a file in the scripts folder.
.El
.Sh EXIT STATUS
.Bl -tag -width Ds
.It 0
Done.
.It 1
Failed; a line on standard error says why.
.It 2
Wrong use: an unknown command or flag, a missing argument.
.It 128 + signal
.Nm
.Cm serve
was ended by a second signal.
.El
.Sh EXAMPLES
Serve with the default policy, follow a channel, and publish to it:
.Bd -literal -offset indent
$ sluice serve
$ sluice listen 'http://127.0.0.1:8080/events?channel=news'
$ sluice publish http://127.0.0.1:8080 news 'Hello'
.Ed
.Pp
Start from the default policy:
.Bd -literal -offset indent
$ sluice init chat
$ sluice check --config chat/sluice.conf.lua
$ sluice serve --config chat/sluice.conf.lua
.Ed
]]

-- Text as mdoc takes it in a text line: what is code between backticks becomes bold.
local function text_line(text)
  text = text:gsub("\\", "\\e"):gsub("`([^`]*)`", "\\fB%1\\fR"):gsub("%-%-", "\\-\\-")
  return (text:gsub("^([.'])", "\\&%1"))
end

-- One sentence a line, as the format likes it.
local function sentences(text)
  return text_line((text:gsub("([%l%)`\"])%. (%u)", "%1.\n%2"))):gsub("\n([.'])", "\n\\&%1")
end

-- An argument of a macro, quoted.
local function word(text)
  text = text:gsub("\\", "\\e"):gsub('"', "\\(dq"):gsub("%-%-", "\\-\\-")
  return '"' .. text .. '"'
end

local function synopsis(command)
  local out = { ".Nm", ".Cm " .. command.name }
  if #command.flags > 0 then out[#out + 1] = ".Op Ar flags" end
  for _, argument in ipairs(command.arguments) do
    out[#out + 1] = (argument.optional and ".Op Ar %s" or ".Ar %s"):format(argument.name)
  end
  return table.concat(out, "\n")
end

local function notes(text)
  local out, literal = {}, false
  for line in text:gmatch("[^\n]+") do
    local example = line:match("^Example: (.*)$") or line:match("^  (.*)$")
    if example and not literal then out[#out + 1] = ".Bd -literal -offset indent" end
    if literal and not example then out[#out + 1] = ".Ed" end
    if not literal and not example and #out == 0 then out[#out + 1] = ".Pp" end
    literal = example ~= nil
    out[#out + 1] = literal and (example:gsub("\\", "\\e"):gsub("^([.'])", "\\&%1")) or sentences(line)
  end
  if literal then out[#out + 1] = ".Ed" end
  return table.concat(out, "\n")
end

local function command_section(command)
  local out = { ".Ss sluice " .. command.name, sentences(command.summary), ".Bl -tag -width Ds" }
  for _, flag in ipairs(command.flags) do
    out[#out + 1] = (".It Fl -%s%s"):format(flag.name, flag.value and " Ar " .. flag.value or "")
    out[#out + 1] = sentences(flag.description .. (flag.many and " May be repeated." or ""))
  end
  out[#out + 1] = ".It Fl -help\nShows this command's help.\n.El"
  if type(command.notes) == "string" then out[#out + 1] = notes(command.notes) end
  return table.concat(out, "\n")
end

local function settings()
  local out = { ".Bl -tag -width Ds" }
  for _, row in ipairs(schema.rows) do
    out[#out + 1] = ".It Cm " .. row.key
    out[#out + 1] = sentences(row.description)
    out[#out + 1] = sentences(("Takes %s."):format(kinds.expected(row)))
    out[#out + 1] = ".Pq default: No " .. word(document.default_text(row):gsub("`", ""))
  end
  out[#out + 1] = ".El"
  return table.concat(out, "\n")
end

local function environment()
  local out = {}
  for _, row in ipairs(schema.rows) do
    if row.env then
      out[#out + 1] = (".It Ev %s\nSets\n.Cm %s%s"):format(row.env, row.key, row.key == "listen" and " :\nonly its port." or " .")
    end
  end
  return table.concat(out, "\n")
end

-- Breaks text lines where they are long; not those of literal blocks.
local function wrap(page)
  local out, literal = {}, false
  for line in page:gmatch("([^\n]*)\n") do
    if line:find("^%.Bd %-literal") or line == ".Ed" then literal = line ~= ".Ed" end
    local at = line
    while not literal and #at > WIDTH and not at:find("^%.") do
      local head = at:sub(1, WIDTH + 1):match("^(.*%S) ")
      if not head then break end
      out[#out + 1] = head
      at = at:sub(#head + 2):gsub("^([.'])", "\\&%1")
    end
    out[#out + 1] = at
  end
  return table.concat(out, "\n") .. "\n"
end

-- Returns the page.
function manual.page()
  local list = {}
  for i, name in ipairs(cli.COMMANDS) do list[i] = require("sluice.cli." .. name) end
  local function each(make)
    local parts = {}
    for i, command in ipairs(list) do parts[i] = make(command) end
    return table.concat(parts, "\n")
  end
  local parts = { synopsis = each(synopsis), commands = each(command_section), settings = settings(), environment = environment() }
  return wrap((HEAD:gsub("{{(%w+)}}", parts)))
end

return manual
