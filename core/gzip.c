/* SPDX-License-Identifier: MIT */
#include "gzip.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#define ZLIB_CONST
#include <zlib.h>

enum {
    GZIP_WINDOW = 16 + 15, /* gzip, the largest window */
    RAW_WINDOW = -15,      /* deflate without a wrapper */
    MEMORY_LEVEL = 8,      /* zlib's default */
    STORED_MAX = 65535,    /* what a stored block holds */
    FLUSH_ROOM = 16        /* a flush that gets less room than its marker needs writes two */
};

int gzip_append(struct buf *out, struct slice text, int level) {
    if (text.len >= UINT_MAX)
        return -EFBIG;
    z_stream z = {0};
    if (deflateInit2(&z, level, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    uLong bound = deflateBound(&z, text.len); /* with room for this much, one call is enough */
    int rc = bound > UINT_MAX ? -EFBIG : buf_reserve(out, bound);
    if (rc == 0) {
        z.next_in = (const Bytef *)text.ptr;
        z.avail_in = (uInt)text.len;
        z.next_out = (Bytef *)(out->data + out->len);
        z.avail_out = (uInt)bound;
        rc = deflate(&z, Z_FINISH) == Z_STREAM_END ? 0 : -ENOMEM;
        if (rc == 0)
            out->len += bound - z.avail_out;
    }
    deflateEnd(&z);
    return rc;
}

/* --- in pieces ---------------------------------------------------------------------------------- */

struct gzip_part gzip_part_make(struct gzip_sum sum) {
    return (struct gzip_part){sum.crc, sum.len, (uint32_t)crc32_combine_gen((z_off_t)sum.len)};
}

struct gzip_part gzip_part_of(struct slice text) {
    return gzip_part_make((struct gzip_sum){(uint32_t)crc32_z(0, (const Bytef *)text.ptr, text.len), (uint32_t)text.len});
}

void gzip_sum_add(struct gzip_sum *sum, const struct gzip_part *part) {
    if (part->len == 0)
        return;
    sum->crc = (uint32_t)crc32_combine_op(sum->crc, part->crc, part->op);
    sum->len += part->len;
}

static char *put_u32(char *at, uint32_t value) {
    for (int i = 0; i < 4; i++)
        *at++ = (char)(value >> (8 * i) & 0xff);
    return at;
}

void gzip_trailer(const struct gzip_sum *sum, char out[GZIP_TRAILER_BYTES]) {
    out[0] = 3; /* last block, fixed codes, and the code for its end (RFC 1951, 3.2.6) */
    out[1] = 0;
    put_u32(put_u32(out + 2, sum->crc), sum->len);
}

int gzip_store(struct slice text, struct buf *out) {
    if (buf_reserve(out, text.len + (text.len / STORED_MAX + 1) * 5) != 0)
        return -ENOMEM;
    while (text.len > 0) {
        size_t len = text.len < STORED_MAX ? text.len : STORED_MAX;
        char head[5] = {0, (char)(len & 0xff), (char)(len >> 8), (char)(~len & 0xff), (char)(~len >> 8 & 0xff)};
        int rc = buf_append(out, head, sizeof head);
        rc = rc ? rc : buf_append(out, text.ptr, len);
        if (rc)
            return rc;
        text = slice_make(text.ptr + len, text.len - len);
    }
    return 0;
}

struct gzip_deflater {
    z_stream z;
};

struct gzip_deflater *gzip_deflater_new(int level) {
    struct gzip_deflater *d = calloc(1, sizeof *d);
    if (d && deflateInit2(&d->z, level, Z_DEFLATED, RAW_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
        free(d);
        return NULL;
    }
    return d;
}

void gzip_deflater_free(struct gzip_deflater *d) {
    if (!d)
        return;
    deflateEnd(&d->z);
    free(d);
}

/* Gives zlib all of `text` and takes what comes, ended by `flush`. */
static int run(z_stream *z, struct slice text, int flush, struct buf *out) {
    z->next_in = (const Bytef *)text.ptr;
    z->avail_in = (uInt)text.len;
    size_t room = deflateBound(z, text.len) + FLUSH_ROOM;
    do {
        if (buf_reserve(out, room) != 0)
            return -ENOMEM;
        z->next_out = (Bytef *)(out->data + out->len);
        z->avail_out = (uInt)room;
        deflate(z, flush); /* can only say that nothing was left to do */
        out->len += room - z->avail_out;
    } while (z->avail_out == 0);
    return 0;
}

int gzip_deflate(struct gzip_deflater *d, struct slice text, bool fresh, struct buf *out) {
    enum { PIECE = 1 << 30 };
    size_t before = out->len;
    if (fresh)
        deflateReset(&d->z);
    while (text.len > PIECE) {
        if (run(&d->z, slice_make(text.ptr, PIECE), Z_NO_FLUSH, out) != 0)
            goto fail;
        text = slice_make(text.ptr + PIECE, text.len - PIECE);
    }
    if (run(&d->z, text, Z_SYNC_FLUSH, out) == 0)
        return 0;

fail:
    out->len = before;
    return -ENOMEM;
}
