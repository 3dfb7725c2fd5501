/*
 * LoRA adapters: which modules are adapted, and where their matrices lie in the trainable parameter
 * vector.
 *
 * y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ, A [rank, in], B [out, rank], s = alpha/rank or alpha/√rank (Hu et al.
 * 2021; rsLoRA, Kalajdzievski 2023). A starts uniform in ±init_scale/√in (PEFT's Kaiming with a =
 * √5), B at zero. The matrices of parts that share an input ([q|k|v], [gate|up]) lie together: all
 * their A, then all their B, so that one matmul serves all of them.
 */
#ifndef HN_ENGINE_MODEL_ADAPTER_H
#define HN_ENGINE_MODEL_ADAPTER_H

#include "engine/base/error.h"
#include "engine/hyperparams.h"
#include "engine/model/model.h"

struct hn_lora {
    const struct hn_weight *weight; /* the adapted matrix */
    size_t a, b;                    /* offsets in the parameter vector, in values */
};

struct hn_adapter {
    size_t rank, n, n_params; /* n_params: values of all A and B */
    double alpha, scale, dropout;
    struct hn_lora *loras; /* [n] in the order of the parameter vector */
};

/* HN_E_INVALID_FIELD when a target names no module of this model. Owner calls hn_adapter_finish. */
int hn_adapter_init(struct hn_adapter *adapter, const struct hn_model *model,
    const struct hn_hyperparams *hp, struct hn_error *err);
void hn_adapter_finish(struct hn_adapter *adapter);
const struct hn_lora *hn_adapter_find(
    const struct hn_adapter *adapter, const struct hn_weight *weight);
/* Fills values[n_params] with the initial matrices. */
void hn_adapter_start(
    const struct hn_adapter *adapter, const struct hn_hyperparams *hp, float *values);

#endif
