/* SPDX-License-Identifier: MIT */
/* Tells the service manager that started this process how it stands: the protocol of systemd's sd_notify(3), a datagram of NAME=value lines to the socket that
 * the environment names. Needs no library; says nothing where nobody asked. */
#ifndef SLUICE_NOTIFY_H
#define SLUICE_NOTIFY_H

#include <sys/socket.h>
#include <sys/un.h>

struct notify {
    struct sockaddr_un address;
    socklen_t len; /* 0: nobody asked */
};

/* Takes the socket's name from NOTIFY_SOCKET: a path, or after an "@" an abstract name. What is neither counts as unset. */
void notify_init(struct notify *n);

/* Sends the formatted lines, of at most 1023 bytes. Never waits; what cannot be sent is lost, as it would be to a manager that is gone. Safe from any thread. */
void notify_send(const struct notify *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
