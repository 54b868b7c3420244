-- SPDX-License-Identifier: MIT
-- Commands that run side by side: started from one program, their output kept in files, each told when it has ended. Plain Lua and a shell.
local Jobs = {}
Jobs.__index = Jobs

-- Ends its command when it is itself told to, or when the program that started it is gone. $1: name, $2: output, $3: FIFO; the rest is the command.
local KEEPER = [[name=$1 output=$2 fifo=$3
shift 3
trap 'kill "$child" 2>/dev/null' TERM
"$@" </dev/null >"$output" 2>&1 &
child=$!
wait "$child"
status=$?
echo "$name $status" >"$fifo"
]]

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function run(command)
  local pipe = assert(io.popen(command, "r"))
  local line = pipe:read("l")
  assert(pipe:close(), command)
  return line
end

-- `root` is the folder that all commands run in.
local function new(root)
  local folder = run("mktemp -d")
  run("mkfifo " .. quote(folder .. "/ended"))
  -- Opened for both, so that it is always open and a read waits.
  local ended = assert(io.open(folder .. "/ended", "r+"))
  ended:setvbuf("no")
  return setmetatable({ root = root, folder = folder, ended = ended, under_way = {}, count = 0, last = 0 }, Jobs)
end

-- Starts a command (words) with additional variables; it ends with this program, and after `seconds` at the latest. `finish(lines, how)` is called
-- from a later wait with an iterator of what it has printed, and 0 where it ended well, else a sentence about how it ended.
function Jobs:start(words, env, seconds, finish)
  self.last = self.last + 1
  local name, output = tostring(self.last), self.folder .. "/" .. self.last
  local command = { "cd", quote(self.root), "&& exec setpriv --pdeathsig TERM sh -c", quote(KEEPER), "keeper", name, quote(output),
    quote(self.folder .. "/ended"), "timeout -k 10", tostring(seconds), "env" }
  for variable, value in pairs(env) do
    command[#command + 1] = quote(variable .. "=" .. value)
  end
  for _, word in ipairs(words) do
    command[#command + 1] = quote(word)
  end
  self.under_way[name] = { pipe = assert(io.popen(table.concat(command, " "), "r")), output = output, seconds = seconds, finish = finish }
  self.count = self.count + 1
end

local function how_it_ended(status, seconds)
  if status == 124 or status == 137 then
    return ("did not end within %d seconds"):format(seconds)
  elseif status > 128 then
    return ("ended by signal %d"):format(status - 128)
  end
  return status == 0 and 0 or "exit status " .. status
end

-- Waits until no more than `left` commands (default 0) are under way.
function Jobs:wait(left)
  while self.count > (left or 0) do
    local name, status = self.ended:read("l"):match("^(%d+) (%d+)$")
    local job = self.under_way[name]
    self.under_way[name] = nil
    self.count = self.count - 1
    job.pipe:close()
    local file = assert(io.open(job.output, "r"))
    job.finish(file:lines(), how_it_ended(math.tointeger(tonumber(status)), job.seconds))
    file:close()
    os.remove(job.output)
  end
end

-- No command is under way any more.
function Jobs:close()
  self.ended:close()
  run("rm -rf " .. quote(self.folder))
end

return { new = new }
