/*
 * What rows mean, as far as a model's vectors tell: how diverse a sample of them is (Vendi score),
 * the groups they fall into (k-means), and which are close to a row of the other set.
 */
#ifndef HN_ENGINE_INSIGHT_EMBEDDINGS_H
#define HN_ENGINE_INSIGHT_EMBEDDINGS_H

#include "engine/base/error.h"

#include <stddef.h>
#include <stdint.h>

#define HN_EMBEDDED_ROWS ((size_t)2000) /* of a set, at most */
/* Cosine from which on a pair is told, and the mean cosine of two rows up to which cosines tell
 * anything at all: those of GPT-2 and its like are near 1 for any two texts. */
#define HN_EMBEDDED_CLOSE 0.95f
#define HN_EMBEDDED_SPREAD 0.5

/* Vectors of length 1 (or 0). All arrays are the caller's. */

/* exp of the entropy of the eigenvalues of X·Xᵀ / n: 1 where all are the same, n where all are at
 * right angles to each other. */
int hn_vendi_score(const float *vectors, size_t n, size_t width, double *ret, struct hn_error *err);
/* Into how many groups n rows are put: the square root of half of them, from 2 to 20. */
size_t hn_cluster_count(size_t n);
/* k-means++ from a seed of its own, at most 50 rounds; ret_cluster[n] are numbers below k, and
 * ret_near[n] the cosine to the group's centre. */
int hn_clusters_find(const float *vectors, size_t n, size_t width, size_t k, uint32_t *ret_cluster,
    float *ret_near, struct hn_error *err);
/* For each of vectors[n] the one of others[m] with the greatest cosine. */
int hn_nearest_find(const float *vectors, size_t n, const float *others, size_t m, size_t width,
    uint32_t *ret_other, float *ret_cosine, struct hn_error *err);

#endif
