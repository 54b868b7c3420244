/* SPDX-License-Identifier: MIT */
#include "gzip.h"

#include <errno.h>
#include <limits.h>

#define ZLIB_CONST
#include <zlib.h>

enum {
    GZIP_WINDOW = 16 + 15, /* gzip, the largest window */
    MEMORY_LEVEL = 8       /* zlib's default */
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
