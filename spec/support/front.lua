-- SPDX-License-Identifier: MIT
-- Starts the proxies of examples/deploy as their packages bring them, with the examples' own files: only addresses and what is commented out there are changed.
local helper = require("spec.helper")
local process, tcp = helper.process, helper.tcp

local front = {}

local function replace(text, from, to)
  local first, last = text:find(from, 1, true)
  assert(first, "the example does not have: " .. from)
  return text:sub(1, first - 1) .. to .. text:sub(last + 1)
end

-- Puts nodes' ports in the place of the examples' 8080 and 8081; the line that `second` stands in is brought in for the second.
local function with_nodes(text, ports, second)
  text = replace(text, "127.0.0.1:8080", "127.0.0.1:" .. ports[1])
  if ports[2] then text = replace(text, second, (second:gsub("^# ", ""):gsub("127%.0%.0%.1:8081", "127.0.0.1:" .. ports[2]))) end
  return text
end

local function wait_until_open(child, port)
  helper.eventually(function()
    assert(child:is_running(), child:errors())
    local connection = tcp.try_connect(port)
    if connection then connection:close() end
    return connection
  end)
end

-- What a Debian package's nginx.conf would have around the site.
local NGINX = [[
daemon off;
pid %s/nginx.pid;
error_log stderr;
events { worker_connections 512; }
http {
    log_format spec '$connection $server_protocol $status $request';
    access_log %s/access.log spec;
    client_body_temp_path %s/body;
    proxy_temp_path %s/proxy;
    fastcgi_temp_path %s/fastcgi;
    uwsgi_temp_path %s/uwsgi;
    scgi_temp_path %s/scgi;
    include %s/sluice.conf;
}
]]

-- Starts nginx before the nodes on `ports`. With `certificate` ({ cert, key }: files) it serves HTTP/2 too. Returns { port, tls_port, process, log = path }.
function front.nginx(ports, certificate)
  process.need("nginx", "nginx")
  local dir = process.temp_dir()
  local port, tls_port = tcp.free_port(), certificate and tcp.free_port()
  local text = process.read_file("examples/deploy/nginx.conf")
  text = with_nodes(text, ports, "# server 127.0.0.1:8081")
  text = replace(text, "listen 80;", ("listen 127.0.0.1:%d;"):format(port))
  text = replace(text, "listen [::]:80;", "")
  if certificate then
    text = replace(text, "# listen 443 ssl http2;", ("listen 127.0.0.1:%d ssl http2;"):format(tls_port))
    text = replace(text, "# ssl_certificate     /etc/ssl/certs/sluice.pem;", ("ssl_certificate %s;"):format(certificate[1]))
    text = replace(text, "# ssl_certificate_key /etc/ssl/private/sluice.key;", ("ssl_certificate_key %s;"):format(certificate[2]))
  end
  process.write_file(dir .. "/sluice.conf", text)
  process.write_file(dir .. "/nginx.conf", (NGINX:gsub("%%s", dir)))
  assert(os.execute("chmod 755 " .. process.quote(dir))) -- its workers are nobody's
  local child = process.spawn({ "nginx", "-p", dir, "-c", dir .. "/nginx.conf" }, { stubborn = true })
  wait_until_open(child, port)
  return { port = port, tls_port = tls_port, process = child, log = dir .. "/access.log" }
end

function front.haproxy(ports)
  process.need("haproxy", "haproxy")
  local dir, port = process.temp_dir(), tcp.free_port()
  local text = with_nodes(process.read_file("examples/deploy/haproxy.cfg"), ports, "# server two 127.0.0.1:8081")
  process.write_file(dir .. "/haproxy.cfg", replace(text, "bind :80\n", ("bind 127.0.0.1:%d\n"):format(port)))
  local child = process.spawn({ "haproxy", "-db", "-f", dir .. "/haproxy.cfg" }, { stubborn = true })
  wait_until_open(child, port)
  return { port = port, process = child }
end

function front.caddy(ports)
  process.need("caddy", "caddy")
  local dir, port = process.temp_dir(), tcp.free_port()
  local text = process.read_file("examples/deploy/Caddyfile")
  local nodes = {}
  for i, node in ipairs(ports) do nodes[i] = "127.0.0.1:" .. node end
  text = replace(text, "reverse_proxy 127.0.0.1:8080", "reverse_proxy " .. table.concat(nodes, " "))
  text = replace(text, ":80 {", (":%d {\nbind 127.0.0.1"):format(port))
  -- Its interface for commands has a port that is the same for all.
  process.write_file(dir .. "/Caddyfile", "{\nadmin off\n}\n" .. text)
  local child = process.spawn({ "caddy", "run", "--adapter", "caddyfile", "--config", dir .. "/Caddyfile" },
    { env = { HOME = dir, XDG_DATA_HOME = dir, XDG_CONFIG_HOME = dir }, stubborn = true })
  wait_until_open(child, port)
  return { port = port, process = child }
end

return front
