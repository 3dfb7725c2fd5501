/*
 * Room engine/kernels. Matmuls and elementwise loops for each CPU level, and the threads that share
 * them out. Packed panels are known here only.
 *
 * Nouns: kernel set (a CPU level's functions), panel and operand (a matrix packed for gemm), pool
 *   (threads).
 * Ownership: All arrays belong to the caller; the pool owns its threads.
 * May include: engine/base engine/formats engine/model.
 */

/*
 * Kernels: inner loops over contiguous floats, compiled once per CPU level from one source
 * (kernels.c).
 *
 * All work on rows of any length n ≥ 0; pointers need no alignment; outputs first. Reductions use
 * sixteen partial sums folded in a fixed tree, so a result depends on the CPU level (fused
 * multiply-adds) but on nothing else.
 */
#ifndef HN_ENGINE_KERNELS_KERNELS_H
#define HN_ENGINE_KERNELS_KERNELS_H

#include "engine/formats/dtype.h"
#include "engine/kernels/gemm_kernels.h"
#include "engine/model/model.h"

#include <stdbool.h>
#include <stddef.h>

struct hn_adamw {
    float lr, beta1, beta2, eps, decay; /* decay already times lr */
    float correction1, correction2;     /* 1 − beta1^t and sqrt(1 − beta2^t) */
    float clip;                         /* gradients are multiplied by this first */
};

struct hn_kernels {
    const char *name;                       /* "avx512", "avx2", "portable" */
    const struct hn_gemm_kernels *gemm;     /* NULL: matmuls go through OpenBLAS */
    float (*max)(const float *x, size_t n); /* −inf for n = 0 */
    float (*dot)(const float *a, const float *b, size_t n);
    /* out[r·ldo + c] = alpha · (w[c·ldw …] · x[r·ldx …]) + (add ? out[r·ldo + c] : 0) for r < rows
     * and c < cols. Sixteen partial sums, the same ones whatever `rows` and `cols` are. */
    void (*dots)(float *out, size_t ldo, float alpha, bool add, const float *w, size_t ldw,
        size_t cols, const float *x, size_t ldx, size_t rows, size_t n);
    void (*mix)(
        /* y += Σ a[r]·x[r·ldx …] */
        float *y, const float *a, const float *x, size_t ldx, size_t rows, size_t n);
    void (*axpy)(float *y, float a, const float *x, size_t n); /* y += a·x */
    void (*scale)(float *y, float a, size_t n);                /* y *= a */
    float (*exp_shift)(float *x, float shift, size_t n); /* x = exp(x − shift); returns the sum */
    void (*softmax_back)(
        float *ds, const float *p, const float *dp, float delta, float scale, size_t n);
    /* returns 1/rms */
    float (*rmsnorm)(float *y, const float *x, const float *w, float eps, size_t n);
    float (*rmsnorm_back)(
        float *dx, bool add, const float *dy, const float *x, const float *w, float eps, size_t n);
    void (*layernorm)(
        float *y, const float *x, const float *w, const float *b, float eps, size_t n);
    /* moments[2]: mean and 1/deviation, for the gradients of w. */
    void (*layernorm_back)(float *dx, bool add, const float *dy, const float *x, const float *w,
        float eps, size_t n, float *ret_moments);
    /* y = act(x) and act(gate)·up, and their gradients */
    void (*activate[HN_ACTIVATIONS])(float *y, const float *x, size_t n);
    void (*activate_back[HN_ACTIVATIONS])(
        float *dx, bool add, const float *dy, const float *x, size_t n);
    void (*glu[HN_ACTIVATIONS])(float *y, const float *gate, const float *up, size_t n);
    void (*glu_back[HN_ACTIVATIONS])(float *dgate, float *dup, bool add, const float *dy,
        const float *gate, const float *up, size_t n);
    void (*adamw)(float *p, const float *g, float *m, float *v, const struct hn_adamw *s, size_t n);
    double (*sum_squares)(const float *x, size_t n);
    /* NULL: dtype.h's is used */
    void (*dequantise[HN_DTYPES])(float *out, const void *blocks, size_t n);
};

/* The best set this CPU can run, or the best of those up to the one that HONE_KERNELS names, so
 * that every level can be tested on one machine. Other libraries still choose by the CPU itself.
 * Decided once. */
const struct hn_kernels *hn_kernels(void);

#endif
