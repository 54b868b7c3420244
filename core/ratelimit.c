/* SPDX-License-Identifier: MIT */
#include "ratelimit.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "heap.h"
#include "ratelimit_share.h"
#include "table.h"

enum {
    KEY_MAX = RATELIMIT_KEY_BYTES,
    REAP_PER_CALL = 2, /* entries that are over and freed with each call: more than one call adds */
};

/* In the heap, by the end of its window, while it holds nothing open: these are the entries that may go. */
struct ratelimit_entry {
    struct table_node node;
    struct heap_node window; /* `due` is its end, 0 before the first; `own` is the key's length */
    uint32_t count;          /* events in the window */
    uint32_t open;
    char key[];
};

static_assert(sizeof(struct ratelimit_entry) == 40, "with a key of 16 bytes an entry fits malloc's class of 64");

struct ratelimit {
    pthread_mutex_t lock;
    struct hash_seed seed;
    struct table table;
    struct heap idle;
    size_t max_keys;
    uint64_t dropped;
    struct ratelimit_share *share; /* or NULL: nobody else counts */
};

struct ratelimit *ratelimit_new(size_t max_keys) {
    struct ratelimit *limits = calloc(1, sizeof *limits);
    if (!limits)
        return NULL;
    limits->max_keys = max_keys;
    if (hash_seed_init(&limits->seed) || table_init(&limits->table)) {
        free(limits);
        return NULL;
    }
    pthread_mutex_init(&limits->lock, NULL); /* a plain mutex: cannot fail */
    return limits;
}

void ratelimit_share_with(struct ratelimit *limits, struct ratelimit_share *share) {
    limits->share = share;
}

static void free_node(struct table_node *node, void *context) {
    (void)context;
    free(table_entry(node, struct ratelimit_entry, node));
}

void ratelimit_free(struct ratelimit *limits) {
    if (!limits)
        return;
    table_each(&limits->table, free_node, NULL);
    table_deinit(&limits->table);
    heap_deinit(&limits->idle);
    pthread_mutex_destroy(&limits->lock);
    free(limits);
}

/* --- entries, under the lock -------------------------------------------------------------------- */

static struct ratelimit_entry *find(const struct ratelimit *limits, struct slice key, uint64_t hash) {
    for (struct table_node *node = table_first(&limits->table, hash); node; node = table_next(node)) {
        struct ratelimit_entry *e = table_entry(node, struct ratelimit_entry, node);
        if (slice_equal(slice_make(e->key, e->window.own), key))
            return e;
    }
    return NULL;
}

static struct ratelimit_entry *first_idle(const struct ratelimit *limits) {
    struct heap_node *node = heap_first(&limits->idle);
    return node ? heap_entry(node, struct ratelimit_entry, window) : NULL;
}

static void drop(struct ratelimit *limits, struct ratelimit_entry *e) {
    heap_remove(&limits->idle, &e->window);
    table_unlink(&limits->table, &e->node);
    free(e);
}

static void reap(struct ratelimit *limits, uint64_t now_ms) {
    for (int i = 0; i < REAP_PER_CALL; i++) {
        struct ratelimit_entry *e = first_idle(limits);
        if (!e || e->window.due > now_ms)
            return;
        drop(limits, e);
    }
}

/* Links a new entry, which is in no window yet. Every entry has its place in the heap reserved, so that a release cannot fail. NULL: no memory, or
 * no room and all that is there is open. */
static struct ratelimit_entry *add(struct ratelimit *limits, struct slice key, uint64_t hash) {
    struct ratelimit_entry *victim = limits->table.count >= limits->max_keys ? first_idle(limits) : NULL;
    if (limits->table.count >= limits->max_keys && !victim)
        return NULL;
    if (heap_reserve(&limits->idle, limits->table.count + 1))
        return NULL;
    struct ratelimit_entry *e = malloc(sizeof *e + key.len);
    if (!e)
        return NULL;
    if (victim) {
        drop(limits, victim);
        limits->dropped++;
    }
    *e = (struct ratelimit_entry){.window.own = (uint32_t)key.len};
    if (key.len)
        memcpy(e->key, key.ptr, key.len);
    table_link(&limits->table, &e->node, hash);
    return e;
}

/* Puts the entry where its window and what it holds open say. */
static void place(struct ratelimit *limits, struct ratelimit_entry *e) {
    uint64_t end = e->window.due;
    heap_remove(&limits->idle, &e->window);
    if (e->open == 0)
        heap_push(&limits->idle, &e->window, end);
}

/* --- operations --------------------------------------------------------------------------------- */

/* Counters of 32 bits keep an entry small; a limit above them counts as the largest. */
static uint32_t clamp(uint64_t limit) {
    return limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
}

/* What is left of a limit when others have used some of it. */
static uint64_t left_of(uint64_t limit, uint64_t used) {
    return limit == UINT64_MAX ? limit : limit > used ? limit - used : 0;
}

static int take_locked(struct ratelimit *limits, struct slice key, uint64_t hash, const struct ratelimit_rule *rule,
                       uint64_t now_ms, struct ratelimit_info *info, struct ratelimit_entry **hold) {
    bool windowed = rule->max != UINT64_MAX, counted = rule->concurrent != UINT64_MAX;
    struct ratelimit_entry *e = find(limits, key, hash);
    bool inside = e && e->window.due > now_ms;
    uint32_t count = inside ? e->count : 0, open = e ? e->open : 0;
    uint64_t end = inside ? e->window.due : now_ms + rule->window_ms;
    if (end < now_ms)
        end = UINT64_MAX;

    bool window_full = windowed && count >= clamp(rule->max);
    bool open_full = counted && open >= clamp(rule->concurrent);
    info->open = open;
    info->reset_ms = windowed ? end - now_ms : 0;
    info->remaining = windowed && !window_full ? clamp(rule->max) - count : windowed ? 0 : UINT64_MAX;
    if (window_full || open_full) {
        info->by_concurrency = !window_full;
        return 0;
    }
    if (!windowed && !counted) {
        info->allowed = true;
        return 0;
    }
    if (!e)
        e = add(limits, key, hash);
    if (!e)
        return -ENOMEM;
    if (windowed) {
        e->count = count + 1;
        e->window.due = end;
        info->remaining--;
    }
    if (counted) {
        info->open = ++e->open;
        *hold = e;
    }
    place(limits, e);
    info->allowed = true;
    return 0;
}

int ratelimit_take(struct ratelimit *limits, struct slice key, const struct ratelimit_rule *rule, uint64_t now_ms,
                   struct ratelimit_info *info, struct ratelimit_entry **hold) {
    *info = (struct ratelimit_info){0};
    *hold = NULL;
    if (key.len > KEY_MAX)
        return -EINVAL;
    uint64_t hash = hash_keyed(&limits->seed, key), events = 0, open = 0;
    if (limits->share)
        ratelimit_share_elsewhere(limits->share, key, now_ms, &events, &open);
    struct ratelimit_rule left = {left_of(rule->max, events), rule->window_ms, left_of(rule->concurrent, open)};
    pthread_mutex_lock(&limits->lock);
    reap(limits, now_ms);
    int rc = take_locked(limits, key, hash, &left, now_ms, info, hold);
    uint32_t here = (uint32_t)info->open;
    pthread_mutex_unlock(&limits->lock);
    info->open += open;
    if (limits->share && rc == 0) /* refused events too: what others have counted is asked for again */
        ratelimit_share_note(limits->share, key, info->allowed && rule->max != UINT64_MAX, rule->window_ms, here);
    return rc;
}

void ratelimit_release(struct ratelimit *limits, struct ratelimit_entry *hold) {
    char key[KEY_MAX];
    if (!hold)
        return;
    pthread_mutex_lock(&limits->lock);
    assert(hold->open > 0);
    uint32_t open = --hold->open;
    size_t key_len = hold->window.own;
    if (limits->share)
        memcpy(key, hold->key, key_len); /* the entry may go as soon as the lock is free */
    place(limits, hold);
    pthread_mutex_unlock(&limits->lock);
    if (limits->share)
        ratelimit_share_note_open(limits->share, slice_make(key, key_len), open);
}

struct ratelimit_hold {
    struct ratelimit_hold *next;
    struct ratelimit_entry *entry;
};

int ratelimit_hold_push(struct ratelimit_hold **holds, struct ratelimit_entry *entry) {
    struct ratelimit_hold *hold = malloc(sizeof *hold);
    if (!hold)
        return -ENOMEM;
    *hold = (struct ratelimit_hold){*holds, entry};
    *holds = hold;
    return 0;
}

void ratelimit_hold_clear(struct ratelimit_hold **holds, struct ratelimit *limits) {
    while (*holds) {
        struct ratelimit_hold *hold = *holds;
        *holds = hold->next;
        ratelimit_release(limits, hold->entry);
        free(hold);
    }
}

void ratelimit_counts(struct ratelimit *limits, size_t *keys, uint64_t *dropped) {
    pthread_mutex_lock(&limits->lock);
    *keys = limits->table.count;
    *dropped = limits->dropped;
    pthread_mutex_unlock(&limits->lock);
}
