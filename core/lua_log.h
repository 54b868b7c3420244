/* SPDX-License-Identifier: MIT */
/* Coroutines that wait for the log where it is kept in Redis: a publish until it has its id, a stream until it is known whether its last event id is one of the log's. */
#ifndef SLUICE_LUA_LOG_H
#define SLUICE_LUA_LOG_H

#include <lua.h>

#include "hub.h"

struct routine;
struct worker;

/* What is said where a key was used for another message. */
extern const char *const lua_log_other;

/* One message to be published. */
struct lua_publication {
    struct slice channel, event, data;
    struct slice key; /* ptr NULL: none */
    uint64_t fingerprint;
};

/* Publishes to Redis: the calling C function returns what this returns, at once or after a wait, with id and subscribers, or nil, why, status and state on the stack. In a <close> variable, which cannot wait, it
 * does not. Raises where a coroutine of the script's own, or a C function, is in between. */
int lua_log_publish(lua_State *L, const struct lua_publication *m);

/* Asks whether `id` is one of the log's. The calling C function returns what this returns; `then` is called with the answer as its context, HUB_VOUCHED, HUB_UNSURE, or HUB_AFTER where it is none. */
int lua_log_vouch(lua_State *L, struct message_id id, lua_KFunction then);

/* The routine ends: it waits no more. */
void lua_log_forget(struct routine *r);

#endif
