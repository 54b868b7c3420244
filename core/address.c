/* SPDX-License-Identifier: MIT */
#include "address.h"

#include <arpa/inet.h>

static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* By hand, since every stream's address is written: inet_ntop goes through printf. */
static void format_v4(const uint8_t ip[4], char *out) {
    for (int i = 0; i < 4; i++) {
        if (ip[i] >= 100)
            *out++ = (char)('0' + ip[i] / 100);
        if (ip[i] >= 10)
            *out++ = (char)('0' + ip[i] / 10 % 10);
        *out++ = (char)('0' + ip[i] % 10);
        *out++ = i < 3 ? '.' : '\0';
    }
}

void address_format(const struct address *a, char out[ADDRESS_TEXT_BYTES]) {
    if (memcmp(a->ip, MAPPED, sizeof MAPPED) == 0)
        format_v4(a->ip + sizeof MAPPED, out);
    else
        inet_ntop(AF_INET6, a->ip, out, ADDRESS_TEXT_BYTES);
}

bool address_parse(struct slice text, struct address *out) {
    char copy[ADDRESS_TEXT_BYTES];
    struct address a;
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, '\0', text.len))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, a.ip + sizeof MAPPED) == 1)
        memcpy(a.ip, MAPPED, sizeof MAPPED);
    else if (inet_pton(AF_INET6, copy, a.ip) != 1)
        return false;
    *out = a;
    return true;
}

/* --- ranges ------------------------------------------------------------------------------------- */

enum { ADDRESS_BITS = 128, IPV4_BITS = 32 };

/* The bits of byte `at` that belong to the first `bits` of an address. */
static uint8_t mask_of(unsigned bits, unsigned at) {
    unsigned before = at * 8;
    return bits >= before + 8 ? 0xff : bits <= before ? 0 : (uint8_t)(0xff << (8 - (bits - before)));
}

bool address_range_parse(struct slice text, struct address_range *out) {
    struct address_range range = {.bits = ADDRESS_BITS};
    const char *slash = text.len ? memchr(text.ptr, '/', text.len) : NULL;
    size_t len = slash ? (size_t)(slash - text.ptr) : text.len;
    struct slice address = slice_make(text.ptr, len);
    if (!address_parse(address, &range.base))
        return false;
    if (slash) {
        struct slice digits = slice_make(slash + 1, text.len - len - 1);
        unsigned width = memchr(address.ptr, ':', address.len) ? ADDRESS_BITS : IPV4_BITS;
        uint64_t bits;
        if (digits.len > 3 || (digits.len > 1 && digits.ptr[0] == '0') || !slice_to_u64(digits, &bits) || bits > width)
            return false;
        range.bits = ADDRESS_BITS - width + (unsigned)bits;
    }
    for (unsigned i = 0; i < sizeof range.base.ip; i++) {
        if (range.base.ip[i] & ~mask_of(range.bits, i))
            return false;
    }
    *out = range;
    return true;
}

static bool in_range(const struct address *a, const struct address_range *range) {
    for (unsigned i = 0; i < sizeof a->ip; i++) {
        if ((a->ip[i] ^ range->base.ip[i]) & mask_of(range->bits, i))
            return false;
    }
    return true;
}

bool address_in_ranges(const struct address *a, const struct address_range *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (in_range(a, &list[i]))
            return true;
    }
    return false;
}

/* --- X-Forwarded-For ---------------------------------------------------------------------------- */

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* True for ":" and one to five digits. */
static bool is_port(struct slice s) {
    if (s.len < 2 || s.len > 6 || s.ptr[0] != ':')
        return false;
    for (size_t i = 1; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    }
    return true;
}

/* Reads one entry: an address, perhaps with a port. */
static bool parse_hop(struct slice hop, struct address *out) {
    if (hop.len && hop.ptr[0] == '[') {
        const char *end = memchr(hop.ptr, ']', hop.len);
        if (!end)
            return false;
        size_t len = (size_t)(end - hop.ptr);
        struct slice inner = slice_make(hop.ptr + 1, len - 1), rest = slice_make(end + 1, hop.len - len - 1);
        return memchr(inner.ptr, ':', inner.len) && (rest.len == 0 || is_port(rest)) && address_parse(inner, out);
    }
    const char *colon = hop.len ? memchr(hop.ptr, ':', hop.len) : NULL;
    size_t len = colon ? (size_t)(colon - hop.ptr) : hop.len;
    if (colon && is_port(slice_make(colon, hop.len - len))) /* the first colon: IPv6 has two at least */
        hop.len = len;
    return address_parse(hop, out);
}

/* Takes the last entry off the list, without the blanks around it. */
static struct slice take_last(struct slice *list) {
    size_t end = list->len, start = end;
    while (start > 0 && list->ptr[start - 1] != ',')
        start--;
    list->len = start > 0 ? start - 1 : 0;
    while (start < end && is_blank(list->ptr[start]))
        start++;
    while (end > start && is_blank(list->ptr[end - 1]))
        end--;
    return slice_make(list->ptr + start, end - start);
}

struct address address_of_client(const struct address *peer, struct slice forwarded, const struct address_range *trusted,
                                 size_t count) {
    struct address client = *peer;
    while (forwarded.len > 0 && address_in_ranges(&client, trusted, count) && parse_hop(take_last(&forwarded), &client))
        ;
    return client;
}
