/* SPDX-License-Identifier: MIT */
/* One client connection: reads requests, writes what is to be sent, closes. It carries ordinary requests one after another, or one stream. Belongs to its worker's
 * thread. The single way to close is conn_close; memory goes when the worker reaps, never inside a callback. */
#ifndef SLUICE_CONN_H
#define SLUICE_CONN_H

#include "address.h"
#include "outq.h"
#include "poller.h"
#include "wheel.h"

struct worker;
struct exchange;
struct stream;

enum conn_state {
    CONN_OPEN,   /* reads and answers requests */
    CONN_STREAM, /* carries a stream */
    CONN_LINGER, /* everything is sent; reads on a moment so that the client can read the answer */
    CONN_DEAD    /* waits to be reaped */
};

enum conn_timing {
    TIMING_IDLE, /* the next request */
    TIMING_HEAD,
    TIMING_BODY
};

struct conn {
    /* what a delivery touches, close together: see conn_prefetch */
    struct io io;
    struct worker *worker;
    struct outq out;
    uint8_t state;

    uint8_t timing; /* what the deadline is for, enum conn_timing */
    bool saw_eof : 1; /* the client has ended its sending side */
    bool no_more_requests : 1;
    bool extra : 1;     /* over limits.connections: no stream for it */
    uint32_t discarded; /* bytes a stream's client sent after its request */
    struct list node;   /* the worker's open or dead connections */
    struct list ready;  /* in the worker's list of those with something to do, or alone */
    struct wheel_timer timer;
    uint64_t deadline_ms; /* what the timer is for; it may fire earlier and look again. 0: none */
    size_t unsent;        /* what was in the queue when the deadline was set */
    struct exchange *exchange; /* the request that is read or handled */
    struct stream *stream;
    struct buf backlog; /* bytes that came behind the request being handled */
    struct address peer; /* who has connected; once it carries a stream the client, be it behind proxies */
};

/* Brings what a send needs into the cache. */
static inline void conn_prefetch(const struct conn *c) {
    __builtin_prefetch(&c->io);
    __builtin_prefetch(&c->out.sent, 1);
}

/* Takes over `fd`. Returns 0, or a negative error (the descriptor is closed). */
int conn_open(struct worker *worker, int fd, const struct address *peer, bool extra);

/* Closes at once; what was not sent is lost. Idempotent. */
void conn_close(struct conn *c);

/* The same for a client that does not read: what the system holds for it goes too, or that would wait for it long after the connection has ceased to count. */
void conn_reset(struct conn *c);

/* Frees what conn_close has marked. Only the worker calls it, outside all callbacks. */
void conn_free(struct conn *c);

/* Sends bytes, or queues what the socket does not take. Copies them. On failure the connection is closed. */
void conn_send(struct conn *c, struct slice head, struct slice body);

struct segment {
    struct message *message;
    struct slice bytes;    /* of the message, or of `coded` */
    struct message *coded; /* of a gzip stream: the private segment that goes out in its place */
    bool chained;          /* which cannot wait: see stream_gzip_unchain */
};

/* Sends segments that hold `count` messages' bytes; what the socket does not take is queued by reference. `counted` as in outq_push. Returns false where the connection was closed. */
bool conn_send_segments(struct conn *c, struct segment *segments, size_t count, bool counted);

/* Nothing more will be written: closes when the queue is empty, gracefully. */
void conn_finish(struct conn *c);

/* The exchange is answered and over: makes ready for the next request. */
void conn_next(struct conn *c);

/* Turns the connection into a stream's: no more requests are read. */
void conn_begin_stream(struct conn *c);

/* True where the server still has more connections than limits.connections, and this is one of those over it. */
bool conn_is_extra(struct conn *c);

/* Asks the worker to call conn_resume in this turn. */
void conn_make_ready(struct conn *c);

/* Goes on with what waits: requests that came behind an answered one, a replay. */
void conn_resume(struct conn *c);

/* Sets the time at which conn looks at its timeouts; `due_ms` in the worker's time. */
void conn_set_deadline(struct conn *c, uint64_t due_ms);

#endif
