/*
 * Sweeps and their trials in the store. A trial's state is its job's; what stands here is why the
 * job was made and where it pauses. Functions that change anything are transactions, called inside
 * hn_store_call.
 */
#ifndef HN_SERVER_STORE_STORE_SWEEPS_H
#define HN_SERVER_STORE_STORE_SWEEPS_H

#include "server/store/store_events.h"
#include "server/store/store_jobs.h"
#include "server/store/store_trials.h"

struct hn_sweep {
#define HN_SWEEP(TYPE, name) HN_JOB_CTYPE_##TYPE name;
#include "server/store/sweep.def"
#undef HN_SWEEP
};
void hn_sweep_finish(struct hn_sweep *sweep);

/* HN_E_NOT_FOUND. The caller finishes *ret in every case. */
int hn_db_sweep_get(struct hn_db *db, const char *id, struct hn_sweep *ret, struct hn_error *err);
/* 0, or HN_E_NOT_FOUND also for what is out of reach. */
int hn_db_sweep_reached(
    struct hn_db *db, const struct hn_reach *reach, const char *id, struct hn_error *err);
/* Newest first, from behind `after` on; *ret_more: there are others. */
int hn_db_sweep_list(struct hn_db *db, const struct hn_reach *reach, const char *after,
    int64_t limit, void (*each)(void *ud, const struct hn_sweep *), void *ud, bool *ret_more,
    struct hn_error *err);
/* Ids of those that have not ended, oldest first: a new array of strings. */
int hn_db_sweeps_unended(struct hn_db *db, json_t **ret, struct hn_error *err);

#define HN_SWEEPS_MAX 50 /* of one owner that have not ended: each is looked at after each commit */
/* Complete but for n; its first event. HN_E_QUOTA_EXCEEDED. An hn_store_fn with a struct
 * hn_sweep. */
int hn_db_sweep_insert(struct hn_db *db, void *sweep, struct hn_error *err);

/* A sweep's change of state, with its event; nothing when it has ended, or is in that state. */
struct hn_sweep_move {
    const char *id, *status;
    const char *code, *message; /* of status_reason, or NULL */
    const char *result;         /* JSON; NULL: as it was */
};
int hn_db_sweep_move(struct hn_db *db, void *move, struct hn_error *err);
/* Another reason under the same status. */
int hn_db_sweep_explain(struct hn_db *db, void *move, struct hn_error *err);
/* One that has ended; its jobs stay, as jobs of their own. */
int hn_db_sweep_delete(struct hn_db *db, void *id, struct hn_error *err);

int hn_db_sweep_events(struct hn_db *db, int64_t sweep, int64_t after, int64_t limit,
    const char *type, hn_event_fn each, void *ud, struct hn_error *err);

/* A trial with what its job has reached. */
struct hn_sweep_trial {
    int64_t number;
    char *role, *settings, *point, *why;
    char job[HN_ID_SIZE]; /* "": none */
    int64_t rungs[HN_RUNGS_MAX];
    size_t n_rungs;
    double rung_values[HN_RUNGS_MAX + 1]; /* the metric's best up to there, then up to now; NaN */
    /* of the job; NULL when it has none, or it was deleted */
    char *status, *reason_code, *reason_message;
    int64_t step, total_steps, best_step, stop_at; /* -1: none */
    int64_t rows;                                  /* it trains on; -1 */
    double seconds;                                /* of steps done so far */
    char *started_at, *finished_at;
};
struct hn_sweep_trials {
    struct hn_sweep_trial *list; /* by number */
    size_t n;
};
/* `metric` as "val_loss"; `smaller` is better. The caller finishes *ret in every case. */
int hn_db_trials(struct hn_db *db, int64_t sweep, const char *metric, bool smaller,
    struct hn_sweep_trials *ret, struct hn_error *err);
void hn_sweep_trials_finish(struct hn_sweep_trials *trials);

/* Rows that the sweep's jobs did not tokenise again, since another one of them had. */
int hn_db_sweep_saved(struct hn_db *db, const char *id, int64_t *ret, struct hn_error *err);
/* Jobs in the sweep's reach that succeeded on its first job's data set and validation rows before
 * it began, newest first; of those in `ids` (a JSON list; NULL: all). `value`: the best of the
 * metric, NaN: it has none. */
typedef void (*hn_earlier_fn)(
    void *ud, const char *hyperparameters, const char *request, double value);
int hn_db_sweep_earlier(struct hn_db *db, const struct hn_sweep *sweep, const char *metric,
    const char *ids, hn_earlier_fn each, void *ud, struct hn_error *err);

/* A trial that waits at a rung goes on to the next stop; 0: to its end. */
struct hn_trial_promote {
    const char *sweep, *job;
    int64_t number, rung, stop_at;
};
int hn_db_trial_promote(struct hn_db *db, void *promote, struct hn_error *err);

#endif
