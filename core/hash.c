/* SPDX-License-Identifier: MIT */
#include "hash.h"

#include <errno.h>
#include <sys/random.h>

enum { WORD_ROUNDS = 1, FINAL_ROUNDS = 3 };

int hash_seed_init(struct hash_seed *seed) {
    ssize_t n;
    do {
        n = getrandom(seed, sizeof *seed, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return n == (ssize_t)sizeof *seed ? 0 : -EIO; /* so few bytes always come whole */
}

static inline uint64_t rotate(uint64_t word, int bits) {
    return word << bits | word >> (64 - bits);
}

static inline void mix(uint64_t v[4], int rounds) {
    for (int i = 0; i < rounds; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

/* Up to eight bytes as a little-endian number. */
static inline uint64_t load(const char *p, size_t len) {
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return word;
}

/* The rounds are parameters because the published test vectors are those of two and four. */
static inline uint64_t siphash(const struct hash_seed *seed, struct slice s, int word_rounds, int final_rounds) {
    uint64_t v[4] = {
        seed->k0 ^ UINT64_C(0x736f6d6570736575),
        seed->k1 ^ UINT64_C(0x646f72616e646f6d),
        seed->k0 ^ UINT64_C(0x6c7967656e657261),
        seed->k1 ^ UINT64_C(0x7465646279746573),
    };
    size_t at = 0;
    for (; s.len - at >= 8; at += 8) {
        uint64_t word = load(s.ptr + at, 8);
        v[3] ^= word;
        mix(v, word_rounds);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)s.len << 56;
    if (at < s.len)
        last |= load(s.ptr + at, s.len - at);
    v[3] ^= last;
    mix(v, word_rounds);
    v[0] ^= last;
    v[2] ^= 0xff;
    mix(v, final_rounds);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_keyed(const struct hash_seed *seed, struct slice s) {
    return siphash(seed, s, WORD_ROUNDS, FINAL_ROUNDS);
}
