/* SPDX-License-Identifier: MIT */
/* Time and tasks for scripts: sleep, spawn, every. */
#include <lauxlib.h>
#include <math.h>

#include "conn.h"
#include "lua_policy.h"

static double check_seconds(lua_State *L, int index, double least) {
    double seconds = luaL_checknumber(L, index);
    luaL_argcheck(L, isfinite(seconds) && seconds >= least && seconds <= 1e9, index, "seconds, not negative and not beyond 1e9");
    return seconds;
}

/* sluice.sleep(seconds) */
static int sleep_for(lua_State *L) {
    double seconds = check_seconds(L, 1, 0);
    struct routine *r = policy_check_wait(L, "sluice.sleep");
    struct stream *s = r->exchange ? r->exchange->stream : NULL;
    /* A wait after the first subscribe sends the head, so that the client is not kept waiting with it. */
    if (s && !s->begun && (s->sub_count > 0 || s->asked_all) && !lua_stream_begin(L, s)) {
        r->wait = WAIT_FOREVER;
        return lua_yield(L, 0);
    }
    routine_sleep(r, seconds);
    return lua_yield(L, 0);
}

/* True where a task of this call belongs to this worker: while loading in the first one only, unless { all = true }. */
static bool belongs_here(lua_State *L, int options) {
    struct policy *p = policy_of(L);
    bool all = lua_istable(L, options) && lua_getfield(L, options, "all") != LUA_TNIL && lua_toboolean(L, -1);
    return policy_phase(p) != PHASE_LOAD || all || p->worker->index == 0;
}

/* A routine for the function at `index`, to be run when its generation is in force: at once, or after loading. */
static struct routine *make(lua_State *L, int index) {
    struct policy *p = policy_of(L);
    struct generation *g = p->running->generation;
    struct routine *r = routine_new(p, g, PHASE_TASK);
    if (!r)
        luaL_error(L, "not enough memory");
    lua_pushvalue(L, index);
    lua_xmove(L, r->co, 1);
    r->from_loading = p->running->from_loading; /* what such a task starts ends with it */
    if (policy_phase(p) == PHASE_LOAD) {
        r->from_loading = true;
        list_unlink(&r->node);
        list_append(&g->held, &r->node);
    }
    return r;
}

/* sluice.spawn(f, options) */
static int spawn(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    policy_check_phase(L, PHASE_LOAD | PHASE_HANDLER | PHASE_TASK | PHASE_ON_REQUEST | PHASE_ON_DISCONNECT, "sluice.spawn",
                       "a script while it loads, a handler, a task, on_request or on_disconnect");
    if (!belongs_here(L, 2))
        return 0;
    struct routine *r = make(L, 1);
    if (policy_phase(policy_of(L)) != PHASE_LOAD)
        routine_sleep(r, 0);
    return 0;
}

/* sluice.every(seconds, f, options) */
static int every(lua_State *L) {
    double seconds = check_seconds(L, 1, 0.001);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    policy_check_phase(L, PHASE_LOAD | PHASE_HANDLER | PHASE_TASK, "sluice.every", "a script while it loads, a handler or a task");
    if (!belongs_here(L, 3))
        return 0;
    struct routine *r = make(L, 2);
    lua_settop(r->co, 0);
    r->every_s = seconds;
    lua_pushvalue(L, 2);
    r->function = luaL_ref(L, LUA_REGISTRYINDEX);
    if (policy_phase(policy_of(L)) != PHASE_LOAD)
        routine_sleep(r, seconds);
    return 0;
}

void lua_task_register(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"sleep", sleep_for}, {"spawn", spawn}, {"every", every}, {NULL, NULL}};
    luaL_setfuncs(L, FUNCTIONS, 0);
}
