/* SPDX-License-Identifier: MIT */
#include "reload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server.h"

enum { RELOAD_PATIENCE_S = 10 };

/* What the asking thread and the workers share; the last to let go frees it, so that a worker that answers too late finds it still there. */
struct attempt {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned refs;
    unsigned waiting; /* workers that have not answered */
    bool failed, given_up;
    struct policy_error error; /* the first */
    struct snapshot *snapshot;
    uint64_t generation;
};

struct load_task {
    struct task task;
    struct attempt *attempt;
};

struct decide_task {
    struct task task;
    bool accept;
};

static void attempt_release(struct attempt *a) {
    pthread_mutex_lock(&a->lock);
    bool last = --a->refs == 0;
    pthread_mutex_unlock(&a->lock);
    if (!last)
        return;
    snapshot_release(a->snapshot);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static void answer(struct attempt *a, const struct policy_error *error) {
    pthread_mutex_lock(&a->lock);
    if (error && !a->failed) {
        a->failed = true;
        a->error = *error;
    }
    a->waiting--;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    attempt_release(a);
}

static void run_load(struct task *task, void *worker) {
    struct load_task *load = (struct load_task *)(void *)task;
    struct worker *w = worker;
    struct policy_error error = {0};
    pthread_mutex_lock(&load->attempt->lock);
    bool given_up = load->attempt->given_up;
    pthread_mutex_unlock(&load->attempt->lock);
    bool ok = given_up || w->ops->load(w->policy, load->attempt->snapshot, load->attempt->generation, &error);
    answer(load->attempt, ok ? NULL : &error);
    free(load);
}

static void cancel_load(struct task *task) {
    struct load_task *load = (struct load_task *)(void *)task;
    struct policy_error error = {.message = "the server is leaving"};
    answer(load->attempt, &error);
    free(load);
}

static void run_decide(struct task *task, void *worker) {
    struct decide_task *decide = (struct decide_task *)(void *)task;
    struct worker *w = worker;
    if (decide->accept)
        w->ops->accept(w->policy);
    else
        w->ops->discard(w->policy);
    free(decide);
}

static void cancel_decide(struct task *task) {
    free(task);
}

static struct attempt *attempt_new(struct snapshot *snapshot, uint64_t generation, unsigned workers) {
    struct attempt *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&a->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    a->refs = workers + 1;
    a->waiting = workers;
    a->snapshot = snapshot_retain(snapshot);
    a->generation = generation;
    return a;
}

/* Waits for all answers. Returns true where all workers have accepted. */
static bool wait_for_answers(struct attempt *a, struct policy_error *error) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RELOAD_PATIENCE_S;
    pthread_mutex_lock(&a->lock);
    int rc = 0;
    while (a->waiting && rc == 0)
        rc = pthread_cond_timedwait(&a->changed, &a->lock, &until);
    if (a->waiting) {
        a->given_up = a->failed = true;
        snprintf(a->error.message, sizeof a->error.message, "%u worker(s) did not answer within %d s: a script keeps them busy", a->waiting,
                 RELOAD_PATIENCE_S);
    }
    bool ok = !a->failed;
    *error = a->error;
    pthread_mutex_unlock(&a->lock);
    return ok;
}

static bool decide(struct server *s, bool accept) {
    struct task *tasks[s->started];
    for (unsigned i = 0; i < s->started; i++) {
        struct decide_task *task = malloc(sizeof *task);
        if (!task) {
            while (i > 0)
                free(tasks[--i]);
            return false;
        }
        *task = (struct decide_task){{NULL, run_decide, cancel_decide}, accept};
        tasks[i] = &task->task;
    }
    hub_post_all(s->hub, tasks);
    return true;
}

static bool load_snapshot(struct server *s, struct snapshot *snapshot, uint64_t generation, struct policy_error *error) {
    struct attempt *a = attempt_new(snapshot, generation, s->started);
    *error = (struct policy_error){.message = "not enough memory"};
    if (!a)
        return false;
    for (unsigned i = 0; i < s->started; i++) {
        struct load_task *load = malloc(sizeof *load);
        struct policy_error gone = {.message = "not enough memory"};
        if (!load) {
            answer(a, &gone);
            continue;
        }
        *load = (struct load_task){{NULL, run_load, cancel_load}, a};
        if (hub_post(s->hub, i, &load->task) != 0)
            cancel_load(&load->task);
    }
    bool ok = wait_for_answers(a, error);
    attempt_release(a);
    return decide(s, ok) && ok;
}

bool reload_load(struct server *s, struct policy_error *error) {
    char why[SNAPSHOT_ERROR_BYTES];
    struct snapshot *snapshot = snapshot_read(&s->source, why);
    if (!snapshot) {
        *error = (struct policy_error){0};
        snprintf(error->message, sizeof error->message, "%s", why);
        return false;
    }
    bool ok = load_snapshot(s, snapshot, s->generation + 1, error);
    snapshot_release(snapshot);
    if (ok) {
        pthread_mutex_lock(&s->lock);
        s->generation++;
        clock_gettime(CLOCK_REALTIME, &s->loaded);
        pthread_mutex_unlock(&s->lock);
    }
    return ok;
}

void reload_run(struct server *s) {
    struct policy_error error;
    bool ok = reload_load(s, &error);
    pthread_mutex_lock(&s->lock);
    s->reload_failed = !ok;
    if (!ok) {
        s->reload_error = error;
        s->reload_errors++;
        clock_gettime(CLOCK_REALTIME, &s->reload_error_at);
    }
    uint64_t generation = s->generation;
    pthread_mutex_unlock(&s->lock);
    if (ok)
        log_write(&s->log, LOG_INFO, "policy", "generation %" PRIu64 " is in force", generation);
    else
        log_write(&s->log, LOG_ERROR, "policy", "the new scripts are refused, generation %" PRIu64 " stays: %s%s%d%s%s", generation, error.file,
                  error.line ? ":" : "", error.line, error.file[0] ? ": " : "", error.message);
}
