/* SPDX-License-Identifier: MIT */
/* What a script may use: CPU time since it was last resumed, and growth of memory in one call. The count hook sits on the main state from its creation on, so every coroutine inherits it;
 * a yield from the hook cannot be caught by a script. What a yield cannot cross (table.sort, string.gsub, a metamethod) ends by errors that come with every further instruction. */
#ifndef SLUICE_LUA_BUDGET_H
#define SLUICE_LUA_BUDGET_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "pool.h"

enum { BUDGET_PLACE_BYTES = 128 };

struct lua_budget {
    uint64_t limit_ns;
    uint64_t started_ns; /* thread CPU time; 0: the running call is still too young to be measured */
    bool running;
    bool over;                      /* the call has used up its time: whatever it returns, it has failed */
    char place[BUDGET_PLACE_BYTES]; /* "file:line" where that was found */
    uint64_t calls;                 /* begun so far */
    size_t bytes;
    size_t call_limit;
    size_t ceiling; /* what `bytes` may not pass now */
    struct pool pool;
};

/* The allocator of a state: `ud` is the budget, whose pool must have been initialized. */
void *lua_budget_alloc(void *ud, void *ptr, size_t osize, size_t nsize);

/* Sets the count hook on the main state, whose allocator is lua_budget_alloc. */
void lua_budget_watch(lua_State *L);

/* A call begins / ends. */
void lua_budget_begin(struct lua_budget *b);
void lua_budget_end(struct lua_budget *b);

/* Adds to the table on top of the stack what scripts get in place of the standard functions that would let them stay after their time is over: `xpcall`, which then skips its handler, and
 * `resumed(...)`, which returns its arguments and is called with what coroutine.resume and coroutine.close return, so that the one who resumes is stopped at once, too. */
void lua_budget_register(lua_State *L);

#endif
