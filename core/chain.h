/* SPDX-License-Identifier: MIT */
/* The compressed forms of messages, made once and shared by all gzip streams of all workers.
 *
 * The self-contained form (`whole`) is a run of deflate blocks that refers to nothing before it; it is kept with its message. Messages below compression.min_bytes are stored in it, not deflated.
 *
 * A chain compresses the messages of one set of channels against one another. Each of its links refers to the links before it since the chain last began anew, so only a stream that was sent
 * exactly those, and nothing else since, can be sent the next one: links have serial numbers, and a stream remembers which must come next. A link that begins the chain anew refers to
 * nothing: every stream can be sent it, and has joined. Links are kept for a while after they were made, for workers that come to them later.
 *
 * Only what is published to channels comes in here: what is edited for one subscriber or sent by a handler has no chain, since its length would tell one client about
 * another's text (as in BREACH).
 *
 * `struct chains` is shared; it has a lock for its directory, one for each live chain and some for whole forms; no two are held at once. `struct coder` is one worker's. Time is a parameter. */
#ifndef SLUICE_CHAIN_H
#define SLUICE_CHAIN_H

#include "gzip.h"
#include "message.h"
#include "metrics.h"

enum {
    CHAIN_LIVE = 64,         /* chains that have a window at a time */
    CHAIN_MESSAGES = 64,     /* a chain begins anew after so many, */
    CHAIN_AGE_MS = 300000,   /* and after so long */
    CHAIN_BATCH = 64,        /* links that are in use at a time, see coder_begin */
    CHAIN_HOLD_MS = 1000     /* a window that was used within this is not taken from its chain: more sets than windows would only take them from one another */
};

struct chains;
struct chain;
struct coder;

/* --- what all workers share --------------------------------------------------------------------- */

/* `level` and `min_bytes` as in the settings. A chain into which nothing came for `idle_ms` begins anew. NULL: no memory. */
struct chains *chains_new(int level, size_t min_bytes, uint64_t idle_ms);

/* No coder is left, and no chain open. */
void chains_free(struct chains *c);

/* The chain of a set of channels; `key` is a text that is the same for the same set and no other. One of its streams more. NULL: no memory. */
struct chain *chain_open(struct chains *c, struct slice key);

/* One of its streams less; the chain goes with the last. */
void chain_close(struct chains *c, struct chain *chain);

/* --- what a worker has of its own ----------------------------------------------------------------- */

struct chain_link {
    struct message *message; /* a private segment with the link's bytes, `part` and the message's id; NULL: there is none */
    uint64_t serial;         /* what must come before it has the number just below */
    bool begins;             /* needs nothing before it */
};

/* `metrics` counts what is made. NULL: no memory. */
struct coder *coder_new(struct chains *c, struct metrics *metrics);
void coder_free(struct coder *coder);

/* The self-contained form of a message that has its id, `part` included: a private segment that belongs to the message. Made where there is none yet, once for all workers. NULL: no memory. */
struct message *coder_whole(struct coder *coder, struct message *m);

/* Appends a self-contained form of any text. Returns 0 or -ENOMEM. */
int coder_encode(struct coder *coder, struct slice text, struct buf *out);

/* The links that were given out are not needed any more (who keeps one has a reference to its message); CHAIN_BATCH more can be had. */
void coder_begin(struct coder *coder);

/* The link for `m`, which was published to one of the chain's channels and which the asking stream gets live; made where there is none yet and `m` is later than all that are, once for all
 * workers. `next`: the serial number that the asking stream could be sent, 0: none; where it is the chain's only stream, the chain begins anew rather than to go on without it. NULL where
 * there is no link: send the whole form. Mostly neither locks nor looks anything up. */
const struct chain_link *coder_link(struct coder *coder, struct chain *chain, struct message *m, uint64_t next, uint64_t now_ms);

/* Adds up to CHAIN_BATCH parts to a stream's sum. One after another the streams of a fan-out are sent the same parts: what several of them are together is kept at hand. */
void coder_sum(struct coder *coder, struct gzip_sum *sum, const struct gzip_part *const *parts, size_t count);

/* True where a stream that could be sent `next` can be sent this link. */
static inline bool chain_link_fits(const struct chain_link *link, uint64_t next) {
    return link->begins || link->serial == next;
}

#endif
