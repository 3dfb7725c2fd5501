/*
 * Attention in blocks of queries and keys: the score matrix exists only as one block in a thread's scratch; what is
 * kept for the backward pass is the log-sum-exp of each row (Dao et al. 2022).
 *
 * Forward: a task is (block of queries, head). Backward: a task is (sequence, head) and walks its blocks in order,
 * writing dQ in place and dK, dV of its own head into work space; a second pass sums the heads of a key-value group
 * in fixed order. So no sum depends on the number of threads.
 */
#include "engine/attention.h"
#include "engine/dropout.h"
#include "engine/gemm.h"
#include "engine/kernels.h"
#include "engine/tiles.h"

#include <math.h>
#include <string.h>

struct attention {
    struct hn_exec *x;
    const struct hn_op *op;
    const struct hn_kernels *k;
    size_t heads, kv_heads, group, d, cols, q_cols, kv_cols;
    const float *qkv, *lse_in, *out_in, *dout;
    float *out, *lse, *din, *delta, *dk, *dv, *cache;
    float scale;
    bool causal, alone; /* alone: a sequence of one next token (hn_batch.n_next), without packing */
    size_t window;      /* keys a query sees; SIZE_MAX: all */
    double dropout;     /* 0 outside training */
};

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static struct attention describe(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_op *op = step->op;
    struct attention a = {.x = x,
        .op = op,
        .dropout = x->dropout_on ? op->attr.attention.dropout : 0,
        .k = hn_kernels(),
        .heads = op->attr.attention.heads,
        .kv_heads = op->attr.attention.kv_heads,
        .d = op->attr.attention.head_dim,
        .qkv = hn_buffer(x, step->in[0]),
        .scale = (float)op->attr.attention.scale,
        .causal = op->attr.attention.causal,
        .window = op->attr.attention.window ? op->attr.attention.window : SIZE_MAX};
    a.group = a.heads / a.kv_heads;
    a.q_cols = a.heads * a.d;
    a.kv_cols = a.kv_heads * a.d;
    a.cols = a.q_cols + 2 * a.kv_cols;
    if (op->attr.attention.cached)
        a.cache = (float *)hn_buffer(x, x->plan->cache) +
                  op->attr.attention.cache_layer * 2 * a.kv_cols * x->plan->caps.cache_rows;
    return a;
}

struct keys {
    const float *k, *v;
    size_t stride, n;
};

static struct keys keys_of(const struct attention *a, size_t s, size_t head) {
    const struct hn_batch *b = a->x->batch;
    size_t offset = head / a->group * a->d, n = b->starts[s + 1] - b->starts[s];
    if (a->cache) {
        const float *rows = a->cache + (size_t)b->cache_rows[s] * 2 * a->kv_cols;
        return (struct keys){rows + offset, rows + a->kv_cols + offset, 2 * a->kv_cols, b->past[s] + n};
    }
    const float *rows = a->qkv + b->starts[s] * a->cols + a->q_cols + offset;
    return (struct keys){rows, rows + a->kv_cols, a->cols, n};
}

static void append_to_cache(const struct attention *a) {
    const struct hn_batch *b = a->x->batch;
    for (size_t s = 0; s < b->n_sequences; s++)
        for (size_t i = b->starts[s]; i < b->starts[s + 1]; i++)
            memcpy(a->cache + (b->cache_rows[s] + b->past[s] + i - b->starts[s]) * 2 * a->kv_cols,
                a->qkv + i * a->cols + a->q_cols, 2 * a->kv_cols * sizeof *a->cache);
}

/* Scores of query rows i0…i0+m against keys j0…j0+n, masked; row r sees keys up to `visible + r`, and
 * no more than the window holds. */
static void scores(const struct attention *a, const float *q, const struct keys *keys, size_t m, size_t j0, size_t n,
    size_t visible, float *s, unsigned thread) {
    if (a->alone)
        a->k->dots(s, 1, a->scale, false, q, keys->k + j0 * keys->stride, keys->stride, n, a->d);
    else
        hn_gemm(false, true, m, n, a->d, a->scale, q, a->cols, keys->k + j0 * keys->stride, keys->stride, false, s, n,
            hn_scratch(a->x, thread));
    for (size_t r = 0; a->causal && r < m; r++)
        for (size_t j = visible + r + 1 > j0 ? visible + r + 1 - j0 : 0; j < n; j++)
            s[r * n + j] = -INFINITY;
    for (size_t r = 0; a->window != SIZE_MAX && r < m; r++)
        for (size_t j = j0; j + a->window < visible + r + 1 && j < j0 + n; j++)
            s[r * n + j - j0] = -INFINITY;
}

/* Drops probabilities, or their gradients, of m query rows from i0 on against the keys j0…j0+n of sequence s. */
static void drop(
    const struct attention *a, size_t s, size_t head, size_t i0, size_t m, size_t j0, size_t n, float *p) {
    for (size_t r = 0; a->dropout > 0 && r < m; r++)
        hn_dropout_apply(hn_attention_key(a->x, a->op, s, i0 + r), head, j0, a->dropout, p + r * n, n);
}

/* Block `block` of the batch's query blocks: its sequence and first row in it. */
static size_t find_block(const struct hn_batch *b, size_t block, size_t *row) {
    size_t s = 0;
    for (;; s++) {
        size_t blocks = (b->starts[s + 1] - b->starts[s] + HN_QUERY_BLOCK - 1) / HN_QUERY_BLOCK;
        if (block < blocks)
            break;
        block -= blocks;
    }
    *row = block * HN_QUERY_BLOCK;
    return s;
}

static size_t count_blocks(const struct hn_batch *b) {
    size_t blocks = 0;
    for (size_t s = 0; s < b->n_sequences; s++)
        blocks += (b->starts[s + 1] - b->starts[s] + HN_QUERY_BLOCK - 1) / HN_QUERY_BLOCK;
    return blocks;
}

/* out[m, d] += p[m, n] · V */
static void add_values(const struct attention *a, const float *p, const struct keys *keys, size_t m, size_t j0,
    size_t n, float *out, unsigned thread) {
    const float *v = keys->v + j0 * keys->stride;
    if (!a->alone)
        hn_gemm(false, false, m, a->d, n, 1, p, n, v, keys->stride, true, out, a->q_cols, hn_scratch(a->x, thread));
    else
        a->k->mix(out, p, v, keys->stride, n, a->d);
}

static void forward_block(void *context, size_t task, unsigned thread) {
    struct attention own = *(const struct attention *)context, *a = &own;
    const struct hn_batch *b = a->x->batch;
    size_t head = task % a->heads, i0, s = find_block(b, task / a->heads, &i0);
    own.alone = s < b->n_next;
    size_t length = b->starts[s + 1] - b->starts[s], m = least(HN_QUERY_BLOCK, length - i0), row = b->starts[s] + i0;
    struct keys keys = keys_of(a, s, head);
    size_t visible = keys.n - length + i0; /* last key that the block's first query sees */
    size_t end = a->causal ? visible + m : keys.n;
    const float *q = a->qkv + row * a->cols + head * a->d;
    float *out = a->out + row * a->q_cols + head * a->d, *p = hn_op_room(a->x, thread);
    float *max = p + HN_QUERY_BLOCK * HN_KEY_BLOCK, *sum = max + HN_QUERY_BLOCK;
    for (size_t r = 0; r < m; r++) {
        max[r] = -INFINITY;
        sum[r] = 0;
        memset(out + r * a->q_cols, 0, a->d * sizeof *out);
    }
    size_t oldest = visible + 1 > a->window ? visible + 1 - a->window : 0; /* that the block's first query sees */
    for (size_t j0 = oldest / HN_KEY_BLOCK * HN_KEY_BLOCK; j0 < end; j0 += HN_KEY_BLOCK) {
        size_t n = least(HN_KEY_BLOCK, end - j0);
        scores(a, q, &keys, m, j0, n, visible, p, thread);
        for (size_t r = 0; r < m; r++) {
            float *row_p = p + r * n, top = a->k->max(row_p, n);
            top = top > max[r] ? top : max[r];
            if (top <= -INFINITY) { /* all of the block lies before this row's window */
                memset(row_p, 0, n * sizeof *row_p);
                continue;
            }
            if (j0) {
                float shrink = expf(max[r] - top);
                sum[r] *= shrink;
                a->k->scale(out + r * a->q_cols, shrink, a->d);
            }
            max[r] = top;
            sum[r] += a->k->exp_shift(row_p, top, n);
        }
        drop(a, s, head, i0, m, j0, n, p);
        add_values(a, p, &keys, m, j0, n, out, thread);
    }
    for (size_t r = 0; r < m; r++) {
        a->k->scale(out + r * a->q_cols, 1 / sum[r], a->d);
        a->lse[(row + r) * a->heads + head] = max[r] + logf(sum[r]);
    }
}

void hn_attention_forward(struct hn_exec *x, const struct hn_step *step) {
    struct attention a = describe(x, step);
    a.out = hn_buffer(x, step->out[0]);
    a.lse = hn_buffer(x, step->out[1]);
    if (a.cache)
        append_to_cache(&a);
    hn_pool_run(x->pool, count_blocks(x->batch) * a.heads, forward_block, &a);
}

static void backward_head(void *context, size_t task, unsigned thread) {
    const struct attention *a = context;
    const struct hn_batch *b = a->x->batch;
    size_t head = task % a->heads, s = task / a->heads, first = b->starts[s], length = b->starts[s + 1] - first;
    struct keys keys = keys_of(a, s, head);
    const float *q = a->qkv + first * a->cols + head * a->d, *dout = a->dout + first * a->q_cols + head * a->d;
    const float *out = a->out_in + first * a->q_cols + head * a->d, *lse = a->lse_in + first * a->heads + head;
    float *dq = a->din + first * a->cols + head * a->d, *delta = a->delta + first * a->heads + head;
    float *dk = a->dk + first * a->q_cols + head * a->d, *dv = a->dv + first * a->q_cols + head * a->d;
    float *p = hn_op_room(a->x, thread), *dp = p + HN_QUERY_BLOCK * HN_KEY_BLOCK;
    for (size_t i = 0; i < length; i++) {
        delta[i * a->heads] = a->k->dot(dout + i * a->q_cols, out + i * a->q_cols, a->d);
        memset(dq + i * a->cols, 0, a->d * sizeof *dq);
        memset(dk + i * a->q_cols, 0, a->d * sizeof *dk);
        memset(dv + i * a->q_cols, 0, a->d * sizeof *dv);
    }
    for (size_t j0 = 0; j0 < length; j0 += HN_KEY_BLOCK)
        for (size_t i0 = a->causal ? j0 / HN_QUERY_BLOCK * HN_QUERY_BLOCK : 0; i0 < length; i0 += HN_QUERY_BLOCK) {
            if (i0 >= a->window && i0 - a->window >= j0 + HN_KEY_BLOCK - 1)
                break; /* the block's first query is past all of these keys, so are the rest */
            size_t m = least(HN_QUERY_BLOCK, length - i0), n = least(HN_KEY_BLOCK, length - j0);
            if (a->causal)
                n = least(n, i0 + m - j0);
            scores(a, q + i0 * a->cols, &keys, m, j0, n, i0, p, thread);
            for (size_t r = 0; r < m; r++)
                a->k->exp_shift(p + r * n, lse[(i0 + r) * a->heads], n);
            hn_gemm(false, true, m, n, a->d, 1, dout + i0 * a->q_cols, a->q_cols, keys.v + j0 * keys.stride,
                keys.stride, false, dp, n, hn_scratch(a->x, thread));
            drop(a, s, head, i0, m, j0, n, dp);
            for (size_t r = 0; r < m; r++)
                a->k->softmax_back(dp + r * n, p + r * n, dp + r * n, delta[(i0 + r) * a->heads], a->scale, n);
            drop(a, s, head, i0, m, j0, n, p);
            hn_gemm(true, false, n, a->d, m, 1, p, n, dout + i0 * a->q_cols, a->q_cols, true, dv + j0 * a->q_cols,
                a->q_cols, hn_scratch(a->x, thread));
            hn_gemm(false, false, m, a->d, n, 1, dp, n, keys.k + j0 * keys.stride, keys.stride, true,
                dq + i0 * a->cols, a->cols, hn_scratch(a->x, thread));
            hn_gemm(true, false, n, a->d, m, 1, dp, n, q + i0 * a->cols, a->cols, true, dk + j0 * a->q_cols,
                a->q_cols, hn_scratch(a->x, thread));
        }
}

/* Sums the query heads of each key-value head, in order. */
static void sum_groups(void *context, size_t block, unsigned thread) {
    const struct attention *a = context;
    size_t end = least((block + 1) * HN_ROW_BLOCK, a->x->batch->n_tokens);
    (void)thread;
    for (size_t t = block * HN_ROW_BLOCK; t < end; t++)
        for (size_t g = 0; g < a->kv_heads; g++) {
            float *k = a->din + t * a->cols + a->q_cols + g * a->d, *v = k + a->kv_cols;
            for (size_t h = g * a->group; h < (g + 1) * a->group; h++) {
                const float *dk = a->dk + t * a->q_cols + h * a->d, *dv = a->dv + t * a->q_cols + h * a->d;
                if (h == g * a->group) {
                    memcpy(k, dk, a->d * sizeof *k);
                    memcpy(v, dv, a->d * sizeof *v);
                } else {
                    a->k->axpy(k, 1, dk, a->d);
                    a->k->axpy(v, 1, dv, a->d);
                }
            }
        }
}

void hn_attention_backward(struct hn_exec *x, const struct hn_step *step) {
    struct attention a = describe(x, step);
    size_t tokens = x->batch->n_tokens;
    a.out_in = hn_buffer(x, step->out[0]);
    a.lse_in = hn_buffer(x, step->out[1]);
    a.dout = hn_buffer(x, step->dout[0]);
    a.din = hn_buffer(x, step->din[0]);
    a.delta = hn_buffer(x, step->work);
    a.dk = a.delta + tokens * a.heads;
    a.dv = a.dk + tokens * a.q_cols;
    hn_pool_run(x->pool, x->batch->n_sequences * a.heads, backward_head, &a);
    hn_pool_run(x->pool, (tokens + HN_ROW_BLOCK - 1) / HN_ROW_BLOCK, sum_groups, &a);
}
