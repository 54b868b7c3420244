-- SPDX-License-Identifier: MIT
-- Servers of the build `faults`, whose allocations and socket calls fail when a spec says so. A control file is what both look at: an array of
-- { left, times, error, calls }, one a kind, see spec/c/faults.c.
local helper = require("spec.helper")
local process = require("spec.support.process")

local faults = {}

faults.KINDS = { malloc = 0, lua = 1, accept = 2, send = 3, recv = 4, epoll_ctl = 5, epoll_wait = 6 }
faults.ERRORS = { EINTR = 4, EAGAIN = 11, ENOMEM = 12, ENFILE = 23, EMFILE = 24, ENOSPC = 28, EPIPE = 32, ECONNABORTED = 103, ECONNRESET = 104,
  ENOBUFS = 105, ETIMEDOUT = 110, SHORT = -1 }

local KIND_COUNT = 7
local RECORD = "<i8i8i8i8"
local SANITIZER = "detect_leaks=1:detect_stack_use_after_return=1:exitcode=99:allocator_may_return_null=1"

local Faults = {}
Faults.__index = Faults

-- A control file with nothing armed.
function faults.new()
  local path = process.temp_dir() .. "/faults"
  process.write_file(path, RECORD:pack(0, 0, 0, 0):rep(KIND_COUNT))
  local file = assert(io.open(path, "r+b"))
  file:setvbuf("no") -- what was read before may have changed
  return setmetatable({ path = path, file = file }, Faults)
end

local function offset_of(kind)
  return assert(faults.KINDS[kind], kind) * RECORD:packsize()
end

-- Has the call number `left` of that kind from now on fail, and as many in a row as `times` says.
function Faults:arm(kind, left, error_name, times)
  self.file:seek("set", offset_of(kind))
  self.file:write(("<i8i8i8"):pack(left, times or 1, faults.ERRORS[error_name]))
  self.file:flush()
end

-- Returns how many calls of that kind there have been so far, and how many failures are left.
function Faults:state(kind)
  self.file:seek("set", offset_of(kind))
  local _, times, _, calls = RECORD:unpack(self.file:read(RECORD:packsize()))
  return calls, times
end

-- Nothing fails from now on. Returns whether anything has failed since it was armed so as to fail `times` times.
function Faults:disarm(kind, times)
  self.file:seek("set", offset_of(kind))
  self.file:write(("<i8"):pack(0))
  self.file:flush()
  return select(2, self:state(kind)) < (times or 1)
end

-- Options of helper.launch and helper.serve for a server under this control.
function Faults:options(options)
  local runtime = assert(io.popen("gcc -print-file-name=libasan.so")):read("l")
  options.preload = runtime
  options.env = { SLUICE_BUILD = helper.root .. "/build/faults", SLUICE_FAULTS = self.path, ASAN_OPTIONS = SANITIZER,
    SLUICE_FAULTS_TRACE = os.getenv("SLUICE_FAULTS_TRACE") }
  return options
end

return faults
