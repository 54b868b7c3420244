/* SPDX-License-Identifier: MIT */
/* Digests for names that others compare: entity tags, and the hashes of a Content Security Policy. */
#ifndef SLUICE_DIGEST_H
#define SLUICE_DIGEST_H

#include "buf.h"

enum { DIGEST_SHA256_CHARS = 44 };

/* Writes the SHA-256 of `s` in base64 (RFC 4648, 4; padded) and a NUL. Returns 0 or -ENOMEM. */
int digest_sha256(struct slice s, char out[DIGEST_SHA256_CHARS + 1]);

#endif
