/* SPDX-License-Identifier: MIT */
/* Writes response heads and whole responses (RFC 9112) into a buffer. Refuses field names and values
 * that would forge a header. Knows no socket; the date is a parameter. */
#ifndef SLUICE_HTTP_RESPONSE_H
#define SLUICE_HTTP_RESPONSE_H

#include <time.h>

#include "buf.h"

enum { HTTP_DATE_BYTES = 29 };

/* The reason phrase, "Unknown" for a status without one (RFC 9110, 15). */
const char *http_reason(int status);

/* Writes an IMF-fixdate (RFC 9110, 5.6.7), HTTP_DATE_BYTES characters and a NUL. */
void http_date(char out[HTTP_DATE_BYTES + 1], time_t at);

/* True for a token (RFC 9110, 5.6.2). */
bool http_field_name_valid(struct slice name);

/* True for a field value without CR, LF, NUL or other control characters, save tab. */
bool http_field_value_valid(struct slice value);

/* Starts a head: status line, and the Date field where `date` is not NULL. The status line is always HTTP/1.1 (RFC 9110, 2.5).
 * All of these return 0 or -ENOMEM. */
int http_response_begin(struct buf *out, int status, const char *date);

/* Adds one field. Returns -EINVAL and writes nothing where name or value is not valid. */
int http_response_field(struct buf *out, struct slice name, struct slice value);

/* Adds a field that is known to be valid. */
int http_response_field_text(struct buf *out, const char *name, const char *value);

/* Adds Content-Length. */
int http_response_length(struct buf *out, size_t length);

/* Ends the head. */
int http_response_end(struct buf *out);

/* Appends {"error":"..."} with the text escaped as JSON; `request_id` adds the member "request" where it is not NULL. */
int http_error_body(struct buf *out, const char *text, const char *request_id);

#endif
