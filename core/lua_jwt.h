/* SPDX-License-Identifier: MIT */
/* Signing for both of our Lua worlds: the command line's `sluice token` and sluice.jwt of scripts, which lua_policy.h
 * registers. */
#ifndef SLUICE_LUA_JWT_H
#define SLUICE_LUA_JWT_H

#include <lua.h>

#include "buf.h"

/* Signs the claims at `index`, a table that is a JSON object, by `algorithm`. Pushes the token and returns 1, or nil and
 * a message and returns 2. Raises only for want of memory. */
int lua_jwt_push_signed(lua_State *L, struct slice key, const char *algorithm, int index);

#endif
