/* SPDX-License-Identifier: MIT */
#include "token.h"

#include <errno.h>
#include <jwt.h>
#include <math.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"

enum { RSA_MIN_BITS = 2048 /* RFC 7518, 3.3 */ };

enum key_kind { KEY_SECRET, KEY_RSA, KEY_P256, KEY_P384, KEY_P521, KEY_OTHER };

/* How each kind is called in a sentence. */
static const char *const KIND_NAMES[] = {
    "a shared secret",    "an RSA key",         "an EC key on P-256",
    "an EC key on P-384", "an EC key on P-521", "a key of another kind",
};

static const struct algorithm {
    const char *name;
    jwt_alg_t id;
    enum key_kind kind;
} ALGORITHMS[] = {
    {"HS256", JWT_ALG_HS256, KEY_SECRET}, {"HS384", JWT_ALG_HS384, KEY_SECRET}, {"HS512", JWT_ALG_HS512, KEY_SECRET},
    {"RS256", JWT_ALG_RS256, KEY_RSA},    {"RS384", JWT_ALG_RS384, KEY_RSA},    {"RS512", JWT_ALG_RS512, KEY_RSA},
    {"ES256", JWT_ALG_ES256, KEY_P256},   {"ES384", JWT_ALG_ES384, KEY_P384},   {"ES512", JWT_ALG_ES512, KEY_P521},
};
enum { ALGORITHM_COUNT = sizeof ALGORITHMS / sizeof *ALGORITHMS };

static const struct algorithm *algorithm_named(struct slice name) {
    for (int i = 0; i < ALGORITHM_COUNT; i++) {
        if (slice_is(name, ALGORITHMS[i].name))
            return &ALGORITHMS[i];
    }
    return NULL;
}

/* --- keys --------------------------------------------------------------------------------------- */

struct token_keys {
    struct buf key; /* a secret, or a public PEM */
    bool allowed[ALGORITHM_COUNT];
    double leeway;
    char *issuer;
    char *audience;
};

static bool is_pem(struct slice key) {
    return memmem(key.ptr, key.len, "-----BEGIN ", 11) != NULL;
}

/* Refuses to give a passphrase: OpenSSL would ask for one on the terminal. */
static int no_passphrase(char *out, int size, int writing, void *context) {
    (void)out, (void)size, (void)writing, (void)context;
    return -1;
}

/* Reads a PEM. NULL where there is none that is public, or private where `private_only` or no public one comes first. */
static EVP_PKEY *read_pem(struct slice key, bool private_only) {
    if (key.len > INT32_MAX)
        return NULL;
    BIO *in = BIO_new_mem_buf(key.ptr, (int)key.len);
    if (!in)
        return NULL;
    ERR_set_mark(); /* what fails on the way stays out of the thread's error queue */
    EVP_PKEY *pkey = private_only ? NULL : PEM_read_bio_PUBKEY(in, NULL, no_passphrase, NULL);
    if (!pkey) {
        (void)BIO_reset(in);
        pkey = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
    }
    ERR_pop_to_mark();
    BIO_free(in);
    return pkey;
}

static enum key_kind kind_of(const EVP_PKEY *pkey) {
    if (EVP_PKEY_get_base_id(pkey) == EVP_PKEY_RSA)
        return KEY_RSA;
    char curve[32];
    size_t len;
    if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_EC || !EVP_PKEY_get_group_name(pkey, curve, sizeof curve, &len))
        return KEY_OTHER;
    struct slice name = slice_make(curve, len);
    if (slice_is(name, "prime256v1"))
        return KEY_P256;
    if (slice_is(name, "secp384r1"))
        return KEY_P384;
    return slice_is(name, "secp521r1") ? KEY_P521 : KEY_OTHER;
}

/* libjwt verifies with a public PEM only, so that is what is kept, also of a private one. */
static int write_public_pem(EVP_PKEY *pkey, struct buf *out) {
    BIO *memory = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = memory && PEM_write_bio_PUBKEY(memory, pkey) ? BIO_get_mem_data(memory, &text) : 0;
    int rc = len > 0 ? buf_append(out, text, (size_t)len) : -ENOMEM;
    BIO_free(memory);
    return rc;
}

/* Says in `error` what is wrong. Always -EINVAL. */
__attribute__((format(printf, 2, 3))) static int complain(char error[TOKEN_REASON_BYTES], const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(error, TOKEN_REASON_BYTES, format, args);
    va_end(args);
    return -EINVAL;
}

/* Finds out what `key` is. A PEM is read into `*pkey`, which the caller frees. Returns 0 or -EINVAL with a sentence. */
static int inspect_key(struct slice key, bool private_only, EVP_PKEY **pkey, enum key_kind *kind,
                       char error[TOKEN_REASON_BYTES]) {
    *pkey = NULL;
    *kind = KEY_SECRET;
    if (key.len == 0)
        return complain(error, "the key is empty");
    if (key.len > INT32_MAX)
        return complain(error, "the key is too long");
    if (!is_pem(key))
        return 0;
    *pkey = read_pem(key, private_only);
    if (!*pkey)
        return complain(error, "the key's PEM cannot be read: it must hold one RSA or EC %skey without a passphrase",
                        private_only ? "private " : "");
    *kind = kind_of(*pkey);
    if (*kind == KEY_RSA && EVP_PKEY_get_bits(*pkey) < RSA_MIN_BITS)
        return complain(error, "the RSA key has %d bits, and %d are the least allowed", EVP_PKEY_get_bits(*pkey),
                        RSA_MIN_BITS);
    return 0;
}

/* Finds an algorithm by name that a key of `kind` serves. Returns 0 or -EINVAL with a sentence. */
static int choose_algorithm(const char *name, enum key_kind kind, const struct algorithm **out,
                            char error[TOKEN_REASON_BYTES]) {
    *out = algorithm_named(slice_of(name));
    if (!*out)
        return complain(error, "\"%.20s\" is none of HS256 HS384 HS512 RS256 RS384 RS512 ES256 ES384 ES512", name);
    if ((*out)->kind != kind)
        return complain(error, "%s needs %s, and the key is %s", name, KIND_NAMES[(*out)->kind], KIND_NAMES[kind]);
    return 0;
}

/* NULL stays NULL. Returns 0 or -ENOMEM. */
static int copy_text(const char *text, char **out) {
    *out = text ? strdup(text) : NULL;
    return text && !*out ? -ENOMEM : 0;
}

static int keys_init(struct token_keys *keys, struct slice key, const char *const *algorithms, size_t count,
                     const struct token_rules *rules, char error[TOKEN_REASON_BYTES]) {
    if (count == 0)
        return complain(error, "no algorithm is given");
    if (!isfinite(rules->leeway) || rules->leeway < 0)
        return complain(error, "the leeway must be a number of seconds, 0 or more");
    EVP_PKEY *pkey;
    enum key_kind kind;
    int rc = inspect_key(key, false, &pkey, &kind, error);
    for (size_t i = 0; !rc && i < count; i++) {
        const struct algorithm *algorithm;
        rc = choose_algorithm(algorithms[i], kind, &algorithm, error);
        if (!rc)
            keys->allowed[algorithm - ALGORITHMS] = true;
    }
    if (!rc) {
        keys->leeway = rules->leeway;
        rc = pkey ? write_public_pem(pkey, &keys->key) : buf_append_slice(&keys->key, key);
        rc = rc ? rc : copy_text(rules->issuer, &keys->issuer);
        rc = rc ? rc : copy_text(rules->audience, &keys->audience);
        if (rc)
            complain(error, "out of memory");
    }
    EVP_PKEY_free(pkey);
    return rc;
}

struct token_keys *token_keys_new(struct slice key, const char *const *algorithms, size_t count,
                                  const struct token_rules *rules, char error[TOKEN_REASON_BYTES]) {
    struct token_keys *keys = calloc(1, sizeof *keys);
    if (!keys) {
        complain(error, "out of memory");
        return NULL;
    }
    if (keys_init(keys, key, algorithms, count, rules, error)) {
        token_keys_free(keys);
        return NULL;
    }
    return keys;
}

void token_keys_free(struct token_keys *keys) {
    if (!keys)
        return;
    if (keys->key.data)
        OPENSSL_cleanse(keys->key.data, keys->key.len);
    buf_deinit(&keys->key);
    free(keys->issuer);
    free(keys->audience);
    free(keys);
}

/* --- JSON objects ------------------------------------------------------------------------------- */

struct member {
    struct slice name; /* escapes resolved */
    struct json_value value;
};

/* The top-level members of a JSON object, sorted by name. Borrows the text. */
struct object {
    struct buf names;
    struct buf members; /* of struct member */
    size_t count;
};

static void object_deinit(struct object *o) {
    buf_deinit(&o->names);
    buf_deinit(&o->members);
}

static struct member *member_at(const struct object *o, size_t i) {
    return (struct member *)(void *)o->members.data + i;
}

static int compare_names(const void *left, const void *right) {
    struct slice a = ((const struct member *)left)->name, b = ((const struct member *)right)->name;
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Reads an object whose members all have names of their own. Returns 0, -EINVAL or -ENOMEM. `o` is to be deinitialised in any case. */
static int object_read(struct object *o, struct slice text) {
    *o = (struct object){0};
    if (buf_reserve(&o->names, text.len)) /* all there can be: names never move */
        return -ENOMEM;
    struct json_reader r;
    struct json_value whole;
    json_open(&r, text);
    if (json_enter(&r, &whole) || whole.type != JSON_OBJECT)
        return -EINVAL;
    struct slice key;
    for (int rc; (rc = json_next(&r, true, o->count == 0, &key)) != 0; o->count++) {
        struct member member;
        if (rc < 0 || json_read(&r, &member.value))
            return -EINVAL;
        size_t len = json_unescape_into(o->names.data + o->names.len, key);
        member.name = slice_make(o->names.data + o->names.len, len);
        o->names.len += len;
        if (buf_append(&o->members, &member, sizeof member))
            return -ENOMEM;
    }
    if (json_close(&r))
        return -EINVAL;
    if (o->count)
        qsort(o->members.data, o->count, sizeof(struct member), compare_names);
    for (size_t i = 1; i < o->count; i++) {
        if (slice_equal(member_at(o, i - 1)->name, member_at(o, i)->name))
            return -EINVAL;
    }
    return 0;
}

static const struct json_value *object_get(const struct object *o, const char *name) {
    for (size_t i = 0; i < o->count; i++) {
        if (slice_is(member_at(o, i)->name, name))
            return &member_at(o, i)->value;
    }
    return NULL;
}

/* Compares a value with `want`. Returns 1 where it is that string, 0, or -ENOMEM. */
static int is_string(const struct json_value *value, const char *want) {
    if (!value || value->type != JSON_STRING)
        return 0;
    struct buf text = {0};
    int rc = json_unescape(value->text, &text);
    int equal = slice_is(buf_slice(&text), want);
    buf_deinit(&text);
    return rc ? rc : equal;
}

/* --- verifying ---------------------------------------------------------------------------------- */

static enum token_verdict refuse(char reason[TOKEN_REASON_BYTES], enum token_verdict verdict, const char *why) {
    snprintf(reason, TOKEN_REASON_BYTES, "%s", why);
    return verdict;
}

/* The verdict on a failure that is either for want of memory or the token's fault. */
static enum token_verdict refuse_rc(char reason[TOKEN_REASON_BYTES], int rc, const char *why) {
    return rc == -ENOMEM ? refuse(reason, TOKEN_NO_MEMORY, "out of memory") : refuse(reason, TOKEN_MALFORMED, why);
}

/* One more than the value of each base64url digit (RFC 4648, 5); 0 for any other byte. */
static const uint8_t BASE64URL[256] = {
    ['A'] = 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    ['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
    ['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, ['-'] = 63, ['_'] = 64,
};

/* Decodes without padding, strictly: one text only stands for given bytes. Returns 0, -EINVAL or -ENOMEM. */
static int base64url_decode(struct slice text, struct buf *out) {
    if (text.len % 4 == 1)
        return -EINVAL;
    if (buf_reserve(out, text.len / 4 * 3 + 2))
        return -ENOMEM;
    uint32_t bits = 0;
    int held = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint32_t digit = BASE64URL[(unsigned char)text.ptr[i]];
        if (digit == 0)
            return -EINVAL;
        bits = bits << 6 | (digit - 1);
        held += 6;
        if (held >= 8) {
            held -= 8;
            out->data[out->len++] = (char)(bits >> held & 0xFF);
            bits &= (1u << held) - 1;
        }
    }
    return bits ? -EINVAL : 0;
}

/* Splits `header.payload.signature`, none of them empty. */
static bool split(struct slice token, struct slice parts[3]) {
    for (int i = 0; i < 3; i++) {
        const char *dot = token.len ? memchr(token.ptr, '.', token.len) : NULL;
        if (!dot != (i == 2))
            return false;
        parts[i] = slice_make(token.ptr, dot ? (size_t)(dot - token.ptr) : token.len);
        if (parts[i].len == 0)
            return false;
        token = slice_make(token.ptr + parts[i].len + (dot ? 1 : 0), token.len - parts[i].len - (dot ? 1 : 0));
    }
    return true;
}

/* Finds the algorithm that the header names, where `keys` allow it: the token never chooses (RFC 8725, 3.1). Texts are compared as they stand,
 * since nobody writes these names with escapes. */
static enum token_verdict check_header(const struct token_keys *keys, const struct object *header,
                                       const struct algorithm **out, char reason[TOKEN_REASON_BYTES]) {
    const struct json_value *name = object_get(header, "alg"), *type = object_get(header, "typ");
    if (object_get(header, "crit"))
        return refuse(reason, TOKEN_MALFORMED, "the header asks for extensions that are not known (crit)");
    if (!name || name->type != JSON_STRING)
        return refuse(reason, TOKEN_MALFORMED, "the header names no algorithm (alg)");
    /* libjwt takes no other type: say so before it refuses without a word. */
    if (type && !slice_equal_nocase(type->text, slice_of("\"JWT\"")))
        return refuse(reason, TOKEN_MALFORMED, "the header's type is not JWT (typ)");
    *out = algorithm_named(slice_make(name->text.ptr + 1, name->text.len - 2));
    if (!*out || !keys->allowed[*out - ALGORITHMS])
        return refuse(reason, TOKEN_FORGED, "the header's algorithm is not among those allowed (alg)");
    return TOKEN_OK;
}

static enum token_verdict read_header(const struct token_keys *keys, struct slice part, const struct algorithm **out,
                                      char reason[TOKEN_REASON_BYTES]) {
    struct buf text = {0};
    struct object header = {0};
    int rc = base64url_decode(part, &text);
    rc = rc ? rc : object_read(&header, buf_slice(&text));
    enum token_verdict verdict = rc ? refuse_rc(reason, rc, "the header is not a JSON object with each member once")
                                    : check_header(keys, &header, out, reason);
    object_deinit(&header);
    buf_deinit(&text);
    return verdict;
}

/* Lets libjwt check the signature. It wants a C string, which the token fits: its characters were checked. */
static enum token_verdict check_signature(const struct token_keys *keys, struct slice token,
                                          const struct algorithm *algorithm, char reason[TOKEN_REASON_BYTES]) {
    char text[TOKEN_MAX_BYTES + 1];
    memcpy(text, token.ptr, token.len);
    text[token.len] = '\0';
    jwt_t *jwt = NULL;
    ERR_set_mark();
    int rc = jwt_decode(&jwt, text, (const unsigned char *)keys->key.data, (int)keys->key.len);
    ERR_pop_to_mark();
    bool matches = rc == 0 && jwt_get_alg(jwt) == algorithm->id;
    jwt_free(jwt);
    if (rc == ENOMEM)
        return refuse(reason, TOKEN_NO_MEMORY, "out of memory");
    return matches ? TOKEN_OK : refuse(reason, TOKEN_FORGED, "the signature does not match");
}

/* A NumericDate (RFC 7519, 2): any finite number. Returns 0, -EINVAL or -ENOMEM. */
static int read_date(const struct object *claims, const char *name, bool *has, double *out) {
    const struct json_value *value = object_get(claims, name);
    *has = value != NULL;
    if (!value)
        return 0;
    if (value->type != JSON_NUMBER)
        return -EINVAL;
    int rc = json_number(value->text, out);
    return rc == -ERANGE ? -EINVAL : rc;
}

/* `aud` is a string or an array of strings (RFC 7519, 4.1.3). Returns 1 where `want` is among them, 0, or -ENOMEM. */
static int has_audience(const struct json_value *value, const char *want) {
    if (!value || value->type != JSON_ARRAY)
        return is_string(value, want);
    struct json_reader r;
    struct json_value element;
    json_open(&r, value->text);
    int rc = json_enter(&r, &element);
    for (bool first = true; !rc && json_next(&r, false, first, NULL) == 1; first = false) {
        rc = json_read(&r, &element);
        rc = rc ? rc : is_string(&element, want);
    }
    return rc;
}

/* Issuer, audience and the form of the times; the times themselves are check_times' affair. */
static enum token_verdict check_claims(const struct token_keys *keys, const struct object *claims,
                                       struct token_claims *out, char reason[TOKEN_REASON_BYTES]) {
    int rc = read_date(claims, "exp", &out->has_expiry, &out->expiry);
    if (rc)
        return refuse_rc(reason, rc, "exp is not a number");
    rc = read_date(claims, "nbf", &out->has_start, &out->start);
    if (rc)
        return refuse_rc(reason, rc, "nbf is not a number");
    int issued = keys->issuer ? is_string(object_get(claims, "iss"), keys->issuer) : 1;
    int meant = keys->audience ? has_audience(object_get(claims, "aud"), keys->audience) : 1;
    if (issued < 0 || meant < 0)
        return refuse_rc(reason, -ENOMEM, "");
    if (!issued)
        return refuse(reason, TOKEN_WRONG_CLAIM, "the issuer is not the one required (iss)");
    return meant ? TOKEN_OK : refuse(reason, TOKEN_WRONG_CLAIM, "the token is meant for another audience (aud)");
}

enum token_verdict token_check_times(const struct token_keys *keys, const struct token_claims *claims, double now,
                                     char reason[TOKEN_REASON_BYTES]) {
    if (claims->has_expiry && now >= claims->expiry + keys->leeway)
        return refuse(reason, TOKEN_EXPIRED, "the token has expired (exp)");
    if (claims->has_start && now < claims->start - keys->leeway)
        return refuse(reason, TOKEN_EARLY, "the token is not valid yet (nbf)");
    return TOKEN_OK;
}

/* All but the header. The payload is read before the signature is checked, with no more work than its length gives: libjwt parses it
 * too, less strictly, and is not shown what is refused here. */
static enum token_verdict verify_parts(const struct token_keys *keys, struct slice token, const struct slice parts[3],
                                       const struct algorithm *algorithm, struct token_claims *claims,
                                       char reason[TOKEN_REASON_BYTES]) {
    struct object members = {0};
    struct buf signature = {0};
    enum token_verdict verdict;
    int rc = base64url_decode(parts[1], &claims->json);
    rc = rc ? rc : object_read(&members, buf_slice(&claims->json));
    if (rc) {
        verdict = refuse_rc(reason, rc, "the payload is not a JSON object with each member once");
    } else if ((rc = base64url_decode(parts[2], &signature)) != 0) {
        verdict = refuse_rc(reason, rc, "the signature is not base64url");
    } else {
        verdict = check_signature(keys, token, algorithm, reason);
        verdict = verdict ? verdict : check_claims(keys, &members, claims, reason);
    }
    object_deinit(&members);
    buf_deinit(&signature);
    return verdict;
}

enum token_verdict token_verify(const struct token_keys *keys, struct slice token, double now,
                                struct token_claims *claims, char reason[TOKEN_REASON_BYTES]) {
    *claims = (struct token_claims){0};
    reason[0] = '\0';
    struct slice parts[3];
    const struct algorithm *algorithm;
    if (token.len > TOKEN_MAX_BYTES)
        return refuse(reason, TOKEN_MALFORMED, "the token is too long");
    if (!split(token, parts))
        return refuse(reason, TOKEN_MALFORMED, "a token has three parts with dots between");
    enum token_verdict verdict = read_header(keys, parts[0], &algorithm, reason);
    verdict = verdict ? verdict : verify_parts(keys, token, parts, algorithm, claims, reason);
    verdict = verdict ? verdict : token_check_times(keys, claims, now, reason);
    if (verdict) {
        buf_deinit(&claims->json);
        *claims = (struct token_claims){0};
    }
    return verdict;
}

/* --- signing ------------------------------------------------------------------------------------ */

/* `json` is NUL-terminated. Returns 0, -EINVAL or -ENOMEM. */
static int encode(struct slice key, const struct algorithm *algorithm, const char *json, struct buf *out,
                  char error[TOKEN_REASON_BYTES]) {
    jwt_t *jwt = NULL;
    char *token = NULL;
    int rc = jwt_new(&jwt);
    rc = rc ? rc : jwt_add_grants_json(jwt, json);
    rc = rc ? rc : jwt_set_alg(jwt, algorithm->id, (const unsigned char *)key.ptr, (int)key.len);
    ERR_set_mark();
    errno = 0;
    if (!rc && !(token = jwt_encode_str(jwt)))
        rc = errno == ENOMEM ? ENOMEM : EINVAL;
    ERR_pop_to_mark();
    if (rc)
        rc = rc == ENOMEM ? -ENOMEM : complain(error, "the claims cannot be signed");
    else if (strlen(token) > TOKEN_MAX_BYTES)
        rc = complain(error, "the token would be longer than %d bytes", TOKEN_MAX_BYTES);
    else
        rc = buf_append_text(out, token);
    free(token);
    jwt_free(jwt);
    return rc;
}

int token_sign(struct slice key, const char *algorithm, struct slice claims, struct buf *out,
               char error[TOKEN_REASON_BYTES]) {
    EVP_PKEY *pkey;
    enum key_kind kind;
    const struct algorithm *chosen;
    struct object object = {0};
    struct buf json = {0};
    error[0] = '\0';
    int rc = inspect_key(key, true, &pkey, &kind, error);
    rc = rc ? rc : choose_algorithm(algorithm, kind, &chosen, error);
    EVP_PKEY_free(pkey);
    if (!rc) {
        rc = object_read(&object, claims);
        if (rc == -EINVAL)
            complain(error, "the claims are not a JSON object with each member once");
    }
    rc = rc ? rc : buf_append_slice(&json, claims);
    rc = rc ? rc : buf_append_char(&json, '\0');
    rc = rc ? rc : encode(key, chosen, json.data, out, error);
    if (rc == -ENOMEM)
        complain(error, "out of memory");
    object_deinit(&object);
    buf_deinit(&json);
    return rc;
}
