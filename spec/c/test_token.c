/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "../../core/buf.c"
#include "../../core/hash.c"
#include "../../core/json.c"
#include "../../core/table.c"
#include "../../core/token.c"
#include "../../core/token_cache.c"

#define SECRET "a secret that is long enough for any of them"

static const struct token_rules NO_RULES = {0};
static const double NOW = 1700000000;

static char reason[TOKEN_REASON_BYTES];

/* --- making keys and tokens --------------------------------------------------------------------- */

static void append_base64url(struct buf *out, struct slice bytes) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t word = (uint32_t)(unsigned char)bytes.ptr[i] << 16;
        word |= left > 1 ? (uint32_t)(unsigned char)bytes.ptr[i + 1] << 8 : 0;
        word |= left > 2 ? (uint32_t)(unsigned char)bytes.ptr[i + 2] : 0;
        for (size_t digit = 0; digit < (left > 2 ? 4 : left + 1); digit++)
            buf_append_char(out, DIGITS[word >> (18 - 6 * digit) & 63]);
    }
}

/* A token of these very texts, with an HS256 signature that is right. The caller frees it. */
static struct buf forge(struct slice header, struct slice payload, struct slice secret) {
    struct buf token = {0};
    append_base64url(&token, header);
    buf_append_char(&token, '.');
    append_base64url(&token, payload);
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    HMAC(EVP_sha256(), secret.ptr, (int)secret.len, (unsigned char *)token.data, token.len, mac, &len);
    buf_append_char(&token, '.');
    append_base64url(&token, slice_make((char *)mac, len));
    return token;
}

static const char HS256[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";

/* A PEM of a fresh key: "RSA" with bits, or "EC" with a curve. */
static struct buf make_pem(const char *curve, unsigned bits, bool private) {
    struct buf pem = {0};
    EVP_PKEY *pkey = curve ? EVP_EC_gen(curve) : EVP_RSA_gen(bits);
    BIO *memory = BIO_new(BIO_s_mem());
    if (pkey && memory) {
        if (private)
            PEM_write_bio_PrivateKey(memory, pkey, NULL, NULL, 0, NULL, NULL);
        else
            PEM_write_bio_PUBKEY(memory, pkey);
        char *text;
        long len = BIO_get_mem_data(memory, &text);
        buf_append(&pem, text, (size_t)len);
    }
    BIO_free(memory);
    EVP_PKEY_free(pkey);
    return pem;
}

/* The public PEM that belongs to a private one. */
static struct buf public_of(struct slice private_pem) {
    struct buf pem = {0};
    EVP_PKEY *pkey = read_pem(private_pem, true);
    if (pkey)
        write_public_pem(pkey, &pem);
    EVP_PKEY_free(pkey);
    return pem;
}

static struct token_keys *keys_for(struct slice key, const char *algorithm, const struct token_rules *rules) {
    return token_keys_new(key, &algorithm, 1, rules, reason);
}

static enum token_verdict verdict_on(const struct token_keys *keys, struct slice token, double now) {
    struct token_claims claims;
    enum token_verdict verdict = token_verify(keys, token, now, &claims, reason);
    CHECK((verdict == TOKEN_OK) == (reason[0] == '\0'));
    CHECK((verdict == TOKEN_OK) == (claims.json.data != NULL));
    buf_deinit(&claims.json);
    return verdict;
}

static enum token_verdict verdict_on_payload(const struct token_keys *keys, const char *payload, double now) {
    struct buf token = forge(slice_of(HS256), slice_of(payload), slice_of(SECRET));
    enum token_verdict verdict = verdict_on(keys, buf_slice(&token), now);
    buf_deinit(&token);
    return verdict;
}

/* --- keys --------------------------------------------------------------------------------------- */

TEST(a_key_serves_the_algorithms_of_its_kind_only) {
    static const char *const CURVES[] = {NULL, "P-256", "P-384", "P-521", "secp256k1"};
    static const char *const SERVED[] = {"RS256 RS384 RS512", "ES256", "ES384", "ES512", ""};
    for (size_t i = 0; i < sizeof CURVES / sizeof *CURVES; i++) {
        for (int private = 0; private < 2; private ++) {
            struct buf pem = make_pem(CURVES[i], 2048, private);
            for (int a = 0; a < ALGORITHM_COUNT; a++) {
                CHECK_NOTE("%s with %s", ALGORITHMS[a].name, CURVES[i] ? CURVES[i] : "RSA");
                struct token_keys *keys = keys_for(buf_slice(&pem), ALGORITHMS[a].name, &NO_RULES);
                CHECK((keys != NULL) == (strstr(SERVED[i], ALGORITHMS[a].name) != NULL));
                token_keys_free(keys);
            }
            buf_deinit(&pem);
        }
    }
    for (int a = 0; a < ALGORITHM_COUNT; a++) {
        struct token_keys *keys = keys_for(slice_of("s"), ALGORITHMS[a].name, &NO_RULES);
        CHECK((keys != NULL) == (ALGORITHMS[a].name[0] == 'H'));
        token_keys_free(keys);
    }
}

TEST(a_key_that_cannot_serve_is_refused_with_a_sentence) {
    struct buf small = make_pem(NULL, 1024, false), rsa = make_pem(NULL, 2048, false);
    struct {
        struct slice key;
        const char *algorithm;
        const char *error;
    } cases[] = {
        {slice_of(""), "HS256", "the key is empty"},
        {slice_of("s"), "none", "\"none\" is none of HS256 HS384 HS512 RS256 RS384 RS512 ES256 ES384 ES512"},
        {slice_of("s"), "hs256", "\"hs256\" is none of HS256 HS384 HS512 RS256 RS384 RS512 ES256 ES384 ES512"},
        {slice_of("s"), "RS256", "RS256 needs an RSA key, and the key is a shared secret"},
        {buf_slice(&rsa), "HS256", "HS256 needs a shared secret, and the key is an RSA key"},
        {buf_slice(&rsa), "ES384", "ES384 needs an EC key on P-384, and the key is an RSA key"},
        {buf_slice(&small), "RS256", "the RSA key has 1024 bits, and 2048 are the least allowed"},
        {slice_of("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "HS256",
         "the key's PEM cannot be read: it must hold one RSA or EC key without a passphrase"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(keys_for(cases[i].key, cases[i].algorithm, &NO_RULES) == NULL);
        CHECK_EQ_STR(reason, cases[i].error);
    }
    static const char *const MIXED[] = {"HS256", "RS256"};
    CHECK(token_keys_new(slice_of("s"), MIXED, 2, &NO_RULES, reason) == NULL);
    CHECK(token_keys_new(slice_of("s"), MIXED, 0, &NO_RULES, reason) == NULL);
    CHECK_EQ_STR(reason, "no algorithm is given");
    CHECK(keys_for(slice_of("s"), "HS256", &(struct token_rules){.leeway = -1}) == NULL);
    CHECK(keys_for(slice_of("s"), "HS256", &(struct token_rules){.leeway = NAN}) == NULL);
    buf_deinit(&small);
    buf_deinit(&rsa);
}

TEST(an_encrypted_key_is_refused_without_asking) {
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    BIO *memory = BIO_new(BIO_s_mem());
    REQUIRE(pkey && memory);
    char pass[] = "pass";
    PEM_write_bio_PrivateKey(memory, pkey, EVP_aes_128_cbc(), (unsigned char *)pass, 4, NULL, NULL);
    char *text;
    long len = BIO_get_mem_data(memory, &text);
    CHECK(keys_for(slice_make(text, (size_t)len), "ES256", &NO_RULES) == NULL);
    BIO_free(memory);
    EVP_PKEY_free(pkey);
}

/* --- signing and verifying ---------------------------------------------------------------------- */

TEST(the_example_of_rfc_7515_is_verified) {
    static const char TOKEN[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
        ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    struct buf key = {0};
    REQUIRE(base64url_decode(
                slice_of("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"),
                &key) == 0);
    struct token_keys *keys = keys_for(buf_slice(&key), "HS256", &NO_RULES);
    REQUIRE(keys != NULL);
    struct token_claims claims;
    CHECK_EQ_INT(token_verify(keys, slice_of(TOKEN), 1300819379, &claims, reason), TOKEN_OK);
    CHECK_EQ_BUF(claims.json, "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}");
    CHECK(claims.has_expiry && claims.expiry == 1300819380);
    CHECK(!claims.has_start);
    buf_deinit(&claims.json);
    CHECK_EQ_INT(verdict_on(keys, slice_of(TOKEN), 1300819380), TOKEN_EXPIRED);
    token_keys_free(keys);
    buf_deinit(&key);
}

TEST(what_is_signed_is_verified_by_each_algorithm_and_by_no_other_key) {
    for (int a = 0; a < ALGORITHM_COUNT; a++) {
        CHECK_NOTE("%s", ALGORITHMS[a].name);
        static const char *const CURVES[] = {[KEY_P256] = "P-256", [KEY_P384] = "P-384", [KEY_P521] = "P-521"};
        bool secret = ALGORITHMS[a].kind == KEY_SECRET;
        const char *curve = ALGORITHMS[a].kind >= KEY_P256 ? CURVES[ALGORITHMS[a].kind] : NULL;
        struct buf private = {0}, public = {0}, other = {0}, token = {0};
        if (secret) {
            buf_append_text(&private, "k"); /* any length will do */
            buf_append_text(&public, "k");
            buf_append_text(&other, "l");
        } else {
            private = make_pem(curve, 2048, true);
            public = public_of(buf_slice(&private));
            other = make_pem(curve, 2048, false);
        }
        CHECK_EQ_INT(token_sign(buf_slice(&private), ALGORITHMS[a].name,
                                slice_of("{\"sub\":\"a\",\"exp\":1700000001.5}"), &token, reason),
                     0);
        CHECK_EQ_STR(reason, "");
        struct token_keys *right = keys_for(buf_slice(&public), ALGORITHMS[a].name, &NO_RULES);
        struct token_keys *same = keys_for(buf_slice(&private), ALGORITHMS[a].name, &NO_RULES);
        struct token_keys *wrong = keys_for(buf_slice(&other), ALGORITHMS[a].name, &NO_RULES);
        REQUIRE(right && same && wrong);
        CHECK_EQ_INT(verdict_on(right, buf_slice(&token), NOW), TOKEN_OK);
        CHECK_EQ_INT(verdict_on(same, buf_slice(&token), NOW), TOKEN_OK);
        CHECK_EQ_INT(verdict_on(right, buf_slice(&token), NOW + 1.5), TOKEN_EXPIRED);
        CHECK_EQ_INT(verdict_on(wrong, buf_slice(&token), NOW), TOKEN_FORGED);
        CHECK_EQ_STR(reason, "the signature does not match");
        if (!secret)
            CHECK_EQ_INT(token_sign(buf_slice(&public), ALGORITHMS[a].name, slice_of("{}"), &token, reason), -EINVAL);
        token_keys_free(right);
        token_keys_free(same);
        token_keys_free(wrong);
        buf_deinit(&private);
        buf_deinit(&public);
        buf_deinit(&other);
        buf_deinit(&token);
    }
}

TEST(what_cannot_be_signed_is_said) {
    struct buf out = {0};
    buf_append_text(&out, "before");
    CHECK_EQ_INT(token_sign(slice_of(SECRET), "HS256", slice_of("[1]"), &out, reason), -EINVAL);
    CHECK_EQ_STR(reason, "the claims are not a JSON object with each member once");
    CHECK_EQ_INT(token_sign(slice_of(SECRET), "HS256", slice_of("{\"a\":1,\"a\":2}"), &out, reason), -EINVAL);
    CHECK_EQ_INT(token_sign(slice_of(SECRET), "HS256", slice_of("{\"a\":1"), &out, reason), -EINVAL);
    CHECK_EQ_INT(token_sign(slice_of(""), "HS256", slice_of("{}"), &out, reason), -EINVAL);
    CHECK_EQ_INT(token_sign(slice_of(SECRET), "none", slice_of("{}"), &out, reason), -EINVAL);
    CHECK_EQ_INT(token_sign(slice_of(SECRET), "ES256", slice_of("{}"), &out, reason), -EINVAL);
    struct buf long_claims = {0};
    buf_append_text(&long_claims, "{\"a\":\"");
    for (int i = 0; i < TOKEN_MAX_BYTES; i++)
        buf_append_char(&long_claims, 'x');
    buf_append_text(&long_claims, "\"}");
    CHECK_EQ_INT(token_sign(slice_of(SECRET), "HS256", buf_slice(&long_claims), &out, reason), -EINVAL);
    CHECK_EQ_STR(reason, "the token would be longer than 8192 bytes");
    CHECK_EQ_BUF(out, "before");
    buf_deinit(&long_claims);
    buf_deinit(&out);
}

TEST(a_public_key_is_no_shared_secret) {
    struct buf pem = make_pem(NULL, 2048, false);
    struct token_keys *keys = keys_for(buf_slice(&pem), "RS256", &NO_RULES);
    REQUIRE(keys != NULL);
    struct buf token = forge(slice_of(HS256), slice_of("{}"), buf_slice(&pem));
    CHECK_EQ_INT(verdict_on(keys, buf_slice(&token), NOW), TOKEN_FORGED);
    CHECK_EQ_STR(reason, "the header's algorithm is not among those allowed (alg)");
    buf_deinit(&token);
    buf_deinit(&pem);
    token_keys_free(keys);
}

TEST(headers_are_read_strictly) {
    static const struct {
        const char *header;
        enum token_verdict verdict;
    } CASES[] = {
        {"{\"alg\":\"HS256\"}", TOKEN_OK},
        {"{\"typ\":\"JWT\",\"alg\":\"HS256\"}", TOKEN_OK},
        {"{\"alg\":\"HS256\",\"typ\":\"jwt\"}", TOKEN_OK},
        {" {\"kid\":\"1\", \"alg\" : \"HS256\", \"x\":[{}]}\n", TOKEN_OK},
        {"{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", TOKEN_MALFORMED},
        {"{\"alg\":\"HS256\",\"typ\":1}", TOKEN_MALFORMED},
        {"{\"alg\":\"hs256\"}", TOKEN_FORGED},
        {"{\"alg\":\"HS256 \"}", TOKEN_FORGED},
        {"{\"alg\":\"HS512\"}", TOKEN_FORGED},
        {"{\"alg\":\"none\"}", TOKEN_FORGED},
        {"{\"alg\":\"None\"}", TOKEN_FORGED},
        {"{\"alg\":\"\"}", TOKEN_FORGED},
        {"{\"alg\":\"HS256\\u0000\"}", TOKEN_FORGED},
        {"{\"alg\":\"RS256\"}", TOKEN_FORGED},
        {"{\"alg\":null}", TOKEN_MALFORMED},
        {"{\"alg\":[\"HS256\"]}", TOKEN_MALFORMED},
        {"{}", TOKEN_MALFORMED},
        {"{\"Alg\":\"HS256\"}", TOKEN_MALFORMED},
        {"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", TOKEN_MALFORMED},
        {"{\"alg\":\"HS256\",\"crit\":[]}", TOKEN_MALFORMED},
        {"{\"alg\":\"HS256\",\"cr\\u0069t\":null}", TOKEN_MALFORMED},
        {"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", TOKEN_MALFORMED},
        {"{\"alg\":\"none\",\"\\u0061lg\":\"HS256\"}", TOKEN_MALFORMED},
        {"{\"a\":1,\"alg\":\"HS256\",\"b\":2,\"a\":3}", TOKEN_MALFORMED},
        {"[\"HS256\"]", TOKEN_MALFORMED},
        {"\"HS256\"", TOKEN_MALFORMED},
        {"{\"alg\":\"HS256\"", TOKEN_MALFORMED},
        {"{\"alg\":\"HS256\"}x", TOKEN_MALFORMED},
        {"{\"alg\":\"HS256\",}", TOKEN_MALFORMED},
        {"{\"alg\":\"HS256\",\"x\":\"\xFF\"}", TOKEN_MALFORMED},
        {"\xEF\xBB\xBF{\"alg\":\"HS256\"}", TOKEN_MALFORMED},
        {"HS256", TOKEN_MALFORMED},
    };
    struct token_keys *keys = keys_for(slice_of(SECRET), "HS256", &NO_RULES);
    REQUIRE(keys != NULL);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].header);
        struct buf token = forge(slice_of(CASES[i].header), slice_of("{}"), slice_of(SECRET));
        CHECK_EQ_INT(verdict_on(keys, buf_slice(&token), NOW), CASES[i].verdict);
        buf_deinit(&token);
    }
    token_keys_free(keys);
}

TEST(payloads_are_read_strictly) {
    static const struct {
        const char *payload;
        enum token_verdict verdict;
    } CASES[] = {
        {"{}", TOKEN_OK},
        {"{\"a\":1,\"A\":2,\"b\":{\"a\":3}}", TOKEN_OK},
        {"{\"\":0,\"sub\":\"\\ud83d\\ude00\"}", TOKEN_OK},
        {"[1]", TOKEN_MALFORMED},
        {"\"text\"", TOKEN_MALFORMED},
        {"null", TOKEN_MALFORMED},
        {"", TOKEN_MALFORMED},
        {"{", TOKEN_MALFORMED},
        {"{}{}", TOKEN_MALFORMED},
        {"{\"a\":01}", TOKEN_MALFORMED},
        {"{\"a\":1,\"b\":2,\"a\":1}", TOKEN_MALFORMED},
        {"{\"exp\":1,\"e\\u0078p\":9999999999}", TOKEN_MALFORMED},
        {"{\"\":1,\"\":2}", TOKEN_MALFORMED},
    };
    struct token_keys *keys = keys_for(slice_of(SECRET), "HS256", &NO_RULES);
    REQUIRE(keys != NULL);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].payload);
        CHECK_EQ_INT(verdict_on_payload(keys, CASES[i].payload, NOW), CASES[i].verdict);
    }
    token_keys_free(keys);
}

TEST(times_are_checked_to_the_fraction) {
    static const struct {
        const char *payload;
        double leeway;
        enum token_verdict verdict;
    } CASES[] = {
        {"{\"exp\":1700000001}", 0, TOKEN_OK},
        {"{\"exp\":1700000000.5}", 0, TOKEN_OK},
        {"{\"exp\":17000000005e-1}", 0, TOKEN_OK},
        {"{\"exp\":1700000000}", 0, TOKEN_EXPIRED},
        {"{\"exp\":1699999999.5}", 0, TOKEN_EXPIRED},
        {"{\"exp\":0}", 0, TOKEN_EXPIRED},
        {"{\"exp\":-1}", 0, TOKEN_EXPIRED},
        {"{\"exp\":1699999999.5}", 1, TOKEN_OK},
        {"{\"exp\":1699999999}", 1, TOKEN_EXPIRED},
        {"{\"exp\":99999999999999999999}", 0, TOKEN_FORGED}, /* more than libjwt can read; any verdict but OK will do */
        {"{\"exp\":1e15}", 0, TOKEN_OK},
        {"{\"exp\":\"1700000001\"}", 0, TOKEN_MALFORMED},
        {"{\"exp\":true}", 0, TOKEN_MALFORMED},
        {"{\"exp\":null}", 0, TOKEN_MALFORMED},
        {"{\"exp\":[1700000001]}", 0, TOKEN_MALFORMED},
        {"{\"nbf\":1700000000}", 0, TOKEN_OK},
        {"{\"nbf\":1700000000.5}", 0, TOKEN_EARLY},
        {"{\"nbf\":1700000001}", 0.5, TOKEN_EARLY},
        {"{\"nbf\":1700000001}", 1, TOKEN_OK},
        {"{\"nbf\":\"0\"}", 0, TOKEN_MALFORMED},
        {"{\"nbf\":null}", 0, TOKEN_MALFORMED},
        {"{\"iat\":9999999999}", 0, TOKEN_OK},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s, leeway %g", CASES[i].payload, CASES[i].leeway);
        struct token_keys *keys = keys_for(slice_of(SECRET), "HS256", &(struct token_rules){.leeway = CASES[i].leeway});
        REQUIRE(keys != NULL);
        CHECK_EQ_INT(verdict_on_payload(keys, CASES[i].payload, NOW), CASES[i].verdict);
        token_keys_free(keys);
    }
}

TEST(issuer_and_audience_are_checked_where_asked_for) {
    static const struct {
        const char *payload;
        const char *issuer;
        const char *audience;
        enum token_verdict verdict;
    } CASES[] = {
        {"{\"iss\":\"other\",\"aud\":\"other\"}", NULL, NULL, TOKEN_OK},
        {"{\"iss\":\"me\"}", "me", NULL, TOKEN_OK},
        {"{\"iss\":\"\\u006de\"}", "me", NULL, TOKEN_OK},
        {"{\"iss\":\"me \"}", "me", NULL, TOKEN_WRONG_CLAIM},
        {"{\"iss\":[\"me\"]}", "me", NULL, TOKEN_WRONG_CLAIM},
        {"{}", "me", NULL, TOKEN_WRONG_CLAIM},
        {"{\"aud\":\"us\"}", NULL, "us", TOKEN_OK},
        {"{\"aud\":[\"them\",\"us\"]}", NULL, "us", TOKEN_OK},
        {"{\"aud\":[\"them\",1,[\"us\"]]}", NULL, "us", TOKEN_WRONG_CLAIM},
        {"{\"aud\":[]}", NULL, "us", TOKEN_WRONG_CLAIM},
        {"{\"aud\":{\"us\":1}}", NULL, "us", TOKEN_WRONG_CLAIM},
        {"{}", NULL, "us", TOKEN_WRONG_CLAIM},
        {"{\"iss\":\"me\",\"aud\":\"us\"}", "me", "us", TOKEN_OK},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].payload);
        struct token_rules rules = {.issuer = CASES[i].issuer, .audience = CASES[i].audience};
        struct token_keys *keys = keys_for(slice_of(SECRET), "HS256", &rules);
        REQUIRE(keys != NULL);
        CHECK_EQ_INT(verdict_on_payload(keys, CASES[i].payload, NOW), CASES[i].verdict);
        token_keys_free(keys);
    }
}

TEST(a_token_is_three_parts_of_base64url_and_nothing_else) {
    struct token_keys *keys = keys_for(slice_of(SECRET), "HS256", &NO_RULES);
    struct buf token = forge(slice_of(HS256), slice_of("{\"a\":1}"), slice_of(SECRET));
    REQUIRE(keys != NULL);
    CHECK_EQ_INT(verdict_on(keys, buf_slice(&token), NOW), TOKEN_OK);

    static const struct slice BAD[] = {
        {"", 0},     {".", 1},    {"..", 2},      {"a.b", 3},      {"a.b.", 4},
        {".b.c", 4}, {"a..c", 4}, {"a.b.c.d", 7}, {"\0.\0.\0", 5},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        CHECK_EQ_INT(verdict_on(keys, BAD[i], NOW), TOKEN_MALFORMED);

    static const struct slice TAILS[] = {{"\0x", 2}, {"\0", 1}, {" ", 1},    {"=", 1},
                                         {"\n", 1},  {".", 1},  {".e30", 4}, {"+", 1}};
    for (size_t i = 0; i < sizeof TAILS / sizeof *TAILS; i++) {
        CHECK_NOTE("tail %zu", i);
        size_t len = token.len;
        buf_append_slice(&token, TAILS[i]);
        CHECK_EQ_INT(verdict_on(keys, buf_slice(&token), NOW), TOKEN_MALFORMED);
        token.len = len;
    }
    for (size_t i = 0; i < token.len; i++) {
        CHECK_NOTE("byte %zu", i);
        char was = token.data[i];
        token.data[i] = was == 'A' ? 'B' : 'A';
        CHECK(verdict_on(keys, buf_slice(&token), NOW) != TOKEN_OK);
        token.data[i] = was;
        CHECK(verdict_on(keys, slice_make(token.data, i), NOW) != TOKEN_OK);
    }
    struct buf long_token = {0};
    for (int i = 0; i <= TOKEN_MAX_BYTES; i++)
        buf_append_char(&long_token, i == 40 || i == 80 ? '.' : 'A');
    CHECK_EQ_INT(verdict_on(keys, buf_slice(&long_token), NOW), TOKEN_MALFORMED);
    CHECK_EQ_STR(reason, "the token is too long");
    long_token.len--;
    CHECK_EQ_INT(verdict_on(keys, buf_slice(&long_token), NOW), TOKEN_MALFORMED);
    CHECK_EQ_STR(reason, "the header is not a JSON object with each member once");
    buf_deinit(&long_token);
    buf_deinit(&token);
    token_keys_free(keys);
}

TEST(base64url_has_one_text_for_given_bytes) {
    static const struct {
        const char *text;
        const char *bytes; /* NULL: refused */
    } CASES[] = {
        {"", ""},
        {"Zg", "f"},
        {"Zm8", "fo"},
        {"Zm9v", "foo"},
        {"Zm9vYmFy", "foobar"},
        {"-_-_", "\xFB\xFF\xBF"},
        {"Zh", NULL},
        {"Zm9", NULL},
        {"Z", NULL},
        {"Zm9vY", NULL},
        {"Zg==", NULL},
        {"Zm9+", NULL},
        {"Zm/v", NULL},
        {"Zm 9", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].text);
        struct buf out = {0};
        CHECK_EQ_INT(base64url_decode(slice_of(CASES[i].text), &out), CASES[i].bytes ? 0 : -EINVAL);
        if (CASES[i].bytes)
            CHECK_EQ_BUF(out, CASES[i].bytes);
        buf_deinit(&out);
    }
}

/* --- cache -------------------------------------------------------------------------------------- */

static struct buf signed_token(const char *payload) {
    return forge(slice_of(HS256), slice_of(payload), slice_of(SECRET));
}

static enum token_verdict cached_verdict(struct token_cache *cache, uint64_t id, const struct token_keys *keys,
                                         struct slice token, double now) {
    const struct token_claims *claims;
    enum token_verdict verdict = token_cache_verify(cache, id, keys, token, now, &claims, reason);
    CHECK((verdict == TOKEN_OK) == (claims && claims->json.data != NULL));
    return verdict;
}

TEST(the_cache_answers_as_verification_does) {
    struct token_keys *keys = keys_for(slice_of(SECRET), "HS256", &(struct token_rules){.leeway = 2});
    struct token_cache *cache = token_cache_new(4);
    REQUIRE(keys && cache);
    struct buf token = signed_token("{\"nbf\":1700000000,\"exp\":1700000100.5,\"sub\":\"a\"}");
    for (int i = 0; i < 3; i++) {
        const struct token_claims *claims;
        REQUIRE(token_cache_verify(cache, 1, keys, buf_slice(&token), NOW, &claims, reason) == TOKEN_OK);
        CHECK_EQ_BUF(claims->json, "{\"nbf\":1700000000,\"exp\":1700000100.5,\"sub\":\"a\"}");
        CHECK(claims->has_expiry && claims->expiry == 1700000100.5);
        CHECK(claims->has_start && claims->start == 1700000000);
        CHECK_EQ_INT(cache->table.count, 1);
    }
    CHECK_EQ_INT(cached_verdict(cache, 1, keys, buf_slice(&token), NOW - 3), TOKEN_EARLY);
    CHECK_EQ_INT(cached_verdict(cache, 1, keys, buf_slice(&token), NOW + 102.4), TOKEN_OK);
    CHECK_EQ_INT(cached_verdict(cache, 1, keys, buf_slice(&token), NOW + 102.5), TOKEN_EXPIRED);
    CHECK_EQ_INT(cache->table.count, 0);
    CHECK_EQ_INT(cached_verdict(cache, 1, keys, slice_of("a.b.c"), NOW), TOKEN_MALFORMED);
    token.data[token.len - 5] ^= 1;
    CHECK_EQ_INT(cached_verdict(cache, 1, keys, buf_slice(&token), NOW), TOKEN_FORGED);
    CHECK_EQ_INT(cache->table.count, 0);
    buf_deinit(&token);
    token_cache_free(cache);
    token_keys_free(keys);
}

TEST(the_cache_is_emptied_with_its_keys) {
    struct token_keys *keys = keys_for(slice_of(SECRET), "HS256", &NO_RULES);
    struct token_keys *others = keys_for(slice_of("other"), "HS256", &NO_RULES);
    struct token_cache *cache = token_cache_new(4);
    REQUIRE(keys && others && cache);
    struct buf token = signed_token("{}");
    CHECK_EQ_INT(cached_verdict(cache, 1, keys, buf_slice(&token), NOW), TOKEN_OK);
    CHECK_EQ_INT(cached_verdict(cache, 2, others, buf_slice(&token), NOW), TOKEN_FORGED);
    CHECK_EQ_INT(cache->table.count, 0);
    CHECK_EQ_INT(cached_verdict(cache, 3, keys, buf_slice(&token), NOW), TOKEN_OK);
    buf_deinit(&token);
    token_cache_free(cache);
    token_keys_free(keys);
    token_keys_free(others);
}

TEST(the_cache_keeps_what_was_used_last) {
    struct token_keys *keys = keys_for(slice_of(SECRET), "HS256", &NO_RULES);
    struct token_cache *cache = token_cache_new(2), *none = token_cache_new(0);
    REQUIRE(keys && cache && none);
    struct buf tokens[] = {signed_token("{\"n\":1}"), signed_token("{\"n\":2}"), signed_token("{\"n\":3}")};
    static const int USES[] = {0, 1, 0, 2};
    for (size_t i = 0; i < sizeof USES / sizeof *USES; i++)
        CHECK_EQ_INT(cached_verdict(cache, 1, keys, buf_slice(&tokens[USES[i]]), NOW), TOKEN_OK);
    CHECK_EQ_INT(cache->table.count, 2);
    for (int i = 0; i < 3; i++) {
        struct slice token = buf_slice(&tokens[i]);
        CHECK((find(cache, token, hash_keyed(&cache->seed, token)) != NULL) == (i != 1));
    }
    CHECK_EQ_INT(cached_verdict(none, 1, keys, buf_slice(&tokens[0]), NOW), TOKEN_OK);
    for (int i = 0; i < 3; i++)
        buf_deinit(&tokens[i]);
    token_cache_free(cache);
    token_cache_free(none);
    token_keys_free(keys);
}

/* --- running out of memory ---------------------------------------------------------------------- */

TEST(every_failed_allocation_is_said_and_leaks_nothing) {
    static const struct token_rules RULES = {.issuer = "me", .audience = "us"};
    struct buf token = signed_token("{\"iss\":\"me\",\"aud\":[\"us\"],\"exp\":1700000001}");
    for (int n = 0;; n++) {
        check_alloc_fail_at(n);
        struct token_keys *keys = keys_for(slice_of(SECRET), "HS256", &RULES);
        bool reached = check_alloc_disarm();
        CHECK((keys == NULL) == reached);
        token_keys_free(keys);
        if (!reached)
            break;
        CHECK_EQ_STR(reason, "out of memory");
    }
    struct token_keys *keys = keys_for(slice_of(SECRET), "HS256", &RULES);
    REQUIRE(keys != NULL);
    int n = 0;
    for (bool reached = true; reached; n++) {
        check_alloc_fail_at(n);
        enum token_verdict verdict = verdict_on(keys, buf_slice(&token), NOW);
        reached = check_alloc_disarm();
        CHECK_EQ_INT(verdict, reached ? TOKEN_NO_MEMORY : TOKEN_OK);
    }
    CHECK(n > 6);
    n = 0;
    for (bool reached = true; reached; n++) {
        check_alloc_fail_at(n);
        struct token_cache *cache = token_cache_new(4);
        if (cache) {
            enum token_verdict first = cached_verdict(cache, 1, keys, buf_slice(&token), NOW);
            enum token_verdict second = cached_verdict(cache, 1, keys, buf_slice(&token), NOW);
            CHECK(first == TOKEN_OK || first == TOKEN_NO_MEMORY);
            CHECK(second == TOKEN_OK || second == TOKEN_NO_MEMORY);
            CHECK(first == TOKEN_OK || second == TOKEN_OK);
        }
        reached = check_alloc_disarm();
        token_cache_free(cache);
    }
    n = 0;
    for (bool reached = true; reached; n++) {
        struct buf out = {0};
        check_alloc_fail_at(n);
        int rc = token_sign(slice_of(SECRET), "HS256", slice_of("{\"a\":1}"), &out, reason);
        reached = check_alloc_disarm();
        CHECK_EQ_INT(rc, reached ? -ENOMEM : 0);
        CHECK_EQ_STR(reason, reached ? "out of memory" : "");
        buf_deinit(&out);
    }
    CHECK(n > 3);
    token_keys_free(NULL);
    token_cache_free(NULL);
    token_keys_free(keys);
    buf_deinit(&token);
}

CHECK_MAIN()
