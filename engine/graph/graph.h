/*
 * Room engine/graph. What is computed, in which order, and where it lies in memory.
 *
 * Nouns: op, graph (ops of a model), plan (steps with places in one arena), phase (a graph with its
 *   plan), batch (packed sequences).
 * Ownership: A plan points into its graph; the arena belongs to run/compute.
 * May include: engine/base engine/kernels engine/model engine/tables.
 */

/*
 * Graph: the list of ops that computes one forward pass, as an arch_*.c describes it.
 *
 * Tensors are two-dimensional, row-major; the row count is a symbol (tokens, targets …) whose
 * capacity is known when the graph is planned (plan.h) and whose actual value comes with each
 * batch. There is no padding anywhere: sequences lie packed behind each other. A graph holds no
 * numbers and no memory of tensors; the same graph is planned for training and for evaluation.
 */
#ifndef HN_ENGINE_GRAPH_GRAPH_H
#define HN_ENGINE_GRAPH_GRAPH_H

#include "engine/model/adapter.h"
#include "engine/base/error.h"
#include "engine/model/model.h"

#include <stdbool.h>
#include <stddef.h>

enum hn_dim {
    HN_DIM_TOKENS,  /* packed tokens of the batch */
    HN_DIM_TARGETS, /* rows that carry a target (or whose logits are asked for) */
    HN_DIMS,
};

struct hn_tensor {
    enum hn_dim dim;
    size_t cols;
};

enum hn_op_kind {
    /* → out0 [tokens, hidden] = rows of the embedding, times attr.scale, plus those of the
     * positions and of the token types */
    HN_OP_EMBED,
    HN_OP_RMSNORM, /* in0 (, in1 residual) → out0 = in1 + x / sqrt(mean(x²) + eps) · w */
    HN_OP_LAYERNORM, /* in0 (, in1 residual) → out0 = in1 + (x − mean) / sqrt(var + eps) · w + b */
    HN_OP_HEADNORM, /* in0 [q|k|v] → out0: RMSNorm of each query head and each key head */
    /* in0 (, in1 residual) → out0 = in1 + b + in0·Wᵀ + s·(in0·Aᵀ)·Bᵀ, out1 = in0·Aᵀ of all adapted
     * parts */
    HN_OP_LINEAR,
    /* → out0 [tokens, head_dim] = cosines, then sines, of the angle by which each pair of a head
     * turns */
    HN_OP_ROPE_TABLE,
    /* in0, in1 angles → out0: rotates the query and key heads of a [q|k|v] tensor, in place */
    HN_OP_ROPE,
    /* in0 [q|k|v] → out0 [tokens, heads·head_dim], out1 [tokens, heads] log-sum-exp */
    HN_OP_ATTENTION,
    HN_OP_GLU,      /* in0 [gate|up] → out0 = act(gate)·up */
    HN_OP_ACTIVATE, /* in0 → out0 = act(in0) */
    HN_OP_DROPOUT,  /* in0 (, in1 residual) → out0 = in1 + mask·in0/(1 − p) */
    HN_OP_GATHER,   /* in0 [tokens] → out0 [targets] */
    HN_OP_LOSS,   /* in0 [targets, hidden] → cross entropy over the head's rows; no tensor out */
    HN_OP_LOGITS, /* in0 [targets, hidden] → out0 [targets, vocab] */
    /* in0 [targets or tokens, outputs] → the loss of a task's head; no tensor out */
    HN_OP_CRITERION,
    HN_OPS,
};

#define HN_OP_IN 2
#define HN_OP_OUT 2
#define HN_PARTS 3

/* Several matrices that share one input, their outputs side by side: [q|k|v], [gate|up]. */
struct hn_linear {
    size_t n_parts, in, out; /* out = sum of the parts' rows */
    /* biases: NULL where there is none */
    const struct hn_weight *weights[HN_PARTS], *biases[HN_PARTS];
    const struct hn_lora *lora[HN_PARTS]; /* NULL where not adapted */
    size_t lora_rank;                     /* columns a part has in out1 */
    size_t n_adapted;
    size_t a_param; /* parameter offset of the first adapted part's A; the others' A follow it */
    double lora_scale, lora_dropout;
};

struct hn_op {
    enum hn_op_kind kind;
    int layer;                        /* -1 outside the layers */
    int in[HN_OP_IN], out[HN_OP_OUT]; /* tensor numbers, -1 where absent */
    union {
        struct {
            const struct hn_weight *weight, *position, *type; /* position, type: NULL without */
            size_t position_offset;
            double scale;
        } embed;
        struct {
            const struct hn_weight *weight, *bias; /* bias: LAYERNORM only */
            double eps;
        } norm;
        struct {
            const struct hn_weight *q, *k;
            size_t heads, kv_heads, head_dim;
            double eps;
        } head_norm;
        struct hn_linear linear;
        struct {
            const struct hn_rope *table; /* the model's */
            size_t head_dim;
        } angles;
        struct {
            size_t heads, kv_heads, head_dim;
            bool interleaved;
        } rope;
        struct {
            size_t heads, kv_heads, head_dim, cache_layer;
            size_t window; /* keys a query sees, itself included; 0: all */
            bool causal, cached;
            double scale, dropout; /* dropout: of the probabilities */
        } attention;
        struct {
            double p;
            enum hn_role place; /* behind which weight: keys the mask */
            size_t cols;
        } dropout;
        struct {
            enum hn_objective objective;
            double smoothing;
        } criterion;
        enum hn_activation activation; /* of GLU and ACTIVATE */
        struct {
            const struct hn_weight *weight;
            double smoothing;
        } head; /* of LOSS and LOGITS */
    } attr;
};

struct hn_graph_options {
    const struct hn_adapter *adapter; /* NULL: the base alone */
    bool logits;                      /* ends in logits of the target rows instead of the loss */
    bool hidden; /* ends, instead of in logits, in what they are made of: the last hidden states */
    bool cached; /* attention through a key-value cache (generation) */
    double label_smoothing;
    double dropout, attention_dropout, head_dropout; /* of encoders */
};

struct hn_graph {
    const struct hn_model *model;
    const struct hn_graph_options *options; /* valid while building */
    struct hn_tensor *tensors;
    struct hn_op *ops;
    size_t n_tensors, n_ops, tensors_capacity, ops_capacity;
    /* tensors of the model's rotations, global and local: computed once for all layers; -1: not
     * yet */
    int angles[2];
    int logits;  /* tensor that holds them when nothing is trained, or -1 */
    bool failed; /* out of memory while building */
};

/* Calls the family's builder. Owner calls hn_graph_finish in every case. */
int hn_graph_build(struct hn_graph *graph, const struct hn_model *model,
    const struct hn_graph_options *options, struct hn_error *err);
void hn_graph_finish(struct hn_graph *graph);

/* For builders: each adds one op and returns its (first) output tensor. Roles name weights of that
 * layer (-1: outside the layers); `residual` is a tensor added to the result, or -1. */
int hn_graph_embed(struct hn_graph *g);
int hn_graph_norm(struct hn_graph *g, int layer, int x, int residual, enum hn_role role);
/* The matrices of `roles` side by side, with their biases and adapters where there are any. */
int hn_graph_linear(
    struct hn_graph *g, int layer, int x, int residual, size_t n_parts, const enum hn_role *roles);
/* x itself where the layer has no norms of heads. */
int hn_graph_head_norm(struct hn_graph *g, int layer, int qkv);
int hn_graph_rope(struct hn_graph *g, int layer, int qkv);
int hn_graph_attention(struct hn_graph *g, int layer, int qkv, bool causal);
/* Behind the last layer's attention nothing but the target rows is read any more: *x and *residual
 * become those rows, so that the rest of the layer is computed for them alone, forward and back. In
 * other layers, where a head reads all rows and where a cache is filled they stay as they are. */
void hn_graph_narrow(struct hn_graph *g, int layer, int *x, int *residual);
int hn_graph_glu(struct hn_graph *g, int layer, int gate_up);
int hn_graph_activate(struct hn_graph *g, int layer, int x, enum hn_activation activation);
/* residual + dropout(x); `place` as in attr.dropout. x itself where there is neither. */
int hn_graph_dropout(
    struct hn_graph *g, int layer, int x, int residual, double p, enum hn_role place);
/* From the last layer's output to the loss, or to the logits: the model's head (hn_model.head). */
void hn_graph_finish_head(struct hn_graph *g, int x);

#endif
