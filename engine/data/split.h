/* The validation part of a data set. */
#ifndef HN_ENGINE_DATA_SPLIT_H
#define HN_ENGINE_DATA_SPLIT_H

#include "engine/data/dataset.h"
#include "engine/data/labels.h"

/*
 * Deterministic split independent of any seed: the rows (0-based) of the validation part, sorted,
 * in *ret_rows (caller frees). Stratified by class where the data has classes, and no label loses
 * its last training row. Rows of equal input (row_set.h) lie on one side together. `labels` may be
 * NULL: rows without any. *ret_n is 0 where nothing can be held out so.
 */
int hn_split_validation(const struct hn_dataset *data, const struct hn_labels *labels,
    double fraction, size_t **ret_rows, size_t *ret_n, struct hn_error *err);
/* How many rows have an input that another row has, too. */
int hn_split_twins(const struct hn_dataset *data, size_t *ret, struct hn_error *err);

#endif
