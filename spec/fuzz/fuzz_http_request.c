/* SPDX-License-Identifier: MIT */
/* Feeds the same bytes whole, byte by byte and in pieces of all sizes: whatever requests are in them, the outcome
 * must be the same, and each of them must keep what the header promises. The input is what a client would send. */
#include <assert.h>
#include <stdlib.h>

#include "http_request.h"

enum { MAX_REQUESTS = 8 };

static const struct http_limits limits = {.header_bytes = 2048, .target_bytes = 512, .body_bytes = 1024};

/* Appends everything that can be asked about a request, so that two can be compared. */
static void describe(struct buf *out, const struct http_request *r, enum http_result result) {
    struct slice name, value;
    buf_appendf(out, "result %d status %d %s\n", result, r->status, r->reason ? r->reason : "");
    if (result != HTTP_DONE && result != HTTP_CONTINUE)
        return;
    buf_appendf(out, "method %d %.*s minor %d keep %d\n", r->method, (int)r->method_name.len, r->method_name.ptr,
                r->minor, r->keep_alive);
    buf_appendf(out, "target %.*s path %.*s query %.*s host %.*s\n", (int)r->target.len, r->target.ptr,
                (int)r->path.len, r->path.ptr, (int)r->query.len, r->query.ptr, (int)r->host.len,
                r->host.len > 0 ? r->host.ptr : "");
    for (size_t i = 0; i < http_request_field_count(r); i++) {
        http_request_field_at(r, i, &name, &value);
        buf_append_slice(out, name);
        buf_append_char(out, '=');
        buf_append_slice(out, value);
        buf_append_char(out, '\n');
    }
    if (result == HTTP_DONE)
        buf_append(out, r->body.data, r->body.len);
}

static void check_request(const struct http_request *r) {
    assert(r->status == 0 && r->reason == NULL && http_request_head_done(r));
    assert(r->path.len > 0 && (r->path.ptr[0] == '/' || (r->method == HTTP_OPTIONS && slice_is(r->path, "*"))));
    assert(r->target.len <= limits.target_bytes && r->body.len <= limits.body_bytes);
    assert(r->minor == 0 || r->host.len > 0);
    assert(!memchr(r->path.ptr, '?', r->path.len));
    for (size_t i = 0; i < http_request_field_count(r); i++) {
        struct slice name, value;
        http_request_field_at(r, i, &name, &value);
        assert(name.len > 0);
        assert(value.len == 0 || (!strchr(" \t", value.ptr[0]) && !strchr(" \t", value.ptr[value.len - 1])));
        for (size_t at = 0; at < value.len; at++)
            assert(!strchr("\r\n", value.ptr[at]));
    }
}

static void check_refusal(const struct http_request *r) {
    switch (r->status) {
    case 400:
    case 413:
    case 414:
    case 415:
    case 417:
    case 431:
    case 501:
    case 505:
        assert(r->reason && *r->reason);
        break;
    default:
        abort();
    }
}

/* Reads requests until one fails or the bytes are used up. Each read has up to `piece` bytes, a changing number
 * where that is 0. */
static void run(struct buf *out, const char *data, size_t len, size_t piece) {
    struct http_request r;
    uint64_t random = slice_hash(slice_make(data, len));
    enum http_result result = HTTP_MORE;
    size_t at = 0, request_at = 0;
    int requests = 0;
    if (http_request_init(&r, &limits))
        abort();
    while (at < len && requests < MAX_REQUESTS) {
        size_t now = piece, consumed;
        if (now == 0) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            now = 1 + (random >> 33) % ((random >> 60) < 3 ? 3 : 80);
        }
        if (now > len - at)
            now = len - at;
        char *copy = malloc(now);
        if (!copy)
            abort();
        memcpy(copy, data + at, now);
        result = http_request_feed(&r, copy, now, &consumed);
        free(copy);
        assert(consumed <= now && (result != HTTP_MORE || consumed == now));
        at += consumed;
        if (result == HTTP_FAILED) {
            check_refusal(&r);
            describe(out, &r, result);
            break;
        }
        if (result == HTTP_CONTINUE || result == HTTP_DONE) {
            check_request(&r);
            describe(out, &r, result);
            buf_appendf(out, "bytes %zu\n", at - request_at);
        }
        if (result == HTTP_DONE) {
            requests++;
            request_at = at;
            http_request_reset(&r);
        }
    }
    if (result == HTTP_MORE)
        buf_appendf(out, "more: started %d, head %d", http_request_started(&r), http_request_head_done(&r));
    http_request_deinit(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf whole = {0}, other = {0};
    static const size_t pieces[] = {1, 0, 7};
    run(&whole, (const char *)data, size, size);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        buf_clear(&other);
        run(&other, (const char *)data, size, pieces[i]);
        assert(slice_equal(buf_slice(&whole), buf_slice(&other)));
    }
    buf_deinit(&whole);
    buf_deinit(&other);
    return 0;
}
