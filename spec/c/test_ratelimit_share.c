/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "ratelimit.h"
#include "ratelimit_share.h"

static const struct ratelimit_rule RULE = {5, 1000, 3};

/* Two nodes of one cluster, and what Redis would know of one key. */
struct node {
    struct ratelimit *limits;
    struct ratelimit_share *share;
};

static uint64_t events, opened;

static struct node node_new(void) {
    struct node n = {ratelimit_new(100), ratelimit_share_new(100)};
    ratelimit_share_with(n.limits, n.share);
    return n;
}

static void node_free(struct node *n) {
    ratelimit_free(n->limits);
    ratelimit_share_free(n->share);
}

static bool take(struct node *n, uint64_t now_ms, struct ratelimit_entry **hold) {
    struct ratelimit_info info;
    CHECK_EQ_INT(ratelimit_take(n->limits, slice_of("k"), &RULE, now_ms, &info, hold), 0);
    return info.allowed;
}

/* Tells what was noted and learns the sums. */
static void exchange(struct node *n, uint64_t now_ms) {
    struct ratelimit_note notes[4];
    size_t count = ratelimit_share_take(n->share, notes, 4, now_ms);
    for (size_t i = 0; i < count; i++) {
        events += notes[i].events;
        opened += (uint64_t)notes[i].open;
        ratelimit_share_learn(n->share, slice_make(notes[i].key, notes[i].key_len), notes[i].events, events, 1000, opened, now_ms);
    }
}

TEST(what_is_open_elsewhere_counts_here_once_it_was_told) {
    struct node a = node_new(), b = node_new();
    struct ratelimit_entry *held[4];
    events = opened = 0;
    CHECK(take(&a, 0, &held[0]) && take(&a, 0, &held[1]));
    exchange(&a, 0);
    CHECK(take(&b, 0, &held[2]));
    exchange(&b, 0);
    CHECK(!take(&b, 0, &held[3]));
    ratelimit_release(a.limits, held[0]);
    exchange(&a, 0);
    CHECK(!take(&b, 0, &held[3])); /* it asks, since it was refused */
    exchange(&b, 0);
    CHECK(take(&b, 0, &held[3]));
    exchange(&b, 0);
    CHECK_EQ_INT(opened, 3);
    ratelimit_release(a.limits, held[1]);
    ratelimit_release(b.limits, held[2]);
    ratelimit_release(b.limits, held[3]);
    exchange(&a, 0);
    exchange(&b, 0);
    CHECK_EQ_INT(opened, 0);
    node_free(&a);
    node_free(&b);
}

TEST(events_elsewhere_count_in_their_window) {
    struct node a = node_new(), b = node_new();
    struct ratelimit_entry *hold;
    events = opened = 0;
    for (int i = 0; i < 3; i++) {
        CHECK(take(&a, 0, &hold));
        ratelimit_release(a.limits, hold);
    }
    exchange(&a, 0);
    CHECK(take(&b, 0, &hold));
    ratelimit_release(b.limits, hold);
    exchange(&b, 0);
    CHECK(take(&b, 0, &hold));
    ratelimit_release(b.limits, hold);
    CHECK(!take(&b, 0, &hold)); /* three there, two here */
    CHECK(take(&b, 2000, &hold));
    ratelimit_release(b.limits, hold);
    node_free(&a);
    node_free(&b);
}

TEST(what_nobody_knows_any_more_is_told_again) {
    struct node a = node_new();
    struct ratelimit_entry *hold;
    events = opened = 0;
    CHECK(take(&a, 0, &hold));
    exchange(&a, 0);
    ratelimit_share_forget_told(a.share);
    opened = 0;
    exchange(&a, 0);
    CHECK_EQ_INT(opened, 1);
    ratelimit_release(a.limits, hold);
    node_free(&a);
}

CHECK_MAIN()
