/*
 * Room engine/tune. Statistics and search for hyperparameter experiments, as pure functions.
 *
 * Nouns: axis (one hyperparameter of a search space), trial (a point of that space and how it did),
 *   statistics of paired rows, sequence, TPE, importance, forecast, ASHA.
 * Ownership: Everything is the caller's; a function keeps nothing, writes only its ret_ arguments
 *   and frees what it allocated.
 * May include: engine/base.
 */

/*
 * Axes and trials: what search (tpe.h), importance (importance.h) and plain random or grid sweeps
 * share.
 *
 * Nothing in this room does I/O, starts a thread or has state: equal arguments give equal bits on
 * one machine. Random draws are counter-based (base/rng.h). Results use libm, whose last bit may
 * differ between C libraries.
 *
 * Everywhere in this room a lower value is better: callers pass 1 - accuracy, -F1 or a loss.
 */
#ifndef HN_ENGINE_TUNE_TUNE_H
#define HN_ENGINE_TUNE_TUNE_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HN_TUNE_AXES 32      /* axes of a space at most; dimensions of a sequence */
#define HN_TUNE_CHOICES 256  /* choices of an axis at most */
#define HN_TUNE_TRIALS 10000 /* trials that a function takes at most */

enum hn_axis_kind {
    HN_AXIS_REAL,
    HN_AXIS_INT,
    HN_AXIS_CHOICE, /* unordered: a value is the index of the choice, 0 to choices - 1 */
};

/*
 * One hyperparameter. The value of an axis is a double everywhere: the number itself or the index
 * of the choice; NaN in a trial where the axis did not apply.
 *
 * Axes of the same `group` are present in the same trials, and are modelled together
 * (multivariate); different groups are independent, as with Optuna's TPESampler(group=True).
 * Unconditional axes are group 0; axes that exist for method = lora only are a group of their own.
 */
struct hn_axis {
    enum hn_axis_kind kind;
    bool log;         /* real and int: equal ratios count the same; low > 0 (int: >= 1), no step */
    double low, high; /* real and int: both included; low = high is allowed */
    double step;      /* 0 = none (int: 1). Only low + k * step up to high are values */
    unsigned choices; /* choice: 1 to HN_TUNE_CHOICES */
    unsigned group;   /* below HN_TUNE_AXES */
};

enum hn_trial_state {
    HN_TRIAL_COMPLETE,
    HN_TRIAL_PRUNED,  /* ended early, or paused: its value is that of its last evaluation */
    HN_TRIAL_RUNNING, /* value is not read */
};

struct hn_trial {
    const double *values; /* [n_axes] of the caller; NaN where the axis did not apply */
    /* Order of age and of ties, no two equal. Own trials have 0, 1, 2 and so on; earlier jobs that
     * a search starts from may have negative ones. */
    int64_t number;
    enum hn_trial_state state;
    double value;      /* lower is better; NaN (diverged) counts as worst */
    int64_t last_step; /* pruned: step of its last evaluation, -1 where there was none */
};

/* Whether the axes can be searched: HN_E_INVALID_FIELD with field "axes[i]" and a hint. Every
 * function of the room that takes axes checks them first. */
int hn_axes_check(const struct hn_axis *axes, size_t n_axes, struct hn_error *err);
/* Whether every value is one that its axis can have, or NaN: HN_E_INVALID_FIELD with field
 * "trials[i]". Values between the steps are accepted: an earlier job may have had them. */
int hn_trials_check(const struct hn_axis *axes, size_t n_axes, const struct hn_trial *trials,
    size_t n_trials, struct hn_error *err);
/* Number of different values: 0 for a real axis without step and low < high (any number). */
size_t hn_axis_count(const struct hn_axis *axis);
double hn_axis_step(const struct hn_axis *axis); /* between neighbours; 0 = none, or a choice */
double hn_axis_last(const struct hn_axis *axis); /* the largest value */
/* The value at `unit` in [0, 1): equal parts of the unit interval for equal parts of the axis (of
 * its logarithm with log; one part each for int, step and choices). Monotone in unit. */
double hn_axis_from_unit(const struct hn_axis *axis, double unit);

#endif
