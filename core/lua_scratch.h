/* SPDX-License-Identifier: MIT */
/* A growable buffer for the length of one call from Lua: an error that is raised meanwhile jumps over the code that
 * would free it, so the collector does. */
#ifndef SLUICE_LUA_SCRATCH_H
#define SLUICE_LUA_SCRATCH_H

#include <lua.h>

#include "buf.h"

/* Pushes a userdata with an empty buffer in it and returns that. Valid while the userdata is on the stack; buf_deinit
 * before is allowed. */
struct buf *lua_scratch_push(lua_State *L);

#endif
