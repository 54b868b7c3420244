/* SPDX-License-Identifier: MIT */
/* A client that makes more load than a Lua client can: one epoll loop, thousands of connections, from many addresses of 127/8. It checks what it
 * gets. Results go to standard output, a line of JSON each.
 *
 *     load hold PORT COUNT                                   connections that send nothing, until the server has closed all
 *     load churn PORT CONNECTIONS MESSAGES CHANNELS STREAMS  so many streams at a time come and go while messages are published
 *     load latency PORT SECONDS RATE HEALTHY STUCK CHANNEL   how long messages take to healthy clients beside stuck ones
 *
 * The data of a message is "<channel> <number> <time in ns> <filling>"; numbers of a channel rise by one, so what is lost or repeated is seen. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    SOURCES = 100,
    LINE = 512,        /* the longest line that is looked at; the rest of a longer one is skipped */
    ID = 48,
    PUBLISHERS = 4,
    WINDOW = 32,       /* publishes of one connection that are not answered yet */
    STUCK_BUFFER = 4096,
    PATIENCE_MS = 2000 /* a stream that got nothing for so long is closed too */
};

enum kind { STREAM, STUCK, PUBLISHER, SILENT };

struct client {
    enum kind kind;
    int fd;
    unsigned channel;
    uint64_t opened_ms;
    /* streams */
    unsigned wanted;    /* messages after which it leaves */
    uint64_t last;      /* number of the last message, 0: none yet */
    bool in_gap;        /* a gap was said: the next number may be any */
    bool is_gap;        /* the event being read is one */
    bool skip;          /* the rest of a line that is too long */
    bool leaving;       /* has ended its sending side */
    char id[ID], last_id[ID];
    char line[LINE];
    size_t len;
    /* publishers */
    unsigned unanswered;
    char *out;
    size_t out_len, out_sent, out_cap;
    size_t body_left;
};

static struct {
    int epoll;
    uint16_t port;
    uint64_t random;
    unsigned sources;
    uint64_t opened, open, published, answered, received, lost, repeated, gaps, refused, reopened;
    uint64_t *numbers; /* of the channels' last messages */
    unsigned channels;
    const char *channel; /* its name where there is only one */
    uint32_t *latencies; /* microseconds */
    size_t latency_count, latency_cap;
} all;

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ms(void) {
    return now_ns() / 1000000;
}

static uint64_t random_below(uint64_t limit) {
    all.random ^= all.random << 13;
    all.random ^= all.random >> 7;
    all.random ^= all.random << 17;
    return all.random % limit;
}

/* --- connections -------------------------------------------------------------------------------- */

static void watch(struct client *c, uint32_t events, int how) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(all.epoll, how, c->fd, &event) != 0)
        die("epoll_ctl");
}

/* Connections come from many addresses in turn, so that ports which wait (TIME_WAIT) never run out; not from too many, for a server may remember each. Connecting to loopback does
 * not block. */
static void dial(struct client *c) {
    int one = 1, buffer = STUCK_BUFFER;
    unsigned n = all.sources++;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001u + (1 + n % SOURCES))};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(all.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->kind == STUCK)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0)
        die("bind");
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    c->opened_ms = now_ms();
    watch(c, c->kind == STUCK ? EPOLLRDHUP : EPOLLIN | EPOLLRDHUP, EPOLL_CTL_ADD);
    all.opened++;
    all.open++;
}

static void hang_up(struct client *c, bool reset) {
    struct linger linger = {1, 0};
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(c->fd);
    c->fd = -1;
    all.open--;
}

static const char *channel_name(unsigned channel, char out[32]) {
    if (all.channel)
        return all.channel;
    snprintf(out, 32, "soak.%u", channel);
    return out;
}

static void open_stream(struct client *c) {
    char request[256], name[32];
    int n = snprintf(request, sizeof request, "GET /events?channel=%s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n%s%s%s\r\n",
                     channel_name(c->channel, name), c->last_id[0] ? "Last-Event-ID: " : "", c->last_id, c->last_id[0] ? "\r\n" : "");
    c->len = 0;
    c->skip = c->is_gap = c->in_gap = c->leaving = false;
    c->id[0] = '\0';
    dial(c);
    if (send(c->fd, request, (size_t)n, MSG_NOSIGNAL) != n)
        die("send");
}

/* --- streams ------------------------------------------------------------------------------------ */

static void record_latency(uint64_t published_ns) {
    if (all.latency_count == all.latency_cap) {
        all.latency_cap = all.latency_cap ? all.latency_cap * 2 : 1 << 16;
        all.latencies = realloc(all.latencies, all.latency_cap * sizeof *all.latencies);
        if (!all.latencies)
            die("realloc");
    }
    all.latencies[all.latency_count++] = (uint32_t)((now_ns() - published_ns) / 1000);
}

static void take_data(struct client *c, const char *data) {
    char expected[32], name[LINE];
    uint64_t number, published_ns;
    if (c->is_gap) {
        all.gaps++;
        c->in_gap = true;
        return;
    }
    if (data[0] == '{')
        return; /* sluice.open */
    if (sscanf(data, "%511s %" SCNu64 " %" SCNu64, name, &number, &published_ns) != 3 || strcmp(name, channel_name(c->channel, expected)) != 0) {
        fprintf(stderr, "load: not what was published: %s\n", data);
        exit(1);
    }
    all.received++;
    if (all.channel)
        record_latency(published_ns);
    if (c->last && number <= c->last)
        all.repeated++;
    else if (c->last && number > c->last + 1 && !c->in_gap)
        all.lost += number - c->last - 1;
    c->in_gap = false;
    c->last = number;
    c->wanted -= c->wanted > 0;
}

/* Everything but the fields of events is skipped: the head, chunk sizes, comments. */
static void take_line(struct client *c) {
    char *line = c->line;
    line[c->len] = '\0';
    if (c->len && line[c->len - 1] == '\r')
        line[--c->len] = '\0';
    if (c->len == 0)
        c->is_gap = false;
    else if (strncmp(line, "HTTP/1.1 ", 9) == 0 && strncmp(line + 9, "200 ", 4) != 0)
        all.refused++;
    else if (strncmp(line, "id: ", 4) == 0)
        snprintf(c->last_id, sizeof c->last_id, "%.47s", line + 4);
    else if (strncmp(line, "event: ", 7) == 0)
        c->is_gap = strcmp(line + 7, "sluice.gap") == 0;
    else if (strncmp(line, "data: ", 6) == 0)
        take_data(c, line + 6);
}

static void take_bytes(struct client *c, const char *at, size_t len) {
    while (len > 0) {
        const char *end = memchr(at, '\n', len);
        size_t n = end ? (size_t)(end - at) : len;
        size_t room = LINE - 1 - c->len, part = n < room ? n : room;
        memcpy(c->line + c->len, at, part);
        c->len += part;
        if (!end)
            return;
        take_line(c);
        c->len = 0;
        at = end + 1;
        len -= n + 1;
    }
}

/* Returns false at the end of the connection. */
static bool read_stream(struct client *c) {
    char bytes[65536];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0)
        take_bytes(c, bytes, (size_t)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* --- publishing --------------------------------------------------------------------------------- */

static void flush_publisher(struct client *c) {
    while (c->out_sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            die("publish");
        if (n <= 0)
            break;
        c->out_sent += (size_t)n;
    }
    bool done = c->out_sent == c->out_len;
    if (done)
        c->out_sent = c->out_len = 0;
    watch(c, EPOLLIN | (done ? 0 : EPOLLOUT), EPOLL_CTL_MOD);
}

static void publish(struct client *c, unsigned channel, size_t filling) {
    char body[LINE], name[32];
    const char *channel_text = channel_name(channel, name);
    int body_len = snprintf(body, sizeof body, "%s %" PRIu64 " %" PRIu64 " ", channel_text, ++all.numbers[channel], now_ns());
    if (c->out_len + 512 + filling > c->out_cap) {
        c->out_cap = c->out_cap * 2 + 1024 + filling;
        c->out = realloc(c->out, c->out_cap);
        if (!c->out)
            die("realloc");
    }
    c->out_len += (size_t)sprintf(c->out + c->out_len, "POST /publish?channel=%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
                                  channel_text, (size_t)body_len + filling, body);
    memset(c->out + c->out_len, 'x', filling);
    c->out_len += filling;
    c->unanswered++;
    all.published++;
}

/* Counts the answers: a status line, a sized body. */
static void read_answers(struct client *c) {
    char bytes[65536];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("publisher's connection");
    for (ssize_t i = 0; i < n; i++) {
        if (c->body_left) {
            c->body_left--;
            continue;
        }
        if (bytes[i] != '\n') {
            if (c->len < LINE - 1)
                c->line[c->len++] = bytes[i];
            continue;
        }
        c->line[c->len] = '\0';
        if (strncmp(c->line, "HTTP/1.1 ", 9) == 0 && strncmp(c->line + 9, "200 ", 4) != 0) {
            fprintf(stderr, "load: publish: %s\n", c->line);
            exit(1);
        }
        if (strncasecmp(c->line, "Content-Length: ", 16) == 0)
            c->unanswered--, all.answered++, c->wanted = (unsigned)atoi(c->line + 16);
        else if (c->len <= 1)
            c->body_left = c->wanted;
        c->len = 0;
    }
}

static struct client *make_clients(size_t count, enum kind kind) {
    struct client *clients = calloc(count ? count : 1, sizeof *clients);
    if (!clients)
        die("calloc");
    for (size_t i = 0; i < count; i++)
        clients[i].kind = kind;
    return clients;
}

/* --- hold --------------------------------------------------------------------------------------- */

static int hold(size_t count) {
    struct client *clients = make_clients(count, SILENT);
    for (size_t i = 0; i < count; i++)
        dial(&clients[i]);
    printf("{\"open\":%" PRIu64 "}\n", all.open);
    while (all.open > 0) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(all.epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++)
            hang_up(events[i].data.ptr, false);
    }
    printf("{\"open\":0}\n");
    return 0;
}

/* --- churn -------------------------------------------------------------------------------------- */

/* Leaves in one of three ways, and comes back: every other time to the same channel, with its last id. */
static void next_stream(struct client *c) {
    if (random_below(2)) {
        c->channel = (unsigned)random_below(all.channels);
        c->last = 0;
        c->last_id[0] = '\0';
    }
    c->wanted = 1 + (unsigned)random_below(4);
    open_stream(c);
}

static void leave(struct client *c) {
    uint64_t way = random_below(3);
    if (way == 0 && shutdown(c->fd, SHUT_WR) == 0) {
        c->leaving = true; /* goes on reading up to the end */
        return;
    }
    hang_up(c, way == 1);
    next_stream(c);
}

static void report(const char *what, uint64_t done) {
    printf("{\"%s\":%" PRIu64 ",\"connections\":%" PRIu64 ",\"published\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRIu64
           ",\"repeated\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"refused\":%" PRIu64 "}\n",
           what, done, all.opened, all.published, all.received, all.lost, all.repeated, all.gaps, all.refused);
}

static int churn(uint64_t connections, uint64_t messages, unsigned channels, size_t streams) {
    all.channels = channels;
    all.numbers = calloc(channels, sizeof *all.numbers);
    struct client *clients = make_clients(streams, STREAM), *publishers = make_clients(PUBLISHERS, PUBLISHER);
    if (!all.numbers)
        die("calloc");
    for (size_t i = 0; i < PUBLISHERS; i++)
        dial(&publishers[i]);
    for (size_t i = 0; i < streams; i++) {
        clients[i].channel = (unsigned)random_below(channels);
        clients[i].wanted = 1;
        open_stream(&clients[i]);
    }
    uint64_t tenth = 1, looked_ms = now_ms();
    unsigned round = 0;
    while (all.opened < connections || all.published < messages) {
        /* Half of the messages go to channels that somebody listens to, half to all in turn; a channel's always by the same connection, or they would change places. */
        for (unsigned tries = 0; tries < PUBLISHERS * WINDOW; tries++) {
            unsigned channel = tries % 2 ? clients[random_below(streams)].channel : round++ % channels;
            struct client *p = &publishers[channel % PUBLISHERS];
            if (p->unanswered < WINDOW)
                publish(p, channel, random_below(300));
        }
        for (size_t i = 0; i < PUBLISHERS; i++)
            flush_publisher(&publishers[i]);
        struct epoll_event events[EVENTS];
        int n = epoll_wait(all.epoll, events, EVENTS, 10);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (c->kind == PUBLISHER) {
                read_answers(c);
            } else if (!read_stream(c)) {
                hang_up(c, false);
                next_stream(c);
            } else if (c->wanted == 0 && !c->leaving) {
                leave(c);
            }
        }
        if (now_ms() - looked_ms > PATIENCE_MS / 4) {
            looked_ms = now_ms();
            for (size_t i = 0; i < streams; i++) {
                if (looked_ms - clients[i].opened_ms > PATIENCE_MS && !clients[i].leaving)
                    leave(&clients[i]);
            }
        }
        while (tenth <= 10 && all.opened * 10 >= tenth * connections && all.published * 10 >= tenth * messages)
            report("tenth", tenth++);
    }
    report("done", 1);
    return 0;
}

/* --- latency ------------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t percentile(unsigned thousandths) {
    return all.latency_count ? all.latencies[(all.latency_count - 1) * thousandths / 1000] : 0;
}

static int latency(uint64_t seconds, uint64_t rate, size_t healthy, size_t stuck) {
    static uint64_t number;
    enum { FILLING = 1000, WARM_UP_MS = 300, REST_MS = 1000 };
    all.numbers = &number;
    struct client *clients = make_clients(healthy, STREAM), *dead = make_clients(stuck, STUCK), *publisher = make_clients(1, PUBLISHER);
    dial(publisher);
    for (size_t i = 0; i < healthy; i++)
        open_stream(&clients[i]);
    for (size_t i = 0; i < stuck; i++)
        open_stream(&dead[i]);
    uint64_t begin = now_ns() + WARM_UP_MS * 1000000ull, end = begin + seconds * 1000000000u, next = begin;
    while (now_ns() < end + REST_MS * 1000000ull && (now_ns() < end || all.received < all.published * healthy)) {
        uint64_t now = now_ns();
        for (; next <= now && next < end; next += 1000000000u / rate)
            publish(publisher, 0, FILLING);
        flush_publisher(publisher);
        struct epoll_event events[EVENTS];
        int n = epoll_wait(all.epoll, events, EVENTS, 1);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (c->kind == PUBLISHER) {
                read_answers(c);
            } else if (c->kind == STUCK) {
                hang_up(c, true);
                c->last_id[0] = '\0';
                open_stream(c);
                all.reopened++;
            } else if (!read_stream(c)) {
                fprintf(stderr, "load: a healthy stream was ended\n");
                exit(1);
            }
        }
    }
    qsort(all.latencies, all.latency_count, sizeof *all.latencies, compare);
    printf("{\"healthy\":%zu,\"stuck\":%zu,\"messages\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"repeated\":%" PRIu64
           ",\"cut_off\":%" PRIu64 ",\"p50_us\":%u,\"p99_us\":%u,\"worst_us\":%u}\n",
           healthy, stuck, all.published, all.received, all.lost + (all.published * healthy - all.received), all.repeated, all.reopened,
           percentile(500), percentile(990), percentile(1000));
    return 0;
}

int main(int argc, char **argv) {
    uint64_t numbers[6] = {0};
    for (int i = 2; i < argc && i < 8; i++)
        numbers[i - 2] = strtoull(argv[i], NULL, 10);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    all.port = (uint16_t)numbers[0];
    all.random = now_ns() | 1;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    all.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (all.epoll < 0)
        die("epoll_create1");
    if (argc == 4 && strcmp(argv[1], "hold") == 0)
        return hold(numbers[1]);
    if (argc == 7 && strcmp(argv[1], "churn") == 0)
        return churn(numbers[1], numbers[2], (unsigned)numbers[3], numbers[4]);
    if (argc == 8 && strcmp(argv[1], "latency") == 0) {
        all.channel = argv[7];
        return latency(numbers[1], numbers[2], numbers[3], numbers[4]);
    }
    fprintf(stderr, "usage: load hold PORT COUNT | churn PORT CONNECTIONS MESSAGES CHANNELS STREAMS | latency PORT SECONDS RATE HEALTHY STUCK CHANNEL\n");
    return 2;
}
