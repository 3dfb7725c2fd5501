/*
 * Matmuls with weights, tiled over the pool; the weight may be quantised, then panels of it are
 * dequantised into the thread's scratch as they are needed. The inner dimension is never split
 * between threads.
 */
#ifndef HN_ENGINE_GRAPH_LINEAR_H
#define HN_ENGINE_GRAPH_LINEAR_H

#include "engine/graph/ops.h"

/* out[rows, w.rows] (leading dimension ldo) = in[rows, w.cols] · Wᵀ */
void hn_product_nt(struct hn_exec *x, float *out, size_t ldo, const float *in,
    const struct hn_weight *w, size_t rows);
/* The same for rows of next tokens (hn_batch.n_decode). */
void hn_product_next(struct hn_exec *x, float *out, size_t ldo, const float *in,
    const struct hn_weight *w, size_t rows);
/* out[rows, w.cols] (+)= in[rows, w.rows] (leading dimension ldi) · W */
void hn_product_nn(struct hn_exec *x, float *out, bool add, const float *in, size_t ldi,
    const struct hn_weight *w, size_t rows);
/* grad[m, n] += alpha · a[rows, m]ᵀ · b[rows, n] */
void hn_product_tn(struct hn_exec *x, float *grad, float alpha, const float *a, size_t lda,
    size_t m, const float *b, size_t ldb, size_t n, size_t rows);

void hn_linear_forward(struct hn_exec *x, const struct hn_step *step);
void hn_linear_backward(struct hn_exec *x, const struct hn_step *step);

#endif
