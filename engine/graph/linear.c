/* See linear.h, and HN_OP_LINEAR in graph.h for what is computed. */
#include "engine/graph/linear.h"
#include "engine/graph/dropout.h"
#include "engine/kernels/gemm.h"
#include "engine/kernels/kernels.h"
#include "engine/graph/tiles.h"

#include <string.h>

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Number of equal tiles of at most `most` columns, and their width in multiples of 32 (a quantised
 * block). */
struct cut {
    size_t count, width;
};

static struct cut cut_of(size_t n, size_t most) {
    size_t count = (n + most - 1) / most,
           width = ((n + count - 1) / (count ? count : 1) + 31) / 32 * 32;
    return (struct cut){width ? (n + width - 1) / width : 0, width};
}

/* Rows of a matmul whose columns are cut into so many tasks. OpenBLAS (where there are no kernels
 * of our own) may round the last rows of a call in another way than those before them, as its
 * Haswell kernels do: there the cut must not depend on threads. */
static struct cut cut_rows(const struct hn_exec *x, size_t rows, size_t column_tasks) {
    bool enough =
        hn_kernels()->gemm && column_tasks >= (size_t)HN_TILE_TASKS * hn_pool_threads(x->pool);
    return cut_of(rows, enough ? HN_TILE_ROWS : HN_TILE_ROWS_SHARED);
}

/* Columns of a matmul that run along a weight's stored blocks: those of 256 values are dequantised
 * whole, so that a matrix of them is cut at multiples of 256 only. */
_Static_assert(
    HN_GEMM_DEPTH % 256 == 0 && HN_GEMM_COLUMNS % 256 == 0 && HN_GEMM_TASK_COLUMNS % 32 == 0,
    "matmuls must be cut where quantised blocks begin");

static struct cut cut_blocks(const struct hn_weight *w, size_t n) {
    bool large = w->param == SIZE_MAX && hn_dtype_info((int)w->type)->block > 32;
    return cut_of(n, large ? HN_GEMM_COLUMNS : HN_GEMM_TASK_COLUMNS);
}

static struct hn_weight_part part_at(
    const struct hn_exec *x, const struct hn_weight *w, size_t r0, size_t c0) {
    return (struct hn_weight_part){
        w, w->param == SIZE_MAX ? NULL : (const float *)x->params + w->param, r0, c0};
}

/* out[m, n] = in[m, k]·W[n0…n1, :]ᵀ + add, inner values in order. */
static void tile_nt(const struct hn_exec *x, float *out, size_t ldo, const float *in, size_t ldi,
    const struct hn_weight *w, size_t n0, size_t n1, size_t rows, struct hn_addend add,
    float *scratch) {
    struct hn_weight_part part = part_at(x, w, n0, 0);
    hn_gemm_weight(true, rows, n1 - n0, w->cols, in, ldi, &part, add, out, ldo, scratch);
}

/* out[m, c0…c1] (+)= in[m, w.rows]·W[:, c0…c1] */
static void tile_nn(const struct hn_exec *x, float *out, size_t ldo, const float *in, size_t ldi,
    const struct hn_weight *w, size_t c0, size_t c1, size_t rows, bool add, float *scratch) {
    struct hn_weight_part part = part_at(x, w, 0, c0);
    hn_gemm_weight(false, rows, c1 - c0, w->rows, in, ldi, &part,
        (struct hn_addend){add ? out : NULL, ldo, NULL}, out, ldo, scratch);
}

/* Output columns of a decoding task: small, so that threads end together. */
#define NEXT_COLS 32

struct matmul {
    struct hn_exec *x;
    float *out;
    const float *in, *other;
    const struct hn_weight *w;
    size_t ldo, ldi, ld_other, rows, m, n;
    struct cut cols, row_cut;
    float alpha;
    bool add;
};

static void task_nt(void *context, size_t task, unsigned thread) {
    const struct matmul *p = context;
    size_t n0 = task % p->cols.count * p->cols.width, r0 = task / p->cols.count * p->row_cut.width;
    tile_nt(p->x, p->out + r0 * p->ldo + n0, p->ldo, p->in + r0 * p->ldi, p->ldi, p->w, n0,
        least(n0 + p->cols.width, p->w->rows), least(p->row_cut.width, p->rows - r0),
        (struct hn_addend){0}, hn_scratch(p->x, thread));
}

void hn_product_nt(struct hn_exec *x, float *out, size_t ldo, const float *in,
    const struct hn_weight *w, size_t rows) {
    struct matmul p = {.x = x,
        .out = out,
        .in = in,
        .w = w,
        .ldo = ldo,
        .ldi = w->cols,
        .rows = rows,
        .cols = cut_of(w->rows, HN_GEMM_TASK_COLUMNS)};
    p.row_cut = cut_rows(x, rows, p.cols.count);
    hn_pool_run(x->pool, p.cols.count * p.row_cut.count, task_nt, &p);
}

static void task_next(void *context, size_t task, unsigned thread) {
    const struct matmul *p = context;
    size_t n0 = task * NEXT_COLS, n1 = least(n0 + NEXT_COLS, p->w->rows);
    struct hn_weight_part part = part_at(p->x, p->w, n0, 0);
    hn_dots_weight(p->rows, n1 - n0, p->w->cols, p->in, p->ldi, &part, (struct hn_addend){0},
        p->out + n0, p->ldo, hn_scratch(p->x, thread));
}

void hn_product_next(struct hn_exec *x, float *out, size_t ldo, const float *in,
    const struct hn_weight *w, size_t rows) {
    struct matmul p = {
        .x = x, .out = out, .in = in, .w = w, .ldo = ldo, .ldi = w->cols, .rows = rows};
    hn_pool_run(x->pool, rows ? (w->rows + NEXT_COLS - 1) / NEXT_COLS : 0, task_next, &p);
}

static void task_nn(void *context, size_t task, unsigned thread) {
    const struct matmul *p = context;
    size_t c0 = task % p->cols.count * p->cols.width, r0 = task / p->cols.count * p->row_cut.width;
    tile_nn(p->x, p->out + r0 * p->ldo + c0, p->ldo, p->in + r0 * p->ldi, p->ldi, p->w, c0,
        least(c0 + p->cols.width, p->w->cols), least(p->row_cut.width, p->rows - r0), p->add,
        hn_scratch(p->x, thread));
}

void hn_product_nn(struct hn_exec *x, float *out, bool add, const float *in, size_t ldi,
    const struct hn_weight *w, size_t rows) {
    struct matmul p = {.x = x,
        .out = out,
        .in = in,
        .w = w,
        .ldo = w->cols,
        .ldi = ldi,
        .rows = rows,
        .add = add,
        .cols = cut_blocks(w, w->cols)};
    p.row_cut = cut_rows(x, rows, p.cols.count);
    hn_pool_run(x->pool, p.cols.count * p.row_cut.count, task_nn, &p);
}

static void task_tn(void *context, size_t task, unsigned thread) {
    const struct matmul *p = context;
    size_t n0 = task % p->cols.count * p->cols.width, m0 = task / p->cols.count * p->row_cut.width;
    hn_gemm(true, false, least(p->row_cut.width, p->m - m0), least(p->cols.width, p->n - n0),
        p->rows, p->alpha, p->in + m0, p->ldi, p->other + n0, p->ld_other, true,
        p->out + m0 * p->ldo + n0, p->ldo, hn_scratch(p->x, thread));
}

void hn_product_tn(struct hn_exec *x, float *grad, float alpha, const float *a, size_t lda,
    size_t m, const float *b, size_t ldb, size_t n, size_t rows) {
    struct matmul p = {.x = x,
        .out = grad,
        .in = a,
        .other = b,
        .ldo = n,
        .ldi = lda,
        .ld_other = ldb,
        .rows = rows,
        .m = m,
        .n = n,
        .alpha = alpha,
        .cols = cut_of(n, HN_GEMM_TASK_COLUMNS)};
    /* few columns: rows give the tasks */
    p.row_cut =
        n > HN_GEMM_TASK_COLUMNS ? cut_rows(x, m, p.cols.count) : cut_of(m, HN_GEMM_TASK_COLUMNS);
    hn_pool_run(x->pool, p.cols.count * p.row_cut.count, task_tn, &p);
}

/* What the tasks of one linear op share. */
struct linear_task {
    struct hn_exec *x;
    const struct hn_op *op;
    const struct hn_linear *l;
    size_t rows, mids; /* mids: columns of the adapters' inner tensor */
    const float *in, *residual, *mid_in, *dout;
    float *out, *mid, *din;
    struct cut row_cut, mid_cut, col_cut[HN_PARTS];
    size_t first_tile[HN_PARTS + 1]; /* of each part */
    size_t columns[HN_PARTS + 1];    /* first output column of each part */
    size_t adapted[HN_PARTS];        /* ordinal among the adapted parts */
    enum hn_dim dim;                 /* of the rows */
    bool dropout, add;
    bool alone; /* rows of next tokens */
};

static void cut_up(struct linear_task *t, size_t most_columns) {
    t->mid_cut = cut_of(t->rows, t->dropout ? HN_DROPOUT_ROWS : HN_LORA_ROWS);
    for (size_t p = 0; p < t->l->n_parts; p++) {
        t->col_cut[p] = cut_of(t->l->weights[p]->rows, most_columns);
        t->first_tile[p + 1] = t->first_tile[p] + t->col_cut[p].count;
    }
    t->row_cut = cut_rows(t->x, t->rows, t->first_tile[t->l->n_parts]);
}

static struct linear_task describe(struct hn_exec *x, const struct hn_step *step, enum hn_dim dim) {
    const struct hn_linear *l = &step->op->attr.linear;
    struct linear_task t = {.x = x,
        .op = step->op,
        .l = l,
        .rows = hn_rows(x, dim),
        .dim = dim,
        .mids = l->n_adapted * l->lora_rank,
        .dropout = x->dropout_on && l->lora_dropout > 0};
    cut_up(&t, HN_GEMM_TASK_COLUMNS);
    for (size_t p = 0, adapted = 0; p < l->n_parts; p++) {
        t.columns[p + 1] = t.columns[p] + l->weights[p]->rows;
        t.adapted[p] = adapted;
        adapted += l->lora[p] != NULL;
    }
    return t;
}

static const float *params_of(const struct linear_task *t) {
    return t->x->params;
}

/* Rows r0… of the input as part p's adapter sees them: with its dropout mask, in scratch. */
static void drop_rows(
    const struct linear_task *t, size_t part, const float *rows, size_t r0, size_t n, float *out) {
    double p = t->l->lora_dropout;
    float factor = (float)(1 / (1 - p));
    for (size_t r = 0; r < n; r++) {
        uint64_t key = hn_dropout_key(t->x, t->op, part, hn_token_row(t->x, t->dim, r0 + r));
        for (size_t c = 0; c < t->l->in; c++)
            out[r * t->l->in + c] =
                hn_dropout_channel(key, c, p) ? rows[r * t->l->in + c] * factor : 0;
    }
}

/* mid[rows, mids] = in · [A of all adapted parts]ᵀ, a block of rows a task. */
static void mid_rows(void *context, size_t block, unsigned thread) {
    const struct linear_task *t = context;
    const struct hn_linear *l = t->l;
    size_t r0 = block * t->mid_cut.width, n = least(t->mid_cut.width, t->rows - r0);
    float *out = t->mid + r0 * t->mids, *scratch = hn_op_room(t->x, thread);
    const float *in = t->in + r0 * l->in;
    if (t->alone) {
        hn_dots(
            n, t->mids, l->in, 1, in, l->in, params_of(t) + l->a_param, l->in, false, out, t->mids);
        return;
    }
    if (!t->dropout) {
        hn_gemm(false, true, n, t->mids, l->in, 1, in, l->in, params_of(t) + l->a_param, l->in,
            false, out, t->mids, hn_scratch(t->x, thread));
        return;
    }
    for (size_t p = 0; p < l->n_parts; p++) {
        if (!l->lora[p])
            continue;
        drop_rows(t, p, in, r0, n, scratch);
        hn_gemm(false, true, n, l->lora_rank, l->in, 1, scratch, l->in,
            params_of(t) + l->lora[p]->a, l->in, false, out + t->adapted[p] * l->lora_rank, t->mids,
            hn_scratch(t->x, thread));
    }
}

static size_t part_of(const struct linear_task *t, size_t tile) {
    size_t p = 0;
    while (tile >= t->first_tile[p + 1])
        p++;
    return p;
}

/* A bias: trained, or the base's (f32, see model.c). */
static const float *vector_of(const struct hn_exec *x, const struct hn_weight *w) {
    return w->param == SIZE_MAX ? (const float *)w->data : (const float *)x->params + w->param;
}

/* Columns n0…n1 of part p for rows of next tokens. */
static void next_tile(const struct linear_task *t, size_t p, size_t r0, size_t rows, size_t n0,
    size_t n1, struct hn_addend add, unsigned thread) {
    const struct hn_linear *l = t->l;
    float *out = t->out + r0 * l->out + t->columns[p] + n0;
    struct hn_weight_part part = part_at(t->x, l->weights[p], n0, 0);
    hn_dots_weight(rows, n1 - n0, l->in, t->in + r0 * l->in, l->in, &part, add, out, l->out,
        hn_scratch(t->x, thread));
    if (l->lora[p])
        hn_dots(rows, n1 - n0, l->lora_rank, (float)l->lora_scale,
            t->mid + r0 * t->mids + t->adapted[p] * l->lora_rank, t->mids,
            params_of(t) + l->lora[p]->b + n0 * l->lora_rank, l->lora_rank, true, out, l->out);
}

static void forward_tile(void *context, size_t task, unsigned thread) {
    const struct linear_task *t = context;
    const struct hn_linear *l = t->l;
    size_t tiles = t->first_tile[l->n_parts], tile = task % tiles, p = part_of(t, tile);
    size_t r0 = task / tiles * t->row_cut.width, rows = least(t->row_cut.width, t->rows - r0);
    size_t n0 = (tile - t->first_tile[p]) * t->col_cut[p].width,
           n1 = least(n0 + t->col_cut[p].width, l->weights[p]->rows);
    size_t offset = r0 * l->out + t->columns[p] + n0;
    struct hn_addend add = {t->residual ? t->residual + offset : NULL, l->out,
        l->biases[p] ? vector_of(t->x, l->biases[p]) + n0 : NULL};
    if (t->alone) {
        next_tile(t, p, r0, rows, n0, n1, add, thread);
        return;
    }
    tile_nt(t->x, t->out + offset, l->out, t->in + r0 * l->in, l->in, l->weights[p], n0, n1, rows,
        add, hn_scratch(t->x, thread));
    if (l->lora[p])
        hn_gemm(false, true, rows, n1 - n0, l->lora_rank, (float)l->lora_scale,
            t->mid + r0 * t->mids + t->adapted[p] * l->lora_rank, t->mids,
            params_of(t) + l->lora[p]->b + n0 * l->lora_rank, l->lora_rank, true, t->out + offset,
            l->out, hn_scratch(t->x, thread));
}

/* Rows from `first` on; 0 wherever there is dropout, whose keys are the batch's rows. */
static void forward_rows(struct linear_task t, size_t first, size_t rows, bool alone) {
    if (!rows)
        return;
    t.rows = rows;
    t.alone = alone;
    t.in += first * t.l->in;
    t.out += first * t.l->out;
    t.mid = t.mids ? t.mid + first * t.mids : NULL;
    t.residual = t.residual ? t.residual + first * t.l->out : NULL;
    cut_up(&t, alone ? NEXT_COLS : HN_GEMM_TASK_COLUMNS);
    if (t.mids)
        hn_pool_run(t.x->pool, t.mid_cut.count, mid_rows, &t);
    hn_pool_run(t.x->pool, t.first_tile[t.l->n_parts] * t.row_cut.count, forward_tile, &t);
}

void hn_linear_forward(struct hn_exec *x, const struct hn_step *step) {
    struct linear_task t = describe(x, step, x->plan->buffers[step->out[0]].dim);
    t.in = hn_buffer(x, step->in[0]);
    t.residual = hn_buffer(x, step->in[1]);
    t.out = hn_buffer(x, step->out[0]);
    t.mid = hn_buffer(x, step->out[1]);
    size_t next = t.dim == HN_DIM_TOKENS ? x->batch->n_decode : 0;
    forward_rows(t, 0, next, true);
    forward_rows(t, next, t.rows - next, false);
}

/* dmid[rows, part's rank] = s · dY · B for every adapted part */
static void dmid_rows(void *context, size_t block, unsigned thread) {
    const struct linear_task *t = context;
    const struct hn_linear *l = t->l;
    size_t r0 = block * t->mid_cut.width, n = least(t->mid_cut.width, t->rows - r0);
    for (size_t p = 0; p < l->n_parts; p++)
        if (l->lora[p])
            hn_gemm(false, false, n, l->lora_rank, l->weights[p]->rows, (float)l->lora_scale,
                t->dout + r0 * l->out + t->columns[p], l->out, params_of(t) + l->lora[p]->b,
                l->lora_rank, false, t->mid + r0 * t->mids + t->adapted[p] * l->lora_rank, t->mids,
                hn_scratch(t->x, thread));
}

/* dA of all parts at once without dropout; with it, part by part over blocks of dropped rows in
 * order. One task a block of columns would repeat the masks, so a part is a task. */
static void da_dropped(void *context, size_t p, unsigned thread) {
    const struct linear_task *t = context;
    const struct hn_linear *l = t->l;
    float *scratch = hn_op_room(t->x, thread);
    if (!l->lora[p])
        return;
    for (size_t r0 = 0; r0 < t->rows; r0 += HN_DROPOUT_ROWS) {
        size_t n = least(HN_DROPOUT_ROWS, t->rows - r0);
        drop_rows(t, p, t->in + r0 * l->in, r0, n, scratch);
        hn_gemm(true, false, l->lora_rank, l->in, n, 1,
            t->mid + r0 * t->mids + t->adapted[p] * l->lora_rank, t->mids, scratch, l->in, true,
            (float *)t->x->grads + l->lora[p]->a, l->in, hn_scratch(t->x, thread));
    }
}

static void adapter_gradients(struct linear_task *t) {
    const struct hn_linear *l = t->l;
    float *grads = t->x->grads;
    hn_pool_run(t->x->pool, t->mid_cut.count, dmid_rows, t);
    for (size_t p = 0; p < l->n_parts; p++)
        if (l->lora[p])
            hn_product_tn(t->x, grads + l->lora[p]->b, (float)l->lora_scale,
                t->dout + t->columns[p], l->out, l->weights[p]->rows,
                t->mid_in + t->adapted[p] * l->lora_rank, t->mids, l->lora_rank, t->rows);
    if (t->dropout)
        hn_pool_run(t->x->pool, l->n_parts, da_dropped, t);
    else
        hn_product_tn(
            t->x, grads + l->a_param, 1, t->mid, t->mids, t->mids, t->in, l->in, l->in, t->rows);
}

/* dX's columns c0…: all parts in order, then the adapters' share. */
static void backward_tile(void *context, size_t task, unsigned thread) {
    const struct linear_task *t = context;
    const struct hn_linear *l = t->l;
    size_t c0 = task % t->col_cut[0].count * t->col_cut[0].width,
           c1 = least(c0 + t->col_cut[0].width, l->in);
    size_t r0 = task / t->col_cut[0].count * t->row_cut.width,
           rows = least(t->row_cut.width, t->rows - r0);
    float *out = t->din + r0 * l->in + c0;
    for (size_t p = 0; p < l->n_parts; p++)
        tile_nn(t->x, out, l->in, t->dout + r0 * l->out + t->columns[p], l->out, l->weights[p], c0,
            c1, rows, p || t->add, hn_scratch(t->x, thread));
    if (t->mids && !t->dropout)
        hn_gemm(false, false, rows, c1 - c0, t->mids, 1, t->mid + r0 * t->mids, t->mids,
            params_of(t) + l->a_param + c0, l->in, true, out, l->in, hn_scratch(t->x, thread));
}

/* The adapters' share of dX under dropout: dU·A masked as the input was. */
static void dx_dropped(void *context, size_t block, unsigned thread) {
    const struct linear_task *t = context;
    const struct hn_linear *l = t->l;
    size_t r0 = block * t->mid_cut.width, n = least(t->mid_cut.width, t->rows - r0);
    float *scratch = hn_op_room(t->x, thread);
    for (size_t p = 0; p < l->n_parts; p++) {
        if (!l->lora[p])
            continue;
        hn_gemm(false, false, n, l->in, l->lora_rank, 1,
            t->mid + r0 * t->mids + t->adapted[p] * l->lora_rank, t->mids,
            params_of(t) + l->lora[p]->a, l->in, false, scratch, l->in, hn_scratch(t->x, thread));
        drop_rows(t, p, scratch, r0, n, scratch);
        hn_kernels()->axpy(t->din + r0 * l->in, 1, scratch, n * l->in);
    }
}

/* db of a block of output columns: rows in order, so that no sum depends on threads. */
static void bias_columns(void *context, size_t block, unsigned thread) {
    const struct linear_task *t = context;
    (void)thread;
    for (size_t p = 0; p < t->l->n_parts; p++) {
        const struct hn_weight *bias = t->l->biases[p];
        size_t c0 = block * 64;
        if (!bias || bias->param == SIZE_MAX || c0 >= bias->cols)
            continue;
        float *grad = (float *)t->x->grads + bias->param + c0;
        for (size_t r = 0; r < t->rows; r++)
            hn_kernels()->axpy(
                grad, 1, t->dout + r * t->l->out + t->columns[p] + c0, least(64, bias->cols - c0));
    }
}

void hn_linear_backward(struct hn_exec *x, const struct hn_step *step) {
    struct linear_task t = describe(x, step, x->plan->buffers[step->dout[0]].dim);
    const struct hn_linear *l = t.l;
    t.in = hn_buffer(x, step->in[0]);
    t.dout = hn_buffer(x, step->dout[0]);
    t.din = hn_buffer(x, step->din[0]);
    t.mid_in = hn_buffer(x, step->out[1]);
    t.mid = hn_buffer(x, step->work);
    t.add = step->add[0];
    if (step->din[1] >= 0)
        hn_kernels()->axpy(hn_buffer(x, step->din[1]), 1, t.dout, t.rows * l->out);
    if (t.mids)
        adapter_gradients(&t);
    for (size_t p = 0; p < l->n_parts; p++)
        if (l->weights[p]->param != SIZE_MAX)
            hn_product_tn(x, (float *)x->grads + l->weights[p]->param, 1, t.dout + t.columns[p],
                l->out, l->weights[p]->rows, t.in, l->in, l->in, t.rows);
    hn_pool_run(x->pool, (l->out + 63) / 64, bias_columns, &t);
    if (!t.din)
        return;
    t.col_cut[0] = cut_of(l->in, HN_GEMM_TASK_COLUMNS);
    for (size_t p = 0; p < l->n_parts; p++)
        if (cut_blocks(l->weights[p], l->in).width > t.col_cut[0].width)
            t.col_cut[0] = cut_blocks(l->weights[p], l->in);
    t.row_cut = cut_rows(x, t.rows, t.col_cut[0].count);
    hn_pool_run(x->pool, t.col_cut[0].count * t.row_cut.count, backward_tile, &t);
    if (t.mids && t.dropout)
        hn_pool_run(x->pool, t.mid_cut.count, dx_dropped, &t);
}
