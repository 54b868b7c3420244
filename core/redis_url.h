/* SPDX-License-Identifier: MIT */
/* Where a Redis server is and who logs in there, read from `redis://[user:password@]host[:port][/database]`. Pure. */
#ifndef SLUICE_REDIS_URL_H
#define SLUICE_REDIS_URL_H

#include "buf.h"

enum { REDIS_PORT = 6379 };

struct redis_url {
    bool tls;           /* rediss:// */
    struct buf host;    /* NUL-terminated, no brackets */
    unsigned port;
    unsigned database;
    struct buf user, password; /* percent-decoded; empty where there is none */
};

/* Reads the URL. Returns 0, -EINVAL, or -ENOMEM; `out` is to be given to redis_url_deinit in each case. */
int redis_url_parse(struct slice text, struct redis_url *out);

/* Wipes the password before its memory goes. */
void redis_url_deinit(struct redis_url *url);

#endif
