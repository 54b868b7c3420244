/* SPDX-License-Identifier: MIT */
/* Inside the Lua layer: the state of one worker's policy, shared by the files that make up `sluice` for scripts. Every call from C into Lua goes through
 * routine_run or policy_call in lua_policy.c. */
#ifndef SLUICE_LUA_POLICY_H
#define SLUICE_LUA_POLICY_H

#include <lua.h>

#include "exchange.h"
#include "lua_budget.h"
#include "policy.h"
#include "stream.h"
#include "wheel.h"
#include "worker.h"

/* What a new state needs to find our own Lua modules: the host's search paths. */
struct lua_host {
    char *path;
    char *cpath;
};

extern const struct policy_ops lua_policy_ops;

/* Where in a script's life a call is made; some functions are only safe in some of them. */
enum phase {
    PHASE_NONE = 0,
    PHASE_LOAD = 1 << 0,
    PHASE_HANDLER = 1 << 1,
    PHASE_TASK = 1 << 2, /* spawn, every */
    PHASE_ON_REQUEST = 1 << 3,
    PHASE_ON_SUBSCRIBE = 1 << 4,
    PHASE_ON_PUBLISH = 1 << 5,
    PHASE_ON_MESSAGE = 1 << 6,
    PHASE_FILTER = 1 << 7,
    PHASE_ON_DISCONNECT = 1 << 8
};

enum { PHASE_DEPTH = 16 };

/* One accepted or candidate set of scripts in this worker. */
struct generation {
    struct list node; /* in policy->generations, newest last */
    uint64_t number;
    int table; /* what policy.load returned; LUA_NOREF */
    bool on_message, on_disconnect, guarded;
    struct list held; /* routines that wait for the generation to be accepted */
};

enum wait { WAIT_NOTHING, WAIT_SLEEP, WAIT_ROOM, WAIT_FOREVER };

/* A coroutine that C has started: a request's, a task's, the host's publish. */
struct routine {
    struct list node; /* in policy->routines, or generation->held */
    struct policy *policy;
    struct generation *generation;
    lua_State *co;
    int ref; /* anchors `co` */
    enum phase phase;
    enum wait wait;
    struct wheel_timer timer;
    struct exchange *exchange; /* the request it answers, or NULL */
    int request_ref;           /* its userdata */
    bool from_loading;         /* started by a script while it loaded */
    double every_s;            /* > 0: runs again and again */
    int function;              /* of every */
    void (*done)(struct routine *r, bool ok); /* told the end, results on `co`; may be NULL */
    void *context;
};

struct policy {
    struct worker *worker;
    lua_State *L; /* the main state; scripts run in coroutines of it */
    struct lua_budget budget;
    int runtime_dispatch, runtime_load, runtime_publish, runtime_shape, runtime_disconnected, runtime_may_subscribe;
    struct list generations;
    struct generation *current;
    struct generation *candidate;
    struct list routines;
    struct routine *running; /* the one that C has resumed, the innermost */
    enum phase phases[PHASE_DEPTH];
    int depth;
    int idle_threads; /* a table of coroutines to be used again */
    int idle_count;
    struct token_cache *tokens; /* verified ones */
    size_t collected_bytes; /* in use after the last full collection */
};

/* The policy that a state belongs to. */
static inline struct policy *policy_of(lua_State *L) {
    return *(struct policy **)lua_getextraspace(L);
}

/* The phase of the innermost hook, or of the routine. */
enum phase policy_phase(const struct policy *p);

/* Raises an error that names `function` and where it may be called, unless the phase is one of `allowed` (a mask). */
void policy_check_phase(lua_State *L, int allowed, const char *function, const char *where);

/* The running routine, whose own coroutine `L` must be: raises where the call could not wait. */
struct routine *policy_check_wait(lua_State *L, const char *function);

/* Begins `every` or `spawn`: a routine with the function at `index`. Returns NULL without memory. */
struct routine *routine_new(struct policy *p, struct generation *g, enum phase phase);

/* Resumes with `nargs` values on its stack (above the function, the first time). May free it. */
void routine_run(struct routine *r, int nargs);

/* Ends a routine that is not running. */
void routine_kill(struct routine *r);

/* Lets a routine wait for the clock. */
void routine_sleep(struct routine *r, double seconds);

/* Writes an error with its traceback to the log; `co` is where it happened, the error value on its top. */
void policy_log_error(struct policy *p, lua_State *co, const char *where);

/* True where the value at `index` is what sluice.reject makes. */
bool policy_is_rejection(lua_State *L, int index);

/* sluice.reject(status, text, headers): raises a rejection. */
int policy_reject(lua_State *L);

/* Raises a rejection: the request is answered with `status` and {"error": text}. */
int policy_refuse(lua_State *L, int status, const char *text);

/* Answers the exchange with the rejection at `index` of `L`. */
void policy_respond_rejection(lua_State *L, int index, struct exchange *x);

/* --- what the other files register --------------------------------------------------------------- */

/* Each pushes nothing and adds its functions to the table on top of the stack: `sluice_*` to what scripts see, `core_*` to what the runtime sees. */
void lua_request_register_core(lua_State *L);
void lua_stream_register_core(lua_State *L);
void lua_publish_register_core(lua_State *L);
void lua_publish_register(lua_State *L);
void lua_limit_register(lua_State *L);
void lua_jwt_register(lua_State *L);
void lua_task_register(lua_State *L);
void lua_tools_register(lua_State *L);

/* Makes the metatables; once for a state. */
void lua_request_open(lua_State *L);
void lua_stream_open(lua_State *L);

/* Pushes a request's userdata. */
void lua_request_push(lua_State *L, struct exchange *x);

/* The exchange of a request that is not over: raises otherwise. */
struct exchange *lua_request_check(lua_State *L, int index);

/* Makes the userdata on the stack of `L` at `index` refer to nothing. */
void lua_request_clear(lua_State *L, int index);

/* Takes the exchange away from its routine and its userdata: it is about to be answered and gone. */
void lua_request_detach(lua_State *L, struct exchange *x);

/* Pushes a stream's userdata, made where there is none. */
void lua_stream_push(lua_State *L, struct stream *s);

/* Lets go of the stream's userdata: it refers to nothing from now on. */
void lua_stream_forget(struct stream *s);

/* Sends the stream's head where that has not happened yet. Raises or returns false where it cannot (the stream is closed). */
bool lua_stream_begin(lua_State *L, struct stream *s);

/* Publishes from the host's thread. */
struct server;
bool lua_publish_host(struct server *server, struct slice channel, struct slice event, struct slice data, char id[MESSAGE_ID_BYTES],
                      uint64_t *subscribers, char *error, size_t error_size);

#endif
