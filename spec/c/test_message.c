/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"
#include "check_random.h"

#include "../../core/message.c"

static const struct message_id ID = {1700000000123, 45};
static const struct slice NONE = {NULL, 0};

static const char *text_of(struct message_id id) {
    static char text[MESSAGE_ID_BYTES];
    message_id_format(text, id);
    return text;
}

static struct message *sealed(const char *event, struct slice data, struct message_id id) {
    struct message *m = message_new(slice_of("news"), slice_of(event), data);
    if (!m)
        abort();
    message_seal(m, id);
    return m;
}

/* --- ids ---------------------------------------------------------------------------------------- */

TEST(ids_are_written_and_read_back) {
    static const struct {
        struct message_id id;
        const char *text;
    } CASES[] = {
        {{0, 0}, "0-0"},
        {{1700000000123, 0}, "1700000000123-0"},
        {{9, 10}, "9-10"},
        {{UINT64_MAX, UINT64_MAX}, "18446744073709551615-18446744073709551615"},
        {{UINT64_MAX, 0}, "18446744073709551615-0"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char text[MESSAGE_ID_BYTES + 1] = {0};
        struct message_id back;
        text[MESSAGE_ID_BYTES] = '!';
        CHECK_EQ_INT(message_id_format(text, CASES[i].id), strlen(CASES[i].text));
        CHECK_EQ_STR(text[MESSAGE_ID_BYTES] == '!' ? text : "it wrote too far", CASES[i].text);
        CHECK(message_id_parse(slice_of(CASES[i].text), &back));
        CHECK_EQ_INT(message_id_compare(back, CASES[i].id), 0);
    }
}

TEST(what_is_no_id_is_not_read_as_one) {
    static const char *const CASES[] = {
        "",
        "-",
        "1",
        "1-",
        "-1",
        "--",
        "1--1",
        "1-2-3",
        "1-2-",
        " 1-2",
        "1-2 ",
        "1 -2",
        "+1-2",
        "1-+2",
        "1--2",
        "a-b",
        "1-b",
        "a-1",
        "0x1-1",
        "1.0-1",
        "1\xe2\x80\x93 2",
        "18446744073709551616-0",
        "0-18446744073709551616",
        "99999999999999999999999999999999999999-1",
        "earliest",
        "$",
        "1-2\n",
    };
    struct message_id id;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("\"%s\"", CASES[i]);
        CHECK(!message_id_parse(slice_of(CASES[i]), &id));
    }
    CHECK(!message_id_parse(NONE, &id));
    CHECK(!message_id_parse(slice_make("1-2\0", 4), &id));
    CHECK(!message_id_parse(slice_make("1-234", 2), &id)); /* no look beyond the slice */
    CHECK(message_id_parse(slice_make("1-234", 3), &id) && id.n == 2);
    CHECK(message_id_parse(slice_of("007-08"), &id) && id.ms == 7 && id.n == 8);
}

TEST(ids_are_ordered_by_time_then_by_number) {
    static const struct message_id ORDER[] = {
        {0, 0}, {0, 1}, {0, UINT64_MAX}, {1, 0}, {1, 1}, {UINT64_MAX, 0}, {UINT64_MAX, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof ORDER / sizeof *ORDER; i++) {
        for (size_t j = 0; j < sizeof ORDER / sizeof *ORDER; j++) {
            CHECK_NOTE("%zu, %zu", i, j);
            CHECK_EQ_INT(message_id_compare(ORDER[i], ORDER[j]), i < j ? -1 : i > j);
            CHECK(message_id_after(ORDER[i], ORDER[j]) == (i > j));
            CHECK_EQ_INT(message_id_compare(message_id_max(ORDER[i], ORDER[j]), ORDER[i > j ? i : j]), 0);
        }
    }
    CHECK_EQ_STR(text_of(message_id_before((struct message_id){5, 7})), "5-6");
    CHECK_EQ_STR(text_of(message_id_before((struct message_id){5, 0})), "4-18446744073709551615");
    CHECK_EQ_STR(text_of(message_id_before((struct message_id){0, 0})), "0-0");
}

/* --- checks ------------------------------------------------------------------------------------- */

TEST(channel_names_are_checked) {
    char longest[201];
    memset(longest, 'c', sizeof longest);
    static const struct {
        const char *name;
        bool ok;
    } CASES[] = {
        {"a", true},
        {"user.42.cart/x y:z?#%", true},
        {"K\xc3\xb6ln \xe2\x82\xac \xf0\x9f\x98\x80", true},
        {"\xc2\xa0", true}, /* U+00A0, the first that is no control character */
        {"-", true},
        {"sluice.all", true},
        {"", false},
        {"*", false},
        {"news.*", false},
        {"a\nb", false},
        {"a\tb", false},
        {"\x1f", false},
        {"\x7f", false},
        {"\xc2\x80", false}, /* U+0080 and U+009F */
        {"\xc2\x9f", false},
        {"a\xff", false},
        {"\xc3", false},
        {"\xc2", false},
        {"\xed\xa0\x80", false}, /* a surrogate */
        {"\xc0\xaa", false},     /* an overlong '*' */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const char *why = NULL;
        CHECK_NOTE("case %zu", i);
        CHECK_EQ_INT(message_check_channel(slice_of(CASES[i].name), &why), CASES[i].ok ? 0 : -EINVAL);
        CHECK((why == NULL) == CASES[i].ok);
    }
    const char *why = NULL;
    CHECK_EQ_INT(message_check_channel(slice_make(longest, 200), &why), 0);
    CHECK_EQ_INT(message_check_channel(slice_make(longest, 201), &why), -EINVAL);
    CHECK_EQ_INT(message_check_channel(slice_make("a\0b", 3), &why), -EINVAL);
    CHECK_EQ_INT(message_check_channel(NONE, &why), -EINVAL);
    longest[199] = (char)0xc2; /* a sequence that the end cuts */
    CHECK_EQ_INT(message_check_channel(slice_make(longest, 200), &why), -EINVAL);
}

static int check_parts(struct slice event, struct slice data) {
    const char *why = NULL;
    int rc = message_check(slice_of("c"), event, data, &why);
    CHECK((why != NULL) == (rc != 0));
    return rc;
}

TEST(event_types_and_data_are_checked) {
    char text[MESSAGE_EVENT_BYTES + 1];
    memset(text, 'e', sizeof text);
    CHECK_EQ_INT(check_parts(NONE, NONE), 0);
    CHECK_EQ_INT(check_parts(slice_of("t"), slice_of("x")), 0);
    CHECK_EQ_INT(check_parts(slice_of(" t:\x01"), slice_of("a\r\nb\x01")), 0);
    CHECK_EQ_INT(check_parts(NONE, slice_make("\0", 1)), 0); /* NUL is a character of data */
    CHECK_EQ_INT(check_parts(slice_of("a\nid: 9-9"), NONE), -EINVAL);
    CHECK_EQ_INT(check_parts(slice_of("a\rb"), NONE), -EINVAL);
    CHECK_EQ_INT(check_parts(slice_make("a\0b", 3), NONE), -EINVAL);
    CHECK_EQ_INT(check_parts(slice_of("\xff"), NONE), -EINVAL);
    CHECK_EQ_INT(check_parts(slice_make(text, MESSAGE_EVENT_BYTES), NONE), 0);
    CHECK_EQ_INT(check_parts(slice_make(text, MESSAGE_EVENT_BYTES + 1), NONE), -EINVAL);
    CHECK_EQ_INT(check_parts(NONE, slice_of("caf\xe9")), -EINVAL);
    CHECK_EQ_INT(check_parts(NONE, slice_of("\xf4\x90\x80\x80")), -EINVAL);
    const char *why;
    CHECK_EQ_INT(message_check(slice_of("*"), NONE, NONE, &why), -EINVAL);
}

TEST(data_beyond_all_measure_is_refused) {
    size_t most = 1 << 26;
    char *data = (malloc)(most + 1);
    memset(data, 'd', most + 1);
    CHECK_EQ_INT(check_parts(NONE, slice_make(data, most)), 0);
    CHECK_EQ_INT(check_parts(NONE, slice_make(data, most + 1)), -EMSGSIZE);
    free(data);
    CHECK(message_new_private(slice_make("", (size_t)MESSAGE_MAX + 1), true) == NULL);
}

/* --- framing ------------------------------------------------------------------------------------ */

TEST(the_wire_bytes_are_exact) {
    static const struct {
        const char *event, *data, *wire;
    } CASES[] = {
        {"", "x", "1e\r\nid: 1700000000123-45\ndata: x\n\n\r\n"},
        {"", "", "1d\r\nid: 1700000000123-45\ndata: \n\n\r\n"},
        {"tick", "1", "2a\r\nid: 1700000000123-45\nevent: tick\ndata: 1\n\n\r\n"},
        {"", "a\nb", "26\r\nid: 1700000000123-45\ndata: a\ndata: b\n\n\r\n"},
        {"", "a\r\nb", "26\r\nid: 1700000000123-45\ndata: a\ndata: b\n\n\r\n"},
        {"", "a\rb", "26\r\nid: 1700000000123-45\ndata: a\ndata: b\n\n\r\n"},
        {"", "a\n\r", "2c\r\nid: 1700000000123-45\ndata: a\ndata: \ndata: \n\n\r\n"},
        {"", "\n", "24\r\nid: 1700000000123-45\ndata: \ndata: \n\n\r\n"},
        {"", " a", "1f\r\nid: 1700000000123-45\ndata:  a\n\n\r\n"},
        {" e", "\nid: 1-1", "35\r\nid: 1700000000123-45\nevent:  e\ndata: \ndata: id: 1-1\n\n\r\n"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("case %zu", i);
        struct message *m = sealed(CASES[i].event, slice_of(CASES[i].data), ID);
        const char *wire = CASES[i].wire;
        CHECK_EQ_SLICE(message_wire(m, true), wire);
        CHECK_EQ_MEM(message_wire(m, false).ptr, message_wire(m, false).len, wire + 4, strlen(wire) - 6);
        CHECK_EQ_SLICE(message_channel(m), "news");
        CHECK_EQ_SLICE(message_event(m), CASES[i].event);
        CHECK_EQ_INT(message_id_compare(m->id, ID), 0);
        message_release(m);
    }
}

/* Appends what must come out, written the slow way. */
static void reference(struct buf *out, struct slice event, struct slice data, struct message_id id) {
    struct buf frame = {0};
    buf_appendf(&frame, "id: %llu-%llu\n", (unsigned long long)id.ms, (unsigned long long)id.n);
    if (event.len) {
        buf_append_text(&frame, "event: ");
        buf_append_slice(&frame, event);
        buf_append_char(&frame, '\n');
    }
    buf_append_text(&frame, "data: ");
    for (size_t i = 0; i < data.len; i++) {
        if (data.ptr[i] == '\n' && i > 0 && data.ptr[i - 1] == '\r')
            continue;
        if (data.ptr[i] == '\n' || data.ptr[i] == '\r')
            buf_append_text(&frame, "\ndata: ");
        else
            buf_append_char(&frame, data.ptr[i]);
    }
    buf_append_text(&frame, "\n\n");
    buf_appendf(out, "%zx\r\n", frame.len);
    buf_append_slice(out, buf_slice(&frame));
    buf_append_text(out, "\r\n");
    buf_deinit(&frame);
}

static void check_reference(struct slice event, struct slice data, struct message_id id) {
    struct buf want = {0}, read = {0}, joined = {0};
    reference(&want, event, data, id);
    struct message *m = message_new(slice_of("c"), event, data);
    if (!m)
        abort();
    message_seal(m, id);
    CHECK_EQ_MEM(message_wire(m, true).ptr, message_wire(m, true).len, want.data, want.len);
    CHECK_EQ_MEM(message_channel(m).ptr, message_channel(m).len, "c", 1);
    for (size_t i = 0; i < data.len; i++) {
        if (data.ptr[i] != '\n' || i == 0 || data.ptr[i - 1] != '\r')
            buf_append_char(&joined, data.ptr[i] == '\r' ? '\n' : data.ptr[i]);
    }
    CHECK_EQ_INT(sse_read_data(message_lines(m), &read), 0);
    CHECK_EQ_MEM(read.data, read.len, joined.data, joined.len);
    message_release(m);
    buf_deinit(&want);
    buf_deinit(&read);
    buf_deinit(&joined);
}

TEST(messages_of_any_shape_are_framed_as_by_hand) {
    static const char LETTERS[] = "ab\r\n\r\n :\xc3\xa4";
    struct check_random r = check_random_of(11);
    for (int i = 0; i < 3000; i++) {
        CHECK_NOTE("round %d", i);
        char event[20], data[80];
        size_t event_len = check_random_below(&r, sizeof event), data_len = check_random_below(&r, sizeof data);
        memset(event, 'e', sizeof event);
        for (size_t j = 0; j < data_len; j++)
            data[j] = LETTERS[check_random_below(&r, sizeof LETTERS - 1)];
        struct message_id id = {check_random_next(&r) >> check_random_below(&r, 64),
                                check_random_next(&r) >> check_random_below(&r, 64)};
        check_reference(slice_make(event, event_len), slice_make(data, data_len), id);
    }
}

TEST(the_chunk_size_has_as_many_digits_as_it_needs) {
    static const size_t BORDERS[] = {0x10, 0x100, 0x1000, 0x10000, 0x100000};
    static char data[0x100000 + 8];
    memset(data, 'd', sizeof data);
    size_t around = strlen("id: 0-0\ndata: \n\n");
    for (size_t i = 0; i < sizeof BORDERS / sizeof *BORDERS; i++) {
        for (size_t frame = BORDERS[i] - 2; frame <= BORDERS[i] + 2; frame++) {
            if (frame < around)
                continue;
            CHECK_NOTE("frame of %zu", frame);
            check_reference(NONE, slice_make(data, frame - around), (struct message_id){0, 0});
        }
    }
    for (size_t len = 1; len < 300; len++) {
        char want[8];
        snprintf(want, sizeof want, "%zx\r\n", len);
        struct message *m = message_new_private(slice_make(data, len), true);
        CHECK_EQ_MEM(message_wire(m, true).ptr, strlen(want), want, strlen(want));
        CHECK_EQ_INT(message_wire(m, true).len, strlen(want) + len + 2);
        message_release(m);
    }
}

TEST(the_longest_of_everything_fits) {
    static char event[MESSAGE_EVENT_BYTES], channel[MESSAGE_CHANNEL_BYTES];
    memset(event, 'e', sizeof event);
    memset(channel, 'c', sizeof channel);
    check_reference(slice_make(event, sizeof event), slice_of("\r\r\n\n"), (struct message_id){UINT64_MAX, UINT64_MAX});
    struct message *m = message_new(slice_make(channel, sizeof channel), NONE, NONE);
    message_seal(m, (struct message_id){UINT64_MAX, UINT64_MAX});
    CHECK_EQ_MEM(message_channel(m).ptr, message_channel(m).len, channel, sizeof channel);
    CHECK_EQ_SLICE(message_wire(m, true), "36\r\nid: 18446744073709551615-18446744073709551615\ndata: \n\n\r\n");
    message_release(m);
}

/* --- private segments, edits, references -------------------------------------------------------- */

TEST(private_segments_go_as_they_are_or_as_a_chunk) {
    struct message *m = message_new_private(slice_of(":\n"), true);
    CHECK_EQ_SLICE(message_wire(m, true), "2\r\n:\n\r\n");
    CHECK_EQ_SLICE(message_wire(m, false), ":\n");
    CHECK_EQ_INT(message_channel(m).len, 0);
    message_release(m);
    m = message_new_private(slice_make("a\0b", 3), false);
    CHECK_EQ_MEM(message_wire(m, true).ptr, message_wire(m, true).len, "a\0b", 3);
    CHECK_EQ_MEM(message_wire(m, false).ptr, message_wire(m, false).len, "a\0b", 3);
    message_release(m);
    m = message_new_private(NONE, false);
    CHECK_EQ_INT(message_wire(m, false).len, 0);
    message_release(m);
}

TEST(an_edited_message_keeps_id_channel_and_origin) {
    struct message *m = sealed("old", slice_of("secret"), ID);
    m->generation = 7;
    m->channel_hash = 99;
    m->published_ns = 123;
    struct message *e = message_edit(m, slice_of("new"), slice_of("shown"));
    REQUIRE(e != NULL);
    CHECK_EQ_SLICE(message_wire(e, false), "id: 1700000000123-45\nevent: new\ndata: shown\n\n");
    CHECK_EQ_SLICE(message_channel(e), "news");
    CHECK_EQ_INT(e->generation, 7);
    CHECK_EQ_INT(e->channel_hash, 99);
    CHECK_EQ_INT(e->published_ns, 123);
    CHECK_EQ_SLICE(message_wire(m, false), "id: 1700000000123-45\nevent: old\ndata: secret\n\n");
    message_release(m);
    CHECK_EQ_SLICE(message_event(e), "new");
    message_release(e);
}

TEST(the_last_reference_frees) {
    struct message *m = sealed("", slice_of("x"), ID);
    CHECK(message_retain(m) == m);
    CHECK_EQ_INT(atomic_load(&m->refs), 2);
    message_release(m);
    CHECK_EQ_INT(atomic_load(&m->refs), 1);
    message_release(m); /* the leak checker sees the rest */
}

TEST(without_memory_there_is_no_message) {
    struct message *m = sealed("", slice_of("x"), ID);
    check_alloc_fail_at(0);
    CHECK(message_new(slice_of("c"), NONE, NONE) == NULL);
    CHECK(check_alloc_disarm());
    check_alloc_fail_at(0);
    CHECK(message_new_private(slice_of("c"), true) == NULL);
    CHECK(check_alloc_disarm());
    check_alloc_fail_at(0);
    CHECK(message_edit(m, NONE, NONE) == NULL);
    CHECK(check_alloc_disarm());
    message_release(m);
}

CHECK_MAIN()
