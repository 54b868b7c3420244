-- SPDX-License-Identifier: MIT
-- Runs the examples of Sluice as a library: examples/embedded.lua, and examples/beside_a_service with nginx in front.
local helper = require("spec.helper")
local http, json, process, sse, tcp = helper.http, helper.json, helper.process, helper.sse, helper.tcp

local function launch(argv, pattern)
  local program = process.spawn(argv, { cwd = helper.root, preload = os.getenv("SLUICE_PRELOAD"), stubborn = true })
  local found = helper.eventually(function()
    if not program:is_running() then error(program:errors(), 0) end
    local ports = { program:output():match(pattern) }
    return ports[1] and ports
  end)
  return program, math.tointeger(tonumber(found[1])), math.tointeger(tonumber(found[2]))
end

describe("examples/embedded.lua", function()
  teardown(helper.cleanup)

  it("serves while its own loop works, and ends in good order", function()
    local program, port = launch({ "lua5.4", "examples/embedded.lua", "0", "60000" }, "http://127%.0%.0%.1:(%d+)\n")
    local progress = sse.open(port, "/progress"):wait_open()
    local primes = sse.open(port, "/primes?last_event_id=earliest")
    local first = primes:wait_messages(1)[1]
    assert.equal("prime", first.event)
    assert.equal(1000, json.decode(first.data).found)
    assert.same({ "progress", 2 }, { progress:wait_messages(1)[1].event, json.decode(progress:messages()[1].data).listeners })
    assert.equal(404, http.request(port, "POST", "/publish", { body = "x" }).status)
    assert.equal("chunk", primes:wait_end(30))
    assert.equal(60, #primes:messages())
    assert.equal(0, program:wait(helper.TEST_TIMEOUT))
  end)
end)

describe("examples/beside_a_service", function()
  local service, front

  local function post(target, body, cookie)
    return http.request(front, "POST", target, { body = body, headers = { ["Content-Type"] = "application/x-www-form-urlencoded", Cookie = cookie } })
  end

  setup(function()
    process.need("nginx", "nginx")
    local events
    local argv = { "lua5.4", "examples/beside_a_service/service.lua", "0", "0" }
    service, events = select(2, launch(argv, "service: http://127%.0%.0%.1:(%d+), events: http://127%.0%.0%.1:(%d+)\n"))
    front = tcp.free_port()
    local dir = process.temp_dir()
    assert(os.execute("chmod 755 " .. dir))
    local text = process.read_file("examples/beside_a_service/nginx.conf")
    for from, to in pairs({ ["8080"] = front, ["8081"] = service, ["8082"] = events }) do text = text:gsub("127%.0%.0%.1:" .. from, "127.0.0.1:" .. to) end
    process.write_file(dir .. "/nginx.conf", text)
    process.spawn({ "nginx", "-p", dir, "-c", dir .. "/nginx.conf" })
    helper.eventually(function() return http.request(front, "GET", "/").status == 200 end, nil, "nginx")
  end)

  teardown(helper.cleanup)
  after_each(helper.close_clients)

  it("shares the login: one cookie opens the service and the person's own events", function()
    assert.equal(401, post("/login", "name=ann&password=wrong").status)
    local login = post("/login", "name=ann&password=anemone")
    assert.equal(200, login.status)
    local cookie = login.headers["set-cookie"]:match("^session=[^;]+")
    assert.equal(401, sse.open(front, "/events?channel=orders.ann"):wait_head().status)
    assert.equal(403, sse.open(front, "/events?channel=orders.bob", { headers = { Cookie = cookie } }):wait_head().status)

    local stream = sse.open(front, "/events?channel=orders.ann", { headers = { Cookie = cookie } }):wait_open()
    assert.equal(401, post("/orders", "what=tea").status)
    assert.equal("order 1\n", post("/orders", "what=tea", cookie).body)
    local event = stream:wait_messages(1)[1]
    assert.same({ "order", "tea" }, { event.event, json.decode(event.data).what })
    stream:close()

    post("/orders", "what=cake", cookie)
    local again = sse.open(front, "/events?channel=orders.ann", { headers = { Cookie = cookie }, last_event_id = event.id })
    assert.equal("cake", json.decode(again:wait_messages(1)[1].data).what)
  end)

  it("keeps publishing for the service", function()
    assert.equal(404, post("/publish", "x").status)
  end)
end)
