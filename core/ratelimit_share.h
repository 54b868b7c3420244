/* SPDX-License-Identifier: MIT */
/* What limits count on other nodes, as far as was told: the limiter asks before it decides, and notes what it has counted; who talks to the other nodes takes the notes and brings back their sums. So a decision
 * waits for nobody, and is as exact as the last exchange is young. Exact across threads: one lock inside. Time is a parameter. */
#ifndef SLUICE_RATELIMIT_SHARE_H
#define SLUICE_RATELIMIT_SHARE_H

#include "buf.h"

enum { RATELIMIT_KEY_BYTES = 512 };

struct ratelimit_share;

struct ratelimit_share *ratelimit_share_new(size_t max_keys);
void ratelimit_share_free(struct ratelimit_share *share);

/* What other nodes have counted on the key: events in its window, and what is open. */
void ratelimit_share_elsewhere(struct ratelimit_share *share, struct slice key, uint64_t now_ms, uint64_t *events, uint64_t *open);

/* Notes `events` more in a window of `window_ms`, and that `open` are open here. Where there is no room or memory the key is counted here only. */
void ratelimit_share_note(struct ratelimit_share *share, struct slice key, uint32_t events, uint64_t window_ms, uint32_t open);

/* Notes what is open here after one has ended. */
void ratelimit_share_note_open(struct ratelimit_share *share, struct slice key, uint32_t open);

/* One key that was noted since it was taken last. */
struct ratelimit_note {
    char key[RATELIMIT_KEY_BYTES];
    size_t key_len;
    uint32_t events;
    uint64_t window_ms;
    int64_t open; /* more open than was told */
};

/* Takes up to `max` notes; what is taken counts as told. Lets go of some keys that nobody uses. Returns how many. */
size_t ratelimit_share_take(struct ratelimit_share *share, struct ratelimit_note *out, size_t max, uint64_t now_ms);

/* The sums over all nodes, told notes included: events, milliseconds until their window ends, what is open. `told` are the events that were told last. */
void ratelimit_share_learn(struct ratelimit_share *share, struct slice key, uint32_t told, uint64_t events, uint64_t reset_ms, uint64_t open, uint64_t now_ms);

/* Nobody knows any more what is open here: it is a note again. */
void ratelimit_share_forget_told(struct ratelimit_share *share);

#endif
