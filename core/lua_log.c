/* SPDX-License-Identifier: MIT */
#include "lua_log.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "lua_policy.h"
#include "redis_log.h"
#include "server.h"

/* A question and who waits for its answer. Belongs to the log until its task has run. */
struct log_wait {
    struct redis_question question; /* first: its task comes back */
    struct routine *routine;        /* NULL: nobody waits any more */
    enum phase phase;               /* that the routine waited in */
};

const char *const lua_log_other = "another message was published with this idempotency key before";

static void wait_free(struct log_wait *wait) {
    buf_deinit(&wait->question.bytes);
    free(wait);
}

void lua_log_forget(struct routine *r) {
    if (r->log_wait)
        r->log_wait->routine = NULL;
    r->log_wait = NULL;
}

/* Pushes what a publish returns. */
static int push_published(lua_State *L, const struct redis_question *q) {
    char id[MESSAGE_ID_BYTES];
    lua_settop(L, 0);
    if (q->outcome == REDIS_APPENDED) {
        lua_pushlstring(L, id, message_id_format(id, q->id));
        lua_pushinteger(L, (lua_Integer)q->subscribers);
        return 2;
    }
    lua_pushnil(L);
    if (q->outcome == REDIS_OTHER) {
        lua_pushstring(L, lua_log_other);
        lua_pushinteger(L, 422);
        return 3;
    }
    lua_pushstring(L, q->why);
    lua_pushinteger(L, 503);
    if (q->outcome != REDIS_UNKNOWN)
        return 3;
    lua_pushliteral(L, "unknown");
    return 4;
}

static void run(struct task *task, void *worker) {
    struct log_wait *wait = (struct log_wait *)(void *)task;
    struct routine *r = wait->routine;
    (void)worker;
    if (!r) {
        wait_free(wait);
        return;
    }
    lua_pushlightuserdata(r->co, wait); /* the continuation frees it */
    routine_run(r, 1);
}

static void cancel(struct task *task) {
    struct log_wait *wait = (struct log_wait *)(void *)task;
    if (wait->routine)
        lua_log_forget(wait->routine);
    wait_free(wait);
}

static struct log_wait *wait_new(struct worker *w) {
    struct log_wait *wait = calloc(1, sizeof *wait);
    if (!wait)
        return NULL;
    wait->question.task = (struct task){.run = run, .cancel = cancel};
    wait->question.worker = w->index;
    return wait;
}

/* Asks, and has the running routine wait for the answer. */
static int ask(lua_State *L, struct log_wait *wait, lua_KFunction then, lua_KContext context) {
    struct policy *p = policy_of(L);
    struct routine *r = p->running;
    wait->routine = r;
    wait->phase = policy_phase(p);
    r->log_wait = wait;
    r->wait = WAIT_LOG;
    redis_log_ask(p->worker->server->redis, &wait->question);
    return lua_yieldk(L, 0, context, then);
}

/* The wait is over: takes the answer from the top of the stack; the phase is what it was. */
static struct log_wait *answer(lua_State *L) {
    struct policy *p = policy_of(L);
    struct log_wait *wait = lua_touserdata(L, -1);
    lua_pop(L, 1);
    lua_log_forget(p->running);
    if (wait->phase != p->running->phase && p->depth < PHASE_DEPTH)
        p->phases[p->depth++] = wait->phase;
    return wait;
}

static int published(lua_State *L, int status, lua_KContext context) {
    struct log_wait *wait = answer(L);
    struct redis_question q = wait->question;
    (void)status, (void)context;
    wait_free(wait);
    return push_published(L, &q);
}

/* True where the call can wait; false in what is being closed. */
static bool may_wait(lua_State *L) {
    struct policy *p = policy_of(L);
    if (policy_phase(p) == PHASE_CLOSING)
        return false;
    if (!p->running || p->running->co != L)
        luaL_error(L, "sluice.publish cannot be called in a coroutine of your own, since it waits for Redis; call it in the handler or task itself, or use sluice.spawn");
    if (!lua_isyieldable(L))
        luaL_error(L, "sluice.publish cannot wait for Redis here: a C function such as table.sort or string.gsub is calling");
    return true;
}

int lua_log_publish(lua_State *L, const struct lua_publication *m) {
    struct policy *p = policy_of(L);
    bool waits = may_wait(L);
    struct log_wait *wait = wait_new(p->worker);
    if (!wait)
        return luaL_error(L, "not enough memory");
    struct redis_question *q = &wait->question;
    if (buf_append_slice(&q->bytes, m->channel) || buf_append_slice(&q->bytes, m->event) || buf_append_slice(&q->bytes, m->data) ||
        buf_append_slice(&q->bytes, m->key)) {
        wait_free(wait);
        return luaL_error(L, "not enough memory");
    }
    q->channel_len = m->channel.len;
    q->event_len = m->event.len;
    q->data_len = m->data.len;
    q->key_len = m->key.len;
    q->fingerprint = m->fingerprint;
    q->generation = (uint32_t)p->running->generation->number;
    if (waits)
        return ask(L, wait, published, 0);
    redis_log_ask(p->worker->server->redis, q);
    lua_settop(L, 0);
    lua_pushnil(L);
    lua_pushliteral(L, "the message was sent to the log, but a <close> variable cannot wait for its answer");
    lua_pushinteger(L, 202);
    return 3;
}

/* --- ids ------------------------------------------------------------------------------------------ */

static int vouched(lua_State *L, int status, lua_KContext context) {
    struct log_wait *wait = answer(L);
    enum redis_outcome outcome = wait->question.outcome;
    lua_KFunction then = (lua_KFunction)context;
    wait_free(wait);
    return then(L, status, outcome == REDIS_APPENDED ? HUB_VOUCHED : outcome == REDIS_REFUSED ? HUB_AFTER : HUB_UNSURE);
}

int lua_log_vouch(lua_State *L, struct message_id id, lua_KFunction then) {
    struct log_wait *wait = wait_new(policy_of(L)->worker);
    if (!wait)
        return luaL_error(L, "not enough memory");
    wait->question.is_id = true;
    wait->question.id = id;
    return ask(L, wait, vouched, (lua_KContext)then);
}
