/*
 * Texts that are nearly the same, among any number of them.
 *
 * Every text gets a MinHash signature (Broder 1997) of its shingles; texts with equal values in one
 * of 32 bands of four are candidates (a pair of Jaccard's index s is one with probability
 * 1 - (1 - s^4)^32: 0.87 for 0.5, 0.9998 for 0.7), and of each candidate the index itself is
 * computed. Pairs from HN_NEAR_SIMILAR on are told, those from HN_NEAR_SAME on make clusters.
 *
 * Bounded: memory by the number of texts, comparisons in a band by the size of its groups, and the
 * bytes of texts that are read again for the index. What a bound cuts short is said.
 */
#ifndef HN_ENGINE_INSIGHT_NEAR_H
#define HN_ENGINE_INSIGHT_NEAR_H

#include "engine/base/buf.h"
#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HN_NEAR_SIMILAR 0.5
#define HN_NEAR_SAME 0.7

struct hn_near_pair {
    uint32_t a, b; /* numbers of texts, a < b */
    float similarity;
};

/* Where the texts are. Two are near only if their scopes (one of both may be empty) are, too. */
struct hn_near_texts {
    size_t n;         /* texts */
    size_t first;     /* the first text of the other set; n: there is one set only */
    const bool *skip; /* [n] texts that are not looked at: equal to an earlier one, or empty */
    uint64_t key[2];  /* of the hashes: nothing that who made the texts can choose freely */
    void *context;
    int (*read)(void *context, size_t text, struct hn_buf *body, struct hn_buf *scope,
        struct hn_error *err);
    /* now and then, with what is done of 1; non-zero ends the work. May be NULL */
    int (*progress)(void *context, double done, struct hn_error *err);
};

struct hn_near_result {
    struct hn_near_pair *pairs; /* [n] of one set; within a cluster not every pair is there */
    size_t n, capacity;
    struct hn_near_pair *across; /* [n_across] a of the set, b of the other one */
    size_t n_across, across_capacity;
    uint32_t *cluster; /* [texts] the first text of its cluster, or itself */
    size_t hashes;     /* of a signature; 0: there are too many texts to be compared */
    bool cut;          /* a bound was reached: pairs may be missing */
};

/* Bytes of memory for so many texts, and how many hashes each has then. */
size_t hn_near_plan(size_t texts, size_t *ret_hashes);
int hn_near_find(
    struct hn_near_result *ret, const struct hn_near_texts *texts, struct hn_error *err);
void hn_near_finish(struct hn_near_result *result);

#endif
