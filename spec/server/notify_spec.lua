-- SPDX-License-Identifier: MIT
-- What `sluice serve` tells the service manager that started it: a socket of our own is in the place of systemd's.
local helper = require("spec.helper")
local unix = require("socket.unix")

local function listen()
  local path = helper.process.temp_dir() .. "/notify"
  local sock = assert(unix.dgram())
  assert(sock:bind(path))
  sock:settimeout(helper.TEST_TIMEOUT)
  helper.defer(function() sock:close() end)
  return sock, path
end

-- The next datagram, as a table of its lines.
local function receive(sock)
  local text = assert(sock:receive(4096))
  local lines = {}
  for name, value in text:gmatch("([^\n=]+)=([^\n]*)") do lines[name] = value end
  return lines
end

local function serve(options)
  local sock, path = listen()
  options.env = { NOTIFY_SOCKET = path }
  local server = helper.serve(options)
  local ready = receive(sock)
  return server, sock, ready
end

describe("a service manager", function()
  after_each(helper.cleanup)

  it("is told once that the server is ready, where it listens, and that it leaves", function()
    local server, sock, ready = serve{ config = { drain = 2 } }
    assert.same({ READY = "1", STATUS = ("Listening on port %d, generation 1"):format(server.port) }, ready)
    server:stream("/events?channel=a"):wait_open()
    server:signal("TERM")
    local leaving = receive(sock)
    assert.equal("1", leaving.STOPPING)
    assert.equal("12000000", leaving.EXTEND_TIMEOUT_USEC) -- the drain, and some time to spare
    assert.equal(0, server:wait())
    sock:settimeout(0)
    assert.is_nil(sock:receive(4096))
  end)

  it("is told of a reload by a signal, and of its end, also where the scripts are refused", function()
    local server, sock = serve{ scripts = { ["a.lua"] = 'return { name = "a" }' } }
    local function reload()
      server:signal("HUP")
      local reloading = receive(sock)
      assert.equal("1", reloading.RELOADING)
      local uptime = tonumber(helper.process.read_file("/proc/uptime"):match("^[%d.]+"))
      assert.is_true(math.abs(tonumber(reloading.MONOTONIC_USEC) / 1e6 - uptime) < 5)
      local ready = receive(sock)
      assert.equal("1", ready.READY)
      return ready.STATUS
    end
    assert.equal(("Listening on port %d, generation 2"):format(server.port), reload())
    helper.process.write_file(server.dir .. "/scripts/a.new", "return {")
    assert(os.rename(server.dir .. "/scripts/a.new", server.dir .. "/scripts/a.lua"))
    assert.equal(("Listening on port %d, generation 2; the scripts read last were refused"):format(server.port), reload())
  end)

  it("that is gone costs nothing", function()
    local server = helper.serve{ env = { NOTIFY_SOCKET = "/nowhere/notify" } }
    server:signal("TERM")
    assert.equal(0, server:wait())
  end)

  it("of a host program is not told of servers within it", function()
    local sock, path = listen()
    local status = helper.process.run({ "lua5.4", "-e", [[
      package.path, package.cpath = arg[1], arg[2]
      local server = assert(require("sluice").start{ listen = "127.0.0.1:0", workers = 1, log = { level = "error" } })
      server:stop{ drain = 0 }
    ]], "/dev/null", package.path, package.cpath }, { env = { NOTIFY_SOCKET = path }, preload = os.getenv("SLUICE_PRELOAD") })
    assert.equal(0, status)
    sock:settimeout(0)
    assert.is_nil(sock:receive(4096))
  end)
end)
