/*
 * Room server/jobs. From a submission to a job's end: planning and queueing, a slot for each
 * trainer, reading its events, and who is told of them.
 *
 * Nouns: submission, plan (as a helper answers it), worker (a slot), feed (streams that are woken
 *   by commits).
 * Ownership: A submission's outputs are its caller's; a worker owns its trainer's process.
 * May include: server/base server/library server/process server/server.h server/store.
 */

/*
 * Workers: one thread a slot. Each claims a job, runs its trainer, ingests its events and settles
 * its end.
 *
 * At start the jobs in `running` come first: a trainer that still lives is attached to, a dead one
 * is settled. The daemon's own death thus changes no job's status.
 */
#ifndef HN_SERVER_JOBS_WORKER_H
#define HN_SERVER_JOBS_WORKER_H

#include "server/base/config.h"
#include "server/base/prometheus.h"
#include "server/base/seen.h"
#include "server/store/store.h"

struct hn_workers;

/* They subscribe to the store: what is queued, ends or is asked for wakes them. */
int hn_workers_create(const struct hn_config *config, struct hn_store *store, struct hn_seen *seen,
    struct hn_workers **ret, struct hn_error *err);
/* Stop claiming; ask every trainer to write its state and leave; `done` is called from the last
 * thread. */
void hn_workers_drain(struct hn_workers *workers, void (*done)(void *arg), void *arg);
/* Leave now; trainers go on and are attached to by the next daemon. */
void hn_workers_abandon(struct hn_workers *workers);
/* Joins all threads; only after a drain or abandon. */
void hn_workers_destroy(struct hn_workers *workers);
int hn_workers_busy(struct hn_workers *workers);

struct hn_worker_figures {
    struct hn_histogram waits;     /* of jobs in the queue, from queued or requeued to claimed */
    _Atomic int64_t steps, tokens; /* trained */
};
const struct hn_worker_figures *hn_workers_figures(const struct hn_workers *workers);

#endif
