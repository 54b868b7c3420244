/* SPDX-License-Identifier: MIT */
/* The `request` object of scripts, and what the runtime needs to answer one. */
#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "http_response.h"
#include "json.h"
#include "lua_json.h"
#include "lua_policy.h"

#define REQUEST_TYPE "sluice.request"

enum { UV_OPTIONS = 1, UV_PARAMS = 2, UV_CLAIMS = 3, UV_PATH = 4, UV_COUNT = 4 };

struct request_box {
    struct exchange *exchange;
};

/* --- the userdata ------------------------------------------------------------------------------- */

struct request_box *lua_request_push(lua_State *L, struct exchange *x) {
    struct request_box *box = lua_newuserdatauv(L, sizeof *box, UV_COUNT);
    box->exchange = x;
    luaL_setmetatable(L, REQUEST_TYPE);
    return box;
}

static struct request_box *check_box(lua_State *L, int index) {
    return policy_check_box(L, index, policy_of(L)->request_meta, REQUEST_TYPE);
}

struct exchange *lua_request_check(lua_State *L, int index) {
    struct request_box *box = check_box(L, index);
    if (!box->exchange)
        luaL_error(L, "the request is over: keep what you need of it in locals");
    return box->exchange;
}

void lua_request_forget(struct routine *r) {
    if (r->request)
        r->request->exchange = NULL;
    r->request = NULL;
}

static void push_slice(lua_State *L, struct slice s) {
    lua_pushlstring(L, s.len ? s.ptr : "", s.len);
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

/* --- query, header, cookie ---------------------------------------------------------------------- */

static void decode(lua_State *L, struct slice text, struct buf *out) {
    buf_clear(out);
    int rc = http_percent_decode(text, true, out);
    if (rc == -EINVAL)
        policy_refuse(L, 400, "the query has a '%' that two hex digits do not follow");
    if (rc)
        luaL_error(L, "not enough memory");
}

/* Calls back for each value of query parameter `name`. Pushes the first, or fills a table with all. */
static int query(lua_State *L, bool all) {
    struct exchange *x = lua_request_check(L, 1);
    struct slice wanted;
    wanted.ptr = luaL_checklstring(L, 2, &wanted.len);
    struct slice rest = x->request.query, name, value;
    struct buf *scratch = policy_scratch(L, 0);
    lua_Integer n = 0;
    if (all)
        lua_newtable(L);
    while (http_query_next(&rest, &name, &value)) {
        decode(L, name, scratch);
        if (!slice_equal(buf_slice(scratch), wanted))
            continue;
        decode(L, value, scratch);
        push_slice(L, buf_slice(scratch));
        if (!all)
            return 1;
        lua_rawseti(L, -2, ++n);
    }
    if (!all)
        lua_pushnil(L);
    return 1;
}

static int request_query(lua_State *L) {
    return query(L, false);
}

static int request_query_all(lua_State *L) {
    return query(L, true);
}

static int request_header(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    struct slice value;
    if (!http_request_field(&x->request, name, &value)) {
        lua_pushnil(L);
        return 1;
    }
    struct buf *joined = policy_scratch(L, 0);
    if (http_request_field_join(&x->request, name, joined) != 0)
        return luaL_error(L, "not enough memory");
    push_slice(L, buf_slice(joined));
    return 1;
}

static int request_cookie(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    struct slice name, value;
    name.ptr = luaL_checklstring(L, 2, &name.len);
    if (http_request_cookie(&x->request, name, &value))
        push_slice(L, value);
    else
        lua_pushnil(L);
    return 1;
}

static int request_param(lua_State *L) {
    lua_request_check(L, 1);
    luaL_checkstring(L, 2);
    if (lua_getiuservalue(L, 1, UV_PARAMS) != LUA_TTABLE)
        return 1;
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

static int request_json(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    return lua_json_push(L, buf_slice(&x->request.body));
}

static int request_respond_header(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    struct slice name, value;
    name.ptr = luaL_checklstring(L, 2, &name.len);
    value.ptr = luaL_checklstring(L, 3, &value.len);
    switch (exchange_add_field(x, name, value)) {
    case 0: return 0;
    case -EALREADY: return luaL_error(L, "respond_header: the head of the answer has gone out already");
    case -EINVAL: return luaL_error(L, "respond_header: '%s' is no field name and value that can be sent (the server itself writes framing, Connection and Date)", name.ptr);
    default: return luaL_error(L, "not enough memory");
    }
}

/* --- the message that a request carries ----------------------------------------------------------- */

/* A part of the message, in a buffer of the policy's. */
struct part {
    const char *name;
    struct buf *text;
    bool given;
};

enum { PART_CHANNEL, PART_EVENT, PART_DATA, PARTS };

struct publication {
    struct part parts[PARTS];
};

static struct part *find_part(struct publication *p, struct slice name) {
    for (int i = 0; i < PARTS; i++) {
        if (slice_is(name, p->parts[i].name))
            return &p->parts[i];
    }
    return NULL;
}

/* A JSON member: returns a sentence where it is wrong. */
static const char *take_member(struct slice key, const struct json_value *value, struct publication *p, struct buf *name) {
    static const char *const TWICE[PARTS] = {"channel is there twice", "event is there twice", "data is there twice"};
    static const char *const NO_STRING[PARTS] = {"channel must be a string", "event must be a string", ""};
    buf_clear(name);
    if (json_unescape(key, name) != 0)
        return "not enough memory";
    struct part *part = find_part(p, buf_slice(name));
    if (!part)
        return "unknown member; a publish has channel, event and data";
    if (part != &p->parts[PART_DATA] && value->type != JSON_STRING)
        return NO_STRING[part - p->parts];
    if (part->given)
        return TWICE[part - p->parts];
    part->given = true;
    int rc = value->type == JSON_STRING ? json_unescape(value->text, part->text) : buf_append_slice(part->text, value->text);
    return rc ? "not enough memory" : NULL;
}

/* Reads {"channel","event","data"}; data that is no string keeps its own text, byte for byte. */
static const char *read_json(struct slice body, struct publication *p, struct buf *name) {
    struct json_reader r = {0};
    struct json_value value;
    struct slice key;
    json_open(&r, body);
    if (json_enter(&r, &value) != 0)
        return r.error;
    if (value.type != JSON_OBJECT)
        return "the body must be a JSON object with channel, event and data";
    int rc;
    for (bool first = true; (rc = json_next(&r, true, first, &key)) == 1; first = false) {
        struct slice member = key;
        if (json_read(&r, &value) != 0)
            return r.error;
        const char *problem = take_member(member, &value, p, name);
        if (problem)
            return problem;
    }
    if (rc < 0 || json_close(&r) != 0)
        return r.error;
    return p->parts[PART_DATA].given ? NULL : "data is missing";
}

static const char *read_query(struct exchange *x, struct publication *p, struct buf *name) {
    struct slice rest = x->request.query, key, value;
    while (http_query_next(&rest, &key, &value)) {
        buf_clear(name);
        if (http_percent_decode(key, true, name) != 0)
            return "the query has a '%' that two hex digits do not follow";
        struct part *part = find_part(p, buf_slice(name));
        if (!part || part == &p->parts[PART_DATA])
            continue;
        if (part->given)
            return part == &p->parts[PART_CHANNEL] ? "channel is there twice; publish to each channel by itself" : "event is there twice";
        part->given = true;
        if (http_percent_decode(value, true, part->text) != 0)
            return "the query has a '%' that two hex digits do not follow";
    }
    return NULL;
}

static bool is_json(struct exchange *x) {
    struct slice type;
    if (!http_request_field(&x->request, "Content-Type", &type))
        return false;
    size_t len = 0;
    while (len < type.len && type.ptr[len] != ';' && type.ptr[len] != ' ' && type.ptr[len] != '\t')
        len++;
    return slice_equal_nocase(slice_make(type.ptr, len), slice_of("application/json"));
}

static int request_message(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    struct publication p = {{{"channel", policy_scratch(L, 0), false}, {"event", policy_scratch(L, 1), false}, {"data", policy_scratch(L, 2), false}}};
    bool json = is_json(x);
    struct buf *name = policy_scratch(L, 3);
    const char *problem = json ? read_json(buf_slice(&x->request.body), &p, name) : read_query(x, &p, name);
    if (problem) {
        lua_pushnil(L);
        lua_pushstring(L, problem);
        return 2;
    }
    lua_createtable(L, 0, 3);
    push_slice(L, p.parts[PART_CHANNEL].given ? buf_slice(p.parts[PART_CHANNEL].text) : slice_of("default"));
    lua_setfield(L, -2, "channel");
    if (p.parts[PART_EVENT].text->len) {
        push_slice(L, buf_slice(p.parts[PART_EVENT].text));
        lua_setfield(L, -2, "event");
    }
    push_slice(L, json ? buf_slice(p.parts[PART_DATA].text) : buf_slice(&x->request.body));
    lua_setfield(L, -2, "data");
    return 1;
}

/* --- fields ------------------------------------------------------------------------------------- */

static int push_property(lua_State *L, struct exchange *x, const char *name) {
    struct http_request *r = &x->request;
    char address[ADDRESS_TEXT_BYTES];
    if (strcmp(name, "method") == 0) {
        push_slice(L, r->method_name);
    } else if (strcmp(name, "path") == 0) {
        if (lua_getiuservalue(L, 1, UV_PATH) != LUA_TSTRING)
            push_slice(L, r->path);
    } else if (strcmp(name, "body") == 0) {
        push_slice(L, buf_slice(&r->body));
    } else if (strcmp(name, "id") == 0) {
        lua_pushstring(L, x->id);
    } else if (strcmp(name, "ip") == 0) {
        exchange_address(x, address);
        lua_pushstring(L, address);
    } else if (strcmp(name, "user") == 0) {
        if (x->has_user)
            push_slice(L, buf_slice(&x->user));
        else
            lua_pushnil(L);
    } else if (strcmp(name, "options") == 0) {
        lua_getiuservalue(L, 1, UV_OPTIONS);
    } else if (strcmp(name, "claims") == 0) {
        lua_getiuservalue(L, 1, UV_CLAIMS);
    } else if (strcmp(name, "expires") == 0) {
        if (isfinite(x->expires))
            lua_pushnumber(L, x->expires);
        else
            lua_pushnil(L);
    } else {
        return luaL_error(L, "a request has no '%s'; see doc/reference.md", name);
    }
    return 1;
}

static int request_index(lua_State *L) {
    check_box(L, 1);
    const char *name = luaL_checkstring(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    return push_property(L, lua_request_check(L, 1), name);
}

static int set_user(lua_State *L, struct exchange *x) {
    struct slice user;
    buf_clear(&x->user);
    x->has_user = false;
    if (lua_isnil(L, 3))
        return 0;
    if (lua_type(L, 3) != LUA_TSTRING)
        return luaL_error(L, "request.user must be a string or nil, not a %s", luaL_typename(L, 3));
    user.ptr = lua_tolstring(L, 3, &user.len);
    if (user.len > EXCHANGE_USER_BYTES)
        return luaL_error(L, "request.user may have at most %d bytes", EXCHANGE_USER_BYTES);
    if (memchr(user.ptr, '\0', user.len)) /* a stream keeps it as a C string: another identity */
        return luaL_error(L, "request.user must not hold a NUL");
    if (buf_append(&x->user, user.ptr, user.len + 1) != 0) /* with Lua's NUL */
        return luaL_error(L, "not enough memory");
    x->user.len--;
    x->has_user = true;
    return 0;
}

static int set_expires(lua_State *L, struct exchange *x) {
    if (lua_isnil(L, 3)) {
        x->expires = INFINITY;
        return 0;
    }
    if (lua_type(L, 3) != LUA_TNUMBER || !isfinite(lua_tonumber(L, 3)))
        return luaL_error(L, "request.expires must be a number of seconds since 1970, or nil");
    x->expires = lua_tonumber(L, 3);
    return 0;
}

static int request_newindex(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    if (strcmp(name, "user") == 0)
        return set_user(L, x);
    if (strcmp(name, "expires") == 0)
        return set_expires(L, x);
    if (strcmp(name, "claims") != 0)
        return luaL_error(L, "request.%s cannot be set; request.user, claims and expires can", name);
    if (!lua_isnil(L, 3) && !lua_istable(L, 3))
        return luaL_error(L, "request.claims must be a table or nil, not a %s", luaL_typename(L, 3));
    lua_setiuservalue(L, 1, UV_CLAIMS);
    return 0;
}

static int request_tostring(lua_State *L) {
    struct request_box *box = check_box(L, 1);
    if (!box->exchange)
        lua_pushliteral(L, "request (over)");
    else
        lua_pushfstring(L, "request %s", box->exchange->id);
    return 1;
}

/* --- answering (for the runtime) ------------------------------------------------------------------ */

void lua_request_detach(struct exchange *x) {
    struct routine *r = x->task;
    if (r) {
        r->exchange = NULL;
        x->task = NULL;
        lua_request_forget(r);
    }
}

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
            luaL_error(L, "headers: '%s' is no field name and value that can be sent (the server itself writes framing, Connection and Date)", name.ptr);
        has_type = has_type || slice_equal_nocase(name, slice_of("Content-Type"));
        lua_pop(L, 2);
    }
    return has_type;
}

/* respond(request, status, body, headers, content_type) */
static int core_respond(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    lua_Integer status = luaL_checkinteger(L, 2);
    struct slice body;
    body.ptr = luaL_checklstring(L, 3, &body.len);
    lua_settop(L, 5);
    struct buf *fields = policy_scratch(L, 0);
    bool has_type = add_fields(L, 4, fields);
    if (!has_type && lua_isstring(L, 5) &&
        http_response_field_text(fields, "Content-Type", lua_tostring(L, 5)) != 0)
        return luaL_error(L, "not enough memory");
    lua_request_detach(x);
    exchange_respond(x, (int)status, buf_slice(fields), body);
    return 0;
}

/* Answers with {"error": text} and the fields at `headers` (0: none); 204, which is no error, without a body. */
static void respond_error(lua_State *L, struct exchange *x, int status, struct slice text, int headers) {
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
    respond_error(L, x, status, text, lua_istable(L, 4) ? 4 : 0);
    return 0;
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
    respond_error(L, x, (int)status, text, lua_istable(L, 5) ? 5 : 0);
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

/* set_route(request, options, params) */
static int core_set_route(lua_State *L) {
    check_box(L, 1);
    lua_settop(L, 3);
    lua_setiuservalue(L, 1, UV_PARAMS);
    lua_setiuservalue(L, 1, UV_OPTIONS);
    return 0;
}

/* refusal(request): the status and the sentence by which it was refused before; nil where it was not */
static int core_refusal(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    if (!x->refused)
        return 0;
    lua_pushinteger(L, x->refused);
    lua_pushstring(L, x->refused_text);
    return 2;
}

/* set_path(request, path): the path in its normal form */
static int core_set_path(lua_State *L) {
    check_box(L, 1);
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, UV_PATH);
    return 0;
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

void lua_request_register_core(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"respond", core_respond},
                                         {"respond_error", core_respond_error},
                                         {"set_route", core_set_route},
                                         {"set_path", core_set_path},
                                         {"refusal", core_refusal},
                                         {"rejection", core_rejection},
                                         {NULL, NULL}};
    luaL_setfuncs(L, FUNCTIONS, 0);
}

void lua_request_open(lua_State *L) {
    static const luaL_Reg METHODS[] = {{"query", request_query},
                                       {"query_all", request_query_all},
                                       {"header", request_header},
                                       {"cookie", request_cookie},
                                       {"param", request_param},
                                       {"json", request_json},
                                       {"message", request_message},
                                       {"respond_header", request_respond_header},
                                       {NULL, NULL}};
    luaL_newmetatable(L, REQUEST_TYPE);
    policy_of(L)->request_meta = lua_topointer(L, -1);
    luaL_newlib(L, METHODS);
    lua_pushcclosure(L, request_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, request_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, request_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
