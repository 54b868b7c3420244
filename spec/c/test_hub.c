/* SPDX-License-Identifier: MIT */
#include "hub_stream.h"

static const struct hub_start EARLIEST = {.kind = HUB_EARLIEST};

/* --- ids ---------------------------------------------------------------------------------------- */

TEST(ids_follow_the_clock_and_never_go_back) {
    setup(1);
    CHECK_EQ_STR(text_of(hub_newest(hub)), "1000-0");
    CHECK_EQ_STR(publish("a", 1000), "1000-1"); /* the log's start is an id too */
    CHECK_EQ_STR(publish("b", 1000), "1000-2");
    CHECK_EQ_STR(publish("a", 1001), "1001-0");
    CHECK_EQ_STR(publish("a", 500), "1001-1"); /* the clock stepped back */
    CHECK_EQ_STR(publish("a", 0), "1001-2");
    CHECK_EQ_STR(publish("a", 1001), "1001-3");
    CHECK_EQ_STR(publish("a", 1002), "1002-0");
    CHECK_EQ_STR(text_of(hub_newest(hub)), "1002-0");
    hub_free(hub);
}

/* --- where a stream begins ---------------------------------------------------------------------- */

TEST(a_new_stream_begins_at_the_newest_id) {
    setup(1);
    struct stream s = open_stream(0, "a", NULL, NEW, NOW);
    CHECK(s.joined.live && !s.joined.gap.found);
    CHECK_EQ_STR(text_of(s.joined.opening), "1000-0");
    close_stream(&s);
    publish("a", 2000);
    s = open_stream(0, "a", NULL, NEW, 2000);
    CHECK_EQ_STR(text_of(s.joined.opening), "2000-0");
    CHECK_EQ_STR(text_of(s.joined.position), "2000-0");
    close_stream(&s);
    hub_free(hub);
}

TEST(a_stream_goes_on_after_its_id) {
    struct hub_gap gap;
    setup(1);
    struct stream s = open_stream(0, "a", NULL, after(NOW, 0), NOW); /* its opening id, before any message */
    CHECK(s.joined.live && !s.joined.gap.found);
    close_stream(&s);
    for (uint64_t i = 1; i <= 6; i++)
        publish(i % 3 ? i % 3 == 1 ? "a" : "b" : REGISTRY_ALL, NOW + i);
    s = open_stream(0, "a", "b", after(NOW, 0), NOW);
    CHECK(!s.joined.live && !s.joined.gap.found);
    CHECK_EQ_STR(text_of(s.joined.opening), "1000-0");
    CHECK_EQ_STR(read_all(&s, NOW, &gap), "1001-0 1002-0 1003-0 1004-0 1005-0 1006-0");
    CHECK(!gap.found);
    close_stream(&s);
    s = open_stream(0, "b", NULL, after(NOW + 2, 0), NOW);
    CHECK_EQ_STR(read_all(&s, NOW, &gap), "1003-0 1005-0 1006-0");
    close_stream(&s);
    s = open_stream(0, "b", NULL, after(NOW + 2, 5), NOW); /* an id that was never given, between two */
    CHECK_EQ_STR(read_all(&s, NOW, &gap), "1003-0 1005-0 1006-0");
    close_stream(&s);
    s = open_stream(0, "a", "b", after(NOW + 6, 0), NOW);
    CHECK(s.joined.live && !s.joined.gap.found);
    close_stream(&s);
    hub_free(hub);
}

TEST(earliest_is_all_that_is_kept_and_no_gap) {
    struct hub_gap gap;
    setup(1);
    config.history.messages = 2;
    struct stream s = open_stream(0, "a", "b", EARLIEST, NOW);
    CHECK(s.joined.live);
    CHECK_EQ_STR(text_of(s.joined.opening), "1000-0");
    for (uint64_t i = 1; i <= 8; i++)
        publish(i % 2 ? "a" : "b", NOW + i);
    close_stream(&s);
    s = open_stream(0, "a", "b", EARLIEST, NOW);
    CHECK(!s.joined.live && !s.joined.gap.found);
    CHECK_EQ_STR(text_of(s.joined.opening), "1004-18446744073709551615"); /* just before the first */
    CHECK_EQ_STR(read_all(&s, NOW, &gap), "1005-0 1006-0 1007-0 1008-0");
    CHECK(!gap.found);
    close_stream(&s);
    hub_free(hub);
}

/* --- gaps --------------------------------------------------------------------------------------- */

static const struct gap_case {
    const char *name;
    struct hub_start start;
    const char *gap; /* of a, b: "-", "a", "b" or "ab" */
    const char *oldest, *newest, *id;
    const char *messages;
} GAPS[] = {
    /* a keeps 1005, 1007 of 1001, 1003, 1005, 1007; b keeps 1002 and 1004; the newest id is 1008, of another channel */
    {"a: before what was dropped",
     {HUB_AFTER, {1002, 0}},
     "a",
     "1005-0",
     "1007-0",
     "1003-18446744073709551615",
     "1004-0 1005-0 1007-0"},
    {"at what was dropped last", {HUB_AFTER, {1003, 0}}, "-", "0-0", "0-0", "0-0", "1004-0 1005-0 1007-0"},
    {"just before that",
     {HUB_AFTER, {1002, UINT64_MAX}},
     "a",
     "1005-0",
     "1007-0",
     "1003-18446744073709551615",
     "1004-0 1005-0 1007-0"},
    {"the log's start",
     {HUB_AFTER, {1000, 0}},
     "a",
     "1005-0",
     "1007-0",
     "1001-18446744073709551615",
     "1002-0 1004-0 1005-0 1007-0"},
    {"before the log's start",
     {HUB_AFTER, {999, 9}},
     "ab",
     "1002-0",
     "1007-0",
     "1001-18446744073709551615",
     "1002-0 1004-0 1005-0 1007-0"},
    {"the newest", {HUB_AFTER, {1008, 0}}, "-", "0-0", "0-0", "0-0", ""},
    {"later than the newest",
     {HUB_AFTER, {1008, 1}},
     "ab",
     "1002-0",
     "1007-0",
     "1001-18446744073709551615",
     "1002-0 1004-0 1005-0 1007-0"},
    {"far later",
     {HUB_AFTER, {UINT64_MAX, UINT64_MAX}},
     "ab",
     "1002-0",
     "1007-0",
     "1001-18446744073709551615",
     "1002-0 1004-0 1005-0 1007-0"},
    {"no id at all",
     {HUB_NONSENSE, {0, 0}},
     "ab",
     "1002-0",
     "1007-0",
     "1001-18446744073709551615",
     "1002-0 1004-0 1005-0 1007-0"},
    {"0-0", {HUB_AFTER, {0, 0}}, "ab", "1002-0", "1007-0", "1001-18446744073709551615", "1002-0 1004-0 1005-0 1007-0"},
};

TEST(gaps_are_said_and_said_exactly) {
    for (size_t i = 0; i < sizeof GAPS / sizeof *GAPS; i++) {
        const struct gap_case *c = &GAPS[i];
        struct hub_gap gap;
        setup(1);
        config.history.messages = 2;
        for (uint64_t n = 1; n <= 7; n++) {
            if (n != 6)
                publish(n % 2 ? "a" : "b", NOW + n);
        }
        publish("other", NOW + 8);
        struct stream s = open_stream(0, "a", "b", c->start, NOW);
        CHECK_NOTE("%s", c->name);
        CHECK_EQ_INT(s.joined.gap.found, c->gap[0] != '-');
        CHECK_EQ_INT(s.sources[0].gap, false);
        CHECK_EQ_INT(s.sources[1].gap, strchr(c->gap, 'a') != NULL);
        CHECK_EQ_INT(s.sources[2].gap, strchr(c->gap, 'b') != NULL);
        CHECK_EQ_STR(text_of(s.joined.gap.oldest), c->oldest);
        CHECK_EQ_STR(text_of(s.joined.gap.newest), c->newest);
        CHECK_EQ_STR(text_of(s.joined.gap.id), c->id);
        CHECK_EQ_STR(read_all(&s, NOW, &gap), c->messages);
        CHECK(!gap.found); /* it is said once */
        close_stream(&s);
        if (s.joined.gap.found) { /* who was told and comes back by the gap's id has nothing twice and nothing less */
            s = open_stream(0, "a", "b", (struct hub_start){HUB_AFTER, s.joined.gap.id}, NOW);
            CHECK_EQ_STR(read_all(&s, NOW, &gap), c->messages);
            close_stream(&s);
        }
        hub_free(hub);
    }
}

TEST(a_gap_without_anything_kept_has_the_newest_id) {
    struct hub_gap gap;
    setup(1);
    config.history.messages = 0;
    publish("a", NOW + 1);
    publish("other", NOW + 2);
    struct stream s = open_stream(0, "a", NULL, after(NOW, 0), NOW);
    CHECK(s.joined.gap.found && !s.joined.gap.any_kept && s.joined.live);
    CHECK_EQ_STR(text_of(s.joined.gap.id), "1002-0");
    CHECK_EQ_STR(text_of(s.joined.position), "1002-0");
    CHECK_EQ_STR(text_of(s.joined.opening), "1000-0");
    CHECK_EQ_STR(read_all(&s, NOW, &gap), "");
    CHECK(!gap.found);
    close_stream(&s);
    hub_free(hub);
}

TEST(sluice_all_takes_part_in_replay_and_gaps) {
    struct hub_gap gap;
    setup(1);
    config.history.messages = 1;
    hub_free(hub);
    hub = hub_new(&config, 1, &OPS, NOW); /* its history's limits are those of the start */
    publish(REGISTRY_ALL, NOW + 1);
    publish(REGISTRY_ALL, NOW + 2);
    struct stream s = open_stream(0, "a", NULL, after(NOW, 0), NOW);
    CHECK(s.joined.gap.found && s.sources[0].gap && !s.sources[1].gap);
    CHECK_EQ_STR(read_all(&s, NOW, &gap), "1002-0");
    close_stream(&s);
    hub_free(hub);
}

/* That is the case of a slow client: what it did not read in time is dropped behind its back. */
TEST(history_that_is_trimmed_ahead_of_a_replay_is_said) {
    struct message *messages[2];
    unsigned from[2];
    struct hub_gap gap;
    bool live;
    setup(1);
    config.history.messages = 4;
    for (uint64_t i = 1; i <= 4; i++)
        publish("a", NOW + i);
    publish("b", NOW + 5);
    struct stream s = open_stream(0, "a", "b", after(NOW, 0), NOW);
    CHECK_EQ_INT(hub_read(hub, s.sources, 3, &s.joined.position, messages, from, 2, 1 << 20, NOW, &live, &gap), 2);
    CHECK(!gap.found && !live);
    CHECK_EQ_STR(text_of(s.joined.position), "1002-0");
    CHECK_EQ_INT(from[1], 1);
    message_release(messages[0]);
    message_release(messages[1]);
    for (uint64_t i = 6; i <= 8; i++)
        publish("a", NOW + i); /* 1003 goes */
    CHECK_EQ_STR(read_all(&s, NOW, &gap), "1004-0 1005-0 1006-0 1007-0 1008-0");
    CHECK(gap.found);
    CHECK(s.sources[1].gap == false); /* of the last read */
    CHECK_EQ_STR(text_of(gap.oldest), "1004-0");
    CHECK_EQ_STR(text_of(gap.id), "1003-18446744073709551615");
    close_stream(&s);
    hub_free(hub);
}

TEST(what_a_channel_held_is_known_when_it_is_gone) {
    struct hub_gap gap;
    struct hub_channel_stats stats;
    setup(1);
    config.history.age_ms = 100;
    publish("a", NOW + 1);
    publish("a", NOW + 2);
    hub_sweep(hub, NOW + 103);
    hub_channel_stats(hub, slice_of("a"), NOW + 103, &stats);
    CHECK(!stats.exists);
    struct stream s = open_stream(0, "a", NULL, after(NOW + 1, 0), NOW + 103);
    CHECK(s.joined.gap.found && s.sources[1].gap);
    close_stream(&s);
    s = open_stream(0, "a", NULL, after(NOW + 2, 0), NOW + 103);
    CHECK(!s.joined.gap.found);
    publish("a", NOW + 200);
    close_stream(&s);
    s = open_stream(0, "a", NULL, after(NOW + 1, 0), NOW + 203); /* the next one knows what the first had */
    CHECK(s.joined.gap.found);
    CHECK_EQ_STR(read_all(&s, NOW + 203, &gap), "1200-0");
    close_stream(&s);
    hub_free(hub);
}

/* The memory of channels that are gone is bounded: some share a place, and then a gap is said once too often. */
TEST(channels_that_are_gone_may_lend_their_end_but_never_lose_it) {
    setup(1);
    config.history.messages = 0;
    char name[20] = "b";
    uint64_t slot = hub_hash(hub, slice_of("a")) & (HUB_FLOORS - 1);
    for (int i = 0; (hub_hash(hub, slice_of(name)) & (HUB_FLOORS - 1)) != slot; i++)
        snprintf(name, sizeof name, "b%d", i);
    publish("a", NOW + 5);
    publish(name, NOW + 3); /* by the clock earlier, by its id later */
    struct stream s = open_stream(0, "a", NULL, after(NOW + 1, 0), NOW);
    CHECK(s.joined.gap.found);
    close_stream(&s);
    s = open_stream(0, "a", NULL, after(NOW + 5, 0), NOW); /* had all of a, but the place is shared */
    CHECK(s.joined.gap.found);
    close_stream(&s);
    s = open_stream(0, name, NULL, after(NOW + 5, 0), NOW);
    CHECK(s.joined.gap.found);
    close_stream(&s);
    s = open_stream(0, name, NULL, after(NOW + 5, 1), NOW);
    CHECK(!s.joined.gap.found);
    close_stream(&s);
    struct stream a = open_stream(0, "a", NULL, NEW, NOW), b = open_stream(0, name, NULL, NEW, NOW);
    publish("a", NOW + 10);
    publish(name, NOW + 11);
    close_stream(&b);
    close_stream(&a); /* the one that goes last ended first */
    s = open_stream(0, name, NULL, after(NOW + 10, 0), NOW);
    CHECK(s.joined.gap.found);
    close_stream(&s);
    hub_free(hub);
}

/* A gap that an upper layer made itself asks for what is there. */
TEST(what_is_kept_is_told_for_the_channels_with_a_gap) {
    struct hub_gap gap = {.found = true};
    setup(1);
    for (uint64_t i = 1; i <= 6; i++)
        publish(i % 2 ? "a" : "b", NOW + i);
    struct stream s = open_stream(0, "a", "b", NEW, NOW);
    hub_kept(hub, s.sources, s.count, NOW, &gap);
    CHECK(!gap.any_kept);
    s.sources[2].gap = true;
    hub_kept(hub, s.sources, s.count, NOW, &gap);
    CHECK(gap.any_kept);
    CHECK_EQ_STR(text_of(gap.oldest), "1002-0");
    CHECK_EQ_STR(text_of(gap.newest), "1006-0");
    s.sources[1].gap = true;
    hub_kept(hub, s.sources, s.count, NOW, &gap);
    CHECK_EQ_STR(text_of(gap.oldest), "1001-0");
    gap = (struct hub_gap){.found = true};
    hub_kept(hub, s.sources, s.count, NOW + 10000000, &gap); /* too old by now */
    CHECK(!gap.any_kept);
    close_stream(&s);
    hub_free(hub);
}

TEST(a_channel_joined_later_is_live_only) {
    struct hub_gap gap;
    setup(1);
    publish("a", NOW + 1);
    publish("b", NOW + 2);
    struct stream s = open_stream(0, "a", NULL, after(NOW, 0), NOW);
    s.sources[2] = (struct hub_source){.name = slice_of("b"), .hash = hub_hash(hub, slice_of("b"))};
    CHECK_EQ_INT(hub_subscribe_later(hub, 0, &s.sources[2]), 0);
    s.count = 3;
    publish("b", NOW + 3);
    publish("a", NOW + 4);
    CHECK_EQ_STR(read_all(&s, NOW, &gap), "1001-0 1003-0 1004-0");
    close_stream(&s);
    hub_free(hub);
}

/* --- who is told -------------------------------------------------------------------------------- */

TEST(subscribers_are_counted_over_all_workers) {
    struct hub_channel_stats stats;
    setup(3);
    struct stream s[4];
    for (unsigned i = 0; i < 4; i++)
        s[i] = open_stream(i % 3, "a", i == 3 ? "b" : NULL, NEW, NOW);
    CHECK_EQ_INT(publish_len("a", 1, NOW).subscribers, 4);
    CHECK_EQ_INT(publish_len("b", 1, NOW).subscribers, 1);
    CHECK_EQ_INT(publish_len(REGISTRY_ALL, 1, NOW).subscribers, 4);
    CHECK_EQ_INT(publish_len("c", 1, NOW).subscribers, 0);
    hub_channel_stats(hub, slice_of("a"), NOW, &stats);
    CHECK(stats.exists && stats.subscribers == 4 && stats.messages == 1);
    CHECK_EQ_STR(text_of(stats.oldest), "1000-1");
    for (int i = 0; i < 4; i++)
        close_stream(&s[i]);
    CHECK_EQ_INT(publish_len("a", 1, NOW).subscribers, 0);
    hub_free(hub);
}

TEST(only_workers_with_subscribers_are_woken_once_and_never_the_publisher) {
    struct hub_published published;
    bool overflowed;
    setup(3);
    struct stream s0 = open_stream(0, "a", NULL, NEW, NOW), s1 = open_stream(1, "a", NULL, NEW, NOW);
    CHECK_EQ_INT(hub_publish(hub, draft_of("a", "", 1), 0, NOW, 0, &published), 0);
    CHECK_EQ_INT(hub_publish(hub, draft_of("a", "", 1), 2, NOW, 0, &published), 0);
    CHECK_EQ_INT(wakes[0], 0); /* it was the first, and looks by itself */
    CHECK_EQ_INT(wakes[1], 1);
    CHECK_EQ_INT(wakes[2], 0);
    CHECK(hub_has_mail(hub, 0) && hub_has_mail(hub, 1) && !hub_has_mail(hub, 2));
    CHECK_EQ_INT(drain(1, &overflowed), 2);
    CHECK_EQ_INT(hub_publish(hub, draft_of("a", "", 1), HUB_NO_WORKER, NOW, 0, &published), 0);
    CHECK_EQ_INT(wakes[1], 2);
    close_stream(&s0);
    close_stream(&s1);
    hub_free(hub);
}

CHECK_MAIN()
