/* SPDX-License-Identifier: MIT */
#include "worker.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chain.h"
#include "conn.h"
#include "exchange.h"
#include "hash.h"
#include "listener.h"
#include "server.h"
#include "stream.h"
#include "tap.h"

enum {
    TURN_SLICE = 64,
    TURN_READY = 64,
    LISTEN_AGAIN_MS = 100,
    REJOIN_FLUSH = 1024,
    BUSY_MS = 1000 /* one turn of scripts that is worth telling */
};

uint64_t wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

const char *worker_date(struct worker *w) {
    time_t now = time(NULL);
    if (now != w->date_at) {
        http_date(w->date, now);
        w->date_at = now;
    }
    return w->date;
}

/* xorshift128+ */
uint64_t worker_random(struct worker *w) {
    uint64_t a = w->random[0], b = w->random[1];
    w->random[0] = b;
    a ^= a << 23;
    w->random[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
    return w->random[1] + b;
}

uint64_t worker_spread(struct worker *w, uint64_t value) {
    return value + worker_random(w) % (value + 1);
}

struct buf *worker_head(struct worker *w) {
    if (w->head.cap > WORKER_SCRATCH)
        buf_deinit(&w->head);
    buf_clear(&w->head);
    return &w->head;
}

struct hub_source *worker_sources(struct worker *w, size_t count) {
    if (count > w->sources_cap) {
        struct hub_source *bigger = realloc(w->sources, count * sizeof *bigger);
        if (!bigger)
            return NULL;
        w->sources = bigger;
        w->sources_cap = count;
    }
    return w->sources;
}

/* --- the turn ----------------------------------------------------------------------------------- */

/* Live messages are missing: every stream reads the log from its position. */
static void rewind_streams(struct worker *w) {
    struct list *ring = &w->registry.all->ring;
    for (struct list *node = ring->next; node != ring; node = node->next) {
        struct stream *s = list_entry(list_entry(node, struct subscriber, all_node), struct stream, sub);
        if (s->conn)
            stream_rewind(s);
    }
}

static void take_inbox(struct worker *w) {
    if (!hub_has_mail(w->hub, w->index))
        return;
    hub_take(w->hub, w->index, &w->inbox);
    bool overflowed = w->inbox.overflowed, lost = w->inbox.lost;
    for (size_t i = 0; i < w->inbox.count; i++) {
        struct inbox_item *item = &w->inbox.items[i];
        if (item->task) {
            item->task->run(item->task, w);
        } else if (registry_push(&w->registry, item->message) != 0) {
            message_release(item->message);
            overflowed = true;
        }
    }
    w->inbox.count = 0;
    if (overflowed)
        log_write(w->log, LOG_WARN, "worker", "worker %u fell behind: its streams read what they missed from history", w->index);
    if (overflowed || lost)
        rewind_streams(w);
}

void worker_rejoin_streams(struct worker *w, struct message_id last) {
    struct list *ring = &w->registry.all->ring;
    uint32_t epoch = hub_epoch(w->hub);
    while (registry_step(&w->registry, REJOIN_FLUSH)) /* what lies before this place in the one order */
        continue;
    for (struct list *node = ring->next; node != ring; node = node->next) {
        struct stream *s = list_entry(list_entry(node, struct subscriber, all_node), struct stream, sub);
        if (!s->conn || s->epoch == epoch)
            continue;
        if (s->epoch == HUB_EPOCH_UNSURE && !message_id_after(s->sub.position, last))
            s->epoch = epoch;
        else
            stream_restart(s);
    }
}

static void serve_ready(struct worker *w) {
    for (int i = 0; i < TURN_READY && !list_empty(&w->ready); i++) {
        struct conn *c = list_entry(w->ready.next, struct conn, ready);
        list_unlink(&c->ready);
        conn_resume(c);
    }
}

static void reap(struct worker *w) {
    while (!list_empty(&w->ended))
        stream_free(list_entry(w->ended.next, struct stream, ended));
    while (!list_empty(&w->dead))
        conn_free(list_entry(w->dead.next, struct conn, node));
}

void worker_sweep(struct worker *w) {
    uint64_t now = worker_now(w);
    struct list *ring = &w->registry.all->ring;
    for (struct list *node = ring->next; node != ring; node = node->next) {
        struct stream *s = list_entry(list_entry(node, struct subscriber, all_node), struct stream, sub);
        if (s->conn)
            stream_check_progress(s, now); /* a stream that it closes is unlinked later, by reap */
    }
}

static void check_end(struct worker *w);
static void drain(struct worker *w, uint64_t drain_ms);

void worker_order(struct worker *w, enum worker_order order, uint64_t drain_ms) {
    atomic_store_explicit(&w->order_drain_ms, drain_ms, memory_order_relaxed);
    atomic_store_explicit(&w->order, (int)order, memory_order_release);
    poller_wake(&w->poller);
}

static void obey(struct worker *w) {
    if (atomic_load_explicit(&w->order, memory_order_relaxed) == ORDER_NONE)
        return;
    int order = atomic_exchange_explicit(&w->order, ORDER_NONE, memory_order_acquire);
    if (order == ORDER_STOP)
        w->stopping = true;
    else
        drain(w, atomic_load_explicit(&w->order_drain_ms, memory_order_relaxed));
}

/* What is to be done after each wait. Returns true where something is left that cannot wait for input. */
static bool turn(struct worker *w) {
    w->turns++;
    take_inbox(w);
    obey(w);
    uint64_t since_ns = registry_waiting_since(&w->registry);
    bool more = registry_step(&w->registry, TURN_SLICE);
    if (since_ns)
        metrics_observe(&w->metrics.delivery_lag, uv_hrtime() - since_ns); /* of the slice, not of each delivery */
    serve_ready(w);
    reap(w);
    more = more || !list_empty(&w->ready) || !list_empty(&w->ended) || !list_empty(&w->dead) || hub_has_mail(w->hub, w->index);
    w->policy = w->ops->turn(w->policy, !more);
    more = more || !list_empty(&w->ended) || !list_empty(&w->dead);
    if (w->draining)
        check_end(w);
    return more;
}

static void read_clock(struct worker *w) {
    w->now_ms = uv_hrtime() / 1000000;
}

/* When the wheel is to be advanced next; UINT64_MAX: when somebody sets a timer. */
static uint64_t next_due(const struct worker *w) {
    uint64_t next = wheel_next(&w->wheel);
    return next == UINT64_MAX ? next : w->wheel.now_ms + next;
}

/* How long nothing need be done but for input. */
static int idle_ms(const struct worker *w, uint64_t due) {
    if (due == UINT64_MAX)
        return -1;
    uint64_t left = due > w->now_ms ? due - w->now_ms : 0;
    return left < INT_MAX ? (int)left : INT_MAX;
}

static void loop(struct worker *w) {
    bool more = false;
    while (!w->stopping) {
        uint64_t due = next_due(w);
        poller_wait(&w->poller, more ? 0 : idle_ms(w, due));
        read_clock(w);
        poller_dispatch(&w->poller);
        if (w->now_ms >= due)
            wheel_advance(&w->wheel, w->now_ms);
        more = turn(w);
    }
}

/* --- being watched ------------------------------------------------------------------------------- */

uint64_t worker_busy_ms(const struct worker *w) {
    uint64_t since = atomic_load_explicit(&w->busy_since_ns, memory_order_relaxed), now = uv_hrtime();
    uint64_t ms = since && now > since ? (now - since) / 1000000 : 0;
    return ms >= BUSY_MS ? ms : 0;
}

static void run_ping(struct task *task, void *worker) {
    struct worker *w = worker;
    (void)task;
    uint64_t lag = uv_hrtime() - atomic_load_explicit(&w->ping_sent_ns, memory_order_relaxed);
    metrics_observe(&w->metrics.loop_lag, lag);
    atomic_store_explicit(&w->loop_lag_ns, lag, memory_order_relaxed);
    atomic_store_explicit(&w->ping_sent_ns, 0, memory_order_release);
}

static void cancel_ping(struct task *task) {
    (void)task;
}

void worker_ping(struct worker *w) {
    if (atomic_load_explicit(&w->ping_sent_ns, memory_order_acquire))
        return;
    atomic_store_explicit(&w->ping_sent_ns, uv_hrtime(), memory_order_relaxed);
    w->ping = (struct task){.run = run_ping, .cancel = cancel_ping};
    if (hub_post(w->hub, w->index, &w->ping) != 0)
        atomic_store_explicit(&w->ping_sent_ns, 0, memory_order_relaxed);
}

uint64_t worker_loop_lag(const struct worker *w) {
    uint64_t last = atomic_load_explicit(&w->loop_lag_ns, memory_order_relaxed);
    uint64_t sent = atomic_load_explicit(&w->ping_sent_ns, memory_order_relaxed), now = uv_hrtime();
    return sent && now > sent && now - sent > last ? now - sent : last;
}

double worker_cpu(const struct worker *w) {
    clockid_t clock;
    struct timespec used = {0, 0};
    if (pthread_getcpuclockid(w->thread, &clock) == 0)
        clock_gettime(clock, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* --- leaving ------------------------------------------------------------------------------------ */

static void begin_to_listen(struct worker *w);

static void on_listen_again(struct wheel_timer *timer, uint64_t now_ms) {
    (void)now_ms;
    begin_to_listen(list_entry(timer, struct worker, listener_pause));
}

static void begin_to_listen(struct worker *w) {
    int rc = poller_add(&w->poller, &w->listener, EPOLLIN);
    if (rc == 0)
        return;
    log_write(w->log, LOG_WARN, "listen", "worker %u cannot listen yet: %s; trying again", w->index, strerror(-rc));
    w->listener_pause.fire = on_listen_again;
    wheel_set(&w->wheel, &w->listener_pause, worker_now(w) + LISTEN_AGAIN_MS);
}

void worker_listen(struct worker *w, int fd) {
    w->listener = (struct io){.fd = fd, .ready = listener_ready};
    begin_to_listen(w);
}

/* Accepts no more. */
static void unlisten(struct worker *w) {
    if (w->listener.fd < 0)
        return;
    listener_ready(&w->listener, EPOLLIN); /* what has connected already is still served */
    wheel_cancel(&w->listener_pause);
    poller_remove(&w->poller, &w->listener);
    close(w->listener.fd);
    w->listener.fd = -1;
}

static void check_end(struct worker *w) {
    if (w->streams == 0 && w->exchanges == 0 && list_empty(&w->ended)) {
        for (struct list *node = w->conns.next; node != &w->conns; node = node->next) {
            struct conn *c = list_entry(node, struct conn, node);
            if (c->state == CONN_LINGER || !outq_empty(&c->out))
                return; /* an answer is still on its way */
        }
        w->stopping = true;
    }
}

static void drain_over(struct wheel_timer *timer, uint64_t now_ms) {
    (void)now_ms;
    list_entry(timer, struct worker, drain_timer)->stopping = true;
}

void worker_drain_stream(struct worker *w, struct stream *s) {
    uint64_t now = worker_now(w), end = w->drain_timer.due_ms;
    /* The last fifth of the time is for flushing. */
    s->drain_ms = now + (end > now ? worker_random(w) % ((end - now) * 4 / 5 + 1) : 0);
    conn_set_deadline(s->conn, s->drain_ms);
}

/* Ends streams over the drain period, then the loop. */
static void drain(struct worker *w, uint64_t drain_ms) {
    if (w->stopping)
        return;
    w->draining = true;
    unlisten(w);
    wheel_set(&w->wheel, &w->drain_timer, worker_now(w) + drain_ms);
    struct list *ring = &w->registry.all->ring;
    for (struct list *node = ring->next; node != ring; node = node->next) {
        struct stream *s = list_entry(list_entry(node, struct subscriber, all_node), struct stream, sub);
        if (s->conn)
            worker_drain_stream(w, s);
    }
}

/* Closes all that is open. */
static void shut(struct worker *w) {
    unlisten(w);
    hub_close_inbox(w->hub, w->index);
    while (!list_empty(&w->conns)) {
        struct conn *c = list_entry(w->conns.next, struct conn, node);
        if (c->stream)
            stream_close(c->stream, STREAM_DRAINED);
        conn_close(c);
    }
    reap(w);
    take_inbox(w); /* tasks that came before the inbox was closed; messages are for nobody */
    tap_leave(w);
    unlisten(w);
    reap(w);
    if (w->policy)
        w->ops->destroy(w->policy);
    w->policy = NULL;
}

/* --- the thread --------------------------------------------------------------------------------- */

static void run(void *argument) {
    struct worker *w = argument;
    loop(w);
    shut(w);
    server_worker_ended(w->server);
}

/* Takes back what a start has come to before it failed. */
static void undo_start(struct worker *w) {
    if (w->policy)
        w->ops->destroy(w->policy);
    registry_deinit(&w->registry);
    poller_close(&w->poller);
}

/* Everything but the thread. */
static int prepare(struct worker *w) {
    w->listener.fd = w->poller.epoll_fd = -1;
    list_init(&w->conns);
    list_init(&w->dead);
    list_init(&w->ended);
    list_init(&w->ready);
    list_init(&w->pool);
    list_init(&w->taps);
    tap_watch(w);
    wheel_timer_init(&w->listener_pause, NULL);
    wheel_timer_init(&w->drain_timer, drain_over);
    struct hash_seed seed;
    int rc = hash_seed_init(&seed);
    if (rc)
        return rc;
    w->random[0] = seed.k0;
    w->random[1] = seed.k1 | 1; /* never all zero */
    read_clock(w);
    wheel_init(&w->wheel, w->now_ms);
    rc = poller_init(&w->poller);
    rc = rc ? rc : registry_init(&w->registry, &stream_subscriber_ops);
    if (rc)
        return rc;
    w->registry.all->hub = hub_all(w->hub);
    w->policy = w->ops->create(w, w->server->policy_context);
    return w->policy ? 0 : -ENOMEM;
}

int worker_thread(uv_thread_t *thread, void (*body)(void *argument), void *argument) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = uv_thread_create(thread, body, argument);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

int worker_start(struct worker *w) {
    int rc = prepare(w);
    if (rc) {
        undo_start(w);
        return rc;
    }
    rc = worker_thread(&w->thread, run, w);
    if (rc)
        undo_start(w);
    return rc;
}

void worker_join(struct worker *w) {
    uv_thread_join(&w->thread);
    registry_deinit(&w->registry);
    while (!list_empty(&w->pool)) {
        struct exchange *x = list_entry(w->pool.next, struct exchange, pool);
        list_unlink(&x->pool);
        w->pool_count = WORKER_POOL; /* full: it is freed for good */
        exchange_free(x);
    }
    coder_free(w->coder);
    free(w->sources);
    buf_deinit(&w->head);
    buf_deinit(&w->scrape.text);
    free(w->inbox.items);
    poller_close(&w->poller); /* others may have woken it to its end */
    free(w);
}
