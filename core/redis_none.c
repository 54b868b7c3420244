/* SPDX-License-Identifier: MIT */
/* In the place of the Redis log where hiredis was missing when this was built. */
#include <stdio.h>
#include <string.h>

#include "redis_log.h"

struct redis_log *redis_log_new(const struct redis_log_options *options, char error[REDIS_ERROR_BYTES]) {
    (void)options;
    snprintf(error, REDIS_ERROR_BYTES, "redis.url: this build has no Redis, since hiredis was missing (Debian's package libhiredis-dev)");
    return NULL;
}

/* None of these is called: there is no log. */

bool redis_log_start(struct redis_log *l, const volatile bool *stop, char error[REDIS_ERROR_BYTES]) {
    (void)l, (void)stop, (void)error;
    return false;
}

void redis_log_leave(struct redis_log *l, void (*left)(void *context), void *context) {
    (void)l, (void)left, (void)context;
}

void redis_log_close(struct redis_log *l) {
    (void)l;
}

void redis_log_free(struct redis_log *l) {
    (void)l;
}

void redis_log_ask(struct redis_log *l, struct redis_question *q) {
    (void)l, (void)q;
}

bool redis_log_state(struct redis_log *l, char out[REDIS_ERROR_BYTES]) {
    (void)l;
    out[0] = '\0';
    return false;
}

void redis_log_stats(struct redis_log *l, struct redis_log_stats *out) {
    (void)l;
    memset(out, 0, sizeof *out);
}
