/* SPDX-License-Identifier: MIT */
/* UTF-8 (RFC 3629, 4), one sequence at a time; utf8_valid in json.h looks at whole texts. */
#ifndef SLUICE_UTF8_H
#define SLUICE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

static inline bool utf8_is_tail(unsigned char c) {
    return (c & 0xC0) == 0x80;
}

/* The length of the sequence that starts at `p`, 1 to 4, or 0 where it is not UTF-8. `left` is at least 1. */
static inline size_t utf8_sequence(const unsigned char *p, size_t left) {
    unsigned char c = p[0];
    if (c < 0x80)
        return 1;
    if (c < 0xC2 || left < 2 || !utf8_is_tail(p[1]))
        return 0;
    if (c < 0xE0)
        return 2;
    if (left < 3 || !utf8_is_tail(p[2]))
        return 0;
    if (c < 0xF0) {
        bool overlong = c == 0xE0 && p[1] < 0xA0;
        bool surrogate = c == 0xED && p[1] > 0x9F;
        return overlong || surrogate ? 0 : 3;
    }
    bool out_of_range = c > 0xF4 || (c == 0xF0 && p[1] < 0x90) || (c == 0xF4 && p[1] > 0x8F);
    return out_of_range || left < 4 || !utf8_is_tail(p[3]) ? 0 : 4;
}

#endif
