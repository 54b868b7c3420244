/* SPDX-License-Identifier: MIT */
/* Hooks that C asks in the middle of a delivery or of a stream's end: on_message, filter functions, on_disconnect. */
#include <lauxlib.h>
#include <string.h>

#include "lua_policy.h"
#include "sse.h"

/* One call, whose outcome is wanted at once. */
struct hook_call {
    struct generation *generation;
    struct stream *stream;
    struct message *message;
    int filter; /* a function's reference, or LUA_NOREF */
    const char *reason;
    struct message *result;
};

static void call_hook(struct policy *p, struct hook_call *call, enum phase phase, lua_CFunction push,
                      void (*done)(struct routine *, bool)) {
    struct routine *r = routine_new(p, call->generation, phase);
    if (!r) {
        lua_errors_log_text(p, "a hook failed", "not enough memory");
        return;
    }
    r->done = done;
    r->context = call;
    lua_pushcfunction(r->co, push);
    lua_pushlightuserdata(r->co, call);
    routine_run(r, 1);
}

/* --- on_message, filter ------------------------------------------------------------------------- */

static bool is_unchanged(const struct message *m, struct slice event, struct slice data) {
    struct slice line;
    if (!slice_equal(event, message_event(m)))
        return false;
    if (message_one_line(m, &line))
        return slice_equal(data, line);
    struct buf was = {0};
    bool same = sse_read_data(message_lines(m), &was) == 0 && slice_equal(data, buf_slice(&was));
    buf_deinit(&was);
    return same;
}

static void shape_done(struct routine *r, bool ok) {
    struct hook_call *call = r->context;
    lua_State *co = r->co;
    if (!ok) {
        lua_errors_log(r->policy, co, "on_message or a filter failed, the message is skipped for a stream");
        return;
    }
    if (lua_isnoneornil(co, -1))
        return;
    struct slice event = {NULL, 0}, data;
    const char *why;
    event.ptr = lua_tolstring(co, -2, &event.len);
    data.ptr = lua_tolstring(co, -1, &data.len);
    if (is_unchanged(call->message, event, data))
        call->result = message_retain(call->message);
    else if (message_check_parts(event, data, &why) != 0)
        lua_errors_log_text(r->policy, "on_message gave what cannot be sent, the message is skipped for a stream", why);
    else
        call->result = message_edit(call->message, event, data);
}

/* Pushes the data of a message. */
static void push_data(lua_State *L, const struct message *m) {
    struct slice line, lines = message_lines(m);
    if (message_one_line(m, &line)) {
        lua_pushlstring(L, line.ptr, line.len);
        return;
    }
    luaL_Buffer buffer;
    char *at = luaL_buffinitsize(L, &buffer, lines.len);
    struct buf data = {at, 0, lines.len};
    sse_read_data(lines, &data); /* never longer than the lines, so it does not grow */
    luaL_pushresultsize(&buffer, data.len);
}

enum { SHAPED_CHANNEL = 1, SHAPED_EVENT, SHAPED_DATA, SHAPED_ID };

/* Pushes the table of a message's parts as Lua strings: made once for the whole of a fan-out. */
static void push_parts(lua_State *L, struct policy *p, const struct message *m) {
    struct slice channel = message_channel(m), event = message_event(m);
    char id[MESSAGE_ID_BYTES];
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->shaped_parts);
    if (message_place_compare(p->shaped, message_place(m)) == 0)
        return;
    p->shaped = (struct message_place){0}; /* should memory run out on the way */
    lua_pushlstring(L, channel.ptr, channel.len);
    lua_rawseti(L, -2, SHAPED_CHANNEL);
    if (event.len)
        lua_pushlstring(L, event.ptr, event.len);
    else
        lua_pushnil(L);
    lua_rawseti(L, -2, SHAPED_EVENT);
    push_data(L, m);
    lua_rawseti(L, -2, SHAPED_DATA);
    lua_pushlstring(L, id, message_id_format(id, m->id));
    lua_rawseti(L, -2, SHAPED_ID);
    p->shaped = message_place(m);
}

void policy_forget_shaped(struct policy *p) {
    if (p->shaped.epoch == 0)
        return;
    p->shaped = (struct message_place){0};
    lua_rawgeti(p->L, LUA_REGISTRYINDEX, p->shaped_parts);
    for (int part = SHAPED_CHANNEL; part <= SHAPED_ID; part++) {
        lua_pushnil(p->L);
        lua_rawseti(p->L, -2, part); /* needs no memory: it is there */
    }
    lua_pop(p->L, 1);
}

static int push_shape(lua_State *L) {
    struct hook_call *call = lua_touserdata(L, 1);
    struct policy *p = policy_of(L);
    lua_settop(L, 0);
    push_parts(L, p, call->message); /* 1 */
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_shape);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->generation->table);
    if (call->filter >= 0)
        lua_rawgeti(L, LUA_REGISTRYINDEX, call->filter);
    else
        lua_pushnil(L);
    for (int part = SHAPED_CHANNEL; part <= SHAPED_ID; part++)
        lua_rawgeti(L, 1, part);
    lua_stream_push(L, call->stream);
    lua_call(L, 7, 2);
    return 2;
}

/* message_parts(answer): data and event of a message that a hook has returned; nothing where it is none. */
static int core_message_parts(lua_State *L) {
    if (!lua_istable(L, 1))
        return 0;
    lua_settop(L, 1);
    if (lua_getfield(L, 1, "data") != LUA_TSTRING)
        return 0;
    int event = lua_getfield(L, 1, "event"), channel = lua_getfield(L, 1, "channel");
    if ((event != LUA_TNIL && event != LUA_TSTRING) || (channel != LUA_TNIL && channel != LUA_TSTRING))
        return 0;
    lua_pop(L, 1);
    return 2;
}

void lua_hooks_register_core(lua_State *L) {
    lua_pushcfunction(L, core_message_parts);
    lua_setfield(L, -2, "message_parts");
}

/* Whose on_message a message takes: live, that of the generation that ran its on_publish; replayed, the one in force. */
static struct generation *shaping(const struct policy *p, const struct message *m, bool replayed) {
    return replayed ? p->current : generation_of(p, m->generation);
}

bool policy_shapes(struct policy *p, const struct message *m, bool replayed) {
    return shaping(p, m, replayed)->on_message;
}

struct message *policy_shape(struct policy *p, struct stream *s, struct message *m, struct subscription *sub,
                             bool replayed) {
    struct hook_call call = {
        .generation = shaping(p, m, replayed),
        .stream = s,
        .message = m,
        .filter = sub && sub->filter ? sub->filter->function : LUA_NOREF,
    };
    call_hook(p, &call, PHASE_ON_MESSAGE, push_shape, shape_done);
    return call.result;
}

/* --- on_disconnect ------------------------------------------------------------------------------ */

static void disconnect_done(struct routine *r, bool ok) {
    if (!ok)
        lua_errors_log(r->policy, r->co, "on_disconnect failed");
}

/* The hooks have returned, at once or after a wait. */
static int disconnected(lua_State *L, int status, lua_KContext context) {
    (void)L, (void)status, (void)context;
    return 0;
}

static int push_disconnected(lua_State *L) {
    struct hook_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, policy_of(L)->runtime_disconnected);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->generation->table);
    lua_stream_push(L, call->stream);
    lua_pushstring(L, call->reason);
    lua_callk(L, 3, 0, 0, disconnected);
    return disconnected(L, LUA_OK, 0);
}

void policy_closed(struct policy *p, struct stream *s, const char *reason) {
    struct hook_call call = {.generation = p->current, .stream = s, .reason = reason};
    if (p->current->on_disconnect)
        call_hook(p, &call, PHASE_ON_DISCONNECT, push_disconnected, disconnect_done);
}
