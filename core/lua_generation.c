/* SPDX-License-Identifier: MIT */
/* Generations of scripts in one worker: loaded beside the one in force, accepted or dropped, retired when they are two behind; and a fresh Lua state where scripts hold too much. */
#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "conn.h"
#include "lua_json.h"
#include "lua_policy.h"
#include "server.h"
#include "snapshot.h"

enum {
    GENERATIONS_KEPT = 2,
    FLUSH_SLICE = 1024,
    RENEW_PAUSE_MS = 10000 /* after a fresh state that could not be had */
};

static const char REPLACED[] = "the scripts were replaced twice while this request waited, try again";
static const char RENEWED[] = "the scripts of this worker begin anew, try again";

/* --- life --------------------------------------------------------------------------------------- */

static struct generation *generation_new(struct policy *p, struct snapshot *snapshot, uint64_t number) {
    struct generation *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    *g = (struct generation){
        .refs = 1, .policy = p, .number = number, .snapshot = snapshot_retain(snapshot), .table = LUA_NOREF};
    list_init(&g->node);
    list_init(&g->held);
    return g;
}

struct generation *generation_retain(struct generation *g) {
    g->refs++;
    return g;
}

void generation_release(struct generation *g) {
    if (--g->refs)
        return;
    list_unlink(&g->node);
    snapshot_release(g->snapshot);
    free(g);
}

/* Ends what a generation still holds in its state. Filter functions on their way out may still refer to it. */
static void drop(struct policy *p, struct generation *g) {
    while (!list_empty(&g->held))
        routine_kill(list_entry(g->held.next, struct routine, node));
    luaL_unref(p->L, LUA_REGISTRYINDEX, g->table);
    g->table = LUA_NOREF;
    list_unlink(&g->node);
    list_append(&p->retired, &g->node);
    generation_release(g);
}

void generations_close(struct policy *p) {
    policy_discard(p);
    while (!list_empty(&p->generations))
        drop(p, list_entry(p->generations.next, struct generation, node));
    while (!list_empty(&p->retired)) {
        struct generation *g = list_entry(p->retired.next, struct generation, node);
        list_unlink(&g->node);
        g->policy = NULL;
    }
}

struct generation *generation_of(const struct policy *p, uint32_t number) {
    for (struct list *node = p->generations.prev; node != &p->generations; node = node->prev) {
        struct generation *g = list_entry(node, struct generation, node);
        if (g->number == number)
            return g;
    }
    return p->current;
}

/* --- loading ------------------------------------------------------------------------------------ */

/* Pushes the API table of scripts. */
static void push_api(lua_State *L) {
    lua_newtable(L);
    lua_publish_register(L);
    lua_limit_register(L);
    lua_jwt_register(L);
    lua_gzip_register(L);
    lua_task_register(L);
    lua_tools_register(L);
    lua_admin_register(L);
    lua_json_register(L);
    lua_setfield(L, -2, "json");
}

/* runtime.load(files, sluice) on its own coroutine; the argument is the snapshot. What it returns first is anchored here, where an error can be raised. */
static int push_load(lua_State *L) {
    struct policy *p = policy_of(L);
    const struct snapshot *snapshot = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->runtime_load);
    lua_createtable(L, 0, (int)snapshot->count);
    for (size_t i = 0; i < snapshot->count; i++) {
        struct slice text = buf_slice(&snapshot->files[i].text);
        lua_pushlstring(L, text.ptr ? text.ptr : "", text.len);
        lua_setfield(L, -2, snapshot->files[i].name);
    }
    push_api(L);
    lua_call(L, 2, 5);
    lua_pushvalue(L, -5);
    p->candidate->table = luaL_ref(L, LUA_REGISTRYINDEX);
    return 4;
}

struct load_result {
    struct generation *generation;
    struct policy_error *error;
    bool ok;
};

static void load_done(struct routine *r, bool ok) {
    struct load_result *result = r->context;
    lua_State *co = r->co;
    result->ok = ok;
    if (!ok) {
        lua_errors_fill(r->policy, co, result->error);
        return;
    }
    result->generation->on_publish = lua_toboolean(co, -1);
    result->generation->guarded = lua_toboolean(co, -2);
    result->generation->on_disconnect = lua_toboolean(co, -3);
    result->generation->on_message = lua_toboolean(co, -4);
}

void policy_discard(struct policy *p) {
    if (p->candidate)
        drop(p, p->candidate);
    p->candidate = NULL;
}

/* True where the state holds more than scripts may, garbage left aside. */
static bool holds_too_much(struct policy *p) {
    size_t limit = p->worker->config->script_bytes;
    if (p->budget.bytes <= limit)
        return false;
    lua_gc(p->L, LUA_GCCOLLECT);
    p->collected_bytes = p->budget.bytes;
    return p->budget.bytes > limit;
}

static bool load_candidate(struct policy *p, struct snapshot *snapshot, uint64_t number, struct policy_error *error) {
    *error = (struct policy_error){.message = "not enough memory"};
    struct generation *g = p->candidate = generation_new(p, snapshot, number);
    struct routine *r = g ? routine_new(p, g, PHASE_LOAD) : NULL;
    struct load_result result = {g, error, false};
    if (r) {
        r->done = load_done;
        r->context = &result;
        lua_pushcfunction(r->co, push_load);
        lua_pushlightuserdata(r->co, snapshot);
        routine_run(r, 1);
    }
    if (!result.ok)
        policy_discard(p);
    return result.ok;
}

static void warn_unguarded(const struct policy *p, const struct generation *g) {
    const struct worker *w = p->worker;
    if (!g->guarded && w->config->has_key && w->index == 0)
        log_write(w->log, LOG_WARN, "policy",
                  "a key is configured (jwt.key), but no script has a guard: anyone may do everything");
}

bool policy_load(struct policy *p, struct snapshot *snapshot, uint64_t number, struct policy_error *error) {
    policy_discard(p);
    if (!load_candidate(p, snapshot, number, error))
        return false;
    if (!holds_too_much(p)) {
        if (p->worker->server->trial) /* will not be accepted, where it is said else */
            warn_unguarded(p, p->candidate);
        return true;
    }
    /* Together with older generations it is too much: a fresh state will do. By itself: never. */
    size_t together = p->budget.bytes, limit = p->worker->config->script_bytes;
    policy_discard(p);
    lua_gc(p->L, LUA_GCCOLLECT);
    size_t held = together - p->budget.bytes;
    if (p->current && held <= limit)
        return load_candidate(p, snapshot, number, error);
    *error = (struct policy_error){0};
    snprintf(error->message, sizeof error->message,
             "the scripts hold %zu bytes when they are loaded; limits.script_bytes is %zu", held, limit);
    return false;
}

/* --- in force ----------------------------------------------------------------------------------- */

/* What older scripts have started while they loaded ends with them: the new ones have started their own. */
static void end_loaded_tasks(struct policy *p) {
    for (struct list *node = p->routines.next, *next; node != &p->routines; node = next) {
        struct routine *r = list_entry(node, struct routine, node);
        next = node->next;
        if (r->from_loading)
            routine_kill(r);
    }
}

static bool holds_function_of(const struct stream *s, const struct generation *g) {
    for (const struct subscription *sub = s->sub.subs; sub; sub = sub->next) {
        if (sub->filter && sub->filter->function != FILTER_NO_FUNCTION && (!g || sub->filter->context == g))
            return true;
    }
    return false;
}

/* Ends the streams that hold a filter function of a generation, or of any (NULL). */
static void end_filtered_streams(struct worker *w, const struct generation *g) {
    struct list *ring = &w->registry.all->ring;
    for (struct list *node = ring->next; node != ring; node = node->next) {
        struct stream *s = list_entry(list_entry(node, struct subscriber, all_node), struct stream, sub);
        if (s->conn && holds_function_of(s, g))
            stream_close(s, STREAM_RELOADED);
    }
}

/* Ends what still runs on a generation that is too old; its streams come back by their ids. */
static void retire(struct policy *p, struct generation *g) {
    for (struct list *node = p->routines.next, *next; node != &p->routines; node = next) {
        struct routine *r = list_entry(node, struct routine, node);
        next = node->next;
        if (r->generation == g)
            routine_retire(r, REPLACED);
    }
    if (g->refs > 1)
        end_filtered_streams(p->worker, g);
    drop(p, g);
}

static size_t count_generations(const struct policy *p) {
    size_t count = 0;
    for (const struct list *node = p->generations.next; node != &p->generations; node = node->next)
        count++;
    return count;
}

static void start_held_tasks(struct policy *p, struct generation *g) {
    while (!list_empty(&g->held)) {
        struct routine *r = list_entry(g->held.next, struct routine, node);
        list_unlink(&r->node);
        list_append(&p->routines, &r->node);
        routine_sleep(r, r->every_s); /* spawned ones, at 0, start with the next turn */
    }
}

void policy_accept(struct policy *p) {
    struct generation *g = p->candidate;
    struct worker *w = p->worker;
    /* Messages of the generation that goes are shaped by it: whoever still waits for one gets it now. */
    while (count_generations(p) == GENERATIONS_KEPT && registry_step(&w->registry, FLUSH_SLICE))
        continue;
    end_loaded_tasks(p);
    p->candidate = NULL;
    p->current = g;
    list_append(&p->generations, &g->node);
    warn_unguarded(p, g);
    while (count_generations(p) > GENERATIONS_KEPT)
        retire(p, list_entry(p->generations.next, struct generation, node));
    start_held_tasks(p, g);
}

/* --- a fresh state ------------------------------------------------------------------------------ */

/* A policy with the same generations, those from `first` on, in a state of its own. NULL where they do not load or are too much, with `error` filled. */
static struct policy *replicate(struct policy *old, struct list *first, struct policy_error *error) {
    *error = (struct policy_error){.message = "not enough memory"};
    struct policy *p = policy_create(old->worker, old->host);
    bool ok = p != NULL;
    for (struct list *node = first; ok && node != &old->generations; node = node->next) {
        struct generation *g = list_entry(node, struct generation, node);
        ok = policy_load(p, g->snapshot, g->number, error);
        if (ok)
            policy_accept(p);
    }
    if (ok && holds_too_much(p)) {
        *error = (struct policy_error){.message = "they hold too much even then"};
        ok = false;
    }
    if (ok)
        return p;
    if (p)
        policy_destroy(p);
    return NULL;
}

struct policy *policy_renew(struct policy *p) {
    struct worker *w = p->worker;
    if (p->candidate || !p->current || worker_now(w) < p->renew_ms || !holds_too_much(p))
        return p;
    struct policy_error error;
    struct policy *fresh = replicate(p, p->generations.next, &error);
    if (!fresh)
        fresh = replicate(p, &p->current->node, &error);
    if (!fresh) {
        log_write(w->log, LOG_ERROR, "policy", "worker %u: scripts hold too much and cannot begin anew: %s%s%s",
                  w->index, error.file, error.file[0] ? ": " : "", error.message);
        p->renew_ms = worker_now(w) + RENEW_PAUSE_MS;
        return p;
    }
    char text[160];
    snprintf(text, sizeof text,
             "worker %u begins anew with its scripts: they hold %zu bytes after a full collection, limits.script_bytes "
             "is %zu",
             w->index, p->budget.bytes, w->config->script_bytes);
    lua_errors_log_text(p, "too much memory", text);
    w->policy = fresh;
    while (!list_empty(&p->routines))
        routine_retire(list_entry(p->routines.next, struct routine, node), RENEWED);
    end_filtered_streams(w, NULL);
    policy_destroy(p);
    return fresh;
}
