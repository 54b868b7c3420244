/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include <errno.h>

#include "../../core/buf.c"
#include "../../core/sse.c"

#define BYTES(literal)                                                                                                 \
    { literal, sizeof(literal) - 1 }

static const struct slice NONE = {NULL, 0};

/* --- writing ------------------------------------------------------------------------------------ */

static const struct {
    struct slice data;
    struct slice lines;
    struct slice back; /* what a client makes of it */
} DATA_CASES[] = {
    {BYTES(""), BYTES("data: \n"), BYTES("")},
    {BYTES("one"), BYTES("data: one\n"), BYTES("one")},
    {BYTES(" blank first"), BYTES("data:  blank first\n"), BYTES(" blank first")},
    {BYTES("a\nb"), BYTES("data: a\ndata: b\n"), BYTES("a\nb")},
    {BYTES("a\rb"), BYTES("data: a\ndata: b\n"), BYTES("a\nb")},
    {BYTES("a\r\nb"), BYTES("data: a\ndata: b\n"), BYTES("a\nb")},
    {BYTES("a\n\rb"), BYTES("data: a\ndata: \ndata: b\n"), BYTES("a\n\nb")},
    {BYTES("a\r\r\nb\n"), BYTES("data: a\ndata: \ndata: b\ndata: \n"), BYTES("a\n\nb\n")},
    {BYTES("\n"), BYTES("data: \ndata: \n"), BYTES("\n")},
    {BYTES("\r"), BYTES("data: \ndata: \n"), BYTES("\n")},
    {BYTES("\r\n"), BYTES("data: \ndata: \n"), BYTES("\n")},
    {BYTES("\n\n"), BYTES("data: \ndata: \ndata: \n"), BYTES("\n\n")},
    {BYTES("a\r\n"), BYTES("data: a\ndata: \n"), BYTES("a\n")},
    {BYTES("x\0y"), BYTES("data: x\0y\n"), BYTES("x\0y")},
    {BYTES("id: 7\n\nevent: x"), BYTES("data: id: 7\ndata: \ndata: event: x\n"), BYTES("id: 7\n\nevent: x")},
    {BYTES("\xE2\x80\xA8\xC2\x85\v\f"), BYTES("data: \xE2\x80\xA8\xC2\x85\v\f\n"), BYTES("\xE2\x80\xA8\xC2\x85\v\f")},
};

TEST(data_is_split_on_lf_cr_and_crlf) {
    for (size_t i = 0; i < sizeof DATA_CASES / sizeof *DATA_CASES; i++) {
        CHECK_NOTE("case %zu", i);
        struct slice data = DATA_CASES[i].data;
        size_t size = sse_data_size(data);
        CHECK_EQ_INT(size, DATA_CASES[i].lines.len);
        char *out = malloc(size);
        REQUIRE(out != NULL);
        CHECK_EQ_INT(sse_write_data(out, data), size);
        CHECK_EQ_MEM(out, size, DATA_CASES[i].lines.ptr, DATA_CASES[i].lines.len);
        struct buf back = {0};
        CHECK_EQ_INT(sse_read_data(slice_make(out, size), &back), 0);
        CHECK_EQ_MEM(back.data, back.len, DATA_CASES[i].back.ptr, DATA_CASES[i].back.len);
        buf_deinit(&back);
        free(out);
    }
}

TEST(no_data_is_one_empty_line) {
    CHECK_EQ_INT(sse_data_size(NONE), 7);
}

TEST(a_line_end_in_a_field_is_refused) {
    CHECK(sse_field_valid(slice_of("plain: \xE2\x82\xAC")));
    CHECK(sse_field_valid(NONE));
    CHECK(!sse_field_valid(slice_of("a\nb")));
    CHECK(!sse_field_valid(slice_of("a\r")));
    CHECK(!sse_field_valid(slice_make("a\0", 2)));

    struct buf out = {0};
    buf_append_text(&out, "before");
    CHECK_EQ_INT(sse_append_event(&out, slice_of("1\ndata: forged"), NONE, NONE), -EINVAL);
    CHECK_EQ_INT(sse_append_event(&out, NONE, slice_of("x\r"), NONE), -EINVAL);
    CHECK_EQ_INT(sse_append_event(&out, slice_make("\0", 1), NONE, NONE), -EINVAL);
    CHECK_EQ_BUF(out, "before");
    buf_deinit(&out);
}

TEST(an_event_has_only_the_fields_it_was_given) {
    struct buf out = {0};
    CHECK_EQ_INT(sse_append_event(&out, slice_of("5-0"), slice_of("tick"), slice_of("a\nb")), 0);
    CHECK_EQ_INT(sse_append_event(&out, NONE, NONE, slice_of("c")), 0);
    CHECK_EQ_INT(sse_append_event(&out, slice_of(""), NONE, NONE), 0);
    CHECK_EQ_BUF(out, "id: 5-0\nevent: tick\ndata: a\ndata: b\n\ndata: c\n\nid: \ndata: \n\n");
    buf_deinit(&out);
}

TEST(a_comment_is_a_line_for_each_of_its_lines) {
    struct buf out = {0};
    CHECK_EQ_INT(sse_append_comment(&out, NONE), 0);
    CHECK_EQ_INT(sse_append_comment(&out, slice_of("hello")), 0);
    CHECK_EQ_INT(sse_append_comment(&out, slice_of(" a\r\nb\rdata: c")), 0);
    CHECK_EQ_BUF(out, ":\n:hello\n: a\n:b\n:data: c\n");
    buf_deinit(&out);
}

TEST(a_failed_append_leaves_the_buffer_as_it_was) {
    char text[200];
    memset(text, 'x', sizeof text);
    struct slice long_text = slice_make(text, sizeof text);
    for (int which = 0; which < 3; which++) {
        for (int n = 0;; n++) {
            struct buf out = {0};
            buf_append_text(&out, "before");
            check_alloc_fail_at(n);
            int rc = which == 0   ? sse_append_event(&out, long_text, long_text, long_text)
                     : which == 1 ? sse_append_comment(&out, long_text)
                                  : sse_read_data(long_text, &out);
            bool reached = check_alloc_disarm();
            CHECK_EQ_INT(rc, reached ? -ENOMEM : 0);
            if (reached)
                CHECK_EQ_BUF(out, "before");
            buf_deinit(&out);
            if (!reached) {
                CHECK(n > 0);
                break;
            }
        }
    }
}

/* --- reading ------------------------------------------------------------------------------------ */

/* Writes what the parser tells as text: [id|type|data] for an event, <retry>, (comment). */
static void on_event(void *context, struct slice id, struct slice type, struct slice data) {
    struct buf *told = context;
    buf_append_char(told, '[');
    buf_append_slice(told, id);
    buf_append_char(told, '|');
    buf_append_slice(told, type);
    buf_append_char(told, '|');
    buf_append_slice(told, data);
    buf_append_char(told, ']');
}

static void on_retry(void *context, uint64_t ms) {
    buf_appendf(context, "<%llu>", (unsigned long long)ms);
}

static void on_comment(void *context, struct slice text) {
    struct buf *told = context;
    buf_append_char(told, '(');
    buf_append_slice(told, text);
    buf_append_char(told, ')');
}

/* Feeds `input` in pieces that end at `cut` and every `step` bytes after it, each of exactly its size. */
static int feed_in_pieces(struct slice input, size_t cut, size_t step, size_t limit, struct buf *told) {
    struct sse_parser p;
    sse_parser_init(&p, &(struct sse_events){on_event, on_retry, on_comment, told}, limit);
    int rc = 0;
    for (size_t at = 0; !rc && at < input.len;) {
        size_t len = at < cut ? cut - at : step;
        if (len > input.len - at)
            len = input.len - at;
        char *piece = malloc(len);
        if (!piece)
            break;
        memcpy(piece, input.ptr + at, len);
        rc = sse_parser_feed(&p, piece, len);
        free(piece);
        at += len;
    }
    sse_parser_deinit(&p);
    return rc;
}

static const struct {
    const char *name;
    struct slice input;
    const char *told;
} STREAM_CASES[] = {
    {"one event", BYTES("data: hello\n\n"), "[|message|hello]"},
    {"the line ends of the standard", BYTES("data: a\n\ndata: b\r\rdata: c\r\n\r\n"),
     "[|message|a][|message|b][|message|c]"},
    {"line ends mixed in one event", BYTES("data:a\rdata:b\r\ndata:c\n\r"), "[|message|a\nb\nc]"},
    {"CR at the end of an event", BYTES("data:a\r\r"), "[|message|a]"},
    {"LF CR is two line ends", BYTES("data:a\n\rdata:b\n\n"), "[|message|a][|message|b]"},
    {"no event without its blank line", BYTES("data: a\n\ndata: b\n"), "[|message|a]"},
    {"a line without its end", BYTES("data: a\n\ndata: b"), "[|message|a]"},
    {"several data lines", BYTES("data: YHOO\ndata: +2\ndata: 10\n\n"), "[|message|YHOO\n+2\n10]"},
    {"the examples of the standard",
     BYTES(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"),
     "( test stream)[1|message|first event][|message|second event][|message| third event]"},
    {"data without a value", BYTES("data\n\ndata\ndata\n\ndata:"), "[|message|][|message|\n]"},
    {"one blank is removed, not two", BYTES("data:test\n\ndata: test\n\ndata:  test\n\n"),
     "[|message|test][|message|test][|message| test]"},
    {"a tab is not removed", BYTES("data:\ttest\n\n"), "[|message|\ttest]"},
    {"a trailing blank stays", BYTES("data: a \n\n"), "[|message|a ]"},
    {"the type holds for one event", BYTES("event: tick\ndata: a\n\ndata: b\n\n"), "[|tick|a][|message|b]"},
    {"the last type counts", BYTES("event: a\nevent: b\ndata: c\n\n"), "[|b|c]"},
    {"an empty type is message", BYTES("event: a\nevent:\ndata: c\n\n"), "[|message|c]"},
    {"the type is reset where nothing is dispatched", BYTES("event: a\n\ndata: b\n\n"), "[|message|b]"},
    {"an event without data is none", BYTES("event: a\nid: 1\n\n\n\n"), ""},
    {"the id stays", BYTES("id: 1\ndata: a\n\ndata: b\n\n"), "[1|message|a][1|message|b]"},
    {"an id without data counts", BYTES("id: 1\n\ndata: a\n\n"), "[1|message|a]"},
    {"an id that comes after the data", BYTES("data: a\nid: 2\n\n"), "[2|message|a]"},
    {"an empty id takes the id away", BYTES("id: 1\ndata: a\n\nid:\ndata: b\n\nid: 3\ndata: c\n\nid\ndata: d\n\n"),
     "[1|message|a][|message|b][3|message|c][|message|d]"},
    {"an id with NUL is ignored", BYTES("id: 1\nid: 2\0\ndata: a\n\n"), "[1|message|a]"},
    {"an id of an event cut short does not count", BYTES("id: 1\ndata: a\n\nid: 2\n"), "[1|message|a]"},
    {"a retry of digits", BYTES("retry: 1000\nretry:5\n"), "<1000><5>"},
    {"a retry of anything else is ignored",
     BYTES("retry: 10x\nretry: -1\nretry: 1.5\nretry:\nretry\nretry:  7\nretry: 7 \n"), ""},
    {"a retry that is too large", BYTES("retry: 99999999999999999999999\nretry: 00000000000000000000000012\n"),
     "<18446744073709551615><12>"},
    {"a comment", BYTES(":\n: hi\n:data: a\n::\n"), "()( hi)(data: a)(:)"},
    {"a comment inside an event", BYTES("data: a\n: hi\ndata: b\n\n"), "( hi)[|message|a\nb]"},
    {"unknown fields", BYTES("date: a\ndata : b\n data: c\nDATA: d\ndataa: e\ndat: f\nretr: 1\n\n"), ""},
    {"a colon in the value", BYTES("data::a: b\n\n"), "[|message|:a: b]"},
    {"a byte order mark",
     BYTES("\xEF\xBB\xBF"
           "data: a\n\n"),
     "[|message|a]"},
    {"only one byte order mark goes",
     BYTES("\xEF\xBB\xBF\xEF\xBB\xBF"
           "data: a\ndata: b\n\n"),
     "[|message|b]"},
    {"a byte order mark later is no mark",
     BYTES("data: a\n\n\xEF\xBB\xBF"
           "data: b\n\ndata: c\n\n"),
     "[|message|a][|message|c]"},
    {"half a byte order mark",
     BYTES("\xEF\xBB"
           "data: a\n\ndata: b\n\n"),
     "[|message|b]"},
    {"a byte order mark and a line end", BYTES("\xEF\xBB\xBF\n\ndata: a\n\n"), "[|message|a]"},
    {"the first byte of a byte order mark, then a line end", BYTES("\xEF\r\ndata: a\n\n"), "[|message|a]"},
    {"a blank line first", BYTES("\r\n\r\ndata: a\r\n\r\n"), "[|message|a]"},
    {"UTF-8", BYTES("event: \xC3\xA9\ndata: \xE2\x82\xAC\xF0\x9F\x98\x80\n\n"),
     "[|\xC3\xA9|\xE2\x82\xAC\xF0\x9F\x98\x80]"},
    {"a client sees no line end in the other separators",
     BYTES("data: a\xE2\x80\xA8"
           "b\v\f\xC2\x85\n\n"),
     "[|message|a\xE2\x80\xA8"
     "b\v\f\xC2\x85]"},
};

static void check_told(struct slice input, size_t cut, size_t step, const char *want) {
    struct buf told = {0};
    CHECK_EQ_INT(feed_in_pieces(input, cut, step, 1000, &told), 0);
    CHECK_EQ_MEM(told.len ? told.data : "", told.len, want, strlen(want));
    buf_deinit(&told);
}

TEST(streams_are_read_as_the_standard_says) {
    for (size_t i = 0; i < sizeof STREAM_CASES / sizeof *STREAM_CASES; i++) {
        CHECK_NOTE("%s", STREAM_CASES[i].name);
        check_told(STREAM_CASES[i].input, 0, STREAM_CASES[i].input.len, STREAM_CASES[i].told);
    }
}

TEST(streams_may_be_cut_anywhere) {
    for (size_t i = 0; i < sizeof STREAM_CASES / sizeof *STREAM_CASES; i++) {
        struct slice input = STREAM_CASES[i].input;
        for (size_t step = 1; step <= 3; step++) {
            CHECK_NOTE("%s, pieces of %zu", STREAM_CASES[i].name, step);
            check_told(input, 0, step, STREAM_CASES[i].told);
        }
        for (size_t cut = 1; cut < input.len; cut++) {
            CHECK_NOTE("%s, cut at %zu", STREAM_CASES[i].name, cut);
            check_told(input, cut, input.len, STREAM_CASES[i].told);
        }
    }
}

TEST(an_empty_piece_changes_nothing) {
    struct buf told = {0};
    struct sse_parser p;
    sse_parser_init(&p, &(struct sse_events){on_event, NULL, NULL, &told}, 100);
    CHECK_EQ_INT(sse_parser_feed(&p, NULL, 0), 0);
    CHECK_EQ_INT(sse_parser_feed(&p, "data: a\r", 8), 0);
    CHECK_EQ_INT(sse_parser_feed(&p, NULL, 0), 0);
    CHECK_EQ_INT(sse_parser_feed(&p, "\n", 1), 0);
    CHECK_EQ_INT(told.len, 0);
    CHECK_EQ_INT(sse_parser_feed(&p, ": no one listens\nretry: 5\n\r", 28), 0);
    CHECK_EQ_BUF(told, "[|message|a]");
    sse_parser_deinit(&p);
    buf_deinit(&told);
}

TEST(what_is_written_is_read_back) {
    for (size_t i = 0; i < sizeof DATA_CASES / sizeof *DATA_CASES; i++) {
        CHECK_NOTE("case %zu", i);
        struct buf stream = {0}, told = {0}, want = {0};
        CHECK_EQ_INT(sse_append_event(&stream, slice_of("7-1"), slice_of(" type"), DATA_CASES[i].data), 0);
        CHECK_EQ_INT(feed_in_pieces(buf_slice(&stream), 0, 1, 1000, &told), 0);
        buf_append_text(&want, "[7-1| type|");
        buf_append_slice(&want, DATA_CASES[i].back);
        buf_append_char(&want, ']');
        CHECK_EQ_MEM(told.data, told.len, want.data, want.len);
        buf_deinit(&stream);
        buf_deinit(&told);
        buf_deinit(&want);
    }
}

TEST(lines_and_data_are_bounded) {
    static const struct {
        const char *input;
        int rc;
    } CASES[] = {
        {"data:56789\n\n", 0},
        {"data:56789a\n", -EMSGSIZE},
        {"data:56789a", -EMSGSIZE},
        {":123456789\n:123456789\n", 0},
        {":123456789a\n", -EMSGSIZE},
        {"data:56789\ndata:6789\n\n", 0},          /* 5 + 1 + 4 bytes of data */
        {"data:56789\ndata:56789\n\n", -EMSGSIZE}, /* 11 */
        {"data\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\n\n", 0},
        {"data\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\n\n", -EMSGSIZE},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        for (size_t step = 1; step <= 100; step += 33) {
            CHECK_NOTE("case %zu, pieces of %zu", i, step);
            struct buf told = {0};
            CHECK_EQ_INT(feed_in_pieces(slice_of(CASES[i].input), 0, step, 10, &told), CASES[i].rc);
            buf_deinit(&told);
        }
    }
}

TEST(a_parser_without_memory_says_so) {
    static const char INPUT[] = "\xEF\xBB\xBFid: 1\nevent: a\ndata: b\ndata: c\n\n";
    int n = 0;
    for (bool reached = true; reached; n++) {
        struct buf told = {0};
        REQUIRE(buf_reserve(&told, 100) == 0);
        struct sse_parser p;
        sse_parser_init(&p, &(struct sse_events){on_event, on_retry, on_comment, &told}, 100);
        check_alloc_fail_at(n);
        int rc = 0;
        for (size_t at = 0; !rc && at < sizeof INPUT - 1; at++)
            rc = sse_parser_feed(&p, INPUT + at, 1);
        reached = check_alloc_disarm();
        CHECK_EQ_INT(rc, reached ? -ENOMEM : 0);
        sse_parser_deinit(&p);
        buf_deinit(&told);
    }
    CHECK(n > 4); /* line, data, type and both ids */
}

CHECK_MAIN()
