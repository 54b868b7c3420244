/* SPDX-License-Identifier: MIT */
/* The floor: the least that a server of event streams can do, to compare others with. A bare epoll loop that frames each message
 * once and does one send of those bytes per subscriber, then looks for input again. It writes exactly what Sluice writes, chunks
 * and ids included, keeps the newest messages of a channel for those that come back, and answers a publish before it sends.
 * It trusts its clients: no limits, no checks, two kinds of request, each in few reads. For the benchmark on loopback only.
 *
 * usage: floor            prints "floor: listening on http://127.0.0.1:PORT"
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CHANNELS = 1 << 14,
    KEPT = 2048, /* frames of a channel, a power of two */
    REQUEST_BYTES = 2 << 20,
    BATCH = 64,
    BACKLOG = 4096,
};

/* A message as it goes over the wire. */
struct frame {
    uint64_t ms, n; /* its id */
    size_t len;
    char bytes[];
};

struct conn {
    int fd;
    bool blocked;          /* waits for EPOLLOUT */
    struct channel *channel; /* NULL while it makes requests */
    struct conn *next, *prev;
    uint64_t position;     /* number of the next frame it gets */
    size_t sent;           /* of that one */
    char *held;            /* the part of a request that has come */
    size_t held_len;
};

struct channel {
    struct conn *subscribers;
    uint64_t count;        /* of them */
    uint64_t written;      /* frames so far; frame i lies at i % KEPT */
    struct frame *frames[KEPT];
};

struct floor_server {
    int epoll_fd;
    struct conn *listener;
    struct channel *channels[CHANNELS];
    char *request;         /* what is read into */
    uint64_t ms, n;        /* the newest id */
};

static void die(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *need(void *memory) {
    if (!memory)
        die("memory");
    return memory;
}

static struct channel *channel_at(struct floor_server *f, unsigned number) {
    struct channel **at = &f->channels[number % CHANNELS];
    if (!*at)
        *at = need(calloc(1, sizeof **at));
    return *at;
}

/* --- connections -------------------------------------------------------------------------------- */

static void want(struct floor_server *f, struct conn *c, int op, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(f->epoll_fd, op, c->fd, &event) != 0)
        die("epoll_ctl");
}

static void conn_close(struct conn *c) {
    if (c->channel) {
        if (c->next)
            c->next->prev = c->prev;
        if (c->prev)
            c->prev->next = c->next;
        else
            c->channel->subscribers = c->next;
        c->channel->count--;
    }
    close(c->fd);
    free(c->held);
    free(c);
}

static void accept_all(struct floor_server *f) {
    for (int i = 0; i < BATCH; i++) {
        int fd = accept4(f->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct conn *c = need(calloc(1, sizeof *c));
        c->fd = fd;
        want(f, c, EPOLL_CTL_ADD, EPOLLIN | EPOLLRDHUP);
    }
}

/* --- messages ----------------------------------------------------------------------------------- */

/* Sends what a subscriber has not got, a message a call. */
static void deliver(struct floor_server *f, struct conn *c) {
    struct channel *ch = c->channel;
    while (c->position < ch->written) {
        const struct frame *frame = ch->frames[c->position % KEPT];
        if (ch->written - c->position > KEPT) {
            shutdown(c->fd, SHUT_RDWR); /* too slow; the loop sees it end */
            return;
        }
        ssize_t n = send(c->fd, frame->bytes + c->sent, frame->len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return; /* the loop sees it end */
        if (n > 0)
            c->sent += (size_t)n;
        if (c->sent < frame->len) {
            if (!c->blocked)
                want(f, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP | EPOLLOUT);
            c->blocked = true;
            return;
        }
        c->sent = 0;
        c->position++;
    }
    if (c->blocked)
        want(f, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP);
    c->blocked = false;
}

static void next_id(struct floor_server *f) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    if (ms > f->ms) {
        f->ms = ms;
        f->n = 0;
    } else {
        f->n++;
    }
}

static void publish(struct floor_server *f, struct conn *c, unsigned number, const char *data, size_t len) {
    char head[128], answer[256], body[128];
    struct channel *ch = channel_at(f, number);
    next_id(f);
    int head_len = snprintf(head, sizeof head, "id: %llu-%llu\ndata: ", (unsigned long long)f->ms, (unsigned long long)f->n);
    size_t event = (size_t)head_len + len + 2;
    struct frame *frame = need(malloc(sizeof *frame + event + 32));
    char *at = frame->bytes + sprintf(frame->bytes, "%zx\r\n%s", event, head);
    memcpy(at, data, len);
    memcpy(at + len, "\n\n\r\n", 4);
    frame->len = (size_t)(at + len + 4 - frame->bytes);
    frame->ms = f->ms;
    frame->n = f->n;
    struct frame **slot = &ch->frames[ch->written++ % KEPT];
    free(*slot);
    *slot = frame;
    int body_len = snprintf(body, sizeof body, "{\"id\":\"%llu-%llu\",\"subscribers\":%llu}", (unsigned long long)f->ms,
                            (unsigned long long)f->n, (unsigned long long)ch->count);
    int n = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", body_len, body);
    if (send(c->fd, answer, (size_t)n, MSG_NOSIGNAL) != n)
        return; /* the publisher has gone: the loop sees it end */
    for (struct conn *s = ch->subscribers; s; s = s->next) {
        if (s->blocked)
            continue; /* EPOLLOUT goes on */
        __builtin_prefetch(s->next);
        deliver(f, s);
    }
}

/* --- streams ------------------------------------------------------------------------------------ */

/* The number of the first kept frame after an id. */
static uint64_t position_after(const struct channel *ch, const char *id) {
    unsigned long long ms, n;
    uint64_t first = ch->written > KEPT ? ch->written - KEPT : 0;
    if (sscanf(id, "%llu-%llu", &ms, &n) != 2)
        return ch->written;
    for (; first < ch->written; first++) {
        const struct frame *frame = ch->frames[first % KEPT];
        if (frame->ms > ms || (frame->ms == ms && frame->n > n))
            break;
    }
    return first;
}

static void subscribe(struct floor_server *f, struct conn *c, unsigned number, const char *head) {
    char block[160], answer[512];
    const char *id = strcasestr(head, "\r\nLast-Event-ID: ");
    struct channel *ch = channel_at(f, number);
    int len = snprintf(block, sizeof block, "retry: 2000\nid: %llu-%llu\nevent: sluice.open\ndata: {\"stream\":\"%016llx\"}\n\n",
                       (unsigned long long)f->ms, (unsigned long long)f->n, (unsigned long long)(uintptr_t)c);
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\n"
                     "X-Accel-Buffering: no\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n",
                     (unsigned)len, block);
    c->channel = ch;
    c->position = id ? position_after(ch, id + 17) : ch->written;
    c->next = ch->subscribers;
    if (c->next)
        c->next->prev = c;
    ch->subscribers = c;
    ch->count++;
    if (send(c->fd, answer, (size_t)n, MSG_NOSIGNAL) == n)
        deliver(f, c);
}

/* --- requests ----------------------------------------------------------------------------------- */

/* Serves a request where it is whole; returns whether it was. Nobody sends the next one before the answer. */
static bool serve(struct floor_server *f, struct conn *c, const char *data, size_t len) {
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end)
        return false;
    const char *name = memmem(data, (size_t)(end - data), "channel=c", 9);
    unsigned number = name ? (unsigned)strtoul(name + 9, NULL, 10) : 0;
    size_t head = (size_t)(end + 4 - data);
    if (data[0] == 'G') {
        subscribe(f, c, number, data);
        return true;
    }
    const char *field = memmem(data, head, "Content-Length: ", 16);
    size_t body = field ? (size_t)strtoul(field + 16, NULL, 10) : 0;
    if (len < head + body)
        return false;
    publish(f, c, number, end + 4, body);
    return true;
}

static void read_request(struct floor_server *f, struct conn *c) {
    size_t len = c->held_len;
    if (len)
        memcpy(f->request, c->held, len);
    ssize_t n = recv(c->fd, f->request + len, REQUEST_BYTES - len, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        conn_close(c);
        return;
    }
    len += (size_t)n;
    f->request[len] = '\0';
    c->held_len = 0;
    if (serve(f, c, f->request, len))
        return;
    c->held = need(realloc(c->held, len));
    memcpy(c->held, f->request, len);
    c->held_len = len;
}

static void on_event(struct floor_server *f, struct conn *c, uint32_t events) {
    if (c == f->listener) {
        accept_all(f);
    } else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        conn_close(c);
    } else if (!c->channel) {
        read_request(f, c);
    } else {
        char rest[512];
        if (events & EPOLLIN && recv(c->fd, rest, sizeof rest, MSG_DONTWAIT) == 0)
            conn_close(c);
        else if (events & EPOLLOUT)
            deliver(f, c);
    }
}

/* --- the command -------------------------------------------------------------------------------- */

static void start(struct floor_server *f) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int one = 1;
    f->listener = need(calloc(1, sizeof *f->listener));
    f->listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (f->listener->fd < 0 || setsockopt(f->listener->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        bind(f->listener->fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(f->listener->fd, BACKLOG) != 0 ||
        getsockname(f->listener->fd, (struct sockaddr *)&address, &len) != 0)
        die("listen");
    f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (f->epoll_fd < 0)
        die("epoll");
    f->request = need(malloc(REQUEST_BYTES + 1));
    want(f, f->listener, EPOLL_CTL_ADD, EPOLLIN);
    printf("floor: listening on http://127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(void) {
    static struct floor_server f;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    start(&f);
    for (;;) {
        struct epoll_event events[BATCH];
        int n = epoll_wait(f.epoll_fd, events, BATCH, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++)
            on_event(&f, events[i].data.ptr, events[i].events);
    }
}
