/* SPDX-License-Identifier: MIT */
/* The benchmark's figures count only as much as its checks: each kind of fault must be seen, and nothing else. */
#include <stdlib.h>
#include <sys/socket.h>

#include "check.h"

#include "../../bench/feed.c"
#include "../../bench/measure.c"
#include "../../bench/payload.c"
#include "../../bench/subscriber.c"
#include "../../bench/target.c"

enum { SIZE = 128 };

static const char CHUNKED[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
static const char PLAIN[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hi\n\n";

/* A subscriber with the server's end of its connection. */
struct rig {
    struct subscriber s;
    struct tally *t;
    int server;
};

static struct rig rig_new(void) {
    struct rig r = {.t = calloc(1, sizeof(struct tally))};
    int pair[2];
    if (!r.t || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        abort();
    r.s = (struct subscriber){.fd = pair[0], .state = SUBSCRIBER_HEAD};
    r.server = pair[1];
    r.t->bytes = SIZE;
    return r;
}

static void rig_free(struct rig *r) {
    subscriber_close(&r->s);
    if (r->server >= 0)
        close(r->server);
    free(r->t);
}

/* Sends text in pieces of at most `piece` bytes, each of which is read alone. */
static void feed(struct rig *r, const char *text, size_t len, size_t piece) {
    while (len > 0) {
        size_t n = len < piece ? len : piece;
        if (send(r->server, text, n, 0) != (ssize_t)n)
            abort();
        subscriber_read(&r->s, r->t, false);
        text += n;
        len -= n;
    }
}

static void feed_text(struct rig *r, const char *text) {
    feed(r, text, strlen(text), strlen(text));
}

/* Writes the event of message `seq`; returns its length. */
static size_t event_of(char *out, uint32_t seq) {
    struct payload p = {.number = seq, .seq = seq, .sent_ns = 1};
    size_t n = (size_t)sprintf(out, "id: 17-%u\ndata: ", seq);
    payload_fill(out + n, SIZE);
    payload_stamp(out + n, &p);
    memcpy(out + n + SIZE, "\n\n", 2);
    return n + SIZE + 2;
}

static void feed_event(struct rig *r, uint32_t seq) {
    char event[512];
    feed(r, event, event_of(event, seq), sizeof event);
}

TEST(a_good_stream_is_counted_however_it_is_cut) {
    char text[4096], event[512];
    for (size_t piece = 1; piece < 300; piece += piece < 20 ? 1 : 37) {
        struct rig r = rig_new();
        size_t len = (size_t)sprintf(text, "%s1b\r\nevent: sluice.open\ndata: x\n\r\n2\r\n\n:\r\n1\r\n\n\r\n", CHUNKED);
        for (uint32_t seq = 0; seq < 5; seq++) {
            size_t n = event_of(event, seq), half = n / 2;
            event[n] = '\0';
            /* An event may be cut by chunks, too. */
            len += (size_t)sprintf(text + len, "%zx\r\n%.*s\r\n%zX;x=1\r\n%s\r\n", half, (int)half, event, n - half, event + half);
        }
        CHECK_NOTE("pieces of %zu", piece);
        tally_sent(r.t, 4, 1);
        feed(&r, text, len, piece);
        CHECK_EQ_INT(r.t->opened, 1);
        CHECK_EQ_INT(r.t->received, 5);
        CHECK_EQ_INT(r.t->undelivered, 0);
        CHECK_EQ_INT(r.t->latency.count, 5);
        CHECK(!tally_failed(r.t));
        rig_free(&r);
    }
}

TEST(a_stream_without_chunks_is_read) {
    struct rig r = rig_new();
    feed_text(&r, PLAIN);
    feed_event(&r, 0);
    feed_event(&r, 1);
    CHECK_EQ_INT(r.t->received, 2);
    CHECK(!tally_failed(r.t));
    rig_free(&r);
}

TEST(a_lost_message_is_seen) {
    struct rig r = rig_new();
    feed_text(&r, PLAIN);
    feed_event(&r, 0);
    feed_event(&r, 3);
    CHECK_EQ_INT(r.t->skipped, 2);
    CHECK(tally_failed(r.t));
    rig_free(&r);
}

TEST(a_repeated_and_a_misordered_message_are_seen) {
    struct rig r = rig_new();
    feed_text(&r, PLAIN);
    feed_event(&r, 0);
    feed_event(&r, 0);
    CHECK_EQ_INT(r.t->late, 1);
    CHECK_EQ_INT(r.t->received, 1);
    feed_event(&r, 2);
    feed_event(&r, 1);
    CHECK_EQ_INT(r.t->late, 2);
    CHECK_EQ_INT(r.t->skipped, 1);
    rig_free(&r);
}

TEST(a_message_of_other_bytes_is_seen) {
    static const struct {
        const char *name;
        size_t at;
        char byte;
    } CASES[] = {{"digit", 14, 'q'}, {"channel", 6 + 26, '1'}, {"mark", 6 + PAYLOAD_MARK_AT, 'm'}, {"end", 6 + SIZE - 1, 'x'}, {"short", 6 + 100, '\n'}};
    char event[512];
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct rig r = rig_new();
        size_t n = event_of(event, 0), line = 8; /* behind "id: 17-0" and LF */
        feed_text(&r, PLAIN);
        event[line + 1 + CASES[i].at] = CASES[i].byte;
        feed(&r, event, n, n);
        CHECK_NOTE("%s", CASES[i].name);
        CHECK_EQ_INT(r.t->damaged, 1);
        CHECK_EQ_INT(r.t->received, 0);
        rig_free(&r);
    }
}

TEST(a_mark_of_its_own_must_be_there_and_stay) {
    char event[512];
    struct rig r = rig_new();
    r.t->marked = true;
    feed_text(&r, PLAIN);
    for (uint32_t seq = 0; seq < 2; seq++) {
        size_t n = event_of(event, seq);
        memcpy(event + 9 + 6 + PAYLOAD_MARK_AT, "0123abcd", PAYLOAD_MARK);
        feed(&r, event, n, n);
    }
    CHECK_EQ_INT(r.t->received, 2);
    feed_event(&r, 2);
    CHECK_EQ_INT(r.t->damaged, 1);
    size_t n = event_of(event, 3);
    memcpy(event + 9 + 6 + PAYLOAD_MARK_AT, "0123abce", PAYLOAD_MARK);
    feed(&r, event, n, n);
    CHECK_EQ_INT(r.t->damaged, 2);
    rig_free(&r);
}

TEST(gaps_refusals_and_ends_are_seen) {
    struct rig r = rig_new();
    feed_text(&r, "HTTP/1.1 503 Service Unavailable\r\n\r\n");
    CHECK_EQ_INT(r.t->refused, 1);
    feed_text(&r, "event: sluice.gap\ndata: {}\n\n");
    CHECK_EQ_INT(r.t->gaps, 1);
    close(r.server);
    r.server = -1;
    CHECK(!subscriber_read(&r.s, r.t, true));
    CHECK_EQ_INT(r.t->ended, 1);
    rig_free(&r);
}

TEST(quantiles_are_within_their_bucket) {
    struct histogram *h = calloc(1, sizeof *h);
    REQUIRE(h);
    CHECK_EQ_INT(histogram_quantile(h, 0.5), 0);
    for (uint64_t i = 1; i <= 100000; i++)
        histogram_add(h, i * 1000);
    CHECK(llabs((long long)histogram_quantile(h, 0.5) - 50000000) < 800000);
    CHECK(llabs((long long)histogram_quantile(h, 0.99) - 99000000) < 1600000);
    CHECK_EQ_INT(h->max, 100000000);
    CHECK(histogram_quantile(h, 1) <= h->max);
    histogram_add(h, UINT64_MAX);
    CHECK(histogram_quantile(h, 1) > 100000000);
    free(h);
}

/* --- a feed, in gzip ---------------------------------------------------------------------------- */

static const char GZIPPED[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n";

/* Writes the event of message `seq` of a feed, and notes it as sent. Returns its length. */
static size_t quotes_of(struct rig *r, struct feed *f, char *out, uint32_t seq, size_t size) {
    struct payload p = {.number = seq, .seq = seq};
    size_t n = (size_t)sprintf(out, "id: 17-%u\ndata: ", seq);
    size_t len = feed_write(f, &p, UINT64_C(1700000000000) + seq, size, out + n);
    tally_sent_data(r->t, seq, out + n, len, 1);
    memcpy(out + n + len, "\n\n", 2);
    return n + len + 2;
}

/* Compresses text as the next part of one stream of gzip. Returns the length. */
static size_t compress_part(z_stream *z, const char *text, size_t len, char *out, size_t room) {
    z->next_in = (Bytef *)(uintptr_t)text;
    z->avail_in = (uInt)len;
    z->next_out = (Bytef *)out;
    z->avail_out = (uInt)room;
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK)
        abort();
    return room - z->avail_out;
}

TEST(a_feed_in_gzip_is_read_however_it_is_cut_and_damage_is_seen) {
    static char event[40000], coded[40000];
    for (size_t piece = 1; piece < 3000; piece += piece < 5 ? 1 : 997) {
        struct rig r = rig_new();
        struct feed f;
        z_stream z = {0};
        REQUIRE(deflateInit2(&z, 6, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
        r.t->feed = true;
        feed_init(&f, 1);
        feed_text(&r, GZIPPED);
        for (uint32_t seq = 0; seq < 6; seq++) {
            size_t len = quotes_of(&r, &f, event, seq, seq % 2 ? 20000 : 100);
            if (seq == 4)
                event[len - 10] ^= 1; /* of the last size */
            len = compress_part(&z, event, len, coded, sizeof coded);
            feed(&r, coded, len, piece);
        }
        CHECK_NOTE("pieces of %zu", piece);
        CHECK_EQ_INT(r.t->received, 5);
        CHECK_EQ_INT(r.t->damaged, 1);
        CHECK_EQ_INT(r.t->skipped, 1);
        uint64_t damaged = r.t->damaged;
        feed(&r, "no blocks of deflate", 20, 20);
        CHECK(r.t->damaged > damaged);
        deflateEnd(&z);
        rig_free(&r);
    }
}

TEST(a_feed_is_the_same_for_the_same_seed_and_of_about_the_size_that_is_asked_for) {
    static char one[20000], two[20000];
    static const size_t SIZES[] = {58, 128, 256, 1024, 16384};
    struct feed a, b;
    feed_init(&a, 7);
    feed_init(&b, 7);
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        for (uint32_t n = 0; n < 100; n++) {
            struct payload p = {.number = n, .seq = n + 1, .channel = 3}, back;
            size_t len = feed_write(&a, &p, 1, SIZES[i], one);
            CHECK_EQ_INT(feed_write(&b, &p, 1, SIZES[i], two), len);
            CHECK(memcmp(one, two, len) == 0);
            CHECK(len < SIZES[i] + FEED_SLACK && len + FEED_SLACK > SIZES[i]);
            CHECK(feed_read(one, SUBSCRIBER_LINE - 6, &back));
            CHECK(back.number == n && back.seq == n + 1 && back.channel == 3);
        }
    }
}

CHECK_MAIN()
