/* SPDX-License-Identifier: MIT */
#include "gunzip.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#define ZLIB_CONST
#include <zlib.h>

enum {
    ROOM = 16384,         /* how much is inflated in one go */
    GZIP_WINDOW = 16 + 15 /* gzip and nothing else, the largest window */
};

struct gunzip {
    z_stream z;
    bool between; /* a member has ended, and no byte of another has come */
};

struct gunzip *gunzip_new(void) {
    struct gunzip *g = calloc(1, sizeof *g);
    if (g && inflateInit2(&g->z, GZIP_WINDOW) != Z_OK) {
        free(g);
        return NULL;
    }
    return g;
}

void gunzip_free(struct gunzip *g) {
    if (!g)
        return;
    inflateEnd(&g->z);
    free(g);
}

/* One call of inflate(). Sets `*more` while there may be more to be had. */
static int inflate_some(struct gunzip *g, struct buf *out, bool *more) {
    if (g->between) {
        if (g->z.avail_in == 0) {
            *more = false;
            return 0;
        }
        inflateReset(&g->z);
        g->between = false;
    }
    int rc = buf_reserve(out, ROOM);
    if (rc)
        return rc;
    g->z.next_out = (Bytef *)(out->data + out->len);
    g->z.avail_out = ROOM;
    int code = inflate(&g->z, Z_NO_FLUSH);
    out->len += ROOM - g->z.avail_out;
    if (code == Z_MEM_ERROR)
        return -ENOMEM;
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
        return -EBADMSG;
    g->between = code == Z_STREAM_END;
    *more = g->between || g->z.avail_in > 0 || g->z.avail_out == 0;
    return 0;
}

int gunzip_feed(struct gunzip *g, struct slice input, struct buf *out) {
    while (input.len > 0) {
        size_t part = input.len < UINT_MAX ? input.len : UINT_MAX;
        g->z.next_in = (const Bytef *)input.ptr;
        g->z.avail_in = (uInt)part;
        for (bool more = true; more;) {
            int rc = inflate_some(g, out, &more);
            if (rc)
                return rc;
        }
        input = slice_make(input.ptr + part, input.len - part);
    }
    return 0;
}
