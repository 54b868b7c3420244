/* SPDX-License-Identifier: MIT */
/* A question to all workers, which each answers on its own thread, at its next turn; the worker that asks is told when all have. Nobody waits: what has not come when the asker looks is
 * missing. */
#ifndef SLUICE_INQUIRY_H
#define SLUICE_INQUIRY_H

#include "buf.h"

struct inquiry;
struct worker;

struct inquiry_answer {
    uint64_t count;
    struct buf out;
    int rc; /* 0 or -ENOMEM */
};

/* Answers `question` for worker `w`, on its thread. */
typedef void (*inquiry_fn)(struct worker *w, const void *question, struct inquiry_answer *answer);

/* Asks, from the thread of `from`. `question` is copied (`size` bytes). `done(context)` is called there once all have answered; never from within this call. Returns the inquiry with a
 * reference for the caller, or NULL without memory. */
struct inquiry *inquiry_new(struct worker *from, inquiry_fn ask, const void *question, size_t size, void (*done)(void *context),
                            void *context);

/* `done` is not called any more. On the asker's thread. */
void inquiry_cancel(struct inquiry *q);

void inquiry_release(struct inquiry *q);

/* How many workers were asked. */
unsigned inquiry_count(const struct inquiry *q);

/* What worker `index` has answered, or NULL where it has not yet. */
const struct inquiry_answer *inquiry_answer(const struct inquiry *q, unsigned index);

#endif
