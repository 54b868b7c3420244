/* SPDX-License-Identifier: MIT */
#include "snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SNAPSHOT_DEPTH = 8, SNAPSHOT_PATH = 4096 };

/* Writes the sentence for the caller; what is too long is cut. */
__attribute__((format(printf, 2, 3))) static void explain(char *error, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(error, SNAPSHOT_ERROR_BYTES, format, args);
    va_end(args);
}

struct snapshot *snapshot_new(void) {
    struct snapshot *s = calloc(1, sizeof *s);
    if (s)
        atomic_init(&s->refs, 1);
    return s;
}

struct snapshot *snapshot_retain(struct snapshot *s) {
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void snapshot_release(struct snapshot *s) {
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    for (size_t i = 0; i < s->count; i++) {
        free(s->files[i].name);
        buf_deinit(&s->files[i].text);
    }
    free(s->files);
    free(s);
}

void snapshot_source_deinit(struct snapshot_source *source) {
    free(source->folder);
    snapshot_release(source->fixed);
    *source = (struct snapshot_source){0};
}

int snapshot_add(struct snapshot *s, const char *name, struct slice text) {
    struct snapshot_file *files = realloc(s->files, (s->count + 1) * sizeof *files);
    if (!files)
        return -ENOMEM;
    s->files = files;
    struct snapshot_file *file = &files[s->count];
    *file = (struct snapshot_file){0};
    file->name = strdup(name);
    if (!file->name || buf_append_slice(&file->text, text) != 0) {
        free(file->name);
        return -ENOMEM;
    }
    s->count++;
    return 0;
}

static int compare(const void *a, const void *b) {
    return strcmp(((const struct snapshot_file *)a)->name, ((const struct snapshot_file *)b)->name);
}

void snapshot_sort(struct snapshot *s) {
    if (s->count)
        qsort(s->files, s->count, sizeof *s->files, compare);
}

const struct snapshot_file *snapshot_find(const struct snapshot *s, const char *name) {
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->files[i].name, name) == 0)
            return &s->files[i];
    }
    return NULL;
}

bool snapshot_equal(const struct snapshot *a, const struct snapshot *b) {
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->files[i].name, b->files[i].name) != 0 ||
            !slice_equal(buf_slice(&a->files[i].text), buf_slice(&b->files[i].text)))
            return false;
    }
    return true;
}

static bool ends_with(const char *name, const char *end) {
    size_t n = strlen(name), e = strlen(end);
    return n > e && strcmp(name + n - e, end) == 0;
}

static int read_file(struct snapshot *s, const char *path, const char *name, char *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0; /* gone since the folder was listed */
    if (fd < 0) {
        explain(error, "cannot read %s: %s", path, strerror(errno));
        return -errno;
    }
    struct buf text = {0};
    ssize_t n = 0;
    int rc = 0;
    do {
        rc = buf_reserve(&text, 16384);
        if (rc)
            break;
        n = read(fd, text.data + text.len, 16384);
        if (n > 0)
            text.len += (size_t)n;
    } while (n > 0 && text.len <= SNAPSHOT_FILE_BYTES);
    if (n < 0)
        rc = -errno;
    close(fd);
    if (rc) {
        explain(error, "cannot read %s: %s", path, strerror(-rc));
    } else if (text.len > SNAPSHOT_FILE_BYTES) {
        explain(error, "%s is larger than 1 MiB, the most that a file of a scripts folder may have", path);
        rc = -EFBIG;
    } else {
        rc = snapshot_add(s, name, buf_slice(&text));
    }
    buf_deinit(&text);
    return rc;
}

/* One walk over a folder. */
struct walk {
    const char *folder;
    snapshot_visit visit;
    void *context;
    char *error;
};

static int walk_folder(const struct walk *walk, const char *under, const struct stat *st, int depth);

/* One entry of the folder at `path`. */
static int walk_entry(const struct walk *walk, const char *path, const char *under, const char *file, int depth) {
    char name[SNAPSHOT_PATH], full[SNAPSHOT_PATH];
    struct stat st;
    if (snprintf(name, sizeof name, "%s%s%s", under, *under ? "/" : "", file) >= (int)sizeof name ||
        snprintf(full, sizeof full, "%s/%s", path, file) >= (int)sizeof full)
        return 0;
    if (stat(full, &st) != 0)
        return 0; /* gone meanwhile, or a dangling link of an editor */
    if (S_ISDIR(st.st_mode))
        return walk_folder(walk, name, &st, depth + 1);
    if (!S_ISREG(st.st_mode) || (depth == 0 && !ends_with(name, ".lua")))
        return 0;
    struct snapshot_entry entry = {.path = full, .name = name, .st = &st, .folder = false};
    return walk->visit(walk->context, &entry, walk->error);
}

/* Walks `walk->folder`/`under`, whose state is `st`. */
static int walk_folder(const struct walk *walk, const char *under, const struct stat *st, int depth) {
    char path[SNAPSHOT_PATH];
    if (snprintf(path, sizeof path, "%s%s%s", walk->folder, *under ? "/" : "", under) >= (int)sizeof path ||
        depth > SNAPSHOT_DEPTH) {
        explain(walk->error, "%s is nested too deeply", walk->folder);
        return -ENAMETOOLONG;
    }
    DIR *dir = opendir(path);
    if (!dir) {
        int rc = -errno;
        if (depth > 0 && rc == -ENOENT)
            return 0; /* gone since its parent was listed */
        explain(walk->error, "cannot read the scripts folder %s: %s", path, strerror(-rc));
        return rc;
    }
    struct snapshot_entry self = {.path = path, .name = under, .st = st, .folder = true};
    int rc = walk->visit(walk->context, &self, walk->error);
    struct dirent *entry;
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') /* hidden ones are editors' and Kubernetes' own */
            rc = walk_entry(walk, path, under, entry->d_name, depth);
    }
    closedir(dir);
    return rc;
}

int snapshot_walk(const char *folder, snapshot_visit visit, void *context, char error[SNAPSHOT_ERROR_BYTES]) {
    struct walk walk = {folder, visit, context, error};
    struct stat st;
    if (stat(folder, &st) != 0) {
        int rc = -errno;
        explain(error, "cannot read the scripts folder %s: %s", folder, strerror(-rc));
        return rc;
    }
    return walk_folder(&walk, "", &st, 0);
}

static int read_entry(void *context, const struct snapshot_entry *entry, char *error) {
    struct snapshot *s = context;
    if (entry->folder)
        return 0;
    if (s->count == SNAPSHOT_FILES) {
        explain(error, "%s and others: there are more than %d files", entry->path, SNAPSHOT_FILES);
        return -E2BIG;
    }
    return read_file(s, entry->path, entry->name, error);
}

struct snapshot *snapshot_read(const struct snapshot_source *source, char error[SNAPSHOT_ERROR_BYTES]) {
    if (source->fixed)
        return snapshot_retain(source->fixed);
    struct snapshot *s = snapshot_new();
    explain(error, "not enough memory");
    if (!s)
        return NULL;
    if (snapshot_walk(source->folder, read_entry, s, error) != 0) {
        snapshot_release(s);
        return NULL;
    }
    snapshot_sort(s);
    bool scripts = false;
    for (size_t i = 0; i < s->count; i++)
        scripts = scripts || (!strchr(s->files[i].name, '/') && ends_with(s->files[i].name, ".lua"));
    if (!scripts) {
        explain(error,
                "no script in %s: put at least one file that ends in .lua there, or run 'sluice init' to get the "
                "default ones",
                source->folder);
        snapshot_release(s);
        return NULL;
    }
    return s;
}
