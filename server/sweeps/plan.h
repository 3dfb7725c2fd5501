/*
 * A sweep's plan as C reads it, and the kinds of sweeps.
 *
 * The plan is JSON in the store ("plan" of a sweep), made once when the sweep is submitted:
 *   kind, job        the request that trials change
 *   axes             space.h; [] for kinds that search nothing
 *   settings         for kinds whose trials are known from the start: one object a trial, with
 *                    "role"
 *   metric, smaller  what trials are compared by
 *   trials           how many there will be at most, without those of `seeds`
 *   parallel, seed, seeds, keep, target, scheduler, eta
 *   rungs            shares of a run at which trials pause, ascending
 *   steps, seconds   what one whole trial takes, as planned for the job as it is
 *   estimate         {"steps","seconds"} of the whole sweep
 *   budget           {"jobs","steps","seconds"} as sent; null: no bound
 *   warnings         [{"code","message"}]
 */
#ifndef HN_SERVER_SWEEPS_PLAN_H
#define HN_SERVER_SWEEPS_PLAN_H

#include "server/jobs/submit.h"
#include "server/store/store_sweeps.h"
#include "server/sweeps/space.h"

#define HN_SWEEP_FOLDS_MAX 100 /* folds of one sweep */
/* What an ablation calls the half of the rows that add most that is new (engine/data/diverse.h),
 * beside a half at random. */
#define HN_DIVERSE_HALF "diverse_half"

enum hn_sweep_kind {
    HN_SWEEP_GRID,
    HN_SWEEP_RANDOM,
    HN_SWEEP_SEARCH,
    HN_SWEEP_FOLDS,
    HN_SWEEP_DATA_SIZE,
    HN_SWEEP_ABLATION,
    HN_SWEEP_LR_RANGE,
    HN_SWEEP_KINDS
};
const char *hn_sweep_kind_name(enum hn_sweep_kind kind);

struct hn_sweep_plan {
    json_t *json; /* owned */
    enum hn_sweep_kind kind;
    struct hn_space space;
    const json_t *job, *settings;
    const char *metric, *keep;
    bool smaller, asha;
    int64_t trials, parallel, seed, seeds, eta;
    double target; /* NaN: none */
    double rungs[HN_RUNGS_MAX];
    size_t n_rungs;
    double steps, seconds; /* of a whole trial */
    int64_t budget_steps;
    double budget_seconds; /* 0: no bound */
};
/*
 * Checks the request of POST /sweeps and plans it: {"job", "axes", "metric", "trials", …}, new
 * reference; it asks the helper what a trial takes, so it waits. HN_E_INVALID_FIELD and what
 * hn_submit answers, with fields such as "space.learning_rate.min" and "job.model".
 * *ret_details as of hn_submit.
 */
int hn_sweep_plan(struct hn_server *server, const struct hn_submitter *who, const json_t *request,
    json_t **ret, json_t **ret_details, struct hn_error *err);
/* From a sweep's record. The caller finishes it in every case. */
int hn_sweep_plan_open(const char *text, struct hn_sweep_plan *ret, struct hn_error *err);
void hn_sweep_plan_finish(struct hn_sweep_plan *plan);

#endif
