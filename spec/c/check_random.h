/* SPDX-License-Identifier: MIT */
/* Random numbers for tests: the same for the same seed everywhere, so that a failure can be had again. */
#ifndef SLUICE_CHECK_RANDOM_H
#define SLUICE_CHECK_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct check_random {
    uint64_t state;
};

static inline struct check_random check_random_of(uint64_t seed) {
    return (struct check_random){seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
}

static inline uint64_t check_random_next(struct check_random *r) {
    uint64_t z = r->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* A number from 0 to `below` - 1. */
static inline unsigned check_random_below(struct check_random *r, unsigned below) {
    return (unsigned)(check_random_next(r) >> 33) % below;
}

/* True once in `n` times. */
static inline bool check_random_once_in(struct check_random *r, unsigned n) {
    return check_random_below(r, n) == 0;
}

#endif
