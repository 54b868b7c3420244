-- SPDX-License-Identifier: MIT
-- The annotations of lua/sluice/library say what there is: no more and no less than scripts and hosts find at run time. doc/reference.md is made from them.
local annotations = require("doc.generate.annotations")
local document = require("sluice.config.document")
local json = require("cjson")
local lfs = require("lfs")
local process = require("spec.support.process")
local reference = require("doc.generate.reference")

local ROOT = lfs.currentdir()
local HOW = "annotate it in lua/sluice/library (see a neighbour there), then run `make doc`"

local set = annotations.load(ROOT)

-- The annotated names of a class: fields and functions, those of its parents too.
local function names_of(class_name, kind)
  local names = {}
  local class = assert(set.classes[class_name], "no class " .. class_name)
  for _, field in ipairs(kind ~= "functions" and class.fields or {}) do names[field.name] = true end
  for _, entry in ipairs(kind ~= "fields" and class.functions or {}) do names[entry.member] = true end
  if class.parents then
    for name in pairs(names_of(class.parents, kind)) do names[name] = true end
  end
  return names
end

local function to_set(list)
  local names = {}
  for _, name in ipairs(list) do names[name] = true end
  return names
end

-- Fails with the names that are in one set only, and what to do about them.
local function agree(what, real, annotated)
  local lines = {}
  for name in pairs(real) do
    if not annotated[name] then lines[#lines + 1] = ("%s has '%s', which is not annotated: %s"):format(what, name, HOW) end
  end
  for name in pairs(annotated) do
    if not real[name] then
      lines[#lines + 1] = ("%s has no '%s', which is annotated: take it out of lua/sluice/library, then run `make doc`"):format(what, name)
    end
  end
  table.sort(lines)
  assert.equal("", table.concat(lines, "\n"))
end

local function keys(map)
  local names = {}
  for name in pairs(map) do names[name] = true end
  return names
end

-- What a Lua function calls its parameters must be what the annotation calls them.
local function check_parameters(f, entry)
  local names = {}
  for index = 1, debug.getinfo(f, "u").nparams do names[index] = debug.getlocal(f, index) end
  if entry.method and names[1] == "self" or names[1] == "_" then table.remove(names, 1) end
  local annotated = {}
  for index, param in ipairs(entry.params) do annotated[index] = param.name end
  assert.same(annotated, names, entry.name)
end

describe("what is made from annotations", function()
  local function is_current(path, text)
    assert.is_true(process.read_file(path) == text,
      path .. " is out of date: run `make doc`. It is made from lua/sluice/library, the schema of the settings and the commands: edit those, not the page")
  end

  it("is written: doc/reference.md", function() is_current("doc/reference.md", reference.page(ROOT)) end)

  it("is written: the annotations of the settings", function() is_current("lua/sluice/library/common/config.lua", document.annotations()) end)

  -- What an editor would call an undefined class.
  it("names only types that there are", function()
    local BASIC = to_set({ "any", "boolean", "false", "fun", "integer", "lightuserdata", "nil", "number", "self", "string", "table", "true", "T" })
    local unknown = {}
    local function check(where, type)
      type = type:gsub('"[^"]*"', ""):gsub("[%w_]+%??:", "") -- words of an enumeration, and names of parameters and members
      for name in type:gmatch("[%a_][%w_%.]*") do
        if not (BASIC[name] or set.classes[name] or set.aliases[name]) then unknown[#unknown + 1] = where .. ": " .. name end
      end
      assert.equal(select(2, type:gsub("[%(%[{<]", "")), select(2, type:gsub("[%)%]}>]", "")), where .. ": brackets of " .. type)
    end
    for name, class in pairs(set.classes) do
      if class.parents then check(name, class.parents) end
      for _, field in ipairs(class.fields) do check(name .. "." .. field.name, field.type) end
      for _, entry in ipairs(class.functions) do
        for _, param in ipairs(entry.params) do check(entry.name .. " " .. param.name, param.type) end
        for _, value in ipairs(entry.returns) do check(entry.name, value.type) end
        for _, overload in ipairs(entry.overloads) do check(entry.name, overload) end
      end
    end
    for name, type in pairs(set.aliases) do check(name, type) end
    table.sort(unknown)
    assert.same({}, unknown)
  end)

  it("loads as Lua", function()
    for _, folder in ipairs({ "common", "host", "policy" }) do
      for name in lfs.dir("lua/sluice/library/" .. folder) do
        if name:find("%.lua$") then assert(loadfile(("lua/sluice/library/%s/%s"):format(folder, name))) end
      end
    end
  end)
end)

-- Says as JSON what a script sees: the names in `sluice` and its tables, and which members of request and stream can be read.
local PROBE = [[
local function list(t)
  local names = sluice.json.array({})
  for name in pairs(t) do names[#names + 1] = name end
  return names
end
local function readable(object, names)
  local missing = sluice.json.array({})
  for name in names:gmatch("[%w_]+") do
    if not pcall(function() return object[name] end) then missing[#missing + 1] = name end
  end
  return missing
end
return {
  routes = function(route)
    route:get("/names", function()
      local found = { sluice = list(sluice), route = list(route) }
      for _, name in ipairs({ "shared", "jwt", "json", "log", "admin" }) do found[name] = list(sluice[name]) end
      return found
    end)
    route:get("/request", function(request) return readable(request, request:query("names")) end)
    route:stream("/stream", function(stream, request)
      stream:send(sluice.json.encode(readable(stream, request:query("names"))))
    end)
  end,
}
]]

describe("the annotations of the script interface", function()
  local core, server, names

  local function get(target)
    local answer = assert(core.http_request("127.0.0.1", server:port(), ("GET %s HTTP/1.0\r\nHost: x\r\n\r\n"):format(target)))
    assert.truthy(answer:find("^HTTP/1%.%d 200 "), answer)
    return answer
  end

  local function query(map)
    local list = {}
    for name in pairs(map) do list[#list + 1] = name end
    return table.concat(list, ",")
  end

  setup(function()
    core = require("sluice.core")
    server = assert(require("sluice").start({ listen = "127.0.0.1:0", workers = 1, scripts = { ["probe.lua"] = PROBE } }))
    names = json.decode(get("/names"):match("\r\n\r\n(.*)$"))
  end)

  teardown(function() server:stop({ drain = 0 }) end)

  it("name what is in sluice", function() agree("sluice", to_set(names.sluice), names_of("sluice.policy")) end)

  for _, name in ipairs({ "shared", "jwt", "json", "log", "admin" }) do
    it("name what is in sluice." .. name, function() agree("sluice." .. name, to_set(names[name]), names_of("sluice." .. name)) end)
  end

  it("name what route has", function() agree("route", to_set(names.route), names_of("sluice.route")) end)

  -- Methods and members of a userdata cannot be listed: that there is no other one is read from the source.
  local function members_in_source(path)
    local text = process.read_file(path)
    local found = {}
    local methods = assert(text:match("luaL_Reg METHODS%[%] = (%b{})"), path .. " has no METHODS")
    for name in methods:gmatch('{"([%w_]+)"') do found[name] = true end
    local fields = assert(text:match("FIELDS%[%] = (%b{})"), path .. " has no FIELDS")
    for name in fields:gmatch('"([%w_]+)"') do found[name] = true end
    return found
  end

  it("name what a request has", function()
    local annotated = names_of("sluice.request")
    assert.same({}, json.decode(get("/request?names=" .. query(annotated)):match("\r\n\r\n(.*)$")))
    agree("a request", members_in_source("core/lua_request.c"), annotated)
  end)

  it("name what a stream has", function()
    local annotated = names_of("sluice.stream")
    assert.same({}, json.decode(get("/stream?names=" .. query(annotated)):match("\ndata: (%[.-%])\n") or error("no answer")))
    agree("a stream", members_in_source("core/lua_stream.c"), annotated)
  end)

  it("name what a script may return", function()
    local _, message = require("sluice").check({ scripts = { ["x.lua"] = "return { no_such_hook = 1 }" } })
    local list = assert(message:match("; a script has (.*)$"), message)
    agree("a script", to_set({ list:match((("([%w_]+)[, and]*"):rep(8))) }), names_of("sluice.script"))
  end)

  it("name the options of routes", function()
    local _, message = require("sluice").check({ scripts = { ["x.lua"] = "return { routes = function(route) route:get('/', { no_such = 1 }, print) end }" } })
    local found = {}
    for name in assert(message:match("; there are (.*)$"), message):gmatch("[%w_]+") do
      if name ~= "and" then found[name] = true end
    end
    agree("a route's options", found, names_of("sluice.route_options"))
  end)

  it("are used in the default policy", function()
    for name in lfs.dir("scripts") do
      if name:find("%.lua$") then assert.truthy(process.read_file("scripts/" .. name):find("\n---@type sluice.script\nreturn {", 1, true), name) end
    end
  end)
end)

describe("the annotations of the host interface", function()
  it("name what require(\"sluice\") has", function()
    local sluice = require("sluice")
    agree("sluice", keys(sluice), names_of("sluice.host"))
    for _, entry in ipairs(set.classes["sluice.host"].functions) do check_parameters(sluice[entry.member], entry) end
  end)

  it("name what a server has", function()
    local server <close> = assert(require("sluice").start({ listen = "127.0.0.1:0", workers = 1 }))
    local methods = {}
    for name, value in pairs(getmetatable(server).__index) do
      if type(value) == "function" and name:sub(1, 2) ~= "__" then methods[name] = value end
    end
    agree("a server", keys(methods), names_of("sluice.server"))
    for _, entry in ipairs(set.classes["sluice.server"].functions) do check_parameters(methods[entry.member], entry) end
  end)

  it("name what sluice.testing has", function()
    local testing = require("sluice.testing")
    agree("sluice.testing", keys(testing), names_of("sluice.testing"))
    local server = testing.start({ default_policy = true })
    local stream = server:open("/events")
    server:publish("default", "{}")
    for class, object in pairs({ testing = testing, testing_server = server, testing_stream = stream, testing_event = stream:wait_event(),
      testing_answer = server:request("GET", "/health") }) do
      for _, entry in ipairs(set.classes["sluice." .. class].functions) do
        assert.equal("function", type(object[entry.member]), entry.name)
        check_parameters(object[entry.member], entry)
      end
      for _, field in ipairs(set.classes["sluice." .. class].fields) do assert.is_not_nil(object[field.name], class .. "." .. field.name) end
    end
  end)

  it("name what sluice.eventsource has", function()
    local eventsource = require("sluice.eventsource")
    agree("sluice.eventsource", keys(eventsource), names_of("sluice.eventsource"))
    local client = assert(eventsource.open("http://127.0.0.1:1/"))
    for _, entry in ipairs(set.classes["sluice.eventsource_client"].functions) do
      assert.equal("function", type(client[entry.member]), entry.name)
      check_parameters(client[entry.member], entry)
    end
    agree("client:stats()", keys(client:stats()), (function()
      local annotated = names_of("sluice.eventsource_stats")
      for name in pairs(annotated) do -- what is nil now cannot be seen
        if client:stats()[name] == nil then annotated[name] = nil end
      end
      return annotated
    end)())
    for name in pairs(names_of("sluice.eventsource_options")) do
      local ok, message = pcall(eventsource.open, "http://127.0.0.1:1/", { [name] = {} })
      assert.falsy(not ok and message:find("unknown option"), name)
    end
    client:close()
  end)
end)
