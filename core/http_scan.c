/* SPDX-License-Identifier: MIT */
#include "http_scan.h"

#include "http_text.h"

enum {
    MAX_LEADING = 16,       /* bytes of CRLF before the request line */
    MAX_METHOD = 32,        /* bytes; the longest that llhttp knows has 11 */
    MAX_CHUNK_DIGITS = 16,  /* of a chunk's size */
    FIRST_HEAD_BYTES = 512, /* what most heads fit into */
    VERSION_BYTES = 8       /* "HTTP/1.1" */
};

/* Bytes that are being scanned. Those of the head from `from` to `at` are not yet in `head`. */
struct window {
    const char *from;
    const char *at;
    const char *end;
};

bool http_scan_refuse(struct http_scan *scan, int status, const char *reason) {
    scan->status = status;
    scan->reason = reason;
    scan->state = HTTP_AT_REFUSED;
    return false;
}

static size_t at_most(size_t value, size_t limit) {
    return value < limit ? value : limit;
}

void http_scan_init(struct http_scan *scan, const struct http_limits *limits) {
    *scan = (struct http_scan){0};
    /* So that places fit into struct http_field and a chunk's size can be multiplied by 16. */
    scan->limits.header_bytes = at_most(limits->header_bytes, UINT32_MAX / 2);
    scan->limits.target_bytes = limits->target_bytes;
    scan->limits.body_bytes = at_most(limits->body_bytes, SIZE_MAX / 32);
    scan->left = scan->limits.header_bytes;
}

void http_scan_reset(struct http_scan *scan, size_t kept) {
    if (scan->head.cap > kept)
        buf_deinit(&scan->head);
    buf_clear(&scan->head);
    scan->state = HTTP_AT_LEADING;
    scan->status = 0;
    scan->reason = NULL;
    scan->method_len = scan->target_at = scan->target_len = scan->field_count = 0;
    scan->trailing = false;
    scan->leading = scan->version_len = scan->chunk_digits = 0;
    scan->left = scan->limits.header_bytes;
    scan->body_left = scan->announced = 0;
}

void http_scan_deinit(struct http_scan *scan) {
    buf_deinit(&scan->head);
}

/* --- windows ----------------------------------------------------------------------------------- */

/* Moves on over bytes of a class. Returns how many there were. */
static size_t skip(struct window *w, enum http_char class) {
    const char *at = w->at, *end = w->end;
    while (at < end && http_char_is(*at, class))
        at++;
    size_t count = (size_t)(at - w->at);
    w->at = at;
    return count;
}

/* Moves on over the bytes of a field value, which are most of a head: eight at a time while none is a control byte. */
static void skip_value(struct window *w) {
    const uint64_t ones = UINT64_MAX / 255; /* 0x01 in each byte */
    while (w->end - w->at >= 8) {
        uint64_t word;
        memcpy(&word, w->at, 8);
        uint64_t low = (word - ones * 0x20) & ~word; /* the top bit is set in a byte below 0x20 */
        uint64_t del = word ^ (ones * 0x7f);
        del = (del - ones) & ~del; /* likewise where the byte is 0x7f */
        if ((low | del) & (ones * 0x80))
            break;
        w->at += 8;
    }
    skip(w, HTTP_CHAR_VALUE);
}

/* Scans one part of the request, which ends in state `done`, within the bytes that are still allowed. */
static bool scan_within(struct http_scan *scan, struct window *w, bool (*part)(struct http_scan *, struct window *),
                        enum http_scan_state done, int status, const char *reason) {
    const char *start = w->at, *end = w->end;
    if ((size_t)(end - start) > scan->left)
        w->end = start + scan->left;
    bool ok = part(scan, w);
    w->end = end;
    scan->left -= (size_t)(w->at - start);
    if (ok && scan->state != done && w->at < end)
        return http_scan_refuse(scan, status, reason);
    return ok;
}

/* Copies what was scanned of the head. */
static bool keep_head(struct http_scan *scan, const struct window *w) {
    if (scan->head.cap == 0 && buf_reserve(&scan->head, FIRST_HEAD_BYTES))
        return http_scan_refuse(scan, 503, "out of memory");
    if (buf_append(&scan->head, w->from, (size_t)(w->at - w->from)))
        return http_scan_refuse(scan, 503, "out of memory");
    return true;
}

/* --- request line ---------------------------------------------------------------------------- */

/* Skips CRLFs before the request line. */
static bool scan_leading(struct http_scan *scan, struct window *w) {
    for (; w->at < w->end; w->at++) {
        if (*w->at != (scan->state == HTTP_AT_LEADING ? '\r' : '\n')) {
            if (scan->state == HTTP_AT_LEADING_LF)
                return http_scan_refuse(scan, 400, "a bare CR before the request line");
            scan->state = HTTP_AT_METHOD;
            return true;
        }
        if (++scan->leading > MAX_LEADING)
            return http_scan_refuse(scan, 400, "too many empty lines before the request line");
        scan->state = scan->state == HTTP_AT_LEADING ? HTTP_AT_LEADING_LF : HTTP_AT_LEADING;
    }
    return true;
}

/* True where byte `c` may stand at place `at` of "HTTP/d.d". */
static bool version_byte(unsigned at, char c) {
    static const char form[] = "HTTP/0.0";
    return form[at] == '0' ? c >= '0' && c <= '9' : c == form[at];
}

/* Reads the request line. The state is HTTP_AT_FIELD once it is complete. */
static bool scan_line(struct http_scan *scan, struct window *w) {
    switch (scan->state) {
    case HTTP_AT_METHOD:
        scan->method_len += skip(w, HTTP_CHAR_TOKEN);
        if (scan->method_len > MAX_METHOD)
            return http_scan_refuse(scan, 501, "unknown method");
        if (w->at == w->end)
            return true;
        if (*w->at++ != ' ' || scan->method_len == 0)
            return http_scan_refuse(scan, 400, "malformed request line");
        scan->target_at = scan->method_len + 1;
        scan->state = HTTP_AT_TARGET;
        /* fallthrough */
    case HTTP_AT_TARGET:
        scan->target_len += skip(w, HTTP_CHAR_TARGET);
        if (scan->target_len > scan->limits.target_bytes)
            return http_scan_refuse(scan, 414, "the request target is too long");
        if (w->at == w->end)
            return true;
        if (*w->at++ != ' ' || scan->target_len == 0)
            return http_scan_refuse(scan, 400, "malformed request target");
        scan->state = HTTP_AT_VERSION;
        /* fallthrough */
    case HTTP_AT_VERSION:
        for (; scan->version_len < VERSION_BYTES; scan->version_len++) {
            if (w->at == w->end)
                return true;
            if (!version_byte(scan->version_len, *w->at++))
                return http_scan_refuse(scan, 400, "malformed HTTP version");
        }
        scan->state = HTTP_AT_LINE_CR;
        /* fallthrough */
    case HTTP_AT_LINE_CR:
        if (w->at == w->end)
            return true;
        if (*w->at++ != '\r')
            return http_scan_refuse(scan, 400, "the request line must end in CRLF");
        scan->state = HTTP_AT_LINE_LF;
        /* fallthrough */
    case HTTP_AT_LINE_LF:
        if (w->at == w->end)
            return true;
        if (*w->at++ != '\n')
            return http_scan_refuse(scan, 400, "the request line must end in CRLF");
        scan->state = HTTP_AT_FIELD;
        return true;
    default:
        return true;
    }
}

bool http_scan_line(struct http_scan *scan, const char **at, const char *end) {
    struct window w = {*at, *at, end};
    if (scan->state < HTTP_AT_METHOD && !scan_leading(scan, &w))
        return false;
    *at = w.from = w.at;
    if (w.at == end)
        return true;
    bool ok = scan_within(scan, &w, scan_line, HTTP_AT_FIELD, 431, "the request header is too large");
    *at = w.at;
    return ok && keep_head(scan, &w);
}

/* --- fields ---------------------------------------------------------------------------------- */

/* The place in `head` that the byte at `w->at` has or will have. */
static uint32_t place(const struct http_scan *scan, const struct window *w) {
    return (uint32_t)(scan->head.len + (size_t)(w->at - w->from));
}

/* Reads one field of the head, or a trailer. The state is HTTP_AT_FIELD after it, HTTP_AT_END after the empty line. */
static bool scan_field(struct http_scan *scan, struct window *w) {
    struct http_field *field = &scan->fields[scan->trailing ? HTTP_MAX_FIELDS : scan->field_count];
    switch (scan->state) {
    case HTTP_AT_FIELD:
        if (*w->at == '\r') {
            w->at++;
            scan->state = HTTP_AT_FIELDS_LF;
            return true;
        }
        if (*w->at == ' ' || *w->at == '\t')
            return http_scan_refuse(scan, 400, "a header field must not be folded");
        if (!http_char_is(*w->at, HTTP_CHAR_TOKEN))
            return http_scan_refuse(scan, 400, "malformed header field");
        if (scan->field_count == HTTP_MAX_FIELDS && !scan->trailing)
            return http_scan_refuse(scan, 431, "too many header fields");
        field->name = place(scan, w);
        scan->state = HTTP_AT_FIELD_NAME;
        /* fallthrough */
    case HTTP_AT_FIELD_NAME:
        skip(w, HTTP_CHAR_TOKEN);
        if (w->at == w->end)
            return true;
        if (*w->at != ':')
            return http_scan_refuse(scan, 400, "malformed header field name");
        field->name_len = place(scan, w) - field->name;
        w->at++;
        scan->state = HTTP_AT_BLANKS;
        /* fallthrough */
    case HTTP_AT_BLANKS:
        while (w->at < w->end && (*w->at == ' ' || *w->at == '\t'))
            w->at++;
        if (w->at == w->end)
            return true;
        field->value = place(scan, w);
        scan->state = HTTP_AT_VALUE;
        /* fallthrough */
    case HTTP_AT_VALUE:
        skip_value(w);
        if (w->at == w->end)
            return true;
        if (*w->at != '\r')
            return http_scan_refuse(scan, 400, "malformed header field value");
        field->value_len = place(scan, w) - field->value;
        w->at++;
        scan->state = HTTP_AT_VALUE_LF;
        /* fallthrough */
    case HTTP_AT_VALUE_LF:
        if (w->at == w->end)
            return true;
        if (*w->at != '\n')
            return http_scan_refuse(scan, 400, "a header field must end in CRLF");
        w->at++;
        if (!scan->trailing)
            scan->field_count++;
        scan->state = HTTP_AT_FIELD;
        return true;
    case HTTP_AT_FIELDS_LF:
        if (*w->at != '\n')
            return http_scan_refuse(scan, 400, "the header must end in CRLF");
        w->at++;
        scan->state = HTTP_AT_END;
        return true;
    default:
        return true;
    }
}

static bool scan_fields(struct http_scan *scan, struct window *w) {
    while (w->at < w->end && scan->state != HTTP_AT_END) {
        if (!scan_field(scan, w))
            return false;
    }
    return true;
}

bool http_scan_fields(struct http_scan *scan, const char **at, const char *end) {
    struct window w = {*at, *at, end};
    bool ok = scan_within(scan, &w, scan_fields, HTTP_AT_END, 431, "the request header is too large");
    *at = w.at;
    return ok && keep_head(scan, &w);
}

/* --- body ------------------------------------------------------------------------------------ */

/* Takes one byte of a chunk's size, or the byte that ends it. */
static bool scan_chunk_size(struct http_scan *scan, struct window *w) {
    int digit = http_hex(*w->at);
    if (digit >= 0) {
        if (++scan->chunk_digits > MAX_CHUNK_DIGITS)
            return http_scan_refuse(scan, 400, "malformed chunk size");
        scan->body_left = scan->body_left * 16 + (size_t)digit;
        if (scan->body_left > scan->limits.body_bytes - scan->announced)
            return http_scan_refuse(scan, 413, "the request body is too large");
    } else if (scan->chunk_digits == 0) {
        return http_scan_refuse(scan, 400, "malformed chunk size");
    } else if (*w->at == '\r') {
        scan->state = HTTP_AT_CHUNK_SIZE_LF;
    } else if (*w->at == ';') {
        scan->state = HTTP_AT_CHUNK_EXTENSION;
    } else {
        return http_scan_refuse(scan, 400, "malformed chunk size");
    }
    w->at++;
    return true;
}

/* Reads a chunk's extensions up to the CR. Their grammar is left to llhttp. */
static bool scan_extensions(struct http_scan *scan, struct window *w) {
    skip(w, HTTP_CHAR_VALUE);
    if (w->at == w->end)
        return true;
    if (*w->at != '\r')
        return http_scan_refuse(scan, 400, "a chunk's line must end in CRLF");
    w->at++;
    scan->state = HTTP_AT_CHUNK_SIZE_LF;
    return true;
}

/* Reads chunks (RFC 9112, 7.1) and trailers. Where it refuses, `w->at` is the first byte that is not accepted. */
static bool scan_chunks(struct http_scan *scan, struct window *w) {
    while (w->at < w->end && scan->state != HTTP_AT_END) {
        size_t count = (size_t)(w->end - w->at);
        switch (scan->state) {
        case HTTP_AT_CHUNK_SIZE:
            if (!scan_chunk_size(scan, w))
                return false;
            break;
        case HTTP_AT_CHUNK_EXTENSION:
            if (!scan_within(scan, w, scan_extensions, HTTP_AT_CHUNK_SIZE_LF, 413,
                             "the chunk extensions are too large"))
                return false;
            break;
        case HTTP_AT_CHUNK_SIZE_LF:
            if (*w->at != '\n')
                return http_scan_refuse(scan, 400, "a chunk's line must end in CRLF");
            w->at++;
            scan->announced += scan->body_left;
            scan->chunk_digits = 0;
            scan->trailing = scan->body_left == 0;
            scan->state = scan->trailing ? HTTP_AT_FIELD : HTTP_AT_CHUNK_DATA;
            break;
        case HTTP_AT_CHUNK_DATA:
            if (count > scan->body_left)
                count = scan->body_left;
            w->at += count;
            scan->body_left -= count;
            if (scan->body_left == 0)
                scan->state = HTTP_AT_CHUNK_CR;
            break;
        case HTTP_AT_CHUNK_CR:
        case HTTP_AT_CHUNK_LF:
            if (*w->at != (scan->state == HTTP_AT_CHUNK_CR ? '\r' : '\n'))
                return http_scan_refuse(scan, 400, "a chunk must end in CRLF");
            w->at++;
            scan->state = scan->state == HTTP_AT_CHUNK_CR ? HTTP_AT_CHUNK_LF : HTTP_AT_CHUNK_SIZE;
            break;
        default: /* Trailers are forgotten: merged, they could smuggle in a field that the head was checked for. */
            if (!scan_within(scan, w, scan_fields, HTTP_AT_END, 431, "the trailers are too large"))
                return false;
        }
    }
    return true;
}

/* Reads a body whose length is known. */
static bool scan_counted(struct http_scan *scan, struct window *w) {
    size_t count = (size_t)(w->end - w->at);
    if (count > scan->body_left)
        count = scan->body_left;
    w->at += count;
    scan->body_left -= count;
    if (scan->body_left == 0)
        scan->state = HTTP_AT_END;
    return true;
}

void http_scan_expect(struct http_scan *scan, bool chunked, size_t length) {
    scan->left = scan->limits.header_bytes;
    scan->body_left = length;
    if (chunked)
        scan->state = HTTP_AT_CHUNK_SIZE;
    else if (length > 0)
        scan->state = HTTP_AT_COUNTED;
}

bool http_scan_body(struct http_scan *scan, const char **at, const char *end) {
    struct window w = {*at, *at, end};
    bool ok = scan->state == HTTP_AT_COUNTED ? scan_counted(scan, &w) : scan_chunks(scan, &w);
    *at = w.at;
    return ok;
}
