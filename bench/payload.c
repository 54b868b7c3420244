/* SPDX-License-Identifier: MIT */
#include "payload.h"

#include <string.h>

enum { NUMBER_AT = 0, NUMBER = 10, SEQ_AT = 11, SEQ = 9, CHANNEL_AT = 21, CHANNEL = 6, TIME_AT = 28, TIME = 19 };

static void put(char *out, size_t digits, uint64_t value) {
    while (digits > 0) {
        out[--digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

static bool get(const char *in, size_t digits, uint64_t *value) {
    uint64_t sum = 0;
    bool good = true;
    for (size_t i = 0; i < digits; i++) {
        unsigned digit = (unsigned)(unsigned char)in[i] - '0';
        good = good && digit < 10;
        sum = sum * 10 + digit;
    }
    *value = sum;
    return good;
}

void payload_fill(char *out, size_t size) {
    memset(out, 'x', size);
    memset(out, ' ', PAYLOAD_MARK_AT);
    memset(out + PAYLOAD_MARK_AT, '-', PAYLOAD_MARK);
    out[size - 1] = '~';
}

void payload_stamp(char *out, const struct payload *p) {
    put(out + NUMBER_AT, NUMBER, p->number);
    put(out + SEQ_AT, SEQ, p->seq);
    put(out + CHANNEL_AT, CHANNEL, p->channel);
    put(out + TIME_AT, TIME, p->sent_ns);
}

bool payload_read(const char *data, struct payload *p) {
    uint64_t number, seq, channel, time;
    bool good = get(data + NUMBER_AT, NUMBER, &number) && get(data + SEQ_AT, SEQ, &seq) && get(data + CHANNEL_AT, CHANNEL, &channel) &&
                get(data + TIME_AT, TIME, &time);
    if (!good)
        return false;
    *p = (struct payload){(uint32_t)number, (uint32_t)seq, (uint32_t)channel, time};
    return true;
}
