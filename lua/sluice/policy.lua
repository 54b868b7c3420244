-- SPDX-License-Identifier: MIT
-- The policy of one worker: loads a set of scripts into an environment of its own and runs its hooks and routes. Runs inside the
-- worker's Lua state, called by core/lua_policy.c; scripts never see this module. `core` is the table of C functions it stands on.

-- luacheck: ignore 211/guard (a phase is left when its guard goes out of scope)

local admin = require "sluice.admin"
local environment = require "sluice.environment"
local origins = require "sluice.origins"
local router = require "sluice.router"

local HOOKS = { on_request = true, on_subscribe = true, on_publish = true, on_message = true, on_disconnect = true }
local GUARDS = { "on_request", "on_subscribe", "on_publish" }

return function(core)
  local policy = {}
  local enter, begin, finish = core.enter, core.begin, core.finish
  local message_parts = core.message_parts

  -- Loading ------------------------------------------------------------------------------------------------------------

  local function check_script(file, script)
    if type(script) ~= "table" then
      error(file .. ": a script returns a table of hooks, this one returns " .. type(script), 0)
    end
    for key, value in pairs(script) do
      if HOOKS[key] or key == "routes" then
        if type(value) ~= "function" then
          error(("%s: %s must be a function, it is a %s"):format(file, key, type(value)), 0)
        end
      elseif key == "name" then
        if type(value) ~= "string" then error(file .. ": name must be a string, it is a " .. type(value), 0) end
      elseif key == "priority" then
        if type(value) ~= "number" then error(file .. ": priority must be a number, it is a " .. type(value), 0) end
      else
        error(("%s: unknown field '%s'; a script has name, priority, routes, on_request, on_subscribe, on_publish, on_message and "
          .. "on_disconnect"):format(file, tostring(key)), 0)
      end
    end
  end

  -- Names of all policy scripts, in order: all workers load them alike, and tell the same error first.
  local function script_names(files)
    local names = {}
    for file in pairs(files) do
      if file:find("^[^/]+%.lua$") then names[#names + 1] = file end
    end
    table.sort(names)
    return names
  end

  local function load_scripts(files, env)
    local scripts = {}
    for _, file in ipairs(script_names(files)) do
      local chunk, problem = load(files[file], "@" .. file, "t", env)
      if not chunk then error(problem, 0) end
      local script = chunk(file)
      check_script(file, script)
      scripts[#scripts + 1] = { file = file, script = script, name = script.name or file:sub(1, -5), priority = script.priority or 0 }
    end
    table.sort(scripts, function(a, b)
      if a.priority ~= b.priority then return a.priority > b.priority end
      if a.name ~= b.name then return a.name < b.name end
      return a.file < b.file
    end)
    return scripts
  end

  -- Where a hook is, for what is wrong with its answers.
  local function place_of(file, hook, files, run)
    local info = debug.getinfo(run, "S")
    local source = info.source:sub(2)
    if info.what == "Lua" and files[source] then return ("%s:%d: %s"):format(source, info.linedefined, hook) end
    return file .. ": " .. hook
  end

  -- Takes the files of a snapshot (name -> text) and the functions that scripts see as `sluice`. Returns a generation: hooks in order and a
  -- router. Raises with "file:line: what is wrong".
  function policy.load(files, sluice)
    local config, jwt = sluice.config, sluice.jwt
    local generation = { router = router.new(), guarded = false, names = {} }
    sluice.origins = origins.new(config.cors, jwt.has_key, config.jwt.cookie, config.insecure)
    if config.admin then admin(generation.router:collector("the server itself", { admin = true }), sluice) end
    local scripts = load_scripts(files, environment.new(core, files, sluice))
    for hook in pairs(HOOKS) do generation[hook] = {} end
    for _, entry in ipairs(scripts) do
      generation.names[#generation.names + 1] = entry.name
      for hook in pairs(HOOKS) do
        if entry.script[hook] then
          local list = generation[hook]
          local run = entry.script[hook]
          list[#list + 1] = { run = run, where = place_of(entry.file, hook, files, run) }
        end
      end
      if entry.script.routes then
        entry.script.routes(generation.router:collector(entry.file))
      end
    end
    for _, guard in ipairs(GUARDS) do
      if #generation[guard] > 0 then generation.guarded = true end
    end
    -- For core/lua_dispatch.c, by number: a name costs a look-up in each request.
    generation[1], generation[2] = generation.router.exact, {}
    for i, hook in ipairs(generation.on_request) do generation[2][i] = hook.run end
    return generation, #generation.on_message > 0, #generation.on_disconnect > 0, generation.guarded, #generation.on_publish > 0
  end

  -- Answers ------------------------------------------------------------------------------------------------------------

  local function wrong_return(where, value)
    error(("%s returned a %s; %s"):format(where, type(value), "nil goes on unchanged, see doc/policy.md for what else it may return"), 0)
  end

  -- Requests: what core/lua_dispatch.c leaves to Lua -------------------------------------------------------------------

  -- Finds the route where path and method do not name it at once. Returns the path in its one spelling; the path's parameters, or where there is
  -- no route the methods that there are; and the route.
  function policy.route(generation, method, path, encoded)
    if encoded then path = router.normalize(path) end
    local route, found = generation.router:match(method, path)
    return path, found, route
  end

  -- Answers for a path without a handler for this method: `found` is the list of methods, nil where the path is unknown.
  function policy.unrouted(request, method, path, found)
    if not found then
      return core.respond_error(request, 404, "no route for " .. path)
    elseif method == "OPTIONS" then
      return core.respond_error(request, 204, "", { Allow = found })
    end
    return core.respond_error(request, 405, method .. " is not allowed here, see Allow", { Allow = found })
  end

  function policy.serve_stream(request, options, handler)
    local stream = core.open_stream(request, options)
    if not stream then return end
    handler(stream, request)
    return core.finish_stream(stream)
  end

  function policy.wrong_on_request(generation, i, answer)
    wrong_return(generation.on_request[i].where, answer)
  end

  -- Hooks --------------------------------------------------------------------------------------------------------------

  -- Asks the on_subscribe hooks. Raises a rejection where one refuses.
  function policy.may_subscribe(generation, stream, channel)
    local hooks = generation.on_subscribe
    for i = 1, #hooks do
      local guard <close> = enter(core.ON_SUBSCRIBE)
      local answer, reason = hooks[i].run(stream, channel)
      if answer == false then
        error(core.rejection(403, reason ~= nil and tostring(reason) or ("channel '" .. channel .. "' is refused")), 0)
      elseif answer ~= nil and answer ~= true then
        wrong_return(hooks[i].where, answer)
      end
    end
  end

  -- A message that a hook has returned.
  local function check_message(where, message)
    if type(message.data) ~= "string" then
      error(("%s: a message's data must be a string, it is a %s"):format(where, type(message.data)), 0)
    elseif message.event ~= nil and type(message.event) ~= "string" then
      error(("%s: a message's event must be a string, it is a %s"):format(where, type(message.event)), 0)
    elseif message.channel ~= nil and type(message.channel) ~= "string" then
      error(("%s: a message's channel must be a string, it is a %s"):format(where, type(message.channel)), 0)
    end
  end

  local MESSAGE_FIELDS = { channel = true, event = true, data = true, id = true, key = true }

  -- A message as hooks see it, from what a script has given.
  local function message_of(channel, given)
    if type(given) == "string" then return { channel = channel, data = given } end
    if type(given) ~= "table" then
      error("a message is a table { event = ..., data = ... } or a string, not a " .. type(given), 0)
    end
    for key in pairs(given) do
      if not MESSAGE_FIELDS[key] then error("a message has channel, event and data, not '" .. tostring(key) .. "'", 0) end
    end
    local data, event = given.data, given.event
    if data == nil then error("a message needs data", 0) end
    if event ~= nil and type(event) ~= "string" then error("a message's event must be a string, not a " .. type(event), 0) end
    if type(data) ~= "string" then data = core.json_encode(data) end
    return { channel = channel, event = event, data = data }
  end

  -- Publishes. Returns the id and the number of subscribers, or nil, why, status, state. Raises where the arguments are of the wrong kind.
  function policy.publish(generation, channel, given, request)
    local hooks = generation.on_publish
    local message = message_of(channel, given)
    local key = type(given) == "table" and given.key or nil
    local fingerprint = key and core.fingerprint(message.channel, message.event, message.data)
    for i = 1, #hooks do
      local guard <close> = enter(core.ON_PUBLISH)
      -- A copy: nil means unchanged, whatever the hook did to what it was given.
      local answer, reason = hooks[i].run({ channel = message.channel, event = message.event, data = message.data }, request)
      if answer == false then
        return nil, reason ~= nil and tostring(reason) or "the message is refused", 403
      elseif type(answer) == "table" then
        check_message(hooks[i].where, answer)
        message = { channel = answer.channel or message.channel, event = answer.event, data = answer.data }
      elseif answer ~= nil then
        wrong_return(hooks[i].where, answer)
      end
    end
    return core.publish(message.channel, message.event, message.data, key, fingerprint)
  end

  -- Says why an answer is no message.
  local function wrong_message(where, answer)
    if type(answer) ~= "table" then wrong_return(where, answer) end
    check_message(where, answer)
  end

  -- Shapes a message for one stream, in a coroutine whose phase is on_message's. Returns event and data, or nil to skip it.
  function policy.shape(generation, filter, channel, event, data, id, stream)
    if filter then
      begin(core.FILTER) -- without a guard, as in dispatch
      local wanted = filter({ channel = channel, event = event, data = data, id = id }, stream)
      finish()
      if not wanted then return nil end
    end
    local hooks = generation.on_message
    for i = 1, #hooks do
      local answer = hooks[i].run({ channel = channel, event = event, data = data, id = id }, stream)
      if answer == false then
        return nil
      elseif answer ~= nil then
        local new_data, new_event = message_parts(answer)
        if not new_data then wrong_message(hooks[i].where, answer) end
        event, data = new_event, new_data
      end
    end
    return event, data
  end

  function policy.disconnected(generation, stream, reason)
    local hooks = generation.on_disconnect
    for i = 1, #hooks do
      local guard <close> = enter(core.ON_DISCONNECT)
      local answer = hooks[i].run(stream, reason)
      if answer ~= nil then wrong_return(hooks[i].where, answer) end
    end
  end

  return policy
end
