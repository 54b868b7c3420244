/* SPDX-License-Identifier: MIT */
/* Answers to requests: what a handler returns, and rejections, the errors that are answers. */
#include <lauxlib.h>
#include <stdarg.h>

#include "http_response.h"
#include "json.h"
#include "lua_json.h"
#include "lua_policy.h"

/* --- answers -------------------------------------------------------------------------------------- */

/* Appends the table of fields at `index`; returns true where it has a Content-Type. Raises for what cannot be sent. */
static bool add_fields(lua_State *L, int index, struct buf *out) {
    bool has_type = false;
    if (!lua_istable(L, index))
        return false;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (lua_type(L, -2) != LUA_TSTRING || (!lua_isstring(L, -1) && !lua_isnumber(L, -1)))
            luaL_error(L, "headers: names and values are strings");
        struct slice name, value;
        lua_pushvalue(L, -1); /* lua_tolstring would turn a number in the table into a string */
        name.ptr = lua_tolstring(L, -3, &name.len);
        value.ptr = lua_tolstring(L, -1, &value.len);
        if (exchange_field_reserved(name) || http_response_field(out, name, value) != 0)
            luaL_error(L, "headers: '%s' is no field name and value that can be sent (the server itself writes framing, Connection, Date and X-Request-Id)", name.ptr);
        has_type = has_type || slice_equal_nocase(name, slice_of("Content-Type"));
        lua_pop(L, 2);
    }
    return has_type;
}

/* Raises the sentence as it stands: no place in the runtime's own files. */
static int raise_text(lua_State *L, const char *format, ...) {
    va_list args;
    va_start(args, format);
    lua_pushvfstring(L, format, args);
    va_end(args);
    return lua_error(L);
}

/* What a handler has returned, from index 2 on: [status,] body, headers. Leaves all three in their places, body a string or nil; `*type` is what the body's field says unless the
 * headers do. */
static int check_returned(lua_State *L, const char **type) {
    static const char RETURNS[] = "a handler returns status, body, headers";
    lua_settop(L, 4);
    if (lua_type(L, 2) == LUA_TSTRING || lua_istable(L, 2)) {
        lua_pushinteger(L, 200);
        lua_insert(L, 2);
        lua_settop(L, 4);
    }
    lua_Integer status = lua_isnil(L, 2) ? 204 : lua_isinteger(L, 2) ? lua_tointeger(L, 2) : 0;
    if (status < 200 || status > 599)
        return raise_text(L, "%s; its status must be an integer from 200 to 599, not %s", RETURNS, luaL_tolstring(L, 2, NULL));
    if (!lua_isnil(L, 4) && !lua_istable(L, 4))
        return raise_text(L, "%s; its headers must be a table, not a %s", RETURNS, luaL_typename(L, 4));
    *type = lua_isnil(L, 3) ? NULL : "text/plain; charset=utf-8";
    if (lua_istable(L, 3)) {
        struct buf *json = policy_scratch(L, 0);
        const char *error = "not enough memory";
        if (lua_json_encode(L, 3, json, &error) != 0)
            return raise_text(L, "%s; its body cannot be sent as JSON: %s", RETURNS, error);
        lua_pushlstring(L, json->data, json->len);
        lua_replace(L, 3);
        *type = "application/json";
    } else if (!lua_isnil(L, 3) && lua_type(L, 3) != LUA_TSTRING) {
        return raise_text(L, "%s; its body must be a string or a table, not a %s", RETURNS, luaL_typename(L, 3));
    }
    return (int)status;
}

void lua_answer_returned(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    const char *type = NULL;
    int status = check_returned(L, &type);
    struct slice body = {NULL, 0};
    body.ptr = lua_tolstring(L, 3, &body.len);
    struct buf *fields = policy_scratch(L, 0);
    bool has_type = add_fields(L, 4, fields);
    if (!has_type && type && http_response_field_text(fields, "Content-Type", type) != 0)
        luaL_error(L, "not enough memory");
    lua_request_detach(x);
    exchange_respond(x, status, buf_slice(fields), body);
}

void lua_answer_error(lua_State *L, struct exchange *x, int status, struct slice text, int headers) {
    struct buf *fields = policy_scratch(L, 0), *body = policy_scratch(L, 1);
    bool has_type = headers ? add_fields(L, headers, fields) : false;
    int rc = 0;
    if (status != 204) {
        rc = has_type ? 0 : http_response_field_text(fields, "Content-Type", "application/json");
        rc = rc ? rc : buf_append_text(body, "{\"error\":");
        rc = rc ? rc : json_append_string(body, text);
        rc = rc ? rc : buf_append_char(body, '}');
    }
    if (rc)
        luaL_error(L, "not enough memory");
    lua_request_detach(x);
    exchange_respond(x, status, buf_slice(fields), buf_slice(body));
}

/* respond_error(request, status, text, headers) */
static int core_respond_error(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    int status = (int)luaL_checkinteger(L, 2);
    struct slice text;
    text.ptr = luaL_checklstring(L, 3, &text.len);
    lua_answer_error(L, x, status, text, lua_istable(L, 4) ? 4 : 0);
    return 0;
}

/* --- errors that are answers -------------------------------------------------------------------- */

/* Pushes what sluice.reject(status, text) makes. */
static void push_rejection(lua_State *L, int status, const char *text) {
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, status);
    lua_setfield(L, -2, "status");
    lua_pushstring(L, text);
    lua_setfield(L, -2, "error");
    luaL_setmetatable(L, "sluice.rejection");
}

int policy_refuse(lua_State *L, int status, const char *text) {
    push_rejection(L, status, text);
    return lua_error(L);
}

/* Those of refusals, and 204: the answer to a preflight. */
static bool is_rejection_status(lua_Integer status) {
    return status == 204 || (status >= 300 && status <= 599);
}

/* Arguments: rejection, the exchange as light userdata. */
static int respond_rejection(lua_State *L) {
    struct exchange *x = lua_touserdata(L, 2);
    static const char *const FIELDS[] = {"status", "error", "headers"};
    lua_settop(L, 2);
    for (int i = 0; i < 3; i++) { /* 3, 4, 5; raw, since a script may have changed the table */
        lua_pushstring(L, FIELDS[i]);
        lua_rawget(L, 1);
    }
    lua_Integer status = lua_isinteger(L, 3) ? lua_tointeger(L, 3) : 0;
    if (!is_rejection_status(status) || lua_type(L, 4) != LUA_TSTRING)
        return luaL_error(L, "a rejection has a status from 300 to 599, or 204, and a message that is a string");
    struct slice text;
    text.ptr = lua_tolstring(L, 4, &text.len);
    lua_answer_error(L, x, (int)status, text, lua_istable(L, 5) ? 5 : 0);
    return 0;
}

void policy_respond_rejection(lua_State *L, int index, struct exchange *x) {
    index = lua_absindex(L, index);
    lua_pushcfunction(L, respond_rejection);
    lua_pushvalue(L, index);
    lua_pushlightuserdata(L, x);
    struct lua_budget *budget = &policy_of(L)->budget;
    lua_budget_begin(budget);
    int rc = lua_pcall(L, 2, 0, 0);
    lua_budget_end(budget);
    if (rc != LUA_OK) {
        lua_errors_log(policy_of(L), L, "a rejection cannot be answered");
        lua_pop(L, 1);
        exchange_fail(x, 500, "internal error");
    }
}

/* rejection(status, text, headers): the value that is raised */
static int core_rejection(lua_State *L) {
    lua_Integer status = luaL_checkinteger(L, 1);
    luaL_argcheck(L, is_rejection_status(status), 1, "a rejection's status is 300 to 599, or 204");
    const char *text = luaL_optstring(L, 2, http_reason((int)status));
    if (!lua_isnoneornil(L, 3))
        luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    push_rejection(L, (int)status, text);
    lua_pushvalue(L, 3);
    lua_setfield(L, -2, "headers");
    return 1;
}

int policy_reject(lua_State *L) {
    core_rejection(L);
    return lua_error(L);
}

void lua_answer_register_core(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {
        {"respond_error", core_respond_error}, {"rejection", core_rejection}, {NULL, NULL}};
    luaL_setfuncs(L, FUNCTIONS, 0);
}
