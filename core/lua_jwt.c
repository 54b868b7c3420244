/* SPDX-License-Identifier: MIT */
/* sluice.jwt: verifying and signing tokens. What is given here, keys and tokens, appears in no error and no log. */
#include "lua_jwt.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "lua_json.h"
#include "lua_policy.h"
#include "lua_scratch.h"
#include "server.h"
#include "token.h"

enum { THE_KEYS = 1 /* a server's keys never change while it runs */ };

/* What scripts see of a verdict. */
static const char *const KINDS[] = {
    [TOKEN_MALFORMED] = "malformed", [TOKEN_FORGED] = "forged",     [TOKEN_EXPIRED] = "expired",
    [TOKEN_EARLY] = "early",         [TOKEN_WRONG_CLAIM] = "claim",
};

/* --- options -------------------------------------------------------------------------------------- */

/* What a call works with: the server's settings, one by one replaced by the options of the call. Borrows Lua's strings. */
struct options {
    struct slice key;
    const char *algorithms[CONFIG_ALGORITHMS];
    size_t count;
    struct token_rules rules;
};

static void take_settings(const struct config *c, struct options *o) {
    *o = (struct options){
        .key = buf_slice(&c->jwt_key),
        .count = c->jwt_algorithm_count,
        .rules = {c->jwt_leeway, c->jwt_issuer.data, c->jwt_audience.data},
    };
    for (size_t i = 0; i < o->count; i++)
        o->algorithms[i] = c->jwt_algorithms[i];
}

static const char *check_text(lua_State *L, const char *function, const char *name) {
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "%s: the option %s must be a string, not a %s", function, name, luaL_typename(L, -1));
    return lua_tostring(L, -1);
}

/* A rule that may be switched off with false. */
static const char *check_rule(lua_State *L, const char *function, const char *name) {
    if (lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1))
        return NULL;
    return check_text(L, function, name);
}

static void take_algorithms(lua_State *L, const char *function, struct options *o) {
    if (!lua_istable(L, -1) || lua_rawlen(L, -1) > CONFIG_ALGORITHMS)
        luaL_error(L, "%s: the option algorithms must be a list of names such as HS256", function);
    o->count = 0;
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
        o->algorithms[o->count++] = check_text(L, function, "algorithms");
        lua_pop(L, 1); /* the list keeps it */
    }
    lua_pop(L, 1);
}

/* The option on top of the stack; `signing` says whose options these are. */
static void take_option(lua_State *L, const char *function, bool signing, const char *name, struct options *o) {
    if (strcmp(name, "key") == 0) {
        check_text(L, function, name);
        o->key.ptr = lua_tolstring(L, -1, &o->key.len);
    } else if (signing && strcmp(name, "algorithm") == 0) {
        o->algorithms[0] = check_text(L, function, name);
        o->count = 1;
    } else if (!signing && strcmp(name, "algorithms") == 0) {
        take_algorithms(L, function, o);
    } else if (!signing && strcmp(name, "leeway") == 0) {
        if (lua_type(L, -1) != LUA_TNUMBER)
            luaL_error(L, "%s: the option leeway must be a number of seconds, not a %s", function,
                       luaL_typename(L, -1));
        o->rules.leeway = lua_tonumber(L, -1);
    } else if (!signing && strcmp(name, "issuer") == 0) {
        o->rules.issuer = check_rule(L, function, name);
    } else if (!signing && strcmp(name, "audience") == 0) {
        o->rules.audience = check_rule(L, function, name);
    } else {
        luaL_error(L, "%s: unknown option '%s'; there are %s", function, name,
                   signing ? "key and algorithm" : "key, algorithms, leeway, issuer and audience");
    }
}

/* Reads the options at argument 2. Returns true where there were any. */
static bool check_options(lua_State *L, const char *function, bool signing, struct options *o) {
    take_settings(policy_of(L)->worker->config, o);
    lua_settop(L, 2);
    bool any = false;
    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_pushnil(L);
        while (lua_next(L, 2)) {
            take_option(L, function, signing, lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?", o);
            lua_pop(L, 1); /* the table keeps it */
            any = true;
        }
    }
    if (!o->key.len)
        luaL_error(L, "%s: no key is configured: set jwt.key, or give one in the options", function);
    return any;
}

/* --- verifying ------------------------------------------------------------------------------------ */

/* With options of the call; what the token says is put into `claims`, whose JSON is Lua's. */
static enum token_verdict verify_with(lua_State *L, const struct options *o, struct slice token, double now,
                                      struct token_claims *claims, char reason[TOKEN_REASON_BYTES]) {
    struct buf *json = lua_scratch_push(L);
    struct token_keys *keys = token_keys_new(o->key, o->algorithms, o->count, &o->rules, reason);
    if (!keys)
        luaL_error(L, "sluice.jwt.verify: %s", reason);
    enum token_verdict verdict = token_verify(keys, token, now, claims, reason);
    token_keys_free(keys);
    *json = claims->json;
    return verdict;
}

/* sluice.jwt.verify(token [, options]): claims; or nil, reason, kind */
static int verify(lua_State *L) {
    struct policy *p = policy_of(L);
    struct slice token;
    struct options options;
    struct token_claims own;
    const struct token_claims *claims = &own;
    char reason[TOKEN_REASON_BYTES];
    luaL_checktype(L, 1, LUA_TSTRING);
    token.ptr = lua_tolstring(L, 1, &token.len);
    double now = (double)wall_ms() / 1000;
    enum token_verdict verdict = check_options(L, "sluice.jwt.verify", false, &options)
                                     ? verify_with(L, &options, token, now, &own, reason)
                                     : token_cache_verify(p->tokens, THE_KEYS, p->worker->server->keys, token, now, &claims, reason);
    if (verdict == TOKEN_NO_MEMORY)
        return luaL_error(L, "not enough memory");
    if (verdict) {
        lua_pushnil(L);
        lua_pushstring(L, reason);
        lua_pushstring(L, KINDS[verdict]);
        return 3;
    }
    return lua_json_push(L, buf_slice(&claims->json));
}

/* --- signing -------------------------------------------------------------------------------------- */

int lua_jwt_push_signed(lua_State *L, struct slice key, const char *algorithm, int index) {
    char reason[TOKEN_REASON_BYTES];
    const char *error;
    index = lua_absindex(L, index);
    struct buf *json = lua_scratch_push(L), *token = lua_scratch_push(L);
    int rc = lua_json_encode(L, index, json, &error);
    if (rc == 0) {
        rc = token_sign(key, algorithm, buf_slice(json), token, reason);
        error = reason;
    }
    if (rc == -ENOMEM)
        return luaL_error(L, "not enough memory");
    if (rc)
        lua_pushnil(L);
    if (rc)
        lua_pushstring(L, error);
    else
        lua_pushlstring(L, token->data, token->len);
    buf_deinit(json);
    buf_deinit(token);
    return rc ? 2 : 1;
}

/* sluice.jwt.sign(claims [, options]): the token; or nil, message */
static int sign(lua_State *L) {
    struct options options;
    luaL_checktype(L, 1, LUA_TTABLE);
    check_options(L, "sluice.jwt.sign", true, &options);
    return lua_jwt_push_signed(L, options.key, options.algorithms[0], 1);
}

/* --- rights --------------------------------------------------------------------------------------- */

/* True where `pattern` is the channel's name, or a prefix of it with "*" behind. Reserved channels are never meant by a prefix. */
static bool is_covered(struct slice pattern, struct slice channel) {
    static const struct slice RESERVED = {"sluice.", 7};
    if (slice_equal(pattern, channel))
        return true;
    if (pattern.len == 0 || pattern.ptr[pattern.len - 1] != '*' || pattern.len - 1 > channel.len)
        return false;
    return memcmp(pattern.ptr, channel.ptr, pattern.len - 1) == 0 &&
           (channel.len < RESERVED.len || !slice_equal(slice_make(channel.ptr, RESERVED.len), RESERVED));
}

/* sluice.jwt.covers(list, channel): true or false (no list covers nothing); nil where it is no list of names */
static int covers(lua_State *L) {
    struct slice channel, pattern;
    luaL_checkany(L, 1);
    channel.ptr = luaL_checklstring(L, 2, &channel.len);
    lua_settop(L, 2);
    bool found = false;
    bool right = lua_isnil(L, 1) || lua_istable(L, 1);
    for (lua_pushnil(L); right && lua_istable(L, 1) && lua_next(L, 1); lua_settop(L, 3)) {
        right = lua_isinteger(L, 3) && lua_type(L, 4) == LUA_TSTRING;
        if (right) {
            pattern.ptr = lua_tolstring(L, 4, &pattern.len);
            found = found || is_covered(pattern, channel);
        }
    }
    if (right)
        lua_pushboolean(L, found);
    else
        lua_pushnil(L);
    return 1;
}

void lua_jwt_register(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"verify", verify}, {"sign", sign}, {"covers", covers}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    lua_pushboolean(L, policy_of(L)->worker->server->keys != NULL);
    lua_setfield(L, -2, "has_key");
    lua_setfield(L, -2, "jwt");
}
