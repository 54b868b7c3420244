/* SPDX-License-Identifier: MIT */
/* The dictionary that all workers and generations share: string keys to strings, integers, floats or booleans, each with an optional time to live. One lock
 * inside, held for one operation. Memory is bounded by `max_bytes` (keys, values and overhead); a write that would pass it fails. Expired entries are
 * gone for readers at once and are freed a few with each write. Time is a parameter. */
#ifndef SLUICE_SHARED_DICT_H
#define SLUICE_SHARED_DICT_H

#include "buf.h"

enum dict_type { DICT_NONE, DICT_BOOLEAN, DICT_INTEGER, DICT_FLOAT, DICT_STRING };

/* A value; for DICT_STRING `text` is borrowed from the caller on set and appended to the caller's buffer on get. */
struct dict_value {
    enum dict_type type;
    bool boolean;
    int64_t integer;
    double number;
    struct slice text;
};

struct shared_dict;

struct shared_dict *shared_dict_new(size_t max_bytes);
void shared_dict_free(struct shared_dict *dict);

/* Reads `key`. Text is copied into `storage` (cleared first), which `out->text` then points into. Returns 0 (type DICT_NONE where there is none) or -ENOMEM. */
int shared_dict_get(struct shared_dict *dict, struct slice key, uint64_t now_ms, struct dict_value *out,
                    struct buf *storage);

/* Writes `key`. `ttl_ms` 0 means for ever. Returns 0, -ENOSPC when full, -EINVAL for a key over 512 bytes, -ENOMEM; nothing changed on failure. */
int shared_dict_set(struct shared_dict *dict, struct slice key, const struct dict_value *value, uint64_t ttl_ms,
                    uint64_t now_ms);

/* Adds `by` (integer or float) to a number, 0 where there is none, and gives the sum; `ttl_ms` is set only where the key is new. Integers wrap never:
 * -ERANGE. Returns -EINVAL where the value is no number; else as set. */
int shared_dict_incr(struct shared_dict *dict, struct slice key, const struct dict_value *by, uint64_t ttl_ms,
                     uint64_t now_ms, struct dict_value *out);

/* Removes `key`. Returns true where it was there. */
bool shared_dict_delete(struct shared_dict *dict, struct slice key, uint64_t now_ms);

void shared_dict_counts(struct shared_dict *dict, size_t *keys, size_t *bytes);

#endif
