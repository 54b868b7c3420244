/* SPDX-License-Identifier: MIT */
#include "exchange.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "conn.h"
#include "http_text.h"
#include "ratelimit.h"
#include "server.h"
#include "stream.h"
#include "worker.h"

enum { EXCHANGE_JOINED_BYTES = 4096 }; /* a body up to here is copied behind its head */

struct exchange *exchange_new(struct worker *w, struct conn *conn) {
    struct exchange *x;
    if (!list_empty(&w->pool)) {
        x = list_entry(w->pool.next, struct exchange, pool);
        list_unlink(&x->pool);
        w->pool_count--;
    } else {
        x = calloc(1, sizeof *x);
        struct http_limits limits = {
            .header_bytes = w->config->header_bytes,
            .target_bytes = w->config->header_bytes < 8192 ? w->config->header_bytes : 8192,
            .body_bytes = w->config->body_bytes,
        };
        if (!x || http_request_init(&x->request, &limits) != 0) {
            free(x);
            return NULL;
        }
        list_init(&x->pool);
    }
    x->conn = conn;
    x->worker = w;
    x->handling = x->answered = x->has_user = false;
    x->expires = INFINITY;
    x->stream = NULL;
    x->task = NULL;
    x->holds = NULL;
    x->refused = 0;
    x->vouched = 0;
    buf_clear(&x->fields);
    buf_clear(&x->user);
    x->began_ms = 0;
    u64_hex(x->id, worker_random(w));
    return x;
}

static bool is_id_char(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("-_.:/+=@", c));
}

void exchange_take_id(struct exchange *x) {
    struct slice id;
    if (!http_request_field(&x->request, "X-Request-Id", &id) || id.len == 0 || id.len >= EXCHANGE_ID_BYTES)
        return;
    for (size_t i = 0; i < id.len; i++) {
        if (!is_id_char(id.ptr[i]))
            return;
    }
    memcpy(x->id, id.ptr, id.len);
    x->id[id.len] = '\0';
}

void exchange_free(struct exchange *x) {
    struct worker *w = x->worker;
    if (x->handling)
        w->exchanges--;
    ratelimit_hold_clear(&x->holds, w->server->limits);
    if (w->pool_count < WORKER_POOL) {
        http_request_reset(&x->request);
        list_append(&w->pool, &x->pool);
        w->pool_count++;
        return;
    }
    http_request_deinit(&x->request);
    buf_deinit(&x->fields);
    buf_deinit(&x->user);
    free(x);
}

bool exchange_field_reserved(struct slice name) {
    static const struct slice RESERVED[] = {{"Content-Length", 14}, {"Transfer-Encoding", 17}, {"Connection", 10}, {"Date", 4},
                                            {"Keep-Alive", 10},     {"Upgrade", 7},            {"Trailer", 7},     {"X-Request-Id", 12}};
    for (size_t i = 0; i < sizeof RESERVED / sizeof *RESERVED; i++) {
        if (name.len == RESERVED[i].len && slice_equal_nocase(name, RESERVED[i]))
            return true;
    }
    return false;
}

static bool list_holds(struct slice list, struct slice wanted) {
    struct slice element;
    while (http_list_next(&list, ',', &element)) {
        if (slice_equal_nocase(element, wanted))
            return true;
    }
    return false;
}

/* Finds the value of a field that was added; false where there is none. */
static bool find_field(const struct exchange *x, struct slice name, struct slice *value) {
    struct slice rest = buf_slice(&x->fields);
    while (rest.len) {
        size_t len = (size_t)((const char *)memchr(rest.ptr, '\r', rest.len) - rest.ptr);
        if (len > name.len && rest.ptr[name.len] == ':' && slice_equal_nocase(slice_make(rest.ptr, name.len), name)) {
            *value = http_trim(slice_make(rest.ptr + name.len + 1, len - name.len - 1));
            return true;
        }
        rest = slice_make(rest.ptr + len + 2, rest.len - len - 2);
    }
    return false;
}

/* Adds to the list that a field has as its value, which lies in x->fields, what it does not hold yet. */
static int extend_field(struct exchange *x, struct slice value, struct slice more) {
    struct buf fields = {0};
    struct slice element;
    const char *end = value.ptr + value.len;
    int rc = buf_append(&fields, x->fields.data, (size_t)(end - x->fields.data));
    while (http_list_next(&more, ',', &element)) {
        if (element.len == 0 || list_holds(value, element))
            continue;
        rc = rc ? rc : buf_append(&fields, ", ", 2);
        rc = rc ? rc : buf_append_slice(&fields, element);
    }
    rc = rc ? rc : buf_append(&fields, end, (size_t)(x->fields.data + x->fields.len - end));
    if (rc) {
        buf_deinit(&fields);
        return rc;
    }
    buf_deinit(&x->fields);
    x->fields = fields;
    return 0;
}

int exchange_add_field(struct exchange *x, struct slice name, struct slice value) {
    if (x->answered)
        return -EALREADY;
    if (exchange_field_reserved(name))
        return -EINVAL;
    struct slice present;
    if (slice_equal_nocase(name, slice_of("Vary")) && http_field_value_valid(value) && find_field(x, name, &present))
        return extend_field(x, present, value);
    return http_response_field(&x->fields, name, value);
}

struct address exchange_client(const struct exchange *x) {
    const struct config *config = x->worker->config;
    struct address client = x->conn->peer;
    struct buf forwarded = {0};
    if (address_in_ranges(&client, config->proxies, config->proxy_count) &&
        http_request_field_join(&x->request, "X-Forwarded-For", &forwarded) == 0)
        client = address_of_client(&client, buf_slice(&forwarded), config->proxies, config->proxy_count);
    buf_deinit(&forwarded);
    return client;
}

void exchange_address(const struct exchange *x, char out[46]) {
    struct address client = exchange_client(x);
    address_format(&client, out);
}

/* Lets go of the stream that the answer was not, and of the exchange; the connection goes on with the next request. */
static void finish(struct exchange *x) {
    struct conn *c = x->conn;
    if (x->stream) {
        x->stream->exchange = NULL;
        stream_free(x->stream);
        x->stream = NULL;
    }
    conn_next(c);
    exchange_free(x);
}

static int write_head(struct exchange *x, struct buf *out, int status, struct slice fields, size_t length) {
    struct http_request *request = &x->request;
    int rc = http_response_begin(out, status, worker_date(x->worker));
    rc = rc ? rc : http_response_field_text(out, "X-Request-Id", x->id);
    rc = rc ? rc : buf_append_slice(out, buf_slice(&x->fields));
    rc = rc ? rc : buf_append_slice(out, fields);
    if (status != 204 && status != 304)
        rc = rc ? rc : http_response_length(out, length);
    if (x->conn->no_more_requests)
        rc = rc ? rc : http_response_field_text(out, "Connection", "close");
    else if (request->minor == 0)
        rc = rc ? rc : http_response_field_text(out, "Connection", "keep-alive");
    return rc ? rc : http_response_end(out);
}

void exchange_respond(struct exchange *x, int status, struct slice fields, struct slice body) {
    struct conn *c = x->conn;
    struct buf *head = worker_head(x->worker);
    size_t length = body.len;
    if (x->worker->draining)
        c->no_more_requests = true;
    if (status >= 400)
        metrics_add(&x->worker->metrics, refusals[metrics_status(status)], 1);
    if (write_head(x, head, status, fields, body.len) == 0) {
        ratelimit_hold_clear(&x->holds, x->worker->server->limits); /* first: the client may ask again as soon as it is answered */
        x->answered = true;
        if (status == 204 || status == 304 || x->request.method == HTTP_HEAD)
            body.len = 0;
        if (body.len <= EXCHANGE_JOINED_BYTES && buf_append_slice(head, body) == 0)
            body.len = 0; /* one piece costs the system less than two */
        access_request(x, status, length);
        conn_send(c, buf_slice(head), body);
    } else {
        conn_close(c);
    }
    finish(x);
}

void exchange_fail(struct exchange *x, int status, const char *text) {
    static const char TYPE[] = "Content-Type: application/json\r\n";
    struct buf body = {0};
    if (http_error_body(&body, text, status == 500 ? x->id : NULL) != 0)
        buf_deinit(&body);
    exchange_respond(x, status, slice_make(TYPE, sizeof TYPE - 1), buf_slice(&body));
    buf_deinit(&body);
}

void exchange_drop(struct exchange *x) {
    conn_close(x->conn);
    finish(x);
}

void exchange_abandon(struct exchange *x) {
    struct worker *w = x->worker;
    if (x->handling && !x->answered)
        access_request(x, 0, 0);
    if (x->handling)
        w->ops->abandon(w->policy, x);
    x->conn->exchange = NULL;
    if (x->stream) {
        x->stream->exchange = NULL;
        if (!x->stream->begun)
            stream_free(x->stream);
        x->stream = NULL;
    }
    exchange_free(x);
}

void exchange_release(struct exchange *x) {
    if (x->stream)
        x->stream->exchange = NULL;
    x->conn->exchange = NULL;
    exchange_free(x);
}
