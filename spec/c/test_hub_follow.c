/* SPDX-License-Identifier: MIT */
/* The hub where the log is kept elsewhere. */
#include "hub_stream.h"

static void follow(const char *channel, uint64_t ms) {
    CHECK_EQ_INT(hub_follow(hub, draft_of(channel, "", 1), id_of(ms, 0), false, ms, 0), 0);
}

static void setup_following(void) {
    setup(1);
    hub_follow_from(hub, id_of(NOW, 0));
}

TEST(messages_keep_the_ids_that_they_came_with) {
    struct hub_gap gap;
    setup_following();
    CHECK_EQ_STR(text_of(hub_newest(hub)), "1000-0");
    follow("a", 2000);
    follow("a", 2000); /* again: passed over */
    follow("a", 1500); /* older: passed over */
    hub_advance(hub, id_of(2500, 7));
    hub_advance(hub, id_of(2400, 0));
    CHECK_EQ_STR(text_of(hub_newest(hub)), "2500-7");
    struct stream s = open_stream(0, "a", NULL, after(NOW, 0), 2500);
    CHECK(!s.joined.gap.found);
    CHECK_EQ_STR(read_all(&s, 2500, &gap), "2000-0");
    close_stream(&s);
    hub_free(hub);
}

TEST(an_id_that_is_ahead_counts_where_it_is_vouched_for) {
    bool overflowed;
    setup_following();
    struct stream s = open_stream(0, "a", NULL, after(3000, 0), NOW);
    CHECK(s.joined.gap.found); /* nobody knows it */
    close_stream(&s);
    s = open_stream(0, "a", NULL, (struct hub_start){HUB_VOUCHED, id_of(3000, 0)}, NOW);
    CHECK(!s.joined.gap.found && s.joined.live);
    CHECK_EQ_STR(text_of(s.joined.position), "3000-0");
    CHECK_EQ_STR(text_of(s.joined.opening), "3000-0");
    CHECK_EQ_INT(s.joined.epoch, hub_epoch(hub));
    close_stream(&s);
    s = open_stream(0, "a", NULL, (struct hub_start){HUB_UNSURE, id_of(3000, 0)}, NOW);
    CHECK_EQ_INT(s.joined.epoch, HUB_EPOCH_UNSURE);
    follow("a", 2000);
    CHECK_EQ_INT(drain(0, &overflowed), 1);
    close_stream(&s);
    hub_free(hub);
}

TEST(what_is_lost_is_a_gap_for_all) {
    struct hub_gap gap;
    struct inbox inbox = {0};
    setup_following();
    follow("a", 1100);
    follow("b", 1200);
    struct stream s = open_stream(0, "a", NULL, NEW, 1200);
    hub_lose(hub, id_of(5000, 3));
    CHECK(hub_has_mail(hub, 0));
    hub_take(hub, 0, &inbox);
    CHECK(inbox.lost && inbox.count == 0);
    (free)(inbox.items);
    follow("a", 6000);
    CHECK_EQ_STR(read_all(&s, 6000, &gap), "6000-0");
    CHECK(gap.found);
    CHECK_EQ_STR(text_of(gap.id), "5999-18446744073709551615");
    close_stream(&s);
    s = open_stream(0, "b", NULL, after(1150, 0), 6000); /* comes back from before it */
    CHECK(s.joined.gap.found);
    close_stream(&s);
    s = open_stream(0, "b", NULL, after(5000, 3), 6000);
    CHECK(!s.joined.gap.found);
    close_stream(&s);
    hub_free(hub);
}

static unsigned ran, cancelled;

static void run(struct task *task, void *worker) {
    (void)task, (void)worker;
    ran++;
}

static void cancel(struct task *task) {
    (void)task;
    cancelled++;
}

TEST(a_log_that_begins_anew_has_another_epoch) {
    struct inbox inbox = {0};
    struct task task = {.run = run, .cancel = cancel};
    struct task *tasks[1] = {&task};
    struct hub_joined joined;
    setup_following();
    struct stream s = open_stream(0, "a", NULL, NEW, NOW);
    follow("a", 9000);
    hub_restart(hub, id_of(500, 0), tasks);
    follow("a", 600);
    CHECK(hub_epoch(hub) != s.joined.epoch);
    hub_take(hub, 0, &inbox); /* the old log's message, the marker, the new one's */
    CHECK_EQ_INT(inbox.count, 3);
    CHECK(inbox.items[0].message && inbox.items[1].task == &task && inbox.items[2].message);
    message_release(inbox.items[0].message);
    message_release(inbox.items[2].message);
    (free)(inbox.items);
    for (size_t i = 0; i < s.count; i++)
        s.sources[i].since = id_of(0, 0);
    hub_rejoin(hub, s.sources, s.count, 600, &joined);
    CHECK(joined.gap.found && !joined.live);
    CHECK_EQ_INT(joined.epoch, hub_epoch(hub));
    CHECK_EQ_STR(text_of(joined.position), "599-18446744073709551615");
    close_stream(&s);
    hub_free(hub);
    CHECK_EQ_INT(ran + cancelled, 0);
}

static struct hub_channel_row only_row(uint64_t now_ms) {
    struct hub_channel_row rows[64] = {0};
    struct hub_cursor at = {0};
    size_t count, sum = 0;
    while (!at.done) {
        CHECK_EQ_INT(hub_list(hub, &at, slice_of("a"), now_ms, rows + sum, 64 - sum, &count), 0);
        sum += count;
    }
    CHECK_EQ_INT(sum, 1);
    return rows[0];
}

TEST(what_is_followed_is_activity_of_its_channel) {
    enum { NOON = 100000, LATER = 500000 };
    setup_following();
    struct stream s = open_stream(0, "a", NULL, NEW, NOW);
    follow("a", NOON);
    struct hub_channel_row row = only_row(NOON);
    CHECK(row.published == 1 && row.rate > 0);
    /* what was published long before it is read is none of now */
    CHECK_EQ_INT(hub_follow(hub, draft_of("a", "", 1), id_of(NOON + 1, 0), false, LATER, 0), 0);
    row = only_row(LATER);
    CHECK(row.published == 2 && row.rate == 0);
    close_stream(&s);
    hub_free(hub);
}

TEST(changes_of_counts_are_told_once) {
    struct hub_change changes[4];
    uint64_t here, told;
    setup_following();
    struct stream one = open_stream(0, "a", NULL, NEW, NOW), two = open_stream(0, "a", "b", NEW, NOW);
    CHECK_EQ_INT(hub_take_changes(hub, changes, 2), 2);
    CHECK_EQ_INT(hub_take_changes(hub, changes + 2, 2), 1);
    int64_t sum = 0;
    for (int i = 0; i < 3; i++) {
        CHECK(changes[i].by == (slice_is(slice_make(changes[i].name, changes[i].name_len), "b") ? 1 : 2));
        sum += changes[i].by;
    }
    CHECK_EQ_INT(sum, 5); /* all, a, b */
    CHECK_EQ_INT(hub_take_changes(hub, changes, 4), 0);
    close_stream(&two);
    hub_counts(hub, slice_of("a"), &here, &told);
    CHECK(here == 1 && told == 2);
    CHECK_EQ_INT(hub_take_changes(hub, changes, 4), 3);
    hub_counts(hub, slice_of("b"), &here, &told); /* gone once that was told */
    CHECK(here == 0 && told == 0);
    hub_forget_told(hub);
    CHECK_EQ_INT(hub_take_changes(hub, changes, 4), 2);
    close_stream(&one);
    hub_free(hub);
}

CHECK_MAIN()
