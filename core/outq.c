/* SPDX-License-Identifier: MIT */
#include "outq.h"

#include <errno.h>
#include <stdlib.h>

int outq_push(struct outq *q, struct message *m, struct slice bytes, bool begun, bool counted) {
    struct outq_node *node = malloc(sizeof *node);
    if (!node)
        return -ENOMEM;
    *node = (struct outq_node){
        .message = message_retain(m),
        .at = bytes.ptr,
        .len = (uint32_t)bytes.len,
        .begun = begun,
        .counted = counted,
        .own = m->channel_len == 0,
    };
    if (q->tail)
        q->tail->next = node;
    else
        q->head = node;
    q->tail = node;
    q->bytes += bytes.len;
    if (counted)
        q->counted += bytes.len;
    return 0;
}

int outq_iov(const struct outq *q, struct iovec *iov, int max) {
    int n = 0;
    for (const struct outq_node *node = q->head; node && n < max; node = node->next)
        iov[n++] = (struct iovec){(void *)(uintptr_t)node->at, node->len};
    return n;
}

/* Unhooks the node behind `prev` (NULL: the head) and frees it. */
static void remove_after(struct outq *q, struct outq_node *prev) {
    struct outq_node *node = prev ? prev->next : q->head;
    if (prev)
        prev->next = node->next;
    else
        q->head = node->next;
    if (q->tail == node)
        q->tail = prev;
    q->bytes -= node->len;
    if (node->counted)
        q->counted -= node->len;
    if (q->gap == node)
        q->gap = NULL;
    if (node->message)
        message_release(node->message);
    free(node);
}

static bool has_id(const struct outq_node *node) {
    return node->message && node->message->id.ms != 0;
}

/* A message is counted as its whole form, which is what was queued of it. */
static void add_to_sum(struct gzip_sum *sum, const struct message *m) {
    const struct message *whole = message_whole(m);
    gzip_sum_add(sum, whole ? &whole->part : &m->part);
}

void outq_sum_waiting(const struct outq *q, struct gzip_sum *sum) {
    for (const struct outq_node *node = q->head; node; node = node->next)
        add_to_sum(sum, node->message);
}

void outq_advance(struct outq *q, size_t count, struct gzip_sum *sum) {
    while (count && q->head) {
        struct outq_node *node = q->head;
        if (count < node->len) {
            node->at += count;
            node->len -= (uint32_t)count;
            node->begun = true;
            if (q->gap == node)
                q->gap = NULL; /* it cannot be changed any more: what is dropped from now on is another gap */
            q->bytes -= count;
            if (node->counted)
                q->counted -= count;
            return;
        }
        count -= node->len;
        if (has_id(node))
            q->sent = node->message->id;
        if (sum)
            add_to_sum(sum, node->message);
        remove_after(q, NULL);
    }
}

void outq_clear(struct outq *q) {
    while (q->head)
        remove_after(q, NULL);
}

/* Makes `node`, whose message is dropped, the place of a gap. */
static struct message *turn_into_gap(struct outq *q, struct outq_node *node) {
    struct message *m = node->message;
    q->bytes -= node->len;
    if (node->counted)
        q->counted -= node->len;
    *node = (struct outq_node){.next = node->next, .own = true};
    q->gap = node;
    return m;
}

/* What the gap says does not hold any more. */
static void unwrite_gap(struct outq *q) {
    struct outq_node *gap = q->gap;
    if (!gap->message)
        return;
    message_release(gap->message);
    q->bytes -= gap->len;
    gap->message = NULL;
    gap->at = NULL;
    gap->len = 0;
}

struct message *outq_drop_oldest(struct outq *q, bool (*may)(const struct message *m, const void *context), const void *context) {
    struct outq_node *prev = NULL;
    for (struct outq_node *node = q->head; node; prev = node, node = node->next) {
        if (node->begun || node->own || !may(node->message, context))
            continue;
        if (!q->gap)
            return turn_into_gap(q, node);
        unwrite_gap(q);
        struct message *m = message_retain(node->message);
        remove_after(q, prev);
        return m;
    }
    return NULL;
}

struct message_id outq_before_gap(const struct outq *q) {
    struct message_id id = q->sent;
    for (const struct outq_node *node = q->head; node != q->gap; node = node->next) {
        if (has_id(node))
            id = node->message->id;
    }
    return id;
}

bool outq_after_gap(const struct outq *q, struct message_id *id) {
    for (const struct outq_node *node = q->gap->next; node; node = node->next) {
        if (!has_id(node))
            continue;
        *id = node->message->id;
        return true;
    }
    return false;
}

void outq_write_gap(struct outq *q, struct message *m, struct slice bytes) {
    q->gap->message = message_retain(m);
    q->gap->at = bytes.ptr;
    q->gap->len = (uint32_t)bytes.len;
    q->bytes += bytes.len;
}

size_t outq_conflate(struct outq *q, const struct message *m) {
    size_t dropped = 0;
    struct outq_node *prev = NULL;
    struct outq_node *node = q->head;
    while (node) {
        struct outq_node *next = node->next;
        if (!node->begun && !node->own && slice_equal(message_channel(node->message), message_channel(m)) &&
            slice_equal(message_event(node->message), message_event(m))) {
            remove_after(q, prev);
            dropped++;
        } else {
            prev = node;
        }
        node = next;
    }
    return dropped;
}
