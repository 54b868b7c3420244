/* SPDX-License-Identifier: MIT */
/* Counters by key: fixed windows and concurrency. Exact across threads: one lock inside, held for one look-up. Memory is
 * bounded: at most `max_keys` entries; those whose window is over and that hold nothing open go first, a few with each call, so nothing ever stops to sweep. When
 * all entries are live and the table is full, the entry whose window ends soonest and that holds nothing open is dropped (counted). Time is a parameter. */
#ifndef SLUICE_RATELIMIT_H
#define SLUICE_RATELIMIT_H

#include "buf.h"

struct ratelimit;
struct ratelimit_share;

struct ratelimit *ratelimit_new(size_t max_keys);
void ratelimit_free(struct ratelimit *limits);

/* Counts with other nodes from here on: what they have counted counts here, and what is counted here is noted. Before any other call; `share` outlives the limits. */
void ratelimit_share_with(struct ratelimit *limits, struct ratelimit_share *share);

struct ratelimit_rule {
    uint64_t max;        /* events a window; UINT64_MAX: no limit */
    uint64_t window_ms;  /* > 0 where max is a limit */
    uint64_t concurrent; /* open at once; UINT64_MAX: no limit */
};

struct ratelimit_info {
    bool allowed;
    bool by_concurrency; /* refused because too many are open */
    uint64_t remaining;  /* of the window, after this event */
    uint64_t reset_ms;   /* until the window ends */
    uint64_t open;       /* open now, this one included where it was allowed */
};

struct ratelimit_entry; /* one key's counters, held by who has something open */

/* Counts one event on `key` (up to 512 bytes) under `rule`. A refused event counts neither in the window nor as open. Where the rule has a concurrency limit and the event is
 * allowed, `*hold` is set to an entry that the caller gives back with ratelimit_release once; else to NULL. Returns 0, -EINVAL for a key
 * too long, or -ENOMEM (nothing counted), also where all `max_keys` entries hold something open. The window starts with the first event in it; a
 * key has one window, so other rules for the same key wait for its end. Limits over 2^32 - 1 count as that; `remaining` is UINT64_MAX and `reset_ms` 0 without a limit. */
int ratelimit_take(struct ratelimit *limits, struct slice key, const struct ratelimit_rule *rule, uint64_t now_ms,
                   struct ratelimit_info *info, struct ratelimit_entry **hold);

void ratelimit_release(struct ratelimit *limits, struct ratelimit_entry *hold);

/* What one owner, a request or a stream, holds open. NULL is an empty list; it moves to another owner by assignment. */
struct ratelimit_hold;

/* Puts `entry` into the list, which owns it from then on. Returns 0, or -ENOMEM (it stays the caller's). */
int ratelimit_hold_push(struct ratelimit_hold **holds, struct ratelimit_entry *entry);

/* Gives all that the list holds back and leaves it empty. */
void ratelimit_hold_clear(struct ratelimit_hold **holds, struct ratelimit *limits);

/* Keys held now, and how many live ones were dropped for want of room. */
void ratelimit_counts(struct ratelimit *limits, size_t *keys, uint64_t *dropped);

#endif
