-- SPDX-License-Identifier: MIT
-- The servers that are compared, and how each is started: pinned to one core, on a free port, with room for all streams.
--
--   servers[name] = {
--     start = function(context) -> process, port, list of pids     see start_and_read; and perhaps a list of arguments for the load generator
--     arguments = function(case) -> list                           for the load generator, beyond the case's own
--     missing = function() -> why it cannot be run, or nil
--   }
local process = require("spec.support.process")
local socket = require("socket")

local START_SECONDS = 10
local TOKEN_KEY = "the benchmark's key: 32 bytes or more"
local NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"
local SPARE = 128 -- files that a server needs beside its connections
local HISTORY = 2000 -- messages kept, so that none of a replay's 1,000 has been dropped

local servers = {}

local function pinned(context, words)
  local list = { "prlimit", ("--nofile=%d:%d"):format(context.files, context.files), "taskset", "-c", tostring(context.server_core) }
  return table.move(words, 1, #words, #list + 1, list)
end

-- Waits until `ready` returns a value.
local function await(child, what, ready)
  local deadline = socket.gettime() + START_SECONDS
  while true do
    local result = ready()
    if result then
      return result
    end
    if not child:is_running() or socket.gettime() > deadline then
      error(("%s did not start: %s"):format(what, child:errors()), 0)
    end
    socket.sleep(0.02)
  end
end

local function start_and_read(context, name, words)
  local child = process.spawn(pinned(context, words))
  local port = await(child, name, function()
    return child:output():match("listening on http://[^\n]*:(%d+)\n")
  end)
  return child, tonumber(port), { child.pid }
end

servers.floor = {
  start = function(context)
    return start_and_read(context, "floor", { context.build .. "/bench/floor" })
  end,
}

-- --- Sluice -----------------------------------------------------------------------------------------

-- The default policy, with limits that the benchmark's crowd does not reach; they are counted and checked all the same.
local function start_sluice(context, extra)
  local words = {
    "bin/sluice", "serve", "--listen", "127.0.0.1:0",
    "--set", "limits.connections=" .. context.files - SPARE,
    "--set", "ratelimit.max=1000000000",
    "--set", "ratelimit.concurrent=1000000000",
    "--set", "history.messages=" .. HISTORY,
    "--set", "drain=0",
  }
  table.move(extra, 1, #extra, #words + 1, words)
  return start_and_read(context, "sluice", words)
end

local function sluice(extra, arguments)
  return {
    start = function(context)
      return start_sluice(context, type(extra) == "function" and extra() or extra)
    end,
    arguments = arguments,
  }
end

local ONE_WORKER = { "--workers", "1" }
local WITH_KEY = { "--workers", "1", "--set", "jwt.key=" .. TOKEN_KEY }

servers.sluice = sluice(ONE_WORKER)
servers["sluice, 2 workers"] = sluice({ "--workers", "2" })

-- Each client has a token of its own, and an address where the case asks for that.
servers["sluice, tokens"] = sluice(WITH_KEY, function(case)
  local list = { "--token-key", TOKEN_KEY, "--tokens", tostring(case.tokens or case.clients) }
  if case.address_each then
    list[#list + 1] = "--addresses"
    list[#list + 1] = tostring(case.clients)
  end
  return list
end)

-- All clients have the same token: what the cache of verified ones makes of it.
servers["sluice, one token"] = sluice(WITH_KEY, function()
  return { "--token-key", TOKEN_KEY }
end)

-- The clients take gzip.
servers["sluice, gzip"] = sluice(ONE_WORKER, function()
  return { "--header", "Accept-Encoding: gzip" }
end)

servers["sluice, on_message"] = sluice(function()
  local folder = process.temp_dir()
  assert(os.execute(("cp scripts/*.lua bench/scripts/mark.lua %s/"):format(process.quote(folder))))
  return { "--workers", "1", "--scripts", folder }
end, function()
  return { "--marked" }
end)

-- --- clusters ----------------------------------------------------------------------------------------

local function free_port()
  local probe = assert(socket.bind("127.0.0.1", 0))
  local _, port = probe:getsockname()
  probe:close()
  return math.tointeger(tonumber(port))
end

local function answers(port)
  local client = socket.connect("127.0.0.1", port)
  if client then
    client:close()
  end
  return client ~= nil
end

-- `count` nodes on one Redis, all on the server's core: what a message costs in all of them together. Streams are open on the first, messages are published
-- on the last.
local function cluster(count)
  return {
    missing = function()
      if os.execute("command -v redis-server >/dev/null 2>&1") then
        return nil
      end
      return "redis-server is not installed (Debian's package redis-server)"
    end,
    start = function(context)
      local redis_port = free_port()
      local redis = process.spawn(pinned(context, { "redis-server", "--port", tostring(redis_port), "--bind", "127.0.0.1", "--save", "",
        "--appendonly", "no", "--dir", process.temp_dir() }))
      await(redis, "redis-server", function()
        return answers(redis_port)
      end)
      local pids, nodes, ports = { redis.pid }, {}, {}
      for index = 1, count do
        nodes[index], ports[index] = start_sluice(context, { "--workers", "1", "--set", "redis.url=redis://127.0.0.1:" .. redis_port })
        pids[#pids + 1] = nodes[index].pid
      end
      return nodes[1], ports[1], pids, count > 1 and { "--publish-port", tostring(ports[count]) } or nil
    end,
  }
end

servers["sluice, Redis"] = cluster(1)
servers["sluice, Redis, 3 nodes"] = cluster(3)

-- --- Nchan ------------------------------------------------------------------------------------------

local NGINX = [[
load_module %s;
daemon off;
worker_processes 1;
worker_rlimit_nofile %d;
pid nginx.pid;
error_log stderr warn;
%s
events { worker_connections %d; }
http {
  access_log off;
  client_body_temp_path temp_body; proxy_temp_path temp_proxy; fastcgi_temp_path temp_fastcgi;
  uwsgi_temp_path temp_uwsgi; scgi_temp_path temp_scgi;
  client_body_buffer_size 64k;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  nchan_shared_memory_size 512m;
  server {
    listen 127.0.0.1:%d backlog=4096;
    location = /events { nchan_subscriber eventsource; nchan_channel_id $arg_channel; }
    location = /publish {
      nchan_publisher; nchan_channel_id $arg_channel;
      nchan_message_buffer_length %d; nchan_message_timeout 300s;
    }
  }
}
]]

local function is_root()
  return (process.read_file("/proc/self/status") or ""):match("\nUid:%s+%d+%s+(%d+)") == "0"
end

local function nginx_path()
  for _, path in ipairs({ "/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx" }) do
    if process.read_file(path) then
      return path
    end
  end
  return nil
end

servers.nchan = {
  missing = function()
    if nginx_path() and process.read_file(NCHAN_MODULE) then
      return nil
    end
    return "nginx with Nchan is not installed (Debian's packages nginx and libnginx-mod-nchan)"
  end,
  start = function(context)
    local folder, port = process.temp_dir(), free_port()
    process.write_file(folder .. "/nginx.conf", NGINX:format(NCHAN_MODULE, context.files, is_root() and "user root;" or "",
      context.files - SPARE, port, HISTORY))
    local child = process.spawn(pinned(context, { nginx_path(), "-p", folder, "-c", folder .. "/nginx.conf" }))
    local workers = await(child, "nginx", function()
      local children = process.read_file(("/proc/%d/task/%d/children"):format(child.pid, child.pid)) or ""
      return children:find("%d") and answers(port) and children
    end)
    local pids = {}
    for pid in workers:gmatch("%d+") do
      pids[#pids + 1] = tonumber(pid)
    end
    return child, port, pids
  end,
}

return servers
