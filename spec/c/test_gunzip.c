/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include "../../core/buf.c"
#include "../../core/gunzip.c"

/* Compresses `text` as one member of gzip and appends it. */
static void add_member(struct buf *out, const char *text, size_t len) {
    z_stream z = {0};
    REQUIRE(deflateInit2(&z, 6, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    size_t bound = deflateBound(&z, len);
    REQUIRE(buf_reserve(out, bound) == 0);
    z.next_in = (const Bytef *)text;
    z.avail_in = (uInt)len;
    z.next_out = (Bytef *)(out->data + out->len);
    z.avail_out = (uInt)bound;
    REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
    out->len += bound - z.avail_out;
    deflateEnd(&z);
}

TEST(members_are_one_text_wherever_the_input_is_cut) {
    struct buf coded = {0};
    add_member(&coded, "one, ", 5);
    add_member(&coded, "", 0);
    add_member(&coded, "two", 3);
    for (size_t at = 0; at <= coded.len; at++) {
        struct gunzip *g = gunzip_new();
        struct buf out = {0};
        REQUIRE(g != NULL);
        CHECK_EQ_INT(gunzip_feed(g, slice_make(coded.data, at), &out), 0);
        CHECK_EQ_INT(gunzip_feed(g, slice_make(coded.data + at, coded.len - at), &out), 0);
        CHECK_EQ_BUF(out, "one, two");
        buf_deinit(&out);
        gunzip_free(g);
    }
    buf_deinit(&coded);
}

TEST(what_is_large_comes_whole) {
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE);
    REQUIRE(text != NULL);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i % 7);
    struct buf coded = {0}, out = {0};
    add_member(&coded, text, SIZE);
    struct gunzip *g = gunzip_new();
    REQUIRE(g != NULL);
    CHECK_EQ_INT(gunzip_feed(g, buf_slice(&coded), &out), 0);
    CHECK_EQ_MEM(out.data, out.len, text, SIZE);
    gunzip_free(g);
    buf_deinit(&out);
    buf_deinit(&coded);
    free(text);
}

TEST(damage_is_told) {
    struct buf coded = {0};
    add_member(&coded, "text", 4);
    for (size_t damaged = 0; damaged < 2; damaged++) {
        coded.data[damaged ? 0 : coded.len - 5] ^= 1; /* the checksum, then the magic number */
        struct gunzip *g = gunzip_new();
        struct buf out = {0};
        REQUIRE(g != NULL);
        CHECK_EQ_INT(gunzip_feed(g, buf_slice(&coded), &out), -EBADMSG);
        buf_deinit(&out);
        gunzip_free(g);
    }
    buf_deinit(&coded);
    gunzip_free(NULL);
}

TEST(want_of_memory_is_told_and_leaks_nothing) {
    struct buf coded = {0};
    add_member(&coded, "text", 4);
    for (int n = 0;; n++) {
        struct buf out = {0};
        check_alloc_fail_at(n);
        struct gunzip *g = gunzip_new();
        int rc = g ? gunzip_feed(g, buf_slice(&coded), &out) : -ENOMEM;
        bool failed = check_alloc_disarm();
        CHECK_EQ_INT(rc, failed ? -ENOMEM : 0);
        gunzip_free(g);
        buf_deinit(&out);
        if (!failed)
            break;
    }
    buf_deinit(&coded);
}

CHECK_MAIN()
