/* SPDX-License-Identifier: MIT */
/* A keyed hash for tables whose keys come from strangers: who does not know the seed cannot make keys collide. SipHash
 * with one round a word and three at the end. */
#ifndef SLUICE_HASH_H
#define SLUICE_HASH_H

#include "buf.h"

struct hash_seed {
    uint64_t k0;
    uint64_t k1;
};

/* Takes a random seed from the system. Returns 0, or a negative error code where it has none to give. */
int hash_seed_init(struct hash_seed *seed);

uint64_t hash_keyed(const struct hash_seed *seed, struct slice s);

#endif
