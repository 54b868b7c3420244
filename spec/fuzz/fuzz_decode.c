/* SPDX-License-Identifier: MIT */
/* The decoders of http_request.h: queries, percent-encoding, Accept, Accept-Encoding and cookies. The input is given to
 * each of them as its text. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "http_request.h"

static bool inside(struct slice part, struct slice whole) {
    return part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len;
}

static void decode_query(struct slice text) {
    struct slice rest = text, name, value;
    size_t left = rest.len;
    while (http_query_next(&rest, &name, &value)) {
        assert(inside(name, text) && inside(value, text) && rest.len < left);
        assert(!memchr(name.ptr, '&', name.len) && !memchr(name.ptr, '=', name.len));
        assert(!memchr(value.ptr, '&', value.len));
        left = rest.len;
    }
    assert(rest.len == 0);
}

static void decode_percent(struct slice text, bool form) {
    struct buf out = {0}, again = {0};
    int rc = http_percent_decode(text, form, &out);
    assert(rc == 0 || (rc == -EINVAL && out.len == 0));
    assert(out.len <= text.len);
    /* What was decoded, encoded in full, decodes to the same. */
    struct buf encoded = {0};
    for (size_t i = 0; i < out.len; i++)
        buf_appendf(&encoded, "%%%02x", (unsigned char)out.data[i]);
    assert(http_percent_decode(buf_slice(&encoded), form, &again) == 0);
    assert(slice_equal(buf_slice(&out), buf_slice(&again)));
    buf_deinit(&encoded);
    buf_deinit(&again);
    buf_deinit(&out);
}

static void decode_accept(struct slice text) {
    int quality = http_accept_quality(text, "text", "event-stream");
    assert(quality >= 0 && quality <= 1000);
    quality = http_encoding_quality(text, "gzip");
    assert(quality >= 0 && quality <= 1000);
    quality = http_encoding_quality(text, "identity");
    assert(quality >= 0 && quality <= 1000);
}

/* Cookies come from a request, which refuses most other bytes. */
static void decode_cookie(struct slice text) {
    struct http_limits limits = {.header_bytes = 1 << 20, .target_bytes = 100, .body_bytes = 0};
    struct http_request r;
    struct buf raw = {0};
    struct slice value, field;
    size_t consumed;
    buf_append_text(&raw, "GET / HTTP/1.0\r\nCookie: ");
    buf_append_slice(&raw, text);
    buf_append_text(&raw, "\r\nCookie: last=1\r\n\r\n");
    if (http_request_init(&r, &limits))
        abort();
    if (http_request_feed(&r, raw.data, raw.len, &consumed) == HTTP_DONE && consumed == raw.len &&
        http_request_field(&r, "cookie", &field)) {
        if (http_request_cookie(&r, slice_of("a"), &value))
            assert(inside(value, field) || value.len == 0 || http_request_field_count(&r) > 2);
        bool found = http_request_cookie(&r, slice_of("last"), &value);
        assert(found);
    }
    buf_deinit(&raw);
    http_request_deinit(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice text = {(const char *)data, size};
    decode_query(text);
    decode_percent(text, false);
    decode_percent(text, true);
    decode_accept(text);
    decode_cookie(text);
    return 0;
}
