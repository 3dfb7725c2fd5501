#include "engine/tune/tune.h"

#include <math.h>

/* Whole numbers up to this are exact in a double. */
#define WHOLE_MAX 0x1p53

static bool is_whole(double x) {
    return fabs(x) <= WHOLE_MAX && x == rint(x);
}

double hn_axis_step(const struct hn_axis *axis) {
    if (axis->kind == HN_AXIS_CHOICE)
        return 0;
    return axis->kind == HN_AXIS_INT && axis->step == 0 ? 1 : axis->step;
}

/* Steps that fit between low and high. A decimal step (0.1) is not exact, so a quotient that is a
 * hair below a whole number counts as that number. */
static double steps_between(const struct hn_axis *axis) {
    double quotient = (axis->high - axis->low) / hn_axis_step(axis);
    return floor(quotient * (1 + 1e-12) + 1e-9);
}

double hn_axis_last(const struct hn_axis *axis) {
    if (axis->kind == HN_AXIS_CHOICE)
        return axis->choices - 1.0;
    if (hn_axis_step(axis) == 0)
        return axis->high;
    return fmin(axis->high, axis->low + steps_between(axis) * hn_axis_step(axis));
}

size_t hn_axis_count(const struct hn_axis *axis) {
    if (axis->kind == HN_AXIS_CHOICE)
        return axis->choices;
    if (axis->low == axis->high)
        return 1;
    return hn_axis_step(axis) == 0 ? 0 : (size_t)steps_between(axis) + 1;
}

static double from_unit_log(const struct hn_axis *axis, double unit) {
    double half = hn_axis_step(axis) / 2, low = log(axis->low - half),
           high = log(axis->high + half);
    double value = exp(low + unit * (high - low));
    return fmin(fmax(half > 0 ? rint(value) : value, axis->low), axis->high);
}

double hn_axis_from_unit(const struct hn_axis *axis, double unit) {
    size_t count = hn_axis_count(axis);
    if (count == 1)
        return axis->kind == HN_AXIS_CHOICE ? 0 : axis->low;
    if (axis->kind != HN_AXIS_CHOICE && axis->log)
        return from_unit_log(axis, unit);
    if (count == 0)
        return fmin(axis->low + unit * (axis->high - axis->low), axis->high);
    double k = fmin(floor(unit * (double)count), (double)count - 1);
    return axis->kind == HN_AXIS_CHOICE
        ? k
        : fmin(axis->low + k * hn_axis_step(axis), hn_axis_last(axis));
}

/* What is wrong with an axis, or NULL; *ret_hint what would be right. */
static const char *complaint(const struct hn_axis *axis, const char **ret_hint) {
    const struct {
        bool wrong;
        const char *what, *hint;
    } rules[] = {
        {axis->group >= HN_TUNE_AXES, "its group is out of bounds", "groups are numbered from 0"},
        {axis->kind == HN_AXIS_CHOICE && (axis->choices < 1 || axis->choices > HN_TUNE_CHOICES),
            "it has no choices or too many", "give 1 to 256 of them"},
        {axis->kind == HN_AXIS_CHOICE, NULL, NULL}, /* the rest is about numbers */
        {!isfinite(axis->low) || !isfinite(axis->high) || !isfinite(axis->high - axis->low),
            "its bounds are not finite numbers", "give min and max as numbers"},
        {axis->low > axis->high, "its min is above its max", "exchange min and max"},
        {!(axis->step >= 0) || !isfinite(axis->step), "its step is negative or no number",
            "give a step above 0, or none"},
        {axis->kind == HN_AXIS_INT &&
                !(is_whole(axis->low) && is_whole(axis->high) && is_whole(axis->step)),
            "min, max or step is not a whole number", "round them"},
        {axis->step > 0 && (axis->high - axis->low) / axis->step > WHOLE_MAX,
            "its step is too small for its bounds", "give a larger step"},
        {axis->log && axis->low <= 0, "it is logarithmic and begins at or below 0",
            "give a min above 0, or log false"},
        {axis->log && axis->step != 0 && !(axis->kind == HN_AXIS_INT && axis->step == 1),
            "it has log and a step", "leave out one of both"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].wrong) {
            *ret_hint = rules[i].hint;
            return rules[i].what;
        }
    return NULL;
}

int hn_axes_check(const struct hn_axis *axes, size_t n_axes, struct hn_error *err) {
    if (n_axes < 1 || n_axes > HN_TUNE_AXES) {
        hn_fail(
            err, HN_E_INVALID_FIELD, "a search has 1 to %d axes, not %zu", HN_TUNE_AXES, n_axes);
        hn_error_field(err, "axes");
        hn_error_hint(err, "search fewer hyperparameters at a time, at least one");
        return HN_E_INVALID_FIELD;
    }
    for (size_t i = 0; i < n_axes; i++) {
        const char *hint = "", *what = complaint(&axes[i], &hint);
        if (!what)
            continue;
        hn_fail(err, HN_E_INVALID_FIELD, "axis %zu cannot be searched: %s", i + 1, what);
        hn_error_field(err, "axes[%zu]", i);
        hn_error_hint(err, "%s", hint);
        return HN_E_INVALID_FIELD;
    }
    return 0;
}

static bool can_have(const struct hn_axis *axis, double value) {
    if (axis->kind == HN_AXIS_CHOICE)
        return is_whole(value) && value >= 0 && value < axis->choices;
    return value >= axis->low && value <= axis->high;
}

int hn_trials_check(const struct hn_axis *axes, size_t n_axes, const struct hn_trial *trials,
    size_t n_trials, struct hn_error *err) {
    if (n_trials > HN_TUNE_TRIALS) {
        hn_fail(err, HN_E_INVALID_FIELD, "%zu trials are more than the %d that a search can have",
            n_trials, HN_TUNE_TRIALS);
        hn_error_field(err, "trials");
        hn_error_hint(err, "begin from fewer earlier jobs");
        return HN_E_INVALID_FIELD;
    }
    for (size_t t = 0; t < n_trials; t++)
        for (size_t a = 0; a < n_axes; a++) {
            double value = trials[t].values[a];
            if (isnan(value) || can_have(&axes[a], value))
                continue;
            hn_fail(err, HN_E_INVALID_FIELD,
                "trial %lld has the value %g on axis %zu, which is outside of that axis",
                (long long)trials[t].number, value, a + 1);
            hn_error_field(err, "trials[%zu]", t);
            hn_error_hint(err, "leave out trials of another space");
            return HN_E_INVALID_FIELD;
        }
    return 0;
}
