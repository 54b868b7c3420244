/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include "../../core/heap.c"

enum { NODES = 200 };

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static bool is_heap(const struct heap *h) {
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->nodes[i]->at != i + 1)
            return false;
        if (i > 0 && h->nodes[(i - 1) / 2]->due > h->nodes[i]->due)
            return false;
    }
    return true;
}

TEST(entries_come_out_in_the_order_of_their_time) {
    struct heap h = {0};
    struct heap_node nodes[NODES] = {0};
    uint32_t state = 7;
    REQUIRE(heap_reserve(&h, NODES) == 0);
    for (int i = 0; i < NODES; i++)
        heap_push(&h, &nodes[i], next_random(&state) % 50);
    uint64_t last = 0;
    for (int i = 0; i < NODES; i++) {
        struct heap_node *first = heap_first(&h);
        REQUIRE(first != NULL);
        CHECK(first->due >= last);
        last = first->due;
        heap_remove(&h, first);
        CHECK_EQ_INT(first->at, 0);
    }
    CHECK(heap_first(&h) == NULL);
    heap_deinit(&h);
}

TEST(entries_come_and_go_in_any_order) {
    struct heap h = {0};
    struct heap_node nodes[NODES] = {0};
    uint32_t state = 42;
    REQUIRE(heap_reserve(&h, NODES) == 0);
    for (int i = 0; i < 5000; i++) {
        struct heap_node *node = &nodes[next_random(&state) % NODES];
        if (node->at)
            heap_remove(&h, node);
        else
            heap_push(&h, node, next_random(&state) % 1000);
        REQUIRE(is_heap(&h));
    }
    heap_deinit(&h);
}

TEST(what_is_in_no_heap_may_be_removed) {
    struct heap h = {0};
    struct heap_node node = {0};
    heap_remove(&h, &node);
    CHECK_EQ_INT(h.count, 0);
    heap_deinit(&h);
}

TEST(room_that_cannot_be_had_changes_nothing) {
    struct heap h = {0};
    struct heap_node node = {0};
    REQUIRE(heap_reserve(&h, 1) == 0);
    heap_push(&h, &node, 5);
    check_alloc_fail_at(0);
    CHECK_EQ_INT(heap_reserve(&h, 1000), -ENOMEM);
    CHECK(check_alloc_disarm());
    CHECK_EQ_INT(heap_reserve(&h, (size_t)UINT32_MAX + 1), -ENOMEM);
    CHECK(heap_first(&h) == &node);
    CHECK_EQ_INT(heap_reserve(&h, 1000), 0);
    CHECK(heap_first(&h) == &node);
    heap_deinit(&h);
}

CHECK_MAIN()
