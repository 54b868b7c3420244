/* SPDX-License-Identifier: MIT */
/* One stream's client: reads the answer's head, undoes the chunks and gzip, parses the events and checks each against what must come
 * next. Nothing is allocated and nothing copied but lines that a read cuts in two. */
#ifndef BENCH_SUBSCRIBER_H
#define BENCH_SUBSCRIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "measure.h"
#include "payload.h"
#include "target.h"

enum {
    SUBSCRIBER_LINE = 80,         /* what is kept of a line: "data: " and a payload's head */
    SUBSCRIBER_WINDOW = 1 << 12,  /* messages that may be under way */
    SUBSCRIBER_SCRATCH = 1 << 18, /* one read */
    SUBSCRIBER_ID = 64
};

/* What all subscribers of a run have received, and what was wrong with it. */
struct tally {
    uint64_t received;    /* messages, each as it should be */
    uint64_t skipped;     /* sequence numbers that were jumped over */
    uint64_t late;        /* messages that came again, or after a later one */
    uint64_t damaged;     /* messages of another length or content than published */
    uint64_t gaps;        /* gap events */
    uint64_t ended;       /* streams that the server has ended */
    uint64_t refused;     /* answers other than 200 */
    uint32_t opened;      /* heads read so far */
    uint32_t undelivered; /* messages that somebody still waits for */
    uint32_t waiting[SUBSCRIBER_WINDOW]; /* how many, by message number */
    size_t bytes;         /* the size each message must have */
    bool feed;            /* messages are a feed's, each as it was sent: */
    struct {
        uint32_t len, crc;
        uint64_t sent_ns;
    } sent[SUBSCRIBER_WINDOW]; /* by number */
    uint64_t wire;        /* bytes of bodies received, as they came */
    bool marked;          /* the server puts each subscriber's own mark into messages */
    uint64_t now_ns;      /* when the last read ended */
    struct histogram latency;
    char text[SUBSCRIBER_SCRATCH]; /* what one read was before it was compressed */
    char scratch[SUBSCRIBER_SCRATCH];
};

enum subscriber_state { SUBSCRIBER_CLOSED, SUBSCRIBER_HEAD, SUBSCRIBER_OPEN };

struct subscriber {
    int fd;
    uint32_t channel;
    uint32_t next;       /* the sequence number that must come next */
    uint8_t state;       /* enum subscriber_state */
    bool chunked;
    bool keep_ids;       /* see first_id */
    bool light;          /* where the body is in gzip it is not decoded: what comes is counted */

    /* private */
    uint8_t chunk_step;
    uint8_t kept;        /* bytes in line */
    bool named;          /* the event at hand has a type of its own */
    bool gap;
    bool has_data;
    bool has_mark;
    char last;           /* last byte of the line at hand */
    char data_last;
    char mark[PAYLOAD_MARK];
    uint32_t line_len;   /* of the line at hand, kept or not */
    uint32_t data_len;
    uint64_t chunk_left;
    struct payload payload;
    bool payload_good;
    bool coded;          /* the body is in gzip */
    bool begun;          /* its first chunk is over */
    size_t chunk_size;
    uint32_t crc;        /* of the line at hand, in a feed */
    struct z_stream_s *gunzip; /* NULL: the body is not decoded */
    char line[SUBSCRIBER_LINE];
    char *id;            /* where keep_ids: SUBSCRIBER_ID bytes, the id of the event at hand */
    char *first_id;      /* where keep_ids: SUBSCRIBER_ID bytes, the id of the first message, empty before */
};

/* Connects as client `index` and sends the request. `next` is the sequence number that must come first. Returns 0 or -errno. */
int subscriber_open(struct subscriber *s, const struct target *t, size_t index, uint32_t channel, uint32_t next, const char *last_id);

/* Reads what is there. `may_have_more`: the peer has closed, so read to the end. Returns false where the stream is over. */
bool subscriber_read(struct subscriber *s, struct tally *t, bool may_have_more);

void subscriber_close(struct subscriber *s);

/* Notes that message `number` was sent to `count` subscribers. */
void tally_sent(struct tally *t, uint32_t number, uint32_t count);

/* Notes what the message of a feed is. */
void tally_sent_data(struct tally *t, uint32_t number, const char *data, size_t len, uint64_t sent_ns);

/* Whether anything was wrong. */
bool tally_failed(const struct tally *t);

#endif
