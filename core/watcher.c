/* SPDX-License-Identifier: MIT */
#include "watcher.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "list.h"
#include "snapshot.h"

enum {
    QUIET_MS = 50,  /* without a further event, and a burst is over */
    BURST_MS = 500, /* the longest a burst is waited for */
    LOOK_MS = 1000
};

/* A folder whose events we hear. */
struct watched {
    uv_fs_event_t event;
    struct list node;
    struct watcher *watcher;
    dev_t dev;
    ino_t ino;
    bool seen; /* by the look that is under way */
    char path[];
};

struct watcher {
    uv_timer_t quiet; /* runs while a burst is waited out */
    uv_timer_t look;
    struct list folders;
    struct log *log;
    void (*changed)(void *context);
    void *context;
    uint64_t burst_began; /* loop time; 0: no burst */
    uint64_t told;        /* the fingerprint that `changed` was last called for */
    uint64_t seen;        /* the fingerprint of a look that found a change without any event; 0: events tell */
    unsigned handles;     /* open ones; the last one's end frees all */
    bool complained;
    char folder[];
};

static void release(struct watcher *w) {
    if (--w->handles == 0)
        free(w);
}

/* --- folders ------------------------------------------------------------------------------------ */

static void on_watched_closed(uv_handle_t *handle) {
    struct watched *at = handle->data;
    struct watcher *w = at->watcher;
    free(at);
    release(w);
}

static void unwatch(struct watched *at) {
    list_unlink(&at->node);
    uv_close((uv_handle_t *)&at->event, on_watched_closed);
}

static void on_quiet(uv_timer_t *timer);

/* Waits until it has been quiet for a moment, but not for ever. */
static void wait_for_quiet(struct watcher *w) {
    uint64_t now = uv_now(w->look.loop);
    if (w->burst_began == 0)
        w->burst_began = now;
    uint64_t left = w->burst_began + BURST_MS > now ? w->burst_began + BURST_MS - now : 0;
    uv_timer_start(&w->quiet, on_quiet, left < QUIET_MS ? left : QUIET_MS, 0);
}

/* What it was the next look tells. Only a folder's own end counts here: another may get its inode number, and must be watched anew. */
static void on_event(uv_fs_event_t *event, const char *file, int events, int status) {
    struct watched *at = event->data;
    const char *slash = strrchr(at->path, '/');
    (void)status;
    if (events & UV_RENAME && file && strcmp(file, slash ? slash + 1 : at->path) == 0)
        at->ino = 0;
    at->watcher->seen = 0;
    wait_for_quiet(at->watcher);
}

/* Without events a folder is still looked at once a second. */
static void complain(struct watcher *w, const char *path, int rc) {
    if (!w->complained)
        log_write(w->log, LOG_WARN, "watcher", "no events for %s: %s; changes are found within a second", path,
                  uv_strerror(rc));
    w->complained = true;
}

static void watch(struct watcher *w, const char *path, const struct stat *st) {
    size_t len = strlen(path) + 1;
    struct watched *at = malloc(sizeof *at + len);
    if (!at) {
        complain(w, path, UV_ENOMEM);
        return;
    }
    *at = (struct watched){.watcher = w, .dev = st->st_dev, .ino = st->st_ino, .seen = true};
    memcpy(at->path, path, len);
    uv_fs_event_init(w->look.loop, &at->event);
    at->event.data = at;
    list_append(&w->folders, &at->node);
    w->handles++;
    int rc = uv_fs_event_start(&at->event, on_event, path, 0);
    if (rc) {
        complain(w, path, rc);
        unwatch(at);
    }
}

/* --- a look ------------------------------------------------------------------------------------- */

struct look {
    struct watcher *watcher;
    uint64_t fingerprint;
};

static void see_folder(struct watcher *w, const struct snapshot_entry *entry) {
    for (struct list *node = w->folders.next; node != &w->folders; node = node->next) {
        struct watched *at = list_entry(node, struct watched, node);
        if (at->dev == entry->st->st_dev && at->ino == entry->st->st_ino && strcmp(at->path, entry->path) == 0) {
            at->seen = true;
            return;
        }
    }
    watch(w, entry->path, entry->st);
}

/* Adds up what tells one state of a file from another; a sum, since folders have no order. The change time is in it for writes that keep size and
 * modification time. */
static int see(void *context, const struct snapshot_entry *entry, char *error) {
    struct look *look = context;
    (void)error;
    if (entry->folder) {
        see_folder(look->watcher, entry);
        return 0;
    }
    const struct stat *st = entry->st;
    uint64_t state[] = {(uint64_t)st->st_dev,         (uint64_t)st->st_ino,          (uint64_t)st->st_size,
                        (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ctim.tv_sec,
                        (uint64_t)st->st_ctim.tv_nsec};
    struct hash_seed seed = {0, 0};
    seed.k0 = hash_keyed(&seed, slice_of(entry->name));
    look->fingerprint += hash_keyed(&seed, slice_make((const char *)state, sizeof state));
    return 0;
}

/* Looks at all files, and watches the folders that are there now. Returns their fingerprint, never 0. */
static uint64_t look_at_all(struct watcher *w) {
    char error[SNAPSHOT_ERROR_BYTES];
    struct look look = {w, 1};
    for (struct list *node = w->folders.next; node != &w->folders; node = node->next)
        list_entry(node, struct watched, node)->seen = false;
    if (snapshot_walk(w->folder, see, &look, error) != 0)
        look.fingerprint++; /* what cannot be read is a state, too */
    for (struct list *node = w->folders.next, *next; node != &w->folders; node = next) {
        struct watched *at = list_entry(node, struct watched, node);
        next = node->next;
        if (!at->seen)
            unwatch(at);
    }
    return look.fingerprint ? look.fingerprint : 1;
}

static void on_quiet(uv_timer_t *timer) {
    struct watcher *w = timer->data;
    uint64_t now = look_at_all(w);
    /* Where no event came, only a second look can tell that the writing is over. */
    bool over = w->seen == 0 || w->seen == now || uv_now(timer->loop) >= w->burst_began + BURST_MS;
    if (!over) {
        w->seen = now;
        wait_for_quiet(w);
        return;
    }
    w->burst_began = 0;
    if (now == w->told)
        return;
    w->told = now;
    w->changed(w->context);
}

static void on_look(uv_timer_t *timer) {
    struct watcher *w = timer->data;
    if (w->burst_began)
        return;
    uint64_t now = look_at_all(w);
    if (now == w->told)
        return;
    w->seen = now;
    wait_for_quiet(w);
}

/* --- life --------------------------------------------------------------------------------------- */

struct watcher *watcher_new(uv_loop_t *loop, const char *folder, struct log *log, void (*changed)(void *context),
                            void *context) {
    size_t len = strlen(folder) + 1;
    struct watcher *w = calloc(1, sizeof *w + len);
    if (!w)
        return NULL;
    memcpy(w->folder, folder, len);
    list_init(&w->folders);
    w->log = log;
    w->changed = changed;
    w->context = context;
    uv_timer_init(loop, &w->quiet);
    uv_timer_init(loop, &w->look);
    w->quiet.data = w->look.data = w;
    w->handles = 2;
    look_at_all(w);
    uv_timer_start(&w->look, on_look, 0, LOOK_MS);
    return w;
}

static void on_timer_closed(uv_handle_t *handle) {
    release(handle->data);
}

void watcher_close(struct watcher *w) {
    if (!w)
        return;
    while (!list_empty(&w->folders))
        unwatch(list_entry(w->folders.next, struct watched, node));
    uv_close((uv_handle_t *)&w->quiet, on_timer_closed);
    uv_close((uv_handle_t *)&w->look, on_timer_closed);
}
