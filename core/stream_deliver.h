/* SPDX-License-Identifier: MIT */
/* Messages on their way to one stream, live or from history: filters and hooks, what the wire form is, the slow rule, as few writes as can be. stream_subscriber_ops, which is how the
 * fan-out reaches a stream, is here. */
#ifndef SLUICE_STREAM_DELIVER_H
#define SLUICE_STREAM_DELIVER_H

#include "stream.h"

enum { DELIVER_BATCH = 64 };

/* One message on its way to one stream. */
struct delivery {
    struct message *message;
    struct subscription *subscription; /* NULL: by `sluice.all` */
    bool replayed;
    bool edited; /* for this stream alone */
};

/* Delivers 1 to DELIVER_BATCH messages, all replayed or none, in their order. Takes no references. Returns false where the stream was closed. */
bool stream_deliver(struct stream *s, const struct delivery *deliveries, size_t n);

/* Writes what was picked for the stream and waits for the rest of its batch: a hook is closing it. May close it. */
void stream_deliver_picked(struct stream *s);

#endif
