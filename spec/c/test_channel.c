/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"
#include "check_random.h"
#include "messages.h"

#include "../../core/channel.c"

/* --- filters ------------------------------------------------------------------------------------ */

static bool passes(const struct filter *f, const char *event) {
    struct message *m = message_of("c", event, 1, id_of(1, 1));
    bool match = filter_match(f, m);
    message_release(m);
    return match;
}

TEST(a_filter_asks_for_types_and_a_prefix) {
    struct filter *f = filter_new();
    REQUIRE(f != NULL);
    CHECK_EQ_INT(f->function, FILTER_NO_FUNCTION);
    CHECK(passes(f, "") && passes(f, "any"));
    buf_append_text(&f->types, "trade\nmessage\nquote.eur\n");
    CHECK(passes(f, "trade"));
    CHECK(passes(f, "quote.eur"));
    CHECK(passes(f, "")); /* without a type it is "message" */
    CHECK(passes(f, "message"));
    CHECK(!passes(f, "trad"));
    CHECK(!passes(f, "trades"));
    CHECK(!passes(f, "rade"));
    CHECK(!passes(f, "quote"));
    buf_append_text(&f->prefix, "quote.");
    CHECK(passes(f, "quote.eur"));
    CHECK(!passes(f, "trade"));
    CHECK(!passes(f, "quote."));
    buf_clear(&f->types);
    CHECK(passes(f, "quote."));
    CHECK(!passes(f, "quote"));
    CHECK(!passes(f, "Quote.x"));
    CHECK(!passes(f, ""));
    buf_clear(&f->prefix);
    buf_append_text(&f->prefix, "mess");
    CHECK(passes(f, ""));
    filter_release(f);
    filter_release(NULL);
}

static void drop_function(struct filter *f, void *context) {
    CHECK_EQ_INT(f->function, 17);
    ++*(int *)context;
}

TEST(the_last_reference_gives_the_function_back) {
    int drops = 0;
    struct filter *f = filter_new();
    f->function = 17;
    f->drop = drop_function;
    f->context = &drops;
    filter_retain(f);
    filter_release(f);
    CHECK_EQ_INT(drops, 0);
    filter_release(f);
    CHECK_EQ_INT(drops, 1);
    check_alloc_fail_at(0);
    CHECK(filter_new() == NULL);
    CHECK(check_alloc_disarm());
}

/* --- a model of subscribers --------------------------------------------------------------------- */

enum { CHANNELS = 4, READERS = 30, MESSAGES = 6000 }; /* channel 0 is `sluice.all` */

static const char *const NAMES[CHANNELS] = {"sluice.all", "a", "b", "c"};

static struct entry {
    struct message *message; /* with a reference of the test's own */
    int channel;
    uint64_t done_at; /* by the model: visits of its channel at which it must have gone */
} entries[MESSAGES];

static struct reader {
    struct subscriber sub;
    struct subscription subs[CHANNELS];
    bool linked[CHANNELS];
    size_t next; /* entries before this one were delivered or are none of its own */
} readers[READERS];

static struct channel *channels[CHANNELS];
static uint64_t visits[CHANNELS]; /* by the model */
static size_t newest, oldest;     /* entries that were pushed; the first that may be pending */
static struct check_random r;
static int channel_in_step;
static size_t delivered;

static struct message_id newest_id(void) {
    return newest ? entries[newest - 1].message->id : id_of(0, 0);
}

static bool expects(const struct reader *reader, size_t at) {
    const struct entry *e = &entries[at];
    return reader->linked[e->channel] &&
           (e->channel == 0 || message_id_after(e->message->id, reader->subs[e->channel].since));
}

/* Moves to the next message that the reader must be given; false where none is left. */
static bool seek(struct reader *reader) {
    while (reader->next < newest && !expects(reader, reader->next))
        reader->next++;
    return reader->next < newest;
}

static void deliver(struct subscriber *s) {
    struct reader *reader = list_entry(s, struct reader, sub);
    CHECK(reader->linked[channel_in_step]);
    CHECK_EQ_INT(s->state, SUBSCRIBER_LIVE);
    for (;;) {
        struct owed owed[5];
        size_t max = 1 + check_random_below(&r, 5);
        size_t n = channel_owed(s, channels[0], owed, max);
        CHECK(n <= max);
        for (size_t i = 0; i < n; i++) {
            if (!seek(reader)) {
                check_failed(__FILE__, __LINE__, "there was nothing to give");
                return;
            }
            const struct entry *e = &entries[reader->next++];
            if (owed[i].message != e->message) {
                check_failed(__FILE__, __LINE__, "the wrong message");
                return;
            }
            CHECK(owed[i].subscription == (e->channel ? &reader->subs[e->channel] : NULL));
            delivered++;
        }
        if (n)
            s->position = owed[n - 1].message->id;
        if (n < max)
            break;
    }
    CHECK(!seek(reader)); /* all that it was owed */
}

static const struct subscriber_ops OPS = {.deliver = deliver};

static void link_to(struct reader *reader, int c) {
    reader->linked[c] = true;
    if (c == 0) {
        channel_link(channels[0], &reader->sub.all_node);
        return;
    }
    struct subscription *sub = &reader->subs[c];
    *sub = (struct subscription){
        .channel = channels[c], .subscriber = &reader->sub, .since = newest_id(), .next = reader->sub.subs};
    list_init(&sub->node);
    reader->sub.subs = sub;
    channel_link(channels[c], &sub->node);
}

static void unlink_from(struct reader *reader, int c) {
    reader->linked[c] = false;
    if (c == 0) {
        channel_unlink(channels[0], &reader->sub.all_node);
        return;
    }
    struct subscription **at = &reader->sub.subs;
    while (*at != &reader->subs[c])
        at = &(*at)->next;
    *at = reader->subs[c].next;
    channel_unlink(channels[c], &reader->subs[c].node);
    memset(&reader->subs[c], 0xee, sizeof reader->subs[c]); /* as freed memory would be */
}

/* An open stream is in `sluice.all`; what it joins it joins with the newest id as its position. */
static void join(struct reader *reader) {
    *reader = (struct reader){.next = newest};
    list_init(&reader->sub.all_node);
    reader->sub.position = newest_id();
    reader->sub.state = SUBSCRIBER_LIVE;
    link_to(reader, 0);
    for (int c = 1; c < CHANNELS; c++) {
        if (check_random_once_in(&r, 2))
            link_to(reader, c);
    }
}

static void leave(struct reader *reader) {
    for (int c = 0; c < CHANNELS; c++) {
        if (reader->linked[c])
            unlink_from(reader, c);
    }
}

static void push(int c) {
    struct entry *e = &entries[newest];
    e->message = message_of(NAMES[c], "", 1, id_of(1, newest + 1));
    e->channel = c;
    e->done_at = visits[c] + channels[c]->count;
    newest++;
    CHECK_EQ_INT(channel_push(channels[c], message_retain(e->message)), 0);
}

/* What must be pending is, and what is not has reached all that were there. */
static void check_pending(void) {
    uint32_t pending[CHANNELS] = {0};
    bool blocked[CHANNELS] = {false};
    for (size_t i = oldest; i < newest; i++) {
        int c = entries[i].channel;
        bool gone = channels[c]->count == 0 || (!blocked[c] && entries[i].done_at <= visits[c]);
        blocked[c] = blocked[c] || !gone;
        pending[c] += !gone;
        if (!check_that(refs_of(entries[i].message) == (gone ? 1 : 2), __FILE__, __LINE__, "who holds a message"))
            return;
        if (gone) {
            for (int k = 0; k < READERS; k++) {
                struct reader *reader = &readers[k];
                if (reader->sub.state == SUBSCRIBER_LIVE && reader->next <= i && expects(reader, i))
                    check_failed(__FILE__, __LINE__, "a message went without having been given");
            }
        }
        if (gone && i == oldest)
            oldest++;
    }
    for (int c = 0; c < CHANNELS; c++)
        CHECK_EQ_INT(channels[c]->pending_count, pending[c]);
}

static void step(int c, size_t budget) {
    channel_in_step = c;
    uint64_t before = channels[c]->visits;
    size_t done = channel_step(channels[c], &OPS, budget);
    CHECK(done <= budget);
    visits[c] += done;
    CHECK_EQ_INT(channels[c]->visits, before + done);
}

static void run(uint64_t seed, unsigned churn) {
    r = check_random_of(seed);
    newest = oldest = delivered = 0;
    memset(readers, 0, sizeof readers);
    memset(visits, 0, sizeof visits);
    for (int c = 0; c < CHANNELS; c++)
        channels[c] = channel_new(slice_of(NAMES[c]), c == 0);
    while (newest < MESSAGES && check_state.failures == 0) {
        CHECK_NOTE("seed %d, churn %u, message %zu", (int)seed, churn, newest);
        struct reader *reader = &readers[check_random_below(&r, READERS)];
        if (check_random_once_in(&r, churn)) {
            if (!reader->linked[0])
                join(reader);
            else if (check_random_once_in(&r, 3))
                leave(reader);
        }
        if (check_random_once_in(&r, churn) && reader->linked[0]) {
            int c = 1 + (int)check_random_below(&r, CHANNELS - 1);
            if (reader->linked[c])
                unlink_from(reader, c);
            else
                link_to(reader, c);
        }
        if (check_random_once_in(&r, churn) && reader->linked[0]) {
            if (reader->sub.state == SUBSCRIBER_LIVE) {
                reader->sub.state = SUBSCRIBER_REPLAYING;
            } else { /* it has read all from history */
                reader->sub.state = SUBSCRIBER_LIVE;
                reader->sub.position = newest_id();
                reader->next = newest;
            }
        }
        int c = (int)check_random_below(&r, CHANNELS);
        if (check_random_once_in(&r, 2) && channels[c]->count)
            push(c);
        else
            step(c, check_random_below(&r, check_random_once_in(&r, 20) ? 100 : 6));
        if (check_random_once_in(&r, 8) || churn > 2) {
            for (int k = 0; k < CHANNELS; k++)
                step(k, 0); /* takes note of those that have gone */
            check_pending();
        }
    }
    for (int c = 0; c < CHANNELS; c++) {
        step(c, 100000);
        CHECK_EQ_INT(channels[c]->pending_count, 0);
    }
    check_pending();
    CHECK(delivered > MESSAGES);
    for (int k = 0; k < READERS; k++) {
        if (readers[k].linked[0] && readers[k].sub.state == SUBSCRIBER_LIVE)
            CHECK(!seek(&readers[k]));
        leave(&readers[k]);
    }
    for (int c = 0; c < CHANNELS; c++)
        channel_free(channels[c]);
    for (size_t i = 0; i < newest; i++) {
        CHECK_EQ_INT(refs_of(entries[i].message), 1);
        message_release(entries[i].message);
    }
}

TEST(everybody_gets_every_message_once_and_in_order) {
    for (uint64_t seed = 1; seed <= 6 && check_state.failures == 0; seed++)
        run(seed, seed % 2 ? 40 : 4);
}

TEST(readers_that_come_and_go_all_the_time_hold_nothing_up) {
    for (uint64_t seed = 7; seed <= 9 && check_state.failures == 0; seed++)
        run(seed, 1);
}

/* --- single facts ------------------------------------------------------------------------------- */

static int visited;

static void count_visit(struct subscriber *s) {
    (void)s;
    visited++;
}

static const struct subscriber_ops COUNT = {.deliver = count_visit};

TEST(a_message_costs_one_visit_of_each_and_no_more) {
    struct channel *ch = channel_new(slice_of("c"), true);
    struct subscriber subs[10] = {0};
    for (int i = 0; i < 10; i++) {
        list_init(&subs[i].all_node);
        subs[i].state = i == 3 ? SUBSCRIBER_CLOSED : SUBSCRIBER_LIVE;
        channel_link(ch, &subs[i].all_node);
    }
    visited = 0;
    CHECK_EQ_INT(channel_step(ch, &COUNT, 100), 0);
    CHECK_EQ_INT(channel_push(ch, message_of("c", "", 1, id_of(1, 1))), 0);
    CHECK_EQ_INT(channel_step(ch, &COUNT, 7), 7);
    CHECK_EQ_INT(channel_push(ch, message_of("c", "", 1, id_of(1, 2))), 0); /* while it is under way */
    CHECK_EQ_INT(channel_step(ch, &COUNT, 3), 3);
    CHECK_EQ_INT(ch->pending_count, 1);
    CHECK_EQ_INT(channel_step(ch, &COUNT, 100), 7);
    CHECK_EQ_INT(ch->pending_count, 0);
    CHECK_EQ_INT(visited, 15); /* of 17 visits; the closed one is passed by twice */
    for (int i = 0; i < 10; i++)
        channel_unlink(ch, &subs[i].all_node);
    CHECK_EQ_INT(channel_push(ch, message_of("c", "", 1, id_of(1, 3))), 0);
    CHECK_EQ_INT(channel_step(ch, &COUNT, 100), 0); /* for nobody */
    CHECK_EQ_INT(ch->pending_count, 0);
    channel_free(ch);
}

static size_t owed_count;

static void count_owed(struct subscriber *s) {
    struct owed owed[4];
    size_t n = channel_owed(s, NULL, owed, 4);
    owed_count += n;
    if (n)
        s->position = owed[n - 1].message->id;
}

/* Others have left, so an older message is still under way when the cursor comes to who has joined since. */
TEST(who_joins_later_is_not_given_what_is_older) {
    static const struct subscriber_ops ops = {.deliver = count_owed};
    struct channel *ch = channel_new(slice_of("c"), false);
    struct subscriber subs[4] = {0};
    struct subscription ties[4] = {0};
    for (int i = 0; i < 4; i++) {
        if (i == 3)
            CHECK_EQ_INT(channel_push(ch, message_of("c", "", 1, id_of(1, 1))), 0);
        list_init(&ties[i].node);
        ties[i].channel = ch;
        ties[i].subscriber = &subs[i];
        ties[i].since = id_of(1, i == 3);
        subs[i].subs = &ties[i];
        subs[i].state = SUBSCRIBER_LIVE;
        channel_link(ch, &ties[i].node);
    }
    channel_unlink(ch, &ties[0].node);
    channel_unlink(ch, &ties[1].node);
    owed_count = 0;
    CHECK_EQ_INT(channel_step(ch, &ops, 2), 2);
    CHECK_EQ_INT(ch->pending_count, 1);
    CHECK_EQ_INT(owed_count, 1);
    CHECK_EQ_INT(channel_push(ch, message_of("c", "", 1, id_of(1, 2))), 0);
    channel_step(ch, &ops, 100);
    CHECK_EQ_INT(owed_count, 3);
    channel_unlink(ch, &ties[2].node);
    channel_unlink(ch, &ties[3].node);
    channel_free(ch);
}

TEST(without_memory_the_reference_stays_the_callers) {
    struct channel *ch = channel_new(slice_of("c"), true);
    struct subscriber sub = {0};
    struct message *m = message_of("c", "", 1, id_of(1, 100));
    list_init(&sub.all_node);
    channel_link(ch, &sub.all_node);
    for (int i = 0; i <= 8; i++) {
        check_alloc_fail_at(0);
        int rc = channel_push(ch, message_retain(m));
        bool reached = check_alloc_disarm();
        CHECK_EQ_INT(reached, i == 0 || i == 8); /* where the ring grows */
        CHECK_EQ_INT(rc, reached ? -ENOMEM : 0);
        if (reached) {
            message_release(m);
            CHECK_EQ_INT(channel_push(ch, message_retain(m)), 0);
        }
        CHECK_EQ_INT(ch->pending_count, i + 1);
    }
    channel_drop_pending(ch);
    CHECK_EQ_INT(refs_of(m), 1);
    message_release(m);
    channel_unlink(ch, &sub.all_node);
    channel_free(ch);
    check_alloc_fail_at(0);
    CHECK(channel_new(slice_of("c"), false) == NULL);
    CHECK(check_alloc_disarm());
}

TEST(a_channel_that_is_freed_lets_go_of_what_is_pending) {
    struct channel *ch = channel_new(slice_of("name"), true);
    struct subscriber sub = {0};
    struct message *m = message_of("c", "", 1, id_of(1, 1));
    CHECK_EQ_MEM(ch->name, ch->name_len, "name", 4);
    list_init(&sub.all_node);
    channel_link(ch, &sub.all_node);
    CHECK_EQ_INT(channel_push(ch, message_retain(m)), 0);
    channel_unlink(ch, &sub.all_node);
    channel_free(ch);
    CHECK_EQ_INT(refs_of(m), 1);
    message_release(m);
}

CHECK_MAIN()
