/* SPDX-License-Identifier: MIT */
/* What an operator asks of a worker's open streams: a list of them, and that one be closed. The functions are questions of inquiry.h. */
#ifndef SLUICE_STREAM_LIST_H
#define SLUICE_STREAM_LIST_H

#include "address.h"
#include "inquiry.h"
#include "message.h"

enum { STREAM_LIST_MAX = 1000, STREAM_LIST_CHANNELS = 20, STREAM_LIST_USER = 256 };

enum stream_sort { STREAM_BY_ID, STREAM_BY_AGE, STREAM_BY_QUEUE, STREAM_BY_EVENTS, STREAM_BY_BYTES };

/* Which streams, and in which order: by id the least first, after `after`; by anything else the largest first. */
struct stream_query {
    enum stream_sort sort;
    uint64_t after;
    size_t limit; /* at most STREAM_LIST_MAX */
    bool by_user, by_address, by_channel;
    struct address address;
    char user[STREAM_LIST_USER + 1];
    char channel[MESSAGE_CHANNEL_BYTES + 1];
};

/* One of the answer's rows, followed by `len` bytes of JSON. */
struct stream_row {
    uint64_t key; /* rows are ordered by it, the largest first; where it is equal by id */
    uint64_t id;
    size_t len;
};

/* Appends the first `limit` rows of the worker's streams to `out`, in order; `count` is the number of all that match. `question` is a struct stream_query. */
void stream_list(struct worker *w, const void *question, struct inquiry_answer *answer);

/* Closes the stream whose id `question` points to; `count` is 1 where it was one of the worker's. */
void stream_list_close(struct worker *w, const void *question, struct inquiry_answer *answer);

/* Compares rows by their order, for qsort: as a and b stand in stream_row. */
int stream_row_compare(const struct stream_row *a, const struct stream_row *b);

#endif
