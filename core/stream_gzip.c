/* SPDX-License-Identifier: MIT */
#include "stream_gzip.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "chain.h"
#include "conn.h"
#include "exchange.h"
#include "http_request.h"
#include "server.h"
#include "stream.h"
#include "stream_text.h"
#include "worker.h"

/* What a stream in gzip has beyond others. */
struct stream_gzip {
    struct gzip_sum sum;
    struct chain *chain; /* NULL: its messages are its own */
    uint64_t next;       /* the serial number of the link that it could be sent; 0: of none */
    uint8_t beats;       /* heartbeats since something was said */
    bool begun;          /* the header went out */
};

static_assert(sizeof(struct stream_gzip) <= 40, "a stream in gzip costs at most 64 bytes");

/* --- beginning and ending ----------------------------------------------------------------------- */

static struct coder *coder_of(struct worker *w) {
    if (!w->coder)
        w->coder = coder_new(w->server->chains, &w->metrics);
    return w->coder;
}

int stream_gzip_negotiate(struct stream *s, struct exchange *x) {
    struct worker *w = s->worker;
    struct buf accept = {0};
    if (!w->config->gzip)
        return 0;
    int rc = exchange_add_field(x, slice_of("Vary"), slice_of("Accept-Encoding"));
    rc = rc ? rc : http_request_field_join(&x->request, "Accept-Encoding", &accept);
    bool wanted = rc != -ENOMEM && http_encoding_preferred(buf_slice(&accept), "gzip");
    buf_deinit(&accept);
    if (rc == -ENOMEM)
        return rc;
    if (!wanted)
        return 0;
    struct stream_gzip *g = calloc(1, sizeof *g);
    if (!g || !coder_of(w)) {
        free(g);
        return -ENOMEM;
    }
    s->gzip = g;
    metrics_add(&w->metrics, streams_gzip, 1);
    stream_gzip_rekey(s);
    return 0;
}

void stream_gzip_end(struct stream *s) {
    struct stream_gzip *g = s->gzip;
    if (!g)
        return;
    if (g->chain)
        chain_close(s->worker->server->chains, g->chain);
    s->gzip = NULL;
    metrics_add(&s->worker->metrics, streams_gzip, -1);
    free(g);
}

/* --- its chain ---------------------------------------------------------------------------------- */

/* One subscription's line of a chain's key: the channel, and what a filter lets through. Names and event types have no control characters. */
static int append_key(struct buf *key, const struct subscription *sub) {
    const struct filter *f = sub->filter;
    int rc = buf_append(key, sub->channel->name, sub->channel->name_len);
    if (f) {
        rc = rc ? rc : buf_append_char(key, '\1');
        rc = rc ? rc : buf_append_slice(key, buf_slice(&f->types));
        rc = rc ? rc : buf_append_char(key, '\2');
        rc = rc ? rc : buf_append_slice(key, buf_slice(&f->prefix));
    }
    return rc ? rc : buf_append_char(key, '\0');
}

static int by_name(const void *left, const void *right) {
    const struct channel *a = (*(const struct subscription *const *)left)->channel, *b = (*(const struct subscription *const *)right)->channel;
    size_t len = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order = memcmp(a->name, b->name, len);
    return order ? order : (int)a->name_len - (int)b->name_len;
}

/* Writes the key of the stream's set of channels. Returns false where what it gets is for it alone, or without memory, when it does without a chain, too. */
static bool write_key(const struct stream *s, struct buf *key) {
    const struct subscription **sorted = malloc((s->sub_count + 1u) * sizeof *sorted);
    size_t n = 0;
    bool shared = sorted != NULL;
    for (const struct subscription *sub = s->sub.subs; sub && shared; sub = sub->next) {
        sorted[n++] = sub;
        shared = !sub->filter || sub->filter->function == FILTER_NO_FUNCTION;
    }
    if (shared)
        qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 0; i < n && shared; i++)
        shared = append_key(key, sorted[i]) == 0;
    free(sorted);
    return shared;
}

void stream_gzip_rekey(struct stream *s) {
    struct chains *chains = s->worker->server->chains;
    struct stream_gzip *g = s->gzip;
    struct buf key = {0};
    if (!g)
        return;
    if (g->chain)
        chain_close(chains, g->chain);
    g->chain = write_key(s, &key) ? chain_open(chains, buf_slice(&key)) : NULL;
    g->next = 0;
    buf_deinit(&key);
}

/* --- what it is sent ---------------------------------------------------------------------------- */

struct message *stream_gzip_own(struct stream *s, struct slice head, struct slice text) {
    struct stream_gzip *g = s->gzip;
    struct buf out = {0};
    int rc = buf_append_slice(&out, head);
    if (!g->begun)
        rc = rc ? rc : buf_append_slice(&out, gzip_header());
    if (text.len)
        rc = rc ? rc : coder_encode(s->worker->coder, text, &out);
    if (s->chunked)
        rc = rc ? rc : stream_text_chunk(&out, head.len);
    struct message *m = rc ? NULL : message_new_private(buf_slice(&out), false);
    buf_deinit(&out);
    if (!m)
        return NULL;
    m->part = gzip_part_of(text);
    g->begun = true;
    if (text.len) {
        g->next = 0; /* something is in its window that is in no chain */
        g->beats = 0;
    }
    return m;
}

void stream_gzip_send(struct stream *s, struct slice head, struct slice text) {
    struct message *m = stream_gzip_own(s, head, text);
    if (!m) {
        stream_close(s, STREAM_NO_MEMORY);
        return;
    }
    struct segment segment = {.message = m, .bytes = message_wire(m, false), .coded = m};
    conn_send_segments(s->conn, &segment, 1, false);
    message_release(m);
}

static bool make_whole(struct stream *s, struct segment *segment) {
    segment->coded = coder_whole(s->worker->coder, segment->message);
    segment->chained = false;
    if (segment->coded)
        segment->bytes = message_wire(segment->coded, s->chunked);
    return segment->coded != NULL;
}

bool stream_gzip_code(struct stream *s, struct segment *segments, size_t count, bool live) {
    struct stream_gzip *g = s->gzip;
    struct coder *coder = s->worker->coder;
    bool may_chain = live && g->chain && outq_empty(&s->conn->out);
    g->beats = 0;
    coder_begin(coder);
    for (size_t i = 0; i < count; i++) {
        const struct chain_link *link =
            may_chain ? coder_link(coder, g->chain, segments[i].message, g->next, worker_now(s->worker)) : NULL;
        if (link && chain_link_fits(link, g->next)) {
            segments[i].coded = link->message;
            segments[i].chained = true;
            segments[i].bytes = message_wire(link->message, s->chunked);
            g->next = link->serial + 1;
            continue;
        }
        g->next = 0;
        if (!make_whole(s, &segments[i]))
            return false;
    }
    return true;
}

bool stream_gzip_unchain(struct stream *s, struct segment *segment) {
    s->gzip->next = 0;
    return make_whole(s, segment);
}

size_t stream_gzip_length(struct stream *s, struct message *m) {
    struct message *whole = coder_whole(s->worker->coder, m);
    return whole ? message_wire(whole, s->chunked).len : 0;
}

void stream_gzip_count(struct stream *s, const struct segment *segments, size_t count) {
    const struct gzip_part *parts[CHAIN_BATCH];
    assert(count <= CHAIN_BATCH);
    for (size_t i = 0; i < count; i++)
        parts[i] = &segments[i].coded->part;
    coder_sum(s->worker->coder, &s->gzip->sum, parts, count);
}

struct gzip_sum *stream_gzip_sum(const struct stream *s) {
    return s->gzip ? &s->gzip->sum : NULL;
}

/* Sends bytes that are no text. */
static void send_raw(struct stream *s, struct slice bytes) {
    struct buf out = {0};
    int rc = buf_append_slice(&out, bytes);
    if (s->chunked)
        rc = rc ? rc : stream_text_chunk(&out, 0);
    if (rc)
        conn_close(s->conn);
    else
        conn_send(s->conn, buf_slice(&out), slice_make(NULL, 0));
    buf_deinit(&out);
}

bool stream_gzip_beat(struct stream *s) {
    struct stream_gzip *g = s->gzip;
    if (++g->beats == STREAM_GZIP_COMMENT)
        return false;
    send_raw(s, gzip_nothing());
    return true;
}

void stream_gzip_finish(struct stream *s) {
    char trailer[GZIP_TRAILER_BYTES];
    struct gzip_sum sum = s->gzip->sum;
    outq_sum_waiting(&s->conn->out, &sum);
    gzip_trailer(&sum, trailer);
    send_raw(s, slice_make(trailer, sizeof trailer));
}
