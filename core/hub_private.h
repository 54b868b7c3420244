/* SPDX-License-Identifier: MIT */
/* Inside the hub: what its files share. All of it is called under the hub's lock.
 *
 *   hub.c         life, publishing, inboxes, subscribing
 *   hub_follow.c  a log that is kept elsewhere
 *   hub_stats.c   what is told of channels */
#ifndef SLUICE_HUB_PRIVATE_H
#define SLUICE_HUB_PRIVATE_H

#include <pthread.h>

#include "hash.h"
#include "hub.h"
#include "registry.h"

enum {
    HUB_FLOORS = 4096, /* a power of two */
    HUB_SLOTS = 512 /* of the channels' table, looked at under one lock */
};

struct hub_channel {
    struct table_node by_name;
    struct history history;
    uint64_t published;  /* since it is there */
    uint64_t window;     /* the span of some seconds that `recent` counts */
    uint32_t recent, before; /* published in that span and in the one before */
    uint32_t name_len;
    uint32_t told; /* how many subscribed streams others know of */
    struct list changed; /* in hub.changed, where others are told */
    uint32_t *counts; /* subscribed streams by worker; lies behind the struct */
    char *name;
};

struct hub_inbox {
    struct inbox mail;
    atomic_bool full; /* something is in it */
    bool closed;
};

struct hub {
    const struct config *config;
    struct hub_ops ops;
    unsigned workers;
    struct hash_seed seed;

    pthread_mutex_t lock; /* guards all below */
    struct message_id newest;
    struct message_id start; /* ids before it belong to no log that we know */
    struct history_total total;
    struct table channels;
    struct hub_channel *all;
    size_t sweep_at;
    uint64_t published;
    struct hub_inbox *inboxes;
    bool following;      /* the log is kept elsewhere */
    uint32_t epoch;
    struct list changed; /* channels whose number of streams others do not know, where following */

    /* Where the histories of channels that are gone ended, by hash: the newest of all that share a slot. So a gap may be said once too often,
     * never once too few. */
    struct message_id floors[HUB_FLOORS];
};

/* The channel of a name, whose hash is hub_hash'; NULL where there is none; hub_channel_open makes it then, and returns NULL for want of memory. */
struct hub_channel *hub_channel_find(struct hub *hub, struct slice name, uint64_t hash);
struct hub_channel *hub_channel_open(struct hub *hub, struct slice name, uint64_t hash);

/* Streams subscribed to it, over all workers. */
uint64_t hub_channel_subscribers(const struct hub *hub, const struct hub_channel *ch);

/* Frees it where nothing is kept in it and nobody knows it. */
void hub_channel_drop_unused(struct hub *hub, struct hub_channel *ch);

/* Counts a message of `at_ms`; what is read from the log long after that, as at the start, is no activity of now. */
void hub_channel_count_activity(struct hub_channel *ch, uint64_t at_ms, uint64_t now_ms);

/* Puts one thing into an inbox. Both return true where it was empty: its worker must be woken. A task is not put where there is no memory; for a message the inbox then overflows: a worker that
 * does not empty it shall not eat the memory, and its streams will read from history what was left out. */
bool hub_inbox_put(struct hub_inbox *inbox, struct inbox_item item);
bool hub_inbox_put_message(struct hub_inbox *inbox, struct message *m);

/* Something is in the inbox: returns true where it was empty. */
static inline bool hub_inbox_fill(struct hub_inbox *inbox) {
    return !atomic_exchange_explicit(&inbox->full, true, memory_order_release);
}

/* Wakes the workers that `wake` marks. The one function here that is called without the lock. */
void hub_wake(struct hub *hub, const bool *wake);

#endif
