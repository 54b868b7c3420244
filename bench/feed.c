/* SPDX-License-Identifier: MIT */
#include "feed.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* splitmix64 */
static uint64_t next(struct feed *f) {
    uint64_t z = f->random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static unsigned below(struct feed *f, unsigned n) {
    return (unsigned)((next(f) >> 32) % n);
}

/* From -1 to 1, mostly near 0. */
static double swing(struct feed *f) {
    return ((double)below(f, 1000) + below(f, 1000) + below(f, 1000)) / 1500.0 - 1;
}

void feed_init(struct feed *f, uint64_t seed) {
    *f = (struct feed){.random = seed};
    for (int i = 0; i < FEED_SYMBOLS; i++) {
        unsigned letters = 3 + (below(f, 3) > 0);
        for (unsigned k = 0; k < letters; k++)
            f->symbols[i].name[k] = (char)('A' + below(f, 26));
        f->symbols[i].bid = 2000 + below(f, 48000);
        f->symbols[i].bid_size = 100 * (1 + below(f, 50));
        f->symbols[i].ask_size = 100 * (1 + below(f, 50));
    }
}

static unsigned step_size(struct feed *f, unsigned size) {
    int steps = (int)(size / 100) + (int)below(f, 11) - 5;
    return steps < 1 ? 100 : 100 * (unsigned)steps;
}

static size_t write_quote(struct feed *f, char *out, size_t room) {
    unsigned i = below(f, FEED_SYMBOLS);
    double bid = f->symbols[i].bid + swing(f) * sqrt(f->symbols[i].bid) * 0.5;
    f->symbols[i].bid = bid < 100 ? 100 : bid;
    f->symbols[i].bid_size = step_size(f, f->symbols[i].bid_size);
    f->symbols[i].ask_size = step_size(f, f->symbols[i].ask_size);
    double ask = f->symbols[i].bid + 1 + below(f, 3);
    return (size_t)snprintf(out, room, "{\"symbol\":\"%s\",\"bid\":%.2f,\"bidSize\":%u,\"ask\":%.2f,\"askSize\":%u}", f->symbols[i].name,
                            f->symbols[i].bid / 100, f->symbols[i].bid_size, ask / 100, f->symbols[i].ask_size);
}

size_t feed_write(struct feed *f, const struct payload *p, uint64_t time_ms, size_t size, char *out) {
    char quote[FEED_SLACK];
    size_t len = (size_t)sprintf(out, "{\"n\":%" PRIu32 ",\"seq\":%" PRIu32 ",\"ch\":%" PRIu32 ",\"time\":%" PRIu64 ",\"quotes\":[", p->number,
                                 p->seq, p->channel, time_ms);
    for (bool first = true;; first = false) {
        size_t n = write_quote(f, quote, sizeof quote);
        if (!first && len + n + 3 > size)
            break;
        if (!first)
            out[len++] = ',';
        memcpy(out + len, quote, n);
        len += n;
    }
    memcpy(out + len, "]}", 2);
    return len + 2;
}

/* Takes `text`, then digits. */
static bool take_number(const char **at, const char *end, const char *text, uint32_t *value) {
    size_t len = strlen(text);
    uint64_t sum = 0;
    if ((size_t)(end - *at) <= len || memcmp(*at, text, len) != 0)
        return false;
    const char *digits = *at + len, *c = digits;
    for (; c < end && *c >= '0' && *c <= '9' && sum <= UINT32_MAX; c++)
        sum = sum * 10 + (unsigned)(*c - '0');
    *at = c;
    *value = (uint32_t)sum;
    return c > digits && sum <= UINT32_MAX;
}

bool feed_read(const char *data, size_t len, struct payload *p) {
    const char *end = data + len;
    *p = (struct payload){0};
    return take_number(&data, end, "{\"n\":", &p->number) && take_number(&data, end, ",\"seq\":", &p->seq) && take_number(&data, end, ",\"ch\":", &p->channel);
}
