/* SPDX-License-Identifier: MIT */
/* One thread: a poller, a listener, connections, streams, a policy. A turn of the loop reads what came in, takes the inbox, serves a slice of the fan-out, resumes what is
 * ready, and frees what has closed. */
#ifndef SLUICE_WORKER_H
#define SLUICE_WORKER_H

#include <uv.h>

#include "http_response.h"
#include "hub.h"
#include "log.h"
#include "metrics.h"
#include "policy.h"
#include "poller.h"
#include "registry.h"
#include "wheel.h"

struct coder;
struct conn;
struct server;
struct exchange;

enum { WORKER_SCRATCH = 64 * 1024, WORKER_POOL = 64 };

enum worker_order { ORDER_NONE, ORDER_DRAIN, ORDER_STOP };

/* Counts as they were written last: who asks in the same turn gets them again, so that a crowd of readers costs little. */
struct scrape {
    struct buf text;
    int format;
    uint64_t turn;
};

struct worker {
    struct server *server;
    const struct config *config;
    struct hub *hub;
    struct log *log;
    unsigned index;

    uv_thread_t thread;
    uint64_t now_ms; /* see worker_now */
    struct poller poller;
    struct wheel wheel;
    struct registry registry;
    struct metrics metrics;
    struct inbox inbox; /* emptied, swapped with the hub's */

    struct io listener; /* fd < 0: not listening */
    struct wheel_timer listener_pause;
    uint64_t pause_told_ms; /* when the log was told of it; 0: never */
    struct list conns;
    struct list dead;  /* connections to be freed */
    struct list ended; /* streams to be freed */
    struct list ready;
    struct list pool; /* free exchanges */
    struct list taps; /* of tap.c */
    bool watched;     /* frames are shown to somebody: a tap or the log */
    size_t pool_count;
    size_t conn_count;
    size_t exchanges; /* with the policy */
    size_t streams;   /* not yet freed */

    const struct policy_ops *ops;
    struct policy *policy;
    struct coder *coder; /* made with the first stream in gzip */

    struct stream_batch *batch; /* see stream_deliver; NULL: no stream is being served */
    struct hub_source *sources; /* scratch for stream */
    size_t sources_cap;
    uint64_t random[2];
    time_t date_at;
    char date[HTTP_DATE_BYTES + 1];
    bool draining;
    bool stopping;
    struct wheel_timer drain_timer;

    /* What the control thread has ordered; the next turn obeys. To leave must not need memory, so it comes by no task. */
    _Atomic int order; /* enum worker_order */
    _Atomic uint64_t order_drain_ms;

    /* For others to see: since when (uv_hrtime) a script runs without a break, 0 where none does, and what for, a text that stays. */
    _Atomic uint64_t busy_since_ns;
    _Atomic(const char *) busy_in;
    /* How long it takes to come to what it is sent: asked by the control thread, see worker_ping. */
    struct task ping;
    _Atomic uint64_t ping_sent_ns; /* 0: none is under way */
    _Atomic uint64_t loop_lag_ns;  /* the last */
    uint64_t named_busy_ns; /* the control thread's: the value that it has named in the log */

    struct buf head; /* see worker_head */
    struct scrape scrape; /* of status.c: what was written for a reader of metrics in this turn */
    uint64_t turns;

    char scratch[WORKER_SCRATCH];
};

/* Starts a thread that takes no signals: those are the host's. Returns 0 or a negative error. */
int worker_thread(uv_thread_t *thread, void (*body)(void *argument), void *argument);

/* Starts the worker's. Returns 0, or a negative error with nothing left of it but the memory of `w`. */
int worker_start(struct worker *w);

/* Waits for the thread's end and frees what is left. */
void worker_join(struct worker *w);

/* Milliseconds of a clock that never steps, as of the beginning of the turn: the time of wheel and deadlines. */
static inline uint64_t worker_now(const struct worker *w) {
    return w->now_ms;
}

/* Unix time in milliseconds: the time of ids and histories. */
uint64_t wall_ms(void);

/* "Date" for responses, made once a second. */
const char *worker_date(struct worker *w);

/* 64 random bits, not for secrets. */
uint64_t worker_random(struct worker *w);

/* The value spread evenly from once to twice. */
uint64_t worker_spread(struct worker *w, uint64_t value);

/* Begins to accept on a bound and listening socket, which the worker owns from here on. Where the system refuses that now, it is tried again. */
void worker_listen(struct worker *w, int fd);

/* Closes the streams whose clients are found dead. */
void worker_sweep(struct worker *w);

/* The log has begun anew, or can be asked again: streams whose position belongs to none, or is later than its newest id `last`, are told a gap and go on with what is kept. */
void worker_rejoin_streams(struct worker *w, struct message_id last);

/* Gives a stream that begins while the worker drains its time to end. */
struct stream;
void worker_drain_stream(struct worker *w, struct stream *s);

/* How long one turn of scripts keeps the worker busy by now, in milliseconds; 0 where it is not worth telling. Safe from any thread. */
uint64_t worker_busy_ms(const struct worker *w);

/* Measures how long the worker takes to come to its mail, unless that is under way already. Called by the control thread now and then. */
void worker_ping(struct worker *w);

/* What was measured last, or that the answer has been out for longer, in nanoseconds. Safe from any thread. */
uint64_t worker_loop_lag(const struct worker *w);

/* CPU time of its thread, in seconds. Safe from any thread while the worker runs. */
double worker_cpu(const struct worker *w);

/* Orders the worker to leave, from any thread: over `drain_ms`, or now. Never fails. */
void worker_order(struct worker *w, enum worker_order order, uint64_t drain_ms);

/* An empty buffer for the answer that is being written; kept, so valid until the next call. */
struct buf *worker_head(struct worker *w);

/* A scratch array of at least `count` sources; valid until the next call. NULL: no memory. */
struct hub_source *worker_sources(struct worker *w, size_t count);

#endif
