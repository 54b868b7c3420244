-- SPDX-License-Identifier: MIT
-- The command line, with the core and the server replaced by fakes; and bin/sluice itself, as far as it needs no core.

local cli = require("sluice.cli")
local config = require("sluice.config")
local json = require("cjson")
local lfs = require("lfs")
local process = require("spec.support.process")

after_each(process.cleanup)

local function list_dir(path)
  local names = {}
  for name in lfs.dir(path) do
    if name ~= "." and name ~= ".." then names[#names + 1] = name end
  end
  return names
end

local function fake_core(over)
  local core = { cores = function() return 2 end, mkdir = lfs.mkdir, list_dir = list_dir, raise_files = function() end }
  for name, value in pairs(over or {}) do core[name] = value end
  return core
end

-- Runs the command line on words. `fakes`: core, sluice (modules), env (variables), input. Returns exit status, what went to
-- standard output, what went to standard error.
local function run(words, fakes)
  fakes = fakes or {}
  local out, err = {}, {}
  local status = cli.main(words, {
    write = function(text)
      out[#out + 1] = text
      return not fakes.broken_output
    end,
    warn = function(line) err[#err + 1] = line .. "\n" end,
    read_all = function() return fakes.input end,
    getenv = function(name) return (fakes.env or {})[name] end,
    core = function() return fakes.core or fake_core() end,
    sluice = function() return fakes.sluice or error("the module sluice is not to be loaded") end,
  })
  return status, table.concat(out), table.concat(err)
end

local function contains(text, ...)
  for _, part in ipairs({ ... }) do
    assert.is_truthy(text:find(part, 1, true), ("%q is not in %q"):format(part, text))
  end
end

local function is_one_line(text)
  assert.is_truthy(text:find("^sluice: [^\n]+\n$"), ("%q is not one line of sluice's"):format(text))
end

describe("sluice: wrong use", function()
  local WRONG = {
    { {}, "no command" },
    { { "--nonsense" }, "unknown flag --nonsense" },
    { { "sreve" }, 'unknown command "sreve"; did you mean serve?' },
    { { "frobnicate" }, 'unknown command "frobnicate" (see sluice --help)' },
    { { "tokens" }, "did you mean token?" },
    { { "token", "news" }, 'unexpected argument "news"' },
    { { "token", "--exp", "soon" }, 'flag --exp: expected a number of seconds, or never, got "soon"' },
    { { "token", "--subscribe", "a,,b" }, 'flag --subscribe: expected channels, or prefixes with * at their end' },
    { { "token", "--publish=a*b" }, "flag --publish: expected channels" },
    { { "token", "--algorithm", "none" }, "flag --algorithm: expected \"HS256\"" },
    { { "token", "--listen", "127.0.0.1:0" }, "unknown flag --listen" },
    { { "listen" }, "missing argument URL" },
    { { "listen", "http://a", "b" }, 'unexpected argument "b"' },
    { { "listen", "http://a", "--count", "0" }, 'flag --count: expected a number of events, at least 1, got "0"' },
    { { "listen", "http://a", "--count", "1.5" }, "flag --count: expected a number of events" },
    { { "listen", "http://a", "--for", "soon" }, 'flag --for: expected a number of seconds, got "soon"' },
    { { "listen", "http://a", "--for=-1" }, "flag --for: expected a number of seconds" },
    { { "listen", "http://a", "--header", "X-A" }, 'flag --header: expected NAME:VALUE, got "X-A"' },
    { { "listen", "http://a", "--header", "X A: 1" }, "flag --header: expected NAME:VALUE" },
    { { "listen", "http://a", "--last-event-id", "a\nb" }, "flag --last-event-id: an id has no control characters" },
    { { "tap", "http://a" }, "tap needs at least one of --stream, --address and --channel" },
    { { "help", "nonsense" }, "unknown command" },
    { { "serve", "--confg", "x" }, "unknown flag --confg; did you mean --config?" },
    { { "serve", "--confg=x" }, "unknown flag --confg; did you mean --config?" },
    { { "--wrkers", "2", "serve" }, "unknown command" },
    { { "serve", "--wrkers=2" }, "did you mean --workers?" },
    { { "serve", "--zzzzzzzz" }, "unknown flag --zzzzzzzz (see sluice serve --help)" },
    { { "serve", "-c", "x" }, "unknown flag -c" },
    { { "serve", "---config" }, "unknown flag ---config" },
    { { "serve", "--config" }, "flag --config needs a value: --config FILE" },
    { { "serve", "--config", "--insecure" }, "flag --config needs a value" },
    { { "serve", "--insecure=true" }, "flag --insecure takes no value" },
    { { "serve", "--set", "workers" }, 'flag --set: expected KEY=VALUE, got "workers"' },
    { { "serve", "--set", "=2" }, "expected KEY=VALUE" },
    { { "serve", "folder" }, 'unexpected argument "folder"' },
    { { "serve", "--", "--insecure" }, 'unexpected argument "--insecure"' },
    { { "check", "--event", "x" }, "unknown flag --event" },
    { { "init" }, "missing argument DIR (see sluice init --help)" },
    { { "init", "a", "b" }, 'unexpected argument "b"' },
    { { "init", "a", "--force" }, "unknown flag --force" },
    { { "publish" }, "missing argument URL" },
    { { "publish", "http://a" }, "missing argument CHANNEL" },
    { { "publish", "http://a", "b", "c", "d" }, 'unexpected argument "d"' },
    { { "publish", "http://a", "b", "-1" }, "unknown flag -1" },
  }
  for _, case in ipairs(WRONG) do
    it(("exits 2 for: sluice %s"):format(table.concat(case[1], " ")), function()
      local status, out, err = run(case[1])
      assert.equal(2, status)
      assert.equal("", out)
      is_one_line(err)
      contains(err, case[2])
    end)
  end
end)

describe("sluice: help and version", function()
  for _, words in ipairs({ { "--help" }, { "-h" }, { "help" } }) do
    it(("sluice %s lists the commands on standard output"):format(words[1]), function()
      local status, out, err = run(words)
      assert.equal(0, status)
      assert.equal("", err)
      contains(out, "usage: sluice COMMAND", "  serve ", "  check ", "  init DIR ", "  publish URL CHANNEL [DATA] ", "--version")
    end)
  end

  for _, name in ipairs({ "serve", "check", "init", "listen", "tap", "publish", "token" }) do
    it(("sluice %s --help says how it is used, whatever else is given"):format(name), function()
      for _, words in ipairs({
        { name, "--help" }, { "--help", name }, { name, "-h" }, { "help", name }, { name, "--help", "a", "b", "c", "d" },
      }) do
        local status, out, err = run(words)
        assert.equal(0, status)
        assert.equal("", err)
        contains(out, "usage: sluice " .. name, "--help")
      end
    end)
  end

  it("sluice serve --help names every flag and every configuration key", function()
    local _, out = run({ "serve", "--help" })
    contains(out, "--config FILE", "--set KEY=VALUE", "--listen ADDR", "--workers N", "--scripts DIR", "--insecure")
    for _, row in ipairs(config.schema) do contains(out, "  " .. row.key .. " ") end
  end)

  it("sluice --version prints it", function()
    local status, out = run({ "--version" })
    assert.equal(0, status)
    assert.is_truthy(out:find("^sluice %d+%.%d+%.%d+\n$"))
  end)
end)

-- A module sluice whose server ends at once with `status`; keeps what start was given.
local function fake_sluice(status, port)
  local fake = { started = {} }
  function fake.start(cfg, options)
    fake.started[#fake.started + 1] = { cfg = cfg, options = options }
    return { port = function() return port or 4711 end, wait = function() return status or 0 end }
  end
  function fake.check(cfg)
    fake.checked = cfg
    return true
  end
  return fake
end

describe("sluice serve", function()
  it("prints the real address, waits, and exits with the server's status", function()
    local sluice = fake_sluice(3)
    local status, out, err = run({ "serve", "--listen", "127.0.0.1:0" }, { sluice = sluice })
    assert.equal(3, status)
    assert.equal("sluice: listening on http://127.0.0.1:4711\n", out)
    assert.equal("", err)
    assert.same({ signals = true }, sluice.started[1].options)
  end)

  it("raises the limit of open files before it starts the server", function()
    local order = {}
    local core = fake_core({ raise_files = function() order[#order + 1] = "raise" end })
    local sluice = fake_sluice()
    local start = sluice.start
    function sluice.start(...)
      order[#order + 1] = "start"
      return start(...)
    end
    run({ "serve" }, { core = core, sluice = sluice })
    assert.same({ "raise", "start" }, order)
  end)

  it("prints IPv6 addresses in brackets", function()
    local _, out = run({ "serve", "--listen=[::1]:0" }, { sluice = fake_sluice() })
    assert.equal("sluice: listening on http://[::1]:4711\n", out)
  end)

  it("resolves file, environment and flags, the last flag winning", function()
    local folder = process.temp_dir()
    process.write_file(folder .. "/c.lua", 'return { scripts = "s", drain = 1, workers = 3, limits = { connections = 5 } }')
    local sluice = fake_sluice()
    local status, _, err = run({
      "--workers=4", "serve", "--config", folder .. "/c.lua", "--set", "drain=2", "--set=drain=3", "--insecure",
      "--set", "workers=5", "--set", "redis.key=a=b",
    }, { sluice = sluice, env = { PORT = "0", JWT_SECRET = "k" } })
    assert.equal("", err)
    assert.equal(0, status)
    local cfg = sluice.started[1].cfg
    assert.equal(folder .. "/s", cfg.scripts)
    assert.equal(3, cfg.drain)
    assert.equal(5, cfg.workers)
    assert.equal(5, cfg["limits.connections"])
    assert.equal("a=b", cfg["redis.key"])
    assert.equal("127.0.0.1:0", cfg.listen)
    assert.equal("k", cfg["jwt.key"])
    assert.is_true(cfg.insecure)
  end)

  local REFUSED = {
    { { "--config", "/nowhere/c.lua" }, "cannot read /nowhere/c.lua: No such file or directory" },
    { { "--workers", "many" }, '--workers: workers = "many": expected an integer from 1 to 256' },
    { { "--listen", "8080" }, '--listen: listen = "8080": expected an address' },
    { { "--listen", "0.0.0.0:0" }, "pass --insecure" },
    { { "--set", "lisen=1" }, "--set: lisen = \"1\": unknown key; the nearest is listen" },
    { { "--set", "limits.conections=5" }, "the nearest is limits.connections" },
    { { "--scripts", "" }, '--scripts: scripts = "": expected the path of a folder' },
  }
  for _, case in ipairs(REFUSED) do
    it(("exits 1 for: %s"):format(table.concat(case[1], " ")), function()
      local status, out, err = run({ "serve", table.unpack(case[1]) }, { sluice = fake_sluice() })
      assert.equal(1, status)
      assert.equal("", out)
      is_one_line(err)
      contains(err, case[2])
    end)
  end

  it("listens beyond loopback with --insecure", function()
    assert.equal(0, (run({ "serve", "--listen", "0.0.0.0:0", "--insecure" }, { sluice = fake_sluice() })))
  end)

  it("exits 1 with the server's message where it does not start", function()
    local sluice = { start = function() return nil, "listen 127.0.0.1:80: address already in use" end }
    local status, out, err = run({ "serve" }, { sluice = sluice })
    assert.equal(1, status)
    assert.equal("", out)
    assert.equal("sluice: listen 127.0.0.1:80: address already in use\n", err)
  end)

  it("exits 1 where something raises", function()
    local sluice = { start = function() error("broken") end }
    local status, _, err = run({ "serve" }, { sluice = sluice })
    assert.equal(1, status)
    contains(err, "sluice: internal error: ", "broken")
  end)
end)

describe("sluice check", function()
  it("says ok", function()
    local sluice = fake_sluice()
    local status, out, err = run({ "check", "--scripts", "s" }, { sluice = sluice })
    assert.equal(0, status)
    assert.equal("ok: default configuration, scripts of s\n", out)
    assert.equal("", err)
    assert.equal("s", sluice.checked.scripts)
    assert.same({}, sluice.started)
  end)

  it("says what is wrong with the configuration or the scripts, and exits 1", function()
    local status, out, err = run({ "check", "--set", "workers=0" }, { sluice = fake_sluice() })
    assert.equal(1, status)
    assert.equal("", out)
    contains(err, "workers")
    local sluice = { check = function() return nil, "scripts/auth.lua:3: unexpected symbol" end }
    status, out, err = run({ "check" }, { sluice = sluice })
    assert.equal(1, status)
    assert.equal("", out)
    assert.equal("sluice: scripts/auth.lua:3: unexpected symbol\n", err)
  end)
end)

describe("sluice init", function()
  local real, policy, target

  before_each(function()
    real, policy = config.default_scripts, process.temp_dir()
    config.default_scripts = function() return policy end
    process.write_file(policy .. "/routes.lua", "return { name = \"routes\" }\n")
    process.write_file(policy .. "/auth.lua", "return { name = \"auth\" }\r\n\0")
    process.write_file(policy .. "/notes.txt", "not a script")
    target = process.temp_dir() .. "/new"
  end)

  after_each(function() config.default_scripts = real end)

  it("writes a configuration that loads and a copy of the default policy", function()
    local status, out, err = run({ "init", target .. "/" })
    assert.equal("", err)
    assert.equal(0, status)
    assert.equal(("wrote %s/sluice.conf.lua\nwrote %s/.luarc.json\nwrote %s/scripts/auth.lua\nwrote %s/scripts/routes.lua\n"):format(
      target, target, target, target), out)
    assert.equal("return { name = \"auth\" }\r\n\0", process.read_file(target .. "/scripts/auth.lua"))
    assert.is_nil(lfs.attributes(target .. "/scripts/notes.txt"))
    local cfg = assert(config.load({ file = target .. "/sluice.conf.lua", cores = fake_core().cores }))
    assert.equal(target .. "/scripts", cfg.scripts)
  end)

  it("tells editors where the annotations are, and leaves an editor's settings that are there alone", function()
    assert.equal(0, (run({ "init", target })))
    local settings = json.decode(process.read_file(target .. "/.luarc.json"))
    assert.equal("Lua 5.4", settings["runtime.version"])
    for index, file in ipairs({ "sluice.lua", "config.lua" }) do
      local path = settings["workspace.library"][index]
      assert.equal("/", path:sub(1, 1))
      assert.is_truthy(lfs.attributes(path .. "/" .. file), path)
    end
    assert(lfs.mkdir(target .. "2"))
    process.write_file(target .. "2/.luarc.json", "mine")
    assert.equal(0, (run({ "init", target .. "2" })))
    assert.equal("mine", process.read_file(target .. "2/.luarc.json"))
  end)

  it("makes what lies above DIR, and takes a folder that is there", function()
    assert.equal(0, (run({ "init", target .. "/a/b" })))
    assert.equal(0, (run({ "init", target .. "/a" })))
    assert.is_truthy(lfs.attributes(target .. "/a/b/scripts/routes.lua"))
    assert.is_truthy(lfs.attributes(target .. "/a/scripts/routes.lua"))
  end)

  for _, there in ipairs({ "sluice.conf.lua", "scripts/routes.lua" }) do
    it(("writes nothing where %s is there"):format(there), function()
      assert(lfs.mkdir(target))
      if there:find("/") then assert(lfs.mkdir(target .. "/scripts")) end
      process.write_file(target .. "/" .. there, "mine")
      local status, out, err = run({ "init", target })
      assert.equal(1, status)
      assert.equal("", out)
      assert.equal(("sluice: %s/%s exists already: nothing written\n"):format(target, there), err)
      assert.equal("mine", process.read_file(target .. "/" .. there))
      local count = 0
      for _, name in ipairs({ "sluice.conf.lua", ".luarc.json", "scripts/auth.lua", "scripts/routes.lua" }) do
        if lfs.attributes(target .. "/" .. name) then count = count + 1 end
      end
      assert.equal(1, count)
    end)
  end

  it("does not overwrite what a second run finds", function()
    assert.equal(0, (run({ "init", target })))
    assert.equal(1, (run({ "init", target })))
  end)

  it("says why a folder cannot be made", function()
    process.write_file(target, "a file")
    local status, out, err = run({ "init", target })
    assert.equal(1, status)
    assert.equal("", out)
    is_one_line(err)
    assert.equal("a file", process.read_file(target))
  end)

  it("refuses an empty DIR", function()
    local status, _, err = run({ "init", "" })
    assert.equal(1, status)
    is_one_line(err)
  end)

  it("takes back what it wrote where a later file cannot be written", function()
    -- A folder that appears under a script's name after the look makes the last write fail.
    local core = fake_core({
      mkdir = function(path)
        assert(lfs.mkdir(path))
        if path:find("/scripts$") then assert(lfs.mkdir(path .. "/routes.lua")) end
        return true
      end,
    })
    local status, out, err = run({ "init", target }, { core = core })
    assert.equal(1, status)
    assert.equal("", out)
    is_one_line(err)
    contains(err, "routes.lua")
    for _, name in ipairs({ "sluice.conf.lua", ".luarc.json", "scripts/auth.lua" }) do assert.is_nil(lfs.attributes(target .. "/" .. name)) end
  end)
end)

describe("sluice publish", function()
  local OK_ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{"id":"1-1","subscribers":2}'
  local sent

  -- A core whose http_request gives `answer`, or nil and `message`.
  local function answering(answer, message)
    return fake_core({
      http_request = function(host, port, bytes, timeout)
        sent = { host = host, port = port, bytes = bytes, timeout = timeout }
        return answer, message
      end,
    })
  end

  before_each(function() sent = nil end)

  it("posts the data and prints the answer", function()
    local answer = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n{"id":"1-1","subscribers":2}\n\r\n0\r\n\r\n'
    local status, out, err = run({ "publish", "http://127.0.0.1:81", "news", "hi" }, { core = answering(answer) })
    assert.equal("", err)
    assert.equal(0, status)
    assert.equal('{"id":"1-1","subscribers":2}\n', out)
    assert.equal("127.0.0.1", sent.host)
    assert.equal(81, sent.port)
    assert.is_true(sent.timeout > 0)
    assert.equal("POST /publish?channel=news HTTP/1.1\r\nHost: 127.0.0.1:81\r\nConnection: close\r\n"
      .. "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\r\nhi", sent.bytes)
  end)

  it("posts standard input as bytes where no data is given", function()
    run({ "publish", "http://a", "c" }, { core = answering(OK_ANSWER), input = "a\0\r\n\xff" })
    assert.is_truthy(sent.bytes:find("Content-Length: 5\r\n\r\na\0\r\n\xff", 1, true))
    run({ "publish", "http://a", "c", "" }, { core = answering(OK_ANSWER), input = "not read" })
    assert.is_truthy(sent.bytes:find("Content%-Length: 0\r\n\r\n$"))
  end)

  it("encodes channel and event, sends the token, keeps the URL's path", function()
    run({ "--event=a&b", "publish", "http://[::1]:9/base/", "\u{e4} b", "--token", "t.o.k", "--", "--data" },
      { core = answering(OK_ANSWER) })
    assert.equal("::1", sent.host)
    contains(sent.bytes, "POST /base/publish?channel=%C3%A4%20b&event=a%26b HTTP/1.1\r\nHost: [::1]:9\r\n",
      "\r\nAuthorization: Bearer t.o.k\r\n", "\r\n\r\n--data")
  end)

  local FAILURES = {
    { 'HTTP/1.1 401 Unauthorized\r\n\r\n{"error":"missing token"}', "http://a answers 401: missing token" },
    { "HTTP/1.1 502 Bad Gateway\r\n\r\n<html>\nno", "http://a answers 502: <html>" },
    { "HTTP/1.1 503 Service Unavailable\r\n\r\n", "http://a answers 503: Service Unavailable" },
    { "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", "http://a answers 302: Found" },
    { 'HTTP/1.1 400 Bad Request\r\n\r\n{"error":5}', 'http://a answers 400: {"error":5}' },
    { "", "http://a: the server closed the connection without an answer" },
    { "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "http://a: the answer is cut off in its body" },
  }
  for _, case in ipairs(FAILURES) do
    it(("exits 1 with: %s"):format(case[2]), function()
      local status, out, err = run({ "publish", "http://a", "c", "d" }, { core = answering(case[1]) })
      assert.equal(1, status)
      assert.equal("", out)
      assert.equal("sluice: " .. case[2] .. "\n", err)
    end)
  end

  it("exits 1 where nobody listens", function()
    local status, out, err = run({ "publish", "http://a:1", "c", "d" }, { core = answering(nil, "connection refused") })
    assert.equal(1, status)
    assert.equal("", out)
    assert.equal("sluice: http://a:1: connection refused\n", err)
  end)

  local REFUSED = {
    { { "https://a", "c", "d" }, "publish through the server's plain port" },
    { { "a:80", "c", "d" }, "URL: not a URL" },
    { { "http://a?x=1", "c", "d" }, "URL: expected no query" },
    { { "http://a", "c", "d", "--token", "a\nb" }, "control characters in Authorization" },
    { { "http://a", "c" }, "cannot read standard input" },
  }
  for _, case in ipairs(REFUSED) do
    it(("sends nothing and exits 1: %s"):format(case[2]), function()
      local status, _, err = run({ "publish", table.unpack(case[1]) }, { core = answering(OK_ANSWER) })
      assert.equal(1, status)
      is_one_line(err)
      contains(err, case[2])
      assert.is_nil(sent)
    end)
  end

  it("exits 1 where the answer cannot be printed", function()
    local status, _, err = run({ "publish", "http://a", "c", "d" }, { core = answering(OK_ANSWER), broken_output = true })
    assert.equal(1, status)
    assert.equal("sluice: cannot write to standard output\n", err)
  end)
end)

describe("sluice token", function()
  local signed

  local function signing(token, message)
    return fake_core({
      json = { array = function(list) return list end },
      token_sign = function(key, algorithm, claims)
        signed = { key = key, algorithm = algorithm, claims = claims }
        return token, message
      end,
    })
  end

  local function token_of(words, env)
    signed = nil
    return run({ "token", table.unpack(words) }, { core = signing("t.o.k"), env = env })
  end

  it("prints a token of an hour that says nothing about channels", function()
    local before = os.time()
    local status, out, err = token_of({ "--key", "a secret" })
    assert.equal("", err)
    assert.equal(0, status)
    assert.equal("t.o.k\n", out)
    assert.equal("a secret", signed.key)
    assert.equal("HS256", signed.algorithm)
    local claims = signed.claims
    assert.is_true(claims.iat >= before and claims.iat <= os.time())
    assert.same({ iat = claims.iat, exp = claims.iat + 3600 }, claims)
    assert.equal("integer", math.type(claims.exp))
  end)

  it("says who, for which channels, and until when", function()
    token_of({ "--key=k", "--sub", "ann", "--subscribe", "news, user.42.*", "--subscribe=a", "--publish", "news", "--admin", "--exp", "-60" })
    local claims = signed.claims
    assert.equal("ann", claims.sub)
    assert.equal(claims.iat - 60, claims.exp)
    assert.same({ subscribe = { "news", "user.42.*", "a" }, publish = { "news" }, admin = true }, claims.sluice)
    token_of({ "--key=k", "--admin", "--exp=never" })
    assert.same({ iat = signed.claims.iat, sluice = { admin = true } }, signed.claims)
    token_of({ "--key=k", "--exp=0.5" })
    assert.equal(signed.claims.iat + 0.5, signed.claims.exp)
  end)

  it("takes key, algorithm, issuer and audience from the configuration, whatever that would listen on", function()
    local folder = process.temp_dir()
    process.write_file(folder .. "/key", "from a file\n")
    process.write_file(folder .. "/conf.lua", 'return { listen = "0.0.0.0:1", jwt = { key_file = "key", algorithms = { "HS512", "HS256" }, '
      .. 'issuer = "me", audience = "you" } }')
    token_of({ "--config", folder .. "/conf.lua" })
    assert.equal("from a file", signed.key)
    assert.equal("HS512", signed.algorithm)
    assert.equal("me", signed.claims.iss)
    assert.equal("you", signed.claims.aud)
    token_of({ "--config", folder .. "/conf.lua", "--key", "k", "--algorithm", "HS256", "--set", "jwt.issuer=other" })
    assert.equal("k", signed.key)
    assert.equal("HS256", signed.algorithm)
    assert.equal("other", signed.claims.iss)
    token_of({}, { JWT_SECRET = "from the environment" })
    assert.equal("from the environment", signed.key)
  end)

  local REFUSED = {
    { {}, nil, "no key to sign with: set JWT_SECRET, or give --key" },
    { { "--key", "" }, nil, "no key to sign with" },
    { {}, { JWT_SECRET = "" }, "JWT_SECRET" },
    { { "--set", "jwt.key_file=/nowhere/key" }, nil, "jwt.key_file: cannot read /nowhere/key" },
    { { "--config", "/nowhere/conf.lua" }, nil, "cannot read /nowhere/conf.lua" },
    { { "--set", "jwt.kee=a secret" }, nil, "jwt.kee = (not shown): unknown key" },
  }
  for _, case in ipairs(REFUSED) do
    it(("exits 1: %s"):format(case[3]), function()
      local status, out, err = token_of(case[1], case[2])
      assert.equal(1, status)
      assert.equal("", out)
      is_one_line(err)
      contains(err, case[3])
      assert.is_nil(err:find("a secret", 1, true))
      assert.is_nil(signed)
    end)
  end

  it("exits 1 with what is wrong with the key", function()
    local status, out, err = run({ "token", "--key", "k" }, { core = signing(nil, "HS256 needs a shared secret, and the key is an RSA key") })
    assert.equal(1, status)
    assert.equal("", out)
    assert.equal("sluice: token: HS256 needs a shared secret, and the key is an RSA key\n", err)
  end)
end)

describe("bin/sluice", function()
  local root = lfs.currentdir()
  local ENV = { LUA_PATH = ";;", LUA_CPATH = ";;" } -- not what busted was started with

  local function version_of(argv, cwd)
    local status, out, err = process.run(argv, { cwd = cwd, env = ENV })
    assert.equal("", err)
    assert.equal(0, status)
    assert.equal("sluice " .. require("sluice.version") .. "\n", out)
  end

  local function copy_to(folder)
    assert(os.execute(("mkdir -p %s && cp bin/sluice %s"):format(process.quote(folder), process.quote(folder))))
    return folder .. "/sluice"
  end

  local function install_library(prefix)
    local share = process.quote(prefix .. "/share/lua/5.4")
    assert(os.execute(("mkdir -p %s && cp -r lua/sluice %s/"):format(share, share)))
  end

  it("runs from the source tree, wherever it is called from", function()
    version_of({ "bin/sluice", "--version" }, root)
    version_of({ "./sluice", "--version" }, root .. "/bin")
    version_of({ "lua5.4", "sluice", "--version" }, root .. "/bin")
    version_of({ root .. "/bin/sluice", "--version" }, "/")
  end)

  it("runs through symbolic links", function()
    local folder = process.temp_dir()
    assert(lfs.link(root .. "/bin/sluice", folder .. "/it's one", true))
    assert(lfs.link("it's one", folder .. "/two", true))
    version_of({ folder .. "/two", "--version" }, "/")
  end)

  it("runs where it is installed, as PREFIX/bin/sluice, through a link too, and in a tree of LuaRocks", function()
    local prefix = process.temp_dir()
    install_library(prefix)
    version_of({ copy_to(prefix .. "/bin"), "--version" }, "/")
    version_of({ "bin/sluice", "--version" }, prefix)
    version_of({ "./sluice", "--version" }, prefix .. "/bin")
    version_of({ copy_to(prefix .. "/lib/luarocks/rocks-5.4/sluice/scm-1/bin"), "--version" }, "/")
    local folder = process.temp_dir()
    assert(lfs.link(prefix .. "/bin/sluice", folder .. "/sluice", true))
    version_of({ folder .. "/sluice", "--version" }, "/")
  end)

  it("exits with the command's status, keeping standard output for results", function()
    local status, out, err = process.run({ "bin/sluice", "serve", "--nonsense" }, { env = ENV })
    assert.equal(2, status)
    assert.equal("", out)
    is_one_line(err)
    status, out, err = process.run({ "bin/sluice", "publish", "https://a", "c", "d" }, { env = ENV })
    assert.equal(1, status)
    assert.equal("", out)
    is_one_line(err)
  end)

  it("says in one line that the core is missing", function()
    local status, out, err = process.run({ "bin/sluice", "check" },
      { env = { LUA_PATH = ";;", LUA_CPATH = "/nowhere/?.so", SLUICE_BUILD = "/nowhere" } })
    assert.equal(1, status)
    assert.equal("", out)
    is_one_line(err)
    contains(err, "cannot load the module sluice.core", "make")
  end)
end)
