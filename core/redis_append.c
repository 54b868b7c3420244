/* SPDX-License-Identifier: MIT */
/* Publishing: questions that workers ask, on their way to Redis and back. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "idempotency.h"
#include "redis_private.h"

enum {
    ASKED_MOST = 100000,        /* questions that may wait for Redis' answer */
    ASKED_MOST_BYTES = 64 << 20,
    HELD_MS = 200,              /* an answer waits so long for the message to come back */
    TRIM_EXACTLY = 1000         /* up to this redis.maxlen */
};

/* Appends once for each key. Returns the fingerprint, the id and the number of subscribers, separated by blanks: those of the first time. */
static const char ONCE[] = "if redis.replicate_commands then redis.replicate_commands() end\n"
                           "local was = redis.call('GET', KEYS[2])\n"
                           "if was then return was end\n"
                           "local count = math.max(0, tonumber(redis.call('HGET', KEYS[3], ARGV[3]) or 0) + tonumber(ARGV[4]))\n"
                           "local id = redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[5], ARGV[6], '*', unpack(ARGV, 7))\n"
                           "was = ARGV[1] .. ' ' .. id .. ' ' .. string.format('%.0f', count)\n"
                           "redis.call('SET', KEYS[2], was, 'PX', ARGV[2])\n"
                           "return was\n";

/* The newest id of the log. */
static const char NEWEST[] = "if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end\n"
                             "local info = redis.call('XINFO', 'STREAM', KEYS[1])\n"
                             "for i = 1, #info, 2 do if info[i] == 'last-generated-id' then return info[i + 1] end end\n";

/* --- answers --------------------------------------------------------------------------------------- */

static void give_back(struct redis_log *l, struct redis_question *q, enum redis_outcome outcome, const char *why) {
    q->outcome = outcome;
    snprintf(q->why, sizeof q->why, "%s", why ? why : "");
    if (!q->is_id && (outcome == REDIS_REFUSED || outcome == REDIS_UNKNOWN)) {
        pthread_mutex_lock(&l->lock);
        l->stats.refused++;
        pthread_mutex_unlock(&l->lock);
    }
    if (hub_post(l->hub, q->worker, &q->task) == 0)
        return;
    /* Cancelling it is not for this thread: as long as the worker runs, what waits for the answer is the worker's. */
    q->next = l->late;
    l->late = q;
}

/* Tries again. */
static void give_back_late(struct redis_log *l) {
    for (struct redis_question **at = &l->late; *at;) {
        struct redis_question *q = *at, *next = q->next;
        if (hub_post(l->hub, q->worker, &q->task) == 0)
            *at = next;
        else
            at = &q->next;
    }
}

static void cancel_all(struct redis_question *q) {
    while (q) {
        struct redis_question *next = q->next;
        q->task.cancel(&q->task);
        q = next;
    }
}

/* A question that Redis has or had. */
struct asked {
    struct redis_log *log;
    struct redis_question *question;
    size_t size;
    struct list node; /* in log.held */
    uint64_t until_ms;
};

static void answered(struct asked *a, enum redis_outcome outcome, const char *why) {
    a->log->asked_count--;
    a->log->asked_bytes -= a->size;
    give_back(a->log, a->question, outcome, why);
    free(a);
}

/* The message is in the log. Its publisher is told when it has come back here, in a moment, so that what it does next on this node finds it; should it not come, soon anyway. */
static void appended(struct asked *a) {
    struct redis_log *l = a->log;
    if (!l->follow.synced || !message_id_after(a->question->id, l->follow.position)) {
        answered(a, REDIS_APPENDED, NULL);
        return;
    }
    a->until_ms = uv_now(l->loop) + HELD_MS;
    list_append(&l->held, &a->node);
}

void redis_append_release(struct redis_log *l, bool all) {
    uint64_t now = uv_now(l->loop);
    give_back_late(l);
    while (!list_empty(&l->held)) {
        struct asked *a = list_entry(l->held.next, struct asked, node);
        if (!all && message_id_after(a->question->id, l->follow.position) && now < a->until_ms)
            return;
        list_unlink(&a->node);
        answered(a, REDIS_APPENDED, NULL);
    }
}

static const char LOST[] = "the connection to Redis was lost before its answer came: whether the message was published is not known";

/* The number of subscribers on all nodes, of which ours are known better here. */
static void on_count(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct redis_question *q = ((struct asked *)data)->question;
    (void)context;
    uint64_t count;
    if (reply && reply->type == REDIS_REPLY_STRING && slice_to_u64(slice_make(reply->str, reply->len), &count) && count > q->told)
        q->subscribers = count - q->told;
}

static void on_appended(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct asked *a = data;
    struct redis_question *q = a->question;
    uint64_t here, told;
    (void)context;
    if (!reply) {
        answered(a, REDIS_UNKNOWN, LOST);
    } else if (redis_entry_id(reply, &q->id)) {
        hub_counts(a->log->hub, slice_make(q->bytes.data, q->channel_len), &here, &told);
        q->subscribers += here;
        appended(a);
    } else {
        answered(a, REDIS_REFUSED, reply->type == REDIS_REPLY_ERROR ? reply->str : "Redis gave an answer of the wrong kind");
    }
}

/* "<fingerprint> <id> <subscribers>" */
static bool read_once(const redisReply *reply, uint64_t *fingerprint, struct redis_question *q) {
    if (reply->type != REDIS_REPLY_STRING)
        return false;
    struct slice text = slice_make(reply->str, reply->len);
    const char *first = memchr(text.ptr, ' ', text.len), *last = memrchr(text.ptr, ' ', text.len);
    return first && last != first && slice_to_u64(slice_make(text.ptr, (size_t)(first - text.ptr)), fingerprint) &&
           message_id_parse(slice_make(first + 1, (size_t)(last - first - 1)), &q->id) &&
           slice_to_u64(slice_make(last + 1, (size_t)(text.ptr + text.len - last - 1)), &q->subscribers);
}

static void on_once(redisAsyncContext *context, void *answer, void *data) {
    const redisReply *reply = answer;
    struct asked *a = data;
    struct redis_question *q = a->question;
    uint64_t fingerprint;
    (void)context;
    if (!reply)
        answered(a, REDIS_UNKNOWN, LOST);
    else if (!read_once(reply, &fingerprint, q))
        answered(a, REDIS_REFUSED, reply->type == REDIS_REPLY_ERROR ? reply->str : "Redis gave an answer of the wrong kind");
    else if (fingerprint == q->fingerprint)
        appended(a);
    else
        answered(a, REDIS_OTHER, NULL);
}

static void on_newest(redisAsyncContext *context, void *answer, void *data) {
    struct asked *a = data;
    struct message_id newest;
    (void)context;
    if (!redis_entry_id(answer, &newest))
        answered(a, REDIS_UNKNOWN, NULL);
    else
        answered(a, message_id_after(a->question->id, newest) ? REDIS_REFUSED : REDIS_APPENDED, NULL);
}

/* --- questions ------------------------------------------------------------------------------------- */

struct command {
    const char *argv[32];
    size_t lens[32];
    int count;
};

static void add(struct command *c, const char *text, size_t len) {
    c->argv[c->count] = text;
    c->lens[c->count++] = len;
}

static void add_text(struct command *c, const char *text) {
    add(c, text, strlen(text));
}

static void add_fields(struct command *c, const struct redis_log *l, const struct redis_question *q, const char *generation) {
    const char *at = q->bytes.data;
    add_text(c, "channel");
    add(c, at, q->channel_len);
    at += q->channel_len;
    if (q->event_len) {
        add_text(c, "event");
        add(c, at, q->event_len);
    }
    at += q->event_len;
    add_text(c, "data");
    add(c, at, q->data_len);
    add_text(c, "sluice.node");
    add_text(c, l->node);
    add_text(c, "sluice.generation");
    add_text(c, generation);
}

static bool ask_newest(struct redis_log *l, struct asked *a) {
    struct command c = {.count = 0};
    add_text(&c, "EVAL");
    add_text(&c, NEWEST);
    add_text(&c, "1");
    add(&c, l->config->redis_key.data, l->config->redis_key.len);
    return redis_link_ask(l->command, on_newest, a, c.count, c.argv, c.lens);
}

static void ask_count(struct redis_log *l, struct asked *a) {
    struct command c = {.count = 0};
    add_text(&c, "HGET");
    add(&c, l->counts_key.data, l->counts_key.len);
    add(&c, a->question->bytes.data, a->question->channel_len);
    redis_link_ask(l->command, on_count, a, c.count, c.argv, c.lens);
}

static bool ask_append(struct redis_log *l, struct asked *a) {
    struct redis_question *q = a->question;
    struct command c = {.count = 0};
    char maxlen[24], generation[16], fingerprint[24], age[16], adjust[24];
    const char *about = l->config->redis_maxlen < TRIM_EXACTLY ? "=" : "~";
    struct slice key = slice_make(q->bytes.data + q->channel_len + q->event_len + q->data_len, q->key_len);
    uint64_t here;
    snprintf(maxlen, sizeof maxlen, "%" PRIu64, l->config->redis_maxlen);
    snprintf(generation, sizeof generation, "%" PRIu32, q->generation);
    hub_counts(l->hub, slice_make(q->bytes.data, q->channel_len), &here, &q->told);
    if (q->key_len == 0) {
        ask_count(l, a);
        add_text(&c, "XADD");
        add(&c, l->config->redis_key.data, l->config->redis_key.len);
        add_text(&c, "MAXLEN");
        add_text(&c, about);
        add_text(&c, maxlen);
        add_text(&c, "*");
        add_fields(&c, l, q, generation);
        if (redis_link_ask(l->command, on_appended, a, c.count, c.argv, c.lens))
            return true;
        redis_link_fail(l->command, "not enough memory"); /* the count's answer, which is on its way, must not find `a` gone */
        return false;
    }
    struct buf once = {0};
    if (buf_appendf(&once, "%s:once:", l->config->redis_key.data) != 0 || buf_append_slice(&once, key) != 0) {
        buf_deinit(&once);
        return false;
    }
    snprintf(fingerprint, sizeof fingerprint, "%" PRIu64, q->fingerprint);
    snprintf(age, sizeof age, "%d", IDEMPOTENCY_MS);
    snprintf(adjust, sizeof adjust, "%" PRId64, (int64_t)here - (int64_t)q->told);
    add_text(&c, "EVAL");
    add_text(&c, ONCE);
    add_text(&c, "3");
    add(&c, l->config->redis_key.data, l->config->redis_key.len);
    add(&c, once.data, once.len);
    add(&c, l->counts_key.data, l->counts_key.len);
    add_text(&c, fingerprint);
    add_text(&c, age);
    add(&c, q->bytes.data, q->channel_len);
    add_text(&c, adjust);
    add_text(&c, about);
    add_text(&c, maxlen);
    add_fields(&c, l, q, generation);
    bool asked = redis_link_ask(l->command, on_once, a, c.count, c.argv, c.lens);
    buf_deinit(&once);
    return asked;
}

static void take_up(struct redis_log *l, struct redis_question *q) {
    size_t size = q->bytes.len + sizeof *q;
    if (!redis_link_ready(l->command)) {
        char why[REDIS_ERROR_BYTES];
        pthread_mutex_lock(&l->lock);
        snprintf(why, sizeof why, "Redis cannot be reached%s%s", l->trouble_command[0] ? ": " : "", l->trouble_command);
        pthread_mutex_unlock(&l->lock);
        give_back(l, q, q->is_id ? REDIS_UNKNOWN : REDIS_REFUSED, why);
        return;
    }
    struct asked *a = NULL;
    if (l->asked_count < ASKED_MOST && l->asked_bytes + size < ASKED_MOST_BYTES)
        a = malloc(sizeof *a);
    if (!a) {
        give_back(l, q, q->is_id ? REDIS_UNKNOWN : REDIS_REFUSED, "too many messages wait for Redis' answer");
        return;
    }
    *a = (struct asked){.log = l, .question = q, .size = size};
    list_init(&a->node);
    l->asked_count++;
    l->asked_bytes += size;
    if (!(q->is_id ? ask_newest(l, a) : ask_append(l, a)))
        answered(a, q->is_id ? REDIS_UNKNOWN : REDIS_REFUSED, "not enough memory");
}

void redis_append_take(struct redis_log *l) {
    pthread_mutex_lock(&l->lock);
    struct redis_question *q = l->first;
    l->first = NULL;
    l->last = &l->first;
    pthread_mutex_unlock(&l->lock);
    while (q) {
        struct redis_question *next = q->next;
        take_up(l, q);
        q = next;
    }
    redis_link_flush(l->command);
}

void redis_append_cancel(struct redis_log *l) {
    pthread_mutex_lock(&l->lock);
    struct redis_question *q = l->first;
    l->first = NULL;
    l->last = &l->first;
    pthread_mutex_unlock(&l->lock);
    cancel_all(q);
    cancel_all(l->late);
    l->late = NULL;
}

void redis_log_ask(struct redis_log *l, struct redis_question *q) {
    q->next = NULL;
    pthread_mutex_lock(&l->lock);
    bool first = l->first == NULL;
    *l->last = q;
    l->last = &q->next;
    pthread_mutex_unlock(&l->lock);
    if (first)
        uv_async_send(&l->asked);
}

/* --- the link -------------------------------------------------------------------------------------- */

static void on_ready(void *context) {
    struct redis_log *l = context;
    redis_log_trouble(l, false, NULL);
    redis_counts_tick(l, uv_now(l->loop));
}

static void on_lost(void *context, const char *why) {
    struct redis_log *l = context;
    redis_counts_lost(l);
    redis_log_trouble(l, false, why);
}

bool redis_append_open(struct redis_log *l) {
    struct redis_link_ops ops = {on_ready, on_lost, l};
    l->command = redis_log_link(l, ops, REDIS_ANSWER_MS);
    if (l->command)
        redis_link_open(l->command);
    return l->command != NULL;
}
