/* SPDX-License-Identifier: MIT */
#include "chain.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "hash.h"
#include "table.h"

enum {
    STRIPES = 64,           /* locks for whole forms, by message */
    KEPT_LINKS = 128,       /* of a chain, for workers that come to them later; a power of two */
    KEPT_BYTES = 1 << 20,   /* and so many bytes of them, save the last one */
    CACHED_LINKS = 256,     /* of a worker; a power of two */
    SCRATCH_KEPT = 256 << 10,
    NO_WINDOW = -1,
    SERIAL_BITS = 16        /* of a serial number count the links since the chain began anew */
};

struct kept {
    struct message_place place;
    struct chain_link link;
};

/* A place for a live chain. `owner` is written under the directory's lock: who finds another owner than its own chain has lost the window. */
struct window {
    _Atomic uint64_t owner;   /* a chain's id; 0: free */
    _Atomic uint64_t used_ms;

    pthread_mutex_t lock; /* guards all below */
    uint64_t made_for;    /* the chain that it is about; another's than the owner's is forgotten */
    struct gzip_deflater *deflater;
    struct buf scratch;
    struct message_place last; /* the newest message that has a link */
    uint64_t serial;        /* of its link */
    unsigned count;         /* links since the chain began anew */
    uint64_t began_ms, last_ms;
    struct kept kept[KEPT_LINKS]; /* a ring */
    unsigned kept_head, kept_count;
    size_t kept_bytes;
};

struct chain {
    struct table_node by_key;
    uint64_t id;
    _Atomic unsigned streams;
    _Atomic int window;
    _Atomic uint64_t again_ms; /* no window was to be had: not to be asked for before */
    size_t key_len;
    char key[];
};

struct chains {
    int level;
    size_t min_bytes;
    uint64_t idle_ms;
    struct hash_seed seed;
    _Atomic uint64_t begun; /* how often chains began anew */
    pthread_mutex_t stripes[STRIPES];

    pthread_mutex_t lock; /* guards the table, the ids and who owns which window */
    struct table table;
    uint64_t ids;

    struct window windows[CHAIN_LIVE];
};

struct cached {
    uint64_t chain;
    struct message_place place;
    struct chain_link link;
};

struct coder {
    struct chains *chains;
    struct metrics *metrics;
    struct gzip_deflater *deflater;
    struct buf scratch;
    struct cached cached[CACHED_LINKS];
    struct message *retired[CHAIN_BATCH]; /* no longer cached, perhaps still in use */
    size_t retired_count;
    struct gzip_part batch[CHAIN_BATCH]; /* what was added last, if it was more than one part, */
    size_t batch_count;
    struct gzip_part batch_part; /* and what it is together */
};

/* --- the directory ------------------------------------------------------------------------------ */

struct chains *chains_new(int level, size_t min_bytes, uint64_t idle_ms) {
    struct chains *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->level = level;
    c->min_bytes = min_bytes;
    c->idle_ms = idle_ms;
    pthread_mutex_init(&c->lock, NULL);
    for (int i = 0; i < STRIPES; i++)
        pthread_mutex_init(&c->stripes[i], NULL);
    for (int i = 0; i < CHAIN_LIVE; i++)
        pthread_mutex_init(&c->windows[i].lock, NULL);
    if (hash_seed_init(&c->seed) == 0 && table_init(&c->table) == 0)
        return c;
    chains_free(c);
    return NULL;
}

static void forget_links(struct window *w) {
    for (; w->kept_count; w->kept_count--)
        message_release(w->kept[w->kept_head++ & (KEPT_LINKS - 1)].link.message);
    w->kept_bytes = 0;
}

void chains_free(struct chains *c) {
    if (!c)
        return;
    for (int i = 0; i < CHAIN_LIVE; i++) {
        struct window *w = &c->windows[i];
        forget_links(w);
        gzip_deflater_free(w->deflater);
        buf_deinit(&w->scratch);
        pthread_mutex_destroy(&w->lock);
    }
    for (int i = 0; i < STRIPES; i++)
        pthread_mutex_destroy(&c->stripes[i]);
    pthread_mutex_destroy(&c->lock);
    table_deinit(&c->table);
    free(c);
}

static struct chain *find_chain(struct chains *c, struct slice key, uint64_t hash) {
    for (struct table_node *node = table_first(&c->table, hash); node; node = table_next(node)) {
        struct chain *chain = table_entry(node, struct chain, by_key);
        if (slice_equal(slice_make(chain->key, chain->key_len), key))
            return chain;
    }
    return NULL;
}

static struct chain *make_chain(struct chains *c, struct slice key, uint64_t hash) {
    struct chain *chain = calloc(1, sizeof *chain + key.len);
    if (!chain)
        return NULL;
    chain->id = ++c->ids;
    atomic_init(&chain->window, NO_WINDOW);
    chain->key_len = key.len;
    if (key.len)
        memcpy(chain->key, key.ptr, key.len);
    table_link(&c->table, &chain->by_key, hash);
    return chain;
}

struct chain *chain_open(struct chains *c, struct slice key) {
    uint64_t hash = hash_keyed(&c->seed, key);
    pthread_mutex_lock(&c->lock);
    struct chain *chain = find_chain(c, key, hash);
    if (!chain)
        chain = make_chain(c, key, hash);
    if (chain)
        atomic_fetch_add_explicit(&chain->streams, 1, memory_order_relaxed);
    pthread_mutex_unlock(&c->lock);
    return chain;
}

void chain_close(struct chains *c, struct chain *chain) {
    int at = NO_WINDOW;
    uint64_t id = chain->id;
    pthread_mutex_lock(&c->lock);
    if (atomic_fetch_sub_explicit(&chain->streams, 1, memory_order_relaxed) == 1) {
        at = atomic_load_explicit(&chain->window, memory_order_relaxed);
        if (at != NO_WINDOW && atomic_load_explicit(&c->windows[at].owner, memory_order_relaxed) == id)
            atomic_store_explicit(&c->windows[at].owner, 0, memory_order_release);
        table_unlink(&c->table, &chain->by_key);
        free(chain);
    }
    pthread_mutex_unlock(&c->lock);
    if (at == NO_WINDOW)
        return;
    struct window *w = &c->windows[at];
    pthread_mutex_lock(&w->lock);
    if (w->made_for == id)
        forget_links(w);
    pthread_mutex_unlock(&w->lock);
}

/* Gives the chain a window: a free one, else the one that was not used for longest. */
static struct window *take_window(struct chains *c, struct chain *chain, uint64_t now_ms) {
    struct window *found = NULL;
    uint64_t used_ms = 0;
    if (now_ms < atomic_load_explicit(&chain->again_ms, memory_order_relaxed))
        return NULL;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < CHAIN_LIVE; i++) {
        struct window *w = &c->windows[i];
        uint64_t owner = atomic_load_explicit(&w->owner, memory_order_relaxed);
        uint64_t used = owner ? atomic_load_explicit(&w->used_ms, memory_order_relaxed) : 0;
        if (owner == chain->id) {
            found = w; /* another worker was faster */
            break;
        }
        if (!found || used < used_ms) {
            found = w;
            used_ms = used;
        }
    }
    if (used_ms && used_ms + CHAIN_HOLD_MS > now_ms)
        found = NULL;
    if (found) {
        atomic_store_explicit(&found->used_ms, now_ms, memory_order_relaxed);
        atomic_store_explicit(&found->owner, chain->id, memory_order_release);
        atomic_store_explicit(&chain->window, (int)(found - c->windows), memory_order_relaxed);
    } else {
        atomic_store_explicit(&chain->again_ms, now_ms + CHAIN_HOLD_MS, memory_order_relaxed);
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

static bool owns(const struct chain *chain, const struct window *w) {
    return atomic_load_explicit(&w->owner, memory_order_acquire) == chain->id;
}

/* --- links -------------------------------------------------------------------------------------- */

static void keep_link(struct window *w, struct message_place place, struct chain_link link) {
    while (w->kept_count == KEPT_LINKS || (w->kept_count && w->kept_bytes + link.message->size > KEPT_BYTES)) {
        struct message *oldest = w->kept[w->kept_head++ & (KEPT_LINKS - 1)].link.message;
        w->kept_bytes -= oldest->size;
        w->kept_count--;
        message_release(oldest);
    }
    w->kept[(w->kept_head + w->kept_count++) & (KEPT_LINKS - 1)] = (struct kept){place, link};
    w->kept_bytes += link.message->size;
}

static struct chain_link kept_link(const struct window *w, struct message_place place) {
    for (unsigned i = w->kept_count; i > 0; i--) {
        const struct kept *kept = &w->kept[(w->kept_head + i - 1) & (KEPT_LINKS - 1)];
        int order = message_place_compare(kept->place, place);
        if (order == 0)
            return kept->link;
        if (order < 0)
            break;
    }
    return (struct chain_link){0};
}

/* Makes a private segment of coded bytes. */
static struct message *make_form(const struct message *m, const struct buf *coded) {
    struct message *form = message_new_private(buf_slice(coded), true);
    if (!form)
        return NULL;
    form->id = m->id;
    form->part = gzip_part_of(message_wire(m, false));
    return form;
}

/* Scratch that one large message has grown goes back. */
static void trim(struct buf *scratch) {
    if (scratch->cap > SCRATCH_KEPT)
        buf_deinit(scratch);
}

static bool begins_anew(const struct chains *c, const struct chain *chain, const struct window *w, uint64_t next, uint64_t now_ms) {
    return w->count == 0 || w->count >= CHAIN_MESSAGES || now_ms >= w->began_ms + CHAIN_AGE_MS || now_ms >= w->last_ms + c->idle_ms ||
           (next != w->serial + 1 && atomic_load_explicit(&chain->streams, memory_order_relaxed) == 1);
}

static int deflate_link(const struct chains *c, struct window *w, const struct message *m, bool begins) {
    buf_clear(&w->scratch);
    if (!w->deflater)
        w->deflater = gzip_deflater_new(c->level);
    return w->deflater ? gzip_deflate(w->deflater, message_wire(m, false), begins, &w->scratch) : -ENOMEM;
}

/* Makes the link of a message that is later than all that have one. */
static struct chain_link make_link(struct coder *coder, struct chain *chain, struct window *w, const struct message *m, uint64_t next,
                                   uint64_t now_ms) {
    struct chains *c = coder->chains;
    struct chain_link link = {.begins = begins_anew(c, chain, w, next, now_ms)};
    if (deflate_link(c, w, m, link.begins) == 0)
        link.message = make_form(m, &w->scratch);
    trim(&w->scratch);
    w->last = message_place(m);
    if (!link.message) {
        w->count = 0; /* the window has moved, and nobody will be sent by what */
        return link;
    }
    metrics_add(coder->metrics, gzip_links, 1);
    if (link.begins) {
        w->serial = (atomic_fetch_add_explicit(&c->begun, 1, memory_order_relaxed) + 1) << SERIAL_BITS;
        w->count = 0;
        w->began_ms = now_ms;
    } else {
        w->serial++;
    }
    w->count++;
    w->last_ms = now_ms;
    atomic_store_explicit(&w->used_ms, now_ms, memory_order_relaxed);
    link.serial = w->serial;
    keep_link(w, message_place(m), link);
    return link;
}

/* Finds or makes a link. It comes with a reference. */
static struct chain_link find_link(struct coder *coder, struct chain *chain, const struct message *m, uint64_t next, uint64_t now_ms) {
    struct chains *c = coder->chains;
    struct chain_link link = {0};
    int at = atomic_load_explicit(&chain->window, memory_order_relaxed);
    struct window *w = at == NO_WINDOW ? NULL : &c->windows[at];
    if (!w || !owns(chain, w))
        w = take_window(c, chain, now_ms);
    if (!w)
        return link;
    pthread_mutex_lock(&w->lock);
    if (owns(chain, w)) {
        if (w->made_for != chain->id) {
            forget_links(w);
            w->made_for = chain->id;
            w->count = 0;
            w->last = (struct message_place){0};
        }
        struct message_place place = message_place(m);
        link = message_place_compare(place, w->last) > 0 ? make_link(coder, chain, w, m, next, now_ms) : kept_link(w, place);
        if (link.message)
            message_retain(link.message);
    }
    pthread_mutex_unlock(&w->lock);
    return link;
}

static struct cached *cached_at(struct coder *coder, const struct chain *chain, struct message_id id) {
    return &coder->cached[(id.n + id.ms * 31 + chain->id * 127) & (CACHED_LINKS - 1)];
}

void coder_begin(struct coder *coder) {
    while (coder->retired_count)
        message_release(coder->retired[--coder->retired_count]);
}

const struct chain_link *coder_link(struct coder *coder, struct chain *chain, struct message *m, uint64_t next, uint64_t now_ms) {
    struct cached *cached = cached_at(coder, chain, m->id);
    if (cached->chain != chain->id || message_place_compare(cached->place, message_place(m)) != 0) {
        if (coder->retired_count == CHAIN_BATCH)
            return NULL;
        if (cached->link.message)
            coder->retired[coder->retired_count++] = cached->link.message;
        *cached = (struct cached){chain->id, message_place(m), find_link(coder, chain, m, next, now_ms)};
    }
    return cached->link.message ? &cached->link : NULL;
}

/* --- sums --------------------------------------------------------------------------------------- */

static bool is_batch(const struct coder *coder, const struct gzip_part *const *parts, size_t count) {
    bool same = count == coder->batch_count;
    for (size_t i = 0; i < count && same; i++)
        same = parts[i]->crc == coder->batch[i].crc && parts[i]->len == coder->batch[i].len;
    return same;
}

void coder_sum(struct coder *coder, struct gzip_sum *sum, const struct gzip_part *const *parts, size_t count) {
    if (count == 1) {
        gzip_sum_add(sum, parts[0]);
        return;
    }
    if (!is_batch(coder, parts, count)) {
        struct gzip_sum all = {0};
        for (size_t i = 0; i < count; i++) {
            gzip_sum_add(&all, parts[i]);
            coder->batch[i] = *parts[i];
        }
        coder->batch_count = count;
        coder->batch_part = gzip_part_make(all);
    }
    gzip_sum_add(sum, &coder->batch_part);
}

/* --- whole forms -------------------------------------------------------------------------------- */

int coder_encode(struct coder *coder, struct slice text, struct buf *out) {
    struct chains *c = coder->chains;
    if (text.len < c->min_bytes)
        return gzip_store(text, out);
    if (!coder->deflater)
        coder->deflater = gzip_deflater_new(c->level);
    return coder->deflater ? gzip_deflate(coder->deflater, text, true, out) : -ENOMEM;
}

static struct message *make_whole(struct coder *coder, const struct message *m) {
    struct message *form = NULL;
    buf_clear(&coder->scratch);
    if (coder_encode(coder, message_wire(m, false), &coder->scratch) == 0)
        form = make_form(m, &coder->scratch);
    trim(&coder->scratch);
    if (form)
        metrics_add(coder->metrics, gzip_forms, 1);
    return form;
}

struct message *coder_whole(struct coder *coder, struct message *m) {
    struct message *form = message_whole(m);
    if (form)
        return form;
    pthread_mutex_t *lock = &coder->chains->stripes[((uintptr_t)m >> 6) % STRIPES];
    pthread_mutex_lock(lock); /* who comes while another makes it waits, instead of making it twice */
    form = message_whole(m);
    if (!form) {
        form = make_whole(coder, m);
        atomic_store_explicit(&m->whole, form, memory_order_release);
    }
    pthread_mutex_unlock(lock);
    return form;
}

/* --- the coder ---------------------------------------------------------------------------------- */

struct coder *coder_new(struct chains *c, struct metrics *metrics) {
    struct coder *coder = calloc(1, sizeof *coder);
    if (coder) {
        coder->chains = c;
        coder->metrics = metrics;
    }
    return coder;
}

void coder_free(struct coder *coder) {
    if (!coder)
        return;
    coder_begin(coder);
    for (int i = 0; i < CACHED_LINKS; i++) {
        if (coder->cached[i].link.message)
            message_release(coder->cached[i].link.message);
    }
    gzip_deflater_free(coder->deflater);
    buf_deinit(&coder->scratch);
    free(coder);
}
