/* SPDX-License-Identifier: MIT */
#include "stream_list.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "conn.h"
#include "json.h"
#include "stream.h"
#include "worker.h"

/* A stream that may come into the answer. */
struct pick {
    struct stream_row row;
    const struct stream *stream;
};

/* The best so far: collected until there are twice as many as wanted, then cut. */
struct picks {
    struct pick *items;
    size_t count, limit;
};

int stream_row_compare(const struct stream_row *a, const struct stream_row *b) {
    if (a->key != b->key)
        return a->key > b->key ? -1 : 1;
    return a->id == b->id ? 0 : (a->id < b->id ? -1 : 1);
}

static int compare_picks(const void *a, const void *b) {
    return stream_row_compare(&((const struct pick *)a)->row, &((const struct pick *)b)->row);
}

static void cut(struct picks *p) {
    qsort(p->items, p->count, sizeof *p->items, compare_picks);
    if (p->count > p->limit)
        p->count = p->limit;
}

static uint64_t key_of(const struct worker *w, const struct stream *s, enum stream_sort sort) {
    switch (sort) {
    case STREAM_BY_AGE: return worker_now(w) - s->opened_ms;
    case STREAM_BY_QUEUE: return s->conn->out.bytes;
    case STREAM_BY_EVENTS: return s->events;
    case STREAM_BY_BYTES: return s->bytes;
    default: return 0;
    }
}

static bool matches(const struct stream *s, const struct stream_query *q) {
    if (q->by_user && (!s->user || strcmp(s->user, q->user) != 0))
        return false;
    if (q->by_address && !address_equal(&s->conn->peer, &q->address))
        return false;
    return !q->by_channel || stream_subscription(s, slice_of(q->channel));
}

static int append_channels(struct buf *out, const struct stream *s) {
    size_t n = 0;
    int rc = buf_append_text(out, ",\"channels\":[");
    for (const struct subscription *sub = s->sub.subs; sub && n < STREAM_LIST_CHANNELS; sub = sub->next, n++) {
        rc = rc ? rc : (n ? buf_append_char(out, ',') : 0);
        rc = rc ? rc : json_append_string(out, slice_make(sub->channel->name, sub->channel->name_len));
    }
    return rc ? rc : buf_appendf(out, "],\"channel_count\":%" PRIu32, s->sub_count);
}

static int append_json(struct buf *out, const struct worker *w, const struct stream *s) {
    char address[ADDRESS_TEXT_BYTES];
    address_format(&s->conn->peer, address);
    int rc = buf_appendf(out, "{\"id\":\"%016" PRIx64 "\",\"address\":\"%s\",\"age\":", s->id, address);
    rc = rc ? rc : json_append_number(out, (double)(worker_now(w) - s->opened_ms) / 1000);
    if (s->user) {
        rc = rc ? rc : buf_append_text(out, ",\"user\":");
        rc = rc ? rc : json_append_string(out, slice_of(s->user));
    }
    rc = rc ? rc : append_channels(out, s);
    rc = rc ? rc : buf_appendf(out, ",\"queue\":%zu,\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"generation\":%" PRIu32 ",\"worker\":%u",
                               s->conn->out.bytes, s->events, s->bytes, s->generation, w->index);
    if (s->admin)
        rc = rc ? rc : buf_append_text(out, ",\"admin\":true");
    if (s->sub.state == SUBSCRIBER_REPLAYING)
        rc = rc ? rc : buf_append_text(out, ",\"replaying\":true");
    return rc ? rc : buf_append_char(out, '}');
}

/* Appends a row: its head first, which is filled in when its length is known. */
static int append_row(struct buf *out, const struct worker *w, const struct pick *pick) {
    struct stream_row row = pick->row;
    size_t at = out->len;
    int rc = buf_append(out, &row, sizeof row);
    rc = rc ? rc : append_json(out, w, pick->stream);
    if (rc)
        return rc;
    row.len = out->len - at - sizeof row;
    memcpy(out->data + at, &row, sizeof row);
    return 0;
}

static struct stream *stream_at(const struct list *node) {
    return list_entry(list_entry(node, struct subscriber, all_node), struct stream, sub);
}

void stream_list(struct worker *w, const void *question, struct inquiry_answer *answer) {
    const struct stream_query *q = question;
    struct picks picks = {.items = malloc(2 * q->limit * sizeof *picks.items), .limit = q->limit};
    if (!picks.items) {
        answer->rc = -ENOMEM;
        return;
    }
    const struct list *ring = &w->registry.all->ring;
    for (const struct list *node = ring->next; node != ring; node = node->next) {
        const struct stream *s = stream_at(node);
        if (!s->conn || !matches(s, q))
            continue;
        answer->count++;
        if (q->sort == STREAM_BY_ID && s->id <= q->after)
            continue;
        if (picks.count == 2 * picks.limit)
            cut(&picks);
        picks.items[picks.count++] = (struct pick){{key_of(w, s, q->sort), s->id, 0}, s};
    }
    cut(&picks);
    for (size_t i = 0; i < picks.count && answer->rc == 0; i++)
        answer->rc = append_row(&answer->out, w, &picks.items[i]);
    free(picks.items);
}

void stream_list_close(struct worker *w, const void *question, struct inquiry_answer *answer) {
    const uint64_t *id = question;
    struct list *ring = &w->registry.all->ring;
    for (struct list *node = ring->next; node != ring; node = node->next) {
        struct stream *s = stream_at(node);
        if (!s->conn || s->id != *id)
            continue;
        stream_close(s, STREAM_CLOSED);
        answer->count = 1;
        return;
    }
}
