/* See graph.h. Building never fails half-way: out of memory sets `failed`, which hn_graph_build
 * reports once. */
#include "engine/graph/graph.h"
#include "engine/base/buf.h"

#include <stdlib.h>
#include <string.h>

static int add_tensor(struct hn_graph *g, enum hn_dim dim, size_t cols) {
    if (g->failed ||
        !hn_grow(&g->tensors, &g->tensors_capacity, g->n_tensors + 1, sizeof *g->tensors)) {
        g->failed = true;
        return 0;
    }
    g->tensors[g->n_tensors] = (struct hn_tensor){dim, cols};
    return (int)g->n_tensors++;
}

/* An op with one input and one output; the caller fills the attributes. */
static struct hn_op *add_op(
    struct hn_graph *g, enum hn_op_kind kind, int layer, int in0, int out0) {
    /* takes attributes once memory has run out; never read */
    static _Thread_local struct hn_op nowhere;
    if (g->failed || !hn_grow(&g->ops, &g->ops_capacity, g->n_ops + 1, sizeof *g->ops)) {
        g->failed = true;
        return &nowhere;
    }
    struct hn_op *op = &g->ops[g->n_ops++];
    *op = (struct hn_op){.kind = kind, .layer = layer, .in = {in0, -1}, .out = {out0, -1}};
    return op;
}

/* A bias follows its matrix or norm in the list of roles. */
static const struct hn_weight *bias_of(const struct hn_graph *g, int layer, enum hn_role role) {
    return hn_model_weight(g->model, layer, role + 1);
}

int hn_graph_embed(struct hn_graph *g) {
    const struct hn_weight *weight = g->model->by_role[HN_ROLE_EMBED];
    int out = add_tensor(g, HN_DIM_TOKENS, weight->cols);
    struct hn_op *op = add_op(g, HN_OP_EMBED, -1, -1, out);
    op->attr.embed.weight = weight;
    op->attr.embed.position = g->model->by_role[HN_ROLE_POSITION];
    op->attr.embed.position_offset = g->model->config.position_offset;
    op->attr.embed.type = g->model->by_role[HN_ROLE_TOKEN_TYPE];
    op->attr.embed.scale = g->model->config.embed_scale;
    return out;
}

int hn_graph_norm(struct hn_graph *g, int layer, int x, int residual, enum hn_role role) {
    bool with_mean = g->model->config.layer_norm;
    int out = add_tensor(g, g->tensors[x].dim, g->tensors[x].cols);
    struct hn_op *op = add_op(g, with_mean ? HN_OP_LAYERNORM : HN_OP_RMSNORM, layer, x, out);
    op->in[1] = residual;
    op->attr.norm.weight = hn_model_weight(g->model, layer, role);
    op->attr.norm.bias = with_mean ? bias_of(g, layer, role) : NULL;
    op->attr.norm.eps = g->model->config.norm_eps;
    return out;
}

int hn_graph_linear(
    struct hn_graph *g, int layer, int x, int residual, size_t n_parts, const enum hn_role *roles) {
    const struct hn_adapter *adapter = g->options->adapter;
    struct hn_linear linear = {.n_parts = n_parts};
    for (size_t p = 0; p < n_parts; p++) {
        const struct hn_weight *w = hn_model_weight(g->model, layer, roles[p]);
        linear.weights[p] = w;
        linear.biases[p] = bias_of(g, layer, roles[p]);
        linear.in = w->cols;
        linear.out += w->rows;
        linear.lora[p] = adapter ? hn_adapter_find(adapter, w) : NULL;
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

int hn_graph_head_norm(struct hn_graph *g, int layer, int qkv) {
    const struct hn_model_config *config = &g->model->config;
    const struct hn_weight *q = hn_model_weight(g->model, layer, HN_ROLE_Q_NORM);
    if (!q)
        return qkv;
    int out = add_tensor(g, HN_DIM_TOKENS, g->tensors[qkv].cols);
    struct hn_op *op = add_op(g, HN_OP_HEADNORM, layer, qkv, out);
    op->attr.head_norm.q = q;
    op->attr.head_norm.k = hn_model_weight(g->model, layer, HN_ROLE_K_NORM);
    op->attr.head_norm.heads = config->heads;
    op->attr.head_norm.kv_heads = config->kv_heads;
    op->attr.head_norm.head_dim = config->head_dim;
    op->attr.head_norm.eps = config->norm_eps;
    return out;
}

static int angles(struct hn_graph *g, bool local) {
    const struct hn_model_config *config = &g->model->config;
    if (g->angles[local] < 0) {
        g->angles[local] = add_tensor(g, HN_DIM_TOKENS, config->head_dim);
        struct hn_op *op = add_op(g, HN_OP_ROPE_TABLE, -1, -1, g->angles[local]);
        op->attr.angles.table = local ? &config->local_rope : &config->rope;
        op->attr.angles.head_dim = config->head_dim;
    }
    return g->angles[local];
}

int hn_graph_rope(struct hn_graph *g, int layer, int qkv) {
    const struct hn_model_config *config = &g->model->config;
    int turns = angles(g, config->has_local_rope && config->window[layer]);
    int out = add_tensor(g, HN_DIM_TOKENS, g->tensors[qkv].cols);
    struct hn_op *op = add_op(g, HN_OP_ROPE, layer, qkv, out);
    op->in[1] = turns;
    op->attr.rope.heads = config->heads;
    op->attr.rope.kv_heads = config->kv_heads;
    op->attr.rope.head_dim = config->head_dim;
    op->attr.rope.interleaved = config->rope_interleaved;
    return out;
}

int hn_graph_attention(struct hn_graph *g, int layer, int qkv, bool causal) {
    const struct hn_model_config *config = &g->model->config;
    int out = add_tensor(g, HN_DIM_TOKENS, config->heads * config->head_dim);
    int lse = add_tensor(g, HN_DIM_TOKENS, config->heads);
    struct hn_op *op = add_op(g, HN_OP_ATTENTION, layer, qkv, out);
    op->out[1] = lse;
    op->attr.attention.heads = config->heads;
    op->attr.attention.kv_heads = config->kv_heads;
    op->attr.attention.head_dim = config->head_dim;
    op->attr.attention.cache_layer = (size_t)layer;
    op->attr.attention.window = config->window[layer];
    op->attr.attention.causal = causal;
    op->attr.attention.cached = g->options->cached;
    op->attr.attention.scale = config->attention_scale;
    op->attr.attention.dropout = g->options->attention_dropout;
    return out;
}

int hn_graph_glu(struct hn_graph *g, int layer, int gate_up) {
    int out = add_tensor(g, g->tensors[gate_up].dim, g->tensors[gate_up].cols / 2);
    add_op(g, HN_OP_GLU, layer, gate_up, out)->attr.activation = g->model->config.activation;
    return out;
}

int hn_graph_activate(struct hn_graph *g, int layer, int x, enum hn_activation activation) {
    int out = add_tensor(g, g->tensors[x].dim, g->tensors[x].cols);
    add_op(g, HN_OP_ACTIVATE, layer, x, out)->attr.activation = activation;
    return out;
}

int hn_graph_dropout(
    struct hn_graph *g, int layer, int x, int residual, double p, enum hn_role place) {
    if (p <= 0 && residual < 0)
        return x;
    int out = add_tensor(g, g->tensors[x].dim, g->tensors[x].cols);
    struct hn_op *op = add_op(g, HN_OP_DROPOUT, layer, x, out);
    op->in[1] = residual;
    op->attr.dropout.p = p;
    op->attr.dropout.place = place;
    op->attr.dropout.cols = g->tensors[out].cols;
    return out;
}

static int gather(struct hn_graph *g, int layer, int x) {
    if (g->tensors[x].dim == HN_DIM_TARGETS)
        return x;
    int out = add_tensor(g, HN_DIM_TARGETS, g->tensors[x].cols);
    add_op(g, HN_OP_GATHER, layer, x, out);
    return out;
}

void hn_graph_narrow(struct hn_graph *g, int layer, int *x, int *residual) {
    bool last = (size_t)layer + 1 == g->model->config.layers;
    if (!last || g->options->cached || g->model->head.objective == HN_OBJECTIVE_SPAN)
        return;
    *x = gather(g, layer, *x);
    *residual = gather(g, layer, *residual);
}

static int final_norm(struct hn_graph *g, int x) {
    return g->model->by_role[HN_ROLE_OUT_NORM] ? hn_graph_norm(g, -1, x, -1, HN_ROLE_OUT_NORM) : x;
}

/* Next tokens, over the vocabulary. */
static void vocabulary_head(struct hn_graph *g, int x) {
    const struct hn_weight *weight = g->model->by_role[HN_ROLE_HEAD];
    x = final_norm(g, gather(g, -1, x));
    g->logits = g->options->logits ? add_tensor(g, HN_DIM_TARGETS, weight->rows) : -1;
    struct hn_op *op = add_op(g, g->options->logits ? HN_OP_LOGITS : HN_OP_LOSS, -1, x, g->logits);
    op->attr.head.weight = weight;
    op->attr.head.smoothing = g->options->label_smoothing;
}

void hn_graph_finish_head(struct hn_graph *g, int x) {
    const struct hn_head *head = &g->model->head;
    const struct hn_head_names *names = head->names;
    double p = g->options->head_dropout;
    if (g->options->hidden) {
        g->logits = final_norm(g, gather(g, -1, x));
        return;
    }
    if (head->objective == HN_OBJECTIVE_TOKENS) {
        vocabulary_head(g, x);
        return;
    }
    /* norms work row by row */
    x = final_norm(g, head->objective == HN_OBJECTIVE_SPAN ? x : gather(g, -1, x));
    if (names->pooled) {
        x = hn_graph_linear(g, -1, x, -1, 1, (enum hn_role[]){HN_ROLE_POOLER});
        x = hn_graph_activate(g, -1, x, HN_TANH);
    }
    x = hn_graph_dropout(g, -1, x, -1, names->drops_input ? p : 0, HN_ROLE_POOLER);
    if (names->dense) {
        x = hn_graph_linear(g, -1, x, -1, 1, (enum hn_role[]){HN_ROLE_DENSE});
        x = hn_graph_activate(g, -1, x, names->activation);
    }
    x = hn_graph_dropout(g, -1, x, -1, names->drops ? p : 0, HN_ROLE_DENSE);
    g->logits = hn_graph_linear(g, -1, x, -1, 1, (enum hn_role[]){HN_ROLE_SCORE});
    if (g->options->logits)
        return;
    struct hn_op *op = add_op(g, HN_OP_CRITERION, -1, g->logits, -1);
    op->attr.criterion.objective = head->objective;
    op->attr.criterion.smoothing = g->options->label_smoothing;
}

int hn_graph_build(struct hn_graph *graph, const struct hn_model *model,
    const struct hn_graph_options *options, struct hn_error *err) {
    *graph =
        (struct hn_graph){.model = model, .options = options, .angles = {-1, -1}, .logits = -1};
    model->arch->build(graph);
    graph->options = NULL;
    if (!graph->failed)
        return 0;
    hn_graph_finish(graph);
    return hn_fail(err, HN_E_INTERNAL, "out of memory building the graph");
}

void hn_graph_finish(struct hn_graph *graph) {
    free(graph->tensors);
    free(graph->ops);
    *graph = (struct hn_graph){0};
}
