/* SPDX-License-Identifier: MIT */
/* One HTTP/1.1 or 1.0 request (RFC 9110, RFC 9112), read incrementally. Owns the bytes of head and
 * body, so the caller may reuse its read buffer at once. llhttp in strict mode does the grammar; a pass
 * of our own over the raw bytes of head and trailers refuses what llhttp lets through. Knows no socket,
 * no clock and no route. The only file that includes <llhttp.h>. */
#ifndef SLUICE_HTTP_REQUEST_H
#define SLUICE_HTTP_REQUEST_H

#include "buf.h"

enum { HTTP_MAX_FIELDS = 128 };

struct http_limits {
    size_t header_bytes; /* request line and fields together, over it 431; again as much for trailers (431) and chunk
                          * extensions (413) together */
    size_t target_bytes; /* the request target alone; over it 414 */
    size_t body_bytes;   /* the decoded body; over it 413 */
};

enum http_result {
    HTTP_MORE,     /* everything was consumed and the request is not complete */
    HTTP_CONTINUE, /* the head is complete, a body follows and the client waits for "100 Continue";
                    * said once; feeding on is allowed at any time */
    HTTP_DONE,     /* the request is complete; what was not consumed belongs to the next one */
    HTTP_FAILED    /* refused: `status` and `reason` say why; the connection must close after the answer. Where
                    * http_request_head_done, what was asked can be read as after HTTP_CONTINUE */
};

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_PATCH,
    HTTP_OPTIONS,
    HTTP_OTHER /* another one that llhttp reads, as TRACE: 501 by the router. Unknown tokens and CONNECT fail here */
};

struct http_parser; /* private: llhttp and the raw pass */

/* Slices point into the request and are valid until http_request_reset or _deinit, once the result was
 * HTTP_CONTINUE or HTTP_DONE. */
struct http_request {
    enum http_method method;
    struct slice method_name; /* as sent, "GET" */
    struct slice target;      /* as sent */
    struct slice path;        /* of the target, percent-encoded as sent; begins with "/", or is "*" for OPTIONS */
    struct slice query;       /* after the first "?", without it; may be empty */
    struct slice host;        /* the authority of an absolute-form target, else the Host field, e.g. "a.example:80" */
    int minor;                /* 0 or 1 of HTTP/1.x */
    bool keep_alive;          /* what the request asks for, by version and Connection field */
    struct buf body;          /* decoded; empty where there is none */

    int status;         /* after HTTP_FAILED: 400, 413, 414, 415, 417, 431, 501 or 505 */
    const char *reason; /* after HTTP_FAILED: a static sentence for the error's body */

    /* private */
    struct http_parser *parser;
};

/* Sets up `r` to read one request within `limits` (copied). Returns 0 or -ENOMEM. */
int http_request_init(struct http_request *r, const struct http_limits *limits);

/* Forgets the request and makes ready for the next one; keeps memory of ordinary size. */
void http_request_reset(struct http_request *r);

/* Frees everything. Safe after a failed init. */
void http_request_deinit(struct http_request *r);

/* Reads on. `*consumed` is how many of the `len` bytes belong to this request (all, save on
 * HTTP_DONE; on HTTP_CONTINUE those of the head). -ENOMEM inside becomes HTTP_FAILED with 503. CRLFs before the
 * request line are skipped (RFC 9112, 2.2), at most 16 bytes of them. After HTTP_DONE or HTTP_FAILED nothing may be fed
 * before a reset. What is wrong is said with the byte that makes it so, or at the end of the request line or head; how the
 * bytes are cut into calls never changes it. All versions but 1.0 and 1.1 fail with 505: nobody has defined 1.2. */
enum http_result http_request_feed(struct http_request *r, const char *data, size_t len, size_t *consumed);

/* True once any byte of the request (leading CRLFs aside) has been read: tells an idle connection from a
 * slow request. */
bool http_request_started(const struct http_request *r);

/* True once the head is complete: tells the header timeout from the body's. */
bool http_request_head_done(const struct http_request *r);

/* The number of header fields, and field `i`: name as sent, value without blanks at its ends. */
size_t http_request_field_count(const struct http_request *r);
void http_request_field_at(const struct http_request *r, size_t i, struct slice *name, struct slice *value);

/* Finds a field by name, case ignored. Returns false where there is none. Where it was sent several times
 * this is the first; `http_request_field_join` appends all values joined by ", " to `out` (RFC 9110, 5.3) and
 * returns 0, -ENOENT where there is none, or -ENOMEM. */
bool http_request_field(const struct http_request *r, const char *name, struct slice *value);
int http_request_field_join(const struct http_request *r, const char *name, struct buf *out);

/* Finds cookie `name` (RFC 6265, 4.2) over all Cookie fields. A quoted value comes without its quotes. */
bool http_request_cookie(const struct http_request *r, struct slice name, struct slice *value);

/* --- decoding, independent of a request (http_decode.c) ------------------------------------------ */

/* Walks `application/x-www-form-urlencoded` text: takes the next name and value, still encoded, from the
 * front of `*rest`. Returns false at the end. Empty pairs are skipped. */
bool http_query_next(struct slice *rest, struct slice *name, struct slice *value);

/* Appends `s` to `out` with %XX decoded, and "+" as a blank where `form`. Returns 0, -EINVAL for a "%" that
 * two hex digits do not follow, or -ENOMEM; `out` is then as before. The result may hold any byte, NUL too. */
int http_percent_decode(struct slice s, bool form, struct buf *out);

/* The quality (RFC 9110, 12.4.2), 0 to 1000, that an Accept value gives to media type `type`/`subtype`: the most
 * specific range that matches decides; 0 where none does; 1000 for an empty value (no field). Parameters
 * other than q are ignored. */
int http_accept_quality(struct slice accept, const char *type, const char *subtype);

/* The quality, 0 to 1000, that an Accept-Encoding value gives to `coding` (RFC 9110, 12.5.3): its own entry decides,
 * else "*"; else 0, and 1000 for "identity". */
int http_encoding_quality(struct slice accept_encoding, const char *coding);

/* True where an Accept-Encoding value allows `coding`, and does not say that it likes the plain text better. An "identity" that is not
 * named is only the last resort. */
bool http_encoding_preferred(struct slice accept_encoding, const char *coding);

#endif
