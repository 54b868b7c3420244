/* SPDX-License-Identifier: MIT */
/* A stream in gzip (RFC 1952): what it is sent instead of plain text, and in which form. What it has beyond other streams is small: a running sum, and its place in a chain (chain.h). */
#ifndef SLUICE_STREAM_GZIP_H
#define SLUICE_STREAM_GZIP_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

enum { STREAM_GZIP_COMMENT = 4 /* on a silent stream every fourth heartbeat is a real comment */ };

struct exchange;
struct message;
struct segment;
struct stream;

/* Says in the answer's Vary that it depends on Accept-Encoding, where compression is on, and makes the stream one in gzip where the client prefers that. Before the head is written. Returns
 * 0 or -ENOMEM. */
int stream_gzip_negotiate(struct stream *s, struct exchange *x);

/* Of a stream in gzip: */

/* Frees what it has for gzip. Harmless for others. */
void stream_gzip_end(struct stream *s);

/* Its subscriptions have changed: from now on it belongs to another chain. Harmless for others. */
void stream_gzip_rekey(struct stream *s);

/* Makes a private segment of text of its own, framed for the connection; `head` goes before it as it is. NULL: no memory. */
struct message *stream_gzip_own(struct stream *s, struct slice head, struct slice text);

/* Sends such text. On failure the connection is closed. */
void stream_gzip_send(struct stream *s, struct slice head, struct slice text);

/* Fills bytes of segments whose messages are set. `live`: they are what was published, just now, and may be chained. Returns false without memory. */
bool stream_gzip_code(struct stream *s, struct segment *segments, size_t count, bool live);

/* A chained segment that was not sent at once has to wait, where it may be dropped: it becomes self-contained. Returns false without memory. */
bool stream_gzip_unchain(struct stream *s, struct segment *segment);

/* Sends a heartbeat that leaves the chain whole; returns false where a real comment is due instead. */
bool stream_gzip_beat(struct stream *s);

/* Segments have gone out whole, past the queue. */
void stream_gzip_count(struct stream *s, const struct segment *segments, size_t count);

/* Where what goes out is added up; NULL for a stream that is not in gzip. */
struct gzip_sum *stream_gzip_sum(const struct stream *s);

/* Sends the trailer, after all that waits. */
void stream_gzip_finish(struct stream *s);

/* The length of a message's self-contained form as it would be queued; 0 without memory. */
size_t stream_gzip_length(struct stream *s, struct message *m);

#endif
