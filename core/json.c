/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "utf8.h"

static const char BAD_UTF8[] = "a string that is not UTF-8";

/* --- UTF-8 (RFC 3629, 4) ------------------------------------------------------------------------ */

/* True where none of the eight bytes has its top bit set. */
static bool is_ascii8(const char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

bool utf8_valid(struct slice s) {
    size_t at = 0;
    while (at < s.len) {
        if (s.len - at >= 8 && is_ascii8(s.ptr + at)) {
            at += 8;
            continue;
        }
        size_t n = utf8_sequence((const unsigned char *)s.ptr + at, s.len - at);
        if (n == 0)
            return false;
        at += n;
    }
    return true;
}

/* Writes a code point that is no surrogate and not over U+10FFFF. Returns the bytes written, 1 to 4. */
static size_t utf8_put(char *out, uint32_t code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t tails = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char LEADS[] = {0, 0xC0, 0xE0, 0xF0};
    for (size_t i = tails; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)(LEADS[tails] | code);
    return tails + 1;
}

/* --- reading ------------------------------------------------------------------------------------ */

void json_open(struct json_reader *r, struct slice text) {
    *r = (struct json_reader){.text = text.ptr, .len = text.len};
}

static int fail(struct json_reader *r, const char *error) {
    r->error = error;
    r->error_at = r->at;
    return -EINVAL;
}

/* The byte at the reader's place, -1 at the end. */
static int peek(const struct json_reader *r) {
    return r->at < r->len ? (unsigned char)r->text[r->at] : -1;
}

static int peek_after_blanks(struct json_reader *r) {
    int c = peek(r);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        r->at++;
        c = peek(r);
    }
    return c;
}

/* The value of four hex digits at `p`, -1 where they are none. */
static int32_t hex4(const char *p, size_t left) {
    if (left < 4)
        return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i];
        int32_t digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (c | 0x20) - 'a' + 10;
        else
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static bool is_high_surrogate(int32_t unit) {
    return unit >= 0xD800 && unit <= 0xDBFF;
}

static bool is_low_surrogate(int32_t unit) {
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

/* At a backslash. Surrogates must come as a pair: alone they are no character and could not be written as UTF-8. */
static int read_escape(struct json_reader *r) {
    const char *p = r->text + r->at;
    size_t left = r->len - r->at;
    if (left >= 2 && p[1] != '\0' && strchr("\"\\/bfnrt", p[1])) {
        r->at += 2;
        return 0;
    }
    if (left < 2 || p[1] != 'u')
        return fail(r, "an unknown escape in a string");
    int32_t unit = hex4(p + 2, left - 2);
    if (unit < 0)
        return fail(r, "\\u needs four hex digits");
    if (is_high_surrogate(unit)) {
        if (left < 12 || p[6] != '\\' || p[7] != 'u' || !is_low_surrogate(hex4(p + 8, 4)))
            return fail(r, "a surrogate without its other half");
        r->at += 12;
        return 0;
    }
    if (is_low_surrogate(unit))
        return fail(r, "a surrogate without its other half");
    r->at += 6;
    return 0;
}

/* At the opening quote. */
static int read_string(struct json_reader *r) {
    r->at++;
    for (;;) {
        int c = peek(r);
        if (c == '"') {
            r->at++;
            return 0;
        }
        if (c < 0)
            return fail(r, "a string that does not end");
        if (c < 0x20)
            return fail(r, "a control character in a string");
        if (c == '\\') {
            int rc = read_escape(r);
            if (rc)
                return rc;
        } else if (c < 0x80) {
            r->at++;
        } else {
            size_t n = utf8_sequence((const unsigned char *)r->text + r->at, r->len - r->at);
            if (n == 0)
                return fail(r, BAD_UTF8);
            r->at += n;
        }
    }
}

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

/* One digit at least. */
static int read_digits(struct json_reader *r) {
    if (!is_digit(peek(r)))
        return fail(r, "a digit was expected");
    while (is_digit(peek(r)))
        r->at++;
    return 0;
}

/* At a minus or a digit. */
static int read_number(struct json_reader *r) {
    if (peek(r) == '-')
        r->at++;
    if (peek(r) == '0') {
        r->at++;
        if (is_digit(peek(r)))
            return fail(r, "a number with a leading zero");
    } else if (read_digits(r)) {
        return -EINVAL;
    }
    if (peek(r) == '.') {
        r->at++;
        if (read_digits(r))
            return -EINVAL;
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        r->at++;
        if (peek(r) == '+' || peek(r) == '-')
            r->at++;
        if (read_digits(r))
            return -EINVAL;
    }
    return 0;
}

static int read_word(struct json_reader *r, const char *word) {
    size_t len = strlen(word);
    if (r->len - r->at < len || memcmp(r->text + r->at, word, len) != 0)
        return fail(r, "a value was expected");
    r->at += len;
    return 0;
}

int json_enter(struct json_reader *r, struct json_value *out) {
    int c = peek_after_blanks(r);
    size_t start = r->at;
    int rc;
    switch (c) {
    case '{':
    case '[':
        if (r->depth == JSON_MAX_DEPTH)
            return fail(r, "nested too deeply");
        r->depth++;
        r->at++;
        *out = (struct json_value){c == '{' ? JSON_OBJECT : JSON_ARRAY, slice_make(r->text + start, 0)};
        return 0;
    case '"':
        out->type = JSON_STRING;
        rc = read_string(r);
        break;
    case 'n':
        out->type = JSON_NULL;
        rc = read_word(r, "null");
        break;
    case 't':
        out->type = JSON_TRUE;
        rc = read_word(r, "true");
        break;
    case 'f':
        out->type = JSON_FALSE;
        rc = read_word(r, "false");
        break;
    default:
        if (c != '-' && !is_digit(c))
            return fail(r, c < 0 ? "the text ends where a value was expected" : "a value was expected");
        out->type = JSON_NUMBER;
        rc = read_number(r);
    }
    if (rc)
        return rc;
    out->text = slice_make(r->text + start, r->at - start);
    return 0;
}

int json_next(struct json_reader *r, bool object, bool first, struct slice *key) {
    int c = peek_after_blanks(r);
    if (c == (object ? '}' : ']')) {
        r->at++;
        r->depth--;
        return 0;
    }
    if (!first) {
        if (c != ',')
            return fail(r, object ? "\",\" or \"}\" was expected" : "\",\" or \"]\" was expected");
        r->at++;
        c = peek_after_blanks(r);
    }
    if (!object)
        return 1; /* whether a value follows is for the caller's next read to find */
    if (c != '"')
        return fail(r, "a member's name in quotes was expected");
    size_t start = r->at;
    int rc = read_string(r);
    if (rc)
        return rc;
    *key = slice_make(r->text + start, r->at - start);
    if (peek_after_blanks(r) != ':')
        return fail(r, "\":\" was expected");
    r->at++;
    return 1;
}

/* Walks with a stack of its own, one flag a level, so that nesting costs no C stack. */
int json_read(struct json_reader *r, struct json_value *out) {
    bool object[JSON_MAX_DEPTH];
    int rc = json_enter(r, out);
    if (rc || (out->type != JSON_ARRAY && out->type != JSON_OBJECT))
        return rc;
    int outside = r->depth - 1;
    object[r->depth - 1] = out->type == JSON_OBJECT;
    bool first = true;
    while (r->depth > outside) {
        struct slice key;
        rc = json_next(r, object[r->depth - 1], first, &key);
        if (rc < 0)
            return rc;
        first = false;
        if (rc == 0)
            continue;
        struct json_value value;
        rc = json_enter(r, &value);
        if (rc)
            return rc;
        if (value.type == JSON_ARRAY || value.type == JSON_OBJECT) {
            object[r->depth - 1] = value.type == JSON_OBJECT;
            first = true;
        }
    }
    out->text.len = (size_t)(r->text + r->at - out->text.ptr);
    return 0;
}

int json_close(struct json_reader *r) {
    return peek_after_blanks(r) < 0 ? 0 : fail(r, "text after the value");
}

/* --- strings ------------------------------------------------------------------------------------ */

/* Resolves the escape at `p`, which was validated; `*used` is its length. */
static uint32_t resolve_escape(const char *p, size_t *used) {
    static const char NAMES[] = "bfnrt", MEANT[] = "\b\f\n\r\t";
    if (p[1] != 'u') {
        const char *name = strchr(NAMES, p[1]);
        *used = 2;
        return (unsigned char)(name ? MEANT[name - NAMES] : p[1]);
    }
    int32_t unit = hex4(p + 2, 4);
    if (!is_high_surrogate(unit)) {
        *used = 6;
        return (uint32_t)unit;
    }
    *used = 12;
    return 0x10000 + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(hex4(p + 8, 4) - 0xDC00);
}

size_t json_unescape_into(char *out, struct slice text) {
    const char *p = text.ptr + 1, *end = text.ptr + text.len - 1;
    char *to = out;
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((escape ? escape : end) - p);
        memcpy(to, p, plain);
        to += plain;
        p += plain;
        if (escape) {
            size_t used;
            to += utf8_put(to, resolve_escape(p, &used));
            p += used;
        }
    }
    return (size_t)(to - out);
}

int json_unescape(struct slice text, struct buf *out) {
    int rc = buf_reserve(out, text.len); /* no escape is shorter than what it stands for */
    if (rc)
        return rc;
    out->len += json_unescape_into(out->data + out->len, text);
    return 0;
}

static int append_escaped(struct buf *out, unsigned char c) {
    static const char NAMES[] = "bfnrt", MEANT[] = "\b\f\n\r\t";
    if (c == '"' || c == '\\')
        return buf_append(out, (const char[]){'\\', (char)c}, 2);
    const char *meant = c ? strchr(MEANT, c) : NULL;
    if (meant)
        return buf_append(out, (const char[]){'\\', NAMES[meant - MEANT]}, 2);
    return buf_appendf(out, "\\u%04x", c);
}

int json_append_string(struct buf *out, struct slice s) {
    size_t before = out->len;
    int rc = buf_reserve(out, s.len + 2); /* what most strings take */
    rc = rc ? rc : buf_append_char(out, '"');
    size_t at = 0, start = 0;
    while (!rc && at < s.len) {
        unsigned char c = (unsigned char)s.ptr[at];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            at++;
            continue;
        }
        size_t n = c < 0x80 ? 0 : utf8_sequence((const unsigned char *)s.ptr + at, s.len - at);
        if (n) {
            at += n;
            continue;
        }
        rc = buf_append(out, s.ptr + start, at - start);
        if (!rc)
            rc = c < 0x80 ? append_escaped(out, c) : buf_append_text(out, "\xEF\xBF\xBD");
        start = ++at;
    }
    rc = rc ? rc : buf_append(out, s.ptr + start, s.len - start);
    rc = rc ? rc : buf_append_char(out, '"');
    if (rc)
        out->len = before;
    return rc;
}

/* --- numbers ------------------------------------------------------------------------------------ */

bool json_integer(struct slice text, int64_t *out) {
    bool negative = text.len > 0 && text.ptr[0] == '-';
    uint64_t magnitude;
    if (!slice_to_u64(slice_make(text.ptr + negative, text.len - negative), &magnitude))
        return false; /* a fraction, an exponent, or too large for any integer */
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

/* The C library reads and prints numbers by the thread's locale, which the host program may have set to one with a decimal
 * comma. JSON's is the "C" locale's. */
static locale_t enter_c_locale(locale_t *mine) {
    *mine = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return *mine ? uselocale(*mine) : (locale_t)0;
}

static void leave_c_locale(locale_t mine, locale_t before) {
    if (!mine)
        return;
    uselocale(before);
    freelocale(mine);
}

int json_number(struct slice text, double *out) {
    char room[64], *copy = room;
    if (text.len >= sizeof room) {
        copy = malloc(text.len + 1);
        if (!copy)
            return -ENOMEM;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    locale_t mine, before = enter_c_locale(&mine);
    *out = strtod(copy, NULL);
    leave_c_locale(mine, before);
    if (copy != room)
        free(copy);
    return isfinite(*out) ? 0 : -ERANGE;
}

int json_append_number(struct buf *out, double value) {
    if (!isfinite(value))
        return -ERANGE;
    char text[32];
    int len = 0;
    locale_t mine, before = enter_c_locale(&mine);
    for (int digits = 15; digits <= 17; digits++) {
        len = snprintf(text, sizeof text, "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (memcmp(&back, &value, sizeof back) == 0)
            break;
    }
    leave_c_locale(mine, before);
    return buf_append(out, text, (size_t)len);
}
