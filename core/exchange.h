/* SPDX-License-Identifier: MIT */
/* One request and its answer. Made by the connection, handled by the policy, which answers once: with a whole response, an error, or a stream (stream.h). */
#ifndef SLUICE_EXCHANGE_H
#define SLUICE_EXCHANGE_H

#include "address.h"
#include "http_request.h"
#include "list.h"

struct conn;
struct ratelimit_hold;
struct stream;
struct worker;

enum { EXCHANGE_ID_BYTES = 65, EXCHANGE_USER_BYTES = 256 };

struct exchange {
    struct conn *conn; /* NULL once the connection is gone */
    struct worker *worker;
    struct http_request request;
    struct buf fields; /* "Name: value CRLF" for whatever answer this request gets */
    char id[EXCHANGE_ID_BYTES]; /* names it in the log and to the client: its own X-Request-Id, or one that we make */
    uint64_t began_ms;          /* worker's time at which the request was complete; 0: it never was */
    bool handling; /* the policy has it */
    bool answered; /* a response or a stream's head went out */
    struct stream *stream; /* the stream it became, begun or not */
    struct buf user;       /* who the policy says it is, where has_user; a NUL that is not counted follows */
    bool has_user;
    uint8_t vouched;              /* HUB_VOUCHED or HUB_UNSURE where the log was asked about its last event id */
    int refused;                  /* the status by which the request was refused already, or 0: no handler may have it */
    const char *refused_text;     /* a static sentence */
    struct ratelimit_hold *holds; /* what its limits count as open until it is over; a stream takes them over when it begins */
    double expires; /* seconds since 1970 at which the stream it becomes ends, jwt.leeway not added; infinite: never */
    void *task; /* the policy's */
    struct list pool; /* in the worker's free list */
};

/* From the worker's pool, ready to read a request. NULL: no memory. */
struct exchange *exchange_new(struct worker *worker, struct conn *conn);

/* Gives it back. */
void exchange_free(struct exchange *x);

/* The request's head is complete: takes the client's X-Request-Id for its id where that is one, of at most 64 letters, digits and -_.:/+=@ */
void exchange_take_id(struct exchange *x);

/* Adds a field to the answer, whatever it will be. What Vary names is gathered in one field. Returns 0, -EINVAL for a name or value that is not valid or a field that the server itself writes (framing, Date), -EALREADY where the
 * head has gone out, or -ENOMEM. */
int exchange_add_field(struct exchange *x, struct slice name, struct slice value);

/* True for fields that only the server writes: Content-Length, Transfer-Encoding, Connection, Date, Keep-Alive, Upgrade, Trailer, X-Request-Id. */
bool exchange_field_reserved(struct slice name);

/* Answers with a whole response: `fields` are further "Name: value CRLF" lines, known to be valid. Then the exchange is over and freed. */
void exchange_respond(struct exchange *x, int status, struct slice fields, struct slice body);

/* Answers with {"error": text}; status 500 hides nothing but adds the request id. Ends the exchange. */
void exchange_fail(struct exchange *x, int status, const char *text);

/* The connection must be closed without any answer. Ends the exchange. */
void exchange_drop(struct exchange *x);

/* The connection is gone: ends what runs for the exchange and frees it, and the stream that was not begun. */
void exchange_abandon(struct exchange *x);

/* The handler of a stream has ended: the exchange is over, the stream stays open (or was closed before). */
void exchange_release(struct exchange *x);

/* The client's address: behind a proxy of `trust_proxy` the one that X-Forwarded-For tells. The other writes it as text. */
struct address exchange_client(const struct exchange *x);
void exchange_address(const struct exchange *x, char out[46]);

#endif
