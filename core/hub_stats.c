/* SPDX-License-Identifier: MIT */
/* What is told of the hub: its channels, their activity, sums. */
#include <errno.h>

#include "hub_private.h"

enum {
    ACTIVITY_MS = 5000,
    ACTIVITY_LATE_MS = 60000 /* clocks of nodes differ, too */
};

/* Moves the channel's two spans to where now is. */
static void turn_activity(struct hub_channel *ch, uint64_t now_ms) {
    uint64_t window = now_ms / ACTIVITY_MS;
    if (window == ch->window)
        return;
    ch->before = window == ch->window + 1 ? ch->recent : 0;
    ch->recent = 0;
    ch->window = window;
}

void hub_channel_count_activity(struct hub_channel *ch, uint64_t at_ms, uint64_t now_ms) {
    turn_activity(ch, now_ms);
    ch->published++;
    ch->recent += at_ms + ACTIVITY_LATE_MS > now_ms;
}

void hub_channel_stats(struct hub *hub, struct slice name, uint64_t now_ms, struct hub_channel_stats *out) {
    *out = (struct hub_channel_stats){0};
    uint64_t hash = hub_hash(hub, name);
    pthread_mutex_lock(&hub->lock);
    struct hub_channel *ch = hub_channel_find(hub, name, hash);
    if (ch) {
        struct history *h = &ch->history;
        history_expire(h, now_ms);
        out->exists = true;
        out->subscribers = hub_channel_subscribers(hub, ch);
        out->messages = h->count;
        out->bytes = h->bytes;
        if (h->count) {
            out->oldest = history_at(h, 0)->id;
            out->newest = history_at(h, h->count - 1)->id;
        }
    }
    pthread_mutex_unlock(&hub->lock);
}

/* What was published lately, a second: the span under way, and as much of the one before as makes a whole one. */
static double rate_of(struct hub_channel *ch, uint64_t now_ms) {
    turn_activity(ch, now_ms);
    double left = 1 - (double)(now_ms % ACTIVITY_MS) / ACTIVITY_MS;
    return ((double)ch->before * left + (double)ch->recent) * 1000 / ACTIVITY_MS;
}

static void fill_row(struct hub *hub, struct hub_channel *ch, uint64_t now_ms, struct hub_channel_row *row) {
    history_expire(&ch->history, now_ms);
    memcpy(row->name, ch->name, ch->name_len);
    row->name[ch->name_len] = '\0';
    row->subscribers = hub_channel_subscribers(hub, ch);
    row->messages = ch->history.count;
    row->bytes = ch->history.bytes;
    row->published = ch->published;
    row->rate = rate_of(ch, now_ms);
}

/* Appends the channels of one slot. Returns false where they do not all have room behind others: they are for the next batch. */
static bool list_slot(struct hub *hub, size_t slot, struct slice prefix, uint64_t now_ms, struct hub_channel_row *rows, size_t max, size_t *count) {
    size_t first = *count;
    for (struct table_node *node = hub->channels.slots[slot]; node; node = node->next) {
        struct hub_channel *ch = table_entry(node, struct hub_channel, by_name);
        if (ch == hub->all || ch->name_len < prefix.len || memcmp(ch->name, prefix.ptr, prefix.len) != 0)
            continue;
        if (*count == max) {
            *count = first ? first : max;
            return first == 0;
        }
        fill_row(hub, ch, now_ms, &rows[(*count)++]);
    }
    return true;
}

int hub_list(struct hub *hub, struct hub_cursor *at, struct slice prefix, uint64_t now_ms, struct hub_channel_row *rows, size_t max,
             size_t *count) {
    int rc = 0;
    *count = 0;
    pthread_mutex_lock(&hub->lock);
    if (at->mask && at->mask != hub->channels.mask) {
        *at = (struct hub_cursor){0};
        rc = -EAGAIN;
    }
    at->mask = hub->channels.mask;
    for (size_t i = 0; rc == 0 && i < HUB_SLOTS && at->slot <= at->mask; i++, at->slot++) {
        if (!list_slot(hub, at->slot, prefix, now_ms, rows, max, count))
            break;
    }
    at->done = rc == 0 && at->slot > at->mask;
    pthread_mutex_unlock(&hub->lock);
    return rc;
}

void hub_stats(struct hub *hub, struct hub_stats *out) {
    pthread_mutex_lock(&hub->lock);
    *out = (struct hub_stats){hub->channels.count - 1, hub->total.messages, hub->total.bytes, hub->published};
    pthread_mutex_unlock(&hub->lock);
}
