/* SPDX-License-Identifier: MIT */
#include "lua_json.h"

#include <errno.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>

#include "json.h"
#include "lua_scratch.h"

/* Its address is the registry key of the metatable that marks arrays. */
static const char ARRAY_MARK = 0;

/* --- the mark of arrays ------------------------------------------------------------------------- */

/* Pushes the metatable, made at the first call. It says nothing of itself to scripts, which share it. */
static void push_array_mark(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &ARRAY_MARK) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "sluice.json.array");
    lua_setfield(L, -2, "__name");
    lua_pushliteral(L, "sluice.json.array");
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ARRAY_MARK);
}

/* True where the table on top carries the mark. Allocates nothing. */
static bool is_marked(lua_State *L) {
    if (!lua_getmetatable(L, -1))
        return false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ARRAY_MARK);
    bool marked = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return marked;
}

/* --- decoding ----------------------------------------------------------------------------------- */

enum { SMALL_STRING = 512 };

/* Pushes the characters of a string. What needs unescaping goes through Lua's memory, so that a raise leaks nothing. */
static void push_string(lua_State *L, struct slice text) {
    char small[SMALL_STRING];
    if (!memchr(text.ptr, '\\', text.len)) {
        lua_pushlstring(L, text.ptr + 1, text.len - 2);
    } else if (text.len <= sizeof small) {
        lua_pushlstring(L, small, json_unescape_into(small, text));
    } else {
        char *room = lua_newuserdatauv(L, text.len, 0);
        lua_pushlstring(L, room, json_unescape_into(room, text));
        lua_remove(L, -2); /* the room */
    }
}

/* Pushes a number that was just read. Returns 0, or -EINVAL with the reader's error. */
static int push_number(lua_State *L, struct json_reader *r, struct slice text) {
    int64_t integer;
    double number;
    if (json_integer(text, &integer)) {
        lua_pushinteger(L, integer);
        return 0;
    }
    int rc = json_number(text, &number);
    if (rc) {
        r->error = rc == -ENOMEM ? "out of memory" : "a number that is too large";
        r->error_at = r->at - text.len;
        return -EINVAL;
    }
    lua_pushnumber(L, number);
    return 0;
}

static int push_value(lua_State *L, struct json_reader *r);

enum { PENDING = 8 }; /* elements that wait on the stack until it is known how large their table is to be at first */

/* Moves the elements above `table` into it, in their order: the last of equal names wins. `stored` are in an array already. */
static void store(lua_State *L, int table, bool object, lua_Integer stored) {
    int top = lua_gettop(L), count = (top - table) / (object ? 2 : 1);
    if (lua_isnil(L, table)) {
        lua_createtable(L, object ? 0 : count, object ? count : 0);
        if (!object) {
            push_array_mark(L);
            lua_setmetatable(L, -2);
        }
        lua_replace(L, table);
    }
    if (object) {
        for (int key = table + 1; key < top; key += 2) {
            lua_pushvalue(L, key);
            lua_pushvalue(L, key + 1);
            lua_rawset(L, table);
        }
        lua_settop(L, table);
    } else {
        for (int i = count; i > 0; i--)
            lua_rawseti(L, table, stored + i);
    }
}

/* Pushes the array or object that was just entered. */
static int push_table(lua_State *L, struct json_reader *r, bool object) {
    luaL_checkstack(L, 2 * PENDING + 4, "JSON nested too deeply"); /* table, elements, and what their making and storing takes */
    lua_pushnil(L); /* the table's place */
    int table = lua_gettop(L), rc;
    struct slice key;
    lua_Integer n = 0, stored = 0;
    for (; (rc = json_next(r, object, n == 0, &key)) == 1; n++) {
        if (n - stored == PENDING) {
            store(L, table, object, stored);
            stored = n;
        }
        if (object)
            push_string(L, key);
        rc = push_value(L, r);
        if (rc)
            return rc;
    }
    if (rc == 0)
        store(L, table, object, stored);
    return rc;
}

/* Pushes one value. Returns 0, or -EINVAL with the reader's error and anything on the stack. */
static int push_value(lua_State *L, struct json_reader *r) {
    struct json_value value;
    int rc = json_enter(r, &value);
    if (rc)
        return rc;
    switch (value.type) {
    case JSON_NULL:
        lua_pushlightuserdata(L, NULL);
        return 0;
    case JSON_FALSE:
    case JSON_TRUE:
        lua_pushboolean(L, value.type == JSON_TRUE);
        return 0;
    case JSON_NUMBER:
        return push_number(L, r, value.text);
    case JSON_STRING:
        push_string(L, value.text);
        return 0;
    case JSON_ARRAY:
    case JSON_OBJECT:
        return push_table(L, r, value.type == JSON_OBJECT);
    }
    return -EINVAL;
}

int lua_json_push(lua_State *L, struct slice text) {
    int top = lua_gettop(L);
    luaL_checkstack(L, 4, NULL /* no message of our own */);
    struct json_reader r;
    json_open(&r, text);
    if (push_value(L, &r) == 0 && json_close(&r) == 0)
        return 1;
    lua_settop(L, top);
    lua_pushnil(L);
    lua_pushfstring(L, "%s at byte %I", r.error, (lua_Integer)(r.error_at + 1));
    return 2;
}

/* --- encoding ----------------------------------------------------------------------------------- */

struct encoder {
    lua_State *L;
    struct buf *out;
    size_t start; /* where the value begins in `out` */
    int depth;
    char error[200]; /* the sentence, when it is no static one */
};

__attribute__((format(printf, 2, 3))) static int refuse(struct encoder *e, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(e->error, sizeof e->error, format, args);
    va_end(args);
    return -EINVAL;
}

/* Says in `room` what key is at `index`, without a conversion that would allocate. */
static const char *key_name(lua_State *L, int index, char room[64]) {
    if (lua_type(L, index) == LUA_TSTRING)
        snprintf(room, 64, "\"%.40s\"", lua_tostring(L, index));
    else if (lua_isinteger(L, index))
        snprintf(room, 64, "%" PRId64, (int64_t)lua_tointeger(L, index));
    else if (lua_type(L, index) == LUA_TNUMBER)
        snprintf(room, 64, "%.14g", lua_tonumber(L, index));
    else
        snprintf(room, 64, "of type %s", lua_typename(L, lua_type(L, index)));
    return room;
}

static int encode_string(struct encoder *e) {
    size_t len;
    const char *text = lua_tolstring(e->L, -1, &len);
    if (!utf8_valid(slice_make(text, len)))
        return refuse(e, "a string that is not UTF-8");
    return json_append_string(e->out, slice_make(text, len));
}

static int encode_number(struct encoder *e) {
    if (lua_isinteger(e->L, -1))
        return buf_appendf(e->out, "%" PRId64, (int64_t)lua_tointeger(e->L, -1));
    int rc = json_append_number(e->out, lua_tonumber(e->L, -1));
    return rc == -ERANGE ? refuse(e, "a number that is not finite") : rc;
}

/* Finds out what the table on top is: an array of `*n` elements where its keys are 1 to n (or it has none and is marked), else an object where all keys
 * are strings. Returns 0 or -EINVAL. */
static int classify(struct encoder *e, bool *array, lua_Integer *n) {
    lua_State *L = e->L;
    char name[64];
    lua_Integer integers = 0, strings = 0, largest = 0;
    bool marked = is_marked(L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1 /* the value; the key stays */)) {
        lua_Integer key = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        bool string = lua_type(L, -2) == LUA_TSTRING;
        integers += key > 0;
        strings += string;
        largest = key > largest ? key : largest;
        bool mixed = integers && strings;
        if ((key > 0 || (string && !marked)) && !mixed)
            continue;
        key_name(L, -2, name);
        lua_pop(L, 2);
        if (marked)
            return refuse(e, "an array with the key %s", name);
        return mixed ? refuse(e, "a table with keys of an array and of an object, such as %s", name)
                     : refuse(e, "a table with the key %s: only strings and 1 to n can be keys", name);
    }
    if (largest > integers)
        return refuse(e, "an array with gaps: it has the key %" PRId64 " but %" PRId64 " elements", (int64_t)largest,
                      (int64_t)integers);
    *array = marked || integers > 0;
    *n = integers;
    return 0;
}

static int encode_value(struct encoder *e);

static int encode_array(struct encoder *e, lua_Integer n) {
    int rc = buf_append_char(e->out, '[');
    for (lua_Integer i = 1; !rc && i <= n; i++) {
        rc = i > 1 ? buf_append_char(e->out, ',') : 0;
        lua_rawgeti(e->L, -1, i);
        rc = rc ? rc : encode_value(e);
        lua_pop(e->L, 1);
    }
    return rc ? rc : buf_append_char(e->out, ']');
}

static int encode_member(struct encoder *e, bool first) {
    int rc = first ? 0 : buf_append_char(e->out, ',');
    lua_pushvalue(e->L, -2); /* the key, above the value */
    rc = rc ? rc : encode_string(e);
    lua_pop(e->L, 1);
    rc = rc ? rc : buf_append_char(e->out, ':');
    return rc ? rc : encode_value(e);
}

static int encode_object(struct encoder *e) {
    int rc = buf_append_char(e->out, '{');
    if (rc)
        return rc;
    bool first = true;
    for (lua_pushnil(e->L); lua_next(e->L, -2); lua_pop(e->L, 1 /* the value; the key stays */)) {
        rc = encode_member(e, first);
        if (rc) {
            lua_pop(e->L, 2);
            return rc;
        }
        first = false;
    }
    return buf_append_char(e->out, '}');
}

/* A table that holds itself ends at the greatest depth. */
static int encode_table(struct encoder *e) {
    if (e->depth == JSON_MAX_DEPTH)
        return refuse(e, "a table nested deeper than %d, or one that holds itself", JSON_MAX_DEPTH);
    if (!lua_checkstack(e->L, 5)) /* key, value, key again; the two metatables */
        return -ENOMEM;
    bool array = false;
    lua_Integer n = 0;
    int rc = classify(e, &array, &n);
    if (rc)
        return rc;
    e->depth++;
    rc = array ? encode_array(e, n) : encode_object(e);
    e->depth--;
    return rc;
}

/* Encodes the value on top of the stack and leaves it there. */
static int encode_value(struct encoder *e) {
    if (e->out->len - e->start > LUA_JSON_MAX_BYTES)
        return refuse(e, "a value whose JSON is longer than %d bytes", LUA_JSON_MAX_BYTES);
    switch (lua_type(e->L, -1)) {
    case LUA_TNIL:
        return buf_append_text(e->out, "null");
    case LUA_TBOOLEAN:
        return buf_append_text(e->out, lua_toboolean(e->L, -1) ? "true" : "false");
    case LUA_TNUMBER:
        return encode_number(e);
    case LUA_TSTRING:
        return encode_string(e);
    case LUA_TTABLE:
        return encode_table(e);
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(e->L, -1))
            return buf_append_text(e->out, "null");
        break;
    }
    return refuse(e, "a value of type %s", lua_typename(e->L, lua_type(e->L, -1)));
}

/* Puts the sentence behind the end of `out`: that memory is the caller's, so it outlives this call and needs no freeing. */
static const char *leave_error(struct buf *out, const char *error) {
    size_t before = out->len;
    const char *kept = "cannot be encoded as JSON";
    if (buf_appendf(out, "cannot encode %s as JSON", error) == 0 && buf_append_char(out, '\0') == 0)
        kept = out->data + before;
    out->len = before;
    return kept;
}

int lua_json_encode(lua_State *L, int index, struct buf *out, const char **error) {
    struct encoder e = {.L = L, .out = out, .start = out->len};
    *error = "out of memory";
    if (!lua_checkstack(L, 1))
        return -ENOMEM;
    lua_pushvalue(L, index);
    int rc = encode_value(&e);
    lua_pop(L, 1);
    if (rc)
        out->len = e.start;
    if (rc == -EINVAL)
        *error = leave_error(out, e.error);
    return rc;
}

/* --- functions for Lua -------------------------------------------------------------------------- */

/* sluice.json.encode(value) -> text, or nil, message */
static int json_encode(lua_State *L) {
    luaL_checkany(L, 1);
    struct buf *out = lua_scratch_push(L);
    const char *error;
    if (lua_json_encode(L, 1, out, &error)) {
        lua_pushnil(L);
        lua_pushstring(L, error);
        buf_deinit(out);
        return 2;
    }
    lua_pushlstring(L, out->data, out->len);
    buf_deinit(out); /* not to wait for the collector */
    return 1;
}

/* sluice.json.decode(text) -> value, or nil, message. JSON's null alone is sluice.json.null, never nil. */
static int json_decode(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    return lua_json_push(L, slice_make(text, len));
}

/* sluice.json.array([t]) -> t, marked; a new table where none is given */
static int json_array(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (!is_marked(L)) {
        luaL_argcheck(L, !lua_getmetatable(L, 1), 1, "the table has a metatable already");
        push_array_mark(L);
        lua_setmetatable(L, 1);
    }
    return 1;
}

void lua_json_register(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {
        {"encode", json_encode},
        {"decode", json_decode},
        {"array", json_array},
        {NULL, NULL},
    };
    luaL_checkstack(L, 3, NULL /* no message of our own */);
    luaL_newlib(L, FUNCTIONS);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
}
