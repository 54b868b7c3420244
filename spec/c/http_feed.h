/* SPDX-License-Identifier: MIT */
/* What the tests of http_request.c share: limits, ways of feeding a request in pieces, tables of statuses. Includes
 * the files under test. */
#ifndef SLUICE_HTTP_FEED_H
#define SLUICE_HTTP_FEED_H

#include "check.h"
#include "check_alloc.h"

#include "../../core/buf.c"
#include "../../core/http_request.c"
#include "../../core/http_scan.c"

#define H "Host: a.example\r\n"
#define TE "Transfer-Encoding: chunked\r\n"
#define POST_CHUNKED "POST / HTTP/1.1\r\n" H TE "\r\n"

static const struct http_limits limits = {.header_bytes = 1024, .target_bytes = 256, .body_bytes = 100};

static inline void setup(struct http_request *r) {
    if (http_request_init(r, &limits))
        abort();
}

/* Feeds `raw` in pieces: up to `first` bytes, then `piece` at a time. Returns the last result, with the bytes that were
 * consumed in `*used` and how often HTTP_CONTINUE came in `*continues`. */
static inline enum http_result feed(struct http_request *r, const char *raw, size_t len, size_t first, size_t piece,
                                    size_t *used, int *continues) {
    enum http_result result = HTTP_MORE;
    size_t at = 0, consumed;
    *continues = 0;
    while (at < len && (result == HTTP_MORE || result == HTTP_CONTINUE)) {
        size_t now = at < first ? first - at : piece;
        if (now > len - at)
            now = len - at;
        /* A copy, so that the sanitizer sees a read beyond the piece, and a slice into it; by the real malloc. */
        char *copy = (malloc)(now);
        memcpy(copy, raw + at, now);
        result = http_request_feed(r, copy, now, &consumed);
        memset(copy, 'X', now);
        free(copy);
        at += consumed;
        *continues += result == HTTP_CONTINUE;
        CHECK(consumed == now || result == HTTP_CONTINUE || result == HTTP_DONE);
    }
    *used = at;
    return result;
}

static inline enum http_result feed_whole(struct http_request *r, const char *raw, size_t len) {
    size_t used;
    int continues;
    return feed(r, raw, len, len, len, &used, &continues);
}

static inline enum http_result feed_text(struct http_request *r, const char *raw) {
    return feed_whole(r, raw, strlen(raw));
}

/* The status with which `raw` is refused, 200 where it is a complete request, 0 where it wants more. */
static inline int status_of(const char *raw, size_t len, size_t first, size_t piece) {
    struct http_request r;
    size_t used;
    int continues;
    setup(&r);
    enum http_result result = feed(&r, raw, len, first, piece, &used, &continues);
    int status = result == HTTP_DONE ? 200 : result == HTTP_FAILED ? r.status : 0;
    if (result == HTTP_FAILED)
        CHECK(r.reason && strlen(r.reason) > 0);
    http_request_deinit(&r);
    return status;
}

/* Checks one status for every way of cutting. */
static inline void check_status(const char *name, const char *raw, size_t len, int status) {
    CHECK_NOTE("%s, whole", name);
    CHECK_EQ_INT(status_of(raw, len, len, len), status);
    CHECK_NOTE("%s, byte by byte", name);
    CHECK_EQ_INT(status_of(raw, len, 0, 1), status);
    for (size_t cut = 1; cut < len && len < 600; cut++) {
        CHECK_NOTE("%s, cut at %zu", name, cut);
        CHECK_EQ_INT(status_of(raw, len, cut, len), status);
    }
}

struct status_case {
    const char *name;
    const char *raw;
    int status;
};

static inline void check_statuses(const struct status_case *cases, size_t count) {
    for (size_t i = 0; i < count; i++)
        check_status(cases[i].name, cases[i].raw, strlen(cases[i].raw), cases[i].status);
}

#define CHECK_STATUSES(cases) check_statuses(cases, sizeof cases / sizeof cases[0])

/* Builds `before`, then `count` times `fill`, then `after`. */
static inline struct buf filled(const char *before, size_t count, const char *fill, const char *after) {
    struct buf b = {0};
    buf_append_text(&b, before);
    for (size_t i = 0; i < count; i++)
        buf_append_text(&b, fill);
    buf_append_text(&b, after);
    return b;
}

#endif
