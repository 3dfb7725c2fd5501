#include "engine/tune/importance.h"

#include "engine/base/buf.h"
#include "engine/tune/parzen.h"

#include <math.h>
#include <stdlib.h>

#define CELLS 50          /* of a numeric axis at most */
#define DENSITY_MIN 1e-12 /* keeps ratios of densities finite */

double hn_importance_quantile(size_t n_trials) {
    return n_trials >= 50 ? 0.1 : n_trials >= 16 ? 0.25 : 0.3;
}

/* ---- the grid of one axis ---- */

static size_t count_cells(const struct hn_axis *axis) {
    if (axis->kind == HN_AXIS_CHOICE)
        return axis->choices;
    double step = hn_axis_step(axis), range = hn_axis_last(axis) - axis->low, cells = CELLS;
    if (axis->log && step > 0)
        cells = ceil(log(range + 1) / log(2)) + 1;
    else if (step > 0)
        cells = rint(range / step) + 1;
    return (size_t)fmin(cells, CELLS);
}

/* The nearest cell; halfway between two, the lower one. */
static size_t cell_of(const struct hn_axis *axis, size_t cells, double value) {
    if (axis->kind == HN_AXIS_CHOICE)
        return (size_t)value;
    double low = hn_parzen_inside(axis, axis->low),
           size = (hn_parzen_inside(axis, hn_axis_last(axis)) - low) / (double)(cells - 1);
    double cell = ceil((hn_parzen_inside(axis, value) - low) / size - 0.5);
    return (size_t)fmin(fmax(cell, 0), (double)(cells - 1));
}

/* ---- the density of the values of some trials over the cells ---- */

/* Scott's rule on weighted cells (Scott 1992); at least so wide that 90 % fall into one cell. */
static double bandwidth(const size_t *cells, const size_t *counts, size_t n) {
    size_t total = 0, q1 = n, q3 = n, sum = 0;
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        total += counts[i];
    for (size_t i = 0; i < n; i++)
        mean += (double)cells[i] * (double)counts[i] / (double)total;
    for (size_t i = 0; i < n; i++) {
        double d = (double)cells[i] - mean;
        squares += d * d * (double)counts[i];
        sum += counts[i];
        if (q1 == n && sum >= total / 4)
            q1 = i;
        if (q3 == n && sum > total * 3 / 4)
            q3 = i;
    }
    double deviation = sqrt(squares / (total > 1 ? (double)(total - 1) : 1)),
           range = (double)(cells[q3 < n ? q3 : n - 1] - cells[q1]);
    return fmax(1.059 * fmin(range / 1.34, deviation) * pow((double)total, -0.2), 0.5 / 1.64);
}

/* Density of each of n_cells cells, counts of which may be 0. The axis is the grid's own, or that
 * of the choices. */
static bool densities(
    const struct hn_axis *grid, const size_t *counts, size_t n_cells, double *ret) {
    size_t seen[HN_TUNE_CHOICES], weights[HN_TUNE_CHOICES], n = 0, total = 1;
    struct hn_parzen p;
    for (size_t i = 0; i < n_cells; i++)
        if (counts[i] > 0) {
            seen[n] = i;
            weights[n++] = counts[i];
            total += counts[i];
        }
    if (!hn_parzen_init(&p, &grid, 1, n))
        return false;
    bool choice = grid->kind == HN_AXIS_CHOICE;
    double sigma = choice ? 0 : bandwidth(seen, weights, n);
    for (size_t k = 0; k <= n; k++) {
        p.log_weights[k] = log((k < n ? (double)weights[k] : 1) / (double)total);
        p.axes[0].mean[k] = k < n ? (double)seen[k] : choice ? -1 : (double)(n_cells - 1) / 2;
        p.axes[0].sigma[k] = k < n ? sigma : (double)n_cells;
    }
    hn_parzen_ready(&p);
    for (size_t i = 0; i < n_cells; i++) {
        double cell = (double)i;
        ret[i] = exp(hn_parzen_log_density(&p, &cell)) + DENSITY_MIN;
    }
    hn_parzen_finish(&p);
    return true;
}

/* ---- one axis ---- */

struct seen {
    const struct hn_trial **all; /* complete ones */
    size_t n;
    double cutoff; /* the largest value among the best */
    size_t n_best;
};

/* The importance of axis a before normalisation, into *ret; false when out of memory. */
static bool axis_importance(
    const struct hn_axis *axis, size_t a, const struct seen *seen, double *ret) {
    size_t all[HN_TUNE_CHOICES] = {0}, best[HN_TUNE_CHOICES] = {0}, n_all = 0, n_best = 0;
    size_t cells = count_cells(axis);
    *ret = 0;
    for (size_t t = 0; t < seen->n && hn_axis_count(axis) != 1; t++) {
        if (isnan(seen->all[t]->values[a]))
            continue;
        size_t cell = cell_of(axis, cells, seen->all[t]->values[a]);
        bool is_best = seen->all[t]->value <= seen->cutoff;
        all[cell]++;
        best[cell] += is_best;
        n_all++;
        n_best += is_best;
    }
    if (n_all < 2 || n_best == 0)
        return true;
    struct hn_axis grid = {.kind = HN_AXIS_INT, .high = (double)(cells - 1)};
    if (axis->kind == HN_AXIS_CHOICE)
        grid = *axis;
    double of_best[HN_TUNE_CHOICES], of_all[HN_TUNE_CHOICES], divergence = 0;
    if (!densities(&grid, best, cells, of_best) || !densities(&grid, all, cells, of_all))
        return false;
    for (size_t i = 0; i < cells; i++) {
        double ratio = of_best[i] / of_all[i] - 1;
        divergence += of_all[i] * ratio * ratio;
    }
    double quantile = (double)seen->n_best / (double)seen->n,
           alpha = (double)n_best / (double)seen->n_best, beta = (double)n_all / (double)seen->n;
    *ret = quantile * quantile * alpha * alpha / beta * divergence;
    return true;
}

/* ---- all axes ---- */

static int by_value(const void *a, const void *b) {
    double x = (*(const struct hn_trial *const *)a)->value,
           y = (*(const struct hn_trial *const *)b)->value;
    return (x > y) - (x < y);
}

static void choose_best(struct seen *seen, double quantile) {
    qsort(seen->all, seen->n, sizeof *seen->all, by_value);
    size_t place = (size_t)ceil(quantile * (double)seen->n) - 1;
    seen->cutoff = seen->all[place]->value;
    for (seen->n_best = place; seen->n_best < seen->n; seen->n_best++)
        if (seen->all[seen->n_best]->value > seen->cutoff)
            break;
}

static int judge(const struct hn_axis *axes, size_t n_axes, const struct seen *seen,
    struct hn_importance *ret, struct hn_error *err) {
    double sum = 0;
    for (size_t a = 0; a < n_axes; a++) {
        if (!axis_importance(&axes[a], a, seen, &ret->shares[a]))
            return hn_fail(err, HN_E_INTERNAL, "out of memory for importances");
        sum += ret->shares[a];
    }
    ret->known = seen->n_best < seen->n && sum > 0;
    for (size_t a = 0; a < n_axes; a++)
        ret->shares[a] = ret->known ? ret->shares[a] / sum : 0;
    return 0;
}

int hn_importance(const struct hn_axis *axes, size_t n_axes, const struct hn_trial *trials,
    size_t n_trials, double quantile, struct hn_importance *ret, struct hn_error *err) {
    int rc = hn_axes_check(axes, n_axes, err);
    if (!rc)
        rc = hn_trials_check(axes, n_axes, trials, n_trials, err);
    if (rc)
        return rc;
    if (quantile != 0 && !(quantile > 0 && quantile < 1)) {
        hn_fail(err, HN_E_INVALID_FIELD, "a quantile lies between 0 and 1, not %g", quantile);
        hn_error_field(err, "quantile");
        hn_error_hint(err, "leave it out for one that suits the number of trials");
        return HN_E_INVALID_FIELD;
    }
    struct seen seen = {.all = hn_calloc(n_trials, sizeof *seen.all)};
    struct hn_importance importance = {0};
    if (!seen.all)
        return hn_fail(err, HN_E_INTERNAL, "out of memory for importances");
    for (size_t t = 0; t < n_trials; t++)
        if (trials[t].state == HN_TRIAL_COMPLETE && isfinite(trials[t].value))
            seen.all[seen.n++] = &trials[t];
    importance.n_trials = seen.n;
    importance.quantile = quantile != 0 ? quantile : hn_importance_quantile(seen.n);
    if (seen.n >= HN_IMPORTANCE_TRIALS) {
        choose_best(&seen, importance.quantile);
        rc = judge(axes, n_axes, &seen, &importance, err);
    }
    free(seen.all);
    if (!rc)
        *ret = importance;
    return rc;
}
