#include "engine/tune/stats.h"

#include "engine/base/buf.h"
#include "engine/base/rng.h"

#include <math.h>
#include <stdlib.h>

#define REPLICATES 2000
#define REPLICATES_MIN 100
#define REPLICATES_MAX 100000
#define CONFIDENCE 0.95

/* ---- quantiles ---- */

double hn_normal_cdf(double x) {
    return 0.5 * erfc(-x * M_SQRT1_2);
}

/* Peter Acklam's rational approximation (2003), relative error 1.15e-9. */
static double rough_normal_quantile(double p) {
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
        -2.759285104469687e+02, 1.383577518672690e+02, -3.066479806614716e+01,
        2.506628277459239e+00},
                        b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                            -1.556989798598866e+02, 6.680131188771972e+01, -1.328068155288572e+01},
                        c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                            -2.400758277161838e+00, -2.549732539343734e+00, 4.374664141464968e+00,
                            2.938163982698783e+00},
                        d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                            3.754408661907416e+00};
    if (p < 0.02425) {
        double q = sqrt(-2 * log(p));
        return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
            ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
    }
    double q = p - 0.5, r = q * q;
    return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
        (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

double hn_normal_quantile(double p) {
    if (!(p > 0 && p < 1))
        return p == 0 ? -INFINITY : p == 1 ? INFINITY : NAN;
    if (p > 0.5)
        return -hn_normal_quantile(1 - p);
    double x = rough_normal_quantile(p);
    for (int i = 0; i < 2; i++) { /* Halley's step, error cubed each time */
        double step = (hn_normal_cdf(x) - p) * sqrt(2 * M_PI) * exp(x * x / 2);
        x -= step / (1 + x * step / 2);
    }
    return x;
}

/* Continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method. */
static double beta_fraction(double x, double a, double b) {
    double c = 1, d = 1 / (1 - (a + b) / (a + 1) * x), h = d;
    for (int m = 1; m < 10000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
               odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / (1 + even * d);
        c = 1 + even / c;
        h *= c * d;
        d = 1 / (1 + odd * d);
        c = 1 + odd / c;
        h *= c * d;
        if (fabs(c * d - 1) < 1e-15)
            break;
    }
    return h;
}

/* P(T > t), t >= 0: half the incomplete beta function I(dof / (dof + t^2); dof / 2, 1 / 2). */
static double student_tail(double t, double dof) {
    double a = dof / 2, b = 0.5, x = dof / (dof + t * t), y = t * t / (dof + t * t);
    if (y == 0)
        return 0.5;
    double factor =
        exp(lgamma(a + b) - lgamma(a) - lgamma(b) - a * log1p(t * t / dof) + b * log(y));
    return x < (a + 1) / (a + b + 2) ? factor * beta_fraction(x, a, b) / a / 2
                                     : 0.5 - factor * beta_fraction(y, b, a) / b / 2;
}

/* Beyond this many degrees lgamma cancels, and the expansion around the normal is exact. */
#define MANY_DEGREES 10000

/* Cornish-Fisher expansion in 1 / dof (Abramowitz and Stegun 26.7.5). */
static double student_near_normal(double z, double dof) {
    double z2 = z * z;
    return z + z * (z2 + 1) / (4 * dof) + z * ((5 * z2 + 16) * z2 + 3) / (96 * dof * dof) +
        z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * dof * dof * dof);
}

/* The t >= 0 with P(T > t) = tail, tail in (0, 1/2]. */
static double student_upper(double tail, double dof) {
    if (dof > MANY_DEGREES)
        return student_near_normal(-hn_normal_quantile(tail), dof);
    double low = 0, high = 1;
    while (student_tail(high, dof) > tail && high < 1e300)
        high *= 2;
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        double middle = low + (high - low) / 2;
        if (student_tail(middle, dof) > tail)
            low = middle;
        else
            high = middle;
    }
    return low + (high - low) / 2;
}

double hn_student_quantile(double p, double dof) {
    if (!(p >= 0 && p <= 1) || !(dof > 0))
        return NAN;
    if (p == 0 || p == 1)
        return p == 0 ? -INFINITY : INFINITY;
    return p == 0.5 ? 0 : p < 0.5 ? -student_upper(p, dof) : student_upper(1 - p, dof);
}

/* ---- paired tests ---- */

/* Long double: lgamma of millions of rows cancels down to 1e-9 in double. */
double hn_mcnemar(uint64_t b, uint64_t c) {
    uint64_t low = b < c ? b : c;
    long double n = (long double)b + (long double)c, k = (long double)low;
    if (b == c)
        return 1;
    long double term = expl(
        lgammal(n + 1) - lgammal(k + 1) - lgammal(n - k + 1) - n * 0.693147180559945309417232L);
    long double sum = term;
    for (; k > 0 && term > sum * 1e-20L; k--) {
        term *= k / (n - k + 1);
        sum += term;
    }
    return fmin(1, (double)(2 * sum));
}

#define EXACT_MAX 50    /* differences without zeros and ties */
#define SIGNINGS_MAX 13 /* with them */

struct rank {
    double size; /* |difference| */
    int sign;
};

static int compare_ranks(const void *a, const void *b) {
    double x = ((const struct rank *)a)->size, y = ((const struct rank *)b)->size;
    return (x > y) - (x < y);
}

/* Two-sided p of the sum of signed ranks being as far out as `plus`, over all 2^n signings. Ranks
 * are doubled so that the averages of ties are whole. */
static double exact_p(const unsigned *doubled, size_t n, unsigned plus) {
    double ways[EXACT_MAX * (EXACT_MAX + 1) + 1] = {1}, below = 0, above = 0;
    unsigned total = 0;
    for (size_t i = 0; i < n; i++) {
        total += doubled[i];
        for (unsigned s = total; s >= doubled[i]; s--)
            ways[s] += ways[s - doubled[i]];
    }
    for (unsigned s = 0; s <= total; s++) {
        below += s <= plus ? ways[s] : 0;
        above += s >= plus ? ways[s] : 0;
    }
    return fmin(1, 2 * ldexp(fmin(below, above), -(int)n));
}

/* Ranks the sorted sizes; sums by sign and for the correction of ties; doubled ranks of the first
 * EXACT_MAX. */
static double rank_sums(
    const struct rank *ranks, struct hn_wilcoxon *w, unsigned doubled[EXACT_MAX]) {
    double ties = 0;
    for (size_t i = 0, end; i < w->n; i = end) {
        for (end = i + 1; end < w->n && ranks[end].size == ranks[i].size;)
            end++;
        double t = (double)(end - i), rank = ((double)i + 1 + (double)end) / 2;
        ties += t * t * t - t;
        for (size_t k = i; k < end; k++) {
            *(ranks[k].sign > 0 ? &w->plus : &w->minus) += rank;
            if (k < EXACT_MAX)
                doubled[k] = (unsigned)(i + 1 + end);
        }
    }
    return ties;
}

int hn_wilcoxon(
    const double *differences, size_t n, struct hn_wilcoxon *ret, struct hn_error *err) {
    struct hn_wilcoxon w = {.exact = true, .p = 1};
    struct rank *ranks = hn_calloc(n, sizeof *ranks);
    if (!ranks)
        return hn_fail(err, HN_E_INTERNAL, "out of memory ranking %zu differences", n);
    for (size_t i = 0; i < n; i++) {
        double d = differences[i];
        if (!isfinite(d)) {
            free(ranks);
            hn_fail(err, HN_E_INVALID_FIELD, "difference %zu is not a finite number", i + 1);
            hn_error_hint(err, "compare runs whose losses are finite");
            return HN_E_INVALID_FIELD;
        }
        if (d != 0)
            ranks[w.n++] = (struct rank){fabs(d), d > 0 ? 1 : -1};
    }
    qsort(ranks, w.n, sizeof *ranks, compare_ranks);
    unsigned doubled[EXACT_MAX];
    double ties = rank_sums(ranks, &w, doubled);
    free(ranks);
    w.exact = n <= SIGNINGS_MAX || (n <= EXACT_MAX && ties == 0 && w.n == n);
    if (w.exact && w.n > 0) {
        w.p = exact_p(doubled, w.n, (unsigned)(2 * w.plus));
    } else if (w.n > 0) {
        double m = (double)w.n, variance = (m * (m + 1) * (2 * m + 1) - ties / 2) / 24;
        w.p = 2 * hn_normal_cdf(-fabs(w.plus - m * (m + 1) / 4) / sqrt(variance));
    }
    *ret = w;
    return 0;
}

/* ---- bootstrap ---- */

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear interpolation between order statistics (numpy's default). */
static double quantile(const double *sorted, size_t n, double q) {
    double place = q * (double)(n - 1);
    size_t i = (size_t)place;
    if (i + 1 >= n)
        return sorted[n - 1];
    return sorted[i] + (place - (double)i) * (sorted[i + 1] - sorted[i]);
}

/* Interval and p from the replicates, which are sorted on the way. */
static void summarise(
    double *replicates, size_t n, size_t wanted, double confidence, struct hn_interval *interval) {
    size_t low = 0, high = 0;
    interval->low = interval->high = interval->p = NAN;
    if (n == 0 || n < wanted - n)
        return;
    qsort(replicates, n, sizeof *replicates, compare_doubles);
    for (size_t i = 0; i < n; i++) {
        low += replicates[i] <= 0;
        high += replicates[i] >= 0;
    }
    interval->low = quantile(replicates, n, (1 - confidence) / 2);
    interval->high = quantile(replicates, n, (1 + confidence) / 2);
    interval->p = fmin(1, 2 * (double)((low < high ? low : high) + 1) / (double)(n + 1));
}

static int read_options(const struct hn_bootstrap_options *given, size_t n_rows,
    struct hn_bootstrap_options *o, struct hn_error *err) {
    *o = *given;
    o->replicates = o->replicates ? o->replicates : REPLICATES;
    o->confidence = o->confidence != 0 ? o->confidence : CONFIDENCE;
    if (o->replicates < REPLICATES_MIN || o->replicates > REPLICATES_MAX) {
        hn_fail(err, HN_E_INVALID_FIELD, "a bootstrap has %d to %d replicates, not %zu",
            REPLICATES_MIN, REPLICATES_MAX, o->replicates);
        hn_error_field(err, "replicates");
        hn_error_hint(err, "leave it out for %d", REPLICATES);
        return HN_E_INVALID_FIELD;
    }
    if (!(o->confidence > 0 && o->confidence < 1)) {
        hn_fail(
            err, HN_E_INVALID_FIELD, "a confidence lies between 0 and 1, not %g", o->confidence);
        hn_error_field(err, "confidence");
        hn_error_hint(err, "leave it out for %g", CONFIDENCE);
        return HN_E_INVALID_FIELD;
    }
    if (n_rows > UINT32_MAX)
        return hn_fail(err, HN_E_TOO_LARGE, "%zu rows are too many for a bootstrap", n_rows);
    return 0;
}

/* 32 bits choose a row: with n rows none is more than n / 2^32 likelier than another. */
static void draw_rows(uint64_t seed, size_t replicate, size_t *rows, size_t n_rows) {
    for (size_t i = 0; i < n_rows; i += 2) {
        uint64_t bits = hn_random_u64(seed, HN_PURPOSE_BOOTSTRAP, replicate, i / 2);
        rows[i] = (size_t)((bits & UINT32_MAX) * n_rows >> 32);
        if (i + 1 < n_rows)
            rows[i + 1] = (size_t)((bits >> 32) * n_rows >> 32);
    }
}

int hn_bootstrap(hn_statistic *statistic, void *context, size_t n_rows,
    const struct hn_bootstrap_options *options, struct hn_interval *ret, struct hn_error *err) {
    struct hn_bootstrap_options o;
    int rc = read_options(options, n_rows, &o, err);
    if (rc)
        return rc;
    size_t *rows = hn_calloc(n_rows, sizeof *rows), n = 0;
    double *replicates = hn_calloc(o.replicates, sizeof *replicates);
    struct hn_interval interval = {NAN, NAN, NAN, NAN};
    if (!rows || !replicates) {
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory for a bootstrap of %zu rows", n_rows);
    } else if (n_rows > 0) {
        for (size_t i = 0; i < n_rows; i++)
            rows[i] = i;
        interval.estimate = statistic(context, rows, n_rows);
        for (size_t r = 0; r < o.replicates; r++) {
            draw_rows(o.seed, r, rows, n_rows);
            double value = statistic(context, rows, n_rows);
            if (!isnan(value))
                replicates[n++] = value;
        }
        summarise(replicates, n, o.replicates, o.confidence, &interval);
    }
    free(rows);
    free(replicates);
    if (rc)
        return rc;
    *ret = interval;
    return 0;
}

struct weighted {
    const double *values, *weights;
};

static double weighted_mean(void *context, const size_t *rows, size_t n_rows) {
    const struct weighted *w = context;
    double sum = 0, total = 0;
    for (size_t i = 0; i < n_rows; i++) {
        double weight = w->weights ? w->weights[rows[i]] : 1;
        sum += weight * w->values[rows[i]];
        total += weight;
    }
    return sum / total;
}

int hn_bootstrap_mean(const double *differences, const double *weights, size_t n,
    const struct hn_bootstrap_options *options, struct hn_interval *ret, struct hn_error *err) {
    struct weighted w = {differences, weights};
    return hn_bootstrap(weighted_mean, &w, n, options, ret, err);
}

/* ---- several comparisons, and means ---- */

struct ranked_p {
    double p;
    size_t place;
};

static int compare_p(const void *a, const void *b) {
    const struct ranked_p *x = a, *y = b;
    return x->p != y->p ? (x->p > y->p) - (x->p < y->p)
                        : (x->place > y->place) - (x->place < y->place);
}

int hn_holm(double *p, size_t n, struct hn_error *err) {
    struct ranked_p *order = hn_calloc(n, sizeof *order);
    size_t m = 0;
    double largest = 0;
    if (!order)
        return hn_fail(err, HN_E_INTERNAL, "out of memory adjusting %zu p-values", n);
    for (size_t i = 0; i < n; i++)
        if (!isnan(p[i]))
            order[m++] = (struct ranked_p){p[i], i};
    qsort(order, m, sizeof *order, compare_p);
    for (size_t i = 0; i < m; i++) {
        largest = fmax(largest, fmin(1, (double)(m - i) * order[i].p));
        p[order[i].place] = largest;
    }
    free(order);
    return 0;
}

void hn_mean_interval(
    const double *values, size_t n, double extra, double confidence, struct hn_interval *ret) {
    struct hn_interval interval = {NAN, NAN, NAN, NAN};
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        mean += values[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - mean) * (values[i] - mean);
    if (n > 0)
        interval.estimate = mean;
    if (n > 1) {
        double dof = (double)(n - 1), error = sqrt(squares / dof * (1 / (double)n + extra));
        double half = error == 0 ? 0 : hn_student_quantile((1 + confidence) / 2, dof) * error;
        interval.low = mean - half;
        interval.high = mean + half;
        interval.p = mean == 0 ? 1 : error == 0 ? 0 : 2 * student_tail(fabs(mean) / error, dof);
    }
    *ret = interval;
}

void hn_folds_interval(const double *values, size_t k, double confidence, struct hn_interval *ret) {
    hn_mean_interval(values, k, k > 1 ? 1 / (double)(k - 1) : 0, confidence, ret);
}
