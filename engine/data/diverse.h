/* The order in which rows add most that is new: what a diverse part of the rows is. */
#ifndef HN_ENGINE_DATA_DIVERSE_H
#define HN_ENGINE_DATA_DIVERSE_H

#include "engine/data/dataset.h"

#define HN_DIVERSE_ROWS ((size_t)200000) /* at most */

/*
 * ret_places[i]: the place of rows[i] among the rows of its class (classes[i]; any number), from 0.
 * Greedy coverage: the next row of a class is the one with the largest u / (w + m), where w is the
 * number of its pairs of adjacent words (without case and punctuation; at most 256 count), u of
 * them those that no row before it has, and m the mean of w. So neither length nor a short row of
 * new words decides alone. Of equals the first row. HN_E_INVALID_FIELD for more rows than
 * HN_DIVERSE_ROWS.
 */
int hn_diverse_order(const struct hn_dataset *data, const size_t *rows, const uint64_t *classes,
    size_t n, uint64_t *ret_places, struct hn_error *err);

#endif
