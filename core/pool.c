/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CHUNK_BYTES = 32 * 1024 }; /* a power of two, and each chunk begins at a multiple of it: a block's address tells its chunk */

struct block {
    struct block *next;
};

struct chunk {
    struct list node; /* in open or spare; alone while it is full */
    struct block *free;
    uint32_t used;    /* blocks */
    uint32_t fresh;   /* where those begin that were never used */
    uint32_t size;    /* of a block */
    uint32_t class;
};

enum { CHUNK_HEAD = (sizeof(struct chunk) + POOL_STEP - 1) / POOL_STEP * POOL_STEP };

void pool_init(struct pool *p) {
    for (int i = 0; i < POOL_CLASSES; i++)
        list_init(&p->open[i]);
    list_init(&p->spare);
}

void pool_trim(struct pool *p) {
    while (!list_empty(&p->spare)) {
        struct chunk *c = list_entry(p->spare.next, struct chunk, node);
        list_unlink(&c->node);
        munmap(c, CHUNK_BYTES);
    }
}

void pool_deinit(struct pool *p) {
    pool_trim(p);
}

/* Maps twice as much as is needed and gives back what lies before and behind an aligned half of it. */
static struct chunk *map_chunk(void) {
    char *at = mmap(NULL, 2 * CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)at & (CHUNK_BYTES - 1);
    if (before)
        munmap(at, before);
    munmap(at + before + CHUNK_BYTES, CHUNK_BYTES - before);
    return (struct chunk *)(void *)(at + before);
}

static struct chunk *open_chunk(struct pool *p, unsigned class) {
    struct chunk *c;
    if (list_empty(&p->spare)) {
        c = map_chunk();
        if (!c)
            return NULL;
        list_init(&c->node);
    } else {
        c = list_entry(p->spare.next, struct chunk, node);
        list_unlink(&c->node);
    }
    c->free = NULL;
    c->used = 0;
    c->fresh = CHUNK_HEAD;
    c->size = (class + 1) * POOL_STEP;
    c->class = class;
    list_append(&p->open[class], &c->node);
    return c;
}

static void *take(struct pool *p, size_t size) {
    unsigned class = (unsigned)((size - 1) / POOL_STEP);
    struct list *open = &p->open[class];
    struct chunk *c = list_empty(open) ? open_chunk(p, class) : list_entry(open->next, struct chunk, node);
    if (!c)
        return NULL;
    struct block *block = c->free;
    if (block) {
        c->free = block->next;
    } else {
        block = (struct block *)(void *)((char *)c + c->fresh);
        c->fresh += c->size;
    }
    c->used++;
    if (!c->free && c->fresh + c->size > CHUNK_BYTES)
        list_unlink(&c->node); /* full */
    return block;
}

static void give_back(struct pool *p, void *at) {
    struct chunk *c = (struct chunk *)((uintptr_t)at & ~(uintptr_t)(CHUNK_BYTES - 1));
    struct block *block = at;
    block->next = c->free;
    c->free = block;
    if (--c->used == 0) {
        list_unlink(&c->node);
        list_append(&p->spare, &c->node);
    } else if (list_empty(&c->node)) {
        list_append(&p->open[c->class], &c->node);
    }
}

static int is_small(size_t size) {
#ifdef __SANITIZE_ADDRESS__
    (void)size;
    return 0;
#else
    return size <= POOL_MOST;
#endif
}

void pool_free(struct pool *p, void *block, size_t size) {
    if (!block)
        return;
    if (is_small(size))
        give_back(p, block);
    else
        free(block);
}

void *pool_realloc(struct pool *p, void *block, size_t old, size_t size) {
    if (block && !is_small(old) && !is_small(size))
        return realloc(block, size);
    if (block && is_small(old) && is_small(size) && (old - 1) / POOL_STEP == (size - 1) / POOL_STEP)
        return block;
    void *moved = is_small(size) ? take(p, size) : malloc(size);
    if (moved && block) {
        memcpy(moved, block, old < size ? old : size);
        pool_free(p, block, old);
    }
    return moved;
}
