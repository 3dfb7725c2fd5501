/*
 * Evaluation: loss and metrics of examples under given parameters, by a planned phase without
 * training.
 */
#ifndef HN_ENGINE_EVAL_EVALUATE_H
#define HN_ENGINE_EVAL_EVALUATE_H

#include "engine/run/compute.h"
#include "engine/run/run.h"

#include <jansson.h>

struct hn_evaluation {
    double loss;
    json_t *metrics; /* name without "val_" → value */
    /* rows of counts by true label, or NULL: other problems, or too many labels */
    json_t *confusion;
    /* [rows of the data that have examples] {"line", the row's columns, "predicted" and what else
     * the task's answers have, "correct", "loss"}, or NULL: not asked for. Of next tokens only
     * the loss */
    json_t *rows;
};

/* `phase` ends in the loss (its logits can be read, see plan.h); `data` is what `ex` was made from.
 * Owner calls hn_evaluation_finish. */
int hn_evaluate(struct hn_compute *compute, const struct hn_phase *phase, const struct hn_run *run,
    const float *params, const struct hn_examples *ex, const struct hn_dataset *data, bool rows,
    struct hn_evaluation *ret, struct hn_error *err);
void hn_evaluation_finish(struct hn_evaluation *e);

#endif
