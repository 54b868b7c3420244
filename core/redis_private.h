/* SPDX-License-Identifier: MIT */
/* Inside the Redis log: what its files share. */
#ifndef SLUICE_REDIS_PRIVATE_H
#define SLUICE_REDIS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "redis_link.h"
#include "redis_log.h"
#include "redis_tls.h"

enum {
    REDIS_BLOCK_MS = 1000,  /* one XREAD waits so long */
    REDIS_ANSWER_MS = 3000, /* an answer that takes longer is lost */
    REDIS_TICK_MS = 100,
    REDIS_CHANGES = 500 /* channels told in one go */
};

struct redis_follow {
    struct redis_link *link;
    bool begun;  /* the hub has a place in the log */
    bool synced; /* since this connection: reading on */
    struct message_id position; /* the last entry that was read */
    struct message_id target;   /* what was the newest when the connection was made: caught up from here on */
    unsigned batch;             /* entries that are asked for at once */
    uint64_t progress_ms;       /* when something came last; loop's time */
    uint64_t caught_up;         /* messages since the connection was made */
    uint64_t malformed_since_ms; /* when the current spell of telling began; 0: there was none */
    unsigned malformed_told;     /* in this spell */
    uint64_t malformed_untold;   /* in this spell */
};

/* What Redis refuses again and again is told once in a while. */
struct redis_refusals {
    uint64_t told_ms, untold;
};

struct redis_counts {
    bool joined;  /* Redis has our counts */
    bool asked;   /* an answer is awaited */
    uint64_t nodes, streams;
    uint64_t due_ms;
    struct redis_refusals refusals;
};

struct redis_log {
    const struct config *config;
    struct hub *hub;
    struct log *log;
    uv_loop_t *loop;
    unsigned workers;
    struct redis_url url;
    struct redis_tls *tls; /* NULL: redis:// */
    char node[17]; /* of this server, as long as it runs */
    char name[32]; /* for CLIENT LIST */
    struct buf counts_key, nodes_key, own_key, alive_prefix, limit_prefix;
    struct ratelimit_share *share; /* NULL: limits are this node's own */
    bool limits_asked;             /* an answer is awaited */
    struct redis_refusals limits_refusals;
    uint64_t started_ms;
    bool running; /* the start is over */
    bool told_waiting;
    bool closed;

    struct redis_link *command;
    struct redis_follow follow;
    struct redis_counts counts;
    size_t asked_count, asked_bytes; /* questions that Redis has not answered */
    struct list held;                /* answers that wait for the message to be followed */
    struct redis_question *late;     /* answered, but the inbox of their worker had no room, or is closed */
    uv_async_t asked;
    uv_timer_t tick;
    uv_timer_t leave;
    void (*left)(void *context);
    void *left_context;

    pthread_mutex_t lock; /* guards all below */
    struct redis_question *first, **last; /* asked, not yet taken up */
    char trouble_command[REDIS_WHY_BYTES], trouble_follow[REDIS_WHY_BYTES]; /* empty: none */
    struct redis_log_stats stats;
};

/* Sets what is wrong with one of the links (NULL: nothing), and says so in the log where it is news. */
void redis_log_trouble(struct redis_log *l, bool follow, const char *why);

/* Says in the log that Redis refuses what is asked on each tick: `what` cannot be done, for `why`. One record in 10 s. */
void redis_log_refused(struct redis_log *l, struct redis_refusals *r, const char *what, const char *why);

/* A link of this log. */
struct redis_link *redis_log_link(struct redis_log *l, struct redis_link_ops ops, uint64_t answer_ms);

/* --- redis_follow.c */
bool redis_follow_open(struct redis_log *l);
bool redis_follow_caught_up(const struct redis_log *l);

/* --- redis_append.c */
bool redis_append_open(struct redis_log *l);
void redis_append_take(struct redis_log *l); /* asks Redis what workers have asked */
void redis_append_release(struct redis_log *l, bool all); /* answers publishers whose messages have come back, or have not for too long, or all */
void redis_append_cancel(struct redis_log *l); /* gives back what nobody takes up any more */

/* --- redis_counts.c */
void redis_counts_tick(struct redis_log *l, uint64_t now_ms);
void redis_counts_lost(struct redis_log *l);
bool redis_counts_leave(struct redis_log *l, redisCallbackFn *answer);

/* --- redis_limits.c */
void redis_limits_tick(struct redis_log *l);

/* --- redis_entry.c */

/* Reads an id in Redis' form. */
bool redis_entry_id(const redisReply *reply, struct message_id *out);

struct redis_entry {
    struct message_id id;
    bool own;               /* published on node `node` */
    struct message *message; /* a draft; NULL: no message, see `why` */
    const char *why;        /* NULL: it is passed over silently */
    bool no_memory;
};

/* Reads one entry, [id, [name, value, ...]]. Returns false where it is none at all. `node` is this node's name, `max_bytes` the most data of an entry that no node has written. */
bool redis_entry_read(const redisReply *reply, struct slice node, size_t max_bytes, struct redis_entry *out);

#endif
