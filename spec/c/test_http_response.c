/* SPDX-License-Identifier: MIT */
/* Response heads byte for byte, and what is refused in them. */
#include "check.h"
#include "check_alloc.h"

#include "../../core/buf.c"
#include "../../core/http_response.c"

TEST(a_response_is_written) {
    struct buf out = {0};
    char date[HTTP_DATE_BYTES + 1];
    http_date(date, 784111777);
    CHECK_EQ_INT(http_response_begin(&out, 200, date), 0);
    CHECK_EQ_INT(http_response_field(&out, slice_of("X-A"), slice_of("b c")), 0);
    CHECK_EQ_INT(http_response_field(&out, slice_of("X-Empty"), (struct slice){0}), 0);
    CHECK_EQ_INT(http_response_field_text(&out, "Content-Type", "text/plain"), 0);
    CHECK_EQ_INT(http_response_length(&out, 5), 0);
    CHECK_EQ_INT(http_response_end(&out), 0);
    CHECK_EQ_BUF(out, "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-A: b c\r\nX-Empty: \r\n"
                      "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n");
    buf_deinit(&out);
}

TEST(a_head_without_date_or_known_status) {
    struct buf out = {0};
    CHECK_EQ_INT(http_response_begin(&out, 299, NULL), 0);
    CHECK_EQ_BUF(out, "HTTP/1.1 299 Unknown\r\n");
    buf_deinit(&out);
}

TEST(every_status_of_the_design_has_a_reason) {
    static const int statuses[] = {100, 200, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 413,
                                   414, 415, 417, 422, 429, 431, 500, 501, 502, 503, 504, 505};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        CHECK_NOTE("%d", statuses[i]);
        CHECK(strcmp(http_reason(statuses[i]), "Unknown") != 0);
    }
    CHECK_EQ_STR(http_reason(431), "Request Header Fields Too Large");
    CHECK_EQ_STR(http_reason(0), "Unknown");
    CHECK_EQ_STR(http_reason(-1), "Unknown");
}

TEST(dates_are_imf_fixdates) {
    static const struct {
        time_t at;
        const char *date;
    } cases[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1735689599, "Tue, 31 Dec 2024 23:59:59 GMT"},
        {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char date[HTTP_DATE_BYTES + 1];
        http_date(date, cases[i].at);
        CHECK_EQ_STR(date, cases[i].date);
    }
}

TEST(a_length_is_written_in_full) {
    struct buf out = {0};
    CHECK_EQ_INT(http_response_length(&out, 0), 0);
    CHECK_EQ_INT(http_response_length(&out, 1234567890), 0);
    CHECK_EQ_INT(http_response_length(&out, SIZE_MAX), 0);
    CHECK_EQ_BUF(out, "Content-Length: 0\r\nContent-Length: 1234567890\r\nContent-Length: 18446744073709551615\r\n");
    buf_deinit(&out);
}

TEST(a_forged_field_is_refused_and_nothing_written) {
    static const struct {
        const char *name, *value;
        size_t value_len;
    } cases[] = {
        {"X", "a\r\nSet-Cookie: b", 17},
        {"X", "a\nb", 3},
        {"X", "a\rb", 3},
        {"X", "a\0b", 3},
        {"X", "\x1f", 1},
        {"X", "\x7f", 1},
        {"", "a", 1},
        {"X Y", "a", 1},
        {"X:", "a", 1},
        {"X\r\n", "a", 1},
        {"\xc3\xa4", "a", 1},
        {"X\t", "a", 1},
        {"(X)", "a", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = {0};
        buf_append_text(&out, "<");
        CHECK_NOTE("case %zu", i);
        CHECK_EQ_INT(http_response_field(&out, slice_of(cases[i].name), slice_make(cases[i].value, cases[i].value_len)),
                     -EINVAL);
        CHECK_EQ_BUF(out, "<");
        buf_deinit(&out);
    }
}

TEST(names_and_values_are_told_valid) {
    CHECK(http_field_name_valid(slice_of("Content-Type")));
    CHECK(http_field_name_valid(slice_of("!#$%&'*+-.^_`|~09azAZ")));
    CHECK(!http_field_name_valid((struct slice){0}));
    CHECK(http_field_value_valid((struct slice){0}));
    CHECK(http_field_value_valid(slice_of("a\tb \xc3\xa4 ~")));
    CHECK(!http_field_value_valid(slice_of("\n")));
}

TEST(an_error_body_is_json) {
    struct buf out = {0};
    CHECK_EQ_INT(http_error_body(&out, "bad \"x\"\n", NULL), 0);
    CHECK_EQ_INT(http_error_body(&out, "internal error", "1-2"), 0);
    CHECK_EQ_BUF(out, "{\"error\":\"bad \\\"x\\\"\\n\"}{\"error\":\"internal error\",\"request\":\"1-2\"}");
    buf_deinit(&out);
}

/* Everything that writes, into a buffer so full that it has to grow. */
static int write_part(int part, struct buf *out) {
    switch (part) {
    case 0:
        return http_response_begin(out, 404, "Thu, 01 Jan 1970 00:00:00 GMT");
    case 1:
        return http_response_field(out, slice_of("X"), slice_of("y"));
    case 2:
        return http_response_field_text(out, "X", "y");
    case 3:
        return http_response_length(out, 1);
    case 4:
        return http_response_end(out);
    default:
        return http_error_body(out, "some text that takes more than the room there is",
                               "request-identifier-of-some-length");
    }
}

TEST(out_of_memory_writes_nothing) {
    for (int part = 0; part < 6; part++) {
        for (int n = 0;; n++) {
            struct buf out = {0};
            char filler[63];
            memset(filler, 'x', sizeof filler);
            REQUIRE(buf_append(&out, filler, sizeof filler) == 0);
            CHECK_NOTE("part %d, allocation %d", part, n);
            check_alloc_fail_at(n);
            int rc = write_part(part, &out);
            bool reached = check_alloc_disarm();
            CHECK_EQ_INT(rc, reached ? -ENOMEM : 0);
            CHECK(reached ? out.len == sizeof filler : out.len > sizeof filler);
            CHECK(memcmp(out.data, filler, sizeof filler) == 0);
            buf_deinit(&out);
            if (!reached) {
                CHECK(n > 0);
                break;
            }
        }
    }
}

CHECK_MAIN()
