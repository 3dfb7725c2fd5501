/*
 * What a sweep does next: a function of its plan and of what its trials have reached, and of
 * nothing else.
 */
#ifndef HN_SERVER_SWEEPS_NEXT_H
#define HN_SERVER_SWEEPS_NEXT_H

#include "server/sweeps/plan.h"

enum hn_sweep_act {
    HN_SWEEP_WAIT,    /* for trials that run */
    HN_SWEEP_START,   /* trial `number` with `settings` */
    HN_SWEEP_PROMOTE, /* trial list[index] goes on to rung `rung`, or to its end */
    HN_SWEEP_DONE     /* nothing is left to do */
};
struct hn_sweep_step {
    enum hn_sweep_act act;
    int64_t number;
    const char *role;            /* static, or the plan's */
    json_t *settings;            /* owned by the caller */
    double point[HN_SPACE_AXES]; /* of kinds with a space */
    bool pauses;                 /* at the plan's rungs */
    size_t index, rung;
    bool to_end; /* PROMOTE: past all rungs */
};

/* Earlier jobs that a search begins from, as trials with negative numbers. */
struct hn_earlier {
    double *points, *values; /* [n][axes], [n]: the metric as it is */
    size_t n;
};

enum hn_trial_phase {
    HN_TRIAL_ACTIVE, /* queued or running */
    HN_TRIAL_HELD,   /* waits at a rung */
    HN_TRIAL_ASIDE,  /* paused by somebody */
    HN_TRIAL_GOOD,   /* succeeded */
    HN_TRIAL_BAD     /* failed, cancelled, deleted, or never a job */
};
enum hn_trial_phase hn_trial_phase(const struct hn_sweep_trial *trial);
/* The metric's best in a trial so far, as it is; NaN: none. */
double hn_trial_value(const struct hn_sweep_trial *trial);
/* The trials as engine/tune wants them, without "seed" runs, and earlier jobs before them: a list
 * of *ret_n that the caller frees, as *ret_points, [n][axes], to which it points. NULL: out of
 * memory. */
struct hn_trial *hn_sweep_for_tune(const struct hn_sweep_plan *plan,
    const struct hn_sweep_trials *trials, const struct hn_earlier *earlier, double **ret_points,
    size_t *ret_n);
/* The best that ended well, by value, then by number; -1: none. Of all roles but "seed". */
int64_t hn_sweep_best(const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials);

int hn_sweep_next(const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials,
    const struct hn_earlier *earlier, struct hn_sweep_step *ret, struct hn_error *err);

#endif
