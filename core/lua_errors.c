/* SPDX-License-Identifier: MIT */
#include "lua_errors.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "hash.h"
#include "lua_policy.h"
#include "snapshot.h"

enum {
    TOLD_IN_A_WHILE = 5,
    WHILE_MS = 10000,
    LEVELS = 200, /* of the stack, in the search for a script's line */
    TEXT_BYTES = 1024
};

const char ERROR_YIELDED[] =
    "coroutine.yield was called outside of a coroutine of the script's own; a handler waits with sluice.sleep";

/* --- what happened, and where ------------------------------------------------------------------- */

/* The error value on top of `co` as text, which stays there. */
static const char *value_text(lua_State *co) {
    if (lua_gettop(co) == 0)
        return "it failed";
    if (lua_type(co, -1) == LUA_TSTRING)
        return lua_tostring(co, -1);
    if (lua_islightuserdata(co, -1) && lua_touserdata(co, -1) == ERROR_YIELDED)
        return ERROR_YIELDED;
    if (policy_is_rejection(co, -1))
        return "sluice.reject was called where there is no request to refuse";
    return lua_isnil(co, -1) ? "nil was raised as an error" : "an error value that is not a string was raised";
}

static bool in_generation(const struct generation *g, const char *name) {
    return g->snapshot && snapshot_find(g->snapshot, name);
}

/* True for the files of scripts; the library's own are loaded from elsewhere. */
static bool is_script(const struct policy *p, const char *name) {
    if (p->candidate && in_generation(p->candidate, name))
        return true;
    for (const struct list *node = p->generations.next; node != &p->generations; node = node->next) {
        if (in_generation(list_entry(node, struct generation, node), name))
            return true;
    }
    return false;
}

/* The innermost line of a script on the stack of `co` as "file:line"; empty where there is none. */
static void find_place(const struct policy *p, lua_State *co, char place[ERROR_PLACE_BYTES]) {
    lua_Debug ar;
    place[0] = '\0';
    for (int level = 0; level < LEVELS && lua_getstack(co, level, &ar); level++) {
        if (lua_getinfo(co, "Sl", &ar) && ar.currentline > 0 && ar.source[0] == '@' && is_script(p, ar.source + 1)) {
            snprintf(place, ERROR_PLACE_BYTES, "%s:%d", ar.source + 1, ar.currentline);
            return;
        }
    }
}

/* The length of "file.lua:line:" at the beginning of `text`, 0 where it does not begin so. */
static size_t place_length(const char *text) {
    const char *colon = strchr(text, ':');
    if (!colon || colon - text <= 4 || memcmp(colon - 4, ".lua", 4) != 0)
        return 0;
    char *end;
    long line = strtol(colon + 1, &end, 10);
    return line > 0 && *end == ':' ? (size_t)(end - text) : 0;
}

/* What the log and /health say: the place, where it is known, and the message. `place` gets the former. */
static void describe(struct policy *p, lua_State *co, char text[TEXT_BYTES], char place[ERROR_PLACE_BYTES]) {
    const char *value = value_text(co);
    size_t length = place_length(value);
    if (p->budget.over) {
        snprintf(place, ERROR_PLACE_BYTES, "%s", p->budget.place);
        value = "the script has used up its time (limits.script_ms)";
        length = 0;
    } else if (length) {
        snprintf(place, ERROR_PLACE_BYTES, "%.*s", (int)length, value);
    } else {
        find_place(p, co, place);
    }
    if (length || !place[0])
        snprintf(text, TEXT_BYTES, "%s", value);
    else
        snprintf(text, TEXT_BYTES, "%s: %s", place, value);
}

/* What is wrong with the load that `text` tells, in parts. */
static void split(const char *text, struct policy_error *error) {
    size_t length = place_length(text);
    const char *colon = strchr(text, ':');
    *error = (struct policy_error){0};
    if (length) {
        error->line = atoi(colon + 1);
    } else if (colon && colon - text > 4 && memcmp(colon - 4, ".lua", 4) == 0) {
        length = (size_t)(colon - text);
    }
    if (length) {
        snprintf(error->file, sizeof error->file, "%.*s", (int)(colon - text), text);
        text += length + 1;
        while (*text == ' ')
            text++;
    }
    snprintf(error->message, sizeof error->message, "%s", text);
}

void lua_errors_fill(struct policy *p, lua_State *co, struct policy_error *error) {
    char text[TEXT_BYTES], place[ERROR_PLACE_BYTES];
    describe(p, co, text, place);
    split(text, error);
}

/* --- the log ------------------------------------------------------------------------------------ */

static void tell_hidden(struct policy *p, struct error_site *site) {
    if (site->hidden)
        log_write(p->worker->log, LOG_ERROR, "policy", "%s: %" PRIu32 " more like it within %d s", site->place,
                  site->hidden, WHILE_MS / 1000);
    *site = (struct error_site){0};
}

static void on_timer(struct wheel_timer *timer, uint64_t now_ms) {
    struct policy *p = list_entry(timer, struct policy, errors.timer);
    bool more = false;
    for (size_t i = 0; i < ERROR_SITES; i++) {
        struct error_site *site = &p->errors.sites[i];
        if (site->told && now_ms >= site->since_ms + WHILE_MS)
            tell_hidden(p, site);
        more = more || site->told;
    }
    if (more)
        wheel_set(&p->worker->wheel, timer, now_ms + WHILE_MS);
}

/* True where an error at `place` is to be told now; else it is counted. */
static bool is_told(struct policy *p, const char *place) {
    struct hash_seed seed = {0, 0};
    uint64_t key = hash_keyed(&seed, slice_of(place)), now = worker_now(p->worker);
    struct error_site *site = &p->errors.sites[key % ERROR_SITES];
    if (site->told && (site->key != key || now >= site->since_ms + WHILE_MS))
        tell_hidden(p, site);
    if (!site->told) {
        *site = (struct error_site){.key = key, .since_ms = now};
        snprintf(site->place, sizeof site->place, "%s", place);
        if (!wheel_armed(&p->errors.timer))
            wheel_set(&p->worker->wheel, &p->errors.timer, now + WHILE_MS);
    }
    if (site->told == TOLD_IN_A_WHILE) {
        site->hidden++;
        return false;
    }
    site->told++;
    return true;
}

static int make_traceback(lua_State *L) {
    luaL_traceback(L, lua_touserdata(L, 1), lua_touserdata(L, 2), 0);
    return 1;
}

void lua_errors_log(struct policy *p, lua_State *co, const char *what) {
    lua_State *L = p->L;
    char text[TEXT_BYTES], place[ERROR_PLACE_BYTES];
    describe(p, co, text, place);
    metrics_add(&p->worker->metrics, script_errors, 1);
    if (!is_told(p, place[0] ? place : text))
        return;
    int top = lua_gettop(L);
    lua_pushcfunction(L, make_traceback);
    lua_pushlightuserdata(L, co);
    lua_pushlightuserdata(L, text);
    const char *full = lua_pcall(L, 2, 1, 0) == LUA_OK ? lua_tostring(L, -1) : text;
    log_write(p->worker->log, LOG_ERROR, "policy", "%s: %s", what, full);
    lua_settop(L, top);
}

void lua_errors_log_text(struct policy *p, const char *what, const char *text) {
    metrics_add(&p->worker->metrics, script_errors, 1);
    if (is_told(p, text))
        log_write(p->worker->log, LOG_ERROR, "policy", "%s: %s", what, text);
}

void lua_errors_init(struct error_log *log) {
    *log = (struct error_log){0};
    wheel_timer_init(&log->timer, on_timer);
}

void lua_errors_deinit(struct error_log *log) {
    wheel_cancel(&log->timer);
}
