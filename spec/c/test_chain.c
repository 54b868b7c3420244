/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>

#include "check.h"
#include "check_alloc.h"
#include "check_random.h"
#include "messages.h"

#include "../../core/chain.c"
#include "../../core/message.c"

#include "../../core/gunzip.h"

enum { LEVEL = 6, MIN_BYTES = 256, IDLE_MS = 60000, NOW = 1000000 };

static struct metrics metrics;

static struct chains *make_chains_of(size_t min_bytes) {
    struct chains *c = chains_new(LEVEL, min_bytes, IDLE_MS);
    if (!c)
        abort();
    memset(&metrics, 0, sizeof metrics);
    return c;
}

static struct coder *make_coder(struct chains *c) {
    struct coder *coder = coder_new(c, &metrics);
    if (!coder)
        abort();
    return coder;
}

static struct message *quote(unsigned number) {
    char data[600];
    int len = snprintf(data, sizeof data, "{\"symbol\":\"SYM%u\",\"number\":%u,\"bid\":%u.25,\"ask\":%u.75}%*s", number % 50, number, 100 + number % 7,
                       101 + number % 7, number % 3 ? 0 : 400, "");
    struct message *m = message_new(slice_of("quotes"), slice_of("quote"), slice_make(data, (size_t)len));
    if (!m)
        abort();
    message_seal(m, id_of(NOW + number, number));
    return m;
}

/* A gzip stream as one is sent, and what it should say. */
struct reader {
    struct buf coded, text;
    struct gzip_sum sum;
    uint64_t next;
    size_t chained;
};

static void reader_begin(struct reader *r) {
    *r = (struct reader){0};
    CHECK_EQ_INT(buf_append_slice(&r->coded, gzip_header()), 0);
}

static void take_form(struct reader *r, const struct message *form, const struct message *m) {
    CHECK_EQ_INT(buf_append_slice(&r->coded, message_wire(form, false)), 0);
    CHECK_EQ_INT(buf_append_slice(&r->text, message_wire(m, false)), 0);
    gzip_sum_add(&r->sum, &form->part);
}

/* Sends a message as a stream does. */
static void take(struct reader *r, struct coder *coder, struct chain *chain, struct message *m, uint64_t now_ms) {
    coder_begin(coder);
    const struct chain_link *link = chain ? coder_link(coder, chain, m, r->next, now_ms) : NULL;
    if (link && chain_link_fits(link, r->next)) {
        take_form(r, link->message, m);
        r->next = link->serial + 1;
        r->chained++;
        return;
    }
    struct message *whole = coder_whole(coder, m);
    CHECK(whole != NULL);
    if (whole)
        take_form(r, whole, m);
    r->next = 0;
}

static void reader_end(struct reader *r) {
    char trailer[GZIP_TRAILER_BYTES];
    struct buf out = {0};
    struct gunzip *g = gunzip_new();
    gzip_trailer(&r->sum, trailer);
    CHECK_EQ_INT(buf_append(&r->coded, trailer, sizeof trailer), 0);
    if (!g)
        abort();
    CHECK_EQ_INT(gunzip_feed(g, buf_slice(&r->coded), &out), 0);
    CHECK_EQ_MEM(out.data, out.len, r->text.data, r->text.len);
    gunzip_free(g);
    buf_deinit(&out);
    buf_deinit(&r->coded);
    buf_deinit(&r->text);
}

TEST(a_whole_form_is_made_once_and_goes_with_its_message) {
    struct chains *c = make_chains_of(MIN_BYTES);
    struct coder *one = make_coder(c), *other = make_coder(c);
    struct message *small = quote(1), *large = quote(3);
    struct message *form = coder_whole(one, large);
    REQUIRE(form != NULL);
    CHECK(coder_whole(other, large) == form);
    CHECK(message_whole(large) == form);
    CHECK(message_wire(form, false).len < message_wire(large, false).len / 3);
    CHECK_EQ_INT(form->part.len, message_wire(large, false).len);
    form = coder_whole(other, small);
    REQUIRE(form != NULL);
    CHECK_EQ_INT(message_wire(form, false).len, message_wire(small, false).len + 5); /* stored */
    CHECK_EQ_INT(metrics_get(&metrics, gzip_forms), 2);
    message_release(small);
    message_release(large);
    coder_free(one);
    coder_free(other);
    chains_free(c);
}

TEST(the_first_stream_is_chained_from_its_first_message_and_others_join_when_it_begins_anew) {
    struct chains *c = make_chains_of(MIN_BYTES);
    struct coder *coder = make_coder(c);
    struct chain *chain = chain_open(c, slice_of("quotes")), *same = chain_open(c, slice_of("quotes"));
    struct reader first, late;
    CHECK(chain == same);
    reader_begin(&first);
    reader_begin(&late);
    for (unsigned i = 1; i <= CHAIN_MESSAGES + 10; i++) {
        struct message *m = quote(i);
        take(&first, coder, chain, m, NOW);
        if (i > 10)
            take(&late, coder, chain, m, NOW);
        message_release(m);
        CHECK_EQ_INT(first.chained, i);
        CHECK_EQ_INT(late.chained, i > CHAIN_MESSAGES ? i - CHAIN_MESSAGES : 0);
    }
    CHECK_EQ_INT(metrics_get(&metrics, gzip_links), CHAIN_MESSAGES + 10);
    CHECK_EQ_INT(metrics_get(&metrics, gzip_forms), CHAIN_MESSAGES - 10);
    CHECK(first.coded.len < late.coded.len);
    reader_end(&first);
    reader_end(&late);
    chain_close(c, chain);
    chain_close(c, same);
    coder_free(coder);
    chains_free(c);
}

TEST(a_stream_alone_does_not_wait_for_its_chain) {
    struct chains *c = make_chains_of(MIN_BYTES);
    struct coder *coder = make_coder(c);
    struct chain *chain = chain_open(c, slice_of("mine"));
    struct reader r;
    reader_begin(&r);
    for (unsigned i = 1; i <= 20; i++) {
        struct message *m = quote(i);
        if (i % 5 == 0) { /* something of its own in between */
            take(&r, coder, NULL, m, NOW);
        } else {
            take(&r, coder, chain, m, NOW);
        }
        message_release(m);
    }
    CHECK_EQ_INT(r.chained, 16);
    reader_end(&r);
    chain_close(c, chain);
    coder_free(coder);
    chains_free(c);
}

TEST(a_chain_begins_anew_when_it_is_old_or_was_silent) {
    struct chains *c = make_chains_of(MIN_BYTES);
    struct coder *coder = make_coder(c);
    struct chain *chain = chain_open(c, slice_of("quotes"));
    chain_open(c, slice_of("quotes"));
    uint64_t now = NOW, begun = 0;
    static const struct {
        uint64_t wait_ms;
        bool begins;
    } steps[] = {{0, true},           {IDLE_MS - 1, false}, {IDLE_MS - 1, false}, {IDLE_MS, true},      {IDLE_MS - 1, false},
                 {IDLE_MS - 1, false}, {IDLE_MS - 1, false}, {IDLE_MS - 1, false}, {IDLE_MS - 1, false}, {5, true}};
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        now += steps[i].wait_ms;
        struct message *m = quote(i + 1);
        const struct chain_link *link = coder_link(coder, chain, m, 0, now);
        CHECK_NOTE("step %u", i);
        REQUIRE(link != NULL);
        CHECK_EQ_INT(link->begins, steps[i].begins);
        if (link->begins)
            begun++;
        message_release(m);
        coder_begin(coder);
    }
    CHECK_EQ_INT(begun, 3);
    chain_close(c, chain);
    chain_close(c, chain);
    coder_free(coder);
    chains_free(c);
}

TEST(links_of_different_chains_and_times_never_fit_one_another) {
    struct chains *c = make_chains_of(MIN_BYTES);
    struct coder *coder = make_coder(c);
    struct chain *chains[3];
    uint64_t seen[3 * 200];
    size_t count = 0;
    for (int i = 0; i < 3; i++) {
        chains[i] = chain_open(c, slice_make(&"abc"[i], 1));
        chain_open(c, slice_make(&"abc"[i], 1));
    }
    for (unsigned n = 1; n <= 200; n++) {
        struct message *m = quote(n);
        for (int i = 0; i < 3; i++) {
            const struct chain_link *link = coder_link(coder, chains[i], m, 0, NOW);
            REQUIRE(link != NULL);
            for (size_t k = 0; k < count; k++)
                CHECK(seen[k] != link->serial);
            seen[count++] = link->serial;
        }
        coder_begin(coder);
        message_release(m);
    }
    for (int i = 0; i < 3; i++) {
        chain_close(c, chains[i]);
        chain_close(c, chains[i]);
    }
    coder_free(coder);
    chains_free(c);
}

TEST(only_so_many_chains_live_and_the_least_recently_used_goes_first) {
    enum { SETS = CHAIN_LIVE + 1 };
    struct chains *c = make_chains_of(MIN_BYTES);
    struct coder *coder = make_coder(c);
    struct chain *sets[SETS];
    unsigned number = 0;
    for (int i = 0; i < SETS; i++) {
        char key[16];
        snprintf(key, sizeof key, "set %d", i);
        sets[i] = chain_open(c, slice_of(key));
        chain_open(c, slice_of(key));
    }
    for (int i = 0; i < SETS; i++) {
        struct message *m = quote(++number);
        CHECK_NOTE("set %d", i);
        CHECK((coder_link(coder, sets[i], m, 0, NOW + (uint64_t)i) != NULL) == (i < CHAIN_LIVE));
        coder_begin(coder);
        message_release(m);
    }
    /* When the hold is over, the last one takes the window of set 0; set 1 still goes on where it was. */
    struct message *m = quote(++number);
    const struct chain_link *link = coder_link(coder, sets[SETS - 1], m, 0, NOW + SETS + CHAIN_HOLD_MS);
    CHECK(link && link->begins);
    coder_begin(coder);
    message_release(m);
    m = quote(++number);
    link = coder_link(coder, sets[1], m, 0, NOW + SETS + CHAIN_HOLD_MS);
    CHECK(link && !link->begins);
    coder_begin(coder);
    message_release(m);
    /* Set 0 comes back with a new beginning, in the window of set 2. */
    m = quote(++number);
    link = coder_link(coder, sets[0], m, 0, NOW + SETS + CHAIN_HOLD_MS);
    CHECK(link && link->begins);
    coder_begin(coder);
    message_release(m);
    m = quote(++number);
    link = coder_link(coder, sets[3], m, 0, NOW + SETS + CHAIN_HOLD_MS);
    CHECK(link && !link->begins);
    message_release(m);
    for (int i = 0; i < SETS; i++) {
        chain_close(c, sets[i]);
        chain_close(c, sets[i]);
    }
    CHECK_EQ_INT(c->table.count, 0);
    coder_free(coder);
    chains_free(c);
}

TEST(parts_that_are_added_together_are_those_added_one_by_one) {
    struct chains *c = make_chains_of(MIN_BYTES);
    struct coder *coder = make_coder(c);
    struct check_random r = check_random_of(3);
    struct gzip_part parts[8];
    const struct gzip_part *refs[CHAIN_BATCH];
    for (int i = 0; i < 8; i++) {
        char text[100];
        size_t len = check_random_below(&r, 3) ? check_random_below(&r, 100) : 0;
        for (size_t k = 0; k < len; k++)
            text[k] = (char)check_random_next(&r);
        parts[i] = gzip_part_of(slice_make(text, len));
    }
    for (int round = 0; round < 300; round++) {
        struct gzip_sum sum = {(uint32_t)check_random_next(&r), (uint32_t)check_random_next(&r)}, wanted = sum;
        size_t count = 1 + check_random_below(&r, round % 2 ? 3 : CHAIN_BATCH);
        for (size_t i = 0; i < count; i++) {
            refs[i] = &parts[check_random_below(&r, 8)];
            gzip_sum_add(&wanted, refs[i]);
        }
        struct gzip_sum again = sum;
        coder_sum(coder, &sum, refs, count);
        coder_sum(coder, &again, refs, count);
        CHECK(sum.crc == wanted.crc && sum.len == wanted.len);
        CHECK(again.crc == wanted.crc && again.len == wanted.len);
    }
    coder_free(coder);
    chains_free(c);
}

/* Messages that come while two threads send them to streams of their own, which drop in and out. */
enum { THREADS = 2, STREAMS = 6, MESSAGES = 600 };

struct racer {
    struct chains *chains;
    struct coder *coder;
    struct chain *chain;
    struct metrics metrics;
    struct message **messages;
    unsigned seed;
    size_t chained;
    struct reader readers[STREAMS];
};

static void *race(void *argument) {
    struct racer *racer = argument;
    struct check_random r = check_random_of(racer->seed);
    for (int i = 0; i < STREAMS; i++) {
        reader_begin(&racer->readers[i]);
        chain_open(racer->chains, slice_of("quotes"));
    }
    for (unsigned n = 0; n < MESSAGES; n++) {
        for (int i = 0; i < STREAMS; i++) {
            struct reader *reader = &racer->readers[i];
            if (check_random_once_in(&r, 40)) /* filtered out */
                continue;
            take(reader, racer->coder, check_random_once_in(&r, 40) ? NULL : racer->chain, racer->messages[n], NOW + n);
            if (check_random_once_in(&r, 10))
                CHECK_EQ_INT(buf_append_slice(&reader->coded, gzip_nothing()), 0);
        }
    }
    return NULL;
}

TEST(workers_that_race_make_each_form_once_and_all_their_streams_are_whole) {
    for (unsigned seed = 1; seed <= 5; seed++) {
        static struct racer racers[THREADS];
        struct message *messages[MESSAGES];
        struct chains *c = make_chains_of(MIN_BYTES);
        pthread_t threads[THREADS];
        uint64_t forms = 0, links = 0;
        size_t wholes = 0, chained = 0;
        for (unsigned n = 0; n < MESSAGES; n++)
            messages[n] = quote(n + 1);
        for (unsigned i = 0; i < THREADS; i++) {
            racers[i] = (struct racer){.chains = c, .messages = messages, .seed = seed * 10 + i, .chain = chain_open(c, slice_of("quotes"))};
            racers[i].coder = coder_new(c, &racers[i].metrics);
            REQUIRE(racers[i].coder != NULL);
        }
        for (unsigned i = 0; i < THREADS; i++)
            REQUIRE(pthread_create(&threads[i], NULL, race, &racers[i]) == 0);
        for (unsigned i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        CHECK_NOTE("seed %u", seed);
        for (unsigned i = 0; i < THREADS; i++) {
            forms += metrics_get(&racers[i].metrics, gzip_forms);
            links += metrics_get(&racers[i].metrics, gzip_links);
            for (int k = 0; k < STREAMS; k++) {
                chained += racers[i].readers[k].chained;
                reader_end(&racers[i].readers[k]);
                chain_close(c, racers[i].chain);
            }
            chain_close(c, racers[i].chain);
            coder_free(racers[i].coder);
        }
        for (unsigned n = 0; n < MESSAGES; n++) {
            wholes += message_whole(messages[n]) != NULL;
            CHECK_EQ_INT(refs_of(messages[n]), 1);
            message_release(messages[n]);
        }
        CHECK_EQ_INT(forms, wholes);
        CHECK(links <= MESSAGES);
        CHECK(chained > 0);
        chains_free(c);
    }
}

TEST(ids_of_a_log_that_began_anew_are_other_messages) {
    struct chains *c = make_chains_of(MIN_BYTES);
    struct coder *coder = make_coder(c), *late = make_coder(c);
    struct chain *chain = chain_open(c, slice_of("quotes"));
    struct reader one, two;
    struct message *m[4];
    reader_begin(&one);
    reader_begin(&two);
    for (unsigned i = 0; i < 4; i++) {
        m[i] = i < 2 ? quote(i + 1) : message_new(slice_of("quotes"), slice_make(NULL, 0), slice_of(i == 2 ? "another first" : "another second"));
        m[i]->epoch = 1 + i / 2;
        if (i >= 2)
            message_seal(m[i], m[i - 2]->id);
    }
    for (unsigned i = 0; i < 4; i++)
        take(&one, coder, chain, m[i], NOW);
    CHECK_EQ_INT(one.chained, 4); /* the chain goes on, though the ids went back */
    for (unsigned i = 0; i < 4; i++)
        take(&two, late, chain, m[i], NOW); /* a worker that is behind still finds those of the old log */
    CHECK_EQ_INT(two.chained, 4);
    reader_end(&one);
    reader_end(&two);
    for (unsigned i = 0; i < 4; i++)
        message_release(m[i]);
    chain_close(c, chain);
    coder_free(coder);
    coder_free(late);
    chains_free(c);
}

TEST(want_of_memory_loses_a_form_and_nothing_else) {
    for (int n = 0, reached = 1; reached; n++) {
        struct chains *c = make_chains_of(MIN_BYTES);
        struct coder *coder = make_coder(c);
        struct chain *chain = chain_open(c, slice_of("quotes"));
        struct reader r;
        struct message *m[4];
        reader_begin(&r);
        REQUIRE(buf_reserve(&r.coded, 10000) == 0 && buf_reserve(&r.text, 10000) == 0);
        for (unsigned i = 0; i < 4; i++)
            m[i] = quote(i + 1);
        take(&r, coder, chain, m[0], NOW);
        check_alloc_fail_at(n);
        coder_begin(coder);
        const struct chain_link *link = coder_link(coder, chain, m[1], r.next, NOW);
        struct message *whole = coder_whole(coder, m[1]);
        reached = check_alloc_disarm();
        CHECK(!reached || !link || !whole);
        CHECK(link || whole);
        if (link && chain_link_fits(link, r.next)) {
            take_form(&r, link->message, m[1]);
            r.next = link->serial + 1;
        } else if (whole) {
            take_form(&r, whole, m[1]);
            r.next = 0;
        }
        take(&r, coder, chain, m[2], NOW);
        take(&r, coder, chain, m[3], NOW);
        reader_end(&r);
        for (unsigned i = 0; i < 4; i++)
            message_release(m[i]);
        chain_close(c, chain);
        coder_free(coder);
        chains_free(c);
    }
}

CHECK_MAIN()
