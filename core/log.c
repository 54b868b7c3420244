/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOG_TEXT_BYTES = 4096, LOG_LINE_BYTES = LOG_TEXT_BYTES * 2 + 256 };

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

/* Copies `text` escaped: control characters always, quotes and backslashes for JSON. */
static size_t escape(char *out, size_t room, const char *text, bool json) {
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p && n + 7 < room; p++) {
        if (*p == '\n' || *p == '\r' || *p == '\t') {
            out[n++] = '\\';
            out[n++] = *p == '\n' ? 'n' : *p == '\r' ? 'r' : 't';
        } else if (*p < 0x20 || *p == 0x7f) {
            n += (size_t)snprintf(out + n, room - n, json ? "\\u%04x" : "\\x%02x", *p);
        } else {
            if (json && (*p == '"' || *p == '\\'))
                out[n++] = '\\';
            out[n++] = (char)*p;
        }
    }
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
    if (need >= (int)sizeof text)
        memcpy(text + sizeof text - 4, "...", 4);

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
    len += escape(line + len, sizeof line - len - 4, text, json);
    if (json) {
        line[len++] = '"';
        line[len++] = '}';
    }
    line[len++] = '\n';
    log->sink(log->context, line, len);
}
