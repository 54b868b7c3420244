/* SPDX-License-Identifier: MIT */
/* The raw pass over a request's bytes: a state machine that finds where request line, fields, chunks and trailers
 * begin and end (RFC 9112), counts them against the limits and refuses what two servers could read in two ways: a
 * bare LF or CR, a folded field, blanks where none belong, control bytes. Keeps the raw head. Does not know what a
 * method or a field means, and reads no body; private to http_request.c. How the bytes are cut into calls never
 * changes the outcome. */
#ifndef SLUICE_HTTP_SCAN_H
#define SLUICE_HTTP_SCAN_H

#include "buf.h"
#include "http_request.h"

/* What the next byte is, in the order of a request. */
enum http_scan_state {
    HTTP_AT_LEADING, /* CRLFs before the request line */
    HTTP_AT_LEADING_LF,
    HTTP_AT_METHOD,
    HTTP_AT_TARGET,
    HTTP_AT_VERSION,
    HTTP_AT_LINE_CR,
    HTTP_AT_LINE_LF,
    HTTP_AT_FIELD, /* a field of the head or a trailer, or the CR of the empty line */
    HTTP_AT_FIELD_NAME,
    HTTP_AT_BLANKS, /* between colon and value */
    HTTP_AT_VALUE,
    HTTP_AT_VALUE_LF,
    HTTP_AT_FIELDS_LF,
    HTTP_AT_COUNTED, /* a body with a Content-Length */
    HTTP_AT_CHUNK_SIZE,
    HTTP_AT_CHUNK_EXTENSION,
    HTTP_AT_CHUNK_SIZE_LF,
    HTTP_AT_CHUNK_DATA,
    HTTP_AT_CHUNK_CR,
    HTTP_AT_CHUNK_LF,
    HTTP_AT_END, /* of the head, until http_scan_expect says what follows; or of the request */
    HTTP_AT_REFUSED
};

/* A header field, as places in `head`, which moves while it grows. The value still has the blanks at its end. */
struct http_field {
    uint32_t name;
    uint32_t name_len;
    uint32_t value;
    uint32_t value_len;
};

struct http_scan {
    struct http_limits limits;
    enum http_scan_state state;
    int status;         /* where refused, as in struct http_request */
    const char *reason; /* likewise */
    struct buf head;    /* raw, from the method on; does not change after the end of the head */
    size_t method_len;  /* the method lies at 0, the version after target and blank */
    size_t target_at;
    size_t target_len;
    size_t field_count;
    struct http_field fields[HTTP_MAX_FIELDS + 1]; /* the last is written to for trailers */

    /* private */
    bool trailing; /* the fields that are being read are trailers */
    unsigned leading;
    unsigned version_len;
    unsigned chunk_digits;
    size_t left;      /* bytes still allowed: in the head, then in chunk extensions and trailers together */
    size_t body_left; /* bytes to come of the body, or of the chunk */
    size_t announced; /* bytes of all chunks whose size was read */
};

/* `scan` need not have been zeroed. */
void http_scan_init(struct http_scan *scan, const struct http_limits *limits);

/* Makes ready for the next request; keeps `head` up to `kept` bytes of capacity. */
void http_scan_reset(struct http_scan *scan, size_t kept);

void http_scan_deinit(struct http_scan *scan);

/* Each of these reads on from `*at`, moves it behind what was accepted, and returns false where a byte was refused:
 * `state` is HTTP_AT_REFUSED then, with status and reason. */

/* Skips CRLFs and reads the request line; `state` is HTTP_AT_FIELD once that is complete, and all of it is in
 * `head`. */
bool http_scan_line(struct http_scan *scan, const char **at, const char *end);

/* Reads the fields; `state` is HTTP_AT_END once the head is complete, and all of it is in `head`. */
bool http_scan_fields(struct http_scan *scan, const char **at, const char *end);

/* After the head: says what body follows. With neither chunks nor a length there is none, and the state stays
 * HTTP_AT_END. */
void http_scan_expect(struct http_scan *scan, bool chunked, size_t length);

/* Reads the body, its framing and trailers; `state` is HTTP_AT_END once the request is complete. */
bool http_scan_body(struct http_scan *scan, const char **at, const char *end);

/* Refuses the request. Returns false, for callers that return that. */
bool http_scan_refuse(struct http_scan *scan, int status, const char *reason);

#endif
