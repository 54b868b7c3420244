/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <stdio.h>

#include "idempotency.h"

static int begin(struct idempotency *t, const char *key, uint64_t fingerprint, uint64_t now_ms, struct idempotency_answer *out) {
    return idempotency_begin(t, slice_of(key), fingerprint, now_ms, out);
}

TEST(a_key_is_new_then_pending_then_known) {
    struct idempotency *t = idempotency_new(10);
    struct idempotency_answer answer;
    REQUIRE(t != NULL);
    CHECK_EQ_INT(begin(t, "k", 1, 0, &answer), IDEMPOTENCY_NEW);
    CHECK_EQ_INT(begin(t, "k", 1, 0, &answer), IDEMPOTENCY_PENDING);
    CHECK_EQ_INT(begin(t, "k", 2, 0, &answer), IDEMPOTENCY_OTHER);
    idempotency_done(t, slice_of("k"), &(struct idempotency_answer){{5, 6}, 7});
    CHECK_EQ_INT(begin(t, "k", 1, 0, &answer), IDEMPOTENCY_KNOWN);
    CHECK(answer.id.ms == 5 && answer.id.n == 6 && answer.subscribers == 7);
    CHECK_EQ_INT(begin(t, "k", 2, 0, &answer), IDEMPOTENCY_OTHER);
    CHECK_EQ_INT(begin(t, "other", 1, 0, &answer), IDEMPOTENCY_NEW);
    idempotency_forget(t, slice_of("other"));
    CHECK_EQ_INT(begin(t, "other", 2, 0, &answer), IDEMPOTENCY_NEW);
    idempotency_free(t);
}

TEST(a_key_is_forgotten_when_it_is_old) {
    struct idempotency *t = idempotency_new(10);
    struct idempotency_answer answer;
    REQUIRE(t != NULL);
    begin(t, "k", 1, 1000, &answer);
    CHECK_EQ_INT(begin(t, "k", 1, 1000 + IDEMPOTENCY_MS, &answer), IDEMPOTENCY_PENDING);
    CHECK_EQ_INT(begin(t, "k", 1, 1001 + IDEMPOTENCY_MS, &answer), IDEMPOTENCY_NEW);
    idempotency_free(t);
}

TEST(the_oldest_go_where_there_are_too_many) {
    struct idempotency *t = idempotency_new(3);
    struct idempotency_answer answer;
    char key[8];
    REQUIRE(t != NULL);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "%d", i);
        CHECK_EQ_INT(begin(t, key, 1, 0, &answer), IDEMPOTENCY_NEW);
    }
    CHECK_EQ_INT(begin(t, "99", 1, 0, &answer), IDEMPOTENCY_PENDING);
    CHECK_EQ_INT(begin(t, "90", 1, 0, &answer), IDEMPOTENCY_NEW);
    idempotency_free(t);
}

TEST(keys_are_visible_ascii) {
    static const char *const BAD[] = {"", " ", "a b", "a\t", "\x7f", "gr\xc3\xbcn"};
    CHECK(idempotency_key_valid(slice_of("!~aZ09")));
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        CHECK(!idempotency_key_valid(slice_of(BAD[i])));
}

CHECK_MAIN()
