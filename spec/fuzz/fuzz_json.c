/* SPDX-License-Identifier: MIT */
/* What json_read accepts is UTF-8, is accepted by a walk with json_enter and json_next too, and its strings and numbers survive being
 * written and read again. What it refuses, the walk refuses. */
#include <stdlib.h>

#include "json.h"

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static void check_string(struct slice text) {
    struct buf raw = {0}, written = {0}, again = {0};
    MUST(json_unescape(text, &raw) == 0);
    MUST(utf8_valid(buf_slice(&raw)));
    MUST(json_append_string(&written, buf_slice(&raw)) == 0);
    struct json_reader r;
    struct json_value value;
    json_open(&r, buf_slice(&written));
    MUST(json_read(&r, &value) == 0 && json_close(&r) == 0 && value.type == JSON_STRING);
    MUST(json_unescape(value.text, &again) == 0);
    MUST(slice_equal(buf_slice(&raw), buf_slice(&again)));
    buf_deinit(&raw);
    buf_deinit(&written);
    buf_deinit(&again);
}

static void check_number(struct slice text) {
    int64_t integer;
    double number, again;
    struct buf written = {0};
    if (json_number(text, &number) == 0) {
        MUST(json_append_number(&written, number) == 0);
        MUST(json_number(buf_slice(&written), &again) == 0);
        MUST(memcmp(&number, &again, sizeof number) == 0);
        MUST(!json_integer(text, &integer) || (double)integer == number);
    }
    buf_deinit(&written);
}

static int walk(struct json_reader *r) {
    struct json_value value;
    if (json_enter(r, &value))
        return -1;
    if (value.type == JSON_STRING)
        check_string(value.text);
    if (value.type == JSON_NUMBER)
        check_number(value.text);
    if (value.type != JSON_ARRAY && value.type != JSON_OBJECT)
        return 0;
    bool object = value.type == JSON_OBJECT;
    struct slice key;
    for (bool first = true;; first = false) {
        int rc = json_next(r, object, first, &key);
        if (rc <= 0)
            return rc;
        if (object)
            check_string(key);
        if (walk(r))
            return -1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice text = slice_make((const char *)data, size);
    struct json_reader r;
    struct json_value value;
    json_open(&r, text);
    bool accepted = json_read(&r, &value) == 0 && json_close(&r) == 0;
    if (accepted)
        MUST(utf8_valid(text));
    else
        MUST(r.error && r.error_at <= size);

    json_open(&r, text);
    bool walked = walk(&r) == 0 && json_close(&r) == 0;
    MUST(walked == accepted);
    return 0;
}
