/* SPDX-License-Identifier: MIT */
/* JSON for Lua: `sluice.json` = { encode, decode, null, array }. Integers of 64 bits stay exact, other numbers are floats; a decoded
 * array keeps a mark, so that an empty one is encoded as `[]`; null is a value of its own. */
#ifndef SLUICE_LUA_JSON_H
#define SLUICE_LUA_JSON_H

#include <lua.h>

#include "buf.h"

enum {
    LUA_JSON_MAX_BYTES = 32 << 20
}; /* the longest text that is encoded: tables that share parts can stand for far more */

/* Decodes `text`, which must stay in place meanwhile. Pushes the value and returns 1, or pushes nil and a message that names the byte (the first
 * is 1), and returns 2. Raises only for want of memory; owns nothing then. */
int lua_json_push(lua_State *L, struct slice text);

/* Appends the value at `index` to `out` as JSON. Returns 0, -EINVAL with a sentence in `*error`, or -ENOMEM; `out` is then as before. The sentence is static
 * or lies in `out` behind its length: use it before `out` changes. Never raises and calls no metamethods. */
int lua_json_encode(lua_State *L, int index, struct buf *out, const char **error);

/* Pushes the table `sluice.json`. Every state has one mark for arrays, whoever asks first. */
void lua_json_register(lua_State *L);

#endif
