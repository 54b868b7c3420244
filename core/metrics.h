/* SPDX-License-Identifier: MIT */
/* Counts, and how they are written. Each worker has its own set and is the only one to write it, so counting is a plain add; anybody may read.
 *
 * A new metric is one line in one of the lists below, and a metrics_add where it happens: JSON, Prometheus' text and OpenMetrics follow, and doc/observability.md wants its line.
 *   member   in the struct
 *   json     its name in JSON
 *   name     its name for Prometheus, without "sluice_" and without the "_total" of counters; base units: seconds, bytes
 *   help     one sentence
 * A label has few values that are known beforehand: never a channel, an address, a user. */
#ifndef SLUICE_METRICS_H
#define SLUICE_METRICS_H

#include <stdatomic.h>
#include <time.h>

#include "buf.h"

/* What only grows: X(member, json, name, help). */
#define METRICS_COUNTERS(X)                                                                                                                 \
    X(streams_opened, "totalConnections", "streams_opened", "Streams opened")                                                               \
    X(messages_sent, "messagesSent", "messages_sent", "Events written to streams, replayed ones too: deliveries")                           \
    X(reconnections, "reconnections", "reconnections", "Streams opened with a last event id")                                               \
    X(stream_errors, "streamErrors", "stream_errors", "Streams ended by an error")                                                          \
    X(script_errors, "scriptErrors", "script_errors", "Errors of scripts")                                                                  \
    X(bytes_sent, "bytesSent", "sent_bytes", "Bytes written to connections")                                                                \
    X(requests, "requests", "http_requests", "Requests received, those for streams too")                                                    \
    X(connections_accepted, "connectionsAccepted", "connections_accepted", "TCP connections accepted")                                      \
    X(connections_refused, "connectionsRefused", "connections_refused", "Streams and connections refused at the limit of connections")        \
    X(replayed, "messagesReplayed", "messages_replayed", "Events sent from history")                                                        \
    X(gaps, "gaps", "gaps", "Gap events sent")                                                                                              \
    X(gzip_forms, "gzipForms", "gzip_forms", "Messages compressed by themselves")                                                           \
    X(gzip_links, "gzipLinks", "gzip_links", "Messages compressed in chains")

/* What goes up and down: X(member, json, name, help). */
#define METRICS_GAUGES(X)                                                                           \
    X(streams_open, "activeConnections", "streams", "Streams open now")                             \
    X(streams_gzip, "gzipConnections", "gzip_streams", "Streams open now that are in gzip")         \
    X(connections_open, "openConnections", "connections", "TCP connections open now")               \
    X(queue_bytes, "queueBytes", "queue_bytes", "Bytes that wait for clients now")                  \
    X(script_bytes, "scriptBytes", "script_memory_bytes", "Memory in use by scripts")

/* What only grows, by a label: X(member, values, json, name, label, help), `values` being one of the enums below. */
#define METRICS_LABELLED(X)                                                                                                     \
    X(refusals, METRICS_STATUS, "refusals", "http_refusals", "status", "Requests answered with an error, by status")           \
    X(closes, METRICS_CLOSE, "closes", "stream_closes", "reason", "Streams ended, by reason")                                   \
    X(drops, METRICS_DROP, "drops", "messages_dropped", "reason", "Deliveries that were not made, by reason")

/* How long things took: X(member, json, name, help), in seconds. */
#define METRICS_HISTOGRAMS(X)                                                                                                        \
    X(delivery_lag, "deliveryLagSeconds", "delivery_lag_seconds",                                                                    \
      "From publishing to the write for a slice of 64 subscribers, of the oldest message that the slice was owed")                   \
    X(script_time, "scriptSeconds", "script_seconds", "Time that one call into scripts took, until it returned or waited")           \
    X(loop_lag, "loopLagSeconds", "loop_lag_seconds", "How long a worker took to come to what it was sent, asked once a second")

/* What the server as a whole knows: X(member, json, name, counter or gauge, help). Filled by server_metrics. */
#define METRICS_STATE(X)                                                                                                            \
    X(published, "messagesPublished", "messages_published", counter, "Messages published")                                          \
    X(channels, "channels", "channels", gauge, "Channels with subscribers or messages now")                                         \
    X(history_messages, "historyMessages", "history_messages", gauge, "Messages kept for replay now")                               \
    X(history_bytes, "historyBytes", "history_bytes", gauge, "Bytes kept for replay now")                                           \
    X(workers, "workers", "workers", gauge, "Workers")                                                                              \
    X(generation, "generation", "policy_generation", gauge, "Generation of the scripts in force")                                   \
    X(reload_errors, "reloadErrors", "reload_errors", counter, "Loads of scripts that were refused")                                \
    X(reload_failed, "reloadFailed", "reload_failed", gauge, "1 while the newest scripts are refused and older ones in force")      \
    X(limit_keys, "limitKeys", "limit_keys", gauge, "Keys that limits count now")                                                    \
    X(limit_keys_dropped, "limitKeysDropped", "limit_keys_dropped", counter, "Keys that limits had to forget for want of room")      \
    X(shared_keys, "sharedKeys", "shared_keys", gauge, "Keys in sluice.shared now")                                                 \
    X(shared_bytes, "sharedBytes", "shared_bytes", gauge, "Bytes in sluice.shared now")                                             \
    X(draining, "draining", "draining", gauge, "1 while the server is being stopped")

/* The same for what is told only where the log is in Redis. */
#define METRICS_CLUSTER(X)                                                                                                           \
    X(cluster_nodes, "clusterNodes", "cluster_nodes", gauge, "Nodes of the cluster, as far as this one knows")                       \
    X(cluster_streams, "clusterConnections", "cluster_streams", gauge, "Streams open on all nodes, as far as this one knows")        \
    X(redis_connected, "redisConnected", "redis_connected", gauge, "1 while Redis is connected and the log is followed")             \
    X(redis_reconnects, "redisReconnects", "redis_reconnects", counter, "Times that Redis was connected again after an outage")      \
    X(log_followed, "logMessages", "log_messages", counter, "Messages that came from the log in Redis")                              \
    X(log_malformed, "logMalformedEntries", "log_malformed_entries", counter, "Entries of the log that are no message")              \
    X(log_lost, "logGaps", "log_gaps", counter, "Times that messages were missing in the log, or that it began anew")                \
    X(publishes_unavailable, "publishesUnavailable", "publishes_unavailable", counter, "Publishes answered with 503 for want of Redis")

/* The values of labels. Names are in metrics.c. */
enum metrics_close { METRICS_CLOSE_SLOW = 4, METRICS_CLOSE_STALE = 5, METRICS_CLOSE_VALUES = 11 }; /* enum stream_end, in its order */
enum metrics_drop { DROP_OLDEST, DROP_CONFLATED, DROP_SCRIPT, METRICS_DROP_VALUES };
enum metrics_status { METRICS_STATUS_VALUES = 19 };

extern const char *const METRICS_CLOSE_NAMES[METRICS_CLOSE_VALUES];
extern const char *const METRICS_DROP_NAMES[METRICS_DROP_VALUES];
extern const char *const METRICS_STATUS_NAMES[METRICS_STATUS_VALUES];

enum { METRICS_BUCKETS = 17 }; /* the last has no upper end */

struct metrics_histogram {
    _Atomic uint64_t buckets[METRICS_BUCKETS];
    _Atomic uint64_t sum_ns;
};

struct metrics {
#define X(member, ...) _Atomic uint64_t member;
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
#define X(member, values, ...) _Atomic uint64_t member[values##_VALUES];
    METRICS_LABELLED(X)
#undef X
#define X(member, ...) struct metrics_histogram member;
    METRICS_HISTOGRAMS(X)
#undef X
};

#define metrics_add(metrics, member, by)                                                                              \
    atomic_store_explicit(&(metrics)->member,                                                                         \
                          atomic_load_explicit(&(metrics)->member, memory_order_relaxed) + (uint64_t)(by),            \
                          memory_order_relaxed)

#define metrics_get(metrics, member) atomic_load_explicit(&(metrics)->member, memory_order_relaxed)

/* Sets a gauge. */
#define metrics_set(metrics, member, value) atomic_store_explicit(&(metrics)->member, (uint64_t)(value), memory_order_relaxed)

/* Adds one time to a histogram. */
void metrics_observe(struct metrics_histogram *h, uint64_t ns);

/* The index of a status of 400 and more among METRICS_STATUS_NAMES; the last for those that have no name there. */
unsigned metrics_status(int status);

/* Adds the counts of `from` to `sum`, which nobody else uses. */
void metrics_sum(struct metrics *sum, const struct metrics *from);

/* What is not a sum of the workers' counts. */
struct metrics_state {
    struct timespec now;
#define X(member, ...) uint64_t member;
    METRICS_STATE(X)
#undef X
    bool cluster; /* what follows is told */
#define X(member, ...) uint64_t member;
    METRICS_CLUSTER(X)
#undef X
    double uptime_s;
    double process_cpu_s;
    uint64_t process_resident_bytes; /* 0: not known */
    double process_start_s;          /* Unix time */
};

/* What is told of one worker by itself. */
struct metrics_worker {
    const struct metrics *metrics;
    double cpu_s;
    double loop_lag_s; /* the last */
};

/* Appends the counts as a JSON object, the six names of the guide among them. Returns 0 or -ENOMEM. */
int metrics_json(struct buf *out, const struct metrics *sum, const struct metrics_state *state);

/* Appends the counts of worker `index` alone as a JSON object. Returns 0 or -ENOMEM. */
int metrics_worker_json(struct buf *out, const struct metrics_worker *worker, unsigned index);

enum metrics_format {
    METRICS_TEXT,       /* Prometheus' text format, version 0.0.4 */
    METRICS_OPENMETRICS /* OpenMetrics 1.0 */
};

/* Appends the counts for Prometheus, those of `count` workers by themselves too. Returns 0 or -ENOMEM. */
int metrics_prometheus(struct buf *out, enum metrics_format format, const struct metrics *sum, const struct metrics_state *state,
                       const struct metrics_worker *workers, size_t count);

/* Appends `at` as "2026-01-31T12:00:00.000Z" (ISO 8601, UTC). Returns 0 or -ENOMEM. */
int metrics_timestamp(struct buf *out, struct timespec at);

#endif
