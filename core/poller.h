/* SPDX-License-Identifier: MIT */
/* What a worker waits for: one epoll set of its sockets, level triggered, and a descriptor by which other threads wake it. A connection costs its descriptor and nothing here, and
 * whatever comes, one system call tells it. Belongs to one thread, save poller_wake. */
#ifndef SLUICE_POLLER_H
#define SLUICE_POLLER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

enum { POLLER_BATCH = 128 };

struct io;

/* `events` are EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLERR, EPOLLHUP. The io must not be freed inside a callback, its own or another's: free it later in the turn. */
typedef void (*io_callback)(struct io *io, uint32_t events);

/* Embedded in what owns the socket. */
struct io {
    int fd;
    uint32_t events; /* what is asked for */
    io_callback ready;
};

struct poller {
    int epoll_fd;
    struct io alarm; /* an eventfd */
    _Atomic bool awake; /* its counter is up: nobody else need raise it */
    int ready; /* events that the last wait has found */
    struct epoll_event events[POLLER_BATCH];
};

/* Returns 0 or a negative error with nothing left open. */
int poller_init(struct poller *p);

/* Closes the descriptors. Harmless where epoll_fd is -1, as after a poller_init that failed. */
void poller_close(struct poller *p);

/* Waits up to `timeout_ms` (-1: without end) until something is ready or poller_wake was called. */
void poller_wait(struct poller *p, int timeout_ms);

/* Calls back what the wait has found ready. */
void poller_dispatch(struct poller *p);

/* Makes this or the next poller_wait return at once. From any thread, until poller_close. */
void poller_wake(struct poller *p);

/* Adds a socket. Returns 0 or a negative error. */
int poller_add(struct poller *p, struct io *io, uint32_t events);

/* Changes what is asked for; nothing where it is the same. Returns 0, or a negative error with nothing changed. */
int poller_want(struct poller *p, struct io *io, uint32_t events);

/* Takes the socket out; it is still open. */
void poller_remove(struct poller *p, struct io *io);

#endif
