/* SPDX-License-Identifier: MIT */
/* A growable byte buffer and a borrowed run of bytes. Owns its memory and nothing else; knows no
 * protocol. Sizes are checked against overflow; a failed growth leaves the buffer as it was. */
#ifndef SLUICE_BUF_H
#define SLUICE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed run of bytes: not terminated, not owned. `ptr` may be NULL only where `len` is 0. */
struct slice {
    const char *ptr;
    size_t len;
};

/* A buffer is zero-initialised or set up by buf_init; `data` is NULL until something is stored. */
struct buf {
    char *data;
    size_t len;
    size_t cap;
};

/* The slice of a NUL-terminated string, which stays the caller's. */
static inline struct slice slice_of(const char *text) {
    return (struct slice){text, strlen(text)};
}

static inline struct slice slice_make(const char *ptr, size_t len) {
    return (struct slice){ptr, len};
}

static inline bool slice_equal(struct slice a, struct slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *text) {
    return slice_equal(a, slice_of(text));
}

/* Equal when ASCII letters are compared without case. */
bool slice_equal_nocase(struct slice a, struct slice b);

/* A 64-bit hash of the bytes (FNV-1a with a final mix), the same in every process. */
uint64_t slice_hash(struct slice s);

/* Parses a whole decimal number of 1 to 20 digits. Returns false for anything else and on overflow. */
bool slice_to_u64(struct slice s, uint64_t *out);

/* Writes the decimal digits of `value`, at most 20, so that they end before `end`; returns where they begin. */
char *u64_digits(char *end, uint64_t value);

/* Writes `value` as 16 hex digits and a NUL. */
void u64_hex(char out[17], uint64_t value);

void buf_init(struct buf *b);

/* Frees the memory; the buffer is empty and usable afterwards. */
void buf_deinit(struct buf *b);

/* Makes room for `extra` more bytes after `len`. Returns 0, or -ENOMEM with the buffer unchanged. */
int buf_reserve(struct buf *b, size_t extra);

/* Appends bytes. Returns 0, or -ENOMEM with the buffer unchanged. `ptr` must not point into `b`. */
int buf_append(struct buf *b, const void *ptr, size_t len);

int buf_append_slice(struct buf *b, struct slice s);
int buf_append_text(struct buf *b, const char *text);
int buf_append_char(struct buf *b, char c);
int buf_append_u64(struct buf *b, uint64_t value);

/* Appends what printf would print. Returns 0 or -ENOMEM. */
int buf_appendf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_appendv(struct buf *b, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

/* Moves the memory out: returns it (the caller frees it with free), its length in `*len`, and
 * leaves the buffer empty. NULL where nothing was ever stored. */
char *buf_take(struct buf *b, size_t *len);

static inline void buf_clear(struct buf *b) {
    b->len = 0;
}

static inline struct slice buf_slice(const struct buf *b) {
    return (struct slice){b->data, b->len};
}

#endif
