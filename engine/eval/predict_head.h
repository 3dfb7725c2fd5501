/* Predictions of a task's head for a list of inputs: labels, values, entities, answers. */
#ifndef HN_ENGINE_EVAL_PREDICT_HEAD_H
#define HN_ENGINE_EVAL_PREDICT_HEAD_H

#include "engine/run/compute.h"
#include "engine/run/loaded.h"

#include <jansson.h>

/* Tokens computed at once: enough for matmuls near their best rate. */
enum { HN_PREDICT_TOKENS = 1024 };

/* A phase for rows of up to `longest` tokens. */
int hn_predict_phase(
    struct hn_phase *phase, const struct hn_loaded *loaded, size_t longest, struct hn_error *err);

struct hn_head_inputs {
    struct hn_examples examples; /* one row a window */
    json_t *rows;                /* the inputs as rows under our own names */
    size_t *cut;                 /* [rows] tokens of each that the model cannot read */
    size_t longest;
};
/* Inputs: texts; for tags texts or lists of words; for answers {"question","context"}. Errors name
 * the input. Owner calls hn_head_inputs_finish. */
int hn_head_inputs_read(struct hn_head_inputs *in, const struct hn_loaded *loaded,
    const json_t *inputs, struct hn_error *err);
void hn_head_inputs_finish(struct hn_head_inputs *in);
/* {"data":[…]} in the order of the inputs. */
int hn_predict_head(struct hn_compute *compute, const struct hn_phase *phase,
    const struct hn_loaded *loaded, const float *params, const struct hn_head_inputs *in,
    json_t **ret, struct hn_error *err);

#endif
