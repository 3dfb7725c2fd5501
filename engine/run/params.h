/*
 * The trainable parameter vector: values, gradients and AdamW's moments, each one contiguous array
 * in the same order.
 *
 * What lies where is the table: the adapter's matrices (method lora), or the base's own weights
 * (method full).
 */
#ifndef HN_ENGINE_RUN_PARAMS_H
#define HN_ENGINE_RUN_PARAMS_H

#include "engine/model/adapter.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/pool.h"

struct hn_param {
    /* "model.layers.0.self_attn.q_proj.lora_A.weight", in the engine's own row order */
    char name[HN_NAME + 16];
    const struct hn_weight *weight;
    size_t offset, rows, cols;
    bool decays; /* weight decay applies: not to norms and biases */
};

struct hn_params {
    struct hn_param *table;                 /* [n] */
    size_t n, size;                         /* size: values in each array */
    float *values, *grads, *first, *second; /* grads, first, second NULL once released */
};

/* Of an adapter, with the weights of the model that are trained beside it
 * (hn_params_assign_head). */
int hn_params_from_adapter(struct hn_params *params, const struct hn_adapter *adapter,
    const struct hn_model *model, struct hn_error *err);
/* Gives every weight of the model its place in the parameter vector (weight->param) and returns the
 * vector's size. Graphs planned from then on train them. A tied head is the embedding's own struct
 * and so shares its place. */
size_t hn_params_assign(struct hn_model *model);
/* The same for a task's head alone, from offset `first` on; with the pooler below it, or
 * without. */
size_t hn_params_assign_head(struct hn_model *model, size_t first, bool pooler);
/* The table of a model whose weights have been assigned. */
int hn_params_from_model(
    struct hn_params *params, const struct hn_model *model, struct hn_error *err);
/* Fills values[] with the weights that have been assigned, dequantised; new matrices are drawn from
 * a normal distribution of the configuration's width, keyed by the seed, new biases are zero. */
void hn_params_start(const struct hn_model *model, uint64_t seed, float *values);
/* Gradients and moments, zeroed. Not needed for prediction. */
int hn_params_add_optimizer(struct hn_params *params, struct hn_error *err);
void hn_params_release_optimizer(struct hn_params *params);
void hn_params_finish(struct hn_params *params);

double hn_params_grad_norm(const struct hn_params *params, struct hn_pool *pool);
void hn_params_zero_grads(struct hn_params *params, struct hn_pool *pool);

struct hn_adamw_options {
    double learning_rate, beta1, beta2, epsilon, weight_decay, clip;
    size_t step; /* from 1 */
};
/* torch.optim.AdamW; gradients are scaled by `clip` first. */
void hn_params_update(
    struct hn_params *params, const struct hn_adamw_options *options, struct hn_pool *pool);

/* Learning rate of step s = 1…total; warm-up steps; see the contract's section 3. */
double hn_learning_rate(const struct hn_hyperparams *hp, size_t step, size_t total);
size_t hn_warmup_steps(const struct hn_hyperparams *hp, size_t total);

#endif
