/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <errno.h>

#include "redis_url.h"

static struct redis_url parsed(const char *text) {
    struct redis_url url;
    CHECK_NOTE("%s", text);
    CHECK_EQ_INT(redis_url_parse(slice_of(text), &url), 0);
    return url;
}

TEST(the_parts_have_defaults) {
    struct redis_url url = parsed("redis://db.example");
    CHECK(!url.tls && slice_is(buf_slice(&url.host), "db.example"));
    CHECK(url.host.data[url.host.len] == '\0');
    CHECK_EQ_INT(url.port, 6379);
    CHECK_EQ_INT(url.database, 0);
    CHECK_EQ_INT(url.user.len + url.password.len, 0);
    redis_url_deinit(&url);
}

TEST(each_part_is_read) {
    struct redis_url url = parsed("rediss://ann:p%40ss%3Aw@rd:/@[::1]:7000/15");
    CHECK(url.tls && slice_is(buf_slice(&url.host), "::1"));
    CHECK_EQ_INT(url.port, 7000);
    CHECK_EQ_INT(url.database, 15);
    CHECK(slice_is(buf_slice(&url.user), "ann"));
    CHECK(slice_is(buf_slice(&url.password), "p@ss:w@rd:/"));
    redis_url_deinit(&url);
}

TEST(a_password_needs_no_user_and_a_user_no_password) {
    struct redis_url url = parsed("redis://:secret@h/");
    CHECK(url.user.len == 0 && slice_is(buf_slice(&url.password), "secret"));
    redis_url_deinit(&url);
    url = parsed("redis://ann@h");
    CHECK(slice_is(buf_slice(&url.user), "ann") && url.password.len == 0);
    redis_url_deinit(&url);
}

TEST(what_is_no_url_is_refused) {
    static const char *const BAD[] = {"", "redis:", "redis://", "http://a", "redis://:1", "redis://a:x", "redis://a:65536", "redis://a/x", "redis://a/99999999999", "redis://u:p@", "redis://%zz@a"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct redis_url url;
        CHECK_NOTE("%s", BAD[i]);
        CHECK_EQ_INT(redis_url_parse(slice_of(BAD[i]), &url), -EINVAL);
        redis_url_deinit(&url);
    }
}

CHECK_MAIN()
