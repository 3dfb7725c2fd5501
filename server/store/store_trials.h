/*
 * How a trial comes into the store, alone or with its job, and the events of its sweep. Apart from
 * store_sweeps.h since the insertion of a job needs it.
 */
#ifndef HN_SERVER_STORE_STORE_TRIALS_H
#define HN_SERVER_STORE_STORE_TRIALS_H

#include "server/store/store.h"

#define HN_RUNGS_MAX 8 /* of a trial, without its end */

/* An event of the sweep; inside a transaction. `data` is taken over. */
int hn_db_sweep_event(
    struct hn_db *db, const char *id, const char *type, json_t *data, struct hn_error *err);
/* The sweep's status; HN_E_NOT_FOUND. */
int hn_db_sweep_status(struct hn_db *db, const char *id, char ret[16], struct hn_error *err);
int hn_db_sweep_missing(struct hn_error *err, const char *id);

/* A trial that is submitted, or was refused: goes in with its job (hn_job_insert.trial), or alone
 * with `why` (hn_db_trial_insert). */
struct hn_trial_insert {
    const char *sweep; /* id */
    int64_t number;
    const char *role, *settings, *point;
    int64_t rungs[HN_RUNGS_MAX]; /* steps, ascending */
    size_t n_rungs;
    const char *why; /* it has no job, or NULL */
};
/* HN_E_CONFLICT when the sweep has ended or paused; *ret_job: the job that the trial has already,
 * "" if none. */
int hn_db_trial_add(struct hn_db *db, const struct hn_trial_insert *trial, const char *job,
    char ret_job[HN_ID_SIZE], struct hn_error *err);
int hn_db_trial_insert(struct hn_db *db, void *trial, struct hn_error *err);

#endif
