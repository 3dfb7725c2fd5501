/*
 * How much more data would help: a learning curve y(n) = c + a n^-b (Hestness 2017; M2 of
 * Alabdulmohsin 2022, arXiv 2209.06640) over the number of training rows n.
 *
 * Bayesian: c (what no amount of data removes) uniform between `floor` and a little above the
 * lowest point, b uniform in [0.05, 1.5], a >= 0 flat and integrated out by weighted linear least
 * squares for each (c, b) of a grid that narrows to where the posterior lies. Points weigh
 * 1 / (variance + seed_sd^2). A forecast is the posterior mean of a run's value, and the 5 % and
 * 95 % quantiles of the posterior with a new run's seed noise.
 */
#ifndef HN_ENGINE_TUNE_FORECAST_H
#define HN_ENGINE_TUNE_FORECAST_H

#include "engine/base/error.h"

#include <stddef.h>

#define HN_FORECAST_POINTS 64 /* points of a curve at most */
#define HN_FORECAST_REACH 4   /* no forecast beyond so many times the largest n */

struct hn_curve_point {
    double n;        /* training rows, > 0 */
    double value;    /* dev error or loss, lower is better */
    double variance; /* squared standard error of `value` from the dev rows, > 0 */
};

enum hn_forecast_refusal {
    HN_FORECAST_GIVEN,
    HN_FORECAST_FEW_POINTS, /* fewer than 4 */
    HN_FORECAST_RISES,      /* the last point lies above the one before by more than 2 errors */
    HN_FORECAST_BAD_FIT,    /* chi2 / dof of the best fit > 3: not a power law */
};

struct hn_forecast {
    enum hn_forecast_refusal refusal;
    double a, b, c;   /* best fit on the grid; 0 where refused before it */
    double chi2, dof; /* dof = points - 3 */
};

struct hn_forecast_value {
    double n;                /* in: at most HN_FORECAST_REACH times the largest n */
    double value, low, high; /* out: 90 % band; NaN where refused */
};

/*
 * Points in ascending order of n, no two equal. `floor` is the lowest value there can be (0 for
 * errors and losses); seed_sd is the standard deviation between runs that differ in their seed only
 * (0.005 = half a point of error where nothing better is known). A refusal is no error: returns 0
 * and says why. HN_E_INVALID_FIELD for points that are not as stated and for values[i].n beyond
 * reach, HN_E_INTERNAL (no memory).
 */
int hn_forecast(const struct hn_curve_point *points, size_t n_points, double floor, double seed_sd,
    struct hn_forecast_value *values, size_t n_values, struct hn_forecast *ret,
    struct hn_error *err);
/* A sentence for a person; NULL for HN_FORECAST_GIVEN. */
const char *hn_forecast_reason(enum hn_forecast_refusal refusal);

#endif
