/*
 * The fast ops: tiles over the pool's threads, matmuls by BLAS on blocks whose size depends on
 * shapes only. Each is compared with its plain-loop definition (ops_ref.c) by
 * tests/unit/test_ops.c. Attention is in attention.c.
 */
#include "engine/graph/attention.h"
#include "engine/kernels/blas.h"
#include "engine/graph/dropout.h"
#include "engine/kernels/kernels.h"
#include "engine/graph/linear.h"
#include "engine/graph/ops.h"
#include "engine/graph/tiles.h"

#include <math.h>
#include <string.h>

static size_t blocks_of(size_t n, size_t block) {
    return (n + block - 1) / block;
}

struct task {
    struct hn_exec *x;
    const struct hn_step *step;
    const struct hn_kernels *k;
    size_t rows, cols;
    size_t first; /* first target row of a loss chunk */
};

/* Runs fn once for every block of rows. */
static void each_row_block(struct task *task, hn_task_fn *fn) {
    hn_pool_run(task->x->pool, blocks_of(task->rows, HN_ROW_BLOCK), fn, task);
}

static size_t block_end(const struct task *task, size_t block) {
    size_t end = (block + 1) * HN_ROW_BLOCK;
    return end < task->rows ? end : task->rows;
}

/* Values of a vector weight: trained ones lie in the parameters, norms of a base are f32 (checked
 * when it is opened).
 */
static const float *vector_of(const struct hn_exec *x, const struct hn_weight *w) {
    return w->param == SIZE_MAX ? (const float *)w->data : (const float *)x->params + w->param;
}

/* Row of a matrix, where it is trained or else dequantised into `room`. */
static const float *row_of(
    const struct hn_exec *x, const struct hn_weight *w, size_t row, float *room) {
    if (w->param != SIZE_MAX)
        return (const float *)x->params + w->param + row * w->cols;
    hn_weight_row(w, row, room);
    return room;
}

static void embed_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_weight *w = t->step->op->attr.embed.weight;
    const struct hn_weight *position = t->step->op->attr.embed.position,
                           *type = t->step->op->attr.embed.type;
    size_t offset = t->step->op->attr.embed.position_offset;
    float *out = hn_buffer(t->x, t->step->out[0]), *room = hn_scratch(t->x, thread);
    for (size_t r = block * HN_ROW_BLOCK; r < block_end(t, block); r++) {
        size_t id = (size_t)t->x->batch->tokens[r];
        if (w->param == SIZE_MAX)
            hn_weight_row(w, id, out + r * t->cols);
        else
            memcpy(out + r * t->cols, (const float *)t->x->params + w->param + id * t->cols,
                t->cols * sizeof *out);
        if (t->step->op->attr.embed.scale < 1 || t->step->op->attr.embed.scale > 1)
            t->k->scale(out + r * t->cols, (float)t->step->op->attr.embed.scale, t->cols);
        if (position)
            t->k->axpy(out + r * t->cols, 1,
                row_of(t->x, position, t->x->batch->positions[r] + offset, room), t->cols);
        if (type)
            t->k->axpy(
                out + r * t->cols, 1, row_of(t->x, type, t->x->batch->types[r], room), t->cols);
    }
}

static void embed_forward(struct hn_exec *x, const struct hn_step *step) {
    struct task task = {
        x, step, hn_kernels(), x->batch->n_tokens, step->op->attr.embed.weight->cols, 0};
    each_row_block(&task, embed_rows);
}

/* One task a block of columns: every thread walks all tokens in order, so that sums do not depend
 * on threads. */
static void embed_back_cols(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_weight *w = t->step->op->attr.embed.weight,
                           *position = t->step->op->attr.embed.position,
                           *type = t->step->op->attr.embed.type;
    size_t offset = t->step->op->attr.embed.position_offset;
    const float *dout = hn_buffer(t->x, t->step->dout[0]);
    float *grad = (float *)t->x->grads + w->param;
    size_t c0 = block * 64, n = t->cols - c0 < 64 ? t->cols - c0 : 64;
    (void)thread;
    for (size_t r = 0; r < t->rows; r++)
        t->k->axpy(grad + (size_t)t->x->batch->tokens[r] * t->cols + c0,
            (float)t->step->op->attr.embed.scale, dout + r * t->cols + c0, n);
    for (size_t r = 0; position && r < t->rows; r++)
        t->k->axpy((float *)t->x->grads + position->param +
                (t->x->batch->positions[r] + offset) * t->cols + c0,
            1, dout + r * t->cols + c0, n);
    for (size_t r = 0; type && r < t->rows; r++)
        t->k->axpy(
            (float *)t->x->grads + type->param + (size_t)t->x->batch->types[r] * t->cols + c0, 1,
            dout + r * t->cols + c0, n);
}

static void embed_backward(struct hn_exec *x, const struct hn_step *step) {
    struct task task = {
        x, step, hn_kernels(), x->batch->n_tokens, step->op->attr.embed.weight->cols, 0};
    if (step->op->attr.embed.weight->param != SIZE_MAX)
        hn_pool_run(x->pool, blocks_of(task.cols, 64), embed_back_cols, &task);
}

static void norm_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_op *op = t->step->op;
    const float *in = hn_buffer(t->x, t->step->in[0]), *w = vector_of(t->x, op->attr.norm.weight);
    const float *b = op->attr.norm.bias ? vector_of(t->x, op->attr.norm.bias) : NULL;
    const float *residual = hn_buffer(t->x, t->step->in[1]), eps = (float)op->attr.norm.eps;
    float *out = hn_buffer(t->x, t->step->out[0]);
    (void)thread;
    for (size_t r = block * HN_ROW_BLOCK; r < block_end(t, block); r++) {
        if (b)
            t->k->layernorm(out + r * t->cols, in + r * t->cols, w, b, eps, t->cols);
        else
            t->k->rmsnorm(out + r * t->cols, in + r * t->cols, w, eps, t->cols);
        if (residual)
            t->k->axpy(out + r * t->cols, 1, residual + r * t->cols, t->cols);
    }
}

static void norm_forward(struct hn_exec *x, const struct hn_step *step) {
    struct task task = {x, step, hn_kernels(), hn_rows(x, x->plan->buffers[step->out[0]].dim),
        step->op->attr.norm.weight->cols, 0};
    each_row_block(&task, norm_rows);
}

static void rmsnorm_back_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_op *op = t->step->op;
    const float *in = hn_buffer(t->x, t->step->in[0]), *dout = hn_buffer(t->x, t->step->dout[0]);
    const float *w = vector_of(t->x, op->attr.norm.weight);
    float *din = hn_buffer(t->x, t->step->din[0]), *rstd = hn_buffer(t->x, t->step->work);
    float *residual = hn_buffer(t->x, t->step->din[1]);
    (void)thread;
    for (size_t r = block * HN_ROW_BLOCK; r < block_end(t, block); r++) {
        if (residual)
            t->k->axpy(residual + r * t->cols, 1, dout + r * t->cols, t->cols);
        float value = t->k->rmsnorm_back(din ? din + r * t->cols : NULL, t->step->add[0],
            dout + r * t->cols, in + r * t->cols, w, (float)op->attr.norm.eps, t->cols);
        if (rstd)
            rstd[r] = value;
    }
}

static void rmsnorm_back_weight(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const float *in = hn_buffer(t->x, t->step->in[0]), *dout = hn_buffer(t->x, t->step->dout[0]);
    const float *rstd = hn_buffer(t->x, t->step->work);
    float *grad = (float *)t->x->grads + t->step->op->attr.norm.weight->param;
    size_t c0 = block * 64, c1 = c0 + 64 < t->cols ? c0 + 64 : t->cols;
    (void)thread;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t c = c0; c < c1; c++)
            grad[c] += dout[r * t->cols + c] * in[r * t->cols + c] * rstd[r];
}

static void rmsnorm_backward(struct hn_exec *x, const struct hn_step *step) {
    struct task task = {x, step, hn_kernels(), hn_rows(x, x->plan->buffers[step->in[0]].dim),
        step->op->attr.norm.weight->cols, 0};
    each_row_block(&task, rmsnorm_back_rows);
    if (step->op->attr.norm.weight->param != SIZE_MAX)
        hn_pool_run(x->pool, blocks_of(task.cols, 64), rmsnorm_back_weight, &task);
}

static void angle_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_rope *table = t->step->op->attr.angles.table;
    size_t pairs = t->cols / 2;
    float *out = hn_buffer(t->x, t->step->out[0]);
    (void)thread;
    for (size_t r = block * HN_ROW_BLOCK; r < block_end(t, block); r++)
        for (size_t i = 0; i < pairs; i++) {
            double angle = (double)t->x->batch->positions[r] * table->inverse[i];
            out[r * t->cols + i] = (float)(cos(angle) * table->scale);
            out[r * t->cols + pairs + i] = (float)(sin(angle) * table->scale);
        }
}

static void angles_forward(struct hn_exec *x, const struct hn_step *step) {
    struct task task = {
        x, step, hn_kernels(), x->batch->n_tokens, step->op->attr.angles.head_dim, 0};
    each_row_block(&task, angle_rows);
}

static void rope_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_op *op = t->step->op;
    size_t heads = op->attr.rope.heads + op->attr.rope.kv_heads, d = op->attr.rope.head_dim;
    bool interleaved = op->attr.rope.interleaved;
    const float *in = hn_buffer(t->x, t->step->backward ? t->step->dout[0] : t->step->in[0]);
    const float *angles = hn_buffer(t->x, t->step->in[1]);
    float *out = hn_buffer(t->x, t->step->backward ? t->step->din[0] : t->step->out[0]);
    float sign = t->step->backward ? -1 : 1;
    (void)thread;
    for (size_t r = block * HN_ROW_BLOCK; r < block_end(t, block); r++) {
        const float *cosine = angles + r * d, *sine = cosine + d / 2;
        float *row = out + r * t->cols;
        if (in != out)
            memcpy(row, in + r * t->cols, t->cols * sizeof *row);
        for (size_t h = 0; h < heads; h++, row += d)
            for (size_t i = 0; i < d / 2; i++) {
                float *a = row + (interleaved ? 2 * i : i), *b = a + (interleaved ? 1 : d / 2),
                      s = sign * sine[i];
                float ra = *a * cosine[i] - *b * s, rb = *a * s + *b * cosine[i];
                *a = ra;
                *b = rb;
            }
    }
}

static void rope_both(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_op *op = step->op;
    size_t cols = (op->attr.rope.heads + 2 * op->attr.rope.kv_heads) * op->attr.rope.head_dim;
    struct task task = {x, step, hn_kernels(), x->batch->n_tokens, cols, 0};
    each_row_block(&task, rope_rows);
}

static void layernorm_back_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_op *op = t->step->op;
    const float *in = hn_buffer(t->x, t->step->in[0]), *dout = hn_buffer(t->x, t->step->dout[0]);
    const float *w = vector_of(t->x, op->attr.norm.weight);
    float *din = hn_buffer(t->x, t->step->din[0]), *moments = hn_buffer(t->x, t->step->work),
          here[2];
    float *residual = hn_buffer(t->x, t->step->din[1]);
    (void)thread;
    for (size_t r = block * HN_ROW_BLOCK; r < block_end(t, block); r++) {
        if (residual)
            t->k->axpy(residual + r * t->cols, 1, dout + r * t->cols, t->cols);
        t->k->layernorm_back(din ? din + r * t->cols : NULL, t->step->add[0], dout + r * t->cols,
            in + r * t->cols, w, (float)op->attr.norm.eps, t->cols,
            moments ? moments + 2 * r : here);
    }
}

static void layernorm_back_weight(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const float *in = hn_buffer(t->x, t->step->in[0]), *dout = hn_buffer(t->x, t->step->dout[0]);
    const float *moments = hn_buffer(t->x, t->step->work);
    float *dw = (float *)t->x->grads + t->step->op->attr.norm.weight->param;
    float *db = (float *)t->x->grads + t->step->op->attr.norm.bias->param;
    size_t c0 = block * 64, c1 = c0 + 64 < t->cols ? c0 + 64 : t->cols;
    (void)thread;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t c = c0; c < c1; c++) {
            dw[c] +=
                dout[r * t->cols + c] * (in[r * t->cols + c] - moments[2 * r]) * moments[2 * r + 1];
            db[c] += dout[r * t->cols + c];
        }
}

static void layernorm_backward(struct hn_exec *x, const struct hn_step *step) {
    struct task task = {x, step, hn_kernels(), hn_rows(x, x->plan->buffers[step->in[0]].dim),
        step->op->attr.norm.weight->cols, 0};
    each_row_block(&task, layernorm_back_rows);
    if (step->op->attr.norm.weight->param != SIZE_MAX)
        hn_pool_run(x->pool, blocks_of(task.cols, 64), layernorm_back_weight, &task);
}

/* Weight of head h of a [q|k|v] row, NULL for values. */
static const struct hn_weight *head_weight(const struct hn_op *op, size_t h) {
    return h < op->attr.head_norm.heads                              ? op->attr.head_norm.q
        : h < op->attr.head_norm.heads + op->attr.head_norm.kv_heads ? op->attr.head_norm.k
                                                                     : NULL;
}

static void headnorm_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_op *op = t->step->op;
    size_t d = op->attr.head_norm.head_dim, heads = t->cols / d,
           normed = op->attr.head_norm.heads + op->attr.head_norm.kv_heads;
    const float *in = hn_buffer(t->x, t->step->in[0]), *dout = hn_buffer(t->x, t->step->dout[0]);
    float *out = hn_buffer(t->x, t->step->out[0]), *din = hn_buffer(t->x, t->step->din[0]);
    float *rstd = hn_buffer(t->x, t->step->work), eps = (float)op->attr.head_norm.eps;
    (void)thread;
    for (size_t r = block * HN_ROW_BLOCK; r < block_end(t, block); r++)
        for (size_t h = 0; h < heads; h++) {
            const struct hn_weight *w = head_weight(op, h);
            size_t at = r * t->cols + h * d;
            if (!t->step->backward) {
                if (w)
                    t->k->rmsnorm(out + at, in + at, vector_of(t->x, w), eps, d);
                else
                    memcpy(out + at, in + at, d * sizeof *out);
            } else if (w) {
                float value = t->k->rmsnorm_back(din ? din + at : NULL, t->step->add[0], dout + at,
                    in + at, vector_of(t->x, w), eps, d);
                if (rstd)
                    rstd[r * normed + h] = value;
            } else if (din && t->step->add[0]) {
                t->k->axpy(din + at, 1, dout + at, d);
            } else if (din) {
                memcpy(din + at, dout + at, d * sizeof *din);
            }
        }
}

static void headnorm_back_weight(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_op *op = t->step->op;
    const float *in = hn_buffer(t->x, t->step->in[0]), *dout = hn_buffer(t->x, t->step->dout[0]);
    const float *rstd = hn_buffer(t->x, t->step->work);
    size_t d = op->attr.head_norm.head_dim,
           normed = op->attr.head_norm.heads + op->attr.head_norm.kv_heads;
    size_t c0 = block * 64, c1 = c0 + 64 < d ? c0 + 64 : d;
    (void)thread;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t h = 0; h < normed; h++) {
            float *grad = (float *)t->x->grads + head_weight(op, h)->param;
            size_t at = r * t->cols + h * d;
            for (size_t c = c0; c < c1; c++)
                grad[c] += dout[at + c] * in[at + c] * rstd[r * normed + h];
        }
}

static void headnorm_both(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_op *op = step->op;
    size_t d = op->attr.head_norm.head_dim,
           heads = op->attr.head_norm.heads + 2 * op->attr.head_norm.kv_heads;
    struct task task = {x, step, hn_kernels(), x->batch->n_tokens, heads * d, 0};
    each_row_block(&task, headnorm_rows);
    if (step->backward && op->attr.head_norm.q->param != SIZE_MAX)
        hn_pool_run(x->pool, blocks_of(d, 64), headnorm_back_weight, &task);
}

static void glu_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const float *in = hn_buffer(t->x, t->step->in[0]);
    size_t r0 = block * HN_ROW_BLOCK, n = t->cols;
    enum hn_activation kind = t->step->op->attr.activation;
    (void)thread;
    if (t->step->backward) {
        const float *dout = hn_buffer(t->x, t->step->dout[0]);
        float *din = hn_buffer(t->x, t->step->din[0]);
        for (size_t r = r0; r < block_end(t, block); r++)
            t->k->glu_back[kind](din + r * 2 * n, din + r * 2 * n + n, t->step->add[0],
                dout + r * n, in + r * 2 * n, in + r * 2 * n + n, n);
    } else {
        float *out = hn_buffer(t->x, t->step->out[0]);
        for (size_t r = r0; r < block_end(t, block); r++)
            t->k->glu[kind](out + r * n, in + r * 2 * n, in + r * 2 * n + n, n);
    }
}

static void glu_both(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_plan_buffer *b =
        &x->plan->buffers[step->backward ? step->dout[0] : step->out[0]];
    struct task task = {x, step, hn_kernels(), hn_rows(x, b->dim), b->cols, 0};
    each_row_block(&task, glu_rows);
}

static void activate_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    size_t at = block * HN_ROW_BLOCK * t->cols, n = block_end(t, block) * t->cols - at;
    const float *in = (const float *)hn_buffer(t->x, t->step->in[0]) + at;
    enum hn_activation kind = t->step->op->attr.activation;
    (void)thread;
    if (t->step->backward)
        t->k->activate_back[kind]((float *)hn_buffer(t->x, t->step->din[0]) + at, t->step->add[0],
            (const float *)hn_buffer(t->x, t->step->dout[0]) + at, in, n);
    else
        t->k->activate[kind]((float *)hn_buffer(t->x, t->step->out[0]) + at, in, n);
}

static void activate_both(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_plan_buffer *b =
        &x->plan->buffers[step->backward ? step->dout[0] : step->out[0]];
    struct task task = {x, step, hn_kernels(), hn_rows(x, b->dim), b->cols, 0};
    each_row_block(&task, activate_rows);
}

static void dropout_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_op *op = t->step->op;
    bool backward = t->step->backward, on = t->x->dropout_on && op->attr.dropout.p > 0;
    enum hn_dim dim = t->x->plan->buffers[backward ? t->step->dout[0] : t->step->out[0]].dim;
    const float *in = hn_buffer(t->x, backward ? t->step->dout[0] : t->step->in[0]);
    const float *residual = backward ? NULL : hn_buffer(t->x, t->step->in[1]);
    float *out = hn_buffer(t->x, backward ? t->step->din[0] : t->step->out[0]);
    float *back = backward ? hn_buffer(t->x, t->step->din[1]) : NULL,
          *room = hn_scratch(t->x, thread);
    for (size_t r = block * HN_ROW_BLOCK, at = r * t->cols; r < block_end(t, block);
         r++, at += t->cols) {
        const float *row = in + at;
        if (back)
            t->k->axpy(back + at, 1, row, t->cols);
        if (!out)
            continue;
        if (on) {
            memcpy(room, row, t->cols * sizeof *room);
            hn_dropout_apply(hn_hidden_key(t->x, op, hn_token_row(t->x, dim, r)), 0, 0,
                op->attr.dropout.p, room, t->cols);
            row = room;
        }
        /* The output may stand where either input does. */
        const float *other = residual ? residual + at : NULL;
        bool adds = (backward && t->step->add[0]) || other == out + at;
        if (adds)
            t->k->axpy(out + at, 1, row, t->cols);
        else if (row != out + at)
            memcpy(out + at, row, t->cols * sizeof *out);
        if (other && !adds)
            t->k->axpy(out + at, 1, other, t->cols);
    }
}

static void dropout_both(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_plan_buffer *b =
        &x->plan->buffers[step->backward ? step->dout[0] : step->out[0]];
    struct task task = {x, step, hn_kernels(), hn_rows(x, b->dim), b->cols, 0};
    each_row_block(&task, dropout_rows);
}

static void criterion_forward(struct hn_exec *x, const struct hn_step *step) {
    hn_ops_ref32.forward[HN_OP_CRITERION](x, step);
}

static void criterion_backward(struct hn_exec *x, const struct hn_step *step) {
    hn_ops_ref32.backward[HN_OP_CRITERION](x, step);
}

static void logits_forward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_weight *w = step->op->attr.head.weight;
    const float *in = hn_buffer(x, step->in[0]);
    float *out = hn_buffer(x, step->out[0]);
    size_t next = x->batch->n_decode;
    hn_product_next(x, out, w->rows, in, w, next);
    hn_product_nt(
        x, out + next * w->rows, w->rows, in + next * w->cols, w, x->batch->n_targets - next);
}

/* Turns a chunk's logits into its losses and, in training, into their gradients, in place. */
static void loss_rows(void *context, size_t block, unsigned thread) {
    const struct task *t = context;
    const struct hn_batch *batch = t->x->batch;
    float *logits = hn_buffer(t->x, t->step->work),
          smoothing = (float)t->step->op->attr.head.smoothing;
    float *losses = logits +
        (t->x->plan->caps.dims[HN_DIM_TARGETS] < HN_LOSS_ROWS
                ? t->x->plan->caps.dims[HN_DIM_TARGETS]
                : HN_LOSS_ROWS) *
            t->cols;
    (void)thread;
    for (size_t r = block * HN_ROW_BLOCK; r < block_end(t, block); r++) {
        float *row = logits + r * t->cols, weight = batch->target_weights[t->first + r];
        size_t target = (size_t)batch->target_ids[t->first + r];
        float max = t->k->max(row, t->cols), at_target = row[target], mean = 0;
        if (smoothing > 0)
            for (size_t v = 0; v < t->cols; v++)
                mean += row[v] / (float)t->cols;
        float sum = t->k->exp_shift(row, max, t->cols), lse = max + logf(sum);
        losses[2 * r] = lse - (1 - smoothing) * at_target - smoothing * mean;
        losses[2 * r + 1] = at_target >= max ? 1 : 0;
        if (!t->step->backward)
            continue;
        t->k->scale(row, weight / sum, t->cols);
        if (smoothing > 0)
            for (size_t v = 0; v < t->cols; v++)
                row[v] -= weight * smoothing / (float)t->cols;
        row[target] -= weight * (1 - smoothing);
    }
}

static void loss_both(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_weight *w = step->op->attr.head.weight;
    const struct hn_batch *batch = x->batch;
    size_t chunk = x->plan->caps.dims[HN_DIM_TARGETS] < HN_LOSS_ROWS
        ? x->plan->caps.dims[HN_DIM_TARGETS]
        : HN_LOSS_ROWS;
    const float *in = hn_buffer(x, step->in[0]);
    float *logits = hn_buffer(x, step->work), *din = hn_buffer(x, step->din[0]),
          *losses = logits + chunk * w->rows;
    for (size_t first = 0; first < batch->n_targets; first += chunk) {
        size_t rows = batch->n_targets - first < chunk ? batch->n_targets - first : chunk;
        struct task task = {x, step, hn_kernels(), rows, w->rows, first};
        hn_product_nt(x, logits, w->rows, in + first * w->cols, w, rows);
        each_row_block(&task, loss_rows);
        for (size_t r = 0; r < rows; r++) {
            x->sums->loss += (double)batch->target_weights[first + r] * (double)losses[2 * r];
            x->sums->correct += losses[2 * r + 1] > 0;
            if (x->row_losses)
                x->row_losses[first + r] = (double)losses[2 * r];
        }
        if (step->backward && din)
            hn_product_nn(x, din + first * w->cols, false, logits, w->rows, w, rows);
        if (step->backward && w->param != SIZE_MAX)
            hn_product_tn(x, (float *)x->grads + w->param, 1, logits, w->rows, w->rows,
                in + first * w->cols, w->cols, w->cols, rows);
    }
}

static void gather_forward(struct hn_exec *x, const struct hn_step *step) {
    hn_ops_ref32.forward[HN_OP_GATHER](x, step);
}

static void gather_backward(struct hn_exec *x, const struct hn_step *step) {
    hn_ops_ref32.backward[HN_OP_GATHER](x, step);
}

const struct hn_op_table hn_ops_fast = {
    .value_bytes = sizeof(float),
    .forward = {[HN_OP_EMBED] = embed_forward,
        [HN_OP_RMSNORM] = norm_forward,
        [HN_OP_LAYERNORM] = norm_forward,
        [HN_OP_HEADNORM] = headnorm_both,
        [HN_OP_LINEAR] = hn_linear_forward,
        [HN_OP_ROPE_TABLE] = angles_forward,
        [HN_OP_ROPE] = rope_both,
        [HN_OP_ATTENTION] = hn_attention_forward,
        [HN_OP_GLU] = glu_both,
        [HN_OP_ACTIVATE] = activate_both,
        [HN_OP_DROPOUT] = dropout_both,
        [HN_OP_GATHER] = gather_forward,
        [HN_OP_LOSS] = loss_both,
        [HN_OP_LOGITS] = logits_forward,
        [HN_OP_CRITERION] = criterion_forward},
    .backward = {[HN_OP_EMBED] = embed_backward,
        [HN_OP_RMSNORM] = rmsnorm_backward,
        [HN_OP_LAYERNORM] = layernorm_backward,
        [HN_OP_HEADNORM] = headnorm_both,
        [HN_OP_LINEAR] = hn_linear_backward,
        [HN_OP_ROPE] = rope_both,
        [HN_OP_ATTENTION] = hn_attention_backward,
        [HN_OP_GLU] = glu_both,
        [HN_OP_ACTIVATE] = activate_both,
        [HN_OP_DROPOUT] = dropout_both,
        [HN_OP_GATHER] = gather_backward,
        [HN_OP_LOSS] = loss_both,
        [HN_OP_CRITERION] = criterion_backward},
};
