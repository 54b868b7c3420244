/* SPDX-License-Identifier: MIT */
/* The data of a benchmark message: what a receiver needs to tell whether it got each message once, in order and whole, and
 * how long it took.
 *
 *   0         11        21      28                  48       56
 *   GGGGGGGGGG SSSSSSSSS CCCCCC TTTTTTTTTTTTTTTTTTT --------xxxx...x~
 *
 * G counts all messages, S those of the channel C, T is the publisher's CLOCK_MONOTONIC in nanoseconds. The eight dashes are
 * the mark, which the on_message case replaces per subscriber. */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PAYLOAD_MARK_AT = 48,
    PAYLOAD_MARK = 8,
    PAYLOAD_HEAD = PAYLOAD_MARK_AT + PAYLOAD_MARK, /* what must be seen to read one */
    PAYLOAD_MIN = PAYLOAD_HEAD + 2
};

struct payload {
    uint32_t number;  /* G */
    uint32_t seq;     /* S */
    uint32_t channel; /* C */
    uint64_t sent_ns; /* T */
};

/* Fills `out` with `size` (at least PAYLOAD_MIN) bytes. */
void payload_fill(char *out, size_t size);

/* Writes the numbers into data that payload_fill has made. */
void payload_stamp(char *out, const struct payload *p);

/* Reads the first PAYLOAD_HEAD bytes. Returns false where they have another form. */
bool payload_read(const char *data, struct payload *p);

#endif
