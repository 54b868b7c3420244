/* SPDX-License-Identifier: MIT */
/* A C test program in one header. TEST(name) defines a test, which registers itself; CHECK_MAIN() runs all in
 * the order of their definition (or those whose name contains the first argument) and prints TAP. A failed CHECK is
 * told with its place and the test goes on; a failed REQUIRE leaves the test. The exit status is 0 only when at
 * least one test ran and none failed.
 *
 *     #include "check.h"
 *     #include "../../core/buf.c"
 *
 *     TEST(an_empty_buffer_has_no_memory) {
 *         struct buf b = {0};
 *         CHECK(b.data == NULL);
 *         CHECK_EQ_INT(b.len, 0);
 *     }
 *
 *     CHECK_MAIN()
 *
 * A table of cases says which one failed with CHECK_NOTE("case %s", name) before its checks. */
#ifndef SLUICE_CHECK_H
#define SLUICE_CHECK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct check_test {
    const char *name;
    void (*run)(void);
    struct check_test *next;
};

static struct {
    struct check_test *first;
    struct check_test **last;
    char note[200]; /* what CHECK_NOTE said last in the running test */
    int failures;   /* of the running test */
} check_state;

static inline void check_register(struct check_test *test) {
    if (!check_state.last)
        check_state.last = &check_state.first;
    *check_state.last = test;
    check_state.last = &test->next;
}

/* Constructors of one file run in the order in which they are written. */
#define TEST(test_name)                                                                                                \
    static void test_##test_name(void);                                                                                \
    __attribute__((constructor)) static void check_register_##test_name(void) {                                        \
        static struct check_test test = {#test_name, test_##test_name, NULL};                                          \
        check_register(&test);                                                                                         \
    }                                                                                                                  \
    static void test_##test_name(void)

__attribute__((format(printf, 1, 2))) static inline void check_note(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(check_state.note, sizeof check_state.note, format, args);
    va_end(args);
}

/* Prints bytes between quotes with everything unprintable escaped, so that TAP stays one line a record. */
static inline void check_print_bytes(const char *ptr, size_t len) {
    if (!ptr) {
        fputs("NULL", stdout);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < len && i < 500; i++) {
        unsigned char c = (unsigned char)ptr[i];
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c == '\r')
            fputs("\\r", stdout);
        else if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    fputs(len > 500 ? "\"..." : "\"", stdout);
}

static inline void check_failed(const char *file, int line, const char *what) {
    check_state.failures++;
    printf("# %s:%d: %s", file, line, what);
    if (check_state.note[0])
        printf(" [%s]", check_state.note);
    putchar('\n');
}

static inline bool check_that(bool ok, const char *file, int line, const char *what) {
    if (!ok)
        check_failed(file, line, what);
    return ok;
}

static inline bool check_int(long long got, long long want, const char *file, int line, const char *what) {
    if (got == want)
        return true;
    check_failed(file, line, what);
    printf("#   got %lld, wanted %lld\n", got, want);
    return false;
}

static inline bool check_bytes(const char *got, size_t got_len, const char *want, size_t want_len, const char *file,
                               int line, const char *what) {
    if (got_len == want_len && (!got == !want || got_len == 0) && (got_len == 0 || memcmp(got, want, got_len) == 0))
        return true;
    check_failed(file, line, what);
    fputs("#   got    ", stdout);
    check_print_bytes(got, got_len);
    fputs("\n#   wanted ", stdout);
    check_print_bytes(want, want_len);
    putchar('\n');
    return false;
}

static inline bool check_str(const char *got, const char *want, const char *file, int line, const char *what) {
    if (!got || !want) {
        if (got == want)
            return true;
        check_failed(file, line, what);
        return false;
    }
    return check_bytes(got, strlen(got), want, strlen(want), file, line, what);
}

/* Names the case of a table that the following checks are about; printed with a failure, cleared by the next test. */
#define CHECK_NOTE(...) check_note(__VA_ARGS__)

#define CHECK(cond) ((void)check_that((cond), __FILE__, __LINE__, #cond))

/* Integers of any type; got first, wanted second. */
#define CHECK_EQ_INT(got, want)                                                                                        \
    ((void)check_int((long long)(got), (long long)(want), __FILE__, __LINE__, #got " == " #want))

/* NUL-terminated strings, NULL equal to NULL only. */
#define CHECK_EQ_STR(got, want) ((void)check_str((got), (want), __FILE__, __LINE__, #got " == " #want))

/* Runs of bytes. */
#define CHECK_EQ_MEM(got, got_len, want, want_len)                                                                     \
    ((void)check_bytes((got), (got_len), (want), (want_len), __FILE__, __LINE__, #got " == " #want))

/* Anything with `.ptr` and `.len` (struct slice) against a string. */
#define CHECK_EQ_SLICE(got, want)                                                                                      \
    ((void)check_bytes((got).ptr, (got).len, (want), strlen(want), __FILE__, __LINE__, #got " == " #want))

/* Anything with `.data` and `.len` (struct buf) against a string. */
#define CHECK_EQ_BUF(got, want)                                                                                        \
    ((void)check_bytes((got).data, (got).len, (want), strlen(want), __FILE__, __LINE__, #got " == " #want))

/* Leaves the test where what follows would make no sense. */
#define REQUIRE(cond)                                                                                                  \
    do {                                                                                                               \
        if (!check_that((cond), __FILE__, __LINE__, #cond))                                                            \
            return;                                                                                                    \
    } while (0)

static inline int check_main(int argc, char **argv) {
    int ran = 0, failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0); /* what was said before a crash is not lost */
    for (struct check_test *test = check_state.first; test; test = test->next) {
        if (argc > 1 && !strstr(test->name, argv[1]))
            continue;
        check_state.failures = 0;
        check_state.note[0] = '\0';
        test->run();
        ran++;
        if (check_state.failures)
            failed++;
        printf("%s %d - %s\n", check_state.failures ? "not ok" : "ok", ran, test->name);
    }
    printf("1..%d\n", ran);
    return ran == 0 || failed ? 1 : 0;
}

#define CHECK_MAIN()                                                                                                   \
    int main(int argc, char **argv) {                                                                                  \
        return check_main(argc, argv);                                                                                 \
    }

#endif
