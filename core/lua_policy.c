/* SPDX-License-Identifier: MIT */
#include "lua_policy.h"

#include <assert.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

#include "conn.h"
#include "lua_json.h"
#include "server.h"
#include "snapshot.h"
#include "sse.h"
#include "token.h"

enum {
    IDLE_THREADS = 64,
    COLLECT_STEP = 64 * 1024,    /* growth after which an idle worker collects */
    GENERATIONS_KEPT = 2,
    TOKENS_KEPT = 512 /* verified ones, of at most 8 KiB each */
};

/* --- phases ------------------------------------------------------------------------------------- */

enum phase policy_phase(const struct policy *p) {
    if (p->depth > 0)
        return p->phases[p->depth - 1];
    return p->running ? p->running->phase : PHASE_NONE;
}

static const char *phase_name(enum phase phase) {
    switch (phase) {
    case PHASE_LOAD: return "while loading";
    case PHASE_HANDLER: return "in a handler";
    case PHASE_TASK: return "in a task";
    case PHASE_ON_REQUEST: return "in on_request";
    case PHASE_ON_SUBSCRIBE: return "in on_subscribe";
    case PHASE_ON_PUBLISH: return "in on_publish";
    case PHASE_ON_MESSAGE: return "in on_message";
    case PHASE_FILTER: return "in a filter";
    case PHASE_ON_DISCONNECT: return "in on_disconnect";
    default: return "here";
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
        luaL_error(L, "%s cannot be called in a coroutine of your own; call it in the handler or task itself, or use sluice.spawn", function);
    if (!lua_isyieldable(L))
        luaL_error(L, "%s cannot wait here: a C function such as table.sort or string.gsub is calling", function);
    return p->running;
}

static int enter_phase(lua_State *L) {
    struct policy *p = policy_of(L);
    if (p->depth == PHASE_DEPTH)
        return luaL_error(L, "hooks call each other too deeply");
    p->phases[p->depth++] = (enum phase)luaL_checkinteger(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    return 1;
}

static int leave_phase(lua_State *L) {
    struct policy *p = policy_of(L);
    if (p->depth > 0)
        p->depth--;
    return 0;
}

/* --- errors ------------------------------------------------------------------------------------- */

bool policy_is_rejection(lua_State *L, int index) {
    if (!lua_istable(L, index) || !lua_getmetatable(L, index))
        return false;
    luaL_getmetatable(L, "sluice.rejection");
    bool is = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is;
}

/* The error value on top of `co` as text, which stays there. */
static const char *error_text(lua_State *co) {
    if (lua_type(co, -1) == LUA_TSTRING)
        return lua_tostring(co, -1);
    if (policy_is_rejection(co, -1))
        return "a rejection was raised";
    return lua_isnil(co, -1) ? "nil was raised as an error" : "an error value that is not a string was raised";
}

static int make_traceback(lua_State *L) {
    lua_State *co = lua_touserdata(L, 1);
    luaL_traceback(L, co, lua_touserdata(L, 2), 0);
    return 1;
}

void policy_log_error(struct policy *p, lua_State *co, const char *where) {
    lua_State *L = p->L;
    const char *text = p->budget.over ? "the script has used up its time" : error_text(co);
    metrics_add(&p->worker->metrics, script_errors, 1);
    int top = lua_gettop(L);
    lua_pushcfunction(L, make_traceback);
    lua_pushlightuserdata(L, co);
    lua_pushlightuserdata(L, (void *)(uintptr_t)text);
    if (lua_pcall(L, 2, 1, 0) == LUA_OK)
        log_write(p->worker->log, LOG_ERROR, "policy", "%s: %s", where, lua_tostring(L, -1));
    else
        log_write(p->worker->log, LOG_ERROR, "policy", "%s: %s", where, text);
    lua_settop(L, top);
}

/* --- routines ----------------------------------------------------------------------------------- */

static void on_sleep_over(struct wheel_timer *timer, uint64_t now_ms) {
    struct routine *r = list_entry(timer, struct routine, timer);
    (void)now_ms;
    r->wait = WAIT_NOTHING;
    if (r->every_s > 0 && lua_status(r->co) == LUA_OK) {
        lua_rawgeti(r->co, LUA_REGISTRYINDEX, r->function);
        routine_run(r, 0);
        return;
    }
    routine_run(r, 0);
}

/* A coroutine, used before or new, on top of the main stack. */
static lua_State *take_thread(struct policy *p) {
    lua_State *L = p->L;
    if (p->idle_count > 0) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, p->idle_threads);
        lua_rawgeti(L, -1, p->idle_count);
        lua_pushnil(L);
        lua_rawseti(L, -3, p->idle_count--);
        lua_remove(L, -2);
        return lua_tothread(L, -1);
    }
    return lua_newthread(L);
}

static int protected_thread(lua_State *L) {
    struct routine *r = lua_touserdata(L, 1);
    r->co = take_thread(r->policy);
    r->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

struct routine *routine_new(struct policy *p, struct generation *g, enum phase phase) {
    struct routine *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    *r = (struct routine){.policy = p, .generation = g, .phase = phase, .ref = LUA_NOREF, .request_ref = LUA_NOREF, .function = LUA_NOREF};
    wheel_timer_init(&r->timer, on_sleep_over);
    list_init(&r->node);
    lua_pushcfunction(p->L, protected_thread);
    lua_pushlightuserdata(p->L, r);
    if (lua_pcall(p->L, 1, 0, 0) != LUA_OK) {
        lua_pop(p->L, 1);
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

static int protected_keep(lua_State *L) {
    struct policy *p = policy_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->idle_threads);
    lua_rawgeti(L, LUA_REGISTRYINDEX, (int)lua_tointeger(L, 1));
    lua_rawseti(L, -2, p->idle_count + 1);
    p->idle_count++;
    return 0;
}

/* Gives the coroutine back: to be used again where it has ended well. */
static void release_thread(struct routine *r, bool clean) {
    struct policy *p = r->policy;
    lua_State *L = p->L;
    if (clean && p->idle_count < IDLE_THREADS) {
        lua_settop(r->co, 0);
        lua_pushcfunction(L, protected_keep);
        lua_pushinteger(L, r->ref);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK)
            lua_pop(L, 1);
    } else if (!clean) {
        lua_budget_begin(&p->budget); /* __close code of the script may run */
        lua_resetthread(r->co);
        lua_budget_end(&p->budget);
        p->depth = 0;
    }
    luaL_unref(L, LUA_REGISTRYINDEX, r->ref);
    r->ref = LUA_NOREF;
}

/* Unhooks the request's userdata from its exchange. */
static void clear_request(struct routine *r) {
    lua_State *L = r->policy->L;
    if (r->request_ref == LUA_NOREF)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, r->request_ref);
    lua_request_clear(L, -1);
    lua_pop(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, r->request_ref);
    r->request_ref = LUA_NOREF;
}

static void routine_free(struct routine *r, bool clean) {
    if (r->exchange)
        r->exchange->task = NULL;
    clear_request(r);
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

/* Answers for a handler that failed: the error value is on its stack. */
static void fail_exchange(struct routine *r) {
    struct exchange *x = r->exchange;
    lua_State *L = r->policy->L;
    r->exchange = NULL;
    x->task = NULL;
    clear_request(r);
    if (!x->answered && !r->policy->budget.over && policy_is_rejection(r->co, -1) && lua_checkstack(L, 4)) {
        lua_pushvalue(r->co, -1);
        lua_xmove(r->co, L, 1);
        policy_respond_rejection(L, -1, x);
        lua_pop(L, 1);
        return;
    }
    policy_log_error(r->policy, r->co, "a request failed");
    if (!x->answered) {
        exchange_fail(x, 500, "internal error");
        return;
    }
    struct stream *s = x->stream;
    exchange_release(x);
    if (s)
        stream_close(s, STREAM_ERROR);
}

static void routine_failed(struct routine *r) {
    if (r->done)
        r->done(r, false);
    else if (r->exchange)
        fail_exchange(r);
    else
        policy_log_error(r->policy, r->co, "a task failed");
    if (r->every_s > 0) {
        /* The next round has a new coroutine. */
        struct policy *p = r->policy;
        release_thread(r, false);
        lua_pushcfunction(p->L, protected_thread);
        lua_pushlightuserdata(p->L, r);
        if (lua_pcall(p->L, 1, 0, 0) == LUA_OK) {
            routine_sleep(r, r->every_s);
            return;
        }
        lua_pop(p->L, 1);
        r->co = lua_newthread(p->L); /* for routine_free; there was no memory */
        r->ref = luaL_ref(p->L, LUA_REGISTRYINDEX);
    }
    routine_free(r, false);
}

static void routine_finished(struct routine *r) {
    if (r->done) {
        r->done(r, true);
    } else if (r->exchange) {
        /* Every way through the dispatcher answers. */
        struct exchange *x = r->exchange;
        r->exchange = NULL;
        x->task = NULL;
        clear_request(r);
        exchange_fail(x, 500, "internal error");
    }
    if (r->every_s > 0) {
        lua_settop(r->co, 0);
        routine_sleep(r, r->every_s);
        return;
    }
    routine_free(r, true);
}

/* Resumes a coroutine under the budget. Returns its status; LUA_YIELD only for a wait that C asked for. */
static int resume(struct policy *p, lua_State *co, int nargs, int *results) {
    lua_budget_begin(&p->budget);
    int status = lua_resume(co, p->L, nargs, results);
    lua_budget_end(&p->budget);
    p->depth = 0;
    if (p->budget.over)
        return LUA_ERRRUN;
    return status;
}

void routine_run(struct routine *r, int nargs) {
    struct policy *p = r->policy;
    int results = 0;
    assert(!p->running); /* C never resumes a routine from within another */
    p->running = r;
    r->wait = WAIT_NOTHING;
    int status = resume(p, r->co, nargs, &results);
    p->running = NULL;
    if (status == LUA_YIELD && r->wait == WAIT_NOTHING) {
        lua_pop(r->co, results);
        lua_pushliteral(r->co, "a handler must not yield; wait with sluice.sleep");
        status = LUA_ERRRUN;
    }
    if (status == LUA_OK)
        routine_finished(r);
    else if (status != LUA_YIELD)
        routine_failed(r);
}

/* --- generations -------------------------------------------------------------------------------- */

static struct generation *generation_new(struct policy *p, uint64_t number) {
    struct generation *g = calloc(1, sizeof *g);
    (void)p;
    if (!g)
        return NULL;
    *g = (struct generation){.number = number, .table = LUA_NOREF};
    list_init(&g->node);
    list_init(&g->held);
    return g;
}

static void generation_free(struct policy *p, struct generation *g) {
    while (!list_empty(&g->held))
        routine_kill(list_entry(g->held.next, struct routine, node));
    luaL_unref(p->L, LUA_REGISTRYINDEX, g->table);
    list_unlink(&g->node);
    free(g);
}

/* Ends what still runs on a generation that is too old; its streams come back by their ids. */
static void retire(struct policy *p, struct generation *g) {
    for (struct list *node = p->routines.next, *next; node != &p->routines; node = next) {
        struct routine *r = list_entry(node, struct routine, node);
        next = node->next;
        if (r->generation != g)
            continue;
        struct stream *s = r->exchange ? r->exchange->stream : NULL;
        if (s && s->begun)
            stream_close(s, STREAM_RELOADED); /* ends the routine when the stream is freed */
        else if (!r->exchange)
            routine_kill(r);
        else
            r->generation = p->current; /* an ordinary request finishes on its own code */
    }
}

static struct generation *generation_of(struct policy *p, uint32_t number) {
    for (struct list *node = p->generations.prev; node != &p->generations; node = node->prev) {
        struct generation *g = list_entry(node, struct generation, node);
        if (g->number == number)
            return g;
    }
    return p->current;
}

/* Pushes the API table of scripts. */
static void push_api(lua_State *L) {
    lua_newtable(L);
    lua_publish_register(L);
    lua_limit_register(L);
    lua_jwt_register(L);
    lua_task_register(L);
    lua_tools_register(L);
    lua_json_register(L);
    lua_setfield(L, -2, "json");
}

/* runtime.load(files, sluice) on its own coroutine; the argument is the snapshot. */
static int push_load(lua_State *L) {
    struct policy *p = policy_of(L);
    const struct snapshot *snapshot = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_load);
    lua_createtable(L, 0, (int)snapshot->count);
    for (size_t i = 0; i < snapshot->count; i++) {
        struct slice text = buf_slice(&snapshot->files[i].text);
        lua_pushlstring(L, text.ptr ? text.ptr : "", text.len);
        lua_setfield(L, -2, snapshot->files[i].name);
    }
    push_api(L);
    lua_call(L, 2, 4);
    return 4;
}

/* Splits "file:line: message". */
static void fill_error(struct policy_error *error, const char *text) {
    const char *colon = strchr(text, ':');
    *error = (struct policy_error){0};
    char *end = NULL;
    long line = colon ? strtol(colon + 1, &end, 10) : 0;
    size_t name = colon ? (size_t)(colon - text) : 0;
    if (colon && name < sizeof error->file && (name > 4 && memcmp(colon - 4, ".lua", 4) == 0)) {
        memcpy(error->file, text, name);
        if (end > colon + 1 && *end == ':') {
            error->line = (int)line;
            text = end + 1;
        } else {
            text = colon + 1;
        }
        while (*text == ' ')
            text++;
    }
    snprintf(error->message, sizeof error->message, "%s", text);
}

struct load_result {
    struct generation *generation;
    struct policy_error *error;
    bool ok;
};

static void load_done(struct routine *r, bool ok) {
    struct load_result *result = r->context;
    lua_State *co = r->co;
    result->ok = ok;
    if (!ok) {
        fill_error(result->error, r->policy->budget.over ? "loading the scripts took too much time" : error_text(co));
        return;
    }
    result->generation->guarded = lua_toboolean(co, -1);
    result->generation->on_disconnect = lua_toboolean(co, -2);
    result->generation->on_message = lua_toboolean(co, -3);
    lua_pushvalue(co, -4);
    lua_xmove(co, r->policy->L, 1);
    result->generation->table = luaL_ref(r->policy->L, LUA_REGISTRYINDEX);
}

static void discard(struct policy *p) {
    if (p->candidate)
        generation_free(p, p->candidate);
    p->candidate = NULL;
}

static bool load(struct policy *p, const struct snapshot *snapshot, uint64_t number, struct policy_error *error) {
    discard(p);
    struct generation *g = generation_new(p, number);
    struct routine *r = g ? routine_new(p, g, PHASE_LOAD) : NULL;
    *error = (struct policy_error){.message = "not enough memory"};
    if (!r) {
        free(g);
        return false;
    }
    struct load_result result = {g, error, false};
    p->candidate = g;
    r->done = load_done;
    r->context = &result;
    lua_pushcfunction(r->co, push_load);
    lua_pushlightuserdata(r->co, (void *)(uintptr_t)snapshot);
    routine_run(r, 1);
    if (!result.ok)
        discard(p);
    return result.ok;
}

/* What older scripts have started while they loaded ends with them: the new ones have started their own. */
static void end_loaded_tasks(struct policy *p) {
    for (struct list *node = p->routines.next, *next; node != &p->routines; node = next) {
        struct routine *r = list_entry(node, struct routine, node);
        next = node->next;
        if (r->from_loading)
            routine_kill(r);
    }
}

static void accept_candidate(struct policy *p) {
    struct generation *g = p->candidate;
    end_loaded_tasks(p);
    p->candidate = NULL;
    p->current = g;
    list_append(&p->generations, &g->node);
    int count = 0;
    for (struct list *node = p->generations.next; node != &p->generations; node = node->next)
        count++;
    while (count-- > GENERATIONS_KEPT) {
        struct generation *old = list_entry(p->generations.next, struct generation, node);
        retire(p, old);
        for (struct list *node = p->routines.next; node != &p->routines; node = node->next) {
            struct routine *r = list_entry(node, struct routine, node);
            if (r->generation == old)
                r->generation = g; /* a stream on its way out */
        }
        generation_free(p, old);
    }
    while (!list_empty(&g->held)) {
        struct routine *r = list_entry(g->held.next, struct routine, node);
        list_unlink(&r->node);
        list_append(&p->routines, &r->node);
        routine_sleep(r, r->every_s); /* spawned ones, at 0, start with the next turn */
    }
}

/* --- requests ----------------------------------------------------------------------------------- */

/* Where dispatch goes on after a wait: there is nothing left to do. */
static int dispatched(lua_State *L, int status, lua_KContext context) {
    (void)L, (void)status, (void)context;
    return 0;
}

static int start_dispatch(lua_State *L) {
    struct routine *r = lua_touserdata(L, 1);
    struct policy *p = r->policy;
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_dispatch);
    lua_rawgeti(L, LUA_REGISTRYINDEX, r->generation->table);
    lua_request_push(L, r->exchange);
    lua_pushvalue(L, -1);
    r->request_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_callk(L, 2, 0, 0, dispatched);
    return 0;
}

static void on_request(struct policy *p, struct exchange *x) {
    struct routine *r = routine_new(p, p->current, PHASE_HANDLER);
    if (!r) {
        exchange_fail(x, 500, "internal error");
        return;
    }
    r->exchange = x;
    x->task = r;
    lua_pushcfunction(r->co, start_dispatch);
    lua_pushlightuserdata(r->co, r);
    routine_run(r, 1);
}

static void on_abandon(struct policy *p, struct exchange *x) {
    struct routine *r = x->task;
    (void)p;
    if (!r)
        return;
    r->exchange = NULL;
    x->task = NULL;
    routine_kill(r);
}

static void on_drained(struct policy *p, struct exchange *x) {
    struct routine *r = x ? x->task : NULL;
    (void)p;
    if (r && r->wait == WAIT_ROOM) {
        lua_pushboolean(r->co, 1); /* what stream:send returns */
        routine_run(r, 1);
    }
}

/* --- hooks called for C ------------------------------------------------------------------------- */

static bool on_shapes(struct policy *p, uint32_t number) {
    return generation_of(p, number)->on_message;
}

/* One call of shape or disconnected: a routine whose outcome the caller wants at once. */
struct hook_call {
    struct generation *generation;
    struct stream *stream;
    struct message *message;
    int filter;
    const char *reason;
    struct message *result;
    const char *what;
};

static void hook_failed(struct routine *r, const char *what) {
    policy_log_error(r->policy, r->co, what);
}

static void shape_done(struct routine *r, bool ok) {
    struct hook_call *call = r->context;
    lua_State *co = r->co;
    if (!ok) {
        hook_failed(r, "on_message failed, the message is skipped");
        return;
    }
    if (lua_isnoneornil(co, -1))
        return;
    struct slice event = {NULL, 0}, data, old = message_event(call->message);
    event.ptr = lua_tolstring(co, -2, &event.len);
    data.ptr = lua_tolstring(co, -1, &data.len);
    struct buf was = {0};
    const char *why;
    if (sse_read_data(message_lines(call->message), &was) == 0 && slice_equal(event, old) && slice_equal(data, buf_slice(&was)))
        call->result = message_retain(call->message);
    else if (message_check(message_channel(call->message), event, data, &why) == 0)
        call->result = message_edit(call->message, event, data);
    else
        log_write(r->policy->worker->log, LOG_ERROR, "policy", "on_message gave a message that cannot be sent, it is skipped: %s", why);
    buf_deinit(&was);
}

static int push_shape(lua_State *L) {
    struct hook_call *call = lua_touserdata(L, 1);
    struct policy *p = policy_of(L);
    struct message *m = call->message;
    struct slice channel = message_channel(m), event = message_event(m), lines = message_lines(m);
    char id[MESSAGE_ID_BYTES];
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_shape);
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
    /* "data: " and LF around one line; more lines are joined. */
    if (lines.len >= 7 && memchr(lines.ptr, '\n', lines.len) == lines.ptr + lines.len - 1) {
        lua_pushlstring(L, lines.ptr + 6, lines.len - 7);
    } else {
        luaL_Buffer buffer;
        char *at = luaL_buffinitsize(L, &buffer, lines.len);
        struct buf data = {at, 0, lines.len};
        sse_read_data(lines, &data); /* never longer than the lines, so it does not grow */
        luaL_pushresultsize(&buffer, data.len);
    }
    lua_pushlstring(L, id, message_id_format(id, m->id));
    lua_stream_push(L, call->stream);
    lua_call(L, 7, 2);
    return 2;
}

static void disconnect_done(struct routine *r, bool ok) {
    if (!ok)
        hook_failed(r, "on_disconnect failed");
}

static int push_disconnected(lua_State *L) {
    struct hook_call *call = lua_touserdata(L, 1);
    struct policy *p = policy_of(L);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_disconnected);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->generation->table);
    lua_stream_push(L, call->stream);
    lua_pushstring(L, call->reason);
    lua_call(L, 3, 0);
    return 0;
}

static void call_hook(struct policy *p, struct hook_call *call, lua_CFunction push, void (*done)(struct routine *, bool)) {
    struct routine *r = routine_new(p, call->generation, PHASE_NONE);
    if (!r)
        return;
    r->done = done;
    r->context = call;
    lua_pushcfunction(r->co, push);
    lua_pushlightuserdata(r->co, call);
    routine_run(r, 1);
}

static struct message *on_shape(struct policy *p, struct stream *s, struct message *m, struct subscription *sub, bool replayed) {
    struct hook_call call = {
        .generation = replayed ? p->current : generation_of(p, m->generation),
        .stream = s,
        .message = m,
        .filter = sub && sub->filter ? sub->filter->function : LUA_NOREF,
    };
    call_hook(p, &call, push_shape, shape_done);
    return call.result;
}

static void on_closed(struct policy *p, struct stream *s, const char *reason) {
    struct hook_call call = {.generation = p->current, .stream = s, .reason = reason};
    if (p->current->on_disconnect)
        call_hook(p, &call, push_disconnected, disconnect_done);
}

static void on_forget(struct policy *p, struct stream *s) {
    (void)p;
    lua_stream_forget(s);
}

static void on_idle(struct policy *p) {
    if (p->budget.bytes > p->collected_bytes + COLLECT_STEP) {
        lua_gc(p->L, LUA_GCSTEP, 16);
        if (p->budget.bytes < p->collected_bytes)
            p->collected_bytes = p->budget.bytes;
    }
}

/* --- the state ---------------------------------------------------------------------------------- */

static int over(lua_State *L) {
    lua_pushboolean(L, policy_of(L)->budget.over);
    return 1;
}

static int print(lua_State *L) {
    luaL_Buffer b;
    int n = lua_gettop(L);
    luaL_buffinit(L, &b);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&b, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    log_write(policy_of(L)->worker->log, LOG_INFO, "script", "%s", lua_tostring(L, -1));
    return 0;
}

/* Pushes the functions that the runtime stands on. */
static void push_core(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"over", over}, {"print", print}, {NULL, NULL}};
    static const struct {
        const char *name;
        enum phase phase;
    } PHASES[] = {{"ON_REQUEST", PHASE_ON_REQUEST}, {"ON_SUBSCRIBE", PHASE_ON_SUBSCRIBE}, {"ON_PUBLISH", PHASE_ON_PUBLISH},
                  {"ON_MESSAGE", PHASE_ON_MESSAGE}, {"FILTER", PHASE_FILTER},             {"ON_DISCONNECT", PHASE_ON_DISCONNECT}};
    luaL_newlib(L, FUNCTIONS);
    for (size_t i = 0; i < sizeof PHASES / sizeof *PHASES; i++) {
        lua_pushinteger(L, PHASES[i].phase);
        lua_setfield(L, -2, PHASES[i].name);
    }
    /* What `enter` returns: its end restores the phase, an error's too. */
    lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, leave_phase);
    lua_setfield(L, -2, "__close");
    lua_setmetatable(L, -2);
    lua_pushcclosure(L, enter_phase, 1);
    lua_setfield(L, -2, "enter");
    lua_request_register_core(L);
    lua_stream_register_core(L);
    lua_publish_register_core(L);
    lua_json_register(L);
    lua_getfield(L, -1, "encode");
    lua_setfield(L, -3, "json_encode");
    lua_pop(L, 1);
}

static int take_function(lua_State *L, const char *name) {
    lua_getfield(L, -1, name);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void set_paths(lua_State *L, const struct lua_host *host) {
    lua_getglobal(L, "package");
    lua_pushstring(L, host->path);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, host->cpath);
    lua_setfield(L, -2, "cpath");
    lua_pop(L, 1);
}

/* Strings share one metatable in the state: scripts can neither read nor change it. */
static void seal_strings(lua_State *L) {
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

static int open_state(lua_State *L) {
    struct policy *p = policy_of(L);
    luaL_openlibs(L);
    set_paths(L, lua_touserdata(L, 1));
    seal_strings(L);
    luaL_newmetatable(L, "sluice.rejection");
    lua_pop(L, 1);
    lua_request_open(L);
    lua_stream_open(L);
    lua_newtable(L);
    p->idle_threads = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "sluice.policy");
    lua_call(L, 1, 1);
    push_core(L);
    lua_call(L, 1, 1);
    p->runtime_load = take_function(L, "load");
    p->runtime_dispatch = take_function(L, "dispatch");
    p->runtime_publish = take_function(L, "publish");
    p->runtime_shape = take_function(L, "shape");
    p->runtime_disconnected = take_function(L, "disconnected");
    p->runtime_may_subscribe = take_function(L, "may_subscribe");
    return 0;
}

static void destroy(struct policy *p) {
    while (!list_empty(&p->routines))
        routine_kill(list_entry(p->routines.next, struct routine, node));
    discard(p);
    while (!list_empty(&p->generations))
        generation_free(p, list_entry(p->generations.next, struct generation, node));
    lua_close(p->L);
    token_cache_free(p->tokens);
    free(p);
}

static struct policy *create(struct worker *w, void *context) {
    struct policy *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->worker = w;
    p->budget = (struct lua_budget){
        .limit_ns = w->config->script_ms * UINT64_C(1000000),
        .state_limit = w->config->script_bytes,
        .call_limit = w->config->script_call_bytes,
    };
    list_init(&p->generations);
    list_init(&p->routines);
    p->tokens = token_cache_new(TOKENS_KEPT);
    p->L = p->tokens ? lua_newstate(lua_budget_alloc, &p->budget) : NULL;
    if (!p->L) {
        token_cache_free(p->tokens);
        free(p);
        return NULL;
    }
    *(struct policy **)lua_getextraspace(p->L) = p;
    lua_budget_watch(p->L);
    lua_gc(p->L, LUA_GCINC, 110, 200, 0);
    lua_pushcfunction(p->L, open_state);
    lua_pushlightuserdata(p->L, context);
    if (lua_pcall(p->L, 1, 0, 0) != LUA_OK) {
        log_write(w->log, LOG_ERROR, "policy", "cannot set up a worker's Lua: %s", lua_tostring(p->L, -1));
        lua_close(p->L);
        token_cache_free(p->tokens);
        free(p);
        return NULL;
    }
    lua_gc(p->L, LUA_GCCOLLECT);
    p->collected_bytes = p->budget.bytes;
    return p;
}

const struct policy_ops lua_policy_ops = {
    .create = create,
    .destroy = destroy,
    .load = load,
    .accept = accept_candidate,
    .discard = discard,
    .request = on_request,
    .abandon = on_abandon,
    .drained = on_drained,
    .shapes = on_shapes,
    .shape = on_shape,
    .closed = on_closed,
    .forget = on_forget,
    .idle = on_idle,
};
