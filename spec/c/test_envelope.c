/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include "../../core/buf.c"
#include "../../core/envelope.c"
#include "../../core/gunzip.c"

static void unpack(struct buf *out, struct slice packed) {
    struct gunzip *g = gunzip_new();
    REQUIRE(g != NULL);
    CHECK_EQ_INT(gunzip_feed(g, packed, out), 0);
    gunzip_free(g);
}

TEST(gzip_holds_the_text_at_every_level) {
    struct buf text = {0};
    for (int i = 0; i < 20000; i++)
        REQUIRE(buf_appendf(&text, "%d,", i * i % 977) == 0);
    for (int level = 0; level <= 9; level++) {
        struct buf packed = {0}, again = {0}, out = {0};
        CHECK_EQ_INT(gzip_append(&packed, buf_slice(&text), level), 0);
        CHECK_EQ_INT(gzip_append(&again, buf_slice(&text), level), 0);
        CHECK(slice_equal(buf_slice(&packed), buf_slice(&again)));
        CHECK(level == 0 ? packed.len > text.len : packed.len < text.len / 2);
        unpack(&out, buf_slice(&packed));
        CHECK(slice_equal(buf_slice(&out), buf_slice(&text)));
        buf_deinit(&packed);
        buf_deinit(&again);
        buf_deinit(&out);
    }
    buf_deinit(&text);
}

TEST(gzip_appends_and_takes_nothing_at_all) {
    struct buf out = {0}, text = {0};
    REQUIRE(buf_append_text(&out, "before") == 0);
    CHECK_EQ_INT(gzip_append(&out, slice_make(NULL, 0), 6), 0);
    CHECK(out.len > 6 && memcmp(out.data, "before\x1f\x8b", 8) == 0);
    unpack(&text, slice_make(out.data + 6, out.len - 6));
    CHECK_EQ_INT(text.len, 0);
    buf_deinit(&out);
    buf_deinit(&text);
}

/* RFC 4648, 10. */
TEST(base64_is_that_of_the_rfc) {
    static const char *const CASES[][2] = {{"", ""},         {"f", "Zg=="},         {"fo", "Zm8="},        {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct buf out = {0};
        CHECK_EQ_INT(append_base64(&out, slice_of(CASES[i][0])), 0);
        CHECK_EQ_BUF(out, CASES[i][1]);
        buf_deinit(&out);
    }
    struct buf out = {0};
    CHECK_EQ_INT(append_base64(&out, slice_make("\xfb\xff\xfe\xff", 4)), 0);
    CHECK_EQ_BUF(out, "+//+/w==");
    buf_deinit(&out);
}

TEST(small_data_stays_readable) {
    static const char *const CASES[][2] = {
        {"", "\"\""},
        {"plain text", "\"plain text\""},
        {"a \"quote\"\nand a line", "\"a \\\"quote\\\"\\nand a line\""},
        {"{\"price\": 1.10, \"big\": 12345678901234567890}", "{\"price\": 1.10, \"big\": 12345678901234567890}"},
        {" [ ] ", " [ ] "},
        {"1.50", "1.50"},
        {"null", "null"},
        {"01", "\"01\""},
        {"{} {}", "\"{} {}\""},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct buf out = {0}, want = {0};
        REQUIRE(buf_appendf(&want, "{\"compressed\":false,\"data\":%s}", CASES[i][1]) == 0);
        CHECK_EQ_INT(envelope_append(&out, slice_of(CASES[i][0]), ENVELOPE_THRESHOLD, 6), 0);
        CHECK(slice_equal(buf_slice(&out), buf_slice(&want)));
        buf_deinit(&out);
        buf_deinit(&want);
    }
}

TEST(over_the_threshold_it_is_compressed) {
    char text[1025];
    memset(text, 'x', sizeof text);
    struct buf out = {0};
    CHECK_EQ_INT(envelope_append(&out, slice_make(text, 1024), ENVELOPE_THRESHOLD, 6), 0);
    CHECK(memcmp(out.data, "{\"compressed\":false,", 20) == 0);
    buf_clear(&out);
    CHECK_EQ_INT(envelope_append(&out, slice_make(text, 1025), ENVELOPE_THRESHOLD, 6), 0);
    CHECK(memcmp(out.data, "{\"compressed\":true,\"data\":\"H4sI", 31) == 0);
    CHECK_EQ_MEM(out.data + out.len - 2, 2, "\"}", 2);
    buf_deinit(&out);
}

TEST(want_of_memory_is_told_and_nothing_added) {
    char text[4096];
    memset(text, 'x', sizeof text);
    for (size_t threshold = 0; threshold <= sizeof text; threshold += sizeof text)
        for (int n = 0;; n++) {
            struct buf out = {0};
            check_alloc_fail_at(n);
            int rc = envelope_append(&out, slice_make(text, sizeof text), threshold, 6);
            bool failed = check_alloc_disarm();
            CHECK_EQ_INT(rc, failed ? -ENOMEM : 0);
            CHECK_EQ_INT(out.len == 0, failed);
            buf_deinit(&out);
            if (!failed)
                break;
        }
}

CHECK_MAIN()
