/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"
#include "check_random.h"
#include "messages.h"

#include <errno.h>

#include "../../core/outq.c"

static const struct message_id NO_ID = {0, 0};

/* Pushes a message of a channel, whole; the queue holds the only reference. */
static size_t push(struct outq *q, const char *channel, const char *event, uint64_t n, bool counted) {
    struct message *m = message_of(channel, event, 10, id_of(1, n));
    struct slice wire = message_wire(m, true);
    CHECK_EQ_INT(outq_push(q, m, wire, false, counted), 0);
    message_release(m);
    return wire.len;
}

static size_t push_private(struct outq *q, const char *text) {
    struct message *m = message_new_private(slice_of(text), false);
    CHECK_EQ_INT(outq_push(q, m, message_wire(m, false), false, true), 0);
    message_release(m);
    return strlen(text);
}

/* The numbers of the ids in the queue, as text; 0 is a private segment, ? a gap without its words, ! what was begun. */
static const char *numbers(const struct outq *q) {
    static char text[200];
    size_t len = 0;
    text[0] = '\0';
    for (const struct outq_node *node = q->head; node; node = node->next) {
        const char *blank = len ? " " : "";
        if (node->message)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%llu%s", blank,
                                    (unsigned long long)node->message->id.n, node->begun ? "!" : "");
        else
            len += (size_t)snprintf(text + len, sizeof text - len, "%s?", blank);
    }
    return text;
}

static bool any(const struct message *m, const void *context) {
    (void)m, (void)context;
    return true;
}

static bool of_channel(const struct message *m, const void *context) {
    return slice_is(message_channel(m), context);
}

/* Drops the oldest that `may` lets go. Returns the number of its id, 0 where nothing was dropped. */
static uint64_t drop(struct outq *q, const char *channel) {
    struct message *m = outq_drop_oldest(q, channel ? of_channel : any, channel);
    if (!m)
        return 0;
    uint64_t n = m->id.n;
    CHECK_EQ_INT(refs_of(m), 1); /* the queue has let go of it */
    message_release(m);
    return n;
}

/* What the queue says of itself against what is in it. */
static void check_sums(const struct outq *q) {
    size_t bytes = 0, counted = 0;
    const struct outq_node *last = NULL;
    for (const struct outq_node *node = q->head; node; node = node->next) {
        bytes += node->len;
        counted += node->counted ? node->len : 0;
        last = node;
    }
    CHECK_EQ_INT(q->bytes, bytes);
    CHECK_EQ_INT(q->counted, counted);
    CHECK(q->tail == last);
    CHECK(outq_empty(q) == (last == NULL));
}

TEST(an_empty_queue_has_nothing_to_do) {
    struct outq q = {0};
    struct iovec iov[2];
    CHECK(outq_empty(&q));
    CHECK_EQ_INT(outq_iov(&q, iov, 2), 0);
    outq_advance(&q, 100, NULL);
    CHECK_EQ_INT(drop(&q, NULL), 0);
    CHECK(!outq_gap_unwritten(&q));
    CHECK_EQ_INT(outq_waiting(&q), 0);
    struct message *m = message_of("c", "", 1, NO_ID);
    CHECK_EQ_INT(outq_conflate(&q, m), 0);
    message_release(m);
    outq_clear(&q);
    check_sums(&q);
}

/* Sends by pieces of random size; what comes out is what went in. */
TEST(bytes_leave_in_order_however_they_are_cut) {
    struct check_random r = check_random_of(3);
    for (int round = 0; round < 200; round++) {
        struct outq q = {0};
        struct buf in = {0}, out = {0};
        CHECK_NOTE("round %d", round);
        for (int i = 0; i < 300; i++) {
            if (check_random_once_in(&r, 3)) {
                struct message *m =
                    message_of("c", i % 2 ? "e" : "", check_random_below(&r, 40), id_of(1, (uint64_t)i));
                struct slice wire = message_wire(m, i % 3 > 0);
                size_t begun = check_random_once_in(&r, 4) ? check_random_below(&r, (unsigned)wire.len) : 0;
                struct slice rest = slice_make(wire.ptr + begun, wire.len - begun);
                REQUIRE(outq_push(&q, m, rest, begun > 0, i % 5 > 0) == 0);
                buf_append_slice(&in, rest);
                message_release(m);
            } else {
                struct iovec iov[4];
                int n = outq_iov(&q, iov, 4);
                size_t room = check_random_below(&r, 150), sent = 0;
                for (int j = 0; j < n && sent < room; j++) {
                    size_t part = iov[j].iov_len < room - sent ? iov[j].iov_len : room - sent;
                    buf_append(&out, iov[j].iov_base, part);
                    sent += part;
                }
                outq_advance(&q, sent, NULL);
                check_sums(&q);
                REQUIRE(q.bytes == in.len - out.len);
                REQUIRE(!q.head || q.head->len > 0);
            }
        }
        while (!outq_empty(&q)) {
            struct iovec iov[1];
            REQUIRE(outq_iov(&q, iov, 1) == 1);
            buf_append(&out, iov[0].iov_base, iov[0].iov_len);
            outq_advance(&q, iov[0].iov_len, NULL);
        }
        CHECK_EQ_MEM(out.data, out.len, in.data, in.len);
        check_sums(&q);
        buf_deinit(&in);
        buf_deinit(&out);
    }
}

TEST(a_node_that_is_partly_sent_is_begun) {
    struct outq q = {0};
    size_t len = push(&q, "c", "", 1, true);
    push(&q, "c", "", 2, true);
    outq_advance(&q, 0, NULL);
    CHECK_EQ_STR(numbers(&q), "1 2");
    outq_advance(&q, 1, NULL);
    CHECK_EQ_STR(numbers(&q), "1! 2");
    outq_advance(&q, len - 2, NULL);
    CHECK_EQ_STR(numbers(&q), "1! 2");
    outq_advance(&q, 1, NULL);
    CHECK_EQ_STR(numbers(&q), "2");
    outq_advance(&q, len + 1000, NULL); /* more than there is */
    CHECK(outq_empty(&q));
    check_sums(&q);
}

TEST(only_what_counts_is_counted) {
    struct outq q = {0};
    size_t len = push(&q, "c", "", 1, false);
    CHECK_EQ_INT(q.counted, 0);
    push(&q, "c", "", 2, true);
    CHECK_EQ_INT(q.counted, len);
    CHECK_EQ_INT(q.bytes, 2 * len);
    outq_advance(&q, len + 3, NULL);
    CHECK_EQ_INT(q.counted, len - 3);
    outq_clear(&q);
    CHECK_EQ_INT(q.counted, 0);
    CHECK_EQ_INT(q.bytes, 0);
}

TEST(what_is_on_its_way_does_not_wait) {
    struct outq q = {0};
    size_t len = push(&q, "c", "", 1, true);
    push(&q, "c", "", 2, true);
    CHECK_EQ_INT(outq_waiting(&q), 2 * len);
    outq_advance(&q, 1, NULL);
    CHECK_EQ_INT(outq_waiting(&q), len);
    outq_advance(&q, len - 1, NULL);
    CHECK_EQ_INT(outq_waiting(&q), len);
    outq_clear(&q);
    push(&q, "c", "", 3, false); /* does not count at all */
    push(&q, "c", "", 4, true);
    outq_advance(&q, 1, NULL);
    CHECK_EQ_INT(outq_waiting(&q), len);
    outq_clear(&q);
}

TEST(the_oldest_that_was_not_begun_is_dropped_and_leaves_a_gap) {
    struct outq q = {0};
    struct message_id id = NO_ID;
    push_private(&q, "head");
    for (uint64_t i = 1; i <= 5; i++)
        push(&q, "c", "", i, true);
    outq_advance(&q, 4 + 1, NULL); /* into the first message */
    push_private(&q, "comment");
    CHECK_EQ_STR(numbers(&q), "1! 2 3 4 5 0");
    CHECK_EQ_INT(drop(&q, NULL), 2);
    CHECK_EQ_STR(numbers(&q), "1! ? 3 4 5 0");
    CHECK(outq_gap_unwritten(&q));
    check_sums(&q);
    CHECK_EQ_INT(drop(&q, NULL), 3);
    CHECK_EQ_INT(drop(&q, NULL), 4);
    CHECK_EQ_STR(numbers(&q), "1! ? 5 0"); /* one gap for all */
    CHECK_EQ_INT(outq_before_gap(&q).n, 1);
    CHECK(outq_after_gap(&q, &id));
    CHECK_EQ_INT(id.n, 5);
    CHECK_EQ_INT(drop(&q, NULL), 5);
    CHECK(!outq_after_gap(&q, &id)); /* a private segment has no id */
    CHECK_EQ_STR(numbers(&q), "1! ? 0");
    CHECK_EQ_INT(drop(&q, NULL), 0); /* a private segment is never dropped, nor what was begun, nor a gap */
    check_sums(&q);
    push(&q, "c", "", 6, true);
    CHECK(outq_after_gap(&q, &id));
    CHECK_EQ_INT(id.n, 6);
    CHECK_EQ_INT(drop(&q, NULL), 6); /* the tail */
    push(&q, "c", "", 7, true);
    CHECK_EQ_STR(numbers(&q), "1! ? 0 7");
    check_sums(&q);
    outq_clear(&q);
    CHECK(!outq_gap_unwritten(&q));
    check_sums(&q);
}

TEST(only_what_may_be_dropped_is_dropped) {
    struct outq q = {0};
    push(&q, "keep", "", 1, true);
    push(&q, "lossy", "", 2, true);
    push(&q, "keep", "", 3, true);
    push(&q, "lossy", "", 4, true);
    CHECK_EQ_INT(drop(&q, "lossy"), 2);
    CHECK_EQ_INT(drop(&q, "lossy"), 4);
    CHECK_EQ_INT(drop(&q, "lossy"), 0);
    CHECK_EQ_STR(numbers(&q), "1 ? 3");
    CHECK_EQ_INT(drop(&q, "keep"), 1);
    check_sums(&q);
    outq_clear(&q);
}

TEST(a_gap_gets_its_words_when_it_is_due_and_loses_them_when_it_grows) {
    struct outq q = {0};
    size_t len = push(&q, "c", "", 1, true);
    for (uint64_t i = 2; i <= 5; i++)
        push(&q, "c", "", i, true);
    CHECK_EQ_INT(drop(&q, NULL), 1);
    CHECK_EQ_INT(q.bytes, 4 * len);
    struct message *words = message_new_private(slice_of("event: gap\n\n"), true);
    outq_write_gap(&q, words, message_wire(words, false));
    CHECK(!outq_gap_unwritten(&q));
    CHECK(q.bytes > 4 * len);
    CHECK_EQ_INT(q.counted, 4 * len);
    check_sums(&q);
    CHECK_EQ_INT(refs_of(words), 2);
    CHECK_EQ_INT(drop(&q, NULL), 2); /* nobody has read them yet */
    CHECK(outq_gap_unwritten(&q));
    CHECK_EQ_INT(refs_of(words), 1);
    check_sums(&q);
    outq_write_gap(&q, words, message_wire(words, false));
    struct iovec iov[2];
    CHECK_EQ_INT(outq_iov(&q, iov, 2), 2);
    CHECK_EQ_MEM((char *)iov[0].iov_base, iov[0].iov_len, message_wire(words, false).ptr,
                 message_wire(words, false).len);
    outq_advance(&q, 3, NULL); /* into the gap: it stands as it is, another one begins */
    CHECK(q.gap == NULL);
    CHECK_EQ_INT(drop(&q, NULL), 3);
    CHECK_EQ_STR(numbers(&q), "0! ? 4 5");
    check_sums(&q);
    outq_advance(&q, message_wire(words, false).len - 3, NULL);
    CHECK_EQ_STR(numbers(&q), "? 4 5");
    outq_write_gap(&q, words, message_wire(words, false));
    outq_advance(&q, message_wire(words, false).len, NULL); /* whole in one go */
    CHECK(q.gap == NULL);
    CHECK_EQ_STR(numbers(&q), "4 5");
    check_sums(&q);
    outq_clear(&q);
    message_release(words);
}

TEST(before_a_gap_is_what_was_sent_last_or_still_goes_before) {
    struct outq q = {0};
    size_t len = push(&q, "keep", "", 1, true);
    push(&q, "keep", "", 2, true);
    push_private(&q, "own");
    push(&q, "c", "", 3, true);
    outq_advance(&q, len, NULL);
    CHECK_EQ_INT(q.sent.n, 1);
    CHECK_EQ_INT(drop(&q, "c"), 3);
    CHECK_EQ_INT(outq_before_gap(&q).n, 2);
    outq_advance(&q, len, NULL);
    CHECK_EQ_INT(outq_before_gap(&q).n, 2);
    outq_advance(&q, 3, NULL); /* the private segment has no id */
    CHECK_EQ_INT(q.sent.n, 2);
    CHECK_EQ_INT(outq_before_gap(&q).n, 2);
    outq_clear(&q);
}

TEST(a_rest_that_is_pushed_as_begun_stays) {
    struct outq q = {0};
    struct message *m = message_of("c", "t", 10, id_of(1, 1));
    struct slice wire = message_wire(m, true);
    CHECK_EQ_INT(outq_push(&q, m, slice_make(wire.ptr + 3, wire.len - 3), true, true), 0);
    CHECK_EQ_INT(drop(&q, NULL), 0);
    CHECK_EQ_INT(outq_conflate(&q, m), 0);
    struct iovec iov = {0};
    CHECK_EQ_INT(outq_iov(&q, &iov, 1), 1);
    CHECK_EQ_MEM((char *)iov.iov_base, iov.iov_len, wire.ptr + 3, wire.len - 3);
    CHECK_EQ_INT(refs_of(m), 2);
    message_release(m);
    outq_clear(&q);
}

TEST(conflating_drops_the_same_event_type_of_the_same_channel) {
    struct outq q = {0};
    push(&q, "c", "t", 1, true);
    push(&q, "c", "t", 2, true);
    push(&q, "c", "u", 3, true);
    push(&q, "d", "t", 4, true);
    push_private(&q, "own");
    push(&q, "c", "t", 5, true);
    push(&q, "c", "", 6, true);
    push(&q, "c", "t", 7, true);
    outq_advance(&q, 1, NULL);
    struct message *m = message_of("c", "t", 10, id_of(1, 8));
    CHECK_EQ_INT(outq_conflate(&q, m), 3);
    CHECK_EQ_STR(numbers(&q), "1! 3 4 0 6");
    check_sums(&q);
    CHECK_EQ_INT(outq_conflate(&q, m), 0);
    message_release(m);
    m = message_of("c", "", 10, id_of(1, 9));
    CHECK_EQ_INT(outq_conflate(&q, m), 1); /* the tail, and the type that is none */
    CHECK_EQ_STR(numbers(&q), "1! 3 4 0");
    message_release(m);
    push(&q, "e", "", 10, true);
    CHECK_EQ_STR(numbers(&q), "1! 3 4 0 10");
    check_sums(&q);
    outq_clear(&q);
}

TEST(conflating_may_empty_the_queue) {
    struct outq q = {0};
    for (uint64_t i = 1; i <= 3; i++)
        push(&q, "c", "t", i, true);
    struct message *m = message_of("c", "t", 10, id_of(1, 8));
    CHECK_EQ_INT(outq_conflate(&q, m), 3);
    message_release(m);
    CHECK(outq_empty(&q));
    check_sums(&q);
    push(&q, "c", "t", 9, true);
    CHECK_EQ_STR(numbers(&q), "9");
    outq_clear(&q);
}

TEST(without_memory_nothing_is_queued) {
    struct outq q = {0};
    struct message *m = message_of("c", "t", 10, id_of(1, 1));
    check_alloc_fail_at(0);
    CHECK_EQ_INT(outq_push(&q, m, message_wire(m, true), false, true), -ENOMEM);
    CHECK(check_alloc_disarm());
    CHECK_EQ_INT(refs_of(m), 1);
    check_sums(&q);
    message_release(m);
}

CHECK_MAIN()
