/* SPDX-License-Identifier: MIT */
/* Tells when the files of a scripts folder have changed. Two ways of seeing it: the system's own events for the folder and each of its sub-folders, and a
 * look at the state of all files once a second, for swapped links and for file systems without events. A burst of writes is told once, when it has been
 * quiet for a moment. Belongs to one loop; reads no file. */
#ifndef SLUICE_WATCHER_H
#define SLUICE_WATCHER_H

#include <uv.h>

#include "log.h"

struct watcher;

/* Begins to watch. `changed` is called on the loop: once soon after the beginning, and after each change. `log` hears what cannot be watched. NULL: no memory. */
struct watcher *watcher_new(uv_loop_t *loop, const char *folder, struct log *log, void (*changed)(void *context),
                            void *context);

/* Ends it: nothing is told from now on. The memory goes when the loop has run its close callbacks. NULL is fine. */
void watcher_close(struct watcher *w);

#endif
