/* SPDX-License-Identifier: MIT */
/* An intrusive hash table with chains: the entries embed a table_node and stay their owner's. Grows by doubling; when
 * there is no memory to grow it goes on with longer chains. The caller computes the hash (with a secret seed, where keys come from strangers). */
#ifndef SLUICE_TABLE_H
#define SLUICE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

struct table {
    struct table_node **slots;
    size_t mask; /* slots - 1 */
    size_t count;
};

#define table_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* Returns 0 or -ENOMEM. */
int table_init(struct table *t);

/* Frees the slots, not the entries. Safe after a failed init. */
void table_deinit(struct table *t);

/* The first entry whose hash is `hash`; go on with table_next. NULL where there is none. */
struct table_node *table_first(const struct table *t, uint64_t hash);
struct table_node *table_next(const struct table_node *node);

/* Puts an entry in; never fails. */
void table_link(struct table *t, struct table_node *node, uint64_t hash);

/* Takes out an entry that is in the table. */
void table_unlink(struct table *t, struct table_node *node);

/* Calls `visit` for each entry; it may unlink the entry it is given, no other. */
void table_each(struct table *t, void (*visit)(struct table_node *node, void *context), void *context);

#endif
