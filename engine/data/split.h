/* The validation part of a data set. */
#ifndef HN_ENGINE_DATA_SPLIT_H
#define HN_ENGINE_DATA_SPLIT_H

#include "engine/data/dataset.h"

/* Deterministic split independent of any seed: the rows (0-based) of the validation part, sorted,
 * in *ret_rows (caller frees). Stratified by label where the data has labels. */
int hn_split_validation(const struct hn_dataset *data, double fraction, size_t **ret_rows,
    size_t *ret_n, struct hn_error *err);

#endif
