/* SPDX-License-Identifier: MIT */
#include "lua_policy.h"

#include <lauxlib.h>
#include <lualib.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "lua_json.h"
#include "server.h"
#include "token.h"

enum {
    COLLECT_SLACK = 512 * 1024, /* what is allocated between two cycles */
    COLLECT_LEAST = 64 * 1024, /* garbage that is worth a cycle when it is quiet */
    COLLECT_STEP_KIB = 256,
    COLLECT_QUIET_MS = 50,
    TRIM_PAUSE_MS = 1000, /* between two times that free memory is given back */
    TOKENS_KEPT = 512 /* verified ones, of at most 8 KiB each */
};

bool policy_is_rejection(lua_State *L, int index) {
    if (!lua_istable(L, index) || !lua_getmetatable(L, index))
        return false;
    luaL_getmetatable(L, "sluice.rejection");
    bool is = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is;
}

/* --- requests ----------------------------------------------------------------------------------- */

static void on_request(struct policy *p, struct exchange *x) {
    struct routine *r = routine_new(p, p->current, PHASE_HANDLER);
    if (!r) {
        exchange_fail(x, 500, "internal error");
        return;
    }
    r->exchange = x;
    x->task = r;
    lua_pushcfunction(r->co, lua_dispatch);
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

/* --- garbage ------------------------------------------------------------------------------------ */

/* A cycle is over. The next begins when a fixed amount was allocated, not a share of what is in use: marking a small heap again and again for a
 * little garbage would cost more than the scripts do, and twice a large one would be too much. */
static void collected(struct policy *p) {
    p->collected_bytes = p->budget.bytes;
    size_t pause = 100 + (size_t)COLLECT_SLACK * 100 / p->collected_bytes;
    lua_gc(p->L, LUA_GCINC, (int)(pause < 110 ? 110 : pause > 1000 ? 1000 : pause), 200, 0);
}

static void collect_on(struct policy *p, uint64_t after_ms) {
    p->collect_calls = p->budget.calls;
    wheel_set(&p->worker->wheel, &p->collect, worker_now(p->worker) + after_ms);
}

/* Gives free memory back to the system, which would be kept for the next burst. */
static void trim(struct policy *p, uint64_t now_ms) {
    if (now_ms - p->trimmed_ms < TRIM_PAUSE_MS)
        return;
    p->trimmed_ms = now_ms;
    pool_trim(&p->budget.pool);
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

/* Collects step by step while no script runs; under load the collector's own pace will do. The cycle that is under way is ended, and then another made: the first leaves
 * what became garbage after it was marked. */
static void on_collect(struct wheel_timer *timer, uint64_t now_ms) {
    struct policy *p = list_entry(timer, struct policy, collect);
    if (p->budget.calls != p->collect_calls) {
        p->collect_again = true;
        collect_on(p, COLLECT_QUIET_MS);
    } else if (!lua_gc(p->L, LUA_GCSTEP, COLLECT_STEP_KIB)) {
        collect_on(p, 1);
    } else if (p->collect_again) {
        p->collect_again = false;
        collect_on(p, 1);
    } else {
        collected(p);
        trim(p, now_ms);
    }
}

static struct policy *on_turn(struct policy *p, bool idle) {
    metrics_set(&p->worker->metrics, script_bytes, p->budget.bytes);
    if (idle)
        policy_forget_shaped(p);
    if (idle && !wheel_armed(&p->collect) && p->budget.bytes > p->collected_bytes + COLLECT_LEAST) {
        p->collect_again = true;
        collect_on(p, COLLECT_QUIET_MS);
    }
    return policy_renew(p);
}

/* --- the state ---------------------------------------------------------------------------------- */

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
    static const luaL_Reg FUNCTIONS[] = {{"print", print}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    policy_register_phases(L);
    lua_budget_register(L);
    lua_answer_register_core(L);
    lua_stream_register_core(L);
    lua_publish_register_core(L);
    lua_hooks_register_core(L);
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

/* Scripts can neither read nor change the metatable on top of the stack, which goes: it is the state's and would outlive their generation. */
static void seal(lua_State *L) {
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

static void seal_metatables(lua_State *L) {
    lua_getglobal(L, LUA_STRLIBNAME); /* the methods of all strings: no `dump` among them */
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pop(L, 1);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    seal(L);
    lua_pop(L, 1);
    luaL_getmetatable(L, LUA_FILEHANDLE);
    seal(L);
    luaL_newmetatable(L, "sluice.rejection");
    seal(L);
}

static int open_state(lua_State *L) {
    struct policy *p = policy_of(L);
    luaL_openlibs(L);
    set_paths(L, lua_touserdata(L, 1));
    seal_metatables(L);
    lua_request_open(L);
    lua_stream_open(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "sluice.policy");
    lua_call(L, 1, 1);
    push_core(L);
    lua_call(L, 1, 1);
    lua_createtable(L, 4, 0);
    p->shaped_parts = luaL_ref(L, LUA_REGISTRYINDEX);
    p->runtime_load = take_function(L, "load");
    p->runtime_route = take_function(L, "route");
    p->runtime_unrouted = take_function(L, "unrouted");
    p->runtime_serve_stream = take_function(L, "serve_stream");
    p->runtime_wrong_on_request = take_function(L, "wrong_on_request");
    p->runtime_publish = take_function(L, "publish");
    p->runtime_shape = take_function(L, "shape");
    p->runtime_disconnected = take_function(L, "disconnected");
    p->runtime_may_subscribe = take_function(L, "may_subscribe");
    return 0;
}

void *policy_check_box(lua_State *L, int index, const void *meta, const char *type) {
    void *box = lua_touserdata(L, index);
    if (box && lua_getmetatable(L, index)) {
        bool ours = lua_topointer(L, -1) == meta;
        lua_pop(L, 1);
        if (ours)
            return box;
    }
    return luaL_checkudata(L, index, type); /* raises, with the usual sentence */
}

const void *policy_open_type(lua_State *L, const char *type, const luaL_Reg *methods, const char *const *fields, lua_CFunction index, const luaL_Reg *meta) {
    luaL_newmetatable(L, type);
    luaL_setfuncs(L, meta, 0);
    lua_newtable(L); /* name -> method, or the field's number */
    luaL_setfuncs(L, methods, 0);
    for (int i = 0; fields[i]; i++) {
        lua_pushinteger(L, i + 1);
        lua_setfield(L, -2, fields[i]);
    }
    lua_pushcclosure(L, index, 1);
    lua_setfield(L, -2, "__index");
    const void *made = lua_topointer(L, -1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, made);
    seal(L);
    return made;
}

int policy_member(lua_State *L, const char *what) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TFUNCTION)
        return 0;
    if (lua_isnil(L, -1))
        luaL_error(L, "%s has no '%s'; see doc/reference.md", what, luaL_checkstring(L, 2));
    int field = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return field;
}

struct buf *policy_scratch(lua_State *L, unsigned i) {
    struct buf *b = &policy_of(L)->scratch[i];
    if (b->cap > POLICY_SCRATCH_KEPT)
        buf_deinit(b);
    buf_clear(b);
    return b;
}

void policy_destroy(struct policy *p) {
    while (!list_empty(&p->routines))
        routine_kill(list_entry(p->routines.next, struct routine, node));
    generations_close(p);
    lua_errors_deinit(&p->errors);
    wheel_cancel(&p->collect);
    lua_close(p->L);
    pool_deinit(&p->budget.pool);
    token_cache_free(p->tokens);
    for (int i = 0; i < POLICY_SCRATCHES; i++)
        buf_deinit(&p->scratch[i]);
    free(p);
}

struct policy *policy_create(struct worker *w, void *context) {
    struct policy *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->worker = w;
    p->host = context;
    p->budget = (struct lua_budget){
        .limit_ns = w->config->script_ms * UINT64_C(1000000),
        .call_limit = w->config->script_call_bytes,
    };
    pool_init(&p->budget.pool);
    list_init(&p->generations);
    list_init(&p->retired);
    list_init(&p->routines);
    lua_errors_init(&p->errors);
    p->tokens = token_cache_new(TOKENS_KEPT);
    p->L = p->tokens ? lua_newstate(lua_budget_alloc, &p->budget) : NULL;
    if (!p->L) {
        token_cache_free(p->tokens);
        free(p);
        return NULL;
    }
    *(struct policy **)lua_getextraspace(p->L) = p;
    lua_budget_watch(p->L);
    wheel_timer_init(&p->collect, on_collect);
    lua_pushcfunction(p->L, open_state);
    lua_pushlightuserdata(p->L, p->host);
    if (lua_pcall(p->L, 1, 0, 0) != LUA_OK) {
        log_write(w->log, LOG_ERROR, "policy", "cannot set up a worker's Lua: %s", lua_tostring(p->L, -1));
        lua_close(p->L);
        pool_deinit(&p->budget.pool);
        token_cache_free(p->tokens);
        free(p);
        return NULL;
    }
    lua_gc(p->L, LUA_GCCOLLECT);
    collected(p);
    return p;
}

const struct policy_ops lua_policy_ops = {
    .create = policy_create,
    .destroy = policy_destroy,
    .load = policy_load,
    .accept = policy_accept,
    .discard = policy_discard,
    .request = on_request,
    .abandon = on_abandon,
    .drained = on_drained,
    .shapes = policy_shapes,
    .shape = policy_shape,
    .closed = policy_closed,
    .forget = lua_stream_forget,
    .turn = on_turn,
};
