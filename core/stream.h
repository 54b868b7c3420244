/* SPDX-License-Identifier: MIT */
/* One open event stream: a subscriber with a connection. Subscriptions are collected while it is not begun; stream_begin sends the head, fixes the position in the log, and from then on it replays and delivers.
 * Belongs to its worker's thread. Freed with its connection. */
#ifndef SLUICE_STREAM_H
#define SLUICE_STREAM_H

#include "channel.h"
#include "hub.h"

struct access_note;
struct conn;
struct exchange;
struct ratelimit_hold;
struct stream_gzip;
struct worker;

enum stream_end {
    STREAM_LEFT,     /* the client went */
    STREAM_FINISHED, /* its handler returned, without subscriptions */
    STREAM_CLOSED,   /* closed by a script or an operator */
    STREAM_ERROR,    /* its handler failed */
    STREAM_SLOW,     /* it did not take what came */
    STREAM_STALE,    /* no byte acknowledged for too long */
    STREAM_EXPIRED,  /* its token expired */
    STREAM_DRAINED,  /* the server leaves */
    STREAM_RELOADED, /* its handler was two generations old */
    STREAM_ABUSE,    /* it sent too much */
    STREAM_NO_MEMORY
};

/* One word for the reason: "left", "finished", ... */
const char *stream_end_name(enum stream_end end);

struct stream {
    struct subscriber sub; /* first: deliveries come by it */

    /* what else a delivery touches, close together */
    struct conn *conn; /* NULL once closed */
    struct worker *worker;
    uint64_t sent_ms; /* last time something was written */
    uint64_t events, bytes;
    struct stream_gzip *gzip; /* NULL: as it is */
    bool chunked;

    bool asked_all; /* subscribed to sluice.all by name: enough to stay open */
    bool begun;
    bool opening;     /* send the opening block */
    bool admin;       /* of a route below /_sluice/: its frames are not shown to taps, which it may be the reader of */
    bool replayed;    /* came with a last event id */
    bool waiting;     /* that handler waits for room in the queue */
    bool all_dropped; /* as subscription.dropped, for `sluice.all` */
    uint8_t end;      /* enum stream_end, once closed */
    uint32_t sub_count;
    struct list ended; /* in the worker's list of those to be freed */
    uint64_t id;
    struct message_id all_since; /* sluice.all: only what is later */
    uint64_t opened_ms;          /* worker's time */
    uint64_t progress_ms;        /* when it was last seen that the client took something, or that nothing waited for it */
    uint64_t expires_ms;         /* worker's time; 0: never */
    uint64_t drain_ms;           /* worker's time at which it is ended since the server leaves; 0: it stays */
    double expiry;               /* what `sluice.expired` says */
    uint32_t acked;              /* what it had acknowledged at progress_ms, modulo 2^32 */
    uint32_t generation;         /* of the policy that opened it */
    uint32_t epoch;              /* of the log that its position belongs to */
    char *user;                   /* or NULL */
    struct access_note *access; /* of access.c, where the access log is on; or NULL */
    struct ratelimit_hold *holds; /* what limits count as open until it ends */
    struct exchange *exchange;    /* while a handler runs */
    void *policy_data;            /* the policy's */
};

extern const struct subscriber_ops stream_subscriber_ops;

/* Makes the stream that answers `x`. NULL: no memory. */
struct stream *stream_new(struct exchange *x);

/* Unlinks and frees it, having told the policy its end. Called by the worker for ended streams, and by the exchange for one that was never begun. */
void stream_free(struct stream *s);

/* Subscribes to a channel (a name that message_check_channel accepts). Before the begin it is collected, later it is live only. A channel it has already is no error. `filter`: one reference is taken. Returns 0, -E2BIG over
 * limits.channels_per_stream, -EPIPE when closed, or -ENOMEM. */
int stream_subscribe(struct stream *s, struct slice channel, struct filter *filter);

/* Ends a subscription. Returns false where there was none. */
bool stream_unsubscribe(struct stream *s, struct slice channel);

/* Its subscription to a channel, or NULL. */
struct subscription *stream_subscription(const struct stream *s, struct slice channel);

/* Sends the head (with the exchange's fields), joins the log at `start`, sends the opening block and, where there is one, the gap event. `requested` is the client's own last event id as text, for the gap
 * (ptr NULL: none). Returns 0 or -ENOMEM (nothing was sent). The exchange is answered. */
int stream_begin(struct stream *s, struct exchange *x, struct hub_start start, struct slice requested);

/* Sends one event of the handler's own, without an id. Returns 0, -EINVAL (an event type with CR, LF or NUL), -EPIPE when closed, -ENOMEM. */
int stream_send(struct stream *s, struct slice event, struct slice data);
int stream_comment(struct stream *s, struct slice text);

/* True while so much is queued that a handler should wait (policy's `drained` says when it may go on). */
bool stream_full(const struct stream *s);

/* Ends the stream. Where the client can still read: after what is queued, with a last chunk; STREAM_SLOW, _STALE, _LEFT, _ABUSE and _NO_MEMORY at once. */
void stream_close(struct stream *s, enum stream_end end);

/* --- called by conn ------------------------------------------------------------------------------ */

/* The connection is gone or will not be written to any more: the stream takes nothing from now on and is freed by the worker. */
void stream_detach(struct stream *s);

/* The queue has run empty: goes on with the replay or the handler. */
void stream_resume(struct stream *s);

/* A deadline has passed: heartbeat, expiry, a look at a peer that may be dead. Sets the next. */
void stream_on_timer(struct stream *s, uint64_t now_ms);

/* Looks whether the peer still acknowledges what it is sent; closes the stream where it has not for stream.stale. One system call. */
void stream_check_progress(struct stream *s, uint64_t now_ms);

/* Writes out the gap in the queue: what was dropped is known by now. Returns false where the stream was closed instead, without memory. */
bool stream_write_gap(struct stream *s);

/* The stream's channels as the hub reads them, in the worker's scratch: sources[0] is `sluice.all`, the others in the order of the subscriptions. NULL: no memory. */
struct hub_source *stream_sources(struct stream *s, size_t *count);

/* Its position belongs to a log that is no more, or never was one: tells the gap and goes on with all that is kept. */
void stream_restart(struct stream *s);

/* Reads the log anew from the stream's position, since live messages were lost for it on the way. */
void stream_rewind(struct stream *s);

#endif
