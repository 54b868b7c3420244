/* SPDX-License-Identifier: MIT */
/* A worker's set of sockets: one epoll set inside one uv_poll handle, so that a connection costs its descriptor and no libuv handle. Level
 * triggered. Belongs to one loop. */
#ifndef SLUICE_POLLER_H
#define SLUICE_POLLER_H

#include <stdint.h>
#include <sys/epoll.h>
#include <uv.h>

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
    uv_poll_t handle;
    int epoll_fd;
};

/* Returns 0 or a negative error. */
int poller_init(struct poller *p, uv_loop_t *loop);

/* Closes the handle; the descriptor goes at once. The loop must run once more. */
void poller_close(struct poller *p);

/* Adds a socket. Returns 0 or a negative error. */
int poller_add(struct poller *p, struct io *io, uint32_t events);

/* Changes what is asked for; nothing where it is the same. Returns 0, or a negative error with nothing changed. */
int poller_want(struct poller *p, struct io *io, uint32_t events);

/* Takes the socket out; it is still open. */
void poller_remove(struct poller *p, struct io *io);

#endif
