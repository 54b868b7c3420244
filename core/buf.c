/* SPDX-License-Identifier: MIT */
#include "buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_FIRST = 64 };

static unsigned char ascii_lower(unsigned char c) {
    return (c >= 'A' && c <= 'Z') ? (unsigned char)(c + 32) : c;
}

bool slice_equal_nocase(struct slice a, struct slice b) {
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower((unsigned char)a.ptr[i]) != ascii_lower((unsigned char)b.ptr[i]))
            return false;
    }
    return true;
}

uint64_t slice_hash(struct slice s) {
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < s.len; i++) {
        h ^= (unsigned char)s.ptr[i];
        h *= UINT64_C(1099511628211);
    }
    h ^= h >> 32;
    h *= UINT64_C(0x9E3779B97F4A7C15);
    return h ^ (h >> 29);
}

bool slice_to_u64(struct slice s, uint64_t *out) {
    if (s.len == 0 || s.len > 20)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)((unsigned char)s.ptr[i] - '0');
        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

char *u64_digits(char *end, uint64_t value) {
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return end;
}

void u64_hex(char out[17], uint64_t value) {
    for (int i = 15; i >= 0; i--) {
        out[i] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
    out[16] = '\0';
}

void buf_init(struct buf *b) {
    *b = (struct buf){0};
}

void buf_deinit(struct buf *b) {
    free(b->data);
    *b = (struct buf){0};
}

int buf_reserve(struct buf *b, size_t extra) {
    if (extra > SIZE_MAX / 2 - b->len)
        return -ENOMEM;
    size_t need = b->len + extra;
    if (need <= b->cap)
        return 0;
    size_t cap = b->cap ? b->cap : BUF_FIRST;
    while (cap < need)
        cap *= 2;
    char *data = realloc(b->data, cap);
    if (!data)
        return -ENOMEM;
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_append(struct buf *b, const void *ptr, size_t len) {
    if (len == 0)
        return 0;
    int rc = buf_reserve(b, len);
    if (rc)
        return rc;
    memcpy(b->data + b->len, ptr, len);
    b->len += len;
    return 0;
}

int buf_append_slice(struct buf *b, struct slice s) {
    return buf_append(b, s.ptr, s.len);
}

int buf_append_text(struct buf *b, const char *text) {
    return buf_append(b, text, strlen(text));
}

int buf_append_char(struct buf *b, char c) {
    return buf_append(b, &c, 1);
}

int buf_append_u64(struct buf *b, uint64_t value) {
    char digits[20], *end = digits + sizeof digits;
    char *begin = u64_digits(end, value);
    return buf_append(b, begin, (size_t)(end - begin));
}

int buf_appendv(struct buf *b, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    size_t room = b->cap - b->len; /* often it is enough */
    int need = vsnprintf(room ? b->data + b->len : NULL, room, format, args);
    int rc = need < 0 ? -ENOMEM : 0;
    if (rc == 0 && (size_t)need >= room) {
        rc = buf_reserve(b, (size_t)need + 1);
        if (rc == 0)
            vsnprintf(b->data + b->len, (size_t)need + 1, format, again);
    }
    va_end(again);
    if (rc == 0)
        b->len += (size_t)need;
    return rc;
}

int buf_appendf(struct buf *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int rc = buf_appendv(b, format, args);
    va_end(args);
    return rc;
}

char *buf_take(struct buf *b, size_t *len) {
    char *data = b->data;
    *len = b->len;
    *b = (struct buf){0};
    return data;
}
