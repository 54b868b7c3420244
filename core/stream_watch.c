/* SPDX-License-Identifier: MIT */
#include "stream_watch.h"

#include "conn.h"
#include "tap.h"

static void log_frame(const struct stream *s, struct slice channel, struct slice frame) {
    char id[17];
    u64_hex(id, s->id);
    struct log_field fields[] = {{"stream", slice_of(id), false}, {"channel", channel, false}, {"frame", frame, false}};
    if (channel.len == 0)
        fields[1] = fields[2];
    log_record(s->worker->log, LOG_INFO, "frame", "sent", fields, channel.len ? 3 : 2);
}

void stream_show(const struct stream *s, struct slice channel, struct slice frame) {
    if (atomic_load_explicit(&s->worker->log->frames, memory_order_relaxed))
        log_frame(s, channel, frame);
    if (s->conn && !list_empty(&s->worker->taps))
        tap_show(s->worker, s->id, &s->conn->peer, channel, frame);
}
