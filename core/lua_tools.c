/* SPDX-License-Identifier: MIT */
/* The smaller things that scripts see in `sluice`: log, env, config, reject, shared, health, metrics. */
#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http_request.h"
#include "lua_json.h"
#include "lua_policy.h"
#include "server.h"
#include "status.h"

/* --- log ---------------------------------------------------------------------------------------- */

static void write_log(lua_State *L, enum log_level level, int first) {
    luaL_Buffer b;
    int n = lua_gettop(L);
    luaL_buffinit(L, &b);
    for (int i = first; i <= n; i++) {
        if (i > first)
            luaL_addchar(&b, ' ');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    log_write(policy_of(L)->worker->log, level, "script", "%s", lua_tostring(L, -1));
}

/* The level is an upvalue. */
static int log_at(lua_State *L) {
    write_log(L, (enum log_level)lua_tointeger(L, lua_upvalueindex(1)), 1);
    return 0;
}

/* sluice.log(...) itself */
static int log_call(lua_State *L) {
    write_log(L, LOG_INFO, 2);
    return 0;
}

static void register_log(lua_State *L) {
    static const char *const NAMES[] = {"debug", "info", "warn", "error"};
    lua_createtable(L, 0, 4);
    for (int i = 0; i < 4; i++) {
        lua_pushinteger(L, i);
        lua_pushcclosure(L, log_at, 1);
        lua_setfield(L, -2, NAMES[i]);
    }
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, log_call);
    lua_setfield(L, -2, "__call");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "log");
}

/* --- env, config -------------------------------------------------------------------------------- */

static int env(lua_State *L) {
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

static int read_only(lua_State *L) {
    return luaL_error(L, "sluice.config cannot be changed by a script");
}

static int next_pair(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_next(L, 1))
        return 2;
    lua_pushnil(L);
    return 1;
}

/* The __pairs of sluice.config, which itself is empty: goes over what is behind it. */
static int config_pairs(lua_State *L) {
    lua_pushcfunction(L, next_pair);
    return 1 + (luaL_getmetafield(L, 1, "__index") != LUA_TNIL);
}

static void register_config(lua_State *L) {
    struct buf *json = &policy_of(L)->worker->server->config->json;
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, config_pairs);
    lua_setfield(L, -2, "__pairs");
    lua_json_push(L, buf_slice(json));
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, read_only);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "config");
}

/* --- shared ------------------------------------------------------------------------------------- */

static struct shared_dict *dict_of(lua_State *L) {
    return policy_of(L)->worker->server->shared;
}

static struct slice check_key(lua_State *L) {
    struct slice key;
    key.ptr = luaL_checklstring(L, 1, &key.len);
    luaL_argcheck(L, key.len > 0 && key.len <= 512, 1, "a key has 1 to 512 bytes");
    return key;
}

/* Called as shared.get(key) or shared:get(key): takes the table away. */
static void drop_self(lua_State *L) {
    if (lua_istable(L, 1))
        lua_remove(L, 1);
}

static uint64_t check_ttl(lua_State *L, int index) {
    double ttl = luaL_optnumber(L, index, 0);
    luaL_argcheck(L, isfinite(ttl) && ttl >= 0 && ttl <= 1e9, index, "a time to live in seconds, not negative (0: for ever)");
    uint64_t ms = (uint64_t)(ttl * 1000 + 0.5);
    return ttl > 0 && ms == 0 ? 1 : ms;
}

static void check_value(lua_State *L, int index, struct dict_value *value) {
    *value = (struct dict_value){0};
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        value->type = DICT_BOOLEAN;
        value->boolean = lua_toboolean(L, index);
        return;
    case LUA_TNUMBER:
        value->type = lua_isinteger(L, index) ? DICT_INTEGER : DICT_FLOAT;
        value->integer = lua_tointeger(L, index);
        value->number = lua_tonumber(L, index);
        return;
    case LUA_TSTRING:
        value->type = DICT_STRING;
        value->text.ptr = lua_tolstring(L, index, &value->text.len);
        return;
    default: luaL_argerror(L, index, "a shared value is a string, a number or a boolean");
    }
}

static void push_value(lua_State *L, const struct dict_value *value) {
    switch (value->type) {
    case DICT_BOOLEAN: lua_pushboolean(L, value->boolean); return;
    case DICT_INTEGER: lua_pushinteger(L, value->integer); return;
    case DICT_FLOAT: lua_pushnumber(L, value->number); return;
    case DICT_STRING: lua_pushlstring(L, value->text.len ? value->text.ptr : "", value->text.len); return;
    default: lua_pushnil(L);
    }
}

static int fail(lua_State *L, int rc) {
    lua_pushnil(L);
    lua_pushstring(L, rc == -ENOSPC   ? "the shared dictionary is full"
                      : rc == -ERANGE ? "the sum is out of range"
                      : rc == -EINVAL ? "the value is no number"
                                      : "not enough memory");
    return 2;
}

static int push_copy(lua_State *L) {
    push_value(L, lua_touserdata(L, 1));
    return 1;
}

static int shared_get(lua_State *L) {
    drop_self(L);
    struct slice key = check_key(L);
    struct dict_value value;
    struct buf storage = {0};
    int rc = shared_dict_get(dict_of(L), key, wall_ms(), &value, &storage);
    if (rc) {
        buf_deinit(&storage);
        return fail(L, rc);
    }
    lua_pushcfunction(L, push_copy);
    lua_pushlightuserdata(L, &value);
    rc = lua_pcall(L, 1, 1, 0); /* the storage must be freed, whatever happens */
    buf_deinit(&storage);
    return rc == LUA_OK ? 1 : lua_error(L);
}

static int shared_set(lua_State *L) {
    drop_self(L);
    struct slice key = check_key(L);
    struct dict_value value;
    policy_check_phase(L, ~PHASE_LOAD, "sluice.shared.set", "hooks, handlers and tasks; loading scripts may still be refused");
    if (lua_isnoneornil(L, 2)) {
        shared_dict_delete(dict_of(L), key, wall_ms());
        lua_pushboolean(L, 1);
        return 1;
    }
    check_value(L, 2, &value);
    int rc = shared_dict_set(dict_of(L), key, &value, check_ttl(L, 3), wall_ms());
    if (rc)
        return fail(L, rc);
    lua_pushboolean(L, 1);
    return 1;
}

static int shared_incr(lua_State *L) {
    drop_self(L);
    struct slice key = check_key(L);
    struct dict_value by = {.type = DICT_INTEGER, .integer = 1, .number = 1}, sum;
    policy_check_phase(L, ~PHASE_LOAD, "sluice.shared.incr", "hooks, handlers and tasks; loading scripts may still be refused");
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TNUMBER);
        check_value(L, 2, &by);
    }
    int rc = shared_dict_incr(dict_of(L), key, &by, check_ttl(L, 3), wall_ms(), &sum);
    if (rc)
        return fail(L, rc);
    push_value(L, &sum);
    return 1;
}

static int shared_delete(lua_State *L) {
    drop_self(L);
    policy_check_phase(L, ~PHASE_LOAD, "sluice.shared.delete", "hooks, handlers and tasks; loading scripts may still be refused");
    lua_pushboolean(L, shared_dict_delete(dict_of(L), check_key(L), wall_ms()));
    return 1;
}

static void register_shared(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {
        {"get", shared_get}, {"set", shared_set}, {"incr", shared_incr}, {"delete", shared_delete}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    lua_setfield(L, -2, "shared");
}

/* --- health, metrics ---------------------------------------------------------------------------- */

/* Pushes a C buffer's text and frees the buffer. */
static int push_text(lua_State *L) {
    struct buf *b = lua_touserdata(L, 1);
    lua_pushlstring(L, b->data ? b->data : "", b->len);
    return 1;
}

static void push_buf(lua_State *L, struct buf *b) {
    lua_pushcfunction(L, push_text);
    lua_pushlightuserdata(L, b);
    int rc = lua_pcall(L, 1, 1, 0);
    buf_deinit(b);
    if (rc != LUA_OK)
        lua_error(L);
}

/* sluice.health(details): the body of /health and its status */
static int health(lua_State *L) {
    struct server *s = policy_of(L)->worker->server;
    struct buf body = {0};
    int status = server_health(s, lua_toboolean(L, 1), &body);
    push_buf(L, &body);
    if (status < 0)
        return luaL_error(L, "not enough memory");
    lua_pushinteger(L, status);
    return 2;
}

/* What Accept asks for most; JSON where it has no preference. */
static int metrics_format(struct slice accept) {
    int json = http_accept_quality(accept, "application", "json");
    int text = http_accept_quality(accept, "text", "plain");
    int open = http_accept_quality(accept, "application", "openmetrics-text");
    if (json >= text && json >= open)
        return SERVER_METRICS_JSON;
    return open >= text ? METRICS_OPENMETRICS : METRICS_TEXT;
}

/* sluice.metrics(accept): the body of /metrics and its content type */
static int metrics(lua_State *L) {
    static const char *const TYPES[] = {
        [METRICS_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
        [METRICS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
        [SERVER_METRICS_JSON] = "application/json",
    };
    struct slice accept = {NULL, 0}, text;
    accept.ptr = luaL_optlstring(L, 1, "", &accept.len);
    int format = metrics_format(accept);
    if (server_metrics_text(policy_of(L)->worker, format, &text) != 0)
        return luaL_error(L, "not enough memory");
    lua_pushlstring(L, text.ptr, text.len);
    lua_pushstring(L, TYPES[format]);
    return 2;
}

void lua_tools_register(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"env", env}, {"reject", policy_reject}, {"health", health}, {"metrics", metrics}, {NULL, NULL}};
    luaL_setfuncs(L, FUNCTIONS, 0);
    register_log(L);
    register_config(L);
    register_shared(L);
}
