/* SPDX-License-Identifier: MIT */
/* A change of policy in two steps over all workers: every worker loads the same snapshot beside the policy in force; only when all have accepted it does a marker in every inbox
 * put it in force, at one place in the one order of messages. If one refuses, all drop it. Apart from the first load, an attempt blocks nobody: the control thread begins it and looks
 * again when it is woken. */
#ifndef SLUICE_RELOAD_H
#define SLUICE_RELOAD_H

#include "policy.h"

struct server;

/* The first load, before the control thread runs: reads the scripts, loads them on all workers and puts them in force. Blocks until that is decided. Returns true with the generation
 * counted, or false with `error` filled. */
bool reload_first(struct server *s, struct policy_error *error);

enum reload_why {
    RELOAD_ASKED,  /* by the host or a signal: the same scripts are loaded anew, too */
    RELOAD_CHANGED /* something has happened to the files: what was tried last is not tried again */
};

/* Begins an attempt; there must be none under way. Its end, which may come before this returns, is told to those who wait for `asked`, to the log and to /health. */
void reload_begin(struct server *s, enum reload_why why, uint64_t asked);

/* True while an attempt is under way. */
bool reload_busy(const struct server *s);

/* Decides the attempt under way where all workers have answered or the time for it is over. The control thread calls it whenever it is woken, and once a second. */
void reload_poll(struct server *s);

/* Frees what is left of reloads, after the workers have ended. */
void reload_deinit(struct server *s);

#endif
