-- SPDX-License-Identifier: MIT
-- rediss://, where this build's hiredis has TLS: redis-server and nodes that verify it. Where it has not: that a node says so.
local authority_of = require("spec.support.certificates").authority
local cluster = require("spec.support.cluster")
local helper = require("spec.helper")
local process = require("spec.support.process")
local redis_server = require("spec.support.redis")
local sluice = require("sluice")
local tcp = require("spec.support.tcp")

-- Why a node with these settings does not start.
local function refusal(settings)
  local server, why = sluice.start{ listen = "127.0.0.1:0", redis = settings }
  if server then server:stop() end
  assert.is_nil(server)
  return why
end

local function contains(text, ...)
  for _, part in ipairs({ ... }) do assert.is_truthy(text:find(part, 1, true), text) end
end

-- A build with TLS stumbles over the file first.
local has_tls = refusal({ url = "rediss://127.0.0.1:1", ca_file = "/nowhere/ca.pem" }):find("redis.ca_file", 1, true) ~= nil

describe("rediss://", function()
  teardown(helper.cleanup)

  if not has_tls then
    it("is refused where hiredis has no TLS", function()
      contains(refusal({ url = "rediss://:secret-word@127.0.0.1" }), "redis.url: rediss:// needs a hiredis with TLS (1.0 or later); this build has hiredis ")
      assert.is_nil(refusal({ url = "rediss://:secret-word@127.0.0.1" }):find("secret-word", 1, true))
    end)
    return
  end

  local authority, good, redis, port

  -- From the next connection on Redis shows this certificate.
  local function show(certificate)
    redis:command("CONFIG", "SET", "tls-cert-file", certificate.cert, "tls-key-file", certificate.key)
  end

  local function url(host)
    return ("rediss://:right-word@%s:%d"):format(host or "localhost", port)
  end

  local function node(settings, options)
    options = options or {}
    options.config = { redis = { url = url(), ca_file = authority.file } }
    for key, value in pairs(settings or {}) do options.config.redis[key] = value or nil end
    return helper.serve(options)
  end

  setup(function()
    authority, port = authority_of(), tcp.free_port()
    good = authority:sign("DNS:localhost,IP:127.0.0.1")
    redis = redis_server.start{ wait = false, appendonly = true, args = { "--requirepass", "right-word", "--tls-port", tostring(port),
      "--tls-cert-file", good.cert, "--tls-key-file", good.key, "--tls-ca-cert-file", authority.file, "--tls-auth-clients", "no" } }
  end)
  before_each(function()
    helper.eventually(function() return pcall(redis.command, redis, "AUTH", "right-word") end) -- the connection may be a new one
    redis:command("CONFIG", "SET", "tls-auth-clients", "no")
    show(good)
  end)
  after_each(helper.close_clients)

  it("joins nodes, for names and addresses, with much to read and to write, and over a restart of Redis", function()
    local nodes = { node(), node({ url = url("127.0.0.1") }) }
    assert.equal(4, redis:sluice_clients())
    assert.is_truthy(nodes[1]:log():find("connected to localhost:%d+ over TLS"))
    local stream = nodes[2]:stream("/events?channel=a"):wait_open()
    local large = ("x"):rep(60000)
    for number = 1, 20 do nodes[1]:publish("a", number .. large) end
    local messages = stream:wait_messages(20)
    assert.equal("20" .. large, messages[20].data)
    node():stream("/events?channel=a", { last_event_id = messages[1].id }):wait_messages(19) -- read at its start

    redis:kill()
    contains(cluster.wait_for(nodes[2], "^[^c]").redis, "onnect") -- of the connection, not of TLS
    redis:launch()
    for _, each in ipairs(nodes) do cluster.wait_for(each) end
    nodes[1]:publish("a", "21")
    stream:wait_messages(21)
    assert.is_nil((nodes[1]:log() .. nodes[2]:log()):find("-word", 1, true))
  end)

  it("trusts the system's authorities where no file names others", function()
    local trusting = node({ ca_file = false }, { env = { SSL_CERT_FILE = authority.file } })
    assert.equal("connected", cluster.health(trusting).redis)
    contains(refusal({ url = url() }), "redis.url: cannot use Redis at localhost", "certificate is refused: self-signed certificate in certificate chain")
  end)

  it("refuses at once a certificate of somebody else, of another name, and of another time", function()
    local count = redis:sluice_clients()
    for _, case in ipairs({
      { authority_of():sign("DNS:localhost"), "" },
      { authority:sign("DNS:other.example,DNS:*host,DNS:local*"), "hostname mismatch" },
      { authority:sign("DNS:localhost,IP:127.0.0.2"), "IP address mismatch", "127.0.0.1" },
      { authority:sign("DNS:localhost", -1), "certificate has expired" },
    }) do
      show(case[1])
      local why = refusal({ url = url(case[3]), ca_file = authority.file })
      contains(why, "the server's certificate is refused: " .. case[2])
      assert.is_nil(why:find("-word", 1, true))
    end
    assert.equal(count, redis:sluice_clients())
  end)

  it("says what came over Redis' certificate while a node runs, which goes on when that is over", function()
    local running = node()
    show(authority:sign("DNS:localhost", -1))
    redis:command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    contains(cluster.wait_for(running, "refused").redis, "the server's certificate is refused: certificate has expired")
    assert.equal("degraded", cluster.health(running).status)
    show(good)
    cluster.wait_for(running)
  end)

  it("says where the server speaks no TLS, or wants a certificate, which redis.cert_file has", function()
    local plain = helper.launch{ config = { redis = { url = ("rediss://127.0.0.1:%d"):format(redis.port), ca_file = authority.file } } }
    helper.eventually(function() return plain:errors():find("TLS") end)
    redis:command("CONFIG", "SET", "tls-auth-clients", "yes")
    local bare = helper.launch{ config = { redis = { url = url(), ca_file = authority.file } } }
    helper.eventually(function() return bare:errors():find("10 s at most: the server asks for a certificate of ours (redis.cert_file)", 1, true) end)
    local own = node({ cert_file = authority:sign("DNS:node").both })
    assert.equal("connected", cluster.health(own).redis)
  end)

  it("says which file cannot be used", function()
    local folder = process.temp_dir()
    process.write_file(folder .. "/empty.pem", "")
    for _, case in ipairs({
      { { ca_file = "/nowhere/ca.pem" }, "redis.ca_file: cannot use /nowhere/ca.pem: No such file or directory" },
      { { ca_file = folder .. "/empty.pem" }, "redis.ca_file: cannot use " .. folder .. "/empty.pem: " },
      { { cert_file = good.cert }, "redis.cert_file: cannot use " .. good.cert .. ": it has no private key" },
    }) do
      case[1].url = url()
      contains(refusal(case[1]), case[2])
    end
  end)
end)
