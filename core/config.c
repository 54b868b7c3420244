/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>
#include <string.h>

const struct channel_rule *config_rule(const struct config *c, struct slice channel) {
    for (size_t i = 0; i < c->rule_count; i++) {
        const struct channel_rule *rule = &c->rules[i];
        struct slice pattern = buf_slice(&rule->pattern);
        if (rule->prefix ? channel.len >= pattern.len && memcmp(channel.ptr, pattern.ptr ? pattern.ptr : "", pattern.len) == 0
                         : slice_equal(channel, pattern))
            return rule;
    }
    return NULL;
}

static void wipe(struct buf *secret) {
    if (secret->data)
        explicit_bzero(secret->data, secret->len);
    buf_deinit(secret);
}

void config_free(struct config *c) {
    if (!c)
        return;
    for (size_t i = 0; i < c->rule_count; i++)
        buf_deinit(&c->rules[i].pattern);
    free(c->rules);
    free(c->proxies);
    wipe(&c->jwt_key);
    wipe(&c->redis_url);
    wipe(&c->redis_password);
    buf_deinit(&c->redis_user);
    buf_deinit(&c->redis_key);
    buf_deinit(&c->redis_ca_file);
    buf_deinit(&c->redis_cert_file);
    buf_deinit(&c->jwt_issuer);
    buf_deinit(&c->jwt_audience);
    buf_deinit(&c->host);
    buf_deinit(&c->json);
    free(c);
}
