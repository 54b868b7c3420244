/* SPDX-License-Identifier: MIT */
#include "lua_budget.h"

#include <lauxlib.h>
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
        free(ptr);
        return NULL;
    }
    if (nsize > old && b->running && b->bytes + (nsize - old) > b->ceiling)
        return NULL;
    void *block = realloc(ptr, nsize);
    if (block)
        b->bytes += nsize - old;
    return block;
}

static void on_count(lua_State *L, lua_Debug *ar) {
    void *ud;
    lua_getallocf(L, &ud);
    struct lua_budget *b = ud;
    (void)ar;
    if (!b->running)
        return;
    if (!b->over) {
        uint64_t now = cpu_ns();
        if (b->started_ns == 0)
            b->started_ns = now;
        if (now - b->started_ns < b->limit_ns)
            return;
        b->over = true;
    }
    /* A yield cannot be caught by the script. Where the stack forbids one, an error at every further instruction gets out of any number of pcalls. */
    if (lua_isyieldable(L)) {
        lua_yield(L, 0);
    } else {
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
        luaL_error(L, "the script has used up its time");
    }
}

void lua_budget_watch(lua_State *L) {
    lua_sethook(L, on_count, LUA_MASKCOUNT, BUDGET_INSTRUCTIONS);
}

void lua_budget_begin(struct lua_budget *b) {
    b->running = true;
    b->over = false;
    b->started_ns = 0;
    b->ceiling = b->bytes + b->call_limit < b->state_limit ? b->bytes + b->call_limit : b->state_limit;
}

void lua_budget_end(struct lua_budget *b) {
    b->running = false;
}
