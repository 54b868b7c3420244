/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "utf8.h"

enum {
    LOG_TEXT_BYTES = 4096,
    LOG_LINE_BYTES = LOG_TEXT_BYTES * 2 + 256,
    LOG_ESCAPE_BYTES = 7, /* one character escaped, and a NUL */
    LOG_END_BYTES = 6,    /* three dots, and what ends a record */
    LOG_FIELD_BYTES = 4096, /* of one field's value */
    LOG_FIELD_END_BYTES = 16 /* quotes and dots around it */
};

static const char *const LEVELS[] = {"debug", "info", "warn", "error"};

static void sink_stderr(void *context, const char *line, size_t len) {
    (void)context;
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, line, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        line += n;
        len -= (size_t)n;
    }
}

void log_init(struct log *log) {
    atomic_init(&log->level, LOG_INFO);
    atomic_init(&log->format, LOG_TEXT);
    atomic_init(&log->access, false);
    atomic_init(&log->frames, false);
    log->sink = sink_stderr;
    log->context = NULL;
}

void log_set(struct log *log, const struct log_settings *settings) {
    atomic_store_explicit(&log->level, settings->level, memory_order_relaxed);
    atomic_store_explicit(&log->format, settings->format, memory_order_relaxed);
    atomic_store_explicit(&log->access, settings->access, memory_order_relaxed);
    atomic_store_explicit(&log->frames, settings->frames, memory_order_relaxed);
}

int log_level_parse(const char *name) {
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, LEVELS[i]) == 0)
            return i;
    }
    return -EINVAL;
}

/* Copies text escaped: control characters always, quotes and backslashes for JSON, and bytes that are not UTF-8, which JSON cannot
 * hold. Returns what was written; `*whole` is false where not all had room. */
static size_t escape(char *out, size_t room, struct slice text, bool json, bool *whole) {
    const unsigned char *p = (const unsigned char *)text.ptr;
    size_t left = text.len, n = 0, step;
    for (; left && n + LOG_ESCAPE_BYTES < room; p += step, left -= step) {
        size_t known = utf8_sequence(p, left);
        step = known ? known : 1;
        if (*p == '\n' || *p == '\r' || *p == '\t') {
            out[n++] = '\\';
            out[n++] = *p == '\n' ? 'n' : *p == '\r' ? 'r' : 't';
        } else if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && known && p[1] < 0xa0)) {
            n += (size_t)snprintf(out + n, room - n, json ? "\\u%04x" : "\\x%02x", p[known - 1]);
        } else if (!known) {
            n += (size_t)snprintf(out + n, room - n, json ? "\\ufffd" : "\\x%02x", *p);
        } else {
            if (json && (*p == '"' || *p == '\\'))
                out[n++] = '\\';
            memcpy(out + n, p, known);
            n += known;
        }
    }
    *whole = left == 0;
    return n;
}

/* A record on its way into a line. */
struct record {
    bool json;
    size_t len;
    char line[LOG_LINE_BYTES];
};

static void record_begin(struct record *r, const struct log *log, enum log_level level, const char *area) {
    struct timespec now;
    struct tm tm;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    r->json = atomic_load_explicit(&log->format, memory_order_relaxed) == LOG_JSON;
    int n = snprintf(r->line, sizeof r->line,
                     r->json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"area\":\"%s\",\"message\":\"" : "%s.%03ldZ %s %s: ", stamp,
                     now.tv_nsec / 1000000, LEVELS[level], area);
    r->len = (size_t)n;
}

static void put(struct record *r, const char *text, size_t len) {
    if (r->len + len + LOG_END_BYTES > sizeof r->line)
        return;
    memcpy(r->line + r->len, text, len);
    r->len += len;
}

/* Appends text escaped, and dots where not all of it had room, or `cut` says so. */
static void put_escaped(struct record *r, struct slice text, bool quoted, bool cut) {
    bool whole = true;
    size_t used = r->len + LOG_FIELD_END_BYTES + LOG_END_BYTES;
    if (used < sizeof r->line)
        r->len += escape(r->line + r->len, sizeof r->line - used, text, quoted, &whole);
    if (cut || !whole)
        put(r, "...", 3);
}

static void record_end(struct record *r, const struct log *log) {
    if (r->json)
        r->line[r->len++] = '}';
    r->line[r->len++] = '\n';
    log->sink(log->context, r->line, r->len);
}

void log_write(struct log *log, enum log_level level, const char *area, const char *format, ...) {
    if (!log_enabled(log, level))
        return;
    char text[LOG_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    int need = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bool fits = need < (int)sizeof text;
    size_t len = need < 0 ? 0 : fits ? (size_t)need : sizeof text - 1;
    struct record r;
    record_begin(&r, log, level, area);
    put_escaped(&r, slice_make(text, len), r.json, !fits);
    if (r.json)
        put(&r, "\"", 1);
    record_end(&r, log);
}

/* --- records with fields ------------------------------------------------------------------------ */

/* True for what needs no quotes in a text record. */
static bool is_plain(struct slice value) {
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c <= 0x20 || c == '"' || c == '=' || c == '\\' || c >= 0x7f)
            return false;
    }
    return value.len > 0;
}

static void put_field(struct record *r, const struct log_field *f) {
    bool quoted = r->json ? !f->number : !is_plain(f->value);
    size_t name = strlen(f->name);
    if (r->len + name + LOG_FIELD_END_BYTES + LOG_END_BYTES > sizeof r->line)
        return; /* the line is full: the rest goes without */
    put(r, r->json ? ",\"" : " ", r->json ? 2 : 1);
    put(r, f->name, name);
    put(r, r->json ? "\":" : "=", r->json ? 2 : 1);
    if (quoted)
        put(r, "\"", 1);
    bool cut = f->value.len > LOG_FIELD_BYTES;
    put_escaped(r, slice_make(f->value.ptr, cut ? LOG_FIELD_BYTES : f->value.len), quoted, cut);
    if (quoted)
        put(r, "\"", 1);
}

void log_record(struct log *log, enum log_level level, const char *area, const char *message, const struct log_field *fields, size_t count) {
    struct record r;
    record_begin(&r, log, level, area);
    put_escaped(&r, slice_of(message), r.json, false);
    if (r.json)
        put(&r, "\"", 1);
    for (size_t i = 0; i < count; i++)
        put_field(&r, &fields[i]);
    record_end(&r, log);
}
