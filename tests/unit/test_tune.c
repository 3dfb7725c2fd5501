/* engine/tune where it is easiest to fall over: nothing, one, all equal, all NaN, many; and that
 * equal arguments give equal results. Numbers are compared in tests/parity/test_tune.py. */
#include "engine/tune/asha.h"
#include "engine/tune/forecast.h"
#include "engine/tune/importance.h"
#include "engine/tune/sequence.h"
#include "engine/tune/stats.h"
#include "engine/tune/tpe.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* cmocka's own compares floats. */
static void assert_close(double a, double b, double most) {
    assert_true(fabs(a - b) <= most);
}

static void test_tests(void **state) {
    (void)state;
    static const double zeros[4], one[] = {0.5}, bad[] = {1, NAN};
    struct hn_wilcoxon w;
    struct hn_error err = {0};
    assert_true(hn_mcnemar(0, 0) == 1 && hn_mcnemar(7, 7) == 1);
    assert_close(hn_mcnemar(0, 5), 2 * 0.03125, 1e-12);
    assert_true(hn_mcnemar(UINT64_MAX, UINT64_MAX) == 1);
    assert_true(hn_mcnemar(0, 100000) >= 0 && hn_mcnemar(0, 100000) < 1e-300);
    assert_int_equal(hn_wilcoxon(NULL, 0, &w, NULL), 0);
    assert_true(w.p == 1 && w.n == 0);
    assert_int_equal(hn_wilcoxon(zeros, 4, &w, NULL), 0);
    assert_true(w.p == 1 && w.n == 0);
    assert_int_equal(hn_wilcoxon(one, 1, &w, NULL), 0);
    assert_true(w.p == 1 && w.plus == 1 && w.minus == 0);
    assert_int_equal(hn_wilcoxon(bad, 2, &w, &err), HN_E_INVALID_FIELD);
    assert_string_equal(err.message, "difference 2 is not a finite number");
    assert_true(w.plus == 1); /* untouched */
    double p[] = {0.04, NAN, 0.01, 0.04};
    assert_int_equal(hn_holm(p, 4, NULL), 0);
    assert_close(p[2], 0.03, 1e-12);
    assert_close(p[0], 0.08, 1e-12);
    assert_true(isnan(p[1]) && p[3] == p[0]);
    assert_int_equal(hn_holm(NULL, 0, NULL), 0);
}

static double never(void *context, const size_t *rows, size_t n_rows) {
    (void)rows;
    return *(int *)context && n_rows ? NAN : 1;
}

static void test_intervals(void **state) {
    (void)state;
    static const double equal[] = {2, 2, 2}, some[] = {1, -2, 3, 4, 0.5}, weights[5];
    const struct hn_bootstrap_options o = {.seed = 3}, few = {.replicates = 10},
                                      sure = {.confidence = 1};
    struct hn_interval i, again;
    struct hn_error err = {0};
    assert_int_equal(hn_bootstrap_mean(NULL, NULL, 0, &o, &i, NULL), 0);
    assert_true(isnan(i.estimate) && isnan(i.low) && isnan(i.p));
    assert_int_equal(hn_bootstrap_mean(some, NULL, 1, &o, &i, NULL), 0);
    assert_true(i.estimate == 1 && i.low == 1 && i.high == 1);
    assert_int_equal(hn_bootstrap_mean(equal, NULL, 3, &o, &i, NULL), 0);
    assert_true(i.low == 2 && i.high == 2 && i.p < 0.01);
    assert_int_equal(hn_bootstrap_mean(some, weights, 5, &o, &i, NULL), 0); /* 0 / 0 */
    assert_true(isnan(i.estimate) && isnan(i.low) && isnan(i.p));
    assert_int_equal(hn_bootstrap_mean(some, NULL, 5, &o, &i, NULL), 0);
    assert_int_equal(hn_bootstrap_mean(some, NULL, 5, &o, &again, NULL), 0);
    assert_memory_equal(&i, &again, sizeof i);
    assert_true(i.low < i.estimate && i.estimate < i.high && i.p > 0.05 && i.p <= 1);
    int nan = 1;
    assert_int_equal(hn_bootstrap(never, &nan, 5, &o, &i, NULL), 0);
    assert_true(isnan(i.estimate) && isnan(i.low));
    assert_int_equal(hn_bootstrap_mean(some, NULL, 5, &few, &i, &err), HN_E_INVALID_FIELD);
    assert_string_equal(err.field, "replicates");
    assert_int_equal(hn_bootstrap_mean(some, NULL, 5, &sure, &i, &err), HN_E_INVALID_FIELD);
    hn_mean_interval(NULL, 0, 0, 0.95, &i);
    assert_true(isnan(i.estimate) && isnan(i.low));
    hn_mean_interval(some, 1, 0, 0.95, &i);
    assert_true(i.estimate == 1 && isnan(i.low) && isnan(i.p));
    hn_folds_interval(equal, 3, 0.95, &i);
    assert_true(i.low == 2 && i.high == 2 && i.p == 0);
    assert_true(isinf(hn_normal_quantile(0)) && isnan(hn_normal_quantile(-1)));
    assert_true(isnan(hn_student_quantile(0.9, 0)) && hn_student_quantile(0.5, 3) == 0);
}

/* learning_rate (log), rank (int), dropout (step), schedule (choice); alpha with one method only;
 * seed with one value. */
static const struct hn_axis axes[] = {
    {.kind = HN_AXIS_REAL, .log = true, .low = 1e-5, .high = 1e-2},
    {.kind = HN_AXIS_INT, .low = 8, .high = 31, .step = 4},
    {.kind = HN_AXIS_REAL, .low = 0, .high = 0.3, .step = 0.1},
    {.kind = HN_AXIS_CHOICE, .choices = 3},
    {.kind = HN_AXIS_INT, .log = true, .low = 1, .high = 64, .group = 5},
    {.kind = HN_AXIS_REAL, .low = 7, .high = 7},
};
#define N_AXES (sizeof axes / sizeof *axes)
#define MANY 1000

static double values[MANY][N_AXES];
static struct hn_trial trials[MANY];

/* Trials at points of the sequence; a fourth of them without the last group. */
static void make_trials(size_t n, enum hn_trial_state state, double value) {
    for (size_t t = 0; t < n; t++) {
        for (unsigned a = 0; a < N_AXES; a++)
            values[t][a] = hn_axis_from_unit(&axes[a], hn_sequence(1, t, a));
        if (t % 4 == 3)
            values[t][4] = NAN;
        trials[t] = (struct hn_trial){values[t], (int64_t)t, state, value, -1};
    }
}

static void check_point(const double *point) {
    for (size_t a = 0; a < N_AXES; a++) {
        struct hn_trial one = {.values = point};
        assert_false(isnan(point[a]));
        assert_int_equal(hn_trials_check(axes, N_AXES, &one, 1, NULL), 0);
    }
    assert_true(fmod(point[1], 4) == 0 && point[1] <= 28);
    assert_true(point[5] == 7);
}

static void suggest(size_t n, int64_t number, double *point) {
    double again[N_AXES], ratio;
    assert_int_equal(hn_tpe_suggest(axes, N_AXES, trials, n, number, 100, 9, point, NULL), 0);
    assert_int_equal(hn_tpe_suggest(axes, N_AXES, trials, n, number, 100, 9, again, NULL), 0);
    assert_memory_equal(point, again, sizeof again);
    check_point(point);
    assert_int_equal(hn_tpe_log_ratio(axes, N_AXES, trials, n, point, &ratio, NULL), 0);
    assert_true(isfinite(ratio));
}

static void test_tpe(void **state) {
    (void)state;
    double point[N_AXES], other[N_AXES];
    static const double outcomes[] = {0.5, NAN, INFINITY};
    static const size_t counts[] = {0, 1, 9, 10, 11, 40, MANY};
    for (size_t o = 0; o < 3; o++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (int s = HN_TRIAL_COMPLETE; s <= HN_TRIAL_RUNNING; s++) {
                if (counts[c] == MANY && (o || s))
                    continue;
                make_trials(counts[c], (enum hn_trial_state)s, outcomes[o]);
                suggest(counts[c], (int64_t)counts[c], point);
            }
    make_trials(30, HN_TRIAL_COMPLETE, 0);
    for (size_t t = 0; t < 30; t++) {
        memcpy(values[t], values[0], sizeof values[0]); /* one point again and again */
        trials[t].value = (double)t;
    }
    suggest(30, 30, point);
    suggest(30, 31, other);
    assert_memory_not_equal(point, other, sizeof point);
    assert_int_equal(hn_tpe_startup(20), 8);
    assert_int_equal(hn_tpe_startup(21), 10);
}

/* The order of the list does not matter, only the numbers do. */
static void test_order(void **state) {
    (void)state;
    double point[N_AXES], other[N_AXES];
    make_trials(40, HN_TRIAL_COMPLETE, 0);
    for (size_t t = 0; t < 40; t++)
        trials[t].value = fabs(log10(values[t][0]) + 3);
    suggest(40, 40, point);
    for (size_t t = 0; t < 20; t++) {
        struct hn_trial swap = trials[t];
        trials[t] = trials[39 - t];
        trials[39 - t] = swap;
    }
    suggest(40, 40, other);
    assert_memory_equal(point, other, sizeof point);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct hn_axis wrong[] = {
        {.kind = HN_AXIS_CHOICE},
        {.kind = HN_AXIS_CHOICE, .choices = HN_TUNE_CHOICES + 1},
        {.kind = HN_AXIS_REAL, .low = 2, .high = 1},
        {.kind = HN_AXIS_REAL, .low = NAN, .high = 1},
        {.kind = HN_AXIS_REAL, .low = -1e308, .high = 1e308},
        {.kind = HN_AXIS_REAL, .low = 0, .high = 1, .log = true},
        {.kind = HN_AXIS_REAL, .low = 0, .high = 1, .step = -1},
        {.kind = HN_AXIS_REAL, .low = 1, .high = 2, .step = 0.5, .log = true},
        {.kind = HN_AXIS_INT, .low = 0.5, .high = 1},
        {.kind = HN_AXIS_REAL, .low = 0, .high = 1, .step = 1e-300},
        {.kind = HN_AXIS_REAL, .low = 0, .high = 1, .group = HN_TUNE_AXES},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct hn_error err = {0};
        assert_int_equal(hn_axes_check(&wrong[i], 1, &err), HN_E_INVALID_FIELD);
        assert_string_equal(err.field, "axes[0]");
        assert_true(err.hint[0]);
    }
    struct hn_error err = {0};
    double point[N_AXES] = {0};
    assert_int_equal(hn_axes_check(axes, 0, &err), HN_E_INVALID_FIELD);
    assert_int_equal(hn_axes_check(axes, HN_TUNE_AXES + 1, &err), HN_E_INVALID_FIELD);
    make_trials(2, HN_TRIAL_COMPLETE, 1);
    values[1][3] = 3; /* of the choices 0, 1, 2 */
    assert_int_equal(
        hn_tpe_suggest(axes, N_AXES, trials, 2, 0, 10, 0, point, &err), HN_E_INVALID_FIELD);
    assert_string_equal(err.field, "trials[1]");
    assert_true(point[0] == 0); /* untouched */
    assert_int_equal(
        hn_tpe_suggest(axes, N_AXES, trials, HN_TUNE_TRIALS + 1, 0, 10, 0, point, &err),
        HN_E_INVALID_FIELD);
}

static void test_axes(void **state) {
    (void)state;
    static const size_t counts[] = {0, 6, 4, 3, 64, 1};
    for (size_t a = 0; a < N_AXES; a++) {
        double first = hn_axis_from_unit(&axes[a], 0),
               last = hn_axis_from_unit(&axes[a], 1 - 0x1p-53);
        assert_int_equal(hn_axis_count(&axes[a]), counts[a]);
        assert_close(first, axes[a].kind == HN_AXIS_CHOICE ? 0 : axes[a].low, 1e-12);
        assert_close(last, hn_axis_last(&axes[a]), 1e-9);
    }
    assert_true(hn_axis_last(&axes[1]) == 28);
    assert_close(hn_axis_last(&axes[2]), 0.3, 1e-12);
}

static void test_sequence(void **state) {
    (void)state;
    for (unsigned d = 0; d < HN_TUNE_AXES; d++)
        for (uint64_t i = 0; i < 100; i++) {
            double x = hn_sequence(5, i, d);
            assert_true(x >= 0 && x < 1 && x == hn_sequence(5, i, d));
            assert_true(i > 90 || x != hn_sequence(6, i, d));
        }
    assert_true(hn_sequence(0, UINT64_MAX, 0) < 1);
    unsigned eighths = 0; /* the first eight points: one in each eighth */
    for (uint64_t i = 0; i < 8; i++)
        eighths |= 1u << (unsigned)(8 * hn_sequence(42, i, 0));
    assert_int_equal(eighths, 0xff);
}

static void test_importance(void **state) {
    (void)state;
    struct hn_importance i;
    struct hn_error err = {0};
    assert_int_equal(hn_importance(axes, N_AXES, trials, 0, 0, &i, NULL), 0);
    assert_false(i.known);
    make_trials(11, HN_TRIAL_COMPLETE, 1);
    for (size_t t = 0; t < 11; t++)
        trials[t].value = (double)t;
    assert_int_equal(hn_importance(axes, N_AXES, trials, 11, 0, &i, NULL), 0);
    assert_true(!i.known && i.n_trials == 11 && i.quantile == 0.3);
    make_trials(60, HN_TRIAL_COMPLETE, 1); /* all equal */
    assert_int_equal(hn_importance(axes, N_AXES, trials, 60, 0, &i, NULL), 0);
    assert_true(!i.known && i.quantile == 0.1 && i.shares[0] == 0);
    make_trials(60, HN_TRIAL_COMPLETE, NAN);
    assert_int_equal(hn_importance(axes, N_AXES, trials, 60, 0, &i, NULL), 0);
    assert_true(!i.known && i.n_trials == 0);
    make_trials(MANY, HN_TRIAL_COMPLETE, 0);
    for (size_t t = 0; t < MANY; t++)
        trials[t].value = values[t][0];
    assert_int_equal(hn_importance(axes, N_AXES, trials, MANY, 0, &i, NULL), 0);
    assert_true(i.known && i.shares[0] > 0.9 && i.shares[5] == 0);
    double sum = 0;
    for (size_t a = 0; a < N_AXES; a++)
        sum += i.shares[a];
    assert_close(sum, 1, 1e-12);
    assert_int_equal(hn_importance(axes, N_AXES, trials, 5, 1, &i, &err), HN_E_INVALID_FIELD);
    assert_true(hn_importance_quantile(16) == 0.25 && hn_importance_quantile(49) == 0.25);
}

static void test_forecast(void **state) {
    (void)state;
    struct hn_curve_point points[] = {{100, 0.5, 1e-4}, {200, 0.4, 1e-4}, {400, 0.33, 1e-4},
        {800, 0.28, 1e-4}, {1600, 0.25, 1e-4}, {1600, 0.25, 1e-4}};
    struct hn_forecast_value values2[] = {{.n = 3200}, {.n = 6400}}, at[] = {{.n = 6401}}, again;
    struct hn_forecast f;
    struct hn_error err = {0};
    assert_int_equal(hn_forecast(points, 5, 0, 0.005, values2, 2, &f, &err), 0);
    assert_int_equal(f.refusal, HN_FORECAST_GIVEN);
    assert_null(hn_forecast_reason(f.refusal));
    for (int i = 0; i < 2; i++)
        assert_true(values2[i].low < values2[i].value && values2[i].value < values2[i].high);
    assert_true(values2[1].value < values2[0].value && values2[0].value < 0.25);
    again = (struct hn_forecast_value){.n = 6400};
    assert_int_equal(hn_forecast(points, 5, 0, 0.005, &again, 1, &f, &err), 0);
    assert_memory_equal(&again, &values2[1], sizeof again);
    assert_int_equal(hn_forecast(points, 5, 0, 0.005, at, 1, &f, &err), HN_E_INVALID_FIELD);
    assert_string_equal(err.field, "values[0]");
    assert_int_equal(hn_forecast(points, 6, 0, 0.005, NULL, 0, &f, &err), HN_E_INVALID_FIELD);
    assert_string_equal(err.field, "points[5]");
    again.n = 1600;
    assert_int_equal(hn_forecast(points, 3, 0, 0.005, &again, 1, &f, &err), 0);
    assert_int_equal(f.refusal, HN_FORECAST_FEW_POINTS);
    assert_true(isnan(again.value));
    assert_int_equal(hn_forecast(NULL, 0, 0, 0, values2, 2, &f, &err), 0);
    assert_int_equal(f.refusal, HN_FORECAST_FEW_POINTS);
    points[4].value = 0.4;
    assert_int_equal(hn_forecast(points, 5, 0, 0.005, values2, 2, &f, &err), 0);
    assert_int_equal(f.refusal, HN_FORECAST_RISES);
    points[4].value = 0.05; /* a cliff */
    assert_int_equal(hn_forecast(points, 5, 0, 0, values2, 2, &f, &err), 0);
    assert_int_equal(f.refusal, HN_FORECAST_BAD_FIT);
    assert_non_null(hn_forecast_reason(f.refusal));
    for (int i = 0; i < 5; i++)
        points[i].value = 0; /* all at the floor */
    values2[0].n = values2[1].n = 1600;
    assert_int_equal(hn_forecast(points, 5, 0, 0, values2, 2, &f, &err), 0);
    assert_true(f.refusal == HN_FORECAST_GIVEN && values2[0].low >= 0 && values2[0].high < 0.1);
}

static void test_asha(void **state) {
    (void)state;
    static const double a[] = {3, 3, 3}, b[] = {1, 1}, c[] = {1}, d[] = {NAN}, e[] = {INFINITY};
    struct hn_asha_decision next = hn_asha_next(NULL, 0, 3, 3, true);
    assert_int_equal(next.action, HN_ASHA_START);
    assert_int_equal(hn_asha_next(NULL, 0, 1, 2, false).action, HN_ASHA_NOTHING);
    assert_int_equal(hn_asha_finalist(NULL, 0, 3).action, HN_ASHA_NOTHING);
    struct hn_asha_trial list[] = {
        {4, true, 1, c}, {2, true, 1, c}, {3, true, 1, a}, {5, true, 1, d}, {6, true, 1, e}};
    /* no better than half of the rung: a new one tells more, as long as there is one */
    assert_int_equal(hn_asha_next(list, 3, 3, 3, true).action, HN_ASHA_START);
    next = hn_asha_next(list, 3, 3, 3, false);
    assert_int_equal(next.action, HN_ASHA_PROMOTE);
    assert_int_equal(next.trial, 1); /* a tie: number 2 */
    assert_int_equal(next.rung, 1);
    list[1].waiting = false; /* runs to rung 1 now: its place of three is taken */
    assert_int_equal(hn_asha_next(list, 3, 3, 3, false).action, HN_ASHA_NOTHING);
    list[1] = (struct hn_asha_trial){2, true, 2, b};
    next = hn_asha_finalist(list, 3, 3);
    assert_true(next.action == HN_ASHA_PROMOTE && next.trial == 1 && next.rung == 2);
    list[1] = (struct hn_asha_trial){2, false, 3, a};
    assert_int_equal(hn_asha_finalist(list, 3, 3).action, HN_ASHA_NOTHING);
    assert_int_equal(hn_asha_next(list + 3, 2, 3, 2, false).action, HN_ASHA_NOTHING);
    assert_int_equal(hn_asha_finalist(list + 3, 2, 3).action, HN_ASHA_NOTHING);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tests),
        cmocka_unit_test(test_intervals), cmocka_unit_test(test_tpe), cmocka_unit_test(test_order),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_axes),
        cmocka_unit_test(test_sequence), cmocka_unit_test(test_importance),
        cmocka_unit_test(test_forecast), cmocka_unit_test(test_asha)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
