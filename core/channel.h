/* SPDX-License-Identifier: MIT */
/* One worker's side of a channel: its subscriptions and the messages on their way to them; and the subscriber, which is what a stream is to this layer.
 *
 * A subscriber is a position in the log. Live messages wait in the channel's `pending` list; a cursor goes round the subscriptions and every subscriber it visits is told to take
 * all that it is owed (later than its position, over all its channels, in order). Nothing is queued per subscriber: what is published while the cursor is under way is
 * taken along at the next visit, so a burst leaves in one write. A message is done when the cursor has gone once round since it came.
 *
 * Belongs to one worker. No I/O, no Lua: `subscriber_ops` reach up. */
#ifndef SLUICE_CHANNEL_H
#define SLUICE_CHANNEL_H

#include "list.h"
#include "message.h"
#include "table.h"

struct channel;
struct subscriber;
struct hub_channel;

/* Which of a channel's messages a subscription wants. Immutable and shared by the subscriptions of one `subscribe`. */
struct filter {
    unsigned refs;
    int function;         /* a reference of the policy's, or FILTER_NO_FUNCTION: the upper layer asks it */
    struct buf types;     /* the wanted event types, each followed by LF; empty: all */
    struct buf prefix;    /* what the event type must begin with; empty: anything */
    void (*drop)(struct filter *filter, void *context); /* gives the function back; may be NULL */
    void *context;
};

enum { FILTER_NO_FUNCTION = -2 };

struct filter *filter_new(void);
struct filter *filter_retain(struct filter *f);
void filter_release(struct filter *f);

/* True where event type and prefix let the message pass; the function is not asked. An event without a type is "message". */
bool filter_match(const struct filter *f, const struct message *m);

struct subscription {
    struct list node; /* in channel->ring */
    struct channel *channel;
    struct subscriber *subscriber;
    struct subscription *next; /* of the same subscriber */
    struct filter *filter;     /* or NULL */
    struct message_id since;   /* only what is later */
    bool dropped;              /* the upper layer's: a message of it was dropped from the queue, and the client was not told yet */
};

enum subscriber_state {
    SUBSCRIBER_CLOSED,   /* takes nothing */
    SUBSCRIBER_REPLAYING, /* reads history; live messages pass it by */
    SUBSCRIBER_LIVE
};

struct subscriber {
    struct list all_node;       /* in the ring of `sluice.all` */
    struct subscription *subs;
    struct message_id position; /* all its channels' messages up to here were taken */
    uint8_t state;
};

struct subscriber_ops {
    /* `s` is owed live messages: take them with channel_owed and move `position`. Must not unlink or free any
     * subscription before it returns. */
    void (*deliver)(struct subscriber *s);

    /* `s` is the next to be visited: brings what a delivery to it will touch into the cache. May be NULL. */
    void (*prefetch)(const struct subscriber *s);
};

struct pending {
    struct message *message;
    uint64_t done_at; /* value of `visits` at which every subscription has seen it */
};

struct channel {
    struct table_node by_name;
    struct list ring;    /* of subscription.node, or of subscriber.all_node */
    struct list *cursor; /* the next to visit, or the ring's head */
    struct list busy;    /* in the registry's list while messages are pending */
    size_t count;        /* subscriptions in the ring */
    size_t holds;        /* subscriptions, those of streams that have not begun too: what keeps it from being freed */
    uint64_t visits;
    struct pending *pending; /* a ring, oldest first */
    uint32_t pending_cap, pending_head, pending_count;
    bool all; /* this is `sluice.all`: the ring holds subscribers */
    uint8_t slow; /* enum slow_rule of the upper layer */
    struct hub_channel *hub;
    uint16_t name_len;
    char name[];
};

/* Makes a channel without subscriptions. NULL: no memory. */
struct channel *channel_new(struct slice name, bool all);

/* Frees a channel that has no subscriptions; drops what is pending. */
void channel_free(struct channel *ch);

/* Puts a node into the ring so that it is the last to be visited: it misses nothing and delays nobody. */
void channel_link(struct channel *ch, struct list *node);
void channel_unlink(struct channel *ch, struct list *node);

/* Takes over one reference to `m`. Returns 0, or -ENOMEM (the reference stays the caller's). */
int channel_push(struct channel *ch, struct message *m);

/* When the oldest pending message was published; 0 where none is pending. */
uint64_t channel_waiting_since(const struct channel *ch);

/* Visits up to `budget` subscriptions; returns how many. What every subscription has seen is released. */
size_t channel_step(struct channel *ch, const struct subscriber_ops *ops, size_t budget);

/* Drops all that is pending. */
void channel_drop_pending(struct channel *ch);

/* What channel_owed returns when it cannot merge for want of memory. */
#define CHANNEL_NO_MEMORY SIZE_MAX

/* One message that a subscriber is owed, and by which subscription (NULL: `sluice.all`). */
struct owed {
    struct message *message;
    struct subscription *subscription;
};

/* Fills `out` with what `s` is owed, oldest first, at most `max`; the references stay the channels' and are valid until the next channel_step. CHANNEL_NO_MEMORY where a subscriber of very many channels cannot be served. `all` is the worker's `sluice.all`, or NULL. Where
 * several subscriptions of `s` could owe the same message, which needs the same channel twice, it is not said twice: a subscriber has one subscription a channel. */
size_t channel_owed(const struct subscriber *s, const struct channel *all, struct owed *out, size_t max);

#endif
