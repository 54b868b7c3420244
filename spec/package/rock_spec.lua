-- SPDX-License-Identifier: MIT
-- The rocks that cmake/rock.sh builds: the tree that `luarocks make` installed, the binary rock packed from it, and the source rock.
-- LuaRocks is Debian's, the interpreter the stock lua5.4, and nothing here uses a network.
local helper = require("spec.helper")
local lfs = require("lfs")
local process = helper.process

local ROCKS = helper.root .. "/build/rock"
local TREE = ROCKS .. "/tree"
local VERSION = require("sluice.version")

-- What an installed tree must be found without.
local CLEAN = { LUA_PATH = ";;", LUA_CPATH = ";;", SLUICE_BUILD = "/nowhere" }

local function luarocks(tree, ...)
  process.need("luarocks", "luarocks")
  return process.run({ "luarocks", "--lua-version", "5.4", "--tree", tree, ... },
    { env = { LUAROCKS_CONFIG = ROCKS .. "/config.lua", HOME = tree }, cwd = "/", timeout = 60 })
end

-- Runs Lua text in the plain interpreter, from the root folder, with the tree on its path. Raises what it says on standard error.
local function run_lua(tree, text)
  local env = { LUA_PATH = ("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua"):format(tree, tree), LUA_CPATH = tree .. "/lib/lua/5.4/?.so" }
  local status, out, err = process.run({ "lua5.4", "-e", text }, { env = env, cwd = "/" })
  assert.equal("", err)
  assert.equal(0, status)
  return out
end

-- Once for all of this file, and at once where nothing has changed since.
setup(function()
  local status, out, err = process.run({ "cmake/rock.sh" }, { timeout = 280 })
  assert.equal(0, status, out .. err)
end)

describe("the rock", function()
  after_each(helper.cleanup)

  it("has the version that the library has, in its name and in its source", function()
    local path = ("rockspec/sluice-%s-1.rockspec"):format(VERSION)
    local spec = {}
    assert(loadfile(path, "t", spec), "there is no rockspec of this version")()
    assert.equal(VERSION .. "-1", spec.version)
    assert.equal(("file://sluice-%s.tar.gz"):format(VERSION), spec.source.url)
    assert.equal("sluice-" .. VERSION, spec.source.dir)
    local cache = process.read_file("build.luarocks/CMakeCache.txt")
    assert.equal(VERSION, cache:match("\nCMAKE_PROJECT_VERSION:STATIC=([^\n]*)"))
  end)

  it("differs between versions in version and source alone", function()
    local scm, released = {}, {}
    assert(loadfile("rockspec/sluice-scm-1.rockspec", "t", scm))()
    assert(loadfile(("rockspec/sluice-%s-1.rockspec"):format(VERSION), "t", released))()
    scm.version, scm.source, released.version, released.source = nil, nil, nil, nil
    assert.same(scm, released)
  end)

  it("runs as a command from any folder, as one process, without a path to set", function()
    local child = process.spawn({ TREE .. "/bin/sluice", "serve", "--listen", "127.0.0.1:0" }, { env = CLEAN, cwd = "/" })
    local port = helper.eventually(function()
      assert(child:is_running(), child:errors())
      return tonumber(child:output():match("sluice: listening on http://127%.0%.0%.1:(%d+)\n"))
    end)
    assert.equal(200, helper.http.request(port, "GET", "/health").status)
    local maps = process.read_file("/proc/" .. child.pid .. "/maps")
    assert.truthy(maps:find(TREE .. "/lib/lua/5.4/sluice/core.so", 1, true))
    child:signal("TERM")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
  end)

  it("is a library of the plain interpreter", function()
    assert.equal(VERSION .. "\n", run_lua(TREE, 'print(require("sluice").version)'))
  end)

  it("is a library inside another program's coroutine", function()
    assert.equal("one of 0\ntrue\n", run_lua(TREE, [[
      local work = coroutine.wrap(function()
        local sluice = require "sluice"
        local server = assert(sluice.start{ listen = "127.0.0.1:0", workers = 1, log = { level = "error" } })
        coroutine.yield()
        local id, subscribers = server:publish("news", "one")
        assert(id:find("^%d+%-%d+$"))
        print("one of " .. subscribers)
        coroutine.yield()
        print(server:stop{ drain = 0 } == 0)
      end)
      work() work() work()
    ]]))
  end)

  it("does not say where it was built", function()
    for _, path in ipairs(process.files(TREE)) do
      local text = process.read_file(TREE .. "/" .. path)
      -- What LuaRocks itself writes, the command's wrapper, holds the tree's own path.
      if path ~= "bin/sluice" then
        assert.is_nil(text:find(helper.root, 1, true), path)
      end
    end
  end)

  it("is packed, installed into an empty tree, and removed without a trace", function()
    local tree = process.temp_dir()
    local status, out, err = luarocks(tree, "install", ROCKS .. "/sluice-scm-1.linux-x86_64.rock")
    assert.equal(0, status, out .. err)
    local server = process.spawn({ tree .. "/bin/sluice", "serve", "--listen", "127.0.0.1:0" }, { env = CLEAN, cwd = "/" })
    helper.eventually(function()
      assert(server:is_running(), server:errors())
      return server:output():find("listening", 1, true)
    end)
    assert.equal(VERSION .. "\n", run_lua(tree, 'print(require("sluice").version)'))
    assert.truthy(process.read_file(tree .. "/lib/luarocks/rocks-5.4/sluice/scm-1/doc/policy.md"))
    status, out, err = luarocks(tree, "remove", "sluice")
    assert.equal(0, status, out .. err)
    assert.same({ "lib/luarocks/rocks-5.4/manifest" }, process.files(tree)) -- LuaRocks' own list of what is there
  end)

  it("says by name which library is missing, and which package has it", function()
    local tree = process.temp_dir()
    for name in pairs({ libuv = "uv", zlib = "z", libjwt = "jwt", OpenSSL = "crypto" }) do
      local config = ("%s/%s.lua"):format(tree, name)
      local scm, key = {}, nil
      assert(loadfile("rockspec/sluice-scm-1.rockspec", "t", scm))()
      for each in pairs(scm.external_dependencies) do
        key = each:find("^" .. name) and each or key
      end
      assert.truthy(key:find("%(Debian: [%w.-]+, Alpine: [%w.-]+%)$"), key)
      process.write_file(config, process.read_file(ROCKS .. "/config.lua") .. ('variables = { ["%s_DIR"] = "/nowhere" }\n'):format(key))
      local status, out, err = process.run({ "luarocks", "--lua-version", "5.4", "--tree", tree, "make", "rockspec/sluice-scm-1.rockspec" },
        { env = { LUAROCKS_CONFIG = config, HOME = tree } })
      assert.not_equal(0, status)
      assert.truthy((out .. err):find("Could not find header file for " .. key, 1, true), out .. err)
    end
  end)

  it("has a source rock that holds what is needed to build it", function()
    local dir = process.temp_dir()
    local rock = ("%s/sluice-%s-1.src.rock"):format(ROCKS, VERSION)
    assert.equal(0, (process.run({ "cmake", "-E", "tar", "xf", rock }, { cwd = dir })))
    assert.same({ ("sluice-%s-1.rockspec"):format(VERSION), ("sluice-%s.tar.gz"):format(VERSION) }, process.files(dir))
    assert.equal(0, (process.run({ "tar", "xzf", ("sluice-%s.tar.gz"):format(VERSION) }, { cwd = dir })))
    local source = dir .. "/sluice-" .. VERSION
    for _, path in ipairs({ "CMakeLists.txt", "LICENSE", "core/server.c", "lua/sluice/init.lua", "scripts/routes.lua", "spec/run" }) do
      assert.equal(process.read_file(path), process.read_file(source .. "/" .. path), path)
    end
    assert.is_nil(lfs.attributes(source .. "/build"))
    assert.is_nil(lfs.attributes(source .. "/.git"))
  end)
end)

describe("CMake", function()
  after_each(helper.cleanup)

  it("names at once all that is missing, with the packages that have it", function()
    local dir = process.temp_dir()
    local status, _, err = process.run({ "cmake", "-S", helper.root, "-B", dir, "-DLLHTTP_SOURCE_DIR=", "-DLLHTTP_INCLUDE_DIR=" },
      { env = { PKG_CONFIG_LIBDIR = dir, PKG_CONFIG_PATH = "" } })
    assert.not_equal(0, status)
    for _, line in ipairs({ "the headers of Lua 5.4", "libuv ", "zlib", "OpenSSL's libcrypto", "libjwt 1.x", "llhttp" }) do
      assert.truthy(err:find("\n +" .. line:gsub("%p", "%%%0") .. "[^\n]*%(Debian: [%w.-]+, Alpine: [%w.-]+%)\n"), line .. " in " .. err)
    end
  end)
end)

-- A part of all specs, on what LuaRocks installed; `make test-rock` runs the rest too.
describe("the installed rock passes", function()
  after_each(helper.cleanup)

  for _, path in ipairs({ "spec/unit/http_spec.lua", "spec/wire/sse_spec.lua", "spec/server/host_spec.lua", "spec/server/guarantees_resume_spec.lua" }) do
    it(path, function()
      local status, out = process.run({ "sh", "-c", 'exec lua5.4 "$(command -v busted)" --output=spec/support/tap.lua "$1"', "sh", path },
        { env = { SLUICE_INSTALLED = TREE, SLUICE_BUILD = "/nowhere" }, timeout = 120 })
      assert.equal(0, status, out)
      assert.truthy(out:find("\nok 1 ", 1, true) or out:find("^ok 1 "), out)
    end)
  end
end)
