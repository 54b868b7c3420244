/* SPDX-License-Identifier: MIT */
/* The input is a header and a payload with a LF between, for which a right HS256 signature is made, so that what follows the signature is reached too; and it
 * is a token as it stands. A token that is accepted has a payload that is a JSON object and comes back byte for byte; the cache says the same. */
#include <openssl/hmac.h>
#include <stdlib.h>

#include "json.h"
#include "token.h"

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static const char SECRET[] = "secret";

static void append_base64url(struct buf *out, struct slice bytes) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    int held = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        bits = bits << 8 | (unsigned char)bytes.ptr[i];
        for (held += 8; held >= 6; held -= 6)
            MUST(buf_append_char(out, DIGITS[bits >> (held - 6) & 63]) == 0);
    }
    if (held)
        MUST(buf_append_char(out, DIGITS[bits << (6 - held) & 63]) == 0);
}

static void sign(struct buf *token, struct slice header, struct slice payload) {
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    append_base64url(token, header);
    MUST(buf_append_char(token, '.') == 0);
    append_base64url(token, payload);
    HMAC(EVP_sha256(), SECRET, (int)strlen(SECRET), (unsigned char *)token->data, token->len, mac, &len);
    MUST(buf_append_char(token, '.') == 0);
    append_base64url(token, slice_make((char *)mac, len));
}

/* `payload` is what the token was made of; no ptr: not known, and then it cannot be accepted. */
static void check(const struct token_keys *keys, struct slice token, struct slice payload) {
    struct token_claims claims;
    const struct token_claims *cached;
    char reason[TOKEN_REASON_BYTES];
    struct token_cache *cache = token_cache_new(2);
    MUST(cache != NULL);
    enum token_verdict verdict = token_verify(keys, token, 1700000000, &claims, reason);
    for (int i = 0; i < 2; i++) {
        MUST(token_cache_verify(cache, 1, keys, token, 1700000000, &cached, reason) == verdict);
        MUST((cached != NULL) == (verdict == TOKEN_OK));
        MUST(!cached || slice_equal(buf_slice(&claims.json), buf_slice(&cached->json)));
        MUST((verdict == TOKEN_OK) == (reason[0] == '\0'));
    }
    if (verdict == TOKEN_OK) {
        struct json_reader r;
        struct json_value value;
        MUST(payload.ptr && slice_equal(buf_slice(&claims.json), payload));
        json_open(&r, payload);
        MUST(json_read(&r, &value) == 0 && json_close(&r) == 0 && value.type == JSON_OBJECT);
        MUST(!claims.has_expiry || claims.expiry > 1700000000);
        MUST(!claims.has_start || claims.start <= 1700000000);
    }
    buf_deinit(&claims.json);
    token_cache_free(cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const ALGORITHMS[] = {"HS256", "HS384"};
    char error[TOKEN_REASON_BYTES];
    struct slice input = slice_make((const char *)data, size), none = {NULL, 0};
    struct token_keys *keys = token_keys_new(slice_of(SECRET), ALGORITHMS, 2, &(struct token_rules){0}, error);
    MUST(keys != NULL);
    const char *lf = size ? memchr(input.ptr, '\n', size) : NULL;
    if (lf) {
        struct buf token = {0};
        size_t len = (size_t)(lf - input.ptr);
        struct slice payload = slice_make(lf + 1, size - len - 1);
        sign(&token, slice_make(input.ptr, len), payload);
        check(keys, buf_slice(&token), payload);
        buf_deinit(&token);
    } else {
        check(keys, input, none);
    }
    token_keys_free(keys);
    return 0;
}
