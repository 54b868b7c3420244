/* SPDX-License-Identifier: MIT */
#include "digest.h"

#include <errno.h>
#include <openssl/evp.h>

int digest_sha256(struct slice s, char out[DIGEST_SHA256_CHARS + 1]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len;
    if (!EVP_Digest(s.ptr, s.len, digest, &len, EVP_sha256(), NULL))
        return -ENOMEM;
    EVP_EncodeBlock((unsigned char *)out, digest, (int)len);
    return 0;
}
