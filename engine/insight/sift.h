/* Which rows are left out as duplicates, or as leaks of rows that measure. */
#ifndef HN_ENGINE_INSIGHT_SIFT_H
#define HN_ENGINE_INSIGHT_SIFT_H

#include "engine/data/dataset.h"

/*
 * Takes out of rows[*n] of `data` those that are nearly the same as one that stays (duplicates.h:
 * of each cluster the first row stays), or, with `other`, as one of its rows[n_other] (its first
 * n_other: NULL). Equal ones are among them. The same rows give the same result anywhere.
 */
int hn_sift_near(const struct hn_dataset *data, size_t *rows, size_t *n,
    const struct hn_dataset *other, const size_t *other_rows, size_t n_other, struct hn_error *err);

/*
 * Takes out of rows[*n] those that have the input of another one and another answer or label, all
 * of them: which one is right cannot be told. A question that more than ten rows ask is meant to
 * have many answers.
 */
int hn_sift_contradictions(
    const struct hn_dataset *data, size_t *rows, size_t *n, struct hn_error *err);

#endif
