/*
 * Room engine/eval. How good a model is, and what it answers.
 *
 * Nouns: evaluation (loss and metrics of examples), generator, sampling parameters, predictor (an
 *   open model that answers requests).
 * Ownership: A predictor owns its model, parameters and memory.
 * May include: engine/base engine/data engine/export engine/families engine/model
 *   engine/run engine/tables engine/tokenizer engine/tune.
 */

/*
 * Evaluation: loss and metrics of examples under given parameters, by a planned phase without
 * training.
 */
#ifndef HN_ENGINE_EVAL_EVALUATE_H
#define HN_ENGINE_EVAL_EVALUATE_H

#include "engine/eval/scores.h"
#include "engine/run/compute.h"
#include "engine/run/loaded.h"

#include <jansson.h>

/* What is wanted beside loss and metrics. LOSSES: scores without metrics, for which the data need
 * not be open; of tags and spans they tell the loss alone. */
enum hn_evaluation_detail {
    HN_EVALUATION_FIGURES,
    HN_EVALUATION_LOSSES,
    HN_EVALUATION_SCORES,
    HN_EVALUATION_ROWS
};

struct hn_evaluation {
    double loss;
    json_t *metrics; /* name without "val_" → value */
    /* rows of counts by true label, or NULL: other problems, or too many labels */
    json_t *confusion;
    /* [rows of the data that have examples] {"line", the row's columns, "predicted" and what else
     * the task's answers have, "correct", "loss"}, or NULL: not asked for. Of next tokens only
     * the loss */
    json_t *rows;
    struct hn_scores scores; /* of every row that has examples; none for FIGURES */
};

/* `phase` ends in the loss (its logits can be read, see plan.h); `data` is what `ex` was made from,
 * NULL for LOSSES.
 * Owner calls hn_evaluation_finish. */
int hn_evaluate(struct hn_compute *compute, const struct hn_phase *phase,
    const struct hn_loaded *loaded, const float *params, const struct hn_examples *ex,
    const struct hn_dataset *data, enum hn_evaluation_detail detail, struct hn_evaluation *ret,
    struct hn_error *err);
void hn_evaluation_finish(struct hn_evaluation *e);

#endif
