/* SPDX-License-Identifier: MIT */
/* A hierarchical timer wheel with a millisecond tick: set and cancel are O(1), an armed timer costs its node. Belongs to one worker; the worker advances it and asks when
 * it is due next. Knows no clock: time is a parameter. */
#ifndef SLUICE_WHEEL_H
#define SLUICE_WHEEL_H

#include <stdint.h>

#include "list.h"

enum { WHEEL_BITS = 6, WHEEL_SLOTS = 1 << WHEEL_BITS, WHEEL_LEVELS = 5 };

struct wheel_timer;

typedef void (*wheel_callback)(struct wheel_timer *timer, uint64_t now_ms);

/* Embedded. Zero, then wheel_timer_init. */
struct wheel_timer {
    struct list node;
    uint64_t due_ms;
    wheel_callback fire;
};

struct wheel {
    uint64_t now_ms;
    uint64_t used[WHEEL_LEVELS]; /* a bit for each slot that may hold timers */
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uint64_t now_ms);

static inline void wheel_timer_init(struct wheel_timer *t, wheel_callback fire) {
    list_init(&t->node);
    t->due_ms = 0;
    t->fire = fire;
}

/* Arms the timer, anew where it was armed. It fires once, at `due_ms` or soon after; what lies in the past fires with the next advance, what lies further than twelve days comes
 * round again. */
void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t due_ms);

/* Disarms; harmless where it was not armed. */
static inline void wheel_cancel(struct wheel_timer *t) {
    list_unlink(&t->node);
}

static inline int wheel_armed(const struct wheel_timer *t) {
    return !list_empty(&t->node);
}

/* Fires all that is due by `now_ms`. A callback may set and cancel any timer. */
void wheel_advance(struct wheel *w, uint64_t now_ms);

/* Milliseconds from the last advance until wheel_advance should be called next; UINT64_MAX where nothing is armed. May be early, never late. */
uint64_t wheel_next(const struct wheel *w);

#endif
