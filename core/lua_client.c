/* SPDX-License-Identifier: MIT */
#include "lua_client.h"

#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "gunzip.h"
#include "json.h"
#include "lua_scratch.h"
#include "sse.h"
#include "utf8.h"

#define DESCRIPTOR_TYPE "sluice.client.descriptor"
#define PARSER_TYPE "sluice.client.parser"
#define GUNZIP_TYPE "sluice.client.gunzip"

enum {
    RECEIVE_BYTES = 16384,
    REQUEST_SECONDS = 30,
    /* A peer that is gone without a word is noticed after a minute, on streams that have no heartbeat too. */
    KEEPALIVE_IDLE_S = 30,
    KEEPALIVE_INTERVAL_S = 10,
    KEEPALIVE_COUNT = 3,
};

static int fail(lua_State *L, const char *message) {
    lua_pushnil(L);
    lua_pushstring(L, message);
    return 2;
}

/* --- descriptors -------------------------------------------------------------------------------- */

struct descriptor {
    int fd; /* -1: closed */
    bool connected;
    struct addrinfo *found;      /* until it is connected */
    const struct addrinfo *next; /* the address that is tried after this one */
};

static struct descriptor *push_descriptor(lua_State *L) {
    struct descriptor *d = lua_newuserdatauv(L, sizeof *d, 0);
    *d = (struct descriptor){.fd = -1};
    luaL_setmetatable(L, DESCRIPTOR_TYPE);
    return d;
}

static struct descriptor *check_descriptor(lua_State *L) {
    return luaL_checkudata(L, 1, DESCRIPTOR_TYPE);
}

static struct descriptor *check_open(lua_State *L) {
    struct descriptor *d = check_descriptor(L);
    luaL_argcheck(L, d->fd >= 0, 1, "the descriptor is closed");
    return d;
}

static void close_fd(struct descriptor *d) {
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}

static void forget_addresses(struct descriptor *d) {
    if (d->found)
        freeaddrinfo(d->found);
    d->found = NULL;
    d->next = NULL;
}

static int descriptor_close(lua_State *L) {
    struct descriptor *d = check_descriptor(L);
    close_fd(d);
    forget_addresses(d);
    return 0;
}

static int descriptor_fd(lua_State *L) {
    const struct descriptor *d = check_descriptor(L);
    if (d->fd < 0)
        return 0;
    lua_pushinteger(L, d->fd);
    return 1;
}

static int descriptor_release(lua_State *L) {
    struct descriptor *d = check_open(L);
    lua_pushinteger(L, d->fd);
    d->fd = -1;
    forget_addresses(d);
    return 1;
}

static void set_options(int fd) {
    static const struct {
        int level, name, value;
    } OPTIONS[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
    };
    for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++)
        setsockopt(fd, OPTIONS[i].level, OPTIONS[i].name, &OPTIONS[i].value, sizeof OPTIONS[i].value);
}

/* Begins to connect to the next address that lets it. Returns 0, or `code`, why the one before failed, or the last one's code. */
static int try_next(struct descriptor *d, int code) {
    close_fd(d);
    while (d->next) {
        const struct addrinfo *at = d->next;
        d->next = at->ai_next;
        d->fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at->ai_protocol);
        if (d->fd >= 0) {
            set_options(d->fd);
            if (connect(d->fd, at->ai_addr, at->ai_addrlen) == 0 || errno == EINPROGRESS)
                return 0;
        }
        code = errno;
        close_fd(d);
    }
    forget_addresses(d);
    return code;
}

/* Begins to connect to host and port at index 1 and 2. Returns NULL, or what is wrong. */
static const char *begin_connect(lua_State *L, struct descriptor *d) {
    const char *host = luaL_checkstring(L, 1);
    char service[16];
    snprintf(service, sizeof service, "%d", (int)luaL_checkinteger(L, 2));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    int rc = getaddrinfo(host, service, &hints, &d->found);
    if (rc)
        return rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc);
    d->next = d->found;
    rc = try_next(d, EHOSTUNREACH);
    return rc ? strerror(rc) : NULL;
}

/* Waits up to `ms` for the connection, and turns to the next address where it fails. Returns 0 (see `connected`), or the last one's code. */
static int go_on_connecting(struct descriptor *d, int ms) {
    struct pollfd wait = {.fd = d->fd, .events = POLLOUT};
    int code = 0;
    socklen_t size = sizeof code;
    if (!d->connected && poll(&wait, 1, ms) > 0) {
        if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0)
            code = errno;
        d->connected = code == 0;
        if (code && (code = try_next(d, code)) != 0)
            return code;
    }
    if (d->connected)
        forget_addresses(d);
    return 0;
}

static int client_connect(lua_State *L) {
    const char *problem = begin_connect(L, push_descriptor(L));
    return problem ? fail(L, problem) : 1;
}

static int descriptor_connected(lua_State *L) {
    struct descriptor *d = check_open(L);
    int code = go_on_connecting(d, 0);
    if (code)
        return fail(L, strerror(code));
    lua_pushboolean(L, d->connected);
    return 1;
}

static bool is_for_later(int code) {
    return code == EAGAIN || code == EWOULDBLOCK || code == EINTR;
}

static int descriptor_send(lua_State *L) {
    const struct descriptor *d = check_open(L);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    lua_Integer from = luaL_optinteger(L, 3, 1);
    luaL_argcheck(L, from >= 1 && (size_t)from <= len + 1, 3, "beyond the bytes");
    ssize_t n = send(d->fd, bytes + from - 1, len - (size_t)from + 1, MSG_NOSIGNAL);
    if (n < 0 && !is_for_later(errno))
        return fail(L, strerror(errno));
    lua_pushinteger(L, n < 0 ? 0 : n);
    return 1;
}

static int descriptor_receive(lua_State *L) {
    const struct descriptor *d = check_open(L);
    char bytes[RECEIVE_BYTES];
    ssize_t n = recv(d->fd, bytes, sizeof bytes, 0);
    if (n == 0)
        return 0;
    if (n > 0)
        lua_pushlstring(L, bytes, (size_t)n);
    else if (is_for_later(errno))
        lua_pushboolean(L, false);
    else
        return fail(L, strerror(errno));
    return 1;
}

/* --- waiting ------------------------------------------------------------------------------------ */

/* Rounded up, so that nobody wakes too early and turns in circles. */
static int to_milliseconds(lua_State *L, int index) {
    if (lua_isnoneornil(L, index))
        return -1;
    double ms = ceil(luaL_checknumber(L, index) * 1000);
    if (!(ms > 0))
        return 0;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

static int client_poll(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    int ms = to_milliseconds(L, 2);
    lua_Integer count = luaL_len(L, 1);
    luaL_argcheck(L, count >= 0 && count <= 1 << 20, 1, "too many descriptors");
    struct pollfd *fds = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *fds, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_geti(L, 1, i + 1);
        lua_getfield(L, -1, "fd");
        lua_getfield(L, -2, "write");
        fds[i] =
            (struct pollfd){.fd = (int)luaL_checkinteger(L, -2), .events = lua_toboolean(L, -1) ? POLLOUT : POLLIN};
        lua_pop(L, 3);
    }
    int ready = poll(fds, (nfds_t)count, ms);
    if (ready < 0 && errno != EINTR)
        return luaL_error(L, "poll: %s", strerror(errno));
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_pushboolean(L, ready > 0 && fds[i].revents != 0);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* --- a request and its answer ------------------------------------------------------------------- */

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Milliseconds until `end_s`; 0 where it is over. */
static int left_ms(double end_s) {
    double ms = ceil((end_s - seconds_of(CLOCK_MONOTONIC)) * 1000);
    return ms > 0 ? ms < INT_MAX ? (int)ms : INT_MAX : 0;
}

static int finish_connect(struct descriptor *d, double end_s) {
    int code = 0, left;
    while (!code && !d->connected)
        code = (left = left_ms(end_s)) ? go_on_connecting(d, left) : ETIMEDOUT;
    return code;
}

/* Sends the request while it reads the answer, to its end. Returns 0 or why there is none. */
static int converse(const struct descriptor *d, struct slice request, struct buf *answer, double end_s) {
    for (int left; (left = left_ms(end_s)) > 0;) {
        struct pollfd wait = {.fd = d->fd, .events = (short)(POLLIN | (request.len ? POLLOUT : 0))};
        if (poll(&wait, 1, left) <= 0)
            continue;
        if (wait.revents & POLLOUT) {
            ssize_t sent = send(d->fd, request.ptr, request.len, MSG_NOSIGNAL);
            if (sent > 0)
                request = slice_make(request.ptr + sent, request.len - (size_t)sent);
            else if (!is_for_later(errno))
                request.len = 0; /* it may have answered before it closed */
        }
        if (!(wait.revents & ~POLLOUT))
            continue;
        if (buf_reserve(answer, RECEIVE_BYTES) != 0)
            return ENOMEM;
        ssize_t n = recv(d->fd, answer->data + answer->len, RECEIVE_BYTES, 0);
        if (n > 0)
            answer->len += (size_t)n;
        else if (n == 0 || (!is_for_later(errno) && answer->len))
            return 0;
        else if (!is_for_later(errno))
            return errno;
    }
    return ETIMEDOUT;
}

static int fail_at(lua_State *L, const char *what, const char *why) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", what, why);
    return 2;
}

int lua_client_request(lua_State *L) {
    struct slice request;
    request.ptr = luaL_checklstring(L, 3, &request.len);
    double end_s = seconds_of(CLOCK_MONOTONIC) + luaL_optnumber(L, 4, REQUEST_SECONDS);
    struct descriptor *d = push_descriptor(L);
    const char *problem = begin_connect(L, d);
    if (problem)
        return fail_at(L, "cannot connect", problem);
    int code = finish_connect(d, end_s);
    if (code)
        return fail_at(L, "cannot connect", strerror(code));
    struct buf *answer = lua_scratch_push(L);
    code = converse(d, request, answer, end_s);
    close_fd(d);
    if (code)
        return fail_at(L, "no answer", strerror(code));
    lua_pushlstring(L, answer->data ? answer->data : "", answer->len);
    buf_deinit(answer); /* not to wait for the collector */
    return 1;
}

/* --- signals, clocks ---------------------------------------------------------------------------- */

static int client_signals(lua_State *L) {
    struct descriptor *d = push_descriptor(L);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    d->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (d->fd < 0)
        return luaL_error(L, "signalfd: %s", strerror(errno));
    d->connected = true;
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return 1;
}

static int client_now(lua_State *L) {
    lua_pushnumber(L, seconds_of(CLOCK_MONOTONIC));
    return 1;
}

static int client_time(lua_State *L) {
    lua_pushnumber(L, seconds_of(CLOCK_REALTIME));
    return 1;
}

static int client_terminal(lua_State *L) {
    int fd = (int)luaL_checkinteger(L, 1);
    struct winsize size = {0};
    if (!isatty(fd))
        return 0;
    ioctl(fd, TIOCGWINSZ, &size);
    lua_pushinteger(L, size.ws_col ? size.ws_col : 80);
    lua_pushinteger(L, size.ws_row ? size.ws_row : 24);
    return 2;
}

/* --- the event stream --------------------------------------------------------------------------- */

struct parser_box {
    struct sse_parser parser;
    lua_State *L; /* during a feed, with the list of events at LIST */
    lua_Integer count;
    uint64_t retry_ms;
    bool has_retry;
    bool broken; /* a feed failed, or raised in the middle */
};

enum { SELF = 1, INPUT, LIST };

/* The length of what one replacement character stands for: the longest beginning of a sequence that could have been one, or a byte. */
static size_t ill_formed(const unsigned char *p, size_t left) {
    unsigned char c = p[0];
    if (c < 0xC2 || c > 0xF4 || left < 2)
        return 1;
    unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high)
        return 1;
    size_t n = 2;
    while (n < left && n < 4 && utf8_is_tail(p[n]))
        n++;
    return n;
}

/* Event streams are decoded as UTF-8 with replacement (HTML, 9.2.6). That may be done after they are taken apart: what is replaced never has a byte
 * in it that means something to the parser. */
static void push_decoded(lua_State *L, struct slice text) {
    if (text.len == 0 || utf8_valid(text)) {
        lua_pushlstring(L, text.len ? text.ptr : "", text.len);
        return;
    }
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    const unsigned char *p = (const unsigned char *)text.ptr, *end = p + text.len;
    while (p < end) {
        size_t n = utf8_sequence(p, (size_t)(end - p));
        if (n) {
            luaL_addlstring(&b, (const char *)p, n);
        } else {
            n = ill_formed(p, (size_t)(end - p));
            luaL_addlstring(&b, "\xEF\xBF\xBD", 3);
        }
        p += n;
    }
    luaL_pushresult(&b);
}

/* May raise for want of memory, out of the parser: all of that belongs to the userdata, which takes no more input then. */
static void add_event(void *context, struct slice id, struct slice type, struct slice data) {
    struct parser_box *box = context;
    lua_State *L = box->L;
    lua_createtable(L, 0, 4);
    push_decoded(L, id);
    lua_setfield(L, -2, "id");
    push_decoded(L, type);
    lua_setfield(L, -2, "event");
    push_decoded(L, data);
    lua_setfield(L, -2, "data");
    lua_rawseti(L, LIST, ++box->count);
}

static void note_retry(void *context, uint64_t ms) {
    struct parser_box *box = context;
    box->retry_ms = ms;
    box->has_retry = true;
}

static struct parser_box *check_parser(lua_State *L) {
    return luaL_checkudata(L, SELF, PARSER_TYPE);
}

static int parser_gc(lua_State *L) {
    sse_parser_deinit(&check_parser(L)->parser);
    return 0;
}

static int client_parser(lua_State *L) {
    lua_Integer limit = luaL_checkinteger(L, 1);
    luaL_argcheck(L, limit > 0, 1, "a size");
    struct slice id = {0};
    id.ptr = luaL_optlstring(L, 2, "", &id.len);
    struct parser_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct parser_box){0};
    struct sse_events events = {.event = add_event, .retry = note_retry, .context = box};
    sse_parser_init(&box->parser, &events, (size_t)limit);
    luaL_setmetatable(L, PARSER_TYPE);
    /* The last event ID stays over a reconnection until the server sets another, as in browsers. */
    if (buf_append_slice(&box->parser.last_id, id) != 0 || buf_append_slice(&box->parser.pending_id, id) != 0)
        return luaL_error(L, "not enough memory");
    return 1;
}

static int parser_feed(lua_State *L) {
    struct parser_box *box = check_parser(L);
    struct slice input;
    input.ptr = luaL_checklstring(L, INPUT, &input.len);
    luaL_argcheck(L, !box->broken, SELF, "the parser has failed");
    lua_settop(L, INPUT);
    lua_newtable(L);
    box->L = L;
    box->count = 0;
    box->has_retry = false;
    box->broken = true;
    int rc = sse_parser_feed(&box->parser, input.ptr, input.len);
    if (rc == -EMSGSIZE)
        return fail(L, "an event is too large");
    if (rc)
        return luaL_error(L, "not enough memory");
    box->broken = false;
    if (!box->has_retry)
        return 1;
    lua_pushnumber(L, (lua_Number)box->retry_ms);
    return 2;
}

static int parser_last_id(lua_State *L) {
    push_decoded(L, buf_slice(&check_parser(L)->parser.last_id));
    return 1;
}

/* --- gzip --------------------------------------------------------------------------------------- */

static int gunzip_gc(lua_State *L) {
    struct gunzip **box = luaL_checkudata(L, 1, GUNZIP_TYPE);
    gunzip_free(*box);
    *box = NULL;
    return 0;
}

static int client_gunzip(lua_State *L) {
    struct gunzip **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, GUNZIP_TYPE);
    *box = gunzip_new();
    return *box ? 1 : luaL_error(L, "not enough memory");
}

static int gunzip_feed_method(lua_State *L) {
    struct gunzip **box = luaL_checkudata(L, 1, GUNZIP_TYPE);
    struct slice input;
    input.ptr = luaL_checklstring(L, 2, &input.len);
    luaL_argcheck(L, *box, 1, "the reader has failed");
    struct buf *out = lua_scratch_push(L);
    int rc = gunzip_feed(*box, input, out);
    if (rc) {
        gunzip_free(*box);
        *box = NULL;
        return rc == -ENOMEM ? luaL_error(L, "not enough memory") : fail(L, "the body is no gzip, or damaged");
    }
    lua_pushlstring(L, out->len ? out->data : "", out->len);
    buf_deinit(out);
    return 1;
}

/* --- the table ---------------------------------------------------------------------------------- */

static void make_type(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

void lua_client_register(lua_State *L) {
    static const luaL_Reg DESCRIPTOR[] = {{"fd", descriptor_fd},       {"connected", descriptor_connected},
                                          {"send", descriptor_send},   {"receive", descriptor_receive},
                                          {"close", descriptor_close}, {"release", descriptor_release},
                                          {NULL, NULL}};
    static const luaL_Reg PARSER[] = {{"feed", parser_feed}, {"last_id", parser_last_id}, {NULL, NULL}};
    static const luaL_Reg GUNZIP[] = {{"feed", gunzip_feed_method}, {NULL, NULL}};
    static const luaL_Reg FUNCTIONS[] = {
        {"connect", client_connect},   {"poll", client_poll},     {"signals", client_signals},
        {"now", client_now},           {"time", client_time},     {"parser", client_parser},
        {"terminal", client_terminal}, {"gunzip", client_gunzip}, {NULL, NULL}};
    make_type(L, DESCRIPTOR_TYPE, DESCRIPTOR, descriptor_close);
    make_type(L, PARSER_TYPE, PARSER, parser_gc);
    make_type(L, GUNZIP_TYPE, GUNZIP, gunzip_gc);
    luaL_newlib(L, FUNCTIONS);
}
