/* SPDX-License-Identifier: MIT */
/* sluice.gzip and sluice.envelope: compression that a script decides on. */
#include <errno.h>
#include <lauxlib.h>

#include "envelope.h"
#include "gzip.h"
#include "lua_json.h"
#include "lua_policy.h"
#include "lua_scratch.h"

static int check_level(lua_State *L, int index) {
    lua_Integer level = luaL_optinteger(L, index, GZIP_LEVEL_DEFAULT);
    luaL_argcheck(L, level >= 0 && level <= 9, index, "a level is 0 (stored) to 9 (smallest)");
    return (int)level;
}

/* Leaves the buffer's text, made with `rc`, on the stack. */
static void push_result(lua_State *L, struct buf *out, int rc) {
    if (rc)
        luaL_error(L, rc == -EFBIG ? "the data is too long for gzip" : "not enough memory");
    lua_pushlstring(L, out->data ? out->data : "", out->len);
    buf_deinit(out); /* not to wait for the collector */
}

/* sluice.gzip(data [, level]) -> string */
static int gzip(lua_State *L) {
    struct slice data;
    data.ptr = luaL_checklstring(L, 1, &data.len);
    int level = check_level(L, 2);
    struct buf *out = lua_scratch_push(L);
    push_result(L, out, gzip_append(out, data, level));
    return 1;
}

struct envelope_options {
    size_t threshold;
    int level;
};

static struct envelope_options check_options(lua_State *L, int index) {
    struct envelope_options options = {ENVELOPE_THRESHOLD, GZIP_LEVEL_DEFAULT};
    if (lua_isnoneornil(L, index))
        return options;
    luaL_checktype(L, index, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        int exact;
        lua_Integer value = lua_tointegerx(L, -1, &exact);
        if (strcmp(key, "threshold") == 0) {
            luaL_argcheck(L, exact && value >= 0, index, "threshold is a number of bytes, not negative");
            options.threshold = (size_t)value;
        } else if (strcmp(key, "level") == 0) {
            luaL_argcheck(L, exact && value >= 0 && value <= 9, index, "level is 0 (stored) to 9 (smallest)");
            options.level = (int)value;
        } else {
            luaL_argerror(L, index, "the options are threshold and level");
        }
    }
    return options;
}

/* Replaces the value on top by what is sent for it: a string is itself, anything else its JSON. */
static void encode_data(lua_State *L) {
    if (lua_type(L, -1) == LUA_TSTRING)
        return;
    const char *error;
    struct buf *json = lua_scratch_push(L);
    if (lua_json_encode(L, -2, json, &error))
        luaL_error(L, "sluice.envelope: data cannot be encoded: %s", error);
    push_result(L, json, 0);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* sluice.envelope(message [, options]) -> a message with the same channel and event; from a string a string */
static int envelope(lua_State *L) {
    bool whole = lua_istable(L, 1);
    luaL_argexpected(L, whole || lua_type(L, 1) == LUA_TSTRING, 1, "message (a table) or string");
    struct envelope_options options = check_options(L, 2);
    lua_settop(L, 1);
    if (whole) {
        lua_createtable(L, 0, 3);
        lua_getfield(L, 1, "channel");
        lua_setfield(L, 2, "channel");
        lua_getfield(L, 1, "event");
        lua_setfield(L, 2, "event");
        luaL_argcheck(L, lua_getfield(L, 1, "data") != LUA_TNIL, 1, "the message has no data");
        encode_data(L);
    }
    struct slice data;
    data.ptr = lua_tolstring(L, -1, &data.len);
    struct buf *out = lua_scratch_push(L);
    push_result(L, out, envelope_append(out, data, options.threshold, options.level));
    if (whole) {
        lua_setfield(L, 2, "data");
        lua_settop(L, 2);
    }
    return 1;
}

void lua_gzip_register(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"gzip", gzip}, {"envelope", envelope}, {NULL, NULL}};
    luaL_setfuncs(L, FUNCTIONS, 0);
}
