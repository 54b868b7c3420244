/* SPDX-License-Identifier: MIT */
#include "channel.h"

#include <errno.h>
#include <stdlib.h>

enum { PENDING_FIRST = 8, MERGE_FEW = 128 };

/* --- filter ------------------------------------------------------------------------------------- */

struct filter *filter_new(void) {
    struct filter *f = calloc(1, sizeof *f);
    if (f) {
        f->refs = 1;
        f->function = FILTER_NO_FUNCTION;
    }
    return f;
}

struct filter *filter_retain(struct filter *f) {
    f->refs++;
    return f;
}

void filter_release(struct filter *f) {
    if (!f || --f->refs)
        return;
    if (f->drop)
        f->drop(f, f->context);
    buf_deinit(&f->types);
    buf_deinit(&f->prefix);
    free(f);
}

static bool types_hold(struct slice types, struct slice type) {
    while (types.len) {
        const char *end = memchr(types.ptr, '\n', types.len);
        size_t len = (size_t)(end - types.ptr);
        if (slice_equal(slice_make(types.ptr, len), type))
            return true;
        types = slice_make(end + 1, types.len - len - 1);
    }
    return false;
}

bool filter_match(const struct filter *f, const struct message *m) {
    struct slice type = message_event(m);
    if (type.len == 0)
        type = slice_of("message");
    if (f->prefix.len && (type.len < f->prefix.len || memcmp(type.ptr, f->prefix.data, f->prefix.len) != 0))
        return false;
    return f->types.len == 0 || types_hold(buf_slice(&f->types), type);
}

/* --- channel ------------------------------------------------------------------------------------ */

struct channel *channel_new(struct slice name, bool all) {
    struct channel *ch = calloc(1, sizeof *ch + name.len);
    if (!ch)
        return NULL;
    list_init(&ch->ring);
    list_init(&ch->busy);
    ch->cursor = &ch->ring;
    ch->all = all;
    ch->name_len = (uint16_t)name.len;
    memcpy(ch->name, name.ptr, name.len);
    return ch;
}

static struct pending *pending_at(const struct channel *ch, uint32_t i) {
    return &ch->pending[(ch->pending_head + i) & (ch->pending_cap - 1)];
}

static void pending_pop(struct channel *ch) {
    message_release(pending_at(ch, 0)->message);
    ch->pending_head = (ch->pending_head + 1) & (ch->pending_cap - 1);
    ch->pending_count--;
}

void channel_drop_pending(struct channel *ch) {
    while (ch->pending_count)
        pending_pop(ch);
    list_unlink(&ch->busy);
}

void channel_free(struct channel *ch) {
    channel_drop_pending(ch);
    free(ch->pending);
    free(ch);
}

void channel_link(struct channel *ch, struct list *node) {
    list_insert_before(ch->cursor, node);
    /* With the cursor at the head, "before it" is the end of the ring and the next visit begins at the front: still last. */
    ch->count++;
}

void channel_unlink(struct channel *ch, struct list *node) {
    if (ch->cursor == node)
        ch->cursor = node->next;
    list_unlink(node);
    ch->count--;
}

int channel_push(struct channel *ch, struct message *m) {
    if (ch->pending_count == ch->pending_cap) {
        uint32_t cap = ch->pending_cap ? ch->pending_cap * 2 : PENDING_FIRST;
        struct pending *bigger = malloc(cap * sizeof *bigger);
        if (!bigger)
            return -ENOMEM;
        for (uint32_t i = 0; i < ch->pending_count; i++)
            bigger[i] = *pending_at(ch, i);
        free(ch->pending);
        ch->pending = bigger;
        ch->pending_cap = cap;
        ch->pending_head = 0;
    }
    ch->pending_count++;
    *pending_at(ch, ch->pending_count - 1) = (struct pending){m, ch->visits + ch->count};
    return 0;
}

uint64_t channel_waiting_since(const struct channel *ch) {
    return ch->pending_count ? pending_at(ch, 0)->message->published_ns : 0;
}

static struct subscriber *subscriber_of(const struct channel *ch, struct list *node) {
    return ch->all ? list_entry(node, struct subscriber, all_node) : list_entry(node, struct subscription, node)->subscriber;
}

static void release_done(struct channel *ch) {
    while (ch->pending_count && pending_at(ch, 0)->done_at <= ch->visits)
        pending_pop(ch);
}

static struct list *node_after(struct channel *ch, struct list *node) {
    return node->next == &ch->ring ? ch->ring.next : node->next;
}

/* A fan-out walks over more memory than the caches hold, and each visit ends in a system call that lasts longer than memory takes to come. So what the next visits will
 * touch is fetched meanwhile, a stage a visit, since each stage's address lies in the one before: the node of the third one on, its subscriber when it is the
 * second one on, what that refers to when it is the next. */
static void fetch_ahead(struct channel *ch, struct list *node, const struct subscriber_ops *ops) {
    struct list *next = node_after(ch, node), *second = node_after(ch, next);
    const struct subscriber *later = subscriber_of(ch, second);
    if (ops->prefetch)
        ops->prefetch(subscriber_of(ch, next));
    __builtin_prefetch(later);
    __builtin_prefetch(later + 1); /* its end, and the beginning of what it is embedded in */
    __builtin_prefetch(second->next);
}

size_t channel_step(struct channel *ch, const struct subscriber_ops *ops, size_t budget) {
    size_t done = 0;
    release_done(ch);
    while (ch->pending_count && ch->count && done < budget) {
        if (ch->cursor == &ch->ring)
            ch->cursor = ch->ring.next;
        struct list *node = ch->cursor;
        ch->cursor = node->next;
        fetch_ahead(ch, node, ops);
        struct subscriber *s = subscriber_of(ch, node);
        if (s->state == SUBSCRIBER_LIVE)
            ops->deliver(s);
        ch->visits++;
        done++;
        if (pending_at(ch, 0)->done_at <= ch->visits)
            release_done(ch);
    }
    if (ch->count == 0)
        channel_drop_pending(ch);
    return done;
}

/* The first pending message of `ch` that is after `id`. Owed ones are at the end and mostly few. */
static uint32_t pending_after(const struct channel *ch, struct message_id id) {
    uint32_t i = ch->pending_count;
    while (i && message_id_after(pending_at(ch, i - 1)->message->id, id))
        i--;
    return i;
}

/* Takes what one channel owes. */
static size_t owed_of(const struct channel *ch, struct subscription *sub, struct message_id id, struct owed *out, size_t max) {
    uint32_t i = pending_after(ch, id);
    size_t n = 0;
    for (; i < ch->pending_count && n < max; i++)
        out[n++] = (struct owed){pending_at(ch, i)->message, sub};
    return n;
}

/* One channel that has something pending, and how far it was taken. */
struct source {
    const struct channel *channel;
    struct subscription *subscription;
    uint32_t next;
};

static struct message_id next_id(const struct source *source) {
    return pending_at(source->channel, source->next)->message->id;
}

/* Puts in a source that owes something. */
static size_t add_source(struct source *sources, size_t count, const struct channel *ch, struct subscription *sub, struct message_id id) {
    uint32_t next = pending_after(ch, id);
    if (next < ch->pending_count)
        sources[count++] = (struct source){ch, sub, next};
    return count;
}

/* Merges several channels by id: takes the least of their first ones, again and again. */
static size_t merge(struct source *sources, size_t count, struct owed *out, size_t max) {
    size_t n = 0;
    while (count > 0 && n < max) {
        size_t least = 0;
        for (size_t i = 1; i < count; i++) {
            if (message_id_after(next_id(&sources[least]), next_id(&sources[i])))
                least = i;
        }
        struct source *source = &sources[least];
        out[n++] = (struct owed){pending_at(source->channel, source->next)->message, source->subscription};
        if (++source->next == source->channel->pending_count)
            *source = sources[--count];
    }
    return n;
}

static size_t owed_merged(const struct subscriber *s, const struct channel *all, size_t sources_count, struct owed *out, size_t max) {
    struct source few[MERGE_FEW];
    struct source *sources = sources_count <= MERGE_FEW ? few : malloc(sources_count * sizeof *sources);
    if (!sources)
        return CHANNEL_NO_MEMORY;
    size_t count = all && all->pending_count ? add_source(sources, 0, all, NULL, s->position) : 0;
    for (struct subscription *sub = s->subs; sub; sub = sub->next) {
        if (sub->channel->pending_count)
            count = add_source(sources, count, sub->channel, sub, message_id_max(s->position, sub->since));
    }
    size_t n = merge(sources, count, out, max);
    if (sources != few)
        free(sources);
    return n;
}

size_t channel_owed(const struct subscriber *s, const struct channel *all, struct owed *out, size_t max) {
    /* Mostly one channel has something pending, and nothing is to be merged. */
    struct subscription *one = NULL;
    size_t sources = 0;
    if (all && all->pending_count)
        sources++;
    for (struct subscription *sub = s->subs; sub; sub = sub->next) {
        if (sub->channel->pending_count) {
            one = sub;
            sources++;
        }
    }
    if (sources > 1)
        return owed_merged(s, all, sources, out, max);
    if (one)
        return owed_of(one->channel, one, message_id_max(s->position, one->since), out, max);
    return sources ? owed_of(all, NULL, s->position, out, max) : 0;
}
