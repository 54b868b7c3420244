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
    LOG_END_BYTES = 6     /* three dots, and what ends a record */
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
    log->sink = sink_stderr;
    log->context = NULL;
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

void log_write(struct log *log, enum log_level level, const char *area, const char *format, ...) {
    if (!log_enabled(log, level))
        return;
    char text[LOG_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    int need = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bool fits = need < (int)sizeof text;
    size_t text_len = need < 0 ? 0 : fits ? (size_t)need : sizeof text - 1;

    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);

    bool json = atomic_load_explicit(&log->format, memory_order_relaxed) == LOG_JSON;
    char line[LOG_LINE_BYTES];
    int head = snprintf(line, sizeof line,
                        json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"area\":\"%s\",\"message\":\"" : "%s.%03ldZ %s %s: ",
                        stamp, now.tv_nsec / 1000000, LEVELS[level], area);
    size_t len = (size_t)head;
    bool whole;
    len += escape(line + len, sizeof line - len - LOG_END_BYTES, slice_make(text, text_len), json, &whole);
    if (!fits || !whole) {
        memcpy(line + len, "...", 3);
        len += 3;
    }
    if (json) {
        line[len++] = '"';
        line[len++] = '}';
    }
    line[len++] = '\n';
    log->sink(log->context, line, len);
}
