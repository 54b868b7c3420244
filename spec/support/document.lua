-- SPDX-License-Identifier: MIT
-- Runs what a document tells its reader to do: its fenced blocks one after the other, in a scratch folder that looks like a clone of the source tree.
--
-- The first word after the fence says the language, the second what kind of it; GitHub shows the first only.
--   sh                 commands, run by bash. Port 8080 is replaced by a free one. A command that serves is started and goes on; so does one that follows a
--                      stream (curl -N, sluice listen without --count or --for). `make serve` serves the quickstart; of other targets make tells what
--                      it would do
--   sh output, json output, text output   must be found in what commands have printed so far, or print soon; numbers stand for any number, … for anything.
--                      JSON on a line of its own is compared by value
--   lua script         a whole policy script; lua members: members of one's table; lua handler: the inside of its `routes` function
--   lua config         a whole configuration file; lua settings: members of one
--   lua spec           is run by busted; lua program: by lua5.4
--   lua rocks          a configuration of LuaRocks: must load
--   js, html           the script's syntax is checked
--   nginx              a whole configuration; nginx server: the inside of a server block
--   json               must be JSON
-- A text that says "save … as `path`" before the block has it written there. <!-- not run: why --> on the line before a fence leaves the block out.
local helper = require("spec.helper")
local json = require("cjson")
local process = helper.process
local sluice = require("sluice")
local socket = require("socket")

local document = {}

local OUTPUT_S = 5
local CLOSED = 20 -- seconds that a stream is followed at most

-- --- reading -------------------------------------------------------------------------------------------

-- Returns the blocks of a text: { line, language, kind, text, save = path or nil, skip = reason or nil }.
function document.blocks(text)
  local blocks, block, before, number = {}, nil, {}, 0
  for line in (text .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    local indent, info = line:match("^(%s*)```(.*)$")
    if block and indent and info == "" then
      block.text = table.concat(block.lines, "\n") .. "\n"
      blocks[#blocks + 1] = block
      block, before = nil, {}
    elseif block then
      block.lines[#block.lines + 1] = line:sub(1, #block.indent) == block.indent and line:sub(#block.indent + 1) or line
    elseif indent then
      local language, kind = info:match("^(%S*)%s*(%S*)")
      local prose = table.concat(before, " ")
      block = {
        line = number, language = language, kind = kind ~= "" and kind or nil, indent = indent, lines = {},
        save = prose:match("[Ss]ave [^`]-`([^`]+)`[^`]*$"),
        skip = (before[#before] or ""):match("^%s*<!%-%- not run: (.-) %-%->%s*$"),
      }
    else
      if line:match("^#") then before = {} end
      if line:match("%S") then before[#before + 1] = line end
    end
  end
  assert(not block, "a block is not closed")
  return blocks
end

-- --- a session --------------------------------------------------------------------------------------------

local Session = {}
Session.__index = Session

-- Functions of the same names stand before the commands. What a stream prints goes to a file of its own.
local PREAMBLE = [[
set -aeu
[ ! -e "$SESSION/env" ] || . "$SESSION/env"
cd "$(cat "$SESSION/cwd")"
follow() {
    local out="$SESSION/stream.$(date +%%s%%N)"
    timeout %d "$@" >"$out" 2>&1 &
    for _ in $(seq 100); do [ -s "$out" ] && break; sleep 0.02; done
}
curl() {
    case " $* " in
    *" -N "*) follow curl -sS "$@" ;;
    *) command curl -sS "$@" ;;
    esac
}
sluice() {
    case " $* " in
    *" --count "*|*" --for "*|*" --help "*) command sluice "$@" ;;
    " listen "*|" tap "*) follow sluice "$@" ;;
    *) command sluice "$@" ;;
    esac
}
bin/sluice() { sluice "$@"; }
make() { command make -n -C "$ROOT" "$@" >/dev/null; }
refuse() { echo "$1 is not for a test: write <!-- not run: why --> before the block" >&2; exit 1; }
sudo() { refuse sudo; }
apt-get() { refuse apt-get; }
luarocks() { refuse luarocks; }
systemctl() { refuse systemctl; }
docker() { refuse docker; }
]]

-- The build that is tested, as an absolute path.
local function build_folder()
  local build = os.getenv("SLUICE_BUILD") or "build/release"
  return build:sub(1, 1) == "/" and build or helper.root .. "/" .. build
end

function document.session()
  local dir = process.temp_dir()
  local self = setmetatable({ dir = dir, printed = {}, servers = {} }, Session)
  -- Bound until a server takes it, so that nobody else does meanwhile.
  self.reservation = assert(socket.tcp4())
  assert(self.reservation:bind("127.0.0.1", 0))
  self.port = math.tointeger(tonumber((select(2, self.reservation:getsockname()))))
  local made = process.run({ "bash", "-ec", [[
    mkdir -p "$1/programs" "$1/clone/build"
    ln -s "$2/bin/sluice" "$1/programs/sluice"
    ln -s "$2/bin" "$2/lua" "$2/scripts" "$1/clone/"
    ln -s "$3" "$1/clone/build/release"
    cp -rL "$2/examples" "$1/clone/"
  ]], "make", dir, helper.root, build_folder() })
  assert(made == 0, "cannot make the scratch folder")
  process.write_file(dir .. "/cwd", dir .. "/clone")
  return self
end

local function environment(self)
  return {
    SESSION = self.dir, ROOT = helper.root, HOME = self.dir .. "/home", SLUICE_BUILD = build_folder(), PATH = self.dir .. "/programs:" .. os.getenv("PATH"),
    LUA_PATH = ("%s/lua/?.lua;%s/lua/?/init.lua;;"):format(helper.root, helper.root), LUA_CPATH = build_folder() .. "/?.so;;", LD_PRELOAD = "",
  }
end

-- Everything that commands have printed so far.
local function printed(self)
  local texts = { table.concat(self.printed, "\n") }
  local pipe = io.popen(("cat %s/stream.* 2>/dev/null"):format(process.quote(self.dir)))
  texts[2] = pipe:read("a")
  pipe:close()
  return (table.concat(texts, "\n"):gsub("\r", ""))
end

local function run_shell(self, text)
  local script = PREAMBLE:format(CLOSED) .. text .. '\nexport -p >"$SESSION/env"; pwd >"$SESSION/cwd"\n'
  local status, out, err = process.run({ "bash", "-c", script }, { env = environment(self) })
  self.printed[#self.printed + 1] = out .. err
  if status ~= 0 then error(("status %d of\n%s\nit printed\n%s%s"):format(status, text, out, err), 0) end
end

-- Starts a server by a command line and waits until it listens.
local function start_server(self, command)
  command = command:gsub("%s*&%s*$", "")
  if command:find("^lua5.4 ") then
    command = command:gsub(" 8080$", " " .. self.port)
  elseif not command:find("--listen", 1, true) then
    command = command .. " --listen 127.0.0.1:" .. self.port
  end
  self.reservation:close()
  local script = '[ ! -e "$SESSION/env" ] || . "$SESSION/env"; cd "$(cat "$SESSION/cwd")"; exec env ' .. command
  local child = process.spawn({ "bash", "-c", script }, { env = environment(self), stubborn = true }) -- its streams are still followed
  self.servers[#self.servers + 1] = child
  helper.eventually(function() return not child:is_running() or child:output():find("listening on", 1, true) end, nil, "the server of: " .. command)
  if not child:is_running() then error(("%s\nended: %s"):format(command, child:errors()), 0) end
  self.served = true
end

local function serves(command)
  return command:find("^make serve") or command:find("^lua5.4 examples/") or command:find("^%S*sluice serve") or command:find("^[%u_]+=%S+ %S*sluice serve")
end

local function serve(self, command)
  for _, child in ipairs(self.servers) do child:kill() end
  local config = command:match("^make serve CONFIG=(%S+)") or command:find("^make serve") and "examples/quickstart/sluice.conf.lua"
  if config then command = "bin/sluice serve --config " .. config end
  start_server(self, command)
end

-- The lines of a block as commands: a line that ends in a backslash goes on.
local function commands_of(text)
  local list, open = {}, nil
  for line in text:gmatch("(.-)\n") do
    open = open and open .. "\n" .. line or line
    if not line:find("\\$") then
      list[#list + 1] = open
      open = nil
    end
  end
  return list
end

local run = {}

function run.sh(self, block)
  local text = block.text:gsub("127%.0%.0%.1:8080", "127.0.0.1:" .. self.port)
  local waiting = {}
  local function flush()
    if #waiting > 0 then run_shell(self, table.concat(waiting, "\n")) end
    waiting = {}
  end
  for _, command in ipairs(commands_of(text)) do
    if serves(command) then
      flush()
      serve(self, (command:gsub("%s+#[^\n]*$", "")))
    else
      if command:find("127.0.0.1:" .. self.port, 1, true) and not self.served then
        serve(self, "make serve")
      end
      waiting[#waiting + 1] = command
    end
  end
  flush()
end

-- A pattern for expected output.
local function pattern_of(text)
  text = text:gsub("%s+$", ""):gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0")
  return (text:gsub("%d+", "%%d+"):gsub("…", ".-"):gsub("[ \t]+\n", "\n"))
end

-- Whether a value is as an example shows it: any number for a number, texts by their patterns, members in whatever order.
local function resembles(value, example)
  if type(value) ~= type(example) then return false end
  if type(example) == "string" then return value:find("^" .. pattern_of(example) .. "$") ~= nil end
  if type(example) ~= "table" then return type(example) == "number" or value == example end
  for key, inner in pairs(example) do
    if not resembles(value[key], inner) then return false end
  end
  for key in pairs(value) do
    if example[key] == nil then return false end
  end
  return true
end

-- A JSON value on a line of its own.
local function shows_json(text, example)
  for line in text:gmatch("[^\n]+") do
    local ok, value = pcall(json.decode, line)
    if ok and resembles(value, example) then return true end
  end
  return false
end

local function check_output(self, block)
  local pattern = pattern_of(block.text)
  local is_json, example = pcall(json.decode, block.text)
  is_json = is_json and type(example) == "table"
  local ok = pcall(helper.eventually, function()
    local text = printed(self)
    return text:find(pattern) or is_json and shows_json(text, example)
  end, OUTPUT_S)
  if not ok then error(("no command has printed this:\n%s\nbut:\n%s"):format(block.text, printed(self):sub(-3000)), 0) end
end

local function write(self, path, text)
  local cwd = process.read_file(self.dir .. "/cwd"):gsub("\n$", "")
  local full = path:sub(1, 1) == "/" and self.dir .. path or path:gsub("^~", self.dir .. "/home")
  if full == path then full = cwd .. "/" .. path end
  assert(os.execute("mkdir -p " .. process.quote(full:match("^(.*)/"))))
  process.write_file(full, text)
  return full
end

-- A script that is saved under a running server's folder comes into force before the document goes on.
local function generation(self)
  local answer = helper.http.request(self.port, "GET", "/health")
  return json.decode(answer.body)
end

local function save(self, block)
  local before = self.served and block.save:find("scripts/", 1, true) and generation(self)
  write(self, block.save, block.text)
  if before then
    helper.eventually(function()
      local now = generation(self)
      if type(now.reload_error) == "table" then error(now.reload_error.message, 0) end
      return now.generation > before.generation
    end, nil, block.save .. " to come into force")
  end
end

local function check_script(text)
  local ok, message = sluice.check({ scripts = { ["block.lua"] = text } })
  if not ok then error(message, 0) end
end

local function check_config(self, text)
  local path = self.dir .. "/block.conf.lua"
  process.write_file(path, text)
  local argv = { self.dir .. "/programs/sluice", "check", "--config", path, "--scripts", helper.root .. "/scripts" }
  local status, _, err = process.run(argv, { env = environment(self) })
  if status ~= 0 then error(err, 0) end
end

local function run_lua(self, words, text)
  local path = write(self, "block_spec.lua", (text:gsub("127%.0%.0%.1:8080", "127.0.0.1:" .. self.port)))
  local argv = { "bash", "-c", 'cd "$(cat "$SESSION/cwd")" && exec "$@"', "run", table.unpack(words) }
  argv[#argv + 1] = path
  local status, out, err = process.run(argv, { env = environment(self), preload = os.getenv("SLUICE_PRELOAD") })
  self.printed[#self.printed + 1] = out .. err
  os.remove(path)
  if status ~= 0 then error(out .. err, 0) end
end

run.lua = {
  script = function(_, block) check_script(block.text) end,
  members = function(_, block) check_script("return {\n" .. block.text .. "\n}") end,
  handler = function(_, block) check_script("return { routes = function(route)\n" .. block.text .. "\nend }") end,
  config = function(self, block) check_config(self, block.text) end,
  settings = function(self, block) check_config(self, "return {\n" .. block.text .. "\n}") end,
  spec = function(self, block) run_lua(self, { "lua5.4", "/usr/bin/busted" }, block.text) end,
  program = function(self, block)
    if block.text:find("127.0.0.1:8080", 1, true) and not self.served then serve(self, "make serve") end
    run_lua(self, { "lua5.4" }, block.text)
  end,
  rocks = function(_, block) assert(load(block.text, "=block", "t", {}))() end,
}

function run.js(self, block)
  process.need("node", "nodejs")
  local path = self.dir .. "/block.mjs"
  process.write_file(path, block.text)
  local status, _, err = process.run({ "node", "--check", path })
  if status ~= 0 then error(err, 0) end
end

function run.html(self, block)
  for script in block.text:gmatch("<script[^>]*>(.-)</script>") do run.js(self, { text = script }) end
end

local NGINX = [[
daemon off; pid nginx.pid; error_log stderr; events {}
http {
  access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  %s
}
]]

local function check_nginx(self, text)
  process.need("nginx", "nginx")
  process.write_file(self.dir .. "/nginx.conf", text)
  local status, _, err = process.run({ "nginx", "-t", "-p", self.dir, "-c", self.dir .. "/nginx.conf" })
  if status ~= 0 then error(err, 0) end
end

run.nginx = {
  config = function(self, block) check_nginx(self, block.text) end,
  http = function(self, block) check_nginx(self, NGINX:format((block.text:gsub("%%", "%%%%")))) end,
  server = function(self, block) check_nginx(self, NGINX:format("server { listen 127.0.0.1:8080;\n" .. block.text:gsub("%%", "%%%%") .. "}")) end,
}

function run.json(_, block)
  local ok, message = pcall(json.decode, block.text)
  if not ok then error(message, 0) end
end

local function kinds_of(language)
  local names = { "output" }
  for name in pairs(type(run[language]) == "table" and run[language] or {}) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

-- What runs a block; or nil and what is wrong with its mark.
local function runner_of(block)
  if block.kind == "output" then return check_output end
  local how = run[block.language]
  if not how then
    return nil, ("```%s: nothing is known of this language; write <!-- not run: why --> before it, or teach spec/support/document.lua"):format(block.language)
  end
  if type(how) ~= "table" then return how end
  if how[block.kind] then return how[block.kind] end
  return nil, ("```%s: say after the language what it is: %s; see spec/support/document.lua"):format(block.language, kinds_of(block.language))
end

-- What is wrong with the mark of a block; nil where nothing is.
function document.problem(block)
  return not block.skip and select(2, runner_of(block)) or nil
end

-- Runs one block. Raises where it is wrong.
function Session:run(block)
  if block.save then
    save(self, block)
    if block.kind == "spec" or block.kind == "program" then return end -- a command runs it later
  end
  assert(runner_of(block))(self, block)
end

return document
