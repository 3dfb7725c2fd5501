/*
 * Single-threaded matmuls on row-major f32: the engine's own kernels where the CPU has AVX2
 * or AVX-512, OpenBLAS elsewhere. Measured in bench/gemm.c; why both: bench/SPEED.md.
 *
 * B is packed block by block into the caller's scratch; a quantised weight is dequantised on the
 * way, block by block, so no more of it than a block is ever held in f32.
 */
#ifndef HN_ENGINE_KERNELS_GEMM_H
#define HN_ENGINE_KERNELS_GEMM_H

#include "engine/kernels/gemm_kernels.h"
#include "engine/model/model.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    /* output columns of a task: whole panels at every level; 576 are six tasks, which two threads
     * share */
    HN_GEMM_TASK_COLUMNS = 96,
    /* columns of a packed block: all of it stays in the second-level cache */
    HN_GEMM_COLUMNS = 256,
    /* floats of A, of the full depth, over which all panels pass: they stay there too */
    HN_GEMM_CHUNK = 128 << 10,
    /* floats: the block, padded to whole panels, and rows being dequantised */
    HN_GEMM_SCRATCH = HN_GEMM_DEPTH * (HN_GEMM_COLUMNS + 32) + 32 * HN_GEMM_DEPTH,
};

/* C[m,n] (ldc) = alpha · op(A) · op(B) + (add ? C : 0). `scratch` holds HN_GEMM_SCRATCH floats. */
void hn_gemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const float *b, size_t ldb, bool add, float *c, size_t ldc, float *scratch);

/* The operand B of several matmuls, packed once for all of them: k × n, or given as its transpose.
 * `packed` is the caller's, room for hn_operand_room(k, n) floats; how values lie there is known to
 * the kernels alone. */
struct hn_operand {
    bool trans;
    size_t k, n, ld;
    const float *values;
    void *packed;
};
size_t hn_operand_room(size_t k, size_t n);
void hn_operand_pack(const struct hn_operand *b);
/* hn_gemm with B's first k rows and n columns: the same bits. */
void hn_gemm_operand(bool trans_a, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const struct hn_operand *b, bool add, float *c, size_t ldc);

/* A weight's part: rows r0 … r0 + rows − 1, columns c0 … of the f32 values at `trained`, or of the
 * stored blocks when NULL. */
struct hn_weight_part {
    const struct hn_weight *weight;
    const float *trained; /* the whole matrix's first value */
    size_t r0, c0;
};
/* C[m, n] = A[m, k] · Wᵀ + add with W the n × k part, or A · W + add with W the k × n part.
 * Residuals and biases are added where the result is written: written into C before it they were
 * read and stored once more. */
void hn_gemm_weight(bool trans_w, size_t m, size_t n, size_t k, const float *a, size_t lda,
    const struct hn_weight_part *w, struct hn_addend add, float *c, size_t ldc, float *scratch);

/* C[m, n] = A[m, k] · Wᵀ + add for the few rows of decoding (one token a sequence): the
 * part's rows are dequantised one by one and multiplied with all of A's, without packing. A row's
 * bits depend on nothing beside it, but they are not those of hn_gemm_weight. */
void hn_dots_weight(size_t m, size_t n, size_t k, const float *a, size_t lda,
    const struct hn_weight_part *w, struct hn_addend add, float *c, size_t ldc, float *scratch);
/* C[m, n] = alpha · A · Bᵀ + (add ? C : 0) in the same way. */
void hn_dots(size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
    size_t ldb, bool add, float *c, size_t ldc);

#endif
