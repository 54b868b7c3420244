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

void config_free(struct config *c) {
    if (!c)
        return;
    for (size_t i = 0; i < c->rule_count; i++)
        buf_deinit(&c->rules[i].pattern);
    free(c->rules);
    free(c->proxies);
    if (c->jwt_key.data)
        explicit_bzero(c->jwt_key.data, c->jwt_key.len);
    buf_deinit(&c->jwt_key);
    buf_deinit(&c->jwt_issuer);
    buf_deinit(&c->jwt_audience);
    buf_deinit(&c->host);
    buf_deinit(&c->json);
    free(c);
}
