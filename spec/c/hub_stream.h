/* SPDX-License-Identifier: MIT */
/* What the tests of the hub share: a hub, short ways to publish, to open and close a stream and to read it. Includes
 * the files under test. */
#ifndef SLUICE_SPEC_HUB_STREAM_H
#define SLUICE_SPEC_HUB_STREAM_H

#include "check.h"
#include "check_alloc.h"
#include "messages.h"

#include "../../core/history.c"
#include "../../core/hub.c"
#include "../../core/hub_follow.c"
#include "../../core/hub_stats.c"
#include "../../core/table.c"

enum { NOW = 1000, MIB = 1 << 20 };

static struct config config;
static struct hub *hub;
static unsigned wakes[4];

static inline void wake(void *context, unsigned worker) {
    (void)context;
    wakes[worker]++;
}

static const struct hub_ops OPS = {.wake = wake};

static inline void setup(unsigned workers) {
    config = (struct config){.history = {100, 64 * MIB, 1000000}, .history_total_bytes = 64 * MIB};
    memset(wakes, 0, sizeof wakes);
    hub = hub_new(&config, workers, &OPS, NOW);
    if (!hub)
        abort();
}

static inline const char *text_of(struct message_id id) {
    static char text[4][MESSAGE_ID_BYTES];
    static int at;
    at = (at + 1) % 4;
    message_id_format(text[at], id);
    return text[at];
}

static inline struct hub_published publish_len(const char *channel, size_t len, uint64_t now_ms) {
    struct hub_published published = {0};
    CHECK_EQ_INT(hub_publish(hub, draft_of(channel, "", len), HUB_NO_WORKER, now_ms, 0, &published), 0);
    return published;
}

static inline const char *publish(const char *channel, uint64_t now_ms) {
    return text_of(publish_len(channel, 1, now_ms).id);
}

/* A stream of up to four channels, the first is `sluice.all`. */
struct stream {
    unsigned worker;
    size_t count;
    struct hub_source sources[4];
    struct hub_joined joined;
};

static inline struct stream open_stream(unsigned worker, const char *a, const char *b, struct hub_start start,
                                        uint64_t now_ms) {
    const char *const names[] = {REGISTRY_ALL, a, b};
    struct stream s = {.worker = worker};
    for (size_t i = 0; i < 3 && names[i]; i++, s.count++)
        s.sources[i] = (struct hub_source){.name = slice_of(names[i]), .hash = hub_hash(hub, slice_of(names[i]))};
    CHECK_EQ_INT(hub_subscribe(hub, worker, s.sources, s.count, start, now_ms, &s.joined), 0);
    return s;
}

static inline void close_stream(const struct stream *s) {
    struct hub_channel *gone[4];
    for (size_t i = 0; i < s->count; i++)
        gone[i] = s->sources[i].channel;
    hub_unsubscribe(hub, s->worker, gone, s->count);
}

static inline struct hub_start after(uint64_t ms, uint64_t n) {
    return (struct hub_start){HUB_AFTER, id_of(ms, n)};
}

static const struct hub_start NEW = {.kind = HUB_NEW};

/* Reads all; returns the ids, and the gap in `gap`. */
static inline const char *read_all(struct stream *s, uint64_t now_ms, struct hub_gap *gap) {
    static char text[1000];
    struct message *messages[3];
    unsigned from[3];
    bool live = false;
    struct hub_gap one;
    size_t len = 0;
    text[0] = '\0';
    *gap = (struct hub_gap){0};
    while (!live) {
        size_t n =
            hub_read(hub, s->sources, s->count, &s->joined.position, messages, from, 3, 1 << 20, now_ms, &live, &one);
        *gap = one.found ? one : *gap;
        for (size_t i = 0; i < n; i++) {
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", len ? " " : "", text_of(messages[i]->id));
            message_release(messages[i]);
        }
    }
    return text;
}

static inline size_t drain(unsigned worker, bool *overflowed) {
    struct inbox inbox = {0};
    hub_take(hub, worker, &inbox);
    for (size_t i = 0; i < inbox.count; i++)
        message_release(inbox.items[i].message);
    *overflowed = inbox.overflowed;
    (free)(inbox.items);
    return inbox.count;
}

#endif
