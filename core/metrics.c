/* SPDX-License-Identifier: MIT */
#include "metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "json.h"

const char *const METRICS_CLOSE_NAMES[METRICS_CLOSE_VALUES] = {"left",    "finished", "closed",   "error", "slow",     "stale",
                                                               "expired", "drained",  "reloaded", "abuse", "no memory"};
const char *const METRICS_DROP_NAMES[METRICS_DROP_VALUES] = {"drop_oldest", "conflate", "script"};
const char *const METRICS_STATUS_NAMES[METRICS_STATUS_VALUES] = {"400", "401", "403", "404", "405", "406", "408", "409", "413",
                                                                 "414", "415", "422", "429", "431", "500", "501", "503", "505", "other"};

/* The upper ends of buckets, and how they are written: in seconds, as OpenMetrics wants them. */
static const struct {
    uint64_t ns;
    const char *text;
} BOUNDS[METRICS_BUCKETS - 1] = {
    {25000, "2.5e-05"},   {50000, "5e-05"},     {100000, "0.0001"},   {250000, "0.00025"}, {500000, "0.0005"},  {1000000, "0.001"},
    {2500000, "0.0025"},  {5000000, "0.005"},   {10000000, "0.01"},   {25000000, "0.025"}, {50000000, "0.05"},  {100000000, "0.1"},
    {250000000, "0.25"},  {500000000, "0.5"},   {1000000000, "1.0"},  {5000000000, "5.0"},
};

/* --- counting ----------------------------------------------------------------------------------- */

void metrics_observe(struct metrics_histogram *h, uint64_t ns) {
    unsigned i = 0;
    while (i < METRICS_BUCKETS - 1 && ns > BOUNDS[i].ns)
        i++;
    metrics_add(h, buckets[i], 1);
    metrics_add(h, sum_ns, ns);
}

unsigned metrics_status(int status) {
    unsigned i = 0;
    while (i < METRICS_STATUS_VALUES - 1 && atoi(METRICS_STATUS_NAMES[i]) != status)
        i++;
    return i;
}

static void sum_histogram(struct metrics_histogram *sum, const struct metrics_histogram *from) {
    for (size_t i = 0; i < METRICS_BUCKETS; i++)
        metrics_add(sum, buckets[i], metrics_get(from, buckets[i]));
    metrics_add(sum, sum_ns, metrics_get(from, sum_ns));
}

void metrics_sum(struct metrics *sum, const struct metrics *from) {
#define X(member, ...) metrics_add(sum, member, metrics_get(from, member));
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
#define X(member, values, ...)                        \
    for (size_t i = 0; i < values##_VALUES; i++)      \
        metrics_add(sum, member[i], metrics_get(from, member[i]));
    METRICS_LABELLED(X)
#undef X
#define X(member, ...) sum_histogram(&sum->member, &from->member);
    METRICS_HISTOGRAMS(X)
#undef X
}

static uint64_t total(const _Atomic uint64_t *values, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += atomic_load_explicit(&values[i], memory_order_relaxed);
    return sum;
}

int metrics_timestamp(struct buf *out, struct timespec at) {
    struct tm tm;
    char text[32];
    gmtime_r(&at.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    return buf_appendf(out, "%s.%03ldZ", text, at.tv_nsec / 1000000);
}

/* --- JSON --------------------------------------------------------------------------------------- */

static int json_name(struct buf *out, const char *name) {
    return buf_appendf(out, ",\"%s\":", name);
}

static int json_member(struct buf *out, const char *name, uint64_t value) {
    return buf_appendf(out, ",\"%s\":%" PRIu64, name, value);
}

static int json_seconds(struct buf *out, const char *name, double value) {
    int rc = json_name(out, name);
    return rc ? rc : json_append_number(out, value);
}

static int json_labelled(struct buf *out, const char *name, const _Atomic uint64_t *values, const char *const *names, size_t count) {
    int rc = buf_appendf(out, ",\"%s\":{", name);
    for (size_t i = 0; i < count; i++)
        rc = rc ? rc : buf_appendf(out, "%s\"%s\":%" PRIu64, i ? "," : "", names[i], atomic_load_explicit(&values[i], memory_order_relaxed));
    return rc ? rc : buf_append_char(out, '}');
}

/* The upper end of the bucket in which the quantile lies; of the last bucket its lower end. */
static double quantile(const uint64_t counts[METRICS_BUCKETS], uint64_t count, double q) {
    uint64_t below = 0;
    for (size_t i = 0; i < METRICS_BUCKETS - 1; i++) {
        below += counts[i];
        if ((double)below >= q * (double)count)
            return (double)BOUNDS[i].ns / 1e9;
    }
    return (double)BOUNDS[METRICS_BUCKETS - 2].ns / 1e9;
}

static int json_histogram(struct buf *out, const char *name, const struct metrics_histogram *h) {
    uint64_t counts[METRICS_BUCKETS];
    for (size_t i = 0; i < METRICS_BUCKETS; i++)
        counts[i] = metrics_get(h, buckets[i]);
    uint64_t count = total(h->buckets, METRICS_BUCKETS);
    int rc = buf_appendf(out, ",\"%s\":{\"count\":%" PRIu64, name, count);
    rc = rc ? rc : json_seconds(out, "sum", (double)metrics_get(h, sum_ns) / 1e9);
    if (count) {
        rc = rc ? rc : json_seconds(out, "p50", quantile(counts, count, 0.5));
        rc = rc ? rc : json_seconds(out, "p90", quantile(counts, count, 0.9));
        rc = rc ? rc : json_seconds(out, "p99", quantile(counts, count, 0.99));
    }
    /* How many fell into each bucket alone: quantiles of a time between two looks come by difference. */
    rc = rc ? rc : buf_append_text(out, ",\"buckets\":{");
    for (size_t i = 0; i < METRICS_BUCKETS; i++)
        rc = rc ? rc
                : buf_appendf(out, "%s\"%s\":%" PRIu64, i ? "," : "", i < METRICS_BUCKETS - 1 ? BOUNDS[i].text : "+Inf", counts[i]);
    return rc ? rc : buf_append_text(out, "}}");
}

/* All that a set has, each as a member behind others. */
static int json_set(struct buf *out, const struct metrics *m) {
    int rc = json_member(out, "errors", metrics_get(m, stream_errors) + metrics_get(m, script_errors));
#define X(member, json, name, help) rc = rc ? rc : json_member(out, json, metrics_get(m, member));
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
    /* Sums of the labelled ones, under names of their own. */
    rc = rc ? rc : json_member(out, "requestsRefused", total(m->refusals, METRICS_STATUS_VALUES));
    rc = rc ? rc : json_member(out, "slowConsumersDisconnected", metrics_get(m, closes[METRICS_CLOSE_SLOW]));
    rc = rc ? rc : json_member(out, "staleDisconnected", metrics_get(m, closes[METRICS_CLOSE_STALE]));
    rc = rc ? rc : json_member(out, "slowConsumerDrops", metrics_get(m, drops[DROP_OLDEST]) + metrics_get(m, drops[DROP_CONFLATED]));
    rc = rc ? rc : json_member(out, "messagesSkipped", metrics_get(m, drops[DROP_SCRIPT]));
#define X(member, values, json, name, label, help) rc = rc ? rc : json_labelled(out, json, m->member, values##_NAMES, values##_VALUES);
    METRICS_LABELLED(X)
#undef X
#define X(member, json, name, help) rc = rc ? rc : json_histogram(out, json, &m->member);
    METRICS_HISTOGRAMS(X)
#undef X
    return rc;
}

int metrics_json(struct buf *out, const struct metrics *sum, const struct metrics_state *state) {
    int rc = buf_append_text(out, "{\"timestamp\":\"");
    rc = rc ? rc : metrics_timestamp(out, state->now);
    rc = rc ? rc : buf_append_char(out, '"');
    rc = rc ? rc : json_set(out, sum);
#define X(member, json, name, type, help) rc = rc ? rc : json_member(out, json, state->member);
    METRICS_STATE(X)
#undef X
#define X(member, json, name, type, help) rc = rc || !state->cluster ? rc : json_member(out, json, state->member);
    METRICS_CLUSTER(X)
#undef X
    rc = rc ? rc : json_seconds(out, "uptimeSeconds", state->uptime_s);
    rc = rc ? rc : json_seconds(out, "cpuSeconds", state->process_cpu_s);
    rc = rc ? rc : json_member(out, "residentBytes", state->process_resident_bytes);
    return rc ? rc : buf_append_char(out, '}');
}

int metrics_worker_json(struct buf *out, const struct metrics_worker *worker, unsigned index) {
    int rc = buf_appendf(out, "{\"worker\":%u", index);
    rc = rc ? rc : json_set(out, worker->metrics);
    rc = rc ? rc : json_seconds(out, "cpuSeconds", worker->cpu_s);
    rc = rc ? rc : json_seconds(out, "lag", worker->loop_lag_s);
    return rc ? rc : buf_append_char(out, '}');
}

/* --- Prometheus --------------------------------------------------------------------------------- */

enum type { counter, gauge, histogram };

/* Writes one exposition. */
struct writer {
    struct buf *out;
    bool open; /* OpenMetrics */
    int rc;
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *w, const char *format, ...) {
    va_list args;
    va_start(args, format);
    w->rc = w->rc ? w->rc : buf_appendv(w->out, format, args);
    va_end(args);
}

/* Begins a family. OpenMetrics knows a counter by the name without "_total". */
static void family(struct writer *w, const char *name, enum type type, const char *help) {
    static const char *const TYPES[] = {"counter", "gauge", "histogram"};
    const char *suffix = type == counter && !w->open ? "_total" : "";
    put(w, "# HELP %s%s %s.\n# TYPE %s%s %s\n", name, suffix, help, name, suffix, TYPES[type]);
}

static void sample(struct writer *w, const char *name, enum type type, uint64_t value) {
    put(w, "%s%s %" PRIu64 "\n", name, type == counter ? "_total" : "", value);
}

static void number(struct writer *w, double value) {
    w->rc = w->rc ? w->rc : json_append_number(w->out, value);
    put(w, "\n");
}

static void single(struct writer *w, const char *name, enum type type, const char *help, uint64_t value) {
    family(w, name, type, help);
    sample(w, name, type, value);
}

static void single_number(struct writer *w, const char *name, enum type type, const char *help, double value) {
    family(w, name, type, help);
    put(w, "%s%s ", name, type == counter ? "_total" : "");
    number(w, value);
}

static void labelled(struct writer *w, const char *name, const char *label, const char *help, const _Atomic uint64_t *values,
                     const char *const *names, size_t count) {
    family(w, name, counter, help);
    for (size_t i = 0; i < count; i++)
        put(w, "%s_total{%s=\"%s\"} %" PRIu64 "\n", name, label, names[i], atomic_load_explicit(&values[i], memory_order_relaxed));
}

static void buckets(struct writer *w, const char *name, const char *help, const struct metrics_histogram *h) {
    uint64_t below = 0;
    family(w, name, histogram, help);
    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        below += metrics_get(h, buckets[i]);
        put(w, "%s_bucket{le=\"%s\"} %" PRIu64 "\n", name, i < METRICS_BUCKETS - 1 ? BOUNDS[i].text : "+Inf", below);
    }
    put(w, "%s_count %" PRIu64 "\n%s_sum ", name, below, name);
    number(w, (double)metrics_get(h, sum_ns) / 1e9);
}

/* What is told of each worker by itself: X(member, name, type, help). */
#define BY_WORKER(X)                                                                              \
    X(streams_open, "sluice_worker_streams", gauge, "Streams open on a worker")                   \
    X(connections_open, "sluice_worker_connections", gauge, "TCP connections open on a worker")   \
    X(messages_sent, "sluice_worker_messages_sent", counter, "Events written to a worker's streams") \
    X(requests, "sluice_worker_http_requests", counter, "Requests received by a worker")          \
    X(queue_bytes, "sluice_worker_queue_bytes", gauge, "Bytes that wait for clients of a worker")

static void worker_sample(struct writer *w, const char *name, enum type type, size_t index) {
    put(w, "%s%s{worker=\"%zu\"} ", name, type == counter ? "_total" : "", index);
}

static void by_worker(struct writer *w, const struct metrics_worker *workers, size_t count) {
#define X(member, name, type, help)                                       \
    family(w, name, type, help);                                          \
    for (size_t i = 0; i < count; i++) {                                  \
        worker_sample(w, name, type, i);                                  \
        put(w, "%" PRIu64 "\n", metrics_get(workers[i].metrics, member)); \
    }
    BY_WORKER(X)
#undef X
    static const char CPU[] = "sluice_worker_cpu_seconds", LAG[] = "sluice_worker_loop_lag_seconds";
    family(w, CPU, counter, "CPU time of a worker's thread");
    for (size_t i = 0; i < count; i++) {
        worker_sample(w, CPU, counter, i);
        number(w, workers[i].cpu_s);
    }
    family(w, LAG, gauge, "How long a worker took to come to what it was sent, when it was asked last");
    for (size_t i = 0; i < count; i++) {
        worker_sample(w, LAG, gauge, i);
        number(w, workers[i].loop_lag_s);
    }
}

/* What every Prometheus client tells of its process. */
static void process(struct writer *w, const struct metrics_state *state) {
    single_number(w, "process_cpu_seconds", counter, "CPU time of the process", state->process_cpu_s);
    single_number(w, "process_start_time_seconds", gauge, "When the server started, Unix time", state->process_start_s);
    if (state->process_resident_bytes)
        single(w, "process_resident_memory_bytes", gauge, "Memory of the process", state->process_resident_bytes);
}

int metrics_prometheus(struct buf *out, enum metrics_format format, const struct metrics *sum, const struct metrics_state *state,
                       const struct metrics_worker *workers, size_t count) {
    struct writer w = {.out = out, .open = format == METRICS_OPENMETRICS};
#define X(member, json, name, help) single(&w, "sluice_" name, counter, help, metrics_get(sum, member));
    METRICS_COUNTERS(X)
#undef X
#define X(member, json, name, help) single(&w, "sluice_" name, gauge, help, metrics_get(sum, member));
    METRICS_GAUGES(X)
#undef X
#define X(member, values, json, name, label, help) labelled(&w, "sluice_" name, label, help, sum->member, values##_NAMES, values##_VALUES);
    METRICS_LABELLED(X)
#undef X
#define X(member, json, name, help) buckets(&w, "sluice_" name, help, &sum->member);
    METRICS_HISTOGRAMS(X)
#undef X
#define X(member, json, name, type, help) single(&w, "sluice_" name, type, help, state->member);
    METRICS_STATE(X)
    if (state->cluster) {
        METRICS_CLUSTER(X)
    }
#undef X
    by_worker(&w, workers, count);
    process(&w, state);
    if (w.open)
        put(&w, "# EOF\n");
    return w.rc;
}
