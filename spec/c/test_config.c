/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <stdlib.h>

#include "../../core/config.c"

/* The order that lua_config.c makes: exact names, then prefixes, the longest first. */
static struct config *make(void) {
    static const struct {
        const char *pattern;
        bool prefix;
    } RULES[] = {{"quotes.eur", false}, {"quotes.eur.", true}, {"quotes.", true}, {"q", true}};
    struct config *c = calloc(1, sizeof *c);
    c->rule_count = sizeof RULES / sizeof *RULES;
    c->rules = calloc(c->rule_count, sizeof *c->rules);
    for (size_t i = 0; i < c->rule_count; i++) {
        buf_append_text(&c->rules[i].pattern, RULES[i].pattern);
        c->rules[i].prefix = RULES[i].prefix;
    }
    buf_append_text(&c->host, "127.0.0.1");
    buf_append_text(&c->json, "{}");
    return c;
}

static int rule_of(const struct config *c, struct slice channel) {
    const struct channel_rule *rule = config_rule(c, channel);
    return rule ? (int)(rule - c->rules) : -1;
}

TEST(the_first_rule_that_fits_a_channel_is_its_rule) {
    static const struct {
        const char *channel;
        int rule;
    } CASES[] = {
        {"quotes.eur", 0}, {"quotes.eur.usd", 1}, {"quotes.eur.", 1}, {"quotes.eurx", 2}, {"quotes.", 2}, {"quotes", 3},
        {"q", 3},          {"Quotes.eur", -1},    {"news", -1},       {"", -1},
    };
    struct config *c = make();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].channel);
        CHECK_EQ_INT(rule_of(c, slice_of(CASES[i].channel)), CASES[i].rule);
    }
    CHECK_EQ_INT(rule_of(c, slice_make("quotes.eur\0", 11)), 2);
    CHECK_EQ_INT(rule_of(c, slice_make("quotes.", 3)), 3); /* no look beyond the name */
    config_free(c);
}

TEST(an_empty_prefix_fits_every_channel) {
    struct config *c = calloc(1, sizeof *c);
    CHECK(config_rule(c, slice_of("any")) == NULL);
    c->rules = calloc(1, sizeof *c->rules);
    c->rule_count = 1;
    c->rules[0].prefix = true;
    CHECK_EQ_INT(rule_of(c, slice_of("any")), 0);
    CHECK_EQ_INT(rule_of(c, slice_of("x")), 0);
    config_free(c);
    config_free(NULL);
}

CHECK_MAIN()
