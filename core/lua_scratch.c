/* SPDX-License-Identifier: MIT */
#include "lua_scratch.h"

#include <lauxlib.h>

static int free_scratch(lua_State *L) {
    buf_deinit(lua_touserdata(L, 1));
    return 0;
}

struct buf *lua_scratch_push(lua_State *L) {
    struct buf *b = lua_newuserdatauv(L, sizeof *b, 0);
    buf_init(b);
    if (luaL_newmetatable(L, "sluice.scratch")) {
        lua_pushcfunction(L, free_scratch);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return b;
}
