/* SPDX-License-Identifier: MIT */
/* Two readers see every byte of a request. The raw pass, a state machine over head, chunk lines and trailers, finds
 * where the parts begin and end, counts against the limits and refuses everything that two servers could read in two
 * ways. Then llhttp reads the same bytes: the head once it is complete, the body as it comes. It has to come to the
 * same framing at the same byte; where it does not, the request is refused. So neither a gap in llhttp's strictness
 * nor a slip in the raw pass alone lets a second request hide in the first.
 *
 * What is refused is decided by the bytes in their order, or at the end of the request line or the head: how the
 * bytes were cut into reads never changes the answer. */

/* llhttp's enum of methods has names that are ours as well. */
#define HTTP_DELETE LLHTTP_DELETE
#define HTTP_GET LLHTTP_GET
#define HTTP_HEAD LLHTTP_HEAD
#define HTTP_POST LLHTTP_POST
#define HTTP_PUT LLHTTP_PUT
#define HTTP_OPTIONS LLHTTP_OPTIONS
#define HTTP_PATCH LLHTTP_PATCH
#include <llhttp.h>
#undef HTTP_DELETE
#undef HTTP_GET
#undef HTTP_HEAD
#undef HTTP_POST
#undef HTTP_PUT
#undef HTTP_OPTIONS
#undef HTTP_PATCH

#if LLHTTP_VERSION_MAJOR < 9 && !LLHTTP_STRICT_MODE
#error "compile with LLHTTP_STRICT_MODE=1, here and for llhttp itself"
#endif

#include "http_request.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "http_scan.h"
#include "http_text.h"

enum { KEPT_BYTES = 16 * 1024 }; /* a larger buffer is not kept from request to request */

struct http_parser {
    llhttp_t llhttp;
    bool llhttp_head; /* llhttp has seen the end of the head */
    bool llhttp_done; /* llhttp has seen the end of the request */
    bool no_memory;   /* told by a callback of llhttp's */
    bool head_done;
    struct http_scan scan;
};

/* What the fields say about the request as a whole, gathered when the head is complete. */
struct facts {
    unsigned hosts;
    struct slice host;
    unsigned lengths;
    bool length_bad;
    size_t length; /* SIZE_MAX where it is larger than that */
    bool coded;    /* there is a Transfer-Encoding */
    bool coding_bad;
    bool coding_unknown;
    bool chunked;
    bool close;
    bool keep_alive;
    bool expect_continue;
    bool expect_other;
    bool content_coded;
};

/* Refuses the request. Returns false, for callers that return that. */
static bool refuse(struct http_request *r, int status, const char *reason) {
    return http_scan_refuse(&r->parser->scan, status, reason);
}

/* --- llhttp ------------------------------------------------------------------------------------ */

static int on_headers_complete(llhttp_t *llhttp) {
    struct http_request *r = llhttp->data;
    r->parser->llhttp_head = true;
    llhttp->upgrade = 0; /* an offer of another protocol is ignored (RFC 9110, 7.8) */
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len) {
    struct http_request *r = llhttp->data;
    if (len > r->parser->scan.limits.body_bytes - r->body.len)
        return HPE_USER;
    if (buf_append(&r->body, at, len)) {
        r->parser->no_memory = true;
        return HPE_USER;
    }
    return 0;
}

/* Pausing keeps llhttp from expecting another request, or the end of the connection, in the bytes that follow. */
static int on_message_complete(llhttp_t *llhttp) {
    struct http_request *r = llhttp->data;
    r->parser->llhttp_done = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t llhttp_callbacks = {
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* Gives llhttp what the raw pass accepted; `done` is what the raw pass says about the end. Returns false where
 * llhttp has another opinion: the request is refused. */
static bool second_opinion(struct http_request *r, const char *data, size_t len, bool done) {
    struct http_parser *p = r->parser;
    p->llhttp.data = r; /* each time: the owner may have moved the request */
    llhttp_errno_t rc = llhttp_execute(&p->llhttp, data, len);
    if (p->no_memory)
        return refuse(r, 503, "out of memory");
    if (rc != (done ? HPE_PAUSED : HPE_OK) || p->llhttp_done != done || !p->llhttp_head)
        return refuse(r, 400, "malformed request");
    return true;
}

/* --- the head ------------------------------------------------------------------------------------ */

/* Maps a method to ours. Returns false for one that llhttp does not read, and for CONNECT. */
static bool find_method(struct slice name, enum http_method *method) {
    static const struct {
        const char *name;
        enum http_method method;
    } own[] = {
        {"GET", HTTP_GET},       {"POST", HTTP_POST},   {"HEAD", HTTP_HEAD},       {"PUT", HTTP_PUT},
        {"DELETE", HTTP_DELETE}, {"PATCH", HTTP_PATCH}, {"OPTIONS", HTTP_OPTIONS},
    };
    static const char *const others[] = {
#define METHOD_TEXT(number, name, text) #text,
        HTTP_METHOD_MAP(METHOD_TEXT)
#undef METHOD_TEXT
    };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (slice_is(name, own[i].name)) {
            *method = own[i].method;
            return true;
        }
    }
    *method = HTTP_OTHER;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (slice_is(name, others[i]))
            return !slice_is(name, "CONNECT");
    }
    return false;
}

/* Judges the complete request line. A minor version above 1 could be read as 1.1 (RFC 9110, 6.2), but none was ever
 * published, nobody knows its framing and llhttp reads none: it is refused as another major version is. */
static bool check_line(struct http_request *r) {
    const struct http_scan *scan = &r->parser->scan;
    const char *version = scan->head.data + scan->target_at + scan->target_len + 1;
    if (version[5] != '1' || version[7] > '1')
        return refuse(r, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    r->minor = version[7] - '0';
    if (!find_method(slice_make(scan->head.data, scan->method_len), &r->method))
        return refuse(r, 501, "unknown method");
    return true;
}

/* A whole decimal number; SIZE_MAX stands for all that are larger. */
static bool parse_length(struct slice s, size_t *length) {
    size_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        size_t digit = (size_t)(s.ptr[i] - '0');
        value = value > (SIZE_MAX - digit) / 10 ? SIZE_MAX : value * 10 + digit;
    }
    *length = value;
    return s.len > 0;
}

/* Only `chunked`, once and by itself, is read here. After it nothing may come (RFC 9112, 6.1): that is malformed; an
 * empty element is, too, as readers differ on it. */
static void read_codings(struct facts *f, struct slice value) {
    struct slice element;
    f->coded = true;
    if (value.len == 0)
        f->coding_bad = true;
    while (http_list_next(&value, ',', &element)) {
        struct slice name = element;
        struct slice parameters = element;
        http_list_next(&parameters, ';', &name);
        if (f->chunked || !http_is_token(name))
            f->coding_bad = true;
        else if (!slice_equal_nocase(name, slice_of("chunked")))
            f->coding_unknown = true;
        else if (name.len == element.len)
            f->chunked = true;
        else
            f->coding_bad = true; /* chunked has no parameters (RFC 9112, 7.1) */
    }
}

static void read_connection(struct facts *f, struct slice value) {
    struct slice option;
    while (http_list_next(&value, ',', &option)) {
        if (slice_equal_nocase(option, slice_of("close")))
            f->close = true;
        else if (slice_equal_nocase(option, slice_of("keep-alive")))
            f->keep_alive = true;
    }
}

/* Notes what the field says about the request. */
static void read_field(struct facts *f, struct slice name, struct slice value) {
    struct slice element;
    switch (name.len) {
    case 4:
        if (slice_equal_nocase(name, slice_of("host"))) {
            f->hosts++;
            f->host = value;
        }
        break;
    case 6:
        if (slice_equal_nocase(name, slice_of("expect"))) {
            while (http_list_next(&value, ',', &element)) {
                if (slice_equal_nocase(element, slice_of("100-continue")))
                    f->expect_continue = true;
                else if (element.len > 0)
                    f->expect_other = true;
            }
        }
        break;
    case 10:
        if (slice_equal_nocase(name, slice_of("connection")))
            read_connection(f, value);
        break;
    case 14:
        if (slice_equal_nocase(name, slice_of("content-length"))) {
            f->lengths++;
            if (!parse_length(value, &f->length))
                f->length_bad = true;
        }
        break;
    case 16:
        if (slice_equal_nocase(name, slice_of("content-encoding"))) {
            while (http_list_next(&value, ',', &element)) {
                if (element.len > 0 && !slice_equal_nocase(element, slice_of("identity")))
                    f->content_coded = true;
            }
        }
        break;
    case 17:
        if (slice_equal_nocase(name, slice_of("transfer-encoding")))
            read_codings(f, value);
        break;
    default:
        break;
    }
}

/* Cuts the blanks after each value and gathers the facts. */
static void read_fields(struct http_scan *scan, struct facts *f) {
    for (size_t i = 0; i < scan->field_count; i++) {
        struct http_field *field = &scan->fields[i];
        struct slice value = http_trim(slice_make(scan->head.data + field->value, field->value_len));
        field->value_len = (uint32_t)value.len;
        read_field(f, slice_make(scan->head.data + field->name, field->name_len), value);
    }
}

/* True for the inside of an IP-literal's brackets, IPv6 without a zone. */
static bool ipv6_valid(struct slice s) {
    char text[INET6_ADDRSTRLEN];
    unsigned char address[16];
    if (s.len >= sizeof text)
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    return inet_pton(AF_INET6, text, address) == 1;
}

/* True for `uri-host [":" port]` with a host that is not empty (RFC 9110, 7.2; RFC 3986, 3.2). */
static bool authority_valid(struct slice s) {
    size_t i = 0;
    if (s.len > 0 && s.ptr[0] == '[') {
        const char *bracket = memchr(s.ptr, ']', s.len);
        if (!bracket || !ipv6_valid(slice_make(s.ptr + 1, (size_t)(bracket - s.ptr) - 1)))
            return false;
        i = (size_t)(bracket - s.ptr) + 1;
    } else {
        while (i < s.len && s.ptr[i] != ':') {
            bool encoded =
                s.ptr[i] == '%' && s.len - i > 2 && http_hex(s.ptr[i + 1]) >= 0 && http_hex(s.ptr[i + 2]) >= 0;
            if (!encoded && !http_char_is(s.ptr[i], HTTP_CHAR_NAME))
                return false;
            i += encoded ? 3 : 1;
        }
        if (i == 0)
            return false;
    }
    if (i == s.len)
        return true;
    size_t port = 0;
    struct slice digits = slice_make(s.ptr + i + 1, s.len - i - 1);
    return s.ptr[i] == ':' && (digits.len == 0 || (parse_length(digits, &port) && port <= 65535));
}

/* Takes the authority from an absolute-form target (RFC 9112, 3.2.2). Returns false for another form. */
static bool take_authority(struct slice *target, struct slice *authority) {
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        struct slice scheme = slice_of(schemes[i]);
        if (target->len < scheme.len || !slice_equal_nocase(slice_make(target->ptr, scheme.len), scheme))
            continue;
        size_t end = scheme.len;
        while (end < target->len && target->ptr[end] != '/' && target->ptr[end] != '?')
            end++;
        *authority = slice_make(target->ptr + scheme.len, end - scheme.len);
        *target = slice_make(target->ptr + end, target->len - end);
        return true;
    }
    return false;
}

/* Splits the target into path and query, and takes its authority where it has one. */
static bool read_target(struct http_request *r) {
    struct slice rest = r->target;
    if (slice_is(rest, "*")) {
        r->path = rest;
        return r->method == HTTP_OPTIONS || refuse(r, 400, "only OPTIONS may have the target *");
    }
    if (rest.ptr[0] != '/') {
        if (!take_authority(&rest, &r->host))
            return refuse(r, 400, "malformed request target");
        if (!authority_valid(r->host))
            return refuse(r, 400, "malformed authority in the request target");
    }
    const char *mark = memchr(rest.ptr, '?', rest.len);
    r->path = mark ? slice_make(rest.ptr, (size_t)(mark - rest.ptr)) : rest;
    r->query = mark ? slice_make(mark + 1, rest.len - r->path.len - 1) : slice_make(rest.ptr + rest.len, 0);
    if (r->path.len == 0)
        r->path = slice_of("/");
    return true;
}

/* What can be read in two ways comes first, then what is clear but not served. */
static bool check_head(struct http_request *r, const struct facts *f) {
    if (f->hosts > 1)
        return refuse(r, 400, "more than one Host field");
    if (f->hosts == 0 && r->minor == 1)
        return refuse(r, 400, "the Host field is missing");
    if (f->hosts == 1 && !authority_valid(f->host))
        return refuse(r, 400, "malformed Host field");
    if (f->lengths > 1)
        return refuse(r, 400, "more than one Content-Length field");
    if (f->length_bad)
        return refuse(r, 400, "malformed Content-Length field");
    if (f->coded && f->lengths > 0)
        return refuse(r, 400, "both Transfer-Encoding and Content-Length");
    if (f->coded && r->minor == 0)
        return refuse(r, 400, "Transfer-Encoding in HTTP/1.0");
    if (f->coding_bad)
        return refuse(r, 400, "malformed Transfer-Encoding field");
    if (f->coding_unknown)
        return refuse(r, 501, "unknown transfer coding");
    if (!read_target(r))
        return false;
    r->parser->head_done = true; /* it is clear what is asked and by whom, also where the answer is no */
    if (f->length > r->parser->scan.limits.body_bytes)
        return refuse(r, 413, "the request body is too large");
    if (f->content_coded)
        return refuse(r, 415, "a coded request body is not read here");
    if (f->expect_other)
        return refuse(r, 417, "unknown expectation");
    return true;
}

/* Fills in the request from the complete head and gets ready for the body, if there is one. */
static bool complete_head(struct http_request *r, bool *wants_continue) {
    struct http_parser *p = r->parser;
    struct http_scan *scan = &p->scan;
    struct facts f = {0};
    read_fields(scan, &f);
    r->method_name = slice_make(scan->head.data, scan->method_len);
    r->target = slice_make(scan->head.data + scan->target_at, scan->target_len);
    r->host = f.host;
    r->keep_alive = !f.close && (r->minor == 1 || f.keep_alive);
    bool has_body = f.chunked || f.length > 0;
    if (!check_head(r, &f) || !second_opinion(r, scan->head.data, scan->head.len, !has_body))
        return false;
    if (p->llhttp.content_length != f.length)
        return refuse(r, 400, "malformed request");
    if (f.length <= KEPT_BYTES && buf_reserve(&r->body, f.length))
        return refuse(r, 503, "out of memory");
    p->head_done = true;
    http_scan_expect(scan, f.chunked, f.length);
    *wants_continue = has_body && f.expect_continue && r->minor == 1; /* 1.0 has none (RFC 9110, 10.1.1) */
    return true;
}

/* Reads the head. Returns false where it is refused. */
static bool read_head(struct http_request *r, const char **at, const char *end, bool *wants_continue) {
    struct http_scan *scan = &r->parser->scan;
    if (scan->state < HTTP_AT_FIELD) {
        if (!http_scan_line(scan, at, end))
            return false;
        if (scan->state != HTTP_AT_FIELD)
            return true;
        if (!check_line(r))
            return false;
    }
    if (!http_scan_fields(scan, at, end))
        return false;
    return scan->state != HTTP_AT_END || complete_head(r, wants_continue);
}

/* Reads the body, both ways. llhttp gets the bytes before a refused one too, and its objection to one of those comes
 * first, as it would have had they come in a read of their own. */
static bool read_body(struct http_request *r, const char **at, const char *end) {
    struct http_scan *scan = &r->parser->scan;
    const char *start = *at;
    if (start == end)
        return true;
    bool ok = http_scan_body(scan, at, end);
    return second_opinion(r, start, (size_t)(*at - start), scan->state == HTTP_AT_END) && ok;
}

/* --- the request --------------------------------------------------------------------------------- */

int http_request_init(struct http_request *r, const struct http_limits *limits) {
    *r = (struct http_request){0};
    r->parser = malloc(sizeof *r->parser);
    if (!r->parser)
        return -ENOMEM;
    http_scan_init(&r->parser->scan, limits);
    llhttp_init(&r->parser->llhttp, HTTP_REQUEST, &llhttp_callbacks);
    http_request_reset(r);
    return 0;
}

void http_request_reset(struct http_request *r) {
    struct http_parser *p = r->parser;
    struct buf body = r->body;
    if (body.cap > KEPT_BYTES)
        buf_deinit(&body);
    buf_clear(&body);
    *r = (struct http_request){.body = body, .parser = p};
    llhttp_reset(&p->llhttp);
    p->head_done = p->llhttp_head = p->llhttp_done = p->no_memory = false;
    http_scan_reset(&p->scan, KEPT_BYTES);
}

void http_request_deinit(struct http_request *r) {
    if (r->parser)
        http_scan_deinit(&r->parser->scan);
    free(r->parser);
    buf_deinit(&r->body);
    *r = (struct http_request){0};
}

static enum http_result failed(struct http_request *r) {
    r->status = r->parser->scan.status;
    r->reason = r->parser->scan.reason;
    return HTTP_FAILED;
}

enum http_result http_request_feed(struct http_request *r, const char *data, size_t len, size_t *consumed) {
    const struct http_parser *p = r->parser;
    const char *at = data, *end = data + len;
    bool wants_continue = false;
    assert(p->scan.state != HTTP_AT_REFUSED && !(p->scan.state == HTTP_AT_END && p->head_done));
    *consumed = len;
    if (!p->head_done) {
        if (!read_head(r, &at, end, &wants_continue))
            return failed(r);
        if (!p->head_done)
            return HTTP_MORE;
    }
    if (p->scan.state != HTTP_AT_END && !wants_continue && !read_body(r, &at, end))
        return failed(r);
    *consumed = (size_t)(at - data);
    if (p->scan.state == HTTP_AT_END)
        return HTTP_DONE;
    return wants_continue ? HTTP_CONTINUE : HTTP_MORE;
}

bool http_request_started(const struct http_request *r) {
    return r->parser->scan.state > HTTP_AT_LEADING_LF;
}

bool http_request_head_done(const struct http_request *r) {
    return r->parser->head_done;
}

size_t http_request_field_count(const struct http_request *r) {
    return r->parser->head_done ? r->parser->scan.field_count : 0;
}

void http_request_field_at(const struct http_request *r, size_t i, struct slice *name, struct slice *value) {
    const struct http_scan *scan = &r->parser->scan;
    assert(i < http_request_field_count(r));
    *name = slice_make(scan->head.data + scan->fields[i].name, scan->fields[i].name_len);
    *value = slice_make(scan->head.data + scan->fields[i].value, scan->fields[i].value_len);
}

bool http_request_field(const struct http_request *r, const char *name, struct slice *value) {
    struct slice wanted = slice_of(name), found, its;
    for (size_t i = 0; i < http_request_field_count(r); i++) {
        http_request_field_at(r, i, &found, &its);
        if (slice_equal_nocase(found, wanted)) {
            *value = its;
            return true;
        }
    }
    return false;
}

int http_request_field_join(const struct http_request *r, const char *name, struct buf *out) {
    struct slice wanted = slice_of(name), found, value;
    size_t before = out->len;
    bool any = false;
    for (size_t i = 0; i < http_request_field_count(r); i++) {
        http_request_field_at(r, i, &found, &value);
        if (!slice_equal_nocase(found, wanted))
            continue;
        if ((any && buf_append(out, ", ", 2)) || buf_append_slice(out, value)) {
            out->len = before;
            return -ENOMEM;
        }
        any = true;
    }
    return any ? 0 : -ENOENT;
}

bool http_request_cookie(const struct http_request *r, struct slice name, struct slice *value) {
    struct slice field_name, rest, pair;
    for (size_t i = 0; i < http_request_field_count(r); i++) {
        http_request_field_at(r, i, &field_name, &rest);
        if (!slice_equal_nocase(field_name, slice_of("cookie")))
            continue;
        while (http_list_next(&rest, ';', &pair)) {
            const char *equals = pair.len > 0 ? memchr(pair.ptr, '=', pair.len) : NULL;
            if (!equals || !slice_equal(http_trim(slice_make(pair.ptr, (size_t)(equals - pair.ptr))), name))
                continue;
            *value = http_trim(slice_make(equals + 1, pair.len - (size_t)(equals - pair.ptr) - 1));
            if (value->len >= 2 && value->ptr[0] == '"' && value->ptr[value->len - 1] == '"')
                *value = slice_make(value->ptr + 1, value->len - 2);
            return true;
        }
    }
    return false;
}
