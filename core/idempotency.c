/* SPDX-License-Identifier: MIT */
#include "idempotency.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "hash.h"
#include "table.h"

struct entry {
    struct table_node by_key;
    struct list by_age; /* oldest first */
    uint64_t at_ms;
    uint64_t fingerprint;
    struct idempotency_answer answer;
    bool pending;
    size_t key_len;
    char key[];
};

struct idempotency {
    struct hash_seed seed;
    size_t max_keys;
    pthread_mutex_t lock; /* guards all below */
    struct table keys;
    struct list ages;
};

bool idempotency_key_valid(struct slice key) {
    for (size_t i = 0; i < key.len; i++) {
        if (key.ptr[i] <= 0x20 || key.ptr[i] >= 0x7f)
            return false;
    }
    return key.len > 0 && key.len <= IDEMPOTENCY_KEY_BYTES;
}

struct idempotency *idempotency_new(size_t max_keys) {
    struct idempotency *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->max_keys = max_keys;
    list_init(&t->ages);
    pthread_mutex_init(&t->lock, NULL);
    if (hash_seed_init(&t->seed) != 0 || table_init(&t->keys) != 0) {
        idempotency_free(t);
        return NULL;
    }
    return t;
}

static void drop(struct idempotency *t, struct entry *e) {
    table_unlink(&t->keys, &e->by_key);
    list_unlink(&e->by_age);
    free(e);
}

void idempotency_free(struct idempotency *t) {
    if (!t)
        return;
    while (!list_empty(&t->ages))
        drop(t, list_entry(t->ages.next, struct entry, by_age));
    table_deinit(&t->keys);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static struct entry *find(struct idempotency *t, struct slice key, uint64_t hash) {
    for (struct table_node *node = table_first(&t->keys, hash); node; node = table_next(node)) {
        struct entry *e = table_entry(node, struct entry, by_key);
        if (slice_equal(slice_make(e->key, e->key_len), key))
            return e;
    }
    return NULL;
}

/* Forgets what is too old, and the oldest where there is no room. */
static void make_room(struct idempotency *t, uint64_t now_ms) {
    while (!list_empty(&t->ages)) {
        struct entry *oldest = list_entry(t->ages.next, struct entry, by_age);
        bool old = now_ms > oldest->at_ms && now_ms - oldest->at_ms > IDEMPOTENCY_MS;
        if (!old && t->keys.count < t->max_keys)
            return;
        drop(t, oldest);
    }
}

static int begin(struct idempotency *t, struct slice key, uint64_t fingerprint, uint64_t now_ms, struct idempotency_answer *out) {
    uint64_t hash = hash_keyed(&t->seed, key);
    make_room(t, now_ms);
    struct entry *e = find(t, key, hash);
    if (e) {
        *out = e->answer;
        if (e->fingerprint != fingerprint)
            return IDEMPOTENCY_OTHER;
        return e->pending ? IDEMPOTENCY_PENDING : IDEMPOTENCY_KNOWN;
    }
    e = calloc(1, sizeof *e + key.len);
    if (!e)
        return -ENOMEM;
    e->at_ms = now_ms;
    e->fingerprint = fingerprint;
    e->pending = true;
    e->key_len = key.len;
    memcpy(e->key, key.ptr, key.len);
    list_init(&e->by_age);
    list_append(&t->ages, &e->by_age);
    table_link(&t->keys, &e->by_key, hash);
    return IDEMPOTENCY_NEW;
}

int idempotency_begin(struct idempotency *t, struct slice key, uint64_t fingerprint, uint64_t now_ms, struct idempotency_answer *out) {
    pthread_mutex_lock(&t->lock);
    int found = begin(t, key, fingerprint, now_ms, out);
    pthread_mutex_unlock(&t->lock);
    return found;
}

void idempotency_done(struct idempotency *t, struct slice key, const struct idempotency_answer *answer) {
    pthread_mutex_lock(&t->lock);
    struct entry *e = find(t, key, hash_keyed(&t->seed, key));
    if (e) {
        e->answer = *answer;
        e->pending = false;
    }
    pthread_mutex_unlock(&t->lock);
}

void idempotency_forget(struct idempotency *t, struct slice key) {
    pthread_mutex_lock(&t->lock);
    struct entry *e = find(t, key, hash_keyed(&t->seed, key));
    if (e)
        drop(t, e);
    pthread_mutex_unlock(&t->lock);
}
