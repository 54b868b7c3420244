/* SPDX-License-Identifier: MIT */
/* The C module `sluice.core`: the server object for host programs, and the little that the command line needs from the system. Documented
 * for users in lua/sluice/init.lua. */
#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "http_response.h"
#include "lua_client.h"
#include "lua_config.h"
#include "lua_json.h"
#include "lua_jwt.h"
#include "lua_policy.h"
#include "lua_scratch.h"
#include "server.h"
#include "status.h"

#define SERVER_TYPE "sluice.server"

enum { WAIT_SLICE_MS = 100 };

struct server_box {
    struct server *server;
    struct lua_host host;
    struct config *config; /* until a server has taken it */
    struct snapshot_source source;
    struct server_box *next; /* of those that run: ended at exit */
};

/* --- leaving the process ---------------------------------------------------------------------------- */

/* The one thing that is the process's and not a server's: which servers must be ended before exit() takes libraries down under their threads. */
static pthread_mutex_t running_lock = PTHREAD_MUTEX_INITIALIZER;
static struct server_box *running;

static void stop_box(struct server_box *box) {
    pthread_mutex_lock(&running_lock);
    struct server_box **at = &running;
    while (*at && *at != box)
        at = &(*at)->next;
    if (*at)
        *at = box->next;
    pthread_mutex_unlock(&running_lock);
    server_free(box->server);
    box->server = NULL;
}

static void stop_all(void) {
    for (;;) {
        pthread_mutex_lock(&running_lock);
        struct server_box *box = running;
        pthread_mutex_unlock(&running_lock);
        if (!box)
            return;
        stop_box(box);
    }
}

static void register_exit(void) {
    atexit(stop_all);
}

static void remember(struct server_box *box) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_exit);
    pthread_mutex_lock(&running_lock);
    box->next = running;
    running = box;
    pthread_mutex_unlock(&running_lock);
}

/* --- the server object ------------------------------------------------------------------------------ */

static struct server_box *check_box(lua_State *L) {
    return luaL_checkudata(L, 1, SERVER_TYPE);
}

static struct server *check_server(lua_State *L) {
    struct server_box *box = check_box(L);
    if (!box->server)
        luaL_error(L, "the server has been stopped");
    return box->server;
}

static int server_gc(lua_State *L) {
    struct server_box *box = check_box(L);
    stop_box(box);
    config_free(box->config);
    snapshot_source_deinit(&box->source);
    free(box->host.path);
    free(box->host.cpath);
    *box = (struct server_box){0};
    return 0;
}

static int server_port(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)check_server(L)->port);
    return 1;
}

/* publish(channel, event, data): id, subscribers; or nil, message */
static int server_publish(lua_State *L) {
    struct server *s = check_server(L);
    struct slice channel, event, data;
    char id[MESSAGE_ID_BYTES], error[512];
    uint64_t subscribers;
    channel.ptr = luaL_checklstring(L, 2, &channel.len);
    event.ptr = luaL_optlstring(L, 3, "", &event.len);
    data.ptr = luaL_checklstring(L, 4, &data.len);
    if (!lua_publish_host(s, channel, event, data, id, &subscribers, error, sizeof error)) {
        lua_pushnil(L);
        lua_pushstring(L, error);
        return 2;
    }
    lua_pushstring(L, id);
    lua_pushinteger(L, (lua_Integer)subscribers);
    return 2;
}

static int push_policy_error(lua_State *L, const struct policy_error *why) {
    lua_pushnil(L);
    if (why->line > 0)
        lua_pushfstring(L, "%s:%d: %s", why->file, why->line, why->message);
    else if (why->file[0])
        lua_pushfstring(L, "%s: %s", why->file, why->message);
    else
        lua_pushstring(L, why->message);
    return 2;
}

static int server_reload_method(lua_State *L) {
    struct policy_error why;
    if (!server_reload(check_server(L), &why))
        return push_policy_error(L, &why);
    lua_pushboolean(L, 1);
    return 1;
}

static int server_stats(lua_State *L) {
    struct server *s = check_server(L);
    struct buf *json = lua_scratch_push(L);
    if (server_metrics_json(s, json) != 0)
        return luaL_error(L, "not enough memory");
    lua_json_push(L, buf_slice(json));
    return 1;
}

/* stop(drain_seconds or nil) */
static int server_stop_method(lua_State *L) {
    struct server_box *box = check_box(L);
    if (!box->server)
        return 0;
    double drain = luaL_optnumber(L, 2, (double)box->server->config->drain_ms / 1000);
    luaL_argcheck(L, drain >= 0 && drain <= 1e6, 2, "drain is in seconds, not negative");
    server_stop(box->server, (uint64_t)(drain * 1000));
    return 0;
}

/* wait(): waits a slice; the exit status once the server has ended, else nil and whether SIGHUP has come. In slices, so that a signal's hook of the interpreter gets its turn. */
static int server_wait_method(lua_State *L) {
    struct server_box *box = check_box(L);
    int status = 0;
    bool hangup = false;
    if (!box->server) {
        lua_pushinteger(L, 0);
        return 1;
    }
    if (!server_wait(box->server, WAIT_SLICE_MS, &status, &hangup)) {
        lua_pushnil(L);
        lua_pushboolean(L, hangup);
        return 2;
    }
    stop_box(box);
    lua_pushinteger(L, status);
    return 1;
}

/* --- starting --------------------------------------------------------------------------------------- */

static char *copy_path(lua_State *L, const char *field) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, field);
    char *copy = strdup(luaL_optstring(L, -1, ""));
    lua_pop(L, 2);
    return copy ? copy : (luaL_error(L, "not enough memory"), NULL);
}

/* Scripts as a table of names and texts. */
static struct snapshot *read_scripts(lua_State *L, int index) {
    struct snapshot *s = snapshot_new();
    if (!s)
        return NULL;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        struct slice text;
        if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING) {
            text.ptr = lua_tolstring(L, -1, &text.len);
            if (snapshot_add(s, lua_tostring(L, -2), text) != 0) {
                snapshot_release(s);
                return NULL;
            }
        }
        lua_pop(L, 1);
    }
    snapshot_sort(s);
    return s;
}

/* Reads { level, format, access, frames } at `index`, all of them checked before. */
static struct log_settings read_log(lua_State *L, int index) {
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, "level");
    lua_getfield(L, index, "format");
    lua_getfield(L, index, "access");
    lua_getfield(L, index, "frames");
    struct log_settings settings = {
        .level = log_level_parse(luaL_checkstring(L, -4)),
        .format = strcmp(luaL_checkstring(L, -3), "json") == 0 ? LOG_JSON : LOG_TEXT,
        .access = lua_toboolean(L, -2),
        .frames = lua_toboolean(L, -1),
    };
    lua_pop(L, 4);
    luaL_argcheck(L, settings.level >= 0, index, "no such level");
    return settings;
}

/* set_log(settings): see read_log */
static int server_set_log_method(lua_State *L) {
    struct server *s = check_server(L);
    struct log_settings settings = read_log(L, 2);
    server_set_log(s, &settings);
    return 0;
}

/* Arguments: the flat settings, { signals, scripts = folder or table, log = see read_log }. Leaves a box with all that a start takes on the stack. */
static struct server_box *prepare(lua_State *L, struct server_options *options) {
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    struct server_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    memset(box, 0, sizeof *box);
    luaL_setmetatable(L, SERVER_TYPE);
    box->host.path = copy_path(L, "path");
    box->host.cpath = copy_path(L, "cpath");
    lua_config_read(L, 1, &box->config);
    lua_getfield(L, 2, "scripts");
    if (lua_istable(L, -1)) {
        box->source.fixed = read_scripts(L, lua_gettop(L));
    } else {
        box->source.folder = strdup(luaL_checkstring(L, -1));
    }
    if (!box->source.fixed && !box->source.folder)
        luaL_error(L, "not enough memory");
    lua_getfield(L, 2, "signals");
    lua_getfield(L, 2, "log");
    *options = (struct server_options){
        .config = box->config,
        .source = box->source,
        .ops = &lua_policy_ops,
        .policy_context = &box->host,
        .take_signals = lua_toboolean(L, -2),
        .log = read_log(L, lua_gettop(L)),
    };
    lua_settop(L, 3);
    box->config = NULL; /* the server's from here on */
    box->source = (struct snapshot_source){0};
    return box;
}

static int start(lua_State *L) {
    struct server_options options;
    char error[SERVER_ERROR_BYTES];
    struct server_box *box = prepare(L, &options);
    box->server = server_start(&options, error);
    if (!box->server) {
        lua_pushnil(L);
        lua_pushstring(L, error);
        return 2;
    }
    remember(box);
    return 1;
}

static int check(lua_State *L) {
    struct server_options options;
    char error[SERVER_ERROR_BYTES];
    prepare(L, &options);
    if (server_check(&options, error)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, error);
    return 2;
}

/* --- the system ------------------------------------------------------------------------------------- */

static int fail(lua_State *L, const char *what, int code) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", what, strerror(code));
    return 2;
}

static int cores(lua_State *L) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    lua_pushinteger(L, n > 0 ? n : 1);
    return 1;
}

static int make_folder(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    if (mkdir(path, 0777) != 0 && !(errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
        return fail(L, path, errno);
    lua_pushboolean(L, 1);
    return 1;
}

static int list_folder(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    DIR *dir = opendir(path);
    if (!dir)
        return fail(L, path, errno);
    lua_newtable(L);
    struct dirent *entry;
    for (lua_Integer n = 1; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, n++);
    }
    closedir(dir);
    return 1;
}

/* Raises the limit of open files to its hard limit. Returns what it is now. */
static int raise_files(lua_State *L) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return fail(L, "getrlimit", errno);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    lua_pushinteger(L, (lua_Integer)limit.rlim_cur);
    return 1;
}

/* token_sign(key, algorithm, claims): the token; or nil, message */
static int sign_token(lua_State *L) {
    struct slice key;
    key.ptr = luaL_checklstring(L, 1, &key.len);
    luaL_checktype(L, 3, LUA_TTABLE);
    return lua_jwt_push_signed(L, key, luaL_checkstring(L, 2), 3);
}

/* sha256(text): in base64 */
static int sha256(lua_State *L) {
    struct slice text;
    char digest[DIGEST_SHA256_CHARS + 1];
    text.ptr = luaL_checklstring(L, 1, &text.len);
    if (digest_sha256(text, digest) != 0)
        return luaL_error(L, "not enough memory");
    lua_pushlstring(L, digest, DIGEST_SHA256_CHARS);
    return 1;
}

/* --- the module ------------------------------------------------------------------------------------- */

__attribute__((visibility("default"))) int luaopen_sluice_core(lua_State *L);

int luaopen_sluice_core(lua_State *L) {
    static const luaL_Reg METHODS[] = {{"port", server_port},          {"publish", server_publish}, {"reload", server_reload_method},
                                       {"stats", server_stats},        {"stop", server_stop_method}, {"set_log", server_set_log_method}, {"wait", server_wait_method},
                                       {NULL, NULL}};
    static const luaL_Reg FUNCTIONS[] = {{"start", start},       {"check", check},           {"cores", cores},
                                         {"mkdir", make_folder}, {"list_dir", list_folder},  {"raise_files", raise_files},
                                         {"http_request", lua_client_request}, {"token_sign", sign_token}, {"sha256", sha256},
                                         {NULL, NULL}};
    luaL_newmetatable(L, SERVER_TYPE);
    luaL_newlib(L, METHODS);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, server_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, server_gc);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
    luaL_newlib(L, FUNCTIONS);
    lua_json_register(L);
    lua_setfield(L, -2, "json");
    lua_client_register(L);
    lua_setfield(L, -2, "client");
    return 1;
}
