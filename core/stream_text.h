/* SPDX-License-Identifier: MIT */
/* The words of a stream that are its own: the response's head, the opening block, the gap event, chunk framing. All append and return 0 or -ENOMEM. */
#ifndef SLUICE_STREAM_TEXT_H
#define SLUICE_STREAM_TEXT_H

#include "hub.h"

struct exchange;
struct stream;

/* The head, with the fields that hooks have set. */
int stream_text_head(const struct stream *s, const struct exchange *x, struct buf *out);

/* The first block, which gives the client a `retry` of its own and the id that it goes on from. */
int stream_text_opening(const struct stream *s, struct buf *out, struct message_id at);

/* The event that says that something is missing. `requested`: the id after which (ptr NULL: null); of the sources those count whose `gap` is set. */
int stream_text_gap(struct buf *out, struct slice requested, const struct hub_gap *gap, const struct hub_source *sources, size_t count);

/* Puts chunk framing around what was appended since `from`, where that is anything. */
int stream_text_chunk(struct buf *out, size_t from);

#endif
