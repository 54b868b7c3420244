/* SPDX-License-Identifier: MIT */
#include "measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int measured_parse(struct measured *m, const char *text) {
    m->count = 0;
    while (m->count < MEASURE_PIDS) {
        char *end;
        long pid = strtol(text, &end, 10);
        if (end == text || pid <= 0)
            return -EINVAL;
        m->pids[m->count++] = (pid_t)pid;
        if (*end == '\0')
            return 0;
        if (*end != ',')
            return -EINVAL;
        text = end + 1;
    }
    return -EINVAL;
}

int measured_cpu_ns(const struct measured *m, uint64_t *out) {
    *out = 0;
    for (size_t i = 0; i < m->count; i++) {
        clockid_t clock;
        struct timespec used;
        int rc = clock_getcpuclockid(m->pids[i], &clock);
        if (rc)
            return -rc;
        if (clock_gettime(clock, &used) != 0)
            return -errno;
        *out += (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
    }
    return 0;
}

static int pss_of(pid_t pid, uint64_t *out) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return -errno;
    int rc = -ENOENT;
    while (fgets(line, sizeof line, file)) {
        unsigned long long kib;
        if (sscanf(line, "Pss: %llu kB", &kib) == 1) {
            *out += kib * 1024;
            rc = 0;
            break;
        }
    }
    fclose(file);
    return rc;
}

int measured_pss(const struct measured *m, uint64_t *out) {
    *out = 0;
    for (size_t i = 0; i < m->count; i++) {
        int rc = pss_of(m->pids[i], out);
        if (rc)
            return rc;
    }
    return 0;
}

void histogram_clear(struct histogram *h) {
    memset(h, 0, sizeof *h);
}

/* Below 64 each value has its own bucket; above, the six bits behind the leading one choose among 64. */
static size_t bucket_of(uint64_t value) {
    if (value < HISTOGRAM_STEPS)
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - 6;
    size_t bucket = (shift + 1) * HISTOGRAM_STEPS + (size_t)((value >> shift) & (HISTOGRAM_STEPS - 1));
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The middle of what falls into a bucket. */
static uint64_t value_of(size_t bucket) {
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = (unsigned)(bucket / HISTOGRAM_STEPS) - 1;
    uint64_t low = (uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS) << shift;
    return low + ((uint64_t)1 << shift) / 2;
}

void histogram_add(struct histogram *h, uint64_t value) {
    h->count++;
    h->buckets[bucket_of(value)]++;
    if (value > h->max)
        h->max = value;
}

uint64_t histogram_quantile(const struct histogram *h, double share) {
    uint64_t wanted = (uint64_t)(share * (double)h->count), seen = 0;
    if (h->count == 0)
        return 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > wanted || seen == h->count)
            return value_of(i) < h->max ? value_of(i) : h->max;
    }
    return h->max;
}
