/* SPDX-License-Identifier: MIT */
/* The log kept in a Redis stream, which any number of nodes follow. Appending asks Redis, whose answer is the message's id; messages reach the hub, and so histories and streams, only by following, so every node has them
 * in the same order. Two connections: one follows, one asks. Lives on the control thread's loop; what says so is safe from any thread. doc/cluster.md tells what users see, doc/cluster.md#the-stream the form of entries.
 *
 *   redis_link.c    a connection that is kept up
 *   redis_tls.c     TLS on it
 *   redis_log.c     life, start, what is told of it
 *   redis_follow.c  reading the stream, catching up, gaps
 *   redis_append.c  publishing, and whether an id is known
 *   redis_counts.c  streams over all nodes
 *   redis_limits.c  limits over all nodes
 *   redis_entry.c   an entry of the stream as a message */
#ifndef SLUICE_REDIS_LOG_H
#define SLUICE_REDIS_LOG_H

#include <uv.h>

#include "config.h"
#include "hub.h"
#include "log.h"

struct ratelimit_share;
struct redis_log;

enum { REDIS_KEY_BYTES = 255, REDIS_ERROR_BYTES = 512 };

struct redis_log_options {
    const struct config *config;
    struct hub *hub;
    struct log *log;
    uv_loop_t *loop;
    unsigned workers;
    struct ratelimit_share *share; /* limits that are shared with the other nodes; NULL: none are */
};

/* Makes what follows the log at config->redis_url. NULL with `error` filled where that cannot be: no memory, no TLS in this hiredis, or files of it that cannot be used. */
struct redis_log *redis_log_new(const struct redis_log_options *options, char error[REDIS_ERROR_BYTES]);

/* Connects and fills the hub from the log: runs the loop until that is done, or `*stop` is true, or Redis cannot be reached for 10 s. Before any other thread runs the loop. Returns false with `error` filled. */
bool redis_log_start(struct redis_log *l, const volatile bool *stop, char error[REDIS_ERROR_BYTES]);

/* Tells the other nodes that this one leaves, and calls `left` when they know or it takes too long. On the loop's thread. */
void redis_log_leave(struct redis_log *l, void (*left)(void *context), void *context);

/* Ends the connections and cancels the questions that are left. When the workers and the loop's thread have ended; the loop is to be run until it is dry, then redis_log_free frees the rest. NULL is fine in both. */
void redis_log_close(struct redis_log *l);
void redis_log_free(struct redis_log *l);

/* --- asking (any thread) --------------------------------------------------------------------------- */

enum redis_outcome {
    REDIS_APPENDED, /* it is in the log: `id`, `subscribers` */
    REDIS_REFUSED,  /* it is not: `why` */
    REDIS_UNKNOWN,  /* it was sent, but Redis' answer was lost: `why` */
    REDIS_OTHER     /* another message was published with the same idempotency key before */
};

/* A question from a worker, which owns it again when `task` runs in its inbox, or is cancelled. */
struct redis_question {
    struct task task; /* run and cancel are the asker's */
    struct redis_question *next;
    unsigned worker;
    bool is_id; /* only: is `id` one of the log's? The outcome is REDIS_APPENDED, REDIS_REFUSED (no such id), or REDIS_UNKNOWN */
    struct message_id id;

    /* the message, in one run of bytes */
    struct buf bytes; /* channel, event, data, key */
    size_t channel_len, event_len, data_len, key_len; /* no key: 0 */
    uint64_t fingerprint; /* of what the client has sent with the key */
    uint32_t generation;

    /* the answer */
    enum redis_outcome outcome;
    uint64_t subscribers;
    uint64_t told; /* of them on this node, when Redis was asked */
    char why[REDIS_ERROR_BYTES];
};

/* Asks. The answer comes by the worker's inbox; never from within. */
void redis_log_ask(struct redis_log *l, struct redis_question *q);

/* --- what is told of it (any thread) ---------------------------------------------------------------- */

/* Copies "connected" or what is wrong. Returns true where it is connected and the log is followed. */
bool redis_log_state(struct redis_log *l, char out[REDIS_ERROR_BYTES]);

struct redis_log_stats {
    uint64_t nodes, streams;  /* over the cluster, as far as is known */
    uint64_t followed;        /* messages that came from the log */
    uint64_t malformed;       /* entries that were passed over */
    uint64_t reconnects;
    uint64_t refused;         /* publishes answered with 503 */
    uint64_t lost;            /* times that the log had lost messages, or had begun anew */
};

void redis_log_stats(struct redis_log *l, struct redis_log_stats *out);

#endif
