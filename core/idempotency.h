/* SPDX-License-Identifier: MIT */
/* Answers of publishes by idempotency key, so that a publish can be repeated without a double (draft-ietf-httpapi-idempotency-key-header). Bounded by age and number: what is older, or the oldest where there are too
 * many, is forgotten. Exact across threads: one lock inside, held for one look-up. Time is a parameter. */
#ifndef SLUICE_IDEMPOTENCY_H
#define SLUICE_IDEMPOTENCY_H

#include "message.h"

enum {
    IDEMPOTENCY_MS = 600000,    /* a key is known for ten minutes */
    IDEMPOTENCY_KEYS = 1 << 16, /* of the newest that many, in memory */
    IDEMPOTENCY_KEY_BYTES = 255 /* the longest key */
};

struct idempotency;

enum idempotency_found {
    IDEMPOTENCY_NEW,     /* not known: publish, then call idempotency_done or idempotency_forget */
    IDEMPOTENCY_KNOWN,   /* published before: the answer is filled */
    IDEMPOTENCY_PENDING, /* just being published by another request */
    IDEMPOTENCY_OTHER    /* known with another fingerprint */
};

struct idempotency_answer {
    struct message_id id;
    uint64_t subscribers;
};

/* A key that a client may choose: 1 to 255 visible ASCII characters. */
bool idempotency_key_valid(struct slice key);

struct idempotency *idempotency_new(size_t max_keys);
void idempotency_free(struct idempotency *t);

/* Looks a key up; one that is not known is pending from here on. `fingerprint` is a hash of what is published. Returns what it found, or -ENOMEM. */
int idempotency_begin(struct idempotency *t, struct slice key, uint64_t fingerprint, uint64_t now_ms, struct idempotency_answer *out);

/* It was published, or was not. */
void idempotency_done(struct idempotency *t, struct slice key, const struct idempotency_answer *answer);
void idempotency_forget(struct idempotency *t, struct slice key);

#endif
