/* See op_info.h. The room that attention.c, linear.c and ops_fast.c divide up. */
#include "engine/graph/op_info.h"
#include "engine/graph/tiles.h"
#include "engine/kernels/gemm.h"

const struct hn_op_info hn_op_infos[HN_OPS] = {
    [HN_OP_EMBED] = {.name = "embed"},
    [HN_OP_RMSNORM] = {.name = "rmsnorm", .reads_in = 1, .cheap = true, .residual = true},
    [HN_OP_LAYERNORM] = {.name = "layernorm", .reads_in = 1, .cheap = true, .residual = true},
    [HN_OP_HEADNORM] = {.name = "headnorm", .reads_in = 1, .cheap = true},
    [HN_OP_LINEAR] = {.name = "linear", .reads_in = 1, .reads_out = 2, .residual = true},
    [HN_OP_ROPE_TABLE] = {.name = "angles"},
    [HN_OP_ROPE] = {.name = "rope", .reads_in = 2, .in_place = true},
    [HN_OP_ATTENTION] = {.name = "attention", .reads_in = 1, .reads_out = 3},
    [HN_OP_GLU] = {.name = "glu", .reads_in = 1, .cheap = true},
    [HN_OP_ACTIVATE] = {.name = "activate", .reads_in = 1, .cheap = true},
    [HN_OP_DROPOUT] = {.name = "dropout", .cheap = true, .residual = true},
    [HN_OP_GATHER] = {.name = "gather"},
    [HN_OP_LOSS] = {.name = "loss", .reads_in = 1, .at_once = true},
    [HN_OP_LOGITS] = {.name = "logits"},
    [HN_OP_CRITERION] = {.name = "criterion", .reads_in = 1, .at_once = true},
};

static size_t attention_scratch(size_t head_dim, bool backward) {
    size_t scores = HN_QUERY_BLOCK * HN_KEY_BLOCK,
           straight = hn_operand_room(HN_KEY_BLOCK, head_dim),
           turned = hn_operand_room(head_dim, HN_KEY_BLOCK);
    return backward ? 2 * scores + 2 * turned + straight
                    : scores + 2 * HN_QUERY_BLOCK * HN_HEADS_TOGETHER + turned + straight;
}

/* delta, dK, dV, and dQ of the other parts */
static size_t attention_work(size_t heads, size_t head_dim, size_t tokens) {
    return tokens ? tokens * heads * (1 + (1 + hn_key_parts(tokens)) * head_dim) : 0;
}

size_t hn_op_scratch(const struct hn_op *op, bool backward) {
    switch (op->kind) {
    case HN_OP_EMBED:
        return op->attr.embed.weight->cols;
    case HN_OP_DROPOUT: /* a row with its mask applied */
        return op->attr.dropout.cols;
    case HN_OP_LINEAR: /* rows with their dropout mask applied */
        return HN_GEMM_SCRATCH +
            (op->attr.linear.lora_dropout > 0 ? HN_DROPOUT_ROWS * op->attr.linear.in : 0);
    case HN_OP_LOSS:
    case HN_OP_LOGITS:
        return HN_GEMM_SCRATCH;
    case HN_OP_ATTENTION:
        return HN_GEMM_SCRATCH + attention_scratch(op->attr.attention.head_dim, backward);
    default:
        return 0;
    }
}

size_t hn_op_work(const struct hn_op *op, bool backward, const struct hn_caps *caps) {
    size_t tokens = caps->dims[HN_DIM_TOKENS], targets = caps->dims[HN_DIM_TARGETS];
    switch (op->kind) {
    case HN_OP_LINEAR:
        return backward ? op->attr.linear.n_adapted * op->attr.linear.lora_rank * tokens : 0;
    case HN_OP_ATTENTION:
        return backward
            ? attention_work(op->attr.attention.heads, op->attr.attention.head_dim, tokens)
            : 0;
    case HN_OP_RMSNORM: /* 1/rms of each row, for the weight's gradient */
        return backward && op->attr.norm.weight->param != SIZE_MAX
            ? (tokens > targets ? tokens : targets)
            : 0;
    case HN_OP_LAYERNORM: /* mean and 1/deviation of each row */
        return backward && op->attr.norm.weight->param != SIZE_MAX
            ? 2 * (tokens > targets ? tokens : targets)
            : 0;
    case HN_OP_HEADNORM: /* 1/rms of each head */
        return backward && op->attr.head_norm.q->param != SIZE_MAX
            ? tokens * (op->attr.head_norm.heads + op->attr.head_norm.kv_heads)
            : 0;
    case HN_OP_LOSS: /* a chunk of logits, then the cross entropy of its rows */
        return (targets < HN_LOSS_ROWS ? targets : HN_LOSS_ROWS) * (op->attr.head.weight->rows + 2);
    default:
        return 0;
    }
}
