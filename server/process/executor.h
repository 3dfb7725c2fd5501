/*
 * Where trainers run: one row per way, `local` first.
 *
 * The run directory is the protocol; an executor only starts a trainer in it, says whether one is
 * alive, and asks it to stop. "Alive" is the flock on RUN_DIR/lock: it is taken before the spawn,
 * inherited across exec and released by the kernel with the trainer's last breath, so there is no
 * moment at which a living trainer looks dead. A confined trainer can neither write nor replace the
 * file (rundir.h); one that lets go of the lock is killed when that is noticed.
 */
#ifndef HN_SERVER_PROCESS_EXECUTOR_H
#define HN_SERVER_PROCESS_EXECUTOR_H

#include "engine/engine.h"

struct hn_confinement;

struct hn_process {
    int pid;    /* 0: not known (attached to a trainer that has not told yet) */
    int pidfd;  /* -1 likewise */
    bool child; /* ours to reap */
};

struct hn_executor {
    const char *name;
    /* Locks and starts; HN_E_CONFLICT when a trainer lives there already. */
    int (*spawn)(const char *run_dir, const struct hn_confinement *to /* NULL: not confined */,
        struct hn_process *ret, struct hn_error *err);
    /* Finds the living trainer's process from its lock file, start time checked; leaves pidfd -1 if
     * it cannot. */
    void (*attach)(const char *run_dir, struct hn_process *ret);
    bool (*alive)(const char *run_dir);
    /* CPU time used so far and memory of its own (not of mapped files) now; false when it cannot be
     * told. */
    bool (*usage)(const struct hn_process *process, int64_t *ret_cpu_ms, int64_t *ret_bytes);
    void (*signal)(struct hn_process *process, int number);
    /* Reaps and closes; only when it is no longer alive. Nothing is done twice. How it exited, -1
     * when that is not known: a hint for what it could not write down. */
    int (*release)(struct hn_process *process);
};

/* Writes who holds RUN_DIR/lock, so that whoever finds it held knows whom to signal: by the daemon,
 * and by the trainer itself before it is confined, should the daemon die in between. */
void hn_executor_note_owner(const char *run_dir, int pid);

extern const struct hn_executor hn_executor_local;

#endif
