/* See gemm.h: blocking and packing around the inner kernels. */
#include "engine/kernels/gemm.h"
#include "engine/kernels/blas.h"
#include "engine/kernels/gemm_kernels.h"
#include "engine/kernels/kernels.h"

#include <string.h>

#define AHEAD 16 /* rows of a weight */
#define LINE 64  /* bytes of a cache line */
#define ROWS 12  /* a chunk's rows are a multiple of a micro-kernel's, whichever it is */
/* rows of a weight, and values of each, that are dequantised at once: they stay in the first-level
 * cache */
#define DOTS_ROWS 8
#define DOTS_DEPTH 1024

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Inner values are taken in equal parts: a short last one would read and write all of C for little
 * work. Blocks of 256 values are not divided. */
static size_t depth_of(size_t k, size_t block) {
    size_t parts = (k + HN_GEMM_DEPTH - 1) / HN_GEMM_DEPTH;
    return parts < 2 || block > 32 ? HN_GEMM_DEPTH : ((k + parts - 1) / parts + 31) / 32 * 32;
}

/* OpenBLAS cannot add residual and bias while it writes: C is filled with them first. True if the
 * matmul must then be accumulated into C. */
static bool begin(size_t m, size_t n, struct hn_addend add, float *c, size_t ldc) {
    for (size_t r = 0; r < m; r++) {
        float *row = c + r * ldc;
        if (add.rows && add.rows != c)
            memcpy(row, add.rows + r * add.ld, n * sizeof *row);
        if (add.rows && add.bias)
            hn_kernels()->axpy(row, 1, add.bias, n);
        else if (add.bias)
            memcpy(row, add.bias, n * sizeof *row);
    }
    return add.rows || add.bias;
}

/* What the block of inner values from t on is added to: columns j… of `add`, or what the blocks
 * before it left in C. */
static struct hn_addend addend_at(struct hn_addend add, size_t j, size_t t, float *c, size_t ldc) {
    if (t)
        return (struct hn_addend){c + j, ldc, NULL};
    return (struct hn_addend){
        add.rows ? add.rows + j : NULL, add.ld, add.bias ? add.bias + j : NULL};
}

/* A packed block with the rows of A in chunks, each of which all panels pass over while it is in
 * the cache. */
static void multiply(const struct hn_gemm_kernels *g, bool turned, size_t m, size_t n, size_t k,
    float alpha, const float *a, size_t lda, const void *packed, struct hn_addend add, float *c,
    size_t ldc) {
    size_t chunk = HN_GEMM_CHUNK / HN_GEMM_DEPTH / ROWS * ROWS;
    for (size_t i = 0; i < m; i += chunk)
        g->multiply(turned, least(chunk, m - i), n, k, alpha, a + (turned ? i : i * lda), lda,
            packed, (struct hn_addend){add.rows ? add.rows + i * add.ld : NULL, add.ld, add.bias},
            c + i * ldc, ldc);
}

static void gemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha,
    const float *a, size_t lda, const float *b, size_t ldb, struct hn_addend add, float *c,
    size_t ldc, float *scratch) {
    const struct hn_gemm_kernels *g = hn_kernels()->gemm;
    if (!g) {
        float beta = begin(m, n, add, c, ldc) ? 1 : 0;
        hn_sgemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    size_t most = depth_of(k, 1);
    for (size_t j = 0; j < n; j += HN_GEMM_COLUMNS)
        for (size_t t = 0; t < k; t += most) {
            size_t width = least(HN_GEMM_COLUMNS, n - j), depth = least(most, k - t);
            if (trans_b)
                g->pack_columns(scratch, b + j * ldb + t, ldb, depth, width);
            else
                g->pack_rows(scratch, b + t * ldb + j, ldb, depth, width);
            multiply(g, trans_a, m, width, depth, alpha, a + (trans_a ? t * lda : t), lda, scratch,
                addend_at(add, j, t, c, ldc), c + j, ldc);
        }
}

void hn_gemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const float *b, size_t ldb, bool add, float *c, size_t ldc, float *scratch) {
    gemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb,
        (struct hn_addend){add ? c : NULL, ldc, NULL}, c, ldc, scratch);
}

#define PANEL 32 /* columns of a panel are a divisor of it, whichever the kernel */

size_t hn_operand_room(size_t k, size_t n) {
    return k * ((n + PANEL - 1) / PANEL * PANEL);
}

void hn_operand_pack(const struct hn_operand *b) {
    const struct hn_gemm_kernels *g = hn_kernels()->gemm;
    if (g)
        (b->trans ? g->pack_columns : g->pack_rows)(b->packed, b->values, b->ld, b->k, b->n);
}

void hn_gemm_operand(bool trans_a, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const struct hn_operand *b, bool add, float *c, size_t ldc) {
    const struct hn_gemm_kernels *g = hn_kernels()->gemm;
    struct hn_addend own = {add ? c : NULL, ldc, NULL};
    if (!g) {
        hn_sgemm(trans_a, b->trans, m, n, k, alpha, a, lda, b->values, b->ld, add ? 1 : 0, c, ldc);
        return;
    }
    size_t most = depth_of(k, 1);
    for (size_t j = 0; j < n;
         j += g->nr) /* a panel at a time: its rows are b->k, of which k are taken */
        for (size_t t = 0; t < k; t += most)
            multiply(g, trans_a, m, least(g->nr, n - j), least(most, k - t), alpha,
                a + (trans_a ? t * lda : t), lda,
                (const char *)b->packed + (j * b->k + t * g->nr) * g->value_bytes,
                addend_at(own, j, t, c, ldc), c + j, ldc);
}

typedef void hn_dequantise_fn(float *out, const void *blocks, size_t n);

static hn_dequantise_fn *dequantiser(const struct hn_weight *w) {
    hn_dequantise_fn *fast = hn_kernels()->dequantise[w->type];
    return fast ? fast : hn_dtype_info((int)w->type)->dequantise;
}

static void dequantise_rows(
    const struct hn_weight *w, size_t r0, size_t rows, size_t c0, size_t cols, float *out) {
    const struct hn_dtype_info *info = hn_dtype_info((int)w->type);
    hn_dequantise_fn *dequantise = dequantiser(w);
    size_t row_bytes = hn_dtype_bytes(info, w->cols);
    const uint8_t *data = (const uint8_t *)w->data + r0 * row_bytes + hn_dtype_bytes(info, c0);
    for (size_t r = 0; r < rows; r++)
        dequantise(out + r * cols, data + r * row_bytes, cols);
}

void hn_dots(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
    size_t ldb, bool add, float *c, size_t ldc) {
    hn_kernels()->dots(c, ldc, alpha, add, b, ldb, n, a, lda, m, k);
}

void hn_dots_weight(size_t m, size_t n, size_t k, const float *a, size_t lda,
    const struct hn_weight_part *p, struct hn_addend add, float *c, size_t ldc, float *scratch) {
    const struct hn_weight *w = p->weight;
    if (w->transposed && !p->trained) {
        /* its rows are columns of the file: nothing lies together */
        hn_gemm_weight(true, m, n, k, a, lda, p, add, c, ldc, scratch);
        return;
    }
    if (p->trained || w->type == HN_F32) {
        const float *values =
            (p->trained ? p->trained : (const float *)w->data) + p->r0 * w->cols + p->c0;
        hn_dots(m, n, k, 1, a, lda, values, w->cols, begin(m, n, add, c, ldc), c, ldc);
        return;
    }
    bool begun = begin(m, n, add, c, ldc);
    for (size_t j = 0; j < n; j += DOTS_ROWS)
        for (size_t t = 0; t < k; t += DOTS_DEPTH) {
            size_t depth = least(DOTS_DEPTH, k - t), rows = least(DOTS_ROWS, n - j);
            dequantise_rows(w, p->r0 + j, rows, p->c0 + t, depth, scratch);
            hn_kernels()->dots(
                c + j, ldc, 1, begun || t, scratch, depth, rows, a + t, lda, m, depth);
        }
}

/* Packs a block of Wᵀ: `width` rows of the weight, `depth` of their values, a panel at a time. */
static void pack_transposed(const struct hn_gemm_kernels *g, const struct hn_weight_part *p,
    size_t j, size_t t, size_t width, size_t depth, float *packed, float *rows) {
    for (size_t at = 0; at < width; at += g->nr) {
        size_t n = least(g->nr, width - at);
        dequantise_rows(p->weight, p->r0 + j + at, n, p->c0 + t, depth, rows);
        g->pack_columns(packed + at * depth, rows, depth, depth, n);
    }
}

/* Packs a block of W: `depth` rows of the weight, `width` of their values. The rows lie apart,
 * where hardware fetches nothing ahead: those of the next rows are asked for. */
static void pack_straight(const struct hn_gemm_kernels *g, const struct hn_weight_part *p, size_t j,
    size_t t, size_t width, size_t depth, float *packed, float *rows) {
    const struct hn_dtype_info *info = hn_dtype_info((int)p->weight->type);
    size_t row_bytes = hn_dtype_bytes(info, p->weight->cols), bytes = hn_dtype_bytes(info, width);
    const uint8_t *data = (const uint8_t *)p->weight->data + (p->r0 + t) * row_bytes +
        hn_dtype_bytes(info, p->c0 + j);
    /* panels of whole blocks: straight into them */
    bool whole = g->nr % info->block == 0 && width % g->nr == 0;
    hn_dequantise_fn *dequantise = dequantiser(p->weight);
    for (size_t i = 0; i < depth; i++, data += row_bytes) {
        for (size_t at = 0; i + AHEAD < depth && at < bytes + LINE; at += LINE)
            __builtin_prefetch(data + AHEAD * row_bytes + at);
        if (!whole)
            dequantise(rows, data, width);
        for (size_t at = 0; at < width; at += g->nr)
            if (whole)
                dequantise(packed + at * depth + i * g->nr, data + hn_dtype_bytes(info, at), g->nr);
            else
                g->pack_rows(
                    packed + at * depth + i * g->nr, rows + at, g->nr, 1, least(g->nr, width - at));
    }
}

/* The same through OpenBLAS, for CPUs without kernels of our own. */
static void weight_by_blas(bool trans_w, size_t m, size_t n, size_t k, const float *a, size_t lda,
    const struct hn_weight_part *p, struct hn_addend add, float *c, size_t ldc, float *scratch) {
    bool begun = begin(m, n, add, c, ldc);
    for (size_t j = 0; j < n; j += HN_GEMM_COLUMNS)
        for (size_t t = 0; t < k; t += HN_GEMM_DEPTH) {
            size_t width = least(HN_GEMM_COLUMNS, n - j), depth = least(HN_GEMM_DEPTH, k - t);
            if (trans_w)
                dequantise_rows(p->weight, p->r0 + j, width, p->c0 + t, depth, scratch);
            else
                dequantise_rows(p->weight, p->r0 + t, depth, p->c0 + j, width, scratch);
            hn_sgemm(false, trans_w, m, width, depth, 1, a + t, lda, scratch,
                trans_w ? depth : width, begun || t ? 1 : 0, c + j, ldc);
        }
}

void hn_gemm_weight(bool trans_w, size_t m, size_t n, size_t k, const float *a, size_t lda,
    const struct hn_weight_part *p, struct hn_addend add, float *c, size_t ldc, float *scratch) {
    const struct hn_gemm_kernels *g = hn_kernels()->gemm;
    const struct hn_weight *w = p->weight;
    struct hn_weight stored;
    struct hn_weight_part turned;
    if (w->transposed && !p->trained) {
        /* the stored matrix is the transpose of the one asked for */
        stored = *w;
        stored.rows = w->cols;
        stored.cols = w->rows;
        stored.transposed = false;
        turned = (struct hn_weight_part){&stored, NULL, p->c0, p->r0};
        trans_w = !trans_w;
        p = &turned;
        w = &stored;
    }
    if (p->trained || w->type == HN_F32) {
        const float *values =
            (p->trained ? p->trained : (const float *)w->data) + p->r0 * w->cols + p->c0;
        gemm(false, trans_w, m, n, k, 1, a, lda, values, w->cols, add, c, ldc, scratch);
        return;
    }
    if (!g) {
        weight_by_blas(trans_w, m, n, k, a, lda, p, add, c, ldc, scratch);
        return;
    }
    float *rows = scratch + HN_GEMM_DEPTH * (HN_GEMM_COLUMNS + 32);
    size_t most = depth_of(k, hn_dtype_info((int)w->type)->block);
    for (size_t j = 0; j < n; j += HN_GEMM_COLUMNS)
        for (size_t t = 0; t < k; t += most) {
            size_t width = least(HN_GEMM_COLUMNS, n - j), depth = least(most, k - t);
            (trans_w ? pack_transposed : pack_straight)(g, p, j, t, width, depth, scratch, rows);
            multiply(g, false, m, width, depth, 1, a + t, lda, scratch,
                addend_at(add, j, t, c, ldc), c + j, ldc);
        }
}
