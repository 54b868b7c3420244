/* SPDX-License-Identifier: MIT */
/* An intrusive circular doubly linked list. The head is a node itself; a node that is in no list
 * points to itself, so unlinking twice is harmless. Owns no memory. */
#ifndef SLUICE_LIST_H
#define SLUICE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev;
    struct list *next;
};

#define list_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void list_init(struct list *node) {
    node->prev = node;
    node->next = node;
}

static inline bool list_empty(const struct list *head) {
    return head->next == head;
}

/* Puts `node`, which is in no list, before `at`; with a head as `at` that is the list's end. */
static inline void list_insert_before(struct list *at, struct list *node) {
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

static inline void list_append(struct list *head, struct list *node) {
    list_insert_before(head, node);
}

/* Takes `node` out of its list, if it is in one. */
static inline void list_unlink(struct list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#endif
