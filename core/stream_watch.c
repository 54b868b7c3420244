/* SPDX-License-Identifier: MIT */
#include "stream_watch.h"

#include <inttypes.h>

#include "conn.h"
#include "tap.h"

/* The log writes control characters as escapes: a frame is one record. */
static void log_frame(const struct stream *s, struct slice channel, struct slice frame) {
    bool none = channel.len == 0;
    log_write(s->worker->log, LOG_INFO, "frame", "stream %016" PRIx64 "%s%.*s: %.*s", s->id, none ? "" : ", channel ", (int)channel.len,
              none ? "" : channel.ptr, (int)frame.len, frame.ptr);
}

void stream_show(const struct stream *s, struct slice channel, struct slice frame) {
    if (s->worker->config->log_frames)
        log_frame(s, channel, frame);
    if (s->conn && !list_empty(&s->worker->taps))
        tap_show(s->worker, s->id, &s->conn->peer, channel, frame);
}
