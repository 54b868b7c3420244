/* SPDX-License-Identifier: MIT */
/* A message: what was published, immutable once it has its id, reference counted over threads, framed once. Its wire bytes are one run:
 *
 *     <chunk size> CRLF | id: <id> LF  event: <type> LF  data: ... LF  LF | CRLF
 *                       ^--------------- the frame -----------------------^
 *
 * so that one `send` serves a chunked stream (all of it) and one of HTTP/1.0 (the frame). The id is not known before the log gives it: the rest is written
 * first, id and chunk size are put in front of it by message_seal. A private segment (response head, opening block, comment,
 * `stream:send`) is a message without a channel. */
#ifndef SLUICE_MESSAGE_H
#define SLUICE_MESSAGE_H

#include <stdatomic.h>

#include "buf.h"
#include "gzip.h"
#include "list.h"

/* An id of the log: `<unix ms>-<n>`, ordered by both. */
struct message_id {
    uint64_t ms;
    uint64_t n;
};

enum {
    MESSAGE_ID_BYTES = 42,       /* the longest id and a NUL */
    MESSAGE_CHANNEL_BYTES = 200, /* the longest channel name */
    MESSAGE_EVENT_BYTES = 1024   /* the longest event type */
};

static inline int message_id_compare(struct message_id a, struct message_id b) {
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return a.n == b.n ? 0 : (a.n < b.n ? -1 : 1);
}

static inline bool message_id_after(struct message_id a, struct message_id b) {
    return a.ms > b.ms || (a.ms == b.ms && a.n > b.n);
}

static inline struct message_id message_id_max(struct message_id a, struct message_id b) {
    return message_id_after(a, b) ? a : b;
}

/* The place of a message in the order of all: a log that has begun anew may give ids again. */
struct message_place {
    uint32_t epoch;
    struct message_id id;
};

static inline int message_place_compare(struct message_place a, struct message_place b) {
    return a.epoch != b.epoch ? (a.epoch < b.epoch ? -1 : 1) : message_id_compare(a.id, b.id);
}

/* The greatest id below `id`; 0-0 stays 0-0. */
struct message_id message_id_before(struct message_id id);

/* Reads `<digits>-<digits>`, both within 64 bits. Returns false for anything else. */
bool message_id_parse(struct slice text, struct message_id *out);

/* Writes the id and a NUL; returns its length. */
size_t message_id_format(char out[MESSAGE_ID_BYTES], struct message_id id);

struct history;

struct message {
    atomic_uint refs;
    uint32_t generation; /* of the policy that ran its on_publish hooks; 0: none did */
    struct message_id id;
    uint64_t channel_hash; /* set by the hub */
    uint64_t published_ns; /* set by the hub: monotonic time, for the lag of deliveries */

    /* The same in gzip, a private segment: NULL until somebody needs it. See chain.h. */
    _Atomic(struct message *) whole;
    struct gzip_part part; /* of a private segment in gzip: what its text adds to a stream's sum */
    uint32_t epoch;        /* set by the hub: of the log that gave the id; a later one may give it again */

    /* guarded by the hub's lock: the history that keeps it */
    struct list log_node;
    struct history *history;

    /* offsets into `bytes` and lengths */
    uint32_t channel_len; /* the name is at 0 */
    uint32_t event_at, event_len;
    uint32_t lines_at, lines_len; /* the data lines */
    uint32_t wire_at, wire_len;
    uint32_t frame_at, frame_len;
    uint32_t size; /* what is allocated */
    char bytes[];
};

/* Why a message cannot be made: 0, or -EINVAL with a sentence, or -ENOMEM, or -EMSGSIZE. Channel: 1 to 200 bytes of UTF-8, no control characters, no `*`.
 * Event: no CR, LF or NUL, at most MESSAGE_EVENT_BYTES of UTF-8; empty is none. Data: UTF-8. */
int message_check_channel(struct slice channel, const char **why);
int message_check_parts(struct slice event, struct slice data, const char **why);
int message_check(struct slice channel, struct slice event, struct slice data, const char **why);

/* Makes a draft, without an id, of parts that message_check accepts. The caller holds its one reference. NULL: no memory. */
struct message *message_new(struct slice channel, struct slice event, struct slice data);

/* Gives the draft its id, once, before anybody else sees it. */
void message_seal(struct message *m, struct message_id id);

/* A new message with other parts and the id, epoch, channel hash, generation and time of `m`: one edited for a subscriber. NULL: no memory. */
struct message *message_edit(const struct message *m, struct slice event, struct slice data);

/* A private segment: `chunked` puts chunk framing around the bytes, else they go as they are. NULL: no memory. */
struct message *message_new_private(struct slice bytes, bool chunked);

struct message *message_retain(struct message *m);
void message_release(struct message *m);

static inline struct message_place message_place(const struct message *m) {
    return (struct message_place){m->epoch, m->id};
}

static inline struct slice message_channel(const struct message *m) {
    return slice_make(m->bytes, m->channel_len);
}

/* The event type; empty where there is none. */
static inline struct slice message_event(const struct message *m) {
    return slice_make(m->bytes + m->event_at, m->event_len);
}

/* Its data lines as framed; sse_read_data gives the data. */
static inline struct slice message_lines(const struct message *m) {
    return slice_make(m->bytes + m->lines_at, m->lines_len);
}

/* The self-contained form in gzip, which belongs to the message; NULL where nobody has needed it yet. */
static inline struct message *message_whole(const struct message *m) {
    return atomic_load_explicit(&m->whole, memory_order_acquire);
}

/* Points `data` at the message's data where it is one line; returns false where it is more, which sse_read_data joins. */
bool message_one_line(const struct message *m, struct slice *data);

/* What is written to a stream. */
static inline struct slice message_wire(const struct message *m, bool chunked) {
    return chunked ? slice_make(m->bytes + m->wire_at, m->wire_len) : slice_make(m->bytes + m->frame_at, m->frame_len);
}

#endif
