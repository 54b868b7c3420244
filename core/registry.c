/* SPDX-License-Identifier: MIT */
#include "registry.h"

#include <errno.h>

int registry_init(struct registry *r, const struct subscriber_ops *ops) {
    *r = (struct registry){.ops = ops};
    list_init(&r->busy);
    int rc = table_init(&r->channels);
    if (rc)
        return rc;
    r->all = channel_new(slice_of(REGISTRY_ALL), true);
    if (!r->all) {
        table_deinit(&r->channels);
        return -ENOMEM;
    }
    return 0;
}

static void free_channel(struct table_node *node, void *context) {
    struct registry *r = context;
    table_unlink(&r->channels, node);
    channel_free(table_entry(node, struct channel, by_name));
}

void registry_deinit(struct registry *r) {
    if (!r->all)
        return;
    table_each(&r->channels, free_channel, r);
    table_deinit(&r->channels);
    channel_free(r->all);
    r->all = NULL;
}

struct channel *registry_find(const struct registry *r, uint64_t hash, struct slice name) {
    for (struct table_node *node = table_first(&r->channels, hash); node; node = table_next(node)) {
        struct channel *ch = table_entry(node, struct channel, by_name);
        if (slice_equal(slice_make(ch->name, ch->name_len), name))
            return ch;
    }
    return NULL;
}

struct channel *registry_open(struct registry *r, uint64_t hash, struct slice name) {
    struct channel *ch = registry_find(r, hash, name);
    if (ch)
        return ch;
    ch = channel_new(name, false);
    if (ch)
        table_link(&r->channels, &ch->by_name, hash);
    return ch;
}

void registry_close_unused(struct registry *r, struct channel *ch) {
    if (ch->all || ch->count || ch->holds)
        return;
    table_unlink(&r->channels, &ch->by_name);
    channel_free(ch);
}

int registry_push(struct registry *r, struct message *m) {
    struct slice name = message_channel(m);
    struct channel *ch = registry_find(r, m->channel_hash, name);
    if (!ch && slice_is(name, REGISTRY_ALL))
        ch = r->all;
    if (!ch || ch->count == 0) {
        message_release(m);
        return 0;
    }
    int rc = channel_push(ch, m);
    if (rc == 0 && list_empty(&ch->busy))
        list_append(&r->busy, &ch->busy);
    return rc;
}

uint64_t registry_waiting_since(const struct registry *r) {
    return list_empty(&r->busy) ? 0 : channel_waiting_since(list_entry(r->busy.next, struct channel, busy));
}

bool registry_step(struct registry *r, size_t budget) {
    while (budget && !list_empty(&r->busy)) {
        struct channel *ch = list_entry(r->busy.next, struct channel, busy);
        size_t done = channel_step(ch, r->ops, budget);
        budget -= done;
        list_unlink(&ch->busy);
        if (ch->pending_count)
            list_append(&r->busy, &ch->busy);
    }
    return !list_empty(&r->busy);
}
