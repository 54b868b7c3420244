/* SPDX-License-Identifier: MIT */
#include "ratelimit_share.h"

#include <pthread.h>
#include <stdlib.h>

#include "hash.h"
#include "list.h"
#include "table.h"

enum { SWEEP = 32 }; /* keys that are looked at with each taking */

struct shared_key {
    struct table_node node;
    struct list all;   /* in share.all */
    struct list noted; /* in share.noted, where there is something to tell */
    uint64_t until_ms; /* end of the window that the nodes share */
    uint64_t window_ms;
    uint32_t events; /* not yet told */
    uint32_t told;   /* of this window */
    uint32_t elsewhere;
    uint32_t open, open_told, open_elsewhere;
    size_t key_len;
    char key[];
};

struct ratelimit_share {
    struct hash_seed seed;
    size_t max_keys;
    pthread_mutex_t lock; /* guards all below */
    struct table keys;
    struct list all, noted;
};

struct ratelimit_share *ratelimit_share_new(size_t max_keys) {
    struct ratelimit_share *share = calloc(1, sizeof *share);
    if (!share)
        return NULL;
    share->max_keys = max_keys;
    list_init(&share->all);
    list_init(&share->noted);
    pthread_mutex_init(&share->lock, NULL);
    if (hash_seed_init(&share->seed) != 0 || table_init(&share->keys) != 0) {
        ratelimit_share_free(share);
        return NULL;
    }
    return share;
}

static void drop(struct ratelimit_share *share, struct shared_key *k) {
    table_unlink(&share->keys, &k->node);
    list_unlink(&k->all);
    list_unlink(&k->noted);
    free(k);
}

void ratelimit_share_free(struct ratelimit_share *share) {
    if (!share)
        return;
    while (!list_empty(&share->all))
        drop(share, list_entry(share->all.next, struct shared_key, all));
    table_deinit(&share->keys);
    pthread_mutex_destroy(&share->lock);
    free(share);
}

static struct shared_key *find(struct ratelimit_share *share, struct slice key) {
    uint64_t hash = hash_keyed(&share->seed, key);
    for (struct table_node *node = table_first(&share->keys, hash); node; node = table_next(node)) {
        struct shared_key *k = table_entry(node, struct shared_key, node);
        if (slice_equal(slice_make(k->key, k->key_len), key))
            return k;
    }
    return NULL;
}

static struct shared_key *open_key(struct ratelimit_share *share, struct slice key) {
    struct shared_key *k = find(share, key);
    if (k || share->keys.count >= share->max_keys || key.len > RATELIMIT_KEY_BYTES)
        return k;
    k = calloc(1, sizeof *k + key.len);
    if (!k)
        return NULL;
    k->key_len = key.len;
    if (key.len)
        memcpy(k->key, key.ptr, key.len);
    list_init(&k->noted);
    list_init(&k->all);
    list_append(&share->all, &k->all);
    table_link(&share->keys, &k->node, hash_keyed(&share->seed, key));
    return k;
}

static void mark(struct ratelimit_share *share, struct shared_key *k) {
    if (list_empty(&k->noted))
        list_append(&share->noted, &k->noted);
}

void ratelimit_share_elsewhere(struct ratelimit_share *share, struct slice key, uint64_t now_ms, uint64_t *events, uint64_t *open) {
    pthread_mutex_lock(&share->lock);
    const struct shared_key *k = find(share, key);
    *events = k && now_ms < k->until_ms ? k->elsewhere : 0;
    *open = k ? k->open_elsewhere : 0;
    pthread_mutex_unlock(&share->lock);
}

void ratelimit_share_note(struct ratelimit_share *share, struct slice key, uint32_t events, uint64_t window_ms, uint32_t open) {
    pthread_mutex_lock(&share->lock);
    struct shared_key *k = open_key(share, key);
    if (k) {
        k->events += events;
        k->window_ms = window_ms;
        k->open = open;
        mark(share, k);
    }
    pthread_mutex_unlock(&share->lock);
}

void ratelimit_share_note_open(struct ratelimit_share *share, struct slice key, uint32_t open) {
    pthread_mutex_lock(&share->lock);
    struct shared_key *k = find(share, key);
    if (k) {
        k->open = open;
        mark(share, k);
    }
    pthread_mutex_unlock(&share->lock);
}

/* Looks at some keys, each a little later again. */
static void sweep(struct ratelimit_share *share, uint64_t now_ms) {
    for (int i = 0; i < SWEEP && !list_empty(&share->all); i++) {
        struct shared_key *k = list_entry(share->all.next, struct shared_key, all);
        list_unlink(&k->all);
        list_append(&share->all, &k->all);
        if (list_empty(&k->noted) && k->open == 0 && k->open_told == 0 && now_ms >= k->until_ms)
            drop(share, k);
    }
}

size_t ratelimit_share_take(struct ratelimit_share *share, struct ratelimit_note *out, size_t max, uint64_t now_ms) {
    size_t n = 0;
    pthread_mutex_lock(&share->lock);
    sweep(share, now_ms);
    for (; n < max && !list_empty(&share->noted); n++) {
        struct shared_key *k = list_entry(share->noted.next, struct shared_key, noted);
        list_unlink(&k->noted);
        out[n] = (struct ratelimit_note){.key_len = k->key_len, .events = k->events, .window_ms = k->window_ms, .open = (int64_t)k->open - k->open_told};
        memcpy(out[n].key, k->key, k->key_len);
        k->told += k->events;
        k->events = 0;
        k->open_told = k->open;
    }
    pthread_mutex_unlock(&share->lock);
    return n;
}

static uint32_t beyond(uint64_t sum, uint64_t ours) {
    uint64_t rest = sum > ours ? sum - ours : 0;
    return rest < UINT32_MAX ? (uint32_t)rest : UINT32_MAX;
}

void ratelimit_share_learn(struct ratelimit_share *share, struct slice key, uint32_t told, uint64_t events, uint64_t reset_ms, uint64_t open, uint64_t now_ms) {
    pthread_mutex_lock(&share->lock);
    struct shared_key *k = find(share, key);
    if (k) {
        if (events <= told) /* a new window has begun with ours */
            k->told = told;
        k->elsewhere = beyond(events, k->told);
        k->until_ms = now_ms + reset_ms;
        k->open_elsewhere = beyond(open, k->open_told);
    }
    pthread_mutex_unlock(&share->lock);
}

void ratelimit_share_forget_told(struct ratelimit_share *share) {
    pthread_mutex_lock(&share->lock);
    for (struct list *node = share->all.next; node != &share->all; node = node->next) {
        struct shared_key *k = list_entry(node, struct shared_key, all);
        k->open_told = 0;
        if (k->open)
            mark(share, k);
    }
    pthread_mutex_unlock(&share->lock);
}
