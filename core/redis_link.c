/* SPDX-License-Identifier: MIT */
#include "redis_link.h"

#include <stdio.h>
#include <stdlib.h>

#include "address.h"
#include "hash.h"
#include "redis_tls.h"

enum {
    CONNECT_MS = 2000, /* for all of an attempt: name, connection, login */
    PAUSE_LEAST_MS = 100,
    PAUSE_MOST_MS = 2000,
    LATE_CHECK_MS = 1000 /* between two checks: the loop itself was held up */
};

/* hiredis' connection on the loop. Lives until its handle has closed, which may be after the context has gone. */
struct poll {
    uv_poll_t handle;
    redisAsyncContext *context; /* NULL: gone */
    struct ssl_st *session;     /* TLS, as long as the context is there; NULL: without */
    struct redis_link *link;
    int events;
};

struct redis_link {
    struct redis_link_options options;
    redisAsyncContext *context; /* NULL: not connected, nor connecting */
    bool ready, closing;
    bool resolving;
    unsigned holds; /* what still needs the memory: the timer, a name that is looked for */
    uv_getaddrinfo_t resolve;
    uv_timer_t pause;
    unsigned failures; /* in a row */
    uint64_t begun_ms;   /* the attempt */
    uint64_t asked_ms;   /* the oldest question that is not answered, or later */
    uint64_t heard_ms;   /* when something came last */
    uint64_t checked_ms;
    uint64_t random;
};

/* --- hiredis on libuv ---------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *handle, int status, int events);

static void watch(struct poll *p, int events) {
    if (events == p->events)
        return;
    p->events = events;
    if (events)
        uv_poll_start(&p->handle, events, on_poll);
    else
        uv_poll_stop(&p->handle);
}

static void add_read(void *data) {
    struct poll *p = data;
    watch(p, p->events | UV_READABLE);
}

static void remove_read(void *data) {
    struct poll *p = data;
    watch(p, p->events & ~UV_READABLE);
}

static void add_write(void *data) {
    struct poll *p = data;
    watch(p, p->events | UV_WRITABLE);
}

static void remove_write(void *data) {
    struct poll *p = data;
    watch(p, p->events & ~UV_WRITABLE);
}

/* True where TLS has to write before it can read on. */
static bool wants_write(const struct poll *p) {
    return p->context && p->session && redis_tls_wants_write(p->session);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
    struct poll *p = handle->data;
    /* An error shows when hiredis reads. */
    bool readable = status != 0 || (events & UV_READABLE);
    if (p->session)
        redis_tls_prepare();
    if (p->context && readable)
        p->link->heard_ms = uv_now(handle->loop);
    if (p->context && (readable || wants_write(p)))
        redisAsyncHandleRead(p->context);
    if (p->context && (events & UV_WRITABLE))
        redisAsyncHandleWrite(p->context);
    if (wants_write(p))
        add_write(p);
}

static void free_poll(uv_handle_t *handle) {
    free(handle->data);
}

static void clean_up(void *data) {
    struct poll *p = data;
    p->context = NULL;
    uv_close((uv_handle_t *)&p->handle, free_poll);
}

static bool attach(struct redis_link *link, redisAsyncContext *context) {
    struct poll *p = calloc(1, sizeof *p);
    if (!p || uv_poll_init(link->options.loop, &p->handle, context->c.fd) != 0) {
        free(p);
        return false;
    }
    p->handle.data = p;
    p->context = context;
    p->link = link;
    context->ev.data = p;
    context->ev.addRead = add_read;
    context->ev.delRead = remove_read;
    context->ev.addWrite = add_write;
    context->ev.delWrite = remove_write;
    context->ev.cleanup = clean_up;
    return true;
}

/* --- ending --------------------------------------------------------------------------------------- */

static void begin(struct redis_link *link);

static void on_pause(uv_timer_t *timer) {
    begin(timer->data);
}

/* A pause before the next attempt: from 100 ms to a bound that doubles with each failure, spread evenly. */
static uint64_t pause_ms(struct redis_link *link) {
    uint64_t most = (uint64_t)PAUSE_LEAST_MS << (link->failures < 8 ? link->failures : 8);
    most = most < PAUSE_MOST_MS ? most : PAUSE_MOST_MS;
    link->random = link->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return PAUSE_LEAST_MS + (link->random >> 33) % (most - PAUSE_LEAST_MS + 1);
}

/* The attempt or the connection is over. */
static void over(struct redis_link *link, const char *why) {
    if (link->closing)
        return;
    link->ready = false;
    if (link->failures < 16)
        link->failures++;
    uv_timer_start(&link->pause, on_pause, pause_ms(link), 0);
    link->options.ops.lost(link->options.ops.context, why);
}

void redis_link_fail(struct redis_link *link, const char *why) {
    redisAsyncContext *context = link->context;
    link->context = NULL;
    link->ready = false;
    if (context) {
        context->data = NULL;
        redisAsyncFree(context); /* answers what was asked with NULL */
    }
    over(link, why);
}

static void on_disconnect(const redisAsyncContext *context, int status) {
    struct redis_link *link = context->data;
    const struct poll *p = context->ev.data;
    char why[REDIS_WHY_BYTES];
    if (!link)
        return;
    link->context = NULL;
    if (!p->session || !redis_tls_why(p->session, why, sizeof why))
        snprintf(why, sizeof why, "%s", status == REDIS_OK || !context->errstr || !context->errstr[0] ? "the connection was closed" : context->errstr);
    over(link, why);
}

/* --- logging in ------------------------------------------------------------------------------------ */

bool redis_link_ask(struct redis_link *link, redisCallbackFn *answer, void *data, int argc, const char **argv, const size_t *lens) {
    if (!link->context || !link->ready)
        return false;
    if (!link->context->replies.head)
        link->asked_ms = uv_now(link->options.loop);
    return redisAsyncCommandArgv(link->context, answer, data, argc, argv, lens) == REDIS_OK;
}

/* An answer while logging in: an error ends the attempt. */
static void on_login(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct redis_link *link = context->data;
    bool last = data != NULL;
    if (!link || !reply)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        char why[REDIS_WHY_BYTES];
        snprintf(why, sizeof why, "%s", reply->str);
        redis_link_fail(link, why);
    } else if (last) {
        link->ready = true;
        link->failures = 0;
        link->options.ops.ready(link->options.ops.context);
    }
}

static void on_named(redisAsyncContext *context, void *answer, void *data) {
    (void)context, (void)answer, (void)data; /* an old server, or one that forbids it */
}

static void log_in(struct redis_link *link, redisAsyncContext *context) {
    static char last;
    const struct redis_url *url = link->options.url;
    if (url->password.len && url->user.len)
        redisAsyncCommand(context, on_login, NULL, "AUTH %b %b", url->user.data, url->user.len, url->password.data, url->password.len);
    else if (url->password.len)
        redisAsyncCommand(context, on_login, NULL, "AUTH %b", url->password.data, url->password.len);
    if (url->database)
        redisAsyncCommand(context, on_login, NULL, "SELECT %u", url->database);
    redisAsyncCommand(context, on_named, NULL, "CLIENT SETNAME %s", link->options.name);
    redisAsyncCommand(context, on_login, &last, "PING");
}

/* Begins TLS where the URL asks for it. Returns false where that fails: hiredis ends the connection. */
static bool secure(struct redis_link *link, redisAsyncContext *context) {
    struct poll *p = context->ev.data;
    if (!link->options.tls)
        return true;
    p->session = redis_tls_begin(link->options.tls, context);
    return p->session != NULL;
}

static void on_connect(const redisAsyncContext *context, int status) {
    struct redis_link *link = context->data;
    if (!link)
        return;
    if (status == REDIS_OK) {
        if (secure(link, link->context))
            log_in(link, link->context);
        return;
    }
    link->context = NULL; /* hiredis frees it */
    over(link, context->c.errstr[0] ? context->c.errstr : "cannot connect");
}

/* --- connecting ------------------------------------------------------------------------------------ */

static void connect_to(struct redis_link *link, const char *ip) {
    uv_timer_stop(&link->pause);
    redisAsyncContext *context = redisAsyncConnect(ip, (int)link->options.url->port);
    if (!context) {
        over(link, "not enough memory");
        return;
    }
    context->data = link;
    if (context->err || !attach(link, context)) {
        char why[REDIS_WHY_BYTES];
        snprintf(why, sizeof why, "%s", context->err ? context->errstr : "not enough memory");
        context->data = NULL;
        redisAsyncFree(context);
        over(link, why);
        return;
    }
    link->context = context;
    redisAsyncSetConnectCallback(context, on_connect);
    redisAsyncSetDisconnectCallback(context, on_disconnect);
}

static void let_go(struct redis_link *link) {
    if (--link->holds == 0)
        free(link);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found) {
    struct redis_link *link = request->data;
    char ip[ADDRESS_TEXT_BYTES] = "";
    link->resolving = false;
    if (status == 0) {
        /* Another one with each attempt, should the first not answer. */
        unsigned count = 0, skip;
        for (const struct addrinfo *at = found; at; at = at->ai_next)
            count++;
        skip = count ? link->failures % count : 0;
        const struct addrinfo *at = found;
        while (at && skip--)
            at = at->ai_next;
        if (at && at->ai_family == AF_INET)
            uv_ip4_name((const struct sockaddr_in *)(const void *)at->ai_addr, ip, sizeof ip);
        else if (at && at->ai_family == AF_INET6)
            uv_ip6_name((const struct sockaddr_in6 *)(const void *)at->ai_addr, ip, sizeof ip);
    }
    uv_freeaddrinfo(found);
    bool closing = link->closing;
    let_go(link);
    if (closing)
        return;
    if (ip[0]) {
        connect_to(link, ip);
        return;
    }
    char why[REDIS_WHY_BYTES];
    snprintf(why, sizeof why, "cannot resolve the name %s: %s", link->options.url->host.data, status ? uv_strerror(status) : "no address");
    over(link, why);
}

static void begin(struct redis_link *link) {
    const struct redis_url *url = link->options.url;
    struct address numeric;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    link->begun_ms = link->heard_ms = uv_now(link->options.loop);
    if (address_parse(buf_slice(&url->host), &numeric)) {
        connect_to(link, url->host.data);
        return;
    }
    if (link->resolving)
        return; /* the system still looks for it, from the attempt before */
    link->resolve.data = link;
    int rc = uv_getaddrinfo(link->options.loop, &link->resolve, on_resolved, url->host.data, NULL, &hints);
    if (rc) {
        over(link, uv_strerror(rc));
        return;
    }
    link->resolving = true;
    link->holds++;
}

/* --- life ------------------------------------------------------------------------------------------ */

struct redis_link *redis_link_new(const struct redis_link_options *options) {
    struct redis_link *link = calloc(1, sizeof *link);
    struct hash_seed seed;
    if (!link)
        return NULL;
    link->options = *options;
    link->holds = 1;
    link->random = hash_seed_init(&seed) == 0 ? seed.k0 : uv_hrtime();
    uv_timer_init(options->loop, &link->pause);
    link->pause.data = link;
    return link;
}

void redis_link_open(struct redis_link *link) {
    link->checked_ms = uv_now(link->options.loop);
    begin(link);
}

bool redis_link_ready(const struct redis_link *link) {
    return link->ready;
}

static void on_closed(uv_handle_t *handle) {
    let_go(handle->data);
}

void redis_link_close(struct redis_link *link) {
    if (!link || link->closing)
        return;
    redisAsyncContext *context = link->context;
    link->closing = true;
    link->ready = false;
    link->context = NULL;
    if (context) {
        context->data = NULL;
        redisAsyncFree(context);
    }
    if (link->resolving)
        uv_cancel((uv_req_t *)&link->resolve);
    uv_close((uv_handle_t *)&link->pause, on_closed);
}

void redis_link_flush(struct redis_link *link) {
    if (!link->ready || !link->context)
        return;
    if (link->options.tls)
        redis_tls_prepare();
    redisAsyncHandleWrite(link->context); /* may end the connection */
}

/* What is missing of an attempt that takes too long. */
static const char *missing(const redisAsyncContext *context) {
    const struct poll *p = context->ev.data;
    if (p->session && !redis_tls_done(p->session))
        return "no answer to the TLS handshake (does the server speak TLS on this port?)";
    return "no answer to the connection";
}

void redis_link_check(struct redis_link *link) {
    uint64_t now = uv_now(link->options.loop), limit = link->options.answer_ms;
    bool held_up = now - link->checked_ms > LATE_CHECK_MS;
    char why[REDIS_WHY_BYTES];
    link->checked_ms = now;
    if (held_up)
        link->heard_ms = now;
    if (link->resolving && !link->context && !uv_is_active((uv_handle_t *)&link->pause) && now - link->begun_ms > CONNECT_MS)
        over(link, "its name is not resolved yet");
    if (!link->context)
        return;
    if (!link->ready) {
        if (now - link->begun_ms > CONNECT_MS && !held_up)
            redis_link_fail(link, missing(link->context));
        return;
    }
    uint64_t since = link->heard_ms > link->asked_ms ? link->heard_ms : link->asked_ms;
    if (link->context->replies.head && now - since > limit) {
        snprintf(why, sizeof why, "no answer for %.1f s", (double)(now - since) / 1000);
        redis_link_fail(link, why);
    }
}
