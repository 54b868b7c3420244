/* SPDX-License-Identifier: MIT */
#include "conn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exchange.h"
#include "server.h"
#include "stream.h"
#include "stream_gzip.h"
#include "worker.h"

enum {
    CONN_IOV = 64,
    CONN_PIPELINE_BYTES = 64 * 1024, /* unsent answers at which no further request is read */
    CONN_LINGER_MS = 1000,
    CONN_TAKE_BYTES = 64 * 1024,     /* of an answer that a client must take in limits.idle_timeout */
    CONN_DISCARD_BYTES = 64 * 1024   /* what a stream's client may send after its request */
};

/* --- deadlines ---------------------------------------------------------------------------------- */

void conn_set_deadline(struct conn *c, uint64_t due_ms) {
    c->deadline_ms = due_ms;
    if (due_ms && (!wheel_armed(&c->timer) || c->timer.due_ms > due_ms))
        wheel_set(&c->worker->wheel, &c->timer, due_ms);
}

/* Where a connection is with its request. */
static enum conn_timing timing_of(const struct conn *c) {
    if (!c->exchange || !http_request_started(&c->exchange->request))
        return TIMING_IDLE;
    return http_request_head_done(&c->exchange->request) ? TIMING_BODY : TIMING_HEAD;
}

/* Sets the time for what comes next, see limits.header_timeout and limits.idle_timeout. What drips in later does not extend it. One over limits.connections may not rest on
 * a place that others wait for. */
static void set_read_deadline(struct conn *c, enum conn_timing timing) {
    const struct config *config = c->worker->config;
    bool brief = timing == TIMING_HEAD || (timing == TIMING_IDLE && c->extra && config->header_timeout_ms < config->idle_timeout_ms);
    c->timing = (uint8_t)timing;
    c->unsent = c->out.bytes;
    conn_set_deadline(c, worker_now(c->worker) + (brief ? config->header_timeout_ms : config->idle_timeout_ms));
}

/* A client that takes its answer slowly, but takes it. */
static bool takes_answer(struct conn *c) {
    if (outq_empty(&c->out) || c->unsent < c->out.bytes + CONN_TAKE_BYTES)
        return false;
    c->unsent = c->out.bytes;
    conn_set_deadline(c, worker_now(c->worker) + c->worker->config->idle_timeout_ms);
    return true;
}

/* Its time is over. A client that leaves bytes in the queue leaves the system's full, too. */
static void give_up(struct conn *c) {
    if (outq_empty(&c->out))
        conn_close(c);
    else
        conn_reset(c);
}

static void fail_request(struct conn *c, int status, const char *text);

static void on_deadline(struct conn *c, uint64_t now_ms) {
    switch (c->state) {
    case CONN_STREAM:
        stream_on_timer(c->stream, now_ms);
        return;
    case CONN_OPEN:
        if (c->exchange && c->exchange->handling)
            return;
        if (timing_of(c) != TIMING_IDLE)
            fail_request(c, 408, "the request took too long to arrive");
        else if (!takes_answer(c))
            give_up(c);
        return;
    default:
        if (!takes_answer(c))
            give_up(c);
    }
}

static void on_timer(struct wheel_timer *timer, uint64_t now_ms) {
    struct conn *c = list_entry(timer, struct conn, timer);
    if (c->state == CONN_DEAD || c->deadline_ms == 0)
        return;
    if (now_ms < c->deadline_ms)
        wheel_set(&c->worker->wheel, &c->timer, c->deadline_ms);
    else
        on_deadline(c, now_ms);
}

/* --- interest ----------------------------------------------------------------------------------- */

static bool wants_input(const struct conn *c) {
    if (c->saw_eof)
        return false;
    if (c->state == CONN_OPEN)
        return !c->no_more_requests && (!c->exchange || !c->exchange->handling) && c->backlog.len == 0 &&
               c->out.bytes < CONN_PIPELINE_BYTES;
    return true;
}

/* A stream that has not begun is not read yet, but a client that ends its sending side ends it all the same. */
static bool awaits_stream(const struct conn *c) {
    return c->state == CONN_OPEN && c->exchange && c->exchange->stream && !c->saw_eof;
}

static void update_interest(struct conn *c) {
    if (c->state == CONN_DEAD)
        return;
    uint32_t events = wants_input(c) ? EPOLLIN | EPOLLRDHUP : 0;
    if (awaits_stream(c))
        events |= EPOLLRDHUP;
    if (!outq_empty(&c->out))
        events |= EPOLLOUT;
    if (poller_want(&c->worker->poller, &c->io, events) != 0)
        conn_close(c); /* it would never hear of its socket again */
}

void conn_make_ready(struct conn *c) {
    if (list_empty(&c->ready))
        list_append(&c->worker->ready, &c->ready);
}

/* --- closing ------------------------------------------------------------------------------------ */

void conn_reset(struct conn *c) {
    struct linger nothing = {.l_onoff = 1, .l_linger = 0};
    if (c->state != CONN_DEAD)
        setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &nothing, sizeof nothing);
    conn_close(c);
}

void conn_close(struct conn *c) {
    if (c->state == CONN_DEAD)
        return;
    struct worker *w = c->worker;
    c->state = CONN_DEAD;
    poller_remove(&w->poller, &c->io); /* closing alone would not do while a child that the host has just forked still has the descriptor */
    close(c->io.fd);
    c->io.fd = -1;
    wheel_cancel(&c->timer);
    list_unlink(&c->ready);
    list_unlink(&c->node);
    list_append(&w->dead, &c->node);
    if (c->stream)
        stream_detach(c->stream);
    else if (c->exchange && c->exchange->stream)
        c->exchange->stream->conn = NULL; /* one that was not begun, and now cannot be */
}

void conn_free(struct conn *c) {
    struct worker *w = c->worker;
    if (c->exchange)
        exchange_abandon(c->exchange);
    metrics_add(&w->metrics, queue_bytes, -c->out.bytes);
    outq_clear(&c->out);
    buf_deinit(&c->backlog);
    list_unlink(&c->node);
    w->conn_count--;
    metrics_add(&w->metrics, connections_open, -1);
    atomic_fetch_sub(&w->server->connections, 1);
    free(c);
}

/* Everything is sent: tells the client so, and reads on for a moment, or a reset would take the answer from it. */
static void linger(struct conn *c) {
    if (c->saw_eof || shutdown(c->io.fd, SHUT_WR) != 0) {
        conn_close(c);
        return;
    }
    conn_set_deadline(c, worker_now(c->worker) + CONN_LINGER_MS);
    update_interest(c);
}

void conn_finish(struct conn *c) {
    if (c->state == CONN_DEAD || c->state == CONN_LINGER)
        return;
    c->state = CONN_LINGER;
    if (outq_empty(&c->out)) {
        linger(c);
        return;
    }
    c->unsent = c->out.bytes;
    conn_set_deadline(c, worker_now(c->worker) + c->worker->config->idle_timeout_ms);
    update_interest(c);
}

/* The system says that the connection is no more. */
static void lost(struct conn *c, int code) {
    if (code == ETIMEDOUT && c->stream)
        stream_close(c->stream, STREAM_STALE); /* TCP_USER_TIMEOUT has come before our own look */
    else
        conn_close(c);
}

bool conn_is_extra(struct conn *c) {
    if (c->extra && atomic_load(&c->worker->server->connections) <= c->worker->config->max_connections)
        c->extra = false; /* others have left meanwhile */
    return c->extra;
}

/* --- writing ------------------------------------------------------------------------------------ */

/* Sends what it can. Returns the number of bytes, or -1 after closing the connection. */
static ssize_t send_some(struct conn *c, struct iovec *iov, int count) {
    ssize_t n;
    do {
        if (count == 1) {
            n = send(c->io.fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else {
            struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
            n = sendmsg(c->io.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        metrics_add(&c->worker->metrics, bytes_sent, n);
        return n;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
        return 0;
    lost(c, errno);
    return -1;
}

static void queued(struct conn *c, size_t before) {
    metrics_add(&c->worker->metrics, queue_bytes, c->out.bytes - before);
    update_interest(c);
}

void conn_send(struct conn *c, struct slice head, struct slice body) {
    if (c->state == CONN_DEAD)
        return;
    size_t sent = 0;
    if (outq_empty(&c->out)) {
        struct iovec iov[2] = {{(void *)(uintptr_t)head.ptr, head.len}, {(void *)(uintptr_t)body.ptr, body.len}};
        ssize_t n = send_some(c, iov, body.len ? 2 : 1);
        if (n < 0)
            return;
        sent = (size_t)n;
    }
    size_t before = c->out.bytes;
    struct slice parts[2] = {head, body};
    for (int i = 0; i < 2; i++) {
        if (sent >= parts[i].len) {
            sent -= parts[i].len;
            continue;
        }
        struct message *m = message_new_private(slice_make(parts[i].ptr + sent, parts[i].len - sent), false);
        int rc = m ? outq_push(&c->out, m, message_wire(m, false), false, false) : -ENOMEM;
        if (m)
            message_release(m);
        if (rc) {
            conn_close(c);
            return;
        }
        sent = 0;
    }
    if (!outq_empty(&c->out))
        queued(c, before);
}

/* Notes that segments went out. */
static void count_sent(struct conn *c, const struct segment *segments, size_t count) {
    if (count == 0)
        return;
    if (segments->coded)
        stream_gzip_count(c->stream, segments, count);
    if (segments[count - 1].message->id.ms)
        c->out.sent = segments[count - 1].message->id;
}

/* Queues what is left of a segment of which `into` bytes were sent. */
static bool queue_segment(struct conn *c, struct segment *segment, size_t into, bool counted) {
    if (segment->chained && into == 0 && !stream_gzip_unchain(c->stream, segment))
        return false;
    struct slice rest = slice_make(segment->bytes.ptr + into, segment->bytes.len - into);
    return outq_push(&c->out, segment->chained ? segment->coded : segment->message, rest, into > 0, counted) == 0;
}

bool conn_send_segments(struct conn *c, struct segment *segments, size_t count, bool counted) {
    size_t i = 0, into = 0;
    while (outq_empty(&c->out) && i < count) {
        struct iovec iov[CONN_IOV];
        int n = 0;
        for (size_t j = i; j < count && n < CONN_IOV; j++)
            iov[n++] = (struct iovec){(void *)(uintptr_t)segments[j].bytes.ptr, segments[j].bytes.len};
        ssize_t sent = send_some(c, iov, n);
        if (sent < 0)
            return false;
        size_t left = (size_t)sent;
        while (i < count && left >= segments[i].bytes.len)
            left -= segments[i++].bytes.len;
        if (n == 0 || i == count)
            break;
        into = left;
        if (n < CONN_IOV || left > 0)
            break; /* the socket is full */
    }
    count_sent(c, segments, i);
    if (i == count)
        return true;
    size_t before = c->out.bytes;
    for (; i < count; i++, into = 0) {
        if (!queue_segment(c, &segments[i], into, counted)) {
            conn_close(c);
            return false;
        }
    }
    queued(c, before);
    return c->state != CONN_DEAD;
}

/* The queue has run empty. */
static void drained(struct conn *c) {
    switch (c->state) {
    case CONN_LINGER:
        linger(c);
        return;
    case CONN_STREAM:
        stream_resume(c->stream);
        break;
    default:
        if (c->backlog.len)
            conn_make_ready(c);
    }
    update_interest(c);
}

static void flush(struct conn *c) {
    while (!outq_empty(&c->out)) {
        if (outq_gap_unwritten(&c->out) && !stream_write_gap(c->stream))
            return;
        struct iovec iov[CONN_IOV];
        int n = outq_iov(&c->out, iov, CONN_IOV);
        size_t asked = 0;
        for (int i = 0; i < n; i++)
            asked += iov[i].iov_len;
        ssize_t sent = send_some(c, iov, n);
        if (sent < 0)
            return;
        outq_advance(&c->out, (size_t)sent, c->stream ? stream_gzip_sum(c->stream) : NULL);
        metrics_add(&c->worker->metrics, queue_bytes, -sent);
        if (sent > 0 && c->stream)
            c->stream->sent_ms = worker_now(c->worker);
        if ((size_t)sent < asked)
            return;
    }
    drained(c);
}

/* --- requests ----------------------------------------------------------------------------------- */

static void take_request(struct conn *c) {
    struct worker *w = c->worker;
    struct exchange *x = c->exchange;
    x->handling = true;
    x->began_ms = worker_now(w);
    exchange_take_id(x);
    w->exchanges++;
    metrics_add(&w->metrics, requests, 1);
    if (!x->request.keep_alive)
        c->no_more_requests = true;
    conn_set_deadline(c, 0);
    w->ops->request(w->policy, x);
}

/* An answer to what cannot be a request. Nothing further is read as one. Where it is known what was asked, the policy gives the answer, with the fields that it wants on all. */
static void fail_request(struct conn *c, int status, const char *text) {
    struct exchange *x = c->exchange;
    x->request.keep_alive = false;
    if (http_request_head_done(&x->request) && status < 500) {
        buf_clear(&x->request.body);
        x->refused = status;
        x->refused_text = text;
        take_request(c);
        return;
    }
    c->no_more_requests = true;
    metrics_add(&c->worker->metrics, requests, 1);
    exchange_fail(x, status, text);
}

static bool may_read_request(const struct conn *c) {
    return c->state == CONN_OPEN && !c->no_more_requests && (!c->exchange || !c->exchange->handling) &&
           c->out.bytes < CONN_PIPELINE_BYTES;
}

/* Reads as many requests as are there and may be answered now; the rest is kept. */
static void read_requests(struct conn *c, const char *data, size_t len) {
    static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";
    while (len > 0 && may_read_request(c)) {
        if (!c->exchange)
            c->exchange = exchange_new(c->worker, c);
        if (!c->exchange) {
            conn_close(c);
            return;
        }
        size_t used = 0;
        struct http_request *request = &c->exchange->request;
        enum http_result result = http_request_feed(request, data, len, &used);
        data += used;
        len -= used;
        if (result == HTTP_CONTINUE)
            conn_send(c, slice_make(CONTINUE, sizeof CONTINUE - 1), slice_make(NULL, 0));
        else if (result == HTTP_DONE)
            take_request(c);
        else if (result == HTTP_FAILED)
            fail_request(c, request->status, request->reason);
    }
    if (len > 0 && c->state == CONN_OPEN && !c->no_more_requests && buf_append(&c->backlog, data, len) != 0)
        conn_close(c);
    if (c->state == CONN_OPEN && (!c->exchange || !c->exchange->handling)) {
        enum conn_timing timing = timing_of(c);
        if (c->deadline_ms == 0 || c->timing != timing)
            set_read_deadline(c, timing);
    }
    if (c->state != CONN_DEAD)
        update_interest(c);
}

void conn_next(struct conn *c) {
    c->exchange = NULL;
    c->timing = TIMING_IDLE;
    c->deadline_ms = 0;
    if (c->state != CONN_OPEN)
        return;
    if (c->no_more_requests || (c->saw_eof && c->backlog.len == 0)) {
        conn_finish(c);
        return;
    }
    set_read_deadline(c, TIMING_IDLE);
    if (c->backlog.len)
        conn_make_ready(c);
    update_interest(c);
}

void conn_resume(struct conn *c) {
    if (c->state == CONN_STREAM) {
        stream_resume(c->stream);
        return;
    }
    if (c->backlog.len == 0 || !may_read_request(c))
        return;
    size_t len;
    char *data = buf_take(&c->backlog, &len);
    read_requests(c, data, len);
    free(data);
    if (c->state == CONN_OPEN && c->saw_eof && c->backlog.len == 0 && (!c->exchange || !c->exchange->handling))
        conn_finish(c);
}

void conn_begin_stream(struct conn *c) {
    c->state = CONN_STREAM;
    buf_deinit(&c->backlog);
    if (c->saw_eof)
        stream_close(c->stream, STREAM_LEFT);
    else
        update_interest(c);
}

/* --- reading ------------------------------------------------------------------------------------ */

static void on_eof(struct conn *c) {
    c->saw_eof = true;
    if (c->state == CONN_STREAM)
        stream_close(c->stream, STREAM_LEFT);
    else if (c->state == CONN_LINGER && outq_empty(&c->out))
        conn_close(c);
    else if (c->state == CONN_OPEN && (!c->exchange || !c->exchange->handling) && c->backlog.len == 0)
        conn_finish(c);
    else
        update_interest(c);
}

static void on_input(struct conn *c, const char *data, size_t len) {
    if (c->state == CONN_OPEN) {
        read_requests(c, data, len);
    } else if (c->state == CONN_STREAM) {
        c->discarded += (uint32_t)len;
        if (c->discarded > CONN_DISCARD_BYTES)
            stream_close(c->stream, STREAM_ABUSE);
    }
}

static void on_ready(struct io *io, uint32_t events) {
    struct conn *c = list_entry(io, struct conn, io);
    if (events & EPOLLERR) {
        int code = 0;
        socklen_t len = sizeof code;
        getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &code, &len);
        lost(c, code);
        return;
    }
    if (events & (EPOLLIN | EPOLLRDHUP) && wants_input(c)) {
        ssize_t n = recv(c->io.fd, c->worker->scratch, WORKER_SCRATCH, MSG_DONTWAIT);
        if (n > 0)
            on_input(c, c->worker->scratch, (size_t)n);
        else if (n == 0)
            on_eof(c);
        else if (errno != EAGAIN && errno != EINTR)
            lost(c, errno);
    } else if (events & EPOLLHUP || (events & EPOLLRDHUP && awaits_stream(c))) {
        conn_close(c);
        return;
    }
    if (events & EPOLLOUT && c->state != CONN_DEAD)
        flush(c);
}

int conn_open(struct worker *w, int fd, const struct address *peer, bool extra) {
    struct conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return -ENOMEM;
    }
    c->worker = w;
    c->io = (struct io){.fd = fd, .ready = on_ready};
    c->peer = *peer;
    c->extra = extra;
    c->state = CONN_OPEN;
    list_init(&c->node);
    list_init(&c->ready);
    wheel_timer_init(&c->timer, on_timer);
    int rc = poller_add(&w->poller, &c->io, EPOLLIN | EPOLLRDHUP);
    if (rc) {
        close(fd);
        free(c);
        return rc;
    }
    list_append(&w->conns, &c->node);
    w->conn_count++;
    metrics_add(&w->metrics, connections_open, 1);
    metrics_add(&w->metrics, connections_accepted, 1);
    atomic_fetch_add(&w->server->connections, 1);
    set_read_deadline(c, TIMING_IDLE);
    return 0;
}
