#include "engine/tune/parzen.h"

#include "engine/base/buf.h"
#include "engine/tune/stats.h"

#include <math.h>
#include <stdlib.h>

/* ---- the normal distribution in logarithms ---- */

/* log P(N <= x) for x <= 0; where erfc would underflow, its asymptotic series. */
static double log_normal_cdf(double x) {
    if (x > -20)
        return log(hn_normal_cdf(x));
    double sum = 1, term = 1, square = 1 / (x * x);
    for (int i = 1; i < 20 && fabs(term) > 1e-17; i++) {
        term *= -(2 * i - 1) * square;
        sum += term;
    }
    return -0.5 * x * x - log(-x) - 0.5 * log(2 * M_PI) + log(sum);
}

/* log P(a <= N <= b), a < b, without cancellation in the tails. */
static double log_normal_mass(double a, double b) {
    if (a > 0)
        return log_normal_mass(-b, -a);
    if (b > 0)
        return log(0.5 * (erf(b * M_SQRT1_2) - erf(a * M_SQRT1_2)));
    double high = log_normal_cdf(b);
    return high + log1p(-exp(log_normal_cdf(a) - high));
}

/* ---- the mixture ---- */

double hn_parzen_inside(const struct hn_axis *axis, double value) {
    return axis->kind != HN_AXIS_CHOICE && axis->log ? log(value) : value;
}

/* Those of int and step axes lie half a step beyond the values: each value has a whole cell. */
static void set_bounds(struct hn_parzen_axis *pa) {
    double half = hn_axis_step(pa->axis) / 2;
    pa->low = hn_parzen_inside(pa->axis, pa->axis->low - half);
    pa->high = hn_parzen_inside(pa->axis, hn_axis_last(pa->axis) + half);
}

bool hn_parzen_init(
    struct hn_parzen *p, const struct hn_axis *const *axes, size_t n_axes, size_t n_observations) {
    size_t n = n_observations + 1;
    *p = (struct hn_parzen){.n_axes = n_axes, .n_kernels = n};
    p->log_weights = hn_calloc((1 + 3 * n_axes) * n, sizeof *p->log_weights);
    if (!p->log_weights)
        return false;
    for (size_t i = 0; i < n_axes; i++) {
        struct hn_parzen_axis *pa = &p->axes[i];
        pa->axis = axes[i];
        pa->mean = p->log_weights + (1 + 3 * i) * n;
        pa->sigma = pa->mean + n;
        pa->log_mass = pa->sigma + n;
        if (axes[i]->kind != HN_AXIS_CHOICE)
            set_bounds(pa);
    }
    return true;
}

void hn_parzen_ready(struct hn_parzen *p) {
    for (size_t i = 0; i < p->n_axes; i++) {
        struct hn_parzen_axis *pa = &p->axes[i];
        if (pa->axis->kind == HN_AXIS_CHOICE)
            continue;
        for (size_t k = 0; k < p->n_kernels; k++)
            pa->log_mass[k] = log_normal_mass(
                (pa->low - pa->mean[k]) / pa->sigma[k], (pa->high - pa->mean[k]) / pa->sigma[k]);
    }
}

void hn_parzen_finish(struct hn_parzen *p) {
    free(p->log_weights);
    p->log_weights = NULL;
}

/* A kernel of choices: 1 / n_kernels everywhere and 1 more at the seen one, normalised; the prior
 * is uniform. */
static double choice_weight(const struct hn_parzen *p, size_t i, size_t k, double choice) {
    double base = 1 / (double)p->n_kernels, n = p->axes[i].axis->choices, seen = p->axes[i].mean[k];
    return seen < 0 ? 1 / n : (base + (choice == seen ? 1 : 0)) / (n * base + 1);
}

static double log_kernel(const struct hn_parzen *p, size_t i, size_t k, double value) {
    const struct hn_parzen_axis *pa = &p->axes[i];
    if (pa->axis->kind == HN_AXIS_CHOICE)
        return log(choice_weight(p, i, k, value));
    double half = hn_axis_step(pa->axis) / 2, mean = pa->mean[k], sigma = pa->sigma[k];
    if (half > 0)
        return log_normal_mass((hn_parzen_inside(pa->axis, value - half) - mean) / sigma,
                   (hn_parzen_inside(pa->axis, value + half) - mean) / sigma) -
            pa->log_mass[k];
    double z = (hn_parzen_inside(pa->axis, value) - mean) / sigma;
    return -0.5 * z * z - 0.5 * log(2 * M_PI) - pa->log_mass[k] - log(sigma);
}

/* A running log-sum-exp, so that nothing underflows. */
double hn_parzen_log_density(const struct hn_parzen *p, const double *point) {
    double largest = -INFINITY, sum = 0;
    for (size_t k = 0; k < p->n_kernels; k++) {
        double term = p->log_weights[k];
        for (size_t i = 0; i < p->n_axes; i++)
            term += log_kernel(p, i, k, point[i]);
        if (term > largest) {
            sum = sum * exp(largest - term) + 1;
            largest = term;
        } else if (isfinite(term)) {
            sum += exp(term - largest);
        }
    }
    return largest + log(sum);
}

static double draw_choice(const struct hn_parzen *p, size_t i, size_t k, double unit) {
    double last = p->axes[i].axis->choices - 1.0, choice = 0;
    for (; choice < last; choice++) {
        unit -= choice_weight(p, i, k, choice);
        if (unit < 0)
            break;
    }
    return choice;
}

/* By inversion. A kernel's mean lies within the bounds, so both ends are in different tails and the
 * distribution function can be inverted as it is. */
double hn_parzen_draw(const struct hn_parzen *p, size_t i, size_t k, double unit) {
    const struct hn_parzen_axis *pa = &p->axes[i];
    if (pa->axis->kind == HN_AXIS_CHOICE)
        return draw_choice(p, i, k, unit);
    double mean = pa->mean[k], sigma = pa->sigma[k], from = hn_normal_cdf((pa->low - mean) / sigma),
           to = hn_normal_cdf((pa->high - mean) / sigma);
    double value = mean + sigma * hn_normal_quantile(from + unit * (to - from));
    value = fmin(fmax(value, pa->low), pa->high);
    if (pa->axis->log)
        value = exp(value);
    double step = hn_axis_step(pa->axis), low = pa->axis->low;
    if (step > 0)
        value = low + rint((value - low) / step) * step;
    return fmin(fmax(value, low), hn_axis_last(pa->axis));
}
