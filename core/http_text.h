/* SPDX-License-Identifier: MIT */
/* The characters and lists of HTTP's grammar (RFC 9110, 5.6), for the files of this layer: a class for each byte,
 * hex digits, blanks, comma-separated lists. Owns nothing and knows no message. */
#ifndef SLUICE_HTTP_TEXT_H
#define SLUICE_HTTP_TEXT_H

#include "buf.h"

enum http_char {
    HTTP_CHAR_TOKEN = 1,  /* tchar (RFC 9110, 5.6.2) */
    HTTP_CHAR_TARGET = 2, /* printable ASCII without blank and "#": more than RFC 3986 has, as browsers send it */
    HTTP_CHAR_VALUE = 4,  /* in a field value: tab, blank, printable ASCII, bytes from 0x80 on */
    HTTP_CHAR_NAME = 8    /* in a reg-name (RFC 3986, 3.2.2), "%" aside */
};

/* clang-format off */
static const unsigned char http_char_classes[256] = {
     0,  0,  0,  0,  0,  0,  0,  0,  0,  4,  0,  0,  0,  0,  0,  0, /* 00 */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* 10 */
     4, 15,  6,  5, 15,  7, 15, 15, 14, 14, 15, 15, 14, 15, 15,  6, /* 20 */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6, 14,  6, 14,  6,  6, /* 30 */
     6, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* 40 */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6,  6,  6,  7, 15, /* 50 */
     7, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* 60 */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6,  7,  6, 15,  0, /* 70 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* 80 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* 90 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* a0 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* b0 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* c0 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* d0 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* e0 */
     4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4, /* f0 */
};
/* clang-format on */

static inline bool http_char_is(char c, enum http_char class) {
    return (http_char_classes[(unsigned char)c] & class) != 0;
}

/* The value of a hex digit, or -1. */
static inline int http_hex(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* True where all bytes are of the class; also for an empty slice. */
static inline bool http_all(struct slice s, enum http_char class) {
    for (size_t i = 0; i < s.len; i++) {
        if (!http_char_is(s.ptr[i], class))
            return false;
    }
    return true;
}

static inline bool http_is_token(struct slice s) {
    return s.len > 0 && http_all(s, HTTP_CHAR_TOKEN);
}

/* Without the blanks and tabs at both ends. */
static inline struct slice http_trim(struct slice s) {
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = slice_make(s.ptr + 1, s.len - 1);
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Takes the next element, trimmed, from the front of `*rest`, whose elements `separator` divides; one inside a
 * quoted string divides nothing. Returns false at the end. An element may be empty; an empty text has none. */
static inline bool http_list_next(struct slice *rest, char separator, struct slice *element) {
    if (rest->len == 0)
        return false;
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->len && (quoted || rest->ptr[i] != separator); i++) {
        if (rest->ptr[i] == '"')
            quoted = !quoted;
        else if (quoted && rest->ptr[i] == '\\' && i + 1 < rest->len)
            i++;
    }
    *element = http_trim(slice_make(rest->ptr, i));
    size_t taken = i < rest->len ? i + 1 : i;
    *rest = slice_make(rest->ptr + taken, rest->len - taken);
    return true;
}

#endif
