/* SPDX-License-Identifier: MIT */
/* The levelled log: one record a call, to one replaceable sink of its owner. Formats into a fixed
 * buffer, so that it never allocates; a longer record is cut and ends in "...". Safe from any thread. */
#ifndef SLUICE_LOG_H
#define SLUICE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

enum log_format { LOG_TEXT, LOG_JSON };

/* What of a log can be changed while it is in use. */
struct log_settings {
    int level, format;
    bool access, frames;
};

/* Receives one whole line, newline included. Called from any thread, so one call is one write. */
typedef void (*log_sink)(void *context, const char *line, size_t len);

struct log {
    atomic_int level;  /* enum log_level: what lies below is not written */
    atomic_int format; /* enum log_format */
    atomic_bool access; /* a record for each request, and for a stream's beginning and end */
    atomic_bool frames; /* a record for each frame that is sent */
    log_sink sink;
    void *context;
};

/* A log at `info`, as text, to standard error. */
void log_init(struct log *log);

/* Puts settings in force, from any thread. */
void log_set(struct log *log, const struct log_settings *settings);

/* Reads "debug", "info", "warn" or "error". Returns the level, or -EINVAL. */
int log_level_parse(const char *name);

static inline bool log_enabled(const struct log *log, enum log_level level) {
    return (int)level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

/* Writes one record: `area` is the part of the server that speaks ("http", "policy", ...). Control
 * characters in the text are escaped, so a record is always one line. */
void log_write(struct log *log, enum log_level level, const char *area, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A part of a record. */
struct log_field {
    const char *name;
    struct slice value;
    bool number; /* the value is a number's text: without quotes in JSON */
};

/* Writes one record with fields, whatever the level: `name=value` behind the message, with quotes where they are needed, or members in JSON. Control characters are escaped;
 * long values are cut, and fields for which the line has no room are left out. */
void log_record(struct log *log, enum log_level level, const char *area, const char *message, const struct log_field *fields, size_t count);

#endif
