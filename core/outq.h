/* SPDX-License-Identifier: MIT */
/* The output queue of one connection: references to messages and private segments that the socket did not take. Empty for a client that keeps up. Counts its bytes; the
 * verdict about too many is the stream's. */
#ifndef SLUICE_OUTQ_H
#define SLUICE_OUTQ_H

#include <sys/uio.h>

#include "message.h"

struct outq_node {
    struct outq_node *next;
    struct message *message; /* the node's reference */
    uint32_t at, len;        /* what is left of the message's bytes to send */
    bool begun;              /* some of it was sent: it cannot be dropped */
    bool counted;            /* counts to the queue's limit (a replay does not) */
    bool own;                /* a private segment, never dropped */
};

struct outq {
    struct outq_node *head, *tail;
    size_t bytes;   /* all that waits */
    size_t counted; /* of those that count */
};

static inline bool outq_empty(const struct outq *q) {
    return q->head == NULL;
}

/* Appends `bytes`, which lie inside `m`, and takes a reference of its own. `begun`: what lies before was sent already. Returns 0 or -ENOMEM. */
int outq_push(struct outq *q, struct message *m, struct slice bytes, bool begun, bool counted);

/* Fills up to `max` entries for writev; returns how many. */
int outq_iov(const struct outq *q, struct iovec *iov, int max);

/* Removes the first `count` bytes, which were sent. */
void outq_advance(struct outq *q, size_t count);

/* Drops everything. */
void outq_clear(struct outq *q);

/* Drops the oldest message of a channel that was not begun. Returns its id's holder for `dropped`: true where one was dropped (its id in `*id`). */
bool outq_drop_oldest(struct outq *q, struct message_id *id);

/* Drops the waiting messages of the same channel and event type as `m` that were not begun. Returns how many. */
size_t outq_conflate(struct outq *q, const struct message *m);

#endif
