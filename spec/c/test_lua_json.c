/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "check_alloc.h"

#include <lualib.h>

#include "../../core/buf.c"
#include "../../core/json.c"
#include "../../core/lua_json.c"

/* A state with the standard library and `json` as a global. */
static lua_State *new_state(void) {
    lua_State *L = luaL_newstate();
    if (!L)
        return NULL;
    luaL_openlibs(L);
    lua_json_register(L);
    lua_setglobal(L, "json");
    return L;
}

/* Runs Lua that must hold; a failure is told with its message. */
static void check_lua(lua_State *L, const char *code) {
    CHECK_NOTE("%s", code);
    bool ok = luaL_dostring(L, code) == LUA_OK;
    if (!ok)
        CHECK_EQ_STR(lua_tostring(L, -1), "no error");
    CHECK(ok);
    lua_settop(L, 0);
}

TEST(decoded_numbers_keep_their_kind_and_value) {
    lua_State *L = new_state();
    REQUIRE(L != NULL);
    static const char *const CHECKS[] = {
        "local v = json.decode('1') assert(v == 1 and math.type(v) == 'integer')",
        "assert(json.decode('9007199254740993') == 9007199254740993)",
        "assert(json.decode('9223372036854775807') == math.maxinteger)",
        "assert(json.decode('-9223372036854775808') == math.mininteger)",
        "local v = json.decode('9223372036854775808') assert(v == 2^63 and math.type(v) == 'float')",
        "local v = json.decode('1.0') assert(v == 1 and math.type(v) == 'float')",
        "local v = json.decode('1e3') assert(v == 1000 and math.type(v) == 'float')",
        "assert(json.decode('0.1') == 0.1)",
        "assert(json.decode('-1.5e-3') == -0.0015)",
        "assert(select('#', json.decode('1')) == 1)",
    };
    for (size_t i = 0; i < sizeof CHECKS / sizeof *CHECKS; i++)
        check_lua(L, CHECKS[i]);
    lua_close(L);
}

TEST(decoded_values_are_what_the_text_says) {
    lua_State *L = new_state();
    REQUIRE(L != NULL);
    static const char *const CHECKS[] = {
        "assert(json.decode('true') == true and json.decode(' false ') == false)",
        "assert(json.decode('null') == json.null and json.null ~= nil)",
        "assert(json.decode('\"a\\\\u0000\\\\n\\\\ud83d\\\\ude00\"') == 'a\\0\\n\\u{1F600}')",
        "local s = ('x'):rep(2000) assert(json.decode('\"\\\\t' .. s .. '\"') == '\\t' .. s)",
        "local s = ('\\\\n'):rep(256) assert(json.decode('\"' .. s .. '\"') == ('\\n'):rep(256))",
        "local t = json.decode('{\"a\":[1,\"b\",null,{}],\"\":{\"c\":false}}')"
        " assert(#t.a == 4 and t.a[1] == 1 and t.a[2] == 'b' and t.a[3] == json.null and next(t.a[4]) == nil and "
        "t[''].c == false)",
        "local t = json.decode('{\"a\":1,\"a\":2}') assert(t.a == 2)",
        "local t = json.decode('{\"1\":true}') assert(t['1'] == true and t[1] == nil)",
        "local t = json.decode('[[],[[1]]]') assert(#t == 2 and #t[1] == 0 and t[2][1][1] == 1)",
        "local d = 128 assert(json.decode(('['):rep(d) .. (']'):rep(d)))",
    };
    for (size_t i = 0; i < sizeof CHECKS / sizeof *CHECKS; i++)
        check_lua(L, CHECKS[i]);
    lua_close(L);
}

TEST(text_that_is_no_json_is_nil_and_a_message_with_the_byte) {
    lua_State *L = new_state();
    REQUIRE(L != NULL);
    static const char *const CHECKS[] = {
        "local v, e = json.decode('') assert(v == nil and e == 'the text ends where a value was expected at byte 1', "
        "e)",
        "local v, e = json.decode('[1,]') assert(v == nil and e == 'a value was expected at byte 4', e)",
        "local v, e = json.decode('{\"a\":1} x') assert(v == nil and e == 'text after the value at byte 9', e)",
        "local v, e = json.decode('[1, 1e999]') assert(v == nil and e == 'a number that is too large at byte 5', e)",
        "local v, e = json.decode(('['):rep(129) .. (']'):rep(129)) assert(v == nil and e == 'nested too deeply at "
        "byte 129', e)",
        "local v, e = json.decode('\"\\xff\"') assert(v == nil and e == 'a string that is not UTF-8 at byte 2', e)",
        "assert(not pcall(json.decode)) assert(not pcall(json.decode, {}))",
        "assert(json.decode('[[1,[2,') == nil) assert(select('#', json.decode('{')) == 2)",
    };
    for (size_t i = 0; i < sizeof CHECKS / sizeof *CHECKS; i++)
        check_lua(L, CHECKS[i]);
    lua_close(L);
}

TEST(values_are_encoded_exactly) {
    lua_State *L = new_state();
    REQUIRE(L != NULL);
    static const struct {
        const char *value;
        const char *text;
    } CASES[] = {
        {"nil", "null"},
        {"json.null", "null"},
        {"true", "true"},
        {"0", "0"},
        {"math.maxinteger", "9223372036854775807"},
        {"math.mininteger", "-9223372036854775808"},
        {"123456789012345678", "123456789012345678"},
        {"1.0", "1"},
        {"-0.0", "-0"},
        {"0.1", "0.1"},
        {"0.1 + 0.2", "0.30000000000000004"},
        {"1/3", "0.3333333333333333"},
        {"1e15", "1e+15"},
        {"2^53", "9007199254740992"},
        {"1e100", "1e+100"},
        {"'a\"b\\\\c\\n\\0\\u{1F600}'", "\"a\\\"b\\\\c\\n\\u0000\xF0\x9F\x98\x80\""},
        {"{}", "{}"},
        {"json.array {}", "[]"},
        {"json.array()", "[]"},
        {"{ 1, 2, { 3 } }", "[1,2,[3]]"},
        {"{ [1] = 'a', [2] = 'b' }", "[\"a\",\"b\"]"},
        {"{ [2] = 'b', [1] = 'a' }", "[\"a\",\"b\"]"},
        {"{ [1.0] = 'a' }", "[\"a\"]"},
        {"{ a = 1 }", "{\"a\":1}"},
        {"{ ['1'] = 1 }", "{\"1\":1}"},
        {"{ a = { {}, json.array {}, json.null } }", "{\"a\":[{},[],null]}"},
        {"json.array { 1, json.array { false } }", "[1,[false]]"},
        {"setmetatable({ a = 1 }, { __index = error, __pairs = error, __len = error })", "{\"a\":1}"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].value);
        lua_pushfstring(L, "return %s", CASES[i].value);
        REQUIRE(luaL_dostring(L, lua_tostring(L, -1)) == LUA_OK);
        struct buf out = {0};
        const char *error;
        int top = lua_gettop(L);
        buf_append_text(&out, ">");
        CHECK_EQ_INT(lua_json_encode(L, -1, &out, &error), 0);
        CHECK_EQ_INT(lua_gettop(L), top);
        CHECK_EQ_MEM(out.data + 1, out.len - 1, CASES[i].text, strlen(CASES[i].text));
        buf_deinit(&out);
        lua_settop(L, 0);
    }
    lua_close(L);
}

TEST(what_was_decoded_is_encoded_as_it_was) {
    lua_State *L = new_state();
    REQUIRE(L != NULL);
    static const char *const TEXTS[] = {
        "[]",
        "{}",
        "[[],{}]",
        "{\"a\":[]}",
        "[null]",
        "[1,2.5,\"x\",true,null]",
        "9223372036854775807",
        "[1e+300]",
        "\"\\u0000\\\\\"",
        "[[[[]]]]",
    };
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        CHECK_NOTE("%s", TEXTS[i]);
        struct buf out = {0};
        const char *error;
        CHECK_EQ_INT(lua_json_push(L, slice_of(TEXTS[i])), 1);
        CHECK_EQ_INT(lua_json_encode(L, 1, &out, &error), 0);
        CHECK_EQ_BUF(out, TEXTS[i]);
        CHECK_EQ_INT(lua_gettop(L), 1);
        buf_deinit(&out);
        lua_settop(L, 0);
    }
    lua_close(L);
}

TEST(what_json_cannot_say_is_refused_with_the_reason) {
    lua_State *L = new_state();
    REQUIRE(L != NULL);
    static const struct {
        const char *value;
        const char *error;
    } CASES[] = {
        {"print", "a value of type function"},
        {"{ a = { print } }", "a value of type function"},
        {"coroutine.create(print)", "a value of type thread"},
        {"io.stdout", "a value of type userdata"},
        {"0/0", "a number that is not finite"},
        {"{ -1/0 }", "a number that is not finite"},
        {"'\\xff'", "a string that is not UTF-8"},
        {"{ ['\\xed\\xa0\\x80'] = 1 }", "a string that is not UTF-8"},
        {"{ 1, nil, 3 }", "an array with gaps: it has the key 3 but 2 elements"},
        {"{ [5] = 1 }", "an array with gaps: it has the key 5 but 1 elements"},
        {"{ [0] = 1 }", "a table with the key 0: only strings and 1 to n can be keys"},
        {"{ [-7] = 1 }", "a table with the key -7: only strings and 1 to n can be keys"},
        {"{ [1.5] = 1 }", "a table with the key 1.5: only strings and 1 to n can be keys"},
        {"{ [true] = 1 }", "a table with the key of type boolean: only strings and 1 to n can be keys"},
        {"{ 'a', b = 1 }", "a table with keys of an array and of an object, such as \"b\""},
        {"json.array { b = 1 }", "an array with the key \"b\""},
        {"json.array { 'a', b = 1 }", "an array with the key \"b\""},
        {"json.array { [2] = 1 }", "an array with gaps: it has the key 2 but 1 elements"},
        {"(function() local t = {} t.t = t return t end)()",
         "a table nested deeper than 128, or one that holds itself"},
        {"(function() local t = {} t[1] = { t } return t end)()",
         "a table nested deeper than 128, or one that holds itself"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK_NOTE("%s", CASES[i].value);
        lua_pushfstring(L, "return %s", CASES[i].value);
        REQUIRE(luaL_dostring(L, lua_tostring(L, -1)) == LUA_OK);
        struct buf out = {0}, want = {0};
        const char *error = NULL;
        int top = lua_gettop(L);
        buf_append_text(&out, "before");
        buf_appendf(&want, "cannot encode %s as JSON", CASES[i].error);
        buf_append_char(&want, '\0');
        CHECK_EQ_INT(lua_json_encode(L, -1, &out, &error), -EINVAL);
        CHECK_EQ_STR(error, want.data);
        CHECK_EQ_BUF(out, "before");
        CHECK_EQ_INT(lua_gettop(L), top);
        buf_deinit(&out);
        buf_deinit(&want);
        lua_settop(L, 0);
    }
    check_lua(L, "local v, e = json.encode(print) assert(v == nil and e == 'cannot encode a value of type function as "
                 "JSON', e)");
    check_lua(L, "assert(not pcall(json.encode))");
    check_lua(L, "assert(not pcall(json.array, 1)) assert(not pcall(json.array, setmetatable({}, {})))");
    lua_close(L);
}

TEST(depth_and_length_are_bounded) {
    lua_State *L = new_state();
    REQUIRE(L != NULL);
    static const char *const CHECKS[] = {
        "local t = 1 for _ = 1, 128 do t = { t } end assert(json.encode(t) == ('['):rep(128) .. '1' .. (']'):rep(128))",
        "local t = 1 for _ = 1, 129 do t = { a = t } end assert(json.encode(t) == nil)",
        "local t = {} for _ = 1, 60 do t = { t, t } end Value, Error = json.encode(t)",
        "assert(Value == nil and Error:find('longer than 33554432 bytes'), Error)",
    };
    for (size_t i = 0; i < sizeof CHECKS / sizeof *CHECKS; i++)
        check_lua(L, CHECKS[i]);
    lua_close(L);
}

TEST(the_mark_of_arrays_cannot_be_reached) {
    lua_State *L = new_state();
    REQUIRE(L != NULL);
    static const char *const CHECKS[] = {
        "assert(getmetatable(json.decode('[]')) == 'sluice.json.array')",
        "assert(not pcall(setmetatable, json.decode('[]'), nil))",
        "local t = {} assert(json.array(t) == t and json.array(t) == t)",
        "assert(getmetatable(json.decode('{}')) == nil)",
    };
    for (size_t i = 0; i < sizeof CHECKS / sizeof *CHECKS; i++)
        check_lua(L, CHECKS[i]);
    lua_close(L);
}

/* --- running out of memory ---------------------------------------------------------------------- */

struct allocator {
    int left; /* allocations until they fail; negative: none does */
};

/* The collector runs and Lua tries again when an allocation fails, so all fail from the first on. */
static void *allocate(void *context, void *old, size_t old_size, size_t size) {
    struct allocator *allocator = context;
    if (size == 0) {
        free(old);
        return NULL;
    }
    if (size > (old ? old_size : 0)) {
        if (allocator->left == 0)
            return NULL;
        allocator->left -= allocator->left > 0;
    }
    return (realloc)(old, size); /* in brackets: not the one that check_alloc.h counts */
}

static int run_loaded(lua_State *L) {
    lua_pushvalue(L, 1);
    lua_call(L, 0, 0);
    return 0;
}

TEST(no_failed_allocation_of_lua_leaks) {
    static const char CODE[] =
        "local t = json.decode('{\"a\":[1,\"\\\\n' .. ('x'):rep(600) .. '\",{}],\"b\":\"\\\\t\"}')"
        "local s = json.encode(t) assert(#s > 600) json.encode(print) json.array()";
    struct allocator allocator = {.left = -1};
    int failures = 0;
    for (int n = 0; n < 500; n++) {
        allocator.left = -1;
        lua_State *L = lua_newstate(allocate, &allocator);
        REQUIRE(L != NULL);
        luaL_openlibs(L);
        lua_json_register(L);
        lua_setglobal(L, "json");
        lua_pushcfunction(L, run_loaded);
        REQUIRE(luaL_loadstring(L, CODE) == LUA_OK);
        allocator.left = n;
        int rc = lua_pcall(L, 1, 0, 0);
        bool reached = allocator.left == 0;
        allocator.left = -1;
        lua_close(L);
        CHECK(rc == LUA_OK || rc == LUA_ERRMEM || rc == LUA_ERRERR);
        failures += rc != LUA_OK;
        if (!reached)
            break;
    }
    CHECK(failures > 5);
}

TEST(a_failed_allocation_of_the_buffer_is_told) {
    lua_State *L = new_state();
    REQUIRE(L != NULL);
    REQUIRE(luaL_dostring(L, "return { a = { 1, 2.5, ('x'):rep(300) }, b = {} }, print") == LUA_OK);
    int n = 0;
    for (bool reached = true; reached; n++) {
        struct buf out = {0};
        const char *error = NULL;
        check_alloc_fail_at(n);
        int rc = lua_json_encode(L, 1, &out, &error);
        reached = check_alloc_disarm();
        CHECK_EQ_INT(rc, reached ? -ENOMEM : 0);
        if (reached) {
            CHECK_EQ_INT(out.len, 0);
            CHECK_EQ_STR(error, "out of memory");
        }
        CHECK_EQ_INT(lua_gettop(L), 2);
        buf_deinit(&out);
    }
    CHECK(n > 2);
    struct buf out = {0};
    const char *error = NULL;
    check_alloc_fail_at(0);
    CHECK_EQ_INT(lua_json_encode(L, 2, &out, &error), -EINVAL);
    CHECK(check_alloc_disarm());
    CHECK_EQ_STR(error, "cannot be encoded as JSON");
    buf_deinit(&out);
    lua_close(L);
}

CHECK_MAIN()
