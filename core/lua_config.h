/* SPDX-License-Identifier: MIT */
/* Turns a checked, flat table of settings (sluice.config's flatten) into struct config. */
#ifndef SLUICE_LUA_CONFIG_H
#define SLUICE_LUA_CONFIG_H

#include <lua.h>

#include "config.h"

/* Reads the table at `index`; `json` at `json_index` is the text of sluice.config. Raises for a value that the schema should have refused or for want of memory; what is read so far hangs in
 * `*out`, which the caller owns (config_free). */
void lua_config_read(lua_State *L, int index, struct config **out);

#endif
