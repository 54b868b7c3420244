/* SPDX-License-Identifier: MIT */
#include "metrics.h"

#include <inttypes.h>

#include "json.h"

void metrics_sum(struct metrics *sum, const struct metrics *from) {
#define X(member, name) metrics_add(sum, member, metrics_get(from, member));
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
}

int metrics_timestamp(struct buf *out, struct timespec at) {
    struct tm tm;
    char text[32];
    gmtime_r(&at.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    return buf_appendf(out, "%s.%03ldZ", text, at.tv_nsec / 1000000);
}

static uint64_t errors_of(const struct metrics *m) {
    return metrics_get(m, stream_errors) + metrics_get(m, script_errors);
}

static int json_member(struct buf *out, const char *name, uint64_t value) {
    return buf_appendf(out, ",\"%s\":%" PRIu64, name, value);
}

int metrics_json(struct buf *out, const struct metrics *sum, const struct metrics_state *state) {
    int rc = buf_append_text(out, "{\"timestamp\":\"");
    rc = rc ? rc : metrics_timestamp(out, state->now);
    rc = rc ? rc : buf_append_text(out, "\"");
    rc = rc ? rc : json_member(out, "errors", errors_of(sum));
#define X(member, name) rc = rc ? rc : json_member(out, name, metrics_get(sum, member));
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
    rc = rc ? rc : json_member(out, "channels", state->channels);
    rc = rc ? rc : json_member(out, "historyMessages", state->history_messages);
    rc = rc ? rc : json_member(out, "historyBytes", state->history_bytes);
    rc = rc ? rc : json_member(out, "workers", state->workers);
    rc = rc ? rc : json_member(out, "generation", state->generation);
    rc = rc ? rc : json_member(out, "reloadErrors", state->reload_errors);
    rc = rc ? rc : buf_append_text(out, ",\"uptimeSeconds\":");
    rc = rc ? rc : json_append_number(out, state->uptime_s);
    rc = rc ? rc : buf_append_char(out, '}');
    return rc;
}

int metrics_worker_json(struct buf *out, const struct metrics *m, unsigned index) {
    int rc = buf_appendf(out, "{\"worker\":%u", index);
#define X(member, name) rc = rc ? rc : json_member(out, name, metrics_get(m, member));
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
    return rc ? rc : buf_append_char(out, '}');
}

static int sample(struct buf *out, const char *name, const char *suffix, const char *kind, uint64_t value) {
    return buf_appendf(out, "# HELP sluice_%s%s %s.\n# TYPE sluice_%s%s %s\nsluice_%s%s %" PRIu64 "\n", name, suffix,
                       "See doc/http.md, metrics", name, suffix, kind, name, suffix, value);
}

int metrics_prometheus(struct buf *out, const struct metrics *sum, const struct metrics_state *state) {
    int rc = 0;
#define X(member, name) rc = rc ? rc : sample(out, #member, "_total", "counter", metrics_get(sum, member));
    METRICS_COUNTERS(X)
#undef X
#define X(member, name) rc = rc ? rc : sample(out, #member, "", "gauge", metrics_get(sum, member));
    METRICS_GAUGES(X)
#undef X
    rc = rc ? rc : sample(out, "channels", "", "gauge", state->channels);
    rc = rc ? rc : sample(out, "history_messages", "", "gauge", state->history_messages);
    rc = rc ? rc : sample(out, "history_bytes", "", "gauge", state->history_bytes);
    rc = rc ? rc : sample(out, "policy_generation", "", "gauge", state->generation);
    rc = rc ? rc : sample(out, "reload_errors", "_total", "counter", state->reload_errors);
    return rc;
}
