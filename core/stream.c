/* SPDX-License-Identifier: MIT */
#include "stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "access.h"
#include "conn.h"
#include "exchange.h"
#include "json.h"
#include "peer.h"
#include "server.h"
#include "sse.h"
#include "stream_deliver.h"
#include "stream_gzip.h"
#include "stream_slow.h"
#include "stream_text.h"
#include "stream_watch.h"
#include "worker.h"

enum {
    UNLINK_BATCH = 64,
    REPLAY_BYTES = 64 * 1024,
    STREAM_ROOM = 64 * 1024, /* what a handler may have queued before send waits */
    STALE_LOOKS = 4          /* looks at a silent peer in stream.stale, at least */
};

static_assert((int)METRICS_CLOSE_VALUES == STREAM_NO_MEMORY + 1 && (int)METRICS_CLOSE_SLOW == STREAM_SLOW && (int)METRICS_CLOSE_STALE == STREAM_STALE,
              "metrics.c names the ends of streams in their order");

const char *stream_end_name(enum stream_end end) {
    return METRICS_CLOSE_NAMES[end];
}

/* --- life --------------------------------------------------------------------------------------- */

struct stream *stream_new(struct exchange *x) {
    struct worker *w = x->worker;
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    list_init(&s->sub.all_node);
    list_init(&s->ended);
    s->worker = w;
    s->conn = x->conn;
    s->exchange = x;
    s->id = worker_random(w);
    s->chunked = x->request.minor > 0;
    s->opening = w->config->opening;
    x->stream = s;
    w->streams++;
    return s;
}

/* Takes the stream's subscriptions out of the registry and the hub. */
static void unlink_all(struct stream *s) {
    struct worker *w = s->worker;
    struct hub_channel *gone[UNLINK_BATCH];
    size_t n = 0;
    while (s->sub.subs) {
        struct subscription *sub = s->sub.subs;
        struct channel *ch = sub->channel;
        s->sub.subs = sub->next;
        if (s->begun) {
            channel_unlink(ch, &sub->node);
            gone[n++] = ch->hub;
        }
        ch->holds--;
        registry_close_unused(&w->registry, ch);
        filter_release(sub->filter);
        free(sub);
        if (n == UNLINK_BATCH) {
            hub_unsubscribe(w->hub, w->index, gone, n);
            n = 0;
        }
    }
    if (s->begun) {
        channel_unlink(w->registry.all, &s->sub.all_node);
        struct hub_channel *all = hub_all(w->hub);
        hub_unsubscribe(w->hub, w->index, &all, 1);
    }
    if (n)
        hub_unsubscribe(w->hub, w->index, gone, n);
}

void stream_free(struct stream *s) {
    struct worker *w = s->worker;
    struct exchange *x = s->exchange;
    if (x) {
        w->ops->abandon(w->policy, x);
        s->exchange = NULL;
        x->stream = NULL;
        x->conn->exchange = NULL;
        exchange_free(x);
    }
    if (s->begun) {
        metrics_add(&w->metrics, streams_open, -1);
        metrics_add(&w->metrics, closes[s->end], 1);
        if (s->end != STREAM_LEFT && s->end != STREAM_FINISHED && s->end != STREAM_CLOSED && s->end != STREAM_DRAINED &&
            s->end != STREAM_EXPIRED && s->end != STREAM_RELOADED)
            metrics_add(&w->metrics, stream_errors, 1);
        w->ops->closed(w->policy, s, stream_end_name(s->end));
    }
    w->ops->forget(w->policy, s);
    access_ended(s);
    unlink_all(s);
    list_unlink(&s->ended);
    w->streams--;
    ratelimit_hold_clear(&s->holds, w->server->limits);
    free(s->user);
    free(s);
}

void stream_detach(struct stream *s) {
    s->sub.state = SUBSCRIBER_CLOSED;
    if (s->conn) {
        stream_gzip_end(s);
        s->conn->stream = NULL;
        s->conn = NULL;
    }
    if (list_empty(&s->ended))
        list_append(&s->worker->ended, &s->ended);
}

/* --- subscribing -------------------------------------------------------------------------------- */

static struct subscription **find(const struct stream *s, struct slice name) {
    struct subscription **at = (struct subscription **)(uintptr_t)&s->sub.subs;
    while (*at && !slice_equal(slice_make((*at)->channel->name, (*at)->channel->name_len), name))
        at = &(*at)->next;
    return at;
}

struct subscription *stream_subscription(const struct stream *s, struct slice name) {
    return *find(s, name);
}

int stream_subscribe(struct stream *s, struct slice name, struct filter *filter) {
    struct worker *w = s->worker;
    if (!s->conn)
        return -EPIPE;
    struct subscription **at = find(s, name);
    if (slice_is(name, REGISTRY_ALL)) {
        s->asked_all = true;
        return 0;
    }
    if (*at)
        return 0;
    if (s->sub_count >= w->config->channels_per_stream)
        return -E2BIG;
    struct hub_source source = {.name = name, .hash = hub_hash(w->hub, name)};
    struct subscription *sub = calloc(1, sizeof *sub);
    struct channel *ch = registry_open(&w->registry, source.hash, name);
    if (!sub || !ch)
        goto fail;
    list_init(&sub->node);
    sub->channel = ch;
    sub->subscriber = &s->sub;
    sub->filter = filter ? filter_retain(filter) : NULL;
    if (s->begun) {
        if (hub_subscribe_later(w->hub, w->index, &source) != 0)
            goto fail;
        ch->hub = source.channel;
        sub->since = source.since;
        channel_link(ch, &sub->node);
    }
    *at = sub;
    s->sub_count++;
    ch->holds++;
    stream_gzip_rekey(s);
    return 0;

fail:
    if (sub)
        filter_release(sub->filter);
    free(sub);
    if (ch)
        registry_close_unused(&w->registry, ch);
    return -ENOMEM;
}

bool stream_unsubscribe(struct stream *s, struct slice name) {
    struct subscription **at = find(s, name);
    struct subscription *sub = *at;
    if (!sub)
        return false;
    struct worker *w = s->worker;
    *at = sub->next;
    s->sub_count--;
    if (s->begun) {
        struct hub_channel *gone = sub->channel->hub;
        channel_unlink(sub->channel, &sub->node);
        hub_unsubscribe(w->hub, w->index, &gone, 1);
    }
    sub->channel->holds--;
    registry_close_unused(&w->registry, sub->channel);
    filter_release(sub->filter);
    free(sub);
    stream_gzip_rekey(s);
    return true;
}

/* --- beginning ---------------------------------------------------------------------------------- */

struct hub_source *stream_sources(struct stream *s, size_t *count) {
    struct worker *w = s->worker;
    struct hub_source *sources = worker_sources(w, s->sub_count + 1u);
    if (!sources)
        return NULL;
    sources[0] = (struct hub_source){.name = slice_of(REGISTRY_ALL), .channel = hub_all(w->hub), .since = s->all_since};
    size_t n = 1;
    for (struct subscription *sub = s->sub.subs; sub; sub = sub->next) {
        struct channel *ch = sub->channel;
        sources[n++] = (struct hub_source){
            .name = slice_make(ch->name, ch->name_len), .hash = ch->by_name.hash, .channel = ch->hub, .since = sub->since};
    }
    *count = n;
    return sources;
}

/* Takes back what the hub has written into the sources. */
static void sources_back(struct stream *s, const struct hub_source *sources) {
    size_t n = 1;
    s->all_since = sources[0].since;
    for (struct subscription *sub = s->sub.subs; sub; sub = sub->next, n++) {
        sub->since = sources[n].since;
        sub->channel->hub = sources[n].channel;
    }
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return !a || (b && b < a) ? b : a;
}

/* Sets the time of the next look. */
static void schedule(struct stream *s, uint64_t now_ms) {
    uint64_t heartbeat = s->worker->config->heartbeat_ms, stale = s->worker->config->stale_ms;
    uint64_t due = heartbeat ? s->sent_ms + heartbeat : 0;
    due = earlier(due, stale ? now_ms + stale / STALE_LOOKS + 1 : 0);
    due = earlier(due, s->expires_ms);
    due = earlier(due, s->drain_ms);
    conn_set_deadline(s->conn, due);
}

int stream_begin(struct stream *s, struct exchange *x, struct hub_start start, struct slice requested) {
    struct worker *w = s->worker;
    struct hub_joined joined;
    size_t count;
    struct hub_source *sources = stream_sources(s, &count);
    if (!sources || hub_subscribe(w->hub, w->index, sources, count, start, wall_ms(), &joined) != 0)
        return -ENOMEM;
    sources_back(s, sources);
    for (struct subscription *sub = s->sub.subs; sub; sub = sub->next)
        channel_link(sub->channel, &sub->node);
    channel_link(w->registry.all, &s->sub.all_node);
    s->begun = true;
    s->holds = x->holds;
    x->holds = NULL;
    s->sub.position = joined.position;
    s->epoch = joined.epoch;
    s->sub.state = joined.live ? SUBSCRIBER_LIVE : SUBSCRIBER_REPLAYING;
    s->opened_ms = s->sent_ms = s->progress_ms = worker_now(w);
    s->replayed = start.kind != HUB_NEW && start.kind != HUB_EARLIEST;

    struct conn *c = s->conn;
    c->peer = exchange_client(x); /* whom it is for, from here on */
    struct buf *out = worker_head(w);
    int rc = stream_gzip_negotiate(s, x);
    rc = rc ? rc : stream_text_head(s, x, out);
    size_t body = out->len;
    if (s->opening)
        rc = rc ? rc : stream_text_opening(s, out, joined.opening);
    if (joined.gap.found) {
        rc = rc ? rc : stream_text_gap(out, requested, &joined.gap, sources, count);
        metrics_add(&w->metrics, gaps, 1);
    }
    if (!rc && out->len > body)
        stream_watch(s, slice_make(NULL, 0), slice_make(out->data + body, out->len - body));
    if (s->chunked && !s->gzip)
        rc = rc ? rc : stream_text_chunk(out, body);

    x->answered = true;
    metrics_add(&w->metrics, streams_opened, 1);
    metrics_add(&w->metrics, streams_open, 1);
    if (s->replayed)
        metrics_add(&w->metrics, reconnections, 1);
    c->stream = s;
    c->out.sent = joined.gap.found ? joined.gap.id : joined.opening;
    if (rc)
        stream_close(s, STREAM_NO_MEMORY);
    else if (s->gzip)
        stream_gzip_send(s, slice_make(out->data, body), slice_make(out->data + body, out->len - body));
    else
        conn_send(c, buf_slice(out), slice_make(NULL, 0));
    access_opened(s, x);
    if (!s->conn)
        return 0;
    conn_begin_stream(c);
    if (s->conn) {
        schedule(s, s->sent_ms);
        if (w->draining)
            worker_drain_stream(w, s);
        if (s->sub.state == SUBSCRIBER_REPLAYING)
            conn_make_ready(c);
    }
    return 0;
}

/* --- replaying ---------------------------------------------------------------------------------- */

static struct subscription *subscription_at(const struct stream *s, unsigned source) {
    struct subscription *sub = s->sub.subs;
    if (source == 0)
        return NULL;
    while (--source)
        sub = sub->next;
    return sub;
}

/* Sends text of the stream's own, which it may change. On failure the connection is closed, and for want of memory the stream with its reason. */
static void send_text(struct stream *s, struct buf *text) {
    stream_watch(s, slice_make(NULL, 0), buf_slice(text));
    if (s->gzip) {
        stream_gzip_send(s, slice_make(NULL, 0), buf_slice(text));
        return;
    }
    if (s->chunked && stream_text_chunk(text, 0) != 0)
        stream_close(s, STREAM_NO_MEMORY);
    else
        conn_send(s->conn, buf_slice(text), slice_make(NULL, 0));
}

/* Says a gap that came up while the replay was under way. */
static bool send_gap(struct stream *s, const struct hub_gap *gap, struct message_id at, const struct hub_source *sources, size_t count) {
    struct buf out = {0};
    char requested[MESSAGE_ID_BYTES];
    size_t len = message_id_format(requested, at);
    metrics_add(&s->worker->metrics, gaps, 1);
    if (stream_text_gap(&out, slice_make(requested, len), gap, sources, count) != 0)
        stream_close(s, STREAM_NO_MEMORY);
    else
        send_text(s, &out);
    buf_deinit(&out);
    return s->conn != NULL;
}

/* One batch from history. Returns true where another may follow at once. */
static bool replay_batch(struct stream *s) {
    struct worker *w = s->worker;
    struct message *messages[DELIVER_BATCH];
    unsigned from[DELIVER_BATCH];
    struct delivery deliveries[DELIVER_BATCH];
    struct hub_gap gap;
    size_t count;
    bool live;
    struct message_id was = s->sub.position;
    struct hub_source *sources = stream_sources(s, &count);
    if (!sources) {
        stream_close(s, STREAM_NO_MEMORY);
        return false;
    }
    size_t n = hub_read(w->hub, sources, count, &s->sub.position, messages, from, DELIVER_BATCH, REPLAY_BYTES, wall_ms(), &live, &gap);
    sources_back(s, sources);
    if (live)
        s->sub.state = SUBSCRIBER_LIVE;
    for (size_t i = 0; i < n; i++)
        deliveries[i] = (struct delivery){messages[i], subscription_at(s, from[i]), true, false};
    if ((!gap.found || send_gap(s, &gap, was, sources, count)) && n > 0) {
        metrics_add(&w->metrics, replayed, n);
        stream_deliver(s, deliveries, n);
    }
    for (size_t i = 0; i < n; i++)
        message_release(messages[i]);
    return s->conn && !live && outq_empty(&s->conn->out);
}

void stream_resume(struct stream *s) {
    struct worker *w = s->worker;
    if (s->sub.state == SUBSCRIBER_REPLAYING && outq_empty(&s->conn->out) && replay_batch(s))
        conn_make_ready(s->conn); /* others first */
    if (s->conn && s->waiting && !stream_full(s)) {
        s->waiting = false;
        w->ops->drained(w->policy, s->exchange);
    }
}

void stream_rewind(struct stream *s) {
    if (s->sub.state != SUBSCRIBER_LIVE)
        return;
    s->sub.state = SUBSCRIBER_REPLAYING;
    conn_make_ready(s->conn);
}

void stream_restart(struct stream *s) {
    struct worker *w = s->worker;
    struct hub_joined joined;
    size_t count;
    struct message_id was = s->sub.position;
    struct hub_source *sources = stream_sources(s, &count);
    if (!sources) {
        stream_close(s, STREAM_NO_MEMORY);
        return;
    }
    for (size_t i = 0; i < count; i++)
        sources[i].since = (struct message_id){0, 0};
    hub_rejoin(w->hub, sources, count, wall_ms(), &joined);
    sources_back(s, sources);
    s->sub.position = joined.position;
    s->epoch = joined.epoch;
    s->sub.state = joined.live ? SUBSCRIBER_LIVE : SUBSCRIBER_REPLAYING;
    if (send_gap(s, &joined.gap, was, sources, count) && !joined.live)
        conn_make_ready(s->conn);
}

/* --- what handlers send ------------------------------------------------------------------------- */

static int send_own(struct stream *s, struct buf *frame) {
    s->bytes += frame->len;
    s->sent_ms = worker_now(s->worker);
    send_text(s, frame);
    return s->conn ? 0 : -EPIPE;
}

int stream_send(struct stream *s, struct slice event, struct slice data) {
    struct buf frame = {0};
    if (!s->conn)
        return -EPIPE;
    int rc = sse_append_event(&frame, slice_make(NULL, 0), event.len ? event : slice_make(NULL, 0), data);
    if (rc == 0) {
        s->events++;
        metrics_add(&s->worker->metrics, messages_sent, 1);
        rc = send_own(s, &frame);
    }
    buf_deinit(&frame);
    return rc;
}

int stream_comment(struct stream *s, struct slice text) {
    struct buf frame = {0};
    if (!s->conn)
        return -EPIPE;
    int rc = sse_append_comment(&frame, text);
    rc = rc ? rc : send_own(s, &frame);
    buf_deinit(&frame);
    return rc;
}

bool stream_full(const struct stream *s) {
    return s->conn && (s->sub.state == SUBSCRIBER_REPLAYING || s->conn->out.bytes > STREAM_ROOM);
}

/* --- ending ------------------------------------------------------------------------------------- */

static bool ends_at_once(enum stream_end end) {
    return end == STREAM_LEFT || end == STREAM_SLOW || end == STREAM_STALE || end == STREAM_ABUSE || end == STREAM_NO_MEMORY;
}

void stream_close(struct stream *s, enum stream_end end) {
    static const char LAST[] = "0\r\n\r\n";
    struct conn *c = s->conn;
    if (!c)
        return;
    s->end = (uint8_t)end;
    if (!s->begun)
        return;
    ratelimit_hold_clear(&s->holds, s->worker->server->limits); /* first: the client may come back as soon as it sees the end */
    if (ends_at_once(end)) {
        if (end == STREAM_LEFT)
            conn_close(c);
        else
            conn_reset(c);
        return;
    }
    stream_deliver_picked(s);
    if (!s->conn || (outq_gap_unwritten(&c->out) && !stream_write_gap(s)))
        return;
    if (s->gzip)
        stream_gzip_finish(s);
    if (s->conn && s->chunked)
        conn_send(c, slice_make(LAST, sizeof LAST - 1), slice_make(NULL, 0));
    if (!s->conn)
        return;
    stream_detach(s);
    conn_finish(c);
}

static void send_expired(struct stream *s) {
    struct buf frame = {0};
    struct buf data = {0};
    int rc = buf_append_text(&data, "{\"exp\":");
    rc = rc ? rc : json_append_number(&data, s->expiry);
    rc = rc ? rc : buf_append_char(&data, '}');
    rc = rc ? rc : sse_append_event(&frame, slice_make(NULL, 0), slice_of("sluice.expired"), buf_slice(&data));
    if (rc == 0)
        send_own(s, &frame);
    buf_deinit(&data);
    buf_deinit(&frame);
    stream_close(s, STREAM_EXPIRED);
}

void stream_check_progress(struct stream *s, uint64_t now_ms) {
    uint64_t stale = s->worker->config->stale_ms;
    struct peer_progress peer;
    if (peer_progress(s->conn->io.fd, &peer) != 0 || peer.acked != s->acked || (!peer.awaited && outq_empty(&s->conn->out))) {
        s->acked = peer.acked;
        s->progress_ms = now_ms;
    } else if (stale && now_ms - s->progress_ms >= stale) {
        stream_close(s, STREAM_STALE);
    }
}

void stream_on_timer(struct stream *s, uint64_t now_ms) {
    static const struct slice HEARTBEAT = {":\n", 2};
    uint64_t heartbeat = s->worker->config->heartbeat_ms;
    uint64_t stale = s->worker->config->stale_ms;
    if (s->expires_ms && now_ms >= s->expires_ms) {
        send_expired(s);
        return;
    }
    if (s->drain_ms && now_ms >= s->drain_ms) {
        stream_close(s, STREAM_DRAINED);
        return;
    }
    if (stale)
        stream_check_progress(s, now_ms);
    if (s->conn && heartbeat && now_ms >= s->sent_ms + heartbeat) {
        struct buf frame = {0};
        bool due = outq_empty(&s->conn->out) && !(s->gzip && stream_gzip_beat(s));
        if (s->conn && due && buf_append_slice(&frame, HEARTBEAT) == 0)
            send_own(s, &frame);
        s->sent_ms = now_ms;
        buf_deinit(&frame);
    }
    if (s->conn)
        schedule(s, now_ms);
}
