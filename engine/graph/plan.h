/*
 * Plan: a graph made executable, with the place in memory of everything known before anything runs.
 *
 * Planning turns the forward list into steps (forward, and in training also backward), decides for
 * every tensor whether its values are kept for the backward pass or computed again (cheap ops
 * always; with `recompute` whole layers), finds the lifetime of every buffer and gives each an
 * offset in one arena. `arena_bytes` is exact: nothing else is allocated per step. Recomputation
 * changes no number, since a recomputed op repeats the same operations on the same values.
 */
#ifndef HN_ENGINE_GRAPH_PLAN_H
#define HN_ENGINE_GRAPH_PLAN_H

#include "engine/graph/op_info.h"

/* One execution of an op. Buffers by number, -1 where absent or not wanted. */
struct hn_step {
    const struct hn_op *op;
    bool backward;
    int in[HN_OP_IN], out[HN_OP_OUT];   /* values */
    int din[HN_OP_IN], dout[HN_OP_OUT]; /* gradients: backward reads dout and writes din */
    bool add[HN_OP_IN];                 /* din is added to instead of written */
    int work;                           /* buffer that lives for this step only */
};

struct hn_plan_buffer {
    size_t bytes, offset;
    size_t first, last; /* steps between which it holds values */
    size_t cols;
    enum hn_dim dim;
    bool fixed; /* lives through all steps */
};

struct hn_plan {
    struct hn_step *steps;
    struct hn_plan_buffer *buffers;
    size_t n_steps, n_buffers, steps_capacity, buffers_capacity;
    struct hn_caps caps;
    size_t value_bytes;                   /* 4, or 8 for the double-precision reference */
    size_t arena_bytes;                   /* all of it: buffers, then scratch of every thread */
    size_t scratch_offset, scratch_bytes; /* a thread's */
    int cache;                            /* buffer of the key-value cache, or -1 */
    int logits;                           /* buffer of the logits, or -1 */
    bool train;
};

struct hn_plan_options {
    struct hn_caps caps;
    bool train;      /* with a backward pass */
    bool train_base; /* the base's own weights are trained (method full) */
    bool recompute;  /* keep only what enters a layer */
    size_t value_bytes;
};

/* `graph` must outlive the plan. Owner calls hn_plan_finish in every case. */
int hn_plan_make(struct hn_plan *plan, const struct hn_graph *graph,
    const struct hn_plan_options *options, struct hn_error *err);
void hn_plan_finish(struct hn_plan *plan);

#endif
