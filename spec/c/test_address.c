/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <stdlib.h>

#include "../../core/address.c"
#include "../../core/buf.c"

/* The address of `text` as it is written; NULL where it is none. */
static const char *normal(const char *text, char out[ADDRESS_TEXT_BYTES]) {
    struct address a;
    if (!address_parse(slice_of(text), &a))
        return NULL;
    address_format(&a, out);
    return out;
}

TEST(an_address_has_one_form) {
    static const char *const FORMS[][2] = {
        {"127.0.0.1", "127.0.0.1"},     {"255.255.255.255", "255.255.255.255"}, {"0.0.0.0", "0.0.0.0"},
        {"::1", "::1"},                 {"::", "::"},                           {"2001:0DB8:0:0:0:0:0:2", "2001:db8::2"},
        {"::ffff:10.0.0.1", "10.0.0.1"}, {"::FFFF:a00:1", "10.0.0.1"},          {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
        {"1111:2222:3333:4444:5555:6666:255.255.255.255", "1111:2222:3333:4444:5555:6666:ffff:ffff"},
    };
    char out[ADDRESS_TEXT_BYTES];
    for (size_t i = 0; i < sizeof FORMS / sizeof *FORMS; i++) {
        CHECK_NOTE("%s", FORMS[i][0]);
        CHECK_EQ_STR(normal(FORMS[i][0], out), FORMS[i][1]);
    }
}

TEST(each_byte_of_an_address_is_written) {
    char out[ADDRESS_TEXT_BYTES], expected[ADDRESS_TEXT_BYTES];
    struct address a = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}};
    for (int byte = 0; byte < 256; byte++) {
        for (int i = 0; i < 4; i++)
            a.ip[12 + i] = (uint8_t)(byte * (i + 1));
        address_format(&a, out);
        CHECK_EQ_STR(out, inet_ntop(AF_INET, a.ip + 12, expected, sizeof expected));
    }
}

TEST(what_is_no_address_changes_nothing) {
    static const char *const BAD[] = {"",    " ",         "1",     "1.2.3",   "1.2.3.4.5", "256.0.0.1", "1.2.3.04",  "0x1.2.3.4", "1.2.3.4 ",
                                      " ::", "[::1]",     "::1%l", "1.2.3.4:5", ":::",     "1:2:3:4:5:6:7", "::1::2", "g::", "localhost",
                                      "11111::", "1111:2222:3333:4444:5555:6666:255.255.255.2555", "1111:2222:3333:4444:5555:6666:7777:8888:9"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct address a;
        memset(&a, 7, sizeof a);
        CHECK_NOTE("'%s'", BAD[i]);
        CHECK(!address_parse(slice_of(BAD[i]), &a));
        CHECK_EQ_INT(a.ip[0], 7);
        CHECK_EQ_INT(a.ip[15], 7);
    }
    struct address a;
    CHECK(!address_parse(slice_make("1.2.3.4\0", 8), &a));
    CHECK(!address_parse(slice_make(NULL, 0), &a));
}

TEST(a_range_holds_what_begins_with_its_bits) {
    static const struct {
        const char *range, *address;
        bool in;
    } CASES[] = {
        {"10.0.0.0/8", "10.255.0.1", true},       {"10.0.0.0/8", "11.0.0.0", false},        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"172.16.0.0/12", "172.31.255.255", true}, {"172.16.0.0/12", "172.32.0.0", false},   {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},         {"192.0.2.1/32", "192.0.2.1", true},      {"192.0.2.0/31", "192.0.2.1", true},
        {"192.0.2.0/31", "192.0.2.2", false},      {"0.0.0.0/0", "255.1.2.3", true},         {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "10.0.0.1", true},                {"2001:db8::/32", "2001:db8:ffff::1", true}, {"2001:db8::/32", "2001:db9::", false},
        {"fd00::/8", "fdff::1", true},             {"::1", "::1", true},                      {"2001:db8::/33", "2001:db8:8000::", false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct address_range range = {0};
        struct address a;
        CHECK_NOTE("%s in %s", CASES[i].address, CASES[i].range);
        CHECK(address_range_parse(slice_of(CASES[i].range), &range));
        CHECK(address_parse(slice_of(CASES[i].address), &a));
        CHECK_EQ_INT(address_in_ranges(&a, &range, 1), CASES[i].in);
    }
    static const char *const BAD[] = {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.1/8", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/ 8", "::/129", "2001:db8::1/64", "10.0.0.0/255.0.0.0", "host/8"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct address_range range = {.bits = 7};
        CHECK_NOTE("'%s'", BAD[i]);
        CHECK(!address_range_parse(slice_of(BAD[i]), &range));
        CHECK_EQ_INT(range.bits, 7);
    }
}

/* The client behind proxies 10.0.0.1 and 2001:db8::1 for a value of X-Forwarded-For; in memory of its own size, so that reading beyond its end
 * is noticed. */
static const char *client(const char *peer_text, const char *forwarded, char out[ADDRESS_TEXT_BYTES]) {
    struct address_range trusted[2];
    struct address peer;
    address_range_parse(slice_of("10.0.0.1"), &trusted[0]);
    address_range_parse(slice_of("2001:db8::1"), &trusted[1]);
    address_parse(slice_of(peer_text), &peer);
    size_t len = strlen(forwarded);
    char *copy = malloc(len ? len : 1);
    memcpy(copy, forwarded, len);
    struct address found = address_of_client(&peer, slice_make(copy, len), trusted, 2);
    free(copy);
    address_format(&found, out);
    return out;
}

TEST(the_client_is_the_last_that_is_not_trusted) {
    static const char *const CASES[][3] = {
        {"192.0.2.9", "192.0.2.1", "192.0.2.9"},
        {"10.0.0.1", "", "10.0.0.1"},
        {"10.0.0.1", "192.0.2.1", "192.0.2.1"},
        {"::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"},
        {"10.0.0.1", "198.51.100.1,192.0.2.1", "192.0.2.1"},
        {"10.0.0.1", "192.0.2.1, 10.0.0.1", "192.0.2.1"},
        {"10.0.0.1", "10.0.0.1", "10.0.0.1"},
        {"10.0.0.1", "2001:db8::1, 10.0.0.1", "2001:db8::1"},
        {"2001:db8::1", " \t[2001:db8::1]:80 ,\t10.0.0.1:1 ", "2001:db8::1"},
        {"10.0.0.1", "[2001:db8::2]", "2001:db8::2"},
        {"10.0.0.1", "192.0.2.1:80", "192.0.2.1"},
        {"10.0.0.1", "192.0.2.1,x,10.0.0.1", "10.0.0.1"},
        {"2001:db8::1", "192.0.2.1,x,10.0.0.1", "10.0.0.1"},
        {"10.0.0.1", ",", "10.0.0.1"},
        {"10.0.0.1", " ", "10.0.0.1"},
        {"10.0.0.1", "[", "10.0.0.1"},
        {"10.0.0.1", "[]", "10.0.0.1"},
        {"10.0.0.1", "[2001:db8::2]:", "10.0.0.1"},
        {"10.0.0.1", "[2001:db8::2]:a", "10.0.0.1"},
        {"10.0.0.1", ":80", "10.0.0.1"},
        {"10.0.0.1", "2001:db8::2:80", "2001:db8::2:80"},
    };
    char out[ADDRESS_TEXT_BYTES];
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s behind %s", CASES[i][1], CASES[i][0]);
        CHECK_EQ_STR(client(CASES[i][0], CASES[i][1], out), CASES[i][2]);
    }
}

CHECK_MAIN()
