/* SPDX-License-Identifier: MIT */
/* The newest messages of one channel, bounded by count, bytes and age, and the total over all channels, bounded by bytes. Belongs to
 * the hub and is guarded by its lock. Time is a parameter. */
#ifndef SLUICE_HISTORY_H
#define SLUICE_HISTORY_H

#include "message.h"

struct history_limits {
    size_t messages; /* 0 keeps none */
    size_t bytes;
    uint64_t age_ms;
};

/* What all histories hold together, oldest first. */
struct history_total {
    struct list fifo; /* of message.log_node */
    size_t bytes;
    size_t max_bytes;
    size_t messages;
};

struct history {
    struct history_total *total;
    struct history_limits limits;
    struct message **ring;
    size_t cap; /* a power of two, or 0 */
    size_t head;
    size_t count;
    size_t bytes;
    struct message_id dropped; /* the newest id that was in here, or should have been, and is not any more; 0-0: none */
};

void history_total_init(struct history_total *total, size_t max_bytes);

/* `dropped` is where an earlier history of the same channel ended. */
void history_init(struct history *h, struct history_total *total, const struct history_limits *limits,
                  struct message_id dropped);

/* Releases what is kept. */
void history_deinit(struct history *h);

/* Appends `m`, newer than all before, and takes a reference of its own. May drop the oldest messages, here and in other histories of the same total,
 * to stay within limits. Where there is no memory the message counts as dropped at once: a returning stream is told the gap. */
void history_append(struct history *h, struct message *m, uint64_t now_ms);

/* Drops everything; what was up to `dropped` is known to have been lost. */
void history_clear(struct history *h, struct message_id dropped);

/* Drops what is older than the age limit. */
void history_expire(struct history *h, uint64_t now_ms);

/* The index of the first message after `id`; h->count where there is none. */
size_t history_after(const struct history *h, struct message_id id);

/* Message `i`, 0 is the oldest; the history's reference. */
static inline struct message *history_at(const struct history *h, size_t i) {
    return h->ring[(h->head + i) & (h->cap - 1)];
}

#endif
