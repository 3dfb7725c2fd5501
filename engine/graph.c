/* See graph.h. Building never fails half-way: out of memory sets `failed`, which hn_graph_build reports once. */
#include "engine/graph.h"
#include "engine/buf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int add_tensor(struct hn_graph *g, enum hn_dim dim, size_t cols) {
    if (g->failed || !hn_grow(&g->tensors, &g->tensors_capacity, g->n_tensors + 1, sizeof *g->tensors)) {
        g->failed = true;
        return 0;
    }
    g->tensors[g->n_tensors] = (struct hn_tensor){dim, cols};
    return (int)g->n_tensors++;
}

/* An op with one input and one output; the caller fills the attributes. */
static struct hn_op *add_op(struct hn_graph *g, enum hn_op_kind kind, int layer, int in0, int out0) {
    static _Thread_local struct hn_op nowhere; /* takes attributes once memory has run out; never read */
    if (g->failed || !hn_grow(&g->ops, &g->ops_capacity, g->n_ops + 1, sizeof *g->ops)) {
        g->failed = true;
        return &nowhere;
    }
    struct hn_op *op = &g->ops[g->n_ops++];
    *op = (struct hn_op){.kind = kind, .layer = layer, .in = {in0, -1}, .out = {out0, -1}};
    return op;
}

int hn_graph_embed(struct hn_graph *g, const struct hn_weight *weight, double scale) {
    int out = add_tensor(g, HN_DIM_TOKENS, weight->cols);
    struct hn_op *op = add_op(g, HN_OP_EMBED, -1, -1, out);
    op->attr.embed.weight = weight;
    op->attr.embed.scale = scale;
    return out;
}

int hn_graph_rmsnorm(struct hn_graph *g, int layer, int x, const struct hn_weight *weight, double eps) {
    int out = add_tensor(g, g->tensors[x].dim, g->tensors[x].cols);
    struct hn_op *op = add_op(g, HN_OP_RMSNORM, layer, x, out);
    op->attr.norm.weight = weight;
    op->attr.norm.eps = eps;
    return out;
}

int hn_graph_linear(struct hn_graph *g, int layer, int x, int residual, const struct hn_adapter *adapter,
    size_t n_parts, const struct hn_weight *const *weights) {
    struct hn_linear linear = {.n_parts = n_parts, .in = weights[0]->cols};
    for (size_t p = 0; p < n_parts; p++) {
        linear.weights[p] = weights[p];
        linear.out += weights[p]->rows;
        linear.lora[p] = adapter ? hn_adapter_find(adapter, weights[p]) : NULL;
        if (linear.lora[p] && linear.n_adapted++ == 0)
            linear.a_param = linear.lora[p]->a;
    }
    if (linear.n_adapted) {
        linear.lora_rank = adapter->rank;
        linear.lora_scale = adapter->scale;
        linear.lora_dropout = adapter->dropout;
    }
    enum hn_dim dim = g->tensors[x].dim;
    int out = add_tensor(g, dim, linear.out);
    int mid = linear.n_adapted ? add_tensor(g, dim, linear.n_adapted * linear.lora_rank) : -1;
    struct hn_op *op = add_op(g, HN_OP_LINEAR, layer, x, out);
    op->in[1] = residual;
    op->out[1] = mid;
    op->attr.linear = linear;
    return out;
}

int hn_graph_rope(struct hn_graph *g, int layer, int qkv, const struct hn_config *config) {
    int out = add_tensor(g, HN_DIM_TOKENS, g->tensors[qkv].cols);
    struct hn_op *op = add_op(g, HN_OP_ROPE, layer, qkv, out);
    op->attr.rope.heads = config->heads;
    op->attr.rope.kv_heads = config->kv_heads;
    op->attr.rope.head_dim = config->head_dim;
    op->attr.rope.base = config->rope_base;
    op->attr.rope.interleaved = config->rope_interleaved;
    return out;
}

int hn_graph_attention(
    struct hn_graph *g, int layer, int qkv, const struct hn_config *config, bool causal, bool cached) {
    int out = add_tensor(g, HN_DIM_TOKENS, config->heads * config->head_dim);
    int lse = add_tensor(g, HN_DIM_TOKENS, config->heads);
    struct hn_op *op = add_op(g, HN_OP_ATTENTION, layer, qkv, out);
    op->out[1] = lse;
    op->attr.attention.heads = config->heads;
    op->attr.attention.kv_heads = config->kv_heads;
    op->attr.attention.head_dim = config->head_dim;
    op->attr.attention.cache_layer = (size_t)layer;
    op->attr.attention.causal = causal;
    op->attr.attention.cached = cached;
    op->attr.attention.scale = 1 / sqrt((double)config->head_dim);
    return out;
}

int hn_graph_swiglu(struct hn_graph *g, int layer, int gate_up) {
    int out = add_tensor(g, g->tensors[gate_up].dim, g->tensors[gate_up].cols / 2);
    add_op(g, HN_OP_SWIGLU, layer, gate_up, out);
    return out;
}

int hn_graph_gather(struct hn_graph *g, int x) {
    int out = add_tensor(g, HN_DIM_TARGETS, g->tensors[x].cols);
    add_op(g, HN_OP_GATHER, -1, x, out);
    return out;
}

void hn_graph_head(
    struct hn_graph *g, int x, const struct hn_weight *weight, const struct hn_graph_options *options) {
    int out = options->logits ? add_tensor(g, HN_DIM_TARGETS, weight->rows) : -1;
    struct hn_op *op = add_op(g, options->logits ? HN_OP_LOGITS : HN_OP_LOSS, -1, x, out);
    op->attr.head.weight = weight;
    op->attr.head.smoothing = options->label_smoothing;
}

int hn_graph_build(struct hn_graph *graph, const struct hn_model *model, const struct hn_graph_options *options,
    struct hn_error *err) {
    *graph = (struct hn_graph){0};
    int rc = model->arch->build(model, options, graph, err);
    if (!rc && graph->failed)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory building the graph");
    if (rc)
        hn_graph_finish(graph);
    return rc;
}

void hn_graph_finish(struct hn_graph *graph) {
    free(graph->tensors);
    free(graph->ops);
    *graph = (struct hn_graph){0};
}
