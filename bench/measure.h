/* SPDX-License-Identifier: MIT */
/* What the benchmark measures with: the clock, CPU time and memory of other processes, and histograms of latency. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MEASURE_PIDS = 64 };

/* The processes that are one server. */
struct measured {
    pid_t pids[MEASURE_PIDS];
    size_t count;
};

/* CLOCK_MONOTONIC. */
uint64_t now_ns(void);

/* Reads a list such as "12,13". Returns 0 or -EINVAL. */
int measured_parse(struct measured *m, const char *text);

/* CPU time, user and system, of all threads of all processes since their start, in nanoseconds: the kernel's own sum, not
 * the ticks of /proc/PID/stat. Returns 0, or -errno where a process is gone. */
int measured_cpu_ns(const struct measured *m, uint64_t *out);

/* Proportional set size of all processes, in bytes. Returns 0, or -errno where one cannot be read. */
int measured_pss(const struct measured *m, uint64_t *out);

/* Counts by value, 64 steps to each power of two: an error below 1.6 %. */
enum { HISTOGRAM_STEPS = 64, HISTOGRAM_BUCKETS = 64 * 58 };

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *h);

void histogram_add(struct histogram *h, uint64_t value);

/* The value that `share` (0 to 1) of all are not above; 0 where there are none. */
uint64_t histogram_quantile(const struct histogram *h, double share);

#endif
