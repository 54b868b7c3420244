/* SPDX-License-Identifier: MIT */
/* The hub as a server uses it: workers with registries of their own, publishers on threads of theirs and on the
 * workers', clients that are cut off at any moment and come back by their last id on any worker. Meant for the thread
 * sanitizer too. */
#include "check.h"
#include "check_random.h"
#include "messages.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "../../core/hub.h"
#include "../../core/registry.h"

enum {
    WORKERS = 3,
    PUBLISHERS = 3,
    CHANNELS = 4,
    CLIENTS = 24,
    EACH = 1200,
    OWN = 300,
    MOST = PUBLISHERS * EACH + WORKERS * OWN,
    GAPS = 4000
};

static const char *const NAMES[CHANNELS] = {REGISTRY_ALL, "a", "b", "c"};

struct record {
    struct message_id id;
    int channel;
};

struct gap {
    struct message_id from, to;
    int channel;
};

struct client {
    struct subscriber sub;
    struct subscription subs[CHANNELS]; /* [0] is not used: `sluice.all` */
    struct hub_source sources[CHANNELS];
    int channels[CHANNELS];
    size_t count;
    bool known; /* it has been here before */
    struct message_id base, last;
    struct record got[MOST];
    size_t got_count;
    struct gap gaps[GAPS];
    size_t gap_count;
    struct client *next; /* of the same worker */
};

struct worker {
    unsigned index;
    pthread_t thread;
    struct registry registry;
    struct inbox inbox;
    struct client *clients;
    struct check_random random;
    bool finished;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool wake;
    struct record sent[OWN];
    size_t sent_count;
};

struct publisher {
    pthread_t thread;
    struct check_random random;
    struct record sent[EACH];
};

static struct hub *hub;
static struct worker workers[WORKERS];
static struct publisher publishers[PUBLISHERS];
static struct client clients[CLIENTS];
static struct record entries[MOST]; /* all that was published, by id */
static size_t entry_count;
static atomic_uint wrong; /* what no thread but the first may tell */
static atomic_uint moving;
static atomic_uint publishing; /* workers that have not published all of theirs */
static atomic_bool settling;

/* Time goes by, and back now and then. */
static uint64_t now_of(struct check_random *r) {
    static atomic_uint_fast64_t ticks;
    return 1000000 + atomic_fetch_add_explicit(&ticks, 1, memory_order_relaxed) / 8 - check_random_below(r, 20);
}

static int channel_of(struct slice name) {
    for (int c = 0; c < CHANNELS; c++) {
        if (slice_is(name, NAMES[c]))
            return c;
    }
    return -1;
}

static void publish(struct check_random *r, int from, struct record *record) {
    struct hub_published published;
    int c = (int)check_random_below(r, CHANNELS);
    if (hub_publish(hub, draft_of(NAMES[c], "", check_random_below(r, 50)), from, now_of(r), 0, &published) != 0)
        atomic_fetch_add(&wrong, 1);
    *record = (struct record){published.id, c};
}

/* --- clients ------------------------------------------------------------------------------------ */

static void receive(struct client *c, const struct message *m) {
    if (!message_id_after(m->id, c->last) || c->got_count == MOST) {
        atomic_fetch_add(&wrong, 1);
        return;
    }
    c->last = m->id;
    c->got[c->got_count++] = (struct record){m->id, channel_of(message_channel(m))};
}

static void deliver(struct subscriber *s) {
    struct client *c = list_entry(s, struct client, sub);
    struct owed owed[4];
    struct worker *w = &workers[c->sources[0].hash]; /* see attach */
    size_t n;
    while ((n = channel_owed(s, w->registry.all, owed, 4)) > 0) {
        for (size_t i = 0; i < n; i++)
            receive(c, owed[i].message);
        s->position = owed[n - 1].message->id;
    }
}

static const struct subscriber_ops OPS = {.deliver = deliver};

static void note_gaps(struct client *c, struct message_id from, const struct hub_gap *gap) {
    for (size_t i = 0; i < c->count; i++) {
        if (c->sources[i].gap && c->gap_count < GAPS)
            c->gaps[c->gap_count++] = (struct gap){from, c->sources[i].since, c->channels[i]};
    }
    c->last = gap->id;
}

/* Brings the hub's answer into the subscriptions, as stream.c does. */
static void sources_back(struct client *c) {
    for (size_t i = 1; i < c->count; i++)
        c->subs[i].since = c->sources[i].since;
}

static void attach(struct worker *w, struct client *c) {
    struct hub_start start = {c->known ? HUB_AFTER : HUB_NEW, c->last};
    struct hub_joined joined;
    c->sub = (struct subscriber){.state = SUBSCRIBER_REPLAYING};
    list_init(&c->sub.all_node);
    for (size_t i = 0; i < c->count; i++) {
        struct slice name = slice_of(NAMES[c->channels[i]]);
        c->sources[i] = (struct hub_source){.name = name, .hash = hub_hash(hub, name)};
    }
    if (hub_subscribe(hub, w->index, c->sources, c->count, start, now_of(&w->random), &joined) != 0)
        atomic_fetch_add(&wrong, 1);
    if (!c->known)
        c->base = joined.opening;
    c->known = true;
    c->last = joined.opening;
    if (joined.gap.found)
        note_gaps(c, start.id, &joined.gap);
    for (size_t i = 1; i < c->count; i++) {
        struct channel *ch = registry_open(&w->registry, c->sources[i].hash, c->sources[i].name);
        struct subscription *sub = &c->subs[i];
        *sub = (struct subscription){.channel = ch, .subscriber = &c->sub, .next = c->sub.subs};
        list_init(&sub->node);
        c->sub.subs = sub;
        channel_link(ch, &sub->node);
    }
    channel_link(w->registry.all, &c->sub.all_node);
    sources_back(c);
    c->sources[0].hash = w->index; /* nobody looks at that of `sluice.all` */
    c->sub.position = joined.position;
    c->sub.state = joined.live ? SUBSCRIBER_LIVE : SUBSCRIBER_REPLAYING;
    c->next = w->clients;
    w->clients = c;
}

static void detach(struct worker *w, struct client *c) {
    struct hub_channel *gone[CHANNELS];
    struct client **at = &w->clients;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->sub.state = SUBSCRIBER_CLOSED;
    for (size_t i = 0; i < c->count; i++) {
        gone[i] = c->sources[i].channel;
        if (i == 0)
            continue;
        channel_unlink(c->subs[i].channel, &c->subs[i].node);
        registry_close_unused(&w->registry, c->subs[i].channel);
    }
    channel_unlink(w->registry.all, &c->sub.all_node);
    hub_unsubscribe(hub, w->index, gone, c->count);
}

/* One batch of a replay. */
static void read_on(struct worker *w, struct client *c) {
    struct message *messages[5];
    unsigned from[5];
    struct hub_gap gap;
    bool live;
    struct message_id was = c->sub.position;
    size_t n = hub_read(hub, c->sources, c->count, &c->sub.position, messages, from,
                        1 + check_random_below(&w->random, 5), 2000, now_of(&w->random), &live, &gap);
    sources_back(c);
    if (gap.found)
        note_gaps(c, was, &gap);
    for (size_t i = 0; i < n; i++) {
        receive(c, messages[i]);
        message_release(messages[i]);
    }
    if (live)
        c->sub.state = SUBSCRIBER_LIVE;
}

struct move {
    struct task task;
    struct client *client;
};

static void move_run(struct task *task, void *worker) {
    struct client *c = ((struct move *)(void *)task)->client;
    free(task);
    attach(worker, c);
    atomic_fetch_sub(&moving, 1);
}

static void never(struct task *task) {
    (void)task;
    atomic_fetch_add(&wrong, 1);
}

/* Cuts a client off; it comes back here or on another worker. */
static void cut(struct worker *w, struct client *c) {
    unsigned to = check_random_below(&w->random, WORKERS);
    detach(w, c);
    atomic_fetch_add(&moving, 1);
    if (to == w->index || atomic_load(&settling)) {
        atomic_fetch_sub(&moving, 1);
        attach(w, c);
        return;
    }
    struct move *move = malloc(sizeof *move);
    *move = (struct move){{.run = move_run, .cancel = never}, c};
    if (hub_post(hub, to, &move->task) != 0)
        atomic_fetch_add(&wrong, 1);
}

/* --- workers ------------------------------------------------------------------------------------ */

static void wake(void *context, unsigned worker) {
    struct worker *w = &workers[worker];
    (void)context;
    pthread_mutex_lock(&w->lock);
    w->wake = true;
    pthread_cond_signal(&w->woken);
    pthread_mutex_unlock(&w->lock);
}

static void finish_run(struct task *task, void *worker) {
    free(task);
    ((struct worker *)worker)->finished = true;
}

static void take(struct worker *w) {
    if (!hub_has_mail(hub, w->index))
        return;
    hub_take(hub, w->index, &w->inbox);
    if (w->inbox.overflowed)
        atomic_fetch_add(&wrong, 1);
    for (size_t i = 0; i < w->inbox.count; i++) {
        struct inbox_item *item = &w->inbox.items[i];
        if (item->task)
            item->task->run(item->task, w);
        else if (registry_push(&w->registry, item->message) != 0)
            atomic_fetch_add(&wrong, 1);
    }
    w->inbox.count = 0;
}

static bool turn(struct worker *w) {
    take(w);
    bool more = registry_step(&w->registry, 1 + check_random_below(&w->random, 20));
    for (struct client *c = w->clients, *next; c; c = next) {
        next = c->next;
        if (c->sub.state == SUBSCRIBER_REPLAYING) {
            read_on(w, c);
            more = true;
        } else if (check_random_once_in(&w->random, 200) && !w->finished) {
            cut(w, c);
            more = true;
        }
    }
    if (w->sent_count < OWN && check_random_once_in(&w->random, 3)) {
        publish(&w->random, (int)w->index, &w->sent[w->sent_count++]);
        if (w->sent_count == OWN)
            atomic_fetch_sub(&publishing, 1);
    }
    if (check_random_once_in(&w->random, 100))
        hub_sweep(hub, now_of(&w->random));
    return more || w->sent_count < OWN || hub_has_mail(hub, w->index);
}

static void *worker_main(void *argument) {
    struct worker *w = argument;
    for (bool more = true; more || !w->finished;) {
        more = turn(w);
        pthread_mutex_lock(&w->lock);
        while (!more && !w->finished && !w->wake)
            pthread_cond_wait(&w->woken, &w->lock);
        w->wake = false;
        pthread_mutex_unlock(&w->lock);
    }
    while (w->clients)
        detach(w, w->clients);
    hub_close_inbox(hub, w->index);
    return NULL;
}

static void *publisher_main(void *argument) {
    struct publisher *p = argument;
    for (size_t i = 0; i < EACH; i++) {
        publish(&p->random, HUB_NO_WORKER, &p->sent[i]);
        if (i % 16 == 0)
            sched_yield();
    }
    return NULL;
}

/* --- the run ------------------------------------------------------------------------------------ */

static int by_id(const void *a, const void *b) {
    return message_id_compare(((const struct record *)a)->id, ((const struct record *)b)->id);
}

static void begin(const struct config *config, uint64_t seed) {
    const struct hub_ops ops = {.wake = wake};
    struct check_random r = check_random_of(seed);
    atomic_store(&wrong, 0);
    atomic_store(&settling, false);
    atomic_store(&publishing, WORKERS);
    hub = hub_new(config, WORKERS, &ops, 1000000);
    memset(clients, 0, sizeof clients);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.index = i, .random = check_random_of(seed * 100 + i)};
        pthread_mutex_init(&workers[i].lock, NULL);
        pthread_cond_init(&workers[i].woken, NULL);
        if (registry_init(&workers[i].registry, &OPS) != 0)
            abort();
    }
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        for (int k = 0; k < CHANNELS; k++) {
            if (k == 0 || check_random_once_in(&r, 2))
                c->channels[c->count++] = k;
        }
        attach(&workers[i % WORKERS], c);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        publishers[i].random = check_random_of(seed * 100 + 50 + i);
        pthread_create(&publishers[i].thread, NULL, publisher_main, &publishers[i]);
    }
}

/* Lets nobody move any more, then tells all workers in one moment that nothing follows. */
static void end(void) {
    struct task *tasks[WORKERS];
    for (unsigned i = 0; i < PUBLISHERS; i++)
        pthread_join(publishers[i].thread, NULL);
    atomic_store(&settling, true);
    while (atomic_load(&moving) > 0 || atomic_load(&publishing) > 0)
        sched_yield();
    for (unsigned i = 0; i < WORKERS; i++) {
        tasks[i] = malloc(sizeof *tasks[i]);
        *tasks[i] = (struct task){.run = finish_run, .cancel = never};
    }
    hub_post_all(hub, tasks);
    entry_count = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *w = &workers[i];
        pthread_join(w->thread, NULL);
        CHECK_EQ_INT(w->sent_count, OWN);
        memcpy(&entries[entry_count], w->sent, w->sent_count * sizeof *entries);
        entry_count += w->sent_count;
    }
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        memcpy(&entries[entry_count], publishers[i].sent, sizeof publishers[i].sent);
        entry_count += EACH;
        for (size_t k = 1; k < EACH; k++)
            CHECK(message_id_after(publishers[i].sent[k].id, publishers[i].sent[k - 1].id));
    }
    qsort(entries, entry_count, sizeof *entries, by_id);
    for (size_t i = 1; i < entry_count; i++)
        CHECK(message_id_after(entries[i].id, entries[i - 1].id));
}

static bool told(const struct client *c, const struct record *r) {
    for (size_t i = 0; i < c->gap_count; i++) {
        const struct gap *g = &c->gaps[i];
        if (g->channel == r->channel && message_id_after(r->id, g->from) && !message_id_after(r->id, g->to))
            return true;
    }
    return false;
}

/* What a client has must be what was published to its channels, save what it was told was missing. Returns how much
 * was. */
static size_t check_client(const struct client *c) {
    size_t at = 0, missing = 0;
    for (size_t i = 0; i < entry_count; i++) {
        bool wanted = false;
        for (size_t k = 0; k < c->count; k++)
            wanted = wanted || c->channels[k] == entries[i].channel;
        if (!wanted || !message_id_after(entries[i].id, c->base))
            continue;
        if (at < c->got_count && by_id(&c->got[at], &entries[i]) == 0) {
            CHECK_EQ_INT(c->got[at].channel, entries[i].channel);
            at++;
            continue;
        }
        missing++;
        if (!check_that(told(c, &entries[i]), __FILE__, __LINE__, "a message was lost silently"))
            return missing;
    }
    CHECK_EQ_INT(at, c->got_count); /* nothing else came */
    return missing;
}

static size_t run(const struct config *config, uint64_t seed) {
    size_t missing = 0;
    begin(config, seed);
    end();
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_NOTE("seed %d, client %d", (int)seed, i);
        missing += check_client(&clients[i]);
        CHECK(config->history.messages < MOST || clients[i].gap_count == 0);
    }
    CHECK_EQ_INT(atomic_load(&wrong), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        registry_deinit(&workers[i].registry);
        free(workers[i].inbox.items);
        pthread_mutex_destroy(&workers[i].lock);
        pthread_cond_destroy(&workers[i].woken);
    }
    hub_free(hub);
    return missing;
}

TEST(clients_that_are_cut_off_and_move_miss_nothing) {
    static const struct config CONFIG = {.history = {MOST, 1 << 30, 1 << 30}, .history_total_bytes = 1 << 30};
    for (uint64_t seed = 1; seed <= 2; seed++)
        CHECK_EQ_INT(run(&CONFIG, seed), 0);
}

TEST(where_history_is_short_they_are_told_the_gap) {
    static const struct config CONFIG = {.history = {6, 1 << 30, 1 << 30}, .history_total_bytes = 1 << 30};
    size_t missing = 0;
    for (uint64_t seed = 11; seed <= 12; seed++)
        missing += run(&CONFIG, seed);
    CHECK(missing > 0);
}

CHECK_MAIN()
