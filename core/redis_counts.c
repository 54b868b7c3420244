/* SPDX-License-Identifier: MIT */
/* How many streams are subscribed to each channel, over all nodes. Each node tells Redis what has changed on it, some times a second; one hash has the sums, one for each node what it has told, so that the part of a
 * node that has died can be taken back by any other. */
#include <stdio.h>
#include <string.h>

#include "ratelimit_share.h"
#include "redis_private.h"

enum {
    TELL_MS = 1000,  /* at least so often, also where nothing has changed */
    ALIVE_MS = 5000, /* a node that was silent for so long is dead */
    ARGUMENTS = 10 + 2 * REDIS_CHANGES
};

/* KEYS: sums, nodes. ARGV: what to do, node, how long it lives, the prefixes of the nodes' keys, then names and differences. */
static const char TELL[] =
    "if redis.replicate_commands then redis.replicate_commands() end\n"
    "local what, me, ms, own, alive = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]\n"
    "local function add(key, name, by)\n"
    "  if redis.call('HINCRBY', key, name, by) <= 0 then redis.call('HDEL', key, name) end\n"
    "end\n"
    "local function drop(id)\n"
    "  local told = redis.call('HGETALL', own .. id)\n"
    "  for i = 1, #told, 2 do add(KEYS[1], told[i], -told[i + 1]) end\n"
    "  redis.call('DEL', own .. id, alive .. id)\n"
    "  redis.call('SREM', KEYS[2], id)\n"
    "end\n"
    "if what ~= 'tell' then drop(me) end\n"
    "if what == 'leave' then return 0 end\n"
    "if what == 'tell' and redis.call('SISMEMBER', KEYS[2], me) == 0 then return false end\n"
    "redis.call('SADD', KEYS[2], me)\n"
    "redis.call('SET', alive .. me, '1', 'PX', ms)\n"
    "for i = 6, #ARGV, 2 do\n"
    "  add(own .. me, ARGV[i], ARGV[i + 1])\n"
    "  add(KEYS[1], ARGV[i], ARGV[i + 1])\n"
    "end\n"
    "for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do\n"
    "  if redis.call('EXISTS', alive .. id) == 0 then drop(id) end\n"
    "end\n"
    "return { redis.call('SCARD', KEYS[2]), tonumber(redis.call('HGET', KEYS[1], '') or 0) }\n";

static void on_told(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct redis_log *l = data;
    struct redis_counts *c = &l->counts;
    (void)context;
    c->asked = false;
    if (!reply)
        return;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_INTEGER ||
        reply->element[1]->type != REDIS_REPLY_INTEGER) {
        if (reply->type == REDIS_REPLY_ERROR)
            redis_log_refused(l, &c->refusals, "the streams of this node cannot be told", reply->str);
        c->joined = false; /* nobody knows us any more: all is told again */
        return;
    }
    c->nodes = (uint64_t)reply->element[0]->integer;
    c->streams = (uint64_t)reply->element[1]->integer;
    pthread_mutex_lock(&l->lock);
    l->stats.nodes = c->nodes;
    l->stats.streams = c->streams;
    pthread_mutex_unlock(&l->lock);
}

/* Sends `what` with the changes. */
static bool tell(struct redis_log *l, const char *what, const struct hub_change *changes, size_t count, redisCallbackFn *answer) {
    const char *argv[ARGUMENTS];
    size_t lens[ARGUMENTS];
    char numbers[REDIS_CHANGES][24], ms[16];
    int n = 0;
    snprintf(ms, sizeof ms, "%d", ALIVE_MS);
    const struct slice head[] = {slice_of("EVAL"), slice_of(TELL), slice_of("2"), buf_slice(&l->counts_key), buf_slice(&l->nodes_key),
                                 slice_of(what), slice_of(l->node), slice_of(ms), buf_slice(&l->own_key), buf_slice(&l->alive_prefix)};
    for (; n < (int)(sizeof head / sizeof *head); n++) {
        argv[n] = head[n].ptr;
        lens[n] = head[n].len;
    }
    for (size_t i = 0; i < count; i++) {
        argv[n] = changes[i].name;
        lens[n++] = changes[i].name_len;
        argv[n] = numbers[i];
        lens[n++] = (size_t)snprintf(numbers[i], sizeof numbers[i], "%lld", (long long)changes[i].by);
    }
    return redis_link_ask(l->command, answer, l, n, argv, lens);
}

void redis_counts_tick(struct redis_log *l, uint64_t now_ms) {
    static const char *const WHAT[] = {"join", "tell"};
    struct redis_counts *c = &l->counts;
    struct hub_change changes[REDIS_CHANGES];
    if (c->asked || !redis_link_ready(l->command) || !l->follow.begun)
        return;
    if (!c->joined) {
        hub_forget_told(l->hub);
        if (l->share)
            ratelimit_share_forget_told(l->share);
    }
    size_t count = hub_take_changes(l->hub, changes, REDIS_CHANGES);
    if (c->joined && count == 0 && now_ms < c->due_ms)
        return;
    c->asked = tell(l, WHAT[c->joined], changes, count, on_told);
    c->joined = c->asked;
    c->due_ms = now_ms + TELL_MS;
}

void redis_counts_lost(struct redis_log *l) {
    l->counts.joined = l->counts.asked = false;
}

bool redis_counts_leave(struct redis_log *l, redisCallbackFn *answer) {
    return tell(l, "leave", NULL, 0, answer);
}
