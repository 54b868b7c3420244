/* SPDX-License-Identifier: MIT */
/* What a script may use: CPU time since it was last resumed, and memory, of the whole state and of one call. The count hook sits on the main state from its creation on,
 * so every coroutine inherits it. */
#ifndef SLUICE_LUA_BUDGET_H
#define SLUICE_LUA_BUDGET_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

struct lua_budget {
    uint64_t limit_ns;
    uint64_t started_ns; /* thread CPU time; 0: the running call is still too young to be measured */
    bool running;
    bool over; /* the call has used up its time: whatever it returns, it has failed */
    size_t bytes;
    size_t state_limit, call_limit;
    size_t ceiling; /* what `bytes` may not pass now */
};

/* The allocator of a state: `ud` is the budget. */
void *lua_budget_alloc(void *ud, void *ptr, size_t osize, size_t nsize);

/* Sets the count hook on the main state, whose allocator is lua_budget_alloc. */
void lua_budget_watch(lua_State *L);

/* A call begins / ends. */
void lua_budget_begin(struct lua_budget *b);
void lua_budget_end(struct lua_budget *b);

#endif
