/*
 * STATE/lost+found/: what no record names. A start moves it there and never deletes it at once: a
 * folder that the store does not know may be the only copy of somebody's data. It goes away by age
 * (setting lost_days).
 */
#ifndef HN_SERVER_BASE_LOST_H
#define HN_SERVER_BASE_LOST_H

#include "server/base/state.h"

/* Moves STATE/<folder>/<name> to lost+found/<time>-<folder>-<name>, with a log line that says
 * `why`. On failure it stays where it is. `folder` NULL: the file lies in STATE itself. */
int hn_lost_keep(
    const char *state, const char *folder, const char *name, const char *why, struct hn_error *err);
/* Deletes what has been in lost+found for more than `days`; 0: keeps all. Entries that were not put
 * there by hn_lost_keep are left alone. */
void hn_lost_expire(const char *state, int64_t days);

#endif
