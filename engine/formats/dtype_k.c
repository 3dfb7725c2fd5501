/*
 * Dequantisation of the types with super-blocks of 256 values (K-quants), of the 5-bit types and of
 * the 4-bit types with a table of values. Layouts: ggml-common.h; the order of operations is
 * gguf-py's, so that results agree to the bit (tests/parity/test_dequantise.py).
 */
#include "engine/formats/dtype_internal.h"

#include <string.h>

void hn_dequantise_q5_0(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 22) {
        float d = hn_read_f16(p);
        uint32_t high;
        memcpy(&high, p + 2, 4);
        for (size_t i = 0; i < 16; i++) {
            out[i] = d * (float)((int)((p[6 + i] & 15) | (high >> i & 1) << 4) - 16);
            out[i + 16] = d * (float)((int)((p[6 + i] >> 4) | (high >> (i + 16) & 1) << 4) - 16);
        }
    }
}

void hn_dequantise_q5_1(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 24) {
        float d = hn_read_f16(p), m = hn_read_f16(p + 2);
        uint32_t high;
        memcpy(&high, p + 4, 4);
        for (size_t i = 0; i < 16; i++) {
            out[i] = d * (float)((p[8 + i] & 15) | (high >> i & 1) << 4) + m;
            out[i + 16] = d * (float)((p[8 + i] >> 4) | (high >> (i + 16) & 1) << 4) + m;
        }
    }
}

/* 16 groups of 16: scales[16] (4-bit scale, 4-bit minimum), 64 bytes of 2-bit values, d, dmin. */
void hn_dequantise_q2_k(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 256, out += 256, p += 84) {
        float d = hn_read_f16(p + 80), dmin = hn_read_f16(p + 82);
        for (size_t g = 0; g < 16; g++) {
            const uint8_t *q = p + 16 + g / 8 * 32 + g % 2 * 16;
            float scale = d * (float)(p[g] & 15), least = dmin * (float)(p[g] >> 4);
            for (size_t i = 0; i < 16; i++)
                out[g * 16 + i] = scale * (float)(q[i] >> (g % 8 / 2 * 2) & 3) - least;
        }
    }
}

/* hmask[32] (the third bit, less 4 where it is clear), 64 bytes of 2-bit values, 16 6-bit scales in
 * 12 bytes, d. */
void hn_dequantise_q3_k(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 256, out += 256, p += 110) {
        const uint8_t *s = p + 96;
        float d = hn_read_f16(p + 108);
        for (size_t g = 0; g < 16; g++) {
            const uint8_t *q = p + 32 + g / 8 * 32 + g % 2 * 16, *mask = p + g % 2 * 16;
            int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4, high = s[8 + g % 4] >> (2 * (g / 4)) & 3;
            float scale = d * (float)((low | high << 4) - 32);
            for (size_t i = 0; i < 16; i++) {
                int v = q[i] >> (g % 8 / 2 * 2) & 3;
                out[g * 16 + i] = scale * (float)(v - (mask[i] >> (g / 2) & 1 ? 0 : 4));
            }
        }
    }
}

/* 6-bit scale and minimum of group g of 8, packed into 12 bytes. */
static void scale_of(const uint8_t *s, size_t g, int *ret_scale, int *ret_least) {
    *ret_scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
    *ret_least = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | s[g] >> 6 << 4;
}

/* d, dmin, scales[12], (of Q5_K the fifth bits [32],) 128 bytes of nibbles: 8 groups of 32. */
static void dequantise_45(float *out, const uint8_t *p, bool five) {
    const uint8_t *high = p + 16, *nibbles = p + (five ? 48 : 16);
    float d = hn_read_f16(p), dmin = hn_read_f16(p + 2);
    for (size_t g = 0; g < 8; g++) {
        int scale, least;
        scale_of(p + 4, g, &scale, &least);
        float by = d * (float)scale, off = dmin * (float)least;
        for (size_t i = 0; i < 32; i++) {
            int v = nibbles[g / 2 * 32 + i] >> (g % 2 * 4) & 15;
            v |= five ? (high[i] >> g & 1) << 4 : 0;
            out[g * 32 + i] = by * (float)v - off;
        }
    }
}

void hn_dequantise_q4_k(float *out, const void *blocks, size_t n) {
    for (const uint8_t *p = blocks; n; n -= 256, out += 256, p += 144)
        dequantise_45(out, p, false);
}

void hn_dequantise_q5_k(float *out, const void *blocks, size_t n) {
    for (const uint8_t *p = blocks; n; n -= 256, out += 256, p += 176)
        dequantise_45(out, p, true);
}

/* 128 bytes of nibbles, 64 of the upper two bits, 16 signed scales, d. */
void hn_dequantise_q6_k(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 256, out += 256, p += 210) {
        float d = hn_read_f16(p + 208);
        for (size_t g = 0; g < 8; g++) { /* of 32 values */
            const uint8_t *low = p + g / 4 * 64 + g % 2 * 32, *high = p + 128 + g / 4 * 32;
            const int8_t *scales = (const int8_t *)p + 192 + g * 2;
            for (size_t i = 0; i < 32; i++) {
                int v = (low[i] >> (g % 4 / 2 * 4) & 15) | (high[i] >> (g % 4 * 2) & 3) << 4;
                out[g * 32 + i] = d * (float)scales[i / 16] * (float)(v - 32);
            }
        }
    }
}

static const int8_t iq4_values[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

void hn_dequantise_iq4_nl(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 18) {
        float d = hn_read_f16(p);
        for (size_t i = 0; i < 16; i++) {
            out[i] = d * (float)iq4_values[p[2 + i] & 15];
            out[i + 16] = d * (float)iq4_values[p[2 + i] >> 4];
        }
    }
}

/* d, the upper two bits of 8 scales, their lower four, 128 bytes of nibbles. */
void hn_dequantise_iq4_xs(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 256, out += 256, p += 136) {
        float d = hn_read_f16(p);
        uint16_t high;
        memcpy(&high, p + 2, 2);
        for (size_t g = 0; g < 8; g++) {
            int scale = (p[4 + g / 2] >> (g % 2 * 4) & 15) | (high >> (2 * g) & 3) << 4;
            float by = d * (float)(scale - 32);
            for (size_t i = 0; i < 16; i++) {
                out[g * 32 + i] = by * (float)iq4_values[p[8 + g * 16 + i] & 15];
                out[g * 32 + i + 16] = by * (float)iq4_values[p[8 + g * 16 + i] >> 4];
            }
        }
    }
}
