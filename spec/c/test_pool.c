/* SPDX-License-Identifier: MIT */
#include <stdbool.h>

#include "check.h"
#include "check_random.h"

#include "../../core/pool.c"

enum { BLOCKS = 2000, ROUNDS = 200000, LARGEST = 700 };

struct held {
    unsigned char *bytes;
    size_t size;
    unsigned char mark;
};

static void fill(struct held *h) {
    memset(h->bytes, h->mark, h->size);
}

/* True where the first `size` bytes are what was written. */
static bool whole(const struct held *h, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (h->bytes[i] != h->mark)
            return false;
    }
    return true;
}

TEST(blocks_keep_what_is_written_whatever_happens_to_others) {
    static struct held held[BLOCKS];
    struct pool pool;
    struct check_random random = check_random_of(11);
    pool_init(&pool);
    for (int round = 0; round < ROUNDS; round++) {
        struct held *h = &held[check_random_below(&random, BLOCKS)];
        size_t size = check_random_below(&random, LARGEST);
        REQUIRE(whole(h, h->size));
        if (size == 0) {
            pool_free(&pool, h->bytes, h->size);
            *h = (struct held){0};
            continue;
        }
        size_t kept = h->size < size ? h->size : size;
        h->bytes = pool_realloc(&pool, h->bytes, h->size, size);
        REQUIRE(h->bytes != NULL);
        CHECK((uintptr_t)h->bytes % POOL_STEP == 0);
        REQUIRE(whole(h, kept));
        h->size = size;
        h->mark = (unsigned char)check_random_next(&random);
        fill(h);
        if (round % 10000 == 0)
            pool_trim(&pool);
    }
    for (int i = 0; i < BLOCKS; i++)
        pool_free(&pool, held[i].bytes, held[i].size);
    for (int i = 0; i < POOL_CLASSES; i++)
        CHECK(list_empty(&pool.open[i]));
    pool_deinit(&pool);
    CHECK(list_empty(&pool.spare));
}

TEST(a_chunk_that_is_free_serves_blocks_of_another_size) {
    struct pool pool;
    pool_init(&pool);
    void *first = pool_realloc(&pool, NULL, 0, 32);
    pool_free(&pool, first, 32);
    void *second = pool_realloc(&pool, NULL, 0, 400);
    CHECK(list_empty(&pool.spare));
    pool_free(&pool, second, 400);
    pool_deinit(&pool);
}

TEST(a_block_stays_where_it_is_while_its_step_does) {
    struct pool pool;
    pool_init(&pool);
    void *block = pool_realloc(&pool, NULL, 0, 33);
#ifndef __SANITIZE_ADDRESS__
    CHECK(pool_realloc(&pool, block, 33, 48) == block);
#endif
    block = pool_realloc(&pool, block, 48, POOL_MOST + 1);
    REQUIRE(block != NULL);
    pool_free(&pool, block, POOL_MOST + 1);
    pool_free(&pool, NULL, 0);
    pool_deinit(&pool);
}

CHECK_MAIN()
