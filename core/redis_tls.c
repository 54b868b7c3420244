/* SPDX-License-Identifier: MIT */
#include "redis_tls.h"

#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"

struct redis_tls {
    SSL_CTX *context;
    const char *host;
    bool numeric; /* the host is an address */
};

/* --- settings ---------------------------------------------------------------------------------------- */

static const char *reason_of(unsigned long code) {
    const char *text = ERR_GET_LIB(code) == ERR_LIB_SYS ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    return text ? text : "unknown reason";
}

static bool complain(char error[REDIS_TLS_ERROR_BYTES], const char *key, const char *file, const char *why) {
    snprintf(error, REDIS_TLS_ERROR_BYTES, "%s: cannot use %.300s: %s", key, file, why ? why : reason_of(ERR_peek_error()));
    return false;
}

/* In the place of OpenSSL's own, which asks whoever sits at the terminal. */
static int no_passphrase(char *out, int size, int writing, void *data) {
    (void)out, (void)size, (void)writing, (void)data;
    return 0;
}

static bool read_files(SSL_CTX *context, const struct redis_tls_options *options, char error[REDIS_TLS_ERROR_BYTES]) {
    const char *ca = options->ca_file, *own = options->cert_file;
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (ca && !SSL_CTX_load_verify_locations(context, ca, NULL))
        return complain(error, "redis.ca_file", ca, NULL);
    if (!ca && !SSL_CTX_set_default_verify_paths(context))
        return complain(error, "redis.url", "the system's authorities", NULL);
    if (own && !SSL_CTX_use_certificate_chain_file(context, own))
        return complain(error, "redis.cert_file", own, NULL);
    /* Of a key that is missing, or has a passphrase, OpenSSL says only that it did not find what it was looking for. */
    if (own && !SSL_CTX_use_PrivateKey_file(context, own, SSL_FILETYPE_PEM))
        return complain(error, "redis.cert_file", own, ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_X509 ? NULL : "it has no private key, or one with a passphrase");
    return true;
}

struct redis_tls *redis_tls_new(const struct redis_tls_options *options, char error[REDIS_TLS_ERROR_BYTES]) {
    struct address numeric;
    struct redis_tls *tls = calloc(1, sizeof *tls);
    snprintf(error, REDIS_TLS_ERROR_BYTES, "not enough memory");
    ERR_clear_error();
    if (!tls || !(tls->context = SSL_CTX_new(TLS_client_method())) || !SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION))
        goto fail;
    tls->host = options->host;
    tls->numeric = address_parse(slice_of(options->host), &numeric);
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
#ifdef SSL_OP_IGNORE_UNEXPECTED_EOF
    /* Replies tell their own lengths: a server that was killed needs no other words than one without TLS. */
    SSL_CTX_set_options(tls->context, SSL_OP_IGNORE_UNEXPECTED_EOF);
#endif
    if (!read_files(tls->context, options, error))
        goto fail;
    return tls;

fail:
    redis_tls_free(tls);
    ERR_clear_error();
    return NULL;
}

void redis_tls_free(struct redis_tls *tls) {
    if (!tls)
        return;
    SSL_CTX_free(tls->context);
    free(tls);
}

/* --- a session ---------------------------------------------------------------------------------------- */

/* Names whom the certificate must be for, and tells the server which of its own is wanted (SNI, RFC 6066 3: names only). */
static bool expect(const struct redis_tls *tls, SSL *ssl) {
    if (tls->numeric)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), tls->host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, tls->host) == 1 && SSL_set_tlsext_host_name(ssl, tls->host) == 1;
}

struct ssl_st *redis_tls_begin(const struct redis_tls *tls, redisAsyncContext *context) {
    redisContext *c = &context->c;
    __typeof__(c->funcs) plain = c->funcs;
    ERR_clear_error();
    SSL *ssl = SSL_new(tls->context);
    if (ssl && expect(tls, ssl) && redisInitiateSSL(c, ssl) == REDIS_OK)
        return ssl;
    c->funcs = plain; /* hiredis may have put its own for TLS there, which do not bear that there is no session */
    if (!c->err)
        snprintf(c->errstr, sizeof c->errstr, "not enough memory");
    else if (ssl)
        redis_tls_why(ssl, c->errstr, sizeof c->errstr);
    c->err = c->err ? c->err : REDIS_ERR_OOM;
    SSL_free(ssl);
    return NULL;
}

void redis_tls_prepare(void) {
    ERR_clear_error();
}

bool redis_tls_wants_write(const struct ssl_st *session) {
    return SSL_want_write(session);
}

bool redis_tls_done(const struct ssl_st *session) {
    return SSL_is_init_finished(session);
}

/* Since TLS 1.3 a server refuses our certificate when we believe to be in: its alert may lie there unread behind our failure to write. */
static unsigned long unread_alert(SSL *ssl) {
    char byte;
    SSL_peek(ssl, &byte, 1);
    return ERR_peek_last_error();
}

bool redis_tls_why(struct ssl_st *session, char *why, size_t size) {
    long verified = SSL_get_verify_result(session);
    unsigned long code = ERR_peek_last_error();
    if (code == 0 && SSL_is_init_finished(session))
        code = unread_alert(session);
    if (verified != X509_V_OK)
        snprintf(why, size, REDIS_TLS_REFUSED ": %s", X509_verify_cert_error_string(verified));
    else if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED)
        snprintf(why, size, "the server asks for a certificate of ours (redis.cert_file)");
    else if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER)
        snprintf(why, size, "the server does not speak TLS on this port");
    else if (code != 0)
        snprintf(why, size, "TLS: %s", reason_of(code));
    else if (!SSL_is_init_finished(session))
        snprintf(why, size, "the connection was closed during the TLS handshake");
    else
        return false;
    return true;
}
