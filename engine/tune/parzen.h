/*
 * Mixtures of product kernels over the axes of a search space: Parzen estimators, which TPE and
 * PED-ANOVA are made of. The arithmetic of Optuna 5.0's _MixtureOfProductDistribution.
 */
#ifndef HN_ENGINE_TUNE_PARZEN_H
#define HN_ENGINE_TUNE_PARZEN_H

#include "engine/tune/tune.h"

/* The kernels of one axis, one for each observation and then the prior's. */
struct hn_parzen_axis {
    const struct hn_axis *axis;
    double low, high;         /* bounds of the kernels, in log space with log; unused for choices */
    double *mean;             /* [n_kernels]; for choices the seen index, -1 for the prior */
    double *sigma, *log_mass; /* [n_kernels]; unused for choices */
};

struct hn_parzen {
    size_t n_axes, n_kernels;
    struct hn_parzen_axis axes[HN_TUNE_AXES];
    double *log_weights; /* [n_kernels], normalised; all kernels' arrays lie behind it */
};

/* Allocates for the axes (borrowed) with n_observations kernels and the prior's; false when out of
 * memory. The caller fills log_weights, mean and sigma, then calls hn_parzen_ready. Owner calls
 * hn_parzen_finish. */
bool hn_parzen_init(
    struct hn_parzen *p, const struct hn_axis *const *axes, size_t n_axes, size_t n_observations);
void hn_parzen_ready(struct hn_parzen *p); /* the mass of each kernel inside the bounds */
void hn_parzen_finish(struct hn_parzen *p);

/* The value in the kernels' space: its logarithm with log. */
double hn_parzen_inside(const struct hn_axis *axis, double value);

/* log of the density (of the mass, for int, step and choices) at point [n_axes]. */
double hn_parzen_log_density(const struct hn_parzen *p, const double *point);
/* A value of axis i from its kernel k; `unit` in [0, 1). */
double hn_parzen_draw(const struct hn_parzen *p, size_t i, size_t k, double unit);

#endif
