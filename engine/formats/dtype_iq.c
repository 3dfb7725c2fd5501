/*
 * i-quants of one to three bits: groups of eight (or twice four) values are points of a lattice,
 * scaled and given signs. Blocks hold 256 values; their layouts are ggml-common.h's, the arithmetic
 * is in the order of gguf-py's quants.py.
 */
#include "engine/formats/dtype_internal.h"

/* A point packs one number a value: which of the lattice's few sizes it has. */
struct lattice {
    const uint16_t *points;
    unsigned bits; /* of such a number */
    size_t n;      /* values of a point */
    int8_t sizes[8];
};

static const struct lattice iq1 = {hn_iq1_lattice, 2, 8, {-1, 0, 1}};
static const struct lattice iq2_xxs = {hn_iq2_xxs_lattice, 2, 8, {8, 25, 43}};
static const struct lattice iq2_xs = {hn_iq2_xs_lattice, 2, 8, {8, 25, 43}};
static const struct lattice iq2_s = {hn_iq2_s_lattice, 2, 8, {8, 25, 43}};
static const struct lattice iq3_xxs = {hn_iq3_xxs_lattice, 3, 4, {4, 12, 20, 28, 36, 44, 52, 62}};
static const struct lattice iq3_s = {hn_iq3_s_lattice, 3, 4, {1, 3, 5, 7, 9, 11, 13, 15}};

static inline float value_at(const struct lattice *l, unsigned point, size_t i) {
    return (float)l->sizes[l->points[point] >> (l->bits * i) & ((1u << l->bits) - 1)];
}

/* out = by · point, negative where the value's bit of `signs` is set. */
static inline void put(
    float *out, float by, const struct lattice *l, unsigned point, unsigned signs) {
    for (size_t i = 0; i < l->n; i++) {
        float v = by * value_at(l, point, i);
        out[i] = signs >> i & 1 ? -v : v;
    }
}

/* Seven signs are stored, the eighth makes their number even. */
static inline unsigned signs_of(unsigned seven) {
    seven &= 127;
    return seven | (unsigned)__builtin_parity(seven) << 7;
}

static inline uint32_t read_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline uint16_t read_u16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

static inline unsigned nibble(const uint8_t *p, size_t i) {
    return p[i / 2] >> (i % 2 * 4) & 15;
}

/* d, then for every 32 values: four points, and a number of four times seven signs and a scale. */
void hn_dequantise_iq2_xxs(float *out, const void *blocks, size_t n) {
    for (const uint8_t *p = blocks; n; n -= 256, p += 66) {
        float d = hn_read_f16(p);
        for (size_t g = 0; g < 8; g++) {
            const uint8_t *points = p + 2 + 8 * g;
            uint32_t rest = read_u32(points + 4);
            float by = d * (0.5f + (float)(rest >> 28)) * 0.25f;
            for (size_t i = 0; i < 4; i++, out += 8)
                put(out, by, &iq2_xxs, points[i], signs_of(rest >> 7 * i));
        }
    }
}

/* d, 32 numbers of a point (9 bits) and signs (7), 16 scales of 4 bits. */
void hn_dequantise_iq2_xs(float *out, const void *blocks, size_t n) {
    for (const uint8_t *p = blocks; n; n -= 256, p += 74) {
        float d = hn_read_f16(p);
        for (size_t k = 0; k < 32; k++, out += 8) {
            unsigned q = read_u16(p + 2 + 2 * k);
            put(out, d * (0.5f + (float)nibble(p + 66, k / 2)) * 0.25f, &iq2_xs, q & 511,
                signs_of(q >> 9));
        }
    }
}

/* d, low bytes of 32 points, 32 bytes of signs, two upper bits of each point, 16 scales of 4
 * bits. */
void hn_dequantise_iq2_s(float *out, const void *blocks, size_t n) {
    for (const uint8_t *p = blocks; n; n -= 256, p += 82) {
        float d = hn_read_f16(p);
        for (size_t k = 0; k < 32; k++, out += 8) {
            unsigned point = p[2 + k] | (p[66 + k / 4] >> k % 4 * 2 & 3u) << 8;
            put(out, d * (0.5f + (float)nibble(p + 74, k / 2)) * 0.25f, &iq2_s, point, p[34 + k]);
        }
    }
}

/* d, 64 points, and for every 32 values a number of four times seven signs and a scale. */
void hn_dequantise_iq3_xxs(float *out, const void *blocks, size_t n) {
    for (const uint8_t *p = blocks; n; n -= 256, p += 98) {
        float d = hn_read_f16(p);
        for (size_t g = 0; g < 8; g++) {
            uint32_t rest = read_u32(p + 66 + 4 * g);
            float by = d * (0.5f + (float)(rest >> 28)) * 0.5f;
            for (size_t i = 0; i < 8; i++, out += 4)
                put(out, by, &iq3_xxs, p[2 + 8 * g + i], signs_of(rest >> i / 2 * 7) >> i % 2 * 4);
        }
    }
}

/* d, low bytes of 64 points, their ninth bits, 32 bytes of signs, 8 scales of 4 bits. */
void hn_dequantise_iq3_s(float *out, const void *blocks, size_t n) {
    for (const uint8_t *p = blocks; n; n -= 256, p += 110) {
        float d = hn_read_f16(p);
        for (size_t j = 0; j < 64; j++, out += 4) {
            unsigned point = p[2 + j] | (p[66 + j / 8] >> j % 8 & 1u) << 8;
            put(out, d * (float)(1 + 2 * nibble(p + 106, j / 8)), &iq3_s, point,
                p[74 + j / 2] >> j % 2 * 4);
        }
    }
}

/* out = by · (point + delta): values of one bit and a half are moved up or down by an eighth. */
static inline void put_moved(float *out, float by, unsigned point, bool down) {
    for (size_t i = 0; i < 8; i++)
        out[i] = by * (value_at(&iq1, point, i) + (down ? -0.125f : 0.125f));
}

/* d, low bytes of 32 points, and for every 32 values their upper three bits, a scale of three and
 * the direction. */
void hn_dequantise_iq1_s(float *out, const void *blocks, size_t n) {
    for (const uint8_t *p = blocks; n; n -= 256, p += 50) {
        float d = hn_read_f16(p);
        for (size_t k = 0; k < 32; k++, out += 8) {
            unsigned rest = read_u16(p + 34 + k / 4 * 2),
                     point = p[2 + k] | (rest >> k % 4 * 3 & 7) << 8;
            put_moved(out, d * (float)(2 * (rest >> 12 & 7) + 1), point, rest >> 15);
        }
    }
}

/* Low bytes of 32 points, a nibble each of upper bits and direction, four numbers of four scales of
 * three bits; d is made of their upper nibbles. */
void hn_dequantise_iq1_m(float *out, const void *blocks, size_t n) {
    for (const uint8_t *p = blocks; n; n -= 256, p += 56) {
        unsigned half = 0;
        for (size_t i = 0; i < 4; i++)
            half |= (unsigned)(read_u16(p + 48 + 2 * i) >> 12) << 4 * i;
        float d = hn_f16_to_f32((uint16_t)half);
        for (size_t k = 0; k < 32; k++, out += 8) {
            unsigned high = nibble(p + 32, k),
                     scale = read_u16(p + 48 + k / 8 * 2) >> k % 8 / 2 * 3 & 7u;
            put_moved(out, d * (float)(2 * scale + 1), p[k] | (high & 7) << 8, high & 8);
        }
    }
}
