/* SPDX-License-Identifier: MIT */
/* A server: workers, hub, and the control thread that reloads, drains, keeps house and takes signals where it was asked to. Several can run in one process. */
#ifndef SLUICE_SERVER_H
#define SLUICE_SERVER_H

#include <pthread.h>
#include <uv.h>

#include "config.h"
#include "hub.h"
#include "log.h"
#include "metrics.h"
#include "notify.h"
#include "policy.h"
#include "ratelimit.h"
#include "shared_dict.h"
#include "snapshot.h"
#include "token.h"
#include "worker.h"

struct attempt;
struct chains;
struct idempotency;
struct ratelimit_share;
struct redis_log;
struct watcher;

enum {
    SERVER_ERROR_BYTES = 2048,
    SERVER_RELOADS = 20, /* of the last loads is known how they went */
    SERVER_EXTRA = 64 /* connections over limits.connections that are still read */
};

/* How one load of the scripts went. */
struct reload_record {
    bool ok;
    const char *why; /* "start", "changed", "asked" */
    uint64_t generation; /* in force after it */
    struct timespec at;
    double seconds;
    struct policy_error error;
};

enum server_state { SERVER_RUNNING, SERVER_DRAINING, SERVER_ENDED };

struct server {
    struct config *config;
    struct log log;
    struct hub *hub;
    struct shared_dict *shared;
    struct ratelimit *limits;
    struct chains *chains;   /* NULL: compression is off */
    struct idempotency *published; /* answers by idempotency key */
    struct redis_log *redis;       /* NULL: the log is in memory */
    struct ratelimit_share *share; /* NULL: limits count on this server only */
    struct token_keys *keys; /* of jwt.key; NULL: none is configured. Shared by all workers */
    const struct policy_ops *ops;
    void *policy_context;
    struct snapshot_source source; /* where scripts are read from */
    unsigned port;
    uint64_t started_ns;
    double started_s;       /* Unix time */
    struct metrics metrics; /* counts of the control thread */

    struct worker **workers;
    unsigned started; /* workers whose thread runs */
    atomic_size_t connections;
    atomic_uint_fast64_t swept_ms; /* loop time of the last server_sweep */
    atomic_bool draining;

    /* the control thread's own; of reload.c and watcher.c */
    struct attempt *attempt;
    struct snapshot *attempted; /* what was tried last; NULL: it could not be read */
    struct watcher *watcher;
    bool look_again; /* the files changed while a reload was under way, or a worker was too busy for it */

    uv_thread_t control;
    uv_loop_t loop;
    uv_async_t command;
    uv_timer_t house;
    uv_timer_t last_call;
    uv_signal_t signals[3];
    bool take_signals;
    struct notify notify; /* where it takes signals: to who started the process */
    bool told_reloading;  /* the control thread's own: `notify` has been told of a reload, and not yet of its end */
    bool signals_taken;
    bool leaving; /* the other nodes are being told */
    bool control_started;
    bool trial; /* `sluice check`: scripts are loaded and let go, nothing of them takes effect */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    enum server_state state;
    int status; /* exit status */
    unsigned live; /* workers that have not ended */
    bool stop_now, stop_wanted, reload_wanted;
    bool hangup; /* SIGHUP has come: the host may read its settings anew */
    uint64_t stop_drain_ms;
    uint64_t reload_asked, reload_done;
    uint64_t generation;
    struct timespec loaded;
    bool reload_failed; /* the last attempt was refused: `reload_error` says why */
    struct policy_error reload_error;
    struct timespec reload_error_at;
    uint64_t reload_errors;
    struct reload_record reloads[SERVER_RELOADS]; /* a ring */
    uint64_t reload_count; /* of all loads */
};

struct server_options {
    struct config *config; /* taken over, in failure too */
    const struct policy_ops *ops;
    void *policy_context;
    struct snapshot_source source; /* taken over */
    bool take_signals;             /* SIGTERM, SIGINT, SIGHUP */
    struct log_settings log;
};

/* Loads the policy, binds and starts. Returns a running server, or NULL with one clear line in `error`. */
struct server *server_start(struct server_options *options, char error[SERVER_ERROR_BYTES]);

/* Loads the policy as server_start would and lets it go again. Returns true, or false with one line in `error`. */
bool server_check(struct server_options *options, char error[SERVER_ERROR_BYTES]);

/* Reads the scripts anew. Waits until they are in force or refused. Returns true, or false with `error` filled. */
bool server_reload(struct server *s, struct policy_error *error);

/* Puts settings of the log in force. */
void server_set_log(struct server *s, const struct log_settings *settings);

/* Begins to leave: listeners close, streams are ended over `drain_ms`. Returns at once; server_wait tells the end. */
void server_stop(struct server *s, uint64_t drain_ms);

/* Waits until the server has ended, at most `timeout_ms`. Returns true and the exit status once it has. `*hangup` says whether SIGHUP has come since the last call, which ends the wait. */
bool server_wait(struct server *s, unsigned timeout_ms, int *status, bool *hangup);

/* Ends the server where it still runs, at once, and frees it. */
void server_free(struct server *s);

/* There are more connections than there may be: asks all workers to look for dead ones, once a second at most. On a worker's thread, which comes to it in this turn. */
void server_sweep(struct server *s, uint64_t now_ms);

/* Called by a worker whose loop has ended. */
void server_worker_ended(struct server *s);

#endif
