/* SPDX-License-Identifier: MIT */
#include "stream_text.h"

#include <inttypes.h>
#include <stdio.h>

#include "exchange.h"
#include "json.h"
#include "sse.h"
#include "stream.h"
#include "worker.h"

static int append_id_member(struct buf *out, const char *name, bool known, struct message_id id) {
    char text[MESSAGE_ID_BYTES];
    if (!known)
        return buf_appendf(out, "\"%s\":null,", name);
    message_id_format(text, id);
    return buf_appendf(out, "\"%s\":\"%s\",", name, text);
}

int stream_text_gap(struct buf *out, struct slice requested, const struct hub_gap *gap, const struct hub_source *sources, size_t count) {
    struct buf data = {0};
    char id[MESSAGE_ID_BYTES];
    size_t id_len = message_id_format(id, gap->id);
    int rc = buf_append_text(&data, "{\"requested\":");
    if (requested.ptr)
        rc = rc ? rc : json_append_string(&data, requested);
    else
        rc = rc ? rc : buf_append_text(&data, "null");
    rc = rc ? rc : buf_append_char(&data, ',');
    rc = rc ? rc : append_id_member(&data, "oldest", gap->any_kept, gap->oldest);
    rc = rc ? rc : append_id_member(&data, "newest", gap->any_kept, gap->newest);
    rc = rc ? rc : buf_append_text(&data, "\"channels\":[");
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        if (!sources[i].gap)
            continue;
        rc = rc ? rc : (first ? 0 : buf_append_char(&data, ','));
        rc = rc ? rc : json_append_string(&data, sources[i].name);
        first = false;
    }
    rc = rc ? rc : buf_append_text(&data, "]}");
    rc = rc ? rc : sse_append_event(out, slice_make(id, id_len), slice_of("sluice.gap"), buf_slice(&data));
    buf_deinit(&data);
    return rc;
}

int stream_text_opening(const struct stream *s, struct buf *out, struct message_id at) {
    struct worker *w = s->worker;
    char id[MESSAGE_ID_BYTES];
    char data[] = "{\"stream\":\"0123456789abcdef\"}";
    size_t id_len = message_id_format(id, at);
    u64_hex(data + 11, s->id);
    memcpy(data + 27, "\"}", 2); /* over the NUL */
    int rc = buf_append_text(out, "retry: ");
    rc = rc ? rc : buf_append_u64(out, worker_spread(w, w->config->retry_ms));
    rc = rc ? rc : buf_append_char(out, '\n');
    return rc ? rc : sse_append_event(out, slice_make(id, id_len), slice_of("sluice.open"), slice_of(data));
}

int stream_text_head(const struct stream *s, const struct exchange *x, struct buf *out) {
    int rc = http_response_begin(out, 200, worker_date(s->worker));
    rc = rc ? rc : http_response_field_text(out, "Content-Type", "text/event-stream");
    rc = rc ? rc : http_response_field_text(out, "Cache-Control", "no-cache, no-transform");
    rc = rc ? rc : http_response_field_text(out, "X-Accel-Buffering", "no");
    rc = rc ? rc : http_response_field_text(out, "Connection", "close");
    if (s->gzip)
        rc = rc ? rc : http_response_field_text(out, "Content-Encoding", "gzip");
    if (s->chunked)
        rc = rc ? rc : http_response_field_text(out, "Transfer-Encoding", "chunked");
    rc = rc ? rc : http_response_field_text(out, "X-Request-Id", x->id);
    rc = rc ? rc : buf_append_slice(out, buf_slice(&x->fields));
    return rc ? rc : http_response_end(out);
}

int stream_text_chunk(struct buf *out, size_t from) {
    char head[24];
    size_t len = out->len - from;
    if (len == 0)
        return 0;
    int n = snprintf(head, sizeof head, "%zx\r\n", len);
    int rc = buf_reserve(out, (size_t)n + 2);
    if (rc)
        return rc;
    memmove(out->data + from + n, out->data + from, len);
    memcpy(out->data + from, head, (size_t)n);
    out->len += (size_t)n;
    return buf_append(out, "\r\n", 2);
}
