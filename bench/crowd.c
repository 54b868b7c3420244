/* SPDX-License-Identifier: MIT */
#include "crowd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    TURN = 32,          /* reads between two looks for the publisher's answer */
    OPENING = 128,      /* streams that wait for their head at one time */
    STALLED_MS = 10000, /* without anything coming */
    STUCK_BUFFER = 4096
};

#define PUBLISHER UINT32_MAX

static int complain(const char *what, int rc) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(-rc));
    return rc;
}

int crowd_init(struct crowd *c, const struct target *target, uint32_t channels, size_t max_bytes) {
    *c = (struct crowd){.target = target, .channels = channels, .epoll_fd = -1, .publisher.fd = -1};
    c->tally = calloc(1, sizeof *c->tally);
    c->seq = calloc(channels, sizeof *c->seq);
    if (!c->tally || !c->seq)
        return complain("start", -ENOMEM);
    c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll_fd < 0)
        return complain("epoll", -errno);
    int rc = publisher_init(&c->publisher, target, 0, max_bytes);
    if (rc)
        return complain("connect the publisher", rc);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = PUBLISHER};
    return epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->publisher.fd, &event) ? complain("epoll", -errno) : 0;
}

void crowd_close(struct crowd *c) {
    for (size_t i = 0; i < c->count; i++)
        subscriber_close(&c->subscribers[i]);
    free(c->subscribers);
    c->subscribers = NULL;
    c->count = 0;
}

void crowd_deinit(struct crowd *c) {
    crowd_close(c);
    for (size_t i = 0; i < c->stuck_count; i++)
        close(c->stuck[i]);
    free(c->stuck);
    publisher_deinit(&c->publisher);
    if (c->epoll_fd >= 0)
        close(c->epoll_fd);
    free(c->seq);
    free(c->tally);
}

/* --- the loop ----------------------------------------------------------------------------------- */

static void note_progress(struct crowd *c) {
    uint64_t progress = c->tally->received + c->tally->opened + c->tally->ended + c->number;
    if (progress != c->progress) {
        c->progress = progress;
        c->progress_ns = now_ns();
    }
}

static void begin_waiting(struct crowd *c) {
    c->progress_ns = now_ns();
}

/* Reads what is there, at most TURN streams, and the publisher's answer. Waits up to `timeout_ms` for something to come. */
static int turn(struct crowd *c, int timeout_ms) {
    struct epoll_event events[TURN];
    int n = target_wait(c->target, c->epoll_fd, events, TURN, timeout_ms);
    if (n < 0 && errno != EINTR)
        return complain("epoll", -errno);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == PUBLISHER)
            continue;
        struct subscriber *s = &c->subscribers[events[i].data.u32];
        if (s->state != SUBSCRIBER_CLOSED)
            subscriber_read(s, c->tally, (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
    }
    if (c->publisher.waiting) {
        int rc = publisher_poll(&c->publisher);
        if (rc < 0)
            return complain("publish", rc);
    }
    note_progress(c);
    if (now_ns() - c->progress_ns > STALLED_MS * UINT64_C(1000000)) {
        fprintf(stderr, "load: nothing comes any more: %u streams open, %u messages undelivered, %s\n", c->tally->opened,
                c->tally->undelivered, c->publisher.waiting ? "a publish unanswered" : "no publish under way");
        return -ETIMEDOUT;
    }
    return 0;
}

int crowd_idle(struct crowd *c, unsigned ms) {
    uint64_t end = now_ns() + ms * UINT64_C(1000000), now;
    int rc = 0;
    while (rc == 0 && (now = now_ns()) < end) {
        begin_waiting(c);
        rc = turn(c, (int)((end - now) / 1000000 + 1));
    }
    return rc;
}

/* --- streams ------------------------------------------------------------------------------------ */

static int open_one(struct crowd *c, size_t i, const char *last_id) {
    struct subscriber *s = &c->subscribers[i];
    uint32_t channel = (uint32_t)(i % c->channels);
    /* The first one tells which id the first message has. */
    s->keep_ids = i == 0 && !last_id;
    s->light = c->decode && i % c->decode != 0;
    s->id = c->id;
    s->first_id = c->first_id;
    int rc = subscriber_open(s, c->target, i, channel, last_id ? 1 : c->seq[channel], last_id);
    if (rc)
        return complain("open a stream", rc);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.u32 = (uint32_t)i};
    return epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, s->fd, &event) ? complain("epoll", -errno) : 0;
}

int crowd_open(struct crowd *c, size_t count, const char *last_id) {
    c->subscribers = calloc(count, sizeof *c->subscribers);
    if (!c->subscribers)
        return complain("open streams", -ENOMEM);
    c->count = count;
    c->tally->opened = 0;
    c->id[0] = '\0';
    if (!last_id)
        c->first_id[0] = '\0';
    begin_waiting(c);
    for (size_t i = 0; c->tally->opened < count;) {
        while (i < count && i < c->tally->opened + (size_t)OPENING) {
            int rc = open_one(c, i++, last_id);
            if (rc)
                return rc;
        }
        int rc = turn(c, 1000);
        if (rc)
            return rc;
        if (c->tally->ended || c->tally->refused) {
            fprintf(stderr, "load: a stream was refused or ended after %u were open\n", c->tally->opened);
            return -ECONNREFUSED;
        }
    }
    return 0;
}

int crowd_open_stuck(struct crowd *c, size_t count) {
    char request[TARGET_REQUEST_BYTES];
    c->stuck = calloc(count, sizeof *c->stuck);
    if (!c->stuck)
        return complain("open stuck streams", -ENOMEM);
    for (size_t i = 0; i < count; i++) {
        int fd = target_connect(c->target, i, STUCK_BUFFER);
        if (fd < 0)
            return complain("open a stuck stream", fd);
        c->stuck[c->stuck_count++] = fd;
        size_t len = target_stream_request(c->target, i, 0, NULL, request);
        int rc = target_send(fd, request, len);
        if (rc)
            return complain("open a stuck stream", rc);
    }
    return 0;
}

/* --- messages ----------------------------------------------------------------------------------- */

/* Subscriber i is on channel i % channels, so the first count % channels channels have one more. */
static uint32_t subscribers_of(const struct crowd *c, uint32_t channel) {
    return (uint32_t)(c->count / c->channels + (channel < c->count % c->channels));
}

static int send_one(struct crowd *c, size_t bytes) {
    uint32_t channel = c->channels > 1 ? (uint32_t)random() % c->channels : 0;
    struct payload payload = {.number = c->number, .seq = c->seq[channel], .channel = channel};
    tally_sent(c->tally, c->number, subscribers_of(c, channel));
    c->number++;
    c->seq[channel]++;
    struct published published;
    int rc = publisher_send(&c->publisher, &payload, bytes, &published);
    if (rc == 0 && c->tally->feed)
        tally_sent_data(c->tally, payload.number, published.data, published.len, payload.sent_ns);
    return rc ? complain("publish", rc) : 0;
}

int crowd_publish(struct crowd *c, const struct pace *pace, uint32_t *messages) {
    struct tally *t = c->tally;
    uint64_t start = now_ns(), end = start + (uint64_t)(pace->seconds * 1e9);
    uint64_t step = pace->per_second > 0 ? (uint64_t)(1e9 / pace->per_second) : 0, due = start;
    *messages = 0;
    t->bytes = pace->bytes;
    begin_waiting(c);
    for (;;) {
        uint64_t now = now_ns();
        bool more = *messages < pace->at_least || now < end;
        if (!more && t->undelivered == 0 && !c->publisher.waiting)
            return 0;
        int timeout = 1000, rc;
        if (more && !c->publisher.waiting && t->undelivered < pace->window && t->waiting[c->number % SUBSCRIBER_WINDOW] == 0) {
            if (now >= due) {
                rc = send_one(c, pace->bytes);
                if (rc)
                    return rc;
                ++*messages;
                due += step;
            } else {
                timeout = (int)((due - now) / 1000000) + 1;
            }
        }
        rc = turn(c, timeout);
        if (rc)
            return rc;
    }
}

int crowd_wait_received(struct crowd *c, uint64_t count) {
    begin_waiting(c);
    while (c->tally->received < count) {
        int rc = turn(c, 1000);
        if (rc)
            return rc;
    }
    return 0;
}
