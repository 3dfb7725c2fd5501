/*
 * Inner kernels of matmul (gemm.h), compiled once per CPU level from gemm_kernels.c.
 *
 * B is packed into panels of `nr` columns: panel p holds, for each k, the columns p·nr … p·nr + nr
 * − 1, zeros past the end. Every element of C is one chain of fused multiply-adds over k in order,
 * whatever m and n are: a row's bits do not depend on the rows beside it.
 */
#ifndef HN_ENGINE_KERNELS_GEMM_KERNELS_H
#define HN_ENGINE_KERNELS_GEMM_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

enum {
    /* Inner values of a packed block, at most. Its panels stream from the second-level cache (two
     * vectors for 24 multiplications); 512, and 256 with panels that stay in the first, read and
     * wrote C more often and were slower by 2 and 3 % each. */
    HN_GEMM_DEPTH = 768,
};

/* What the result is added to: rows (`ld` apart) and a vector in each of them; NULL: nothing.
 * `rows` may be C itself. */
struct hn_addend {
    const float *rows;
    size_t ld;
    const float *bias;
};

struct hn_gemm_kernels {
    size_t nr;          /* columns of a panel */
    size_t value_bytes; /* of a packed value: its type is the level's own */
    /* packed[ceil(n / nr)][k][nr] from B[k, n] given row by row (ldb), or as its transpose (n rows
     * of k values). */
    void (*pack_rows)(void *packed, const float *b, size_t ldb, size_t k, size_t n);
    void (*pack_columns)(void *packed, const float *b, size_t ldb, size_t k, size_t n);
    /* C[m, n] (ldc) = alpha · A · B + add, A[i, k] = a[i·lda + k], or a[k·lda + i] where A is given
     * turned. */
    void (*multiply)(bool turned, size_t m, size_t n, size_t k, float alpha, const float *a,
        size_t lda, const void *packed, struct hn_addend add, float *c, size_t ldc);
};

extern const struct hn_gemm_kernels hn_gemm_portable, hn_gemm_avx2, hn_gemm_avx512;

#endif
