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
    struct buf was = {0};
    bool same = slice_equal(event, message_event(m)) && sse_read_data(message_lines(m), &was) == 0 &&
                slice_equal(data, buf_slice(&was));
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
    else if (message_check(message_channel(call->message), event, data, &why) != 0)
        lua_errors_log_text(r->policy, "on_message gave what cannot be sent, the message is skipped for a stream", why);
    else
        call->result = message_edit(call->message, event, data);
}

/* Pushes the data of a message. */
static void push_data(lua_State *L, const struct message *m) {
    struct slice lines = message_lines(m);
    /* "data: " and LF around one line; more lines are joined. */
    if (lines.len >= 7 && memchr(lines.ptr, '\n', lines.len) == lines.ptr + lines.len - 1) {
        lua_pushlstring(L, lines.ptr + 6, lines.len - 7);
        return;
    }
    luaL_Buffer buffer;
    char *at = luaL_buffinitsize(L, &buffer, lines.len);
    struct buf data = {at, 0, lines.len};
    sse_read_data(lines, &data); /* never longer than the lines, so it does not grow */
    luaL_pushresultsize(&buffer, data.len);
}

static int push_shape(lua_State *L) {
    struct hook_call *call = lua_touserdata(L, 1);
    struct message *m = call->message;
    struct slice channel = message_channel(m), event = message_event(m);
    char id[MESSAGE_ID_BYTES];
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, policy_of(L)->runtime_shape);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->generation->table);
    if (call->filter >= 0)
        lua_rawgeti(L, LUA_REGISTRYINDEX, call->filter);
    else
        lua_pushnil(L);
    lua_pushlstring(L, channel.ptr, channel.len);
    if (event.len)
        lua_pushlstring(L, event.ptr, event.len);
    else
        lua_pushnil(L);
    push_data(L, m);
    lua_pushlstring(L, id, message_id_format(id, m->id));
    lua_stream_push(L, call->stream);
    lua_call(L, 7, 2);
    return 2;
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

static int push_disconnected(lua_State *L) {
    struct hook_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, policy_of(L)->runtime_disconnected);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->generation->table);
    lua_stream_push(L, call->stream);
    lua_pushstring(L, call->reason);
    lua_call(L, 3, 0);
    return 0;
}

void policy_closed(struct policy *p, struct stream *s, const char *reason) {
    struct hook_call call = {.generation = p->current, .stream = s, .reason = reason};
    if (p->current->on_disconnect)
        call_hook(p, &call, PHASE_ON_DISCONNECT, push_disconnected, disconnect_done);
}
