/* SPDX-License-Identifier: MIT */
/* Publishing and looking at channels, for scripts and for the host program. */
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "idempotency.h"
#include "lua_log.h"
#include "lua_policy.h"
#include "server.h"

/* --- for scripts -------------------------------------------------------------------------------- */

/* Pushes what a publish returns that went well. */
static int push_published(lua_State *L, struct message_id id, uint64_t subscribers) {
    char text[MESSAGE_ID_BYTES];
    lua_pushlstring(L, text, message_id_format(text, id));
    lua_pushinteger(L, (lua_Integer)subscribers);
    return 2;
}

/* Pushes nil, why, status. */
static int push_refused(lua_State *L, const char *why, int status) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    lua_pushinteger(L, status);
    return 3;
}

/* The hash of what is published with an idempotency key. */
static uint64_t fingerprint(struct slice channel, struct slice event, struct slice data) {
    uint64_t hash = slice_hash(channel);
    hash = hash * UINT64_C(0x9e3779b97f4a7c15) + slice_hash(event);
    return hash * UINT64_C(0x9e3779b97f4a7c15) + slice_hash(data);
}

static int publish_here(lua_State *L, const struct lua_publication *m, struct hub_published *out) {
    struct policy *p = policy_of(L);
    struct worker *w = p->worker;
    struct message *message = message_new(m->channel, m->event, m->data);
    if (!message)
        return -ENOMEM;
    message->generation = (uint32_t)p->running->generation->number;
    return hub_publish(w->hub, message, (int)w->index, wall_ms(), uv_hrtime(), out);
}

/* With a key: what was published with it before is not published again. */
static int publish_once(lua_State *L, const struct lua_publication *m) {
    struct idempotency *known = policy_of(L)->worker->server->published;
    struct hub_published published;
    struct idempotency_answer answer;
    int found = idempotency_begin(known, m->key, m->fingerprint, uv_hrtime() / 1000000, &answer);
    switch (found) {
    case IDEMPOTENCY_KNOWN: return push_published(L, answer.id, answer.subscribers);
    case IDEMPOTENCY_OTHER: return push_refused(L, lua_log_other, 422);
    case IDEMPOTENCY_PENDING: return push_refused(L, "a message with this idempotency key is just being published, try again", 409);
    case IDEMPOTENCY_NEW: break;
    default: return luaL_error(L, "not enough memory");
    }
    if (publish_here(L, m, &published) != 0) {
        idempotency_forget(known, m->key);
        return luaL_error(L, "not enough memory");
    }
    answer = (struct idempotency_answer){published.id, published.subscribers};
    idempotency_done(known, m->key, &answer);
    return push_published(L, published.id, published.subscribers);
}

/* The key in the place of what the client has sent, which is only the user's own: two users may choose the same. */
static struct slice scoped_key(lua_State *L, struct slice key) {
    struct routine *r = policy_of(L)->running;
    struct buf *scoped = policy_scratch(L, 0);
    struct exchange *x = r->exchange;
    if ((x && x->has_user && buf_append_slice(scoped, buf_slice(&x->user)) != 0) || buf_append_char(scoped, '\n') != 0 ||
        buf_append_slice(scoped, key) != 0)
        luaL_error(L, "not enough memory");
    return buf_slice(scoped);
}

/* Publishes. Pushes the id and the subscribers, or nil, why, status, state; the calling C function returns what this returns, at once or after a wait for Redis. */
static int publish_checked(lua_State *L, const struct lua_publication *m) {
    const char *why;
    struct hub_published published;
    if (message_check(m->channel, m->event, m->data, &why) != 0)
        return push_refused(L, why, 400);
    if (policy_of(L)->worker->server->redis)
        return lua_log_publish(L, m);
    if (m->key.ptr)
        return publish_once(L, m);
    if (publish_here(L, m, &published) != 0)
        return luaL_error(L, "not enough memory");
    return push_published(L, published.id, published.subscribers);
}

/* Publishes what the hooks have let pass: publish(channel, event, data, key, fingerprint). */
static int core_publish(lua_State *L) {
    struct lua_publication m = {.event = {NULL, 0}};
    m.channel.ptr = luaL_checklstring(L, 1, &m.channel.len);
    m.event.ptr = luaL_optlstring(L, 2, "", &m.event.len);
    m.data.ptr = luaL_checklstring(L, 3, &m.data.len);
    if (!lua_isnoneornil(L, 4)) {
        m.key.ptr = luaL_checklstring(L, 4, &m.key.len);
        if (!idempotency_key_valid(m.key))
            return push_refused(L, "an idempotency key has 1 to 255 visible ASCII characters", 400);
        m.key = scoped_key(L, m.key);
        m.fingerprint = (uint64_t)luaL_checkinteger(L, 5);
    }
    return publish_checked(L, &m);
}

/* fingerprint(channel, event, data): what tells two messages with the same key apart, before hooks change them. */
static int core_fingerprint(lua_State *L) {
    struct slice channel, event, data;
    channel.ptr = luaL_checklstring(L, 1, &channel.len);
    event.ptr = luaL_optlstring(L, 2, "", &event.len);
    data.ptr = luaL_checklstring(L, 3, &data.len);
    lua_pushinteger(L, (lua_Integer)fingerprint(channel, event, data));
    return 1;
}

/* All that was called has returned, at once or after a wait. */
static int returned(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    return lua_gettop(L);
}

/* True for a plain table with data, and perhaps an event, that are strings, and nothing that a message has not. */
static bool read_plain(lua_State *L, int index, struct lua_publication *what) {
    if (!lua_istable(L, index) || lua_getmetatable(L, index))
        return false;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (strcmp(key, "channel") == 0 || strcmp(key, "id") == 0)
            continue;
        struct slice *part = strcmp(key, "data") == 0 ? &what->data : strcmp(key, "event") == 0 ? &what->event : NULL;
        if (!part || lua_type(L, -1) != LUA_TSTRING)
            return false;
        part->ptr = lua_tolstring(L, -1, &part->len);
    }
    return what->data.ptr != NULL;
}

/* sluice.publish(channel, message, request) */
static int publish(lua_State *L) {
    struct policy *p = policy_of(L);
    policy_check_phase(L, PHASE_HANDLER | PHASE_TASK | PHASE_ON_REQUEST | PHASE_ON_DISCONNECT | PHASE_CLOSING, "sluice.publish",
                       "a handler, a task, on_request, on_disconnect or a <close> variable");
    luaL_checktype(L, 1, LUA_TSTRING);
    luaL_checkany(L, 2);
    lua_settop(L, 3);
    struct lua_publication what = {.event = {"", 0}};
    if (!p->running->generation->on_publish && read_plain(L, 2, &what)) { /* nothing for the runtime to do */
        what.channel.ptr = lua_tolstring(L, 1, &what.channel.len);
        return publish_checked(L, &what);
    }
    lua_settop(L, 3);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_publish);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->running->generation->table);
    lua_rotate(L, 1, 2);
    lua_callk(L, 4, LUA_MULTRET, 0, returned);
    return returned(L, LUA_OK, 0);
}

static void set_id(lua_State *L, const char *name, struct message_id id) {
    char text[MESSAGE_ID_BYTES];
    lua_pushlstring(L, text, message_id_format(text, id));
    lua_setfield(L, -2, name);
}

/* sluice.channel(name) */
static int channel(lua_State *L) {
    struct slice name;
    struct hub_channel_stats stats;
    const char *why;
    name.ptr = luaL_checklstring(L, 1, &name.len);
    if (message_check_channel(name, &why) != 0)
        return luaL_argerror(L, 1, why);
    hub_channel_stats(policy_of(L)->worker->hub, name, wall_ms(), &stats);
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, (lua_Integer)stats.subscribers);
    lua_setfield(L, -2, "subscribers");
    lua_pushinteger(L, (lua_Integer)stats.messages);
    lua_setfield(L, -2, "messages");
    lua_pushinteger(L, (lua_Integer)stats.bytes);
    lua_setfield(L, -2, "bytes");
    if (stats.messages) {
        set_id(L, "oldest", stats.oldest);
        set_id(L, "newest", stats.newest);
    }
    return 1;
}

void lua_publish_register_core(lua_State *L) {
    lua_pushcfunction(L, core_publish);
    lua_setfield(L, -2, "publish");
    lua_pushcfunction(L, core_fingerprint);
    lua_setfield(L, -2, "fingerprint");
}

void lua_publish_register(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"publish", publish}, {"channel", channel}, {NULL, NULL}};
    luaL_setfuncs(L, FUNCTIONS, 0);
}

/* --- for the host ------------------------------------------------------------------------------- */

/* A publish on its way to a worker and back. Shared by both threads: the last to let go frees it. */
struct host_publish {
    struct task task;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned refs;
    bool finished, ok;
    struct buf channel, event, data;
    char id[MESSAGE_ID_BYTES];
    uint64_t subscribers;
    char error[512];
};

static void host_release(struct host_publish *h) {
    pthread_mutex_lock(&h->lock);
    bool last = --h->refs == 0;
    pthread_mutex_unlock(&h->lock);
    if (!last)
        return;
    buf_deinit(&h->channel);
    buf_deinit(&h->event);
    buf_deinit(&h->data);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static void host_answer(struct host_publish *h, bool ok, const char *error) {
    pthread_mutex_lock(&h->lock);
    h->finished = true;
    h->ok = ok;
    if (error)
        snprintf(h->error, sizeof h->error, "%s", error);
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
    host_release(h);
}

static void host_done(struct routine *r, bool ok) {
    struct host_publish *h = r->context;
    lua_State *co = r->co;
    r->done = NULL;
    if (!ok && lua_status(co) == LUA_YIELD) {
        host_answer(h, false, "the server has stopped while the message was on its way: whether it was published is not known");
        return;
    }
    if (!ok && !r->policy->budget.over && policy_is_rejection(co, -1)) {
        lua_pushliteral(co, "error");
        lua_rawget(co, -2); /* raw: a script may have changed the table */
        host_answer(h, false, lua_type(co, -1) == LUA_TSTRING ? lua_tostring(co, -1) : "the message is refused");
        return;
    }
    if (!ok) {
        lua_errors_log(r->policy, co, "server:publish failed");
        host_answer(h, false, "a hook failed, see the log");
        return;
    }
    if (lua_isnil(co, 1)) {
        host_answer(h, false, lua_type(co, 2) == LUA_TSTRING ? lua_tostring(co, 2) : "the message is refused");
        return;
    }
    snprintf(h->id, sizeof h->id, "%s", lua_tostring(co, 1));
    h->subscribers = (uint64_t)lua_tointeger(co, 2);
    host_answer(h, true, NULL);
}

static int push_publish(lua_State *L) {
    struct host_publish *h = lua_touserdata(L, 1);
    struct policy *p = policy_of(L);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_publish);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->running->generation->table);
    lua_pushlstring(L, h->channel.data, h->channel.len);
    lua_createtable(L, 0, 2);
    if (h->event.len) {
        lua_pushlstring(L, h->event.data, h->event.len);
        lua_setfield(L, -2, "event");
    }
    lua_pushlstring(L, h->data.data ? h->data.data : "", h->data.len);
    lua_setfield(L, -2, "data");
    lua_callk(L, 3, LUA_MULTRET, 0, returned);
    return returned(L, LUA_OK, 0);
}

static void host_run(struct task *task, void *worker) {
    struct host_publish *h = (struct host_publish *)(void *)task;
    struct policy *p = ((struct worker *)worker)->policy;
    struct routine *r = p && p->current ? routine_new(p, p->current, PHASE_TASK) : NULL;
    if (!r) {
        host_answer(h, false, "not enough memory");
        return;
    }
    r->done = host_done;
    r->context = h;
    lua_pushcfunction(r->co, push_publish);
    lua_pushlightuserdata(r->co, h);
    routine_run(r, 1);
}

static void host_cancel(struct task *task) {
    host_answer((struct host_publish *)(void *)task, false, "the server has stopped");
}

static struct host_publish *host_new(struct slice channel_name, struct slice event, struct slice data) {
    struct host_publish *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->task = (struct task){.run = host_run, .cancel = host_cancel};
    h->refs = 2;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    if (buf_append_slice(&h->channel, channel_name) || buf_append_slice(&h->event, event) || buf_append_slice(&h->data, data)) {
        h->refs = 1;
        host_release(h);
        return NULL;
    }
    return h;
}

bool lua_publish_host(struct server *server, struct slice channel_name, struct slice event, struct slice data, char id[MESSAGE_ID_BYTES],
                      uint64_t *subscribers, char *error, size_t error_size) {
    struct host_publish *h = host_new(channel_name, event, data);
    if (!h) {
        snprintf(error, error_size, "not enough memory");
        return false;
    }
    if (hub_post(server->hub, 0, &h->task) != 0)
        host_cancel(&h->task);
    pthread_mutex_lock(&h->lock);
    while (!h->finished)
        pthread_cond_wait(&h->changed, &h->lock);
    bool ok = h->ok;
    snprintf(id, MESSAGE_ID_BYTES, "%s", h->id);
    *subscribers = h->subscribers;
    snprintf(error, error_size, "%s", h->error);
    pthread_mutex_unlock(&h->lock);
    host_release(h);
    return ok;
}
