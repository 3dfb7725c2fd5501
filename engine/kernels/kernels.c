/*
 * See kernels.h. Compiled once per CPU level with HN_LEVEL naming it. Written with the compiler's
 * vector types: sixteen floats, which become one AVX-512, two AVX2 or four SSE registers.
 */
#include "engine/kernels/kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#define half(h) _cvtsh_ss(h)
#else
#define half(h) hn_f16_to_f32(h)
#endif

#define LANES 16
typedef float vec __attribute__((vector_size(64), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(64), aligned(4)));
typedef int8_t bytes __attribute__((vector_size(16)));
#define INLINE static inline __attribute__((always_inline))

INLINE vec splat(float a) {
    return (vec){a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a};
}

INLINE vec load(const float *p) {
    return *(const vec *)p;
}

INLINE bytes load_bytes(const uint8_t *p) {
    bytes v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* A shift of signed bytes would take three more instructions. */
INLINE bytes high_nibbles(bytes q) {
    typedef uint8_t unsigned_bytes __attribute__((vector_size(16)));
    return (bytes)((unsigned_bytes)q >> 4);
}

/* Compilers take the conversion apart, byte by byte, where they are not told how to do it. */
INLINE vec to_floats(bytes v) {
#if defined(__AVX512F__)
    return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)v));
#elif defined(__AVX2__)
    __m256 halves[2] = {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32((__m128i)v)),
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64((__m128i)v, (__m128i)v)))};
    vec out;
    memcpy(&out, halves, sizeof out);
    return out;
#else
    return __builtin_convertvector(v, vec);
#endif
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
#define EACH(i, n, body)                      \
    for (size_t i = 0; i < (n); i += LANES) { \
        const size_t left = (n)-i;            \
        if (left >= LANES) {                  \
            enum { FULL = 1 };                \
            body                              \
        } else {                              \
            enum { FULL = 0 };                \
            body                              \
        }                                     \
    }
#define LOAD(p, fill) (FULL ? load((p) + i) : load_part((p) + i, left, fill))
#define STORE(p, v) (FULL ? store((p) + i, v) : store_part((p) + i, v, left))

INLINE float fold_sum(vec v) {
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    v += __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return v[0];
}

INLINE vec select_vec(ivec mask, vec a, vec b) {
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
}

INLINE vec max_vec(vec a, vec b) {
    return select_vec(a > b, a, b);
}

/* exp by 2^n · p(r), r in ±ln2/2: the polynomial of Cephes' expf (Moshier); 0 below −87.3, largest
 * at 88.3. */
INLINE vec exp_vec(vec x) {
    const vec low = splat(-87.33654f), high = splat(88.3762f), magic = splat(12582912.0f);
    ivec tiny = x < low;
    /* comparisons with NaN are false: NaN goes through to the result */
    x = select_vec(tiny, low, x);
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

/* Sums of a block of weight rows and rows of x, which stay in registers. */
#if defined(__AVX512F__)
enum { WIDE = 4, HIGH = 4 };
#else
enum { WIDE = 2, HIGH = 2 };
#endif

struct dots {
    float *out;
    const float *w, *x;
    size_t ldo, ldw, ldx, n;
    float alpha;
    bool add;
};

/* `cols` and `rows` are constants where this is inlined. */
INLINE void dots_of(int cols, int rows, const struct dots *d, size_t col, size_t row) {
    const float *w = d->w + col * d->ldw, *x = d->x + row * d->ldx;
    vec sums[8][8];
    size_t i = 0;
    for (int c = 0; c < cols; c++)
        for (int r = 0; r < rows; r++)
            sums[c][r] = splat(0);
    for (; i + LANES <= d->n; i += LANES)
        for (int c = 0; c < cols; c++) {
            vec value = load(w + (size_t)c * d->ldw + i);
            for (int r = 0; r < rows; r++)
                sums[c][r] += value * load(x + (size_t)r * d->ldx + i);
        }
    for (int c = 0; i < d->n && c < cols; c++) {
        vec value = load_part(w + (size_t)c * d->ldw + i, d->n - i, 0);
        for (int r = 0; r < rows; r++)
            sums[c][r] += value * load_part(x + (size_t)r * d->ldx + i, d->n - i, 0);
    }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            float *out = d->out + (row + (size_t)r) * d->ldo + col + (size_t)c;
            float sum = fold_sum(sums[c][r]) * d->alpha;
            *out = d->add ? *out + sum : sum;
        }
}

/* One row of x, or `HIGH` of them. */
INLINE void dots_rows(int rows, const struct dots *d, size_t cols, size_t row) {
    size_t c = 0;
    if (rows == 1)
        for (; c + 2 * WIDE <= cols; c += 2 * WIDE)
            dots_of(2 * WIDE, 1, d, c, row);
    for (; c + WIDE <= cols; c += WIDE)
        dots_of(WIDE, rows, d, c, row);
    for (; c < cols; c++)
        dots_of(1, rows, d, c, row);
}

static void dots(float *out, size_t ldo, float alpha, bool add, const float *w, size_t ldw,
    size_t cols, const float *x, size_t ldx, size_t rows, size_t n) {
    const struct dots d = {out, w, x, ldo, ldw, ldx, n, alpha, add};
    size_t r = 0;
    if (cols == 1)
        for (; r + 2 * HIGH <= rows; r += 2 * HIGH)
            dots_of(1, 2 * HIGH, &d, 0, r);
    for (; r + HIGH <= rows; r += HIGH)
        dots_rows(HIGH, &d, cols, r);
    for (; r < rows; r++)
        dots_rows(1, &d, cols, r);
}

static void axpy(float *y, float a, const float *x, size_t n){
    EACH(i, n, { STORE(y, LOAD(y, 0) + splat(a) * LOAD(x, 0)); })}

/* `vectors` is a constant where this is inlined. */
INLINE void mix_columns(
    int vectors, float *y, const float *a, const float *x, size_t ldx, size_t rows) {
    vec sums[4];
    for (int v = 0; v < vectors; v++)
        sums[v] = load(y + v * LANES);
    for (size_t r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            sums[v] += splat(a[r]) * load(x + r * ldx + v * LANES);
    for (int v = 0; v < vectors; v++)
        store(y + v * LANES, sums[v]);
}

static void mix(float *y, const float *a, const float *x, size_t ldx, size_t rows, size_t n) {
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        mix_columns(4, y + i, a, x + i, ldx, rows);
    for (; i + LANES <= n; i += LANES)
        mix_columns(1, y + i, a, x + i, ldx, rows);
    for (size_t r = 0; i < n && r < rows; r++)
        store_part(y + i,
            load_part(y + i, n - i, 0) + splat(a[r]) * load_part(x + r * ldx + i, n - i, 0), n - i);
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

static void softmax_back(
    float *ds, const float *p, const float *dp, float delta, float factor, size_t n) {
    EACH(i, n, { STORE(ds, LOAD(p, 0) * (LOAD(dp, 0) - splat(delta)) * splat(factor)); })
}

static float rmsnorm(float *y, const float *x, const float *w, float eps, size_t n) {
    float rstd = 1 / sqrtf(dot(x, x, n) / (float)n + eps);
    EACH(i, n, { STORE(y, LOAD(x, 0) * splat(rstd) * LOAD(w, 0)); })
    return rstd;
}

static float rmsnorm_back(
    float *dx, bool add, const float *dy, const float *x, const float *w, float eps, size_t n) {
    vec sum = splat(0), mix = splat(0);
    EACH(i, n, {
        vec v = LOAD(x, 0);
        sum += v * v;
        mix += LOAD(dy, 0) * LOAD(w, 0) * v;
    })
    float rstd = 1 / sqrtf(fold_sum(sum) / (float)n + eps),
          back = fold_sum(mix) * rstd * rstd / (float)n;
    if (!dx)
        return rstd;
    EACH(i, n, {
        vec d = splat(rstd) * (LOAD(dy, 0) * LOAD(w, 0) - LOAD(x, 0) * splat(back));
        STORE(dx, add ? LOAD(dx, 0) + d : d);
    })
    return rstd;
}

/* Mean and 1/deviation; the variance from the differences, as the definition has it. */
static void measure(const float *x, float eps, size_t n, float *ret_moments) {
    vec sum = splat(0), squares = splat(0);
    EACH(i, n, { sum += LOAD(x, 0); })
    const float mean = fold_sum(sum) / (float)n;
    EACH(i, n, {
        vec d = LOAD(x, mean) - splat(mean);
        squares += d * d;
    })
    ret_moments[0] = mean;
    ret_moments[1] = 1 / sqrtf(fold_sum(squares) / (float)n + eps);
}

static void layernorm(
    float *y, const float *x, const float *w, const float *b, float eps, size_t n) {
    float moments[2];
    measure(x, eps, n, moments);
    EACH(i, n, {
        STORE(y, (LOAD(x, 0) - splat(moments[0])) * splat(moments[1]) * LOAD(w, 0) + LOAD(b, 0));
    })
}

static void layernorm_back(float *dx, bool add, const float *dy, const float *x, const float *w,
    float eps, size_t n, float *ret_moments) {
    vec sum = splat(0), mix = splat(0);
    measure(x, eps, n, ret_moments);
    if (!dx)
        return;
    const vec mean = splat(ret_moments[0]), rstd = splat(ret_moments[1]);
    EACH(i, n, {
        vec g = LOAD(dy, 0) * LOAD(w, 0);
        sum += g;
        mix += g * (LOAD(x, 0) - mean);
    })
    const vec g_mean = splat(fold_sum(sum) / (float)n),
              back = splat(fold_sum(mix) / (float)n) * rstd * rstd;
    EACH(i, n, {
        vec d = rstd * (LOAD(dy, 0) * LOAD(w, 0) - g_mean - (LOAD(x, 0) - mean) * back);
        STORE(dx, add ? LOAD(dx, 0) + d : d);
    })
}

/* Each activation as its value and its slope at x. */
INLINE vec silu_at(vec x, vec *slope) {
    vec s = sigmoid_vec(x);
    *slope = s * (splat(1) + x * (splat(1) - s));
    return x * s;
}

/* ½(1 + tanh u) = σ(2u) */
INLINE vec gelu_tanh_at(vec x, vec *slope) {
    const vec k = splat(1.5957691216f), cubic = splat(0.044715f); /* 2√(2/π) */
    vec s = sigmoid_vec(k * (x + cubic * x * x * x));
    *slope = s + x * s * (splat(1) - s) * k * (splat(1) + splat(3) * cubic * x * x);
    return x * s;
}

/* erf by Abramowitz & Stegun 7.1.26, absolute error below 2e-7. */
INLINE vec gelu_at(vec x, vec *slope) {
    vec z = max_vec(x, -x) * splat(0.70710678f), t = splat(1) / (splat(1) + splat(0.3275911f) * z);
    vec p = splat(1.061405429f), bell = exp_vec(-z * z);
    p = p * t + splat(-1.453152027f);
    p = p * t + splat(1.421413741f);
    p = p * t + splat(-0.284496736f);
    p = p * t + splat(0.254829592f);
    vec tail = splat(0.5f) * p * t * bell; /* 1 − Φ(|x|) */
    vec phi = select_vec(x > splat(0), splat(1) - tail, tail);
    *slope = phi + x * bell * splat(0.39894228f);
    return x * phi;
}

INLINE vec relu_at(vec x, vec *slope) {
    *slope = select_vec(x > splat(0), splat(1), splat(0));
    return select_vec(x > splat(0), x, splat(0));
}

INLINE vec squash_at(vec x, vec *slope) {
    vec y = splat(2) * sigmoid_vec(splat(2) * x) - splat(1);
    *slope = splat(1) - y * y;
    return y;
}

#define ACTIVATION(name)                                                                      \
    static void name(float *y, const float *x, size_t n) {                                    \
        vec slope;                                                                            \
        EACH(i, n, { STORE(y, name##_at(LOAD(x, 0), &slope)); })                              \
    }                                                                                         \
    static void name##_back(float *dx, bool add, const float *dy, const float *x, size_t n) { \
        vec slope;                                                                            \
        EACH(i, n, {                                                                          \
            (void)name##_at(LOAD(x, 0), &slope);                                              \
            vec d = LOAD(dy, 0) * slope;                                                      \
            STORE(dx, add ? LOAD(dx, 0) + d : d);                                             \
        })                                                                                    \
    }                                                                                         \
    static void name##_glu(float *y, const float *gate, const float *up, size_t n) {          \
        vec slope;                                                                            \
        EACH(i, n, { STORE(y, name##_at(LOAD(gate, 0), &slope) * LOAD(up, 0)); })             \
    }                                                                                         \
    static void name##_glu_back(float *dgate, float *dup, bool add, const float *dy,          \
        const float *gate, const float *up, size_t n) {                                       \
        vec slope;                                                                            \
        EACH(i, n, {                                                                          \
            vec value = name##_at(LOAD(gate, 0), &slope);                                     \
            vec d = LOAD(dy, 0);                                                              \
            vec dg = d * LOAD(up, 0) * slope;                                                 \
            vec du = d * value;                                                               \
            STORE(dgate, add ? LOAD(dgate, 0) + dg : dg);                                     \
            STORE(dup, add ? LOAD(dup, 0) + du : du);                                         \
        })                                                                                    \
    }
ACTIVATION(silu)
ACTIVATION(gelu_tanh)
ACTIVATION(gelu)
ACTIVATION(relu)
ACTIVATION(squash)

/* torch.optim.AdamW's single-tensor update, in its order. */
static void adamw(
    float *p, const float *g, float *m, float *v, const struct hn_adamw *s, size_t n) {
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

/* Blocks of 32 nibbles: low halves first. */
static void dequantise_q4_0(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 18) {
        uint16_t h;
        memcpy(&h, p, 2);
        float d = half(h);
        bytes q = load_bytes(p + 2);
        store(out, splat(d) * to_floats((q & 15) - 8));
        store(out + 16, splat(d) * to_floats(high_nibbles(q) - 8));
    }
}

static void dequantise_q4_1(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 20) {
        uint16_t h[2];
        memcpy(h, p, 4);
        float d = half(h[0]), m = half(h[1]);
        bytes q = load_bytes(p + 4);
        /* exact product: 4 bits times 11 bits, so fusing the sum changes nothing */
        store(out, splat(d) * to_floats(q & 15) + splat(m));
        store(out + 16, splat(d) * to_floats(high_nibbles(q)) + splat(m));
    }
}

static void dequantise_q8_0(float *out, const void *blocks, size_t n) {
    const uint8_t *p = blocks;
    for (; n; n -= 32, out += 32, p += 34) {
        uint16_t h;
        memcpy(&h, p, 2);
        float d = half(h);
        for (size_t i = 0; i < 32; i += LANES)
            store(out + i, splat(d) * to_floats(load_bytes(p + 2 + i)));
    }
}

const struct hn_kernels HN_LEVEL = {
    .name = HN_LEVEL_NAME,
    .gemm = HN_LEVEL_GEMM,
    .max = max_of,
    .dot = dot,
    .dots = dots,
    .mix = mix,
    .axpy = axpy,
    .scale = scale,
    .exp_shift = exp_shift,
    .softmax_back = softmax_back,
    .rmsnorm = rmsnorm,
    .rmsnorm_back = rmsnorm_back,
    .layernorm = layernorm,
    .layernorm_back = layernorm_back,
    .activate = {[HN_SILU] = silu,
        [HN_GELU_TANH] = gelu_tanh,
        [HN_GELU] = gelu,
        [HN_RELU] = relu,
        [HN_TANH] = squash},
    .activate_back = {[HN_SILU] = silu_back,
        [HN_GELU_TANH] = gelu_tanh_back,
        [HN_GELU] = gelu_back,
        [HN_RELU] = relu_back,
        [HN_TANH] = squash_back},
    .glu = {[HN_SILU] = silu_glu,
        [HN_GELU_TANH] = gelu_tanh_glu,
        [HN_GELU] = gelu_glu,
        [HN_RELU] = relu_glu,
        [HN_TANH] = squash_glu},
    .glu_back = {[HN_SILU] = silu_glu_back,
        [HN_GELU_TANH] = gelu_tanh_glu_back,
        [HN_GELU] = gelu_glu_back,
        [HN_RELU] = relu_glu_back,
        [HN_TANH] = squash_glu_back},
    .adamw = adamw,
    .sum_squares = sum_squares,
    .dequantise =
        {[HN_Q4_0] = dequantise_q4_0, [HN_Q4_1] = dequantise_q4_1, [HN_Q8_0] = dequantise_q8_0},
};
