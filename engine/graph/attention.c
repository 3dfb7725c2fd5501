/*
 * Attention in blocks of queries and keys: the score matrix exists only as one block in a thread's
 * scratch; what is kept for the backward pass is the log-sum-exp of each row (Dao et al. 2022).
 *
 * Forward: a task is a block of queries of the heads that share keys and values. Backward: a task
 * is a head of a sequence and every fourth block of its keys, which are packed once for all
 * queries; it writes dK and dV of its own head into work space, as it does dQ where it is not the
 * first of these parts. A second pass sums the parts, and the heads of a key-value group, in fixed
 * order. So no sum depends on the number of threads.
 */
#include "engine/graph/attention.h"
#include "engine/graph/dropout.h"
#include "engine/kernels/gemm.h"
#include "engine/kernels/kernels.h"
#include "engine/graph/tiles.h"

#include <math.h>
#include <string.h>

struct attention {
    struct hn_exec *x;
    const struct hn_op *op;
    const struct hn_kernels *k;
    size_t heads, kv_heads, group, d, cols, q_cols, kv_cols;
    const float *qkv, *lse_in, *out_in, *dout;
    float *out, *lse, *din, *delta, *dk, *dv, *dq, *cache; /* dq: of all parts but the first */
    float scale;
    bool causal,
        alone;       /* alone: a sequence of one next token (hn_batch.n_decode), without packing */
    size_t together; /* heads of a forward task */
    size_t window;   /* keys a query sees; SIZE_MAX: all */
    double dropout;  /* 0 outside training */
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
        return (struct keys){
            rows + offset, rows + a->kv_cols + offset, 2 * a->kv_cols, b->past[s] + n};
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

/* A block of keys and values as operands of matmuls, packed in a thread's room behind its other
 * values. */
struct key_block {
    const float *keys, *values;
    size_t stride, j0, n;
    struct hn_operand keys_turned, values_turned, keys_straight, values_straight;
};

static struct key_block block_of(const struct keys *keys, size_t j0, size_t n) {
    size_t at = j0 * keys->stride;
    return (struct key_block){
        .keys = keys->k + at, .values = keys->v + at, .stride = keys->stride, .j0 = j0, .n = n};
}

/* The operand of n rows of d values, or of their transpose; the room left behind it. */
static float *pack(struct hn_operand *b, bool trans, const float *rows, size_t stride, size_t n,
    size_t d, float *room) {
    *b = (struct hn_operand){trans, trans ? d : n, trans ? n : d, stride, rows, room};
    hn_operand_pack(b);
    return room + hn_operand_room(b->k, b->n);
}

/* Scores of m query rows against the first n keys of a block, masked; row r sees keys up to
 * `visible + r`, and no more than the window holds. */
static void scores(const struct attention *a, const float *q, const struct key_block *b, size_t m,
    size_t n, size_t visible, float *s) {
    if (a->alone)
        a->k->dots(s, 1, a->scale, false, q, 0, 1, b->keys, b->stride, n, a->d);
    else
        hn_gemm_operand(false, m, n, a->d, a->scale, q, a->cols, &b->keys_turned, false, s, n);
    for (size_t r = 0; a->causal && r < m; r++)
        for (size_t j = visible + r + 1 > b->j0 ? visible + r + 1 - b->j0 : 0; j < n; j++)
            s[r * n + j] = -INFINITY;
    for (size_t r = 0; a->window != SIZE_MAX && r < m; r++)
        for (size_t j = b->j0; j + a->window < visible + r + 1 && j < b->j0 + n; j++)
            s[r * n + j - b->j0] = -INFINITY;
}

/* Drops probabilities, or their gradients, of m query rows from i0 on against the keys j0…j0+n of
 * sequence s. */
static void drop(const struct attention *a, size_t s, size_t head, size_t i0, size_t m, size_t j0,
    size_t n, float *p) {
    for (size_t r = 0; a->dropout > 0 && r < m; r++)
        hn_dropout_apply(
            hn_attention_key(a->x, a->op, s, i0 + r), head, j0, a->dropout, p + r * n, n);
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

/* The running softmax over blocks of keys of one head's query rows: largest score and sum of
 * each. */
struct running {
    const float *q;
    float *out, *max, *sum;
    size_t m;
};

static struct running begin_rows(
    const struct attention *a, size_t head, size_t row, size_t m, float *room) {
    struct running run = {a->qkv + row * a->cols + head * a->d,
        a->out + row * a->q_cols + head * a->d, room, room + HN_QUERY_BLOCK, m};
    for (size_t r = 0; r < m; r++) {
        run.max[r] = -INFINITY;
        run.sum[r] = 0;
        memset(run.out + r * a->q_cols, 0, a->d * sizeof *run.out);
    }
    return run;
}

/* exp(scores − max) in place; what was summed before shrinks where the maximum grows. */
static void exponents(const struct attention *a, struct running *run, float *p, size_t n) {
    for (size_t r = 0; r < run->m; r++) {
        float *row_p = p + r * n, top = a->k->max(row_p, n);
        top = top > run->max[r] ? top : run->max[r];
        if (top <= -INFINITY) { /* all of the block lies before this row's window */
            memset(row_p, 0, n * sizeof *row_p);
            continue;
        }
        if (run->max[r] > -INFINITY) {
            float shrink = expf(run->max[r] - top);
            run->sum[r] *= shrink;
            a->k->scale(run->out + r * a->q_cols, shrink, a->d);
        }
        run->max[r] = top;
        run->sum[r] += a->k->exp_shift(row_p, top, n);
    }
}

/* out[m, d] += p[m, n] · V */
static void add_values(const struct attention *a, const struct running *run, const float *p,
    const struct key_block *b) {
    if (a->alone)
        a->k->mix(run->out, p, b->values, b->stride, b->n, a->d);
    else
        hn_gemm_operand(
            false, run->m, a->d, b->n, 1, p, b->n, &b->values_straight, true, run->out, a->q_cols);
}

static void end_rows(
    const struct attention *a, const struct running *run, size_t head, size_t row) {
    for (size_t r = 0; r < run->m; r++) {
        a->k->scale(run->out + r * a->q_cols, 1 / run->sum[r], a->d);
        a->lse[(row + r) * a->heads + head] = run->max[r] + logf(run->sum[r]);
    }
}

static void forward_block(void *context, size_t task, unsigned thread) {
    struct attention own = *(const struct attention *)context, *a = &own;
    const struct hn_batch *b = a->x->batch;
    size_t sets = a->heads / a->together, head = task % sets * a->together, i0,
           s = find_block(b, task / sets, &i0);
    own.alone = s < b->n_decode;
    size_t length = b->starts[s + 1] - b->starts[s], m = least(HN_QUERY_BLOCK, length - i0),
           row = b->starts[s] + i0;
    struct keys keys = keys_of(a, s, head);
    size_t visible = keys.n - length + i0; /* last key that the block's first query sees */
    size_t end = a->causal ? visible + m : keys.n;
    float *p = hn_op_room(a->x, thread), *sums = p + HN_QUERY_BLOCK * HN_KEY_BLOCK;
    float *packed = sums + 2 * HN_QUERY_BLOCK * a->together;
    /* that the block's first query sees */
    size_t oldest = visible + 1 > a->window ? visible + 1 - a->window : 0;
    struct running runs[HN_HEADS_TOGETHER];
    for (size_t h = 0; h < a->together; h++)
        runs[h] = begin_rows(a, head + h, row, m, sums + 2 * HN_QUERY_BLOCK * h);
    for (size_t j0 = oldest / HN_KEY_BLOCK * HN_KEY_BLOCK; j0 < end; j0 += HN_KEY_BLOCK) {
        struct key_block block = block_of(&keys, j0, least(HN_KEY_BLOCK, end - j0));
        if (!a->alone)
            pack(&block.values_straight, false, block.values, block.stride, block.n, a->d,
                pack(&block.keys_turned, true, block.keys, block.stride, block.n, a->d, packed));
        for (size_t h = 0; h < a->together; h++) {
            scores(a, runs[h].q, &block, m, block.n, visible, p);
            exponents(a, &runs[h], p, block.n);
            drop(a, s, head + h, i0, m, j0, block.n, p);
            add_values(a, &runs[h], p, &block);
        }
    }
    for (size_t h = 0; h < a->together; h++)
        end_rows(a, &runs[h], head + h, row);
}

/* Heads of a group share packed keys and values; next tokens pack nothing, and are few. */
static size_t heads_together(const struct attention *a) {
    size_t n = a->x->batch->n_decode ? 1 : least(a->group, HN_HEADS_TOGETHER);
    while (a->group % n)
        n--;
    return n;
}

void hn_attention_forward(struct hn_exec *x, const struct hn_step *step) {
    struct attention a = describe(x, step);
    a.out = hn_buffer(x, step->out[0]);
    a.lse = hn_buffer(x, step->out[1]);
    if (a.cache)
        append_to_cache(&a);
    a.together = heads_together(&a);
    hn_pool_run(x->pool, count_blocks(x->batch) * (a.heads / a.together), forward_block, &a);
}

static void delta_rows(void *context, size_t block, unsigned thread) {
    const struct attention *a = context;
    size_t end = least((block + 1) * HN_ROW_BLOCK, a->x->batch->n_tokens);
    (void)thread;
    for (size_t t = block * HN_ROW_BLOCK; t < end; t++)
        for (size_t h = 0; h < a->heads; h++)
            a->delta[t * a->heads + h] = a->k->dot(
                a->dout + t * a->q_cols + h * a->d, a->out_in + t * a->q_cols + h * a->d, a->d);
}

/* Gradients of one head's queries in one part, its keys and values, at the sequence's first row. */
struct head_back {
    size_t s, head, length, ld_dq;
    const float *q, *dout, *lse, *delta;
    float *dq, *dk, *dv;
};

static struct head_back head_at(const struct attention *a, size_t s, size_t head, size_t part) {
    const struct hn_batch *b = a->x->batch;
    size_t first = b->starts[s], at = first * a->q_cols + head * a->d,
           stat = first * a->heads + head;
    struct head_back h = {.s = s,
        .head = head,
        .length = b->starts[s + 1] - first,
        .ld_dq = part ? a->q_cols : a->cols};
    h.q = a->qkv + first * a->cols + head * a->d;
    h.dout = a->dout + at;
    h.lse = a->lse_in + stat;
    h.delta = a->delta + stat;
    h.dq = part ? a->dq + (part - 1) * b->n_tokens * a->q_cols + at
                : a->din + first * a->cols + head * a->d;
    h.dk = a->dk + at;
    h.dv = a->dv + at;
    return h;
}

/* Queries i0… against a block of keys: dQ, dK and dV grow. `p` holds two matrices of scores. */
static void backward_block(const struct attention *a, const struct head_back *h,
    const struct key_block *b, size_t i0, float *p, float *scratch) {
    size_t m = least(HN_QUERY_BLOCK, h->length - i0),
           n = a->causal ? least(b->n, i0 + m - b->j0) : b->n;
    const float *q = h->q + i0 * a->cols, *dout = h->dout + i0 * a->q_cols;
    float *dp = p + HN_QUERY_BLOCK * HN_KEY_BLOCK;
    scores(a, q, b, m, n, i0, p);
    for (size_t r = 0; r < m; r++)
        a->k->exp_shift(p + r * n, h->lse[(i0 + r) * a->heads], n);
    hn_gemm_operand(false, m, n, a->d, 1, dout, a->q_cols, &b->values_turned, false, dp, n);
    drop(a, h->s, h->head, i0, m, b->j0, n, dp);
    for (size_t r = 0; r < m; r++)
        a->k->softmax_back(
            dp + r * n, p + r * n, dp + r * n, h->delta[(i0 + r) * a->heads], a->scale, n);
    drop(a, h->s, h->head, i0, m, b->j0, n, p);
    hn_gemm(true, false, n, a->d, m, 1, p, n, dout, a->q_cols, true, h->dv + b->j0 * a->q_cols,
        a->q_cols, scratch);
    hn_gemm_operand(
        false, m, a->d, n, 1, dp, n, &b->keys_straight, true, h->dq + i0 * h->ld_dq, h->ld_dq);
    hn_gemm(true, false, n, a->d, m, 1, dp, n, q, a->cols, true, h->dk + b->j0 * a->q_cols,
        a->q_cols, scratch);
}

static void clear_rows(float *rows, size_t ld, size_t n, size_t d) {
    for (size_t i = 0; i < n; i++)
        memset(rows + i * ld, 0, d * sizeof *rows);
}

static void backward_part(void *context, size_t task, unsigned thread) {
    const struct attention *a = context;
    size_t heads = a->x->batch->n_sequences * a->heads, part = task / heads;
    struct head_back h = head_at(a, task % heads / a->heads, task % a->heads, part);
    struct keys keys = keys_of(a, h.s, h.head);
    float *p = hn_op_room(a->x, thread), *packed = p + 2 * HN_QUERY_BLOCK * HN_KEY_BLOCK;
    if (part >= hn_key_parts(h.length))
        return;
    clear_rows(h.dq, h.ld_dq, h.length, a->d);
    for (size_t j0 = part * HN_KEY_BLOCK; j0 < h.length; j0 += HN_KEY_PARTS * HN_KEY_BLOCK) {
        struct key_block block = block_of(&keys, j0, least(HN_KEY_BLOCK, h.length - j0));
        float *room =
            pack(&block.keys_turned, true, block.keys, block.stride, block.n, a->d, packed);
        room = pack(&block.values_turned, true, block.values, block.stride, block.n, a->d, room);
        pack(&block.keys_straight, false, block.keys, block.stride, block.n, a->d, room);
        clear_rows(h.dk + j0 * a->q_cols, a->q_cols, block.n, a->d);
        clear_rows(h.dv + j0 * a->q_cols, a->q_cols, block.n, a->d);
        for (size_t i0 = a->causal ? j0 / HN_QUERY_BLOCK * HN_QUERY_BLOCK : 0; i0 < h.length;
             i0 += HN_QUERY_BLOCK) {
            if (i0 >= a->window && i0 - a->window >= j0 + HN_KEY_BLOCK - 1)
                break; /* the block's first query is past all of these keys, so are the rest */
            backward_block(a, &h, &block, i0, p, hn_scratch(a->x, thread));
        }
    }
}

/* Sums the parts of dQ, and the query heads of each key-value head, in order. */
static void sum_row(const struct attention *a, size_t t, size_t parts) {
    float *dq = a->din + t * a->cols, *k = dq + a->q_cols, *v = k + a->kv_cols;
    const float *dk = a->dk + t * a->q_cols, *dv = a->dv + t * a->q_cols;
    for (size_t part = 1; part < parts; part++)
        a->k->axpy(dq, 1, a->dq + ((part - 1) * a->x->batch->n_tokens + t) * a->q_cols, a->q_cols);
    for (size_t h = 0; h < a->heads; h++) {
        size_t to = h / a->group * a->d, from = h * a->d;
        if (h % a->group == 0) {
            memcpy(k + to, dk + from, a->d * sizeof *k);
            memcpy(v + to, dv + from, a->d * sizeof *v);
        } else {
            a->k->axpy(k + to, 1, dk + from, a->d);
            a->k->axpy(v + to, 1, dv + from, a->d);
        }
    }
}

static void sum_rows(void *context, size_t block, unsigned thread) {
    const struct attention *a = context;
    const struct hn_batch *b = a->x->batch;
    size_t i0, s = find_block(b, block, &i0), length = b->starts[s + 1] - b->starts[s];
    (void)thread;
    for (size_t i = i0; i < least(i0 + HN_QUERY_BLOCK, length); i++)
        sum_row(a, b->starts[s] + i, hn_key_parts(length));
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
    a.dq = a.dv + tokens * a.q_cols;
    hn_pool_run(x->pool, (tokens + HN_ROW_BLOCK - 1) / HN_ROW_BLOCK, delta_rows, &a);
    hn_pool_run(x->pool, x->batch->n_sequences * a.heads * hn_key_parts(tokens), backward_part, &a);
    hn_pool_run(x->pool, count_blocks(x->batch), sum_rows, &a);
}
