/* SPDX-License-Identifier: MIT */
/* Messages for the tests of what keeps and passes them on. */
#ifndef SLUICE_SPEC_MESSAGES_H
#define SLUICE_SPEC_MESSAGES_H

#include <stdlib.h>

#include "../../core/message.h"

static inline struct message_id id_of(uint64_t ms, uint64_t n) {
    return (struct message_id){ms, n};
}

/* A draft whose data are `len` times an x. */
static inline struct message *draft_of(const char *channel, const char *event, size_t len) {
    char *data = (malloc)(len + 1);
    memset(data, 'x', len + 1);
    struct message *m = message_new(slice_of(channel), slice_of(event), slice_make(data, len));
    (free)(data);
    if (!m)
        abort();
    return m;
}

static inline struct message *message_of(const char *channel, const char *event, size_t len, struct message_id id) {
    struct message *m = draft_of(channel, event, len);
    message_seal(m, id);
    return m;
}

static inline unsigned refs_of(struct message *m) {
    return atomic_load(&m->refs);
}

#endif
