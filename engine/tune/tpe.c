#include "engine/tune/tpe.h"

#include "engine/base/buf.h"
#include "engine/base/rng.h"
#include "engine/tune/parzen.h"
#include "engine/tune/sequence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES 24
#define BELOW_MAX 25
#define FLAT 25 /* the newest trials, which weigh 1 */
#define SIGMAS 100

/* Draws of a candidate: one for each axis, then one for each group. */
#define DRAWS (2 * HN_TUNE_AXES)

size_t hn_tpe_startup(size_t planned_trials) {
    return planned_trials <= 20 ? 8 : 10;
}

/* ---- below and above ---- */

static int compare(double a, double b) {
    return (a > b) - (a < b);
}

static double worst_if_nan(double x) {
    return isnan(x) ? INFINITY : x;
}

static int by_number(const void *a, const void *b) {
    const struct hn_trial *x = *(const struct hn_trial *const *)a,
                          *y = *(const struct hn_trial *const *)b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Best first: complete ones by value, then pruned ones by how far they came and their value there,
 * then running ones. */
static int by_rank(const void *a, const void *b) {
    const struct hn_trial *x = *(const struct hn_trial *const *)a,
                          *y = *(const struct hn_trial *const *)b;
    int order = (int)x->state - (int)y->state;
    if (!order && x->state == HN_TRIAL_PRUNED)
        order = (y->last_step > x->last_step) - (y->last_step < x->last_step);
    if (!order &&
        (x->state == HN_TRIAL_COMPLETE || (x->state == HN_TRIAL_PRUNED && x->last_step >= 0)))
        order = compare(worst_if_nan(x->value), worst_if_nan(y->value));
    return order ? order : by_number(a, b);
}

struct split {
    const struct hn_trial **trials; /* below, then above; each by number */
    size_t n_below, n, n_finished;
};

static int split_init(struct split *s, const struct hn_axis *axes, size_t n_axes,
    const struct hn_trial *trials, size_t n_trials, struct hn_error *err) {
    int rc = hn_axes_check(axes, n_axes, err);
    if (!rc)
        rc = hn_trials_check(axes, n_axes, trials, n_trials, err);
    if (rc)
        return rc;
    *s = (struct split){.n = n_trials, .trials = hn_calloc(n_trials, sizeof *s->trials)};
    if (!s->trials)
        return hn_fail(err, HN_E_INTERNAL, "out of memory sorting %zu trials", n_trials);
    for (size_t i = 0; i < n_trials; i++) {
        s->trials[i] = &trials[i];
        s->n_finished += trials[i].state != HN_TRIAL_RUNNING;
    }
    qsort(s->trials, n_trials, sizeof *s->trials, by_rank);
    s->n_below = (size_t)fmin(ceil(0.1 * (double)s->n_finished), BELOW_MAX);
    qsort(s->trials, s->n_below, sizeof *s->trials, by_number);
    qsort(s->trials + s->n_below, s->n - s->n_below, sizeof *s->trials, by_number);
    return 0;
}

/* ---- one estimator: the trials of one side that have all axes of a group ---- */

/* A group's axes that have more than one value. */
struct group {
    size_t n;
    size_t place[HN_TUNE_AXES]; /* in the space */
    const struct hn_axis *axes[HN_TUNE_AXES];
};

static void group_of(struct group *g, const struct hn_axis *axes, size_t n_axes, unsigned number) {
    g->n = 0;
    for (size_t i = 0; i < n_axes; i++)
        if (axes[i].group == number && hn_axis_count(&axes[i]) != 1) {
            g->place[g->n] = i;
            g->axes[g->n++] = &axes[i];
        }
}

static bool has_group(const struct group *g, const double *values) {
    for (size_t i = 0; i < g->n; i++)
        if (isnan(values[g->place[i]]))
            return false;
    return true;
}

/* Weight of observation i of n, the oldest first. */
static double age_weight(size_t i, size_t n) {
    if (i + FLAT >= n)
        return 1;
    double first = 1 / (double)n, steps = (double)(n - FLAT - 1);
    return steps > 0 ? first + (1 - first) * ((double)i / steps) : first;
}

static void set_weights(struct hn_parzen *p) {
    size_t n = p->n_kernels - 1;
    double sum = 1;
    for (size_t i = 0; i < n; i++)
        sum += age_weight(i, n);
    for (size_t i = 0; i < n; i++)
        p->log_weights[i] = log(age_weight(i, n) / sum);
    p->log_weights[n] = log(1 / sum);
}

struct place {
    double mean;
    size_t kernel;
};

static int by_mean(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    int order = compare(x->mean, y->mean);
    return order ? order : (x->kernel > y->kernel) - (x->kernel < y->kernel);
}

/* From the distances to the neighbours; equal means are neighbours in order of age. `sorted` has
 * room for all observations. */
static void set_sigmas(struct hn_parzen_axis *pa, size_t n, struct place *sorted) {
    double range = pa->high - pa->low, smallest = range / fmin(SIGMAS, 2 + (double)n);
    for (size_t i = 0; i < n; i++)
        sorted[i] = (struct place){pa->mean[i], i};
    qsort(sorted, n, sizeof *sorted, by_mean);
    for (size_t i = 0; i < n; i++) {
        double left = sorted[i].mean - (i > 0 ? sorted[i - 1].mean : pa->low),
               right = (i + 1 < n ? sorted[i + 1].mean : pa->high) - sorted[i].mean,
               sigma = fmax(left, right);
        if (n > 1 && (i == 0 || i == n - 1))
            sigma = i == 0 ? right : left;
        pa->sigma[sorted[i].kernel] = fmin(fmax(sigma, smallest), range);
    }
    pa->mean[n] = 0.5 * (pa->low + pa->high);
    pa->sigma[n] = range;
}

static bool estimate(
    struct hn_parzen *p, const struct group *g, const struct hn_trial **trials, size_t n_trials) {
    size_t n = 0;
    for (size_t t = 0; t < n_trials; t++)
        n += has_group(g, trials[t]->values);
    struct place *sorted = hn_calloc(n, sizeof *sorted);
    if (!sorted || !hn_parzen_init(p, g->axes, g->n, n)) {
        free(sorted);
        return false;
    }
    for (size_t t = 0, k = 0; t < n_trials; t++)
        if (has_group(g, trials[t]->values)) {
            for (size_t i = 0; i < g->n; i++)
                p->axes[i].mean[k] = hn_parzen_inside(g->axes[i], trials[t]->values[g->place[i]]);
            k++;
        }
    set_weights(p);
    for (size_t i = 0; i < g->n; i++) {
        if (g->axes[i]->kind == HN_AXIS_CHOICE)
            p->axes[i].mean[n] = -1;
        else
            set_sigmas(&p->axes[i], n, sorted);
    }
    free(sorted);
    hn_parzen_ready(p);
    return true;
}

/* l and g of a group. */
struct pair {
    struct hn_parzen below, above;
};

static void pair_finish(struct pair *pair) {
    hn_parzen_finish(&pair->below);
    hn_parzen_finish(&pair->above);
}

static int pair_init(
    struct pair *pair, const struct group *g, const struct split *s, struct hn_error *err) {
    memset(pair, 0, sizeof *pair);
    if (estimate(&pair->below, g, s->trials, s->n_below) &&
        estimate(&pair->above, g, s->trials + s->n_below, s->n - s->n_below))
        return 0;
    pair_finish(pair);
    return hn_fail(err, HN_E_INTERNAL, "out of memory modelling %zu trials", s->n);
}

static double log_ratio(const struct pair *pair, const double *point) {
    return hn_parzen_log_density(&pair->below, point) - hn_parzen_log_density(&pair->above, point);
}

/* ---- the two faces ---- */

int hn_tpe_log_ratio(const struct hn_axis *axes, size_t n_axes, const struct hn_trial *trials,
    size_t n_trials, const double *point, double *ret_log_ratio, struct hn_error *err) {
    struct split s;
    const struct hn_trial asked = {.values = point};
    int rc = split_init(&s, axes, n_axes, trials, n_trials, err);
    if (rc)
        return rc;
    double sum = 0;
    rc = hn_trials_check(axes, n_axes, &asked, 1, err);
    for (unsigned number = 0; !rc && number < HN_TUNE_AXES; number++) {
        struct group g;
        struct pair pair;
        double values[HN_TUNE_AXES];
        group_of(&g, axes, n_axes, number);
        if (g.n == 0 || !has_group(&g, point) || (rc = pair_init(&pair, &g, &s, err)) != 0)
            continue;
        for (size_t i = 0; i < g.n; i++)
            values[i] = point[g.place[i]];
        sum += log_ratio(&pair, values);
        pair_finish(&pair);
    }
    free(s.trials);
    if (!rc)
        *ret_log_ratio = sum;
    return rc;
}

/* The kernel whose share of the weights holds `unit`. */
static size_t draw_kernel(const struct hn_parzen *p, double unit) {
    for (size_t k = 0; k + 1 < p->n_kernels; k++) {
        unit -= exp(p->log_weights[k]);
        if (unit < 0)
            return k;
    }
    return p->n_kernels - 1;
}

static void best_candidate(const struct group *g, const struct pair *pair, unsigned number,
    uint64_t trial, uint64_t seed, double *values) {
    double best = -INFINITY, point[HN_TUNE_AXES];
    for (uint64_t c = 0; c < CANDIDATES; c++) {
        size_t kernel = draw_kernel(&pair->below,
            hn_random_unit(seed, HN_PURPOSE_SEARCH, trial, c * DRAWS + HN_TUNE_AXES + number));
        for (size_t i = 0; i < g->n; i++)
            point[i] = hn_parzen_draw(&pair->below, i, kernel,
                hn_random_unit(seed, HN_PURPOSE_SEARCH, trial, c * DRAWS + g->place[i]));
        double ratio = log_ratio(pair, point);
        if (c > 0 && !(ratio > best))
            continue;
        best = isnan(ratio) ? -INFINITY : ratio;
        for (size_t i = 0; i < g->n; i++)
            values[g->place[i]] = point[i];
    }
}

int hn_tpe_suggest(const struct hn_axis *axes, size_t n_axes, const struct hn_trial *trials,
    size_t n_trials, int64_t number, size_t planned, uint64_t seed, double *ret_values,
    struct hn_error *err) {
    struct split s;
    double values[HN_TUNE_AXES];
    int rc = split_init(&s, axes, n_axes, trials, n_trials, err);
    if (rc)
        return rc;
    bool startup = s.n_finished < hn_tpe_startup(planned);
    for (unsigned i = 0; i < n_axes; i++)
        values[i] = hn_axis_from_unit(&axes[i], hn_sequence(seed, (uint64_t)number, i));
    for (unsigned group = 0; !rc && !startup && group < HN_TUNE_AXES; group++) {
        struct group g;
        struct pair pair;
        group_of(&g, axes, n_axes, group);
        if (g.n == 0 || (rc = pair_init(&pair, &g, &s, err)) != 0)
            continue;
        best_candidate(&g, &pair, group, (uint64_t)number, seed, values);
        pair_finish(&pair);
    }
    free(s.trials);
    if (!rc)
        memcpy(ret_values, values, n_axes * sizeof *values);
    return rc;
}
