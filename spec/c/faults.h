/* SPDX-License-Identifier: MIT */
/* Put before every file of the core by the preset `faults`: its allocations and its system calls on sockets can be made to fail, one by one, from
 * outside. Other libraries keep the real ones, since some of them end the process when they fail. See faults.c for how it is told what to do. */
#ifndef SLUICE_FAULTS_H
#define SLUICE_FAULTS_H

#include <malloc.h> /* before its names mean something else */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Allocations of pool.c are Lua's: there are many more of them, and other places that have to survive their failure. */
#ifndef FAULTS_KIND
#define FAULTS_KIND FAULT_MALLOC
#endif

enum fault_kind { FAULT_MALLOC, FAULT_LUA, FAULT_ACCEPT, FAULT_SEND, FAULT_RECV, FAULT_EPOLL_CTL, FAULT_EPOLL_WAIT, FAULT_KINDS };

void *faults_malloc(enum fault_kind kind, size_t size);
void *faults_calloc(enum fault_kind kind, size_t count, size_t size);
void *faults_realloc(enum fault_kind kind, void *old, size_t size);
char *faults_strdup(enum fault_kind kind, const char *text);
char *faults_strndup(enum fault_kind kind, const char *text, size_t len);
int faults_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags);
ssize_t faults_send(int fd, const void *data, size_t len, int flags);
ssize_t faults_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t faults_recv(int fd, void *data, size_t len, int flags);
int faults_epoll_ctl(int fd, int op, int of, struct epoll_event *event);
int faults_epoll_wait(int fd, struct epoll_event *events, int max, int timeout);

#ifndef FAULTS_IMPLEMENTATION
#undef strdup
#undef strndup
#define malloc(size) faults_malloc(FAULTS_KIND, size)
#define calloc(count, size) faults_calloc(FAULTS_KIND, count, size)
#define realloc(old, size) faults_realloc(FAULTS_KIND, old, size)
#define strdup(text) faults_strdup(FAULTS_KIND, text)
#define strndup(text, len) faults_strndup(FAULTS_KIND, text, len)
#define accept4(fd, address, len, flags) faults_accept4(fd, address, len, flags)
#define send(fd, data, len, flags) faults_send(fd, data, len, flags)
#define sendmsg(fd, message, flags) faults_sendmsg(fd, message, flags)
#define recv(fd, data, len, flags) faults_recv(fd, data, len, flags)
#define epoll_ctl(fd, op, of, event) faults_epoll_ctl(fd, op, of, event)
#define epoll_wait(fd, events, max, timeout) faults_epoll_wait(fd, events, max, timeout)
#endif

#endif
