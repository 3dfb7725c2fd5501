/* See embeddings.h. */
#include "engine/insight/embeddings.h"
#include "engine/base/buf.h"
#include "engine/base/pulse.h"
#include "engine/base/rng.h"
#include "engine/kernels/blas.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 50
#define BLOCK ((size_t)256) /* rows of a product of matrices */

static int memory(struct hn_error *err) {
    return hn_fail(err, HN_E_INTERNAL, "out of memory for vectors of rows");
}

/* X·Xᵀ or Xᵀ·X, whichever is smaller: their eigenvalues are the same but for zeros. */
static int gram(
    const float *x, size_t n, size_t width, double **ret, size_t *ret_n, struct hn_error *err) {
    bool wide = n < width;
    size_t m = wide ? n : width;
    float *product = hn_calloc(m * m + 1, sizeof *product);
    double *matrix = hn_calloc(m * m + 1, sizeof *matrix);
    int rc = product && matrix ? hn_blas_open(err) : memory(err);
    if (!rc) {
        hn_sgemm(!wide, wide, m, m, wide ? width : n, 1.0f / (float)n, x, width, x, width, 0,
            product, m);
        for (size_t i = 0; i < m * m; i++)
            matrix[i] = (double)product[i];
    }
    free(product);
    if (rc) {
        free(matrix);
        return rc;
    }
    *ret = matrix;
    *ret_n = m;
    return 0;
}

int hn_vendi_score(
    const float *vectors, size_t n, size_t width, double *ret, struct hn_error *err) {
    double *matrix = NULL, entropy = 0, sum = 0;
    size_t m = 0;
    if (!n) {
        *ret = 0;
        return 0;
    }
    int rc = gram(vectors, n, width, &matrix, &m, err);
    double *values = rc ? NULL : hn_calloc(m + 1, sizeof *values);
    if (!rc)
        rc = values ? hn_eigenvalues(matrix, m, values, err) : memory(err);
    for (size_t i = 0; !rc && i < m; i++)
        sum += values[i] > 0 ? values[i] : 0;
    for (size_t i = 0; !rc && i < m; i++)
        if (values[i] > 0 && sum > 0)
            entropy -= values[i] / sum * log(values[i] / sum);
    if (!rc)
        *ret = sum > 0 ? exp(entropy) : 0;
    free(values);
    free(matrix);
    return rc;
}

size_t hn_cluster_count(size_t n) {
    size_t k = (size_t)sqrt((double)n / 2);
    k = k < 2 ? 2 : k > 20 ? 20 : k;
    return k < n ? k : n;
}

int hn_nearest_find(const float *vectors, size_t n, const float *others, size_t m, size_t width,
    uint32_t *ret_other, float *ret_cosine, struct hn_error *err) {
    float *cosines = hn_calloc(BLOCK * m + 1, sizeof *cosines);
    int rc = cosines ? hn_blas_open(err) : memory(err);
    for (size_t i = 0; !rc && i < n; i += BLOCK) {
        size_t rows = n - i < BLOCK ? n - i : BLOCK;
        hn_pulse();
        hn_sgemm(false, true, rows, m, width, 1, vectors + i * width, width, others, width, 0,
            cosines, m);
        for (size_t r = 0; r < rows; r++) {
            const float *row = cosines + r * m;
            size_t best = 0;
            for (size_t k = 1; k < m; k++)
                best = row[k] > row[best] ? k : best;
            ret_other[i + r] = (uint32_t)best;
            ret_cosine[i + r] = m ? row[best] : -1;
        }
    }
    free(cosines);
    return rc;
}

/* The row that is drawn next: the chance of each is its distance from the nearest centre. */
static size_t draw(const float *nearest, size_t n, uint64_t number) {
    double sum = 0, at;
    for (size_t i = 0; i < n; i++)
        sum += 1 - (double)nearest[i];
    at = sum * hn_random_unit(0, HN_PURPOSE_SAMPLE, 1, number);
    for (size_t i = 0; i < n; i++)
        if ((at -= 1 - (double)nearest[i]) < 0)
            return i;
    return n - 1;
}

static void begin_centres(
    const float *x, size_t n, size_t width, size_t k, float *centres, float *nearest) {
    for (size_t i = 0; i < n; i++)
        nearest[i] = -1;
    for (size_t c = 0; c < k; c++) {
        size_t row = draw(nearest, n, c);
        memcpy(centres + c * width, x + row * width, width * sizeof *centres);
        for (size_t i = 0; i < n; i++) {
            float cosine = 0;
            for (size_t j = 0; j < width; j++)
                cosine += x[i * width + j] * centres[c * width + j];
            nearest[i] = cosine > nearest[i] ? fminf(cosine, 1) : nearest[i];
        }
    }
}

/* Means of the groups, of length 1; a group without rows keeps its centre. */
static void move_centres(const float *x, size_t n, size_t width, size_t k, const uint32_t *cluster,
    double *sums, float *centres) {
    memset(sums, 0, k * width * sizeof *sums);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++)
            sums[cluster[i] * width + j] += (double)x[i * width + j];
    for (size_t c = 0; c < k; c++) {
        double square = 0;
        for (size_t j = 0; j < width; j++)
            square += sums[c * width + j] * sums[c * width + j];
        for (size_t j = 0; j < width && square > 0; j++)
            centres[c * width + j] = (float)(sums[c * width + j] / sqrt(square));
    }
}

int hn_clusters_find(const float *vectors, size_t n, size_t width, size_t k, uint32_t *ret_cluster,
    float *ret_near, struct hn_error *err) {
    float *centres = hn_calloc(k * width + 1, sizeof *centres);
    double *sums = hn_calloc(k * width + 1, sizeof *sums);
    uint32_t *before = hn_calloc(n + 1, sizeof *before);
    int rc = centres && sums && before ? 0 : memory(err);
    if (!rc && n)
        begin_centres(vectors, n, width, k, centres, ret_near);
    for (int round = 0; !rc && n && round < ROUNDS; round++) {
        rc = hn_nearest_find(vectors, n, centres, k, width, ret_cluster, ret_near, err);
        if (rc || (round && memcmp(before, ret_cluster, n * sizeof *before) == 0))
            break;
        memcpy(before, ret_cluster, n * sizeof *before);
        move_centres(vectors, n, width, k, ret_cluster, sums, centres);
    }
    free(centres);
    free(sums);
    free(before);
    return rc;
}
