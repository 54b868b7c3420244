/* SPDX-License-Identifier: MIT */
#include "publisher.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"

enum { HEAD_MAX = 1024 };

static uint64_t wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int publisher_init(struct publisher *p, const struct target *target, size_t index, size_t max_bytes) {
    *p = (struct publisher){.fd = -1, .target = target, .room = HEAD_MAX + max_bytes + FEED_SLACK};
    p->request = malloc(p->room);
    if (!p->request)
        return -ENOMEM;
    struct target node = *target;
    if (target->publish_port)
        node.port = target->publish_port;
    p->fd = target_connect(&node, index, 0);
    return p->fd < 0 ? p->fd : 0;
}

void publisher_deinit(struct publisher *p) {
    free(p->request);
    p->request = NULL;
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

int publisher_send(struct publisher *p, struct payload *payload, size_t bytes, struct published *published) {
    char head[HEAD_MAX];
    const struct target *t = p->target;
    if (bytes + FEED_SLACK > p->room - HEAD_MAX)
        return -EMSGSIZE;
    /* The data stays where it is from one message to the next; the head ends where it begins. */
    char *data = p->request + HEAD_MAX;
    payload->sent_ns = now_ns();
    if (p->feed)
        bytes = feed_write(p->feed, payload, wall_ms(), bytes, data);
    int n = snprintf(head, sizeof head, "POST /publish?channel=c%u HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n",
                     payload->channel, t->port, bytes);
    if (t->token_count)
        n += snprintf(head + n, sizeof head - (size_t)n, "Authorization: Bearer %.500s\r\n", t->tokens[0]);
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
    if (!p->feed && p->bytes != bytes) {
        payload_fill(data, bytes);
        p->bytes = bytes;
    }
    memcpy(data - n, head, (size_t)n);
    p->waiting = true;
    p->answer_len = 0;
    if (!p->feed)
        payload_stamp(data, payload);
    if (published)
        *published = (struct published){data, bytes};
    return target_send(p->fd, data - n, (size_t)n + bytes);
}

/* Returns 1 when the answer is whole, 0 while it is not. */
static int parse_answer(const struct publisher *p) {
    const char *end = strstr(p->answer, "\r\n\r\n");
    if (!end)
        return 0;
    if (p->answer_len < 12 || strncmp(p->answer, "HTTP/1.", 7) != 0 || p->answer[9] != '2')
        return -EPROTO;
    const char *field = strcasestr(p->answer, "\r\nContent-Length:");
    if (!field || field > end)
        return -EPROTO;
    size_t body = (size_t)strtoul(field + 17, NULL, 10);
    return p->answer_len >= (size_t)(end + 4 - p->answer) + body;
}

int publisher_poll(struct publisher *p) {
    ssize_t n = recv(p->fd, p->answer + p->answer_len, sizeof p->answer - 1 - p->answer_len, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -ECONNRESET;
    p->answer_len += (size_t)n;
    p->answer[p->answer_len] = '\0';
    int rc = parse_answer(p);
    if (rc)
        p->waiting = false;
    else if (p->answer_len == sizeof p->answer - 1)
        return -EPROTO;
    return rc;
}
