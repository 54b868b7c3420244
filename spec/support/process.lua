-- SPDX-License-Identifier: MIT
-- Child processes: started with their output in files, signalled, waited for with a deadline, and never left behind.
-- A child inherits no descriptor of the spec (a copy of a client's socket would keep it from ever being closed) and dies with it.
local lfs = require("lfs")
local socket = require("socket")

local process = {}

local TICKS = 100 -- of /proc/<pid>/stat a second

local Process = {}
Process.__index = Process

-- Everything started and every directory made since the last cleanup.
local started = {}
local directories = {}

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end
process.quote = quote

function process.read_file(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local text = file:read("a")
  file:close()
  return text
end

function process.write_file(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

-- All files below a folder, by path from it, sorted.
function process.files(folder, prefix, list)
  list, prefix = list or {}, prefix or ""
  for name in lfs.dir(folder) do
    if name ~= "." and name ~= ".." then
      local path = folder .. "/" .. name
      if lfs.attributes(path, "mode") == "directory" then
        process.files(path, prefix .. name .. "/", list)
      else
        list[#list + 1] = prefix .. name
      end
    end
  end
  table.sort(list)
  return list
end

-- Makes a new empty directory that cleanup removes.
function process.temp_dir()
  local pipe = assert(io.popen("mktemp -d /tmp/sluice-spec.XXXXXX"))
  local path = pipe:read("l")
  pipe:close()
  assert(path and path:match("^/tmp/sluice%-spec%."), "mktemp gave no directory")
  directories[#directories + 1] = path
  return path
end

-- Fails with what to install where `command` is not on the path.
function process.need(command, package)
  if not os.execute("command -v " .. quote(command) .. " >/dev/null 2>&1") then
    error(("%s is missing: install it with `apt-get install %s`, or run `make deps`"):format(command, package), 2)
  end
end

-- Closes what was inherited, says its pid, then becomes the command; the kernel ends it should this process die.
local LAUNCH = [[
for f in /proc/$$/fd/*; do n=${f##*/}; if [ "$n" -gt 2 ]; then eval "exec $n>&-"; fi; done
echo $$
cd "$1" || exit 127
exec >"$2" 2>"$3" <"$4"
[ -z "$5" ] || ulimit -n "$5" || exit 127
shift 5
exec setpriv --pdeathsig KILL -- env -u LD_PRELOAD "$@"
]]

-- Starts a command: `argv` a list of words, `options` { env = {NAME = value}, cwd, stdin = path, preload = library, files = limit of open files,
-- stubborn = true for a program that is to be killed in the end, not asked }.
-- Returns an object with pid, and the paths `stdout` and `stderr` of files that take what it prints.
function process.spawn(argv, options)
  options = options or {}
  local dir = process.temp_dir()
  local self = setmetatable({ stdout = dir .. "/stdout", stderr = dir .. "/stderr", dir = dir, name = argv[1] }, Process)
  local words = { "exec bash -c", quote(LAUNCH), "launch", quote(options.cwd or lfs.currentdir()), quote(self.stdout),
    quote(self.stderr), quote(options.stdin or "/dev/null"), quote(options.files or "") }
  for name, value in pairs(options.env or {}) do
    words[#words + 1] = quote(name .. "=" .. value)
  end
  if options.preload and options.preload ~= "" then
    words[#words + 1] = quote("LD_PRELOAD=" .. options.preload)
  end
  for _, word in ipairs(argv) do
    words[#words + 1] = quote(word)
  end
  self.pipe = assert(io.popen(table.concat(words, " "), "r"))
  self.pid = math.tointeger(tonumber(self.pipe:read("l")))
  assert(self.pid, "the child did not say its pid")
  self.stubborn = options.stubborn
  started[#started + 1] = self
  return self
end

-- The state letter of /proc/<pid>/stat; nil once it is gone.
local function state_of(pid)
  local stat = process.read_file("/proc/" .. pid .. "/stat")
  return stat and stat:match("%) (%a)")
end

function Process:is_running()
  if self.ended then
    return false
  end
  local state = state_of(self.pid)
  return state ~= nil and state ~= "Z" and state ~= "X"
end

function Process:output()
  return process.read_file(self.stdout) or ""
end

function Process:errors()
  return process.read_file(self.stderr) or ""
end

-- Sends a signal by name ("TERM"). Returns false where the process had ended.
function Process:signal(name)
  if not self:is_running() then
    return false
  end
  self.signalled = true
  return os.execute(("kill -%s %d 2>/dev/null"):format(name, self.pid)) == true
end

-- Waits for the end. Returns the exit status, or nil and the number of the signal that ended it; raises after `timeout` seconds.
function Process:wait(timeout)
  local deadline = socket.gettime() + timeout
  while self:is_running() do
    if socket.gettime() > deadline then
      error(("%s (pid %d) was still running after %.1f s\n%s"):format(self.name, self.pid, timeout, self:errors()), 2)
    end
    socket.select(nil, nil, 0.005)
  end
  if not self.ended then
    local _, kind, code = self.pipe:close()
    self.ended = { kind = kind, code = code }
  end
  if self.ended.kind == "exit" then
    return self.ended.code
  end
  return nil, self.ended.code
end

-- Ends it at once, whatever it is doing.
function Process:kill()
  if self.ended then
    return
  end
  self:signal("KILL")
  self:wait(10)
end

-- How much memory it has resident, in bytes.
function Process:resident()
  return tonumber(process.read_file("/proc/" .. self.pid .. "/status"):match("\nVmRSS:%s+(%d+) kB")) * 1024
end

-- The seconds of CPU time that it has used, in user code and in the system.
function Process:cpu()
  local user, system = process.read_file("/proc/" .. self.pid .. "/stat"):match("%) %a" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
  return (tonumber(user) + tonumber(system)) / TICKS
end

-- How many files it has open.
function Process:files()
  local count = -2 -- "." and ".."
  for _ in lfs.dir("/proc/" .. self.pid .. "/fd") do
    count = count + 1
  end
  return count
end

-- Runs a command to its end. Returns exit status, standard output, standard error.
function process.run(argv, options)
  local child = process.spawn(argv, options)
  local status, signal = child:wait(options and options.timeout or 30)
  return status or -signal, child:output(), child:errors()
end

-- Ends everything that was started: asks first (twice, which ends a server at once), kills what does not listen. Removes all directories. Returns a list of
-- complaints: children that crashed, had to be killed, or left a sanitizer's report.
function process.cleanup()
  local complaints = {}
  for _, child in ipairs(started) do
    if child:is_running() and not child.stubborn then
      child:signal("TERM")
      child:signal("TERM")
    end
  end
  for _, child in ipairs(started) do
    local ok = child.stubborn or pcall(child.wait, child, 5)
    if not ok then
      complaints[#complaints + 1] = child.name .. " did not end when told to:\n" .. child:errors()
    end
    child:kill()
    if child.ended.kind == "signal" and not child.signalled then
      complaints[#complaints + 1] = ("%s was ended by signal %d:\n%s"):format(child.name, child.ended.code, child:errors())
    end
    local errors = child:errors()
    local finding = errors:match("[^\n]*ERROR: %w+Sanitizer.*") or errors:match("[^\n]*WARNING: ThreadSanitizer.*")
      or errors:match("[^\n]*runtime error: .*")
    if finding then
      complaints[#complaints + 1] = child.name .. ": a sanitizer reports:\n" .. finding:sub(1, 6000)
    end
  end
  started = {}
  for from = 1, #directories, 100 do -- not one command for each
    local list = {}
    for index = from, math.min(from + 99, #directories) do list[#list + 1] = quote(directories[index]) end
    os.execute("rm -rf " .. table.concat(list, " "))
  end
  directories = {}
  return complaints
end

return process
