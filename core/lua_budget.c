/* SPDX-License-Identifier: MIT */
#include "lua_budget.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Instructions between two looks at the clock: some tens of microseconds. */
enum { BUDGET_INSTRUCTIONS = 10000 };

static uint64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void *lua_budget_alloc(void *ud, void *ptr, size_t osize, size_t nsize) {
    struct lua_budget *b = ud;
    size_t old = ptr ? osize : 0; /* without a block osize is a type, not a size */
    if (nsize == 0) {
        b->bytes -= old;
        pool_free(&b->pool, ptr, old);
        return NULL;
    }
    if (nsize > old && b->running && b->bytes + (nsize - old) > b->ceiling)
        return NULL;
    void *block = pool_realloc(&b->pool, ptr, old, nsize);
    if (block)
        b->bytes += nsize - old;
    return block;
}

static struct lua_budget *budget_of(lua_State *L) {
    void *ud;
    lua_getallocf(L, &ud);
    return ud;
}

static void note_place(struct lua_budget *b, lua_State *L, lua_Debug *ar) {
    b->place[0] = '\0';
    if (lua_getinfo(L, "Sl", ar) && ar->currentline > 0)
        snprintf(b->place, sizeof b->place, "%s:%d", ar->short_src, ar->currentline);
}

static void on_count(lua_State *L, lua_Debug *ar);

void lua_budget_watch(lua_State *L) {
    lua_sethook(L, on_count, LUA_MASKCOUNT, BUDGET_INSTRUCTIONS);
}

static void on_count(lua_State *L, lua_Debug *ar) {
    struct lua_budget *b = budget_of(L);
    if (!b->running)
        return;
    if (!b->over) {
        if (lua_gethookcount(L) != BUDGET_INSTRUCTIONS)
            lua_budget_watch(L); /* a coroutine of the script's own that was stopped in an earlier call */
        uint64_t now = cpu_ns();
        if (b->started_ns == 0)
            b->started_ns = now;
        if (now - b->started_ns < b->limit_ns)
            return;
        b->over = true;
        note_place(b, L, ar);
    }
    if (lua_isyieldable(L)) {
        lua_yield(L, 0);
    } else {
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
        lua_pushliteral(L, "the script has used up its time");
        lua_error(L);
    }
}

void lua_budget_begin(struct lua_budget *b) {
    b->calls++;
    b->running = true;
    b->over = false;
    b->started_ns = 0;
    b->ceiling = b->bytes + b->call_limit;
}

void lua_budget_end(struct lua_budget *b) {
    b->running = false;
}

/* --- for scripts -------------------------------------------------------------------------------- */

/* The message handler of xpcall: the script's own (upvalue 1) while there is time. */
static int call_handler(lua_State *L) {
    lua_settop(L, 1);
    if (budget_of(L)->over)
        return 1;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* On the stack: f, handler, true, results or error. */
static int finish_xpcall(lua_State *L, int status, lua_KContext context) {
    (void)context;
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - 2;
    lua_pushboolean(L, 0);
    lua_pushvalue(L, -2);
    return 2;
}

static int guarded_xpcall(lua_State *L) {
    luaL_checktype(L, 2, LUA_TFUNCTION);
    int n = lua_gettop(L) - 2;
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, call_handler, 1);
    lua_replace(L, 2);
    lua_pushboolean(L, 1); /* the first result */
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* f, handler, true, f, arguments */
    return finish_xpcall(L, lua_pcallk(L, n, LUA_MULTRET, 2, 0, finish_xpcall), 0);
}

static int resumed(lua_State *L) {
    if (budget_of(L)->over)
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    return lua_gettop(L);
}

void lua_budget_register(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"xpcall", guarded_xpcall}, {"resumed", resumed}, {NULL, NULL}};
    luaL_setfuncs(L, FUNCTIONS, 0);
}
