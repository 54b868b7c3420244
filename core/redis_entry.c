/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "message.h"
#include "redis_private.h"

bool redis_entry_id(const redisReply *reply, struct message_id *out) {
    return reply && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS) &&
           message_id_parse(slice_make(reply->str, reply->len), out);
}

enum { FIELD_CHANNEL, FIELD_EVENT, FIELD_DATA, FIELD_NODE, FIELD_GENERATION, FIELD_LOG, FIELDS };

struct fields {
    struct slice values[FIELDS];
    bool given[FIELDS];
};

/* Returns a sentence where a field is there twice. Fields that are not ours are the publisher's own business. */
static const char *collect(const redisReply *list, struct fields *out) {
    static const char *const NAMES[FIELDS] = {"channel", "event", "data", "sluice.node", "sluice.generation", "sluice.log"};
    static const char *const TWICE[FIELDS] = {"channel is there twice",     "event is there twice",
                                              "data is there twice",        "sluice.node is there twice",
                                              "sluice.generation is there twice", "sluice.log is there twice"};
    *out = (struct fields){0};
    for (size_t i = 0; i + 1 < list->elements; i += 2) {
        const redisReply *name = list->element[i], *value = list->element[i + 1];
        if (name->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING)
            return "its fields are no strings";
        for (int f = 0; f < FIELDS; f++) {
            if (!slice_is(slice_make(name->str, name->len), NAMES[f]))
                continue;
            if (out->given[f])
                return TWICE[f];
            out->given[f] = true;
            out->values[f] = slice_make(value->str, value->len);
        }
    }
    return NULL;
}

static const char *check(const struct fields *f, size_t max_bytes) {
    const char *why = NULL;
    if (!f->given[FIELD_CHANNEL])
        return "it has no channel";
    if (!f->given[FIELD_DATA])
        return "it has no data";
    if (!f->given[FIELD_NODE] && f->values[FIELD_DATA].len > max_bytes)
        return "its data is larger than limits.body_bytes";
    return message_check(f->values[FIELD_CHANNEL], f->values[FIELD_EVENT], f->values[FIELD_DATA], &why) ? why : NULL;
}

bool redis_entry_read(const redisReply *reply, struct slice node, size_t max_bytes, struct redis_entry *out) {
    struct fields f;
    *out = (struct redis_entry){0};
    if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !redis_entry_id(reply->element[0], &out->id))
        return false;
    const redisReply *list = reply->element[1];
    if (list->type != REDIS_REPLY_ARRAY) /* deleted meanwhile */
        return true;
    out->why = collect(list, &f);
    if (!out->why && f.given[FIELD_LOG]) /* where a node has begun the log */
        return true;
    out->why = out->why ? out->why : check(&f, max_bytes);
    if (out->why)
        return true;
    out->message = message_new(f.values[FIELD_CHANNEL], f.values[FIELD_EVENT], f.values[FIELD_DATA]);
    out->no_memory = !out->message;
    uint64_t generation;
    if (out->message && f.given[FIELD_NODE] && slice_equal(f.values[FIELD_NODE], node)) {
        out->own = true;
        if (slice_to_u64(f.values[FIELD_GENERATION], &generation))
            out->message->generation = (uint32_t)generation;
    }
    return true;
}
