/* SPDX-License-Identifier: MIT */
/* IP addresses of clients: reading, writing, and finding the client behind proxies. Pure: no socket, no name is resolved. */
#ifndef SLUICE_ADDRESS_H
#define SLUICE_ADDRESS_H

#include "buf.h"

/* An address without a port. IPv4 is kept as ::ffff:a.b.c.d, so that the same address has one form only. */
struct address {
    uint8_t ip[16];
};

enum { ADDRESS_TEXT_BYTES = 46 };

/* Writes the address as text: dotted IPv4, or IPv6. */
void address_format(const struct address *a, char out[ADDRESS_TEXT_BYTES]);

/* Reads an IPv4 or IPv6 address: no brackets, port, zone or blanks. Returns false where `text` is none; `out` is then as before. */
bool address_parse(struct slice text, struct address *out);

static inline bool address_equal(const struct address *a, const struct address *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

/* All addresses that begin with the first `bits` (0 to 128) of `base`. */
struct address_range {
    struct address base;
    unsigned bits;
};

/* Reads an address, which is a range of one, or `address/bits` (RFC 4632, 3.1; RFC 4291, 2.3): up to 32 bits for IPv4, 128 for IPv6, and none set
 * behind them. Returns false where `text` is none; `out` is then as before. */
bool address_range_parse(struct slice text, struct address_range *out);

/* True where `a` lies in one of `list`. */
bool address_in_ranges(const struct address *a, const struct address_range *list, size_t count);

/* The client of a request that came from `peer` with the value `forwarded` of X-Forwarded-For (may be empty): the right-most address that is not
 * `trusted`, `peer` itself counted as the last. Each hop is only as good as the one that wrote it, so the walk ends at what is no address too; the last good one
 * is the answer then. An entry may have a port (`a.b.c.d:port`, `[v6]:port`). */
struct address address_of_client(const struct address *peer, struct slice forwarded, const struct address_range *trusted,
                                 size_t count);

#endif
