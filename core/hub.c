/* SPDX-License-Identifier: MIT */
#include "hub_private.h"

#include <errno.h>
#include <stdlib.h>

enum {
    INBOX_MAX_ITEMS = 1 << 17,
    INBOX_MAX_BYTES = 64 << 20
};

uint64_t hub_hash(const struct hub *hub, struct slice name) {
    return hash_keyed(&hub->seed, name);
}

/* --- channels ----------------------------------------------------------------------------------- */

static struct hub_channel *channel_make(struct hub *hub, struct slice name, uint64_t hash) {
    size_t counts = hub->workers * sizeof(uint32_t);
    struct hub_channel *ch = calloc(1, sizeof *ch + counts + name.len);
    if (!ch)
        return NULL;
    ch->counts = (uint32_t *)(void *)(ch + 1);
    ch->name = (char *)(ch + 1) + counts;
    ch->name_len = (uint32_t)name.len;
    list_init(&ch->changed);
    memcpy(ch->name, name.ptr, name.len);
    const struct channel_rule *rule = config_rule(hub->config, name);
    history_init(&ch->history, &hub->total, rule ? &rule->history : &hub->config->history,
                 hub->floors[hash & (HUB_FLOORS - 1)]);
    table_link(&hub->channels, &ch->by_name, hash);
    return ch;
}

struct hub_channel *hub_channel_find(struct hub *hub, struct slice name, uint64_t hash) {
    for (struct table_node *node = table_first(&hub->channels, hash); node; node = table_next(node)) {
        struct hub_channel *ch = table_entry(node, struct hub_channel, by_name);
        if (slice_equal(slice_make(ch->name, ch->name_len), name))
            return ch;
    }
    return NULL;
}

struct hub_channel *hub_channel_open(struct hub *hub, struct slice name, uint64_t hash) {
    struct hub_channel *ch = hub_channel_find(hub, name, hash);
    return ch ? ch : channel_make(hub, name, hash);
}

uint64_t hub_channel_subscribers(const struct hub *hub, const struct hub_channel *ch) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < hub->workers; i++)
        sum += ch->counts[i];
    return sum;
}

static void channel_drop(struct hub *hub, struct hub_channel *ch) {
    struct message_id *floor = &hub->floors[ch->by_name.hash & (HUB_FLOORS - 1)];
    history_deinit(&ch->history);
    *floor = message_id_max(*floor, ch->history.dropped);
    list_unlink(&ch->changed);
    table_unlink(&hub->channels, &ch->by_name);
    free(ch);
}

void hub_channel_drop_unused(struct hub *hub, struct hub_channel *ch) {
    if (ch != hub->all && ch->history.count == 0 && ch->told == 0 && hub_channel_subscribers(hub, ch) == 0)
        channel_drop(hub, ch);
}

/* One stream more or less. */
static void channel_count(struct hub *hub, struct hub_channel *ch, unsigned worker, int by) {
    ch->counts[worker] += (uint32_t)by;
    if (hub->following && list_empty(&ch->changed))
        list_append(&hub->changed, &ch->changed);
}

/* --- the hub ------------------------------------------------------------------------------------ */

struct hub *hub_new(const struct config *config, unsigned workers, const struct hub_ops *ops, uint64_t now_ms) {
    struct hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return NULL;
    hub->config = config;
    hub->ops = *ops;
    hub->workers = workers;
    hub->start = hub->newest = (struct message_id){now_ms, 0};
    hub->epoch = 1;
    list_init(&hub->changed);
    history_total_init(&hub->total, config->history_total_bytes);
    pthread_mutex_init(&hub->lock, NULL);
    hub->inboxes = calloc(workers, sizeof *hub->inboxes);
    if (hash_seed_init(&hub->seed) != 0 || !hub->inboxes || table_init(&hub->channels) != 0)
        goto fail;
    hub->all = channel_make(hub, slice_of(REGISTRY_ALL), hub_hash(hub, slice_of(REGISTRY_ALL)));
    if (!hub->all)
        goto fail;
    return hub;

fail:
    hub_free(hub);
    return NULL;
}

static void empty_inbox(struct inbox *mail) {
    for (size_t i = 0; i < mail->count; i++) {
        if (mail->items[i].message)
            message_release(mail->items[i].message);
        if (mail->items[i].task)
            mail->items[i].task->cancel(mail->items[i].task);
    }
    free(mail->items);
    *mail = (struct inbox){0};
}

static void free_channel(struct table_node *node, void *context) {
    channel_drop(context, table_entry(node, struct hub_channel, by_name));
}

void hub_free(struct hub *hub) {
    if (!hub)
        return;
    for (unsigned i = 0; hub->inboxes && i < hub->workers; i++)
        empty_inbox(&hub->inboxes[i].mail);
    free(hub->inboxes);
    if (hub->channels.slots)
        table_each(&hub->channels, free_channel, hub);
    table_deinit(&hub->channels);
    pthread_mutex_destroy(&hub->lock);
    free(hub);
}

struct message_id hub_newest(struct hub *hub) {
    pthread_mutex_lock(&hub->lock);
    struct message_id id = hub->newest;
    pthread_mutex_unlock(&hub->lock);
    return id;
}

/* --- inboxes ------------------------------------------------------------------------------------ */

/* Makes room for one more item. Returns false without memory. */
static bool inbox_reserve(struct inbox *mail) {
    if (mail->count < mail->cap)
        return true;
    size_t cap = mail->cap ? mail->cap * 2 : 64;
    struct inbox_item *items = realloc(mail->items, cap * sizeof *items);
    if (!items)
        return false;
    mail->items = items;
    mail->cap = cap;
    return true;
}

bool hub_inbox_put(struct hub_inbox *inbox, struct inbox_item item) {
    struct inbox *mail = &inbox->mail;
    if (!inbox_reserve(mail))
        return false;
    mail->items[mail->count++] = item;
    return hub_inbox_fill(inbox);
}

bool hub_inbox_put_message(struct hub_inbox *inbox, struct message *m) {
    struct inbox *mail = &inbox->mail;
    if (inbox->closed)
        return false;
    size_t before = mail->count;
    bool wake = false;
    if (!mail->overflowed && mail->count < INBOX_MAX_ITEMS && mail->bytes < INBOX_MAX_BYTES) {
        wake = hub_inbox_put(inbox, (struct inbox_item){.message = message_retain(m)});
        if (mail->count > before) {
            mail->bytes += m->size;
            return wake;
        }
        message_release(m);
    }
    mail->overflowed = true;
    return hub_inbox_fill(inbox);
}

void hub_wake(struct hub *hub, const bool *wake) {
    for (unsigned i = 0; i < hub->workers; i++) {
        if (wake[i])
            hub->ops.wake(hub->ops.context, i);
    }
}

static struct message_id next_id(struct hub *hub, uint64_t now_ms) {
    if (now_ms > hub->newest.ms)
        hub->newest = (struct message_id){now_ms, 0};
    else
        hub->newest.n++;
    return hub->newest;
}

int hub_publish(struct hub *hub, struct message *m, int from, uint64_t now_ms, uint64_t now_ns, struct hub_published *out) {
    struct slice name = message_channel(m);
    uint64_t hash = hub_hash(hub, name);
    uint8_t wake[hub->workers];
    unsigned wakes = 0;

    m->channel_hash = hash;
    m->published_ns = now_ns;
    pthread_mutex_lock(&hub->lock);
    struct hub_channel *ch = hub_channel_open(hub, name, hash);
    if (!ch) {
        pthread_mutex_unlock(&hub->lock);
        message_release(m);
        return -ENOMEM;
    }
    m->epoch = hub->epoch;
    message_seal(m, next_id(hub, now_ms));
    out->id = m->id;
    out->subscribers = 0;
    for (unsigned i = 0; i < hub->workers; i++) {
        if (!ch->counts[i])
            continue;
        out->subscribers += ch->counts[i];
        if (hub_inbox_put_message(&hub->inboxes[i], m) && (int)i != from)
            wake[wakes++] = (uint8_t)i;
    }
    hub_channel_count_activity(ch, now_ms, now_ms);
    history_append(&ch->history, m, now_ms);
    hub_channel_drop_unused(hub, ch);
    hub->published++;
    pthread_mutex_unlock(&hub->lock);

    message_release(m);
    for (unsigned i = 0; i < wakes; i++)
        hub->ops.wake(hub->ops.context, wake[i]);
    return 0;
}

int hub_post(struct hub *hub, unsigned worker, struct task *task) {
    struct hub_inbox *inbox = &hub->inboxes[worker];
    pthread_mutex_lock(&hub->lock);
    bool posted = false, wake = false;
    if (!inbox->closed) {
        size_t before = inbox->mail.count;
        wake = hub_inbox_put(inbox, (struct inbox_item){.task = task});
        posted = inbox->mail.count > before;
    }
    pthread_mutex_unlock(&hub->lock);
    if (wake)
        hub->ops.wake(hub->ops.context, worker);
    return posted ? 0 : -ESRCH;
}

int hub_post_all(struct hub *hub, struct task **tasks) {
    bool refused[hub->workers], wake[hub->workers], room = true;
    pthread_mutex_lock(&hub->lock);
    for (unsigned i = 0; room && i < hub->workers; i++)
        room = hub->inboxes[i].closed || inbox_reserve(&hub->inboxes[i].mail);
    for (unsigned i = 0; i < hub->workers; i++) {
        refused[i] = !room || hub->inboxes[i].closed;
        wake[i] = !refused[i] && hub_inbox_put(&hub->inboxes[i], (struct inbox_item){.task = tasks[i]});
    }
    pthread_mutex_unlock(&hub->lock);
    hub_wake(hub, wake);
    for (unsigned i = 0; i < hub->workers; i++) {
        if (refused[i])
            tasks[i]->cancel(tasks[i]);
    }
    return room ? 0 : -ENOMEM;
}

bool hub_has_mail(const struct hub *hub, unsigned worker) {
    return atomic_load_explicit(&hub->inboxes[worker].full, memory_order_acquire);
}

void hub_take(struct hub *hub, unsigned worker, struct inbox *inbox) {
    struct hub_inbox *box = &hub->inboxes[worker];
    inbox->count = 0;
    inbox->bytes = 0;
    inbox->overflowed = inbox->lost = false;
    pthread_mutex_lock(&hub->lock);
    struct inbox mail = box->mail;
    box->mail = *inbox;
    atomic_store_explicit(&box->full, false, memory_order_relaxed);
    pthread_mutex_unlock(&hub->lock);
    *inbox = mail;
}

void hub_close_inbox(struct hub *hub, unsigned worker) {
    pthread_mutex_lock(&hub->lock);
    hub->inboxes[worker].closed = true;
    pthread_mutex_unlock(&hub->lock);
}

/* --- subscribing -------------------------------------------------------------------------------- */

/* The first message of a source that a stream at `position` has not had, or NULL. */
static struct message *source_next(const struct hub_source *source, struct message_id position) {
    const struct history *h = &source->channel->history;
    size_t i = history_after(h, message_id_max(position, source->since));
    return i < h->count ? history_at(h, i) : NULL;
}

static struct message *first_of_all(const struct hub_source *sources, size_t count, struct message_id position) {
    struct message *first = NULL;
    for (size_t i = 0; i < count; i++) {
        struct message *m = source_next(&sources[i], position);
        if (m && (!first || message_id_after(first->id, m->id)))
            first = m;
    }
    return first;
}

/* Widens what is said to be kept by what a history holds. */
static void add_kept(struct hub_gap *gap, const struct history *h) {
    if (h->count == 0)
        return;
    struct message_id oldest = history_at(h, 0)->id, newest = history_at(h, h->count - 1)->id;
    gap->oldest = gap->any_kept && message_id_after(oldest, gap->oldest) ? gap->oldest : oldest;
    gap->newest = gap->any_kept ? message_id_max(gap->newest, newest) : newest;
    gap->any_kept = true;
}

/* Looks which sources have lost something and moves their `since`, so that it is said once. `everywhere` takes every channel that was asked for as lossy:
 * nobody knows what they held before. */
static void find_gap(const struct hub *hub, struct hub_source *sources, size_t count, struct message_id position, bool everywhere,
                     struct hub_gap *gap) {
    *gap = (struct hub_gap){.found = everywhere};
    for (size_t i = 0; i < count; i++) {
        struct hub_source *source = &sources[i];
        const struct history *h = &source->channel->history;
        source->gap = (everywhere && (i > 0 || count == 1)) || message_id_after(h->dropped, message_id_max(position, source->since));
        if (!source->gap)
            continue;
        gap->found = true;
        source->since = message_id_max(source->since, h->dropped);
        add_kept(gap, h);
    }
    if (gap->found) {
        struct message *first = first_of_all(sources, count, position);
        gap->id = first ? message_id_before(first->id) : hub->newest;
    }
}

static void expire_sources(struct hub_source *sources, size_t count, uint64_t now_ms) {
    for (size_t i = 0; i < count; i++)
        history_expire(&sources[i].channel->history, now_ms);
}

/* Fixes the point of the log from which the stream reads. */
static void join(struct hub *hub, struct hub_source *sources, size_t count, struct hub_start start, struct hub_joined *out) {
    *out = (struct hub_joined){.opening = hub->newest, .position = hub->newest, .live = true, .epoch = hub->epoch};
    if (start.kind == HUB_NEW)
        return;
    if (start.kind == HUB_AFTER && message_id_after(start.id, hub->newest))
        start.kind = HUB_NONSENSE;
    if (start.kind == HUB_UNSURE)
        out->epoch = HUB_EPOCH_UNSURE;
    if (start.kind == HUB_AFTER || start.kind == HUB_VOUCHED || start.kind == HUB_UNSURE) {
        out->position = start.id;
        find_gap(hub, sources, count, start.id, message_id_after(hub->start, start.id), &out->gap);
    } else {
        struct message_id zero = {0, 0};
        if (start.kind == HUB_NONSENSE)
            find_gap(hub, sources, count, zero, true, &out->gap);
        for (size_t i = 0; i < count; i++)
            sources[i].since = sources[i].channel->history.dropped; /* all that is kept, and no gap for what is not */
        struct message *first = first_of_all(sources, count, zero);
        out->position = first ? message_id_before(first->id) : hub->newest;
    }
    out->opening = out->position;
    out->live = first_of_all(sources, count, out->position) == NULL;
    if (out->live)
        out->position = message_id_max(out->position, hub->newest);
}

int hub_subscribe(struct hub *hub, unsigned worker, struct hub_source *sources, size_t count, struct hub_start start,
                  uint64_t now_ms, struct hub_joined *out) {
    pthread_mutex_lock(&hub->lock);
    sources[0].channel = hub->all;
    for (size_t i = 1; i < count; i++) {
        sources[i].channel = hub_channel_open(hub, sources[i].name, sources[i].hash);
        if (!sources[i].channel) {
            while (--i > 0) {
                channel_count(hub, sources[i].channel, worker, -1);
                hub_channel_drop_unused(hub, sources[i].channel);
            }
            pthread_mutex_unlock(&hub->lock);
            return -ENOMEM;
        }
        channel_count(hub, sources[i].channel, worker, 1);
    }
    channel_count(hub, hub->all, worker, 1);
    expire_sources(sources, count, now_ms);
    join(hub, sources, count, start, out);
    pthread_mutex_unlock(&hub->lock);
    return 0;
}

int hub_subscribe_later(struct hub *hub, unsigned worker, struct hub_source *source) {
    pthread_mutex_lock(&hub->lock);
    source->channel = hub_channel_open(hub, source->name, source->hash);
    if (source->channel) {
        channel_count(hub, source->channel, worker, 1);
        source->since = hub->newest;
    }
    pthread_mutex_unlock(&hub->lock);
    return source->channel ? 0 : -ENOMEM;
}

void hub_unsubscribe(struct hub *hub, unsigned worker, struct hub_channel *const *channels, size_t count) {
    pthread_mutex_lock(&hub->lock);
    for (size_t i = 0; i < count; i++) {
        channel_count(hub, channels[i], worker, -1);
        hub_channel_drop_unused(hub, channels[i]);
    }
    pthread_mutex_unlock(&hub->lock);
}

struct hub_channel *hub_all(struct hub *hub) {
    return hub->all;
}

size_t hub_read(struct hub *hub, struct hub_source *sources, size_t count, struct message_id *position, struct message **out,
                unsigned *from, size_t max, size_t max_bytes, uint64_t now_ms, bool *live, struct hub_gap *gap) {
    size_t n = 0, bytes = 0;
    pthread_mutex_lock(&hub->lock);
    expire_sources(sources, count, now_ms);
    find_gap(hub, sources, count, *position, false, gap);
    struct message_id at = *position;
    while (n < max && bytes < max_bytes) {
        struct message *least = NULL;
        for (size_t i = 0; i < count; i++) {
            struct message *m = source_next(&sources[i], at);
            if (m && (!least || message_id_after(least->id, m->id))) {
                least = m;
                from[n] = (unsigned)i;
            }
        }
        if (!least)
            break;
        out[n++] = message_retain(least);
        bytes += least->size;
        at = least->id;
    }
    *live = n == 0;
    *position = n ? at : message_id_max(at, hub->newest);
    pthread_mutex_unlock(&hub->lock);
    return n;
}

void hub_kept(struct hub *hub, const struct hub_source *sources, size_t count, uint64_t now_ms, struct hub_gap *gap) {
    pthread_mutex_lock(&hub->lock);
    for (size_t i = 0; i < count; i++) {
        if (!sources[i].gap)
            continue;
        history_expire(&sources[i].channel->history, now_ms);
        add_kept(gap, &sources[i].channel->history);
    }
    pthread_mutex_unlock(&hub->lock);
}

void hub_rejoin(struct hub *hub, struct hub_source *sources, size_t count, uint64_t now_ms, struct hub_joined *out) {
    struct hub_start start = {.kind = HUB_NONSENSE};
    pthread_mutex_lock(&hub->lock);
    expire_sources(sources, count, now_ms);
    join(hub, sources, count, start, out);
    pthread_mutex_unlock(&hub->lock);
}

uint32_t hub_epoch(struct hub *hub) {
    pthread_mutex_lock(&hub->lock);
    uint32_t epoch = hub->epoch;
    pthread_mutex_unlock(&hub->lock);
    return epoch;
}

/* --- keeping house ------------------------------------------------------------------------------ */

void hub_sweep(struct hub *hub, uint64_t now_ms) {
    pthread_mutex_lock(&hub->lock);
    for (size_t i = 0; i < HUB_SLOTS && i <= hub->channels.mask; i++) {
        struct table_node *node = hub->channels.slots[hub->sweep_at++ & hub->channels.mask];
        while (node) {
            struct hub_channel *ch = table_entry(node, struct hub_channel, by_name);
            node = node->next;
            history_expire(&ch->history, now_ms);
            hub_channel_drop_unused(hub, ch);
        }
    }
    pthread_mutex_unlock(&hub->lock);
}
