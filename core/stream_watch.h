/* SPDX-License-Identifier: MIT */
/* Showing the frames that a stream is sent: to the log (log.frames) and to taps. Where nobody watches it costs one branch. */
#ifndef SLUICE_STREAM_WATCH_H
#define SLUICE_STREAM_WATCH_H

#include "stream.h"
#include "worker.h"

/* Shows one frame, as it is without chunk framing. `channel` is empty for what belongs to none. */
void stream_show(const struct stream *s, struct slice channel, struct slice frame);

static inline void stream_watch(const struct stream *s, struct slice channel, struct slice frame) {
    if (s->worker->watched && !s->admin)
        stream_show(s, channel, frame);
}

/* The same for a message. */
static inline void stream_watch_message(const struct stream *s, const struct message *m) {
    if (s->worker->watched && !s->admin)
        stream_show(s, message_channel(m), message_wire(m, false));
}

#endif
