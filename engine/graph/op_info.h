/*
 * What the planner has to know of each kind of op: what its backward pass reads, whether it is
 * computed again rather than kept, and how much room it needs. How an op is computed is in ops.h.
 */
#ifndef HN_ENGINE_GRAPH_OP_INFO_H
#define HN_ENGINE_GRAPH_OP_INFO_H

#include "engine/graph/graph.h"

struct hn_caps {
    size_t dims[HN_DIMS]; /* capacity of tokens, targets */
    size_t cache_rows;    /* rows of the key-value cache a layer, 0 without */
    unsigned threads;
};

struct hn_op_info {
    const char *name;
    unsigned reads_in, reads_out; /* bit i: the backward pass reads the value of in[i], out[i] */
    bool cheap;                   /* computed again rather than kept */
    /* in[1], where present, is added to out0: its gradient is that of out0 */
    bool residual;
    /* out0 may take the place of in0, and in0's gradient that of out0 */
    bool in_place;
    /* forward and backward in one (the loss): only the backward step is run in training */
    bool at_once;
};
extern const struct hn_op_info hn_op_infos[HN_OPS];

/* Values a thread needs as scratch for this op, and values of its work buffer (0: none). */
size_t hn_op_scratch(const struct hn_op *op, bool backward);
size_t hn_op_work(const struct hn_op *op, bool backward, const struct hn_caps *caps);

#endif
