/* SPDX-License-Identifier: MIT */
#include "shared_dict.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "hash.h"
#include "heap.h"
#include "table.h"

enum {
    KEY_MAX = 512,
    REAP_PER_WRITE = 4,  /* expired entries freed with each write: more than one write adds */
    ENTRY_OVERHEAD = 48, /* table slot, heap slot, malloc's headers */
};

struct entry {
    struct table_node node;
    struct heap_node expiry; /* in the heap only where the entry expires; `own` is the key's length */
    enum dict_type type;
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct {
            char *ptr;
            size_t len;
        } text;
    } as;
    char key[];
};

struct shared_dict {
    pthread_mutex_t lock;
    struct hash_seed seed;
    struct table table;
    struct heap expiries;
    size_t max_bytes;
    size_t bytes;
};

struct shared_dict *shared_dict_new(size_t max_bytes) {
    struct shared_dict *dict = calloc(1, sizeof *dict);
    if (!dict)
        return NULL;
    dict->max_bytes = max_bytes;
    if (hash_seed_init(&dict->seed) || table_init(&dict->table)) {
        free(dict);
        return NULL;
    }
    pthread_mutex_init(&dict->lock, NULL); /* a plain mutex: cannot fail */
    return dict;
}

static void entry_free(struct entry *e) {
    if (e->type == DICT_STRING)
        free(e->as.text.ptr);
    free(e);
}

static void free_node(struct table_node *node, void *context) {
    (void)context;
    entry_free(table_entry(node, struct entry, node));
}

void shared_dict_free(struct shared_dict *dict) {
    if (!dict)
        return;
    table_each(&dict->table, free_node, NULL);
    table_deinit(&dict->table);
    heap_deinit(&dict->expiries);
    pthread_mutex_destroy(&dict->lock);
    free(dict);
}

/* --- entries, under the lock -------------------------------------------------------------------- */

static size_t entry_bytes(size_t key_len, size_t text_len) {
    return sizeof(struct entry) + ENTRY_OVERHEAD + key_len + text_len;
}

static size_t text_len_of(const struct entry *e) {
    return e->type == DICT_STRING ? e->as.text.len : 0;
}

static void drop(struct shared_dict *dict, struct entry *e) {
    dict->bytes -= entry_bytes(e->expiry.own, text_len_of(e));
    heap_remove(&dict->expiries, &e->expiry);
    table_unlink(&dict->table, &e->node);
    entry_free(e);
}

static bool expired(const struct entry *e, uint64_t now_ms) {
    return e->expiry.at != 0 && e->expiry.due <= now_ms;
}

static struct entry *first_expired(struct shared_dict *dict, uint64_t now_ms) {
    struct heap_node *node = heap_first(&dict->expiries);
    return node && node->due <= now_ms ? heap_entry(node, struct entry, expiry) : NULL;
}

/* The entry of `key`; one that has expired is dropped, so that a write starts afresh. */
static struct entry *find(struct shared_dict *dict, struct slice key, uint64_t hash, uint64_t now_ms) {
    for (struct table_node *node = table_first(&dict->table, hash); node; node = table_next(node)) {
        struct entry *e = table_entry(node, struct entry, node);
        if (!slice_equal(slice_make(e->key, e->expiry.own), key))
            continue;
        if (!expired(e, now_ms))
            return e;
        drop(dict, e);
        return NULL;
    }
    return NULL;
}

static void reap(struct shared_dict *dict, uint64_t now_ms) {
    struct entry *e;
    for (int i = 0; i < REAP_PER_WRITE && (e = first_expired(dict, now_ms)); i++)
        drop(dict, e);
}

/* Makes sure that `gained` bytes fit where `freed` go, at the cost of what has expired; never of `keep`, which is alive. */
static int make_room(struct shared_dict *dict, size_t gained, size_t freed, uint64_t now_ms) {
    if (gained > dict->max_bytes)
        return -ENOSPC;
    while (dict->bytes - freed > dict->max_bytes - gained) {
        struct entry *e = first_expired(dict, now_ms);
        if (!e)
            return -ENOSPC;
        drop(dict, e);
    }
    return 0;
}

/* Sets when `e` expires. There is room in the heap. */
static void set_expiry(struct shared_dict *dict, struct entry *e, uint64_t ttl_ms, uint64_t now_ms) {
    heap_remove(&dict->expiries, &e->expiry);
    if (ttl_ms)
        heap_push(&dict->expiries, &e->expiry, ttl_ms > UINT64_MAX - now_ms ? UINT64_MAX : now_ms + ttl_ms);
}

/* Room in the heap for one entry more than have a time to live now. */
static int reserve_expiry(struct shared_dict *dict, uint64_t ttl_ms) {
    return ttl_ms ? heap_reserve(&dict->expiries, (size_t)dict->expiries.count + 1) : 0;
}

/* Links a new entry without a value (false). There is room in the heap. NULL: no memory. */
static struct entry *add(struct shared_dict *dict, struct slice key, uint64_t hash) {
    struct entry *e = malloc(sizeof *e + key.len);
    if (!e)
        return NULL;
    *e = (struct entry){.type = DICT_BOOLEAN, .expiry.own = (uint32_t)key.len};
    if (key.len)
        memcpy(e->key, key.ptr, key.len);
    table_link(&dict->table, &e->node, hash);
    dict->bytes += entry_bytes(key.len, 0);
    return e;
}

/* --- operations --------------------------------------------------------------------------------- */

static int read_value(const struct entry *e, struct dict_value *out, struct buf *storage) {
    switch (e->type) {
    case DICT_BOOLEAN:
        out->boolean = e->as.boolean;
        break;
    case DICT_INTEGER:
        out->integer = e->as.integer;
        break;
    case DICT_FLOAT:
        out->number = e->as.number;
        break;
    case DICT_STRING:
        if (buf_append(storage, e->as.text.ptr, e->as.text.len))
            return -ENOMEM;
        out->text = buf_slice(storage);
        break;
    case DICT_NONE:
        break;
    }
    out->type = e->type;
    return 0;
}

int shared_dict_get(struct shared_dict *dict, struct slice key, uint64_t now_ms, struct dict_value *out,
                    struct buf *storage) {
    *out = (struct dict_value){.type = DICT_NONE};
    buf_clear(storage);
    uint64_t hash = hash_keyed(&dict->seed, key);
    pthread_mutex_lock(&dict->lock);
    const struct entry *e = find(dict, key, hash, now_ms);
    int rc = e ? read_value(e, out, storage) : 0;
    pthread_mutex_unlock(&dict->lock);
    return rc;
}

/* Replaces the value; `text` is memory for a string, owned by the entry from here on. */
static void put_value(struct shared_dict *dict, struct entry *e, const struct dict_value *value, char *text) {
    dict->bytes -= text_len_of(e);
    if (e->type == DICT_STRING)
        free(e->as.text.ptr);
    e->type = value->type;
    if (value->type == DICT_BOOLEAN) {
        e->as.boolean = value->boolean;
    } else if (value->type == DICT_INTEGER) {
        e->as.integer = value->integer;
    } else if (value->type == DICT_FLOAT) {
        e->as.number = value->number;
    } else {
        e->as.text.ptr = text;
        e->as.text.len = value->text.len;
    }
    dict->bytes += text_len_of(e);
}

/* All that can fail comes before anything changes. */
static int set_locked(struct shared_dict *dict, struct slice key, uint64_t hash, const struct dict_value *value,
                      char *text, uint64_t ttl_ms, uint64_t now_ms) {
    struct entry *e = find(dict, key, hash, now_ms);
    size_t text_len = value->type == DICT_STRING ? value->text.len : 0;
    size_t freed = e ? entry_bytes(key.len, text_len_of(e)) : 0;
    int rc = make_room(dict, entry_bytes(key.len, text_len), freed, now_ms);
    rc = rc ? rc : reserve_expiry(dict, ttl_ms);
    if (rc)
        return rc;
    if (!e)
        e = add(dict, key, hash);
    if (!e)
        return -ENOMEM;
    put_value(dict, e, value, text);
    set_expiry(dict, e, ttl_ms, now_ms);
    return 0;
}

int shared_dict_set(struct shared_dict *dict, struct slice key, const struct dict_value *value, uint64_t ttl_ms,
                    uint64_t now_ms) {
    if (key.len > KEY_MAX || value->type == DICT_NONE)
        return -EINVAL;
    char *text = NULL;
    if (value->type == DICT_STRING && value->text.len) {
        if (value->text.len > dict->max_bytes)
            return -ENOSPC;
        text = malloc(value->text.len);
        if (!text)
            return -ENOMEM;
        memcpy(text, value->text.ptr, value->text.len);
    }
    uint64_t hash = hash_keyed(&dict->seed, key);
    pthread_mutex_lock(&dict->lock);
    reap(dict, now_ms);
    int rc = set_locked(dict, key, hash, value, text, ttl_ms, now_ms);
    pthread_mutex_unlock(&dict->lock);
    if (rc)
        free(text);
    return rc;
}

/* The sum of a number and `by`: an integer where both are. */
static int add_numbers(const struct entry *e, const struct dict_value *by, struct dict_value *sum) {
    if (e && e->type != DICT_INTEGER && e->type != DICT_FLOAT)
        return -EINVAL;
    bool was_float = e && e->type == DICT_FLOAT;
    if (!was_float && by->type == DICT_INTEGER) {
        sum->type = DICT_INTEGER;
        return __builtin_add_overflow(e ? e->as.integer : 0, by->integer, &sum->integer) ? -ERANGE : 0;
    }
    double was = !e ? 0 : was_float ? e->as.number : (double)e->as.integer;
    sum->type = DICT_FLOAT;
    sum->number = was + (by->type == DICT_FLOAT ? by->number : (double)by->integer);
    return isfinite(sum->number) ? 0 : -ERANGE;
}

static int incr_locked(struct shared_dict *dict, struct slice key, uint64_t hash, const struct dict_value *by,
                       uint64_t ttl_ms, uint64_t now_ms, struct dict_value *sum) {
    struct entry *e = find(dict, key, hash, now_ms);
    int rc = add_numbers(e, by, sum);
    if (rc)
        return rc;
    if (!e)
        return set_locked(dict, key, hash, sum, NULL, ttl_ms, now_ms);
    put_value(dict, e, sum, NULL);
    return 0;
}

int shared_dict_incr(struct shared_dict *dict, struct slice key, const struct dict_value *by, uint64_t ttl_ms,
                     uint64_t now_ms, struct dict_value *out) {
    if (key.len > KEY_MAX || (by->type != DICT_INTEGER && by->type != DICT_FLOAT))
        return -EINVAL;
    struct dict_value sum = {.type = DICT_NONE};
    uint64_t hash = hash_keyed(&dict->seed, key);
    pthread_mutex_lock(&dict->lock);
    reap(dict, now_ms);
    int rc = incr_locked(dict, key, hash, by, ttl_ms, now_ms, &sum);
    pthread_mutex_unlock(&dict->lock);
    if (!rc)
        *out = sum;
    return rc;
}

bool shared_dict_delete(struct shared_dict *dict, struct slice key, uint64_t now_ms) {
    uint64_t hash = hash_keyed(&dict->seed, key);
    pthread_mutex_lock(&dict->lock);
    struct entry *e = find(dict, key, hash, now_ms);
    if (e)
        drop(dict, e);
    reap(dict, now_ms);
    pthread_mutex_unlock(&dict->lock);
    return e != NULL;
}

void shared_dict_counts(struct shared_dict *dict, size_t *keys, size_t *bytes) {
    pthread_mutex_lock(&dict->lock);
    *keys = dict->table.count;
    *bytes = dict->bytes;
    pthread_mutex_unlock(&dict->lock);
}
