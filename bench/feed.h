/* SPDX-License-Identifier: MIT */
/* A market-data feed: quotes of 50 symbols, whose prices and sizes go their random ways, as JSON. What compression is measured on: real data repeats its form, not its figures.
 *
 *     {"n":17,"seq":17,"ch":0,"time":1795346719842,"quotes":[{"symbol":"QXF","bid":101.25,"bidSize":300,"ask":101.27,"askSize":1200},...]}
 *
 * `n` counts all messages, `seq` those of channel `ch`. The same seed gives the same feed, save for the time. */
#ifndef BENCH_FEED_H
#define BENCH_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "payload.h"

enum { FEED_SYMBOLS = 50, FEED_SYMBOL = 5, FEED_SLACK = 256 };

struct feed {
    uint64_t random;
    struct {
        char name[FEED_SYMBOL];
        double bid; /* in cents */
        unsigned bid_size, ask_size;
    } symbols[FEED_SYMBOLS];
};

void feed_init(struct feed *f, uint64_t seed);

/* Writes one message of about `size` bytes, one quote at least, to `out`, which holds `size` + FEED_SLACK. `time_ms` is Unix time. Returns its length. */
size_t feed_write(struct feed *f, const struct payload *p, uint64_t time_ms, size_t size, char *out);

/* Reads number, seq and channel from the first `len` bytes of a message. Returns false where they have another form. */
bool feed_read(const char *data, size_t len, struct payload *p);

#endif
