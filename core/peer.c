/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

int peer_progress(int fd, struct peer_progress *out) {
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    *out = (struct peer_progress){0};
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return -errno;
    out->acked = (uint32_t)info.tcpi_bytes_acked;
    out->awaited = info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0;
    return 0;
}
