/* SPDX-License-Identifier: MIT */
#include "poller.h"

#include <errno.h>
#include <unistd.h>

enum { POLLER_BATCH = 128 };

static void on_ready(uv_poll_t *handle, int status, int uv_events) {
    struct poller *p = handle->data;
    struct epoll_event events[POLLER_BATCH];
    (void)uv_events;
    if (status < 0)
        return;
    int n = epoll_wait(p->epoll_fd, events, POLLER_BATCH, 0);
    for (int i = 0; i < n; i++) {
        struct io *io = events[i].data.ptr;
        if (io->fd >= 0) /* an earlier callback of this batch may have closed it */
            io->ready(io, events[i].events);
    }
}

int poller_init(struct poller *p, uv_loop_t *loop) {
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->epoll_fd < 0)
        return -errno;
    int rc = uv_poll_init(loop, &p->handle, p->epoll_fd);
    if (rc) {
        close(p->epoll_fd);
        p->epoll_fd = -1;
        return rc;
    }
    p->handle.data = p;
    return uv_poll_start(&p->handle, UV_READABLE, on_ready);
}

void poller_close(struct poller *p) {
    uv_poll_stop(&p->handle);
    uv_close((uv_handle_t *)&p->handle, NULL);
    close(p->epoll_fd);
}

static int control(struct poller *p, int op, struct io *io) {
    struct epoll_event event = {.events = io->events, .data.ptr = io};
    return epoll_ctl(p->epoll_fd, op, io->fd, &event) < 0 ? -errno : 0;
}

int poller_add(struct poller *p, struct io *io, uint32_t events) {
    io->events = events;
    return control(p, EPOLL_CTL_ADD, io);
}

int poller_want(struct poller *p, struct io *io, uint32_t events) {
    uint32_t before = io->events;
    if (before == events)
        return 0;
    io->events = events;
    int rc = control(p, EPOLL_CTL_MOD, io);
    if (rc)
        io->events = before;
    return rc;
}

void poller_remove(struct poller *p, struct io *io) {
    control(p, EPOLL_CTL_DEL, io);
}
