/* SPDX-License-Identifier: MIT */
/* A whole text as one gzip member (RFC 1952), for what a script compresses. What streams send is another matter: it is compressed piece by piece. */
#ifndef SLUICE_GZIP_H
#define SLUICE_GZIP_H

#include "buf.h"

enum { GZIP_LEVEL_DEFAULT = 6 };

/* Appends the gzip form of `text` to `out`; `level` is 0 (stored) to 9. The same text and level give the same bytes: no time and no name are in it. Returns 0, -EFBIG where the text
 * has 4 GiB or more, or -ENOMEM; `out` is then as before. */
int gzip_append(struct buf *out, struct slice text, int level);

#endif
