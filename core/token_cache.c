/* SPDX-License-Identifier: MIT */
#include "token.h"

#include <stdlib.h>

#include "hash.h"
#include "list.h"
#include "table.h"

struct cached {
    struct table_node node;
    struct list recent; /* most recently used last */
    struct token_claims claims;
    size_t len;
    char token[];
};

struct token_cache {
    struct hash_seed seed;
    struct table table;
    struct list recent;
    size_t max;
    uint64_t keys_id;
    struct token_claims unkept; /* the last ones, where there was no room for them */
};

struct token_cache *token_cache_new(size_t entries) {
    struct token_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return NULL;
    list_init(&cache->recent);
    cache->max = entries;
    if (hash_seed_init(&cache->seed) || table_init(&cache->table)) {
        free(cache);
        return NULL;
    }
    return cache;
}

static void drop(struct token_cache *cache, struct cached *entry) {
    table_unlink(&cache->table, &entry->node);
    list_unlink(&entry->recent);
    buf_deinit(&entry->claims.json);
    free(entry);
}

static void drop_oldest(struct token_cache *cache) {
    drop(cache, list_entry(cache->recent.next, struct cached, recent));
}

static void empty(struct token_cache *cache) {
    while (!list_empty(&cache->recent))
        drop_oldest(cache);
}

void token_cache_free(struct token_cache *cache) {
    if (!cache)
        return;
    empty(cache);
    table_deinit(&cache->table);
    buf_deinit(&cache->unkept.json);
    free(cache);
}

static struct cached *find(const struct token_cache *cache, struct slice token, uint64_t hash) {
    for (struct table_node *node = table_first(&cache->table, hash); node; node = table_next(node)) {
        struct cached *entry = table_entry(node, struct cached, node);
        if (slice_equal(slice_make(entry->token, entry->len), token))
            return entry;
    }
    return NULL;
}

/* Takes over what a verified token says, and remembers it; without memory just until the next one. */
static const struct token_claims *keep(struct token_cache *cache, struct slice token, uint64_t hash, struct token_claims claims) {
    struct cached *entry = cache->max ? malloc(sizeof *entry + token.len) : NULL;
    if (!entry) {
        cache->unkept = claims;
        return &cache->unkept;
    }
    entry->claims = claims;
    entry->len = token.len;
    memcpy(entry->token, token.ptr, token.len);
    if (cache->table.count >= cache->max)
        drop_oldest(cache);
    table_link(&cache->table, &entry->node, hash);
    list_append(&cache->recent, &entry->recent);
    return &entry->claims;
}

/* A token found in the cache; one whose time is over leaves it. */
static enum token_verdict recall(struct token_cache *cache, struct cached *entry, const struct token_keys *keys,
                                 double now, const struct token_claims **claims, char reason[TOKEN_REASON_BYTES]) {
    enum token_verdict verdict = token_check_times(keys, &entry->claims, now, reason);
    if (verdict) {
        drop(cache, entry);
        return verdict;
    }
    list_unlink(&entry->recent);
    list_append(&cache->recent, &entry->recent);
    *claims = &entry->claims;
    return TOKEN_OK;
}

enum token_verdict token_cache_verify(struct token_cache *cache, uint64_t keys_id, const struct token_keys *keys,
                                      struct slice token, double now, const struct token_claims **claims,
                                      char reason[TOKEN_REASON_BYTES]) {
    struct token_claims fresh;
    *claims = NULL;
    reason[0] = '\0';
    buf_deinit(&cache->unkept.json);
    if (cache->keys_id != keys_id) {
        empty(cache);
        cache->keys_id = keys_id;
    }
    if (token.len > TOKEN_MAX_BYTES) /* not worth hashing: never good */
        return token_verify(keys, token, now, &fresh, reason);
    uint64_t hash = hash_keyed(&cache->seed, token);
    struct cached *entry = find(cache, token, hash);
    if (entry)
        return recall(cache, entry, keys, now, claims, reason);
    enum token_verdict verdict = token_verify(keys, token, now, &fresh, reason);
    if (!verdict)
        *claims = keep(cache, token, hash, fresh);
    return verdict;
}
