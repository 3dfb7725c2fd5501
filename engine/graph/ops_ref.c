/*
 * Every op as plain loops: the definition. Compiled twice, in float and in double (HN_REAL); the
 * double table is what finite differences are taken of, the float table what the fast ops are
 * compared with. Sources: RMSNorm, Zhang & Sennrich 2019; rotary embeddings, Su et al. 2021;
 * SwiGLU, Shazeer 2020; the attention backward by log-sum-exp, Dao et al. 2022.
 *
 * One file in spite of its length: it is compiled as a whole for each type, and is read as a list
 * of independent definitions, each a forward and a backward of one op.
 */
#include "engine/graph/dropout.h"
#include "engine/graph/ops.h"
#include "engine/graph/tiles.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef HN_REAL real;

/* Row of a weight as reals: from the parameter vector where it is trained, else dequantised. Caller
 * frees. */
static real *weight_rows(const struct hn_exec *x, const struct hn_weight *w) {
    real *out = malloc(w->rows * w->cols * sizeof *out);
    float *row = malloc(w->cols * sizeof *row);
    if (!out || !row)
        abort(); /* the reference runs in tests only */
    for (size_t r = 0; r < w->rows; r++) {
        if (w->param == SIZE_MAX)
            hn_weight_row(w, r, row);
        for (size_t c = 0; c < w->cols; c++)
            out[r * w->cols + c] = w->param == SIZE_MAX
                ? (real)row[c]
                : ((const real *)x->params)[w->param + r * w->cols + c];
    }
    free(row);
    return out;
}

static real *grad_of(const struct hn_exec *x, const struct hn_weight *w) {
    return w->param == SIZE_MAX ? NULL : (real *)x->grads + w->param;
}

static size_t rows_of(const struct hn_exec *x, const struct hn_step *step, int buffer) {
    (void)step;
    return hn_rows(x, x->plan->buffers[buffer].dim);
}

static void embed_forward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_weight *w = step->op->attr.embed.weight;
    real *table = weight_rows(x, w), *out = hn_buffer(x, step->out[0]),
         scale = (real)step->op->attr.embed.scale;
    const struct hn_weight *position = step->op->attr.embed.position,
                           *type = step->op->attr.embed.type;
    real *places = position ? weight_rows(x, position) : NULL,
         *types = type ? weight_rows(x, type) : NULL;
    for (size_t t = 0; t < x->batch->n_tokens; t++)
        for (size_t c = 0; c < w->cols; c++)
            out[t * w->cols + c] = table[(size_t)x->batch->tokens[t] * w->cols + c] * scale +
                (places ? places[(x->batch->positions[t] + step->op->attr.embed.position_offset) *
                                  w->cols +
                              c]
                        : 0) +
                (types ? types[x->batch->types[t] * w->cols + c] : 0);
    free(places);
    free(types);
    free(table);
}

static void embed_backward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_weight *w = step->op->attr.embed.weight;
    const real *dout = hn_buffer(x, step->dout[0]);
    real *grad = grad_of(x, w), scale = (real)step->op->attr.embed.scale;
    for (size_t t = 0; grad && t < x->batch->n_tokens; t++)
        for (size_t c = 0; c < w->cols; c++)
            grad[(size_t)x->batch->tokens[t] * w->cols + c] += dout[t * w->cols + c] * scale;
    real *places = step->op->attr.embed.position ? grad_of(x, step->op->attr.embed.position) : NULL;
    for (size_t t = 0; places && t < x->batch->n_tokens; t++)
        for (size_t c = 0; c < w->cols; c++)
            places[(x->batch->positions[t] + step->op->attr.embed.position_offset) * w->cols + c] +=
                dout[t * w->cols + c];
    real *types = step->op->attr.embed.type ? grad_of(x, step->op->attr.embed.type) : NULL;
    for (size_t t = 0; types && t < x->batch->n_tokens; t++)
        for (size_t c = 0; c < w->cols; c++)
            types[x->batch->types[t] * w->cols + c] += dout[t * w->cols + c];
}

static real inverse_rms(const real *x, size_t n, double eps) {
    real sum = 0;
    for (size_t c = 0; c < n; c++)
        sum += x[c] * x[c];
    return 1 / (real)sqrt((double)(sum / (real)n) + eps);
}

static void rmsnorm_forward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_weight *weight = step->op->attr.norm.weight;
    size_t rows = rows_of(x, step, step->out[0]), n = weight->cols;
    const real *in = hn_buffer(x, step->in[0]), *residual = hn_buffer(x, step->in[1]);
    real *out = hn_buffer(x, step->out[0]), *w = weight_rows(x, weight);
    for (size_t r = 0; r < rows; r++) {
        real rstd = inverse_rms(in + r * n, n, step->op->attr.norm.eps);
        for (size_t c = 0; c < n; c++)
            out[r * n + c] = in[r * n + c] * rstd * w[c] + (residual ? residual[r * n + c] : 0);
    }
    free(w);
}

static void add_residual(struct hn_exec *x, const struct hn_step *step, size_t values) {
    const real *dout = hn_buffer(x, step->dout[0]);
    real *residual = hn_buffer(x, step->din[1]);
    for (size_t i = 0; residual && i < values; i++)
        residual[i] += dout[i];
}

/* y = x·r·w, r = (mean x² + eps)^-½:  dx = r·(dy·w − x·r²·mean(dy·w·x)),  dw = Σ dy·x·r */
static void rmsnorm_backward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_weight *weight = step->op->attr.norm.weight;
    size_t rows = rows_of(x, step, step->in[0]), n = weight->cols;
    const real *in = hn_buffer(x, step->in[0]), *dout = hn_buffer(x, step->dout[0]);
    real *din = hn_buffer(x, step->din[0]), *w = weight_rows(x, weight), *dw = grad_of(x, weight);
    add_residual(x, step, rows * n);
    for (size_t r = 0; r < rows; r++, in += n, dout += n) {
        real rstd = inverse_rms(in, n, step->op->attr.norm.eps), dot = 0;
        for (size_t c = 0; c < n; c++)
            dot += dout[c] * w[c] * in[c];
        for (size_t c = 0; dw && c < n; c++)
            dw[c] += dout[c] * in[c] * rstd;
        for (size_t c = 0; din && c < n; c++) {
            real d = rstd * (dout[c] * w[c] - in[c] * rstd * rstd * dot / (real)n);
            din[r * n + c] = step->add[0] ? din[r * n + c] + d : d;
        }
    }
    free(w);
}

static void moments(const real *x, size_t n, double eps, real *ret_mean, real *ret_rstd) {
    real mean = 0, variance = 0;
    for (size_t c = 0; c < n; c++)
        mean += x[c] / (real)n;
    for (size_t c = 0; c < n; c++)
        variance += (x[c] - mean) * (x[c] - mean) / (real)n;
    *ret_mean = mean;
    *ret_rstd = 1 / (real)sqrt((double)variance + eps);
}

static void layernorm_forward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_weight *weight = step->op->attr.norm.weight;
    size_t rows = rows_of(x, step, step->out[0]), n = weight->cols;
    const real *in = hn_buffer(x, step->in[0]), *residual = hn_buffer(x, step->in[1]);
    real *out = hn_buffer(x, step->out[0]), *w = weight_rows(x, weight),
         *b = weight_rows(x, step->op->attr.norm.bias);
    for (size_t r = 0; r < rows; r++) {
        real mean, rstd;
        moments(in + r * n, n, step->op->attr.norm.eps, &mean, &rstd);
        for (size_t c = 0; c < n; c++)
            out[r * n + c] =
                (in[r * n + c] - mean) * rstd * w[c] + b[c] + (residual ? residual[r * n + c] : 0);
    }
    free(w);
    free(b);
}

/* x̂ = (x − mean)·r:  dx = r·(g − mean(g) − x̂·mean(g·x̂)) with g = dy·w,  dw = Σ dy·x̂,  db = Σ
 * dy */
static void layernorm_backward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_weight *weight = step->op->attr.norm.weight;
    size_t rows = rows_of(x, step, step->in[0]), n = weight->cols;
    const real *in = hn_buffer(x, step->in[0]), *dout = hn_buffer(x, step->dout[0]);
    real *din = hn_buffer(x, step->din[0]), *w = weight_rows(x, weight);
    real *dw = grad_of(x, weight), *db = grad_of(x, step->op->attr.norm.bias);
    add_residual(x, step, rows * n);
    for (size_t r = 0; r < rows; r++, in += n, dout += n) {
        real mean, rstd, sum = 0, dot = 0;
        moments(in, n, step->op->attr.norm.eps, &mean, &rstd);
        for (size_t c = 0; c < n; c++) {
            sum += dout[c] * w[c] / (real)n;
            dot += dout[c] * w[c] * (in[c] - mean) * rstd / (real)n;
            if (dw)
                dw[c] += dout[c] * (in[c] - mean) * rstd;
            if (db)
                db[c] += dout[c];
        }
        for (size_t c = 0; din && c < n; c++) {
            real d = rstd * (dout[c] * w[c] - sum - (in[c] - mean) * rstd * dot);
            din[r * n + c] = step->add[0] ? din[r * n + c] + d : d;
        }
    }
    free(w);
}

static void headnorm_forward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_op *op = step->op;
    size_t heads = op->attr.head_norm.heads, kv = op->attr.head_norm.kv_heads,
           d = op->attr.head_norm.head_dim;
    const real *in = hn_buffer(x, step->in[0]);
    real *out = hn_buffer(x, step->out[0]), *wq = weight_rows(x, op->attr.head_norm.q),
         *wk = weight_rows(x, op->attr.head_norm.k);
    for (size_t t = 0; t < x->batch->n_tokens; t++)
        for (size_t h = 0; h < heads + 2 * kv; h++, in += d, out += d) {
            real rstd = h < heads + kv ? inverse_rms(in, d, op->attr.head_norm.eps) : 1;
            for (size_t c = 0; c < d; c++)
                out[c] = h < heads   ? in[c] * rstd * wq[c]
                    : h < heads + kv ? in[c] * rstd * wk[c]
                                     : in[c];
        }
    free(wq);
    free(wk);
}

/* As rmsnorm_backward, head by head; values pass through. */
static void headnorm_backward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_op *op = step->op;
    size_t heads = op->attr.head_norm.heads, kv = op->attr.head_norm.kv_heads,
           d = op->attr.head_norm.head_dim;
    const real *in = hn_buffer(x, step->in[0]), *dout = hn_buffer(x, step->dout[0]);
    real *din = hn_buffer(x, step->din[0]),
         *w[2] = {weight_rows(x, op->attr.head_norm.q), weight_rows(x, op->attr.head_norm.k)};
    real *dw[2] = {grad_of(x, op->attr.head_norm.q), grad_of(x, op->attr.head_norm.k)};
    for (size_t t = 0; t < x->batch->n_tokens; t++)
        for (size_t h = 0; h < heads + 2 * kv; h++, in += d, dout += d) {
            size_t which = h >= heads, at = (size_t)(in - (const real *)hn_buffer(x, step->in[0]));
            bool normed = h < heads + kv;
            real rstd = inverse_rms(in, d, op->attr.head_norm.eps), dot = 0;
            for (size_t c = 0; normed && c < d; c++) {
                dot += dout[c] * w[which][c] * in[c];
                if (dw[which])
                    dw[which][c] += dout[c] * in[c] * rstd;
            }
            for (size_t c = 0; din && c < d; c++) {
                real g = normed
                    ? rstd * (dout[c] * w[which][c] - in[c] * rstd * rstd * dot / (real)d)
                    : dout[c];
                din[at + c] = step->add[0] ? din[at + c] + g : g;
            }
        }
    free(w[0]);
    free(w[1]);
}

/* Input of part p's adapter: the row with that module's dropout mask applied. */
static real adapter_input(const struct hn_exec *x, const struct hn_op *op, enum hn_dim dim,
    size_t p, size_t row, size_t c, real value) {
    const struct hn_linear *l = &op->attr.linear;
    if (!x->dropout_on || l->lora_dropout <= 0)
        return value;
    return hn_dropout_keep(x, op, p, hn_token_row(x, dim, row), c, l->lora_dropout)
        ? value / (real)(1 - l->lora_dropout)
        : 0;
}

static void linear_forward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_op *op = step->op;
    const struct hn_linear *l = &op->attr.linear;
    enum hn_dim dim = x->plan->buffers[step->out[0]].dim;
    size_t rows = hn_rows(x, dim), rank = l->lora_rank, mids = rank * l->n_adapted;
    const real *in = hn_buffer(x, step->in[0]), *residual = hn_buffer(x, step->in[1]),
               *params = x->params;
    real *out = hn_buffer(x, step->out[0]), *mid = hn_buffer(x, step->out[1]);
    for (size_t p = 0, column = 0, adapted = 0; p < l->n_parts; column += l->weights[p++]->rows) {
        const struct hn_lora *lora = l->lora[p];
        real *w = weight_rows(x, l->weights[p]),
             *bias = l->biases[p] ? weight_rows(x, l->biases[p]) : NULL;
        for (size_t t = 0; t < rows; t++) {
            for (size_t j = 0; lora && j < rank; j++) {
                real u = 0;
                for (size_t c = 0; c < l->in; c++)
                    u += adapter_input(x, op, dim, p, t, c, in[t * l->in + c]) *
                        params[lora->a + j * l->in + c];
                mid[t * mids + adapted * rank + j] = u;
            }
            for (size_t o = 0; o < l->weights[p]->rows; o++) {
                real y = (residual ? residual[t * l->out + column + o] : 0) + (bias ? bias[o] : 0),
                     delta = 0;
                for (size_t c = 0; c < l->in; c++)
                    y += in[t * l->in + c] * w[o * l->in + c];
                for (size_t j = 0; lora && j < rank; j++)
                    delta += mid[t * mids + adapted * rank + j] * params[lora->b + o * rank + j];
                out[t * l->out + column + o] = y + (real)l->lora_scale * delta;
            }
        }
        adapted += lora != NULL;
        free(bias);
        free(w);
    }
}

/* dU = s·dY·B, dB += s·dYᵀ·U, dA += dUᵀ·drop(X), dX (+)= dY·W + drop(dU·A), dW += dYᵀ·X, db += Σ
 * dY, d residual += dY
 */
static void linear_backward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_op *op = step->op;
    const struct hn_linear *l = &op->attr.linear;
    enum hn_dim dim = x->plan->buffers[step->dout[0]].dim;
    size_t rows = hn_rows(x, dim), rank = l->lora_rank, mids = rank * l->n_adapted;
    const real *in = hn_buffer(x, step->in[0]), *dout = hn_buffer(x, step->dout[0]),
               *params = x->params;
    const real *mid = hn_buffer(x, step->out[1]), scale = (real)l->lora_scale;
    real *din = hn_buffer(x, step->din[0]), *residual = hn_buffer(x, step->din[1]),
         *dmid = hn_buffer(x, step->work);
    real *grads = x->grads;
    if (din && !step->add[0])
        memset(din, 0, rows * l->in * sizeof *din);
    for (size_t i = 0; residual && i < rows * l->out; i++)
        residual[i] += dout[i];
    for (size_t p = 0, column = 0, adapted = 0; p < l->n_parts; column += l->weights[p++]->rows) {
        const struct hn_lora *lora = l->lora[p];
        real *w = weight_rows(x, l->weights[p]), *dw = grad_of(x, l->weights[p]);
        real *db = l->biases[p] ? grad_of(x, l->biases[p]) : NULL;
        for (size_t t = 0; t < rows; t++) {
            const real *dy = dout + t * l->out + column;
            for (size_t o = 0; db && o < l->weights[p]->rows; o++)
                db[o] += dy[o];
            for (size_t o = 0; o < l->weights[p]->rows; o++)
                for (size_t c = 0; c < l->in; c++) {
                    if (din)
                        din[t * l->in + c] += dy[o] * w[o * l->in + c];
                    if (dw)
                        dw[o * l->in + c] += dy[o] * in[t * l->in + c];
                }
            for (size_t j = 0; lora && j < rank; j++) {
                real du = 0, u = mid[t * mids + adapted * rank + j];
                for (size_t o = 0; o < l->weights[p]->rows; o++) {
                    du += scale * dy[o] * params[lora->b + o * rank + j];
                    grads[lora->b + o * rank + j] += scale * dy[o] * u;
                }
                dmid[t * mids + adapted * rank + j] = du;
                for (size_t c = 0; c < l->in; c++) {
                    grads[lora->a + j * l->in + c] +=
                        du * adapter_input(x, op, dim, p, t, c, in[t * l->in + c]);
                    if (din)
                        din[t * l->in + c] += adapter_input(
                            x, op, dim, p, t, c, du * params[lora->a + j * l->in + c]);
                }
            }
        }
        adapted += lora != NULL;
        free(w);
    }
}

static void angles_forward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_rope *table = step->op->attr.angles.table;
    size_t d = step->op->attr.angles.head_dim;
    real *out = hn_buffer(x, step->out[0]);
    for (size_t t = 0; t < x->batch->n_tokens; t++)
        for (size_t i = 0; i < d / 2; i++) {
            double angle = (double)x->batch->positions[t] * table->inverse[i];
            out[t * d + i] = (real)(cos(angle) * table->scale);
            out[t * d + d / 2 + i] = (real)(sin(angle) * table->scale);
        }
}

/* Rotates each pair (a, b) of every query and key head by its angle, or back. */
static void rotate(
    struct hn_exec *x, const struct hn_step *step, const real *in, real *out, real sign) {
    const struct hn_op *op = step->op;
    const real *angles = hn_buffer(x, step->in[1]);
    size_t heads = op->attr.rope.heads + op->attr.rope.kv_heads, d = op->attr.rope.head_dim;
    size_t cols = (heads + op->attr.rope.kv_heads) * d;
    for (size_t t = 0; t < x->batch->n_tokens; t++) {
        for (size_t c = 0; in != out && c < cols; c++)
            out[t * cols + c] = in[t * cols + c];
        for (size_t h = 0; h < heads; h++)
            for (size_t i = 0; i < d / 2; i++) {
                real c = angles[t * d + i], s = sign * angles[t * d + d / 2 + i];
                real *head = out + t * cols + h * d;
                real *a = head + (op->attr.rope.interleaved ? 2 * i : i),
                     *b = a + (op->attr.rope.interleaved ? 1 : d / 2);
                real ra = *a * c - *b * s, rb = *a * s + *b * c;
                *a = ra;
                *b = rb;
            }
    }
}

static void rope_forward(struct hn_exec *x, const struct hn_step *step) {
    rotate(x, step, hn_buffer(x, step->in[0]), hn_buffer(x, step->out[0]), 1);
}

static void rope_backward(struct hn_exec *x, const struct hn_step *step) {
    rotate(x, step, hn_buffer(x, step->dout[0]), hn_buffer(x, step->din[0]), -1);
}

/* Keys of sequence s: base pointers and count, in the tensor itself or in the cache (after
 * appending the new rows).
 */
struct keys {
    const real *k, *v;
    size_t stride, n;
};

static struct keys keys_of(struct hn_exec *x, const struct hn_op *op, const real *qkv, size_t s) {
    const struct hn_batch *b = x->batch;
    size_t d = op->attr.attention.head_dim, kv = op->attr.attention.kv_heads * d,
           q = op->attr.attention.heads * d;
    size_t cols = q + 2 * kv, n = b->starts[s + 1] - b->starts[s];
    const real *rows = qkv + b->starts[s] * cols;
    if (!op->attr.attention.cached)
        return (struct keys){rows + q, rows + q + kv, cols, n};
    size_t layer_values = 2 * kv * x->plan->caps.cache_rows;
    real *cache = (real *)hn_buffer(x, x->plan->cache) +
        op->attr.attention.cache_layer * layer_values + b->cache_rows[s] * 2 * kv;
    for (size_t i = 0; i < n; i++)
        memcpy(cache + (b->past[s] + i) * 2 * kv, rows + i * cols + q, 2 * kv * sizeof *cache);
    return (struct keys){cache, cache + kv, 2 * kv, b->past[s] + n};
}

/* What the probability of `key` for a query is multiplied by. */
static real keep(const struct hn_exec *x, const struct hn_op *op, size_t s, size_t query,
    size_t head, size_t key) {
    double p = op->attr.attention.dropout;
    if (!x->dropout_on || p <= 0)
        return 1;
    return hn_dropout_lane(hn_attention_key(x, op, s, query), head, key, p) ? (real)(1 / (1 - p))
                                                                            : 0;
}

static void attention_forward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_op *op = step->op;
    size_t heads = op->attr.attention.heads, d = op->attr.attention.head_dim,
           group = heads / op->attr.attention.kv_heads;
    size_t cols = (heads + 2 * op->attr.attention.kv_heads) * d;
    const real *qkv = hn_buffer(x, step->in[0]);
    real *out = hn_buffer(x, step->out[0]), *lse = hn_buffer(x, step->out[1]),
         scale = (real)op->attr.attention.scale;
    for (size_t s = 0; s < x->batch->n_sequences; s++) {
        struct keys keys = keys_of(x, op, qkv, s);
        size_t first = x->batch->starts[s], n = x->batch->starts[s + 1] - first;
        real *p = malloc(keys.n * sizeof *p);
        if (!p)
            abort();
        for (size_t i = 0; i < n; i++)
            for (size_t h = 0; h < heads; h++) {
                const real *q = qkv + (first + i) * cols + h * d;
                size_t visible = op->attr.attention.causal ? keys.n - n + i + 1 : keys.n;
                size_t window = op->attr.attention.window,
                       oldest = window && visible > window ? visible - window : 0;
                real max = (real)-INFINITY, sum = 0, *o = out + (first + i) * heads * d + h * d;
                for (size_t j = oldest; j < visible; j++) {
                    real dot = 0;
                    for (size_t c = 0; c < d; c++)
                        dot += q[c] * keys.k[j * keys.stride + h / group * d + c];
                    p[j] = dot * scale;
                    max = p[j] > max ? p[j] : max;
                }
                for (size_t j = oldest; j < visible; j++)
                    sum += p[j] = (real)exp((double)(p[j] - max));
                for (size_t c = 0; c < d; c++) {
                    real y = 0;
                    for (size_t j = oldest; j < visible; j++)
                        y += p[j] * keep(x, op, s, i, h, j) *
                            keys.v[j * keys.stride + h / group * d + c];
                    o[c] = y / sum;
                }
                lse[(first + i) * heads + h] = max + (real)log((double)sum);
            }
        free(p);
    }
}

/* P = exp(S − lse), D the dropout's factors, dV += (P∘D)ᵀ·dO, dP = D∘(dO·Vᵀ), dS = P∘(dP −
 * rowsum(dO∘O))·scale, dQ += dS·K, dK += dSᵀ·Q */
static void attention_backward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_op *op = step->op;
    size_t heads = op->attr.attention.heads, d = op->attr.attention.head_dim,
           group = heads / op->attr.attention.kv_heads;
    size_t q_cols = heads * d, kv = op->attr.attention.kv_heads * d, cols = q_cols + 2 * kv;
    const real *qkv = hn_buffer(x, step->in[0]), *out = hn_buffer(x, step->out[0]),
               *lse = hn_buffer(x, step->out[1]);
    const real *dout = hn_buffer(x, step->dout[0]), scale = (real)op->attr.attention.scale;
    real *din = hn_buffer(x, step->din[0]);
    memset(din, 0, x->batch->n_tokens * cols * sizeof *din);
    for (size_t s = 0; s < x->batch->n_sequences; s++)
        for (size_t i = x->batch->starts[s]; i < x->batch->starts[s + 1]; i++)
            for (size_t h = 0; h < heads; h++) {
                size_t end = op->attr.attention.causal ? i + 1 : x->batch->starts[s + 1],
                       g = h / group;
                const real *q = qkv + i * cols + h * d, *o = out + i * q_cols + h * d,
                           *dy = dout + i * q_cols + h * d;
                real delta = 0;
                for (size_t c = 0; c < d; c++)
                    delta += dy[c] * o[c];
                size_t oldest = x->batch->starts[s], window = op->attr.attention.window;
                if (window && end - oldest > window)
                    oldest = end - window;
                for (size_t j = oldest; j < end; j++) {
                    const real *k = qkv + j * cols + q_cols + g * d, *v = k + kv;
                    real *dk = din + j * cols + q_cols + g * d, *dv = dk + kv, dot = 0, dp = 0;
                    for (size_t c = 0; c < d; c++) {
                        dot += q[c] * k[c];
                        dp += dy[c] * v[c];
                    }
                    real kept = keep(x, op, s, i - x->batch->starts[s], h, j - x->batch->starts[s]);
                    real p = (real)exp((double)(dot * scale - lse[i * heads + h])),
                         ds = p * (kept * dp - delta) * scale;
                    for (size_t c = 0; c < d; c++) {
                        dv[c] += p * kept * dy[c];
                        din[i * cols + h * d + c] += ds * k[c];
                        dk[c] += ds * q[c];
                    }
                }
            }
}

/* The activation's value and slope. GELU: Hendrycks & Gimpel 2016, exact and by tanh. */
static void activation(enum hn_activation kind, double x, double *ret_value, double *ret_slope) {
    double sigma = 1 / (1 + exp(-x)), k = sqrt(2 / M_PI), u = k * (x + 0.044715 * x * x * x),
           t = tanh(u);
    double phi = 0.5 * (1 + erf(x / sqrt(2)));
    switch (kind) {
    case HN_SILU:
        *ret_value = x * sigma;
        *ret_slope = sigma * (1 + x * (1 - sigma));
        return;
    case HN_GELU_TANH:
        *ret_value = 0.5 * x * (1 + t);
        *ret_slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x);
        return;
    case HN_GELU:
        *ret_value = x * phi;
        *ret_slope = phi + x * exp(-x * x / 2) / sqrt(2 * M_PI);
        return;
    case HN_TANH:
        *ret_value = tanh(x);
        *ret_slope = 1 - tanh(x) * tanh(x);
        return;
    default:
        *ret_value = x > 0 ? x : 0;
        *ret_slope = x > 0 ? 1 : 0;
    }
}

static void glu_forward(struct hn_exec *x, const struct hn_step *step) {
    size_t n = x->plan->buffers[step->out[0]].cols, rows = rows_of(x, step, step->out[0]);
    const real *in = hn_buffer(x, step->in[0]);
    real *out = hn_buffer(x, step->out[0]);
    double value, slope;
    for (size_t r = 0; r < rows; r++, in += 2 * n, out += n)
        for (size_t c = 0; c < n; c++) {
            activation(step->op->attr.activation, (double)in[c], &value, &slope);
            out[c] = (real)value * in[n + c];
        }
}

static void glu_backward(struct hn_exec *x, const struct hn_step *step) {
    size_t n = x->plan->buffers[step->dout[0]].cols, rows = rows_of(x, step, step->dout[0]);
    const real *in = hn_buffer(x, step->in[0]), *dout = hn_buffer(x, step->dout[0]);
    real *din = hn_buffer(x, step->din[0]);
    double value, slope;
    for (size_t r = 0; r < rows; r++, in += 2 * n, din += 2 * n, dout += n)
        for (size_t c = 0; c < n; c++) {
            activation(step->op->attr.activation, (double)in[c], &value, &slope);
            real dg = dout[c] * in[n + c] * (real)slope, du = dout[c] * (real)value;
            din[c] = step->add[0] ? din[c] + dg : dg;
            din[n + c] = step->add[0] ? din[n + c] + du : du;
        }
}

static void activate_forward(struct hn_exec *x, const struct hn_step *step) {
    size_t n = x->plan->buffers[step->out[0]].cols * rows_of(x, step, step->out[0]);
    const real *in = hn_buffer(x, step->in[0]);
    real *out = hn_buffer(x, step->out[0]);
    double value, slope;
    for (size_t i = 0; i < n; i++) {
        activation(step->op->attr.activation, (double)in[i], &value, &slope);
        out[i] = (real)value;
    }
}

static void activate_backward(struct hn_exec *x, const struct hn_step *step) {
    size_t n = x->plan->buffers[step->dout[0]].cols * rows_of(x, step, step->dout[0]);
    const real *in = hn_buffer(x, step->in[0]), *dout = hn_buffer(x, step->dout[0]);
    real *din = hn_buffer(x, step->din[0]);
    double value, slope;
    for (size_t i = 0; i < n; i++) {
        activation(step->op->attr.activation, (double)in[i], &value, &slope);
        din[i] = (step->add[0] ? din[i] : 0) + dout[i] * (real)slope;
    }
}

static real dropped(
    const struct hn_exec *x, const struct hn_op *op, size_t token, size_t c, real value) {
    double p = op->attr.dropout.p;
    if (!x->dropout_on || p <= 0)
        return value;
    return hn_dropout_channel(hn_hidden_key(x, op, token), c, p) ? value / (real)(1 - p) : 0;
}

static void dropout_forward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_plan_buffer *b = &x->plan->buffers[step->out[0]];
    const real *in = hn_buffer(x, step->in[0]), *residual = hn_buffer(x, step->in[1]);
    real *out = hn_buffer(x, step->out[0]);
    for (size_t r = 0; r < hn_rows(x, b->dim); r++)
        for (size_t c = 0, i = r * b->cols; c < b->cols; c++, i++)
            out[i] = dropped(x, step->op, hn_token_row(x, b->dim, r), c, in[i]) +
                (residual ? residual[i] : 0);
}

static void dropout_backward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_plan_buffer *b = &x->plan->buffers[step->dout[0]];
    const real *dout = hn_buffer(x, step->dout[0]);
    real *din = hn_buffer(x, step->din[0]);
    add_residual(x, step, hn_rows(x, b->dim) * b->cols);
    for (size_t r = 0; din && r < hn_rows(x, b->dim); r++)
        for (size_t c = 0, i = r * b->cols; c < b->cols; c++, i++)
            din[i] = (step->add[0] ? din[i] : 0) +
                dropped(x, step->op, hn_token_row(x, b->dim, r), c, dout[i]);
}

static void gather_forward(struct hn_exec *x, const struct hn_step *step) {
    size_t n = x->plan->buffers[step->out[0]].cols;
    const real *in = hn_buffer(x, step->in[0]);
    real *out = hn_buffer(x, step->out[0]);
    for (size_t i = 0; i < x->batch->n_targets; i++)
        memcpy(out + i * n, in + x->batch->target_rows[i] * n, n * sizeof *out);
}

static void gather_backward(struct hn_exec *x, const struct hn_step *step) {
    size_t n = x->plan->buffers[step->dout[0]].cols;
    const real *dout = hn_buffer(x, step->dout[0]);
    real *din = hn_buffer(x, step->din[0]);
    if (!step->add[0])
        memset(din, 0, x->batch->n_tokens * n * sizeof *din);
    for (size_t i = 0; i < x->batch->n_targets; i++)
        for (size_t c = 0; c < n; c++)
            din[x->batch->target_rows[i] * n + c] += dout[i * n + c];
}

static void logits_row(const real *w, const real *h, size_t vocab, size_t n, real *logits) {
    for (size_t v = 0; v < vocab; v++) {
        logits[v] = 0;
        for (size_t c = 0; c < n; c++)
            logits[v] += h[c] * w[v * n + c];
    }
}

static void logits_forward(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_weight *weight = step->op->attr.head.weight;
    const real *in = hn_buffer(x, step->in[0]);
    real *out = hn_buffer(x, step->out[0]), *w = weight_rows(x, weight);
    for (size_t i = 0; i < x->batch->n_targets; i++)
        logits_row(w, in + i * weight->cols, weight->rows, weight->cols, out + i * weight->rows);
    free(w);
}

/* With smoothing e the target distribution is (1 − e)·onehot + e/vocab, as torch's cross_entropy
 * has it. */
static void loss_both(struct hn_exec *x, const struct hn_step *step) {
    const struct hn_weight *weight = step->op->attr.head.weight;
    size_t vocab = weight->rows, n = weight->cols;
    const real *in = hn_buffer(x, step->in[0]);
    real *w = weight_rows(x, weight), *logits = hn_buffer(x, step->work),
         smoothing = (real)step->op->attr.head.smoothing;
    real *din = hn_buffer(x, step->din[0]), *dw = grad_of(x, weight);
    for (size_t i = 0; i < x->batch->n_targets; i++) {
        const real *h = in + i * n;
        size_t target = (size_t)x->batch->target_ids[i], best = 0;
        real tw = (real)x->batch->target_weights[i], sum = 0, mean = 0;
        logits_row(w, h, vocab, n, logits);
        for (size_t v = 1; v < vocab; v++)
            best = logits[v] > logits[best] ? v : best;
        real max = logits[best];
        for (size_t v = 0; v < vocab; v++) {
            sum += (real)exp((double)(logits[v] - max));
            mean += logits[v] / (real)vocab;
        }
        real lse = max + (real)log((double)sum);
        real loss = lse - (1 - smoothing) * logits[target] - smoothing * mean;
        x->sums->loss += (double)(tw * loss);
        x->sums->correct += best == target;
        if (x->row_losses)
            x->row_losses[i] = (double)loss;
        if (!step->backward)
            continue;
        for (size_t v = 0; v < vocab; v++)
            logits[v] = tw *
                ((real)exp((double)(logits[v] - lse)) - (v == target ? 1 - smoothing : 0) -
                    smoothing / (real)vocab);
        for (size_t c = 0; c < n; c++) {
            real d = 0;
            for (size_t v = 0; v < vocab; v++) {
                d += logits[v] * w[v * n + c];
                if (dw)
                    dw[v * n + c] += logits[v] * h[c];
            }
            if (din)
                din[i * n + c] = d;
        }
    }
    free(w);
}

static void put_gradient(const struct hn_step *step, real *din, size_t i, real value) {
    if (step->backward && din)
        din[i] = (step->add[0] ? din[i] : 0) + value;
}

/* Cross entropy over n logits that stand `stride` apart; gradients behind them in the same way. */
static real cross_entropy(const struct hn_step *step, const real *logits, real *din, size_t n,
    size_t stride, size_t target, real weight, real smoothing, bool *ret_correct) {
    size_t best = 0;
    real sum = 0, mean = 0;
    for (size_t v = 1; v < n; v++)
        best = logits[v * stride] > logits[best * stride] ? v : best;
    for (size_t v = 0; v < n; v++) {
        sum += (real)exp((double)(logits[v * stride] - logits[best * stride]));
        mean += logits[v * stride] / (real)n;
    }
    real lse = logits[best * stride] + (real)log((double)sum);
    for (size_t v = 0; v < n; v++)
        put_gradient(step, din, v * stride,
            weight *
                ((real)exp((double)(logits[v * stride] - lse)) - (v == target ? 1 - smoothing : 0) -
                    smoothing / (real)n));
    *ret_correct = best == target;
    return lse - (1 - smoothing) * logits[target * stride] - smoothing * mean;
}

/* The loss of target number i; din gets its gradient. `correct`: the head's answer is right. */
struct criterion {
    struct hn_exec *x;
    const struct hn_step *step;
    const real *logits;
    real *din; /* NULL outside training */
    size_t n;  /* outputs */
    bool correct;
};

static void note_choice(const real *logits, size_t n, size_t target, struct hn_choice *ret) {
    size_t best = 0;
    double other = -HUGE_VAL, sum = 0;
    for (size_t v = 0; v < n; v++) {
        best = logits[v] > logits[best] ? v : best;
        other = v != target && (double)logits[v] > other ? (double)logits[v] : other;
    }
    for (size_t v = 0; v < n; v++)
        sum += exp((double)(logits[v] - logits[best]));
    *ret = (struct hn_choice){n > 1 ? (float)((double)logits[target] - other) : 0,
        (float)(exp((double)(logits[target] - logits[best])) / sum), (int32_t)best};
}

static real label_loss(struct criterion *c, size_t i, real weight) {
    if (c->x->choices)
        note_choice(
            c->logits + i * c->n, c->n, (size_t)c->x->batch->target_ids[i], &c->x->choices[i]);
    return cross_entropy(c->step, c->logits + i * c->n, c->din ? c->din + i * c->n : NULL, c->n, 1,
        (size_t)c->x->batch->target_ids[i], weight, (real)c->step->op->attr.criterion.smoothing,
        &c->correct);
}

/* Targets 2s and 2s + 1 are the first and the last token of sequence s's answer. */
static real span_loss(struct criterion *c, size_t i, real weight) {
    const struct hn_batch *b = c->x->batch;
    size_t first = b->starts[i / 2], rows = b->starts[i / 2 + 1] - first, at = first * c->n + i % 2;
    return cross_entropy(c->step, c->logits + at, c->din ? c->din + at : NULL, rows, c->n,
        b->target_rows[i] - first, weight, 0, &c->correct);
}

static const float *values_of(const struct criterion *c, size_t i) {
    return c->x->batch->values + (size_t)c->x->batch->target_ids[i] * c->n;
}

/* Mean over the outputs of BCEWithLogitsLoss. */
static real binary_loss(struct criterion *c, size_t i, real weight) {
    const real *logits = c->logits + i * c->n;
    const float *values = values_of(c, i);
    real *din = c->din ? c->din + i * c->n : NULL, loss = 0;
    c->correct = true;
    for (size_t v = 0; v < c->n; v++) {
        real z = logits[v], y = (real)values[v];
        double size = fabs((double)z);
        loss += ((z > 0 ? z : 0) - z * y + (real)log1p(exp(-size))) / (real)c->n;
        real slope = (real)(1 / (1 + exp(-(double)z))) - y;
        c->correct = c->correct && (z > 0) == (values[v] > 0.5f);
        put_gradient(c->step, din, v, weight * slope / (real)c->n);
    }
    return loss;
}

/* Mean over the outputs of the squared error. */
static real square_loss(struct criterion *c, size_t i, real weight) {
    const real *logits = c->logits + i * c->n;
    const float *values = values_of(c, i);
    real *din = c->din ? c->din + i * c->n : NULL, loss = 0;
    c->correct = false;
    for (size_t v = 0; v < c->n; v++) {
        real z = logits[v], y = (real)values[v];
        loss += (z - y) * (z - y) / (real)c->n;
        real slope = 2 * (z - y);
        put_gradient(c->step, din, v, weight * slope / (real)c->n);
    }
    return loss;
}

static real (*const losses[HN_OBJECTIVES])(struct criterion *c, size_t i, real weight) = {
#define HN_OBJECTIVE(NAME, name, HEAD, LABELLED, VALUES, head_task, auto_class, problem_type, \
    peft_type, best, others, COLUMNS, encode, loss, measure, input)                           \
    [HN_OBJECTIVE_##NAME] = loss,
#include "engine/objective.def"
#undef HN_OBJECTIVE
};

/* The loss of a task's head; its logits are few, so that plain loops serve training as well. */
static void criterion_both(struct hn_exec *x, const struct hn_step *step) {
    struct criterion c = {.x = x,
        .step = step,
        .logits = hn_buffer(x, step->in[0]),
        .din = hn_buffer(x, step->din[0]),
        .n = x->plan->buffers[step->in[0]].cols};
    for (size_t i = 0; i < x->batch->n_targets; i++) {
        real weight = (real)x->batch->target_weights[i],
             loss = losses[step->op->attr.criterion.objective](&c, i, weight);
        x->sums->loss += (double)x->batch->target_weights[i] * (double)loss;
        x->sums->correct += c.correct;
        if (x->row_losses)
            x->row_losses[i] = (double)loss;
    }
}

const struct hn_op_table HN_REF_TABLE = {
    .value_bytes = sizeof(real),
    .forward = {[HN_OP_EMBED] = embed_forward,
        [HN_OP_RMSNORM] = rmsnorm_forward,
        [HN_OP_LAYERNORM] = layernorm_forward,
        [HN_OP_HEADNORM] = headnorm_forward,
        [HN_OP_LINEAR] = linear_forward,
        [HN_OP_ROPE_TABLE] = angles_forward,
        [HN_OP_ROPE] = rope_forward,
        [HN_OP_ATTENTION] = attention_forward,
        [HN_OP_GLU] = glu_forward,
        [HN_OP_ACTIVATE] = activate_forward,
        [HN_OP_DROPOUT] = dropout_forward,
        [HN_OP_GATHER] = gather_forward,
        [HN_OP_LOSS] = loss_both,
        [HN_OP_LOGITS] = logits_forward,
        [HN_OP_CRITERION] = criterion_both},
    .backward = {[HN_OP_EMBED] = embed_backward,
        [HN_OP_RMSNORM] = rmsnorm_backward,
        [HN_OP_LAYERNORM] = layernorm_backward,
        [HN_OP_HEADNORM] = headnorm_backward,
        [HN_OP_LINEAR] = linear_backward,
        [HN_OP_ROPE] = rope_backward,
        [HN_OP_ATTENTION] = attention_backward,
        [HN_OP_GLU] = glu_backward,
        [HN_OP_ACTIVATE] = activate_backward,
        [HN_OP_DROPOUT] = dropout_backward,
        [HN_OP_GATHER] = gather_backward,
        [HN_OP_LOSS] = loss_both,
        [HN_OP_CRITERION] = criterion_both},
};
