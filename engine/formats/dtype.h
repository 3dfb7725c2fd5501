/*
 * Data types of stored weights: block shapes and dequantisation to f32.
 *
 * One row per type in dtype.c. A row of a matrix is a whole number of blocks; `cols` given to the
 * functions below must be a multiple of the type's block. Block layouts:
 * https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
 */
#ifndef HN_ENGINE_FORMATS_DTYPE_H
#define HN_ENGINE_FORMATS_DTYPE_H

#include <stddef.h>
#include <stdint.h>

/* Numbers are GGUF's tensor type ids. */
enum hn_dtype {
    HN_F32 = 0,
    HN_F16 = 1,
    HN_Q4_0 = 2,
    HN_Q4_1 = 3,
    HN_Q5_0 = 6,
    HN_Q5_1 = 7,
    HN_Q8_0 = 8,
    HN_Q2_K = 10,
    HN_Q3_K = 11,
    HN_Q4_K = 12,
    HN_Q5_K = 13,
    HN_Q6_K = 14,
    HN_IQ2_XXS = 16,
    HN_IQ2_XS = 17,
    HN_IQ3_XXS = 18,
    HN_IQ1_S = 19,
    HN_IQ4_NL = 20,
    HN_IQ3_S = 21,
    HN_IQ2_S = 22,
    HN_IQ4_XS = 23,
    HN_IQ1_M = 29,
    HN_BF16 = 30,
    HN_DTYPES = 40,
};

struct hn_dtype_info {
    const char *name; /* "Q4_1"; NULL for ids that are not supported */
    size_t block;     /* values a block */
    size_t bytes;     /* bytes a block */
    /* out[n] from n / block consecutive blocks. */
    void (*dequantise)(float *out, const void *blocks, size_t n);
    /* The reverse, as gguf-py's quants.py rounds; NULL for types that are only read. */
    void (*quantise)(void *blocks, const float *values, size_t n);
};

const struct hn_dtype_info *hn_dtype_info(int type); /* NULL when not supported */
static inline size_t hn_dtype_bytes(const struct hn_dtype_info *info, size_t n) {
    return n / info->block * info->bytes;
}

float hn_f16_to_f32(uint16_t h);
uint16_t hn_f32_to_f16(float f); /* round to nearest even */
static inline float hn_bf16_to_f32(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } x = {.u = (uint32_t)h << 16};
    return x.f;
}
uint16_t hn_f32_to_bf16(float f); /* round to nearest even, NaN stays NaN */

#endif
