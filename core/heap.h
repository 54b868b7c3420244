/* SPDX-License-Identifier: MIT */
/* An intrusive min-heap by time: which entry is due first. Entries embed a heap_node and stay their owner's. */
#ifndef SLUICE_HEAP_H
#define SLUICE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    uint64_t due;
    uint32_t at;  /* the place in the heap, from 1; 0: in none. Zero it first */
    uint32_t own; /* the owner's to use; padding otherwise */
};

#define heap_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* Zero-initialised. */
struct heap {
    struct heap_node **nodes;
    uint32_t count;
    uint32_t cap;
};

/* Frees the heap's memory, not the entries. */
void heap_deinit(struct heap *h);

/* Makes room for `count` entries in all, so that as many pushes cannot fail. Returns 0 or -ENOMEM. */
int heap_reserve(struct heap *h, size_t count);

/* Puts in an entry that is in no heap; there must be room. */
void heap_push(struct heap *h, struct heap_node *node, uint64_t due);

/* Takes an entry out, if it is in. */
void heap_remove(struct heap *h, struct heap_node *node);

/* The entry that is due first, NULL when empty. */
static inline struct heap_node *heap_first(const struct heap *h) {
    return h->count ? h->nodes[0] : NULL;
}

#endif
