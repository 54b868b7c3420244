/* SPDX-License-Identifier: MIT */
/* Limits over all nodes: tells Redis what was counted here, some times a second, and brings back the sums. Events are counted in a key with an expiry, what is open beside the streams of the node (redis_counts.c), so that it
 * goes with a node that dies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit_share.h"
#include "redis_private.h"

enum { NOTES = 64, ARGUMENTS = 8 + 4 * NOTES };

/* KEYS: sums of what is open. ARGV: node, prefixes of the nodes' keys and of the counters, then for each key name, events, window, difference of what is open. Returns for each key its events, the milliseconds that
 * its window lasts, what is open. */
static const char COUNT[] = "if redis.replicate_commands then redis.replicate_commands() end\n"
                            "local own, answer = ARGV[2] .. ARGV[1], {}\n"
                            "for i = 4, #ARGV, 4 do\n"
                            "  local key, name, events, ms = ARGV[3] .. ARGV[i], '\\1' .. ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]\n"
                            "  local count = events > 0 and redis.call('INCRBY', key, events) or tonumber(redis.call('GET', key) or 0)\n"
                            "  local left = redis.call('PTTL', key)\n"
                            "  if events > 0 and left < 0 then redis.call('PEXPIRE', key, ms) left = tonumber(ms) end\n"
                            "  if ARGV[i + 3] ~= '0' then\n"
                            "    for _, hash in ipairs({ own, KEYS[1] }) do\n"
                            "      if redis.call('HINCRBY', hash, name, ARGV[i + 3]) <= 0 then redis.call('HDEL', hash, name) end\n"
                            "    end\n"
                            "  end\n"
                            "  answer[#answer + 1] = count\n"
                            "  answer[#answer + 1] = math.max(0, left)\n"
                            "  answer[#answer + 1] = tonumber(redis.call('HGET', KEYS[1], name) or 0)\n"
                            "end\n"
                            "return answer\n";

/* What was told and awaits its answer. */
struct told {
    struct redis_log *log;
    size_t count;
    struct ratelimit_note notes[NOTES];
};

static void on_counted(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct told *t = data;
    (void)context;
    t->log->limits_asked = false;
    bool good = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 * t->count;
    for (size_t i = 0; good && i < t->count; i++) {
        redisReply *const *sums = &reply->element[3 * i];
        const struct ratelimit_note *note = &t->notes[i];
        ratelimit_share_learn(t->log->share, slice_make(note->key, note->key_len), note->events, (uint64_t)sums[0]->integer, (uint64_t)sums[1]->integer,
                              (uint64_t)sums[2]->integer, uv_hrtime() / 1000000);
    }
    if (reply && reply->type == REDIS_REPLY_ERROR)
        redis_log_refused(t->log, &t->log->limits_refusals, "the limits cannot be shared", reply->str);
    free(t);
}

static void put(const char **argv, size_t *lens, int *n, const char *text, size_t len) {
    argv[*n] = text;
    lens[(*n)++] = len;
}

void redis_limits_tick(struct redis_log *l) {
    const char *argv[ARGUMENTS];
    size_t lens[ARGUMENTS];
    char numbers[3 * NOTES][24];
    int n = 0, used = 0;
    if (!l->share || l->limits_asked || !l->counts.joined || !redis_link_ready(l->command))
        return;
    struct told *t = malloc(sizeof *t);
    if (!t)
        return;
    t->log = l;
    t->count = ratelimit_share_take(l->share, t->notes, NOTES, uv_hrtime() / 1000000);
    const struct slice head[] = {slice_of("EVAL"), slice_of(COUNT), slice_of("1"), buf_slice(&l->counts_key), slice_of(l->node), buf_slice(&l->own_key), buf_slice(&l->limit_prefix)};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        put(argv, lens, &n, head[i].ptr, head[i].len);
    for (size_t i = 0; i < t->count; i++) {
        const struct ratelimit_note *note = &t->notes[i];
        put(argv, lens, &n, note->key, note->key_len);
        put(argv, lens, &n, numbers[used], (size_t)snprintf(numbers[used], 24, "%u", note->events)), used++;
        put(argv, lens, &n, numbers[used], (size_t)snprintf(numbers[used], 24, "%llu", (unsigned long long)note->window_ms)), used++;
        put(argv, lens, &n, numbers[used], (size_t)snprintf(numbers[used], 24, "%lld", (long long)note->open)), used++;
    }
    l->limits_asked = t->count > 0 && redis_link_ask(l->command, on_counted, t, n, argv, lens);
    if (!l->limits_asked)
        free(t);
}
