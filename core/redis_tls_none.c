/* SPDX-License-Identifier: MIT */
/* In the place of redis_tls.c where hiredis had no TLS when this was built. */
#include <stdio.h>

#include "redis_tls.h"

struct redis_tls *redis_tls_new(const struct redis_tls_options *options, char error[REDIS_TLS_ERROR_BYTES]) {
    (void)options;
    snprintf(error, REDIS_TLS_ERROR_BYTES, "redis.url: rediss:// needs a hiredis with TLS (1.0 or later); this build has hiredis %d.%d.%d without it", HIREDIS_MAJOR, HIREDIS_MINOR,
             HIREDIS_PATCH);
    return NULL;
}

void redis_tls_free(struct redis_tls *tls) {
    (void)tls;
}

/* None of these is called: there is nothing to begin with. */

struct ssl_st *redis_tls_begin(const struct redis_tls *tls, redisAsyncContext *context) {
    (void)tls, (void)context;
    return NULL;
}

void redis_tls_prepare(void) {
}

bool redis_tls_wants_write(const struct ssl_st *session) {
    (void)session;
    return false;
}

bool redis_tls_done(const struct ssl_st *session) {
    (void)session;
    return false;
}

bool redis_tls_why(struct ssl_st *session, char *why, size_t size) {
    (void)session, (void)why, (void)size;
    return false;
}
