/* SPDX-License-Identifier: MIT */
/* What faults.h puts in the place of the system's functions. The environment variable SLUICE_FAULTS names a file that both the process and its test
 * have before their eyes, an array of `struct fault`, one a kind, of 64-bit numbers in the machine's order. SLUICE_FAULTS_TRACE has the stack of
 * each failure printed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define FAULTS_IMPLEMENTATION
#include "faults.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SHORT = -1 /* in the place of an errno: one byte goes through */, TRACE_FRAMES = 40 };

/* The call that comes when `left` is 1 fails, and the calls after it, `times` in all. */
struct fault {
    int64_t left;
    int64_t times;
    int64_t error; /* errno of the failure, or SHORT */
    int64_t calls; /* so far */
};

static struct fault unarmed[FAULT_KINDS];
static struct fault *faults = unarmed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool trace;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("SLUICE_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *shared = mmap(NULL, sizeof unarmed, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (shared != MAP_FAILED)
        faults = shared;
    trace = getenv("SLUICE_FAULTS_TRACE") != NULL;
}

static void print_trace(enum fault_kind kind) {
    void *frames[TRACE_FRAMES];
    fprintf(stderr, "fault of kind %d:\n", (int)kind);
    backtrace_symbols_fd(frames, backtrace(frames, TRACE_FRAMES), STDERR_FILENO);
}

/* 0 where the call is to succeed, else the error. */
static int failure(enum fault_kind kind) {
    struct fault *f = &faults[kind];
    int error = 0;
    pthread_mutex_lock(&lock);
    f->calls++;
    if (f->left > 1) {
        f->left--;
    } else if (f->left == 1) {
        error = (int)f->error;
        if (--f->times <= 0)
            f->left = 0;
    }
    pthread_mutex_unlock(&lock);
    if (error && trace)
        print_trace(kind);
    return error;
}

/* True where the call is to fail; errno says how. A short transfer is none. */
static bool fails(enum fault_kind kind, bool *is_short) {
    int error = failure(kind);
    *is_short = error == SHORT;
    if (error > 0)
        errno = error;
    return error > 0;
}

/* --- memory ------------------------------------------------------------------------------------- */

void *faults_malloc(enum fault_kind kind, size_t size) {
    return failure(kind) ? NULL : malloc(size);
}

void *faults_calloc(enum fault_kind kind, size_t count, size_t size) {
    return failure(kind) ? NULL : calloc(count, size);
}

void *faults_realloc(enum fault_kind kind, void *old, size_t size) {
    return failure(kind) ? NULL : realloc(old, size);
}

char *faults_strdup(enum fault_kind kind, const char *text) {
    return failure(kind) ? NULL : strdup(text);
}

char *faults_strndup(enum fault_kind kind, const char *text, size_t len) {
    return failure(kind) ? NULL : strndup(text, len);
}

/* --- sockets ------------------------------------------------------------------------------------ */

int faults_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags) {
    bool is_short;
    return fails(FAULT_ACCEPT, &is_short) ? -1 : accept4(fd, address, len, flags);
}

ssize_t faults_send(int fd, const void *data, size_t len, int flags) {
    bool is_short;
    return fails(FAULT_SEND, &is_short) ? -1 : send(fd, data, is_short && len > 1 ? 1 : len, flags);
}

ssize_t faults_sendmsg(int fd, const struct msghdr *message, int flags) {
    bool is_short;
    if (fails(FAULT_SEND, &is_short))
        return -1;
    if (is_short && message->msg_iovlen > 0 && message->msg_iov[0].iov_len > 0)
        return send(fd, message->msg_iov[0].iov_base, 1, flags);
    return sendmsg(fd, message, flags);
}

ssize_t faults_recv(int fd, void *data, size_t len, int flags) {
    bool is_short;
    return fails(FAULT_RECV, &is_short) ? -1 : recv(fd, data, is_short && len > 1 ? 1 : len, flags);
}

int faults_epoll_ctl(int fd, int op, int of, struct epoll_event *event) {
    bool is_short;
    /* Letting go never fails. */
    return op != EPOLL_CTL_DEL && fails(FAULT_EPOLL_CTL, &is_short) ? -1 : epoll_ctl(fd, op, of, event);
}

int faults_epoll_wait(int fd, struct epoll_event *events, int max, int timeout) {
    bool is_short;
    return fails(FAULT_EPOLL_WAIT, &is_short) ? -1 : epoll_wait(fd, events, is_short ? 1 : max, timeout);
}
