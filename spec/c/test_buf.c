/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include <errno.h>

#include "../../core/buf.c"
#include "../../core/list.h"

TEST(an_empty_buffer_has_no_memory) {
    struct buf b;
    buf_init(&b);
    CHECK(b.data == NULL);
    CHECK_EQ_INT(buf_append(&b, NULL, 0), 0);
    CHECK(b.data == NULL);
    CHECK_EQ_INT(buf_slice(&b).len, 0);
    size_t len = 1;
    CHECK(buf_take(&b, &len) == NULL);
    CHECK_EQ_INT(len, 0);
    buf_deinit(&b);
    buf_deinit(&b);
}

TEST(what_is_appended_is_there_in_order) {
    struct buf b = {0};
    CHECK_EQ_INT(buf_append_text(&b, "one "), 0);
    CHECK_EQ_INT(buf_append_char(&b, '\0'), 0);
    CHECK_EQ_INT(buf_append_slice(&b, slice_of(" two")), 0);
    CHECK_EQ_INT(buf_appendf(&b, " %d%s", 3, "!"), 0);
    CHECK_EQ_MEM(b.data, b.len, "one \0 two 3!", 12);
    buf_clear(&b);
    CHECK_EQ_INT(buf_append_text(&b, "again"), 0);
    CHECK_EQ_BUF(b, "again");
    buf_clear(&b);
    CHECK_EQ_INT(b.len, 0);
    buf_deinit(&b);
}

TEST(growing_byte_by_byte_keeps_all) {
    struct buf b = {0};
    for (int i = 0; i < 10000; i++) {
        REQUIRE(buf_append_char(&b, (char)(i * 7)) == 0);
        REQUIRE(b.len <= b.cap);
    }
    for (int i = 0; i < 10000; i++)
        REQUIRE(b.data[i] == (char)(i * 7));
    buf_deinit(&b);
}

TEST(formatted_text_of_any_length_comes_whole) {
    struct buf b = {0};
    char text[300];
    memset(text, 'x', sizeof text);
    for (int len = 0; len < 300; len++) {
        CHECK_NOTE("%d bytes", len);
        buf_clear(&b);
        REQUIRE(buf_appendf(&b, "<%.*s>", len, text) == 0);
        REQUIRE(b.len == (size_t)len + 2 && b.data[0] == '<' && b.data[b.len - 1] == '>');
    }
    buf_deinit(&b);
}

TEST(memory_that_is_taken_is_the_takers) {
    struct buf b = {0};
    size_t len;
    REQUIRE(buf_append_text(&b, "mine") == 0);
    char *taken = buf_take(&b, &len);
    CHECK_EQ_MEM(taken, len, "mine", 4);
    CHECK(b.data == NULL && b.len == 0 && b.cap == 0);
    REQUIRE(buf_append_text(&b, "other") == 0);
    CHECK_EQ_MEM(taken, len, "mine", 4);
    free(taken);
    buf_deinit(&b);
}

TEST(a_failed_growth_changes_nothing) {
    struct buf b = {0};
    REQUIRE(buf_append_text(&b, "kept") == 0);
    char *data = b.data;
    size_t cap = b.cap;
    char many[200];
    memset(many, 'm', sizeof many);
    for (int way = 0; way < 4; way++) {
        CHECK_NOTE("way %d", way);
        check_alloc_fail_at(0);
        int rc = way == 0   ? buf_append(&b, many, sizeof many)
                 : way == 1 ? buf_reserve(&b, sizeof many)
                 : way == 2 ? buf_appendf(&b, "%200s", "")
                            : buf_append_slice(&b, slice_make(many, sizeof many));
        CHECK(check_alloc_disarm());
        CHECK_EQ_INT(rc, -ENOMEM);
        CHECK(b.data == data && b.cap == cap);
        CHECK_EQ_BUF(b, "kept");
    }
    CHECK_EQ_INT(buf_reserve(&b, SIZE_MAX), -ENOMEM);
    CHECK_EQ_INT(buf_reserve(&b, SIZE_MAX - 3), -ENOMEM);
    CHECK_EQ_INT(buf_reserve(&b, SIZE_MAX / 2), -ENOMEM);
    CHECK_EQ_BUF(b, "kept");
    buf_deinit(&b);
}

TEST(numbers_are_read_whole_or_not_at_all) {
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } CASES[] = {
        {"0", true, 0},
        {"7", true, 7},
        {"0007", true, 7},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"18446744073709551620", false, 0},
        {"99999999999999999999", false, 0},
        {"00000000000000000001", true, 1},
        {"000000000000000000001", false, 0}, /* 21 digits */
        {"", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"+1", false, 0},
        {"-1", false, 0},
        {"1.0", false, 0},
        {"0x10", false, 0},
        {"1/", false, 0},
        {"1:", false, 0},
        {"\xd9\xa1", false, 0}, /* an Arabic digit */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint64_t value = 0;
        CHECK_NOTE("\"%s\"", CASES[i].text);
        CHECK(slice_to_u64(slice_of(CASES[i].text), &value) == CASES[i].ok);
        CHECK(!CASES[i].ok || value == CASES[i].value);
    }
    uint64_t value;
    CHECK(!slice_to_u64(slice_make("1\0", 2), &value));
    CHECK(!slice_to_u64(slice_make(NULL, 0), &value));
}

TEST(slices_are_compared_by_their_bytes) {
    CHECK(slice_equal(slice_make(NULL, 0), slice_of("")));
    CHECK(slice_is(slice_make("abc", 2), "ab"));
    CHECK(!slice_is(slice_of("ab"), "abc"));
    CHECK(!slice_equal(slice_make("a\0b", 3), slice_make("a\0c", 3)));
    CHECK(slice_equal_nocase(slice_of("Last-EVENT-id"), slice_of("last-event-ID")));
    CHECK(!slice_equal_nocase(slice_of("a@"), slice_of("a`"))); /* 0x40 and 0x60 are no letters */
    CHECK(!slice_equal_nocase(slice_of("["), slice_of("{")));
    CHECK(!slice_equal_nocase(slice_of("\xc4"), slice_of("\xe4"))); /* ASCII only */
    CHECK(!slice_equal_nocase(slice_of("ab"), slice_of("abc")));
    CHECK(slice_equal_nocase(slice_make(NULL, 0), slice_make(NULL, 0)));
    CHECK(slice_hash(slice_of("a")) != slice_hash(slice_of("b")));
    CHECK(slice_hash(slice_of("a")) == slice_hash(slice_make("ab", 1)));
    CHECK(slice_hash(slice_make(NULL, 0)) == slice_hash(slice_of("")));
}

TEST(a_list_keeps_its_order_and_forgives_a_second_unlink) {
    struct list head, nodes[4];
    list_init(&head);
    for (int i = 0; i < 4; i++) {
        list_init(&nodes[i]);
        list_unlink(&nodes[i]); /* in no list */
    }
    CHECK(list_empty(&head));
    list_append(&head, &nodes[0]);
    list_append(&head, &nodes[2]);
    list_insert_before(&nodes[2], &nodes[1]);
    list_append(&head, &nodes[3]);
    struct list *at = head.next;
    for (int i = 0; i < 4; i++, at = at->next)
        CHECK(at == &nodes[i] && at->prev->next == at && at->next->prev == at);
    CHECK(at == &head);
    list_unlink(&nodes[1]);
    list_unlink(&nodes[1]);
    CHECK(nodes[0].next == &nodes[2] && nodes[2].prev == &nodes[0]);
    list_unlink(&nodes[0]);
    list_unlink(&nodes[3]);
    list_unlink(&nodes[2]);
    CHECK(list_empty(&head));
}

CHECK_MAIN()
