/* SPDX-License-Identifier: MIT */
/* The hub of a node that follows a log kept elsewhere: messages come with their ids, may be missing, and the log may begin anew; and what other nodes are told of its streams. */
#include <errno.h>

#include "hub_private.h"

static void end_history(struct table_node *node, void *context) {
    struct hub *hub = context;
    struct hub_channel *ch = table_entry(node, struct hub_channel, by_name);
    history_clear(&ch->history, hub->start);
    hub_channel_drop_unused(hub, ch);
}

/* Nothing is known of what lies before `start`, and nothing kept of it. */
static void begin_after(struct hub *hub, struct message_id start) {
    hub->start = hub->newest = start;
    for (size_t i = 0; i < HUB_FLOORS; i++)
        hub->floors[i] = start;
    table_each(&hub->channels, end_history, hub);
}

void hub_follow_from(struct hub *hub, struct message_id start) {
    pthread_mutex_lock(&hub->lock);
    hub->following = true;
    begin_after(hub, start);
    pthread_mutex_unlock(&hub->lock);
}

int hub_follow(struct hub *hub, struct message *m, struct message_id id, bool own, uint64_t now_ms, uint64_t now_ns) {
    struct slice name = message_channel(m);
    uint64_t hash = hub_hash(hub, name);
    bool wake[hub->workers];
    int rc = 0;

    m->channel_hash = hash;
    m->published_ns = now_ns;
    message_seal(m, id);
    memset(wake, 0, sizeof wake);
    pthread_mutex_lock(&hub->lock);
    struct hub_channel *ch = message_id_after(id, hub->newest) ? hub_channel_open(hub, name, hash) : NULL;
    if (ch) {
        m->epoch = hub->epoch;
        hub->newest = id;
        hub->published += own;
        for (unsigned i = 0; i < hub->workers; i++)
            wake[i] = ch->counts[i] && hub_inbox_put_message(&hub->inboxes[i], m);
        hub_channel_count_activity(ch, id.ms, now_ms);
        history_append(&ch->history, m, now_ms);
        hub_channel_drop_unused(hub, ch);
    } else if (message_id_after(id, hub->newest)) {
        rc = -ENOMEM;
    }
    pthread_mutex_unlock(&hub->lock);

    message_release(m);
    hub_wake(hub, wake);
    return rc;
}

void hub_advance(struct hub *hub, struct message_id id) {
    pthread_mutex_lock(&hub->lock);
    hub->newest = message_id_max(hub->newest, id);
    pthread_mutex_unlock(&hub->lock);
}

void hub_lose(struct hub *hub, struct message_id up_to) {
    bool wake[hub->workers];
    pthread_mutex_lock(&hub->lock);
    begin_after(hub, up_to);
    for (unsigned i = 0; i < hub->workers; i++) {
        struct hub_inbox *inbox = &hub->inboxes[i];
        inbox->mail.lost = true;
        wake[i] = !inbox->closed && hub_inbox_fill(inbox);
    }
    pthread_mutex_unlock(&hub->lock);
    hub_wake(hub, wake);
}

void hub_restart(struct hub *hub, struct message_id start, struct task **tasks) {
    bool wake[hub->workers], refused[hub->workers];
    pthread_mutex_lock(&hub->lock);
    hub->epoch++;
    begin_after(hub, start);
    for (unsigned i = 0; i < hub->workers; i++) {
        struct hub_inbox *inbox = &hub->inboxes[i];
        size_t before = inbox->mail.count;
        wake[i] = tasks[i] && !inbox->closed && hub_inbox_put(inbox, (struct inbox_item){.task = tasks[i]});
        refused[i] = tasks[i] && inbox->mail.count == before;
    }
    pthread_mutex_unlock(&hub->lock);
    hub_wake(hub, wake);
    for (unsigned i = 0; i < hub->workers; i++) {
        if (refused[i])
            tasks[i]->cancel(tasks[i]);
    }
}

size_t hub_take_changes(struct hub *hub, struct hub_change *out, size_t max) {
    size_t n = 0;
    pthread_mutex_lock(&hub->lock);
    while (n < max && !list_empty(&hub->changed)) {
        struct hub_channel *ch = list_entry(hub->changed.next, struct hub_channel, changed);
        uint64_t now = hub_channel_subscribers(hub, ch);
        list_unlink(&ch->changed);
        if (now != ch->told) {
            struct hub_change *change = &out[n++];
            change->name_len = ch == hub->all ? 0 : ch->name_len;
            memcpy(change->name, ch->name, change->name_len);
            change->by = (int64_t)now - (int64_t)ch->told;
            ch->told = (uint32_t)now;
        }
        hub_channel_drop_unused(hub, ch);
    }
    pthread_mutex_unlock(&hub->lock);
    return n;
}

static void forget_told(struct table_node *node, void *context) {
    struct hub *hub = context;
    struct hub_channel *ch = table_entry(node, struct hub_channel, by_name);
    ch->told = 0;
    list_unlink(&ch->changed);
    list_append(&hub->changed, &ch->changed);
}

void hub_forget_told(struct hub *hub) {
    pthread_mutex_lock(&hub->lock);
    table_each(&hub->channels, forget_told, hub);
    pthread_mutex_unlock(&hub->lock);
}

void hub_counts(struct hub *hub, struct slice name, uint64_t *here, uint64_t *told) {
    *here = *told = 0;
    uint64_t hash = hub_hash(hub, name);
    pthread_mutex_lock(&hub->lock);
    struct hub_channel *ch = hub_channel_find(hub, name, hash);
    if (ch) {
        *here = hub_channel_subscribers(hub, ch);
        *told = ch->told;
    }
    pthread_mutex_unlock(&hub->lock);
}
