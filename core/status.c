/* SPDX-License-Identifier: MIT */
#include "status.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "redis_log.h"
#include "server.h"

/* What the system says of the process. */
static void fill_process(const struct server *s, struct metrics_state *state) {
    struct timespec cpu;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        state->process_cpu_s = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9;
    state->process_start_s = s->started_s;
    char text[128]; /* proc(5), /proc/pid/statm: pages of all memory, resident ones */
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *resident = strchr(text, ' ');
    if (resident)
        state->process_resident_bytes = strtoull(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void fill_cluster(const struct server *s, struct metrics_state *state) {
    struct redis_log_stats stats;
    char why[REDIS_ERROR_BYTES];
    if (!s->redis)
        return;
    redis_log_stats(s->redis, &stats);
    state->cluster = true;
    state->cluster_nodes = stats.nodes;
    state->cluster_streams = stats.streams;
    state->redis_connected = redis_log_state(s->redis, why);
    state->redis_reconnects = stats.reconnects;
    state->log_followed = stats.followed;
    state->log_malformed = stats.malformed;
    state->log_lost = stats.lost;
    state->publishes_unavailable = stats.refused;
}

/* Sums the workers' counts. */
static void collect(struct server *s, struct metrics *sum, struct metrics_state *state) {
    struct hub_stats stats;
    memset(sum, 0, sizeof *sum);
    for (unsigned i = 0; i < s->started; i++)
        metrics_sum(sum, &s->workers[i]->metrics);
    metrics_sum(sum, &s->metrics);
    hub_stats(s->hub, &stats);
    *state = (struct metrics_state){
        .published = stats.published,
        .channels = stats.channels,
        .history_messages = stats.history_messages,
        .history_bytes = stats.history_bytes,
        .workers = s->config->workers,
        .uptime_s = (double)((uv_hrtime() - s->started_ns) / 1000000) / 1000,
    };
    size_t keys, bytes;
    ratelimit_counts(s->limits, &keys, &state->limit_keys_dropped);
    state->limit_keys = keys;
    shared_dict_counts(s->shared, &keys, &bytes);
    state->shared_keys = keys;
    state->shared_bytes = bytes;
    clock_gettime(CLOCK_REALTIME, &state->now);
    fill_process(s, state);
    fill_cluster(s, state);
    pthread_mutex_lock(&s->lock);
    state->generation = s->generation;
    state->reload_errors = s->reload_errors;
    state->reload_failed = s->reload_failed;
    state->draining = s->state != SERVER_RUNNING;
    pthread_mutex_unlock(&s->lock);
}

static struct metrics_worker worker_metrics(const struct worker *w) {
    return (struct metrics_worker){&w->metrics, worker_cpu(w), (double)worker_loop_lag(w) / 1e9};
}

int server_metrics_json(struct server *s, struct buf *out) {
    struct metrics sum;
    struct metrics_state state;
    collect(s, &sum, &state);
    return metrics_json(out, &sum, &state);
}

int server_worker_metrics_json(struct server *s, struct buf *out) {
    int rc = buf_append_char(out, '[');
    for (unsigned i = 0; i < s->started; i++) {
        struct metrics_worker worker = worker_metrics(s->workers[i]);
        rc = rc || i == 0 ? rc : buf_append_char(out, ',');
        rc = rc ? rc : metrics_worker_json(out, &worker, i);
    }
    return rc ? rc : buf_append_char(out, ']');
}

static int write_prometheus(struct server *s, enum metrics_format format, struct buf *out) {
    struct metrics sum;
    struct metrics_state state;
    struct metrics_worker workers[s->started];
    collect(s, &sum, &state);
    for (unsigned i = 0; i < s->started; i++)
        workers[i] = worker_metrics(s->workers[i]);
    return metrics_prometheus(out, format, &sum, &state, workers, s->started);
}

int server_metrics_text(struct worker *w, int format, struct slice *out) {
    struct scrape *scrape = &w->scrape;
    if (scrape->text.len == 0 || scrape->turn != w->turns || scrape->format != format) {
        buf_clear(&scrape->text);
        int rc = format == SERVER_METRICS_JSON ? server_metrics_json(w->server, &scrape->text)
                                               : write_prometheus(w->server, (enum metrics_format)format, &scrape->text);
        if (rc) {
            buf_clear(&scrape->text);
            return rc;
        }
        scrape->turn = w->turns;
        scrape->format = format;
    }
    *out = buf_slice(&scrape->text);
    return 0;
}

static int append_reload_error(struct server *s, bool details, struct buf *out) {
    const struct policy_error *why = &s->reload_error;
    if (!s->reload_failed)
        return buf_append_text(out, "null");
    int rc = buf_append_text(out, "{\"file\":");
    rc = rc ? rc : json_append_string(out, slice_of(details ? why->file : ""));
    rc = rc ? rc : buf_appendf(out, ",\"line\":%d,\"message\":", details ? why->line : 0);
    rc = rc ? rc : json_append_string(out, slice_of(details ? why->message : "the details need an admin token"));
    rc = rc ? rc : buf_append_text(out, ",\"at\":\"");
    rc = rc ? rc : metrics_timestamp(out, s->reload_error_at);
    return rc ? rc : buf_append_text(out, "\"}");
}

/* The workers that a script keeps busy, as a member that is only there when there are any. */
static int append_stuck(struct server *s, struct buf *out) {
    bool first = true;
    int rc = 0;
    for (unsigned i = 0; i < s->started; i++) {
        uint64_t ms = worker_busy_ms(s->workers[i]);
        if (!ms)
            continue;
        rc = rc ? rc : buf_appendf(out, "%s{\"worker\":%u,\"seconds\":%.1f,\"where\":\"%s\"}", first ? ",\"stuck\":[" : ",", i, (double)ms / 1000,
                                   atomic_load_explicit(&s->workers[i]->busy_in, memory_order_relaxed));
        first = false;
    }
    return rc || first ? rc : buf_append_char(out, ']');
}

bool server_any_stuck(const struct server *s) {
    for (unsigned i = 0; i < s->started; i++) {
        if (worker_busy_ms(s->workers[i]))
            return true;
    }
    return false;
}

/* null, "connected" or what is wrong. */
static int append_redis(const struct server *s, bool connected, bool details, const char *state, struct buf *out) {
    if (!s->redis)
        return buf_append_text(out, "null");
    return json_append_string(out, slice_of(connected || details ? state : "not connected; the details need an admin token"));
}

int server_health(struct server *s, bool details, struct buf *out) {
    char redis[REDIS_ERROR_BYTES];
    pthread_mutex_lock(&s->lock);
    bool draining = s->state != SERVER_RUNNING || atomic_load(&s->draining);
    bool connected = !s->redis || redis_log_state(s->redis, redis);
    const char *status = draining ? "draining" : s->reload_failed || server_any_stuck(s) || !connected ? "degraded" : "ok";
    int rc = buf_appendf(out, "{\"status\":\"%s\",\"generation\":%" PRIu64 ",\"loaded\":\"", status, s->generation);
    rc = rc ? rc : metrics_timestamp(out, s->loaded);
    rc = rc ? rc : buf_append_text(out, "\",\"reload_error\":");
    rc = rc ? rc : append_reload_error(s, details, out);
    rc = rc ? rc : buf_append_text(out, ",\"redis\":");
    rc = rc ? rc : append_redis(s, connected, details, redis, out);
    rc = rc ? rc : append_stuck(s, out);
    rc = rc ? rc : buf_append_char(out, '}');
    pthread_mutex_unlock(&s->lock);
    return rc ? rc : (draining ? 503 : 200);
}

static int append_record(struct buf *out, const struct reload_record *r) {
    int rc = buf_appendf(out, "{\"ok\":%s,\"why\":\"%s\",\"generation\":%" PRIu64 ",\"seconds\":", r->ok ? "true" : "false", r->why, r->generation);
    rc = rc ? rc : json_append_number(out, r->seconds);
    rc = rc ? rc : buf_append_text(out, ",\"at\":\"");
    rc = rc ? rc : metrics_timestamp(out, r->at);
    rc = rc ? rc : buf_append_char(out, '"');
    if (!r->ok) {
        rc = rc ? rc : buf_append_text(out, ",\"error\":{\"file\":");
        rc = rc ? rc : json_append_string(out, slice_of(r->error.file));
        rc = rc ? rc : buf_appendf(out, ",\"line\":%d,\"message\":", r->error.line);
        rc = rc ? rc : json_append_string(out, slice_of(r->error.message));
        rc = rc ? rc : buf_append_char(out, '}');
    }
    return rc ? rc : buf_append_char(out, '}');
}

int server_reloads(struct server *s, struct buf *out) {
    int rc = buf_append_char(out, '[');
    pthread_mutex_lock(&s->lock);
    uint64_t kept = s->reload_count < SERVER_RELOADS ? s->reload_count : SERVER_RELOADS;
    for (uint64_t i = 0; i < kept; i++) {
        rc = rc || i == 0 ? rc : buf_append_char(out, ',');
        rc = rc ? rc : append_record(out, &s->reloads[(s->reload_count - 1 - i) % SERVER_RELOADS]);
    }
    pthread_mutex_unlock(&s->lock);
    return rc ? rc : buf_append_char(out, ']');
}
