/* SPDX-License-Identifier: MIT */
/* Listening sockets: bind, listen, accept. Every worker has one on the same port (SO_REUSEPORT); the options that all connections inherit are set here once. */
#ifndef SLUICE_LISTENER_H
#define SLUICE_LISTENER_H

#include <netinet/in.h>
#include <sys/socket.h>

struct worker;

struct listen_address {
    struct sockaddr_storage storage;
    socklen_t len;
};

enum { LISTENER_ERROR_BYTES = 256 };

/* Reads a host (IPv4, IPv6 or a name such as localhost) and a port. Returns 0, or -EINVAL with a sentence in `error`. */
int listener_resolve(const char *host, unsigned port, struct listen_address *out, char error[LISTENER_ERROR_BYTES]);

/* Asks whether anybody listens at the address already, another server of this kind too. Returns 0, or a negative error with a sentence. */
int listener_probe(const struct listen_address *address, char error[LISTENER_ERROR_BYTES]);

/* Makes a socket that listens. Port 0 in `address` is replaced by the one the system gave. Returns the descriptor, or a negative error with a sentence. */
int listener_open(struct listen_address *address, unsigned stale_ms, char error[LISTENER_ERROR_BYTES]);

unsigned listener_port(const struct listen_address *address);

/* The poller callback of a worker's listener: accepts a batch. Out of descriptors it pauses. */
struct io;
void listener_ready(struct io *io, unsigned events);

#endif
