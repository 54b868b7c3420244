/* SPDX-License-Identifier: MIT */
#include "reload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server.h"

enum { RELOAD_PATIENCE_S = 10 };

/* What the control thread and the workers share; the last to let go frees it, so that a worker that answers too late finds it still there. */
struct attempt {
    struct snapshot *snapshot;
    uint64_t generation;
    uint64_t asked;    /* the request that it answers */
    const char *why;   /* what began it, for the record */
    uint64_t began_ns;
    uint64_t until_ns; /* uv_hrtime */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    unsigned refs;
    unsigned waiting; /* workers that have not answered */
    bool failed, given_up;
    struct policy_error error; /* the first */
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
    if (--a->waiting == 0)
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
    uv_async_send(&w->server->command);
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

/* Begins an attempt: every worker gets the snapshot to load. Returns it with a reference for the caller, or NULL without memory. */
static struct attempt *attempt_new(struct server *s, struct snapshot *snapshot, const char *why, uint64_t began_ns) {
    struct attempt *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->snapshot = snapshot_retain(snapshot);
    a->generation = s->generation + 1;
    a->why = why;
    a->began_ns = began_ns;
    a->until_ns = uv_hrtime() + RELOAD_PATIENCE_S * UINT64_C(1000000000);
    a->refs = s->started + 1;
    a->waiting = s->started;
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&a->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (unsigned i = 0; i < s->started; i++) {
        static const struct policy_error NO_MEMORY = {.message = "not enough memory"};
        struct load_task *load = malloc(sizeof *load);
        if (!load) {
            answer(a, &NO_MEMORY);
            continue;
        }
        *load = (struct load_task){.task = {.run = run_load, .cancel = cancel_load}, .attempt = a};
        if (hub_post(s->hub, i, &load->task) != 0)
            cancel_load(&load->task);
    }
    return a;
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
        *task = (struct decide_task){.task = {.run = run_decide, .cancel = cancel_decide}, .accept = accept};
        tasks[i] = &task->task;
    }
    return hub_post_all(s->hub, tasks) == 0;
}

/* Lets a worker that has not answered go: what it still loads is dropped. */
static void give_up(struct attempt *a) {
    a->given_up = a->failed = true;
    a->error = (struct policy_error){0};
    snprintf(a->error.message, sizeof a->error.message,
             "%u worker%s did not answer within %d s: a script keeps %s busy", a->waiting, a->waiting == 1 ? "" : "s",
             RELOAD_PATIENCE_S, a->waiting == 1 ? "it" : "them");
}

/* Keeps what is tried, so that it is not tried again for nothing. */
static void remember(struct server *s, struct snapshot *snapshot) {
    snapshot_release(s->attempted);
    s->attempted = snapshot;
}

/* Puts the new scripts in force, or drops them, on all workers. Returns whether they are in force. */
static bool conclude(struct server *s, struct attempt *a, struct policy_error *error) {
    pthread_mutex_lock(&a->lock);
    bool late = a->waiting > 0;
    if (late)
        give_up(a);
    bool ok = !a->failed;
    *error = a->error;
    pthread_mutex_unlock(&a->lock);
    if (late) { /* not the scripts' fault: they are tried again when the workers are free */
        remember(s, NULL);
        s->look_again = true;
    }
    if (!decide(s, ok && !s->trial) && ok) {
        ok = false;
        snprintf(error->message, sizeof error->message, "not enough memory");
    }
    if (ok) {
        pthread_mutex_lock(&s->lock);
        s->generation = a->generation;
        clock_gettime(CLOCK_REALTIME, &s->loaded);
        pthread_mutex_unlock(&s->lock);
    }
    attempt_release(a);
    return ok;
}

static void log_outcome(struct server *s, bool ok, const struct policy_error *error) {
    if (ok) {
        log_write(&s->log, LOG_INFO, "policy", "generation %" PRIu64 " is in force", s->generation);
        return;
    }
    char place[POLICY_FILE_BYTES + 16] = "";
    if (error->line > 0)
        snprintf(place, sizeof place, "%s:%d: ", error->file, error->line);
    else if (error->file[0])
        snprintf(place, sizeof place, "%s: ", error->file);
    log_write(&s->log, LOG_ERROR, "policy", "the new scripts are refused, generation %" PRIu64 " stays: %s%s",
              s->generation, place, error->message);
}

/* Keeps how a load went. */
static void record(struct server *s, bool ok, const struct policy_error *error, const char *why, uint64_t began_ns) {
    pthread_mutex_lock(&s->lock);
    struct reload_record *r = &s->reloads[s->reload_count++ % SERVER_RELOADS];
    *r = (struct reload_record){.ok = ok, .why = why, .generation = s->generation};
    if (!ok)
        r->error = *error;
    clock_gettime(CLOCK_REALTIME, &r->at);
    r->seconds = (double)(uv_hrtime() - began_ns) / 1e9;
    pthread_mutex_unlock(&s->lock);
}

/* An attempt is over: tells everybody. */
static void finish(struct server *s, bool ok, const struct policy_error *error, uint64_t asked) {
    log_outcome(s, ok, error);
    pthread_mutex_lock(&s->lock);
    s->reload_failed = !ok;
    if (!ok) {
        s->reload_error = *error;
        s->reload_errors++;
        clock_gettime(CLOCK_REALTIME, &s->reload_error_at);
    }
    if (asked > s->reload_done)
        s->reload_done = asked;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* Reads the scripts. NULL with `error` filled. */
static struct snapshot *read_scripts(struct server *s, struct policy_error *error) {
    char why[SNAPSHOT_ERROR_BYTES];
    struct snapshot *snapshot = snapshot_read(&s->source, why);
    *error = (struct policy_error){0};
    if (!snapshot)
        snprintf(error->message, sizeof error->message, "%s", why);
    return snapshot;
}

bool reload_first(struct server *s, struct policy_error *error) {
    uint64_t began_ns = uv_hrtime();
    struct snapshot *snapshot = read_scripts(s, error);
    if (!snapshot)
        return false;
    remember(s, snapshot);
    struct attempt *a = attempt_new(s, snapshot, "start", began_ns);
    if (!a) {
        snprintf(error->message, sizeof error->message, "not enough memory");
        return false;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RELOAD_PATIENCE_S;
    pthread_mutex_lock(&a->lock);
    for (int rc = 0; a->waiting && rc == 0;)
        rc = pthread_cond_timedwait(&a->changed, &a->lock, &until);
    pthread_mutex_unlock(&a->lock);
    bool ok = conclude(s, a, error);
    record(s, ok, error, "start", began_ns);
    return ok;
}

void reload_begin(struct server *s, enum reload_why why, uint64_t asked) {
    const char *why_text = why == RELOAD_ASKED ? "asked" : "changed";
    uint64_t began_ns = uv_hrtime();
    struct policy_error error;
    struct snapshot *snapshot = read_scripts(s, &error);
    if (snapshot && why == RELOAD_CHANGED && s->attempted && snapshot_equal(snapshot, s->attempted)) {
        snapshot_release(snapshot);
        return;
    }
    remember(s, snapshot);
    s->attempt = snapshot ? attempt_new(s, snapshot, why_text, began_ns) : NULL;
    if (s->attempt) {
        s->attempt->asked = asked;
        return;
    }
    if (snapshot)
        snprintf(error.message, sizeof error.message, "not enough memory");
    record(s, false, &error, why_text, began_ns);
    finish(s, false, &error, asked);
}

bool reload_busy(const struct server *s) {
    return s->attempt != NULL;
}

void reload_poll(struct server *s) {
    struct attempt *a = s->attempt;
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    bool over = a->waiting == 0 || uv_hrtime() >= a->until_ns;
    pthread_mutex_unlock(&a->lock);
    if (!over)
        return;
    struct policy_error error;
    uint64_t asked = a->asked, began_ns = a->began_ns;
    const char *why = a->why;
    s->attempt = NULL;
    bool ok = conclude(s, a, &error);
    record(s, ok, &error, why, began_ns);
    finish(s, ok, &error, asked);
}

void reload_deinit(struct server *s) {
    if (s->attempt)
        attempt_release(s->attempt);
    s->attempt = NULL;
    remember(s, NULL);
}
