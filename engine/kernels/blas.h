/*
 * The one door to OpenBLAS: row-major single-threaded sgemm, and LAPACK's dsyev.
 *
 * The library is opened at run time, after its core type was chosen from the CPU's feature flags:
 * OpenBLAS 0.3.21 does not know newer CPUs and falls back to SSE kernels at a fifth of the speed.
 * It reads OPENBLAS_CORETYPE only while it loads. A user's own setting wins. One thread inside: the
 * engine's pool splits the work (pool.h), which keeps bits independent of the thread count.
 */
#ifndef HN_ENGINE_KERNELS_BLAS_H
#define HN_ENGINE_KERNELS_BLAS_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Opens the library once per process; later calls return at once. */
int hn_blas_open(struct hn_error *err);
const char *hn_blas_name(void); /* "OpenBLAS 0.3.21 SkylakeX", for records */

/* C[m,n] = alpha · op(A) · op(B) + beta · C, row-major, leading dimensions in elements; op
 * transposes when its flag is set. */
void hn_sgemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);

/* Eigenvalues of a symmetric matrix[n, n], ascending; the matrix is overwritten. */
int hn_eigenvalues(double *matrix, size_t n, double *ret, struct hn_error *err);

#endif
