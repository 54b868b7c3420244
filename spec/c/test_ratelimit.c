/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include <errno.h>
#include <stdatomic.h>

#include "../../core/buf.c"
#include "../../core/hash.c"
#include "../../core/heap.c"
#include "../../core/ratelimit.c"
#include "../../core/table.c"

static const struct ratelimit_rule THREE_A_SECOND = {3, 1000, UINT64_MAX};
static const struct ratelimit_rule TWO_OPEN = {UINT64_MAX, 0, 2};
static const struct ratelimit_rule NO_LIMIT = {UINT64_MAX, 0, UINT64_MAX};

static struct ratelimit_info take(struct ratelimit *limits, const char *key, const struct ratelimit_rule *rule,
                                  uint64_t now_ms, struct ratelimit_entry **hold) {
    struct ratelimit_info info;
    struct ratelimit_entry *none;
    CHECK_EQ_INT(ratelimit_take(limits, slice_of(key), rule, now_ms, &info, hold ? hold : &none), 0);
    if (!hold)
        ratelimit_release(limits, none);
    return info;
}

static size_t keys_of(struct ratelimit *limits) {
    size_t keys;
    uint64_t dropped;
    ratelimit_counts(limits, &keys, &dropped);
    return keys;
}

static uint64_t dropped_of(struct ratelimit *limits) {
    size_t keys;
    uint64_t dropped;
    ratelimit_counts(limits, &keys, &dropped);
    return dropped;
}

TEST(a_window_lets_so_many_through) {
    struct ratelimit *limits = ratelimit_new(100);
    REQUIRE(limits != NULL);
    for (uint64_t i = 0; i < 3; i++) {
        struct ratelimit_info info = take(limits, "a", &THREE_A_SECOND, 5000 + 100 * i, NULL);
        CHECK(info.allowed);
        CHECK_EQ_INT(info.remaining, 2 - i);
        CHECK_EQ_INT(info.reset_ms, 1000 - 100 * i);
        CHECK_EQ_INT(info.open, 0);
    }
    struct ratelimit_info info = take(limits, "a", &THREE_A_SECOND, 5999, NULL);
    CHECK(!info.allowed);
    CHECK(!info.by_concurrency);
    CHECK_EQ_INT(info.remaining, 0);
    CHECK_EQ_INT(info.reset_ms, 1);
    CHECK(take(limits, "b", &THREE_A_SECOND, 5999, NULL).allowed);

    info = take(limits, "a", &THREE_A_SECOND, 6000, NULL);
    CHECK(info.allowed);
    CHECK_EQ_INT(info.remaining, 2);
    CHECK_EQ_INT(info.reset_ms, 1000);
    ratelimit_free(limits);
}

TEST(a_window_starts_with_its_first_event) {
    struct ratelimit *limits = ratelimit_new(100);
    REQUIRE(limits != NULL);
    take(limits, "a", &THREE_A_SECOND, 1000, NULL);
    CHECK_EQ_INT(take(limits, "a", &THREE_A_SECOND, 2500, NULL).reset_ms, 1000);
    CHECK_EQ_INT(take(limits, "a", &THREE_A_SECOND, 3499, NULL).reset_ms, 1);
    ratelimit_free(limits);
}

TEST(a_window_that_is_over_and_still_there_does_not_count) {
    static const char *const KEYS[] = {"a", "b", "c", "d", "e", "f"};
    for (int i = 0; i < 6; i++) { /* a call frees some that are over: not all six can be gone before their turn */
        struct ratelimit *limits = ratelimit_new(100);
        REQUIRE(limits != NULL);
        for (int k = 0; k < 6; k++)
            take(limits, KEYS[k], &THREE_A_SECOND, 1000, NULL);
        struct ratelimit_info info = take(limits, KEYS[i], &THREE_A_SECOND, 2000, NULL);
        CHECK_EQ_INT(info.remaining, 2);
        CHECK_EQ_INT(info.reset_ms, 1000);
        ratelimit_free(limits);
    }
}

TEST(only_so_many_are_open_at_once) {
    struct ratelimit *limits = ratelimit_new(100);
    REQUIRE(limits != NULL);
    struct ratelimit_entry *first, *second, *third;
    struct ratelimit_info info = take(limits, "a", &TWO_OPEN, 1, &first);
    CHECK(info.allowed);
    CHECK_EQ_INT(info.open, 1);
    CHECK(info.remaining == UINT64_MAX);
    CHECK_EQ_INT(info.reset_ms, 0);
    CHECK_EQ_INT(take(limits, "a", &TWO_OPEN, 1, &second).open, 2);
    info = take(limits, "a", &TWO_OPEN, 1, &third);
    CHECK(!info.allowed);
    CHECK(info.by_concurrency);
    CHECK_EQ_INT(info.open, 2);
    CHECK(third == NULL);
    ratelimit_release(limits, third); /* harmless */
    CHECK(take(limits, "b", &TWO_OPEN, 1, NULL).allowed);
    ratelimit_release(limits, first);
    CHECK(take(limits, "a", &TWO_OPEN, 99999, &first).allowed);
    ratelimit_release(limits, first);
    ratelimit_release(limits, second);
    take(limits, "c", &NO_LIMIT, 99999, NULL);
    CHECK_EQ_INT(keys_of(limits), 0);
    ratelimit_free(limits);
}

TEST(what_is_refused_counts_nowhere) {
    static const struct ratelimit_rule BOTH = {3, 1000, 1};
    struct ratelimit *limits = ratelimit_new(100);
    REQUIRE(limits != NULL);
    struct ratelimit_entry *hold, *none;
    CHECK(take(limits, "a", &BOTH, 1000, &hold).allowed);
    for (int i = 0; i < 5; i++) {
        struct ratelimit_info info = take(limits, "a", &BOTH, 1001, &none);
        CHECK(!info.allowed && info.by_concurrency);
        CHECK_EQ_INT(info.remaining, 2);
        CHECK(none == NULL);
    }
    ratelimit_release(limits, hold);
    CHECK(take(limits, "a", &BOTH, 1002, NULL).allowed);
    CHECK(take(limits, "a", &BOTH, 1003, NULL).allowed);
    struct ratelimit_info info = take(limits, "a", &BOTH, 1004, &none);
    CHECK(!info.allowed && !info.by_concurrency);
    CHECK_EQ_INT(info.open, 0);
    ratelimit_free(limits);
}

TEST(limits_of_nothing_and_of_everything) {
    static const struct ratelimit_rule NOTHING = {0, 1000, UINT64_MAX}, NONE_OPEN = {UINT64_MAX, 0, 0},
                                       HUGE = {UINT64_MAX - 1, UINT64_MAX, UINT64_MAX - 1};
    struct ratelimit *limits = ratelimit_new(100);
    REQUIRE(limits != NULL);
    struct ratelimit_info info = take(limits, "a", &NOTHING, 5, NULL);
    CHECK(!info.allowed && !info.by_concurrency);
    CHECK_EQ_INT(info.reset_ms, 1000);
    info = take(limits, "a", &NONE_OPEN, 5, NULL);
    CHECK(!info.allowed && info.by_concurrency);
    info = take(limits, "a", &NO_LIMIT, 5, NULL);
    CHECK(info.allowed && info.remaining == UINT64_MAX);
    CHECK_EQ_INT(keys_of(limits), 0);
    info = take(limits, "a", &HUGE, 5, NULL);
    CHECK(info.allowed);
    CHECK(info.remaining == UINT32_MAX - 1);
    CHECK(info.reset_ms == UINT64_MAX - 5);
    ratelimit_free(limits);
}

TEST(a_key_too_long_is_refused) {
    struct ratelimit *limits = ratelimit_new(100);
    REQUIRE(limits != NULL);
    char key[513];
    memset(key, 'k', sizeof key);
    struct ratelimit_info info;
    struct ratelimit_entry *hold;
    CHECK_EQ_INT(ratelimit_take(limits, slice_make(key, 513), &THREE_A_SECOND, 1, &info, &hold), -EINVAL);
    CHECK(!info.allowed && hold == NULL);
    CHECK_EQ_INT(ratelimit_take(limits, slice_make(key, 512), &THREE_A_SECOND, 1, &info, &hold), 0);
    CHECK_EQ_INT(ratelimit_take(limits, slice_make(NULL, 0), &THREE_A_SECOND, 1, &info, &hold), 0);
    CHECK_EQ_INT(keys_of(limits), 2);
    ratelimit_free(limits);
}

TEST(windows_that_are_over_go_with_the_next_calls) {
    struct ratelimit *limits = ratelimit_new(1000);
    REQUIRE(limits != NULL);
    char key[16];
    struct ratelimit_entry *hold;
    take(limits, "held", &(struct ratelimit_rule){5, 10, 5}, 1, &hold);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "k%d", i);
        take(limits, key, &THREE_A_SECOND, 1000, NULL);
    }
    CHECK_EQ_INT(keys_of(limits), 101);
    take(limits, "other", &NO_LIMIT, 1999, NULL);
    CHECK_EQ_INT(keys_of(limits), 101);
    take(limits, "other", &NO_LIMIT, 2000, NULL);
    CHECK_EQ_INT(keys_of(limits), 101 - REAP_PER_CALL);
    for (int i = 0; i < 50; i++)
        take(limits, "other", &NO_LIMIT, 2000, NULL);
    CHECK_EQ_INT(keys_of(limits), 1); /* what is open stays */
    CHECK_EQ_INT(dropped_of(limits), 0);
    ratelimit_release(limits, hold);
    take(limits, "other", &NO_LIMIT, 2000, NULL);
    CHECK_EQ_INT(keys_of(limits), 0);
    ratelimit_free(limits);
}

TEST(a_full_table_drops_what_ends_soonest_and_holds_nothing) {
    static const struct ratelimit_rule SHORT = {3, 100, UINT64_MAX}, SHORT_OPEN = {3, 50, 5},
                                       LONG = {3, 9000, UINT64_MAX};
    struct ratelimit *limits = ratelimit_new(3);
    REQUIRE(limits != NULL);
    struct ratelimit_entry *hold, *other;
    take(limits, "open", &SHORT_OPEN, 1, &hold);
    take(limits, "long", &LONG, 1, NULL);
    take(limits, "short", &SHORT, 1, NULL);
    CHECK_EQ_INT(keys_of(limits), 3);
    take(limits, "new", &THREE_A_SECOND, 2, NULL);
    CHECK_EQ_INT(keys_of(limits), 3);
    CHECK_EQ_INT(dropped_of(limits), 1);
    CHECK_EQ_INT(take(limits, "long", &LONG, 3, NULL).remaining, 1);
    CHECK_EQ_INT(take(limits, "new", &THREE_A_SECOND, 3, NULL).remaining, 1);
    CHECK_EQ_INT(take(limits, "open", &SHORT_OPEN, 3, &other).open, 2);
    ratelimit_release(limits, other);

    struct ratelimit_entry *a, *b, *none;
    take(limits, "new", &TWO_OPEN, 4, &a);
    take(limits, "long", &TWO_OPEN, 4, &b);
    struct ratelimit_info info;
    CHECK_EQ_INT(ratelimit_take(limits, slice_of("more"), &THREE_A_SECOND, 4, &info, &none), -ENOMEM);
    CHECK(!info.allowed);
    ratelimit_release(limits, a);
    CHECK_EQ_INT(ratelimit_take(limits, slice_of("more"), &THREE_A_SECOND, 4, &info, &none), 0);
    ratelimit_release(limits, b);
    ratelimit_release(limits, hold);
    ratelimit_free(limits);
}

TEST(every_failed_allocation_leaves_all_as_it_was) {
    for (int n = 0;; n++) {
        check_alloc_fail_at(n);
        struct ratelimit *limits = ratelimit_new(10);
        bool reached = check_alloc_disarm();
        CHECK((limits == NULL) == reached);
        ratelimit_free(limits);
        if (!reached)
            break;
    }
    for (int n = 0;; n++) {
        struct ratelimit *limits = ratelimit_new(10);
        REQUIRE(limits != NULL);
        struct ratelimit_info info;
        struct ratelimit_entry *hold;
        check_alloc_fail_at(n);
        int rc = ratelimit_take(limits, slice_of("a"), &TWO_OPEN, 1, &info, &hold);
        bool reached = check_alloc_disarm();
        CHECK_EQ_INT(rc, reached ? -ENOMEM : 0);
        CHECK_EQ_INT(info.allowed, !reached);
        CHECK((hold == NULL) == reached);
        CHECK_EQ_INT(keys_of(limits), !reached);
        ratelimit_release(limits, hold);
        ratelimit_free(limits);
        if (!reached) {
            CHECK_EQ_INT(n, 2); /* the heap, the entry */
            break;
        }
    }
}

TEST(an_entry_with_a_key_of_16_bytes_takes_at_most_96) {
    enum { KEYS = 10000 };
    struct ratelimit *limits = ratelimit_new(KEYS);
    REQUIRE(limits != NULL);
    char key[17];
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "%016d", i);
        take(limits, key, &THREE_A_SECOND, 1, NULL);
    }
    size_t slots = (limits->table.mask + 1) * sizeof(void *), heap = limits->idle.cap * sizeof(void *);
    size_t header = sizeof(size_t); /* malloc's own */
    size_t entry = (sizeof(struct ratelimit_entry) + 16 + header + 15) / 16 * 16;
    CHECK((slots + heap) / KEYS + entry <= 96);
    ratelimit_free(limits);
}

/* --- what an owner holds ------------------------------------------------------------------------- */

TEST(a_list_of_holds_gives_all_back_once) {
    struct ratelimit *limits = ratelimit_new(10);
    REQUIRE(limits != NULL);
    struct ratelimit_hold *holds = NULL;
    static const char *const KEYS_HELD[] = {"a", "a", "b"};
    for (size_t i = 0; i < 3; i++) {
        struct ratelimit_entry *entry;
        CHECK(take(limits, KEYS_HELD[i], &TWO_OPEN, 1, &entry).allowed);
        CHECK_EQ_INT(ratelimit_hold_push(&holds, entry), 0);
    }
    CHECK(!take(limits, "a", &TWO_OPEN, 1, NULL).allowed);
    struct ratelimit_hold *moved = holds;
    ratelimit_hold_clear(&moved, limits);
    CHECK(moved == NULL);
    CHECK_EQ_INT(take(limits, "a", &TWO_OPEN, 1, NULL).open, 1);
    CHECK_EQ_INT(take(limits, "b", &TWO_OPEN, 1, NULL).open, 1);
    ratelimit_hold_clear(&moved, limits);
    ratelimit_free(limits);
}

/* --- threads ------------------------------------------------------------------------------------ */

enum { THREADS = 4, ROUNDS = 3000 };

struct shared {
    struct ratelimit *limits;
    atomic_int allowed;
    atomic_int open;
    atomic_int most_open;
};

static void *take_and_release(void *context) {
    static const struct ratelimit_rule WINDOW = {5000, 1000, UINT64_MAX}, OPEN = {UINT64_MAX, 0, 3};
    struct shared *shared = context;
    for (int i = 0; i < ROUNDS; i++) {
        struct ratelimit_info info;
        struct ratelimit_entry *hold;
        char key[16];
        ratelimit_take(shared->limits, slice_of("all"), &WINDOW, 1, &info, &hold);
        shared->allowed += info.allowed;
        snprintf(key, sizeof key, "k%d", i % 200);
        ratelimit_take(shared->limits, slice_of(key), &THREE_A_SECOND, 1, &info, &hold);
        ratelimit_take(shared->limits, slice_of("open"), &OPEN, 1, &info, &hold);
        if (hold) {
            int open = ++shared->open;
            if (open > shared->most_open)
                shared->most_open = open;
            shared->open--;
            ratelimit_release(shared->limits, hold);
        }
    }
    return NULL;
}

TEST(counts_are_exact_over_threads) {
    struct shared shared = {.limits = ratelimit_new(1000)};
    REQUIRE(shared.limits != NULL);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, take_and_release, &shared) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ_INT(shared.allowed, 5000);
    CHECK(shared.most_open >= 1 && shared.most_open <= 3);
    CHECK_EQ_INT(take(shared.limits, "open", &TWO_OPEN, 1, NULL).open, 1);
    ratelimit_free(shared.limits);
}

CHECK_MAIN()
