/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include <errno.h>
#include <locale.h>
#include <math.h>

#include "../../core/buf.c"
#include "../../core/json.c"

struct text_case {
    const char *name;
    struct slice text;
};

#define TEXT(name, literal)                                                                                            \
    {                                                                                                                  \
        name, {                                                                                                        \
            literal, sizeof(literal) - 1                                                                               \
        }                                                                                                              \
    }

static const struct text_case ACCEPTED[] = {
    TEXT("a number", "42"),
    TEXT("zero", "0"),
    TEXT("minus zero", "-0"),
    TEXT("a fraction", "-1.25"),
    TEXT("zero with a fraction", "0.0001"),
    TEXT("an exponent", "1e10"),
    TEXT("a capital exponent with plus", "1E+2"),
    TEXT("a zero exponent with minus", "0e-0"),
    TEXT("a fraction and an exponent", "12.50e03"),
    TEXT("many digits", "123456789012345678901234567890.12345678901234567890"),
    TEXT("true", "true"),
    TEXT("false", "false"),
    TEXT("null", "null"),
    TEXT("an empty string", "\"\""),
    TEXT("a space", "\" \""),
    TEXT("all short escapes", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    TEXT("a hex escape of either case", "\"\\u00e9\\u00C9\""),
    TEXT("an escaped NUL", "\"\\u0000\""),
    TEXT("an escaped pair of surrogates", "\"\\ud83d\\ude00\""),
    TEXT("the last pair of surrogates", "\"\\uDBFF\\uDFFF\""),
    TEXT("a noncharacter", "\"\\uFFFF\""),
    TEXT("DEL", "\"\x7f\""),
    TEXT("two bytes of UTF-8", "\"\xC3\xA9\""),
    TEXT("three bytes of UTF-8", "\"\xE2\x82\xAC\""),
    TEXT("the first and last around the surrogates", "\"\xED\x9F\xBF\xEE\x80\x80\""),
    TEXT("four bytes of UTF-8", "\"\xF0\x9F\x98\x80\""),
    TEXT("the greatest code point", "\"\xF4\x8F\xBF\xBF\""),
    TEXT("line separators", "\"\xE2\x80\xA8\xE2\x80\xA9\""),
    TEXT("an empty array", "[]"),
    TEXT("an empty array with a blank", "[ ]"),
    TEXT("an array of everything", "[null, true, false, 1, \"a\", [], {}]"),
    TEXT("blanks of all kinds", " \t\r\n[ \t\r\n1 \t\r\n, \t\r\n2 \t\r\n] \t\r\n"),
    TEXT("an empty object", "{}"),
    TEXT("an empty object with a blank", "{ \n}"),
    TEXT("an object", "{\"a\" : 1 , \"b\":[{\"c\":{}}]}"),
    TEXT("an empty name", "{\"\":0}"),
    TEXT("a name with escapes", "{\"\\u0061\\n\":0}"),
    TEXT("a repeated name", "{\"a\":1,\"a\":2}"),
    TEXT("arrays in a row", "[[],[[]],[[],[]]]"),
};

static const struct text_case REFUSED[] = {
    TEXT("nothing", ""),
    TEXT("blanks only", " \n"),
    TEXT("a byte order mark", "\xEF\xBB\xBF[]"),
    TEXT("a vertical tab as blank", "\v1"),
    TEXT("a form feed as blank", "[\f1]"),
    TEXT("a no-break space", "[\xC2\xA0]"),
    TEXT("a comment", "/* */1"),
    TEXT("text after the value", "1 2"),
    TEXT("a bracket after the value", "[]]"),
    TEXT("NUL after the value", "1\0"),
    TEXT("a leading zero", "01"),
    TEXT("a negative leading zero", "-012"),
    TEXT("zeros", "00"),
    TEXT("a plus", "+1"),
    TEXT("a minus alone", "-"),
    TEXT("two minuses", "--1"),
    TEXT("a minus and a name", "-Infinity"),
    TEXT("a dot first", ".5"),
    TEXT("a minus and a dot", "-.5"),
    TEXT("a dot last", "1."),
    TEXT("a dot before the exponent", "1.e1"),
    TEXT("an exponent without digits", "1e"),
    TEXT("a signed exponent without digits", "1e+"),
    TEXT("an exponent with a fraction", "1e1.5"),
    TEXT("hexadecimal", "0x1F"),
    TEXT("NaN", "NaN"),
    TEXT("Infinity", "Infinity"),
    TEXT("a digit group", "1_000"),
    TEXT("a full-width digit", "\xEF\xBC\x91"),
    TEXT("a word cut short", "tru"),
    TEXT("a capital word", "True"),
    TEXT("a word too long", "nulll"),
    TEXT("an unknown word", "undefined"),
    TEXT("a bare word", "abc"),
    TEXT("a string without end", "\"abc"),
    TEXT("a string that ends in an escape", "\"\\"),
    TEXT("a string whose end is escaped", "\"\\\""),
    TEXT("single quotes", "'a'"),
    TEXT("an unknown escape", "\"\\x41\""),
    TEXT("an escaped apostrophe", "\"\\'\""),
    TEXT("an escaped NUL byte", "\"\\\0\""),
    TEXT("an escaped line end", "\"\\\n\""),
    TEXT("a capital U", "\"\\U0041\""),
    TEXT("three hex digits", "\"\\u004\""),
    TEXT("a hex digit that is none", "\"\\u00g1\""),
    TEXT("hex digits cut short", "\"\\u00"),
    TEXT("a signed hex escape", "\"\\u+041\""),
    TEXT("a high surrogate alone", "\"\\ud800\""),
    TEXT("a low surrogate alone", "\"\\udc00\""),
    TEXT("surrogates in the wrong order", "\"\\udc00\\ud800\""),
    TEXT("two high surrogates", "\"\\ud800\\ud800\""),
    TEXT("a high surrogate and another escape", "\"\\ud800\\n0000\""),
    TEXT("a high surrogate and half an escape", "\"\\ud800\\udc"),
    TEXT("a high surrogate and plain text", "\"\\ud800abcdef\""),
    TEXT("a tab in a string", "\"\t\""),
    TEXT("a line end in a string", "\"\n\""),
    TEXT("a NUL in a string", "\"\0\""),
    TEXT("US, the last control character", "\"\x1f\""),
    TEXT("a tail byte alone", "\"\x80\""),
    TEXT("a lead byte alone", "\"\xC3\""),
    TEXT("an overlong slash", "\"\xC0\xAF\""),
    TEXT("an overlong letter", "\"\xC1\x81\""),
    TEXT("overlong in three bytes", "\"\xE0\x9F\xBF\""),
    TEXT("overlong in four bytes", "\"\xF0\x8F\xBF\xBF\""),
    TEXT("a surrogate as UTF-8", "\"\xED\xA0\x80\""),
    TEXT("over U+10FFFF", "\"\xF4\x90\x80\x80\""),
    TEXT("a lead byte of five", "\"\xF8\x88\x80\x80\x80\""),
    TEXT("FF", "\"\xFF\""),
    TEXT("three bytes cut short", "\"\xE2\x82\""),
    TEXT("four bytes cut short", "\"\xF0\x9F\x98\""),
    TEXT("UTF-8 cut by the end", "\"\xF0\x9F"),
    TEXT("UTF-8 outside strings", "[\xC3\xA9]"),
    TEXT("an array without end", "[1"),
    TEXT("an array with a comma only", "[,]"),
    TEXT("an array with a comma first", "[,1]"),
    TEXT("an array with a comma last", "[1,]"),
    TEXT("an array with two commas", "[1,,2]"),
    TEXT("an array without commas", "[1 2]"),
    TEXT("an array with a colon", "[1:2]"),
    TEXT("an array closed as an object", "[1}"),
    TEXT("an array that opens only", "["),
    TEXT("an object closed as an array", "{\"a\":1]"),
    TEXT("an object without end", "{\"a\":1"),
    TEXT("an object that opens only", "{"),
    TEXT("a name only", "{\"a\"}"),
    TEXT("a name and a colon", "{\"a\":}"),
    TEXT("a name and two colons", "{\"a\"::1}"),
    TEXT("a name and an equals sign", "{\"a\"=1}"),
    TEXT("a name without quotes", "{a:1}"),
    TEXT("a number as name", "{1:1}"),
    TEXT("an object with a comma only", "{,}"),
    TEXT("an object with a comma last", "{\"a\":1,}"),
    TEXT("an object with two commas", "{\"a\":1,,\"b\":2}"),
    TEXT("an object without commas", "{\"a\":1 \"b\":2}"),
    TEXT("a bad name", "{\"\\ud800\":1}"),
    TEXT("a bad string inside", "[[\"\xFF\"]]"),
    TEXT("a closing bracket", "]"),
};

/* A copy of exactly the size, so that the address sanitizer sees a read behind the end. */
static char *exact(struct slice text) {
    char *copy = malloc(text.len ? text.len : 1);
    if (copy && text.len)
        memcpy(copy, text.ptr, text.len);
    return copy;
}

static int read_all(struct slice text, struct json_reader *r, struct json_value *value) {
    json_open(r, text);
    int rc = json_read(r, value);
    return rc ? rc : json_close(r);
}

/* Walks with json_enter and json_next alone; counts the values. */
static int walk(struct json_reader *r, int *values) {
    struct json_value value;
    int rc = json_enter(r, &value);
    if (rc)
        return rc;
    ++*values;
    if (value.type != JSON_ARRAY && value.type != JSON_OBJECT)
        return 0;
    bool object = value.type == JSON_OBJECT;
    for (bool first = true;; first = false) {
        struct slice key;
        rc = json_next(r, object, first, &key);
        if (rc <= 0)
            return rc;
        rc = walk(r, values);
        if (rc)
            return rc;
    }
}

TEST(what_the_grammar_allows_is_accepted) {
    for (size_t i = 0; i < sizeof ACCEPTED / sizeof *ACCEPTED; i++) {
        CHECK_NOTE("%s", ACCEPTED[i].name);
        char *copy = exact(ACCEPTED[i].text);
        struct slice text = slice_make(copy, ACCEPTED[i].text.len);
        struct json_reader r;
        struct json_value value;
        CHECK_EQ_INT(read_all(text, &r, &value), 0);
        CHECK_EQ_INT(r.depth, 0);
        CHECK(r.error == NULL);
        int values = 0;
        json_open(&r, text);
        CHECK_EQ_INT(walk(&r, &values), 0);
        CHECK_EQ_INT(json_close(&r), 0);
        free(copy);
    }
}

TEST(what_the_grammar_does_not_allow_is_refused) {
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        CHECK_NOTE("%s", REFUSED[i].name);
        char *copy = exact(REFUSED[i].text);
        struct slice text = slice_make(copy, REFUSED[i].text.len);
        struct json_reader r;
        struct json_value value;
        CHECK_EQ_INT(read_all(text, &r, &value), -EINVAL);
        CHECK(r.error != NULL);
        CHECK(r.error_at <= text.len);
        int values = 0;
        json_open(&r, text);
        CHECK(walk(&r, &values) == -EINVAL || json_close(&r) == -EINVAL);
        free(copy);
    }
}

TEST(every_prefix_of_an_object_is_refused) {
    const char whole[] = "{\"a\\u00e9\":[1.5e3,true,null,\"\\ud83d\\ude00\xE2\x82\xAC\"],\"b\":{\"c\":false}}";
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        CHECK_NOTE("%zu bytes", len);
        char *copy = exact(slice_make(whole, len));
        struct json_reader r;
        struct json_value value;
        CHECK_EQ_INT(read_all(slice_make(copy, len), &r, &value), -EINVAL);
        free(copy);
    }
}

TEST(nesting_is_bounded) {
    struct buf text = {0};
    for (int depth = JSON_MAX_DEPTH; depth <= JSON_MAX_DEPTH + 1; depth++) {
        buf_clear(&text);
        for (int i = 0; i < depth; i++)
            buf_append_text(&text, i % 2 ? "{\"a\":" : "[");
        buf_append_text(&text, "1");
        for (int i = depth; i > 0; i--)
            buf_append_text(&text, (i - 1) % 2 ? "}" : "]");
        struct json_reader r;
        struct json_value value;
        int values = 0;
        int want = depth > JSON_MAX_DEPTH ? -EINVAL : 0;
        CHECK_EQ_INT(read_all(buf_slice(&text), &r, &value), want);
        json_open(&r, buf_slice(&text));
        CHECK_EQ_INT(walk(&r, &values), want);
        if (want)
            CHECK_EQ_STR(r.error, "nested too deeply");
    }
    buf_deinit(&text);
}

TEST(a_value_is_told_with_its_own_text) {
    struct json_reader r;
    struct json_value value;
    CHECK_EQ_INT(read_all(slice_of("  {\"a\" : [1, 2.50 ]}\n"), &r, &value), 0);
    CHECK_EQ_INT(value.type, JSON_OBJECT);
    CHECK_EQ_SLICE(value.text, "{\"a\" : [1, 2.50 ]}");

    json_open(&r, slice_of("{\"big\":12345678901234567890, \"x\\\"y\":[ ],\"s\":\"\\u0041\"}"));
    struct slice key;
    CHECK_EQ_INT(json_enter(&r, &value), 0);
    CHECK_EQ_INT(value.type, JSON_OBJECT);
    CHECK_EQ_INT(value.text.len, 0);
    REQUIRE(json_next(&r, true, true, &key) == 1);
    CHECK_EQ_SLICE(key, "\"big\"");
    CHECK_EQ_INT(json_read(&r, &value), 0);
    CHECK_EQ_INT(value.type, JSON_NUMBER);
    CHECK_EQ_SLICE(value.text, "12345678901234567890");
    REQUIRE(json_next(&r, true, false, &key) == 1);
    CHECK_EQ_SLICE(key, "\"x\\\"y\"");
    CHECK_EQ_INT(json_read(&r, &value), 0);
    CHECK_EQ_INT(value.type, JSON_ARRAY);
    CHECK_EQ_SLICE(value.text, "[ ]");
    REQUIRE(json_next(&r, true, false, &key) == 1);
    CHECK_EQ_INT(json_read(&r, &value), 0);
    CHECK_EQ_SLICE(value.text, "\"\\u0041\"");
    CHECK_EQ_INT(json_next(&r, true, false, &key), 0);
    CHECK_EQ_INT(json_close(&r), 0);
}

TEST(an_error_is_told_with_its_place) {
    static const struct {
        const char *text;
        size_t at;
        const char *error;
    } CASES[] = {
        {"", 0, "the text ends where a value was expected"},
        {"[1, x]", 4, "a value was expected"},
        {"{\"a\" 1}", 5, "\":\" was expected"},
        {"{\"a\":1 \"b\"}", 7, "\",\" or \"}\" was expected"},
        {"[1 2]", 3, "\",\" or \"]\" was expected"},
        {"[\"ab\\q\"]", 4, "an unknown escape in a string"},
        {"[\"a\xFF\"]", 3, "a string that is not UTF-8"},
        {"{} x", 3, "text after the value"},
        {"[007]", 2, "a number with a leading zero"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].text);
        struct json_reader r;
        struct json_value value;
        CHECK_EQ_INT(read_all(slice_of(CASES[i].text), &r, &value), -EINVAL);
        CHECK_EQ_INT(r.error_at, CASES[i].at);
        CHECK_EQ_STR(r.error, CASES[i].error);
    }
}

TEST(escapes_are_resolved) {
    static const struct {
        const char *text;
        struct slice want;
    } CASES[] = {
        {"\"\"", {"", 0}},
        {"\"plain\"", {"plain", 5}},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", {"\"\\/\b\f\n\r\t", 8}},
        {"\"a\\u0000b\"", {"a\0b", 3}},
        {"\"\\u007f\\u0080\"", {"\x7f\xC2\x80", 3}},
        {"\"\\u07ff\\u0800\"", {"\xDF\xBF\xE0\xA0\x80", 5}},
        {"\"\\uD7FF\\uE000\\uffff\"", {"\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", 9}},
        {"\"\\ud83d\\uDE00!\"", {"\xF0\x9F\x98\x80!", 5}},
        {"\"\\uD800\\uDC00\\uDBFF\\uDFFF\"", {"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", 8}},
        {"\"\xE2\x82\xAC\\t\xC3\xA9\"", {"\xE2\x82\xAC\t\xC3\xA9", 6}},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].text);
        struct json_reader r;
        struct json_value value;
        struct buf out = {0};
        REQUIRE(read_all(slice_of(CASES[i].text), &r, &value) == 0);
        CHECK_EQ_INT(json_unescape(value.text, &out), 0);
        CHECK_EQ_MEM(out.len ? out.data : "", out.len, CASES[i].want.ptr, CASES[i].want.len);
        buf_deinit(&out);
    }
}

TEST(strings_are_written_so_that_they_can_be_read) {
    static const struct {
        struct slice raw;
        const char *want;
    } CASES[] = {
        {{"", 0}, "\"\""},
        {{"a\"b\\c/", 6}, "\"a\\\"b\\\\c/\""},
        {{"\b\f\n\r\t", 5}, "\"\\b\\f\\n\\r\\t\""},
        {{"\0\x01\x1f\x7f", 4}, "\"\\u0000\\u0001\\u001f\x7f\""},
        {{"\xC3\xA9\xF0\x9F\x98\x80", 6}, "\"\xC3\xA9\xF0\x9F\x98\x80\""},
        {{"a\xFFz", 3}, "\"a\xEF\xBF\xBDz\""},
        {{"\xE2\x82", 2}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {{"\xED\xA0\x80", 3}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("case %zu", i);
        char *copy = exact(CASES[i].raw);
        struct buf out = {0};
        CHECK_EQ_INT(json_append_string(&out, slice_make(copy, CASES[i].raw.len)), 0);
        CHECK_EQ_BUF(out, CASES[i].want);
        struct json_reader r;
        struct json_value value;
        CHECK_EQ_INT(read_all(buf_slice(&out), &r, &value), 0);
        buf_deinit(&out);
        free(copy);
    }
}

TEST(utf8_is_told_from_what_is_not) {
    CHECK(utf8_valid(slice_make(NULL, 0)));
    CHECK(utf8_valid(slice_of("plain text of more than eight bytes")));
    CHECK(utf8_valid(slice_of("eight...\xE2\x82\xAC and on \xF0\x9F\x98\x80")));
    CHECK(!utf8_valid(slice_of("eight...then \xFF")));
    CHECK(!utf8_valid(slice_of("1234567\xC3")));
    CHECK(!utf8_valid(slice_of("\xC0\x80")));
    CHECK(!utf8_valid(slice_of("\xED\xBF\xBF")));
    CHECK(!utf8_valid(slice_of("\xF5\x80\x80\x80")));
    /* Every code point but the surrogates, as a sequence of its own. */
    int wrong = 0;
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        char bytes[4];
        size_t len = utf8_put(bytes, code);
        bool surrogate = code >= 0xD800 && code <= 0xDFFF;
        wrong += utf8_valid(slice_make(bytes, len)) == surrogate;
        wrong += len > 1 && utf8_valid(slice_make(bytes, len - 1));
    }
    CHECK_EQ_INT(wrong, 0);
}

TEST(integers_are_exact) {
    static const struct {
        const char *text;
        bool fits;
        int64_t want;
    } CASES[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"-1", true, -1},
        {"9007199254740993", true, INT64_C(9007199254740993)},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"18446744073709551616", false, 0},
        {"100000000000000000000000", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].text);
        int64_t got = 0;
        CHECK_EQ_INT(json_integer(slice_of(CASES[i].text), &got), CASES[i].fits);
        CHECK_EQ_INT(got, CASES[i].want);
    }
}

/* Any locale of the machine that writes a comma; without one the point is all there is to test. */
static void use_a_comma(void) {
    static const char *const NAMES[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "pl_PL.UTF-8"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (setlocale(LC_NUMERIC, NAMES[i]))
            return;
    }
}

TEST(floats_survive_writing_and_reading_in_any_locale) {
    static const struct {
        double value;
        const char *want;
    } CASES[] = {
        {0.0, "0"},
        {-0.0, "-0"},
        {1.0, "1"},
        {0.1, "0.1"},
        {1.5, "1.5"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {1e15, "1e+15"},
        {1e21, "1e+21"},
        {-1.25e-7, "-1.25e-07"},
        {5e-324, NULL},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
    };
    use_a_comma();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%g", CASES[i].value);
        struct buf out = {0};
        CHECK_EQ_INT(json_append_number(&out, CASES[i].value), 0);
        if (CASES[i].want)
            CHECK_EQ_BUF(out, CASES[i].want);
        struct json_reader r;
        struct json_value value;
        CHECK_EQ_INT(read_all(buf_slice(&out), &r, &value), 0);
        double back = 1;
        CHECK_EQ_INT(json_number(value.text, &back), 0);
        CHECK(memcmp(&back, &CASES[i].value, sizeof back) == 0);
        buf_deinit(&out);
    }
    setlocale(LC_NUMERIC, "C");
}

TEST(numbers_that_no_double_holds_are_refused) {
    struct buf out = {0};
    double value;
    CHECK_EQ_INT(json_append_number(&out, INFINITY), -ERANGE);
    CHECK_EQ_INT(json_append_number(&out, -INFINITY), -ERANGE);
    CHECK_EQ_INT(json_append_number(&out, NAN), -ERANGE);
    CHECK_EQ_INT(out.len, 0);
    CHECK_EQ_INT(json_number(slice_of("1e400"), &value), -ERANGE);
    CHECK_EQ_INT(json_number(slice_of("1e-400"), &value), 0);
    CHECK(value == 0);

    char digits[401];
    memset(digits, '1', sizeof digits);
    CHECK_EQ_INT(json_number(slice_make(digits, 400), &value), -ERANGE);
    digits[1] = '.';
    CHECK_EQ_INT(json_number(slice_make(digits, 401), &value), 0);
    CHECK(value == 10.0 / 9);
    check_alloc_fail_at(0);
    CHECK_EQ_INT(json_number(slice_make(digits, 401), &value), -ENOMEM);
    CHECK(check_alloc_disarm());
}

TEST(a_failed_append_leaves_the_buffer_as_it_was) {
    char raw[300];
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (char)i;
    for (int n = 0;; n++) {
        struct buf out = {0};
        buf_append_text(&out, "before");
        check_alloc_fail_at(n);
        int rc = json_append_string(&out, slice_make(raw, sizeof raw));
        bool reached = check_alloc_disarm();
        if (reached) {
            CHECK_EQ_INT(rc, -ENOMEM);
            CHECK_EQ_BUF(out, "before");
        }
        buf_deinit(&out);
        if (!reached) {
            CHECK_EQ_INT(rc, 0);
            CHECK(n > 1);
            break;
        }
    }
    struct buf out = {0};
    check_alloc_fail_at(0);
    CHECK_EQ_INT(json_unescape(slice_of("\"a\""), &out), -ENOMEM);
    CHECK(check_alloc_disarm());
}

CHECK_MAIN()
