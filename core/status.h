/* SPDX-License-Identifier: MIT */
/* What a server tells of itself: counts and health. Safe from any thread. */
#ifndef SLUICE_STATUS_H
#define SLUICE_STATUS_H

#include "metrics.h"

struct server;
struct worker;

/* True while a script keeps a worker busy for so long that it is named; safe from any thread. */
bool server_any_stuck(const struct server *s);

/* Appends the body of /health; `details` says whether errors are shown in full. Returns the HTTP status, or -ENOMEM. */
int server_health(struct server *s, bool details, struct buf *out);

/* Appends the counts as the JSON of /metrics; the other a JSON array of each worker's own. Return 0 or -ENOMEM. */
int server_metrics_json(struct server *s, struct buf *out);
int server_worker_metrics_json(struct server *s, struct buf *out);

enum { SERVER_METRICS_JSON = METRICS_OPENMETRICS + 1 }; /* a format beside those of metrics_prometheus */

/* The counts in that format, on the thread of `w`: valid until its next turn, in which they are written once, however many ask. Returns 0 or -ENOMEM. */
int server_metrics_text(struct worker *w, int format, struct slice *out);

/* Appends how the last loads of the scripts went, newest first, as a JSON array. Returns 0 or -ENOMEM. */
int server_reloads(struct server *s, struct buf *out);

#endif
