/*
 * How well a run fits: the figures of tune/fit.h from its evaluations and score files, the verdict,
 * and what to change in the next run.
 */
#ifndef HN_ENGINE_EVAL_FIT_H
#define HN_ENGINE_EVAL_FIT_H

#include "engine/eval/scores.h"
#include "engine/run/spec.h"
#include "engine/tune/fit.h"

#include <jansson.h>

/* What is known of a run, beside its score files. */
struct hn_fit_run {
    const char *dir;
    const struct hn_spec *spec;
    const json_t *evaluations; /* array of the data of `eval` events, by step */
    size_t steps, steps_per_epoch, train_rows;
    bool ended, diverged;
    double contradicted; /* see tune/fit.h; NaN: not known */
    /* Of every validation row in the score files' order: whether it stands among the training rows.
     * NULL: not known. */
    const bool *shared;
};

/* Fills the facts; what cannot be read stays NaN. */
int hn_fit_measure(const struct hn_fit_run *run, struct hn_fit_facts *ret, struct hn_error *err);

/* Share of the training rows whose label has a mean margin below 0 over the epochs so far; NaN
 * where rows.bin tells nothing of margins. */
double hn_fit_contradicted(const char *run_dir);

/* The answer of GET /jobs/{id}/fit, but for "next", for which it has "change": {"hyperparameters",
 * …} to put into the job's request, or null, and "why". New reference. */
json_t *hn_fit_tell(const struct hn_fit_run *run, const struct hn_fit_facts *facts);

#endif
