/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <errno.h>
#include <stdlib.h>

enum { TABLE_FIRST = 16 };

int table_init(struct table *t) {
    *t = (struct table){0};
    t->slots = calloc(TABLE_FIRST, sizeof(struct table_node *));
    if (!t->slots)
        return -ENOMEM;
    t->mask = TABLE_FIRST - 1;
    return 0;
}

void table_deinit(struct table *t) {
    free(t->slots);
    *t = (struct table){0};
}

static struct table_node *match(struct table_node *node, uint64_t hash) {
    while (node && node->hash != hash)
        node = node->next;
    return node;
}

struct table_node *table_first(const struct table *t, uint64_t hash) {
    return match(t->slots[hash & t->mask], hash);
}

struct table_node *table_next(const struct table_node *node) {
    return match(node->next, node->hash);
}

static void grow(struct table *t) {
    size_t slots = (t->mask + 1) * 2;
    struct table_node **bigger = calloc(slots, sizeof(struct table_node *));
    if (!bigger)
        return;
    for (size_t i = 0; i <= t->mask; i++) {
        struct table_node *node = t->slots[i];
        while (node) {
            struct table_node *next = node->next;
            struct table_node **slot = &bigger[node->hash & (slots - 1)];
            node->next = *slot;
            *slot = node;
            node = next;
        }
    }
    free(t->slots);
    t->slots = bigger;
    t->mask = slots - 1;
}

void table_link(struct table *t, struct table_node *node, uint64_t hash) {
    if (t->count > t->mask)
        grow(t);
    struct table_node **slot = &t->slots[hash & t->mask];
    node->hash = hash;
    node->next = *slot;
    *slot = node;
    t->count++;
}

void table_unlink(struct table *t, struct table_node *node) {
    struct table_node **at = &t->slots[node->hash & t->mask];
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    node->next = NULL;
    t->count--;
}

void table_each(struct table *t, void (*visit)(struct table_node *node, void *context), void *context) {
    for (size_t i = 0; i <= t->mask; i++) {
        struct table_node *node = t->slots[i];
        while (node) {
            struct table_node *next = node->next;
            visit(node, context);
            node = next;
        }
    }
}
