/* SPDX-License-Identifier: MIT */
/* Reads gzip (RFC 1952) incrementally, as a client does that gets a coded body. Bytes in and out; knows no HTTP. */
#ifndef SLUICE_GUNZIP_H
#define SLUICE_GUNZIP_H

#include "buf.h"

struct gunzip;

/* Returns NULL for want of memory. */
struct gunzip *gunzip_new(void);
void gunzip_free(struct gunzip *g);

/* Reads on, chunks may break anywhere, and appends all that can be had from the bytes so far to `out`: at most about a thousand times what came in.
 * Members that follow one another are one text. Returns 0, -EBADMSG where this is no gzip or its checksum is wrong, or -ENOMEM; after a failure
 * it may only be freed. */
int gunzip_feed(struct gunzip *g, struct slice input, struct buf *out);

#endif
