/*
 * See kernels.h. Compiled once per CPU level with HN_LEVEL naming it. Written with the compiler's vector types:
 * sixteen floats, which become one AVX-512, two AVX2 or four SSE registers.
 */
#include "engine/kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
typedef float vec __attribute__((vector_size(64), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(64), aligned(4)));
#define INLINE static inline __attribute__((always_inline))

INLINE vec splat(float a) {
    return (vec){a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a};
}

INLINE vec load(const float *p) {
    return *(const vec *)p;
}

INLINE void store(float *p, vec v) {
    *(vec *)p = v;
}

INLINE vec load_part(const float *p, size_t n, float fill) {
    vec v = splat(fill);
    memcpy(&v, p, n * sizeof *p);
    return v;
}

INLINE void store_part(float *p, vec v, size_t n) {
    memcpy(p, &v, n * sizeof *p);
}

/* Runs `body` for each group of lanes; loads beyond n give `fill`, stores beyond n are dropped. */
#define EACH(i, n, body)                                                                                             \
    for (size_t i = 0; i < (n); i += LANES) {                                                                        \
        const size_t left = (n)-i;                                                                                   \
        if (left >= LANES) {                                                                                         \
            enum { FULL = 1 };                                                                                       \
            body                                                                                                     \
        } else {                                                                                                     \
            enum { FULL = 0 };                                                                                       \
            body                                                                                                     \
        }                                                                                                            \
    }
#define LOAD(p, fill) (FULL ? load((p) + i) : load_part((p) + i, left, fill))
#define STORE(p, v) (FULL ? store((p) + i, v) : store_part((p) + i, v, left))

INLINE float fold_sum(vec v) {
    float s[LANES];
    memcpy(s, &v, sizeof s);
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

INLINE vec select_vec(ivec mask, vec a, vec b) {
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
}

INLINE vec max_vec(vec a, vec b) {
    return select_vec(a > b, a, b);
}

/* exp by 2^n · p(r), r in ±ln2/2: the polynomial of Cephes' expf (Moshier); 0 below −87.3, largest at 88.3. */
INLINE vec exp_vec(vec x) {
    const vec low = splat(-87.33654f), high = splat(88.3762f), magic = splat(12582912.0f);
    ivec tiny = x < low;
    x = select_vec(tiny, low, x); /* comparisons with NaN are false: NaN goes through to the result */
    x = select_vec(x > high, high, x);
    vec n = x * splat(1.44269504f) + magic;
    n -= magic;
    vec r = x - n * splat(0.693359375f);
    r = r - n * splat(-2.12194440e-4f);
    vec p = splat(1.9875691500e-4f);
    p = p * r + splat(1.3981999507e-3f);
    p = p * r + splat(8.3334519073e-3f);
    p = p * r + splat(4.1665795894e-2f);
    p = p * r + splat(1.6666665459e-1f);
    p = p * r + splat(5.0000001201e-1f);
    p = p * r * r + r + splat(1.0f);
    ivec bits = (__builtin_convertvector(n, ivec) + 127) << 23;
    return select_vec(tiny, splat(0), p * (vec)bits);
}

INLINE vec sigmoid_vec(vec x) {
    return splat(1) / (splat(1) + exp_vec(-x));
}

static float max_of(const float *x, size_t n) {
    vec m = splat(-INFINITY);
    EACH(i, n, { m = max_vec(LOAD(x, -INFINITY), m); })
    float s[LANES], out = -INFINITY;
    memcpy(s, &m, sizeof s);
    for (size_t i = 0; i < LANES; i++)
        out = s[i] > out ? s[i] : out;
    return out;
}

static float dot(const float *a, const float *b, size_t n) {
    vec sum = splat(0);
    EACH(i, n, { sum += LOAD(a, 0) * LOAD(b, 0); })
    return fold_sum(sum);
}

static void axpy(float *y, float a, const float *x, size_t n) {
    EACH(i, n, { STORE(y, LOAD(y, 0) + splat(a) * LOAD(x, 0)); })
}

static void scale(float *y, float a, size_t n) {
    EACH(i, n, { STORE(y, LOAD(y, 0) * splat(a)); })
}

static float exp_shift(float *x, float shift, size_t n) {
    vec sum = splat(0);
    EACH(i, n, {
        vec e = exp_vec(LOAD(x, -INFINITY) - splat(shift));
        STORE(x, e);
        sum += e;
    })
    return fold_sum(sum);
}

static void softmax_back(float *ds, const float *p, const float *dp, float delta, float factor, size_t n) {
    EACH(i, n, { STORE(ds, LOAD(p, 0) * (LOAD(dp, 0) - splat(delta)) * splat(factor)); })
}

static float rmsnorm(float *y, const float *x, const float *w, float eps, size_t n) {
    float rstd = 1 / sqrtf(dot(x, x, n) / (float)n + eps);
    EACH(i, n, { STORE(y, LOAD(x, 0) * splat(rstd) * LOAD(w, 0)); })
    return rstd;
}

static float rmsnorm_back(float *dx, bool add, const float *dy, const float *x, const float *w, float eps, size_t n) {
    vec sum = splat(0), mix = splat(0);
    EACH(i, n, {
        vec v = LOAD(x, 0);
        sum += v * v;
        mix += LOAD(dy, 0) * LOAD(w, 0) * v;
    })
    float rstd = 1 / sqrtf(fold_sum(sum) / (float)n + eps), back = fold_sum(mix) * rstd * rstd / (float)n;
    if (!dx)
        return rstd;
    EACH(i, n, {
        vec d = splat(rstd) * (LOAD(dy, 0) * LOAD(w, 0) - LOAD(x, 0) * splat(back));
        STORE(dx, add ? LOAD(dx, 0) + d : d);
    })
    return rstd;
}

static void swiglu(float *y, const float *gate, const float *up, size_t n) {
    EACH(i, n, {
        vec g = LOAD(gate, 0);
        STORE(y, g * sigmoid_vec(g) * LOAD(up, 0));
    })
}

static void swiglu_back(
    float *dgate, float *dup, bool add, const float *dy, const float *gate, const float *up, size_t n) {
    EACH(i, n, {
        vec g = LOAD(gate, 0);
        vec s = sigmoid_vec(g);
        vec d = LOAD(dy, 0);
        vec dg = d * LOAD(up, 0) * s * (splat(1) + g * (splat(1) - s));
        vec du = d * g * s;
        STORE(dgate, add ? LOAD(dgate, 0) + dg : dg);
        STORE(dup, add ? LOAD(dup, 0) + du : du);
    })
}

/* torch.optim.AdamW's single-tensor update, in its order. */
static void adamw(float *p, const float *g, float *m, float *v, const struct hn_adamw *s, size_t n) {
    const float step = s->lr / s->correction1;
    EACH(i, n, {
        vec grad = LOAD(g, 0) * splat(s->clip);
        vec value = LOAD(p, 0) * splat(1 - s->decay);
        vec first = LOAD(m, 0) * splat(s->beta1) + grad * splat(1 - s->beta1);
        vec second = LOAD(v, 0) * splat(s->beta2) + grad * grad * splat(1 - s->beta2);
        vec root;
        for (int k = 0; k < LANES; k++)
            root[k] = sqrtf(second[k]);
        value -= splat(step) * first / (root / splat(s->correction2) + splat(s->eps));
        STORE(m, first);
        STORE(v, second);
        STORE(p, value);
    })
}

static double sum_squares(const float *x, size_t n) {
    double sums[LANES] = {0};
    for (size_t i = 0; i < n; i++)
        sums[i % LANES] += (double)x[i] * (double)x[i];
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++)
            sums[i] += sums[i + half];
    return sums[0];
}

/* Blocks of 32 nibbles: low halves first. The compiler turns these loops into byte shuffles and conversions. */
static void dequantise_q4_0(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 18) {
        uint16_t h;
        memcpy(&h, p, 2);
        float d = hn_f16_to_f32(h);
        int32_t q[32];
        for (size_t i = 0; i < 16; i++) {
            q[i] = (p[2 + i] & 15) - 8;
            q[i + 16] = (p[2 + i] >> 4) - 8;
        }
        for (size_t i = 0; i < 32; i++)
            out[i] = d * (float)q[i];
    }
}

static void dequantise_q4_1(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 20) {
        uint16_t h[2];
        memcpy(h, p, 4);
        float d = hn_f16_to_f32(h[0]), m = hn_f16_to_f32(h[1]);
        int32_t q[32];
        for (size_t i = 0; i < 16; i++) {
            q[i] = p[4 + i] & 15;
            q[i + 16] = p[4 + i] >> 4;
        }
        for (size_t i = 0; i < 32; i++) /* exact product: 4 bits times 11 bits, so fusing the sum changes nothing */
            out[i] = d * (float)q[i] + m;
    }
}

static void dequantise_q8_0(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 34) {
        uint16_t h;
        memcpy(&h, p, 2);
        float d = hn_f16_to_f32(h);
        for (size_t i = 0; i < 32; i++)
            out[i] = d * (float)(int8_t)p[2 + i];
    }
}

const struct hn_kernels HN_LEVEL = {
    .name = HN_LEVEL_NAME,
    .gemm = HN_LEVEL_GEMM,
    .max = max_of,
    .dot = dot,
    .axpy = axpy,
    .scale = scale,
    .exp_shift = exp_shift,
    .softmax_back = softmax_back,
    .rmsnorm = rmsnorm,
    .rmsnorm_back = rmsnorm_back,
    .swiglu = swiglu,
    .swiglu_back = swiglu_back,
    .adamw = adamw,
    .sum_squares = sum_squares,
    .dequantise = {[HN_Q4_0] = dequantise_q4_0, [HN_Q4_1] = dequantise_q4_1, [HN_Q8_0] = dequantise_q8_0},
};
