/* SPDX-License-Identifier: MIT */
/* The way of a request: its route, the on_request hooks, its handler. All in C but what scripts do, for each instruction of Lua is counted; what is rare is in lua/sluice/policy.lua. */
#include <lauxlib.h>
#include <string.h>

#include "lua_policy.h"

/* What lua/sluice/policy.lua keeps in a generation, and lua/sluice/router.lua in a route, under these numbers. */
enum { GENERATION_PATHS = 1, GENERATION_ON_REQUEST };
enum { ROUTE_HANDLER = 1, ROUTE_OPTIONS, ROUTE_IS_STREAM };

/* Places on the stack while the hooks are asked. */
enum { REQUEST = 1, GENERATION, PATH, PARAMS, ROUTE, HOOKS };

/* The request is answered, at once or after waits. Until here the stack has kept its userdata. */
static int dispatched(lua_State *L, int status, lua_KContext context) {
    (void)L, (void)status;
    lua_request_forget((struct routine *)context);
    return 0;
}

/* The handler has returned. */
static int handled(lua_State *L, int status, lua_KContext context) {
    lua_answer_returned(L);
    return dispatched(L, status, context);
}

/* What is called with this may be stopped by the budget, which yields, but cannot wait: nobody resumes it. */
static int never(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    return luaL_error(L, "nothing can wait here");
}

static void push_slice(lua_State *L, struct slice s) {
    lua_pushlstring(L, s.ptr, s.len);
}

/* Pushes path, parameters and route. Without a route it is nil, and in the place of parameters are the methods that the path has (nil: no such path). */
static void find_route(lua_State *L, const struct http_request *request) {
    bool encoded = memchr(request->path.ptr, '%', request->path.len) != NULL;
    push_slice(L, request->path); /* PATH */
    lua_pushnil(L);               /* PARAMS */
    lua_rawgeti(L, GENERATION, GENERATION_PATHS);
    lua_pushvalue(L, PATH);
    if (!encoded && lua_rawget(L, -2) == LUA_TTABLE) {
        push_slice(L, request->method_name);
        if (lua_rawget(L, -2) == LUA_TTABLE) {
            lua_replace(L, ROUTE);
            lua_settop(L, ROUTE);
            return;
        }
    }
    lua_settop(L, PATH);
    lua_rawgeti(L, LUA_REGISTRYINDEX, policy_of(L)->runtime_route);
    lua_pushvalue(L, GENERATION);
    push_slice(L, request->method_name);
    lua_rotate(L, PATH, 3); /* the path above the method */
    lua_pushboolean(L, encoded);
    lua_callk(L, 4, 3, 0, never);
}

/* Tells the request its route. */
static void set_route(lua_State *L) {
    lua_pushvalue(L, PATH);
    if (lua_istable(L, ROUTE)) {
        lua_pushvalue(L, PARAMS);
        lua_rawgeti(L, ROUTE, ROUTE_OPTIONS);
    } else {
        lua_pushnil(L);
        lua_pushnil(L);
    }
    lua_request_set_route(L, REQUEST);
}

/* All that comes behind the hooks. */
static int serve(lua_State *L) {
    struct policy *p = policy_of(L);
    struct routine *r = p->running;
    struct exchange *x = lua_request_check(L, REQUEST);
    if (x->refused) {
        lua_answer_error(L, x, x->refused, slice_of(x->refused_text), 0);
        return dispatched(L, LUA_OK, (lua_KContext)r);
    }
    if (lua_isnil(L, ROUTE)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_unrouted);
        lua_pushvalue(L, REQUEST);
        push_slice(L, x->request.method_name);
        lua_pushvalue(L, PATH);
        lua_pushvalue(L, PARAMS);
        lua_callk(L, 4, 0, 0, never);
        return dispatched(L, LUA_OK, (lua_KContext)r);
    }
    lua_rawgeti(L, ROUTE, ROUTE_IS_STREAM);
    if (lua_toboolean(L, -1)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_serve_stream);
        lua_pushvalue(L, REQUEST);
        lua_rawgeti(L, ROUTE, ROUTE_OPTIONS);
        lua_rawgeti(L, ROUTE, ROUTE_HANDLER);
        lua_callk(L, 3, 0, (lua_KContext)r, dispatched);
        return dispatched(L, LUA_OK, (lua_KContext)r);
    }
    lua_rawgeti(L, ROUTE, ROUTE_HANDLER);
    lua_replace(L, REQUEST + 1);
    lua_settop(L, REQUEST + 1);
    lua_pushvalue(L, REQUEST);
    lua_callk(L, 1, LUA_MULTRET, (lua_KContext)r, handled); /* what it returns is above the request */
    return handled(L, LUA_OK, (lua_KContext)r);
}

/* Takes what hook number `i` has returned: nothing, or it is raised what is wrong with it. */
static void check_hook(lua_State *L, lua_Integer i) {
    if (!lua_isnil(L, -1)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, policy_of(L)->runtime_wrong_on_request);
        lua_pushvalue(L, GENERATION);
        lua_pushinteger(L, i);
        lua_pushvalue(L, -4);
        lua_call(L, 3, 0); /* raises */
    }
    lua_pop(L, 1);
}

static int hook_returned(lua_State *L, int status, lua_KContext i);

/* Asks the on_request hooks from number `i` on, then goes on; sluice.reject raises. A hook may wait, for the log's answer. */
static int ask_hooks(lua_State *L, lua_Integer i) {
    for (; lua_rawgeti(L, HOOKS, i) == LUA_TFUNCTION; i++) {
        lua_pushvalue(L, REQUEST);
        lua_callk(L, 1, 1, (lua_KContext)i, hook_returned);
        check_hook(L, i);
    }
    lua_settop(L, ROUTE);
    policy_finish_phase(policy_of(L));
    return serve(L);
}

/* A hook that has waited. */
static int hook_returned(lua_State *L, int status, lua_KContext i) {
    (void)status;
    check_hook(L, (lua_Integer)i);
    return ask_hooks(L, (lua_Integer)i + 1);
}

int lua_dispatch(lua_State *L) {
    struct routine *r = lua_touserdata(L, 1);
    struct exchange *x = r->exchange;
    lua_settop(L, 0);
    r->request = lua_request_push(L, x);
    lua_rawgeti(L, LUA_REGISTRYINDEX, r->generation->table);
    find_route(L, &x->request);
    set_route(L);
    policy_begin_phase(L, PHASE_ON_REQUEST); /* an error is the end of this coroutine, and of its phases */
    lua_rawgeti(L, GENERATION, GENERATION_ON_REQUEST);
    return ask_hooks(L, 1);
}
