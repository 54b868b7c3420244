#!/usr/bin/env lua5.4
-- SPDX-License-Identifier: MIT
-- Tries texts as configurations: what is in the corpus first, then changed ones and ones made from the schema, for some seconds.
--
-- usage: spec/fuzz/fuzz_config.lua SECONDS [FILE]...        FUZZ_SEED repeats a run
--
-- An input is a configuration file, and after a line `---` the words of a command line and variables NAME=VALUE of the environment, one a line. Whatever it is,
-- nothing raises; what is refused is refused in one line that does not tell the JWT_SECRET; what is accepted stays the same when it is read again, and the
-- core's table of it can be made.
package.path = "./lua/?.lua;./lua/?/init.lua;" .. package.path

local args = require("sluice.cli.args")
local config = require("sluice.config")
local options = require("sluice.cli.options")

local SEED = math.tointeger(tonumber(os.getenv("FUZZ_SEED"))) or os.time()
local SECRET = "zq7SECRETzq7"
local INSTRUCTIONS = 2000000 -- a file that runs longer is stopped: it is a program, and may loop
local MOST_BYTES = 4096
local CORE = { cores = function() return 2 end } -- what the configuration asks of sluice.core
local COMMAND = { name = "serve", arguments = {}, flags = options.flags }

local path = os.tmpname()

-- --- running one input ------------------------------------------------------------------------------

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function write(name, text)
  local file = assert(io.open(name, "wb"))
  file:write(text)
  file:close()
end

local function equal(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

-- Gives the text's parts: file, words, variables.
local function split(input)
  local text, rest = input:match("^(.-)\n%-%-%-\n(.*)$")
  local words, variables = {}, {}
  for line in (rest or ""):gmatch("[^\n]+") do
    local name, value = line:match("^([A-Z_]+)=(.*)$")
    if name then variables[name] = value else words[#words + 1] = line end
  end
  return text or input, words, variables
end

-- A word of the command line may be shown as it is: `words` are those that were given.
local function check_refusal(message, words)
  assert(type(message) == "string" and message ~= "", "a refusal without a message")
  assert(not message:find(table.concat(words):find("\r", 1, true) and "\n" or "[\r\n]"), "more than one line: " .. message)
  assert(not message:find(SECRET, 1, true), "a secret is told: " .. message)
end

local function try(input)
  local text, words, variables = split(input)
  if not input:find("JWT_SECRET", 1, true) then variables.JWT_SECRET = SECRET end -- the input may well tell what it says itself
  write(path, text)
  table.insert(words, 1, "--config")
  table.insert(words, 2, path)
  local arguments, given = args.parse(COMMAND, words)
  if not arguments then return check_refusal(given, words) end
  local context = {
    getenv = function(name) return variables[name] end,
    core = function() return CORE end,
  }
  debug.sethook(function() error("the file runs too long") end, "", INSTRUCTIONS)
  local cfg, message = options.resolve(context, given)
  debug.sethook()
  if not cfg then return check_refusal(message, words) end
  local again, why = config.from_table(cfg, CORE.cores)
  assert(again, why)
  assert(equal(cfg, again), "it changes when it is read again")
  assert(config.flatten(cfg)["listen.host"], "no address")
  config.public(cfg)
end

-- --- making inputs ----------------------------------------------------------------------------------

local function pick(list)
  return list[math.random(#list)]
end

local TOKENS = { "{", "}", "=", ",", "\n", "\"", "--set", "--listen", "--workers", "---\n", "return {", "nil", "true", "1e309", "-1", "0x10", "0/0", "1//1",
  "[1]", "\0", "\xff", "setmetatable", "os.getenv(\"JWT_SECRET\")", "error({})", "error(\"a\\nb\")", "JWT_SECRET=x\n", "PORT=", "ALLOWED_ORIGINS=https://a,*",
  "REDIS_URL=redis://:p@h:1\n", "[::1]:0", "https://*.a", "..", "channels", "(\"%s\"):format" }

local VALUES = { "0", "1", "-1", "1.5", "2^53", "1e400", "0/0", "\"\"", "\"x\"", "true", "false", "nil", "{}", "{\"a\"}", "{{}}", "function() end",
  "\"127.0.0.1:0\"",
  "\"[::1]:8080\"", "\"http://a.b:80\"", "{\"HS256\", \"RS256\"}", "{[\"a*\"]={slow=\"conflate\"}}", "{[\"a\"]={messages=0}}", "\"retry\"", "\"debug\"",
  "\"redis://h\"", "{\"10.0.0.1\", \"::1\"}" }

local function random_bytes()
  local bytes = {}
  for index = 1, math.random(6) do
    bytes[index] = string.char(math.random(0, 255))
  end
  return table.concat(bytes)
end

-- A configuration from the schema's keys, some of them with values that fit.
local function make()
  local lines = { "return {" }
  for _ = 1, math.random(5) do
    local key = pick(config.schema).key
    local value = pick(VALUES)
    if math.random(4) == 1 then key = key:sub(1, -2) end
    if key:find("%.") and math.random(2) == 1 then
      lines[#lines + 1] = ("  %s = { %s = %s },"):format(key:match("^%w+"), key:match("%.(.*)$"):gsub("%.", "_"), value)
    else
      lines[#lines + 1] = ("  [%q] = %s,"):format(key, value)
    end
  end
  lines[#lines + 1] = "}"
  if math.random(2) == 1 then
    lines[#lines + 1] = "---"
    for _ = 1, math.random(3) do
      lines[#lines + 1] = math.random(3) == 1 and pick(TOKENS) or ("--set\n%s=%s"):format(pick(config.schema).key, (pick(VALUES):gsub('"', "")))
    end
  end
  return table.concat(lines, "\n")
end

local function change(input, other)
  for _ = 1, math.random(4) do
    local at = math.random(0, #input)
    local to = math.min(#input, at + math.random(0, 8))
    local how = math.random(5)
    if how == 1 then
      input = input:sub(1, at) .. pick(TOKENS) .. input:sub(at + 1)
    elseif how == 2 then
      input = input:sub(1, at) .. input:sub(to + 1)
    elseif how == 3 then
      input = input:sub(1, at) .. random_bytes() .. input:sub(to + 1)
    elseif how == 4 then
      input = input:sub(1, to) .. input:sub(at + 1)
    else
      input = input:sub(1, at) .. other:sub(math.random(0, #other))
    end
  end
  return input:sub(1, MOST_BYTES)
end

-- --- the run ------------------------------------------------------------------------------------------

local function run(input, name)
  local ok, problem = xpcall(try, debug.traceback, input)
  debug.sethook()
  if ok then return end
  os.remove(path)
  if not name then
    name = ("build/fuzz/crash-config-%d"):format(SEED)
    write(name, input)
  end
  io.stderr:write(("fuzz_config: %s (FUZZ_SEED=%d)\n%s\n"):format(name, SEED, problem))
  os.exit(1)
end

math.randomseed(SEED)
local seconds = tonumber(arg[1]) or 0
local corpus = {}
for index = 2, #arg do
  corpus[#corpus + 1] = read(arg[index])
  run(corpus[#corpus], arg[index])
end
assert(#corpus > 0, "no corpus is given")

local deadline = os.time() + seconds
local tried = 0
while os.time() < deadline do
  run(math.random(3) == 1 and make() or change(pick(corpus), pick(corpus)))
  tried = tried + 1
end
os.remove(path)
print(("fuzz_config: %d of the corpus, %d made (FUZZ_SEED=%d)"):format(#corpus, tried, SEED))
