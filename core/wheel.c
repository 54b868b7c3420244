/* SPDX-License-Identifier: MIT */
#include "wheel.h"

enum { WHEEL_MASK = WHEEL_SLOTS - 1 };

void wheel_init(struct wheel *w, uint64_t now_ms) {
    w->now_ms = now_ms;
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        w->used[level] = 0;
        for (int slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&w->slots[level][slot]);
    }
}

static unsigned slot_at(uint64_t ms, int level) {
    return (unsigned)(ms >> (level * WHEEL_BITS)) & WHEEL_MASK;
}

/* The level whose slots are fine enough: the highest digit in which the due time differs from now. */
static void place(struct wheel *w, struct wheel_timer *t, uint64_t due_ms) {
    uint64_t differs = due_ms ^ w->now_ms;
    int level = 0;
    while (level < WHEEL_LEVELS - 1 && differs >> ((level + 1) * WHEEL_BITS))
        level++;
    uint64_t at = due_ms;
    uint64_t span = UINT64_C(1) << (WHEEL_LEVELS * WHEEL_BITS);
    if (level == WHEEL_LEVELS - 1 && due_ms - w->now_ms >= span)
        at = w->now_ms + span - 1; /* beyond the horizon: looked at again when the wheel has gone round */
    unsigned slot = slot_at(at, level);
    list_append(&w->slots[level][slot], &t->node);
    w->used[level] |= UINT64_C(1) << slot;
}

void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t due_ms) {
    list_unlink(&t->node);
    t->due_ms = due_ms;
    place(w, t, due_ms > w->now_ms ? due_ms : w->now_ms + 1);
}

/* Moves a slot's timers to where they now belong; those due fire. The list is taken out first: callbacks may set timers into this very slot. */
static void run_slot(struct wheel *w, int level, unsigned slot) {
    struct list due;
    struct list *from = &w->slots[level][slot];
    w->used[level] &= ~(UINT64_C(1) << slot);
    if (list_empty(from))
        return;
    due = *from;
    due.next->prev = &due;
    due.prev->next = &due;
    list_init(from);
    while (!list_empty(&due)) {
        struct wheel_timer *t = list_entry(due.next, struct wheel_timer, node);
        list_unlink(&t->node);
        if (t->due_ms <= w->now_ms)
            t->fire(t, w->now_ms);
        else
            place(w, t, t->due_ms);
    }
}

/* The next tick at which a slot of `level` comes up, or UINT64_MAX. */
static uint64_t next_at(const struct wheel *w, int level) {
    if (!w->used[level])
        return UINT64_MAX;
    int shift = level * WHEEL_BITS;
    unsigned here = slot_at(w->now_ms, level);
    /* Rotated so that the slot after this one is bit 0; this slot itself comes last, a whole turn later. */
    unsigned by = (here + 1) & WHEEL_MASK;
    uint64_t turned = by ? (w->used[level] >> by | w->used[level] << (WHEEL_SLOTS - by)) : w->used[level];
    uint64_t steps = (uint64_t)__builtin_ctzll(turned) + 1;
    return ((w->now_ms >> shift) + steps) << shift;
}

static uint64_t next_tick(const struct wheel *w) {
    uint64_t next = UINT64_MAX;
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t at = next_at(w, level);
        if (at < next)
            next = at;
    }
    return next;
}

void wheel_advance(struct wheel *w, uint64_t now_ms) {
    for (;;) {
        uint64_t next = next_tick(w);
        if (next > now_ms)
            break;
        w->now_ms = next;
        /* The coarser levels first: what they hold may be due at this very tick. */
        for (int level = WHEEL_LEVELS - 1; level >= 0; level--) {
            if (level == 0 || (next & ((UINT64_C(1) << (level * WHEEL_BITS)) - 1)) == 0)
                run_slot(w, level, slot_at(next, level));
        }
    }
    if (now_ms > w->now_ms)
        w->now_ms = now_ms;
}

uint64_t wheel_next(const struct wheel *w) {
    uint64_t next = next_tick(w);
    return next == UINT64_MAX ? next : next - w->now_ms;
}
