/* SPDX-License-Identifier: MIT */
/* sluice.limit: how often and how many at once, counted by key over all workers. */
#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "lua_policy.h"
#include "ratelimit_share.h"
#include "server.h"

static struct slice check_key(lua_State *L) {
    struct slice key;
    luaL_checktype(L, 1, LUA_TSTRING);
    key.ptr = lua_tolstring(L, 1, &key.len);
    luaL_argcheck(L, key.len > 0 && key.len <= RATELIMIT_KEY_BYTES, 1, "a key has 1 to 512 bytes");
    return key;
}

/* The whole number, not negative, on top of the stack. */
static uint64_t check_count(lua_State *L, const char *name) {
    int whole;
    lua_Integer value = lua_tointegerx(L, -1, &whole);
    if (!whole || lua_type(L, -1) != LUA_TNUMBER || value < 0)
        luaL_error(L, "sluice.limit: %s must be a whole number, not negative; it is %s", name,
                   luaL_tolstring(L, -1, NULL));
    return (uint64_t)value;
}

static uint64_t check_window(lua_State *L) {
    double seconds = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !isfinite(seconds) || seconds <= 0 || seconds > 1e9)
        luaL_error(L, "sluice.limit: window must be a number of seconds above 0; it is %s",
                   luaL_tolstring(L, -1, NULL));
    uint64_t ms = (uint64_t)(seconds * 1000 + 0.5);
    return ms ? ms : 1;
}

/* Reads { max =, window =, concurrent = } at index 2. */
static struct ratelimit_rule check_rule(lua_State *L) {
    struct ratelimit_rule rule = {UINT64_MAX, 0, UINT64_MAX};
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(name, "max") == 0)
            rule.max = check_count(L, name);
        else if (strcmp(name, "concurrent") == 0)
            rule.concurrent = check_count(L, name);
        else if (strcmp(name, "window") == 0)
            rule.window_ms = check_window(L);
        else
            luaL_error(L, "sluice.limit: a limit has max, window and concurrent, not '%s'", name);
        lua_pop(L, 1);
    }
    if ((rule.max == UINT64_MAX) != (rule.window_ms == 0))
        luaL_error(L, "sluice.limit: max and window (in seconds) belong together");
    if (rule.max == UINT64_MAX && rule.concurrent == UINT64_MAX)
        luaL_error(L, "sluice.limit: a limit has max and window, or concurrent, or all three");
    return rule;
}

/* Where what is open is written down: with the stream once it has begun, with the request before. */
static struct ratelimit_hold **owner_of(lua_State *L) {
    struct routine *r = policy_of(L)->running;
    struct exchange *x = r ? r->exchange : NULL;
    if (!x)
        luaL_error(L, "sluice.limit: concurrent counts until a request or stream ends, and none is being handled here");
    return x->stream && x->stream->begun ? &x->stream->holds : &x->holds;
}

static void push_info(lua_State *L, const struct ratelimit_rule *rule, const struct ratelimit_info *info) {
    lua_createtable(L, 0, 5);
    if (rule->max != UINT64_MAX) {
        lua_pushinteger(L, (lua_Integer)rule->max);
        lua_setfield(L, -2, "limit");
        lua_pushinteger(L, (lua_Integer)info->remaining);
        lua_setfield(L, -2, "remaining");
        lua_pushnumber(L, (double)info->reset_ms / 1000);
        lua_setfield(L, -2, "reset");
    }
    if (rule->concurrent != UINT64_MAX) {
        lua_pushinteger(L, (lua_Integer)info->open);
        lua_setfield(L, -2, "open");
    }
    if (!info->allowed) {
        lua_pushstring(L, info->by_concurrency ? "concurrent" : "max");
        lua_setfield(L, -2, "by");
    }
}

/* sluice.limit(key, { max =, window =, concurrent = }): allowed, info */
static int limit(lua_State *L) {
    struct ratelimit *limits = policy_of(L)->worker->server->limits;
    struct ratelimit_info info;
    struct ratelimit_entry *entry;
    policy_check_phase(L, PHASE_ON_REQUEST | PHASE_ON_SUBSCRIBE | PHASE_ON_PUBLISH | PHASE_HANDLER | PHASE_TASK,
                       "sluice.limit", "on_request, on_subscribe, on_publish, a handler or a task");
    struct slice key = check_key(L);
    struct ratelimit_rule rule = check_rule(L);
    struct ratelimit_hold **holds = rule.concurrent != UINT64_MAX ? owner_of(L) : NULL;
    if (ratelimit_take(limits, key, &rule, uv_hrtime() / 1000000, &info, &entry) != 0)
        return luaL_error(L, "sluice.limit: no room to count another key");
    if (entry && ratelimit_hold_push(holds, entry) != 0) {
        ratelimit_release(limits, entry);
        return luaL_error(L, "not enough memory");
    }
    lua_pushboolean(L, info.allowed);
    push_info(L, &rule, &info);
    return 2;
}

void lua_limit_register(lua_State *L) {
    lua_pushcfunction(L, limit);
    lua_setfield(L, -2, "limit");
}
