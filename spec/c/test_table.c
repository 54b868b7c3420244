/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"
#include "check_random.h"

#include <errno.h>

#include "../../core/table.c"

enum { ENTRIES = 500 };

struct entry {
    struct table_node node;
    uint64_t hash;
    bool in;
    int seen;
};

static struct entry entries[ENTRIES];

static void setup(struct table *t, uint64_t hash_mask) {
    struct check_random r = check_random_of(1);
    memset(entries, 0, sizeof entries);
    for (int i = 0; i < ENTRIES; i++)
        entries[i].hash = check_random_next(&r) & hash_mask;
    if (table_init(t) != 0)
        abort();
}

static int found(const struct table *t, const struct entry *e) {
    int times = 0;
    for (struct table_node *node = table_first(t, e->hash); node; node = table_next(node)) {
        CHECK(node->hash == e->hash);
        times += node == &e->node;
    }
    return times;
}

static void see(struct table_node *node, void *context) {
    (void)context;
    table_entry(node, struct entry, node)->seen++;
}

static void check_all(struct table *t) {
    size_t in = 0;
    for (int i = 0; i < ENTRIES; i++) {
        CHECK_NOTE("entry %d", i);
        CHECK_EQ_INT(found(t, &entries[i]), entries[i].in);
        in += entries[i].in;
        entries[i].seen = 0;
    }
    CHECK_EQ_INT(t->count, in);
    table_each(t, see, NULL);
    for (int i = 0; i < ENTRIES; i++)
        CHECK_EQ_INT(entries[i].seen, entries[i].in);
}

static void churn(uint64_t hash_mask, bool grows) {
    struct table t;
    struct check_random r = check_random_of(hash_mask);
    setup(&t, hash_mask);
    for (int i = 0; i < 5000; i++) {
        struct entry *e = &entries[check_random_below(&r, ENTRIES)];
        if (!grows)
            check_alloc_fail_at(0);
        if (e->in)
            table_unlink(&t, &e->node);
        else
            table_link(&t, &e->node, e->hash);
        check_alloc_disarm();
        e->in = !e->in;
        if (i % 250 == 0)
            check_all(&t);
    }
    check_all(&t);
    CHECK(grows ? t.mask >= 127 : t.mask == 15);
    table_deinit(&t);
    table_deinit(&t);
}

TEST(entries_are_found_while_they_are_in) {
    churn(UINT64_MAX, true);
}

TEST(entries_of_the_same_hash_are_told_apart) {
    churn(7, true);
}

TEST(hashes_that_differ_only_at_the_top_are_told_apart) {
    churn(UINT64_C(0xff00000000000000), true);
}

TEST(without_memory_to_grow_it_goes_on_with_longer_chains) {
    churn(UINT64_MAX, false);
}

static void leave(struct table_node *node, void *context) {
    struct entry *e = table_entry(node, struct entry, node);
    e->seen++;
    if (e->hash & 1) {
        table_unlink(context, node);
        memset(node, 0xee, sizeof *node); /* as freed memory would be */
        e->in = false;
    }
}

TEST(a_visit_may_take_out_the_entry_it_is_given) {
    struct table t;
    setup(&t, 63);
    for (int i = 0; i < ENTRIES; i++) {
        table_link(&t, &entries[i].node, entries[i].hash);
        entries[i].in = true;
    }
    table_each(&t, leave, &t);
    for (int i = 0; i < ENTRIES; i++)
        CHECK_EQ_INT(entries[i].seen, 1);
    check_all(&t);
    table_deinit(&t);
}

TEST(a_table_that_cannot_be_made_is_safe_to_free) {
    struct table t;
    check_alloc_fail_at(0);
    CHECK_EQ_INT(table_init(&t), -ENOMEM);
    CHECK(check_alloc_disarm());
    table_deinit(&t);
}

CHECK_MAIN()
