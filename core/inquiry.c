/* SPDX-License-Identifier: MIT */
#include "inquiry.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "server.h"

/* One worker's part. */
struct part {
    struct task task;
    struct inquiry *inquiry;
    struct inquiry_answer answer;
    atomic_bool answered;
};

struct inquiry {
    atomic_uint refs;
    atomic_uint waiting; /* parts that are not over */
    struct worker *from;
    inquiry_fn ask;
    void *question;
    void (*done)(void *context); /* the asker's, like the context */
    void *context;
    struct task over; /* tells the asker */
    unsigned count;
    struct part parts[];
};

void inquiry_release(struct inquiry *q) {
    if (atomic_fetch_sub(&q->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < q->count; i++)
        buf_deinit(&q->parts[i].answer.out);
    free(q->question);
    free(q);
}

static struct inquiry *inquiry_of(struct task *over) {
    return list_entry(over, struct inquiry, over);
}

static void run_over(struct task *task, void *worker) {
    struct inquiry *q = inquiry_of(task);
    (void)worker;
    if (q->done)
        q->done(q->context);
    inquiry_release(q);
}

static void cancel_over(struct task *task) {
    inquiry_release(inquiry_of(task));
}

/* The last part to be over has the asker told. */
static void part_over(struct inquiry *q) {
    if (atomic_fetch_sub(&q->waiting, 1) == 1) {
        atomic_fetch_add(&q->refs, 1);
        if (hub_post(q->from->hub, q->from->index, &q->over) != 0)
            inquiry_release(q);
    }
    inquiry_release(q);
}

static void run_part(struct task *task, void *worker) {
    struct part *part = (struct part *)(void *)task;
    struct inquiry *q = part->inquiry;
    q->ask(worker, q->question, &part->answer);
    atomic_store_explicit(&part->answered, true, memory_order_release);
    part_over(q);
}

static void cancel_part(struct task *task) {
    part_over(((struct part *)(void *)task)->inquiry);
}

struct inquiry *inquiry_new(struct worker *from, inquiry_fn ask, const void *question, size_t size, void (*done)(void *context),
                            void *context) {
    unsigned count = from->server->started;
    struct inquiry *q = calloc(1, sizeof *q + count * sizeof *q->parts);
    void *copy = malloc(size);
    if (!q || !copy) {
        free(q);
        free(copy);
        return NULL;
    }
    memcpy(copy, question, size);
    q->from = from;
    q->ask = ask;
    q->question = copy;
    q->done = done;
    q->context = context;
    q->over = (struct task){.run = run_over, .cancel = cancel_over};
    q->count = count;
    atomic_init(&q->refs, count + 1);
    atomic_init(&q->waiting, count);
    for (unsigned i = 0; i < count; i++) {
        q->parts[i].inquiry = q;
        q->parts[i].task = (struct task){.run = run_part, .cancel = cancel_part};
    }
    for (unsigned i = 0; i < count; i++) {
        if (hub_post(from->hub, i, &q->parts[i].task) != 0)
            part_over(q);
    }
    return q;
}

void inquiry_cancel(struct inquiry *q) {
    q->done = NULL;
}

unsigned inquiry_count(const struct inquiry *q) {
    return q->count;
}

const struct inquiry_answer *inquiry_answer(const struct inquiry *q, unsigned index) {
    const struct part *part = &q->parts[index];
    return atomic_load_explicit(&part->answered, memory_order_acquire) ? &part->answer : NULL;
}
