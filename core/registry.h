/* SPDX-License-Identifier: MIT */
/* One worker's channels by name and the round in which they are served. Links and unlinks; decides nothing. */
#ifndef SLUICE_REGISTRY_H
#define SLUICE_REGISTRY_H

#include "channel.h"

struct registry {
    struct table channels;
    struct channel *all; /* `sluice.all`: every open stream is in its ring */
    struct list busy;    /* channels with messages pending */
    const struct subscriber_ops *ops;
};

#define REGISTRY_ALL "sluice.all"

/* Returns 0 or -ENOMEM. `ops` outlives the registry. */
int registry_init(struct registry *r, const struct subscriber_ops *ops);

/* Frees the channels. No subscriber is linked any more. */
void registry_deinit(struct registry *r);

/* The channel, or NULL. */
struct channel *registry_find(const struct registry *r, uint64_t hash, struct slice name);

/* The channel, made where there is none. NULL: no memory. */
struct channel *registry_open(struct registry *r, uint64_t hash, struct slice name);

/* Frees a channel that has no subscription and that nobody holds; harmless otherwise. */
void registry_close_unused(struct registry *r, struct channel *ch);

/* Hands a message of the log to the channel that it belongs to; takes over one reference. A message to a channel nobody here is subscribed to is released. Returns 0, or -ENOMEM (the reference stays the caller's). */
int registry_push(struct registry *r, struct message *m);

/* When the oldest message of what is served next was published (message.published_ns); 0 where nothing is pending. */
uint64_t registry_waiting_since(const struct registry *r);

/* Serves up to `budget` subscriptions, a slice per channel in turn. Returns true while something is left. */
bool registry_step(struct registry *r, size_t budget);

#endif
