/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"
#include "check_random.h"

#include "../../core/buf.c"
#include "../../core/gzip.c"

enum { LEVEL = 6 };

/* zlib's inflate as one strict stream: true where `coded` is exactly one whole member with a good trailer, whose text is `text`. */
static bool is_member_of(const struct buf *coded, struct slice text) {
    z_stream z = {0};
    char *out = (malloc)(text.len + 1);
    if (!out || inflateInit2(&z, 16 + 15) != Z_OK)
        abort();
    z.next_in = (const Bytef *)coded->data;
    z.avail_in = (uInt)coded->len;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)text.len + 1;
    int rc = inflate(&z, Z_FINISH);
    bool good = rc == Z_STREAM_END && z.avail_in == 0 && z.total_out == text.len && memcmp(out, text.ptr, text.len) == 0;
    inflateEnd(&z);
    (free)(out);
    return good;
}

/* A text of one piece after another, and the stream that it was sent as. */
struct sent {
    struct buf coded, text;
    struct gzip_sum sum;
};

static void begin(struct sent *s) {
    *s = (struct sent){0};
    CHECK_EQ_INT(buf_append_slice(&s->coded, gzip_header()), 0);
}

/* Notes that `piece`, whose coded form was appended, was sent. */
static void sent(struct sent *s, struct slice piece) {
    struct gzip_part part = gzip_part_of(piece);
    gzip_sum_add(&s->sum, &part);
    CHECK_EQ_INT(buf_append_slice(&s->text, piece), 0);
}

static bool end(struct sent *s) {
    char trailer[GZIP_TRAILER_BYTES];
    gzip_trailer(&s->sum, trailer);
    CHECK_EQ_INT(buf_append(&s->coded, trailer, sizeof trailer), 0);
    bool good = is_member_of(&s->coded, slice_make(s->text.len ? s->text.data : "", s->text.len));
    buf_deinit(&s->coded);
    buf_deinit(&s->text);
    return good;
}

TEST(nothing_is_a_whole_stream) {
    struct sent s;
    begin(&s);
    CHECK_EQ_INT(s.coded.len, 10);
    CHECK(end(&s));
    begin(&s);
    CHECK_EQ_INT(buf_append_slice(&s.coded, gzip_nothing()), 0);
    CHECK(end(&s));
}

TEST(pieces_of_all_kinds_are_one_stream) {
    static const size_t SIZES[] = {0, 1, 2, 255, 256, 4096, 65534, 65535, 65536, 131070, 131071, 300000};
    enum { COUNT = sizeof SIZES / sizeof *SIZES };
    for (unsigned seed = 0; seed < 40; seed++) {
        struct check_random r = check_random_of(seed);
        struct gzip_deflater *d = gzip_deflater_new(1 + (int)check_random_below(&r, 9));
        REQUIRE(d != NULL);
        struct sent s;
        begin(&s);
        bool whole = false; /* the last thing sent was a run of the deflater's, or nothing but empty blocks came since */
        for (int i = 0; i < 20; i++) {
            size_t len = SIZES[check_random_below(&r, COUNT)];
            char *text = (malloc)(len + 1);
            unsigned kinds = 1 + check_random_below(&r, 255);
            for (size_t at = 0; at < len; at++)
                text[at] = (char)check_random_below(&r, kinds);
            struct slice piece = slice_make(text, len);
            switch (check_random_below(&r, 3)) {
            case 0: CHECK_EQ_INT(buf_append_slice(&s.coded, gzip_nothing()), 0); break;
            case 1:
                CHECK_EQ_INT(gzip_store(piece, &s.coded), 0);
                sent(&s, piece);
                whole = whole && len == 0;
                break;
            default:
                CHECK_EQ_INT(gzip_deflate(d, piece, !whole, &s.coded), 0);
                sent(&s, piece);
                whole = true;
            }
            (free)(text);
        }
        CHECK_NOTE("seed %u", seed);
        CHECK(end(&s));
        gzip_deflater_free(d);
    }
}

TEST(each_piece_can_be_read_as_soon_as_it_is_there) {
    struct gzip_deflater *d = gzip_deflater_new(LEVEL);
    REQUIRE(d != NULL);
    z_stream z = {0};
    char out[1000];
    struct buf coded = {0};
    REQUIRE(inflateInit2(&z, 16 + 15) == Z_OK);
    REQUIRE(buf_append_slice(&coded, gzip_header()) == 0);
    for (int i = 0; i < 50; i++) {
        char text[64];
        int len = snprintf(text, sizeof text, "data: message number %d\n\n", i);
        CHECK_EQ_INT(gzip_deflate(d, slice_make(text, (size_t)len), i % 7 == 0, &coded), 0);
        z.next_in = (const Bytef *)coded.data;
        z.avail_in = (uInt)coded.len;
        z.next_out = (Bytef *)out;
        z.avail_out = sizeof out;
        CHECK_EQ_INT(inflate(&z, Z_NO_FLUSH), Z_OK);
        CHECK_EQ_MEM(out, sizeof out - z.avail_out, text, (size_t)len);
        buf_clear(&coded);
    }
    inflateEnd(&z);
    gzip_deflater_free(d);
    buf_deinit(&coded);
}

TEST(a_run_that_goes_on_is_smaller_than_a_fresh_one) {
    static const char TEXT[] = "{\"symbol\":\"ABC\",\"bid\":101.25,\"ask\":101.50,\"sizes\":[100,200]}";
    struct gzip_deflater *d = gzip_deflater_new(LEVEL);
    REQUIRE(d != NULL);
    struct buf first = {0}, again = {0}, fresh = {0};
    CHECK_EQ_INT(gzip_deflate(d, slice_of(TEXT), true, &first), 0);
    CHECK_EQ_INT(gzip_deflate(d, slice_of(TEXT), false, &again), 0);
    CHECK_EQ_INT(gzip_deflate(d, slice_of(TEXT), true, &fresh), 0);
    CHECK(again.len < first.len / 3);
    CHECK_EQ_MEM(fresh.data, fresh.len, first.data, first.len);
    buf_deinit(&first);
    buf_deinit(&again);
    buf_deinit(&fresh);
    gzip_deflater_free(d);
}

TEST(a_sum_over_parts_is_that_of_the_whole) {
    struct check_random r = check_random_of(1);
    char text[5000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)check_random_next(&r);
    for (int round = 0; round < 100; round++) {
        struct gzip_sum sum = {0};
        for (size_t at = 0; at < sizeof text;) {
            size_t len = check_random_below(&r, 400);
            len = len < sizeof text - at ? len : sizeof text - at;
            struct gzip_part part = gzip_part_of(slice_make(text + at, len));
            gzip_sum_add(&sum, &part);
            at += len;
        }
        CHECK_EQ_INT(sum.crc, crc32(0, (const Bytef *)text, sizeof text));
        CHECK_EQ_INT(sum.len, sizeof text);
    }
}

TEST(want_of_memory_is_told_and_leaves_the_output) {
    static char text[100000];
    struct buf out = {0};
    CHECK_EQ_INT(buf_append_text(&out, "before"), 0);
    struct gzip_deflater *d = gzip_deflater_new(LEVEL);
    REQUIRE(d != NULL);
    check_alloc_fail_at(0);
    CHECK_EQ_INT(gzip_deflate(d, slice_make(text, sizeof text), true, &out), -ENOMEM);
    CHECK(check_alloc_disarm());
    CHECK_EQ_BUF(out, "before");
    check_alloc_fail_at(0);
    CHECK_EQ_INT(gzip_store(slice_make(text, sizeof text), &out), -ENOMEM);
    CHECK(check_alloc_disarm());
    CHECK_EQ_BUF(out, "before");
    check_alloc_fail_at(0);
    CHECK(gzip_deflater_new(LEVEL) == NULL);
    CHECK(check_alloc_disarm());
    gzip_deflater_free(NULL);
    gzip_deflater_free(d);
    buf_deinit(&out);
}

CHECK_MAIN()
