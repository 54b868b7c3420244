/* SPDX-License-Identifier: MIT */
/* The settings of one server as C sees them: plain values, checked by the Lua schema (lua/sluice/config.lua), immutable while the server
 * runs. Times are milliseconds, sizes bytes. Filled by lua_config.c. */
#ifndef SLUICE_CONFIG_H
#define SLUICE_CONFIG_H

#include "address.h"
#include "history.h"

enum { CONFIG_ALGORITHMS = 9, CONFIG_ALGORITHM_BYTES = 8 };

enum slow_rule { SLOW_DISCONNECT, SLOW_DROP_OLDEST, SLOW_CONFLATE };

/* What differs for channels that match a pattern. */
struct channel_rule {
    struct buf pattern; /* without the trailing "*" */
    bool prefix;        /* the pattern ended in "*" */
    enum slow_rule slow;
    struct history_limits history;
};

struct config {
    struct buf host;
    unsigned port;
    unsigned workers;

    size_t max_connections;
    size_t header_bytes, body_bytes;
    uint64_t header_timeout_ms, idle_timeout_ms;
    size_t queue_bytes;
    size_t channels_per_stream;
    uint64_t script_ms;
    size_t script_bytes, script_call_bytes;
    bool busy_retry; /* limits.busy = "retry" */

    struct history_limits history;
    size_t history_total_bytes;

    uint64_t heartbeat_ms;
    uint64_t retry_ms;
    uint64_t stale_ms;
    bool opening;
    uint64_t drain_ms;

    bool gzip;
    int gzip_level;
    size_t gzip_min_bytes;

    struct channel_rule *rules; /* longest prefix first, exact names before prefixes */
    size_t rule_count;

    struct address_range *proxies; /* trust_proxy */
    size_t proxy_count;

    bool admin;      /* the routes below /_sluice/ are there */

    bool has_key;
    bool key_is_file;       /* the key was read from jwt.key_file */
    struct buf jwt_key;     /* a secret, or a PEM */
    char jwt_algorithms[CONFIG_ALGORITHMS][CONFIG_ALGORITHM_BYTES];
    size_t jwt_algorithm_count;
    double jwt_leeway;      /* seconds, as in tokens */
    struct buf jwt_issuer, jwt_audience; /* NUL-terminated; `data` NULL: not set */

    bool has_redis;
    struct buf redis_url, redis_user, redis_password, redis_key; /* NUL-terminated; `data` NULL: not set */
    struct buf redis_ca_file, redis_cert_file;                   /* alike */
    uint64_t redis_maxlen;
    bool ratelimit_shared;

    struct buf json; /* all of it as JSON without secrets, for `sluice.config` */
};

/* The rule for a channel, or NULL where the defaults apply. */
const struct channel_rule *config_rule(const struct config *c, struct slice channel);

/* Wipes the key before its memory goes. */
void config_free(struct config *c);

#endif
