/* SPDX-License-Identifier: MIT */
/* Coroutines that C starts, and the phases that say what a script may call. */
#include <assert.h>
#include <lauxlib.h>
#include <stdlib.h>

#include "conn.h"
#include "lua_log.h"
#include "lua_policy.h"

/* --- phases ------------------------------------------------------------------------------------- */

enum phase policy_phase(const struct policy *p) {
    if (p->depth > 0)
        return p->phases[p->depth - 1];
    return p->running ? p->running->phase : PHASE_NONE;
}

static const char *phase_name(enum phase phase) {
    switch (phase) {
    case PHASE_LOAD:
        return "while loading";
    case PHASE_HANDLER:
        return "in a handler";
    case PHASE_TASK:
        return "in a task";
    case PHASE_ON_REQUEST:
        return "in on_request";
    case PHASE_ON_SUBSCRIBE:
        return "in on_subscribe";
    case PHASE_ON_PUBLISH:
        return "in on_publish";
    case PHASE_ON_MESSAGE:
        return "in on_message";
    case PHASE_FILTER:
        return "in a filter";
    case PHASE_ON_DISCONNECT:
        return "in on_disconnect";
    case PHASE_CLOSING:
        return "while a handler is closed";
    default:
        return "here";
    }
}

void policy_check_phase(lua_State *L, int allowed, const char *function, const char *where) {
    enum phase phase = policy_phase(policy_of(L));
    if (!((int)phase & allowed))
        luaL_error(L, "%s cannot be called %s; it can be called in %s", function, phase_name(phase), where);
}

struct routine *policy_check_wait(lua_State *L, const char *function) {
    struct policy *p = policy_of(L);
    policy_check_phase(L, PHASE_HANDLER | PHASE_TASK, function, "a handler or a task");
    if (!p->running || p->running->co != L)
        luaL_error(L,
                   "%s cannot be called in a coroutine of your own; call it in the handler or task itself, or use "
                   "sluice.spawn",
                   function);
    if (!lua_isyieldable(L))
        luaL_error(L, "%s cannot wait here: a C function such as table.sort or string.gsub is calling", function);
    return p->running;
}

/* For others to see, should it take long. */
static void show_phase(const struct policy *p) {
    atomic_store_explicit(&p->worker->busy_in, phase_name(policy_phase(p)), memory_order_relaxed);
}

void policy_begin_phase(lua_State *L, enum phase phase) {
    struct policy *p = policy_of(L);
    if (p->depth == PHASE_DEPTH)
        luaL_error(L, "hooks call each other too deeply");
    p->phases[p->depth++] = phase;
    show_phase(p);
}

void policy_finish_phase(struct policy *p) {
    if (p->depth > 0)
        p->depth--;
    show_phase(p);
}

static int begin_phase(lua_State *L) {
    policy_begin_phase(L, (enum phase)luaL_checkinteger(L, 1));
    return 0;
}

static int enter_phase(lua_State *L) {
    begin_phase(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    return 1;
}

static int finish_phase(lua_State *L) {
    policy_finish_phase(policy_of(L));
    return 0;
}

void policy_register_phases(lua_State *L) {
    static const struct {
        const char *name;
        enum phase phase;
    } PHASES[] = {{"ON_SUBSCRIBE", PHASE_ON_SUBSCRIBE}, {"ON_PUBLISH", PHASE_ON_PUBLISH}, {"FILTER", PHASE_FILTER}, {"ON_DISCONNECT", PHASE_ON_DISCONNECT}};
    for (size_t i = 0; i < sizeof PHASES / sizeof *PHASES; i++) {
        lua_pushinteger(L, PHASES[i].phase);
        lua_setfield(L, -2, PHASES[i].name);
    }
    lua_pushcfunction(L, begin_phase);
    lua_setfield(L, -2, "begin");
    lua_pushcfunction(L, finish_phase);
    lua_setfield(L, -2, "finish");
    /* What `enter` returns: its end restores the phase, an error's too. */
    lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, finish_phase);
    lua_setfield(L, -2, "__close");
    lua_setmetatable(L, -2);
    lua_pushcclosure(L, enter_phase, 1);
    lua_setfield(L, -2, "enter");
}

/* --- coroutines --------------------------------------------------------------------------------- */

static int protected_make(lua_State *L) {
    struct routine *r = lua_touserdata(L, 1);
    r->co = lua_newthread(L);
    r->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* Gives the routine a coroutine. Returns false without memory. */
static bool acquire_thread(struct routine *r) {
    struct policy *p = r->policy;
    lua_State *L = p->L;
    if (p->idle_count > 0) {
        struct idle_thread *idle = &p->idle[--p->idle_count];
        r->co = idle->co;
        r->ref = idle->ref;
        return true;
    }
    lua_pushcfunction(L, protected_make);
    lua_pushlightuserdata(L, r);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK)
        return true;
    lua_pop(L, 1);
    return false;
}

/* Keeps a coroutine that has ended well, to be used again. Returns false where there are enough. */
static bool keep_thread(struct routine *r) {
    struct policy *p = r->policy;
    if (p->idle_count == POLICY_IDLE_THREADS)
        return false;
    lua_settop(r->co, 0);
    p->idle[p->idle_count++] = (struct idle_thread){r->co, r->ref};
    return true;
}

/* Ends a coroutine that waits or has failed: its <close> variables are closed, under a budget of their own. */
static void reset_thread(struct routine *r) {
    struct policy *p = r->policy;
    bool waited = lua_status(r->co) == LUA_YIELD || lua_status(r->co) == LUA_OK;
    assert(!p->running);
    p->running = r;
    r->phase = PHASE_CLOSING;
    lua_budget_begin(&p->budget);
    int status = lua_resetthread(r->co);
    lua_budget_end(&p->budget);
    p->running = NULL;
    p->depth = 0;
    if (status != LUA_OK && (waited || p->budget.over))
        lua_errors_log(p, r->co, "closing a variable failed");
}

static void release_thread(struct routine *r, bool clean) {
    if (r->co && !clean)
        reset_thread(r);
    if (!r->co || !clean || !keep_thread(r))
        luaL_unref(r->policy->L, LUA_REGISTRYINDEX, r->ref);
    r->ref = LUA_NOREF;
    r->co = NULL;
}

/* --- routines ----------------------------------------------------------------------------------- */

static void on_sleep_over(struct wheel_timer *timer, uint64_t now_ms) {
    struct routine *r = list_entry(timer, struct routine, timer);
    (void)now_ms;
    r->wait = WAIT_NOTHING;
    if (r->every_s > 0 && lua_status(r->co) == LUA_OK)
        lua_rawgeti(r->co, LUA_REGISTRYINDEX, r->function);
    routine_run(r, 0);
}

struct routine *routine_new(struct policy *p, struct generation *g, enum phase phase) {
    struct routine *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    *r = (struct routine){.policy = p, .generation = g, .phase = phase, .ref = LUA_NOREF, .function = LUA_NOREF};
    wheel_timer_init(&r->timer, on_sleep_over);
    list_init(&r->node);
    if (!acquire_thread(r)) {
        free(r);
        return NULL;
    }
    list_append(&p->routines, &r->node);
    return r;
}

void routine_sleep(struct routine *r, double seconds) {
    struct worker *w = r->policy->worker;
    r->wait = WAIT_SLEEP;
    wheel_set(&w->wheel, &r->timer, worker_now(w) + (uint64_t)(seconds * 1000 + 0.5));
}

/* Takes the exchange out of the routine's hands. */
static struct exchange *take_exchange(struct routine *r) {
    struct exchange *x = r->exchange;
    r->exchange = NULL;
    x->task = NULL;
    lua_request_forget(r);
    return x;
}

static void routine_free(struct routine *r, bool clean) {
    if (r->exchange)
        take_exchange(r);
    lua_request_forget(r);
    lua_log_forget(r);
    release_thread(r, clean);
    luaL_unref(r->policy->L, LUA_REGISTRYINDEX, r->function);
    wheel_cancel(&r->timer);
    list_unlink(&r->node);
    free(r);
}

void routine_kill(struct routine *r) {
    if (r->done)
        r->done(r, false);
    routine_free(r, false);
}

/* Ends the answer of a handler that goes no further: a stream with `end`, anything else with `status` and `text`. */
static void end_exchange(struct exchange *x, enum stream_end end, int status, const char *text) {
    struct stream *s = x->stream;
    if (!x->answered) {
        exchange_fail(x, status, text);
        return;
    }
    exchange_release(x);
    if (s)
        stream_close(s, end);
}

void routine_retire(struct routine *r, const char *why) {
    static const char AGAIN_S[] = "1";
    if (r->exchange) {
        struct exchange *x = take_exchange(r);
        if (!x->answered)
            exchange_add_field(x, slice_of("Retry-After"), slice_of(AGAIN_S));
        end_exchange(x, STREAM_RELOADED, 503, why);
    }
    routine_kill(r);
}

/* Answers for a handler that failed: the error value is on its stack. */
static void fail_exchange(struct routine *r) {
    lua_State *L = r->policy->L;
    struct exchange *x = take_exchange(r);
    if (!x->answered && !r->policy->budget.over && policy_is_rejection(r->co, -1) && lua_checkstack(L, 4)) {
        lua_pushvalue(r->co, -1);
        lua_xmove(r->co, L, 1);
        policy_respond_rejection(L, -1, x);
        lua_pop(L, 1);
        return;
    }
    char what[EXCHANGE_ID_BYTES + 32];
    snprintf(what, sizeof what, "request %s failed", x->id);
    lua_errors_log(r->policy, r->co, what);
    end_exchange(x, STREAM_ERROR, 500, "internal error");
}

static void routine_failed(struct routine *r) {
    if (r->done)
        r->done(r, false);
    else if (r->exchange)
        fail_exchange(r);
    else
        lua_errors_log(r->policy, r->co, "a task failed");
    if (r->every_s > 0) {
        release_thread(r, false); /* the next round has a new coroutine */
        r->phase = PHASE_TASK;
        if (acquire_thread(r)) {
            routine_sleep(r, r->every_s);
            return;
        }
        lua_errors_log_text(r->policy, "a task ends", "not enough memory for its next round");
    }
    routine_free(r, false);
}

static void routine_finished(struct routine *r) {
    if (r->done)
        r->done(r, true);
    else if (r->exchange)
        end_exchange(take_exchange(r), STREAM_ERROR, 500,
                     "internal error"); /* every way through the dispatcher answers: never */
    if (r->every_s > 0) {
        lua_settop(r->co, 0);
        routine_sleep(r, r->every_s);
        return;
    }
    routine_free(r, true);
}

/* Resumes the coroutine under the budget. Returns its status; LUA_YIELD only for a wait that C asked for. */
static int resume(struct routine *r, int nargs, int *results) {
    struct policy *p = r->policy;
    struct worker *w = p->worker;
    uint64_t since_ns = uv_hrtime();
    show_phase(p);
    atomic_store_explicit(&w->busy_since_ns, since_ns, memory_order_relaxed);
    lua_budget_begin(&p->budget);
    int status = lua_resume(r->co, p->L, nargs, results);
    lua_budget_end(&p->budget);
    atomic_store_explicit(&w->busy_since_ns, 0, memory_order_relaxed);
    metrics_observe(&w->metrics.script_time, uv_hrtime() - since_ns);
    p->depth = 0;
    return p->budget.over ? LUA_ERRRUN : status;
}

void routine_run(struct routine *r, int nargs) {
    struct policy *p = r->policy;
    int results = 0;
    assert(!p->running); /* C never resumes a routine from within another */
    p->running = r;
    r->wait = WAIT_NOTHING;
    int status = resume(r, nargs, &results);
    p->running = NULL;
    if (status == LUA_YIELD && r->wait == WAIT_NOTHING) {
        lua_pop(r->co, results);
        lua_pushlightuserdata(
            r->co, (void *)(uintptr_t)ERROR_YIELDED); /* a string could need memory, and nobody would catch that */
        status = LUA_ERRRUN;
    }
    if (status == LUA_OK)
        routine_finished(r);
    else if (status != LUA_YIELD)
        routine_failed(r);
}
