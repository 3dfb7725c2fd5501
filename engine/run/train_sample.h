/*
 * A fixed sample of the training rows, to be evaluated beside the validation rows: only losses of
 * the same parameters without dropout can be compared.
 *
 * Spread evenly over the labels, drawn by (seed, row), the same in every attempt at a run.
 */
#ifndef HN_ENGINE_RUN_TRAIN_SAMPLE_H
#define HN_ENGINE_RUN_TRAIN_SAMPLE_H

#include "engine/data/examples.h"

#define HN_TRAIN_SAMPLE_ROWS ((size_t)256)

/* At most `most` rows, with all windows of each, in the order of `train`; sha256 tells of their
 * tokens. Owner calls hn_examples_finish. */
int hn_train_sample_make(const struct hn_examples *train, size_t most, uint64_t seed,
    struct hn_examples *ret, struct hn_error *err);

#endif
