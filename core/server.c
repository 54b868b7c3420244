/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "chain.h"
#include "idempotency.h"
#include "listener.h"
#include "ratelimit_share.h"
#include "redis_log.h"
#include "reload.h"
#include "status.h"
#include "stream_gzip.h"
#include "tap.h"
#include "watcher.h"

enum {
    HOUSE_MS = 1000,
    SWEEP_MS = 1000,
    OWN_FILES = 32,  /* what a server opens beside its connections, about */
    WORKER_FILES = 8, /* and each worker */
    DRAIN_SPARE_MS = 10000, /* what a service manager grants beyond the drain */
    LAST_CALL_MS = 1000, /* from the second signal to an end without the workers' consent */
    SHARED_BYTES = 64 << 20,
    LIMIT_KEYS = 1 << 20
};

__attribute__((format(printf, 2, 3))) static void explain(char error[SERVER_ERROR_BYTES], const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(error, SERVER_ERROR_BYTES, format, args);
    va_end(args);
}

static void wake_worker(void *context, unsigned worker) {
    struct server *s = context;
    poller_wake(&s->workers[worker]->poller);
}

/* --- the control thread ------------------------------------------------------------------------- */

void server_worker_ended(struct server *s) {
    pthread_mutex_lock(&s->lock);
    s->live--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    uv_async_send(&s->command);
}

/* Something that every worker is to do. */
struct call_task {
    struct task task;
    void (*call)(struct worker *w);
};

static void run_call(struct task *task, void *worker) {
    ((struct call_task *)(void *)task)->call(worker);
    free(task);
}

static void cancel_call(struct task *task) {
    free(task);
}

/* Has each worker call that, at its next turn; where memory is short some do not. */
static void call_all(struct server *s, void (*call)(struct worker *w)) {
    for (unsigned i = 0; i < s->started; i++) {
        struct call_task *task = malloc(sizeof *task);
        if (!task)
            return;
        *task = (struct call_task){.task = {.run = run_call, .cancel = cancel_call}, .call = call};
        if (hub_post(s->hub, i, &task->task) != 0)
            free(task);
    }
}

void server_sweep(struct server *s, uint64_t now_ms) {
    uint_fast64_t last = atomic_load(&s->swept_ms);
    if (now_ms < last + SWEEP_MS || !atomic_compare_exchange_strong(&s->swept_ms, &last, now_ms))
        return;
    call_all(s, worker_sweep);
}

/* Tells every worker to leave. */
static void order_all(struct server *s, enum worker_order order, uint64_t drain_ms) {
    for (unsigned i = 0; i < s->started; i++)
        worker_order(s->workers[i], order, drain_ms);
}

void server_stop(struct server *s, uint64_t drain_ms) {
    pthread_mutex_lock(&s->lock);
    if (s->state == SERVER_RUNNING && !s->stop_wanted) {
        s->stop_wanted = true;
        s->stop_drain_ms = drain_ms;
    } else {
        s->stop_now = true;
    }
    pthread_mutex_unlock(&s->lock);
    uv_async_send(&s->command);
}

static void begin_to_leave(struct server *s) {
    pthread_mutex_lock(&s->lock);
    bool start = s->stop_wanted && s->state == SERVER_RUNNING;
    uint64_t drain_ms = s->stop_drain_ms;
    if (start)
        s->state = SERVER_DRAINING;
    bool now = s->stop_now && s->state == SERVER_DRAINING;
    s->stop_now = false;
    pthread_mutex_unlock(&s->lock);
    if (start) {
        notify_send(&s->notify, "STOPPING=1\nSTATUS=Leaving: streams end over %.3g s\nEXTEND_TIMEOUT_USEC=%" PRIu64, (double)drain_ms / 1000,
                    (drain_ms + DRAIN_SPARE_MS) * 1000);
        atomic_store(&s->draining, true);
        order_all(s, ORDER_DRAIN, drain_ms);
    }
    if (now)
        order_all(s, ORDER_STOP, 0);
}

/* The files have changed, or may have. */
static void on_scripts_changed(void *context) {
    struct server *s = context;
    pthread_mutex_lock(&s->lock);
    bool running = s->state == SERVER_RUNNING;
    pthread_mutex_unlock(&s->lock);
    s->look_again = reload_busy(s); /* what is under way has read the files too early */
    if (running && !s->look_again)
        reload_begin(s, RELOAD_CHANGED, 0);
}

/* Tells the service manager that all is as it was, or what is in force now. */
static void notify_ready(struct server *s) {
    pthread_mutex_lock(&s->lock);
    uint64_t generation = s->generation;
    bool failed = s->reload_failed, running = s->state == SERVER_RUNNING;
    pthread_mutex_unlock(&s->lock);
    if (running)
        notify_send(&s->notify, "READY=1\nSTATUS=Listening on port %u, generation %" PRIu64 "%s", s->port, generation,
                    failed ? "; the scripts read last were refused" : "");
}

/* Goes on with the reload under way, then begins the next one that was asked for. Those who ask a server that leaves are let go. */
static void reload_on(struct server *s) {
    reload_poll(s);
    if (reload_busy(s))
        return;
    pthread_mutex_lock(&s->lock);
    bool wanted = s->reload_wanted && s->state == SERVER_RUNNING;
    uint64_t asked = s->reload_asked;
    s->reload_wanted = false;
    if (!wanted) {
        s->reload_done = asked;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    if (s->told_reloading && !wanted) {
        s->told_reloading = false;
        notify_ready(s);
    }
    if (wanted)
        reload_begin(s, RELOAD_ASKED, asked);
    else if (s->look_again && !server_any_stuck(s))
        on_scripts_changed(s);
}

static void stop_loop(void *context) {
    struct server *s = context;
    uv_stop(&s->loop);
}

static void end_if_over(struct server *s) {
    pthread_mutex_lock(&s->lock);
    bool over = s->live == 0 && s->state != SERVER_ENDED;
    pthread_mutex_unlock(&s->lock);
    if (!over || s->leaving)
        return;
    s->leaving = true;
    if (s->redis && s->control_started)
        redis_log_leave(s->redis, stop_loop, s);
    else
        stop_loop(s);
}

static void on_command(uv_async_t *async) {
    struct server *s = async->data;
    begin_to_leave(s);
    reload_on(s);
    end_if_over(s);
}

/* Names workers that a script does not let go, once each time. */
static void watch_workers(struct server *s) {
    for (unsigned i = 0; i < s->started; i++) {
        struct worker *w = s->workers[i];
        uint64_t since = atomic_load_explicit(&w->busy_since_ns, memory_order_relaxed), ms = worker_busy_ms(w);
        if (ms && w->named_busy_ns != since) {
            log_write(&s->log, LOG_ERROR, "worker", "worker %u has been busy for %.1f s in one call of a script (%s): no other stream or request of it goes on",
                      i, (double)ms / 1000, atomic_load_explicit(&w->busy_in, memory_order_relaxed));
            w->named_busy_ns = since;
        } else if (w->named_busy_ns && since != w->named_busy_ns) {
            log_write(&s->log, LOG_WARN, "worker", "worker %u goes on", i);
            w->named_busy_ns = 0;
        }
    }
}

static void on_house(uv_timer_t *timer) {
    struct server *s = timer->data;
    hub_sweep(s->hub, wall_ms());
    reload_on(s);
    watch_workers(s);
    for (unsigned i = 0; i < s->started; i++)
        worker_ping(s->workers[i]);
}

/* A worker that a script does not let go cannot be ended, but the process can: the signal does to it what it would have done without us. */
static void on_last_call(uv_timer_t *timer) {
    struct server *s = timer->data;
    pthread_mutex_lock(&s->lock);
    int signum = s->status - 128;
    pthread_mutex_unlock(&s->lock);
    log_write(&s->log, LOG_ERROR, "server", "a worker does not end: leaving without it");
    for (int i = 0; i < 3; i++)
        uv_signal_stop(&s->signals[i]);
    signal(signum, SIG_DFL);
    kill(getpid(), signum);
}

static void on_signal(uv_signal_t *handle, int signum) {
    struct server *s = handle->data;
    if (signum == SIGHUP) {
        pthread_mutex_lock(&s->lock);
        s->reload_wanted = s->hangup = true;
        s->told_reloading = s->state == SERVER_RUNNING;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        log_write(&s->log, LOG_INFO, "server", "SIGHUP: reading the scripts anew");
        if (s->told_reloading)
            notify_send(&s->notify, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=Reading the scripts anew", uv_hrtime() / 1000);
        uv_async_send(&s->command);
        return;
    }
    pthread_mutex_lock(&s->lock);
    bool second = s->state != SERVER_RUNNING || s->stop_wanted;
    if (second)
        s->status = 128 + signum;
    pthread_mutex_unlock(&s->lock);
    if (second) {
        log_write(&s->log, LOG_WARN, "server", "second signal: ending at once");
        uv_timer_start(&s->last_call, on_last_call, LAST_CALL_MS, 0);
    } else {
        log_write(&s->log, LOG_INFO, "server", "%s: leaving; streams end over %.3g s", signum == SIGINT ? "SIGINT" : "SIGTERM",
                  (double)s->config->drain_ms / 1000);
    }
    server_stop(s, s->config->drain_ms);
}

static void close_handle(uv_handle_t *handle, void *context) {
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void control(void *argument) {
    struct server *s = argument;
    uv_run(&s->loop, UV_RUN_DEFAULT);
    pthread_mutex_lock(&s->lock);
    s->state = SERVER_ENDED;
    s->reload_done = s->reload_asked;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static int take_signals(struct server *s) {
    static const int SIGNALS[3] = {SIGTERM, SIGINT, SIGHUP};
    for (int i = 0; s->take_signals && !s->signals_taken && i < 3; i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        int rc = uv_signal_start(&s->signals[i], on_signal, SIGNALS[i]);
        if (rc)
            return rc;
    }
    s->signals_taken = true;
    return 0;
}

static int start_control(struct server *s) {
    uv_timer_init(&s->loop, &s->house);
    uv_timer_init(&s->loop, &s->last_call);
    s->house.data = s->last_call.data = s;
    uv_timer_start(&s->house, on_house, HOUSE_MS, HOUSE_MS);
    int rc = take_signals(s);
    if (rc)
        return rc;
    if (s->source.folder) {
        s->watcher = watcher_new(&s->loop, s->source.folder, &s->log, on_scripts_changed, s);
        if (!s->watcher)
            return UV_ENOMEM;
    }
    rc = worker_thread(&s->control, control, s);
    s->control_started = rc == 0;
    return rc;
}

/* --- starting ----------------------------------------------------------------------------------- */

static void options_free(struct server_options *options) {
    config_free(options->config);
    snapshot_source_deinit(&options->source);
}

/* The shared compression, where it is on. A chain that was silent for so long that all its streams had a comment of their own begins anew. */
static bool make_chains(struct server *s) {
    const struct config *config = s->config;
    uint64_t idle_ms = config->heartbeat_ms ? config->heartbeat_ms * STREAM_GZIP_COMMENT : CHAIN_AGE_MS;
    if (config->gzip)
        s->chains = chains_new(config->gzip_level, config->gzip_min_bytes, idle_ms);
    return s->chains || !config->gzip;
}

/* The keys that tokens are verified with. */
static bool make_keys(struct server *s, char error[SERVER_ERROR_BYTES]) {
    const struct config *c = s->config;
    if (!c->has_key)
        return true;
    char why[TOKEN_REASON_BYTES];
    const char *algorithms[CONFIG_ALGORITHMS];
    for (size_t i = 0; i < c->jwt_algorithm_count; i++)
        algorithms[i] = c->jwt_algorithms[i];
    struct token_rules rules = {c->jwt_leeway, c->jwt_issuer.data, c->jwt_audience.data};
    s->keys = token_keys_new(buf_slice(&c->jwt_key), algorithms, c->jwt_algorithm_count, &rules, why);
    if (!s->keys)
        explain(error, "%s: %s (see jwt.algorithms)", c->key_is_file ? "jwt.key_file" : "jwt.key", why);
    return s->keys != NULL;
}

/* What follows the log where it is kept in Redis. */
static bool make_redis(struct server *s, char error[SERVER_ERROR_BYTES]) {
    char why[REDIS_ERROR_BYTES];
    if (!s->config->has_redis && s->config->ratelimit_shared)
        explain(error, "ratelimit.shared = true: there is nobody to share with, since redis.url is not set");
    if (!s->config->has_redis)
        return !s->config->ratelimit_shared;
    if (s->config->ratelimit_shared) {
        s->share = ratelimit_share_new(LIMIT_KEYS);
        if (!s->share)
            return false;
        ratelimit_share_with(s->limits, s->share);
    }
    struct redis_log_options options = {
        .config = s->config, .hub = s->hub, .log = &s->log, .loop = &s->loop, .workers = s->config->workers, .share = s->share};
    s->redis = redis_log_new(&options, why);
    if (!s->redis)
        explain(error, "%s", why);
    return s->redis != NULL;
}

/* Waits for Redis and fills the histories. The host's thread runs the loop meanwhile, so that a broken connection's SIGPIPE must not reach it, and signals that end the server end the wait. */
static bool start_redis(struct server *s, char error[SERVER_ERROR_BYTES]) {
    char why[REDIS_ERROR_BYTES];
    sigset_t pipe, old, pending;
    if (!s->redis)
        return true;
    if (take_signals(s) != 0) {
        explain(error, "cannot take signals");
        return false;
    }
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &old);
    bool started = redis_log_start(s->redis, &s->stop_wanted, why);
    if (!sigismember(&old, SIGPIPE) && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe, NULL, &(struct timespec){0, 0});
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!started)
        explain(error, "%s", why);
    return started;
}

/* Everything that needs no thread. */
static struct server *make(struct server_options *options, char error[SERVER_ERROR_BYTES]) {
    struct server *s = calloc(1, sizeof *s);
    explain(error, "not enough memory");
    if (!s) {
        options_free(options);
        return NULL;
    }
    s->config = options->config;
    s->source = options->source;
    s->ops = options->ops;
    s->policy_context = options->policy_context;
    s->take_signals = options->take_signals;
    if (s->take_signals)
        notify_init(&s->notify);
    s->started_ns = uv_hrtime();
    s->started_s = (double)wall_ms() / 1000;
    log_init(&s->log);
    log_set(&s->log, &options->log);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (uv_loop_init(&s->loop) != 0 || uv_async_init(&s->loop, &s->command, on_command) != 0)
        goto fail;
    s->command.data = s;
    struct hub_ops ops = {wake_worker, s};
    s->hub = hub_new(s->config, s->config->workers, &ops, wall_ms());
    s->shared = shared_dict_new(SHARED_BYTES);
    s->limits = ratelimit_new(LIMIT_KEYS);
    s->published = idempotency_new(IDEMPOTENCY_KEYS);
    s->workers = calloc(s->config->workers, sizeof *s->workers);
    if (!s->hub || !s->shared || !s->limits || !s->published || !s->workers || !make_chains(s) || !make_keys(s, error) || !make_redis(s, error))
        goto fail;
    return s;

fail:
    server_free(s);
    return NULL;
}

static int start_workers(struct server *s) {
    for (unsigned i = 0; i < s->config->workers; i++) {
        struct worker *w = calloc(1, sizeof *w);
        if (!w)
            return -ENOMEM;
        w->server = s;
        w->config = s->config;
        w->hub = s->hub;
        w->log = &s->log;
        w->ops = s->ops;
        w->index = i;
        s->workers[i] = w;
        pthread_mutex_lock(&s->lock);
        s->live++;
        pthread_mutex_unlock(&s->lock);
        int rc = worker_start(w);
        if (rc) {
            pthread_mutex_lock(&s->lock);
            s->live--;
            pthread_mutex_unlock(&s->lock);
            s->workers[i] = NULL;
            free(w);
            return rc;
        }
        s->started++;
    }
    return 0;
}

struct listen_task {
    struct task task;
    int fd;
};

static void run_listen(struct task *task, void *worker) {
    struct listen_task *listen_task = (struct listen_task *)(void *)task;
    worker_listen(worker, listen_task->fd);
    free(listen_task);
}

static void cancel_listen(struct task *task) {
    close(((struct listen_task *)(void *)task)->fd);
    free(task);
}

static bool listen_all(struct server *s, struct listen_address *address, char error[SERVER_ERROR_BYTES]) {
    for (unsigned i = 0; i < s->started; i++) {
        struct listen_task *task = malloc(sizeof *task);
        if (!task) {
            explain(error, "not enough memory");
            return false;
        }
        int fd = listener_open(address, (unsigned)s->config->stale_ms, error);
        if (fd < 0) {
            free(task);
            return false;
        }
        *task = (struct listen_task){.task = {.run = run_listen, .cancel = cancel_listen}, .fd = fd};
        if (hub_post(s->hub, i, &task->task) != 0) {
            cancel_listen(&task->task);
            explain(error, "not enough memory");
            return false;
        }
    }
    s->port = listener_port(address);
    return true;
}

static void first_error(const struct policy_error *why, char error[SERVER_ERROR_BYTES]) {
    if (why->line > 0)
        explain(error, "%s:%d: %s", why->file, why->line, why->message);
    else if (why->file[0])
        explain(error, "%s: %s", why->file, why->message);
    else
        explain(error, "%s", why->message);
}

static bool load_first(struct server *s, char error[SERVER_ERROR_BYTES]) {
    struct policy_error why;
    if (start_workers(s) != 0) {
        explain(error, "cannot start the workers: not enough memory or threads");
        return false;
    }
    if (!reload_first(s, &why)) {
        first_error(&why, error);
        return false;
    }
    return true;
}

/* Where the process is all ours, its limit was raised as far as that goes. */
static void compare_files(struct server *s) {
    struct rlimit limit;
    size_t wanted = s->config->max_connections + SERVER_EXTRA + OWN_FILES + WORKER_FILES * (size_t)s->started;
    if (!s->take_signals || getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= wanted)
        return;
    log_write(&s->log, LOG_WARN, "server",
              "limits.connections is %zu, but the process may open only %llu files: about %zu connections will find room (raise the hard limit, ulimit -Hn)",
              s->config->max_connections, (unsigned long long)limit.rlim_cur,
              limit.rlim_cur > wanted - s->config->max_connections ? (size_t)limit.rlim_cur - (wanted - s->config->max_connections) : 0);
}

struct server *server_start(struct server_options *options, char error[SERVER_ERROR_BYTES]) {
    struct listen_address address;
    struct server *s = make(options, error);
    if (!s)
        return NULL;
    if (listener_resolve(s->config->host.data, s->config->port, &address, error) != 0 || listener_probe(&address, error) != 0 ||
        !start_redis(s, error) || !load_first(s, error) || !listen_all(s, &address, error))
        goto fail;
    if (start_control(s) != 0) {
        explain(error, "cannot start the control thread");
        goto fail;
    }
    compare_files(s);
    notify_ready(s);
    return s;

fail:
    server_free(s);
    return NULL;
}

bool server_check(struct server_options *options, char error[SERVER_ERROR_BYTES]) {
    options->config->workers = 1;
    struct server *s = make(options, error);
    if (!s)
        return false;
    s->trial = true;
    bool ok = load_first(s, error);
    server_free(s);
    return ok;
}

/* --- for the host ------------------------------------------------------------------------------- */

bool server_reload(struct server *s, struct policy_error *error) {
    pthread_mutex_lock(&s->lock);
    uint64_t mine = ++s->reload_asked;
    s->reload_wanted = true;
    bool running = s->state == SERVER_RUNNING;
    pthread_mutex_unlock(&s->lock);
    *error = (struct policy_error){0};
    if (!running) {
        snprintf(error->message, sizeof error->message, "the server is not running");
        return false;
    }
    uv_async_send(&s->command);
    pthread_mutex_lock(&s->lock);
    while (s->reload_done < mine && s->state != SERVER_ENDED)
        pthread_cond_wait(&s->changed, &s->lock);
    bool ok = !s->reload_failed && s->state == SERVER_RUNNING;
    if (!ok)
        *error = s->reload_error;
    pthread_mutex_unlock(&s->lock);
    return ok;
}

void server_set_log(struct server *s, const struct log_settings *settings) {
    log_set(&s->log, settings);
    call_all(s, tap_watch);
}

bool server_wait(struct server *s, unsigned timeout_ms, int *status, bool *hangup) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->lock);
    while (s->state != SERVER_ENDED && !s->hangup && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0)
        continue;
    bool ended = s->state == SERVER_ENDED;
    *status = s->status;
    *hangup = s->hangup;
    s->hangup = false;
    pthread_mutex_unlock(&s->lock);
    return ended;
}

void server_free(struct server *s) {
    if (!s)
        return;
    if (s->control_started) {
        server_stop(s, 0);
        uv_thread_join(&s->control);
    } else {
        order_all(s, ORDER_STOP, 0);
    }
    for (unsigned i = 0; i < s->started; i++)
        worker_join(s->workers[i]);
    free(s->workers);
    if (s->command.data) {
        watcher_close(s->watcher);
        redis_log_close(s->redis);
        uv_walk(&s->loop, close_handle, NULL);
        while (uv_run(&s->loop, UV_RUN_DEFAULT) != 0)
            continue;
        uv_loop_close(&s->loop);
    }
    redis_log_free(s->redis);
    hub_free(s->hub);
    reload_deinit(s);
    shared_dict_free(s->shared);
    ratelimit_free(s->limits);
    ratelimit_share_free(s->share);
    chains_free(s->chains);
    idempotency_free(s->published);
    token_keys_free(s->keys);
    snapshot_source_deinit(&s->source);
    config_free(s->config);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
