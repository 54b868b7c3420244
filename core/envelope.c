/* SPDX-License-Identifier: MIT */
#include "envelope.h"

#include <errno.h>

#include "gzip.h"
#include "json.h"

/* RFC 4648, 4: with padding, without line ends. */
static int append_base64(struct buf *out, struct slice bytes) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (buf_reserve(out, (bytes.len + 2) / 3 * 4))
        return -ENOMEM;
    char *to = out->data + out->len;
    for (size_t at = 0; at < bytes.len; at += 3) {
        size_t rest = bytes.len - at;
        uint32_t group = (uint32_t)(unsigned char)bytes.ptr[at] << 16;
        if (rest > 1)
            group |= (uint32_t)(unsigned char)bytes.ptr[at + 1] << 8;
        if (rest > 2)
            group |= (unsigned char)bytes.ptr[at + 2];
        *to++ = DIGITS[group >> 18];
        *to++ = DIGITS[group >> 12 & 63];
        *to++ = rest > 1 ? DIGITS[group >> 6 & 63] : '=';
        *to++ = rest > 2 ? DIGITS[group & 63] : '=';
    }
    out->len = (size_t)(to - out->data);
    return 0;
}

static bool is_json(struct slice text) {
    struct json_reader r = {0};
    struct json_value value;
    json_open(&r, text);
    return json_read(&r, &value) == 0 && json_close(&r) == 0;
}

static int append_plain(struct buf *out, struct slice data) {
    int rc = buf_append_text(out, "{\"compressed\":false,\"data\":");
    if (rc == 0)
        rc = is_json(data) ? buf_append_slice(out, data) : json_append_string(out, data);
    return rc ? rc : buf_append_char(out, '}');
}

static int append_compressed(struct buf *out, struct slice data, int level) {
    struct buf packed = {0};
    int rc = gzip_append(&packed, data, level);
    if (rc == 0)
        rc = buf_append_text(out, "{\"compressed\":true,\"data\":\"");
    if (rc == 0)
        rc = append_base64(out, buf_slice(&packed));
    if (rc == 0)
        rc = buf_append_text(out, "\"}");
    buf_deinit(&packed);
    return rc;
}

int envelope_append(struct buf *out, struct slice data, size_t threshold, int level) {
    size_t before = out->len;
    int rc = data.len > threshold ? append_compressed(out, data, level) : append_plain(out, data);
    if (rc)
        out->len = before;
    return rc;
}
