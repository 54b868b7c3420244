-- SPDX-License-Identifier: MIT
-- Dockerfile and compose.yaml, as far as no container is needed: what the Dockerfile runs are targets of the Makefile that work, its parts run here on what
-- `make install` installs, and the files that compose.yaml puts together are right in the eyes of the programs that read them.
local helper = require("spec.helper")
local process = helper.process

local BUILD = os.getenv("SLUICE_BUILD") or "build/release"

local function run(argv, options)
  local status, out, err = process.run(argv, options)
  assert.equal(0, status, out .. err)
  return out, err
end

local function yaml(path)
  return assert(require("lyaml").load(process.read_file(path)))
end

-- The Dockerfile's instructions, in order: { name, text }, continued lines joined.
local function instructions()
  local list = {}
  local text = process.read_file("Dockerfile"):gsub("\\\n%s*", "")
  for line in text:gmatch("[^\n]+") do
    if not line:find("^%s*#") then
      local name, rest = line:match("^(%u+)%s+(.*)$")
      assert.truthy(name, line)
      list[#list + 1] = { name = name, text = rest }
    end
  end
  return list
end

local function last(name)
  local found
  for _, instruction in ipairs(instructions()) do
    if instruction.name == name then found = instruction.text end
  end
  return found
end

describe("the Dockerfile", function()
  after_each(helper.cleanup)

  it("has instructions that there are, in two stages from one slim base", function()
    local known = {}
    for name in ("FROM RUN COPY WORKDIR USER EXPOSE HEALTHCHECK STOPSIGNAL ENTRYPOINT CMD"):gmatch("%u+") do known[name] = true end
    local bases = {}
    for _, instruction in ipairs(instructions()) do
      assert.is_true(known[instruction.name], instruction.name)
      if instruction.name == "FROM" then bases[#bases + 1] = instruction.text end
    end
    assert.same({ "debian:bookworm-slim AS build", "debian:bookworm-slim" }, bases)
  end)

  it("runs nobody's process as root, in the exec form, and looks at its health", function()
    assert.truthy(tonumber(last("USER"):match("^(%d+):%d+$")) > 0)
    assert.same({ "sluice" }, helper.json.decode(last("ENTRYPOINT")))
    assert.same({ "serve", "--config", "/etc/sluice/sluice.conf.lua" }, helper.json.decode(last("CMD")))
    local options, command = last("HEALTHCHECK"):match("^(.-) CMD (.*)$")
    assert.equal("--interval=30s --timeout=3s --retries=3", options)
    assert.same({ "lua5.4", "/usr/local/libexec/sluice/health.lua" }, helper.json.decode(command))
    assert.equal("SIGTERM", last("STOPSIGNAL"))
  end)

  it("copies what there is, and runs targets that there are", function()
    local targets = 0
    for _, instruction in ipairs(instructions()) do
      local text = instruction.text
      if instruction.name == "COPY" and not text:find("^%-%-from") then
        run({ "sh", "-c", "ls -d " .. text:match("^(.*) %S+$") .. " >/dev/null" })
      end
      for arguments in text:gmatch("%f[%w]make ([^&]+)") do
        if instruction.name == "RUN" and not text:find("install%s.*%-y.*%smake") then
          targets = targets + 1
          run({ "sh", "-c", "make --dry-run " .. arguments })
        end
      end
    end
    assert.equal(2, targets)
    run({ "cmake/deps.sh", "run" }) -- says nothing and installs nothing where the rest is built
  end)

  it("keeps no secret and no build of this machine in its context", function()
    local ignored = process.read_file(".dockerignore")
    for _, name in ipairs({ ".git", "build" }) do
      assert.truthy(("\n" .. ignored):find("\n" .. name:gsub("%p", "%%%0") .. "\n"), name)
    end
  end)
end)

describe("the container's health", function()
  after_each(helper.cleanup)

  local function health(port)
    return process.run({ "lua5.4", "share/container/health.lua" },
      { env = { PORT = tostring(port), LUA_PATH = "./lua/?.lua;./lua/?/init.lua", LUA_CPATH = BUILD .. "/?.so" } })
  end

  it("is good while the server serves, also by the configuration of the container, and bad when it is gone", function()
    local port = helper.tcp.free_port()
    local child = process.spawn({ helper.command, "serve", "--config", "share/container/sluice.conf.lua" },
      { env = { PORT = tostring(port), JWT_SECRET = "a secret of the spec, 32 bytes long" } })
    helper.eventually(function()
      assert(child:is_running(), child:errors())
      return child:output():find("http://0.0.0.0:" .. port, 1, true)
    end)
    local status, out = health(port)
    assert.equal(0, status)
    assert.equal("ok", helper.json.decode(out).status)
    child:signal("TERM")
    assert.equal(0, child:wait(helper.TEST_TIMEOUT))
    local after, _, err = health(port)
    assert.equal(1, after)
    assert.truthy(err:find("^health: cannot connect"), err)
  end)

  it("is bad where something else answers, or nothing", function()
    local server = helper.serve{ scripts = { ["health.lua"] = [[
      return { name = "health", routes = function(route) route:get("/health", function() return 503, "{}" end) end }
    ]] } }
    assert.equal(1, (health(server.port)))
    local socket = require("socket")
    local silent = assert(socket.bind("127.0.0.1", 0))
    local started = socket.gettime()
    assert.equal(1, (health(select(2, silent:getsockname()))))
    assert.is_true(socket.gettime() - started < 3)
    silent:close()
  end)

  it("wants a key before it serves others", function()
    local command = { "env", "-u", "JWT_SECRET", helper.command, "serve", "--config", "share/container/sluice.conf.lua" }
    local status, _, err = process.run(command, { env = { PORT = "0" } })
    assert.equal(1, status)
    assert.truthy(err:find("loopback", 1, true), err)
  end)
end)

describe("compose.yaml", function()
  after_each(helper.cleanup)

  local compose

  setup(function()
    compose = yaml("compose.yaml")
  end)

  it("has two nodes, Redis, nginx and Prometheus, and volumes and networks that it names", function()
    local names = {}
    for name, service in pairs(compose.services) do
      names[#names + 1] = name
      for _, volume in ipairs(service.volumes or {}) do
        local source = volume:match("^([^:]+):")
        if source:find("^%./") then
          run({ "test", "-f", source })
        else
          assert.truthy(compose.volumes[source], source)
        end
      end
      for key, value in pairs(service.networks) do
        assert.truthy(compose.networks[type(key) == "string" and key or value])
      end
      for key, value in pairs(service.depends_on or {}) do
        assert.truthy(compose.services[type(key) == "string" and key or value])
      end
    end
    table.sort(names)
    assert.same({ "nginx", "node1", "node2", "prometheus", "redis" }, names)
    for _, name in ipairs({ "node1", "node2" }) do
      local node = compose.services[name]
      assert.truthy(node.environment.JWT_SECRET:find("^%${JWT_SECRET:%?"))
      assert.equal("redis://redis:6379", node.environment.REDIS_URL)
      assert.is_true(node.read_only)
    end
  end)

  it("gives the nodes a configuration that the server takes, and time for their drain", function()
    local path = "examples/deploy/compose/sluice.conf.lua"
    local env = { JWT_SECRET = "a secret of the spec, 32 bytes long", REDIS_URL = "redis://127.0.0.1:6379" }
    run({ helper.command, "check", "--config", path }, { env = env })
    local config = dofile(path)
    local node = compose.services.node1
    assert.is_true(tonumber(node.stop_grace_period:match("^(%d+)s$")) > config.drain)
    assert.same({ compose.services.nginx.networks.inner.ipv4_address }, config.trust_proxy)
  end)

  it("makes a site of the example that nginx takes, with both nodes", function()
    process.need("nginx", "nginx")
    local dir = process.temp_dir()
    local script = compose.services.nginx.command[3]
    assert.same({ "/bin/sh", "-ec" }, { compose.services.nginx.command[1], compose.services.nginx.command[2] })
    script = script:gsub("/site%.conf", "examples/deploy/nginx.conf"):gsub("/etc/nginx/conf%.d", dir):gsub("exec nginx[^\n]*", "")
    run({ "sh", "-ec", script })
    local site = process.read_file(dir .. "/default.conf")
    for _, name in ipairs({ "node1", "node2" }) do
      assert.truthy(site:find(("\n    server %s:8080 "):format(compose.services[name].networks.inner.ipv4_address), 1, true), site)
    end
    assert.is_nil(site:find("127.0.0.1", 1, true) and site:match("\n%s*server 127"))
    local around = "pid %s/pid;\nerror_log stderr;\nevents {}\nhttp { access_log off; include %s/default.conf; }\n"
    process.write_file(dir .. "/nginx.conf", (around:gsub("%%s", dir)))
    run({ "nginx", "-t", "-p", dir, "-c", dir .. "/nginx.conf" })
  end)

  it("gives Prometheus a configuration that it takes, with both nodes and the alerts of the example", function()
    process.need("promtool", "prometheus")
    local dir = process.temp_dir()
    for _, volume in ipairs(compose.services.prometheus.volumes) do
      local from, name = volume:match("^(%./[^:]+):/etc/prometheus/([^:]+):ro$")
      if from then process.write_file(dir .. "/" .. name, process.read_file(from)) end
    end
    run({ "promtool", "check", "config", dir .. "/prometheus.yml" })
    local targets = yaml(dir .. "/prometheus.yml").scrape_configs[1].static_configs[1].targets
    assert.same({ "node1:8080", "node2:8080" }, targets)
  end)
end)

describe("the examples of deployment", function()
  after_each(helper.cleanup)

  it("for HAProxy and Caddy are right as they stand; nginx's is a part of a configuration", function()
    process.need("haproxy", "haproxy")
    process.need("caddy", "caddy")
    run({ "haproxy", "-c", "-f", "examples/deploy/haproxy.cfg" })
    local home = process.temp_dir()
    local env = { HOME = home, XDG_DATA_HOME = home, XDG_CONFIG_HOME = home }
    run({ "caddy", "validate", "--adapter", "caddyfile", "--config", "examples/deploy/Caddyfile" }, { env = env })
  end)
end)
