/* SPDX-License-Identifier: MIT */
#include "lua_config.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double number(lua_State *L, int index, const char *key) {
    lua_getfield(L, index, key);
    int ok;
    double value = lua_tonumberx(L, -1, &ok);
    if (!ok)
        luaL_error(L, "config: %s is missing", key);
    lua_pop(L, 1);
    return value;
}

static size_t size(lua_State *L, int index, const char *key) {
    return (size_t)number(L, index, key);
}

/* Seconds to milliseconds; what is set is at least one. */
static uint64_t seconds(lua_State *L, int index, const char *key) {
    double value = number(L, index, key);
    uint64_t ms = (uint64_t)(value * 1000 + 0.5);
    return value > 0 && ms == 0 ? 1 : ms;
}

static bool boolean(lua_State *L, int index, const char *key) {
    lua_getfield(L, index, key);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static bool is_set(lua_State *L, int index, const char *key) {
    bool set = lua_getfield(L, index, key) != LUA_TNIL;
    lua_pop(L, 1);
    return set;
}

/* Appends a text and a NUL that is not counted. */
static void text(lua_State *L, int index, const char *key, struct buf *out) {
    struct slice value;
    lua_getfield(L, index, key);
    value.ptr = lua_tolstring(L, -1, &value.len);
    if (!value.ptr)
        luaL_error(L, "config: %s is missing", key);
    if (buf_append(out, value.ptr, value.len + 1) != 0)
        luaL_error(L, "not enough memory");
    out->len--;
    lua_pop(L, 1);
}

/* The same for what may be absent. Returns true where it is set. */
static bool optional_text(lua_State *L, int index, const char *key, struct buf *out) {
    if (!is_set(L, index, key))
        return false;
    text(L, index, key, out);
    return true;
}

static void algorithms(lua_State *L, int index, struct config *c) {
    lua_getfield(L, index, "jwt.algorithms");
    lua_Unsigned count = lua_rawlen(L, -1);
    for (lua_Unsigned i = 0; i < count && i < CONFIG_ALGORITHMS; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        snprintf(c->jwt_algorithms[i], CONFIG_ALGORITHM_BYTES, "%s", luaL_checkstring(L, -1));
        c->jwt_algorithm_count++;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* `jwt.key` holds the key also where it comes from `jwt.key_file`. */
static void jwt(lua_State *L, int index, struct config *c) {
    c->has_key = optional_text(L, index, "jwt.key", &c->jwt_key);
    c->key_is_file = is_set(L, index, "jwt.key_file");
    algorithms(L, index, c);
    c->jwt_leeway = number(L, index, "jwt.leeway");
    optional_text(L, index, "jwt.issuer", &c->jwt_issuer);
    optional_text(L, index, "jwt.audience", &c->jwt_audience);
}

static void history(lua_State *L, int index, const char *messages, const char *bytes, const char *age, struct history_limits *out) {
    out->messages = size(L, index, messages);
    out->bytes = size(L, index, bytes);
    out->age_ms = seconds(L, index, age);
    if (out->age_ms == 0)
        out->messages = 0;
}

static enum slow_rule slow_rule(lua_State *L, int index) {
    lua_getfield(L, index, "slow");
    const char *name = lua_tostring(L, -1);
    enum slow_rule rule = !name || strcmp(name, "disconnect") == 0    ? SLOW_DISCONNECT
                          : strcmp(name, "drop_oldest") == 0 ? SLOW_DROP_OLDEST
                                                             : SLOW_CONFLATE;
    lua_pop(L, 1);
    return rule;
}

static void rules(lua_State *L, int index, struct config *c) {
    lua_getfield(L, index, "channels");
    int list = lua_gettop(L);
    lua_Unsigned count = lua_rawlen(L, list);
    c->rules = calloc(count + 1, sizeof *c->rules);
    if (!c->rules)
        luaL_error(L, "not enough memory");
    for (lua_Unsigned i = 0; i < count; i++) {
        struct channel_rule *rule = &c->rules[c->rule_count++];
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        int at = lua_gettop(L);
        text(L, at, "pattern", &rule->pattern);
        rule->prefix = rule->pattern.len && rule->pattern.data[rule->pattern.len - 1] == '*';
        if (rule->prefix)
            rule->pattern.len--;
        rule->slow = slow_rule(L, at);
        history(L, at, "messages", "bytes", "age", &rule->history);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void proxies(lua_State *L, int index, struct config *c) {
    lua_getfield(L, index, "trust_proxy");
    int list = lua_gettop(L);
    lua_Unsigned count = lua_rawlen(L, list);
    c->proxies = calloc(count + 1, sizeof *c->proxies);
    if (!c->proxies)
        luaL_error(L, "not enough memory");
    for (lua_Unsigned i = 0; i < count; i++) {
        struct slice address;
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        address.ptr = luaL_checklstring(L, -1, &address.len);
        if (!address_range_parse(address, &c->proxies[c->proxy_count++]))
            luaL_error(L, "config: trust_proxy has '%s', which is no IP address and no range of them", address.ptr);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void redis(lua_State *L, int index, struct config *c) {
    c->has_redis = optional_text(L, index, "redis.url", &c->redis_url);
    optional_text(L, index, "redis.user", &c->redis_user);
    optional_text(L, index, "redis.password", &c->redis_password);
    optional_text(L, index, "redis.ca_file", &c->redis_ca_file);
    optional_text(L, index, "redis.cert_file", &c->redis_cert_file);
    text(L, index, "redis.key", &c->redis_key);
    c->redis_maxlen = (uint64_t)number(L, index, "redis.maxlen");
    c->ratelimit_shared = boolean(L, index, "ratelimit.shared");
}

void lua_config_read(lua_State *L, int index, struct config **out) {
    struct config *c = *out = calloc(1, sizeof *c);
    if (!c)
        luaL_error(L, "not enough memory");
    text(L, index, "listen.host", &c->host);
    c->port = (unsigned)number(L, index, "listen.port");
    c->workers = (unsigned)number(L, index, "workers");
    c->max_connections = size(L, index, "limits.connections");
    c->header_bytes = size(L, index, "limits.header_bytes");
    c->body_bytes = size(L, index, "limits.body_bytes");
    c->header_timeout_ms = seconds(L, index, "limits.header_timeout");
    c->idle_timeout_ms = seconds(L, index, "limits.idle_timeout");
    c->queue_bytes = size(L, index, "limits.queue_bytes");
    c->channels_per_stream = size(L, index, "limits.channels_per_stream");
    c->script_ms = (uint64_t)number(L, index, "limits.script_ms");
    c->script_bytes = size(L, index, "limits.script_bytes");
    c->script_call_bytes = size(L, index, "limits.script_call_bytes");
    lua_getfield(L, index, "limits.busy");
    c->busy_retry = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), "retry") == 0;
    lua_pop(L, 1);
    history(L, index, "history.messages", "history.bytes", "history.age", &c->history);
    c->history_total_bytes = size(L, index, "history.total_bytes");
    c->heartbeat_ms = seconds(L, index, "stream.heartbeat");
    c->retry_ms = (uint64_t)number(L, index, "stream.retry");
    c->stale_ms = seconds(L, index, "stream.stale");
    c->opening = boolean(L, index, "stream.opening");
    c->drain_ms = seconds(L, index, "drain");
    c->admin = boolean(L, index, "admin");
    c->gzip = boolean(L, index, "compression.gzip");
    c->gzip_level = (int)number(L, index, "compression.level");
    c->gzip_min_bytes = size(L, index, "compression.min_bytes");
    jwt(L, index, c);
    rules(L, index, c);
    proxies(L, index, c);
    redis(L, index, c);
    text(L, index, "public_json", &c->json);
}
