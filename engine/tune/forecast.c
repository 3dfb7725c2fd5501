#include "engine/tune/forecast.h"

#include "engine/base/buf.h"
#include "engine/tune/stats.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define POINTS_MIN 4
#define LIMITS 32 /* values of c for each b */
#define POWERS 64 /* values of b on the grid */
#define ROUNDS 8  /* in which the grid is narrowed */
#define DROP 12   /* of the log posterior, beyond which nothing is kept: a share of 1e-5 */
#define POWER_MIN 0.05
#define POWER_MAX 1.5
#define RISE_ERRORS 2
#define CHI2_MAX 3.0
#define BAND 0.9
#define NEGLIGIBLE 1e-9 /* posterior of a cell whose width does not matter */

/* One (c, b) of the grid, with the posterior of a given both: a normal cut off below 0, by its mean
 * and variance. `a` is the amplitude at the smallest n. */
struct cell {
    double c, b;
    double mean, variance;
    double weight;           /* posterior of the cell; the log of it at first */
    double chi2;             /* at the best a >= 0 */
    double a;                /* that a */
    double value, deviation; /* of a run at the n that a forecast is made for */
};

struct fit {
    const struct hn_curve_point *points;
    size_t n;
    double floor, ceiling; /* of c */
    double seed_variance;
    double x[HN_FORECAST_POINTS]; /* of each point, for the b at hand */
    struct cell *cells;           /* [POWERS][LIMITS] */
};

static double variance_of(const struct fit *f, size_t i) {
    return f->points[i].variance + f->seed_variance;
}

/* n to the power -b, in units of the smallest n: so that a flat prior of a prefers no b. */
static double basis(const struct fit *f, double n, double b) {
    return pow(n / f->points[0].n, -b);
}

/* Weighted least squares for a, given c and b. */
static struct cell fit_cell(const struct fit *f, double b, double c) {
    struct cell cell = {.c = c, .b = b};
    double xx = 0, xy = 0, yy = 0;
    for (size_t i = 0; i < f->n; i++) {
        double w = 1 / variance_of(f, i), y = f->points[i].value - c;
        xx += w * f->x[i] * f->x[i];
        xy += w * f->x[i] * y;
        yy += w * y * y;
    }
    double a = xy / xx, deviation = 1 / sqrt(xx), alpha = a / deviation;
    double above = hn_normal_cdf(alpha), chi2 = fmax(0, yy - xy * a);
    cell.a = fmax(0, a);
    cell.chi2 = a > 0 ? chi2 : yy;
    cell.weight = -chi2 / 2 + log(deviation) + log(above);
    if (alpha < -8) { /* the density above 0 falls off like an exponential */
        cell.weight = -yy / 2 + log(deviation / -alpha / sqrt(2 * M_PI));
        cell.mean = deviation / -alpha;
        cell.variance = cell.mean * cell.mean;
        return cell;
    }
    double slope = exp(-alpha * alpha / 2) / sqrt(2 * M_PI) / above;
    cell.mean = a + deviation * slope;
    cell.variance = fmax(0, deviation * deviation * (1 - slope * (slope + alpha)));
    return cell;
}

/* The c with the largest posterior for this b: it is log-concave in c. */
static double best_limit(const struct fit *f, double b) {
    double low = f->floor, high = f->ceiling;
    for (int i = 0; i < 60; i++) {
        double third = (high - low) / 3;
        if (fit_cell(f, b, low + third).weight < fit_cell(f, b, high - third).weight)
            low += third;
        else
            high -= third;
    }
    return low + (high - low) / 2;
}

/* Between the best c and `end`: as far as the posterior has not dropped by DROP. */
static double reach(const struct fit *f, double b, double best, double end) {
    double least = fit_cell(f, b, best).weight - DROP, inside = best;
    if (fit_cell(f, b, end).weight >= least)
        return end;
    for (int i = 0; i < 40; i++) {
        double middle = inside + (end - inside) / 2;
        if (fit_cell(f, b, middle).weight >= least)
            inside = middle;
        else
            end = middle;
    }
    return inside;
}

/* The cells of one b, where its posterior lies; returns the largest weight. Points whose errors are
 * small leave a ridge in (c, b) that cells at fixed places would miss. */
static double fit_row(struct fit *f, double b, struct cell *row) {
    for (size_t i = 0; i < f->n; i++)
        f->x[i] = basis(f, f->points[i].n, b);
    double best = best_limit(f, b), low = reach(f, b, best, f->floor),
           high = reach(f, b, best, f->ceiling), largest = -INFINITY;
    for (size_t i = 0; i < LIMITS; i++) {
        row[i] = fit_cell(f, b, low + ((double)i + 0.5) / LIMITS * (high - low));
        row[i].weight += log(fmax(high - low, DBL_MIN)); /* the width that a cell stands for */
        largest = fmax(largest, row[i].weight);
    }
    return largest;
}

/* The highest c that no point contradicts by more than two errors. */
static double highest_limit(const struct fit *f) {
    double limit = INFINITY;
    for (size_t i = 0; i < f->n; i++)
        limit = fmin(limit, f->points[i].value + 2 * sqrt(variance_of(f, i)));
    return fmax(limit, f->floor);
}

/* Fills the grid, narrower each time, until half of its rows count; returns the largest weight. */
static double narrow_grid(struct fit *f) {
    double low = POWER_MIN, high = POWER_MAX, largest = -INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        double rows[POWERS], step = (high - low) / (POWERS - 1);
        size_t first = 0, last = POWERS - 1;
        largest = -INFINITY;
        for (size_t i = 0; i < POWERS; i++) {
            rows[i] = fit_row(f, low + (double)i * step, f->cells + i * LIMITS);
            largest = fmax(largest, rows[i]);
        }
        while (rows[first] < largest - DROP)
            first++;
        while (rows[last] < largest - DROP)
            last--;
        if (last - first >= POWERS / 2)
            break;
        high = fmin(high, low + ((double)last + 1) * step);
        low = fmax(low, low + ((double)first - 1) * step);
    }
    return largest;
}

/* Fits every cell and normalises the posterior; returns the best one. */
static const struct cell *fit_grid(struct fit *f) {
    f->ceiling = highest_limit(f);
    double largest = narrow_grid(f), sum = 0;
    const struct cell *best = f->cells;
    for (size_t i = 0; i < LIMITS * POWERS; i++) {
        best = f->cells[i].chi2 < best->chi2 ? &f->cells[i] : best;
        sum += f->cells[i].weight = exp(f->cells[i].weight - largest);
    }
    for (size_t i = 0; i < LIMITS * POWERS; i++)
        f->cells[i].weight /= sum;
    return best;
}

/* P(a run's value <= y). */
static double predictive(const struct fit *f, double y) {
    double sum = 0;
    for (size_t i = 0; i < LIMITS * POWERS; i++) {
        const struct cell *cell = &f->cells[i];
        if (cell->weight > NEGLIGIBLE && cell->deviation > 0)
            sum += cell->weight * hn_normal_cdf((y - cell->value) / cell->deviation);
        else if (cell->value <= y)
            sum += cell->weight;
    }
    return sum;
}

/* By bisection below `high`, above which nearly nothing lies. Nothing lies below the floor. */
static double quantile(const struct fit *f, double high, double p) {
    double low = f->floor;
    if (predictive(f, low) >= p)
        return low;
    for (int i = 0; i < 100 && high - low > 1e-12 * (fabs(low) + fabs(high)); i++) {
        double middle = low + (high - low) / 2;
        if (predictive(f, middle) < p)
            low = middle;
        else
            high = middle;
    }
    return low + (high - low) / 2;
}

static void forecast_value(struct fit *f, struct hn_forecast_value *value) {
    double high = f->floor;
    value->value = 0;
    for (size_t i = 0; i < LIMITS * POWERS; i++) {
        struct cell *cell = &f->cells[i];
        double x = basis(f, value->n, cell->b);
        cell->value = cell->c + cell->mean * x;
        cell->deviation = sqrt(cell->variance * x * x + f->seed_variance);
        value->value += cell->weight * cell->value;
        high = fmax(high, cell->value + 8 * cell->deviation);
    }
    value->low = quantile(f, high, (1 - BAND) / 2);
    value->high = quantile(f, high, (1 + BAND) / 2);
}

static int refuse_field(struct hn_error *err, const char *field, size_t i, const char *what) {
    hn_fail(err, HN_E_INVALID_FIELD, "%s %zu of a learning curve %s", field, i + 1, what);
    hn_error_field(err, "%s[%zu]", field, i);
    hn_error_hint(err,
        "give sizes in ascending order with a positive variance, and ask at most "
        "for %d times the largest",
        HN_FORECAST_REACH);
    return HN_E_INVALID_FIELD;
}

static int check_input(const struct fit *f, double seed_sd, const struct hn_forecast_value *values,
    size_t n_values, struct hn_error *err) {
    const struct hn_curve_point *p = f->points;
    if (f->n > HN_FORECAST_POINTS)
        return refuse_field(err, "points", HN_FORECAST_POINTS, "is one too many");
    if (!isfinite(f->floor) || !(seed_sd >= 0) || !isfinite(seed_sd))
        return hn_fail(err, HN_E_INVALID_FIELD,
            "the floor and the seed noise of a learning curve "
            "must be finite, and the noise not negative");
    for (size_t i = 0; i < f->n; i++) {
        if (!(p[i].n > 0) || !isfinite(p[i].n) || !isfinite(p[i].value))
            return refuse_field(err, "points", i, "is not a finite number at a positive size");
        if (!(p[i].variance > 0) || !isfinite(p[i].variance))
            return refuse_field(err, "points", i, "has no positive variance");
        if (p[i].value < f->floor)
            return refuse_field(err, "points", i, "lies below the floor");
        if (i > 0 && p[i].n <= p[i - 1].n)
            return refuse_field(err, "points", i, "is not larger than the one before");
    }
    for (size_t i = 0; i < n_values && f->n > 0; i++)
        if (!(values[i].n > 0 && values[i].n <= HN_FORECAST_REACH * p[f->n - 1].n))
            return refuse_field(err, "values", i, "is out of reach");
    return 0;
}

static bool rises(const struct fit *f) {
    double rise = f->points[f->n - 1].value - f->points[f->n - 2].value;
    return rise > RISE_ERRORS * sqrt(variance_of(f, f->n - 1) + variance_of(f, f->n - 2));
}

const char *hn_forecast_reason(enum hn_forecast_refusal refusal) {
    switch (refusal) {
    case HN_FORECAST_GIVEN:
        return NULL;
    case HN_FORECAST_FEW_POINTS:
        return "a forecast needs at least four sizes";
    case HN_FORECAST_RISES:
        return "the curve is not well-behaved: more rows made it worse at the end";
    case HN_FORECAST_BAD_FIT:
        return "the curve is not well-behaved: no power law fits it within its errors";
    }
    return NULL;
}

int hn_forecast(const struct hn_curve_point *points, size_t n_points, double floor, double seed_sd,
    struct hn_forecast_value *values, size_t n_values, struct hn_forecast *ret,
    struct hn_error *err) {
    struct fit f = {
        .points = points, .n = n_points, .floor = floor, .seed_variance = seed_sd * seed_sd};
    struct hn_forecast forecast = {.refusal = HN_FORECAST_FEW_POINTS};
    int rc = check_input(&f, seed_sd, values, n_values, err);
    if (rc)
        return rc;
    f.cells = hn_calloc(LIMITS * POWERS, sizeof *f.cells);
    if (!f.cells)
        return hn_fail(err, HN_E_INTERNAL, "out of memory for a forecast");
    if (n_points >= POINTS_MIN)
        forecast.refusal = rises(&f) ? HN_FORECAST_RISES : HN_FORECAST_GIVEN;
    if (forecast.refusal == HN_FORECAST_GIVEN) {
        const struct cell *best = fit_grid(&f);
        forecast.b = best->b;
        forecast.c = best->c;
        forecast.a = best->a * pow(points[0].n, best->b);
        forecast.chi2 = best->chi2;
        forecast.dof = (double)(n_points - 3);
        if (!(forecast.chi2 / forecast.dof <= CHI2_MAX)) /* or is no number */
            forecast.refusal = HN_FORECAST_BAD_FIT;
    }
    for (size_t i = 0; i < n_values; i++) {
        values[i].value = values[i].low = values[i].high = NAN;
        if (forecast.refusal == HN_FORECAST_GIVEN)
            forecast_value(&f, &values[i]);
    }
    free(f.cells);
    *ret = forecast;
    return 0;
}
