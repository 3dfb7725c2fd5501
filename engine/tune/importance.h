/*
 * Which axes mattered: PED-ANOVA (Watanabe 2023, arXiv 2304.10255; conditional axes 2601.20800), as
 * Optuna 5.0's PedAnovaImportanceEvaluator for one objective and region_quantile 1.
 *
 * The share of an axis is the Pearson divergence of the density of its values among the best trials
 * from that among all, on a grid of 50 cells (fewer for int and step, the choices for a choice),
 * with Scott's bandwidth and a prior of weight 1; conditional axes count by the shares of trials
 * that have them.
 */
#ifndef HN_ENGINE_TUNE_IMPORTANCE_H
#define HN_ENGINE_TUNE_IMPORTANCE_H

#include "engine/tune/tune.h"

#define HN_IMPORTANCE_TRIALS 12 /* complete trials below which nothing is said */

struct hn_importance {
    size_t n_trials;             /* complete trials with a finite value, which are all that count */
    bool known;                  /* at least HN_IMPORTANCE_TRIALS, and not all equally good */
    double quantile;             /* the best share that the axes are judged by */
    double shares[HN_TUNE_AXES]; /* sum 1 where known, else 0 */
};

/* 0.1 for n >= 50, 0.25 for 16 to 49, 0.3 below: so that about five trials are among the best. */
double hn_importance_quantile(size_t n_trials);

/* `quantile` 0 takes hn_importance_quantile of the trials counted; else inside (0, 1).
 * HN_E_INVALID_FIELD, HN_E_INTERNAL (no memory). */
int hn_importance(const struct hn_axis *axes, size_t n_axes, const struct hn_trial *trials,
    size_t n_trials, double quantile, struct hn_importance *ret, struct hn_error *err);

#endif
