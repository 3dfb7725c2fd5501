/*
 * See gemm_kernels.h. The micro-kernel keeps MR × NV vectors of C in registers and for each k loads
 * NV vectors of B and broadcasts MR values of A: 12 × 2 AVX-512 registers, 6 × 2 AVX2, 4 × 2 SSE.
 */
#include "engine/kernels/gemm_kernels.h"

#include <string.h>

#if defined(__AVX512F__)
enum { LANES = 16, MR = 12 };
#define GEMM hn_gemm_avx512
#elif defined(__AVX2__)
enum { LANES = 8, MR = 6 };
#define GEMM hn_gemm_avx2
#else
enum { LANES = 4, MR = 4 };
#define GEMM hn_gemm_portable
#endif
enum {
    NV = 2,
    NR = NV * LANES,
    LINE = 16, /* floats of a cache line */
    /* floats after which lines fall into the same set of the first-level cache, which holds WAYS of
     * them */
    PAGE = 1024,
    WAYS = 8,
    GROUP = 3, /* rows of A that one address serves */
    GROUPS = (MR + GROUP - 1) / GROUP,
};

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4)));
typedef int ivec __attribute__((vector_size(LANES * 4)));
#define INLINE static inline __attribute__((always_inline))

INLINE size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

INLINE vec load(const float *p) {
    return *(const vec *)p;
}

INLINE void store(float *p, vec v) {
    *(vec *)p = v;
}

static void pack_rows(void *to, const float *b, size_t ldb, size_t k, size_t n) {
    float *packed = to;
    for (size_t j = 0; j < n; j += NR, packed += k * NR) {
        size_t width = n - j < NR ? n - j : NR;
        for (size_t i = 0; i < k; i++) {
            float *out = packed + i * NR;
            const float *in = b + i * ldb + j;
            if (width == NR) {
                for (size_t v = 0; v < NV; v++)
                    store(out + v * LANES, load(in + v * LANES));
            } else {
                memcpy(out, in, width * sizeof *out);
                memset(out + width, 0, (NR - width) * sizeof *out);
            }
        }
    }
}

/* r[l] = the index[l]-th of a's and b's values behind each other. Clang has no shuffle by a vector
 * of indices, but makes one of these loops once it has unrolled them. */
INLINE vec pick(vec a, vec b, ivec index) {
#if defined(__clang__)
    vec r;
    for (int l = 0; l < LANES; l++)
        r[l] = index[l] < LANES ? a[index[l]] : b[index[l] - LANES];
    return r;
#else
    return __builtin_shuffle(a, b, index);
#endif
}

/* Exchanges blocks of `d` between row pairs d apart: log2(LANES) such steps transpose a square of
 * vectors. */
INLINE void exchange(vec *r, int d) {
    ivec low = {0}, high = {0};
    for (int l = 0; l < LANES; l++) {
        low[l] = l & d ? LANES + l - d : l;
        high[l] = l & d ? LANES + l : l + d;
    }
    for (int i = 0; i < LANES; i++) {
        if (i & d)
            continue;
        vec a = r[i], b = r[i + d];
        r[i] = pick(a, b, low);
        r[i + d] = pick(a, b, high);
    }
}

/* Of `rows` rows; zeros in place of those that are missing. */
INLINE void transpose(float *out, size_t ldo, const float *in, size_t ldi, size_t rows) {
    vec r[LANES];
    for (int i = 0; i < LANES; i++)
        r[i] = (size_t)i < rows ? load(in + (size_t)i * ldi) : (vec){0};
    exchange(r, 1);
    exchange(r, 2);
    if (LANES > 4)
        exchange(r, 4);
    if (LANES > 8)
        exchange(r, 8);
    for (int i = 0; i < LANES; i++)
        store(out + (size_t)i * ldo, r[i]);
}

static void pack_columns(void *to, const float *b, size_t ldb, size_t k, size_t n) {
    float *packed = to;
    for (size_t j = 0; j < n; j += LANES) {
        float *out = packed + j / NR * k * NR + j % NR;
        size_t width = n - j < LANES ? n - j : LANES, i = 0;
        for (; i + LANES <= k; i += LANES)
            if (width == LANES)
                transpose(out + i * NR, NR, b + j * ldb + i, ldb, LANES);
            else
                transpose(out + i * NR, NR, b + j * ldb + i, ldb, width);
        for (; i < k; i++)
            for (size_t l = 0; l < LANES; l++)
                out[i * NR + l] = l < width ? b[(j + l) * ldb + i] : 0;
    }
    if (n % NR && n % NR <= NR - LANES) {
        /* whole vectors of the last panel that no column reached */
        float *out = packed + n / NR * k * NR + (n % NR + LANES - 1) / LANES * LANES;
        size_t width = NR - (n % NR + LANES - 1) / LANES * LANES;
        for (size_t i = 0; i < k && width; i++)
            memset(out + i * NR, 0, width * sizeof *out);
    }
}

/* The sum of what is added comes first, as if it had lain in C. */
INLINE void write_row(
    float *c, int nv, const vec *sums, float alpha, struct hn_addend add, size_t width) {
    vec factor = alpha - (vec){0};
    if (width == (size_t)nv * LANES) {
        for (int v = 0; v < nv; v++) {
            vec y = sums[v] * factor;
            size_t at = (size_t)v * LANES;
            if (add.rows)
                y = (add.bias ? load(add.rows + at) + load(add.bias + at) : load(add.rows + at)) +
                    y;
            else if (add.bias)
                y = load(add.bias + at) + y;
            store(c + at, y);
        }
        return;
    }
    float row[NR];
    for (int v = 0; v < nv; v++)
        store(row + v * LANES, sums[v] * factor);
    for (size_t i = 0; i < width; i++)
        c[i] = add.rows ? add.rows[i] + (add.bias ? add.bias[i] : 0) + row[i]
            : add.bias  ? add.bias[i] + row[i]
                        : row[i];
}

/* `rows`, `nv`, the panel's vectors that have columns, and `turned` (A is given column by column)
 * are constants where this is inlined: with a stride that is not known to be 1 the loop has too few
 * registers for addresses and is a tenth slower. What is needed next is asked for early: the rows
 * of A behind these (`ahead` apart; 0: none) and C may lie in another core's cache, and hardware
 * sees no pattern in rows that are far from each other. */
INLINE void micro(int rows, int nv, bool turned, size_t k, float alpha, const float *a, size_t lda,
    size_t ahead, const float *b, struct hn_addend add, float *c, size_t ldc, size_t width) {
    vec sums[MR][NV];
    for (int i = 0; i < rows; i++) {
        for (int v = 0; v < nv; v++) {
            sums[i][v] = (vec){0};
            __builtin_prefetch(c + (size_t)i * ldc + v * LANES, 1);
            if (add.rows && add.rows != c)
                __builtin_prefetch(add.rows + (size_t)i * add.ld + v * LANES);
        }
    }
    const float *group[GROUPS];
    for (int g = 0; g * GROUP < rows; g++)
        group[g] = a + (size_t)(g * GROUP) * (turned ? 1 : lda);
    for (size_t t = 0; t < k; t++, b += NR) {
        if (turned)
            __builtin_prefetch(group[0] + LINE * lda);
        else if (ahead && t % LINE == 0)
            for (int i = 0; i < rows; i++)
                __builtin_prefetch(group[i / GROUP] + (size_t)(i % GROUP) * lda + ahead);
        vec column[NV];
        for (int v = 0; v < nv; v++)
            column[v] = load(b + v * LANES);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            vec value = group[i / GROUP][(size_t)(i % GROUP) * (turned ? 1 : lda)] - (vec){0};
            for (int v = 0; v < nv; v++)
                sums[i][v] += value * column[v];
        }
        for (int g = 0; g * GROUP < rows; g++)
            group[g] += turned ? lda : 1;
    }
    for (int i = 0; i < rows; i++) {
        write_row(c + (size_t)i * ldc, nv, sums[i], alpha, add, width);
        add.rows = add.rows ? add.rows + add.ld : NULL;
    }
}

#define CASE(r)                                                                                    \
    case r:                                                                                        \
        if (r <= MR && width > LANES)                                                              \
            micro(r <= MR ? r : MR, NV, turned, k, alpha, a, lda, ahead, b, add, c, ldc, width);   \
        else if (r <= MR) /* half a panel: the rank of most adapters */                            \
            micro(                                                                                 \
                r <= MR ? r : MR, NV - 1, turned, k, alpha, a, lda, ahead, b, add, c, ldc, width); \
        return;

INLINE void micro_any(bool turned, size_t rows, size_t k, float alpha, const float *a, size_t lda,
    size_t ahead, const float *b, struct hn_addend add, float *c, size_t ldc, size_t width) {
    switch (rows) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
        CASE(9)
        CASE(10)
        CASE(11)
        CASE(12)
    default:
        return;
    }
}

/* Not inlined: one copy of the kernels for all loops around them. */
static void micro_straight(size_t rows, size_t k, float alpha, const float *a, size_t lda,
    size_t ahead, const float *b, struct hn_addend add, float *c, size_t ldc, size_t width) {
    micro_any(false, rows, k, alpha, a, lda, ahead, b, add, c, ldc, width);
}

static void micro_turned(size_t rows, size_t k, float alpha, const float *a, size_t lda,
    size_t ahead, const float *b, struct hn_addend add, float *c, size_t ldc, size_t width) {
    micro_any(true, rows, k, alpha, a, lda, ahead, b, add, c, ldc, width);
}

INLINE struct hn_addend addend_at(struct hn_addend add, size_t i, size_t j) {
    return (struct hn_addend){
        add.rows ? add.rows + i * add.ld + j : NULL, add.ld, add.bias ? add.bias + j : NULL};
}

/* Panels outermost: one panel stays in the nearest cache that holds it while the rows of A stream
 * by. */
static void multiply_plain(bool turned, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const float *packed, struct hn_addend add, float *c, size_t ldc) {
    for (size_t j = 0; j < n; j += NR, packed += k * NR)
        for (size_t i = 0; i < m; i += MR) {
            /* later panels find A in the second level */
            size_t ahead = j == 0 && m - i >= 2 * MR ? MR * lda : 0;
            (turned ? micro_turned : micro_straight)(least(MR, m - i), k, alpha,
                a + (turned ? i : i * lda), lda, ahead, packed, addend_at(add, i, j),
                c + i * ldc + j, ldc, least(NR, n - j));
        }
}

/* Copies rows of A side by side, asking for those behind them. */
INLINE void copy_rows(float *out, size_t ldo, const float *a, size_t lda, size_t rows, size_t k) {
    for (size_t r = 0; r < rows; r++, out += ldo, a += lda) {
        size_t t = 0;
        for (; t + LANES <= k; t += LANES) {
            store(out + t, load(a + t));
            __builtin_prefetch(a + MR * lda + t);
        }
        for (; t < k; t++)
            out[t] = a[t];
    }
}

/* Of rows that lie a multiple of four kilobytes apart the first-level cache holds eight, less than
 * the kernel takes at a time, so that every value of them was fetched anew (a fifth slower). They
 * are copied first. */
static void multiply_colliding(size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const float *packed, struct hn_addend add, float *c, size_t ldc) {
    float rows[MR * (HN_GEMM_DEPTH + LINE)];
    for (size_t i = 0; i < m; i += MR) {
        copy_rows(rows, k + LINE, a + i * lda, lda, least(MR, m - i), k);
        for (size_t j = 0; j < n; j += NR)
            micro_straight(least(MR, m - i), k, alpha, rows, k + LINE, 0, packed + j * k,
                addend_at(add, i, j), c + i * ldc + j, ldc, least(NR, n - j));
    }
}

static void multiply(bool turned, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const void *packed, struct hn_addend add, float *c, size_t ldc) {
    if (!turned && (int)MR > (int)WAYS && lda % PAGE == 0)
        multiply_colliding(m, n, k, alpha, a, lda, packed, add, c, ldc);
    else
        multiply_plain(turned, m, n, k, alpha, a, lda, packed, add, c, ldc);
}

const struct hn_gemm_kernels GEMM = {NR, sizeof(float), pack_rows, pack_columns, multiply};
