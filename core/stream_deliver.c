/* SPDX-License-Identifier: MIT */
#include "stream_deliver.h"

#include "conn.h"
#include "stream_gzip.h"
#include "stream_slow.h"
#include "stream_watch.h"
#include "worker.h"

enum { BATCH_BYTES = 64 * 1024 /* edited messages that are held at one time, for one write */ };

static struct stream *stream_of(struct subscriber *sub) {
    return list_entry(sub, struct stream, sub);
}

/* What this stream gets of a message: itself (a new reference), an edited one, or NULL. */
static struct message *pick(struct stream *s, const struct delivery *d) {
    struct worker *w = s->worker;
    const struct filter *filter = d->subscription ? d->subscription->filter : NULL;
    if (filter && !filter_match(filter, d->message))
        return NULL;
    bool asks = filter && filter->function != FILTER_NO_FUNCTION;
    if (!asks && !w->ops->shapes(w->policy, d->message, d->replayed))
        return message_retain(d->message);
    struct message *shaped = w->ops->shape(w->policy, s, d->message, d->subscription, d->replayed);
    if (!shaped)
        metrics_add(&w->metrics, drops[DROP_SCRIPT], 1);
    return shaped;
}

/* Writes messages that have passed filters and hooks, or need not. */
static bool write_plain(struct stream *s, const struct delivery *deliveries, size_t n) {
    struct segment segments[DELIVER_BATCH];
    size_t bytes = 0;
    bool live = !deliveries[0].replayed;
    for (size_t i = 0; i < n; i++) {
        segments[i] = (struct segment){deliveries[i].message, message_wire(deliveries[i].message, s->chunked), NULL, false};
        live = live && !deliveries[i].edited;
        stream_watch_message(s, deliveries[i].message);
    }
    if (s->gzip && !stream_gzip_code(s, segments, n, live)) {
        stream_close(s, STREAM_NO_MEMORY);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        bytes += segments[i].bytes.len;
    s->events += n;
    s->bytes += bytes;
    metrics_add(&s->worker->metrics, messages_sent, n);
    s->sent_ms = worker_now(s->worker);
    return conn_send_segments(s->conn, segments, n, !deliveries[0].replayed);
}

static size_t size_of(const struct delivery *deliveries, size_t n) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += deliveries[i].message->wire_len;
    return bytes;
}

/* True where messages must be looked at one by one before they are queued: the queue is not empty, or they could fill it. */
static bool is_crowded(const struct stream *s, const struct delivery *deliveries, size_t n) {
    return !deliveries[0].replayed &&
           (!outq_empty(&s->conn->out) || (n > 1 && size_of(deliveries, n) > s->worker->config->queue_bytes));
}

/* Writes messages one by one, each by its slow rule. */
static void write_crowded(struct stream *s, const struct delivery *deliveries, size_t n) {
    for (size_t i = 0; i < n && s->conn; i++) {
        if (outq_empty(&s->conn->out) || stream_make_room(s, deliveries[i].message))
            write_plain(s, &deliveries[i], 1);
    }
}

/* What was picked for a stream, and not written yet: it goes out together. Holds references. */
struct stream_batch {
    struct stream *stream;
    size_t count, bytes;
    struct delivery deliveries[DELIVER_BATCH];
};

static void write_batch(struct stream_batch *batch) {
    struct stream *s = batch->stream;
    size_t n = batch->count;
    batch->count = batch->bytes = 0;
    if (n > 0 && s->conn) {
        if (is_crowded(s, batch->deliveries, n))
            write_crowded(s, batch->deliveries, n);
        else
            write_plain(s, batch->deliveries, n);
    }
    for (size_t i = 0; i < n; i++)
        message_release(batch->deliveries[i].message);
}

void stream_deliver_picked(struct stream *s) {
    struct stream_batch *batch = s->worker->batch;
    if (batch && batch->stream == s)
        write_batch(batch);
}

/* Writes what filters and hooks make of messages. A hook may close the stream: see stream_close. */
static bool write_picked(struct stream *s, const struct delivery *deliveries, size_t n) {
    struct worker *w = s->worker;
    struct stream_batch batch;
    batch.stream = s;
    batch.count = batch.bytes = 0;
    w->batch = &batch;
    for (size_t i = 0; i < n && s->conn; i++) {
        struct message *m = pick(s, &deliveries[i]);
        if (!m)
            continue;
        batch.deliveries[batch.count++] = (struct delivery){m, deliveries[i].subscription, deliveries[i].replayed, m != deliveries[i].message};
        batch.bytes += m->wire_len;
        if (batch.bytes > BATCH_BYTES)
            write_batch(&batch);
    }
    w->batch = NULL;
    write_batch(&batch);
    return s->conn != NULL;
}

/* True where any of the messages may not go out as it is: a filter or a hook has to see it. A reload may lie between two of them. */
static bool is_special(const struct stream *s, const struct delivery *deliveries, size_t n) {
    const struct worker *w = s->worker;
    for (size_t i = 0; i < n; i++) {
        const struct delivery *d = &deliveries[i];
        if (d->subscription && d->subscription->filter)
            return true;
        if ((i == 0 || d->message->generation != d[-1].message->generation) && w->ops->shapes(w->policy, d->message, d->replayed))
            return true;
    }
    return false;
}

bool stream_deliver(struct stream *s, const struct delivery *deliveries, size_t n) {
    if (is_special(s, deliveries, n))
        return write_picked(s, deliveries, n);
    if (!is_crowded(s, deliveries, n))
        return write_plain(s, deliveries, n);
    write_crowded(s, deliveries, n);
    return s->conn != NULL;
}

static void deliver(struct subscriber *sub) {
    struct stream *s = stream_of(sub);
    struct owed owed[DELIVER_BATCH];
    struct delivery deliveries[DELIVER_BATCH];
    size_t n;
    do {
        n = channel_owed(sub, s->worker->registry.all, owed, DELIVER_BATCH);
        if (n == CHANNEL_NO_MEMORY)
            stream_close(s, STREAM_NO_MEMORY);
        if (n == 0 || n == CHANNEL_NO_MEMORY)
            return;
        for (size_t i = 0; i < n; i++)
            deliveries[i] = (struct delivery){owed[i].message, owed[i].subscription, false, false};
        sub->position = owed[n - 1].message->id;
    } while (stream_deliver(s, deliveries, n) && n == DELIVER_BATCH);
}

static void prefetch(const struct subscriber *sub) {
    const struct stream *s = (const struct stream *)sub; /* its first member */
    __builtin_prefetch(&s->events, 1);
    __builtin_prefetch(s->gzip, 1);
    if (s->conn)
        conn_prefetch(s->conn);
}

const struct subscriber_ops stream_subscriber_ops = {.deliver = deliver, .prefetch = prefetch};
