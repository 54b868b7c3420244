/* SPDX-License-Identifier: MIT */
#include "http_response.h"

#include <errno.h>

#include "http_text.h"
#include "json.h"

/* clang-format off */
const char *http_reason(int status) {
    switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 305: return "Use Proxy";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 407: return "Proxy Authentication Required";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";         /* RFC 6585, as 429 and 431 */
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";  /* RFC 7725 */
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Unknown";
    }
}
/* clang-format on */

/* Writes `value` as exactly `digits` decimal digits. */
static char *put_digits(char *at, int value, int digits) {
    for (int i = digits - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + digits;
}

static char *put_text(char *at, const char *text, size_t len) {
    memcpy(at, text, len);
    return at + len;
}

/* By hand: strftime would follow the locale, and costs more than the rest of a head. */
void http_date(char out[HTTP_DATE_BYTES + 1], time_t at) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm;
    if (!gmtime_r(&at, &tm))
        tm = (struct tm){.tm_mday = 1, .tm_year = 70, .tm_wday = 4}; /* a year that no int holds */
    char *p = put_text(out, days + 3 * tm.tm_wday, 3);
    p = put_text(p, ", ", 2);
    p = put_digits(p, tm.tm_mday, 2);
    *p++ = ' ';
    p = put_text(p, months + 3 * tm.tm_mon, 3);
    *p++ = ' ';
    p = put_digits(p, tm.tm_year + 1900, 4);
    *p++ = ' ';
    p = put_digits(p, tm.tm_hour, 2);
    *p++ = ':';
    p = put_digits(p, tm.tm_min, 2);
    *p++ = ':';
    p = put_digits(p, tm.tm_sec, 2);
    p = put_text(p, " GMT", 4);
    *p = '\0';
}

bool http_field_name_valid(struct slice name) {
    return http_is_token(name);
}

bool http_field_value_valid(struct slice value) {
    return http_all(value, HTTP_CHAR_VALUE);
}

/* Adds "name: value" whole or, out of memory, not at all. */
static int add_field(struct buf *out, struct slice name, struct slice value) {
    if (value.len > SIZE_MAX / 4 || name.len > SIZE_MAX / 4 || buf_reserve(out, name.len + value.len + 4))
        return -ENOMEM;
    char *p = put_text(out->data + out->len, name.ptr, name.len);
    p = put_text(p, ": ", 2);
    if (value.len > 0)
        p = put_text(p, value.ptr, value.len);
    put_text(p, "\r\n", 2);
    out->len += name.len + value.len + 4;
    return 0;
}

int http_response_begin(struct buf *out, int status, const char *date) {
    const char *reason = http_reason(status);
    size_t before = out->len, reason_len = strlen(reason);
    if (buf_reserve(out, reason_len + 15))
        return -ENOMEM;
    char *p = put_text(out->data + out->len, "HTTP/1.1 ", 9);
    p = put_digits(p, status, 3);
    *p++ = ' ';
    p = put_text(p, reason, reason_len);
    put_text(p, "\r\n", 2);
    out->len += reason_len + 15;
    if (date && add_field(out, slice_of("Date"), slice_of(date))) {
        out->len = before;
        return -ENOMEM;
    }
    return 0;
}

int http_response_field(struct buf *out, struct slice name, struct slice value) {
    if (!http_field_name_valid(name) || !http_field_value_valid(value))
        return -EINVAL;
    return add_field(out, name, value);
}

int http_response_field_text(struct buf *out, const char *name, const char *value) {
    return add_field(out, slice_of(name), slice_of(value));
}

int http_response_length(struct buf *out, size_t length) {
    char digits[20], *end = digits + sizeof digits;
    char *begin = u64_digits(end, length);
    return add_field(out, slice_of("Content-Length"), slice_make(begin, (size_t)(end - begin)));
}

int http_response_end(struct buf *out) {
    return buf_append(out, "\r\n", 2);
}

int http_error_body(struct buf *out, const char *text, const char *request_id) {
    size_t before = out->len;
    int rc = buf_append_text(out, "{\"error\":");
    if (rc == 0)
        rc = json_append_string(out, slice_of(text));
    if (rc == 0 && request_id) {
        rc = buf_append_text(out, ",\"request\":");
        if (rc == 0)
            rc = json_append_string(out, slice_of(request_id));
    }
    if (rc == 0)
        rc = buf_append_char(out, '}');
    if (rc)
        out->len = before;
    return rc;
}
