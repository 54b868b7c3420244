/* SPDX-License-Identifier: MIT */
#include "redis_url.h"

#include <errno.h>
#include <string.h>

#include "http_request.h"

static bool starts_with(struct slice *rest, const char *prefix) {
    size_t len = strlen(prefix);
    if (rest->len < len || memcmp(rest->ptr, prefix, len) != 0)
        return false;
    *rest = slice_make(rest->ptr + len, rest->len - len);
    return true;
}

/* Where the last `c` is; rest.len where there is none. */
static size_t find_last(struct slice rest, char c) {
    for (size_t i = rest.len; i > 0; i--) {
        if (rest.ptr[i - 1] == c)
            return i - 1;
    }
    return rest.len;
}

static struct slice from(struct slice s, size_t at) {
    return at < s.len ? slice_make(s.ptr + at, s.len - at) : slice_make(NULL, 0);
}

static int read_number(struct slice text, uint64_t max, unsigned *out) {
    uint64_t value;
    if (!slice_to_u64(text, &value) || value > max)
        return -EINVAL;
    *out = (unsigned)value;
    return 0;
}

/* user:password, each percent-encoded; a name alone is a user. */
static int read_login(struct slice login, struct redis_url *out) {
    const char *colon = login.len ? memchr(login.ptr, ':', login.len) : NULL;
    size_t user_len = colon ? (size_t)(colon - login.ptr) : login.len;
    int rc = http_percent_decode(slice_make(login.ptr, user_len), false, &out->user);
    return rc || !colon ? rc : http_percent_decode(from(login, user_len + 1), false, &out->password);
}

static int read_host(struct slice authority, struct redis_url *out) {
    struct slice host = authority;
    size_t colon = find_last(authority, ':'), bracket = find_last(authority, ']');
    if (colon < authority.len && (bracket == authority.len || colon > bracket)) {
        host.len = colon;
        if (read_number(from(authority, colon + 1), 65535, &out->port) != 0)
            return -EINVAL;
    }
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = slice_make(host.ptr + 1, host.len - 2);
    if (host.len == 0 || memchr(host.ptr, '\0', host.len))
        return -EINVAL;
    int rc = buf_append_slice(&out->host, host);
    rc = rc ? rc : buf_append_char(&out->host, '\0');
    out->host.len--;
    return rc;
}

int redis_url_parse(struct slice text, struct redis_url *out) {
    struct slice rest = text;
    *out = (struct redis_url){.port = REDIS_PORT};
    out->tls = starts_with(&rest, "rediss://");
    if (!out->tls && !starts_with(&rest, "redis://"))
        return -EINVAL;
    /* Passwords may hold anything: the login ends at the last "@", and a database is digits after the last "/" that follows it. */
    size_t at = find_last(rest, '@');
    int rc = 0;
    if (at < rest.len) {
        rc = read_login(slice_make(rest.ptr, at), out);
        rest = from(rest, at + 1);
    }
    size_t slash = find_last(rest, '/');
    if (rc == 0 && slash + 1 < rest.len)
        rc = read_number(from(rest, slash + 1), INT32_MAX, &out->database);
    rest.len = slash;
    return rc ? rc : read_host(rest, out);
}

void redis_url_deinit(struct redis_url *url) {
    if (url->password.data)
        explicit_bzero(url->password.data, url->password.cap);
    buf_deinit(&url->password);
    buf_deinit(&url->user);
    buf_deinit(&url->host);
}
