/* SPDX-License-Identifier: MIT */
#include "redis_log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "redis_private.h"

enum {
    START_MS = 10000, /* Redis is waited for at the start */
    LEAVE_MS = 500,   /* and at the end */
    REFUSED_MS = 10000
};

/* --- what is wrong --------------------------------------------------------------------------------- */

static void say_up(struct redis_log *l) {
    if (!l->running) {
        log_write(l->log, LOG_INFO, "redis", "connected to %s:%u%s; the log is %s, this node %s", l->url.host.data, l->url.port, l->tls ? " over TLS" : "", l->config->redis_key.data, l->node);
        return;
    }
    log_write(l->log, LOG_INFO, "redis", "connected again; %" PRIu64 " messages were read that had come meanwhile", l->follow.caught_up);
    pthread_mutex_lock(&l->lock);
    l->stats.reconnects++;
    pthread_mutex_unlock(&l->lock);
}

static void say_down(struct redis_log *l, const char *why) {
    if (l->running)
        log_write(l->log, LOG_ERROR, "redis", "%s:%u: %s. Streams stay open; publishing is answered with 503 until Redis is back", l->url.host.data, l->url.port, why);
    else
        log_write(l->log, LOG_WARN, "redis", "waiting for Redis at %s:%u, %d s at most: %s", l->url.host.data, l->url.port, START_MS / 1000, why);
}

void redis_log_trouble(struct redis_log *l, bool follow, const char *why) {
    char *mine = follow ? l->trouble_follow : l->trouble_command;
    char was[2];
    pthread_mutex_lock(&l->lock);
    was[0] = l->trouble_command[0];
    was[1] = l->trouble_follow[0];
    snprintf(mine, REDIS_WHY_BYTES, "%s", why ? why : "");
    bool up = !l->trouble_command[0] && !l->trouble_follow[0];
    pthread_mutex_unlock(&l->lock);
    bool was_up = !was[0] && !was[1];
    if (up && !was_up)
        say_up(l);
    else if (why && (was_up || (!l->running && !l->told_waiting)))
        say_down(l, why);
    l->told_waiting = l->told_waiting || why;
}

void redis_log_refused(struct redis_log *l, struct redis_refusals *r, const char *what, const char *why) {
    uint64_t now = uv_now(l->loop);
    if (r->told_ms && now - r->told_ms < REFUSED_MS) {
        r->untold++;
        return;
    }
    if (r->untold)
        log_write(l->log, LOG_WARN, "redis", "%s: %s (and %" PRIu64 " times since the last record)", what, why, r->untold);
    else
        log_write(l->log, LOG_WARN, "redis", "%s: %s", what, why);
    *r = (struct redis_refusals){.told_ms = now};
}

bool redis_log_state(struct redis_log *l, char out[REDIS_ERROR_BYTES]) {
    pthread_mutex_lock(&l->lock);
    bool up = !l->trouble_command[0] && !l->trouble_follow[0];
    snprintf(out, REDIS_ERROR_BYTES, "%s", up ? "connected" : l->trouble_command[0] ? l->trouble_command : l->trouble_follow);
    pthread_mutex_unlock(&l->lock);
    return up;
}

void redis_log_stats(struct redis_log *l, struct redis_log_stats *out) {
    pthread_mutex_lock(&l->lock);
    *out = l->stats;
    pthread_mutex_unlock(&l->lock);
}

/* True for what will not pass by waiting: a certificate that is refused, or an error of Redis for a wrong password, a key of another type. Its errors begin with a word in capitals, those of the network do not. */
static bool is_final(const char *why) {
    static const char *const PASSING[] = {"LOADING", "BUSY", "MASTERDOWN", "READONLY", "MISCONF", "OOM", "TRYAGAIN", "CLUSTERDOWN", "ERR max number of clients"};
    if (strncmp(why, REDIS_TLS_REFUSED, strlen(REDIS_TLS_REFUSED)) == 0)
        return true;
    size_t capitals = strspn(why, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    for (size_t i = 0; i < sizeof PASSING / sizeof *PASSING; i++) {
        if (strncmp(why, PASSING[i], strlen(PASSING[i])) == 0)
            return false;
    }
    return capitals >= 3 && why[capitals] == ' ';
}

/* --- the loop -------------------------------------------------------------------------------------- */

static void on_asked(uv_async_t *async) {
    redis_append_take(async->data);
}

static void on_tick(uv_timer_t *timer) {
    struct redis_log *l = timer->data;
    redis_link_check(l->command);
    redis_link_check(l->follow.link);
    redis_append_release(l, false);
    redis_counts_tick(l, uv_now(l->loop));
    redis_limits_tick(l);
}

struct redis_link *redis_log_link(struct redis_log *l, struct redis_link_ops ops, uint64_t answer_ms) {
    struct redis_link_options options = {.loop = l->loop, .url = &l->url, .tls = l->tls, .name = l->name, .answer_ms = answer_ms, .ops = ops};
    return redis_link_new(&options);
}

/* --- life ------------------------------------------------------------------------------------------ */

static int read_url(struct redis_log *l, char error[REDIS_ERROR_BYTES]) {
    const struct config *c = l->config;
    int rc = redis_url_parse(buf_slice(&c->redis_url), &l->url);
    if (rc == -EINVAL)
        snprintf(error, REDIS_ERROR_BYTES, "redis.url: expected redis://[user:password@]host[:port][/database]");
    if (rc)
        return rc;
    if (l->url.user.len == 0)
        rc = buf_append_slice(&l->url.user, buf_slice(&c->redis_user));
    if (l->url.password.len == 0)
        rc = rc ? rc : buf_append_slice(&l->url.password, buf_slice(&c->redis_password));
    return rc;
}

/* Makes what rediss:// needs. */
static bool make_tls(struct redis_log *l, char error[REDIS_ERROR_BYTES]) {
    const struct config *c = l->config;
    struct redis_tls_options options = {.host = l->url.host.data, .ca_file = c->redis_ca_file.data, .cert_file = c->redis_cert_file.data};
    if (l->url.tls)
        l->tls = redis_tls_new(&options, error);
    return l->tls || !l->url.tls;
}

static int make_keys(struct redis_log *l) {
    const char *key = l->config->redis_key.data;
    struct hash_seed seed;
    int rc = hash_seed_init(&seed);
    snprintf(l->node, sizeof l->node, "%016" PRIx64, seed.k0);
    snprintf(l->name, sizeof l->name, "sluice:%s", l->node);
    rc = rc ? rc : buf_appendf(&l->counts_key, "%s:streams", key);
    rc = rc ? rc : buf_appendf(&l->nodes_key, "%s:nodes", key);
    rc = rc ? rc : buf_appendf(&l->own_key, "%s:node:", key);
    rc = rc ? rc : buf_appendf(&l->alive_prefix, "%s:alive:", key);
    return rc ? rc : buf_appendf(&l->limit_prefix, "%s:limit:", key);
}

struct redis_log *redis_log_new(const struct redis_log_options *options, char error[REDIS_ERROR_BYTES]) {
    struct redis_log *l = calloc(1, sizeof *l);
    snprintf(error, REDIS_ERROR_BYTES, "not enough memory");
    if (!l)
        return NULL;
    l->config = options->config;
    l->hub = options->hub;
    l->log = options->log;
    l->loop = options->loop;
    l->workers = options->workers;
    l->share = options->share;
    l->last = &l->first;
    list_init(&l->held);
    pthread_mutex_init(&l->lock, NULL);
    if (read_url(l, error) != 0 || !make_tls(l, error) || make_keys(l) != 0 || uv_async_init(l->loop, &l->asked, on_asked) != 0) {
        l->closed = true;
        redis_log_free(l);
        return NULL;
    }
    uv_timer_init(l->loop, &l->tick);
    uv_timer_init(l->loop, &l->leave);
    l->asked.data = l->tick.data = l->leave.data = l;
    snprintf(l->trouble_command, sizeof l->trouble_command, "not connected yet");
    snprintf(l->trouble_follow, sizeof l->trouble_follow, "not connected yet");
    return l;
}

bool redis_log_start(struct redis_log *l, const volatile bool *stop, char error[REDIS_ERROR_BYTES]) {
    uv_update_time(l->loop);
    uv_timer_start(&l->tick, on_tick, REDIS_TICK_MS, REDIS_TICK_MS);
    l->follow.progress_ms = uv_now(l->loop);
    snprintf(error, REDIS_ERROR_BYTES, "not enough memory");
    if (!redis_append_open(l) || !redis_follow_open(l))
        return false;
    while (!(redis_link_ready(l->command) && redis_follow_caught_up(l)) && !*stop) {
        char why[REDIS_ERROR_BYTES];
        uv_run(l->loop, UV_RUN_ONCE);
        if (!redis_log_state(l, why) && is_final(why)) {
            snprintf(error, REDIS_ERROR_BYTES, "redis.url: cannot use Redis at %s:%u: %.300s", l->url.host.data, l->url.port, why);
            return false;
        }
        if (uv_now(l->loop) - l->follow.progress_ms > START_MS) {
            snprintf(error, REDIS_ERROR_BYTES, "redis.url: no Redis at %s:%u after %d s: %.300s", l->url.host.data, l->url.port, START_MS / 1000, why);
            return false;
        }
    }
    if (*stop)
        snprintf(error, REDIS_ERROR_BYTES, "told to end while it waited for Redis");
    l->running = true;
    return !*stop;
}

/* --- leaving --------------------------------------------------------------------------------------- */

static void left(struct redis_log *l) {
    void (*tell)(void *) = l->left;
    l->left = NULL;
    if (tell)
        tell(l->left_context);
}

static void on_leave_late(uv_timer_t *timer) {
    left(timer->data);
}

static void on_left(redisAsyncContext *context, void *answer, void *data) {
    (void)context, (void)answer;
    left(data);
}

void redis_log_leave(struct redis_log *l, void (*tell)(void *context), void *context) {
    l->left = tell;
    l->left_context = context;
    uv_timer_stop(&l->tick);
    if (!redis_counts_leave(l, on_left))
        left(l);
    else
        uv_timer_start(&l->leave, on_leave_late, LEAVE_MS, 0);
}

void redis_log_close(struct redis_log *l) {
    if (!l || l->closed)
        return;
    l->closed = true;
    l->left = NULL;
    redis_link_close(l->command);
    redis_link_close(l->follow.link);
    redis_append_release(l, true);
    redis_append_cancel(l);
    uv_close((uv_handle_t *)&l->asked, NULL);
    uv_close((uv_handle_t *)&l->tick, NULL);
    uv_close((uv_handle_t *)&l->leave, NULL);
}

void redis_log_free(struct redis_log *l) {
    if (!l)
        return;
    redis_tls_free(l->tls);
    redis_url_deinit(&l->url);
    buf_deinit(&l->counts_key);
    buf_deinit(&l->nodes_key);
    buf_deinit(&l->own_key);
    buf_deinit(&l->alive_prefix);
    buf_deinit(&l->limit_prefix);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
