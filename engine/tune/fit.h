/*
 * Verdict on a run's fit: figures of its evaluations, rules over them, the first that holds.
 *
 * Differences are of the same rows at two steps, with their standard errors; an effect counts where
 * it is beyond two of these and large enough to matter beside what the run gained in all. What is
 * NaN was not measured, and no rule that needs it holds.
 */
#ifndef HN_ENGINE_TUNE_FIT_H
#define HN_ENGINE_TUNE_FIT_H

#include <stdbool.h>
#include <stddef.h>

/* A mean over rows with its standard error. */
struct hn_fit_mean {
    double value, error;
};

/* Weighted mean of values[n] (weights NULL: all equal); both NaN for fewer than two. */
struct hn_fit_mean hn_fit_mean_of(const double *values, const double *weights, size_t n);

/* Losses and what else an evaluation says; `heat` is the sum of the learning rates up to it. */
struct hn_fit_point {
    size_t step;
    double val_loss, train_loss, heat;
};

struct hn_fit_facts {
    size_t val_rows, train_rows, evaluations;
    bool classes, texts;
    bool ended, diverged;
    size_t since_best; /* evaluations behind the best */
    /* Evaluations: the first, the one at three quarters of all heat, the one of the least
     * validation loss, the last. */
    struct hn_fit_point start, late, best, last;
    double train_least;            /* least loss of the sampled training rows */
    struct hn_fit_mean gain;       /* validation: start less best */
    struct hn_fit_mean rise;       /* validation: last less best */
    struct hn_fit_mean late_gain;  /* validation: late less last */
    struct hn_fit_mean train_rise; /* training rows: last less the evaluation of their least loss */
    struct hn_fit_mean gap;        /* at the best: validation less training rows */
    double known;                  /* share of the sampled training rows with a loss below 0.05 */
    /* Of classes. `over_prior`: what the loss at the best is below that of the labels' shares. */
    struct hn_fit_mean over_prior;
    double accuracy_best, accuracy_last, majority; /* shares */
    double p_majority, p_last; /* McNemar: best against majority, and against last */
    double ece_best, ece_last;
    double error_sure;   /* share wrong of the half that the best is surest of */
    size_t wrong_sure;   /* rows of it */
    double contradicted; /* share of training rows whose mean margin is below 0 */
    /* Validation rows that stand among the training rows, and how much less they cost. */
    size_t shared;
    struct hn_fit_mean shared_gain;
    /* What is forgotten, at the last evaluation: KL from the base, and the neutral text's loss less
     * its first. No rule reads them. */
    double kl, neutral_rise;
};

enum hn_fit_verdict {
    HN_FIT_UNDECIDED,
    HN_FIT_UNSTABLE,
    HN_FIT_LEAK,
    HN_FIT_MEMORISED,
    HN_FIT_LABELS,
    HN_FIT_OVERFIT,
    HN_FIT_OVERCONFIDENT,
    HN_FIT_NOTHING,
    HN_FIT_UNDERFIT,
    HN_FIT_DATA,
    HN_FIT_GOOD,
    HN_FITS
};

extern const char *const hn_fit_names[HN_FITS]; /* "undecided", "unstable", "leak_suspected" … */
extern const char *const hn_fit_rules[HN_FITS]; /* when it is said, in a sentence */
/* What it means for the result: "good"; "attention": it is of use, and there is something to mend;
 * "bad": do not use it before the cause is known; "unknown". */
extern const char *const hn_fit_health[HN_FITS];

enum hn_fit_verdict hn_fit_judge(const struct hn_fit_facts *facts);

#endif
