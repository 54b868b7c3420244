/* SPDX-License-Identifier: MIT */
/* The event stream format of the HTML standard, section 9.2: writing events, and reading them back
 * incrementally as a client does. Pure text in and out. */
#ifndef SLUICE_SSE_H
#define SLUICE_SSE_H

#include "buf.h"

/* True where `s` can stand in an `event` or `id` field: no CR, LF or NUL. */
bool sse_field_valid(struct slice s);

/* The exact number of bytes that sse_write_data will write; reads `data` once. */
size_t sse_data_size(struct slice data);

/* Writes "data: ...\n" for each line of `data`, which is split on LF, CR and CRLF; empty data is one empty line. `out` has room
 * for sse_data_size(data). Returns the number of bytes written. */
size_t sse_write_data(char *out, struct slice data);

/* Appends the data that the data lines in `lines` carry (what sse_write_data wrote), lines joined by LF. Returns 0 or -ENOMEM. */
int sse_read_data(struct slice lines, struct buf *out);

/* Appends a whole event. `id` and `event` are left out where their ptr is NULL. Returns 0, -EINVAL for a
 * field that sse_field_valid refuses, or -ENOMEM; `out` is then as before. */
int sse_append_event(struct buf *out, struct slice id, struct slice event, struct slice data);

/* Appends a comment, a line ":" with the text (nothing put between) for each of its lines; no blank line after it. Returns 0 or -ENOMEM. */
int sse_append_comment(struct buf *out, struct slice text);

/* --- reading (HTML standard, 9.2.6) ------------------------------------------------------------- */

struct sse_events {
    /* An event was dispatched. `id` is the last event ID string at that time (empty where none was ever set); `type` is "message"
     * where no event field came. Slices are valid during the call. */
    void (*event)(void *context, struct slice id, struct slice type, struct slice data);
    /* A retry field of digits only was read, in milliseconds. May be NULL. */
    void (*retry)(void *context, uint64_t ms);
    /* A comment line was read, without its colon. May be NULL. */
    void (*comment)(void *context, struct slice text);
    void *context;
};

/* Zero-initialised, then sse_parser_init. */
struct sse_parser {
    struct sse_events events;
    size_t limit; /* the most bytes of one line or of one event's data */
    struct buf line;
    struct buf data;
    struct buf type;
    struct buf last_id;    /* what a dispatched event reports */
    struct buf pending_id; /* the last event ID buffer */
    bool has_data;
    bool skip_lf;
    bool started; /* the byte order mark was looked for */
};

void sse_parser_init(struct sse_parser *p, const struct sse_events *events, size_t limit);
void sse_parser_deinit(struct sse_parser *p);

/* Reads on; chunks may break anywhere, also inside a CRLF, the byte order mark or a UTF-8 sequence. Returns 0, -EMSGSIZE when
 * `limit` is passed, or -ENOMEM; after a failure the parser may only be freed. An incomplete event at the end of the input is
 * never dispatched. */
int sse_parser_feed(struct sse_parser *p, const char *data, size_t len);

#endif
