/* SPDX-License-Identifier: MIT */
/* Follows the stream: one XREAD after the other, each after a look whether the last entry that was read is still there, so that what was trimmed before it could be read is known to be missing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_private.h"
#include "worker.h"

enum { BATCH_FIRST = 128, BATCH_MOST = 1024, BATCH_BYTES = 4 << 20, TELL_MALFORMED = 10, TELL_MALFORMED_MS = 10000 };

/* Where the log stands: its newest id, the first entry's id, and whether the entry `seen` is there. A log that does not exist is begun with an entry that is no message, so that each log has
 * ids of its own from the start. */
static const char LOOK[] = "if redis.replicate_commands then redis.replicate_commands() end\n"
                           "if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('XADD', KEYS[1], '*', 'sluice.log', 'begins') end\n"
                           "local info, last = redis.call('XINFO', 'STREAM', KEYS[1]), false\n"
                           "for i = 1, #info, 2 do if info[i] == 'last-generated-id' then last = info[i + 1] end end\n"
                           "local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]\n"
                           "return { last, first and first[1], #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) }\n";

/* Is that entry still there? Else the first entry's id, or false where there is none. */
static const char STILL_THERE[] = "if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 1 then return 1 end\n"
                                  "local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]\n"
                                  "return first and first[1]\n";

static void read_on(struct redis_log *l);

/* Asks a script about the key and the position. */
static bool ask_script(struct redis_log *l, const char *script, redisCallbackFn *answer) {
    char position[MESSAGE_ID_BYTES];
    size_t len = message_id_format(position, l->follow.position);
    const char *argv[] = {"EVAL", script, "1", l->config->redis_key.data, position};
    size_t lens[] = {4, strlen(script), 1, l->config->redis_key.len, len};
    return redis_link_ask(l->follow.link, answer, l, 5, argv, lens);
}

/* --- telling workers ------------------------------------------------------------------------------ */

struct rejoin_task {
    struct task task;
    struct message_id last;
};

static void run_rejoin(struct task *task, void *worker) {
    worker_rejoin_streams(worker, ((struct rejoin_task *)(void *)task)->last);
    free(task);
}

static void cancel_rejoin(struct task *task) {
    free(task);
}

static struct task *rejoin_task(struct message_id last) {
    struct rejoin_task *task = malloc(sizeof *task);
    if (!task)
        return NULL;
    *task = (struct rejoin_task){.task = {.run = run_rejoin, .cancel = cancel_rejoin}, .last = last};
    return &task->task;
}

static void count_lost(struct redis_log *l) {
    pthread_mutex_lock(&l->lock);
    l->stats.lost++;
    pthread_mutex_unlock(&l->lock);
}

/* The ids went back: another log, or an older state of it. */
static void restart(struct redis_log *l, struct message_id start, struct message_id last) {
    char was[MESSAGE_ID_BYTES], is[MESSAGE_ID_BYTES];
    struct task *tasks[l->workers];
    message_id_format(was, l->follow.position);
    message_id_format(is, last);
    log_write(l->log, LOG_ERROR, "redis", "the log has gone back from %s to %s: it was emptied, or an older state of it was restored. All streams are told a gap and go on with what it holds", was, is);
    for (unsigned i = 0; i < l->workers; i++)
        tasks[i] = rejoin_task(last);
    hub_restart(l->hub, start, tasks);
    l->follow.position = start;
    count_lost(l);
}

/* What came after the position is gone up to `up_to`. */
static void lose(struct redis_log *l, struct message_id up_to) {
    char after[MESSAGE_ID_BYTES], to[MESSAGE_ID_BYTES];
    up_to = message_id_max(up_to, l->follow.position);
    message_id_format(after, l->follow.position);
    message_id_format(to, up_to);
    log_write(l->log, LOG_WARN, "redis", "what the log had after %s, up to %s, was trimmed before it could be read, or the log was emptied: all streams are told a gap", after, to);
    hub_lose(l->hub, up_to);
    l->follow.position = up_to;
    count_lost(l);
}

/* --- reading --------------------------------------------------------------------------------------- */

/* Says which entry is no message and why, at most ten in 10 s, so that a mistaken publisher does not fill the disk. */
static void tell_malformed(struct redis_log *l, const struct redis_entry *entry) {
    struct redis_follow *f = &l->follow;
    uint64_t now = uv_now(l->loop);
    char id[MESSAGE_ID_BYTES];
    bool same_spell = f->malformed_since_ms && now - f->malformed_since_ms < TELL_MALFORMED_MS;
    if (same_spell && f->malformed_told == TELL_MALFORMED) {
        f->malformed_untold++;
        return;
    }
    if (!same_spell) {
        f->malformed_since_ms = now;
        f->malformed_told = 0;
    }
    message_id_format(id, entry->id);
    if (f->malformed_untold)
        log_write(l->log, LOG_WARN, "redis", "entry %s of the log is no message and is passed over: %s (and %" PRIu64 " others since the last record)", id, entry->why,
                  f->malformed_untold);
    else
        log_write(l->log, LOG_WARN, "redis", "entry %s of the log is no message and is passed over: %s", id, entry->why);
    f->malformed_told++;
    f->malformed_untold = 0;
}

/* Passes one entry on. Returns how many bytes it had. */
static size_t take(struct redis_log *l, const redisReply *reply, uint64_t now_ms, uint64_t now_ns, struct redis_log_stats *count) {
    struct redis_entry entry;
    if (!redis_entry_read(reply, slice_of(l->node), l->config->body_bytes, &entry))
        return 0;
    size_t size = entry.message ? entry.message->size : 0;
    if (entry.message) {
        count->followed++;
        entry.no_memory = hub_follow(l->hub, entry.message, entry.id, entry.own, now_ms, now_ns) != 0;
    } else {
        hub_advance(l->hub, entry.id);
    }
    if (entry.why) {
        count->malformed++;
        tell_malformed(l, &entry);
    }
    if (entry.no_memory)
        hub_lose(l->hub, entry.id);
    l->follow.position = message_id_max(l->follow.position, entry.id);
    return size;
}

static void take_all(struct redis_log *l, const redisReply *entries) {
    struct redis_follow *f = &l->follow;
    struct redis_log_stats count = {0};
    uint64_t now_ms = wall_ms(), now_ns = uv_hrtime();
    size_t bytes = 0;
    for (size_t i = 0; i < entries->elements; i++)
        bytes += take(l, entries->element[i], now_ms, now_ns, &count);
    f->caught_up += count.followed;
    redis_append_release(l, false);
    if (bytes > BATCH_BYTES && f->batch > 1)
        f->batch /= 2;
    else if (entries->elements == f->batch && f->batch < BATCH_MOST && bytes < BATCH_BYTES / 2)
        f->batch *= 2;
    pthread_mutex_lock(&l->lock);
    l->stats.followed += count.followed;
    l->stats.malformed += count.malformed;
    pthread_mutex_unlock(&l->lock);
}

bool redis_follow_caught_up(const struct redis_log *l) {
    return l->follow.synced && !message_id_after(l->follow.target, l->follow.position);
}

static void look_whether_caught_up(struct redis_log *l) {
    if (redis_follow_caught_up(l))
        redis_log_trouble(l, true, NULL);
}

/* Ends the connection for an answer that makes no sense here. */
static void refuse(struct redis_log *l, const redisReply *reply) {
    char why[REDIS_WHY_BYTES];
    snprintf(why, sizeof why, "%s", reply->type == REDIS_REPLY_ERROR ? reply->str : "Redis gave an answer of the wrong kind");
    redis_link_fail(l->follow.link, why);
}

static void look(struct redis_log *l);

/* XREAD: nil, or [[key, entries]]. */
static void on_read(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct redis_log *l = data;
    (void)context;
    if (!reply)
        return;
    l->follow.progress_ms = uv_now(l->loop);
    if (reply->type == REDIS_REPLY_NIL) {
        look(l); /* nothing came: or nothing can come, since the log has gone back */
        return;
    }
    const redisReply *stream = reply->type == REDIS_REPLY_ARRAY && reply->elements == 1 ? reply->element[0] : NULL;
    if (!stream || stream->type != REDIS_REPLY_ARRAY || stream->elements != 2 || stream->element[1]->type != REDIS_REPLY_ARRAY) {
        refuse(l, reply);
        return;
    }
    take_all(l, stream->element[1]);
    look_whether_caught_up(l);
    read_on(l);
}

static void on_still_there(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct redis_log *l = data;
    struct message_id first;
    (void)context;
    if (!reply || reply->type == REDIS_REPLY_INTEGER || reply->type == REDIS_REPLY_NIL)
        return;
    if (!redis_entry_id(reply, &first))
        refuse(l, reply);
    else if (message_id_after(message_id_before(first), l->follow.position))
        lose(l, message_id_before(first));
}

static void read_on(struct redis_log *l) {
    char position[MESSAGE_ID_BYTES], count[24], block[24];
    size_t len = message_id_format(position, l->follow.position);
    int count_len = snprintf(count, sizeof count, "%u", l->follow.batch), block_len = snprintf(block, sizeof block, "%d", REDIS_BLOCK_MS);
    const char *argv[] = {"XREAD", "COUNT", count, "BLOCK", block, "STREAMS", l->config->redis_key.data, position};
    size_t lens[] = {5, 5, (size_t)count_len, 5, (size_t)block_len, 7, l->config->redis_key.len, len};
    if (ask_script(l, STILL_THERE, on_still_there))
        redis_link_ask(l->follow.link, on_read, l, 8, argv, lens);
}

/* --- where the log stands --------------------------------------------------------------------------- */

struct standing {
    struct message_id last, start; /* the newest id; the log begins after `start` */
    bool seen;                     /* the entry at our position is there */
};

static bool read_standing(const redisReply *reply, struct standing *out) {
    struct message_id first;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 || !redis_entry_id(reply->element[0], &out->last))
        return false;
    out->start = redis_entry_id(reply->element[1], &first) ? message_id_before(first) : out->last;
    out->seen = reply->element[2]->type == REDIS_REPLY_INTEGER && reply->element[2]->integer > 0;
    return true;
}

/* Compares where the log stands with what was read of it. */
static void compare(struct redis_log *l, const struct standing *now) {
    struct redis_follow *f = &l->follow;
    if (!f->begun) {
        hub_follow_from(l->hub, now->start);
        f->position = now->start;
        f->begun = true;
    } else if (message_id_after(f->position, now->last)) {
        restart(l, now->start, now->last);
    } else if (!now->seen && message_id_after(now->last, f->position) && message_id_compare(now->start, f->position) != 0) {
        lose(l, now->start);
    }
}

static void on_look(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct redis_log *l = data;
    struct redis_follow *f = &l->follow;
    struct standing now;
    (void)context;
    if (!reply)
        return;
    if (!read_standing(reply, &now)) {
        refuse(l, reply);
        return;
    }
    bool again = f->begun && !f->synced;
    compare(l, &now);
    if (again) { /* streams that came meanwhile with an id that nobody could be asked about */
        for (unsigned i = 0; i < l->workers; i++) {
            struct task *task = rejoin_task(now.last);
            if (task && hub_post(l->hub, i, task) != 0)
                free(task);
        }
    }
    f->target = now.last;
    f->synced = true;
    f->progress_ms = uv_now(l->loop);
    look_whether_caught_up(l);
    read_on(l);
}

static void look(struct redis_log *l) {
    ask_script(l, LOOK, on_look);
}

static void on_ready(void *context) {
    struct redis_log *l = context;
    l->follow.caught_up = 0;
    l->follow.batch = BATCH_FIRST;
    look(l);
}

static void on_lost(void *context, const char *why) {
    struct redis_log *l = context;
    l->follow.synced = false;
    redis_append_release(l, true);
    redis_log_trouble(l, true, why);
}

bool redis_follow_open(struct redis_log *l) {
    struct redis_link_ops ops = {on_ready, on_lost, l};
    l->follow.link = redis_log_link(l, ops, REDIS_BLOCK_MS + REDIS_ANSWER_MS / 2);
    if (l->follow.link)
        redis_link_open(l->follow.link);
    return l->follow.link != NULL;
}
