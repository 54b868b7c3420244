/* SPDX-License-Identifier: MIT */
/* The access log (log.access): a record for each request, for a stream when it opens and when it ends. What may be a secret is left out: query parameters whose names sound like one, and all
 * header fields. Where it is off each of these costs one branch. */
#ifndef SLUICE_ACCESS_H
#define SLUICE_ACCESS_H

#include "buf.h"

struct exchange;
struct stream;

/* A request was answered with `status` and a body of so many bytes; 0: the client went before. */
void access_request(const struct exchange *x, int status, size_t bytes);

/* A stream has begun, in answer to `x`: keeps what its end will tell in s->access. */
void access_opened(struct stream *s, const struct exchange *x);

/* It has ended: frees that. Called once for every stream. */
void access_ended(struct stream *s);

#endif
