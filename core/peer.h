/* SPDX-License-Identifier: MIT */
/* What the system knows about the other end of a TCP connection. A file of its own, since the header that has all of struct tcp_info cannot stand beside the one that libuv includes. */
#ifndef SLUICE_PEER_H
#define SLUICE_PEER_H

#include <stdbool.h>
#include <stdint.h>

struct peer_progress {
    uint32_t acked; /* bytes it has acknowledged so far, modulo 2^32 */
    bool awaited;   /* bytes were given to the system that it has not acknowledged */
};

/* Returns 0, or a negative error with `*out` zero. One system call. */
int peer_progress(int fd, struct peer_progress *out);

#endif
