/* SPDX-License-Identifier: MIT */
/* One connection to Redis, kept up: resolves the name without blocking, connects, with TLS where that is wanted, logs in, chooses the database; when it is lost, or an answer is late, it begins again after a pause that grows with each failure
 * and is spread. The protocol is hiredis'. Belongs to one loop's thread. */
#ifndef SLUICE_REDIS_LINK_H
#define SLUICE_REDIS_LINK_H

#include <hiredis/async.h>
#include <uv.h>

#include "redis_url.h"

struct redis_link;
struct redis_tls;

enum { REDIS_WHY_BYTES = 256 };

struct redis_link_ops {
    /* Commands can be sent from here on. */
    void (*ready)(void *context);
    /* It was ready and is not any more, or it was never ready: each failed attempt says why. No secret is in `why`. */
    void (*lost)(void *context, const char *why);
    void *context;
};

struct redis_link_options {
    uv_loop_t *loop;
    const struct redis_url *url; /* outlives the link */
    const struct redis_tls *tls; /* outlives the link; NULL: without TLS */
    const char *name;            /* what Redis shows in CLIENT LIST; outlives the link */
    uint64_t answer_ms;          /* an answer that takes longer ends the connection */
    struct redis_link_ops ops;
};

/* Makes a link that rests. NULL: no memory. */
struct redis_link *redis_link_new(const struct redis_link_options *options);

/* Begins to connect. */
void redis_link_open(struct redis_link *link);

/* Ends the connection, because of `why`; it is made anew. What was asked is answered with NULL: before `lost`, or within an answer's callback right after it. */
void redis_link_fail(struct redis_link *link, const char *why);

/* Ends all; what was asked is answered with NULL. The memory goes when the loop has run on. NULL is fine. */
void redis_link_close(struct redis_link *link);

bool redis_link_ready(const struct redis_link *link);

/* Asks. `answer` gets the reply, which is freed afterwards, or NULL where the connection ended before; it may ask again. Returns false where the link is not ready: `answer` is not called. */
bool redis_link_ask(struct redis_link *link, redisCallbackFn *answer, void *data, int argc, const char **argv, const size_t *lens);

/* Sends what was asked now, not when the loop comes round: it saves a turn, and telling the kernel what is waited for. Not from within an answer's callback. */
void redis_link_flush(struct redis_link *link);

/* To be called every few hundred milliseconds: looks whether an answer is late. */
void redis_link_check(struct redis_link *link);

#endif
