/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"
#include "check_random.h"
#include "messages.h"

#include "../../core/history.c"

enum { PLENTY = 1 << 30, FOREVER = 1 << 30 };

static struct history_total total;
static struct history history;

static void setup(size_t messages, size_t bytes, uint64_t age_ms) {
    const struct history_limits limits = {messages, bytes, age_ms};
    history_total_init(&total, PLENTY);
    history_init(&history, &total, &limits, id_of(0, 0));
}

/* Appends a message of `len` bytes to `h`; returns its size. */
static size_t append_to(struct history *h, struct message_id id, size_t len, uint64_t now_ms) {
    struct message *m = message_of("c", "", len, id);
    size_t size = m->size;
    history_append(h, m, now_ms);
    message_release(m);
    return size;
}

static size_t append(uint64_t ms) {
    return append_to(&history, id_of(ms, 0), 10, ms);
}

/* Checks that exactly the messages `first` to `last` are kept, whose ids are their numbers. */
static void check_kept(uint64_t first, uint64_t last) {
    size_t bytes = 0;
    CHECK_EQ_INT(history.count, last + 1 - first);
    for (size_t i = 0; i < history.count; i++) {
        CHECK_EQ_INT(history_at(&history, i)->id.ms, first + i);
        CHECK_EQ_INT(refs_of(history_at(&history, i)), 1);
        CHECK(history_at(&history, i)->history == &history);
        bytes += history_at(&history, i)->size;
    }
    CHECK_EQ_INT(history.bytes, bytes);
    CHECK_EQ_INT(history.dropped.ms, first - 1);
}

TEST(the_newest_so_many_are_kept) {
    for (size_t limit = 1; limit < 40; limit++) {
        CHECK_NOTE("limit %zu", limit);
        setup(limit, PLENTY, FOREVER);
        for (uint64_t i = 1; i <= 100; i++) {
            append(i);
            check_kept(i > limit ? i - limit + 1 : 1, i);
        }
        CHECK(history.cap <= 2 * limit + 4);
        history_deinit(&history);
        CHECK_EQ_INT(total.bytes, 0);
        CHECK_EQ_INT(total.messages, 0);
        CHECK(list_empty(&total.fifo));
    }
}

TEST(a_history_of_none_remembers_that_it_dropped) {
    setup(0, PLENTY, FOREVER);
    append(5);
    append(6);
    CHECK_EQ_INT(history.count, 0);
    CHECK_EQ_INT(history.dropped.ms, 6);
    CHECK_EQ_INT(history_after(&history, id_of(0, 0)), 0);
    CHECK(history.ring == NULL);
    history_deinit(&history);
    CHECK_EQ_INT(history.dropped.ms, 6);
}

TEST(the_newest_so_many_bytes_are_kept) {
    setup(1000, PLENTY, FOREVER);
    size_t size = append(1);
    history.limits.bytes = size * 3 + size / 2;
    for (uint64_t i = 2; i <= 50; i++) {
        append(i);
        check_kept(i > 3 ? i - 2 : 1, i);
    }
    history.limits.bytes = size;
    append(51);
    check_kept(51, 51);
    append(52);
    check_kept(52, 52);
    history_deinit(&history);
}

TEST(what_is_too_large_to_be_kept_leaves_no_hole) {
    setup(1000, PLENTY, FOREVER);
    append(1);
    append(2);
    history.limits.bytes = history.bytes * 2;
    append_to(&history, id_of(3, 0), 4000, 3);
    CHECK_EQ_INT(history.count, 0); /* 1 and 2 too: who resumes after 1 must not get 4 without being told of 3 */
    CHECK_EQ_INT(history.dropped.ms, 3);
    append(4);
    check_kept(4, 4);
    history.limits.bytes = PLENTY;
    total.max_bytes = 1000;
    append_to(&history, id_of(5, 0), 4000, 5);
    CHECK_EQ_INT(history.count, 0);
    CHECK_EQ_INT(history.dropped.ms, 5);
    CHECK_EQ_INT(total.bytes, 0);
    history_deinit(&history);
}

TEST(what_is_too_old_goes) {
    setup(1000, PLENTY, 100);
    for (uint64_t i = 1; i <= 50; i++)
        append(i);
    history_expire(&history, 101);
    check_kept(1, 50); /* 100 ms old, not older */
    history_expire(&history, 102);
    check_kept(2, 50);
    history_expire(&history, 131);
    check_kept(31, 50);
    for (uint64_t i = 51; i <= 200; i++) { /* the ring grows while its head is not at 0 */
        append(i);
        check_kept(i > 131 ? i - 100 : 31, i);
    }
    history_expire(&history, 10000);
    CHECK_EQ_INT(history.count, 0);
    CHECK_EQ_INT(history.dropped.ms, 200);
    CHECK(history.ring == NULL); /* an idle channel costs no ring */
    append(20000);
    CHECK_EQ_INT(history.count, 1);
    history_deinit(&history);
}

TEST(an_age_of_nothing_keeps_for_the_millisecond) {
    setup(1000, PLENTY, 0);
    append_to(&history, id_of(5, 0), 1, 5);
    append_to(&history, id_of(5, 1), 1, 5);
    CHECK_EQ_INT(history.count, 2);
    append_to(&history, id_of(6, 0), 1, 6);
    CHECK_EQ_INT(history.count, 1);
    CHECK_EQ_INT(history.dropped.n, 1);
    history_expire(&history, 7);
    CHECK_EQ_INT(history.count, 0);
    history_deinit(&history);
}

TEST(a_clock_that_steps_back_drops_nothing) {
    setup(1000, PLENTY, 100);
    for (uint64_t i = 0; i < 10; i++)
        append_to(&history, id_of(1000000, i), 1, 1000000 - i * 1000); /* ids stand still meanwhile */
    CHECK_EQ_INT(history.count, 10);
    history_expire(&history, 0);
    CHECK_EQ_INT(history.count, 10);
    history_expire(&history, 1000100);
    CHECK_EQ_INT(history.count, 10);
    history_expire(&history, 1000101);
    CHECK_EQ_INT(history.count, 0);
    history_deinit(&history);
}

TEST(a_place_is_found_by_id) {
    setup(16, PLENTY, FOREVER);
    CHECK_EQ_INT(history_after(&history, id_of(0, 0)), 0);
    for (uint64_t i = 1; i <= 20; i++) /* 5-0 to 20-0 are kept, at any place in the ring */
        append(i);
    for (uint64_t i = 0; i <= 22; i++) {
        CHECK_NOTE("after %d", (int)i);
        size_t want = i < 5 ? 0 : i > 20 ? 16 : (size_t)(i - 4);
        CHECK_EQ_INT(history_after(&history, id_of(i, 0)), want);
        CHECK_EQ_INT(history_after(&history, id_of(i, 7)), want);
        CHECK_EQ_INT(history_after(&history, message_id_before(id_of(i, 0))), i <= 5   ? 0
                                                                              : i > 20 ? 16
                                                                                       : (size_t)(i - 5));
    }
    CHECK_EQ_INT(history_after(&history, id_of(UINT64_MAX, UINT64_MAX)), 16);
    history_deinit(&history);
}

TEST(what_a_reader_holds_outlives_the_history) {
    setup(1, PLENTY, FOREVER);
    append(1);
    struct message *held = message_retain(history_at(&history, 0));
    append(2);
    CHECK_EQ_INT(refs_of(held), 1);
    CHECK(held->history == NULL);
    CHECK_EQ_SLICE(message_channel(held), "c");
    history_deinit(&history);
    message_release(held);
}

TEST(where_there_is_no_memory_the_gap_will_be_said) {
    setup(1000, PLENTY, FOREVER);
    for (uint64_t i = 1; i <= 4; i++)
        append(i);
    struct message *m = message_of("c", "", 10, id_of(5, 0));
    check_alloc_fail_at(0);
    history_append(&history, m, 5);
    CHECK(check_alloc_disarm());
    CHECK_EQ_INT(history.count, 0);
    CHECK_EQ_INT(history.dropped.ms, 5);
    CHECK_EQ_INT(refs_of(m), 1);
    CHECK_EQ_INT(total.bytes, 0);
    append(6);
    check_kept(6, 6);
    message_release(m);
    history_deinit(&history);
}

TEST(an_earlier_histories_end_is_kept) {
    const struct history_limits limits = {10, PLENTY, FOREVER};
    history_total_init(&total, PLENTY);
    history_init(&history, &total, &limits, id_of(77, 3));
    append(80);
    CHECK_EQ_INT(history.dropped.ms, 77);
    history_deinit(&history);
    CHECK_EQ_INT(history.dropped.ms, 80);
}

/* Several histories under one total, against a plain list of what must be there. */
TEST(all_histories_together_keep_to_their_total) {
    enum { HISTORIES = 5, MESSAGES = 4000 };
    static struct {
        int history; /* -1: dropped */
        size_t size;
    } model[MESSAGES];
    struct history histories[HISTORIES];
    struct check_random r = check_random_of(5);
    history_total_init(&total, 20000);
    for (int i = 0; i < HISTORIES; i++) {
        const struct history_limits limits = {(size_t)(5 + i * 20), (size_t)(3000 * (i + 1)), 400};
        history_init(&histories[i], &total, &limits, id_of(0, 0));
    }
    for (int n = 0; n < MESSAGES; n++) {
        CHECK_NOTE("message %d", n);
        uint64_t now = (uint64_t)n + 1;
        int at = (int)check_random_below(&r, HISTORIES);
        struct history *h = &histories[at];
        model[n].history = at;
        model[n].size =
            append_to(h, id_of(now, 0), check_random_below(&r, check_random_once_in(&r, 9) ? 6000 : 300), now);
        struct message_id dropped[HISTORIES] = {{0, 0}};
        size_t count[HISTORIES] = {0}, bytes[HISTORIES] = {0}, sum = 0;
        /* From the newest back: what no longer fits drops all before it. Only the one that grew looks at its age. */
        bool full[HISTORIES] = {false}, total_full = false;
        for (int i = n; i >= 0 && i > n - 1000; i--) {
            int k = model[i].history;
            if (k < 0)
                continue;
            bool fits =
                count[k] < histories[k].limits.messages && bytes[k] + model[i].size <= histories[k].limits.bytes;
            bool young = k != at || n - i <= 400;
            full[k] = full[k] || !fits || !young;
            if (full[k])
                model[i].history = -1;
            else
                count[k]++, bytes[k] += model[i].size;
        }
        for (int i = n; i >= 0 && i > n - 1000; i--) {
            int k = model[i].history;
            if (k < 0)
                continue;
            total_full = total_full || sum + model[i].size > total.max_bytes;
            if (total_full) {
                model[i].history = -1;
                count[k]--, bytes[k] -= model[i].size;
                dropped[k] = message_id_max(dropped[k], id_of((uint64_t)i + 1, 0));
            } else {
                sum += model[i].size;
            }
        }
        REQUIRE(total.bytes <= total.max_bytes);
        REQUIRE(total.bytes == sum);
        for (int k = 0; k < HISTORIES; k++) {
            REQUIRE(histories[k].count == count[k]);
            REQUIRE(histories[k].bytes == bytes[k]);
            REQUIRE(!message_id_after(dropped[k], histories[k].dropped));
            REQUIRE(count[k] == 0 || message_id_after(history_at(&histories[k], 0)->id, histories[k].dropped));
        }
    }
    for (int i = 0; i < HISTORIES; i++)
        history_deinit(&histories[i]);
    CHECK_EQ_INT(total.bytes, 0);
    CHECK_EQ_INT(total.messages, 0);
    CHECK(list_empty(&total.fifo));
}

CHECK_MAIN()
