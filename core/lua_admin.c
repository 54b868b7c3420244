/* SPDX-License-Identifier: MIT */
/* `sluice.admin` of scripts: what an operator sees of the whole server and may do to it. Most of it asks all workers and waits for them, so it can be called where a script may wait. */
#include <errno.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "inquiry.h"
#include "json.h"
#include "lua_json.h"
#include "lua_policy.h"
#include "lua_scratch.h"
#include "server.h"
#include "status.h"
#include "stream_list.h"
#include "tap.h"

#define WAITER_TYPE "sluice.waiter"
#define TAP_TYPE "sluice.tap"
#define WALK_TYPE "sluice.walk"

static const double PATIENCE_S = 2; /* a worker that has not answered by then is missing */

enum { LIST_LIMIT = 100, WALK_BATCH = 256 };

/* --- waiting ------------------------------------------------------------------------------------ */

/* A routine that waits to be woken. Marked to be closed in the frame that waits: whichever way that ends, nobody wakes it afterwards. */
struct waiter {
    struct routine *routine;
    struct inquiry *inquiry; /* what it waits for, or NULL */
    struct waiter **slot;    /* where it is known, or NULL */
};

static int waiter_close(lua_State *L) {
    struct waiter *w = lua_touserdata(L, 1);
    w->routine = NULL;
    if (w->slot)
        *w->slot = NULL;
    w->slot = NULL;
    if (w->inquiry) {
        inquiry_cancel(w->inquiry);
        inquiry_release(w->inquiry);
    }
    w->inquiry = NULL;
    return 0;
}

/* Pushes one for the running routine. */
static struct waiter *push_waiter(lua_State *L, struct routine *r) {
    struct waiter *w = lua_newuserdatauv(L, sizeof *w, 0);
    *w = (struct waiter){.routine = r};
    if (luaL_newmetatable(L, WAITER_TYPE)) {
        lua_pushcfunction(L, waiter_close);
        lua_setfield(L, -2, "__close");
        lua_pushcfunction(L, waiter_close);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    return w;
}

static void wake(void *context) {
    struct waiter *w = context;
    struct routine *r = w->routine;
    if (!r || r->wait != WAIT_SLEEP)
        return;
    wheel_cancel(&r->timer);
    routine_run(r, 0);
}

/* --- asking all workers ---------------------------------------------------------------------------- */

/* Asks and waits; `then` goes on with the waiter on top of the stack at `context`. */
static int ask(lua_State *L, const char *function, inquiry_fn fn, const void *question, size_t size, lua_KFunction then) {
    struct routine *r = policy_check_wait(L, function);
    struct waiter *w = push_waiter(L, r);
    w->inquiry = inquiry_new(r->policy->worker, fn, question, size, wake, w);
    if (!w->inquiry)
        return luaL_error(L, "not enough memory");
    routine_sleep(r, PATIENCE_S);
    return lua_yieldk(L, 0, lua_gettop(L), then);
}

static struct inquiry *asked(lua_State *L, lua_KContext context) {
    return ((struct waiter *)lua_touserdata(L, (int)context))->inquiry;
}

static void check(lua_State *L, int rc) {
    if (rc)
        luaL_error(L, "not enough memory");
}

/* --- options --------------------------------------------------------------------------------------- */

/* Takes the option at `name` of the table at 1: leaves its value on the stack and returns true where it is there; every option must be taken. */
static bool take_option(lua_State *L, const char *name) {
    if (lua_isnoneornil(L, 1))
        return false;
    lua_getfield(L, 1, name);
    return !lua_isnil(L, -1);
}

/* Raises for an option that is none of `names`. */
static void check_options(lua_State *L, const char *function, const char *const *names) {
    if (lua_isnoneornil(L, 1))
        return;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        const char *const *name = names;
        while (*name && strcmp(*name, key) != 0)
            name++;
        if (!*name)
            luaL_error(L, "%s: unknown option '%s'", function, key);
        lua_pop(L, 1);
    }
}

/* The option as a string that fits into `room` bytes with its NUL. */
static bool take_text(lua_State *L, const char *function, const char *name, char *out, size_t room) {
    if (!take_option(L, name))
        return false;
    size_t len = 0;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (!text || len >= room || memchr(text, '\0', len))
        luaL_error(L, "%s: %s must be a string of at most %d bytes without NUL", function, name, (int)room - 1);
    memcpy(out, text, len + 1);
    return true;
}

static bool take_address(lua_State *L, const char *function, struct address *out) {
    char text[ADDRESS_TEXT_BYTES];
    if (!take_text(L, function, "address", text, sizeof text))
        return false;
    if (!address_parse(slice_of(text), out))
        luaL_error(L, "%s: address '%s' is no IP address", function, text);
    return true;
}

/* The id of a stream: 16 hex digits. */
static uint64_t check_stream_id(lua_State *L, const char *function, const char *name, const char *text) {
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        luaL_error(L, "%s: %s '%s' is no id of a stream: 16 hexadecimal digits, as sluice.open tells it", function, name, text);
    return strtoull(text, NULL, 16);
}

static bool take_stream_id(lua_State *L, const char *function, const char *name, uint64_t *out) {
    char text[32];
    if (!take_text(L, function, name, text, sizeof text))
        return false;
    *out = check_stream_id(L, function, name, text);
    return true;
}

static size_t take_limit(lua_State *L, const char *function) {
    if (!take_option(L, "limit"))
        return LIST_LIMIT;
    int ok;
    lua_Integer limit = lua_tointegerx(L, -1, &ok);
    if (!ok || limit < 1 || limit > STREAM_LIST_MAX)
        luaL_error(L, "%s: limit must be an integer from 1 to %d", function, STREAM_LIST_MAX);
    return (size_t)limit;
}

/* One of `names` (the first by default), as its index. */
static int take_sort(lua_State *L, const char *function, const char *const *names) {
    char text[16] = "";
    if (!take_text(L, function, "sort", text, sizeof text))
        return 0;
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], text) == 0)
            return i;
    }
    lua_settop(L, 1);
    for (int i = 0; names[i]; i++)
        lua_pushfstring(L, "%s%s", i ? ", " : "", names[i]);
    lua_concat(L, lua_gettop(L) - 1);
    return luaL_error(L, "%s: there is no sort '%s', but %s", function, text, lua_tostring(L, -1));
}

/* --- streams --------------------------------------------------------------------------------------- */

/* A row of some worker's answer. */
struct found {
    struct stream_row row;
    const char *json;
};

static int compare_found(const void *a, const void *b) {
    return stream_row_compare(&((const struct found *)a)->row, &((const struct found *)b)->row);
}

/* Adds the rows of one answer; they are the worker's first ones. */
static size_t add_found(struct found *found, size_t count, const struct buf *answer) {
    for (size_t at = 0; at < answer->len;) {
        struct found *f = &found[count++];
        memcpy(&f->row, answer->data + at, sizeof f->row);
        f->json = answer->data + at + sizeof f->row;
        at += sizeof f->row + f->row.len;
    }
    return count;
}

static int append_missing(struct buf *out, const struct inquiry *q) {
    bool any = false;
    int rc = 0;
    for (unsigned i = 0; i < inquiry_count(q); i++) {
        if (inquiry_answer(q, i))
            continue;
        rc = rc ? rc : buf_appendf(out, "%s%u", any ? "," : ",\"missing\":[", i);
        any = true;
    }
    return rc || !any ? rc : buf_append_char(out, ']');
}

/* On the stack: ..., limit, whether pages follow, waiter (at `context`). */
static int streams_then(lua_State *L, int status, lua_KContext context) {
    struct inquiry *q = asked(L, context);
    size_t limit = (size_t)lua_tointeger(L, (int)context - 2), count = 0;
    bool pages = lua_toboolean(L, (int)context - 1);
    uint64_t total = 0;
    (void)status;
    struct found *found = lua_newuserdatauv(L, inquiry_count(q) * (limit + 1) * sizeof *found, 0);
    for (unsigned i = 0; i < inquiry_count(q); i++) {
        const struct inquiry_answer *answer = inquiry_answer(q, i);
        if (!answer)
            continue;
        check(L, answer->rc);
        total += answer->count;
        count = add_found(found, count, &answer->out);
    }
    qsort(found, count, sizeof *found, compare_found);
    struct buf *json = lua_scratch_push(L);
    check(L, buf_appendf(json, "{\"total\":%" PRIu64, total));
    check(L, append_missing(json, q));
    if (pages && count > limit)
        check(L, buf_appendf(json, ",\"next\":\"%016" PRIx64 "\"", found[limit - 1].row.id));
    check(L, buf_append_text(json, ",\"streams\":["));
    for (size_t i = 0; i < count && i < limit; i++) {
        check(L, i ? buf_append_char(json, ',') : 0);
        check(L, buf_append(json, found[i].json, found[i].row.len));
    }
    check(L, buf_append_text(json, "]}"));
    return lua_json_push(L, buf_slice(json));
}

/* sluice.admin.streams{ limit, after, sort, user, address, channel } */
static int streams(lua_State *L) {
    static const char NAME[] = "sluice.admin.streams";
    static const char *const OPTIONS[] = {"limit", "after", "sort", "user", "address", "channel", NULL};
    static const char *const SORTS[] = {"id", "age", "queue", "events", "bytes", NULL};
    struct stream_query q = {0};
    check_options(L, NAME, OPTIONS);
    q.sort = (enum stream_sort)take_sort(L, NAME, SORTS);
    size_t limit = take_limit(L, NAME);
    if (take_stream_id(L, NAME, "after", &q.after) && q.sort != STREAM_BY_ID)
        return luaL_error(L, "%s: after goes with sort 'id' only", NAME);
    q.by_user = take_text(L, NAME, "user", q.user, sizeof q.user);
    q.by_address = take_address(L, NAME, &q.address);
    q.by_channel = take_text(L, NAME, "channel", q.channel, sizeof q.channel);
    q.limit = limit + 1; /* one more tells that there are more */
    lua_settop(L, 0);
    lua_pushinteger(L, (lua_Integer)limit);
    lua_pushboolean(L, q.sort == STREAM_BY_ID);
    return ask(L, NAME, stream_list, &q, sizeof q, streams_then);
}

static int close_then(lua_State *L, int status, lua_KContext context) {
    struct inquiry *q = asked(L, context);
    (void)status;
    bool closed = false;
    for (unsigned i = 0; i < inquiry_count(q); i++) {
        const struct inquiry_answer *answer = inquiry_answer(q, i);
        closed = closed || (answer && answer->count);
    }
    lua_pushboolean(L, closed);
    return 1;
}

/* sluice.admin.close(id) */
static int close_stream(lua_State *L) {
    static const char NAME[] = "sluice.admin.close";
    uint64_t id = check_stream_id(L, NAME, "stream", luaL_checkstring(L, 1));
    return ask(L, NAME, stream_list_close, &id, sizeof id, close_then);
}

/* --- channels -------------------------------------------------------------------------------------- */

enum channel_sort { CHANNEL_BY_RATE, CHANNEL_BY_SUBSCRIBERS, CHANNEL_BY_MESSAGES, CHANNEL_BY_NAME };

/* A list under way: batches under the hub's lock, the best of which are kept. */
struct walk {
    struct hub_cursor at;
    enum channel_sort sort;
    size_t limit;
    uint64_t total;
    size_t count, cap;
    struct hub_channel_row *rows; /* the best so far, and behind them room for a batch */
    char prefix[MESSAGE_CHANNEL_BYTES + 1];
};

static int walk_gc(lua_State *L) {
    struct walk *walk = lua_touserdata(L, 1);
    free(walk->rows);
    walk->rows = NULL;
    return 0;
}

static int by_name(const struct hub_channel_row *a, const struct hub_channel_row *b) {
    return strcmp(a->name, b->name);
}

static int by_rate(const void *a, const void *b) {
    const struct hub_channel_row *x = a, *y = b;
    return x->rate > y->rate ? -1 : x->rate < y->rate ? 1 : by_name(x, y);
}

static int by_subscribers(const void *a, const void *b) {
    const struct hub_channel_row *x = a, *y = b;
    return x->subscribers > y->subscribers ? -1 : x->subscribers < y->subscribers ? 1 : by_name(x, y);
}

static int by_messages(const void *a, const void *b) {
    const struct hub_channel_row *x = a, *y = b;
    return x->messages > y->messages ? -1 : x->messages < y->messages ? 1 : by_name(x, y);
}

static int by_name_only(const void *a, const void *b) {
    return by_name(a, b);
}

/* Lists one batch; what is not among the best goes again. */
static int walk_on(struct walk *walk, struct hub *hub) {
    static int (*const COMPARE[])(const void *, const void *) = {by_rate, by_subscribers, by_messages, by_name_only};
    size_t got;
    int rc = hub_list(hub, &walk->at, slice_of(walk->prefix), wall_ms(), walk->rows + walk->count, WALK_BATCH, &got);
    if (rc == -EAGAIN) {
        walk->count = 0;
        walk->total = 0;
        return 0;
    }
    walk->total += got;
    walk->count += got;
    if (got) {
        qsort(walk->rows, walk->count, sizeof *walk->rows, COMPARE[walk->sort]);
        walk->count = walk->count < walk->limit ? walk->count : walk->limit;
    }
    return rc;
}

static int append_channel(struct buf *out, const struct hub_channel_row *row) {
    int rc = buf_append_text(out, "{\"name\":");
    rc = rc ? rc : json_append_string(out, slice_of(row->name));
    rc = rc ? rc : buf_appendf(out, ",\"subscribers\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"published\":%" PRIu64 ",\"rate\":",
                               row->subscribers, row->messages, row->bytes, row->published);
    rc = rc ? rc : json_append_number(out, round(row->rate * 100) / 100);
    return rc ? rc : buf_append_char(out, '}');
}

/* At `context` is the walk. One batch a turn: others go on between them. */
static int channels_then(lua_State *L, int status, lua_KContext context) {
    struct walk *walk = lua_touserdata(L, (int)context);
    struct policy *p = policy_of(L);
    (void)status;
    walk_on(walk, p->worker->hub);
    if (!walk->at.done) {
        routine_sleep(p->running, 0);
        return lua_yieldk(L, 0, context, channels_then);
    }
    struct buf *json = lua_scratch_push(L);
    check(L, buf_appendf(json, "{\"total\":%" PRIu64 ",\"channels\":[", walk->total));
    for (size_t i = 0; i < walk->count; i++) {
        check(L, i ? buf_append_char(json, ',') : 0);
        check(L, append_channel(json, &walk->rows[i]));
    }
    check(L, buf_append_text(json, "]}"));
    free(walk->rows);
    walk->rows = NULL;
    return lua_json_push(L, buf_slice(json));
}

/* sluice.admin.channels{ limit, sort, prefix } */
static int channels(lua_State *L) {
    static const char NAME[] = "sluice.admin.channels";
    static const char *const OPTIONS[] = {"limit", "sort", "prefix", NULL};
    static const char *const SORTS[] = {"rate", "subscribers", "messages", "name", NULL};
    check_options(L, NAME, OPTIONS);
    policy_check_wait(L, NAME);
    struct walk *walk = lua_newuserdatauv(L, sizeof *walk, 0);
    *walk = (struct walk){0};
    if (luaL_newmetatable(L, WALK_TYPE)) {
        lua_pushcfunction(L, walk_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    int at = lua_gettop(L);
    walk->limit = take_limit(L, NAME);
    take_text(L, NAME, "prefix", walk->prefix, sizeof walk->prefix);
    walk->sort = (enum channel_sort)take_sort(L, NAME, SORTS);
    walk->rows = malloc((walk->limit + WALK_BATCH) * sizeof *walk->rows);
    if (!walk->rows)
        return luaL_error(L, "not enough memory");
    return channels_then(L, LUA_OK, at);
}

/* --- reloads, metrics ------------------------------------------------------------------------------- */

/* sluice.admin.reloads() */
static int reloads(lua_State *L) {
    struct buf *json = lua_scratch_push(L);
    check(L, server_reloads(policy_of(L)->worker->server, json));
    return lua_json_push(L, buf_slice(json));
}

/* Sets the member `rates` of the table at `now`: what grew in each counter since the one at `before`, a second. */
static void set_rates(lua_State *L, int now, int before) {
    static const char *const COUNTERS[] = {
#define X(member, json, ...) json,
        METRICS_COUNTERS(X)
#undef X
        "errors", "messagesPublished", "requestsRefused", "slowConsumersDisconnected", "slowConsumerDrops", "messagesSkipped", "staleDisconnected"};
    lua_getfield(L, now, "uptimeSeconds");
    lua_getfield(L, before, "uptimeSeconds");
    double seconds = lua_tonumber(L, -2) - lua_tonumber(L, -1);
    lua_pop(L, 2);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof COUNTERS / sizeof *COUNTERS; i++) {
        lua_getfield(L, now, COUNTERS[i]);
        lua_getfield(L, before, COUNTERS[i]);
        double grown = lua_tonumber(L, -2) - lua_tonumber(L, -1);
        lua_pop(L, 2);
        lua_pushnumber(L, seconds > 0 ? grown / seconds : 0);
        lua_setfield(L, -2, COUNTERS[i]);
    }
    lua_setfield(L, now, "rates");
}

/* sluice.admin.metrics(previous) */
static int metrics(lua_State *L) {
    struct server *s = policy_of(L)->worker->server;
    if (!lua_isnoneornil(L, 1))
        luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct buf *json = lua_scratch_push(L); /* 2 */
    check(L, server_metrics_json(s, json));
    lua_json_push(L, buf_slice(json)); /* 3 */
    buf_clear(json);
    check(L, server_worker_metrics_json(s, json));
    lua_json_push(L, buf_slice(json));
    lua_setfield(L, 3, "perWorker");
    if (!lua_isnil(L, 1))
        set_rates(L, 3, 1);
    lua_settop(L, 3);
    return 1;
}

/* --- taps ------------------------------------------------------------------------------------------- */

struct tap_box {
    struct tap *tap;
    struct waiter *waiter; /* of the routine that reads */
};

static void on_frames(void *context) {
    struct tap_box *box = context;
    if (box->waiter)
        wake(box->waiter);
}

static struct tap_box *check_tap(lua_State *L) {
    return luaL_checkudata(L, 1, TAP_TYPE);
}

static int tap_close_method(lua_State *L) {
    struct tap_box *box = check_tap(L);
    if (box->tap)
        tap_close(box->tap);
    box->tap = NULL;
    if (box->waiter && box->waiter->routine->wait == WAIT_SLEEP)
        routine_sleep(box->waiter->routine, 0); /* who reads has waited long enough */
    return 0;
}

/* Pushes a list of what lies in `frames`. */
static void push_frames(lua_State *L, const struct buf *frames) {
    char id[17];
    lua_newtable(L);
    lua_Integer n = 0;
    for (size_t at = 0; at < frames->len;) {
        struct tap_frame head;
        memcpy(&head, frames->data + at, sizeof head);
        at += sizeof head;
        lua_createtable(L, 0, 5);
        u64_hex(id, head.stream);
        lua_pushstring(L, id);
        lua_setfield(L, -2, "stream");
        if (head.channel_len) {
            lua_pushlstring(L, frames->data + at, head.channel_len);
            lua_setfield(L, -2, "channel");
        }
        lua_pushlstring(L, frames->data + at + head.channel_len, head.len);
        lua_setfield(L, -2, "frame");
        lua_pushnumber(L, (double)head.at_ms / 1000);
        lua_setfield(L, -2, "at");
        lua_pushinteger(L, (lua_Integer)head.worker);
        lua_setfield(L, -2, "worker");
        lua_rawseti(L, -2, ++n);
        at += head.channel_len + head.len;
    }
}

/* Gives what has come. Returns the number of results, 0 where there is nothing. */
static int give_frames(lua_State *L, struct tap_box *box) {
    struct buf *frames = lua_scratch_push(L);
    uint64_t dropped = tap_take(box->tap, frames);
    if (frames->len == 0 && dropped == 0)
        return 0;
    push_frames(L, frames);
    buf_deinit(frames); /* not to wait for the collector */
    lua_pushinteger(L, (lua_Integer)dropped);
    return 2;
}

static int read_then(lua_State *L, int status, lua_KContext context) {
    struct tap_box *box = check_tap(L);
    (void)status, (void)context;
    if (box->tap && give_frames(L, box))
        return 2;
    lua_newtable(L);
    lua_pushinteger(L, 0);
    return 2;
}

/* tap:read(seconds): the frames that have come, how many were dropped; waits where there is nothing, for ever or at most so long. */
static int tap_read_method(lua_State *L) {
    struct tap_box *box = check_tap(L);
    double seconds = luaL_optnumber(L, 2, 1e9);
    luaL_argcheck(L, isfinite(seconds) && seconds >= 0 && seconds <= 1e9, 2, "seconds, not negative and not beyond 1e9");
    struct routine *r = policy_check_wait(L, "tap:read");
    if (!box->tap)
        return luaL_error(L, "tap:read: the tap is closed");
    if (box->waiter)
        return luaL_error(L, "tap:read: another coroutine reads it already");
    if (give_frames(L, box))
        return 2;
    struct waiter *w = push_waiter(L, r);
    w->slot = &box->waiter;
    box->waiter = w;
    routine_sleep(r, seconds);
    return lua_yieldk(L, 0, 0, read_then);
}

/* sluice.admin.tap{ stream, address, channel } */
static int open_tap(lua_State *L) {
    static const char NAME[] = "sluice.admin.tap";
    static const char *const OPTIONS[] = {"stream", "address", "channel", NULL};
    struct tap_rule rule = {0};
    policy_check_phase(L, PHASE_HANDLER | PHASE_TASK, NAME, "a handler or a task");
    luaL_checktype(L, 1, LUA_TTABLE);
    check_options(L, NAME, OPTIONS);
    rule.by_stream = take_stream_id(L, NAME, "stream", &rule.stream);
    rule.by_address = take_address(L, NAME, &rule.address);
    rule.by_channel = take_text(L, NAME, "channel", rule.channel, sizeof rule.channel);
    if (!rule.by_stream && !rule.by_address && !rule.by_channel)
        return luaL_error(L, "%s: needs stream, address or channel", NAME);
    struct tap_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct tap_box){0};
    luaL_setmetatable(L, TAP_TYPE);
    box->tap = tap_open(policy_of(L)->worker, &rule, on_frames, box);
    if (!box->tap)
        return luaL_error(L, "not enough memory");
    return 1;
}

static void make_tap_type(lua_State *L) {
    static const luaL_Reg METHODS[] = {{"read", tap_read_method}, {"close", tap_close_method}, {NULL, NULL}};
    if (luaL_newmetatable(L, TAP_TYPE)) {
        luaL_newlib(L, METHODS);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, tap_close_method);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, tap_close_method);
        lua_setfield(L, -2, "__close");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
}

void lua_admin_register(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"streams", streams}, {"close", close_stream}, {"channels", channels}, {"reloads", reloads},
                                         {"metrics", metrics}, {"tap", open_tap},       {NULL, NULL}};
    make_tap_type(L);
    luaL_newlib(L, FUNCTIONS);
    lua_setfield(L, -2, "admin");
}
