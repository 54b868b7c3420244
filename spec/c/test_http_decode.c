/* SPDX-License-Identifier: MIT */
/* Forms, percent-encoding, Accept and Accept-Encoding. */
#include "check.h"
#include "check_alloc.h"

#include "../../core/buf.c"
#include "../../core/http_decode.c"

/* Writes the pairs of a query as "name=value" lines. */
static struct buf pairs_of(const char *query) {
    struct slice rest = slice_of(query), name, value;
    struct buf out = {0};
    while (http_query_next(&rest, &name, &value)) {
        buf_append_slice(&out, name);
        buf_append_char(&out, '=');
        buf_append_slice(&out, value);
        buf_append_char(&out, '\n');
    }
    CHECK_EQ_INT(rest.len, 0);
    return out;
}

TEST(a_query_is_taken_apart) {
    static const struct {
        const char *query, *pairs;
    } cases[] = {
        {"", ""},
        {"&", ""},
        {"&&&", ""},
        {"a", "a=\n"},
        {"a=", "a=\n"},
        {"=", "=\n"},
        {"=b", "=b\n"},
        {"a=b", "a=b\n"},
        {"a=b=c", "a=b=c\n"},
        {"a=b&a=c", "a=b\na=c\n"},
        {"&a=b&&c&", "a=b\nc=\n"},
        {"a%3Db=c%26d;e=f+g", "a%3Db=c%26d;e=f+g\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_NOTE("%s", cases[i].query);
        struct buf out = pairs_of(cases[i].query);
        CHECK_EQ_BUF(out, cases[i].pairs);
        buf_deinit(&out);
    }
    struct slice none = {0}, name, value;
    CHECK(!http_query_next(&none, &name, &value));
}

static void check_decoded(const char *text, bool form, const char *want, size_t want_len) {
    struct buf out = {0};
    buf_append_text(&out, "<");
    CHECK_NOTE("%s", text);
    CHECK_EQ_INT(http_percent_decode(slice_of(text), form, &out), 0);
    CHECK_EQ_MEM(out.data + 1, out.len - 1, want, want_len);
    buf_deinit(&out);
}

TEST(percent_encoding_is_decoded) {
    check_decoded("", true, "", 0);
    check_decoded("abc", true, "abc", 3);
    check_decoded("a+b", true, "a b", 3);
    check_decoded("a+b", false, "a+b", 3);
    check_decoded("%2b%2B", true, "++", 2);
    check_decoded("%41%6a%4A", false, "AjJ", 3);
    check_decoded("%00%ff%C3%A4", true, "\0\xff\xc3\xa4", 4);
    check_decoded("%25%2541", true, "%%41", 4); /* once only */
}

TEST(a_percent_sign_without_two_hex_digits_is_refused) {
    static const char *const bad[] = {"%", "%4", "abc%", "%g0", "%0g", "%%41", "% 41", "%-1", "%+1", "a%u0041"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf out = {0};
        buf_append_text(&out, "<");
        CHECK_NOTE("%s", bad[i]);
        CHECK_EQ_INT(http_percent_decode(slice_of(bad[i]), true, &out), -EINVAL);
        CHECK_EQ_BUF(out, "<");
        buf_deinit(&out);
    }
    /* What lies behind the slice is not looked at. */
    struct buf out = {0};
    CHECK_EQ_INT(http_percent_decode(slice_make("%41", 2), false, &out), -EINVAL);
    buf_deinit(&out);
}

TEST(decoding_without_memory_changes_nothing) {
    struct buf out = {0};
    check_alloc_fail_at(0);
    CHECK_EQ_INT(http_percent_decode(slice_of("abc"), false, &out), -ENOMEM);
    CHECK(check_alloc_disarm());
    CHECK(out.data == NULL && out.len == 0);
}

TEST(accept_gives_each_type_its_quality) {
    static const struct {
        const char *accept;
        int event_stream, json;
    } cases[] = {
        {"", 1000, 1000},
        {" \t", 1000, 1000},
        {"*/*", 1000, 1000},
        {"*", 1000, 1000},
        {"text/event-stream", 1000, 0},
        {"Text/EVENT-Stream", 1000, 0},
        {"text/*", 1000, 0},
        {"application/json", 0, 1000},
        {"text/html, application/json;q=0.9, */*;q=0.8", 800, 900},
        {"*/*;q=0.1, text/*;q=0.2, text/event-stream;q=0.3", 300, 100},
        {"text/event-stream;q=0.3, text/*;q=0.9", 300, 0},
        {"text/event-stream;q=0, */*", 0, 1000},
        {"text/event-stream;q=0.000", 0, 0},
        {"text/event-stream;q=0.001", 1, 0},
        {"text/event-stream;q=1.000", 1000, 0},
        {"text/event-stream; Q=0.5", 500, 0},
        {"text/event-stream ; charset=utf-8 ; q=0.5", 500, 0},
        {"text/event-stream;charset=\"a,b;q=0.1\";q=0.5", 500, 0},
        {"text/event-stream;a=\"\\\",\";q=0.25", 250, 0},
        {"text/event-stream;q=0.1, text/event-stream;q=0.4, text/event-stream;q=0.2", 400, 0},
        {"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", 200, 200},
        {"text/event-stream;q=0.12345", 123, 0},
        {"text/event-stream;q=7", 1000, 0},
        {"text/event-stream;q=x", 0, 0},
        {"text/event-stream;q=", 0, 0},
        {"text/event-stream;q=.", 0, 0},
        {"text/event-stream;q=0.5x, */*;q=0.3", 300, 300},
        {"text/event-streams, text/event, text", 0, 0},
        {"*/json", 0, 0},
        {", ,,text/event-stream,,", 1000, 0},
        {"text/event-stream;", 1000, 0},
        {"\"text/event-stream", 0, 0},
        {";q=0.5, /, text/, /event-stream", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_NOTE("%s", cases[i].accept);
        CHECK_EQ_INT(http_accept_quality(slice_of(cases[i].accept), "text", "event-stream"), cases[i].event_stream);
        CHECK_EQ_INT(http_accept_quality(slice_of(cases[i].accept), "application", "json"), cases[i].json);
    }
    CHECK_EQ_INT(http_accept_quality((struct slice){0}, "text", "plain"), 1000);
}

TEST(accept_encoding_gives_each_coding_its_quality) {
    static const struct {
        const char *accept_encoding;
        int gzip, identity;
    } cases[] = {
        {"", 0, 1000},
        {"gzip", 1000, 1000},
        {"GZIP;q=0.5", 500, 1000},
        {"gzip, deflate, br", 1000, 1000},
        {"deflate, br;q=1.0", 0, 1000},
        {"gzip;q=0", 0, 1000},
        {"*", 1000, 1000},
        {"*;q=0", 0, 0},
        {"gzip;q=0, *", 0, 1000},
        {"*;q=0, gzip;q=0.2", 200, 0},
        {"identity;q=0.5, *;q=0.1", 100, 500},
        {"identity;q=0", 0, 0},
        {"gzipped, xgzip", 0, 1000},
        {"gzip;q=x", 0, 1000},
        {"gzip ; q=0.7", 700, 1000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_NOTE("%s", cases[i].accept_encoding);
        CHECK_EQ_INT(http_encoding_quality(slice_of(cases[i].accept_encoding), "gzip"), cases[i].gzip);
        CHECK_EQ_INT(http_encoding_quality(slice_of(cases[i].accept_encoding), "identity"), cases[i].identity);
    }
}

TEST(a_coding_is_preferred_unless_the_plain_text_is_named_and_liked_better) {
    static const struct {
        const char *accept_encoding;
        bool gzip;
    } cases[] = {
        {"", false},
        {"gzip", true},
        {"GZIP", true},
        {"*", true},
        {"identity", false},
        {"br, deflate", false},
        {"gzip, deflate, br", true},
        {"gzip;q=0", false},
        {"gzip;q=0.001", true},
        {"*;q=0", false},
        {"gzip;q=0, *", false},
        {"identity, gzip", true},
        {"identity;q=0.5, gzip;q=0.5", true},
        {"identity;q=0.5, gzip;q=0.4", false},
        {"identity, gzip;q=0.9", false},
        {"identity;q=0, gzip;q=0.1", true},
        {"identity;q=0", false},
        {"gzip;q=0.5", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_NOTE("%s", cases[i].accept_encoding);
        CHECK_EQ_INT(http_encoding_preferred(slice_of(cases[i].accept_encoding), "gzip"), cases[i].gzip);
    }
}

CHECK_MAIN()
