/* SPDX-License-Identifier: MIT */
/* Small blocks of many sizes for one owner, in chunks of their own: for Lua, which makes and drops many. Its garbage never lies between what stays for long (streams), so the pages go back to the
 * system when it is collected; and a block has no header, since its owner knows its size. Not thread-safe. Under AddressSanitizer it is malloc, which sees misuse. */
#ifndef SLUICE_POOL_H
#define SLUICE_POOL_H

#include <stddef.h>

#include "list.h"

enum {
    POOL_STEP = 16,
    POOL_MOST = 512, /* larger blocks are malloc's */
    POOL_CLASSES = POOL_MOST / POOL_STEP
};

struct pool {
    struct list open[POOL_CLASSES]; /* chunks that have room, by the size of their blocks */
    struct list spare;              /* chunks without a block in use */
};

/* The pool must not be moved. */
void pool_init(struct pool *p);

/* Gives all chunks back. Every block must have been freed. */
void pool_deinit(struct pool *p);

/* As realloc and free, for the owner's blocks of `old` bytes (0: none) that are to have `size` bytes. NULL: no memory, the old block stays. */
void *pool_realloc(struct pool *p, void *block, size_t old, size_t size);
void pool_free(struct pool *p, void *block, size_t size);

/* Gives chunks that are not in use back to the system. */
void pool_trim(struct pool *p);

#endif
