/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"
#include "messages.h"

#include "../../core/channel.c"
#include "../../core/registry.c"
#include "../../core/table.c"

enum { READERS = 6 };

/* A subscriber with one subscription that counts what it is given. */
static struct reader {
    struct subscriber sub;
    struct subscription subscription;
    uint64_t got[64];
    size_t count;
} readers[READERS];

static struct registry registry;

static void deliver(struct subscriber *s) {
    struct reader *reader = list_entry(s, struct reader, sub);
    struct owed owed[8];
    size_t n = channel_owed(s, registry.all, owed, 8);
    for (size_t i = 0; i < n; i++) {
        reader->got[reader->count++] = owed[i].message->id.n;
        s->position = owed[i].message->id;
    }
}

static const struct subscriber_ops OPS = {.deliver = deliver};

static uint64_t hash_of(const char *name) {
    return slice_hash(slice_of(name)) & 3; /* channels share a hash now and then */
}

static struct channel *open_channel(const char *name) {
    return registry_open(&registry, hash_of(name), slice_of(name));
}

static struct channel *find_channel(const char *name) {
    return registry_find(&registry, hash_of(name), slice_of(name));
}

static void join(struct reader *reader, const char *name) {
    *reader = (struct reader){.sub.state = SUBSCRIBER_LIVE};
    struct subscription *s = &reader->subscription;
    list_init(&s->node);
    list_init(&reader->sub.all_node);
    s->subscriber = &reader->sub;
    s->channel = open_channel(name);
    reader->sub.subs = s;
    channel_link(s->channel, &s->node);
    channel_link(registry.all, &reader->sub.all_node);
}

static void leave(struct reader *reader) {
    struct channel *ch = reader->subscription.channel;
    channel_unlink(ch, &reader->subscription.node);
    channel_unlink(registry.all, &reader->sub.all_node);
    registry_close_unused(&registry, ch);
}

/* Pushes a message with the next id. */
static void push(const char *name, uint64_t n) {
    struct message *m = message_of(name, "", 1, id_of(1, n));
    m->channel_hash = hash_of(name);
    CHECK_EQ_INT(registry_push(&registry, m), 0);
}

static const char *got(const struct reader *reader) {
    static char text[200];
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < reader->count; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%d", i ? " " : "", (int)reader->got[i]);
    return text;
}

TEST(channels_are_found_by_their_name) {
    static const char *const NAMES[] = {"a", "b", "c", "d", "e", "a.b", "ab", "A"};
    struct channel *channels[8];
    REQUIRE(registry_init(&registry, &OPS) == 0);
    for (int i = 0; i < 8; i++) {
        CHECK(find_channel(NAMES[i]) == NULL);
        channels[i] = open_channel(NAMES[i]);
        CHECK(channels[i] != NULL);
    }
    for (int i = 0; i < 8; i++) {
        CHECK(find_channel(NAMES[i]) == channels[i]);
        CHECK(open_channel(NAMES[i]) == channels[i]);
        CHECK_EQ_MEM(channels[i]->name, channels[i]->name_len, NAMES[i], strlen(NAMES[i]));
    }
    for (int i = 0; i < 8; i++) {
        registry_close_unused(&registry, channels[i]);
        for (int k = 0; k < 8; k++)
            CHECK(find_channel(NAMES[k]) == (k > i ? channels[k] : NULL));
    }
    registry_close_unused(&registry, registry.all); /* lives as long as the registry */
    open_channel("left open");
    registry_deinit(&registry);
    registry_deinit(&registry);
}

/* A stream that has not begun yet holds its channel and is in no ring; another one leaves the channel meanwhile. */
TEST(a_channel_lives_while_somebody_holds_it) {
    REQUIRE(registry_init(&registry, &OPS) == 0);
    join(&readers[0], "a");
    struct channel *held = open_channel("a");
    held->holds++;
    leave(&readers[0]);
    CHECK(find_channel("a") == held);
    CHECK_EQ_INT(held->count, 0);
    held->holds--;
    registry_close_unused(&registry, held);
    CHECK(find_channel("a") == NULL);
    registry_deinit(&registry);
}

TEST(messages_reach_their_channels_subscribers_and_sluice_all_everybody) {
    REQUIRE(registry_init(&registry, &OPS) == 0);
    for (int i = 0; i < READERS; i++)
        join(&readers[i], i % 2 ? "odd" : "even");
    push("odd", 1);
    push("even", 2);
    push("nobody", 3);
    push(REGISTRY_ALL, 4);
    push("odd", 5);
    CHECK(!registry_step(&registry, 1000));
    for (int i = 0; i < READERS; i++) {
        CHECK_NOTE("reader %d", i);
        CHECK_EQ_STR(got(&readers[i]), i % 2 ? "1 4 5" : "2 4");
    }
    for (int i = 0; i < READERS; i++)
        leave(&readers[i]);
    CHECK(find_channel("odd") == NULL);
    registry_deinit(&registry);
}

TEST(what_nobody_here_wants_is_let_go) {
    REQUIRE(registry_init(&registry, &OPS) == 0);
    struct channel *ch = open_channel("a"); /* known, without subscribers */
    struct message *m = message_of("a", "", 1, id_of(1, 1)), *all = message_of(REGISTRY_ALL, "", 1, id_of(1, 2));
    m->channel_hash = hash_of("a");
    CHECK_EQ_INT(registry_push(&registry, message_retain(m)), 0);
    CHECK_EQ_INT(registry_push(&registry, message_retain(all)), 0);
    CHECK_EQ_INT(refs_of(m), 1);
    CHECK_EQ_INT(refs_of(all), 1);
    CHECK(!registry_step(&registry, 10));
    message_release(m);
    message_release(all);
    registry_close_unused(&registry, ch);
    registry_deinit(&registry);
}

TEST(steps_are_small_and_everybody_comes_in_turn) {
    REQUIRE(registry_init(&registry, &OPS) == 0);
    for (int i = 0; i < READERS; i++)
        join(&readers[i], i % 2 ? "odd" : "even");
    push("odd", 1);
    push("even", 2);
    size_t sum = 0;
    for (size_t steps = 1; steps <= READERS; steps++) {
        CHECK(registry_step(&registry, 1) == (steps < READERS));
        sum = 0;
        for (int i = 0; i < READERS; i++)
            sum += readers[i].count;
        CHECK_EQ_INT(sum, steps);
        CHECK_EQ_INT(readers[1].count + readers[3].count + readers[5].count, (steps + 1) / 2); /* by turns */
    }
    CHECK(!registry_step(&registry, 1));
    push("odd", 3);
    CHECK(registry_step(&registry, 0));
    CHECK(!registry_step(&registry, 3));
    CHECK_EQ_STR(got(&readers[3]), "1 3");
    for (int i = 0; i < READERS; i++)
        leave(&readers[i]);
    registry_deinit(&registry);
}

TEST(a_channel_that_goes_while_it_is_busy_is_forgotten) {
    REQUIRE(registry_init(&registry, &OPS) == 0);
    join(&readers[0], "a");
    join(&readers[1], "b");
    push("a", 1);
    push("b", 2);
    push(REGISTRY_ALL, 3);
    leave(&readers[0]);
    CHECK(!registry_step(&registry, 100));
    CHECK_EQ_STR(got(&readers[1]), "2 3");
    push(REGISTRY_ALL, 4);
    leave(&readers[1]);
    CHECK(!registry_step(&registry, 100));
    CHECK(list_empty(&registry.busy));
    registry_deinit(&registry);
}

TEST(without_memory_nothing_is_opened_and_messages_stay_the_callers) {
    check_alloc_fail_at(0);
    CHECK_EQ_INT(registry_init(&registry, &OPS), -ENOMEM);
    CHECK(check_alloc_disarm());
    registry_deinit(&registry);
    check_alloc_fail_at(1);
    CHECK_EQ_INT(registry_init(&registry, &OPS), -ENOMEM);
    CHECK(check_alloc_disarm());
    registry_deinit(&registry);
    REQUIRE(registry_init(&registry, &OPS) == 0);
    check_alloc_fail_at(0);
    CHECK(open_channel("a") == NULL);
    CHECK(check_alloc_disarm());
    CHECK(find_channel("a") == NULL);
    join(&readers[0], "a");
    struct message *m = message_of("a", "", 1, id_of(1, 1));
    m->channel_hash = hash_of("a");
    check_alloc_fail_at(0);
    CHECK_EQ_INT(registry_push(&registry, m), -ENOMEM);
    CHECK(check_alloc_disarm());
    CHECK_EQ_INT(refs_of(m), 1);
    CHECK(!registry_step(&registry, 100));
    CHECK_EQ_INT(registry_push(&registry, m), 0);
    CHECK(!registry_step(&registry, 100));
    CHECK_EQ_STR(got(&readers[0]), "1");
    leave(&readers[0]);
    registry_deinit(&registry);
}

CHECK_MAIN()
