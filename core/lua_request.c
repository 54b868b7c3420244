/* SPDX-License-Identifier: MIT */
/* The `request` object of scripts. */
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
    lua_rawgetp(L, LUA_REGISTRYINDEX, policy_of(L)->request_meta);
    lua_setmetatable(L, -2);
    return box;
}

static struct request_box *check_box(lua_State *L, int index) {
    const struct policy *p = policy_of(L);
    struct request_box *box = lua_touserdata(L, index);
    if (box && p->running && p->running->request == box) /* the one that is being handled, as nearly always */
        return box;
    return policy_check_box(L, index, p->request_meta, REQUEST_TYPE);
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

void lua_request_detach(struct exchange *x) {
    struct routine *r = x->task;
    if (r) {
        r->exchange = NULL;
        x->task = NULL;
        lua_request_forget(r);
    }
}

void lua_request_set_route(lua_State *L, int index) {
    lua_setiuservalue(L, index, UV_OPTIONS);
    lua_setiuservalue(L, index, UV_PARAMS);
    lua_setiuservalue(L, index, UV_PATH);
}

static void push_slice(lua_State *L, struct slice s) {
    lua_pushlstring(L, s.len ? s.ptr : "", s.len);
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

/* The credentials of "Bearer CREDENTIALS" (RFC 6750, 2.1); empty where it is something else. */
static struct slice bearer_of(struct slice field) {
    static const struct slice SCHEME = {"Bearer ", 7};
    if (field.len < SCHEME.len || !slice_equal_nocase(slice_make(field.ptr, SCHEME.len), SCHEME))
        return slice_make(NULL, 0);
    size_t at = SCHEME.len;
    while (at < field.len && field.ptr[at] == ' ')
        at++;
    return slice_make(field.ptr + at, field.len - at);
}

/* Finds the one value of query parameter `token`, undecoded. Returns how many there are. */
static int find_query_token(lua_State *L, const struct exchange *x, struct slice *token) {
    struct slice rest = x->request.query, name, value;
    struct buf *decoded = policy_scratch(L, 0);
    int count = 0;
    while (http_query_next(&rest, &name, &value)) {
        decode(L, name, decoded);
        if (!slice_is(buf_slice(decoded), "token"))
            continue;
        *token = value;
        count++;
    }
    return count;
}

/* request:token([cookie]): of the Authorization header, else of the query, else of the cookie; nil where there is none; nil and what is wrong where it cannot be told which */
static int request_token(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    struct slice cookie = {NULL, 0}, value = {NULL, 0};
    cookie.ptr = luaL_optlstring(L, 2, NULL, &cookie.len);
    struct buf *joined = policy_scratch(L, 0); /* of two fields: no token that would be verified */
    if (http_request_field_join(&x->request, "Authorization", joined) == -ENOMEM)
        return luaL_error(L, "not enough memory");
    struct slice bearer = bearer_of(buf_slice(joined));
    if (bearer.len) {
        push_slice(L, bearer);
        return 1;
    }
    int count = find_query_token(L, x, &value);
    if (count > 1) {
        lua_pushnil(L);
        lua_pushliteral(L, "the query has more than one token");
        return 2;
    }
    if (count == 1 && value.len) {
        struct buf *decoded = policy_scratch(L, 0);
        decode(L, value, decoded);
        push_slice(L, buf_slice(decoded));
        return 1;
    }
    if (cookie.ptr && http_request_cookie(&x->request, cookie, &value) && value.len)
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
    char digits[20];
    name.ptr = luaL_checklstring(L, 2, &name.len);
    if (lua_isinteger(L, 3) && lua_tointeger(L, 3) >= 0) { /* Lua would print it, and keep the text for its collector */
        value.ptr = u64_digits(digits + sizeof digits, (uint64_t)lua_tointeger(L, 3));
        value.len = (size_t)(digits + sizeof digits - value.ptr);
    } else {
        value.ptr = luaL_checklstring(L, 3, &value.len);
    }
    switch (exchange_add_field(x, name, value)) {
    case 0: return 0;
    case -EALREADY: return luaL_error(L, "respond_header: the head of the answer has gone out already");
    case -EINVAL: return luaL_error(L, "respond_header: '%s' is no field name and value that can be sent (the server itself writes framing, Connection, Date and X-Request-Id)", name.ptr);
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

/* The key of the field Idempotency-Key: a string (RFC 8941, 3.3.3), with or without its quotes. Returns false where there is none. */
static bool find_key(struct exchange *x, struct slice *key) {
    if (!http_request_field(&x->request, "Idempotency-Key", key))
        return false;
    if (key->len >= 2 && key->ptr[0] == '"' && key->ptr[key->len - 1] == '"')
        *key = slice_make(key->ptr + 1, key->len - 2);
    return true;
}

static int request_message(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    struct slice key;
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
    if (find_key(x, &key)) {
        push_slice(L, key);
        lua_setfield(L, -2, "key");
    }
    return 1;
}

/* --- fields ------------------------------------------------------------------------------------- */

enum { FIELD_METHOD = 1, FIELD_PATH, FIELD_BODY, FIELD_ID, FIELD_IP, FIELD_USER, FIELD_OPTIONS, FIELD_CLAIMS, FIELD_EXPIRES };

static const char *const FIELDS[] = {"method", "path", "body", "id", "ip", "user", "options", "claims", "expires", NULL};

static void push_field(lua_State *L, const struct exchange *x, int field) {
    const struct http_request *r = &x->request;
    char address[ADDRESS_TEXT_BYTES];
    switch (field) {
    case FIELD_METHOD:
        push_slice(L, r->method_name);
        return;
    case FIELD_PATH:
        lua_getiuservalue(L, 1, UV_PATH);
        return;
    case FIELD_BODY:
        push_slice(L, buf_slice(&r->body));
        return;
    case FIELD_ID:
        lua_pushstring(L, x->id);
        return;
    case FIELD_IP:
        exchange_address(x, address);
        lua_pushstring(L, address);
        return;
    case FIELD_USER:
        if (x->has_user)
            push_slice(L, buf_slice(&x->user));
        else
            lua_pushnil(L);
        return;
    case FIELD_OPTIONS:
        lua_getiuservalue(L, 1, UV_OPTIONS);
        return;
    case FIELD_CLAIMS:
        lua_getiuservalue(L, 1, UV_CLAIMS);
        return;
    default: /* FIELD_EXPIRES */
        if (isfinite(x->expires))
            lua_pushnumber(L, x->expires);
        else
            lua_pushnil(L);
    }
}

static int request_index(lua_State *L) {
    check_box(L, 1);
    int field = policy_member(L, "a request");
    if (field)
        push_field(L, lua_request_check(L, 1), field);
    return 1;
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

void lua_request_open(lua_State *L) {
    static const luaL_Reg METHODS[] = {{"query", request_query},
                                       {"query_all", request_query_all},
                                       {"header", request_header},
                                       {"cookie", request_cookie},
                                       {"token", request_token},
                                       {"param", request_param},
                                       {"json", request_json},
                                       {"message", request_message},
                                       {"respond_header", request_respond_header},
                                       {NULL, NULL}};
    static const luaL_Reg META[] = {{"__newindex", request_newindex}, {"__tostring", request_tostring}, {NULL, NULL}};
    policy_of(L)->request_meta = policy_open_type(L, REQUEST_TYPE, METHODS, FIELDS, request_index, META);
}
