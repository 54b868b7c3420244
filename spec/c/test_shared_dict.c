/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include <errno.h>
#include <math.h>

#include "../../core/buf.c"
#include "../../core/hash.c"
#include "../../core/heap.c"
#include "../../core/shared_dict.c"
#include "../../core/table.c"

enum { PLENTY = 1 << 20 };

static struct dict_value text_value(const char *text) {
    return (struct dict_value){.type = DICT_STRING, .text = slice_of(text)};
}

static struct dict_value integer_value(int64_t integer) {
    return (struct dict_value){.type = DICT_INTEGER, .integer = integer};
}

static struct dict_value float_value(double number) {
    return (struct dict_value){.type = DICT_FLOAT, .number = number};
}

static int set_text(struct shared_dict *dict, const char *key, const char *text, uint64_t ttl_ms, uint64_t now_ms) {
    struct dict_value value = text_value(text);
    return shared_dict_set(dict, slice_of(key), &value, ttl_ms, now_ms);
}

/* Reads the value as text: "text", i7, f1.5, true, or none. The answer is kept until the next call. */
static const char *told(struct shared_dict *dict, const char *key, uint64_t now_ms) {
    static char out[128];
    struct dict_value value;
    struct buf storage = {0};
    if (shared_dict_get(dict, slice_of(key), now_ms, &value, &storage))
        return "no memory";
    switch (value.type) {
    case DICT_NONE:
        snprintf(out, sizeof out, "none");
        break;
    case DICT_BOOLEAN:
        snprintf(out, sizeof out, "%s", value.boolean ? "true" : "false");
        break;
    case DICT_INTEGER:
        snprintf(out, sizeof out, "i%lld", (long long)value.integer);
        break;
    case DICT_FLOAT:
        snprintf(out, sizeof out, "f%g", value.number);
        break;
    case DICT_STRING:
        snprintf(out, sizeof out, "\"%.*s\"", (int)value.text.len, value.text.len ? value.text.ptr : "");
        break;
    }
    buf_deinit(&storage);
    return out;
}

static size_t keys_of(struct shared_dict *dict) {
    size_t keys, bytes;
    shared_dict_counts(dict, &keys, &bytes);
    return keys;
}

static size_t bytes_of(struct shared_dict *dict) {
    size_t keys, bytes;
    shared_dict_counts(dict, &keys, &bytes);
    return bytes;
}

TEST(values_of_every_type_come_back) {
    struct shared_dict *dict = shared_dict_new(PLENTY);
    REQUIRE(dict != NULL);
    struct dict_value value = {.type = DICT_BOOLEAN, .boolean = true};
    CHECK_EQ_INT(shared_dict_set(dict, slice_of("flag"), &value, 0, 1), 0);
    value = integer_value(INT64_MIN);
    CHECK_EQ_INT(shared_dict_set(dict, slice_of("integer"), &value, 0, 1), 0);
    value = float_value(1.5);
    CHECK_EQ_INT(shared_dict_set(dict, slice_of("float"), &value, 0, 1), 0);
    CHECK_EQ_INT(set_text(dict, "text", "hello", 0, 1), 0);
    CHECK_EQ_INT(set_text(dict, "empty", "", 0, 1), 0);
    CHECK_EQ_INT(set_text(dict, "", "no name", 0, 1), 0);
    CHECK_EQ_STR(told(dict, "flag", 1), "true");
    CHECK_EQ_STR(told(dict, "integer", 1), "i-9223372036854775808");
    CHECK_EQ_STR(told(dict, "float", 1), "f1.5");
    CHECK_EQ_STR(told(dict, "text", 1), "\"hello\"");
    CHECK_EQ_STR(told(dict, "empty", 1), "\"\"");
    CHECK_EQ_STR(told(dict, "", 1), "\"no name\"");
    CHECK_EQ_STR(told(dict, "other", 1), "none");
    CHECK_EQ_INT(keys_of(dict), 6);

    value = (struct dict_value){.type = DICT_STRING, .text = slice_make("a\0b", 3)};
    struct dict_value back;
    struct buf storage = {0};
    CHECK_EQ_INT(shared_dict_set(dict, slice_make("k\0", 2), &value, 0, 1), 0);
    CHECK_EQ_STR(told(dict, "k", 1), "none");
    CHECK_EQ_INT(shared_dict_get(dict, slice_make("k\0", 2), 1, &back, &storage), 0);
    CHECK_EQ_MEM(back.text.ptr, back.text.len, "a\0b", 3);
    buf_deinit(&storage);
    shared_dict_free(dict);
}

TEST(a_value_is_replaced_and_removed) {
    struct shared_dict *dict = shared_dict_new(PLENTY);
    REQUIRE(dict != NULL);
    size_t before = bytes_of(dict);
    set_text(dict, "a", "first", 0, 1);
    set_text(dict, "a", "second one", 0, 1);
    CHECK_EQ_STR(told(dict, "a", 1), "\"second one\"");
    struct dict_value value = integer_value(3);
    shared_dict_set(dict, slice_of("a"), &value, 0, 1);
    CHECK_EQ_STR(told(dict, "a", 1), "i3");
    set_text(dict, "a", "again", 0, 1);
    CHECK_EQ_INT(keys_of(dict), 1);
    CHECK(shared_dict_delete(dict, slice_of("a"), 1));
    CHECK(!shared_dict_delete(dict, slice_of("a"), 1));
    CHECK_EQ_STR(told(dict, "a", 1), "none");
    CHECK_EQ_INT(keys_of(dict), 0);
    CHECK_EQ_INT(bytes_of(dict), before);
    shared_dict_free(dict);
}

TEST(bad_keys_and_values_are_refused) {
    struct shared_dict *dict = shared_dict_new(PLENTY);
    REQUIRE(dict != NULL);
    char name[513];
    memset(name, 'k', sizeof name);
    struct dict_value value = integer_value(1), none = {.type = DICT_NONE}, flag = {.type = DICT_BOOLEAN}, out;
    CHECK_EQ_INT(shared_dict_set(dict, slice_make(name, 512), &value, 0, 1), 0);
    CHECK_EQ_INT(shared_dict_set(dict, slice_make(name, 513), &value, 0, 1), -EINVAL);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_make(name, 513), &value, 0, 1, &out), -EINVAL);
    CHECK_EQ_INT(shared_dict_set(dict, slice_of("a"), &none, 0, 1), -EINVAL);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("a"), &flag, 0, 1, &out), -EINVAL);
    CHECK_EQ_INT(keys_of(dict), 1);
    shared_dict_free(dict);
}

TEST(an_entry_is_gone_when_its_time_is_over) {
    struct shared_dict *dict = shared_dict_new(PLENTY);
    REQUIRE(dict != NULL);
    set_text(dict, "a", "x", 100, 1000);
    CHECK_EQ_STR(told(dict, "a", 1099), "\"x\"");
    CHECK_EQ_STR(told(dict, "a", 1100), "none");
    CHECK(!shared_dict_delete(dict, slice_of("a"), 1100));

    set_text(dict, "b", "short", 100, 1000);
    set_text(dict, "b", "for ever", 0, 1050);
    CHECK_EQ_STR(told(dict, "b", 99999), "\"for ever\"");
    set_text(dict, "b", "longer", 500, 2000);
    CHECK_EQ_STR(told(dict, "b", 2499), "\"longer\"");
    CHECK_EQ_STR(told(dict, "b", 2500), "none");

    set_text(dict, "c", "endless", UINT64_MAX, 2000);
    CHECK_EQ_STR(told(dict, "c", UINT64_MAX - 1), "\"endless\"");
    shared_dict_free(dict);
}

TEST(expired_entries_are_freed_a_few_with_each_write) {
    struct shared_dict *dict = shared_dict_new(PLENTY);
    REQUIRE(dict != NULL);
    size_t empty = bytes_of(dict);
    for (int i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        set_text(dict, key, "value", (uint64_t)(10 + i % 7), 1000);
    }
    CHECK_EQ_INT(keys_of(dict), 40);
    set_text(dict, "one", "more", 0, 2000);
    CHECK_EQ_INT(keys_of(dict), 41 - REAP_PER_WRITE);
    for (int i = 0; i < 10; i++)
        shared_dict_delete(dict, slice_of("none"), 2000);
    CHECK_EQ_INT(keys_of(dict), 1);
    shared_dict_delete(dict, slice_of("one"), 2000);
    CHECK_EQ_INT(bytes_of(dict), empty);
    shared_dict_free(dict);
}

TEST(memory_is_bounded_and_what_is_there_survives) {
    enum { BOUND = 10000 };
    struct shared_dict *dict = shared_dict_new(BOUND);
    REQUIRE(dict != NULL);
    char text[201] = {0};
    memset(text, 't', 200);
    int rc = 0, stored = 0;
    for (; rc == 0 && stored < 1000; stored += rc == 0) {
        char key[16];
        snprintf(key, sizeof key, "k%d", stored);
        rc = set_text(dict, key, text, 0, 1);
        CHECK(bytes_of(dict) <= BOUND);
    }
    CHECK_EQ_INT(rc, -ENOSPC);
    CHECK(stored > 20 && stored < 50);
    CHECK_EQ_INT(keys_of(dict), stored);

    char longer[400] = {0};
    memset(longer, 'l', sizeof longer - 1);
    CHECK_EQ_INT(set_text(dict, "k0", longer, 0, 1), -ENOSPC);
    CHECK_EQ_INT(strlen(told(dict, "k0", 1)), 127); /* cut to the room of told() */
    CHECK_EQ_INT(set_text(dict, "k0", "shorter", 0, 1), 0);
    CHECK_EQ_STR(told(dict, "k0", 1), "\"shorter\"");
    struct dict_value by = integer_value(1), out;
    shared_dict_delete(dict, slice_of("k1"), 1);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("count"), &by, 0, 1, &out), 0);

    char *huge = malloc(2 * BOUND);
    REQUIRE(huge != NULL);
    struct dict_value value = {.type = DICT_STRING, .text = slice_make(huge, 2 * BOUND)};
    memset(huge, 'h', 2 * BOUND);
    CHECK_EQ_INT(shared_dict_set(dict, slice_of("huge"), &value, 0, 1), -ENOSPC);
    value.text.len = BOUND;
    CHECK_EQ_INT(shared_dict_set(dict, slice_of("huge"), &value, 0, 1), -ENOSPC);
    free(huge);
    shared_dict_free(dict);
}

TEST(what_has_expired_gives_way_when_it_is_full) {
    struct shared_dict *dict = shared_dict_new(10000);
    REQUIRE(dict != NULL);
    char key[16];
    int stored = 0;
    for (int rc = 0; rc == 0; stored++) {
        snprintf(key, sizeof key, "k%d", stored);
        rc = set_text(dict, key, "a value that takes its place", 50, 1000);
    }
    CHECK(stored > 30);
    char big[9000] = {0};
    memset(big, 'b', sizeof big - 1);
    CHECK_EQ_INT(set_text(dict, "big", big, 0, 1049), -ENOSPC);
    CHECK_EQ_INT(set_text(dict, "big", big, 0, 1050), 0);
    CHECK(keys_of(dict) < 10);
    shared_dict_free(dict);
}

TEST(numbers_are_counted) {
    struct shared_dict *dict = shared_dict_new(PLENTY);
    REQUIRE(dict != NULL);
    struct dict_value out, one = integer_value(1), minus = integer_value(-5), half = float_value(0.5);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("n"), &one, 0, 1, &out), 0);
    CHECK(out.type == DICT_INTEGER && out.integer == 1);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("n"), &minus, 0, 1, &out), 0);
    CHECK_EQ_STR(told(dict, "n", 1), "i-4");
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("n"), &half, 0, 1, &out), 0);
    CHECK(out.type == DICT_FLOAT && out.number == -3.5);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("n"), &one, 0, 1, &out), 0);
    CHECK_EQ_STR(told(dict, "n", 1), "f-2.5");
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("f"), &half, 0, 1, &out), 0);
    CHECK_EQ_STR(told(dict, "f", 1), "f0.5");

    set_text(dict, "text", "7", 0, 1);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("text"), &one, 0, 1, &out), -EINVAL);
    CHECK_EQ_STR(told(dict, "text", 1), "\"7\"");
    struct dict_value flag = {.type = DICT_BOOLEAN};
    shared_dict_set(dict, slice_of("flag"), &flag, 0, 1);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("flag"), &one, 0, 1, &out), -EINVAL);
    shared_dict_free(dict);
}

TEST(sums_never_wrap) {
    struct shared_dict *dict = shared_dict_new(PLENTY);
    REQUIRE(dict != NULL);
    struct dict_value out, value = integer_value(INT64_MAX), one = integer_value(1), low = integer_value(INT64_MIN);
    shared_dict_set(dict, slice_of("n"), &value, 0, 1);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("n"), &one, 0, 1, &out), -ERANGE);
    CHECK_EQ_STR(told(dict, "n", 1), "i9223372036854775807");
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("n"), &low, 0, 1, &out), 0);
    CHECK_EQ_STR(told(dict, "n", 1), "i-1");
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("n"), &low, 0, 1, &out), -ERANGE);
    value = float_value(1e308);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("f"), &value, 0, 1, &out), 0);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("f"), &value, 0, 1, &out), -ERANGE);
    value = float_value(NAN);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("f"), &value, 0, 1, &out), -ERANGE);
    CHECK_EQ_STR(told(dict, "f", 1), "f1e+308");
    shared_dict_free(dict);
}

TEST(a_count_keeps_the_time_it_began_with) {
    struct shared_dict *dict = shared_dict_new(PLENTY);
    REQUIRE(dict != NULL);
    struct dict_value out, one = integer_value(1);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("n"), &one, 100, 1000, &out), 0);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("n"), &one, 100, 1090, &out), 0);
    CHECK_EQ_INT(out.integer, 2);
    CHECK_EQ_INT(shared_dict_incr(dict, slice_of("n"), &one, 100, 1100, &out), 0);
    CHECK_EQ_INT(out.integer, 1);
    CHECK_EQ_STR(told(dict, "n", 1199), "i1");
    CHECK_EQ_STR(told(dict, "n", 1200), "none");
    shared_dict_free(dict);
}

TEST(every_failed_allocation_leaves_all_as_it_was) {
    for (int n = 0;; n++) {
        check_alloc_fail_at(n);
        struct shared_dict *dict = shared_dict_new(PLENTY);
        bool reached = check_alloc_disarm();
        CHECK((dict == NULL) == reached);
        shared_dict_free(dict);
        if (!reached)
            break;
    }
    for (int n = 0;; n++) {
        struct shared_dict *dict = shared_dict_new(PLENTY);
        REQUIRE(dict != NULL);
        size_t before = bytes_of(dict);
        check_alloc_fail_at(n);
        int rc = set_text(dict, "key", "value", 1000, 1);
        bool reached = check_alloc_disarm();
        CHECK_EQ_INT(rc, reached ? -ENOMEM : 0);
        CHECK_EQ_INT(keys_of(dict), !reached);
        if (reached)
            CHECK_EQ_INT(bytes_of(dict), before);
        CHECK_EQ_INT(set_text(dict, "key", "value", 0, 1), 0);
        check_alloc_fail_at(0);
        CHECK_EQ_STR(told(dict, "key", 1), "no memory");
        CHECK(check_alloc_disarm());
        CHECK_EQ_STR(told(dict, "key", 1), "\"value\"");
        shared_dict_free(dict);
        if (!reached) {
            CHECK_EQ_INT(n, 3); /* the text, the heap, the entry */
            break;
        }
    }
    shared_dict_free(NULL);
}

/* --- threads ------------------------------------------------------------------------------------ */

enum { THREADS = 4, ROUNDS = 2000 };

static void *count_and_write(void *context) {
    struct shared_dict *dict = context;
    struct dict_value out, one = integer_value(1);
    for (int i = 0; i < ROUNDS; i++) {
        char key[16];
        struct buf storage = {0};
        snprintf(key, sizeof key, "k%d", i % 50);
        shared_dict_incr(dict, slice_of("total"), &one, 0, 1, &out);
        shared_dict_incr(dict, slice_of(key), &one, (uint64_t)(i % 3), (uint64_t)i, &out);
        set_text(dict, i % 2 ? "a" : "b", key, 5, (uint64_t)i);
        shared_dict_get(dict, slice_of("a"), (uint64_t)i, &out, &storage);
        if (i % 10 == 0)
            shared_dict_delete(dict, slice_of(key), (uint64_t)i);
        buf_deinit(&storage);
    }
    return NULL;
}

TEST(counts_are_exact_over_threads) {
    struct shared_dict *dict = shared_dict_new(PLENTY);
    REQUIRE(dict != NULL);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, count_and_write, dict) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ_STR(told(dict, "total", 1), "i8000");
    shared_dict_free(dict);
}

CHECK_MAIN()
