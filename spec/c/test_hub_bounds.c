/* SPDX-License-Identifier: MIT */
#include "hub_stream.h"

/* --- bounds ------------------------------------------------------------------------------------- */

struct counted_task {
    struct task task;
    int ran, cancelled;
};

static void run_counted(struct task *task, void *worker) {
    (void)worker;
    ((struct counted_task *)(void *)task)->ran++;
}

static void cancel_counted(struct task *task) {
    ((struct counted_task *)(void *)task)->cancelled++;
}

static struct counted_task counted(void) {
    return (struct counted_task){.task = {.run = run_counted, .cancel = cancel_counted}};
}

/* Publishes until the inbox lets one out. Returns how many it holds. */
static size_t overflow(size_t len, size_t at_most) {
    struct counted_task task = counted();
    struct inbox inbox = {0};
    struct stream s = open_stream(0, "a", NULL, NEW, NOW);
    for (size_t i = 0; i < at_most; i++)
        publish_len("a", len, NOW);
    CHECK_EQ_INT(hub_post(hub, 0, &task.task), 0); /* a task is never left out */
    hub_take(hub, 0, &inbox);
    CHECK(inbox.overflowed);
    CHECK(!hub_has_mail(hub, 0));
    size_t held = inbox.count - 1;
    struct message_id last = {0, 0};
    for (size_t i = 0; i < held; i++) {
        CHECK(message_id_after(inbox.items[i].message->id, last));
        last = inbox.items[i].message->id;
        message_release(inbox.items[i].message);
    }
    CHECK(inbox.items[held].task == &task.task);
    publish_len("a", 1, NOW);
    hub_take(hub, 0, &inbox);
    CHECK(!inbox.overflowed); /* from now on as before */
    CHECK_EQ_INT(inbox.count, 1);
    message_release(inbox.items[0].message);
    (free)(inbox.items);
    close_stream(&s);
    return held;
}

TEST(an_inbox_holds_so_many_bytes) {
    setup(1);
    config.history.messages = 1;
    size_t held = overflow(MIB, 70);
    CHECK(held >= 60 && held <= 64);
    hub_free(hub);
}

TEST(an_inbox_holds_so_many_messages) {
    setup(1);
    config.history.messages = 1;
    CHECK_EQ_INT(overflow(1, INBOX_MAX_ITEMS + 10), INBOX_MAX_ITEMS);
    hub_free(hub);
}

TEST(all_histories_together_are_bounded) {
    struct hub_stats stats;
    setup(1);
    config.history_total_bytes = 5 * MIB;
    hub_free(hub);
    hub = hub_new(&config, 1, &OPS, NOW);
    for (int i = 0; i < 30; i++) {
        char name[20];
        snprintf(name, sizeof name, "c%d", i);
        publish_len(name, MIB - 1000, NOW);
        hub_stats(hub, &stats);
        CHECK(stats.history_bytes <= 5 * MIB);
        CHECK_EQ_INT(stats.history_messages, i < 5 ? i + 1 : 5);
    }
    CHECK_EQ_INT(stats.published, 30);
    hub_sweep(hub, NOW);
    hub_stats(hub, &stats);
    CHECK_EQ_INT(stats.channels, 5); /* those that hold something */
    hub_free(hub);
}

TEST(a_rule_bounds_its_channels_history) {
    struct channel_rule rules[] = {
        {.pattern = {(char *)(uintptr_t) "q.", 2, 2}, .prefix = true, .history = {2, MIB, 1000}}};
    struct hub_channel_stats stats;
    setup(1);
    config.rules = rules;
    config.rule_count = 1;
    for (int i = 0; i < 5; i++) {
        publish("q.eur", NOW);
        publish("news", NOW);
    }
    hub_channel_stats(hub, slice_of("q.eur"), NOW, &stats);
    CHECK_EQ_INT(stats.messages, 2);
    hub_channel_stats(hub, slice_of("news"), NOW, &stats);
    CHECK_EQ_INT(stats.messages, 5);
    hub_free(hub);
}

TEST(a_sweep_goes_over_all_channels_in_some_calls) {
    struct hub_stats stats;
    setup(1);
    config.history.age_ms = 10;
    for (int i = 0; i < 3000; i++) {
        char name[20];
        snprintf(name, sizeof name, "c%d", i);
        publish(name, NOW);
    }
    struct stream s = open_stream(0, "c7", NULL, NEW, NOW);
    for (int i = 0; i < 10; i++)
        hub_sweep(hub, NOW + 1000);
    hub_stats(hub, &stats);
    CHECK_EQ_INT(stats.channels, 1); /* the one with a subscriber */
    CHECK_EQ_INT(stats.history_messages, 0);
    close_stream(&s);
    hub_stats(hub, &stats);
    CHECK_EQ_INT(stats.channels, 0);
    hub_free(hub);
}

/* --- ends --------------------------------------------------------------------------------------- */

TEST(a_closed_inbox_takes_nothing) {
    struct counted_task tasks[2] = {counted(), counted()}, before = counted(), late = counted();
    struct task *all[2] = {&tasks[0].task, &tasks[1].task};
    bool overflowed;
    setup(2);
    struct stream s0 = open_stream(0, "a", NULL, NEW, NOW), s1 = open_stream(1, "a", NULL, NEW, NOW);
    CHECK_EQ_INT(hub_post(hub, 1, &before.task), 0);
    hub_close_inbox(hub, 1);
    CHECK_EQ_INT(hub_post(hub, 1, &late.task), -ESRCH);
    CHECK_EQ_INT(late.cancelled, 0); /* it stays the caller's */
    hub_post_all(hub, all);
    CHECK_EQ_INT(tasks[0].cancelled, 0);
    CHECK_EQ_INT(tasks[1].cancelled, 1);
    publish("a", NOW);
    close_stream(&s0);
    close_stream(&s1);
    struct inbox inbox = {0};
    hub_take(hub, 1, &inbox);
    CHECK_EQ_INT(inbox.count, 1); /* what came before */
    CHECK(inbox.items[0].task == &before.task);
    CHECK(!inbox.overflowed);
    (free)(inbox.items);
    CHECK_EQ_INT(drain(1, &overflowed), 0);
    hub_free(hub); /* with mail for worker 0 */
    CHECK_EQ_INT(tasks[0].cancelled, 1);
    CHECK_EQ_INT(tasks[0].ran, 0);
}

TEST(without_memory_there_is_no_hub) {
    setup(2);
    hub_free(hub);
    hub_free(NULL);
    for (int n = 0;; n++) {
        check_alloc_fail_at(n);
        hub = hub_new(&config, 2, &OPS, NOW);
        CHECK_NOTE("allocation %d", n);
        if (!check_alloc_disarm())
            break;
        CHECK(hub == NULL);
    }
    CHECK(hub != NULL);
    hub_free(hub);
}

TEST(without_memory_nothing_is_subscribed_or_published) {
    struct hub_published published;
    struct hub_stats stats;
    struct hub_joined joined;
    setup(1);
    struct message *m = message_retain(draft_of("a", "", 1));
    check_alloc_fail_at(0);
    CHECK_EQ_INT(hub_publish(hub, m, HUB_NO_WORKER, NOW + 5, 0, &published), -ENOMEM);
    CHECK(check_alloc_disarm());
    CHECK_EQ_INT(refs_of(m), 1);
    message_release(m);
    CHECK_EQ_STR(text_of(hub_newest(hub)), "1000-0");
    struct hub_source sources[3] = {{.name = slice_of(REGISTRY_ALL)}};
    for (int i = 1; i < 3; i++) {
        sources[i].name = slice_of(i == 1 ? "a" : "b");
        sources[i].hash = hub_hash(hub, sources[i].name);
    }
    for (int n = 0; n < 2; n++) {
        check_alloc_fail_at(n);
        CHECK_EQ_INT(hub_subscribe(hub, 0, sources, 3, NEW, NOW, &joined), -ENOMEM);
        CHECK(check_alloc_disarm());
        hub_stats(hub, &stats);
        CHECK_EQ_INT(stats.channels, 0);
        CHECK_EQ_INT(publish_len(REGISTRY_ALL, 1, NOW).subscribers, 0);
    }
    check_alloc_fail_at(0);
    CHECK_EQ_INT(hub_subscribe_later(hub, 0, &sources[1]), -ENOMEM);
    CHECK(check_alloc_disarm());
    hub_free(hub);
}

CHECK_MAIN()
