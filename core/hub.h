/* SPDX-License-Identifier: MIT */
/* What all workers share: the log, the channels with their histories, one inbox for each worker. One lock, one order: in the moment in which a message gets its
 * id it joins its channel's history and every interested worker's inbox. The lock is held for microseconds, never across I/O, a callback or Lua. Safe from any
 * thread. Time is a parameter. */
#ifndef SLUICE_HUB_H
#define SLUICE_HUB_H

#include "config.h"
#include "message.h"
#include "table.h"

struct hub;
struct hub_channel;

/* Initialisers of a struct must name its members; checked by gcc. */
#if __has_attribute(designated_init)
#define HUB_NAMED_INIT __attribute__((designated_init))
#else
#define HUB_NAMED_INIT
#endif

/* Something to be done on a worker, at a place in the one order. Belongs to its maker; `run` may free it. */
struct HUB_NAMED_INIT task {
    void (*run)(struct task *task, void *worker);
    /* The worker ended before it came to this: release what the task holds. */
    void (*cancel)(struct task *task);
};

struct hub_ops {
    /* Inbox `worker` has become non-empty. Called without the lock, on the thread that filled it. */
    void (*wake)(void *context, unsigned worker);
    void *context;
};

/* `config` outlives the hub. NULL: no memory. */
struct hub *hub_new(const struct config *config, unsigned workers, const struct hub_ops *ops, uint64_t now_ms);

/* All workers have ended. Cancels tasks that are left. */
void hub_free(struct hub *hub);

/* The hash by which hub and registries know a channel name. */
uint64_t hub_hash(const struct hub *hub, struct slice name);

/* The newest id of the log; before any message the log's start. */
struct message_id hub_newest(struct hub *hub);

/* --- publishing --------------------------------------------------------------------------------- */

struct hub_published {
    struct message_id id;
    uint64_t subscribers; /* streams subscribed to the channel now, over all workers */
};

enum { HUB_NO_WORKER = -1 };

/* Puts the draft into the log. Takes over the reference, in failure too. `from` is the worker that publishes (it is not woken, it looks by itself) or
 * HUB_NO_WORKER. Returns 0 or -ENOMEM. */
int hub_publish(struct hub *hub, struct message *m, int from, uint64_t now_ms, uint64_t now_ns, struct hub_published *out);

/* Puts a task into one inbox. Returns 0, or -ESRCH where the worker has ended or there is no memory (the task stays the caller's). */
int hub_post(struct hub *hub, unsigned worker, struct task *task);

/* Puts one task into each inbox in the same moment: a marker in the one order. `tasks` has one for each worker; those of workers that have ended are cancelled. Returns 0, or -ENOMEM: all
 * are cancelled. */
int hub_post_all(struct hub *hub, struct task **tasks);

/* --- a worker's inbox --------------------------------------------------------------------------- */

/* One thing that came: a message (the taker gets its reference) or a task. */
struct inbox_item {
    struct message *message;
    struct task *task;
};

struct inbox {
    struct inbox_item *items;
    size_t count, cap;
    size_t bytes;
    bool overflowed; /* messages were left out: streams must read them from history */
    bool lost;       /* the log has lost messages: streams must look for the gap */
};

/* True where hub_take would find something; one relaxed read. */
bool hub_has_mail(const struct hub *hub, unsigned worker);

/* Swaps the worker's inbox with `*inbox`, which must be emptied: what came is in it, in order. */
void hub_take(struct hub *hub, unsigned worker, struct inbox *inbox);

/* The worker takes no more mail; what is posted later is refused. */
void hub_close_inbox(struct hub *hub, unsigned worker);

/* --- subscribing -------------------------------------------------------------------------------- */

enum hub_start_kind {
    HUB_NEW,      /* from the newest id on */
    HUB_AFTER,    /* after `id`, which makes no sense where it is newer than the newest here */
    HUB_VOUCHED,  /* after `id`, which the log has: where it is newer than the newest here, what comes up to it is passed over */
    HUB_UNSURE,   /* the same, but nobody could be asked whether the log has it */
    HUB_EARLIEST, /* all that is kept */
    HUB_NONSENSE  /* an id that is none: all that is kept, and the gap is said */
};

struct hub_start {
    enum hub_start_kind kind;
    struct message_id id;
};

/* A channel as a stream reads it. */
struct hub_source {
    struct slice name;
    uint64_t hash;
    struct hub_channel *channel;  /* filled by hub_subscribe */
    struct message_id since;      /* only what is later */
    bool gap;                     /* filled by hub_subscribe and hub_read: something after `since` and the position is missing */
};

/* What is said about a gap. */
struct hub_gap {
    bool found;
    bool any_kept;
    struct message_id oldest, newest; /* of what the channels with the gap still hold */
    struct message_id id;             /* just before the first message that follows, or the newest */
};

struct hub_joined {
    struct message_id opening;  /* the id that the stream's first block says */
    struct message_id position; /* where the stream goes on from */
    bool live;                  /* nothing to replay */
    uint32_t epoch;             /* of the log that the position belongs to; HUB_EPOCH_UNSURE */
    struct hub_gap gap;
};

enum { HUB_EPOCH_UNSURE = 0 };

/* Subscribes one stream of `worker` to `count` channels at one point of the log. sources[0] is `sluice.all`, which every stream has (its name is not looked at); so count >= 1. Returns 0, or
 * -ENOMEM with nothing subscribed. */
int hub_subscribe(struct hub *hub, unsigned worker, struct hub_source *sources, size_t count, struct hub_start start,
                  uint64_t now_ms, struct hub_joined *out);

/* One more channel for an open stream, live only: `since` is filled. Returns 0 or -ENOMEM. */
int hub_subscribe_later(struct hub *hub, unsigned worker, struct hub_source *source);

/* Ends one stream's subscription; `channel` may be gone afterwards. */
void hub_unsubscribe(struct hub *hub, unsigned worker, struct hub_channel *const *channels, size_t count);

/* `sluice.all`. */
struct hub_channel *hub_all(struct hub *hub);

/* Reads on for a replaying stream: up to `max` messages and about `max_bytes` after `*position` from all sources, merged by id; each comes with a reference. Where there is nothing newer,
 * `*live` is true and `*position` the newest id: from here on everything comes through the inbox. A gap since the last read is reported and moves `since`. `from` gets the index
 * of each message's source. Returns how many. */
size_t hub_read(struct hub *hub, struct hub_source *sources, size_t count, struct message_id *position, struct message **out,
                unsigned *from, size_t max, size_t max_bytes, uint64_t now_ms, bool *live, struct hub_gap *gap);

/* Fills `oldest`, `newest` and `any_kept` of `gap` with what the sources hold whose `gap` is set. */
void hub_kept(struct hub *hub, const struct hub_source *sources, size_t count, uint64_t now_ms, struct hub_gap *gap);

/* Fixes the position of a stream that is subscribed already anew, as HUB_NONSENSE would: it belonged to a log that is no more. */
void hub_rejoin(struct hub *hub, struct hub_source *sources, size_t count, uint64_t now_ms, struct hub_joined *out);

/* --- following a log that is kept elsewhere ------------------------------------------------------ */

/* The log is kept elsewhere and begins after `start`; hub_publish is not called from here on. Before anybody subscribes. */
void hub_follow_from(struct hub *hub, struct message_id start);

/* Takes the log's next message, with its id. Takes over the reference, in failure too. An id that is not newer than the newest is passed over. `own`: it was published here. Returns 0 or -ENOMEM: then the hub must be told with hub_lose. */
int hub_follow(struct hub *hub, struct message *m, struct message_id id, bool own, uint64_t now_ms, uint64_t now_ns);

/* The log has come to `id` with an entry that is no message. */
void hub_advance(struct hub *hub, struct message_id id);

/* What lies between the newest and `up_to` will never come: histories end, and every stream is told the gap. */
void hub_lose(struct hub *hub, struct message_id up_to);

/* The log has begun anew after `start`: its ids say nothing about those before. Histories end; `tasks` has one for each worker, put into the inboxes between the last message of the old log and the first of
 * the new (NULL: none for that worker, and those of workers that have ended are cancelled). Each must have the streams of an older epoch rejoin. */
void hub_restart(struct hub *hub, struct message_id start, struct task **tasks);

/* The epoch: how often the log has begun, from 1. */
uint32_t hub_epoch(struct hub *hub);

/* One channel whose number of subscribed streams has changed since it was told last. The empty name counts all streams. */
struct hub_change {
    char name[MESSAGE_CHANNEL_BYTES];
    uint32_t name_len;
    int64_t by;
};

/* Takes up to `max` of the changes; what is taken counts as told. Returns how many. */
size_t hub_take_changes(struct hub *hub, struct hub_change *out, size_t max);

/* Nothing was told to anybody: all that is subscribed is a change again. */
void hub_forget_told(struct hub *hub);

/* The streams subscribed to a channel here, and how many of them were told. */
void hub_counts(struct hub *hub, struct slice name, uint64_t *here, uint64_t *told);

/* --- keeping house ------------------------------------------------------------------------------ */

/* Expires histories and frees unused channels, some hundred slots a call. */
void hub_sweep(struct hub *hub, uint64_t now_ms);

struct hub_channel_stats {
    bool exists;
    uint64_t subscribers, messages, bytes;
    struct message_id oldest, newest; /* 0-0 where nothing is kept */
};

void hub_channel_stats(struct hub *hub, struct slice name, uint64_t now_ms, struct hub_channel_stats *out);

/* A channel as it is listed. */
struct hub_channel_row {
    char name[MESSAGE_CHANNEL_BYTES + 1];
    uint64_t subscribers;
    uint64_t messages, bytes; /* kept */
    uint64_t published;       /* since the channel is there */
    double rate;              /* published a second, over the last five or so */
};

/* How far a list has come. Zero-initialised. */
struct hub_cursor {
    size_t slot, mask;
    bool done;
};

/* Fills `rows` with the next batch of channels whose names begin with `prefix`, without sluice.all: up to `max` (64 at least), until `at->done`. Each batch is one short hold of the lock. Returns 0, or -EAGAIN where
 * the table has grown meanwhile: drop what was listed and go on, from the beginning. */
int hub_list(struct hub *hub, struct hub_cursor *at, struct slice prefix, uint64_t now_ms, struct hub_channel_row *rows, size_t max,
             size_t *count);

struct hub_stats {
    uint64_t channels; /* without sluice.all */
    uint64_t history_messages, history_bytes, published;
};

void hub_stats(struct hub *hub, struct hub_stats *out);

#endif
