/* SPDX-License-Identifier: MIT */
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conn.h"
#include "server.h"
#include "worker.h"

enum {
    LISTENER_BACKLOG = 4096,
    LISTENER_NOTSENT = 16 * 1024, /* what the kernel may hold unsent for one client: slow ones show early */
    ACCEPT_BATCH = 64,
    ACCEPT_PAUSE_MS = 100,
    ACCEPT_LOG_MS = 10000 /* between two lines in the log about the same trouble */
};

int listener_resolve(const char *host, unsigned port, struct listen_address *out, char error[LISTENER_ERROR_BYTES]) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char service[16];
    snprintf(service, sizeof service, "%u", port);
    int rc = getaddrinfo(host, service, &hints, &found);
    if (rc) {
        snprintf(error, LISTENER_ERROR_BYTES, "cannot listen on '%s': %s; give an address of this machine, such as 127.0.0.1", host,
                 gai_strerror(rc));
        return -EINVAL;
    }
    memcpy(&out->storage, found->ai_addr, found->ai_addrlen);
    out->len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

unsigned listener_port(const struct listen_address *address) {
    const struct sockaddr_in *v4 = (const void *)&address->storage;
    const struct sockaddr_in6 *v6 = (const void *)&address->storage;
    return ntohs(address->storage.ss_family == AF_INET6 ? v6->sin6_port : v4->sin_port);
}

static int fail(int fd, const struct listen_address *address, int code, char error[LISTENER_ERROR_BYTES]) {
    char host[NI_MAXHOST] = "?";
    getnameinfo((const struct sockaddr *)&address->storage, address->len, host, sizeof host, NULL, 0, NI_NUMERICHOST);
    const char *advice = code == EADDRINUSE      ? "another program listens there; stop it, or choose another port with --listen (port 0 takes a free one)"
                         : code == EACCES        ? "ports below 1024 need a privilege; choose another with --listen"
                         : code == EADDRNOTAVAIL ? "this machine has no such address"
                                                 : "see the system's message";
    snprintf(error, LISTENER_ERROR_BYTES, "cannot listen on %.64s port %u: %s: %s", host, listener_port(address), strerror(code), advice);
    if (fd >= 0)
        close(fd);
    return -code;
}

static int make_socket(const struct listen_address *address) {
    int one = 1;
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return fd;
}

int listener_probe(const struct listen_address *address, char error[LISTENER_ERROR_BYTES]) {
    if (listener_port(address) == 0)
        return 0;
    /* Without SO_REUSEPORT, and listening: only so does the system tell that somebody else is there, one of us too. */
    int fd = make_socket(address);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address->storage, address->len) != 0 || listen(fd, 1) != 0)
        return fail(fd, address, errno, error);
    close(fd);
    return 0;
}

int listener_open(struct listen_address *address, unsigned stale_ms, char error[LISTENER_ERROR_BYTES]) {
    int one = 1, lowat = LISTENER_NOTSENT;
    int fd = make_socket(address);
    if (fd < 0)
        return fail(fd, address, errno, error);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    /* Accepted sockets inherit these. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
    if (stale_ms)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &stale_ms, sizeof stale_ms);
    if (bind(fd, (const struct sockaddr *)&address->storage, address->len) != 0 || listen(fd, LISTENER_BACKLOG) != 0)
        return fail(fd, address, errno, error);
    address->len = sizeof address->storage;
    if (getsockname(fd, (struct sockaddr *)&address->storage, &address->len) != 0)
        return fail(fd, address, errno, error);
    return fd;
}

static void read_peer(const struct sockaddr_storage *from, struct address *peer) {
    memset(peer->ip, 0, sizeof peer->ip);
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)from;
        memcpy(peer->ip, &v6->sin6_addr, 16);
    } else {
        const struct sockaddr_in *v4 = (const void *)from;
        peer->ip[10] = peer->ip[11] = 0xff;
        memcpy(peer->ip + 12, &v4->sin_addr, 4);
    }
}

static void unpause(struct wheel_timer *timer, uint64_t now_ms) {
    struct worker *w = list_entry(timer, struct worker, listener_pause);
    (void)now_ms;
    if (w->listener.fd >= 0 && poller_want(&w->poller, &w->listener, EPOLLIN) != 0)
        wheel_set(&w->wheel, timer, worker_now(w) + ACCEPT_PAUSE_MS);
}

/* Out of descriptors or memory: what waits in the backlog keeps waiting, and the loop does not spin. */
static void pause_listener(struct worker *w, int code) {
    uint64_t now = worker_now(w);
    if (!w->pause_told_ms || now - w->pause_told_ms >= ACCEPT_LOG_MS) {
        w->pause_told_ms = now;
        log_write(w->log, LOG_WARN, "listen", "cannot accept connections: %s; trying again every %d ms (is ulimit -n too low?)", strerror(code),
                  ACCEPT_PAUSE_MS);
    }
    poller_want(&w->poller, &w->listener, 0);
    w->listener_pause.fire = unpause;
    wheel_set(&w->wheel, &w->listener_pause, now + ACCEPT_PAUSE_MS);
}

static bool is_fatal(int code) {
    return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM;
}

void listener_ready(struct io *io, unsigned events) {
    struct worker *w = list_entry(io, struct worker, listener);
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        int fd = accept4(io->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (is_fatal(errno))
                pause_listener(w, errno);
            else if (errno == EINTR || errno == ECONNABORTED)
                continue;
            return;
        }
        size_t open = atomic_load(&w->server->connections);
        if (open >= w->config->max_connections)
            server_sweep(w->server, worker_now(w));
        if (open >= w->config->max_connections + SERVER_EXTRA) {
            metrics_add(&w->metrics, connections_refused, 1);
            close(fd);
            continue;
        }
        struct address peer;
        read_peer(&from, &peer);
        if (conn_open(w, fd, &peer, open >= w->config->max_connections) != 0)
            log_write(w->log, LOG_WARN, "listen", "cannot take a connection: not enough memory");
    }
}
