/* SPDX-License-Identifier: MIT */
#include "poller.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "list.h"

static void on_alarm(struct io *io, uint32_t events) {
    struct poller *p = list_entry(io, struct poller, alarm);
    uint64_t count;
    (void)events;
    if (read(io->fd, &count, sizeof count) < 0)
        return; /* nobody has raised it */
    atomic_exchange(&p->awake, false); /* after reading: who comes from here on raises it again, who came before is seen in this turn */
}

int poller_init(struct poller *p) {
    *p = (struct poller){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .alarm = {.fd = -1, .ready = on_alarm}};
    if (p->epoll_fd < 0)
        return -errno;
    p->alarm.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = p->alarm.fd < 0 ? -errno : poller_add(p, &p->alarm, EPOLLIN);
    if (rc)
        poller_close(p);
    return rc;
}

void poller_close(struct poller *p) {
    if (p->epoll_fd < 0)
        return;
    if (p->alarm.fd >= 0)
        close(p->alarm.fd);
    close(p->epoll_fd);
    p->epoll_fd = p->alarm.fd = -1;
}

void poller_wait(struct poller *p, int timeout_ms) {
    p->ready = epoll_wait(p->epoll_fd, p->events, POLLER_BATCH, timeout_ms);
}

void poller_dispatch(struct poller *p) {
    for (int i = 0; i < p->ready; i++) {
        struct io *io = p->events[i].data.ptr;
        if (io->fd >= 0) /* an earlier callback of this batch may have closed it */
            io->ready(io, p->events[i].events);
    }
}

void poller_wake(struct poller *p) {
    uint64_t one = 1;
    if (atomic_exchange(&p->awake, true))
        return;
    while (write(p->alarm.fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
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
