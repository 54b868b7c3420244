-- SPDX-License-Identifier: MIT
-- sluice.config: the schema, the order of sources, messages, files, the table for the core, the documents.

local config = require("sluice.config")
local document = require("sluice.config.document")
local address = require("sluice.config.address")
local process = require("spec.support.process")

local function cores() return 2 end

local function load_with(options)
  options.cores = cores
  return config.load(options)
end

local function environment(variables)
  return function(name) return variables[name] end
end

-- Writes a file into a new folder for the running spec. Returns its path and the folder.
local function write_config(text, name)
  local folder = process.temp_dir()
  local path = folder .. "/" .. (name or "sluice.conf.lua")
  process.write_file(path, text)
  return path, folder
end

local function one_line(message)
  assert.is_string(message)
  assert.is_nil(message:find("\n", 1, true))
  return message
end

-- The message of a refused table.
local function refusal(values)
  local cfg, message = config.from_table(values, cores)
  assert.is_nil(cfg)
  return one_line(message)
end

local function contains(text, ...)
  for _, part in ipairs({ ... }) do
    assert.is_truthy(text:find(part, 1, true), ("%q is not in %q"):format(part, text))
  end
end

local function lacks(text, part)
  assert.is_nil(text:find(part, 1, true), ("%q is in %q"):format(part, text))
end

after_each(process.cleanup)

describe("sluice.config: defaults", function()
  local EXPECTED = {
    ["listen"] = "127.0.0.1:8080", ["workers"] = 2, ["insecure"] = false, ["admin"] = true, ["drain"] = 10,
    ["trust_proxy"] = {}, ["channels"] = {},
    ["jwt.algorithms"] = { "HS256" }, ["jwt.leeway"] = 0,
    ["cors.origins"] = {}, ["cors.credentials"] = false,
    ["ratelimit.window"] = 900, ["ratelimit.max"] = 600, ["ratelimit.concurrent"] = 100,
    ["ratelimit.message"] = "too many streams from this address, try again later", ["ratelimit.shared"] = false,
    ["limits.connections"] = 10000, ["limits.busy"] = "refuse", ["limits.header_bytes"] = 16384,
    ["limits.body_bytes"] = 1048576, ["limits.header_timeout"] = 10, ["limits.idle_timeout"] = 60,
    ["limits.queue_bytes"] = 1048576, ["limits.channels_per_stream"] = 100, ["limits.script_ms"] = 100,
    ["limits.script_bytes"] = 268435456, ["limits.script_call_bytes"] = 33554432,
    ["history.messages"] = 1000, ["history.bytes"] = 4194304, ["history.age"] = 300,
    ["history.total_bytes"] = 268435456,
    ["stream.opening"] = true, ["stream.heartbeat"] = 15, ["stream.retry"] = 2000, ["stream.stale"] = 300,
    ["compression.gzip"] = true, ["compression.level"] = 6, ["compression.min_bytes"] = 256,
    ["redis.key"] = "sluice:log", ["redis.maxlen"] = 100000,
    ["log.level"] = "info", ["log.format"] = "text", ["log.access"] = false, ["log.frames"] = false,
  }

  it("are those of the design", function()
    assert.same(EXPECTED, config.defaults(cores))
  end)

  it("have rows for all keys, the unset ones too", function()
    local known = {}
    for _, row in ipairs(config.schema) do known[row.key] = true end
    for key in pairs(EXPECTED) do assert.is_true(known[key], key) end
    for _, key in ipairs({
      "scripts", "jwt.key", "jwt.key_file", "jwt.issuer", "jwt.audience", "jwt.cookie", "redis.url",
      "redis.user", "redis.password", "redis.ca_file", "redis.cert_file",
    }) do
      assert.is_true(known[key], key)
      known[key] = nil
    end
    local count, expected = 0, 0
    for _ in pairs(known) do count = count + 1 end
    for _ in pairs(EXPECTED) do expected = expected + 1 end
    assert.equal(expected, count)
  end)

  it("are good values by their own rows", function()
    assert.same(EXPECTED, (assert(config.from_table(config.defaults(cores), cores))))
  end)

  it("are fresh tables each time", function()
    config.defaults(cores)["jwt.algorithms"][1] = "RS256"
    assert.same({ "HS256" }, config.defaults(cores)["jwt.algorithms"])
  end)

  it("keep the number of workers in its range, however many cores there are", function()
    assert.equal(256, config.defaults(function() return 512 end).workers)
    assert.equal(1, config.defaults(function() return 0 end).workers)
  end)
end)

-- key -> { good = { value or { value, normal form } ... }, bad = { values } }. What is expected must show in the message.
local HUGE, NAN = math.huge, 0 / 0
local BAD_NUMBERS = { -1, NAN, HUGE, -HUGE, "5", true, {} }

local function number(low, high)
  return { good = { low, high }, bad = { low - 1, high + 1, table.unpack(BAD_NUMBERS) } }
end

local function integer(low, high)
  local case = number(low, high)
  case.good[3] = { high + 0.0, high }
  case.bad[#case.bad + 1] = low + 0.5
  return case
end

local BOOLEAN = { good = { true, false }, bad = { 0, 1, "true", "", {} } }
local TEXT = { good = { "a", "a b", "\u{e4}" }, bad = { "", "a\nb", "a\0", 5, true, {} } }

local CASES = {
  ["listen"] = {
    good = {
      "127.0.0.1:0", "127.0.0.1:65535", "[::1]:8080", "localhost:80", "127.9.9.9:1", { "127.0.0.1:0080", "127.0.0.1:80" },
      "[::ffff:127.0.0.1]:80",
    },
    bad = {
      "", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8o", "::1:80", "[::1]",
      "[127.0.0.1]:80", "[::1]:", "127.1:80", "127.0.0.256:80", "0127.0.0.1:80", "*:80", "a b:80", "-a:80", "a..b:80",
      "0x7f000001:80", "http://127.0.0.1:80", "127.0.0.1:80 ", 8080, true, {},
    },
  },
  ["workers"] = integer(1, 256),
  ["scripts"] = { good = { "scripts", "/a b/c" }, bad = { "", "a\nb", 5, {} } },
  ["insecure"] = BOOLEAN,
  ["admin"] = BOOLEAN,
  ["drain"] = number(0, 3600),
  ["trust_proxy"] = {
    good = {
      {},
      { { "10.0.0.1", "::1", "2001:DB8::1" }, { "10.0.0.1", "::1", "2001:db8::1" } }, { "10.0.0.0/8" }, { "172.16.0.0/12" },
      { "0.0.0.0/0" }, { "192.0.2.0/31" },
      { "::/0" }, { "fd00::/8" }, { "2001:db8::1/128" },
    },
    bad = {
      "10.0.0.1", { "10.0.0" }, { "10.0.0.1/8" }, { "10.0.0.0/33" }, { "10.0.0.0/08" },
      { "10.0.0.0/" }, { "192.0.2.2/30" }, { "2001:db8::1/64" }, { "::/129" }, { "::1::" }, { "proxy.example" }, { 5 }, { a = "10.0.0.1" },
    },
  },
  ["channels"] = {
    good = {
      {}, { news = {} }, { ["*"] = { slow = "disconnect" } },
      { ["quotes.*"] = { slow = "conflate", messages = 100, bytes = 0, age = 0.5 } },
      { ["sluice.all"] = { slow = "drop_oldest" } }, { ["\u{e4}*"] = {} }, { [("x"):rep(200)] = {} },
    },
    bad = {
      5, "news", { "news" }, { news = 5 }, { [""] = {} }, { ["a*b"] = {} }, { ["**"] = {} }, { ["a\nb"] = {} }, { ["\xff"] = {} },
      { [("x"):rep(201)] = {} }, { news = { slow = "fast" } }, { news = { messages = -1 } }, { news = { bytes = 0.5 } },
      { news = { age = HUGE } }, { news = { speed = 1 } }, { news = { 5 } },
    },
  },
  ["jwt.key"] = { good = { "x", "a\nb", "a\0b" }, bad = { "", 5, true, {} } },
  ["jwt.algorithms"] = {
    good = { { "HS256" }, { "HS256", "HS512" }, { "RS256", "RS384" }, { "ES384" }, { { "HS256", "HS256" }, { "HS256" } } },
    bad = { {}, "HS256", { "none" }, { "hs256" }, { "HS256", 5 }, { a = "HS256" }, { "HS256", "RS256" }, { "ES256", "ES384" } },
  },
  ["jwt.leeway"] = number(0, 86400),
  ["jwt.issuer"] = TEXT,
  ["jwt.audience"] = TEXT,
  ["jwt.cookie"] = { good = { "token", "__Host-t" }, bad = { "", "a b", "a=b", "a;b", 5 } },
  ["cors.origins"] = {
    good = {
      {}, { "*" }, { "https://a.example", "http://[::1]:3000" }, { { "HTTPS://A.example:443" }, { "https://a.example" } },
      { { "http://a:80", "http://a" }, { "http://a" } }, { "http://a:443" }, { "capacitor://localhost" },
      { "https://*.app.example", "http://*.localhost:3000" }, { { "HTTPS://*.A.example:443" }, { "https://*.a.example" } },
    },
    bad = {
      "https://a.example", { "https://a.example/" }, { "a.example" }, { "https://" }, { "https://a:0x1" }, { "https://a:70000" },
      { "https://u:p@a" }, { "null" }, { "" }, { 5 }, { "https://:80" },
      { "https://*" }, { "https://*." }, { "https://*.*.example" }, { "https://a*.example" }, { "*.example" }, { "https://*..example" },
    },
  },
  ["cors.credentials"] = BOOLEAN,
  ["ratelimit.window"] = number(0.001, 31536000),
  ["ratelimit.max"] = integer(1, 1000000000),
  ["ratelimit.concurrent"] = integer(1, 1000000000),
  ["ratelimit.shared"] = BOOLEAN,
  ["ratelimit.message"] = TEXT,
  ["limits.connections"] = integer(1, 10000000),
  ["limits.busy"] = { good = { "refuse", "retry" }, bad = { "", "Retry", "wait", true, 5 } },
  ["limits.header_bytes"] = integer(64, 1 << 20),
  ["limits.body_bytes"] = integer(0, 1 << 30),
  ["limits.header_timeout"] = number(0.01, 3600),
  ["limits.idle_timeout"] = number(0.01, 86400),
  ["limits.queue_bytes"] = integer(1, 1 << 30),
  ["limits.channels_per_stream"] = integer(1, 65535),
  ["limits.script_ms"] = integer(1, 60000),
  ["limits.script_bytes"] = integer(1 << 20, 64 << 30),
  ["limits.script_call_bytes"] = integer(64 << 10, 64 << 30),
  ["history.messages"] = integer(0, 10000000),
  ["history.bytes"] = integer(0, 1 << 40),
  ["history.age"] = number(0, 31536000),
  ["history.total_bytes"] = integer(0, 1 << 40),
  ["stream.opening"] = BOOLEAN,
  ["stream.heartbeat"] = number(0.01, 86400),
  ["stream.retry"] = integer(1, 3600000),
  ["stream.stale"] = number(0.01, 86400),
  ["compression.gzip"] = BOOLEAN,
  ["compression.level"] = integer(1, 9),
  ["compression.min_bytes"] = integer(0, 1 << 30),
  ["redis.url"] = {
    good = {
      "redis://127.0.0.1", "redis://localhost:6379", "rediss://u:p@redis.example:6380/3", "redis://:p@[::1]", "redis://[::1]:1/",
    },
    bad = { "", "127.0.0.1:6379", "http://a", "redis://", "redis://a:b", "redis://a/b", "redis://a:70000", "redis://a b", 5 },
  },
  ["redis.user"] = TEXT,
  ["redis.password"] = { good = { "x", "with blanks" }, bad = { "", 5 } },
  ["redis.key"] = TEXT,
  ["redis.maxlen"] = integer(1, 1 << 40),
  ["log.level"] = { good = { "debug", "info", "warn", "error" }, bad = { "", "INFO", "trace", 1 } },
  ["log.format"] = { good = { "text", "json" }, bad = { "", "xml", true } },
  ["log.access"] = BOOLEAN,
  ["log.frames"] = BOOLEAN,
}

-- Tables in `good` that are themselves the value rather than { value, normal form }: all whose second entry is no table.
local function good_case(key, case)
  if type(case) == "table" and #case == 2 and type(case[1]) == "table" then return case[1], case[2] end
  if type(case) == "table" and #case == 2 and type(config.defaults(cores)[key]) ~= "table" then return case[1], case[2] end
  return case, case
end

describe("sluice.config: each key", function()
  it("has cases here", function()
    for _, row in ipairs(config.schema) do
      assert.is_truthy(CASES[row.key] or row.type == "file", row.key)
    end
  end)

  for _, row in ipairs(config.schema) do
    local key, cases = row.key, CASES[row.key] or { good = {}, bad = { "", 5, {}, "a\nb" } }

    it(("%s takes what is right"):format(key), function()
      for _, case in ipairs(cases.good) do
        local value, normal = good_case(key, case)
        local cfg = assert(config.from_table({ [key] = value }, cores))
        assert.same(normal, cfg[key])
        assert.equal(math.type(normal), math.type(cfg[key]))
      end
    end)

    it(("%s refuses what is wrong, naming key and expectation"):format(key), function()
      for _, value in ipairs(cases.bad) do
        local message = refusal({ [key] = value })
        assert.equal(key, message:sub(1, #key))
        assert.is_truthy(message:find("expected", 1, true) or message:find("unknown key", 1, true), message)
      end
    end)
  end
end)

describe("sluice.config: messages", function()
  local MESSAGES = {
    { { workers = 0 }, "workers = 0: expected an integer from 1 to 256" },
    { { workers = "many" }, 'workers = "many": expected an integer from 1 to 256' },
    { { workers = 1.5 }, "workers = 1.5: expected an integer from 1 to 256" },
    { { drain = -0.5 }, "drain = -0.5: expected a number of seconds from 0 to 3600" },
    { { drain = HUGE }, "drain = inf: expected a number of seconds from 0 to 3600" },
    { { stream = { retry = 0 } }, "stream.retry = 0: expected a whole number of milliseconds from 1 to 3600000" },
    { { ["limits.body_bytes"] = 1.5 },
      "limits.body_bytes = 1.5: expected a whole number of bytes from 0 to 1073741824" },
    { { stream = { opening = "yes" } }, 'stream.opening = "yes": expected true or false' },
    { { log = { level = "loud" } }, 'log.level = "loud": expected "debug", "info", "warn" or "error"' },
    { { limits = 5 }, "limits = 5: expected a table of the keys of limits" },
    { { log = { level = function() end } }, 'log.level = a function: expected "debug", "info", "warn" or "error"' },
    { { cors = { origins = { "http://a", "b" } } },
      'cors.origins[2] = "b": expected an origin such as "https://app.example:8443" or "https://*.example" (no path), or "*"' },
    { { channels = { ["a.*"] = { age = -1 } } },
      'channels["a.*"].age = -1: expected a number of seconds from 0 to 31536000' },
    { { channels = { a = { slo = "conflate" } } },
      'channels["a"].slo = "conflate": unknown key; the nearest is slow ("disconnect", "drop_oldest" or "conflate")' },
    { { limits = { conections = 5 } },
      "limits.conections = 5: unknown key; the nearest is limits.connections (an integer from 1 to 10000000)" },
    { { scripts = "a\nb\"c" }, 'scripts = "a\\10b\\"c": expected the path of a folder' },
    { { "x" }, '[1] = (not shown): expected only named keys, such as listen = "127.0.0.1:8080"' },
  }
  for _, case in ipairs(MESSAGES) do
    it(("say %s"):format(case[2]), function() assert.equal(case[2], refusal(case[1])) end)
  end

  local NEAREST = {
    { "lisen", "listen" }, { "connections", "limits.connections" }, { "limit.connections", "limits.connections" },
    { "limits.conections", "limits.connections" }, { "heartbeat", "stream.heartbeat" }, { "Workers", "workers" },
    { "history.message", "history.messages" }, { "log.acces", "log.access" }, { "trust-proxy", "trust_proxy" },
    { "limits.header_byte", "limits.header_bytes" }, { "jwt.algorithm", "jwt.algorithms" }, { "corsorigins", "cors.origins" },
    { "script", "scripts" }, { "compresion.level", "compression.level" }, { "stream.rerty", "stream.retry" },
  }
  for _, case in ipairs(NEAREST) do
    it(("for %s name %s as the nearest key"):format(case[1], case[2]), function()
      contains(refusal({ [case[1]] = 1 }), case[1] .. " = ", "the nearest is " .. case[2] .. " (")
      local cfg, message = load_with({ set = { { case[1], "1" } } })
      assert.is_nil(cfg)
      contains(message, "--set: " .. case[1] .. " = ", "the nearest is " .. case[2] .. " (")
    end)
  end

  it("name an unknown section, and the nearest one", function()
    contains(refusal({ limit = { connections = 5 } }), "limit = a table: unknown key; the nearest is limits (a table of keys)")
    contains(refusal({ limts = {} }), "limts = a table: unknown key; the nearest is limits (")
    contains(refusal({ chanels = {} }), "chanels = a table: unknown key; the nearest is channels (")
    contains(refusal({ limits = { deep = { connections = 5 } } }), "limits.deep = a table: unknown key")
  end)

  it("say what stands in a section that is given as a key", function()
    local cfg, message = load_with({ set = { { "log", "3" } } })
    assert.is_nil(cfg)
    contains(message, '--set: log = "3": expected one of its keys, such as log.level')
    contains(refusal({ log = 3 }), "log = 3: expected a table of the keys of log")
  end)

  it("name the same mistake each time where there are several", function()
    local first = refusal({ zzz = 1, yyy = 1, xxx = 1, www = 1 })
    for _ = 1, 5 do assert.equal(first, refusal({ www = 1, xxx = 1, yyy = 1, zzz = 1 })) end
    contains(first, "www = 1")
  end)

  it("show long values cut, in one line", function()
    local message = refusal({ listen = ("\u{e4}"):rep(5000) })
    assert.is_true(#message < 300)
    assert.is_truthy(utf8.len(message))
  end)

  it("never show a key, a password or what may be meant as one", function()
    local secret = "s3cr3t-value"
    local tries = {
      { jwt = { key = { secret } } }, { jwt = { kye = secret } }, { jwt = secret }, { ["jwt.secret"] = secret },
      { JWT_SECRET = secret }, { password = secret }, { redis = { url = "redis://u:" .. secret .. "@a:b" } },
      { redis = { url = secret } }, { redis = { uri = "redis://:" .. secret .. "@a" } }, { redis = secret },
      { ["jwt.key"] = secret, jwt = { key = "other" } }, { cors = { origins = { "https://u:" .. secret .. "@a" } } },
      { ["jwt.key"] = secret, ["jwt.key_file"] = "a" }, { ["jwt.key"] = secret, listen = "x" },
    }
    for _, values in ipairs(tries) do lacks(refusal(values), secret) end
    for _, key in ipairs({ "jwt.kee", "jwt.key.x", "token", "redis.url" }) do
      local cfg, message = load_with({ set = { { key, secret } } })
      assert.is_nil(cfg)
      lacks(one_line(message), secret)
    end
    local _, message = load_with({ env = environment({ REDIS_URL = "redis://:" .. secret .. "@a:b" }) })
    lacks(one_line(message), secret)
  end)
end)

describe("sluice.config: tables", function()
  it("may be nested, flat or both", function()
    local cfg = assert(config.from_table({
      listen = "127.0.0.1:0", limits = { connections = 5, ["busy"] = "retry" }, ["limits.connections"] = 5,
      ["history.age"] = 1,
    }, cores))
    assert.equal(5, cfg["limits.connections"])
    assert.equal("retry", cfg["limits.busy"])
    assert.equal(1, cfg["history.age"])
    assert.equal(10, cfg.drain)
  end)

  it("that say two things about a key are refused", function()
    contains(refusal({ limits = { connections = 5 }, ["limits.connections"] = 6 }), "limits.connections", "set twice")
  end)

  it("that are none are refused", function()
    for _, values in ipairs({ 5, "listen", true }) do contains(refusal(values), "expected a table") end
  end)

  it("may be a resolved configuration again", function()
    local cfg = assert(config.from_table({
      channels = { ["a*"] = { slow = "conflate" } }, cors = { origins = { "HTTPS://a:443" } }, jwt = { key = "k" },
    }, cores))
    assert.same(cfg, (assert(config.from_table(cfg, cores))))
  end)

  it("are copied", function()
    local origins, rule = { "https://a" }, { slow = "conflate" }
    local cfg = assert(config.from_table({ cors = { origins = origins }, channels = { a = rule } }, cores))
    origins[1], rule.slow = "https://b", "disconnect"
    assert.same({ "https://a" }, cfg["cors.origins"])
    assert.equal("conflate", cfg.channels.a.slow)
  end)
end)

describe("sluice.config: texts of flags", function()
  local GOOD = {
    { "workers", "4", 4 }, { "drain", "0.5", 0.5 }, { "drain", ".5", 0.5 }, { "drain", "1e1", 10.0 },
    { "stream.opening", "false", false }, { "stream.opening", "true", true }, { "redis.key", "a=b,c", "a=b,c" },
    { "cors.origins", "https://a, https://b", { "https://a", "https://b" } }, { "cors.origins", "", {} },
    { "cors.origins", "https://a,", { "https://a" } }, { "trust_proxy", "::1", { "::1" } },
    { "limits.connections", "1e3", 1000 }, { "listen", "[::1]:0", "[::1]:0" }, { "jwt.key", " k ", " k " },
  }
  for _, case in ipairs(GOOD) do
    it(("read %s=%s by the key's type"):format(case[1], case[2]), function()
      assert.same(case[3], assert(load_with({ set = { { case[1], case[2] } } }))[case[1]])
    end)
  end

  local BAD = {
    { "workers", "" }, { "workers", "four" }, { "workers", "0x10" }, { "workers", " 4" }, { "workers", "4.5" },
    { "workers", "1e" }, { "drain", "nan" }, { "drain", "inf" }, { "drain", "-1" }, { "drain", "1e999" }, { "drain", "10s" },
    { "stream.opening", "yes" }, { "stream.opening", "1" }, { "stream.opening", "" }, { "cors.origins", "a,b" },
    { "jwt.key", "" }, { "jwt.algorithms", "" }, { "channels", "a" }, { "listen", "80" },
  }
  for _, case in ipairs(BAD) do
    it(("refuse %s=%s"):format(case[1], case[2]), function()
      local cfg, message = load_with({ set = { case } })
      assert.is_nil(cfg)
      contains(one_line(message), "--set: " .. case[1], " = ", "expected ")
    end)
  end

  it("name the flag they came from", function()
    local _, message = load_with({ set = { { "workers", "x", "--workers" } } })
    assert.equal('--workers: workers = "x": expected an integer from 1 to 256', message)
  end)

  it("point to the file for a table", function()
    local _, message = load_with({ set = { { "channels", "a" } } })
    contains(message, "which only a configuration file can hold")
  end)
end)

describe("sluice.config: sources", function()
  it("win in the order defaults, file, environment, table, flags", function()
    local path = write_config('return { cors = { origins = { "http://file" } }, drain = 1, workers = 1 }')
    local env = environment({ ALLOWED_ORIGINS = "http://env" })
    local function origins(options)
      return assert(load_with(options))["cors.origins"]
    end
    assert.same({}, origins({}))
    assert.same({ "http://file" }, origins({ file = path }))
    assert.same({ "http://env" }, origins({ file = path, env = env }))
    local values = { ["cors.origins"] = { "http://table" } }
    assert.same({ "http://table" }, origins({ file = path, env = env, values = values }))
    local cfg = assert(load_with({
      file = path, env = env, values = values, set = { { "cors.origins", "http://flag" }, { "drain", "2" }, { "drain", "3" } },
    }))
    assert.same({ "http://flag" }, cfg["cors.origins"])
    assert.equal(3, cfg.drain)
    assert.equal(1, cfg.workers)
  end)

  it("take JWT_SECRET, ALLOWED_ORIGINS, REDIS_URL and PORT from the environment", function()
    local cfg = assert(load_with({ env = environment({
      JWT_SECRET = "k", ALLOWED_ORIGINS = "http://a,http://b", REDIS_URL = "redis://r", PORT = "81",
    }) }))
    assert.equal("k", cfg["jwt.key"])
    assert.same({ "http://a", "http://b" }, cfg["cors.origins"])
    assert.equal("redis://r", cfg["redis.url"])
    assert.equal("127.0.0.1:81", cfg.listen)
  end)

  it("ignore the environment where none is given", function()
    assert.is_nil(assert(load_with({}))["jwt.key"])
  end)

  it("replace only the port by PORT, of the file's address too", function()
    local path = write_config('return { listen = "[::1]:8080" }')
    local env = environment({ PORT = "0" })
    assert.equal("[::1]:0", assert(load_with({ file = path, env = env })).listen)
    assert.equal("127.0.0.2:9", assert(load_with({ file = path, env = env, set = { { "listen", "127.0.0.2:9" } } })).listen)
  end)

  for _, port in ipairs({ "", "x", "-1", "65536", "8080 ", "0x50", "127.0.0.1:80" }) do
    it(("refuse PORT=%q"):format(port), function()
      local cfg, message = load_with({ env = environment({ PORT = port }) })
      assert.is_nil(cfg)
      contains(one_line(message), "environment variable PORT: listen = ", "expected a port from 0 to 65535")
    end)
  end

  it("refuse an empty JWT_SECRET rather than running without a key", function()
    local cfg, message = load_with({ env = environment({ JWT_SECRET = "" }) })
    assert.is_nil(cfg)
    contains(one_line(message), "environment variable JWT_SECRET", "jwt.key", "not empty")
  end)

  it("refuse a wrong ALLOWED_ORIGINS or REDIS_URL by the variable's name", function()
    for name, text in pairs({ ALLOWED_ORIGINS = "a", REDIS_URL = "" }) do
      local cfg, message = load_with({ env = environment({ [name] = text }) })
      assert.is_nil(cfg)
      contains(one_line(message), "environment variable " .. name)
    end
  end)
end)

describe("sluice.config: files", function()
  it("take relative paths from their own folder, absolute ones as they are", function()
    local path, folder = write_config('return { scripts = "scripts", jwt = { key_file = "key" } }')
    process.write_file(folder .. "/key", "k")
    local cfg = assert(load_with({ file = path }))
    assert.equal(folder .. "/scripts", cfg.scripts)
    assert.equal(folder .. "/key", cfg["jwt.key_file"])
    assert.equal("/x", assert(load_with({ file = write_config('return { scripts = "/x" }') })).scripts)
    assert.equal("flag", assert(load_with({ file = path, set = { { "scripts", "flag" } } })).scripts)
  end)

  it("read the environment and have the basic libraries", function()
    local path = write_config([[
      local hosts = {}
      for host in string.gmatch(os.getenv("HOSTS"), "%a+") do table.insert(hosts, "http://" .. host) end
      return { cors = { origins = hosts }, workers = math.max(1, tonumber("2")), drain = #tostring(utf8.char(228)) }
    ]])
    local cfg = assert(load_with({ file = path, env = environment({ HOSTS = "a b" }) }))
    assert.same({ "http://a", "http://b" }, cfg["cors.origins"])
    assert.equal(2, cfg.drain)
  end)

  for _, name in ipairs({
    "io", "require", "load", "dofile", "debug", "package", "os.execute", "os.exit", "print", "string.dump",
  }) do
    it(("have no %s"):format(name), function()
      local path = write_config(("return { drain = %s == nil and 1 or 2 }"):format(name))
      assert.equal(1, assert(load_with({ file = path })).drain)
    end)
  end

  it("change nothing outside themselves", function()
    local path = write_config("string.rep = nil; table.leaked = 1; leaked = 1; return {}")
    assert(load_with({ file = path }))
    assert.is_function(string.rep)
    assert.is_nil(rawget(table, "leaked"))
    assert.is_nil(rawget(_G, "leaked"))
  end)

  it("may begin with a byte order mark or a # line", function()
    assert.equal(3, assert(load_with({ file = write_config("\xEF\xBB\xBFreturn { drain = 3 }") })).drain)
    assert.equal(3, assert(load_with({ file = write_config("#!/usr/bin/env lua\nreturn { drain = 3 }") })).drain)
  end)

  local BROKEN = {
    { "a syntax error", "return {\n  listen = = 5\n}", ":2: unexpected symbol near '='" },
    { "a run-time error", "\n\nreturn { drain = nothing.x }", ":3: attempt to index a nil value (global 'nothing')" },
    { "its own error", 'error("no host")', ":1: no host" },
    { "an error without a place", 'error("no host", 0)', ": no host" },
    { "an error that is no text", "error({})", ": table: 0x" },
    { "an error of two lines", 'error("one\\ntwo")', ":1: one" },
    { "nothing", "", ": the file returns nothing; expected a table" },
    { "another value", "return 5", ": the file returns a number; expected a table" },
    { "a compiled chunk", string.dump(function() end), ": attempt to load a binary chunk" },
    { "an unknown key", "return { lisen = 1 }", ": lisen = 1: unknown key; the nearest is listen" },
    { "a wrong value", "return { workers = 0 }", ": workers = 0: expected an integer from 1 to 256" },
  }
  for _, case in ipairs(BROKEN) do
    it(("with %s give one line that names the file"):format(case[1]), function()
      local path = write_config(case[2])
      local cfg, message = load_with({ file = path })
      assert.is_nil(cfg)
      contains(one_line(message), path .. case[3])
    end)
  end

  it("name the place also where the path is long", function()
    local path = write_config("return {", ("x"):rep(150) .. ".lua")
    local _, message = load_with({ file = path })
    contains(one_line(message), path .. ":1: ")
  end)

  it("that are missing, or a folder, are said", function()
    local _, folder = write_config("")
    local _, message = load_with({ file = folder .. "/none.lua" })
    contains(one_line(message), "cannot read ", folder .. "/none.lua", "No such file")
    _, message = load_with({ file = folder })
    contains(one_line(message), "cannot read ", folder, "Is a directory")
  end)

  for _, text in ipairs({
    'return { jwt = { key = "s3cr3t" "x" } }', "return { jwt = { key = 's3cr3t' 'x' } }", 'return { jwt = { key = "s3cr3t',
    "return { jwt = { key = [[x]] [[s3cr3t]] } }", 'local key = "s3cr3t"; return { jwt = { key = key + 1 } }',
    'return { jwt = { key = "s3cr3t\\q" } }', 'return { jwt = { key = ("s3cr3t").x.y } }',
  }) do
    it(("do not show the secret in %s"):format(text), function()
      local cfg, message = load_with({ file = write_config(text) })
      assert.is_nil(cfg)
      lacks(one_line(message), "s3cr3t")
    end)
  end
end)

describe("sluice.config: rules over several keys", function()
  local function with(values)
    local cfg = config.defaults(cores)
    for key, value in pairs(values) do cfg[key] = value end
    return cfg
  end

  for _, listen in ipairs({ "0.0.0.0:80", "[::]:80", "192.168.1.1:80", "server.example:80", "[::ffff:10.0.0.1]:80" }) do
    it(("let %s be listened on only with a key or insecure"):format(listen), function()
      local ok, message = config.check(with({ listen = listen }))
      assert.is_nil(ok)
      contains(one_line(message), listen, "set JWT_SECRET or jwt.key, or pass --insecure")
      assert.is_true(config.check(with({ listen = listen, insecure = true })))
      assert.is_true(config.check(with({ listen = listen, ["jwt.key"] = "k" })))
      local function read() return "key" end
      assert.is_true(config.check(with({ listen = listen, ["jwt.key_file"] = "f" }), read))
      contains(refusal({ listen = listen }), "pass --insecure")
    end)
  end

  for _, listen in ipairs({ "127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "localhost:80", "LOCALHOST:80", "[0:0:0:0:0:0:0:1]:80" }) do
    it(("let %s be listened on without a key"):format(listen), function()
      assert.is_true(config.check(with({ listen = listen })))
    end)
  end

  it("refuse a key and a key file, wherever they come from", function()
    local path, folder = write_config('return { jwt = { key_file = "key" } }')
    process.write_file(folder .. "/key", "")
    local cfg, message = load_with({ file = path, env = environment({ JWT_SECRET = "k" }) })
    assert.is_nil(cfg)
    contains(one_line(message), "jwt.key and jwt.key_file are both set")
  end)

  it("refuse a key file that is missing or empty", function()
    local ok, message = config.check(with({ ["jwt.key_file"] = "/nowhere/key" }))
    assert.is_nil(ok)
    contains(one_line(message), "jwt.key_file", "/nowhere/key")
    ok, message = config.check(with({ ["jwt.key_file"] = "f" }), function() return " \n" end)
    assert.is_nil(ok)
    contains(one_line(message), "jwt.key_file", "is empty")
  end)

  it("refuse algorithms that no single key serves", function()
    contains(refusal({ jwt = { algorithms = { "HS256", "RS256" } } }), "HS256, RS256", "expected only HS*")
    contains(refusal({ jwt = { algorithms = { "ES256", "ES512" } } }), "ES256, ES512")
  end)

  it("refuse credentials for every origin", function()
    contains(refusal({ cors = { origins = { "*" }, credentials = true } }), 'cors.origins = "*"', "cors.credentials")
    assert(config.from_table({ cors = { origins = { "https://a" }, credentials = true } }, cores))
  end)

  for _, key in ipairs({ "ca_file", "cert_file" }) do
    it(("refuse redis.%s without TLS"):format(key), function()
      contains(refusal({ redis = { url = "redis://:s3cr3t@a", [key] = "x.pem" } }), ('redis.%s = "x.pem": redis.url is without TLS'):format(key))
      assert(config.from_table({ redis = { url = "rediss://a", [key] = "x.pem" } }, cores))
      assert(config.from_table({ redis = { [key] = "x.pem" } }, cores))
    end)
  end
end)

describe("sluice.config: the table for the core", function()
  local function flat(values)
    return config.flatten(assert(config.from_table(values, cores)))
  end

  it("has host and port apart, brackets gone", function()
    local result = flat({ listen = "[::1]:0" })
    assert.equal("::1", result["listen.host"])
    assert.equal(0, result["listen.port"])
    assert.is_nil(result.listen)
  end)

  it("has every other key as it is", function()
    local cfg = assert(config.from_table({ cors = { origins = { "https://a" } }, history = { age = 0.5 } }, cores))
    local result = config.flatten(cfg)
    for key, value in pairs(cfg) do
      if key ~= "listen" and key ~= "channels" then assert.same(value, result[key]) end
    end
    assert.same({}, result.channels)
  end)

  it("orders the rules of channels so that the first match is the longest, and completes them", function()
    local result = flat({
      history = { messages = 7, bytes = 8, age = 9 },
      channels = {
        ["*"] = {}, ["a*"] = { slow = "conflate" }, ["a.b*"] = { messages = 0 }, ["a"] = { age = 1 }, ["b*"] = { bytes = 2 },
        ["a.b.c"] = {},
      },
    })
    assert.same({
      { pattern = "a.b.c", slow = "disconnect", messages = 7, bytes = 8, age = 9 },
      { pattern = "a", slow = "disconnect", messages = 7, bytes = 8, age = 1 },
      { pattern = "a.b*", slow = "disconnect", messages = 0, bytes = 8, age = 9 },
      { pattern = "a*", slow = "conflate", messages = 7, bytes = 8, age = 9 },
      { pattern = "b*", slow = "disconnect", messages = 7, bytes = 2, age = 9 },
      { pattern = "*", slow = "disconnect", messages = 7, bytes = 8, age = 9 },
    }, result.channels)
  end)

  it("leaves the configuration as it was", function()
    local cfg = assert(config.from_table({ channels = { a = {} } }, cores))
    config.flatten(cfg)["jwt.algorithms"][1] = "x"
    assert.same({ a = {} }, cfg.channels)
    assert.equal("127.0.0.1:8080", cfg.listen)
    assert.same({ "HS256" }, cfg["jwt.algorithms"])
  end)

  it("has a nested form without secrets for scripts", function()
    local cfg = assert(config.from_table({
      jwt = { key = "k", issuer = "i" }, redis = { url = "redis://:p@a" }, channels = { a = { slow = "conflate" } },
    }, cores))
    local public = config.public(cfg)
    assert.same({ algorithms = { "HS256" }, leeway = 0, issuer = "i" }, public.jwt)
    assert.same({ key = "sluice:log", maxlen = 100000 }, public.redis)
    assert.same({ a = { slow = "conflate" } }, public.channels)
    assert.equal("127.0.0.1:8080", public.listen)
    assert.equal("k", cfg["jwt.key"])
    cfg["jwt.key"], cfg["redis.url"] = nil, nil
    assert.same(cfg, (assert(config.from_table(public, cores))))
  end)
end)

describe("sluice.config: the default policy", function()
  local real = package.path
  after_each(function() package.path = real end)

  -- Lays out a tree with the module in `lua` and the policy in `scripts`, and makes it the only one.
  local function lay_out(lua, scripts)
    local tree = process.temp_dir()
    assert(os.execute(("mkdir -p '%s/%s/sluice' '%s/%s'"):format(tree, lua, tree, scripts)))
    process.write_file(("%s/%s/sluice/config.lua"):format(tree, lua), "")
    process.write_file(("%s/%s/routes.lua"):format(tree, scripts), "")
    package.path = ("%s/%s/?.lua"):format(tree, lua)
    return tree
  end

  it("is found in the source tree", function()
    assert.equal(lay_out("lua", "scripts") .. "/scripts", config.default_scripts())
  end)

  it("is found where it is installed", function()
    local tree = lay_out("share/lua/5.4", "share/lua/5.4/sluice/scripts")
    assert.equal(tree .. "/share/lua/5.4/sluice/scripts", config.default_scripts())
  end)

  it("is missed in one clear line", function()
    lay_out("share/lua/5.4", "elsewhere")
    local folder, message = config.default_scripts()
    assert.is_nil(folder)
    contains(one_line(message), "cannot find the default policy", "share/lua/5.4/sluice/scripts")
    package.path = "/nowhere/?.lua"
    assert.is_nil(config.default_scripts())
  end)
end)

describe("sluice.config.address", function()
  local V6 = {
    ["::"] = "0,0,0,0,0,0,0,0", ["::1"] = "0,0,0,0,0,0,0,1", ["1::"] = "1,0,0,0,0,0,0,0",
    ["1:2:3:4:5:6:7:8"] = "1,2,3,4,5,6,7,8", ["1:2:3:4:5:6:7::"] = "1,2,3,4,5,6,7,0",
    ["::ffff:1.2.3.4"] = "0,0,0,0,0,65535,258,772", ["1:2:3:4:5:6:1.2.3.4"] = "1,2,3,4,5,6,258,772",
  }
  for text, groups in pairs(V6) do
    it(("reads the IPv6 address %s"):format(text), function()
      assert.equal(groups, table.concat(address.ipv6(text), ","))
    end)
  end
  for _, text in ipairs({
    "", ":", ":::", "1:::2", "1::2::3", ":1", "1:", "::1:", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "12345::",
    "g::", "fe80::1%eth0", "1.2.3.4::", "::1.2.3.256", "1.2.3.4",
  }) do
    it(("refuses %q as an IPv6 address"):format(text), function() assert.is_nil(address.ipv6(text)) end)
  end
end)

describe("sluice.config.document", function()
  it("has written doc/configuration.md, as it would now", function()
    local text = process.read_file("doc/configuration.md")
    assert.is_true(text == document.markdown(), "doc/configuration.md is out of date; its head says how to write it anew")
  end)

  it("names every key in page and help", function()
    local page, help = document.markdown(), document.help()
    for _, row in ipairs(config.schema) do
      contains(page, "| `" .. row.key .. "` |")
      contains(help, "  " .. row.key .. " ")
    end
  end)

  it("writes a sample file that loads, with all at defaults but what is active", function()
    local path, folder = write_config(document.sample({ scripts = "scripts" }))
    local expected = config.defaults(cores)
    expected.scripts = folder .. "/scripts"
    assert.same(expected, (assert(load_with({ file = path }))))
  end)

  it("writes sample lines that each load when the comment sign is taken away", function()
    local lines, count = {}, 0
    for line in document.sample():gmatch("[^\n]*") do lines[#lines + 1] = line end
    for i, line in ipairs(lines) do
      local bare = line:gsub("^(%s*)%-%- for example: ", "%1"):gsub("^(%s*)%-%- (%l[%w_]* = .*,)$", "%1%2")
      if bare ~= line then
        count = count + 1
        lines[i] = bare
        local path, folder = write_config(table.concat(lines, "\n"))
        process.write_file(folder .. "/jwt.pem", "k")
        assert(load_with({ file = path }))
        lines[i] = line
      end
    end
    assert.is_true(count >= #config.schema, count .. " lines")
  end)

  it("writes a row of the design's table for every key of the sample", function()
    local sample = document.sample()
    for _, row in ipairs(config.schema) do contains(sample, row.key:match("[^.]*$") .. " = ") end
  end)
end)
