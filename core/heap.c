/* SPDX-License-Identifier: MIT */
#include "heap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { HEAP_FIRST = 16 };

void heap_deinit(struct heap *h) {
    free(h->nodes);
    *h = (struct heap){0};
}

int heap_reserve(struct heap *h, size_t count) {
    if (count <= h->cap)
        return 0;
    size_t cap = h->cap ? h->cap : HEAP_FIRST;
    while (cap < count)
        cap *= 2;
    if (cap > UINT32_MAX)
        return -ENOMEM;
    struct heap_node **nodes = realloc(h->nodes, cap * sizeof(struct heap_node *));
    if (!nodes)
        return -ENOMEM;
    h->nodes = nodes;
    h->cap = (uint32_t)cap;
    return 0;
}

static void put(struct heap *h, size_t i, struct heap_node *node) {
    h->nodes[i] = node;
    node->at = (uint32_t)i + 1;
}

/* Moves the hole at `i` up to where `node` can fill it. */
static void sift_up(struct heap *h, size_t i, struct heap_node *node) {
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (h->nodes[parent]->due <= node->due)
            break;
        put(h, i, h->nodes[parent]);
        i = parent;
    }
    put(h, i, node);
}

/* The same downwards. */
static void sift_down(struct heap *h, size_t i, struct heap_node *node) {
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && h->nodes[child + 1]->due < h->nodes[child]->due)
            child++;
        if (node->due <= h->nodes[child]->due)
            break;
        put(h, i, h->nodes[child]);
        i = child;
    }
    put(h, i, node);
}

void heap_push(struct heap *h, struct heap_node *node, uint64_t due) {
    assert(node->at == 0 && h->count < h->cap);
    node->due = due;
    sift_up(h, h->count++, node);
}

void heap_remove(struct heap *h, struct heap_node *node) {
    if (node->at == 0)
        return;
    size_t hole = node->at - 1;
    node->at = 0;
    struct heap_node *last = h->nodes[--h->count];
    if (last == node)
        return;
    if (hole > 0 && h->nodes[(hole - 1) / 2]->due > last->due)
        sift_up(h, hole, last);
    else
        sift_down(h, hole, last);
}
