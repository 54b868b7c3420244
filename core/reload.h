/* SPDX-License-Identifier: MIT */
/* A change of policy in two steps over all workers: every worker loads the same snapshot beside the policy in force; only when all have accepted it does a marker in every inbox
 * put it in force, at one place in the one order of messages. If one refuses, all drop it. */
#ifndef SLUICE_RELOAD_H
#define SLUICE_RELOAD_H

#include "policy.h"

struct server;

/* Reads the scripts, loads them on all workers and puts them in force. Blocks until that is decided. Called by one thread at a time. Returns true with the generation counted, or false with `error` filled and nothing changed. */
bool reload_load(struct server *s, struct policy_error *error);

/* reload_load with its outcome written to the log and to the server's state. */
void reload_run(struct server *s);

#endif
