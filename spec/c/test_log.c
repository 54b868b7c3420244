/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_random.h"

#include <stdlib.h>

#include "../../core/json.h"
#include "../../core/log.c"

enum { LINE_MAX_BYTES = 16 * 1024 };

static char line[LINE_MAX_BYTES + 1];
static size_t line_len;
static int lines;

static void sink(void *context, const char *text, size_t len) {
    (void)context;
    lines++;
    line_len = len;
    if (len > LINE_MAX_BYTES)
        abort();
    memcpy(line, text, len);
    line[len] = '\0';
}

static struct log make(enum log_format format) {
    struct log log;
    log_init(&log);
    atomic_store(&log.level, LOG_DEBUG);
    atomic_store(&log.format, format);
    log.sink = sink;
    lines = 0;
    line[0] = '\0';
    return log;
}

/* Reads the record as JSON. Returns its message, or NULL where it is none. */
static const char *json_message(struct buf *out) {
    struct json_reader r;
    struct json_value value;
    struct slice key;
    int members = 0;
    out->len = 0;
    if (line_len == 0 || line[line_len - 1] != '\n')
        return NULL;
    json_open(&r, slice_make(line, line_len));
    if (json_enter(&r, &value) != 0 || value.type != JSON_OBJECT)
        return NULL;
    for (bool first = true; json_next(&r, true, first, &key) == 1; first = false) {
        if (json_read(&r, &value) != 0)
            return NULL;
        if (slice_is(key, "\"message\""))
            json_unescape(value.text, out);
        members++;
    }
    buf_append_char(out, '\0');
    return json_close(&r) == 0 && members == 4 ? out->data : NULL;
}

TEST(a_text_record_has_time_level_area_and_text) {
    struct log log = make(LOG_TEXT);
    log_write(&log, LOG_WARN, "http", "%s is %d", "it", 5);
    CHECK_EQ_INT(lines, 1);
    CHECK_EQ_INT(line_len, strlen(line));
    CHECK_EQ_INT(strspn(line, "0123456789-T:.Z"), 24);
    CHECK_EQ_STR(line + 24, " warn http: it is 5\n");
}

TEST(what_is_below_the_level_is_not_written) {
    struct log log = make(LOG_TEXT);
    for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
        atomic_store(&log.level, level);
        lines = 0;
        for (int at = LOG_DEBUG; at <= LOG_ERROR; at++) {
            log_write(&log, (enum log_level)at, "a", "x");
            CHECK(log_enabled(&log, (enum log_level)at) == (at >= level));
        }
        CHECK_EQ_INT(lines, LOG_ERROR - level + 1);
    }
}

TEST(levels_are_read_by_name) {
    CHECK_EQ_INT(log_level_parse("debug"), LOG_DEBUG);
    CHECK_EQ_INT(log_level_parse("info"), LOG_INFO);
    CHECK_EQ_INT(log_level_parse("warn"), LOG_WARN);
    CHECK_EQ_INT(log_level_parse("error"), LOG_ERROR);
    CHECK_EQ_INT(log_level_parse("Error"), -EINVAL);
    CHECK_EQ_INT(log_level_parse(""), -EINVAL);
    CHECK_EQ_INT(log_level_parse("warning"), -EINVAL);
}

TEST(a_record_is_one_line_whatever_is_in_it) {
    struct log log = make(LOG_TEXT);
    log_write(&log, LOG_INFO, "a", "%s", "one\ntwo\r\n\tthree\x1b[31m\x7f\x01 \"q\" \\");
    CHECK_EQ_STR(line + 24, " info a: one\\ntwo\\r\\n\\tthree\\x1b[31m\\x7f\\x01 \"q\" \\\n");
}

TEST(json_records_are_json) {
    struct log log = make(LOG_JSON);
    struct buf message = {0};
    log_write(&log, LOG_ERROR, "policy", "%s", "say \"hi\" \\ \n\r\t\x01\x7f caf\xc3\xa9 \xf0\x9f\x98\x80");
    CHECK_EQ_STR(json_message(&message), "say \"hi\" \\ \n\r\t\x01\x7f caf\xc3\xa9 \xf0\x9f\x98\x80");
    CHECK(strstr(line, "\"level\":\"error\",\"area\":\"policy\",\"message\":\"") != NULL);
    buf_deinit(&message);
}

/* Text of any bytes: what came from a client, or the middle of a character that was cut. */
TEST(json_records_are_json_for_any_bytes) {
    static const unsigned char BYTES[] = {'a',  '"',  '\\', '\n', 1,    0x7f, 0x80, 0xc3, 0xa9,
                                          0xe2, 0x82, 0xac, 0xed, 0xa0, 0xf0, 0x9f, 0x98, 0xff};
    struct log log = make(LOG_JSON);
    struct buf message = {0};
    struct check_random r = check_random_of(9);
    for (int i = 0; i < 2000; i++) {
        char text[60];
        size_t len = check_random_below(&r, sizeof text);
        for (size_t j = 0; j < len; j++)
            text[j] = (char)BYTES[check_random_below(&r, sizeof BYTES)];
        text[len < sizeof text ? len : sizeof text - 1] = '\0';
        log_write(&log, LOG_ERROR, "policy", "%s", text);
        CHECK_NOTE("round %d", i);
        REQUIRE(json_message(&message) != NULL);
    }
    buf_deinit(&message);
}

/* Fills a record with `size` bytes of `fill`, behind `lead` others; checks that it is bounded, one line, and says that
 * it was cut. */
static void check_cut(enum log_format format, const char *fill, size_t lead, size_t size) {
    char text[20000];
    struct buf message = {0};
    size_t step = strlen(fill), len = lead;
    memset(text, 'l', lead);
    for (; len + step < size; len += step)
        memcpy(text + len, fill, step);
    text[len] = '\0';
    struct log log = make(format);
    log_write(&log, LOG_INFO, "a", "%s", text);
    CHECK_EQ_INT(lines, 1);
    CHECK(line_len <= LOG_LINE_BYTES);
    CHECK_EQ_INT(strlen(line), line_len);
    CHECK(strchr(line, '\n') == line + line_len - 1);
    if (format == LOG_JSON) {
        const char *read = json_message(&message);
        CHECK(read != NULL);
        CHECK(read && strlen(read) > 1000 && strcmp(read + strlen(read) - 3, "...") == 0);
    } else {
        CHECK_EQ_STR(line + line_len - 4, "...\n");
    }
    buf_deinit(&message);
}

TEST(a_record_that_is_too_long_is_cut_and_says_so) {
    static const char *const FILLS[] = {"x",   "\n", "\x01", "\"", "\\", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                        "\x7f"};
    for (size_t i = 0; i < sizeof FILLS / sizeof *FILLS; i++) {
        for (size_t lead = 0; lead < 8; lead++) {
            CHECK_NOTE("fill %zu, lead %zu, text", i, lead);
            check_cut(LOG_TEXT, FILLS[i], lead, 20000);
            CHECK_NOTE("fill %zu, lead %zu, JSON", i, lead);
            check_cut(LOG_JSON, FILLS[i], lead, 20000);
        }
    }
    CHECK_NOTE("what is too long only when escaped");
    check_cut(LOG_TEXT, "\x01", 0, 4000);
    check_cut(LOG_JSON, "\x01", 0, 4000);
}

TEST(a_record_that_just_fits_is_whole) {
    static char text[LOG_TEXT_BYTES];
    struct log log = make(LOG_TEXT);
    memset(text, 'x', sizeof text - 1);
    log_write(&log, LOG_INFO, "a", "%s", text);
    CHECK_EQ_INT(strspn(line + 33, "x"), sizeof text - 1);
    CHECK(strstr(line, "...") == NULL);
}

static void write_fields(struct log *log, struct slice value) {
    struct log_field fields[] = {{"plain", slice_of("a/b?c"), false}, {"count", slice_of("12.5"), true}, {"value", value, false}};
    log_record(log, LOG_INFO, "area", "what was", fields, 3);
}

TEST(fields_stand_behind_the_message_quoted_where_they_must) {
    struct log log = make(LOG_TEXT);
    static const struct {
        const char *value, *text;
    } CASES[] = {
        {"simple", " value=simple\n"},       {"", " value=\"\"\n"},
        {"two words", " value=\"two words\"\n"}, {"a=b", " value=\"a=b\"\n"},
        {"say \"hi\"\\", " value=\"say \\\"hi\\\"\\\\\"\n"}, {"line\r\nnext", " value=\"line\\r\\nnext\"\n"},
        {"\033[31m", " value=\"\\u001b[31m\"\n"}, {"\xff", " value=\"\\ufffd\"\n"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].value);
        write_fields(&log, slice_of(CASES[i].value));
        const char *at = strstr(line, "info area: what was plain=a/b?c count=12.5");
        REQUIRE(at != NULL);
        CHECK_EQ_STR(at + strlen("info area: what was plain=a/b?c count=12.5"), CASES[i].text);
        CHECK_EQ_INT(strcspn(line, "\n"), line_len - 1);
    }
}

TEST(fields_are_members_in_json_and_numbers_numbers) {
    struct log log = make(LOG_JSON);
    write_fields(&log, slice_of("a \"b\"\n"));
    CHECK(strstr(line, ",\"message\":\"what was\",\"plain\":\"a/b?c\",\"count\":12.5,\"value\":\"a \\\"b\\\"\\n\"}\n") != NULL);
}

/* Whatever the values are: one line, and JSON. */
TEST(records_with_long_or_wild_fields_are_one_whole_line) {
    static char bytes[3 * LOG_FIELD_BYTES];
    struct check_random random = {7};
    for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
        struct log log = make((enum log_format)format);
        for (int round = 0; round < 400; round++) {
            struct log_field fields[8];
            for (size_t i = 0; i < sizeof bytes; i++)
                bytes[i] = round % 2 ? (char)check_random_next(&random) : "\x01\"\\ \n="[check_random_next(&random) % 6];
            for (size_t i = 0; i < 8; i++)
                fields[i] = (struct log_field){"field", slice_make(bytes, check_random_next(&random) % sizeof bytes), false};
            log_record(&log, LOG_INFO, "area", "m", fields, 8);
            CHECK(line_len > 0 && line_len < LOG_LINE_BYTES);
            CHECK_EQ_INT(strcspn(line, "\n"), line_len - 1);
            if (format == LOG_JSON) {
                struct json_reader r;
                struct json_value value;
                json_open(&r, slice_make(line, line_len));
                CHECK_EQ_INT(json_read(&r, &value), 0);
                CHECK_EQ_INT(json_close(&r), 0);
            }
        }
    }
}

TEST(settings_change_while_it_is_in_use) {
    struct log log = make(LOG_TEXT);
    log_set(&log, &(struct log_settings){LOG_ERROR, LOG_JSON, true, true});
    CHECK(!log_enabled(&log, LOG_WARN));
    log_write(&log, LOG_ERROR, "a", "x");
    CHECK_EQ_INT(line[0], '{');
    CHECK(atomic_load(&log.access) && atomic_load(&log.frames));
}

CHECK_MAIN()
