/* SPDX-License-Identifier: MIT */
/* What the I/O layer asks of the policy above it: a table of functions, filled by the Lua layer (or by stubs in C tests). Each worker has a policy of its own; all calls are made on the
 * worker's thread. */
#ifndef SLUICE_POLICY_H
#define SLUICE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker;
struct policy;
struct exchange;
struct stream;
struct message;
struct subscription;
struct snapshot;

enum { POLICY_FILE_BYTES = 256, POLICY_ERROR_BYTES = 1024 };

/* Why a set of scripts was not accepted. */
struct policy_error {
    char file[POLICY_FILE_BYTES];
    int line; /* 0: not known */
    char message[POLICY_ERROR_BYTES];
};

struct policy_ops {
    /* Makes the policy of a worker. NULL: no memory. */
    struct policy *(*create)(struct worker *worker, void *context);

    /* Ends what still runs and frees all. No connection is left. */
    void (*destroy)(struct policy *policy);

    /* Loads a set of scripts beside the one in force, effects held back. Returns true, or false with `error` filled. */
    bool (*load)(struct policy *policy, struct snapshot *snapshot, uint64_t generation, struct policy_error *error);

    /* The loaded set is in force from here on / is dropped. */
    void (*accept)(struct policy *policy);
    void (*discard)(struct policy *policy);

    /* A complete request, or the head of one that was refused (exchange->refused): answer it, now or later, with exchange_respond, exchange_fail or a stream. */
    void (*request)(struct policy *policy, struct exchange *exchange);

    /* The client is gone or the server leaves: end what runs for this exchange; it must not be used afterwards. */
    void (*abandon)(struct policy *policy, struct exchange *exchange);

    /* The stream's queue has room again: a handler that waits in send goes on. */
    void (*drained)(struct policy *policy, struct exchange *exchange);

    /* True where every delivery of that message has to be shaped. `replayed`: it is not live. */
    bool (*shapes)(struct policy *policy, const struct message *message, bool replayed);

    /* The form in which `stream` gets `message`: the message itself, a new one (the caller gets its reference), or NULL to skip it. Asks a filter function, then on_message. The
     * stream may be closed meanwhile. */
    struct message *(*shape)(struct policy *policy, struct stream *stream, struct message *message,
                             struct subscription *subscription, bool replayed);

    /* A stream that was begun has ended; `reason` is a word. Its subscriptions are still to be seen. */
    void (*closed)(struct policy *policy, struct stream *stream, const char *reason);

    /* The stream's memory goes: let go of everything that points to it. */
    void (*forget)(struct policy *policy, struct stream *stream);

    /* The end of a turn of the loop; `idle`: there is nothing to do, a time to collect garbage. Returns the policy that is to be used from now on, this one or another that has taken its place. */
    struct policy *(*turn)(struct policy *policy, bool idle);
};

#endif
