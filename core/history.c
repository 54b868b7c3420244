/* SPDX-License-Identifier: MIT */
#include "history.h"

#include <stdlib.h>

enum { HISTORY_FIRST = 4 };

void history_total_init(struct history_total *total, size_t max_bytes) {
    list_init(&total->fifo);
    total->bytes = 0;
    total->messages = 0;
    total->max_bytes = max_bytes;
}

void history_init(struct history *h, struct history_total *total, const struct history_limits *limits,
                  struct message_id dropped) {
    *h = (struct history){.total = total, .limits = *limits, .dropped = dropped};
}

static void drop_oldest(struct history *h) {
    struct message *m = history_at(h, 0);
    h->head = (h->head + 1) & (h->cap - 1);
    h->count--;
    h->bytes -= m->size;
    h->total->bytes -= m->size;
    h->total->messages--;
    h->dropped = message_id_max(h->dropped, m->id);
    list_unlink(&m->log_node);
    m->history = NULL;
    message_release(m);
}

void history_deinit(struct history *h) {
    while (h->count)
        drop_oldest(h);
    free(h->ring);
    h->ring = NULL;
    h->cap = 0;
}

void history_clear(struct history *h, struct message_id dropped) {
    history_deinit(h);
    h->head = 0;
    h->dropped = dropped;
}

void history_expire(struct history *h, uint64_t now_ms) {
    while (h->count) {
        uint64_t at = history_at(h, 0)->id.ms;
        if (now_ms <= at || now_ms - at <= h->limits.age_ms)
            return;
        drop_oldest(h);
    }
    free(h->ring);
    h->ring = NULL;
    h->cap = 0;
    h->head = 0;
}

static bool make_room(struct history *h) {
    if (h->count < h->cap)
        return true;
    size_t cap = h->cap ? h->cap * 2 : HISTORY_FIRST;
    struct message **ring = malloc(cap * sizeof(struct message *));
    if (!ring)
        return false;
    for (size_t i = 0; i < h->count; i++)
        ring[i] = history_at(h, i);
    free(h->ring);
    h->ring = ring;
    h->cap = cap;
    h->head = 0;
    return true;
}

void history_append(struct history *h, struct message *m, uint64_t now_ms) {
    if (h->limits.messages == 0 || m->size > h->limits.bytes || m->size > h->total->max_bytes || !make_room(h)) {
        /* What is older must go too: a history has no holes. */
        while (h->count)
            drop_oldest(h);
        h->dropped = m->id;
        return;
    }
    h->ring[(h->head + h->count) & (h->cap - 1)] = message_retain(m);
    h->count++;
    h->bytes += m->size;
    h->total->bytes += m->size;
    h->total->messages++;
    list_append(&h->total->fifo, &m->log_node);
    m->history = h;

    while (h->count > h->limits.messages || h->bytes > h->limits.bytes)
        drop_oldest(h);
    while (h->total->bytes > h->total->max_bytes) {
        struct message *oldest = list_entry(h->total->fifo.next, struct message, log_node);
        drop_oldest(oldest->history);
    }
    history_expire(h, now_ms);
}

size_t history_after(const struct history *h, struct message_id id) {
    /* Most look for the newest: look there first. */
    if (h->count == 0 || !message_id_after(history_at(h, h->count - 1)->id, id))
        return h->count;
    size_t low = 0, high = h->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (message_id_after(history_at(h, middle)->id, id))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}
