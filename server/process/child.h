/*
 * Child processes of the daemon: this same program under another subcommand, with clean signals, a
 * session of its own (a terminal's Ctrl-C is the daemon's) and one descriptor handed over under a
 * fixed number.
 */
#ifndef HN_SERVER_PROCESS_CHILD_H
#define HN_SERVER_PROCESS_CHILD_H

#include "engine/engine.h"

#define HN_CHILD_FD 3 /* the number under which a child finds what was handed to it */

/* Where children may go: they get `--confine STATE MODEL_DIRS` behind their arguments and confine
 * themselves (confine.h). The strings stay the caller's; model_dirs may be NULL. */
struct hn_confinement {
    const char *state, *model_dirs;
};
/* Spawns `honed ARGS…` (NULL-ended). Standard output and error go to the descriptor `log`; with -1
 * output goes nowhere and errors where the daemon's go. Both descriptors stay open here. `to`: NULL
 * for a child that is not confined. */
int hn_child_spawn(const char *const *args, int fd, int log, const struct hn_confinement *to,
    int *ret_pid, struct hn_error *err);

#endif
