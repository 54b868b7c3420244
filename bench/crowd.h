/* SPDX-License-Identifier: MIT */
/* Many subscribers and one publisher in one epoll loop. */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "publisher.h"
#include "subscriber.h"
#include "target.h"

struct crowd {
    const struct target *target;
    uint32_t channels;        /* subscriber i is on channel i % channels */
    struct tally *tally;

    /* private */
    struct subscriber *subscribers;
    size_t count;
    int epoll_fd;
    struct publisher publisher;
    size_t decode;            /* of streams in gzip each so-manieth is decoded; 0: all */
    uint32_t *seq;            /* the next sequence number of each channel */
    uint32_t number;          /* of the next message */
    int *stuck;               /* clients that never read */
    size_t stuck_count;
    uint64_t progress;        /* what tally counted when something last came */
    uint64_t progress_ns;
    char id[SUBSCRIBER_ID];
    char first_id[SUBSCRIBER_ID];
};

/* How a stream of messages is sent. */
struct pace {
    uint32_t window;     /* send while fewer messages than this are undelivered */
    double per_second;   /* not faster than this; 0: as fast as the window allows */
    double seconds;      /* for so long, */
    uint32_t at_least;   /* and at least so many */
    size_t bytes;        /* size of each message's data */
};

/* All functions that return int: 0 or -errno, after a line on standard error that says what failed. */

int crowd_init(struct crowd *c, const struct target *target, uint32_t channels, size_t max_bytes);

void crowd_deinit(struct crowd *c);

/* Opens `count` streams and waits until all have their answer's head. With `last_id` they expect what follows the channel's
 * first message; otherwise what is published from now on. */
int crowd_open(struct crowd *c, size_t count, const char *last_id);

void crowd_close(struct crowd *c);

/* Opens `count` streams on channel 0 that are never read from. */
int crowd_open_stuck(struct crowd *c, size_t count);

/* Publishes on channels chosen at random and waits until all is delivered. `messages`: how many it were. -ETIMEDOUT where nothing
 * comes any more although something should. */
int crowd_publish(struct crowd *c, const struct pace *pace, uint32_t *messages);

/* Waits until `count` messages in all were received. */
int crowd_wait_received(struct crowd *c, uint64_t count);

/* Reads what comes for so long. */
int crowd_idle(struct crowd *c, unsigned ms);

#endif
