/* SPDX-License-Identifier: MIT */
/* Errors of scripts on their way to the log: with file, line and traceback, but never as many as a client can cause. Each place that fails is told a few times in a while; what comes on top
 * is counted and told in one line when the while is over. Belongs to one worker's policy. */
#ifndef SLUICE_LUA_ERRORS_H
#define SLUICE_LUA_ERRORS_H

#include <lua.h>

#include "wheel.h"

enum { ERROR_SITES = 32, ERROR_PLACE_BYTES = 192 };

struct policy;
struct policy_error;

/* A place that failed lately. */
struct error_site {
    uint64_t key;
    uint64_t since_ms; /* worker's time at which its while began */
    uint32_t told, hidden;
    char place[ERROR_PLACE_BYTES];
};

struct error_log {
    struct error_site sites[ERROR_SITES];
    struct wheel_timer timer; /* tells what was hidden */
};

/* Pushed as light userdata it is an error value that needs no memory: a coroutine of ours was yielded by a script. */
extern const char ERROR_YIELDED[];

void lua_errors_init(struct error_log *log);
void lua_errors_deinit(struct error_log *log);

/* Counts an error and writes it to the log with its traceback; `what` says what failed. `co` is where it happened, the error value on its top. Calls no script. */
void lua_errors_log(struct policy *p, lua_State *co, const char *what);

/* The same for an error that is no Lua value. */
void lua_errors_log_text(struct policy *p, const char *what, const char *text);

/* Fills `error` with what `co` failed with: file, line and message. */
void lua_errors_fill(struct policy *p, lua_State *co, struct policy_error *error);

#endif
