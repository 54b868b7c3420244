/* SPDX-License-Identifier: MIT */
/* Makes allocations fail on purpose, in the code under test alone: include this before the `.c` files, whose calls of
 * malloc, calloc, realloc, strdup and strndup then count down to a failure. Other libraries keep the real ones.
 *
 *     for (int n = 0;; n++) {
 *         check_alloc_fail_at(n);             // the allocation number n, from 0, fails, and only that one
 *         int rc = operation(...);
 *         if (!check_alloc_disarm())          // true where the failure was reached
 *             break;                          // the operation needs no more than n allocations
 *         CHECK_EQ_INT(rc, -ENOMEM);          // and everything is as it was before
 *     } */
#ifndef SLUICE_CHECK_ALLOC_H
#define SLUICE_CHECK_ALLOC_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static struct {
    bool armed;
    bool reached;
    int left;
} check_alloc_state;

static inline void check_alloc_fail_at(int n) {
    check_alloc_state.armed = true;
    check_alloc_state.reached = false;
    check_alloc_state.left = n;
}

/* Allocations succeed again. True where one failed since check_alloc_fail_at. */
static inline bool check_alloc_disarm(void) {
    check_alloc_state.armed = false;
    return check_alloc_state.reached;
}

static inline bool check_alloc_fails(void) {
    if (!check_alloc_state.armed || check_alloc_state.left-- > 0)
        return false;
    check_alloc_state.armed = false;
    check_alloc_state.reached = true;
    return true;
}

static inline void *check_malloc(size_t size) {
    return check_alloc_fails() ? NULL : malloc(size);
}

static inline void *check_calloc(size_t count, size_t size) {
    return check_alloc_fails() ? NULL : calloc(count, size);
}

static inline void *check_realloc(void *old, size_t size) {
    return check_alloc_fails() ? NULL : realloc(old, size);
}

static inline char *check_strdup(const char *text) {
    return check_alloc_fails() ? NULL : strdup(text);
}

static inline char *check_strndup(const char *text, size_t len) {
    return check_alloc_fails() ? NULL : strndup(text, len);
}

#undef strdup
#undef strndup
#define malloc(size) check_malloc(size)
#define calloc(count, size) check_calloc(count, size)
#define realloc(old, size) check_realloc(old, size)
#define strdup(text) check_strdup(text)
#define strndup(text, len) check_strndup(text, len)

#endif
