/* What the run of a fold says of the rows that it did not train on, to find wrong labels. */
#ifndef HN_ENGINE_EVAL_FOLD_SCORES_H
#define HN_ENGINE_EVAL_FOLD_SCORES_H

#include "engine/eval/scores.h"

/*
 * Reads the score file `path` (RUN/scores/<step>.bin). Of classes the probabilities, and each row's
 * p, are the mean over the kept evaluations in the second half of the run, after its first epoch: a
 * run that goes on learns wrong labels by heart, and one evaluation is a draw of chance (Weber and
 * Plank 2023, arXiv 2305.20045, average over epochs as well). predicted and right stay those of
 * `path`. What cannot be read beside it is left out. Errors and ownership as of hn_scores_read.
 */
int hn_fold_scores_read(struct hn_scores *ret, const char *path, struct hn_error *err);

#endif
