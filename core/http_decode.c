/* SPDX-License-Identifier: MIT */
/* The part of http_request.h that needs no request: forms, percent-encoding, Accept and Accept-Encoding. */
#include <errno.h>

#include "http_request.h"
#include "http_text.h"

bool http_query_next(struct slice *rest, struct slice *name, struct slice *value) {
    while (rest->len > 0) {
        const char *end = memchr(rest->ptr, '&', rest->len);
        struct slice pair = slice_make(rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len);
        size_t taken = pair.len + (end ? 1 : 0);
        *rest = slice_make(rest->ptr + taken, rest->len - taken);
        if (pair.len == 0)
            continue;
        const char *equals = memchr(pair.ptr, '=', pair.len);
        size_t name_len = equals ? (size_t)(equals - pair.ptr) : pair.len;
        size_t value_at = equals ? name_len + 1 : pair.len;
        *name = slice_make(pair.ptr, name_len);
        *value = slice_make(pair.ptr + value_at, pair.len - value_at);
        return true;
    }
    return false;
}

int http_percent_decode(struct slice s, bool form, struct buf *out) {
    if (s.len == 0)
        return 0;
    if (buf_reserve(out, s.len)) /* decoding never makes it longer */
        return -ENOMEM;
    char *to = out->data + out->len;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '%') {
            int high = s.len - i > 2 ? http_hex(s.ptr[i + 1]) : -1;
            int low = s.len - i > 2 ? http_hex(s.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -EINVAL;
            c = (char)(unsigned char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && form) {
            c = ' ';
        }
        *to++ = c;
    }
    out->len = (size_t)(to - out->data);
    return 0;
}

/* Reads a weight as thousandths: "0.5" is 500. More than the grammar has is read as it is meant: ".2" (which Java's
 * client sends), more than three digits (cut), a number above 1 (as 1). Returns -1 for what is no number. */
static int parse_weight(struct slice s) {
    int whole = 0, thousandths = 0, unit = 100;
    size_t i = 0;
    bool digits = false;
    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
        whole = whole > 0 || s.ptr[i] != '0';
        digits = true;
    }
    if (i < s.len && s.ptr[i] == '.') {
        for (i++; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
            thousandths += (s.ptr[i] - '0') * unit;
            unit /= 10;
            digits = true;
        }
    }
    if (i < s.len || !digits)
        return -1;
    return whole ? 1000 : thousandths;
}

/* Takes the next element that has a value: its value without parameters, and its weight, 1000 where it has none. An
 * element whose weight is no number counts as not sent. */
static bool next_weighted(struct slice *rest, struct slice *value, int *weight) {
    struct slice element, parameter;
    while (http_list_next(rest, ',', &element)) {
        *weight = 1000;
        if (!http_list_next(&element, ';', value) || value->len == 0)
            continue;
        while (http_list_next(&element, ';', &parameter)) {
            if (parameter.len >= 2 && (parameter.ptr[0] == 'q' || parameter.ptr[0] == 'Q') && parameter.ptr[1] == '=')
                *weight = parse_weight(slice_make(parameter.ptr + 2, parameter.len - 2));
        }
        if (*weight >= 0)
            return true;
    }
    return false;
}

/* How closely a media range fits: 3 the type itself, 2 "type" with any subtype, 1 any type, 0 not. A lone "*" is
 * sent for any type by some old clients. */
static int match_range(struct slice range, struct slice type, struct slice subtype) {
    const char *slash = memchr(range.ptr, '/', range.len);
    if (!slash)
        return slice_is(range, "*") ? 1 : 0;
    struct slice left = slice_make(range.ptr, (size_t)(slash - range.ptr));
    struct slice right = slice_make(slash + 1, range.len - left.len - 1);
    if (slice_is(left, "*"))
        return slice_is(right, "*") ? 1 : 0;
    if (!slice_equal_nocase(left, type))
        return 0;
    if (slice_is(right, "*"))
        return 2;
    return slice_equal_nocase(right, subtype) ? 3 : 0;
}

int http_accept_quality(struct slice accept, const char *type, const char *subtype) {
    struct slice range;
    int weight, quality = 0, closest = 0;
    if (http_trim(accept).len == 0)
        return 1000;
    while (next_weighted(&accept, &range, &weight)) {
        int match = match_range(range, slice_of(type), slice_of(subtype));
        if (match > closest || (match > 0 && match == closest && weight > quality)) {
            closest = match;
            quality = weight;
        }
    }
    return quality;
}

/* What an Accept-Encoding value says about a coding by its name and by "*"; -1 where it says nothing. */
static void encoding_weights(struct slice accept_encoding, const char *coding, int *own, int *any) {
    struct slice entry;
    int weight;
    *own = *any = -1;
    while (next_weighted(&accept_encoding, &entry, &weight)) {
        if (slice_equal_nocase(entry, slice_of(coding)))
            *own = weight > *own ? weight : *own;
        else if (slice_is(entry, "*"))
            *any = weight > *any ? weight : *any;
    }
}

int http_encoding_quality(struct slice accept_encoding, const char *coding) {
    int own, any;
    encoding_weights(accept_encoding, coding, &own, &any);
    if (own >= 0)
        return own;
    if (any >= 0)
        return any;
    return strcmp(coding, "identity") == 0 ? 1000 : 0;
}

bool http_encoding_preferred(struct slice accept_encoding, const char *coding) {
    int plain, any, quality = http_encoding_quality(accept_encoding, coding);
    encoding_weights(accept_encoding, "identity", &plain, &any);
    return quality > 0 && quality >= plain;
}
