/* SPDX-License-Identifier: MIT */
/* A publisher: one keep-alive connection, one request at a time. */
#ifndef BENCH_PUBLISHER_H
#define BENCH_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "feed.h"
#include "payload.h"
#include "target.h"

enum { PUBLISHER_ANSWER = 2048 };

struct publisher {
    int fd;
    bool waiting;      /* for an answer */

    /* private */
    char *request;     /* head and data */
    size_t room;
    size_t bytes;      /* of data */
    size_t len;        /* of what was sent last */
    char answer[PUBLISHER_ANSWER];
    size_t answer_len;
    const struct target *target;
    struct feed *feed; /* where messages come from; NULL: payload.h's */
};

/* Connects as client `index`. Returns 0 or -errno; publisher_deinit is safe after both. */
int publisher_init(struct publisher *p, const struct target *target, size_t index, size_t max_bytes);

void publisher_deinit(struct publisher *p);

/* Sends one message of `bytes`, of a feed about so many, and stamps it with now. `data`, where not NULL, is what was sent, valid until the next. Returns 0 or -errno. */
struct published {
    const char *data;
    size_t len;
};
int publisher_send(struct publisher *p, struct payload *payload, size_t bytes, struct published *data);

/* Looks for the answer without waiting. Returns 1 when it has come, 0 while not, -errno, -EPROTO for one that is not 2xx. */
int publisher_poll(struct publisher *p);

#endif
