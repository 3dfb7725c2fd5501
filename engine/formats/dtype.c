/*
 * Stored weight types and their dequantisation; see dtype.h. Each function is the plain definition:
 * value = what the block's bytes say, computed in f32 in the order of the reference (gguf-py), so
 * that results agree to the bit.
 */
#include "engine/formats/dtype_internal.h"

#include <math.h>
#include <string.h>

float hn_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
    union {
        uint32_t u;
        float f;
    } x;
    if (exponent == 31) {
        x.u = sign | 0x7f800000 | mantissa << 13;
    } else if (exponent) {
        x.u = sign | (exponent + 112) << 23 | mantissa << 13;
    } else { /* zero or subnormal: mantissa * 2^-24 */
        x.f = (float)mantissa * 0x1p-24f;
        x.u |= sign;
    }
    return x.f;
}

uint16_t hn_f32_to_f16(float f) {
    union {
        float f;
        uint32_t u;
    } x = {.f = f};
    uint16_t sign = (uint16_t)(x.u >> 16 & 0x8000);
    uint32_t u = x.u & 0x7fffffff;
    if (u >= 0x7f800000)
        return (uint16_t)(sign | 0x7c00 | (u > 0x7f800000 ? 0x200 : 0));
    if (u >= 0x477ff000) /* rounds past the largest finite value */
        return (uint16_t)(sign | 0x7c00);
    if (u < 0x38800000) { /* subnormal: let the FPU round to a multiple of 2^-24 */
        union {
            uint32_t u;
            float f;
        } y = {.u = u};
        y.f += 0.5f;
        return (uint16_t)(sign | (y.u - 0x3f000000));
    }
    uint32_t odd = u >> 13 & 1;
    return (uint16_t)(sign | ((u - 0x38000000 + 0xfff + odd) >> 13));
}

uint16_t hn_f32_to_bf16(float f) {
    union {
        float f;
        uint32_t u;
    } x = {.f = f};
    if ((x.u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(x.u >> 16 | 64);
    return (uint16_t)((x.u + 0x7fff + (x.u >> 16 & 1)) >> 16);
}

static void dequantise_f32(float *out, const void *blocks, size_t n) {
    memcpy(out, blocks, n * sizeof *out);
}

static void dequantise_f16(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = hn_read_f16(p + 2 * i);
}

static void dequantise_bf16(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        out[i] = hn_bf16_to_f32(h);
    }
}

/* 32 values: f16 scale d, 16 bytes of nibbles; the low nibbles are the first half. */
static void dequantise_q4_0(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 18) {
        float d = hn_read_f16(p);
        for (size_t i = 0; i < 16; i++) {
            out[i] = d * (float)((p[2 + i] & 15) - 8);
            out[i + 16] = d * (float)((p[2 + i] >> 4) - 8);
        }
    }
}

/* The same with an f16 offset m instead of the constant 8. */
static void dequantise_q4_1(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 20) {
        float d = hn_read_f16(p), m = hn_read_f16(p + 2);
        for (size_t i = 0; i < 16; i++) {
            out[i] = d * (float)(p[4 + i] & 15) + m;
            out[i + 16] = d * (float)(p[4 + i] >> 4) + m;
        }
    }
}

static void dequantise_q8_0(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 34) {
        float d = hn_read_f16(p);
        for (size_t i = 0; i < 32; i++)
            out[i] = d * (float)(int8_t)p[2 + i];
    }
}

static void quantise_f32(void *blocks, const float *values, size_t n) {
    memcpy(blocks, values, n * sizeof *values);
}

static void quantise_f16(void *blocks, const float *values, size_t n) {
    uint16_t *out = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = hn_f32_to_f16(values[i]);
}

static void quantise_bf16(void *blocks, const float *values, size_t n) {
    uint16_t *out = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = hn_f32_to_bf16(values[i]);
}

/* The largest size becomes 127; halves are rounded away from zero. */
static void quantise_q8_0(void *blocks, const float *values, size_t n) {
    uint8_t *p = blocks;
    for (; n; n -= 32, values += 32, p += 34) {
        float top = 0;
        for (size_t i = 0; i < 32; i++)
            top = fabsf(values[i]) > top ? fabsf(values[i]) : top;
        float d = top / 127, inverse = d > 0 ? 1 / d : 0;
        uint16_t h = hn_f32_to_f16(d);
        memcpy(p, &h, 2);
        for (size_t i = 0; i < 32; i++)
            p[2 + i] = (uint8_t)(int8_t)roundf(values[i] * inverse);
    }
}

/* The value of the largest size becomes -8. */
static void quantise_q4_0(void *blocks, const float *values, size_t n) {
    uint8_t *p = blocks;
    for (; n; n -= 32, values += 32, p += 18) {
        float top = values[0];
        uint8_t q[32];
        for (size_t i = 1; i < 32; i++)
            top = fabsf(values[i]) > fabsf(top) ? values[i] : top;
        float d = top / -8, inverse = d < 0 || d > 0 ? 1 / d : 0;
        uint16_t h = hn_f32_to_f16(d);
        memcpy(p, &h, 2);
        for (size_t i = 0; i < 32; i++) {
            float v = truncf(values[i] * inverse + 8.5f);
            q[i] = (uint8_t)(v < 0 ? 0 : v > 15 ? 15 : v);
        }
        for (size_t i = 0; i < 16; i++)
            p[2 + i] = (uint8_t)(q[i] | q[i + 16] << 4);
    }
}

static const struct hn_dtype_info infos[HN_DTYPES] = {
    [HN_F32] = {"F32", 1, 4, dequantise_f32, quantise_f32},
    [HN_F16] = {"F16", 1, 2, dequantise_f16, quantise_f16},
    [HN_BF16] = {"BF16", 1, 2, dequantise_bf16, quantise_bf16},
    [HN_Q4_0] = {"Q4_0", 32, 18, dequantise_q4_0, quantise_q4_0},
    [HN_Q4_1] = {"Q4_1", 32, 20, dequantise_q4_1, NULL},
    [HN_Q8_0] = {"Q8_0", 32, 34, dequantise_q8_0, quantise_q8_0},
    [HN_Q5_0] = {"Q5_0", 32, 22, hn_dequantise_q5_0, NULL},
    [HN_Q5_1] = {"Q5_1", 32, 24, hn_dequantise_q5_1, NULL},
    [HN_Q2_K] = {"Q2_K", 256, 84, hn_dequantise_q2_k, NULL},
    [HN_Q3_K] = {"Q3_K", 256, 110, hn_dequantise_q3_k, NULL},
    [HN_Q4_K] = {"Q4_K", 256, 144, hn_dequantise_q4_k, NULL},
    [HN_Q5_K] = {"Q5_K", 256, 176, hn_dequantise_q5_k, NULL},
    [HN_Q6_K] = {"Q6_K", 256, 210, hn_dequantise_q6_k, NULL},
    [HN_IQ4_NL] = {"IQ4_NL", 32, 18, hn_dequantise_iq4_nl, NULL},
    [HN_IQ4_XS] = {"IQ4_XS", 256, 136, hn_dequantise_iq4_xs, NULL},
    [HN_IQ2_XXS] = {"IQ2_XXS", 256, 66, hn_dequantise_iq2_xxs, NULL},
    [HN_IQ2_XS] = {"IQ2_XS", 256, 74, hn_dequantise_iq2_xs, NULL},
    [HN_IQ2_S] = {"IQ2_S", 256, 82, hn_dequantise_iq2_s, NULL},
    [HN_IQ3_XXS] = {"IQ3_XXS", 256, 98, hn_dequantise_iq3_xxs, NULL},
    [HN_IQ3_S] = {"IQ3_S", 256, 110, hn_dequantise_iq3_s, NULL},
    [HN_IQ1_S] = {"IQ1_S", 256, 50, hn_dequantise_iq1_s, NULL},
    [HN_IQ1_M] = {"IQ1_M", 256, 56, hn_dequantise_iq1_m, NULL},
};

const struct hn_dtype_info *hn_dtype_info(int type) {
    return type >= 0 && type < HN_DTYPES && infos[type].name ? &infos[type] : NULL;
}
