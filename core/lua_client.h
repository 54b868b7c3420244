/* SPDX-License-Identifier: MIT */
/* What lua/sluice/eventsource.lua cannot do in Lua: sockets that do not wait, poll(2), clocks, the terminal, the event stream parser, gzip.
 * It serves a host's thread or the command line, never a worker: nothing of it touches a server. */
#ifndef SLUICE_LUA_CLIENT_H
#define SLUICE_LUA_CLIENT_H

#include <lua.h>

/* Pushes the table `client`:
 *   connect(host, port)     a descriptor that is being connected; or nil, message. Resolving the name waits
 *   poll(list, seconds)     waits until one of the list's { fd =, write = true or nil } is ready, or a signal comes; seconds nil: without end.
 *                           Returns a list of booleans
 *   signals()               a descriptor that becomes readable when SIGINT or SIGTERM comes; they do nothing else from then on in this thread
 *   now(), time()           seconds: of a clock that never steps; since 1970
 *   terminal(fd)            columns, rows where the descriptor is a terminal, otherwise nil
 *   parser(limit, last_id)  an event stream parser, whose lines and events have `limit` bytes at most and whose last event id begins as `last_id`
 *   gunzip()                a reader of gzip
 * A descriptor has
 *   fd()                    the number; nil once closed
 *   connected()             true, or false while it is being tried (wait until it can be written to; the number may change); or nil, message
 *   send(bytes, from)       how many bytes went, from the one at `from` on; or nil, message
 *   receive()               bytes; false where none are there now; nil at the end; or nil, message
 *   close()
 * A parser has feed(bytes): a list of { id, event, data } and the milliseconds of a `retry` field or nil; or nil, message; and last_id().
 * A reader of gzip has feed(bytes): what could be read so far; or nil, message. */
void lua_client_register(lua_State *L);

/* http_request(host, port, bytes, timeout_s): all that the other end sends until it closes; or nil, message. The time, 30 seconds by default, is for the whole. A lua_CFunction. */
int lua_client_request(lua_State *L);

#endif
