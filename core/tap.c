/* SPDX-License-Identifier: MIT */
#include "tap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "server.h"

/* A tap on one worker. */
struct tap_link {
    struct list node; /* in worker->taps */
    struct task open, shut;
    struct tap *tap;
};

struct tap {
    atomic_uint refs;
    struct tap_rule rule;
    struct worker *owner;
    void (*ready)(void *context); /* the owner's, like the context */
    void *context;
    atomic_bool closed;
    struct task wake;

    pthread_mutex_t lock; /* guards the next three */
    struct buf frames;
    uint64_t dropped;
    bool told; /* the owner was woken and has not taken anything yet */

    unsigned count;
    struct tap_link links[]; /* one for each worker */
};

static void release(struct tap *tap) {
    if (atomic_fetch_sub(&tap->refs, 1) != 1)
        return;
    buf_deinit(&tap->frames);
    pthread_mutex_destroy(&tap->lock);
    free(tap);
}

/* --- on each worker ------------------------------------------------------------------------------ */

void tap_watch(struct worker *w) {
    w->watched = atomic_load_explicit(&w->log->frames, memory_order_relaxed) || !list_empty(&w->taps);
}

static void unlink_tap(struct worker *w, struct tap_link *link) {
    list_unlink(&link->node);
    tap_watch(w);
    release(link->tap);
}

static void run_open(struct task *task, void *worker) {
    struct tap_link *link = list_entry(task, struct tap_link, open);
    struct worker *w = worker;
    list_append(&w->taps, &link->node);
    tap_watch(w);
}

static void cancel_open(struct task *task) {
    release(list_entry(task, struct tap_link, open)->tap);
}

static void run_shut(struct task *task, void *worker) {
    struct tap_link *link = list_entry(task, struct tap_link, shut);
    struct tap *tap = link->tap;
    if (!list_empty(&link->node))
        unlink_tap(worker, link);
    release(tap);
}

static void cancel_shut(struct task *task) {
    release(list_entry(task, struct tap_link, shut)->tap);
}

void tap_leave(struct worker *w) {
    while (!list_empty(&w->taps))
        unlink_tap(w, list_entry(w->taps.next, struct tap_link, node));
}

static bool matches(const struct tap_rule *rule, uint64_t stream, const struct address *address, struct slice channel) {
    return (!rule->by_stream || rule->stream == stream) && (!rule->by_address || address_equal(address, &rule->address)) &&
           (!rule->by_channel || slice_is(channel, rule->channel));
}

/* Returns true where the owner must be told. */
static bool keep(struct tap *tap, const struct tap_frame *head, struct slice channel, struct slice frame) {
    size_t size = sizeof *head + channel.len + frame.len;
    pthread_mutex_lock(&tap->lock);
    bool room = tap->frames.len == 0 || tap->frames.len + size <= TAP_BYTES; /* one frame always fits */
    if (room && buf_reserve(&tap->frames, size) == 0) {
        buf_append(&tap->frames, head, sizeof *head);
        buf_append_slice(&tap->frames, channel);
        buf_append_slice(&tap->frames, frame);
    } else {
        tap->dropped++;
    }
    bool tell = !tap->told;
    tap->told = true;
    pthread_mutex_unlock(&tap->lock);
    return tell;
}

static void wake(struct tap *tap) {
    atomic_fetch_add(&tap->refs, 1);
    if (hub_post(tap->owner->hub, tap->owner->index, &tap->wake) == 0)
        return;
    pthread_mutex_lock(&tap->lock);
    tap->told = false;
    pthread_mutex_unlock(&tap->lock);
    release(tap);
}

void tap_show(struct worker *w, uint64_t stream, const struct address *address, struct slice channel, struct slice frame) {
    struct tap_frame head = {.stream = stream, .at_ms = wall_ms(), .worker = w->index, .channel_len = (uint32_t)channel.len, .len = (uint32_t)frame.len};
    for (struct list *node = w->taps.next; node != &w->taps; node = node->next) {
        struct tap *tap = list_entry(node, struct tap_link, node)->tap;
        if (!atomic_load_explicit(&tap->closed, memory_order_relaxed) && matches(&tap->rule, stream, address, channel) &&
            keep(tap, &head, channel, frame))
            wake(tap);
    }
}

/* --- on the owner -------------------------------------------------------------------------------- */

static void run_wake(struct task *task, void *worker) {
    struct tap *tap = list_entry(task, struct tap, wake);
    (void)worker;
    if (!atomic_load_explicit(&tap->closed, memory_order_relaxed))
        tap->ready(tap->context);
    release(tap);
}

static void cancel_wake(struct task *task) {
    release(list_entry(task, struct tap, wake));
}

struct tap *tap_open(struct worker *from, const struct tap_rule *rule, void (*ready)(void *context), void *context) {
    unsigned count = from->server->started;
    struct tap *tap = calloc(1, sizeof *tap + count * sizeof *tap->links);
    if (!tap)
        return NULL;
    tap->rule = *rule;
    tap->owner = from;
    tap->ready = ready;
    tap->context = context;
    tap->wake = (struct task){.run = run_wake, .cancel = cancel_wake};
    tap->count = count;
    pthread_mutex_init(&tap->lock, NULL);
    atomic_init(&tap->refs, count + 1);
    struct task *opens[count];
    for (unsigned i = 0; i < count; i++) {
        struct tap_link *link = &tap->links[i];
        list_init(&link->node);
        link->tap = tap;
        link->open = (struct task){.run = run_open, .cancel = cancel_open};
        link->shut = (struct task){.run = run_shut, .cancel = cancel_shut};
        opens[i] = &link->open;
    }
    if (hub_post_all(from->hub, opens) == 0)
        return tap;
    release(tap);
    return NULL;
}

void tap_close(struct tap *tap) {
    atomic_store_explicit(&tap->closed, true, memory_order_relaxed);
    for (unsigned i = 0; i < tap->count; i++) {
        atomic_fetch_add(&tap->refs, 1);
        if (hub_post(tap->owner->hub, i, &tap->links[i].shut) != 0)
            release(tap); /* the worker has ended, or is so short of memory that it keeps a closed tap until it does */
    }
    release(tap);
}

uint64_t tap_take(struct tap *tap, struct buf *out) {
    struct buf empty = *out;
    pthread_mutex_lock(&tap->lock);
    *out = tap->frames;
    tap->frames = empty;
    uint64_t dropped = tap->dropped;
    tap->dropped = 0;
    tap->told = false;
    pthread_mutex_unlock(&tap->lock);
    return dropped;
}
