/* SPDX-License-Identifier: MIT */
/* Two properties. Any bytes as data, framed and parsed, come back with their line ends as LF, whatever stands in them. Any bytes as a stream
 * are read the same whole and in pieces. The first byte of the input seeds the cuts. */
#include <errno.h>
#include <stdlib.h>

#include "sse.h"

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

/* What the parser told, each part with its length before it, so that no two stories look alike. */
struct story {
    struct buf text;
    int events;
};

static void tell(struct story *story, char kind, struct slice part) {
    MUST(buf_appendf(&story->text, "%c%zu:", kind, part.len) == 0);
    MUST(buf_append_slice(&story->text, part) == 0);
}

static void on_event(void *context, struct slice id, struct slice type, struct slice data) {
    struct story *story = context;
    MUST(sse_field_valid(id) && type.len > 0);
    story->events++;
    tell(story, 'i', id);
    tell(story, 't', type);
    tell(story, 'd', data);
}

static void on_retry(void *context, uint64_t ms) {
    tell(context, ms % 2 ? 'r' : 'R', slice_make(NULL, 0));
}

static void on_comment(void *context, struct slice text) {
    tell(context, 'c', text);
}

/* Reads `input` in pieces of 1 to `most` bytes (SIZE_MAX: whole), each a copy of exactly its size. */
static void read_stream(struct slice input, size_t most, uint32_t seed, struct story *story) {
    struct sse_parser p;
    sse_parser_init(&p, &(struct sse_events){on_event, on_retry, on_comment, story}, SIZE_MAX / 4);
    while (input.len) {
        seed = seed * 1664525u + 1013904223u;
        size_t len = most == SIZE_MAX ? input.len : 1 + (seed >> 8) % most;
        if (len > input.len)
            len = input.len;
        char *piece = malloc(len);
        MUST(piece != NULL);
        memcpy(piece, input.ptr, len);
        MUST(sse_parser_feed(&p, piece, len) == 0);
        free(piece);
        input = slice_make(input.ptr + len, input.len - len);
    }
    sse_parser_deinit(&p);
}

static void check_pieces(struct slice input, uint32_t seed) {
    struct story whole = {0}, bytes = {0}, pieces = {0};
    read_stream(input, SIZE_MAX, 0, &whole);
    read_stream(input, 1, seed, &bytes);
    read_stream(input, 7, seed, &pieces);
    MUST(slice_equal(buf_slice(&whole.text), buf_slice(&bytes.text)));
    MUST(slice_equal(buf_slice(&whole.text), buf_slice(&pieces.text)));
    buf_deinit(&whole.text);
    buf_deinit(&bytes.text);
    buf_deinit(&pieces.text);
}

/* What a client should see of `data`: CR and CRLF as LF. The plainest way to write it, since it judges the quick one. */
static void normalise(struct slice data, struct buf *out) {
    for (size_t i = 0; i < data.len; i++) {
        if (data.ptr[i] == '\r' && i + 1 < data.len && data.ptr[i + 1] == '\n')
            continue;
        MUST(buf_append_char(out, data.ptr[i] == '\r' ? '\n' : data.ptr[i]) == 0);
    }
}

static void check_framing(struct slice data, uint32_t seed) {
    struct buf stream = {0}, wanted = {0}, lines = {0}, back = {0};
    struct story got = {0}, want = {0};
    MUST(sse_append_event(&stream, slice_of("7-1"), slice_of("x"), data) == 0);
    read_stream(buf_slice(&stream), 7, seed, &got);
    normalise(data, &wanted);
    on_event(&want, slice_of("7-1"), slice_of("x"), buf_slice(&wanted));
    MUST(got.events == 1);
    MUST(slice_equal(buf_slice(&got.text), buf_slice(&want.text)));

    size_t size = sse_data_size(data);
    MUST(buf_reserve(&lines, size) == 0);
    lines.len = sse_write_data(lines.data, data);
    MUST(lines.len == size);
    MUST(sse_read_data(buf_slice(&lines), &back) == 0);
    MUST(slice_equal(buf_slice(&back), buf_slice(&wanted)));

    /* A field or a comment forges nothing. */
    buf_clear(&stream);
    MUST(sse_append_event(&stream, data, data, slice_of("d")) == (sse_field_valid(data) ? 0 : -EINVAL));
    buf_clear(&stream);
    buf_clear(&got.text);
    got.events = 0;
    MUST(sse_append_comment(&stream, data) == 0);
    read_stream(buf_slice(&stream), 7, seed, &got);
    MUST(got.events == 0);
    buf_deinit(&stream);
    buf_deinit(&wanted);
    buf_deinit(&lines);
    buf_deinit(&back);
    buf_deinit(&got.text);
    buf_deinit(&want.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    struct slice input = slice_make((const char *)data + 1, size - 1);
    check_pieces(input, data[0]);
    check_framing(input, data[0]);
    return 0;
}
