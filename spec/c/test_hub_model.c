/* SPDX-License-Identifier: MIT */
/* The hub against a plain list of all that was published: streams come, read in small batches, turn live, are cut off
 * and come back by their last id, while messages are published, histories are trimmed, the clock steps back and memory
 * runs out. Each must get each message of its channels once and in order, or be told the gap. */
#include "check.h"
#include "check_alloc.h"
#include "check_random.h"
#include "messages.h"

#include "../../core/history.c"
#include "../../core/hub.c"
#include "../../core/hub_follow.c"
#include "../../core/hub_stats.c"
#include "../../core/table.c"

enum { WORKERS = 3, CHANNELS = 8, STREAMS = 12, MESSAGES = 2500, WAITING = 4000, TASKS = 64 };

/* Channel 0 is `sluice.all`. The first letter chooses the rule. */
static const char *const NAMES[CHANNELS] = {REGISTRY_ALL, "a", "b", "c", "none", "one", "bytes", "young"};

static struct entry {
    struct message_id id;
    int channel;
} entries[MESSAGES];

static struct stream {
    bool open, cut, live;
    unsigned worker;
    size_t count;
    int channels[CHANNELS];
    struct hub_source sources[CHANNELS];
    struct message_id
        floors[CHANNELS]; /* up to here nothing is expected of the channel: not asked for, or told as a gap */
    struct message_id position;
    struct message_id last; /* the last id the client has seen: a message's, a gap's or the opening one */
    size_t next;            /* entries before this one were given or are not expected */
} streams[STREAMS];

struct numbered_task {
    struct task task;
    int number;
};

/* What a worker's inbox must bring, in order. */
static struct waiting {
    struct message_id id;
    int task; /* or -1 */
} waiting[WORKERS][WAITING];

static size_t waiting_count[WORKERS];
static struct hub *hub;
static struct check_random r;
static size_t newest;
static uint64_t now, clock_start;
static uint64_t counts[WORKERS][CHANNELS];
static unsigned woken;
static bool short_of_memory; /* allocations fail now and then */
static size_t delivered, gaps;
static int run_task, cancelled;

static const char *text_of(struct message_id id) {
    static char text[MESSAGE_ID_BYTES];
    message_id_format(text, id);
    return text;
}

static void wake(void *context, unsigned worker) {
    CHECK(context == &woken);
    CHECK((woken & 1u << worker) == 0);
    woken |= 1u << worker;
}

/* --- what is expected --------------------------------------------------------------------------- */

static bool expects(const struct stream *s, size_t at) {
    for (size_t i = 0; i < s->count; i++) {
        if (s->channels[i] == entries[at].channel)
            return message_id_after(entries[at].id, s->floors[i]);
    }
    return false;
}

static bool seek(struct stream *s) {
    while (s->next < newest && !expects(s, s->next))
        s->next++;
    return s->next < newest;
}

static void give(struct stream *s, const struct message *m) {
    if (!seek(s)) {
        check_failed(__FILE__, __LINE__, "nothing more was expected");
        return;
    }
    const struct entry *e = &entries[s->next++];
    CHECK_EQ_STR(text_of(m->id), text_of(e->id));
    CHECK_EQ_SLICE(message_channel(m), NAMES[e->channel]);
    CHECK(message_id_after(m->id, s->last));
    s->last = m->id;
    delivered++;
}

static struct hub_channel_stats stats_of(int channel) {
    struct hub_channel_stats stats;
    hub_channel_stats(hub, slice_of(NAMES[channel]), now, &stats);
    return stats;
}

/* Takes note of what the hub says is missing. `from` is up to where the stream had everything. */
static void note_gap(struct stream *s, const struct hub_gap *gap, struct message_id from, bool everywhere) {
    bool any = false, any_kept = false;
    struct message_id oldest = {0, 0}, newest_kept = {0, 0};
    for (size_t i = 0; i < s->count; i++) {
        if (!s->sources[i].gap)
            continue;
        any = true;
        bool missing = false;
        struct message_id had = message_id_max(from, s->floors[i]);
        for (size_t k = 0; k < newest; k++)
            missing = missing || (entries[k].channel == s->channels[i] && message_id_after(entries[k].id, had) &&
                                  !message_id_after(entries[k].id, s->sources[i].since));
        if (!everywhere) /* the floors' slots are not shared in this test, so no gap is said in vain */
            CHECK(missing);
        s->floors[i] = message_id_max(s->floors[i], s->sources[i].since);
        struct hub_channel_stats stats = stats_of(s->channels[i]);
        if (stats.messages) {
            oldest = !any_kept || message_id_after(oldest, stats.oldest) ? stats.oldest : oldest;
            newest_kept = message_id_max(newest_kept, stats.newest);
            any_kept = true;
        }
    }
    CHECK(any);
    CHECK_EQ_INT(gap->any_kept, any_kept);
    CHECK_EQ_INT(message_id_compare(gap->oldest, oldest), 0);
    CHECK_EQ_INT(message_id_compare(gap->newest, newest_kept), 0);
    struct message_id before = seek(s) ? message_id_before(entries[s->next].id) : hub_newest(hub);
    CHECK_EQ_INT(message_id_compare(gap->id, before), 0);
    CHECK(!message_id_after(s->last, gap->id) || everywhere);
    s->last = gap->id;
    gaps++;
}

/* --- what happens ------------------------------------------------------------------------------- */

static void maybe_fail(void) {
    if (short_of_memory && check_random_once_in(&r, 3))
        check_alloc_fail_at((int)check_random_below(&r, 4));
}

static void expect_waiting(unsigned worker, struct message_id id, int task) {
    if (waiting_count[worker] < WAITING)
        waiting[worker][waiting_count[worker]++] = (struct waiting){id, task};
}

static void publish(void) {
    int channel = (int)check_random_below(&r, CHANNELS);
    if (channel == 0 && !check_random_once_in(&r, 4))
        channel = 1;
    struct message *m = draft_of(NAMES[channel], "", check_random_below(&r, check_random_once_in(&r, 30) ? 9000 : 200));
    struct hub_published published;
    int from = (int)check_random_below(&r, WORKERS + 1) - 1;
    bool mail[WORKERS];
    for (unsigned w = 0; w < WORKERS; w++)
        mail[w] = hub_has_mail(hub, w);
    struct message_id before = hub_newest(hub);
    woken = 0;
    maybe_fail();
    int rc = hub_publish(hub, m, from, now, 77, &published);
    bool failed = check_alloc_disarm();
    if (rc != 0) {
        CHECK(rc == -ENOMEM && failed);
        CHECK_EQ_INT(message_id_compare(hub_newest(hub), before), 0);
        return;
    }
    CHECK(message_id_after(published.id, before));
    CHECK_EQ_INT(message_id_compare(published.id, hub_newest(hub)), 0);
    CHECK(published.id.ms == now || now <= before.ms);
    entries[newest++] = (struct entry){published.id, channel};
    uint64_t subscribers = 0;
    for (unsigned w = 0; w < WORKERS; w++) {
        subscribers += counts[w][channel];
        if (counts[w][channel])
            expect_waiting(w, published.id, -1);
        bool filled = !mail[w] && counts[w][channel];
        CHECK_EQ_INT(hub_has_mail(hub, w), mail[w] || filled);
        CHECK_EQ_INT(woken >> w & 1, filled && (int)w != from);
    }
    CHECK_EQ_INT(published.subscribers, subscribers);
    struct hub_stats stats;
    hub_stats(hub, &stats);
    CHECK(stats.history_bytes <= hub->config->history_total_bytes);
    CHECK_EQ_INT(stats.published, newest);
}

static void task_run(struct task *task, void *worker) {
    (void)worker;
    run_task = ((struct numbered_task *)(void *)task)->number;
    free(task);
}

static void task_cancel(struct task *task) {
    cancelled++;
    free(task);
}

static struct task *make_task(int number) {
    struct numbered_task *t = (calloc)(1, sizeof *t);
    t->task.run = task_run;
    t->task.cancel = task_cancel;
    t->number = number;
    return &t->task;
}

static void post(void) {
    static int number;
    unsigned empty = 0;
    for (unsigned w = 0; w < WORKERS; w++)
        empty |= hub_has_mail(hub, w) ? 0 : 1u << w;
    woken = 0;
    if (check_random_once_in(&r, 2)) {
        unsigned w = check_random_below(&r, WORKERS);
        struct task *task = make_task(++number);
        maybe_fail();
        int rc = hub_post(hub, w, task);
        bool failed = check_alloc_disarm();
        CHECK(rc == 0 || failed);
        CHECK_EQ_INT(woken, rc == 0 ? empty & 1u << w : 0);
        if (rc == 0)
            expect_waiting(w, id_of(0, 0), number);
        else
            free(task);
        return;
    }
    struct task *tasks[WORKERS];
    number++;
    for (unsigned w = 0; w < WORKERS; w++)
        tasks[w] = make_task(number);
    hub_post_all(hub, tasks);
    for (unsigned w = 0; w < WORKERS; w++)
        expect_waiting(w, id_of(0, 0), number);
    CHECK_EQ_INT(woken, empty);
}

/* A live stream takes what its worker was sent, as stream.c does. */
static void pass_on(unsigned w, const struct message *m) {
    for (int i = 0; i < STREAMS; i++) {
        struct stream *s = &streams[i];
        if (!s->open || s->worker != w || !s->live || !message_id_after(m->id, s->position))
            continue;
        for (size_t k = 0; k < s->count; k++) {
            if (slice_is(message_channel(m), NAMES[s->channels[k]]) && message_id_after(m->id, s->sources[k].since)) {
                give(s, m);
                s->position = m->id;
            }
        }
    }
}

static void take(unsigned w) {
    struct inbox inbox = {0};
    size_t at = 0;
    hub_take(hub, w, &inbox);
    CHECK(!hub_has_mail(hub, w));
    for (size_t i = 0; i < inbox.count; i++) {
        struct inbox_item *item = &inbox.items[i];
        run_task = -1;
        if (item->task)
            item->task->run(item->task, NULL);
        struct message_id id = item->message ? item->message->id : id_of(0, 0);
        while (at < waiting_count[w] &&
               (waiting[w][at].task != run_task || message_id_compare(waiting[w][at].id, id) != 0)) {
            CHECK(inbox.overflowed && waiting[w][at].task < 0); /* only messages may be left out, and then it is said */
            at++;
        }
        CHECK(at < waiting_count[w]);
        at++;
        if (item->message) {
            CHECK_EQ_INT(item->message->published_ns, 77);
            CHECK(item->message->channel_hash == hub_hash(hub, message_channel(item->message)));
            pass_on(w, item->message);
            message_release(item->message);
        }
    }
    for (; at < waiting_count[w]; at++)
        CHECK(inbox.overflowed && waiting[w][at].task < 0);
    for (int i = 0; inbox.overflowed && i < STREAMS; i++) {
        if (streams[i].worker == w)
            streams[i].live = false;
    }
    waiting_count[w] = 0;
    (free)(inbox.items);
}

/* --- streams ------------------------------------------------------------------------------------ */

static void add_source(struct stream *s, int channel) {
    size_t n = s->count++;
    s->channels[n] = channel;
    s->floors[n] = id_of(0, 0);
    s->sources[n] =
        (struct hub_source){.name = slice_of(NAMES[channel]), .hash = hub_hash(hub, slice_of(NAMES[channel]))};
}

static void close_stream(struct stream *s) {
    struct hub_channel *gone[CHANNELS];
    for (size_t i = 0; i < s->count; i++) {
        gone[i] = s->sources[i].channel;
        counts[s->worker][s->channels[i]]--;
    }
    hub_unsubscribe(hub, s->worker, gone, s->count);
    s->open = false;
    s->cut = true;
}

/* What a stream that asked for all that is kept has to get: by what the hub says it keeps. */
static void expect_kept(struct stream *s) {
    for (size_t i = 0; i < s->count; i++) {
        struct hub_channel_stats stats = stats_of(s->channels[i]);
        size_t kept = stats.messages;
        s->floors[i] = s->sources[i].since;
        for (size_t k = newest; k-- > 0;) {
            if (entries[k].channel != s->channels[i])
                continue;
            CHECK_EQ_INT(message_id_after(entries[k].id, s->sources[i].since), kept > 0);
            kept -= kept > 0;
        }
        CHECK_EQ_INT(kept, 0);
    }
}

static void open_stream(struct stream *s, struct hub_start start) {
    struct hub_joined joined;
    s->worker = check_random_below(&r, WORKERS);
    maybe_fail();
    int rc = hub_subscribe(hub, s->worker, s->sources, s->count, start, now, &joined);
    bool failed = check_alloc_disarm();
    if (rc != 0) {
        CHECK(rc == -ENOMEM && failed);
        for (int c = 0; c < CHANNELS; c++) {
            uint64_t sum = 0;
            for (unsigned w = 0; w < WORKERS; w++)
                sum += counts[w][c];
            CHECK_EQ_INT(stats_of(c).subscribers, sum);
        }
        return;
    }
    for (size_t i = 0; i < s->count; i++) {
        counts[s->worker][s->channels[i]]++;
        CHECK(s->sources[i].channel != NULL);
    }
    struct message_id top = hub_newest(hub);
    if (start.kind == HUB_AFTER && message_id_after(start.id, top))
        start.kind = HUB_NONSENSE;
    s->open = true;
    s->live = joined.live;
    s->position = joined.position;
    s->last = joined.opening;
    s->next = 0;
    for (size_t i = 0; i < s->count; i++)
        s->floors[i] = start.kind == HUB_NEW ? top : start.kind == HUB_AFTER ? start.id : id_of(0, 0);
    bool before_start = start.kind == HUB_AFTER && message_id_after(id_of(clock_start, 0), start.id);
    bool everywhere = before_start || start.kind == HUB_NONSENSE;
    if (start.kind == HUB_EARLIEST || start.kind == HUB_NONSENSE)
        expect_kept(s);
    CHECK(!everywhere || joined.gap.found);
    CHECK(!joined.gap.found || everywhere || start.kind == HUB_AFTER);
    for (size_t i = 0; joined.gap.found && i < s->count; i++)
        CHECK(!everywhere || i == 0 || s->sources[i].gap);
    if (start.kind == HUB_AFTER) {
        CHECK_EQ_INT(message_id_compare(joined.opening, start.id), 0);
        if (joined.gap.found)
            note_gap(s, &joined.gap, start.id, everywhere);
    } else if (start.kind == HUB_NEW) {
        CHECK(joined.live);
        CHECK_EQ_INT(message_id_compare(joined.opening, top), 0);
    } else {
        struct message_id before = seek(s) ? message_id_before(entries[s->next].id) : top;
        CHECK_EQ_INT(message_id_compare(joined.opening, before), 0);
        if (joined.gap.found)
            note_gap(s, &joined.gap, id_of(0, 0), true);
    }
    CHECK_EQ_INT(joined.live, !seek(s));
    if (joined.live)
        CHECK_EQ_INT(message_id_compare(joined.position, top), 0);
}

static struct hub_start any_start(const struct stream *s) {
    struct hub_start start = {.kind = HUB_NEW};
    switch (check_random_below(&r, s->cut ? 16 : 8)) {
    case 0:
        start.kind = HUB_EARLIEST;
        break;
    case 1:
        start.kind = HUB_NONSENSE;
        break;
    case 2:
        start = (struct hub_start){HUB_AFTER, id_of(clock_start - 5, 3)};
        break;
    case 3:
        start = (struct hub_start){HUB_AFTER, id_of(hub_newest(hub).ms + check_random_below(&r, 2), UINT64_MAX)};
        break;
    case 4:
        start = (struct hub_start){HUB_AFTER, id_of(clock_start, 0)};
        break;
    case 5:
        if (newest)
            start = (struct hub_start){HUB_AFTER, entries[check_random_below(&r, (unsigned)newest)].id};
        break;
    case 6:
    case 7:
        break;
    default:
        start = (struct hub_start){HUB_AFTER, s->last}; /* where it was cut off */
    }
    return start;
}

static void come(struct stream *s) {
    if (!s->cut || check_random_once_in(&r, 6)) { /* with other channels */
        s->count = 0;
        add_source(s, 0);
        for (int c = 1; c < CHANNELS; c++) {
            if (check_random_once_in(&r, 3))
                add_source(s, c);
        }
    } else {
        for (size_t i = 0; i < s->count; i++)
            s->sources[i].since = id_of(0, 0);
    }
    open_stream(s, any_start(s));
}

static void read_on(struct stream *s) {
    struct message *messages[8];
    unsigned from[8];
    struct hub_gap gap;
    bool live;
    size_t max = 1 + check_random_below(&r, 8), max_bytes = 1 + check_random_below(&r, 3000);
    struct message_id was = s->position;
    size_t n = hub_read(hub, s->sources, s->count, &s->position, messages, from, max, max_bytes, now, &live, &gap);
    CHECK(n <= max);
    CHECK_EQ_INT(live, n == 0);
    if (gap.found)
        note_gap(s, &gap, was, false);
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        CHECK(bytes < max_bytes);
        bytes += messages[i]->size;
        CHECK_EQ_SLICE(message_channel(messages[i]), NAMES[s->channels[from[i]]]);
        give(s, messages[i]);
        message_release(messages[i]);
    }
    CHECK_EQ_INT(message_id_compare(s->position, n ? s->last : hub_newest(hub)), 0);
    s->live = live;
    if (live)
        CHECK(!seek(s)); /* nothing was left out */
}

static void join_later(struct stream *s) {
    int c = 1 + (int)check_random_below(&r, CHANNELS - 1);
    for (size_t i = 0; i < s->count; i++) {
        if (s->channels[i] == c)
            return;
    }
    add_source(s, c);
    maybe_fail();
    int rc = hub_subscribe_later(hub, s->worker, &s->sources[s->count - 1]);
    check_alloc_disarm();
    if (rc != 0) {
        s->count--;
        return;
    }
    s->floors[s->count - 1] = hub_newest(hub);
    counts[s->worker][c]++;
}

static void act(void) {
    struct stream *s = &streams[check_random_below(&r, STREAMS)];
    now += check_random_below(&r, 20);
    if (check_random_once_in(&r, 150))
        now -= check_random_below(&r, 3000);
    if (check_random_once_in(&r, 400))
        now += 4000;
    switch (check_random_below(&r, 12)) {
    case 0:
        post();
        break;
    case 1:
        hub_sweep(hub, now);
        break;
    case 2:
        take(check_random_below(&r, WORKERS));
        break;
    case 3:
        if (s->open && check_random_once_in(&r, 3))
            close_stream(s);
        break;
    case 4:
        if (s->open && check_random_once_in(&r, 4))
            join_later(s);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        if (!s->open)
            come(s);
        else if (!s->live)
            read_on(s);
        break;
    default:
        publish();
    }
}

/* --- the run ------------------------------------------------------------------------------------ */

static const struct channel_rule RULES[] = {
    {.pattern = {(char *)(uintptr_t) "none", 4, 4}, .history = {0, 100000, 100000}},
    {.pattern = {(char *)(uintptr_t) "one", 3, 3}, .history = {1, 100000, 100000}},
    {.pattern = {(char *)(uintptr_t) "bytes", 5, 5}, .history = {1000, 2500, 100000}},
    {.pattern = {(char *)(uintptr_t) "young", 5, 5}, .history = {1000, 100000, 300}},
};

static const struct config CONFIG = {
    .history = {20, 100000, 3000},
    .history_total_bytes = 12000,
    .rules = (struct channel_rule *)(uintptr_t)RULES,
    .rule_count = sizeof RULES / sizeof *RULES,
};

static bool slots_differ(void) {
    for (int i = 0; i < CHANNELS; i++) {
        for (int k = 0; k < i; k++) {
            uint64_t a = hub_hash(hub, slice_of(NAMES[i])), b = hub_hash(hub, slice_of(NAMES[k]));
            if ((a & (HUB_FLOORS - 1)) == (b & (HUB_FLOORS - 1)))
                return false;
        }
    }
    return true;
}

static void begin(uint64_t seed) {
    const struct hub_ops ops = {wake, &woken};
    r = check_random_of(seed);
    clock_start = now = 1700000000000;
    newest = delivered = gaps = 0;
    cancelled = 0;
    memset(streams, 0, sizeof streams);
    memset(counts, 0, sizeof counts);
    memset(waiting_count, 0, sizeof waiting_count);
    do {
        hub_free(hub);
        hub = hub_new(&CONFIG, WORKERS, &ops, now);
    } while (!slots_differ());
}

/* Everybody comes to the end: nothing may be missing. */
static void settle(void) {
    for (unsigned w = 0; w < WORKERS; w++)
        take(w);
    for (int i = 0; i < STREAMS; i++) {
        while (streams[i].open && !streams[i].live && check_state.failures == 0)
            read_on(&streams[i]);
        CHECK(!streams[i].open || !seek(&streams[i]));
    }
}

/* The channels are gone, what they had is known: who comes back with any id is told what is missing. */
static void come_back_late(void) {
    for (int i = 0; i < STREAMS; i++) {
        if (streams[i].open)
            close_stream(&streams[i]);
    }
    now += 1000000;
    for (int i = 0; i < 3; i++)
        hub_sweep(hub, now);
    struct hub_stats stats;
    hub_stats(hub, &stats);
    CHECK_EQ_INT(stats.channels, 0);
    CHECK_EQ_INT(stats.history_messages, 0);
    CHECK_EQ_INT(stats.history_bytes, 0);
    for (size_t at = 0; at < newest; at += 1 + newest / 50) {
        struct stream *s = &streams[0];
        s->count = 0;
        for (int c = 0; c < CHANNELS; c++)
            add_source(s, c);
        open_stream(s, (struct hub_start){HUB_AFTER, entries[at].id});
        for (size_t i = 0; i < s->count; i++) {
            bool lost = false;
            for (size_t k = at + 1; k < newest; k++)
                lost = lost || entries[k].channel == s->channels[i];
            CHECK_EQ_INT(s->sources[i].gap, lost);
        }
        CHECK(s->live);
        close_stream(s);
    }
}

static void run(uint64_t seed, bool lean) {
    begin(seed);
    short_of_memory = lean;
    for (int i = 0; newest < MESSAGES && check_state.failures == 0; i++) {
        CHECK_NOTE("seed %d, step %d, message %zu", (int)seed, i, newest);
        act();
        if (check_random_once_in(&r, 2000))
            settle();
    }
    short_of_memory = false;
    settle();
    come_back_late();
    CHECK(delivered > MESSAGES / 2);
    CHECK(gaps > 20);
    hub_free(hub);
    hub = NULL;
    CHECK_EQ_INT(cancelled, 0);
}

TEST(every_stream_gets_every_message_once_in_order_or_is_told_the_gap) {
    for (uint64_t seed = 1; seed <= 8 && check_state.failures == 0; seed++)
        run(seed, false);
}

TEST(short_of_memory_gaps_are_said_too_and_nothing_is_lost_silently) {
    for (uint64_t seed = 101; seed <= 108 && check_state.failures == 0; seed++)
        run(seed, true);
}

CHECK_MAIN()
