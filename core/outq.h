/* SPDX-License-Identifier: MIT */
/* The output queue of one connection: references to messages and private segments that the socket did not take. Empty for a client that keeps up. Counts its bytes; the
 * verdict about too many is the stream's. */
#ifndef SLUICE_OUTQ_H
#define SLUICE_OUTQ_H

#include <sys/uio.h>

#include "message.h"

struct outq_node {
    struct outq_node *next;
    struct message *message; /* the node's reference; NULL: a gap that is not written out yet */
    const char *at;          /* what is left to send of the message's bytes, or of its whole form's */
    uint32_t len;
    bool begun;              /* some of it was sent: it cannot be dropped */
    bool counted;            /* counts to the queue's limit (a replay does not, nor does what a handler sends) */
    bool own;                /* a private segment, never dropped */
};

struct outq {
    struct outq_node *head, *tail;
    struct outq_node *gap;  /* stands where messages were dropped, none of it sent; what it says is written when it is due. Or NULL */
    struct message_id sent; /* the newest id that went out, be it through the queue or past it */
    size_t bytes;           /* all that waits */
    size_t counted;         /* of those that count */
};

static inline bool outq_empty(const struct outq *q) {
    return q->head == NULL;
}

/* Bytes that count, without those of a message that is on its way already. */
static inline size_t outq_waiting(const struct outq *q) {
    return q->counted - (q->head && q->head->begun && q->head->counted ? q->head->len : 0);
}

/* Appends `bytes`, which lie inside `m` or its whole form, and takes a reference of its own. `begun`: what lies before was sent already. Returns 0 or -ENOMEM. */
int outq_push(struct outq *q, struct message *m, struct slice bytes, bool begun, bool counted);

/* Fills up to `max` entries for writev; returns how many. A gap must have been written before. */
int outq_iov(const struct outq *q, struct iovec *iov, int max);

/* Removes the first `count` bytes, which were sent. What has gone out whole is added to `sum`, of a stream in gzip; NULL for others. */
void outq_advance(struct outq *q, size_t count, struct gzip_sum *sum);

/* Adds all that waits, as if it had been sent. */
void outq_sum_waiting(const struct outq *q, struct gzip_sum *sum);

/* Drops everything. */
void outq_clear(struct outq *q);

/* Drops the oldest message that was not begun and that `may` allows to drop, and leaves a gap in its place, or widens the one that nobody was told of yet. Returns the message
 * (the caller gets its reference), or NULL where there is none. */
struct message *outq_drop_oldest(struct outq *q, bool (*may)(const struct message *m, const void *context), const void *context);

/* True where the gap's words are missing: see outq_write_gap. */
static inline bool outq_gap_unwritten(const struct outq *q) {
    return q->gap && !q->gap->message;
}

/* The id that the client has when it comes to the gap. */
struct message_id outq_before_gap(const struct outq *q);

/* The id of the first message behind the gap; false where none follows. */
bool outq_after_gap(const struct outq *q, struct message_id *id);

/* Gives the gap its words: `bytes` of a private segment, of which it takes a reference. */
void outq_write_gap(struct outq *q, struct message *m, struct slice bytes);

/* Drops the waiting messages of the same channel and event type as `m` that were not begun. Returns how many. */
size_t outq_conflate(struct outq *q, const struct message *m);

#endif
