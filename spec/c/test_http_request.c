/* SPDX-License-Identifier: MIT */
/* What a request that is accepted says, and how it is read, reset and released. */
#include "http_feed.h"

TEST(a_request_is_read_whole) {
    struct http_request r;
    struct slice name, value;
    setup(&r);
    const char *raw = "POST /a/b%20c?x=1&y=?2 HTTP/1.1\r\nHost: a.example:8080\r\nX-Empty:\r\nX-Blank: \t v w \t \r\n"
                      "content-LENGTH: 5\r\n\r\nhelloGET /";
    size_t used;
    int continues;
    REQUIRE(feed(&r, raw, strlen(raw), strlen(raw), 1, &used, &continues) == HTTP_DONE);
    CHECK_EQ_INT(used, strlen(raw) - strlen("GET /"));
    CHECK_EQ_INT(continues, 0);
    CHECK_EQ_INT(r.method, HTTP_POST);
    CHECK_EQ_SLICE(r.method_name, "POST");
    CHECK_EQ_SLICE(r.target, "/a/b%20c?x=1&y=?2");
    CHECK_EQ_SLICE(r.path, "/a/b%20c");
    CHECK_EQ_SLICE(r.query, "x=1&y=?2");
    CHECK_EQ_SLICE(r.host, "a.example:8080");
    CHECK_EQ_INT(r.minor, 1);
    CHECK(r.keep_alive);
    CHECK_EQ_BUF(r.body, "hello");
    CHECK_EQ_INT(http_request_field_count(&r), 4);
    http_request_field_at(&r, 2, &name, &value);
    CHECK_EQ_SLICE(name, "X-Blank");
    CHECK_EQ_SLICE(value, "v w");
    CHECK(http_request_field(&r, "x-empty", &value) && value.len == 0);
    CHECK(http_request_field(&r, "Content-Length", &value));
    CHECK_EQ_SLICE(value, "5");
    CHECK(!http_request_field(&r, "x-none", &value));
    http_request_deinit(&r);
}

TEST(methods_are_told_apart) {
    static const struct {
        const char *name;
        enum http_method method;
    } known[] = {{"GET", HTTP_GET},        {"HEAD", HTTP_HEAD},      {"POST", HTTP_POST},        {"PUT", HTTP_PUT},
                 {"DELETE", HTTP_DELETE},  {"PATCH", HTTP_PATCH},    {"OPTIONS", HTTP_OPTIONS},  {"TRACE", HTTP_OTHER},
                 {"PROPFIND", HTTP_OTHER}, {"M-SEARCH", HTTP_OTHER}, {"UNSUBSCRIBE", HTTP_OTHER}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct http_request r;
        char raw[100];
        setup(&r);
        snprintf(raw, sizeof raw, "%s / HTTP/1.1\r\n" H "\r\n", known[i].name);
        CHECK_NOTE("%s", known[i].name);
        CHECK_EQ_INT(feed_text(&r, raw), HTTP_DONE);
        CHECK_EQ_INT(r.method, known[i].method);
        CHECK_EQ_SLICE(r.method_name, known[i].name);
        http_request_deinit(&r);
    }
}

static void check_target(const char *line, const char *path, const char *query, const char *host) {
    struct http_request r;
    char raw[300];
    setup(&r);
    snprintf(raw, sizeof raw, "%s HTTP/1.1\r\n" H "\r\n", line);
    CHECK_NOTE("%s", line);
    CHECK_EQ_INT(feed_text(&r, raw), HTTP_DONE);
    CHECK_EQ_SLICE(r.path, path);
    CHECK_EQ_SLICE(r.query, query);
    CHECK_EQ_SLICE(r.host, host);
    http_request_deinit(&r);
}

TEST(targets_are_split) {
    check_target("GET /", "/", "", "a.example");
    check_target("GET /?", "/", "", "a.example");
    check_target("GET //x//y/../?a?b", "//x//y/../", "a?b", "a.example");
    check_target("GET /%zz%", "/%zz%", "", "a.example"); /* as sent: who decodes it refuses it */
    check_target("GET /a|b{c}\"d^`\\<>[];:@", "/a|b{c}\"d^`\\<>[];:@", "", "a.example");
    check_target("OPTIONS *", "*", "", "a.example");
    check_target("GET http://b.example", "/", "", "b.example");
    check_target("GET HTTP://b.example:8080/p?q", "/p", "q", "b.example:8080");
    check_target("GET https://b.example?q", "/", "q", "b.example");
    check_target("GET http://[::1]:80/", "/", "", "[::1]:80");
    check_target("GET http://b.example/http://c@d/", "/http://c@d/", "", "b.example");
}

TEST(chunks_are_joined_and_trailers_never_merged) {
    static const char raw[] = POST_CHUNKED "5;x=y\r\nhello\r\n1\r\n \r\n05\r\nwor\0d\r\n0\r\n"
                                           "X-Trailer: a\r\nHost: evil\r\nCookie: a=b\r\n\r\n";
    size_t len = sizeof raw - 1;
    for (size_t piece = 1; piece < 8; piece++) {
        struct http_request r;
        struct slice value;
        size_t used;
        int continues;
        setup(&r);
        CHECK_NOTE("pieces of %zu", piece);
        CHECK_EQ_INT(feed(&r, raw, len, 0, piece, &used, &continues), HTTP_DONE);
        CHECK_EQ_INT(used, len);
        CHECK_EQ_MEM(r.body.data, r.body.len, "hello wor\0d", 11);
        CHECK_EQ_INT(http_request_field_count(&r), 2);
        CHECK(!http_request_field(&r, "X-Trailer", &value));
        CHECK(!http_request_cookie(&r, slice_of("a"), &value));
        CHECK_EQ_SLICE(r.host, "a.example");
        http_request_deinit(&r);
    }
}

TEST(one_hundred_continue_is_said_once_before_the_body) {
    static const char *const heads[] = {"POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n",
                                        "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\n" TE "\r\n"};
    static const char *const bodies[] = {"hello", "5\r\nhello\r\n0\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        char raw[200];
        struct http_request r;
        size_t used, consumed;
        int continues;
        setup(&r);
        int len = snprintf(raw, sizeof raw, "%s%s", heads[i], bodies[i]);
        CHECK_EQ_INT(http_request_feed(&r, raw, (size_t)len, &consumed), HTTP_CONTINUE);
        CHECK_EQ_INT(consumed, strlen(heads[i]));
        CHECK(http_request_head_done(&r));
        CHECK_EQ_SLICE(r.path, "/");
        CHECK_EQ_INT(http_request_feed(&r, raw, 0, &consumed), HTTP_MORE);
        CHECK_EQ_INT(feed_text(&r, bodies[i]), HTTP_DONE);
        CHECK_EQ_BUF(r.body, "hello");
        http_request_reset(&r);
        CHECK_EQ_INT(feed(&r, raw, (size_t)len, 0, 1, &used, &continues), HTTP_DONE);
        CHECK_EQ_INT(continues, 1);
        http_request_deinit(&r);
    }
    static const char *const others[] = {"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
                                         "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
                                         "GET / HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n",
                                         "POST / HTTP/1.1\r\n" H "Expect:\r\nContent-Length: 5\r\n\r\nhello"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct http_request r;
        size_t used, len = strlen(others[i]);
        int continues;
        CHECK_NOTE("none for %zu", i);
        setup(&r);
        CHECK_EQ_INT(feed(&r, others[i], len, len, len, &used, &continues), HTTP_DONE);
        CHECK_EQ_INT(continues, 0);
        http_request_deinit(&r);
    }
}

TEST(keep_alive_follows_version_and_connection) {
    static const struct {
        const char *raw;
        bool keep_alive;
    } cases[] = {{"GET / HTTP/1.1\r\n" H "\r\n", true},
                 {"GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", false},
                 {"GET / HTTP/1.1\r\n" H "Connection: x, CLOSE ,y\r\n\r\n", false},
                 {"GET / HTTP/1.1\r\n" H "Connection: closed\r\n\r\n", true},
                 {"GET / HTTP/1.1\r\n" H "Connection: x\r\nConnection: close\r\n\r\n", false},
                 {"GET / HTTP/1.1\r\n" H "Connection: keep-alive, close\r\n\r\n", false},
                 {"GET / HTTP/1.0\r\n\r\n", false},
                 {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
                 {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_request r;
        setup(&r);
        CHECK_NOTE("%s", cases[i].raw);
        CHECK_EQ_INT(feed_text(&r, cases[i].raw), HTTP_DONE);
        CHECK_EQ_INT(r.keep_alive, cases[i].keep_alive);
        http_request_deinit(&r);
    }
}

TEST(pipelined_requests_are_read_one_by_one) {
    static const char raw[] =
        "GET /1 HTTP/1.1\r\n" H "\r\n\r\n\r\nPOST /2 HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc" POST_CHUNKED
        "1\r\nx\r\n0\r\n\r\nGET /4 HTTP/1.1\r\n" H "Connection: close\r\n\r\nGET /5 HTTP/1.1\r\n" H "\r\n";
    static const char *const targets[] = {"/1", "/2", "/", "/4", "/5"};
    static const char *const bodies[] = {"", "abc", "x", "", ""};
    for (size_t piece = 1; piece < sizeof raw; piece++) {
        struct http_request r;
        size_t at = 0, used;
        int continues;
        setup(&r);
        for (size_t i = 0; i < 5; i++) {
            CHECK_NOTE("request %zu, pieces of %zu", i, piece);
            CHECK_EQ_INT(feed(&r, raw + at, sizeof raw - 1 - at, 0, piece, &used, &continues), HTTP_DONE);
            CHECK_EQ_SLICE(r.target, targets[i]);
            CHECK_EQ_BUF(r.body, bodies[i]);
            CHECK_EQ_INT(r.keep_alive, i != 3);
            at += used;
            http_request_reset(&r);
        }
        CHECK_EQ_INT(at, sizeof raw - 1);
        http_request_deinit(&r);
    }
}

TEST(started_and_head_done_tell_the_timeouts_apart) {
    struct http_request r;
    setup(&r);
    CHECK(!http_request_started(&r));
    feed_text(&r, "\r\n\r");
    CHECK(!http_request_started(&r));
    feed_text(&r, "\n");
    CHECK(!http_request_started(&r));
    feed_text(&r, "P");
    CHECK(http_request_started(&r) && !http_request_head_done(&r));
    feed_text(&r, "OST / HTTP/1.1\r\n" H "Content-Length: 2\r\n\r");
    CHECK(!http_request_head_done(&r));
    CHECK_EQ_INT(http_request_field_count(&r), 0);
    feed_text(&r, "\n");
    CHECK(http_request_started(&r) && http_request_head_done(&r));
    CHECK_EQ_INT(feed_text(&r, "a"), HTTP_MORE);
    CHECK_EQ_INT(feed_text(&r, "b"), HTTP_DONE);
    http_request_reset(&r);
    CHECK(!http_request_started(&r) && !http_request_head_done(&r));
    http_request_deinit(&r);
}

TEST(a_reset_keeps_ordinary_memory_and_frees_the_rest) {
    struct http_limits large = {.header_bytes = 100000, .target_bytes = 256, .body_bytes = 100000};
    struct http_request r;
    REQUIRE(http_request_init(&r, &large) == 0);
    struct buf b = filled("POST / HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\n", 1000, "a", "");
    CHECK_EQ_INT(feed_whole(&r, b.data, b.len), HTTP_DONE);
    char *head = r.parser->scan.head.data, *body = r.body.data;
    http_request_reset(&r);
    CHECK(r.parser->scan.head.data == head && r.body.data == body && r.body.len == 0 && r.status == 0);
    CHECK_EQ_INT(feed_whole(&r, b.data, b.len), HTTP_DONE);
    CHECK(r.parser->scan.head.data == head && r.body.data == body);
    buf_deinit(&b);
    http_request_reset(&r);
    b = filled("POST / HTTP/1.1\r\n" H "Content-Length: 50000\r\nX: ", 50000, "a", "\r\n\r\n");
    CHECK_EQ_INT(feed_whole(&r, b.data, b.len), HTTP_MORE);
    CHECK_EQ_INT(feed_whole(&r, b.data + 1000, 50000), HTTP_DONE);
    CHECK(r.parser->scan.head.cap > 50000 && r.body.cap >= 50000);
    http_request_reset(&r);
    CHECK(!r.parser->scan.head.data && !r.body.data);
    CHECK_EQ_INT(feed_text(&r, "GET / HTTP/1.0\r\n\r\n"), HTTP_DONE);
    buf_deinit(&b);
    http_request_deinit(&r);
}

TEST(the_body_can_be_taken) {
    struct http_request r;
    size_t len;
    setup(&r);
    CHECK_EQ_INT(feed_text(&r, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello"), HTTP_DONE);
    char *body = buf_take(&r.body, &len);
    CHECK_EQ_MEM(body, len, "hello", 5);
    http_request_reset(&r);
    CHECK_EQ_INT(feed_text(&r, POST_CHUNKED "1\r\nx\r\n0\r\n\r\n"), HTTP_DONE);
    CHECK_EQ_BUF(r.body, "x");
    free(body);
    http_request_deinit(&r);
}

TEST(a_refusal_is_forgotten_by_a_reset) {
    struct http_request r;
    setup(&r);
    CHECK_EQ_INT(feed_text(&r, POST_CHUNKED "1\r\nx\r\n0\r\nX: a\n"), HTTP_FAILED);
    http_request_reset(&r);
    CHECK_EQ_INT(feed_text(&r, "\x16"), HTTP_FAILED);
    http_request_reset(&r);
    CHECK_EQ_INT(r.status, 0);
    CHECK(r.reason == NULL);
    CHECK_EQ_INT(feed_text(&r, "GET / HTTP/1.1\r\n" H "\r\n"), HTTP_DONE);
    http_request_deinit(&r);
}

TEST(the_request_may_be_moved_between_reads) {
    struct http_request first, second;
    setup(&first);
    CHECK_EQ_INT(feed_text(&first, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhe"), HTTP_MORE);
    second = first;
    memset(&first, 0, sizeof first);
    CHECK_EQ_INT(feed_text(&second, "llo"), HTTP_DONE);
    CHECK_EQ_BUF(second.body, "hello");
    http_request_deinit(&second);
}

TEST(out_of_memory_is_503) {
    static const char *const raws[] = {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello",
                                       POST_CHUNKED "5\r\nhello\r\n0\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        struct http_request r;
        for (int n = 0;; n++) {
            CHECK_NOTE("request %zu, allocation %d", i, n);
            check_alloc_fail_at(n);
            int rc = http_request_init(&r, &limits);
            enum http_result result = rc ? HTTP_FAILED : feed_text(&r, raws[i]);
            bool reached = check_alloc_disarm();
            CHECK_EQ_INT(rc, reached && n == 0 ? -ENOMEM : 0);
            CHECK_EQ_INT(result, reached ? HTTP_FAILED : HTTP_DONE);
            if (reached && n > 0)
                CHECK_EQ_INT(r.status, 503);
            http_request_deinit(&r);
            if (!reached) {
                CHECK_EQ_INT(n, 3); /* parser, head, body */
                break;
            }
        }
    }
}

TEST(fields_are_joined) {
    struct http_request r;
    struct buf out = {0};
    struct slice value;
    setup(&r);
    CHECK_EQ_INT(feed_text(&r, "GET / HTTP/1.1\r\n" H "A: 1\r\na: \r\nB: x\r\nA: 2, 3\r\n\r\n"), HTTP_DONE);
    CHECK(http_request_field(&r, "A", &value));
    CHECK_EQ_SLICE(value, "1");
    buf_append_text(&out, "<");
    CHECK_EQ_INT(http_request_field_join(&r, "a", &out), 0);
    CHECK_EQ_BUF(out, "<1, , 2, 3");
    CHECK_EQ_INT(http_request_field_join(&r, "c", &out), -ENOENT);
    CHECK_EQ_BUF(out, "<1, , 2, 3");
    buf_deinit(&out);
    check_alloc_fail_at(0);
    CHECK_EQ_INT(http_request_field_join(&r, "a", &out), -ENOMEM);
    CHECK(check_alloc_disarm());
    CHECK_EQ_INT(out.len, 0);
    http_request_deinit(&r);
}

TEST(cookies_are_found) {
    struct http_request r;
    setup(&r);
    CHECK_EQ_INT(feed_text(&r, "GET / HTTP/1.1\r\n" H
                               "Cookie: a=1; b=\"x y\"; c ; =d; e=f=g;h=;a=2\r\nX: z=1\r\nCookie: z=\";\"\r\n\r\n"),
                 HTTP_DONE);
    static const struct {
        const char *name, *value;
    } cases[] = {{"a", "1"}, {"b", "x y"}, {"c", NULL}, {"e", "f=g"}, {"h", ""},
                 {"z", ";"}, {"A", NULL},  {"x", NULL}, {"", "d"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slice value;
        CHECK_NOTE("cookie %s", cases[i].name);
        bool found = http_request_cookie(&r, slice_of(cases[i].name), &value);
        CHECK_EQ_INT(found, cases[i].value != NULL);
        if (found && cases[i].value)
            CHECK_EQ_SLICE(value, cases[i].value);
    }
    http_request_deinit(&r);
}

CHECK_MAIN()
