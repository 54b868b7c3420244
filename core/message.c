/* SPDX-License-Identifier: MIT */
#include "message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "sse.h"

enum {
    ID_LINE_MAX = 4 + MESSAGE_ID_BYTES, /* "id: ", id, LF */
    CHUNK_HEAD_MAX = 8 + 2,             /* eight hex digits and CRLF */
    MESSAGE_MAX = 1 << 30
};

struct message_id message_id_before(struct message_id id) {
    if (id.n > 0)
        return (struct message_id){id.ms, id.n - 1};
    if (id.ms > 0)
        return (struct message_id){id.ms - 1, UINT64_MAX};
    return id;
}

bool message_id_parse(struct slice text, struct message_id *out) {
    const char *dash = text.len ? memchr(text.ptr, '-', text.len) : NULL;
    if (!dash)
        return false;
    size_t at = (size_t)(dash - text.ptr);
    return slice_to_u64(slice_make(text.ptr, at), &out->ms) &&
           slice_to_u64(slice_make(dash + 1, text.len - at - 1), &out->n);
}

static char *id_before(char *end, struct message_id id) {
    end = u64_digits(end, id.n);
    *--end = '-';
    return u64_digits(end, id.ms);
}

size_t message_id_format(char out[MESSAGE_ID_BYTES], struct message_id id) {
    char text[MESSAGE_ID_BYTES];
    char *end = text + sizeof text;
    char *begin = id_before(end, id);
    size_t len = (size_t)(end - begin);
    memcpy(out, begin, len);
    out[len] = '\0';
    return len;
}

int message_check_channel(struct slice channel, const char **why) {
    if (channel.len == 0 || channel.len > MESSAGE_CHANNEL_BYTES) {
        *why = "a channel name has 1 to 200 bytes";
        return -EINVAL;
    }
    for (size_t i = 0; i < channel.len; i++) {
        unsigned char c = (unsigned char)channel.ptr[i];
        if (c < 0x20 || c == 0x7f) {
            *why = "a channel name has no control characters";
            return -EINVAL;
        }
        if (c == '*') {
            *why = "a channel name has no '*'";
            return -EINVAL;
        }
        /* U+0080 to U+009F, the control characters of the second block. */
        if (c == 0xc2 && i + 1 < channel.len && (unsigned char)channel.ptr[i + 1] < 0xa0) {
            *why = "a channel name has no control characters";
            return -EINVAL;
        }
    }
    if (!utf8_valid(channel)) {
        *why = "a channel name is UTF-8";
        return -EINVAL;
    }
    return 0;
}

int message_check_parts(struct slice event, struct slice data, const char **why) {
    if (!sse_field_valid(event)) {
        *why = "an event type has no CR, LF or NUL";
        return -EINVAL;
    }
    if (event.len > MESSAGE_EVENT_BYTES) {
        *why = "an event type has at most 1024 bytes";
        return -EINVAL;
    }
    if (!utf8_valid(event)) {
        *why = "an event type is UTF-8";
        return -EINVAL;
    }
    if (!utf8_valid(data)) {
        *why = "data is UTF-8";
        return -EINVAL;
    }
    if (data.len > MESSAGE_MAX / 16) {
        *why = "data is too large";
        return -EMSGSIZE;
    }
    return 0;
}

int message_check(struct slice channel, struct slice event, struct slice data, const char **why) {
    int rc = message_check_channel(channel, why);
    return rc ? rc : message_check_parts(event, data, why);
}

bool message_one_line(const struct message *m, struct slice *data) {
    static const struct slice FIELD = {"data: ", 6};
    struct slice lines = message_lines(m);
    if (lines.len <= FIELD.len || memchr(lines.ptr, '\n', lines.len) != lines.ptr + lines.len - 1)
        return false;
    *data = slice_make(lines.ptr + FIELD.len, lines.len - FIELD.len - 1);
    return true;
}

static struct message *allocate(size_t bytes) {
    struct message *m = malloc(sizeof *m + bytes);
    if (!m)
        return NULL;
    memset(m, 0, sizeof *m);
    atomic_init(&m->refs, 1);
    atomic_init(&m->whole, NULL);
    list_init(&m->log_node);
    m->size = (uint32_t)(sizeof *m + bytes);
    return m;
}

/* Puts the chunk size before the frame, which ends with room for CRLF behind it. */
static void put_chunk(struct message *m) {
    static const char HEX[] = "0123456789abcdef";
    char *frame = m->bytes + m->frame_at;
    memcpy(frame + m->frame_len, "\r\n", 2);
    char *at = frame;
    *--at = '\n';
    *--at = '\r';
    uint32_t size = m->frame_len;
    do {
        *--at = HEX[size & 15];
        size >>= 4;
    } while (size);
    m->wire_at = (uint32_t)(at - m->bytes);
    m->wire_len = (uint32_t)(frame + m->frame_len + 2 - at);
}

struct message *message_new(struct slice channel, struct slice event, struct slice data) {
    size_t event_room = event.len ? event.len + 8 : 0; /* "event: ", LF */
    size_t data_room = sse_data_size(data);
    if (data_room > MESSAGE_MAX)
        return NULL;
    size_t room = channel.len + CHUNK_HEAD_MAX + ID_LINE_MAX + event_room + data_room + 3;
    struct message *m = allocate(room);
    if (!m)
        return NULL;
    char *at = m->bytes;
    memcpy(at, channel.ptr, channel.len);
    m->channel_len = (uint32_t)channel.len;
    at += channel.len + CHUNK_HEAD_MAX + ID_LINE_MAX;
    m->frame_at = (uint32_t)(at - m->bytes); /* until message_seal moves it forward for the id */
    if (event.len) {
        memcpy(at, "event: ", 7);
        memcpy(at + 7, event.ptr, event.len);
        m->event_at = (uint32_t)(at + 7 - m->bytes);
        m->event_len = (uint32_t)event.len;
        at += 7 + event.len;
        *at++ = '\n';
    }
    m->lines_at = (uint32_t)(at - m->bytes);
    m->lines_len = (uint32_t)sse_write_data(at, data);
    at += m->lines_len;
    *at++ = '\n';
    m->frame_len = (uint32_t)(at - m->bytes) - m->frame_at;

    return m;
}

void message_seal(struct message *m, struct message_id id) {
    m->id = id;
    char *frame = m->bytes + m->frame_at;
    char *at = frame;
    *--at = '\n';
    at = id_before(at, id);
    at -= 4;
    memcpy(at, "id: ", 4);
    m->frame_len += (uint32_t)(frame - at);
    m->frame_at = (uint32_t)(at - m->bytes);
    put_chunk(m);
}

struct message *message_edit(const struct message *m, struct slice event, struct slice data) {
    struct message *edited = message_new(message_channel(m), event, data);
    if (!edited)
        return NULL;
    message_seal(edited, m->id);
    edited->generation = m->generation;
    edited->channel_hash = m->channel_hash;
    edited->epoch = m->epoch;
    edited->published_ns = m->published_ns;
    return edited;
}

struct message *message_new_private(struct slice bytes, bool chunked) {
    if (bytes.len > MESSAGE_MAX)
        return NULL;
    struct message *m = allocate(CHUNK_HEAD_MAX + bytes.len + 2);
    if (!m)
        return NULL;
    m->frame_at = CHUNK_HEAD_MAX;
    m->frame_len = (uint32_t)bytes.len;
    if (bytes.len)
        memcpy(m->bytes + m->frame_at, bytes.ptr, bytes.len);
    if (chunked) {
        put_chunk(m);
    } else {
        m->wire_at = m->frame_at;
        m->wire_len = m->frame_len;
    }
    return m;
}

struct message *message_retain(struct message *m) {
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void message_release(struct message *m) {
    /* Not a release and a fence: the thread sanitizer does not see fences. */
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) > 1)
        return;
    free(message_whole(m)); /* nobody else holds it, and it has none of its own */
    free(m);
}
