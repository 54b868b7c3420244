/* SPDX-License-Identifier: MIT */
/* Tables of requests that are refused, with what is just accepted beside them. Each is fed whole, byte by byte and cut
 * in two at every place: the outcome must be the same. */
#include "http_feed.h"

TEST(a_refused_method_is_400_when_malformed_and_501_when_unknown) {
    static const struct status_case cases[] = {
        {"lower case", "get / HTTP/1.1\r\n" H "\r\n", 501},
        {"mixed case", "Get / HTTP/1.1\r\n" H "\r\n", 501},
        {"unknown", "BREW /pot HTTP/1.1\r\n" H "\r\n", 501},
        {"a prefix of one", "GE / HTTP/1.1\r\n" H "\r\n", 501},
        {"more than one", "GETS / HTTP/1.1\r\n" H "\r\n", 501},
        {"every token character", "!#$%&'*+-.^_`|~09 / HTTP/1.1\r\n" H "\r\n", 501},
        {"CONNECT", "CONNECT a.example:443 HTTP/1.1\r\n" H "\r\n", 501},
        {"of RTSP", "DESCRIBE / HTTP/1.1\r\n" H "\r\n", 501},
        {"too long", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 501},
        {"a colon", "GET: / HTTP/1.1\r\n" H "\r\n", 400},
        {"a tab after it", "GET\t/ HTTP/1.1\r\n" H "\r\n", 400},
        {"a blank before it", " GET / HTTP/1.1\r\n" H "\r\n", 400},
        {"none", "/ HTTP/1.1\r\n" H "\r\n", 400},
        {"of TLS", "\x16\x03\x01\x02", 400},
        {"a brace", "{", 400},
        {"SSH", "SSH-2.0-OpenSSH\r\n", 400},
        {"no target", "GET\r\n\r\n", 400},
    };
    CHECK_STATUSES(cases);
}

TEST(a_refused_version_is_400_when_malformed_and_505_when_not_spoken) {
    static const struct status_case cases[] = {
        {"2.0", "GET / HTTP/2.0\r\n", 505},
        {"preface of HTTP/2", "PRI * HTTP/2.0\r\n", 505},
        {"1.2", "GET / HTTP/1.2\r\n", 505},
        {"1.9", "GET / HTTP/1.9\r\n", 505},
        {"0.9", "GET / HTTP/0.9\r\n", 505},
        {"3.1", "GET / HTTP/3.1\r\n", 505},
        {"none", "GET /\r\n", 400},
        {"none but a blank", "GET / \r\n", 400},
        {"no minor", "GET / HTTP/1\r\n", 400},
        {"two digits", "GET / HTTP/1.10\r\n", 400},
        {"two digits before", "GET / HTTP/11.1\r\n", 400},
        {"lower case", "GET / http/1.1\r\n", 400},
        {"RTSP", "GET / RTSP/1.0\r\n", 400},
        {"ICE", "SOURCE / ICE/1.0\r\n", 400},
        {"a comma", "GET / HTTP/1,1\r\n", 400},
        {"a sign", "GET / HTTP/+1.1\r\n", 400},
        {"letters after it", "GET / HTTP/1.1x\r\n", 400},
        {"a blank after it", "GET / HTTP/1.1 \r\n", 400},
        {"two blanks before it", "GET /  HTTP/1.1\r\n", 400},
        {"a tab before it", "GET /\tHTTP/1.1\r\n", 400},
        {"a hex digit", "GET / HTTP/A.1\r\n", 400},
    };
    CHECK_STATUSES(cases);
}

TEST(a_refused_target_is_400) {
    static const struct status_case cases[] = {
        {"a fragment", "GET /a#b HTTP/1.1\r\n" H "\r\n", 400},
        {"GET *", "GET * HTTP/1.1\r\n" H "\r\n", 400},
        {"** for OPTIONS", "OPTIONS ** HTTP/1.1\r\n" H "\r\n", 400},
        {"no slash", "GET a HTTP/1.1\r\n" H "\r\n", 400},
        {"a query alone", "GET ?a HTTP/1.1\r\n" H "\r\n", 400},
        {"two blanks", "GET  / HTTP/1.1\r\n" H "\r\n", 400},
        {"a byte of UTF-8", "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", 400},
        {"DEL", "GET /\x7f HTTP/1.1\r\n" H "\r\n", 400},
        {"a control byte", "GET /\x01 HTTP/1.1\r\n" H "\r\n", 400},
        {"an authority", "GET a.example:80 HTTP/1.1\r\n" H "\r\n", 400},
        {"another scheme", "GET ftp://a.example/ HTTP/1.1\r\n" H "\r\n", 400},
        {"userinfo", "GET http://u@a.example/ HTTP/1.1\r\n" H "\r\n", 400},
        {"userinfo and password", "GET http://u:p@a.example/ HTTP/1.1\r\n" H "\r\n", 400},
        {"no authority", "GET http:///a HTTP/1.1\r\n" H "\r\n", 400},
        {"no slashes", "GET http:a HTTP/1.1\r\n" H "\r\n", 400},
        {"one slash", "GET http:/a HTTP/1.1\r\n" H "\r\n", 400},
        {"a bad port", "GET http://a:b/ HTTP/1.1\r\n" H "\r\n", 400},
        {"absolute, but no Host", "GET http://a.example/ HTTP/1.1\r\n\r\n", 400},
        {"absolute, but a bad Host", "GET http://a.example/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
    };
    CHECK_STATUSES(cases);
}

TEST(the_host_is_required_once_and_well_formed) {
    static const struct status_case cases[] = {
        {"none", "GET / HTTP/1.1\r\n\r\n", 400},
        {"none, but others", "GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", 400},
        {"two", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"the same twice", "GET / HTTP/1.1\r\n" H H "\r\n", 400},
        {"two, one in another case", "GET / HTTP/1.1\r\nHost: a\r\nhOST: a\r\n\r\n", 400},
        {"empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
        {"blank", "GET / HTTP/1.1\r\nHost: \t \r\n\r\n", 400},
        {"a blank inside", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        {"a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {"a list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
        {"userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
        {"a URL", "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400},
        {"only a port", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400},
        {"a port of letters", "GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", 400},
        {"a port too high", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400},
        {"a port far too high", "GET / HTTP/1.1\r\nHost: a:99999999999999999999999\r\n\r\n", 400},
        {"a signed port", "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", 400},
        {"two ports", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400},
        {"bare IPv6", "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400},
        {"no end of IPv6", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
        {"letters in IPv6", "GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", 400},
        {"text after IPv6", "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 400},
        {"IPv6 too long", "GET / HTTP/1.1\r\nHost: [0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]\r\n\r\n",
         400},
        {"an unfinished escape", "GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", 400},
        {"a byte of UTF-8", "GET / HTTP/1.1\r\nHost: \xc3\xa4.example\r\n\r\n", 400},
        {"two in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"empty in HTTP/1.0", "GET / HTTP/1.0\r\nHost:\r\n\r\n", 400},
        {"none in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 200},
        {"IPv6 with port", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 200},
        {"IPv4", "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", 200},
        {"an empty port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 200},
        {"the highest port", "GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n", 200},
        {"escapes", "GET / HTTP/1.1\r\nHost: a%2Db_~!\r\n\r\n", 200},
        {"blanks around", "GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n", 200},
    };
    CHECK_STATUSES(cases);
}

TEST(malformed_fields_are_400) {
    static const struct status_case cases[] = {
        {"folded", "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", 400},
        {"folded with a tab", "GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n", 400},
        {"a coding folded", "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
        {"a length folded", "POST / HTTP/1.1\r\n" H "Content-Length:\r\n 5\r\n\r\nhello", 400},
        {"folded before the first", "GET / HTTP/1.1\r\n " H "\r\n", 400},
        {"a blank line folded", "GET / HTTP/1.1\r\n" H " \r\n\r\n", 400},
        {"an empty name", "GET / HTTP/1.1\r\n" H ": a\r\n\r\n", 400},
        {"no colon", "GET / HTTP/1.1\r\n" H "X\r\n\r\n", 400},
        {"a blank before the colon", "GET / HTTP/1.1\r\n" H "X : a\r\n\r\n", 400},
        {"a tab before the colon", "GET / HTTP/1.1\r\n" H "Content-Length\t: 5\r\n\r\nhello", 400},
        {"a blank in the name", "GET / HTTP/1.1\r\n" H "X Y: a\r\n\r\n", 400},
        {"a parenthesis", "GET / HTTP/1.1\r\n" H "X(: a\r\n\r\n", 400},
        {"a byte of UTF-8 in the name", "GET / HTTP/1.1\r\n" H "\xc3\xa4: a\r\n\r\n", 400},
        {"a control byte", "GET / HTTP/1.1\r\n" H "X: \x01\r\n\r\n", 400},
        {"DEL", "GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n", 400},
        {"CR inside", "GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", 400},
        {"CR CR LF", "GET / HTTP/1.1\r\n" H "X: a\r\r\n\r\n", 400},
        {"bytes of UTF-8 in the value", "GET / HTTP/1.1\r\n" H "X: \xc3\xa4\t\xff\r\n\r\n", 200},
        {"an empty value", "GET / HTTP/1.1\r\n" H "X:\r\nY: \r\n\r\n", 200},
        {"every token character", "GET / HTTP/1.1\r\n" H "!#$%&'*+-.^_`|~09: a\r\n\r\n", 200},
    };
    CHECK_STATUSES(cases);
}

TEST(a_bare_lf_is_400_everywhere) {
    static const struct status_case cases[] = {
        {"request line", "GET / HTTP/1.1\n" H "\r\n", 400},
        {"field", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
        {"header end", "GET / HTTP/1.1\r\n" H "\n", 400},
        {"everywhere", "GET / HTTP/1.1\nHost: a\n\n", 400},
        {"chunk size", POST_CHUNKED "5\nhello\r\n0\r\n\r\n", 400},
        {"chunk end", POST_CHUNKED "5\r\nhello\n0\r\n\r\n", 400},
        {"last chunk", POST_CHUNKED "0\n\r\n", 400},
        {"trailer", POST_CHUNKED "0\r\nX: a\n\r\n", 400},
        {"trailer end", POST_CHUNKED "0\r\n\n", 400},
        {"extension", POST_CHUNKED "5;a\nhello\r\n0\r\n\r\n", 400},
        {"quoted extension", POST_CHUNKED "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", 400},
        {"before the line", "\nGET / HTTP/1.1\r\n" H "\r\n", 400},
        {"after CRLF", "GET / HTTP/1.1\r\n" H "\r\n", 200},
    };
    CHECK_STATUSES(cases);
}

/* A byte put in at any place of the framing must be seen: nothing there may be skipped. */
TEST(nul_lf_or_cr_put_in_anywhere_is_400) {
    static const char *const raws[] = {"\r\nPOST /a?b HTTP/1.1\r\n" H "X: a b \r\nConnection: close\r\n\r\n",
                                       "POST / HTTP/1.1\r\n" H TE "\r\n5;a=\"b c\"\r\nhello\r\n0\r\nX: y \r\n\r\n"};
    static const char bytes[] = {'\0', '\n', '\r', '\v'};
    for (size_t i = 0; i < sizeof raws / sizeof raws[0]; i++) {
        size_t len = strlen(raws[i]);
        CHECK_EQ_INT(status_of(raws[i], len, len, 1), 200);
        for (size_t at = 0; at < len; at++) {
            for (size_t b = 0; b < sizeof bytes; b++) {
                char raw[300];
                if (bytes[b] == '\n' && at == len - 1)
                    continue; /* the complete request and one byte after it */
                memcpy(raw, raws[i], at);
                raw[at] = bytes[b];
                memcpy(raw + at + 1, raws[i] + at, len - at);
                /* In the data it moves what follows by one byte, which is seen at the data's end. */
                CHECK_NOTE("request %zu, byte %d at %zu", i, bytes[b], at);
                CHECK_EQ_INT(status_of(raw, len + 1, len + 1, 1), 400);
                CHECK_EQ_INT(status_of(raw, len + 1, 0, 1), 400);
            }
        }
    }
}

/* Values are skipped several bytes at a time: each byte counts all the same, at each place. Asked of the raw pass
 * alone, since llhttp would hide what it misses here. */
TEST(every_byte_of_a_value_is_looked_at) {
    static const char head[] = "GET / HTTP/1.0\r\nX: ~}abc\xff\x80 xyz~}abc\xff\x80 xyz~}\r\n\r\n";
    struct http_scan scan;
    http_scan_init(&scan, &limits);
    for (int byte = 0; byte < 256; byte++) {
        bool valid = byte == '\t' || (byte >= 0x20 && byte != 0x7f);
        for (const char *place = strchr(head, '~'); *place != '\r'; place++) {
            char raw[sizeof head];
            const char *at = raw, *end = raw + sizeof head - 1;
            memcpy(raw, head, sizeof head);
            raw[place - head] = (char)(unsigned char)byte;
            CHECK_NOTE("byte %d at %d", byte, (int)(place - head));
            CHECK(http_scan_line(&scan, &at, end));
            CHECK_EQ_INT(http_scan_fields(&scan, &at, end), valid);
            CHECK_EQ_INT(scan.state, valid ? HTTP_AT_END : HTTP_AT_REFUSED);
            http_scan_reset(&scan, KEPT_BYTES);
        }
    }
    http_scan_deinit(&scan);
}

TEST(content_length_is_digits_once) {
#define LENGTH(value) "POST / HTTP/1.1\r\n" H "Content-Length:" value "\r\n\r\nhello"
    static const struct status_case cases[] = {
        {"signed", LENGTH(" +5"), 400},
        {"negative", LENGTH(" -5"), 400},
        {"empty", LENGTH(""), 400},
        {"blank", LENGTH(" "), 400},
        {"hex", LENGTH(" 0x5"), 400},
        {"fraction", LENGTH(" 5.0"), 400},
        {"a list", LENGTH(" 5, 5"), 400},
        {"two numbers", LENGTH(" 5 5"), 400},
        {"trailing letter", LENGTH(" 5a"), 400},
        {"trailing comma", LENGTH(" 5,"), 400},
        {"underscore", LENGTH(" 1_0"), 400},
        {"quoted", LENGTH(" \"5\""), 400},
        {"repeated", LENGTH(" 5\r\nContent-Length: 5"), 400},
        {"repeated in another case", LENGTH(" 5\r\ncontent-length: 6"), 400},
        {"malformed and repeated", LENGTH(" x\r\nContent-Length: 5"), 400},
        {"too large", LENGTH(" 101"), 413},
        {"2^64", LENGTH(" 18446744073709551616"), 413},
        {"2^64 - 1", LENGTH(" 18446744073709551615"), 413},
        {"40 digits", LENGTH(" 9999999999999999999999999999999999999999"), 413},
        {"blanks around", LENGTH(" \t5  "), 200},
        {"zeros before", LENGTH(" 0005"), 200},
        {"none", "POST / HTTP/1.1\r\n" H "\r\n", 200},
        {"zero", "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 200},
        {"on GET", "GET / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", 200},
        {"on HEAD", "HEAD / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", 200},
        {"in HTTP/1.0", "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 200},
        {"cut short", LENGTH(" 6"), 0},
    };
    CHECK_STATUSES(cases);
}

TEST(transfer_encoding_is_chunked_alone) {
#define CODED(value) "POST / HTTP/1.1\r\n" H "Transfer-Encoding:" value "\r\n\r\n0\r\n\r\n"
    static const struct status_case cases[] = {
        {"empty", CODED(""), 400},
        {"blank", CODED(" "), 400},
        {"gzip first", CODED(" gzip, chunked"), 501},
        {"gzip alone", CODED(" gzip"), 501},
        {"identity", CODED(" identity"), 501},
        {"a longer word", CODED(" xchunked"), 501},
        {"a longer word, after", CODED(" chunkedx"), 501},
        {"with a parameter", CODED(" gzip;q=1, chunked"), 501},
        {"gzip in a field before", CODED(" gzip\r\nTransfer-Encoding: chunked"), 501},
        {"gzip after", CODED(" chunked, gzip"), 400},
        {"gzip in a field after", CODED(" chunked\r\nTransfer-Encoding: gzip"), 400},
        {"twice", CODED(" chunked, chunked"), 400},
        {"in two fields", CODED(" chunked\r\nTransfer-Encoding: chunked"), 400},
        {"empty element before", CODED(" , chunked"), 400},
        {"empty element after", CODED(" chunked,"), 400},
        {"two empty elements after", CODED(" chunked,,"), 400},
        {"empty field before", CODED("\r\nTransfer-Encoding: chunked"), 400},
        {"empty field after", CODED(" chunked\r\nTransfer-Encoding:"), 400},
        {"chunked with parameter", CODED(" chunked;a=b"), 400},
        {"quoted", CODED(" \"chunked\""), 400},
        {"two words", CODED(" chunked x"), 400},
        {"a vertical tab", CODED("\vchunked"), 400},
        {"with length", CODED(" chunked\r\nContent-Length: 5"), 400},
        {"with length before", "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n" TE "\r\n0\r\n\r\n", 400},
        {"with length 0", CODED(" chunked\r\nContent-Length: 0"), 400},
        {"unknown, with length", CODED(" gzip\r\nContent-Length: 5"), 400},
        {"in HTTP/1.0", "POST / HTTP/1.0\r\n" H TE "\r\n0\r\n\r\n", 400},
        {"unknown in HTTP/1.0", "POST / HTTP/1.0\r\n" H "Transfer-Encoding: gzip\r\n\r\n", 400},
        {"in another case", CODED(" CHUNKED"), 200},
        {"blanks around", CODED(" \t chunked  "), 200},
        {"on GET", "GET / HTTP/1.1\r\n" H TE "\r\n0\r\n\r\n", 200},
    };
    CHECK_STATUSES(cases);
}

TEST(bad_chunks_are_400) {
    static const struct status_case cases[] = {
        {"no size", POST_CHUNKED "\r\n", 400},
        {"only an extension", POST_CHUNKED ";a\r\n", 400},
        {"not hex", POST_CHUNKED "g\r\n", 400},
        {"0x", POST_CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", 400},
        {"signed", POST_CHUNKED "+5\r\nhello\r\n0\r\n\r\n", 400},
        {"negative", POST_CHUNKED "-1\r\n", 400},
        {"a blank before", POST_CHUNKED " 5\r\nhello\r\n0\r\n\r\n", 400},
        {"a blank after", POST_CHUNKED "5 \r\nhello\r\n0\r\n\r\n", 400},
        {"a blank before the extension", POST_CHUNKED "5 ;a\r\nhello\r\n0\r\n\r\n", 400},
        {"a tab after", POST_CHUNKED "5\t\r\nhello\r\n0\r\n\r\n", 400},
        {"too many digits", POST_CHUNKED "00000000000000005\r\nhello\r\n0\r\n\r\n", 400},
        {"a size too large", POST_CHUNKED "65\r\n", 413},
        {"the largest", POST_CHUNKED "ffffffffffffffff\r\n", 413},
        {"more than the largest", POST_CHUNKED "10000000000000005\r\n", 413},
        {"a sum too large", POST_CHUNKED "5\r\nhello\r\n60\r\n", 413},
        {"data too long", POST_CHUNKED "5\r\nhellox\r\n0\r\n\r\n", 400},
        {"data too short", POST_CHUNKED "5\r\nhell\r\n0\r\n\r\n", 400},
        {"CR CR", POST_CHUNKED "5\r\rhello\r\n0\r\n\r\n", 400},
        {"no CRLF after data", POST_CHUNKED "5\r\nhello0\r\n\r\n", 400},
        {"CR, another byte", POST_CHUNKED "5\r\nhello\rX0\r\n\r\n", 400},
        {"a control byte in the extension", POST_CHUNKED "5;a\x01\r\nhello\r\n0\r\n\r\n", 400},
        {"a trailer folded", POST_CHUNKED "0\r\nX: a\r\n b\r\n\r\n", 400},
        {"a trailer without name", POST_CHUNKED "0\r\n: a\r\n\r\n", 400},
        {"a blank before a trailer's colon", POST_CHUNKED "0\r\nX : a\r\n\r\n", 400},
        {"cut short", POST_CHUNKED "5\r\nhell", 0},
        {"no end", POST_CHUNKED "5\r\nhello\r\n0\r\n", 0},
        {"16 digits", POST_CHUNKED "0000000000000005\r\nhello\r\n0\r\n\r\n", 200},
        {"extensions", POST_CHUNKED "5;a;b;d=\"e f\"\r\nhello\r\n0;z=y\r\n\r\n", 200},
        {"a trailer", POST_CHUNKED "0\r\nX: a\r\nY: b\r\n\r\n", 200},
        {"capital digits", POST_CHUNKED "A\r\n0123456789\r\n0\r\n\r\n", 200},
        {"the limit",
         POST_CHUNKED "64\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678"
                      "901234567890123456789\r\n000\r\n\r\n",
         200},
    };
    CHECK_STATUSES(cases);
}

TEST(codings_expectations_and_upgrades) {
    static const struct status_case cases[] = {
        {"gzip", "POST / HTTP/1.1\r\n" H "Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", 415},
        {"identity and gzip", "POST / HTTP/1.1\r\n" H "Content-Encoding: identity, gzip\r\n\r\n", 415},
        {"identity", "POST / HTTP/1.1\r\n" H "Content-Encoding: Identity\r\nContent-Length: 5\r\n\r\nhello", 200},
        {"another expectation", "POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello", 417},
        {"two expectations", "POST / HTTP/1.1\r\n" H "Expect: 100-continue, x=y\r\nContent-Length: 5\r\n\r\nhello",
         417},
        {"413 before 417", "POST / HTTP/1.1\r\n" H "Expect: x\r\nContent-Length: 101\r\n\r\n", 413},
        {"413 instead of 100", "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 101\r\n\r\n", 413},
        {"h2c",
         "GET / HTTP/1.1\r\n" H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
         200},
        {"h2c with body",
         "POST / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello", 200},
        {"websocket", "GET / HTTP/1.1\r\n" H "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", 200},
    };
    CHECK_STATUSES(cases);
}

TEST(empty_lines_before_the_request_are_skipped_within_reason) {
    static const struct status_case cases[] = {
        {"one", "\r\nGET / HTTP/1.1\r\n" H "\r\n", 200},
        {"eight", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", 200},
        {"nine", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", 400},
        {"a bare CR", "\rGET / HTTP/1.1\r\n" H "\r\n", 400},
        {"only them", "\r\n\r\n", 0},
    };
    CHECK_STATUSES(cases);
}

static void check_filled(const char *name, const char *before, size_t count, const char *fill, const char *after,
                         int status) {
    struct buf b = filled(before, count, fill, after);
    check_status(name, b.data, b.len, status);
    buf_deinit(&b);
}

TEST(limits_hold_to_the_byte) {
    const char *end = " HTTP/1.1\r\n" H "\r\n";
    size_t rest = strlen("GET / HTTP/1.1\r\n" H "X: \r\n\r\n");
    check_filled("target at the limit", "GET /", limits.target_bytes - 1, "a", end, 200);
    check_filled("target over it", "GET /", limits.target_bytes, "a", end, 414);
    check_filled("target over it, no end yet", "GET /", limits.target_bytes, "a", "", 414);
    check_filled("target and a bad byte over it", "GET /", limits.target_bytes, "a", "\x01", 414);
    check_filled("bad byte at the limit of the target", "GET /", limits.target_bytes - 1, "a", "\x01", 400);
    check_filled("header at the limit", "GET / HTTP/1.1\r\n" H "X: ", limits.header_bytes - rest, "a", "\r\n\r\n", 200);
    check_filled("header over it", "GET / HTTP/1.1\r\n" H "X: ", limits.header_bytes - rest + 1, "a", "\r\n\r\n", 431);
    check_filled("a name over it", "GET / HTTP/1.1\r\n" H, limits.header_bytes, "a", "", 431);
    check_filled("blanks over it", "GET / HTTP/1.1\r\n" H "X:", limits.header_bytes, " ", "", 431);
    check_filled("bad byte before it", "GET / HTTP/1.1\r\n" H, 500, "a", "\x01", 400);
    check_filled("fields at the limit", "GET / HTTP/1.1\r\nHost:a\r\n", HTTP_MAX_FIELDS - 1, "X:\r\n", "\r\n", 200);
    check_filled("fields over it", "GET / HTTP/1.1\r\nHost:a\r\n", HTTP_MAX_FIELDS, "X:\r\n", "\r\n", 431);
    check_filled("trailers at the limit", POST_CHUNKED "0\r\nX: ", limits.header_bytes - strlen("X: \r\n\r\n"), "a",
                 "\r\n\r\n", 200);
    check_filled("trailers over it", POST_CHUNKED "0\r\nX: ", limits.header_bytes - strlen("X: \r\n\r\n") + 1, "a",
                 "\r\n\r\n", 431);
    check_filled("many trailers", POST_CHUNKED "0\r\n", limits.header_bytes / 4, "X:\r\n", "\r\n", 431);
    check_filled("an extension at the limit",
                 POST_CHUNKED "5;a=", limits.header_bytes - strlen("a=\r") - strlen("\r\n"), "a",
                 "\r\nhello\r\n0\r\n\r\n", 200);
    check_filled("an extension over it", POST_CHUNKED "5;a=", limits.header_bytes, "a", "\r\nhello\r\n0\r\n\r\n", 413);
    check_filled("many extensions", POST_CHUNKED, 90, "1;aaaaaaaaaaaaaaa\r\nx\r\n", "0\r\n\r\n", 413);
    check_filled("extensions and trailers together", POST_CHUNKED "5;a=", 1000, "a",
                 "\r\nhello\r\n0\r\nX: 901234567890123456789\r\n\r\n", 431);
    check_filled("body at the limit", "POST / HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\n", limits.body_bytes, "a", "",
                 200);
    check_filled("a long body of small chunks", POST_CHUNKED, limits.body_bytes, "1\r\nx\r\n", "0\r\n\r\n", 200);
    check_filled("one small chunk too many", POST_CHUNKED, limits.body_bytes + 1, "1\r\nx\r\n", "0\r\n\r\n", 413);
}

TEST(the_request_line_alone_may_meet_the_header_limit) {
    struct http_limits small = {.header_bytes = 40, .target_bytes = 100, .body_bytes = 0};
    struct http_request r;
    size_t consumed;
    const char *exact = "GET /aaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nX";
    for (int whole = 0; whole < 2; whole++) {
        REQUIRE(http_request_init(&r, &small) == 0);
        CHECK_NOTE("whole %d", whole);
        for (size_t i = 0; !whole && i < 40; i++)
            CHECK_EQ_INT(http_request_feed(&r, exact + i, 1, &consumed), HTTP_MORE);
        CHECK_EQ_INT(whole ? http_request_feed(&r, exact, 41, &consumed)
                           : http_request_feed(&r, exact + 40, 1, &consumed),
                     HTTP_FAILED);
        CHECK_EQ_INT(r.status, 431);
        http_request_deinit(&r);
    }
    REQUIRE(http_request_init(&r, &small) == 0);
    CHECK_EQ_INT(feed_text(&r, "POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n"), HTTP_FAILED);
    CHECK_EQ_INT(r.status, 413);
    http_request_deinit(&r);
}

CHECK_MAIN()
