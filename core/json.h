/* SPDX-License-Identifier: MIT */
/* A strict JSON reader (RFC 8259) over a whole text, and the pieces of a writer. It reports values as
 * slices of the text, so that a member's own text can be taken over byte for byte. Refuses invalid UTF-8, NaN, leading
 * zeros, control characters, trailing text, lone surrogates in escapes and nesting deeper than JSON_MAX_DEPTH. Duplicate
 * member names are the caller's affair. Keeps no memory of its own; works in any locale. Knows no Lua. */
#ifndef SLUICE_JSON_H
#define SLUICE_JSON_H

#include "buf.h"

enum { JSON_MAX_DEPTH = 128 };

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A position in a text. Zero it, then json_open. */
struct json_reader {
    const char *text;
    size_t len;
    size_t at;
    int depth;
    const char *error; /* after a failure: a static sentence */
    size_t error_at;   /* and the byte it is about */
};

/* One value: its kind and its own text, quotes and brackets included. */
struct json_value {
    enum json_type type;
    struct slice text;
};

void json_open(struct json_reader *r, struct slice text);

/* Reads one whole value, whatever is nested in it, and validates it. Returns 0 or -EINVAL (see `error`). */
int json_read(struct json_reader *r, struct json_value *out);

/* After the outermost value: 0 where only blanks are left, else -EINVAL. */
int json_close(struct json_reader *r);

/* Reads a value's start. For an array or object (entered; out->text is empty) go on with json_next until it returns 0; any
 * other value is read whole. Returns 0 or -EINVAL. */
int json_enter(struct json_reader *r, struct json_value *out);

/* Inside an array or object: moves to its next element. Returns 1 (in an object `*key` is then the member's name with its quotes; the value is
 * to be read with json_read or json_enter), 0 at the end (left), or -EINVAL. `first` is true for the first call. `object` says what was entered. */
int json_next(struct json_reader *r, bool object, bool first, struct slice *key);

/* Appends the characters of a string value or key (quotes included in `text`) to `out`, escapes resolved.
 * Returns 0 or -ENOMEM. The text must have been read by a json_reader. */
int json_unescape(struct slice text, struct buf *out);

/* The same into memory of the caller, at least `text.len` bytes. Returns the number of bytes written. */
size_t json_unescape_into(char *out, struct slice text);

/* The value of a number's text that a json_reader has read. json_integer returns false where it has a fraction or an exponent
 * or does not fit; json_number returns 0, -ERANGE where it is too large for a double, or -ENOMEM (long texts only). Neither looks at the
 * locale. */
bool json_integer(struct slice text, int64_t *out);
int json_number(struct slice text, double *out);

/* Appends `value` with 15 digits at most where they read back as the same, else with 16 or 17. Returns 0, -ERANGE where it is not finite, or -ENOMEM. */
int json_append_number(struct buf *out, double value);

/* Appends `s` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. Returns 0 or -ENOMEM. */
int json_append_string(struct buf *out, struct slice s);

/* True where `s` is UTF-8 by RFC 3629: no surrogates, nothing over U+10FFFF, no overlong forms. */
bool utf8_valid(struct slice s);

#endif
