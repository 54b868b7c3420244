/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

enum { TOKEN_BYTES = 512, FIRST_ADDRESS = 0x7f010001 /* 127.1.0.1 */ };

/* --- tokens ------------------------------------------------------------------------------------- */

/* Base64url without padding. Returns the length. */
static size_t encode(char *out, const unsigned char *data, size_t len) {
    size_t n = (size_t)EVP_EncodeBlock((unsigned char *)out, data, (int)len);
    while (n > 0 && out[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++) {
        if (out[i] == '+')
            out[i] = '-';
        else if (out[i] == '/')
            out[i] = '_';
    }
    out[n] = '\0';
    return n;
}

static char *make_token(const char *key, size_t number) {
    static const char HEADER[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    char payload[160];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int mac_len = 0;
    char *token = malloc(TOKEN_BYTES);
    if (!token)
        return NULL;
    int len = snprintf(payload, sizeof payload, "{\"sub\":\"user-%zu\",\"exp\":4102444800,\"sluice\":{\"subscribe\":[\"c*\"],\"publish\":[\"c*\"]}}",
                       number);
    size_t n = encode(token, (const unsigned char *)HEADER, sizeof HEADER - 1);
    token[n++] = '.';
    n += encode(token + n, (const unsigned char *)payload, (size_t)len);
    HMAC(EVP_sha256(), key, (int)strlen(key), (const unsigned char *)token, n, mac, &mac_len);
    token[n++] = '.';
    encode(token + n, mac, mac_len);
    return token;
}

int target_make_tokens(struct target *t, const char *key, size_t count) {
    t->tokens = calloc(count, sizeof *t->tokens);
    if (!t->tokens)
        return -ENOMEM;
    t->token_count = count;
    for (size_t i = 0; i < count; i++) {
        t->tokens[i] = make_token(key, i);
        if (!t->tokens[i])
            return -ENOMEM;
    }
    return 0;
}

void target_deinit(struct target *t) {
    for (size_t i = 0; i < t->token_count; i++)
        free(t->tokens[i]);
    free(t->tokens);
    t->tokens = NULL;
    t->token_count = 0;
}

/* --- connections -------------------------------------------------------------------------------- */

int target_connect(const struct target *t, size_t index, int receive_buffer) {
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(FIRST_ADDRESS + (uint32_t)(index % t->addresses))};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(t->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* The port is chosen when the other end is known: each address then has all ports for each server. */
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        (receive_buffer > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer) != 0) ||
        bind(fd, (const struct sockaddr *)&from, sizeof from) != 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

size_t target_stream_request(const struct target *t, size_t index, uint32_t channel, const char *last_id,
                             char out[TARGET_REQUEST_BYTES]) {
    int n = snprintf(out, TARGET_REQUEST_BYTES, "GET /events?channel=c%u HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept: text/event-stream\r\n",
                     channel, t->port);
    if (t->token_count)
        n += snprintf(out + n, TARGET_REQUEST_BYTES - (size_t)n, "Authorization: Bearer %s\r\n", t->tokens[index % t->token_count]);
    if (t->header)
        n += snprintf(out + n, TARGET_REQUEST_BYTES - (size_t)n, "%.500s\r\n", t->header);
    if (last_id)
        n += snprintf(out + n, TARGET_REQUEST_BYTES - (size_t)n, "Last-Event-ID: %.100s\r\n", last_id);
    n += snprintf(out + n, TARGET_REQUEST_BYTES - (size_t)n, "\r\n");
    return (size_t)n;
}

int target_wait(const struct target *t, int epoll_fd, struct epoll_event *events, int max, int timeout_ms) {
    if (!t->spin)
        return epoll_wait(epoll_fd, events, max, timeout_ms);
    uint64_t end = now_ns() + (uint64_t)timeout_ms * 1000000;
    int n;
    do {
        n = epoll_wait(epoll_fd, events, max, 0);
    } while (n == 0 && now_ns() < end);
    return n;
}

int target_send(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}
