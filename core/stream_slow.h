/* SPDX-License-Identifier: MIT */
/* What is done when a client does not take what comes: each channel's rule (limits.queue_bytes, `channels` in the settings), and the words about what was dropped
 * (stream_write_gap in stream.h). */
#ifndef SLUICE_STREAM_SLOW_H
#define SLUICE_STREAM_SLOW_H

#include <stdbool.h>
#include <stddef.h>

struct message;
struct stream;

/* Makes room for `m` in a queue that is not empty, by the channel's rule. Returns false where the stream was closed instead. */
bool stream_make_room(struct stream *s, struct message *m);

#endif
