/* SPDX-License-Identifier: MIT */
/* Taps: copies of the frames of chosen streams, from all workers to the one that asked, for looking at while others go on. A tap holds a bounded number of bytes; what comes on top is counted
 * and dropped, so it never slows a stream. */
#ifndef SLUICE_TAP_H
#define SLUICE_TAP_H

#include "address.h"
#include "hub.h"
#include "list.h"
#include "message.h"

struct tap;
struct worker;

enum { TAP_BYTES = 1 << 20 };

/* Which streams' frames: all that is given must match. By channel only messages of that channel match. */
struct tap_rule {
    bool by_stream, by_address, by_channel;
    uint64_t stream;
    struct address address;
    char channel[MESSAGE_CHANNEL_BYTES + 1];
};

/* A frame as it lies in what tap_take gives, followed by the channel's name and the frame. */
struct tap_frame {
    uint64_t stream;
    uint64_t at_ms; /* Unix time */
    unsigned worker;
    uint32_t channel_len; /* 0: of no channel */
    uint32_t len;
};

/* Opens a tap, from the thread of `from`; `ready(context)` is called there when something has come since the last tap_take. Returns it with a reference for the caller. NULL: no memory. */
struct tap *tap_open(struct worker *from, const struct tap_rule *rule, void (*ready)(void *context), void *context);

/* Nothing more is copied, `ready` is not called any more, and the caller's reference goes. On the thread that opened it. */
void tap_close(struct tap *tap);

/* Swaps what has come with `out`, which must be empty. Returns the number of frames that were dropped since the last call. */
uint64_t tap_take(struct tap *tap, struct buf *out);

/* --- for workers --------------------------------------------------------------------------------- */

/* Shows a frame to the worker's taps. */
void tap_show(struct worker *w, uint64_t stream, const struct address *address, struct slice channel, struct slice frame);

/* Frames are to be shown where there is a tap, or log.frames is on: looks at both anew. */
void tap_watch(struct worker *w);

/* The worker ends: lets go of its taps. */
void tap_leave(struct worker *w);

#endif
