/*
 * Statistics for comparing runs on the same rows, and intervals of means.
 *
 * All tests are two-sided. p is in [0, 1]; 1 where the data say nothing (n = 0, all differences 0).
 */
#ifndef HN_ENGINE_TUNE_STATS_H
#define HN_ENGINE_TUNE_STATS_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

double hn_normal_cdf(double x); /* P(N <= x), exact in the lower tail */
/* Standard normal quantile; p in (0, 1), else -inf, inf (0, 1) or NaN. */
double hn_normal_quantile(double p);
/* Quantile of Student's t with `dof` > 0 degrees of freedom (need not be whole). */
double hn_student_quantile(double p, double dof);

/*
 * McNemar's exact test (binomial, McNemar 1947): b rows only the one had right, c rows only the
 * other. p = min(1, 2 P(X <= min(b, c))), X ~ Binomial(b + c, 1/2).
 */
double hn_mcnemar(uint64_t b, uint64_t c);

struct hn_wilcoxon {
    double plus, minus; /* sums of the ranks of positive and negative differences */
    size_t n;           /* differences that are not 0 */
    bool exact;         /* p is of the exact distribution */
    double p;
};

/*
 * Wilcoxon signed-rank test of n paired differences (Wilcoxon 1945): zeros dropped, average ranks
 * for ties. Exact for n <= 50 without zeros and ties, and by all sign changes for n <= 13 with
 * them; else the normal approximation with tie correction and without continuity correction. The
 * same as scipy.stats.wilcoxon(method="auto") of SciPy 1.17. Differences that are not finite:
 * HN_E_INVALID_FIELD; also HN_E_INTERNAL (no memory).
 */
int hn_wilcoxon(const double *differences, size_t n, struct hn_wilcoxon *ret, struct hn_error *err);

/* An estimate with its interval; p of the hypothesis that the true value is 0, where one was
 * computed, else NaN. */
struct hn_interval {
    double estimate;
    double low, high;
    double p;
};

struct hn_bootstrap_options {
    uint64_t seed;     /* equal seeds draw equal rows, whatever the statistic */
    size_t replicates; /* 0 = 2000; 100 to 100000 */
    double confidence; /* 0 = 0.95; inside (0, 1) */
};

/*
 * A statistic of the rows rows[0 .. n_rows - 1]; a row may occur several times. Paired differences
 * compute the metric of both runs on the same rows. NaN where it is not defined for these rows.
 */
typedef double hn_statistic(void *context, const size_t *rows, size_t n_rows);

/*
 * Percentile bootstrap (Efron 1979) of any statistic over n_rows rows: of F1, Matthews, R2,
 * perplexity or a difference of them. `estimate` is the statistic of all rows once; low and high
 * are quantiles (linear interpolation) of the replicates; p = min(1, 2 min(#<=0 + 1, #>=0 + 1) / (B
 * + 1)). Replicates that are NaN are left out; when fewer than half remain, low, high and p are
 * NaN, which also holds for n_rows = 0. HN_E_INVALID_FIELD for options outside their bounds,
 * HN_E_INTERNAL (no memory).
 */
int hn_bootstrap(hn_statistic *statistic, void *context, size_t n_rows,
    const struct hn_bootstrap_options *options, struct hn_interval *ret, struct hn_error *err);
/* The same for the mean of n paired differences. With weights (not NULL, >= 0; target tokens of
 * the row) it is their weighted mean, as a loss per token is. */
int hn_bootstrap_mean(const double *differences, const double *weights, size_t n,
    const struct hn_bootstrap_options *options, struct hn_interval *ret, struct hn_error *err);

/* Holm's step-down adjustment (Holm 1979) of n p-values in place: what is below 0.05 afterwards is
 * significant at 5 % for all comparisons together. NaN stays and does not count. HN_E_INTERNAL (no
 * memory). */
int hn_holm(double *p, size_t n, struct hn_error *err);

/*
 * Mean of n values with its Student t interval and p. The squared standard error is
 * variance * (1/n + extra): extra = 0 for independent values (seeds); for the results of k folds
 * use hn_folds_interval. With n < 2 low, high and p are NaN, with n = 0 the estimate as well.
 */
void hn_mean_interval(
    const double *values, size_t n, double extra, double confidence, struct hn_interval *ret);
/* The mean over k folds with extra = test rows / training rows = 1 / (k - 1), since the folds'
 * training rows overlap (Nadeau and Bengio 2003, "corrected resampled t"). */
void hn_folds_interval(const double *values, size_t k, double confidence, struct hn_interval *ret);

#endif
