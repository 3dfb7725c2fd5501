/*
 * Ops: one row a kind; and the context they run in.
 *
 * Three tables have the same shape: plain loops in float and in double (ops_ref.c, the definition),
 * and the fast one (ops_fast.c), which overwrites entries of the first. Every fast entry is
 * compared with its definition by test, and every backward of the definition with finite
 * differences in double.
 */
#ifndef HN_ENGINE_GRAPH_OPS_H
#define HN_ENGINE_GRAPH_OPS_H

#include "engine/kernels/gemm.h"
#include "engine/graph/plan.h"
#include "engine/kernels/pool.h"

#include <stdint.h>

/* Packed sequences. Arrays belong to the caller. */
struct hn_batch {
    size_t n_tokens, n_sequences, n_targets;
    /* the first n_decode sequences are one token each, the next of a text that is being written:
     * its matmuls are hn_dots_weight's; all of them are targets */
    size_t n_decode;
    const int32_t *tokens;     /* [n_tokens] ids */
    const uint32_t *positions; /* [n_tokens] place in the sequence, from 0 */
    const uint32_t *types;     /* [n_tokens] which text of a pair: token type */
    const uint32_t *starts;    /* [n_sequences + 1] first row of each sequence */
    /* [n_targets] rows whose next token is predicted, ascending; for spans the first and the last
     * row of each sequence's answer */
    const uint32_t *target_rows;
    /* [n_targets] that token (unused by LOGITS); for heads of tasks the label, or the row of
     * `values` */
    const int32_t *target_ids;
    const float *values;         /* [·, outputs] what MULTI and VALUE heads are to say */
    const float *target_weights; /* [n_targets] already divided by the optimizer step's total */
    const uint32_t *ordinals;    /* [n_sequences] the row's number in the epoch: keys dropout */
    /* With a cache: sequence i has `past[i]` tokens there, in rows from cache_rows[i]; its new ones
     * are appended. */
    const uint32_t *past, *cache_rows;
};

struct hn_loss_sums {
    double loss;    /* sum of weight · cross entropy, weights as given */
    size_t correct; /* targets whose most likely token is the right one */
};

/* What a head of classes says of a target: logit of the given label less the largest other one,
 * the given label's probability, and the most likely label. */
struct hn_choice {
    float margin, p;
    int32_t predicted;
};

struct hn_exec {
    const struct hn_plan *plan;
    struct hn_pool *pool;
    const struct hn_batch *batch;
    uint8_t *arena;
    const void *params; /* trainable values: float, or double for the double-precision table */
    void *grads;        /* same layout; added to */
    uint64_t seed, dropout_step;
    bool dropout_on;
    struct hn_loss_sums *sums; /* added to by LOSS */
    double *row_losses;        /* [n_targets] or NULL: unweighted cross entropy of each target */
    struct hn_choice *choices; /* [n_targets] or NULL; of heads of labels */
};

typedef void hn_op_fn(struct hn_exec *x, const struct hn_step *step);

struct hn_op_table {
    size_t value_bytes;
    hn_op_fn *forward[HN_OPS], *backward[HN_OPS];
};
extern const struct hn_op_table hn_ops_ref32, hn_ops_ref64;
extern const struct hn_op_table hn_ops_fast;

/* Runs all steps of the plan on x->batch. */
void hn_exec_run(struct hn_exec *x, const struct hn_op_table *table);

static inline void *hn_buffer(const struct hn_exec *x, int number) {
    return number < 0 ? NULL : x->arena + x->plan->buffers[number].offset;
}
static inline size_t hn_rows(const struct hn_exec *x, enum hn_dim dim) {
    return dim == HN_DIM_TOKENS ? x->batch->n_tokens : x->batch->n_targets;
}
static inline void *hn_scratch(const struct hn_exec *x, unsigned thread) {
    return x->arena + x->plan->scratch_offset + thread * x->plan->scratch_bytes;
}
/* An op's own part of its scratch, behind what matmuls need. */
static inline void *hn_op_room(const struct hn_exec *x, unsigned thread) {
    return (float *)hn_scratch(x, thread) + HN_GEMM_SCRATCH;
}

#endif
