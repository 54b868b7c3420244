/* SPDX-License-Identifier: MIT */
/* The `stream` object of scripts. */
#include <errno.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "lua_json.h"
#include "lua_log.h"
#include "lua_policy.h"
#include "server.h"

#define STREAM_TYPE "sluice.stream"

enum { UV_REQUEST = 1, LAST_ID_BYTES = 1024 };

struct stream_box {
    struct stream *stream;
};

/* --- the userdata ------------------------------------------------------------------------------- */

/* Pushes the weak table of boxes and, where the stream still has one, its userdata: then returns the box. A box that was collected leaves its address behind in the stream,
 * and another stream's may lie there by now. (A __gc that tidies up would cost more than all else about a box.) */
static struct stream_box *push_box(lua_State *L, const struct policy *p, const struct stream *s) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->stream_boxes);
    if (!s->policy_data)
        return NULL;
    lua_rawgetp(L, -1, s->policy_data);
    struct stream_box *box = lua_touserdata(L, -1);
    if (box && box->stream == s)
        return box;
    lua_pop(L, 1);
    return NULL;
}

void lua_stream_push(lua_State *L, struct stream *s) {
    if (!push_box(L, policy_of(L), s)) {
        struct stream_box *box = lua_newuserdatauv(L, sizeof *box, 1);
        box->stream = NULL;
        lua_rawgetp(L, LUA_REGISTRYINDEX, policy_of(L)->stream_meta);
        lua_setmetatable(L, -2);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, -3, box);
        box->stream = s;
        s->policy_data = box;
    }
    lua_remove(L, -2);
}

void lua_stream_forget(struct policy *p, struct stream *s) {
    if (!s->policy_data)
        return;
    int top = lua_gettop(p->L);
    struct stream_box *box = push_box(p->L, p, s);
    if (box)
        box->stream = NULL;
    lua_settop(p->L, top);
    s->policy_data = NULL;
}

static struct stream_box *check_box(lua_State *L) {
    return policy_check_box(L, 1, policy_of(L)->stream_meta, STREAM_TYPE);
}

static struct stream *check(lua_State *L) {
    struct stream_box *box = check_box(L);
    if (!box->stream)
        luaL_error(L, "the connection is closed");
    return box->stream;
}

/* --- beginning ---------------------------------------------------------------------------------- */

/* The last event id that the client came with: the header wins over the query. Pushes it, or nil. */
static void push_last_id(lua_State *L, struct exchange *x) {
    static const char *const NAMES[] = {"last_event_id", "lastEventId"};
    struct slice value;
    if (http_request_field(&x->request, "Last-Event-ID", &value) && value.len > 0) {
        lua_pushlstring(L, value.ptr, value.len);
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        struct slice rest = x->request.query, name, text;
        while (http_query_next(&rest, &name, &text)) {
            if (!slice_is(name, NAMES[i]) || text.len == 0)
                continue;
            struct buf *decoded = policy_scratch(L, 0);
            bool ok = http_percent_decode(text, true, decoded) == 0;
            struct slice id = ok ? buf_slice(decoded) : text;
            lua_pushlstring(L, id.ptr, id.len < LAST_ID_BYTES ? id.len : LAST_ID_BYTES);
            return;
        }
    }
    lua_pushnil(L);
}

static struct hub_start start_of(struct slice id) {
    struct hub_start start = {.kind = HUB_NEW};
    if (id.len == 0)
        return start;
    if (slice_is(id, "earliest"))
        start.kind = HUB_EARLIEST;
    else if (message_id_parse(id, &start.id))
        start.kind = HUB_AFTER;
    else
        start.kind = HUB_NONSENSE;
    return start;
}

/* When a stream with this end is to be ended, in the worker's time; 0: never. The clock of tokens is the wall's, and is read once. */
static uint64_t deadline_of(const struct worker *w, double expires) {
    static const double FOREVER_MS = 1e15; /* some 30,000 years */
    double left_ms = ceil((expires + w->config->jwt_leeway) * 1000) - (double)wall_ms();
    if (left_ms >= FOREVER_MS)
        return 0;
    return worker_now(w) + (left_ms > 0 ? (uint64_t)left_ms : 0);
}

bool lua_stream_begin(lua_State *L, struct stream *s) {
    const struct worker *w = s->worker;
    struct exchange *x = s->exchange;
    if (s->begun || !s->conn || !x)
        return s->begun && s->conn;
    push_last_id(L, x);
    struct slice id = {NULL, 0};
    if (lua_isstring(L, -1))
        id.ptr = lua_tolstring(L, -1, &id.len);
    if (x->has_user && !s->user) {
        s->user = strdup(x->user.data);
        if (!s->user)
            luaL_error(L, "not enough memory");
    }
    if (isfinite(x->expires)) {
        s->expiry = x->expires;
        s->expires_ms = deadline_of(w, x->expires);
    }
    struct hub_start start = start_of(id);
    if (x->vouched && start.kind == HUB_AFTER)
        start.kind = (enum hub_start_kind)x->vouched;
    int rc = stream_begin(s, x, start, id);
    lua_pop(L, 1);
    if (rc)
        luaL_error(L, "not enough memory");
    return s->conn != NULL;
}

/* --- sending ------------------------------------------------------------------------------------ */

/* Where a stream's own handler goes on writing too fast, it waits; when the client has gone, it never comes back. */
static int after_send(lua_State *L, struct stream *s, bool open) {
    struct routine *r = policy_of(L)->running;
    bool own = r && r->co == L && s->exchange && r->exchange == s->exchange && lua_isyieldable(L) && policy_phase(r->policy) == PHASE_HANDLER;
    lua_pushboolean(L, open);
    if (!own || (open && !stream_full(s)))
        return 1;
    s->waiting = open;
    r->wait = open ? WAIT_ROOM : WAIT_FOREVER;
    return lua_yieldk(L, 0, 0, NULL);
}

/* Others may not fill the queue either, and cannot wait: pushes false and why, and returns true, where it is full. */
static bool refuse_full(lua_State *L, struct stream *s) {
    struct routine *r = policy_of(L)->running;
    bool own = r && s->exchange && r->exchange == s->exchange;
    if (own || !stream_full(s))
        return false;
    lua_pushboolean(L, 0);
    lua_pushliteral(L, "the client is slow: nothing was sent");
    return true;
}

static int stream_send_method(lua_State *L) {
    struct stream *s = check(L);
    struct slice event = {NULL, 0}, data;
    policy_check_phase(L, PHASE_HANDLER | PHASE_TASK, "stream:send", "a handler or a task");
    if (lua_istable(L, 2)) {
        lua_pushnil(L);
        while (lua_next(L, 2)) {
            const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
            if (strcmp(key, "event") != 0 && strcmp(key, "data") != 0)
                return luaL_error(L, "stream:send takes event and data, not '%s' (ids come from the log: publish what must be resumable)", key);
            lua_pop(L, 1);
        }
        lua_settop(L, 2);
        if (lua_getfield(L, 2, "event") != LUA_TNIL) { /* 3 */
            if (lua_type(L, 3) != LUA_TSTRING)
                return luaL_error(L, "stream:send: event must be a string, not a %s", luaL_typename(L, 3));
            event.ptr = lua_tolstring(L, 3, &event.len);
        }
        lua_getfield(L, 2, "data"); /* 4 */
    } else {
        lua_settop(L, 2);
        lua_pushnil(L);
        lua_pushvalue(L, 2); /* 4: a string alone is the data */
    }
    if (lua_isnil(L, 4))
        return luaL_error(L, "stream:send needs data");
    if (lua_type(L, 4) != LUA_TSTRING) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, (const void *)stream_send_method); /* sluice.json.encode */
        lua_pushvalue(L, 4);
        lua_call(L, 1, 2);
        if (lua_isnil(L, -2))
            return luaL_error(L, "stream:send: data cannot be sent as JSON: %s", lua_tostring(L, -1));
        lua_pop(L, 1);
        lua_replace(L, 4);
    }
    data.ptr = lua_tolstring(L, 4, &data.len);
    const char *why;
    if (message_check(slice_of("-"), event, data, &why) != 0)
        return luaL_error(L, "stream:send: %s", why);
    if (!lua_stream_begin(L, s))
        return after_send(L, s, false);
    if (refuse_full(L, s))
        return 2;
    int rc = stream_send(s, event, data);
    if (rc == -ENOMEM)
        return luaL_error(L, "not enough memory");
    return after_send(L, s, rc == 0);
}

static int stream_comment_method(lua_State *L) {
    struct stream *s = check(L);
    struct slice text;
    policy_check_phase(L, PHASE_HANDLER | PHASE_TASK, "stream:comment", "a handler or a task");
    text.ptr = luaL_optlstring(L, 2, "", &text.len);
    if (!lua_stream_begin(L, s))
        return after_send(L, s, false);
    if (refuse_full(L, s))
        return 2;
    int rc = stream_comment(s, text);
    if (rc == -ENOMEM)
        return luaL_error(L, "not enough memory");
    return after_send(L, s, rc == 0);
}

/* --- subscribing -------------------------------------------------------------------------------- */

static void drop_function(struct filter *filter, void *context) {
    struct generation *g = context;
    if (g->policy)
        luaL_unref(g->policy->L, LUA_REGISTRYINDEX, filter->function);
    generation_release(g);
}

struct filter_box {
    struct filter *filter;
};

static int filter_gc(lua_State *L) {
    struct filter_box *box = lua_touserdata(L, 1);
    filter_release(box->filter);
    box->filter = NULL;
    return 0;
}

/* Reads { events = {...}, prefix = "...", filter = function } at `index`; leaves a userdata that holds the filter on the stack. NULL: no filter wanted. */
static struct filter *check_filter(lua_State *L, int index) {
    if (lua_isnoneornil(L, index))
        return NULL;
    luaL_checktype(L, index, LUA_TTABLE);
    struct filter_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->filter = NULL;
    if (luaL_newmetatable(L, "sluice.filter")) {
        lua_pushcfunction(L, filter_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    struct filter *f = box->filter = filter_new();
    if (!f)
        luaL_error(L, "not enough memory");
    lua_pushnil(L);
    while (lua_next(L, index)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(key, "prefix") == 0 && lua_type(L, -1) == LUA_TSTRING) {
            struct slice prefix;
            prefix.ptr = lua_tolstring(L, -1, &prefix.len);
            if (buf_append_slice(&f->prefix, prefix) != 0)
                luaL_error(L, "not enough memory");
        } else if (strcmp(key, "events") == 0 && lua_istable(L, -1)) {
            for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
                struct slice type;
                if (lua_type(L, -1) != LUA_TSTRING)
                    luaL_error(L, "stream:subscribe: events must be a list of event types");
                type.ptr = lua_tolstring(L, -1, &type.len);
                if (buf_append_slice(&f->types, type) != 0 || buf_append_char(&f->types, '\n') != 0)
                    luaL_error(L, "not enough memory");
                lua_pop(L, 1);
            }
            lua_pop(L, 1);
        } else if (strcmp(key, "filter") == 0 && lua_isfunction(L, -1)) {
            lua_pushvalue(L, -1);
            f->function = luaL_ref(L, LUA_REGISTRYINDEX);
            f->context = generation_retain(policy_of(L)->running->generation);
            f->drop = drop_function;
        } else {
            luaL_error(L, "stream:subscribe: '%s' is no option that it knows, or of the wrong type; there are events = {...}, prefix = \"...\", filter = function", key);
        }
        lua_pop(L, 1);
    }
    return f;
}

/* Asks the hooks. A refusal is raised and so answers the request; once the stream has begun there is nothing to answer: then it returns false with the sentence on the stack. */
static bool allowed(lua_State *L, const struct stream *s, const char *channel) {
    struct policy *p = policy_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_may_subscribe);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->running->generation->table);
    lua_pushvalue(L, 1);
    lua_pushstring(L, channel);
    if (!s->begun) {
        lua_call(L, 3, 0);
        return true;
    }
    if (lua_pcall(L, 3, 0, 0) == LUA_OK)
        return true;
    if (!policy_is_rejection(L, -1))
        lua_error(L);
    lua_getfield(L, -1, "error");
    return false;
}

/* What is wrong with a subscription: before the head has gone out it is the answer; later the handler is told. Returns false with the sentence on the stack. */
static bool deny(lua_State *L, const struct stream *s, int status, const char *text) {
    if (!s->begun)
        policy_refuse(L, status, text);
    lua_pushstring(L, text);
    return false;
}

/* Subscribes to the channel whose name is on top of the stack. Returns false with a sentence on the stack where an open stream may not. */
static bool subscribe_one(lua_State *L, struct stream *s, struct filter *filter) {
    struct slice name;
    const char *why;
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "stream:subscribe: a channel's name is a string, not a %s", luaL_typename(L, -1));
    name.ptr = lua_tolstring(L, -1, &name.len);
    if (message_check_channel(name, &why) != 0)
        return deny(L, s, 400, why);
    if (stream_subscription(s, name))
        return true;
    if (!allowed(L, s, name.ptr))
        return false;
    switch (stream_subscribe(check(L), name, filter)) {
    case -E2BIG: return deny(L, s, 400, "too many channels for one stream, see limits.channels_per_stream");
    case -ENOMEM: luaL_error(L, "not enough memory"); return false;
    default: return true; /* closed meanwhile, by the hook too: told by the result of stream:subscribe */
    }
}

static int stream_subscribe_method(lua_State *L) {
    struct stream *s = check(L);
    policy_check_phase(L, PHASE_HANDLER | PHASE_TASK, "stream:subscribe", "a handler or a task");
    luaL_argcheck(L, lua_istable(L, 2) || lua_type(L, 2) == LUA_TSTRING, 2, "a channel's name or a list of names");
    lua_settop(L, 3);
    struct filter *filter = check_filter(L, 3);
    int top = lua_gettop(L);
    if (!lua_istable(L, 2) || lua_rawlen(L, 2) == 0) {
        lua_createtable(L, 1, 0);
        if (lua_istable(L, 2))
            lua_pushliteral(L, "default");
        else
            lua_pushvalue(L, 2);
        lua_rawseti(L, -2, 1);
        lua_replace(L, 2);
    }
    for (lua_Integer i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
        if (!subscribe_one(L, check(L), filter)) {
            lua_pushnil(L);
            lua_insert(L, -2);
            return 2;
        }
        lua_settop(L, top);
    }
    lua_pushboolean(L, s->conn != NULL);
    return 1;
}

static int stream_unsubscribe_method(lua_State *L) {
    struct stream *s = check(L);
    struct slice name;
    policy_check_phase(L, PHASE_HANDLER | PHASE_TASK, "stream:unsubscribe", "a handler or a task");
    name.ptr = luaL_checklstring(L, 2, &name.len);
    lua_pushboolean(L, stream_unsubscribe(s, name));
    return 1;
}

static int stream_close_method(lua_State *L) {
    struct stream_box *box = check_box(L);
    struct stream *s = box->stream;
    if (policy_phase(policy_of(L)) == PHASE_CLOSING)
        return 0; /* its end is under way */
    if (s && s->conn) {
        if (s->begun || lua_stream_begin(L, s))
            stream_close(s, STREAM_CLOSED);
    }
    return 0;
}

static int stream_is_open(lua_State *L) {
    struct stream_box *box = check_box(L);
    lua_pushboolean(L, box->stream && box->stream->conn);
    return 1;
}

/* --- fields ------------------------------------------------------------------------------------- */

static void push_stream_id(lua_State *L, const struct stream *s) {
    char id[17];
    u64_hex(id, s->id);
    lua_pushlstring(L, id, sizeof id - 1);
}

enum { FIELD_ID = 1, FIELD_USER, FIELD_REQUEST, FIELD_LAST_EVENT_ID, FIELD_OPENING };

static const char *const FIELDS[] = {"id", "user", "request", "last_event_id", "opening", NULL};

static void push_field(lua_State *L, const struct stream *s, int field) {
    switch (field) {
    case FIELD_ID:
        push_stream_id(L, s);
        return;
    case FIELD_USER:
        if (s->exchange && s->exchange->has_user && !s->user)
            lua_pushlstring(L, s->exchange->user.data, s->exchange->user.len);
        else
            lua_pushstring(L, s->user);
        return;
    case FIELD_REQUEST:
        if (s->exchange)
            lua_getiuservalue(L, 1, UV_REQUEST);
        else
            lua_pushnil(L);
        return;
    case FIELD_LAST_EVENT_ID:
        if (s->exchange)
            push_last_id(L, s->exchange);
        else
            lua_pushnil(L);
        return;
    default: /* FIELD_OPENING */
        lua_pushboolean(L, s->opening);
    }
}

static int stream_index(lua_State *L) {
    check_box(L);
    int field = policy_member(L, "a stream");
    if (field)
        push_field(L, check(L), field);
    return 1;
}

static int stream_newindex(lua_State *L) {
    struct stream *s = check(L);
    const char *name = luaL_checkstring(L, 2);
    if (strcmp(name, "opening") != 0)
        return luaL_error(L, "stream.%s cannot be set; stream.opening can, before the stream begins", name);
    if (s->begun)
        return luaL_error(L, "stream.opening: the stream has begun already");
    luaL_checktype(L, 3, LUA_TBOOLEAN);
    s->opening = lua_toboolean(L, 3);
    return 0;
}

static int stream_tostring(lua_State *L) {
    struct stream_box *box = check_box(L);
    if (!box->stream) {
        lua_pushliteral(L, "stream (closed)");
    } else {
        lua_pushliteral(L, "stream ");
        push_stream_id(L, box->stream);
        lua_concat(L, 2);
    }
    return 1;
}

/* --- for the runtime ------------------------------------------------------------------------------ */

/* Over limits.connections: no stream, and a client that comes back at another time than all others. */
static void answer_busy(struct exchange *x) {
    struct worker *w = x->worker;
    char text[64];
    metrics_add(&w->metrics, connections_refused, 1);
    lua_request_detach(x);
    x->conn->no_more_requests = true;
    if (w->config->busy_retry) {
        static const char TYPE[] = "Content-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\n";
        snprintf(text, sizeof text, "retry: %" PRIu64 "\n\n", worker_spread(w, w->config->retry_ms));
        exchange_respond(x, 200, slice_make(TYPE, sizeof TYPE - 1), slice_of(text));
        return;
    }
    uint64_t seconds = (worker_spread(w, w->config->retry_ms) + 999) / 1000;
    snprintf(text, sizeof text, "%" PRIu64, seconds);
    exchange_add_field(x, slice_of("Retry-After"), slice_of(text));
    exchange_fail(x, 503, "the server has as many connections as it may have, try again later");
}

/* Makes the stream: request and options are at 1 and 2. */
static int open_stream(lua_State *L, struct exchange *x) {
    struct stream *s = stream_new(x);
    if (!s)
        return luaL_error(L, "not enough memory");
    s->generation = (uint32_t)policy_of(L)->running->generation->number;
    if (lua_istable(L, 2) && lua_getfield(L, 2, "opening") == LUA_TBOOLEAN)
        s->opening = s->opening && lua_toboolean(L, -1);
    s->admin = lua_istable(L, 2) && lua_getfield(L, 2, "admin") != LUA_TNIL && lua_toboolean(L, -1);
    lua_stream_push(L, s);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, UV_REQUEST);
    return 1;
}

/* True where the client's last event id is newer than all that has come from the log yet. */
static bool ahead_of_us(lua_State *L, struct exchange *x, struct message_id *id) {
    struct slice text = {NULL, 0};
    push_last_id(L, x);
    text.ptr = lua_tolstring(L, -1, &text.len);
    struct hub_start start = start_of(text);
    lua_pop(L, 1);
    *id = start.id;
    return start.kind == HUB_AFTER && message_id_after(start.id, hub_newest(x->worker->hub));
}

/* The log was asked about that id. */
static int opened(lua_State *L, int status, lua_KContext kind) {
    struct exchange *x = lua_request_check(L, 1);
    (void)status;
    x->vouched = kind == HUB_AFTER ? 0 : (uint8_t)kind;
    return open_stream(L, x);
}

/* open_stream(request, options): the stream, or nothing where the request is answered already. */
static int core_open_stream(lua_State *L) {
    struct exchange *x = lua_request_check(L, 1);
    struct worker *w = x->worker;
    struct buf accept = {0};
    int rc = http_request_field_join(&x->request, "Accept", &accept);
    int quality = http_accept_quality(buf_slice(&accept), "text", "event-stream");
    buf_deinit(&accept);
    if (rc == -ENOMEM)
        return luaL_error(L, "not enough memory");
    if (quality == 0)
        return policy_refuse(L, 406, "this is an event stream: Accept must allow text/event-stream");
    if (w->draining) {
        lua_request_detach(x);
        exchange_drop(x); /* a 503 would end an EventSource for good */
        return 0;
    }
    if (conn_is_extra(x->conn)) {
        answer_busy(x);
        return 0;
    }
    struct message_id ahead;
    if (w->server->redis && ahead_of_us(L, x, &ahead))
        return lua_log_vouch(L, ahead, opened);
    return open_stream(L, x);
}

/* finish_stream(stream): its handler has returned. */
static int core_finish_stream(lua_State *L) {
    struct stream_box *box = check_box(L);
    struct stream *s = box->stream;
    if (!s || !s->exchange)
        return 0;
    struct exchange *x = s->exchange;
    lua_stream_begin(L, s);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, UV_REQUEST);
    lua_request_detach(x);
    if (!s->begun)
        return 0; /* the client has gone: exchange and stream go with the connection */
    exchange_release(x);
    if (s->sub_count == 0 && !s->asked_all)
        stream_close(s, STREAM_FINISHED);
    return 0;
}

void lua_stream_register_core(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"open_stream", core_open_stream}, {"finish_stream", core_finish_stream}, {NULL, NULL}};
    luaL_setfuncs(L, FUNCTIONS, 0);
}

void lua_stream_open(lua_State *L) {
    static const luaL_Reg METHODS[] = {{"send", stream_send_method},
                                       {"comment", stream_comment_method},
                                       {"subscribe", stream_subscribe_method},
                                       {"unsubscribe", stream_unsubscribe_method},
                                       {"close", stream_close_method},
                                       {"is_open", stream_is_open},
                                       {NULL, NULL}};
    static const luaL_Reg META[] = {{"__newindex", stream_newindex}, {"__tostring", stream_tostring}, {NULL, NULL}};
    lua_json_register(L);
    lua_getfield(L, -1, "encode");
    lua_rawsetp(L, LUA_REGISTRYINDEX, (const void *)stream_send_method);
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    policy_of(L)->stream_boxes = luaL_ref(L, LUA_REGISTRYINDEX);
    policy_of(L)->stream_meta = policy_open_type(L, STREAM_TYPE, METHODS, FIELDS, stream_index, META);
}
