/* SPDX-License-Identifier: MIT */
/* JSON Web Tokens (RFC 7515, RFC 7519) through libjwt: verifies against a fixed set of keys, each bound to the algorithms
 * it may be used with, and signs. Nothing about who may do what. The only file that includes <jwt.h>. Time is a parameter.
 * A keyset is immutable after set-up and may be shared by threads; a cache belongs to one. */
#ifndef SLUICE_TOKEN_H
#define SLUICE_TOKEN_H

#include "buf.h"

enum { TOKEN_MAX_BYTES = 8192, TOKEN_REASON_BYTES = 160 };

struct token_keys;

struct token_rules {
    double leeway;        /* seconds, >= 0, for exp and nbf */
    const char *issuer;   /* what `iss` must be, or NULL */
    const char *audience; /* what `aud` must be or hold, or NULL */
};

/* Makes a keyset: `key` is a shared secret, or one PEM with an RSA or EC public (or private) key. `algorithms` are names out of
 * HS256 HS384 HS512 RS256 RS384 RS512 ES256 ES384 ES512; all must fit the kind of the key (a PEM never serves HS, a curve serves only its own ES).
 * RSA keys have 2048 bits at least (RFC 7518, 3.3). Returns NULL with a sentence in `error` otherwise. `rules` and strings are copied. */
struct token_keys *token_keys_new(struct slice key, const char *const *algorithms, size_t count,
                                  const struct token_rules *rules, char error[TOKEN_REASON_BYTES]);
void token_keys_free(struct token_keys *keys);

enum token_verdict {
    TOKEN_OK,
    TOKEN_MALFORMED,
    TOKEN_FORGED,
    TOKEN_EXPIRED,
    TOKEN_EARLY,
    TOKEN_WRONG_CLAIM,
    TOKEN_NO_MEMORY
};

struct token_claims {
    struct buf json; /* the payload: a JSON object, validated, no repeated top-level member */
    bool has_expiry;
    bool has_start;
    double expiry; /* `exp`, seconds since 1970, leeway not added; fractions allowed */
    double start;  /* `nbf`, likewise */
};

/* Verifies `token` at `now` (seconds since 1970). On TOKEN_OK fills `claims` (the caller frees claims->json); otherwise `reason` says
 * what is wrong without any part of the token. The algorithm comes from the keys' list and the header must name one of it exactly; `none`, `crit`, repeated members in the
 * header or payload, a payload that is no object, exp or nbf that are no finite numbers are refused. */
enum token_verdict token_verify(const struct token_keys *keys, struct slice token, double now,
                                struct token_claims *claims, char reason[TOKEN_REASON_BYTES]);

/* Checks only the times of what was verified before: TOKEN_OK, TOKEN_EXPIRED or TOKEN_EARLY, with a `reason`. */
enum token_verdict token_check_times(const struct token_keys *keys, const struct token_claims *claims, double now,
                                     char reason[TOKEN_REASON_BYTES]);

/* Signs the JSON object `claims` with `key` (secret, or private PEM) by `algorithm`. Appends the token to `out`. Returns 0, or -EINVAL with a sentence in `error`, or -ENOMEM. */
int token_sign(struct slice key, const char *algorithm, struct slice claims, struct buf *out,
               char error[TOKEN_REASON_BYTES]);

/* A bounded cache of verified tokens, since a signature costs up to half a millisecond. Keyed by a hash that an attacker cannot aim at and the whole
 * token; least recently used goes first. exp, nbf are checked again on each hit. */
struct token_cache;

struct token_cache *token_cache_new(size_t entries);
void token_cache_free(struct token_cache *cache);

/* token_verify through the cache, which holds results of one keyset: with other `keys` than last time it empties itself (compared by
 * `keys_id`, a number the caller changes with the keys). On TOKEN_OK `*claims` are the cache's, until its next call. */
enum token_verdict token_cache_verify(struct token_cache *cache, uint64_t keys_id, const struct token_keys *keys,
                                      struct slice token, double now, const struct token_claims **claims,
                                      char reason[TOKEN_REASON_BYTES]);

#endif
