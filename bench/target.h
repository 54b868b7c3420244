/* SPDX-License-Identifier: MIT */
/* The server under test as the load generator sees it: where it listens, from which addresses clients come, and what their
 * requests look like. All servers are asked in the same words: GET /events?channel=cN, POST /publish?channel=cN. */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TARGET_REQUEST_BYTES = 2048 };

struct target {
    uint16_t port;       /* on 127.0.0.1 */
    uint16_t publish_port; /* of another node, where messages are published; 0: the same */
    uint32_t addresses;  /* clients come from so many, 127.1.0.1 and on, in turn */
    const char *header;  /* a field that every stream's request carries, without CRLF; NULL: none */
    char **tokens;       /* client i carries tokens[i % token_count] */
    size_t token_count;
    bool spin;           /* look for events without a pause, see target_wait */
};

/* Makes `count` different tokens, signed with HS256: a name each, an expiry far away, and leave to subscribe to c*. Returns 0 or
 * -ENOMEM. */
int target_make_tokens(struct target *t, const char *key, size_t count);

void target_deinit(struct target *t);

/* Connects client `index` from its address; the socket is blocking. `receive_buffer` > 0 sets SO_RCVBUF. Returns it or -errno. */
int target_connect(const struct target *t, size_t index, int receive_buffer);

/* Writes the request for a stream; `last_id` may be NULL. Returns its length. */
size_t target_stream_request(const struct target *t, size_t index, uint32_t channel, const char *last_id,
                             char out[TARGET_REQUEST_BYTES]);

struct epoll_event;

/* epoll_wait that takes up no more than `timeout_ms`. With `spin` it never sleeps: a server then pays for no wake-up of the generator, which it would or would not
 * depending on how far the generator lags behind, and which no server pays whose clients are elsewhere. Needs a core of its own. Returns what epoll_wait does. */
int target_wait(const struct target *t, int epoll_fd, struct epoll_event *events, int max, int timeout_ms);

/* Sends all of it on a blocking socket. Returns 0 or -errno. */
int target_send(int fd, const char *data, size_t len);

#endif
