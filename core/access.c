/* SPDX-License-Identifier: MIT */
#include "access.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "exchange.h"
#include "stream.h"
#include "worker.h"

enum { ACCESS_FIELDS = 12, ACCESS_NUMBER_BYTES = 24, ACCESS_CHANNELS = 20, ACCESS_TARGET_BYTES = 2048 };

static const char HIDDEN[] = "***";

/* --- secrets ------------------------------------------------------------------------------------- */

/* True for a name that sounds like a secret's, in any case. */
static bool is_secret(struct slice name) {
    static const char *const WORDS[] = {"token", "secret", "passw", "auth", "jwt", "key", "credential", "signature", "session"};
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++) {
        size_t len = strlen(WORDS[i]);
        for (size_t at = 0; at + len <= name.len; at++) {
            if (slice_equal_nocase(slice_make(name.ptr + at, len), slice_make(WORDS[i], len)))
                return true;
        }
    }
    return false;
}

/* The same for a name as it stands in a query; one that cannot be decoded is taken for a secret's. */
static bool is_secret_encoded(struct slice name) {
    struct buf decoded = {0};
    bool secret = http_percent_decode(name, true, &decoded) != 0 || is_secret(buf_slice(&decoded));
    buf_deinit(&decoded);
    return secret;
}

static size_t base64url_run(struct slice s, size_t at) {
    size_t from = at;
    while (at < s.len && ((s.ptr[at] >= '0' && s.ptr[at] <= '9') || (s.ptr[at] >= 'a' && s.ptr[at] <= 'z') ||
                          (s.ptr[at] >= 'A' && s.ptr[at] <= 'Z') || s.ptr[at] == '-' || s.ptr[at] == '_'))
        at++;
    return at - from;
}

/* The length of what looks like a token (RFC 7519: the base64url of an object, a dot, another) at `at`, 0 where there is none. */
static size_t token_length(struct slice s, size_t at) {
    if (s.len - at < 4 || memcmp(s.ptr + at, "eyJ", 3) != 0)
        return 0;
    size_t end = at + base64url_run(s, at);
    if (end == s.len || s.ptr[end] != '.')
        return 0;
    end += 1 + base64url_run(s, end + 1);
    if (end < s.len && s.ptr[end] == '.')
        end += 1 + base64url_run(s, end + 1);
    return end - at;
}

/* Appends text without the tokens in it, wherever they stand. */
static int append_without_tokens(struct buf *out, struct slice s) {
    int rc = 0;
    size_t from = 0;
    for (size_t at = 0; at < s.len;) {
        size_t len = token_length(s, at);
        if (len) {
            rc = rc ? rc : buf_append(out, s.ptr + from, at - from);
            rc = rc ? rc : buf_append_text(out, HIDDEN);
            from = at + len;
        }
        at += len ? len : 1;
    }
    return rc ? rc : buf_append(out, s.ptr + from, s.len - from);
}

/* Appends a request target with "***" in the place of the values that may be secrets. Returns 0 or -ENOMEM. */
static int append_target(struct buf *out, struct slice target) {
    const char *mark = memchr(target.ptr, '?', target.len);
    size_t path = mark ? (size_t)(mark - target.ptr) + 1 : target.len;
    int rc = append_without_tokens(out, slice_make(target.ptr, path));
    struct slice rest = slice_make(target.ptr + path, target.len - path), name, value;
    for (bool first = true; rc == 0 && http_query_next(&rest, &name, &value); first = false) {
        rc = first ? 0 : buf_append_char(out, '&');
        rc = rc ? rc : append_without_tokens(out, name);
        bool has_value = value.ptr > name.ptr + name.len;
        rc = rc || !has_value ? rc : buf_append_char(out, '=');
        if (value.len)
            rc = rc ? rc : is_secret_encoded(name) ? buf_append_text(out, HIDDEN) : append_without_tokens(out, value);
    }
    return rc;
}

/* --- records ------------------------------------------------------------------------------------- */

/* What the end of a stream tells beside what the stream itself still knows by then. */
struct access_note {
    struct address address;
    char request[EXCHANGE_ID_BYTES];
};

/* A record under way; what its fields refer to stays in place until it is written. */
struct record {
    struct log_field fields[ACCESS_FIELDS];
    size_t count;
    char numbers[ACCESS_FIELDS][ACCESS_NUMBER_BYTES];
    char address[ADDRESS_TEXT_BYTES];
    char stream[17];
    struct buf target, channels;
};

static void add(struct record *r, const char *name, struct slice value) {
    r->fields[r->count++] = (struct log_field){name, value, false};
}

static void add_number(struct record *r, const char *name, uint64_t value) {
    char *text = r->numbers[r->count];
    snprintf(text, ACCESS_NUMBER_BYTES, "%" PRIu64, value);
    r->fields[r->count++] = (struct log_field){name, slice_of(text), true};
}

/* Seconds with milliseconds, in any locale. */
static void add_ms(struct record *r, const char *name, uint64_t ms) {
    char *text = r->numbers[r->count];
    snprintf(text, ACCESS_NUMBER_BYTES, "%" PRIu64 ".%03u", ms / 1000, (unsigned)(ms % 1000));
    r->fields[r->count++] = (struct log_field){name, slice_of(text), true};
}

static void add_target(struct record *r, const struct exchange *x) {
    struct slice target = x->request.target;
    if (target.len > ACCESS_TARGET_BYTES)
        target.len = ACCESS_TARGET_BYTES;
    if (!target.ptr || append_target(&r->target, target) != 0)
        buf_clear(&r->target);
    add(r, "method", x->request.method_name.ptr ? x->request.method_name : slice_of("-"));
    add(r, "target", r->target.len ? buf_slice(&r->target) : slice_of("-"));
}

static void add_client(struct record *r, const struct address *address, struct slice user) {
    address_format(address, r->address);
    add(r, "address", slice_of(r->address));
    if (user.ptr)
        add(r, "user", user);
}

static void add_channels(struct record *r, const struct stream *s) {
    size_t n = 0;
    int rc = 0;
    for (const struct subscription *sub = s->sub.subs; sub && rc == 0 && n < ACCESS_CHANNELS; sub = sub->next, n++) {
        rc = n ? buf_append_char(&r->channels, ' ') : 0;
        rc = rc ? rc : buf_append(&r->channels, sub->channel->name, sub->channel->name_len);
    }
    if (s->sub_count > ACCESS_CHANNELS)
        rc = rc ? rc : buf_appendf(&r->channels, " and %" PRIu32 " more", s->sub_count - ACCESS_CHANNELS);
    add(r, "channels", buf_slice(&r->channels));
}

static void add_stream(struct record *r, const struct stream *s) {
    u64_hex(r->stream, s->id);
    add(r, "stream", slice_of(r->stream));
}

static void write_record(struct record *r, struct worker *w, const char *message) {
    log_record(w->log, LOG_INFO, "access", message, r->fields, r->count);
    buf_deinit(&r->target);
    buf_deinit(&r->channels);
}

static bool is_on(const struct worker *w) {
    return atomic_load_explicit(&w->log->access, memory_order_relaxed);
}

void access_request(const struct exchange *x, int status, size_t bytes) {
    struct worker *w = x->worker;
    if (!is_on(w))
        return;
    struct record r = {.count = 0};
    struct address client = exchange_client(x);
    add_target(&r, x);
    add_number(&r, "status", (uint64_t)status);
    add_number(&r, "bytes", bytes);
    add_ms(&r, "seconds", x->began_ms ? worker_now(w) - x->began_ms : 0);
    add_client(&r, &client, x->has_user ? buf_slice(&x->user) : slice_make(NULL, 0));
    add(&r, "request", slice_of(x->id));
    write_record(&r, w, "request");
}

void access_opened(struct stream *s, const struct exchange *x) {
    struct worker *w = s->worker;
    if (!is_on(w))
        return;
    struct record r = {.count = 0};
    struct address client = exchange_client(x);
    s->access = malloc(sizeof *s->access); /* where there is no memory for it, the end is told without */
    if (s->access) {
        s->access->address = client;
        snprintf(s->access->request, sizeof s->access->request, "%s", x->id);
    }
    add_stream(&r, s);
    add_target(&r, x);
    add_client(&r, &client, s->user ? slice_of(s->user) : slice_make(NULL, 0));
    add_channels(&r, s);
    add(&r, "request", slice_of(x->id));
    write_record(&r, w, "stream opens");
}

static void log_ended(const struct stream *s) {
    struct worker *w = s->worker;
    struct record r = {.count = 0};
    add_stream(&r, s);
    add(&r, "reason", slice_of(stream_end_name(s->end)));
    add_ms(&r, "seconds", worker_now(w) - s->opened_ms);
    add_number(&r, "events", s->events);
    add_number(&r, "bytes", s->bytes);
    if (s->access)
        add_client(&r, &s->access->address, s->user ? slice_of(s->user) : slice_make(NULL, 0));
    add_channels(&r, s);
    if (s->access)
        add(&r, "request", slice_of(s->access->request));
    write_record(&r, w, "stream ends");
}

void access_ended(struct stream *s) {
    if (s->begun && is_on(s->worker))
        log_ended(s);
    free(s->access);
    s->access = NULL;
}
