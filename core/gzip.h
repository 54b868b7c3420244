/* SPDX-License-Identifier: MIT */
/* Writes gzip (RFC 1952): a whole text as one member, for what a script compresses; or, for streams, pieces that many of them can share: header, runs of deflate blocks (RFC 1951) that end on a
 * byte, and a trailer over whatever pieces one stream was sent. A run is self-contained, or goes on from the runs before it. Knows no messages; gunzip.h reads what this writes. */
#ifndef SLUICE_GZIP_H
#define SLUICE_GZIP_H

#include "buf.h"

enum { GZIP_LEVEL_DEFAULT = 6, GZIP_TRAILER_BYTES = 10 };

/* Appends the gzip form of `text` to `out`; `level` is 0 (stored) to 9. The same text and level give the same bytes: no time and no name are in it. Returns 0, -EFBIG where the text
 * has 4 GiB or more, or -ENOMEM; `out` is then as before. */
int gzip_append(struct buf *out, struct slice text, int level);

/* --- in pieces ---------------------------------------------------------------------------------- */

/* What a stream's trailer needs to know of a piece of its text. */
struct gzip_part {
    uint32_t crc, len;
    uint32_t op; /* made from the length once, so that adding the part to a sum is cheap */
};

/* CRC-32 and length, modulo 2^32, of all the text that a stream was sent; zero at its begin (RFC 1952, 2.3.1). */
struct gzip_sum {
    uint32_t crc, len;
};

struct gzip_part gzip_part_of(struct slice text);

/* A part of which CRC and length are known. */
struct gzip_part gzip_part_make(struct gzip_sum sum);

void gzip_sum_add(struct gzip_sum *sum, const struct gzip_part *part);

/* What a stream begins with (RFC 1952, 2.3): no name, no time, system unknown. */
static inline struct slice gzip_header(void) {
    return slice_make("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
}

/* A piece without text: an empty stored block (RFC 1951, 3.2.4). It moves nothing in the reader's window. */
static inline struct slice gzip_nothing(void) {
    return slice_make("\0\0\0\xff\xff", 5);
}

/* What a stream ends with: an empty last block, then CRC and length. */
void gzip_trailer(const struct gzip_sum *sum, char out[GZIP_TRAILER_BYTES]);

/* Appends the text in stored blocks, which cost five bytes for each 65,535 and no time. Returns 0 or -ENOMEM. */
int gzip_store(struct slice text, struct buf *out);

/* A compressor with its window: 268 KiB. */
struct gzip_deflater;

/* `level`: 1 to 9. NULL: no memory. */
struct gzip_deflater *gzip_deflater_new(int level);
void gzip_deflater_free(struct gzip_deflater *d);

/* Appends a run of blocks with the text, flushed so that a reader has all of it at once and the next run begins on a byte. `fresh`: the run refers to nothing before it; else to what the
 * deflater was given since it was last fresh, all of which the reader must have had just before. Returns 0, or -ENOMEM: the next run must be fresh. */
int gzip_deflate(struct gzip_deflater *d, struct slice text, bool fresh, struct buf *out);

#endif
