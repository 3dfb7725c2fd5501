/* What dtype*.c share: rows of the table that stand in the other files, and the tables of those. */
#ifndef HN_ENGINE_FORMATS_DTYPE_INTERNAL_H
#define HN_ENGINE_FORMATS_DTYPE_INTERNAL_H

#include "engine/formats/dtype.h"

#include <stdbool.h>
#include <string.h>

static inline float hn_read_f16(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return hn_f16_to_f32(h);
}

void hn_dequantise_q5_0(float *out, const void *blocks, size_t n);
void hn_dequantise_q5_1(float *out, const void *blocks, size_t n);
void hn_dequantise_q2_k(float *out, const void *blocks, size_t n);
void hn_dequantise_q3_k(float *out, const void *blocks, size_t n);
void hn_dequantise_q4_k(float *out, const void *blocks, size_t n);
void hn_dequantise_q5_k(float *out, const void *blocks, size_t n);
void hn_dequantise_q6_k(float *out, const void *blocks, size_t n);
void hn_dequantise_iq4_nl(float *out, const void *blocks, size_t n);
void hn_dequantise_iq4_xs(float *out, const void *blocks, size_t n);
void hn_dequantise_iq2_xxs(float *out, const void *blocks, size_t n);
void hn_dequantise_iq2_xs(float *out, const void *blocks, size_t n);
void hn_dequantise_iq2_s(float *out, const void *blocks, size_t n);
void hn_dequantise_iq3_xxs(float *out, const void *blocks, size_t n);
void hn_dequantise_iq3_s(float *out, const void *blocks, size_t n);
void hn_dequantise_iq1_s(float *out, const void *blocks, size_t n);
void hn_dequantise_iq1_m(float *out, const void *blocks, size_t n);

/* iq_lattices.c */
extern const uint16_t hn_iq1_lattice[2048], hn_iq2_xxs_lattice[256], hn_iq2_xs_lattice[512],
    hn_iq2_s_lattice[1024], hn_iq3_xxs_lattice[256], hn_iq3_s_lattice[512];

#endif
