/* SPDX-License-Identifier: MIT */
/* Counters. Each worker has its own set and is the only one to write it, so counting is a plain add; anybody may read. */
#ifndef SLUICE_METRICS_H
#define SLUICE_METRICS_H

#include <stdatomic.h>
#include <time.h>

#include "buf.h"

/* X(member, JSON name): what only grows, then what goes up and down. */
#define METRICS_COUNTERS(X)                          \
    X(streams_opened, "totalConnections")            \
    X(messages_sent, "messagesSent")                 \
    X(reconnections, "reconnections")                \
    X(stream_errors, "streamErrors")                 \
    X(script_errors, "scriptErrors")                 \
    X(published, "messagesPublished")                \
    X(bytes_sent, "bytesSent")                       \
    X(requests, "requests")                          \
    X(refused, "requestsRefused")                    \
    X(connections_accepted, "connectionsAccepted")   \
    X(connections_refused, "connectionsRefused")     \
    X(replayed, "messagesReplayed")                  \
    X(gaps, "gaps")                                  \
    X(slow_disconnected, "slowConsumersDisconnected") \
    X(slow_dropped, "slowConsumerDrops")             \
    X(stale_disconnected, "staleDisconnected")       \
    X(messages_skipped, "messagesSkipped")            \
    X(gzip_forms, "gzipForms")                       \
    X(gzip_links, "gzipLinks")

#define METRICS_GAUGES(X)                  \
    X(streams_open, "activeConnections")   \
    X(streams_gzip, "gzipConnections")     \
    X(connections_open, "openConnections") \
    X(queue_bytes, "queueBytes")

struct metrics {
#define X(member, name) _Atomic uint64_t member;
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
};

#define metrics_add(metrics, member, by)                                                                              \
    atomic_store_explicit(&(metrics)->member,                                                                         \
                          atomic_load_explicit(&(metrics)->member, memory_order_relaxed) + (uint64_t)(by),            \
                          memory_order_relaxed)

#define metrics_get(metrics, member) atomic_load_explicit(&(metrics)->member, memory_order_relaxed)

/* Adds the counts of `from` to `sum`, which nobody else uses. */
void metrics_sum(struct metrics *sum, const struct metrics *from);

/* What is not a sum of the workers' counts. */
struct metrics_state {
    struct timespec now;
    uint64_t channels, history_messages, history_bytes, history_total;
    unsigned workers;
    uint64_t generation;
    uint64_t reload_errors;
    double uptime_s;
};

/* Appends the counts as a JSON object, the six names of the guide among them. Returns 0 or -ENOMEM. */
int metrics_json(struct buf *out, const struct metrics *sum, const struct metrics_state *state);

/* Appends the counts of worker `index` alone as a JSON object. Returns 0 or -ENOMEM. */
int metrics_worker_json(struct buf *out, const struct metrics *m, unsigned index);

/* Appends the counts in Prometheus' text format, version 0.0.4. Returns 0 or -ENOMEM. */
int metrics_prometheus(struct buf *out, const struct metrics *sum, const struct metrics_state *state);

/* Appends `at` as "2026-01-31T12:00:00.000Z" (ISO 8601, UTC). Returns 0 or -ENOMEM. */
int metrics_timestamp(struct buf *out, struct timespec at);

#endif
