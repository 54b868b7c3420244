/* SPDX-License-Identifier: MIT */
/* Inside the Lua layer: the state of one worker's policy, shared by the files that make up `sluice` for scripts. Every call from C into a script goes through routine_run in lua_routine.c.
 *
 *   lua_policy.c      the state, requests, the table of functions for the layer below
 *   lua_routine.c     coroutines, phases
 *   lua_dispatch.c    the way of a request: route, on_request hooks, handler
 *   lua_generation.c  loading, accepting, retiring scripts; a fresh state
 *   lua_hooks.c       hooks in the middle of a delivery or a stream's end
 *   lua_errors.c      what fails, on its way to the log
 *   lua_budget.c      time and memory */
#ifndef SLUICE_LUA_POLICY_H
#define SLUICE_LUA_POLICY_H

#include <lauxlib.h>
#include <lua.h>

#include "exchange.h"
#include "lua_budget.h"
#include "lua_errors.h"
#include "policy.h"
#include "stream.h"
#include "wheel.h"
#include "worker.h"

/* What a new state needs to find our own Lua modules: the host's search paths. */
struct lua_host {
    char *path;
    char *cpath;
};

struct request_box;

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
    PHASE_ON_DISCONNECT = 1 << 8,
    PHASE_CLOSING = 1 << 9 /* <close> variables of a coroutine that is ended */
};

enum { PHASE_DEPTH = 16 };

/* One accepted or candidate set of scripts in this worker. Its filter functions hold references: they may live a little longer than their generation. */
struct generation {
    struct list node; /* in policy->generations, newest last, or policy->retired */
    unsigned refs;
    struct policy *policy; /* NULL: gone, with the state and all references into it */
    uint64_t number;
    struct snapshot *snapshot;
    int table; /* what policy.load returned; LUA_NOREF */
    bool on_publish, on_message, on_disconnect, guarded;
    struct list held; /* routines that wait for the generation to be accepted */
};

enum wait { WAIT_NOTHING, WAIT_SLEEP, WAIT_ROOM, WAIT_LOG, WAIT_FOREVER };

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
    struct log_wait *log_wait; /* lua_log.c's, while it waits for the log */
    struct exchange *exchange; /* the request it answers, or NULL */
    struct request_box *request; /* its userdata, as long as the exchange is the routine's */
    bool from_loading;         /* started by a script while it loaded */
    double every_s;            /* > 0: runs again and again */
    int function;              /* of every */
    void (*done)(struct routine *r, bool ok); /* told the end, results on `co`; may be NULL */
    void *context;
};

/* A coroutine that waits to be used again, and what anchors it. */
struct idle_thread {
    lua_State *co;
    int ref;
};

enum { POLICY_IDLE_THREADS = 64, POLICY_SCRATCHES = 4, POLICY_SCRATCH_KEPT = 64 * 1024 };

struct policy {
    struct worker *worker;
    struct lua_host *host;
    lua_State *L; /* the main state; scripts run in coroutines of it */
    struct lua_budget budget;
    int runtime_load, runtime_publish, runtime_shape, runtime_disconnected, runtime_may_subscribe; /* functions of lua/sluice/policy.lua */
    int runtime_route, runtime_unrouted, runtime_serve_stream, runtime_wrong_on_request;
    struct list generations; /* at most two, the older one first */
    struct list retired;     /* only kept by filter functions */
    struct generation *current;
    struct generation *candidate; /* loaded, not yet accepted */
    struct error_log errors;
    uint64_t renew_ms; /* not before: a fresh state could not be had */
    struct list routines;
    struct routine *running; /* the one that C has resumed, the innermost */
    enum phase phases[PHASE_DEPTH];
    int depth;
    struct idle_thread idle[POLICY_IDLE_THREADS]; /* coroutines to be used again */
    int idle_count;
    int shaped_parts;            /* see policy_shape: the parts of a message as Lua strings, */
    struct message_place shaped; /* and where it stands; epoch 0: none */
    int stream_boxes;            /* weak: address of a stream's userdata -> userdata */
    const void *request_meta, *stream_meta; /* the metatables, to know our userdata by */
    struct buf scratch[POLICY_SCRATCHES];
    struct token_cache *tokens; /* verified ones */
    size_t collected_bytes; /* in use after the last full collection */
    struct wheel_timer collect; /* armed while there is garbage to be collected when it is quiet */
    uint64_t collect_calls;     /* budget.calls when it was last looked at */
    bool collect_again;         /* the cycle under way is not the last */
    uint64_t trimmed_ms;        /* when free memory was last given back */
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

/* A hook's phase begins and finishes. Raises where hooks call each other too deeply. An error ends all phases of its coroutine. */
void policy_begin_phase(lua_State *L, enum phase phase);
void policy_finish_phase(struct policy *p);

/* Adds to the table on top of the stack the phases of hooks, `begin` and `finish` of one, and `enter`, which begins one and returns a value for <close> that finishes it. */
void policy_register_phases(lua_State *L);

/* A routine of that generation; its function is to be pushed onto `co`. NULL: no memory. */
struct routine *routine_new(struct policy *p, struct generation *g, enum phase phase);

/* Resumes with `nargs` values on its stack (above the function, the first time). May free it. */
void routine_run(struct routine *r, int nargs);

/* Ends a routine that is not running; <close> variables are closed. Its exchange must be taken care of by the caller. */
void routine_kill(struct routine *r);

/* The same, and ends the answer that it was to give: a begun stream as reloaded, any other request with 503 and `why`. */
void routine_retire(struct routine *r, const char *why);

/* Lets a routine wait for the clock. */
void routine_sleep(struct routine *r, double seconds);

/* --- generations -------------------------------------------------------------------------------- */

struct policy *policy_create(struct worker *w, void *context);
void policy_destroy(struct policy *p);

/* See policy_ops. */
bool policy_load(struct policy *p, struct snapshot *snapshot, uint64_t number, struct policy_error *error);
void policy_accept(struct policy *p);
void policy_discard(struct policy *p);

/* Where scripts hold more than they may after a full collection: puts a policy with a fresh state in the place of `p`, which is destroyed. Ends handlers, tasks and filtered streams of `p`; other streams stay. Returns
 * the policy that is to be used. No script runs. */
struct policy *policy_renew(struct policy *p);

/* The generation of that number; where it is not known, the one in force. */
struct generation *generation_of(const struct policy *p, uint32_t number);

struct generation *generation_retain(struct generation *g);
void generation_release(struct generation *g);

/* Lets go of all generations before the state is closed. */
void generations_close(struct policy *p);

/* --- hooks, see policy_ops ---------------------------------------------------------------------- */

bool policy_shapes(struct policy *p, const struct message *m, bool replayed);
struct message *policy_shape(struct policy *p, struct stream *s, struct message *m, struct subscription *sub, bool replayed);
void policy_closed(struct policy *p, struct stream *s, const char *reason);

/* Lets go of the message that was shaped last, whose parts are kept as Lua strings for the next stream. */
void policy_forget_shaped(struct policy *p);

/* --- rejections --------------------------------------------------------------------------------- */

/* True where the value at `index` is what sluice.reject makes. */
bool policy_is_rejection(lua_State *L, int index);

/* sluice.reject(status, text, headers): raises a rejection. */
int policy_reject(lua_State *L);

/* The block of the userdata at `index`, whose metatable must be `meta`, of the type that is called `type`: raises otherwise. luaL_checkudata without its look-up by name. */
void *policy_check_box(lua_State *L, int index, const void *meta, const char *type);

/* Makes the metatable of a type of userdata that scripts see: its methods, its fields (names, NULL at the end), `index` as __index, and the further entries `meta`. Scripts can neither read nor
 * change it. Returns it as policy_check_box takes it; the registry has it under that address, too. */
const void *policy_open_type(lua_State *L, const char *type, const luaL_Reg *methods, const char *const *fields, lua_CFunction index, const luaL_Reg *meta);

/* In the __index of such a type: pushes the method that index 2 names and returns 0, or returns the field's number, from 1 on. Raises where there is neither: `what` is "a request". */
int policy_member(lua_State *L, const char *what);

/* Buffer `i` of the policy, emptied: for the length of one call from Lua that calls no other function of the policy. An error that is raised meanwhile loses nothing. */
struct buf *policy_scratch(lua_State *L, unsigned i);

/* Raises a rejection: the request is answered with `status` and {"error": text}. */
int policy_refuse(lua_State *L, int status, const char *text);

/* Answers the request at index 1 with what its handler has returned, all that is above it: [status,] body, headers. Raises where that is no answer. */
void lua_answer_returned(lua_State *L);

/* Answers with {"error": text} and the fields of the table at index `headers` (0: none); 204, which is no error, without a body. */
void lua_answer_error(lua_State *L, struct exchange *x, int status, struct slice text, int headers);

/* Runs a request: a coroutine's function, whose argument is its routine as light userdata. */
int lua_dispatch(lua_State *L);

/* Answers the exchange with the rejection at `index` of `L`. */
void policy_respond_rejection(lua_State *L, int index, struct exchange *x);

/* --- what the other files register --------------------------------------------------------------- */

/* Each pushes nothing and adds its functions to the table on top of the stack: `sluice_*` to what scripts see, `core_*` to what the runtime sees. */
void lua_answer_register_core(lua_State *L);
void lua_stream_register_core(lua_State *L);
void lua_publish_register_core(lua_State *L);
void lua_hooks_register_core(lua_State *L);
void lua_publish_register(lua_State *L);
void lua_limit_register(lua_State *L);
void lua_jwt_register(lua_State *L);
void lua_gzip_register(lua_State *L);
void lua_task_register(lua_State *L);
void lua_tools_register(lua_State *L);
void lua_admin_register(lua_State *L);

/* Makes the metatables; once for a state. */
void lua_request_open(lua_State *L);
void lua_stream_open(lua_State *L);

/* Pushes a request's userdata. */
struct request_box *lua_request_push(lua_State *L, struct exchange *x);

/* Tells the request at `index` its route: pops the path in its one spelling, the parameters in it (or nil) and the route's options (or nil), the last on top. */
void lua_request_set_route(lua_State *L, int index);

/* The exchange of a request that is not over: raises otherwise. */
struct exchange *lua_request_check(lua_State *L, int index);

/* The routine's request is over: its userdata refers to nothing from now on. */
void lua_request_forget(struct routine *r);

/* Takes the exchange away from its routine and its userdata: it is about to be answered and gone. */
void lua_request_detach(struct exchange *x);

/* Pushes a stream's userdata, made where there is none. */
void lua_stream_push(lua_State *L, struct stream *s);

/* Lets go of the stream's userdata: it refers to nothing from now on. */
void lua_stream_forget(struct policy *p, struct stream *s);

/* Sends the stream's head where that has not happened yet. Raises or returns false where it cannot (the stream is closed). */
bool lua_stream_begin(lua_State *L, struct stream *s);

/* Publishes from the host's thread. */
struct server;
bool lua_publish_host(struct server *server, struct slice channel, struct slice event, struct slice data, char id[MESSAGE_ID_BYTES],
                      uint64_t *subscribers, char *error, size_t error_size);

#endif
