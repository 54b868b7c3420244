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

/* Calls F(value) for every plain count of a set, in the order of the lists. */
#define X(name, ...) F(name)
#define EACH_COUNT METRICS_COUNTERS(X) METRICS_GAUGES(X)

TEST(a_sum_has_every_count_of_every_worker) {
    struct metrics workers[2] = {{0}}, sum = {0};
    uint64_t n = 1;
#define F(name) metrics_add(&workers[0], name, n), metrics_add(&workers[1], name, 100 * n), n++;
    EACH_COUNT
#undef F
    metrics_add(&workers[0], closes[METRICS_CLOSE_SLOW], 1);
    metrics_add(&workers[1], closes[METRICS_CLOSE_SLOW], 2);
    metrics_add(&workers[1], refusals[METRICS_STATUS_VALUES - 1], 7);
    metrics_observe(&workers[0].script_time, 10);
    metrics_observe(&workers[1].script_time, 20);
    metrics_sum(&sum, &workers[0]);
    metrics_sum(&sum, &workers[1]);
    n = 1;
#define F(name) CHECK_EQ_INT(metrics_get(&sum, name), 101 * n), n++;
    EACH_COUNT
#undef F
    CHECK_EQ_INT(metrics_get(&sum, closes[METRICS_CLOSE_SLOW]), 3);
    CHECK_EQ_INT(metrics_get(&sum, refusals[METRICS_STATUS_VALUES - 1]), 7);
    CHECK_EQ_INT(metrics_get(&sum.script_time, buckets[0]), 2);
    CHECK_EQ_INT(metrics_get(&sum.script_time, sum_ns), 30);
}

TEST(statuses_have_their_names_and_the_rest_one_together) {
    CHECK_EQ_INT(strcmp(METRICS_STATUS_NAMES[metrics_status(404)], "404"), 0);
    CHECK_EQ_INT(strcmp(METRICS_STATUS_NAMES[metrics_status(400)], "400"), 0);
    CHECK_EQ_INT(strcmp(METRICS_STATUS_NAMES[metrics_status(505)], "505"), 0);
    CHECK_EQ_INT(strcmp(METRICS_STATUS_NAMES[metrics_status(418)], "other"), 0);
    CHECK_EQ_INT(strcmp(METRICS_STATUS_NAMES[metrics_status(0)], "other"), 0);
}

TEST(a_time_goes_into_the_first_bucket_that_holds_it) {
    static const struct {
        uint64_t ns;
        unsigned bucket;
    } CASES[] = {{0, 0}, {25000, 0}, {25001, 1}, {1000000, 5}, {5000000000, 15}, {5000000001, 16}, {UINT64_MAX / 2, 16}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct metrics_histogram h = {0};
        CHECK_NOTE("%llu ns", (unsigned long long)CASES[i].ns);
        metrics_observe(&h, CASES[i].ns);
        CHECK_EQ_INT(metrics_get(&h, buckets[CASES[i].bucket]), 1);
        CHECK_EQ_INT(metrics_get(&h, sum_ns), CASES[i].ns);
    }
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
#define F(name) metrics_add(&m, name, n++);
    EACH_COUNT
#undef F
    CHECK_EQ_INT(metrics_json(&out, &m, &STATE), 0);
    n = 1;
#undef X
#define X(name, json_name, ...)                                                                                        \
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
    CHECK(strstr(out.data, "\"uptimeSeconds\":12.3456,") != NULL);
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

static const char *prometheus(struct buf *out, enum metrics_format format, struct metrics *m) {
    struct metrics_worker workers[2] = {{m, 1.5, 0.25}, {m, 0, 0}};
    CHECK_EQ_INT(metrics_prometheus(out, format, m, &STATE, workers, 2), 0);
    buf_append_char(out, '\0');
    return out->data;
}

/* promtool and the parser of Prometheus' client library read the whole of it in spec/server/metrics_spec.lua. */
TEST(the_text_has_samples_behind_their_help_and_type) {
    struct metrics m = {0};
    struct buf out = {0};
    metrics_add(&m, messages_sent, 77);
    metrics_add(&m, streams_open, 5);
    metrics_add(&m, closes[METRICS_CLOSE_SLOW], 3);
    metrics_observe(&m.script_time, 2000000);
    metrics_observe(&m.script_time, UINT64_C(6000000000));
    const char *text = prometheus(&out, METRICS_TEXT, &m);
    static const char *const LINES[] = {
        "\n# TYPE sluice_messages_sent_total counter\nsluice_messages_sent_total 77\n",
        "\n# TYPE sluice_streams gauge\nsluice_streams 5\n",
        "\nsluice_stream_closes_total{reason=\"slow\"} 3\n",
        "\nsluice_script_seconds_bucket{le=\"0.001\"} 0\nsluice_script_seconds_bucket{le=\"0.0025\"} 1\n",
        "\nsluice_script_seconds_bucket{le=\"+Inf\"} 2\nsluice_script_seconds_count 2\nsluice_script_seconds_sum 6.002\n",
        "\nsluice_worker_cpu_seconds_total{worker=\"0\"} 1.5\n",
        "\nsluice_worker_loop_lag_seconds{worker=\"0\"} 0.25\n",
        "\nsluice_policy_generation 9\n",
    };
    for (size_t i = 0; i < sizeof LINES / sizeof *LINES; i++) {
        CHECK_NOTE("%s", LINES[i]);
        CHECK(strstr(text, LINES[i]) != NULL);
    }
    CHECK(strstr(text, "# EOF") == NULL);
    buf_deinit(&out);
}

TEST(openmetrics_names_counters_without_their_suffix_and_ends) {
    struct metrics m = {0};
    struct buf out = {0};
    const char *text = prometheus(&out, METRICS_OPENMETRICS, &m);
    CHECK(strstr(text, "\n# TYPE sluice_messages_sent counter\nsluice_messages_sent_total 0\n") != NULL);
    CHECK_EQ_STR(text + out.len - 1 - strlen("\n# EOF\n"), "\n# EOF\n");
    buf_deinit(&out);
}

CHECK_MAIN()
