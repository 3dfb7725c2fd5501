/*
 * Tree-structured Parzen estimator (Bergstra 2011, 2013), multivariate (Falkner 2018, BOHB), with
 * the parameters of Optuna 5.0's TPESampler(group=True):
 *
 *   below     the best min(ceil(0.1 n), 25) trials, n = complete + pruned; complete ones by
 *             (value, number) first, then pruned ones by (-last_step, value, number)
 *   above     all others, running ones among them ("constant liar")
 *   weights   by age: 1 for fewer than 25 trials, else a linear ramp from 1/n to 1 over the oldest
 *             n - 25; the prior (mean mid, sigma high - low) has weight 1
 *   sigma     the larger distance to a neighbour, the outer two to their inner one; clipped to
 *             [(high - low) / min(100, 2 + n), high - low]
 *   kernels   truncated normals (of the logarithm with log; their mass over one step for int and
 *             step), choices 1 / (1 + n) + 1 at the seen one; product over the axes of a group
 *   suggest   of 24 draws from l the first with the largest log l - log g, group by group
 *
 * An axis with one value only is not modelled.
 */
#ifndef HN_ENGINE_TUNE_TPE_H
#define HN_ENGINE_TUNE_TPE_H

#include "engine/tune/tune.h"

/* Trials that come from the sequence before the model is asked. */
size_t hn_tpe_startup(size_t planned_trials); /* 8 where at most 20 are planned, else 10 */

/*
 * log l(x) - log g(x) of `point` [n_axes], summed over the groups that it has: a group counts only
 * where none of its axes is NaN. Trials may be in any order. HN_E_INVALID_FIELD (axes, numbers or
 * values outside their axis), HN_E_INTERNAL (no memory).
 */
int hn_tpe_log_ratio(const struct hn_axis *axes, size_t n_axes, const struct hn_trial *trials,
    size_t n_trials, const double *point, double *ret_log_ratio, struct hn_error *err);

/*
 * The point that trial `number` (>= 0) should try, into ret_values [n_axes]; a pure function of its
 * arguments. While fewer than hn_tpe_startup(planned) of the trials are finished (complete or
 * pruned; earlier jobs count) it is point `number` of the scrambled sequence (sequence.h). Every
 * axis gets a value: the caller sets to NaN those whose condition does not hold. Errors as above.
 */
int hn_tpe_suggest(const struct hn_axis *axes, size_t n_axes, const struct hn_trial *trials,
    size_t n_trials, int64_t number, size_t planned, uint64_t seed, double *ret_values,
    struct hn_error *err);

#endif
