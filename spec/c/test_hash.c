/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "../../core/hash.c"

/* The vectors that were published with SipHash are of two rounds a word and four at the end: key 00 01 .. 0f, input 00 01 02 .. */
TEST(the_published_vectors_come_out) {
    static const struct {
        size_t len;
        uint64_t want;
    } CASES[] = {
        {0, UINT64_C(0x726fdb47dd0e0e31)}, {1, UINT64_C(0x74f839c593dc67fd)},  {7, UINT64_C(0xab0200f58b01d137)},
        {8, UINT64_C(0x93f5f5799a932462)}, {15, UINT64_C(0xa129ca6149be45e5)},
    };
    const struct hash_seed seed = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    char input[16];
    for (int i = 0; i < 16; i++)
        input[i] = (char)i;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%zu bytes", CASES[i].len);
        CHECK(siphash(&seed, slice_make(input, CASES[i].len), 2, 4) == CASES[i].want);
    }
}

TEST(seeds_differ_and_so_do_hashes) {
    struct hash_seed a, b;
    CHECK_EQ_INT(hash_seed_init(&a), 0);
    CHECK_EQ_INT(hash_seed_init(&b), 0);
    CHECK(a.k0 != b.k0 && a.k1 != b.k1);
    CHECK(hash_keyed(&a, slice_of("192.0.2.1")) != hash_keyed(&b, slice_of("192.0.2.1")));
    CHECK(hash_keyed(&a, slice_of("192.0.2.1")) == hash_keyed(&a, slice_of("192.0.2.1")));
    CHECK(hash_keyed(&a, slice_of("192.0.2.1")) != hash_keyed(&a, slice_of("192.0.2.2")));
    CHECK(hash_keyed(&a, slice_make(NULL, 0)) == hash_keyed(&a, slice_of("")));
}

TEST(hashes_spread_over_small_tables) {
    enum { SLOTS = 64, KEYS = 6400 };
    struct hash_seed seed = {1, 2};
    int slots[SLOTS] = {0};
    for (int i = 0; i < KEYS; i++) {
        char key[24];
        int len = snprintf(key, sizeof key, "10.0.%d.%d", i / 250, i % 250);
        slots[hash_keyed(&seed, slice_make(key, (size_t)len)) % SLOTS]++;
    }
    for (int i = 0; i < SLOTS; i++)
        CHECK(slots[i] > 50 && slots[i] < 160); /* 100 expected, deviation 10 */
}

CHECK_MAIN()
