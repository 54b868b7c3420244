/* SPDX-License-Identifier: MIT */
/* Compressed data inside of an event's data, for clients and proxies that cannot take a content coding: a JSON object that says whether it is compressed.
 *
 *     {"compressed":true,"data":"<base64 (RFC 4648, 4) of gzip>"}      inflates to the data, byte for byte
 *     {"compressed":false,"data":...}                                  data that is JSON with its own text, any other as a JSON string
 */
#ifndef SLUICE_ENVELOPE_H
#define SLUICE_ENVELOPE_H

#include "buf.h"

enum { ENVELOPE_THRESHOLD = 1024 };

/* Appends the envelope of `data` (UTF-8); compressed where it has more than `threshold` bytes. Returns 0, -EFBIG (see gzip_append) or -ENOMEM; `out` is then as before. */
int envelope_append(struct buf *out, struct slice data, size_t threshold, int level);

#endif
