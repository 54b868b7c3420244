/* SPDX-License-Identifier: MIT */
#include "stream_slow.h"

#include <errno.h>

#include "conn.h"
#include "stream.h"
#include "stream_gzip.h"
#include "stream_text.h"
#include "stream_watch.h"
#include "worker.h"

/* The queue's rule for a channel. */
static enum slow_rule rule_of(const struct config *config, const struct message *m) {
    const struct channel_rule *rule = config_rule(config, message_channel(m));
    return rule ? rule->slow : SLOW_DISCONNECT;
}

/* One channel's rule shall not take the messages of another that is to lose none. */
static bool may_drop(const struct message *m, const void *config) {
    return rule_of(config, m) != SLOW_DISCONNECT;
}

static void mark_dropped(struct stream *s, struct slice channel) {
    struct subscription *sub = stream_subscription(s, channel);
    if (sub)
        sub->dropped = true;
    else if (slice_is(channel, REGISTRY_ALL))
        s->all_dropped = true;
}

static void unmark_dropped(struct stream *s) {
    s->all_dropped = false;
    for (struct subscription *sub = s->sub.subs; sub; sub = sub->next)
        sub->dropped = false;
}

/* Drops the oldest message that may be dropped. Returns false where there is none. */
static bool drop_oldest(struct stream *s) {
    struct worker *w = s->worker;
    struct outq *q = &s->conn->out;
    bool told = q->gap == NULL;
    struct message *m = outq_drop_oldest(q, may_drop, w->config);
    if (!m)
        return false;
    if (told) {
        unmark_dropped(s);
        metrics_add(&w->metrics, gaps, 1);
    }
    mark_dropped(s, message_channel(m));
    metrics_add(&w->metrics, drops[DROP_OLDEST], 1);
    message_release(m);
    return true;
}

bool stream_make_room(struct stream *s, struct message *m) {
    struct worker *w = s->worker;
    size_t len = s->gzip ? stream_gzip_length(s, m) : message_wire(m, s->chunked).len;
    if (len == 0) {
        stream_close(s, STREAM_NO_MEMORY);
        return false;
    }
    struct outq *q = &s->conn->out;
    size_t limit = w->config->queue_bytes;
    enum slow_rule rule = rule_of(w->config, m);
    size_t before = q->bytes;
    if (rule == SLOW_CONFLATE)
        metrics_add(&w->metrics, drops[DROP_CONFLATED], outq_conflate(q, m));
    while (q->counted + len > limit && outq_waiting(q) > 0 && drop_oldest(s))
        continue;
    metrics_add(&w->metrics, queue_bytes, q->bytes - before);
    /* With such a rule a message that is on its way does not count: it can be no reason to lose the client, or the newest message. */
    if (q->counted + len <= limit || (rule == SLOW_DISCONNECT ? q->counted : outq_waiting(q)) == 0)
        return true;
    stream_close(s, STREAM_SLOW);
    return false;
}

bool stream_write_gap(struct stream *s) {
    struct outq *q = &s->conn->out;
    struct buf out = {0};
    struct hub_gap gap = {.found = true};
    char requested[MESSAGE_ID_BYTES];
    size_t count;
    struct message_id before = outq_before_gap(q), after;
    struct hub_source *sources = stream_sources(s, &count);
    int rc = sources ? 0 : -ENOMEM;
    if (sources) {
        sources[0].gap = s->all_dropped;
        size_t i = 1;
        for (const struct subscription *sub = s->sub.subs; sub; sub = sub->next)
            sources[i++].gap = sub->dropped;
        hub_kept(s->worker->hub, sources, count, wall_ms(), &gap);
        gap.id = outq_after_gap(q, &after) ? message_id_before(after) : before;
        rc = stream_text_gap(&out, slice_make(requested, message_id_format(requested, before)), &gap, sources, count);
    }
    stream_watch(s, slice_make(NULL, 0), buf_slice(&out));
    struct message *m = NULL;
    if (rc == 0)
        m = s->gzip ? stream_gzip_own(s, slice_make(NULL, 0), buf_slice(&out)) : message_new_private(buf_slice(&out), s->chunked);
    buf_deinit(&out);
    if (!m) {
        stream_close(s, STREAM_NO_MEMORY);
        return false;
    }
    m->id = gap.id;
    /* stream_gzip_own has framed it for this connection; a plain one holds both. */
    struct slice bytes = message_wire(m, s->chunked && !s->gzip);
    outq_write_gap(q, m, bytes);
    metrics_add(&s->worker->metrics, queue_bytes, bytes.len);
    message_release(m);
    return true;
}
