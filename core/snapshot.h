/* SPDX-License-Identifier: MIT */
/* The files of a scripts folder, read once: what all workers load, and nothing else. Immutable and shared by reference count. */
#ifndef SLUICE_SNAPSHOT_H
#define SLUICE_SNAPSHOT_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "buf.h"

enum { SNAPSHOT_FILE_BYTES = 1 << 20, SNAPSHOT_FILES = 4096, SNAPSHOT_ERROR_BYTES = 512 };

struct snapshot_file {
    char *name; /* relative to the folder, "auth.lua", "lib/util.lua" */
    struct buf text;
};

struct snapshot {
    atomic_uint refs;
    struct snapshot_file *files; /* by name */
    size_t count;
};

/* Where snapshots come from: a folder, or files given by the host program. */
struct snapshot_source {
    char *folder;           /* or NULL */
    struct snapshot *fixed; /* or NULL */
};

void snapshot_source_deinit(struct snapshot_source *source);

/* An empty snapshot to add files to, before it is shared. NULL: no memory. */
struct snapshot *snapshot_new(void);

/* Adds a file; the text is copied. Returns 0 or -ENOMEM. */
int snapshot_add(struct snapshot *s, const char *name, struct slice text);

/* Orders the files by name; after the last snapshot_add. */
void snapshot_sort(struct snapshot *s);

/* Reads a snapshot of the source. NULL with a sentence in `error`: folder missing, no script in it, a file too large or not readable. */
struct snapshot *snapshot_read(const struct snapshot_source *source, char error[SNAPSHOT_ERROR_BYTES]);

/* What a walk comes by: a file that belongs to a snapshot, or a folder that may hold some (the scripts folder itself first, its name is ""). */
struct snapshot_entry {
    const char *path; /* to open it */
    const char *name; /* in the scripts folder */
    const struct stat *st;
    bool folder;
};

/* Called for each entry. Returns 0 to go on, or a negative error, with a sentence in `error`, to end the walk. */
typedef int (*snapshot_visit)(void *context, const struct snapshot_entry *entry, char *error);

/* Visits all that a snapshot of `folder` would read. Returns 0, or a negative error with a sentence in `error`. */
int snapshot_walk(const char *folder, snapshot_visit visit, void *context, char error[SNAPSHOT_ERROR_BYTES]);

/* True where both hold the same files with the same bytes. */
bool snapshot_equal(const struct snapshot *a, const struct snapshot *b);

struct snapshot *snapshot_retain(struct snapshot *s);
void snapshot_release(struct snapshot *s);

/* The file of that name, or NULL. */
const struct snapshot_file *snapshot_find(const struct snapshot *s, const char *name);

#endif
