/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <stdlib.h>

#include "../../core/json.h"
#include "../../core/metrics.c"

static const struct metrics_state STATE = {
    .now = {1769860800, 7000000},
    .channels = 3,
    .history_messages = 40,
    .history_bytes = 5000,
    .workers = 2,
    .generation = 9,
    .reload_errors = 1,
    .uptime_s = 12.3456,
};

static uint64_t member(struct slice json, const char *name) {
    struct json_reader r;
    struct json_value value;
    struct slice key;
    int64_t number = -1;
    json_open(&r, json);
    CHECK_EQ_INT(json_enter(&r, &value), 0);
    for (bool first = true; json_next(&r, true, first, &key) == 1; first = false) {
        CHECK_EQ_INT(json_read(&r, &value), 0);
        if (slice_equal(slice_make(key.ptr + 1, key.len - 2), slice_of(name)))
            json_integer(value.text, &number);
    }
    CHECK_EQ_INT(json_close(&r), 0);
    return (uint64_t)number;
}

TEST(counts_go_up_and_gauges_down_again) {
    struct metrics m = {0};
    metrics_add(&m, streams_open, 1);
    metrics_add(&m, streams_open, 1);
    metrics_add(&m, streams_open, -1);
    metrics_add(&m, bytes_sent, (size_t)1 << 40);
    CHECK_EQ_INT(metrics_get(&m, streams_open), 1);
    CHECK_EQ_INT(metrics_get(&m, bytes_sent), (long long)1 << 40);
}

TEST(a_sum_has_every_count_of_every_worker) {
    struct metrics workers[2] = {{0}}, sum = {0};
    uint64_t n = 1;
#define X(name, json_name) metrics_add(&workers[0], name, n), metrics_add(&workers[1], name, 100 * n), n++;
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
    metrics_sum(&sum, &workers[0]);
    metrics_sum(&sum, &workers[1]);
    n = 1;
#define X(name, json_name) CHECK_EQ_INT(metrics_get(&sum, name), 101 * n), n++;
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
}

TEST(a_time_is_written_in_utc) {
    static const struct {
        struct timespec at;
        const char *text;
    } CASES[] = {
        {{0, 0}, "1970-01-01T00:00:00.000Z"},
        {{1769860800, 7000000}, "2026-01-31T12:00:00.007Z"},
        {{1709251199, 999999999}, "2024-02-29T23:59:59.999Z"},
        {{4102444800, 1000000}, "2100-01-01T00:00:00.001Z"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct buf out = {0};
        CHECK_EQ_INT(metrics_timestamp(&out, CASES[i].at), 0);
        CHECK_EQ_BUF(out, CASES[i].text);
        buf_deinit(&out);
    }
}

TEST(the_json_is_one_object_with_all_names) {
    struct metrics m = {0};
    struct buf out = {0};
    uint64_t n = 1;
#define X(name, json_name) metrics_add(&m, name, n++);
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
    CHECK_EQ_INT(metrics_json(&out, &m, &STATE), 0);
    n = 1;
#define X(name, json_name)                                                                                             \
    CHECK_NOTE("%s", json_name);                                                                                       \
    CHECK_EQ_INT(member(buf_slice(&out), json_name), n++);
    METRICS_COUNTERS(X)
    METRICS_GAUGES(X)
#undef X
    CHECK_NOTE("the rest");
    CHECK_EQ_INT(member(buf_slice(&out), "errors"), metrics_get(&m, stream_errors) + metrics_get(&m, script_errors));
    CHECK_EQ_INT(member(buf_slice(&out), "channels"), 3);
    CHECK_EQ_INT(member(buf_slice(&out), "historyMessages"), 40);
    CHECK_EQ_INT(member(buf_slice(&out), "historyBytes"), 5000);
    CHECK_EQ_INT(member(buf_slice(&out), "workers"), 2);
    CHECK_EQ_INT(member(buf_slice(&out), "generation"), 9);
    CHECK_EQ_INT(member(buf_slice(&out), "reloadErrors"), 1);
    buf_append_char(&out, '\0');
    CHECK(strstr(out.data, "\"timestamp\":\"2026-01-31T12:00:00.007Z\"") != NULL);
    CHECK(strstr(out.data, "\"uptimeSeconds\":12.3456}") != NULL);
    buf_deinit(&out);
}

/* The six names of the guide that they come from; the design promises them. */
TEST(the_names_of_the_guide_are_there) {
    static const char *const NAMES[] = {"totalConnections", "activeConnections", "messagesSent", "reconnections",
                                        "errors"};
    struct metrics m = {0};
    struct buf out = {0};
    CHECK_EQ_INT(metrics_json(&out, &m, &STATE), 0);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        CHECK_NOTE("%s", NAMES[i]);
        CHECK_EQ_INT(member(buf_slice(&out), NAMES[i]), 0);
    }
    buf_deinit(&out);
}

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || c == '_';
}

/* Each sample after its HELP and TYPE line, counters end in _total, names once each. */
TEST(the_prometheus_text_is_well_formed) {
    struct metrics m = {0};
    struct buf out = {0};
    metrics_add(&m, messages_sent, 77);
    metrics_add(&m, streams_open, 5);
    CHECK_EQ_INT(metrics_prometheus(&out, &m, &STATE), 0);
    CHECK(out.len > 0 && out.data[out.len - 1] == '\n');
    buf_append_char(&out, '\0');
    CHECK(strstr(out.data, "\nsluice_messages_sent_total 77\n") != NULL);
    CHECK(strstr(out.data, "\nsluice_streams_open 5\n") != NULL);
    char help[100] = "", type[100] = "", kind[20] = "";
    int samples = 0;
    for (char *line = strtok(out.data, "\n"); line; line = strtok(NULL, "\n")) {
        char name[100];
        CHECK_NOTE("%.150s", line);
        if (sscanf(line, "# HELP %99s", name) == 1) {
            snprintf(help, sizeof help, "%s", name);
        } else if (sscanf(line, "# TYPE %99s %19s", name, kind) == 2) {
            snprintf(type, sizeof type, "%s", name);
        } else {
            unsigned long long value;
            REQUIRE(sscanf(line, "%99[a-z_] %llu", name, &value) == 2);
            CHECK_EQ_STR(name, help);
            CHECK_EQ_STR(name, type);
            size_t len = strlen(name);
            bool total = len > 6 && strcmp(name + len - 6, "_total") == 0;
            CHECK_EQ_STR(kind, total ? "counter" : "gauge");
            for (const char *p = name; *p; p++)
                CHECK(is_name_char(*p));
            samples++;
            help[0] = type[0] = '\0'; /* a name that came twice would have no TYPE */
        }
    }
    CHECK(samples > 20);
    buf_deinit(&out);
}

CHECK_MAIN()
