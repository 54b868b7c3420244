/* SPDX-License-Identifier: MIT */
/* What spec/unit/eventsource_spec.lua cannot see: want of memory, and what is left behind by it. */
#include "check.h"
#include "check_alloc.h"

#include <lualib.h>
#include <stdint.h>

#include "../../core/buf.c"
#include "../../core/gunzip.c"
#include "../../core/lua_client.c"
#include "../../core/sse.c"

/* Lua's allocator. Lua collects garbage when growth fails, and asks again: so from the first failure on, of whatever allocation, all growth
 * fails while `*ud` says so. */
static void *allocate(void *ud, void *old, size_t old_size, size_t size) {
    const bool *is_running = ud;
    if (size == 0) {
        free(old);
        return NULL;
    }
    if (old && size <= old_size)
        return (realloc)(old, size);
    return *is_running && check_alloc_state.reached ? NULL : realloc(old, size);
}

static lua_State *new_state(bool *is_running) {
    lua_State *L = lua_newstate(allocate, is_running);
    if (!L)
        return NULL;
    luaL_openlibs(L);
    lua_client_register(L);
    lua_setglobal(L, "client");
    return L;
}

/* Runs `code` with each allocation of it failing in turn; it may raise only for want of memory, and the state stays good. */
static void survive(const char *code) {
    bool is_running = false;
    lua_State *L = new_state(&is_running);
    REQUIRE(L != NULL);
    REQUIRE(luaL_loadstring(L, code) == LUA_OK);
    int raised = 0;
    for (int n = 0;; n++) {
        lua_pushvalue(L, 1);
        check_alloc_fail_at(n);
        is_running = true;
        int rc = lua_pcall(L, 0, 0, 0);
        is_running = false;
        bool failed = check_alloc_disarm();
        if (rc != LUA_OK) {
            CHECK(strstr(lua_tostring(L, -1), "not enough memory") != NULL);
            raised++;
        }
        lua_settop(L, 1);
        if (!failed) {
            CHECK_EQ_INT(rc, LUA_OK);
            break;
        }
    }
    CHECK(raised > 0);
    lua_close(L);
}

TEST(a_parser_survives_want_of_memory) {
    survive("local p = client.parser(1000, 'id') "
            "local events, retry = p:feed('id: 1\\nevent: x\\ndata: a\\xff\\nda') "
            "events, retry = p:feed('ta: b\\n\\nretry: 7\\ndata: c\\n\\n') "
            "assert(#events == 2 and retry == 7 and events[1].data == 'a\\u{FFFD}\\nb' and p:last_id() == '1')");
}

TEST(gzip_survives_want_of_memory) {
    survive("local g = client.gunzip() "
            "local bytes = '\\x1f\\x8b\\x08\\0\\0\\0\\0\\0\\0\\x03\\x4b\\x04\\0\\x43\\xbe\\xb7\\xe8\\x01\\0\\0\\0' "
            "local text = g:feed(bytes) assert(text == 'a', text)");
}

TEST(descriptors_survive_want_of_memory) {
    survive("local d = client.connect('127.0.0.1', 9) if d then client.poll({ { fd = d:fd(), write = true } }, 0) "
            "d:close() end");
}

CHECK_MAIN()
