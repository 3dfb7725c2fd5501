/* Verdicts by figures: each rule's bounds, and what goes before what. And what a row's losses and
 * margins over the epochs say. */
#include "engine/tune/dynamics.h"
#include "engine/tune/fit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

/* A sound run of a text model: nothing to complain of. */
static struct hn_fit_facts sound(void) {
    const struct hn_fit_mean none = {(double)NAN, (double)NAN};
    return (struct hn_fit_facts){.val_rows = 100,
        .train_rows = 1000,
        .evaluations = 11,
        .texts = true,
        .ended = true,
        .start = {0, 3, 3, 0},
        .late = {50, 1.1, 1.0, 75},
        .best = {100, 1, 0.9, 100},
        .last = {100, 1, 0.9, 100},
        .train_least = 0.9,
        .gain = {2, 0.1},
        .rise = {0, 0},
        .late_gain = {0.1, 0.01},
        .train_rise = {0, 0},
        .gap = {0.1, 0.02},
        .known = 0,
        .over_prior = none,
        .shared_gain = none,
        .contradicted = (double)NAN,
        .error_sure = (double)NAN};
}

static struct hn_fit_facts sound_classes(void) {
    struct hn_fit_facts f = sound();
    f.texts = false;
    f.classes = true;
    f.over_prior = (struct hn_fit_mean){0.4, 0.05};
    f.accuracy_best = f.accuracy_last = 0.8;
    f.majority = 0.5;
    f.p_majority = 1e-6;
    f.p_last = 1;
    f.ece_best = f.ece_last = 0.05;
    f.error_sure = 0.05;
    f.contradicted = 0.1;
    f.wrong_sure = 5;
    return f;
}

#define IS(facts, NAME) assert_string_equal(hn_fit_names[hn_fit_judge(&(facts))], NAME)

static void test_texts(void **state) {
    struct hn_fit_facts f = sound();
    (void)state;
    IS(f, "good");
    f.val_rows = 19;
    IS(f, "undecided");
    f.diverged = true;
    IS(f, "unstable");
    f = sound();
    f.val_rows = 12; /* and yet: it ended far beyond where it began */
    f.last.val_loss = 2 * f.start.val_loss + 1.01;
    IS(f, "unstable");
    f.last.val_loss = 2 * f.start.val_loss + 0.99;
    IS(f, "undecided");
    f = sound();
    f.train_rise = (struct hn_fit_mean){0.6, 0.1}; /* of 2.1 that had been gained */
    IS(f, "unstable");
    f.train_rise = (struct hn_fit_mean){0.6, 0.31}; /* may be chance */
    IS(f, "good");
    f = sound();
    f.last = (struct hn_fit_point){100, 1.2, 0.5, 100};
    f.best = (struct hn_fit_point){60, 1, 0.9, 80};
    f.rise = (struct hn_fit_mean){0.2, 0.02};
    f.since_best = 4;
    IS(f, "overfit");
    f.since_best = 1;
    IS(f, "good");
    f.since_best = 4;
    f.rise.error = 0.11;
    IS(f, "good");
    f.known = 0.6;
    f.last.train_loss = 0.05;
    IS(f, "memorised");
    f = sound();
    f.gain = (struct hn_fit_mean){0.05, 0.03};
    IS(f, "nothing_learned");
    f.ended = false;
    IS(f, "good");
    f = sound();
    f.late_gain = (struct hn_fit_mean){0.35, 0.02};
    IS(f, "underfit");
    f.last.val_loss = 0.8; /* little is left */
    IS(f, "good");
    f = sound(); /* of a gain that has just begun the gap is a large share */
    f.start.val_loss = 1.1;
    f.gain = f.late_gain = (struct hn_fit_mean){0.1, 0.01};
    f.last.train_loss = 0.95;
    IS(f, "underfit");
    f.last.train_loss = 0.85;
    IS(f, "good");
    f = sound();
    f.gap = (struct hn_fit_mean){0.6, 0.1};
    f.last.train_loss = 0.4;
    IS(f, "data_limited");
    f.shared = 5;
    f.shared_gain = (struct hn_fit_mean){0.3, 0.1};
    IS(f, "leak_suspected");
    f.shared = 4; /* of 100 */
    IS(f, "data_limited");
    f.shared = 50;
    f.shared_gain = (struct hn_fit_mean){(double)NAN, (double)NAN};
    IS(f, "leak_suspected");
}

static void test_classes(void **state) {
    struct hn_fit_facts f = sound_classes();
    (void)state;
    IS(f, "good");
    f.error_sure = 0.16; /* of 0.2 */
    IS(f, "label_limited");
    f.contradicted = 0.01; /* training rows do not agree */
    IS(f, "good");
    f = sound_classes();
    f.last = (struct hn_fit_point){100, 1.2, 0.5, 100};
    f.best = (struct hn_fit_point){60, 1, 0.9, 80};
    f.rise = (struct hn_fit_mean){0.2, 0.02};
    f.since_best = 4;
    f.ece_last = 0.2;
    IS(f, "overconfident");
    f.accuracy_last = 0.7;
    f.p_last = 0.01;
    IS(f, "overfit");
    f = sound_classes();
    f.accuracy_best = 0.52;
    f.p_majority = 0.4;
    IS(f, "good"); /* by the loss it is better than the labels' shares */
    f.over_prior = (struct hn_fit_mean){0.01, 0.02};
    IS(f, "nothing_learned");
}

static void test_means(void **state) {
    const double values[] = {1, 3, 5}, weights[] = {1, 1, 2};
    struct hn_fit_mean m = hn_fit_mean_of(values, NULL, 3), w = hn_fit_mean_of(values, weights, 3);
    (void)state;
    assert_true(fabs(m.value - 3) < 1e-12 && fabs(m.error - sqrt(8) / 3) < 1e-12);
    assert_true(fabs(w.value - 3.5) < 1e-12);
    assert_true(isnan(hn_fit_mean_of(values, NULL, 1).value));
}

static struct hn_dynamics_point at(double loss, double margin) {
    return (struct hn_dynamics_point){true, loss, margin, exp(-loss)};
}

static void test_dynamics(void **state) {
    const struct hn_dynamics_point points[] = {
        at(2, -1), at(0.05, 3), at(1, -2), {0}, at(0.05, 3), at(0.01, 5)};
    struct hn_dynamics d;
    (void)state;
    hn_dynamics_of(points, 6, &d);
    assert_int_equal(d.epochs, 5);
    assert_int_equal(d.right, 3);
    assert_int_equal(d.forgotten, 1);
    assert_int_equal(d.learnt, 4);
    assert_true(fabs(d.area - 1.6) < 1e-12 && fabs(d.before - 3.05 / 3) < 1e-12);
    assert_true(fabs(d.first - 2) < 1e-12 && fabs(d.last - 0.01) < 1e-12);
    hn_dynamics_of(points + 3, 1, &d);
    assert_true(!d.epochs && isnan(d.loss) && !d.learnt);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts), cmocka_unit_test(test_classes),
        cmocka_unit_test(test_means), cmocka_unit_test(test_dynamics)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
