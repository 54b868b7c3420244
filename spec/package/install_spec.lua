-- SPDX-License-Identifier: MIT
-- `cmake --install`: what goes where, below DESTDIR and a prefix; that the installed command runs; the manual page, the completions, the unit for systemd; and
-- that nothing is left when it is removed.
local completion = require("doc.generate.completion")
local helper = require("spec.helper")
local lfs = require("lfs")
local manual = require("doc.generate.manual")
local process = helper.process

local BUILD = os.getenv("SLUICE_BUILD") or "build/release"
-- One component gets a manifest of its own, so that a user's `make uninstall` still finds the last `make install`.
local MANIFEST = BUILD .. "/install_manifest_Unspecified.txt"

local function run(argv, options)
  local status, out, err = process.run(argv, options)
  assert.equal(0, status, out .. err)
  return out, err
end

local function install(destination, prefix)
  run({ "cmake", "--install", BUILD, "--prefix", prefix, "--component", "Unspecified" }, { env = { DESTDIR = destination } })
  return destination .. prefix
end

describe("cmake --install", function()
  after_each(helper.cleanup)

  it("puts everything below DESTDIR and the prefix, where stock programs look", function()
    local destination = process.temp_dir()
    install(destination, "/usr")
    local seen = {}
    for _, path in ipairs(process.files(destination)) do seen[path] = true end
    for _, path in ipairs({ "usr/bin/sluice", "usr/lib/lua/5.4/sluice/core.so", "usr/share/lua/5.4/sluice/init.lua",
      "usr/share/lua/5.4/sluice/scripts/routes.lua", "usr/share/man/man1/sluice.1", "usr/share/bash-completion/completions/sluice",
      "usr/share/zsh/site-functions/_sluice", "usr/share/fish/vendor_completions.d/sluice.fish", "usr/lib/systemd/system/sluice.service" }) do
      assert.is_true(seen[path], path)
    end
    for from, to in pairs({ ["lua/sluice"] = "", scripts = "scripts/" }) do
      for _, path in ipairs(process.files(from)) do
        assert.is_true(seen["usr/share/lua/5.4/sluice/" .. to .. path], path)
      end
    end
    for path in pairs(seen) do
      assert.truthy(path:find("^usr/.*sluice"), path)
    end
    -- The folders that pkg-config knows of Lua, and those that the interpreter has.
    local modules = run({ "pkg-config", "--define-variable=prefix=/usr", "--variable=INSTALL_LMOD", "lua5.4" })
    assert.equal("/usr/share/lua/5.4\n", modules)
    local paths = run({ "lua5.4", "-e", "io.write(package.path, ';', package.cpath)" }, { env = { LUA_PATH = ";;", LUA_CPATH = ";;" } })
    for _, pattern in ipairs({ "/usr/share/lua/5.4/?.lua", "/usr/lib/lua/5.4/?.so", "/usr/local/share/lua/5.4/?.lua", "/usr/local/lib/lua/5.4/?.so" }) do
      assert.truthy(paths:find(pattern, 1, true), pattern)
    end
  end)

  it("leaves no path of where it was built, or of DESTDIR, in any file", function()
    local destination = process.temp_dir()
    install(destination, "/usr")
    for _, path in ipairs(process.files(destination)) do
      local text = process.read_file(destination .. "/" .. path)
      assert.is_nil(text:find(helper.root, 1, true), path)
      assert.is_nil(text:find(destination, 1, true), path)
    end
    local dynamic = run({ "readelf", "-d", destination .. "/usr/lib/lua/5.4/sluice/core.so" })
    assert.is_nil(dynamic:find("RUNPATH", 1, true) or dynamic:find("RPATH", 1, true))
    assert.truthy(process.read_file(destination .. "/usr/lib/systemd/system/sluice.service"):find("\nExecStart=/usr/bin/sluice serve ", 1, true))
  end)

  it("gives a command that runs below any prefix", function()
    local prefix = install("", process.temp_dir() .. "/it's here")
    local child = process.spawn({ prefix .. "/bin/sluice", "serve", "--listen", "127.0.0.1:0" },
      { env = { LUA_PATH = ";;", LUA_CPATH = ";;", SLUICE_BUILD = "/nowhere" }, cwd = "/" })
    local port = helper.eventually(function()
      assert(child:is_running(), child:errors())
      return tonumber(child:output():match("http://127%.0%.0%.1:(%d+)\n"))
    end)
    assert.equal(200, helper.http.request(port, "GET", "/health").status)
    child:signal("TERM")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
  end)

  it("is undone by cmake/uninstall.cmake, which leaves what is not Sluice's", function()
    local destination = process.temp_dir()
    install(destination, "/usr/local")
    process.write_file(destination .. "/usr/local/share/lua/5.4/other.lua", "")
    process.write_file(destination .. "/usr/local/share/lua/5.4/sluice/scripts/mine.lua", "")
    local command = { "cmake", "-D", "MANIFEST=" .. MANIFEST, "-P", "cmake/uninstall.cmake" }
    run(command, { env = { DESTDIR = destination } })
    assert.same({ "usr/local/share/lua/5.4/other.lua", "usr/local/share/lua/5.4/sluice/scripts/mine.lua" }, process.files(destination))
    assert(os.remove(destination .. "/usr/local/share/lua/5.4/sluice/scripts/mine.lua"))
    run(command, { env = { DESTDIR = destination } })
    assert.is_nil(lfs.attributes(destination .. "/usr/local/share/lua/5.4/sluice"))
    assert.is_nil(lfs.attributes(destination .. "/usr/local/lib/lua/5.4/sluice"))
    assert.truthy(lfs.attributes(destination .. "/usr/local/share/lua/5.4"))
  end)
end)

describe("the manual page", function()
  local PAGE = "share/man/sluice.1"
  after_each(helper.cleanup)

  it("is the one that `make doc` writes", function()
    assert.equal(manual.page(), process.read_file(PAGE), "run `make doc`")
  end)

  it("says every command and flag that --help says", function()
    process.need("mandoc", "mandoc")
    local text = run({ "mandoc", "-T", "utf8", PAGE }):gsub(".\b", "")
    local function help(...)
      return run({ helper.command, ... })
    end
    for command in help("--help"):gmatch("\n  (%l+)") do
      assert.truthy(text:find("\n +sluice " .. command), command)
      if command ~= "help" then
        local section = text:match("\n   sluice " .. command .. "\n(.-)\n ? ? ?%S")
        assert.truthy(section, command)
        for flag in help(command, "--help"):gmatch("\n  (%-%-%S+)") do
          assert.truthy(section:find("\n +" .. flag:gsub("%p", "%%%0") .. "%f[%s\0]"), command .. " " .. flag)
        end
      end
    end
  end)

  it("has no fault that man or mandoc sees", function()
    process.need("mandoc", "mandoc")
    process.need("man", "man-db")
    local out, err = run({ "mandoc", "-T", "lint", "-W", "style", PAGE })
    assert.equal("", out .. err)
    out, err = run({ "man", "--warnings", "--local-file", PAGE }, { env = { MANPAGER = "cat", LC_ALL = "C.UTF-8" } })
    assert.equal("", err)
    assert.truthy(out:find("Server-Sent", 1, true))
  end)
end)

describe("completion", function()
  after_each(helper.cleanup)

  for _, shell in ipairs({ "bash", "zsh", "fish" }) do
    it("for " .. shell .. " is the one that `make doc` writes, and without an error", function()
      local path = "share/completion/sluice." .. shell
      process.need(shell, shell)
      assert.equal(completion[shell](), process.read_file(path), "run `make doc`")
      local _, err = run({ shell, "-n", path })
      assert.equal("", err)
    end)
  end

  -- What bash offers for the last word: words of a line.
  local function offers(...)
    local words = { ... }
    local out, err = run({ "bash", "--norc", "-c", [[
      compopt() { :; } # only a completion under way has options
      source share/completion/sluice.bash
      COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
      _sluice
      printf '%s\n' "${COMPREPLY[@]}"
    ]], "bash", "sluice", table.unpack(words) })
    assert.equal("", err)
    local list = {}
    for line in out:gmatch("[^\n]+") do list[#list + 1] = line end
    table.sort(list)
    return list
  end

  it("in bash offers commands, flags, settings, files and folders", function()
    assert.same({ "publish" }, offers("p"))
    assert.same({ "--version" }, offers("--v"))
    assert.same({ "--scripts", "--set" }, offers("serve", "--s"))
    assert.same({ "--count" }, offers("listen", "http://127.0.0.1:8080/events", "--co"))
    assert.same({ "--json" }, offers("listen", "--count", "3", "--j"))
    assert.same({ "cors.credentials=", "cors.origins=" }, offers("serve", "--set", "cors."))
    assert.same({ "HS256", "HS384", "HS512" }, offers("token", "--algorithm", "HS"))
    assert.same({ "share/completion/sluice.bash" }, offers("serve", "--config", "share/completion/sluice.b"))
    assert.same({ "share/completion" }, offers("serve", "--scripts", "share/comp"))
    assert.same({ "share/completion" }, offers("init", "share/comp"))
    assert.same({ "token" }, offers("help", "to"))
    assert.same({}, offers("publish", "--token", ""))
  end)

  it("in fish offers them too", function()
    local function fish(line)
      local out = run({ "fish", "--no-config", "-c", "source share/completion/sluice.fish; complete -C " .. process.quote(line) },
        { env = { HOME = process.temp_dir() } })
      local list = {}
      for word in out:gmatch("([^\t\n]+)\t[^\n]*\n") do list[#list + 1] = word end
      table.sort(list)
      return list
    end
    assert.same({ "publish" }, fish("sluice p"))
    assert.same({ "--scripts", "--set" }, fish("sluice serve --s"))
    assert.same({ "cors.credentials=", "cors.origins=" }, fish("sluice serve --set cors."))
  end)

  it("in zsh offers them too", function()
    local folder = process.temp_dir()
    process.write_file(folder .. "/_sluice", process.read_file("share/completion/sluice.zsh"))
    for line, wanted in pairs({ ["sluice pu"] = "publish", ["sluice serve --set redis.m"] = "redis.maxlen=" }) do
      assert.equal(wanted .. "\n", (run({ "zsh", "-f", "spec/package/complete.zsh", folder, line, wanted })))
    end
  end)
end)

describe("the unit for systemd", function()
  after_each(helper.cleanup)

  local function unit()
    local prefix = install("", process.temp_dir())
    return prefix .. "/lib/systemd/system/sluice.service"
  end

  it("is right in the eyes of systemd-analyze verify", function()
    process.need("systemd-analyze", "systemd")
    local out, err = run({ "systemd-analyze", "verify", "--man=no", unit() }, { env = { SYSTEMD_LOG_LEVEL = "warning" } })
    assert.equal("", out)
    for line in err:gmatch("[^\n]+") do
      assert.is_nil(line:find("sluice", 1, true), line) -- other units of the machine may have their own faults
    end
  end)

  it("leaves the server little that it could harm", function()
    process.need("systemd-analyze", "systemd")
    local out = run({ "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", unit() })
    local exposure = tonumber(out:match("Overall exposure level for sluice%.service: ([%d.]+)"))
    assert.is_true(exposure <= 1.5, out)
  end)
end)
