/* SPDX-License-Identifier: MIT */
#include "subscriber.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "feed.h"

enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END, CHUNK_OVER };

void tally_sent(struct tally *t, uint32_t number, uint32_t count) {
    t->waiting[number % SUBSCRIBER_WINDOW] = count;
    if (count)
        t->undelivered++;
}

static uint32_t crc_of(uint32_t crc, const char *data, size_t len) {
    return (uint32_t)crc32_z(crc, (const Bytef *)data, len);
}

void tally_sent_data(struct tally *t, uint32_t number, const char *data, size_t len, uint64_t sent_ns) {
    uint32_t crc = crc_of(crc_of(0, "data: ", 6), data, len);
    t->sent[number % SUBSCRIBER_WINDOW].len = (uint32_t)len;
    t->sent[number % SUBSCRIBER_WINDOW].crc = crc;
    t->sent[number % SUBSCRIBER_WINDOW].sent_ns = sent_ns;
}

bool tally_failed(const struct tally *t) {
    return t->skipped || t->late || t->damaged || t->gaps || t->ended || t->refused;
}

/* --- events ------------------------------------------------------------------------------------- */

/* The mark is the dashes that were published, or one of the subscriber's own that never changes. */
static bool mark_good(struct subscriber *s, const struct tally *t, const char *mark) {
    if (!t->marked)
        return memcmp(mark, "--------", PAYLOAD_MARK) == 0;
    if (!s->has_mark) {
        memcpy(s->mark, mark, PAYLOAD_MARK);
        s->has_mark = true;
    }
    return memcmp(mark, "--------", PAYLOAD_MARK) != 0 && memcmp(mark, s->mark, PAYLOAD_MARK) == 0;
}

/* A line of a feed is as it was sent, to the last byte. */
static void on_feed_data(struct subscriber *s, const struct tally *t, const char *line, size_t len) {
    size_t seen = len < SUBSCRIBER_LINE ? len : SUBSCRIBER_LINE;
    s->payload_good = !s->has_data && feed_read(line + 6, seen - 6, &s->payload);
    s->has_data = true;
    if (!s->payload_good)
        return;
    uint32_t at = s->payload.number % SUBSCRIBER_WINDOW;
    s->payload.sent_ns = t->sent[at].sent_ns;
    s->payload_good = s->crc == t->sent[at].crc && len - 6 == t->sent[at].len;
}

static void on_data(struct subscriber *s, const struct tally *t, const char *line, size_t len, char last) {
    const char *data = line + 6;
    if (t->feed) {
        on_feed_data(s, t, line, len);
        return;
    }
    s->payload_good = !s->has_data && len >= 6 + PAYLOAD_MIN && payload_read(data, &s->payload) && mark_good(s, t, data + PAYLOAD_MARK_AT);
    s->has_data = true;
    s->data_len = (uint32_t)len - 6;
    s->data_last = last;
}

/* Counts a message that is as it should be. */
static void count_message(struct subscriber *s, struct tally *t, const struct payload *p) {
    if (p->seq < s->next) {
        t->late++;
        return;
    }
    if (p->seq > s->next) {
        t->skipped += p->seq - s->next;
        s->next = p->seq;
    }
    s->next++;
    t->received++;
    histogram_add(&t->latency, t->now_ns - p->sent_ns);
    uint32_t *waiting = &t->waiting[p->number % SUBSCRIBER_WINDOW];
    if (*waiting && --*waiting == 0)
        t->undelivered--;
    if (s->keep_ids && !s->first_id[0])
        memcpy(s->first_id, s->id, SUBSCRIBER_ID);
}

static void on_message(struct subscriber *s, struct tally *t) {
    bool whole = t->feed || (s->data_len == t->bytes && s->data_last == '~');
    if (s->payload_good && whole && s->payload.channel == s->channel)
        count_message(s, t, &s->payload);
    else
        t->damaged++;
}

/* A chunk that is not decoded: after the first, with header and opening block, each that is more than a heartbeat is one message. Of one channel, so
 * it is known which. */
static void on_light_chunk(struct subscriber *s, struct tally *t) {
    enum { HEARTBEAT = 5 };
    struct payload p = {.number = s->next, .seq = s->next, .channel = s->channel};
    p.sent_ns = t->sent[p.number % SUBSCRIBER_WINDOW].sent_ns;
    if (s->begun && s->chunk_size > HEARTBEAT)
        count_message(s, t, &p);
    s->begun = true;
}

static bool begins(const char *line, size_t len, const char *with) {
    size_t n = strlen(with);
    return len >= n && memcmp(line, with, n) == 0;
}

/* `line` holds the first SUBSCRIBER_LINE bytes of a line of `len`. */
static void on_event_line(struct subscriber *s, struct tally *t, const char *line, size_t len, char last) {
    if (len == 0) {
        if (s->gap)
            t->gaps++;
        else if (s->has_data && !s->named)
            on_message(s, t);
        s->named = s->gap = s->has_data = false;
    } else if (begins(line, len, "data: ")) {
        on_data(s, t, line, len, last);
    } else if (begins(line, len, "event: ")) {
        s->named = true;
        s->gap = begins(line, len, "event: sluice.gap");
    } else if (s->keep_ids && begins(line, len, "id: ") && len - 4 < SUBSCRIBER_ID) {
        memcpy(s->id, line + 4, len - 4);
        s->id[len - 4] = '\0';
    }
}

static void on_head_line(struct subscriber *s, struct tally *t, const char *line, size_t len) {
    if (len && line[len - 1] == '\r')
        len--;
    if (len == 0) {
        s->state = SUBSCRIBER_OPEN;
        t->opened++;
    } else if (begins(line, len, "HTTP/1.")) {
        if (!begins(line + 8, len - 8, " 200"))
            t->refused++;
    } else if (len == 26 && strncasecmp(line, "transfer-encoding: chunked", 26) == 0) {
        s->chunked = true;
    } else if (len == 22 && strncasecmp(line, "content-encoding: gzip", 22) == 0) {
        s->coded = true;
        if (s->light)
            return;
        s->gunzip = calloc(1, sizeof *s->gunzip);
        if (!s->gunzip || inflateInit2(s->gunzip, 16 + MAX_WBITS) != Z_OK)
            abort(); /* out of memory: no figure is worth anything */
    }
}

/* --- lines -------------------------------------------------------------------------------------- */

static void keep(struct subscriber *s, const struct tally *t, const char *data, size_t len) {
    if (t->feed)
        s->crc = crc_of(s->crc, data, len);
    size_t room = SUBSCRIBER_LINE - s->kept, take = len < room ? len : room;
    if (len == 0)
        return;
    memcpy(s->line + s->kept, data, take);
    s->kept = (uint8_t)(s->kept + take);
    s->line_len += (uint32_t)len;
    s->last = data[len - 1];
}

/* Takes lines of the state that the subscriber is in. Returns how much was used: all, or up to where that state ends. */
static size_t take_lines(struct subscriber *s, struct tally *t, const char *data, size_t len) {
    uint8_t state = s->state;
    size_t used = 0;
    while (used < len && s->state == state) {
        const char *line = data + used;
        const char *end = memchr(line, '\n', len - used);
        if (!end) {
            keep(s, t, line, len - used);
            return len;
        }
        size_t line_len = (size_t)(end - line);
        used += line_len + 1;
        char last = line_len ? end[-1] : s->last;
        if (s->line_len) {
            keep(s, t, line, line_len);
            line = s->line;
            line_len = s->line_len;
            last = s->last;
        } else if (t->feed) {
            s->crc = crc_of(0, line, line_len);
        }
        if (state == SUBSCRIBER_OPEN)
            on_event_line(s, t, line, line_len, last);
        else
            on_head_line(s, t, line, line_len < SUBSCRIBER_LINE ? line_len : SUBSCRIBER_LINE);
        s->line_len = 0;
        s->kept = 0;
        s->crc = 0;
    }
    return used;
}

/* --- chunks ------------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes gzip, where the body is coded. What is no gzip, or no longer, is damage. */
static void take_body(struct subscriber *s, struct tally *t, const char *data, size_t len) {
    z_stream *z = s->gunzip;
    if (s->coded && s->light)
        return;
    if (!z) {
        take_lines(s, t, data, len);
        return;
    }
    z->next_in = (Bytef *)(uintptr_t)data;
    z->avail_in = (uInt)len;
    do {
        z->next_out = (Bytef *)t->text;
        z->avail_out = sizeof t->text;
        int rc = inflate(z, Z_SYNC_FLUSH);
        if (rc != Z_OK && rc != Z_BUF_ERROR && rc != Z_STREAM_END) {
            t->damaged++;
            return;
        }
        take_lines(s, t, t->text, sizeof t->text - z->avail_out);
        if (rc == Z_STREAM_END)
            return;
    } while (z->avail_in > 0 || z->avail_out == 0);
}

static void take_chunks(struct subscriber *s, struct tally *t, const char *data, size_t len) {
    while (len > 0) {
        if (s->chunk_step == CHUNK_DATA) {
            size_t n = len < s->chunk_left ? len : (size_t)s->chunk_left;
            take_body(s, t, data, n);
            data += n;
            len -= n;
            s->chunk_left -= n;
            if (s->chunk_left == 0) {
                s->chunk_step = CHUNK_END;
                if (s->coded && s->light)
                    on_light_chunk(s, t);
            }
            continue;
        }
        char c = *data++;
        len--;
        if (s->chunk_step == CHUNK_END) {
            if (c == '\n')
                s->chunk_step = CHUNK_SIZE;
        } else if (s->chunk_step == CHUNK_OVER) {
            return;
        } else if (c == '\n') {
            s->chunk_step = s->chunk_left ? CHUNK_DATA : CHUNK_OVER;
            s->chunk_size = s->chunk_left;
        } else if (s->chunk_step == CHUNK_SIZE && hex_digit(c) >= 0) {
            s->chunk_left = s->chunk_left * 16 + (unsigned)hex_digit(c);
        } else {
            s->chunk_step = CHUNK_EXTENSION;
        }
    }
}

/* --- the connection ----------------------------------------------------------------------------- */

int subscriber_open(struct subscriber *s, const struct target *t, size_t index, uint32_t channel, uint32_t next, const char *last_id) {
    char request[TARGET_REQUEST_BYTES];
    size_t len = target_stream_request(t, index, channel, last_id, request);
    char *id = s->id, *first_id = s->first_id;
    bool keep_ids = s->keep_ids, light = s->light;
    int fd = target_connect(t, index, 0);
    if (fd < 0)
        return fd;
    *s = (struct subscriber){.fd = fd, .channel = channel, .next = next, .state = SUBSCRIBER_HEAD};
    s->keep_ids = keep_ids;
    s->light = light;
    s->id = id;
    s->first_id = first_id;
    int rc = target_send(fd, request, len);
    if (rc)
        subscriber_close(s);
    return rc;
}

static void take(struct subscriber *s, struct tally *t, const char *data, size_t len) {
    if (s->state == SUBSCRIBER_HEAD) {
        size_t used = take_lines(s, t, data, len);
        data += used;
        len -= used;
    }
    if (len == 0)
        return;
    t->wire += len;
    if (s->chunked)
        take_chunks(s, t, data, len);
    else
        take_body(s, t, data, len);
}

bool subscriber_read(struct subscriber *s, struct tally *t, bool may_have_more) {
    for (;;) {
        ssize_t n = recv(s->fd, t->scratch, sizeof t->scratch, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0) {
            t->ended++;
            subscriber_close(s);
            return false;
        }
        t->now_ns = now_ns();
        take(s, t, t->scratch, (size_t)n);
        if ((size_t)n < sizeof t->scratch && !may_have_more)
            return true;
    }
}

void subscriber_close(struct subscriber *s) {
    if (s->state == SUBSCRIBER_CLOSED)
        return;
    close(s->fd);
    if (s->gunzip)
        inflateEnd(s->gunzip);
    free(s->gunzip);
    s->gunzip = NULL;
    s->fd = -1;
    s->state = SUBSCRIBER_CLOSED;
}
