/* SPDX-License-Identifier: MIT */
/* TLS on a connection of hiredis (rediss://). hiredis neither knows the system's authorities in all its versions nor checks whose certificate it gets, so that the session is made here, with OpenSSL, and handed to hiredis,
 * which speaks through it. The server's certificate is verified, and so is its name (RFC 6125) or address. redis_tls_none.c stands in where hiredis has no TLS. */
#ifndef SLUICE_REDIS_TLS_H
#define SLUICE_REDIS_TLS_H

#include <hiredis/async.h>
#include <stdbool.h>

struct redis_tls; /* what the connections to one server share */
struct ssl_st;    /* OpenSSL's: one connection's session */

enum { REDIS_TLS_ERROR_BYTES = 512 };

/* What redis_tls_why begins with where the certificate is at fault: waiting will not help. */
#define REDIS_TLS_REFUSED "the server's certificate is refused"

struct redis_tls_options {
    const char *host;      /* a name, or an address without brackets; outlives what is made */
    const char *ca_file;   /* PEM: the authorities; NULL: the system's */
    const char *cert_file; /* PEM: our own certificate, those between it and its authority, and its private key; NULL: none */
};

/* Reads the files. NULL with `error` filled where one cannot be used, where memory is short, and where hiredis has no TLS. */
struct redis_tls *redis_tls_new(const struct redis_tls_options *options, char error[REDIS_TLS_ERROR_BYTES]);

/* NULL is fine. */
void redis_tls_free(struct redis_tls *tls);

/* Begins the handshake, which hiredis goes on with before it sends the first command. From within the callback that tells of the connection: earlier, hiredis' last look at whether it stands would lose what the server has
 * said; later, it has begun to write. Returns the session, which ends with `context`, or NULL where that fails: the context then has an error, which makes hiredis end the connection when the callback has returned. */
struct ssl_st *redis_tls_begin(const struct redis_tls *tls, redisAsyncContext *context);

/* To be called before hiredis reads or writes: what others have left among this thread's errors of OpenSSL would be taken for an error of the session. */
void redis_tls_prepare(void);

/* True while the session waits until it may write, which it may do in order to read; hiredis waits for that only where it has a command to send. */
bool redis_tls_wants_write(const struct ssl_st *session);

/* True when the handshake is done. */
bool redis_tls_done(const struct ssl_st *session);

/* Says why the connection has just ended, where TLS has to do with it: of its errors hiredis tells none. Returns false, with `why` as it was, where it has not. */
bool redis_tls_why(struct ssl_st *session, char *why, size_t size);

#endif
