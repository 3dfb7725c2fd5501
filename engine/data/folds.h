/* Folds: the rows of a data set in k parts, one of which is held out for validation. */
#ifndef HN_ENGINE_DATA_FOLDS_H
#define HN_ENGINE_DATA_FOLDS_H

#include "engine/data/dataset.h"
#include "engine/data/labels.h"

#define HN_FOLDS_MAX 1000

struct hn_folds {
    int64_t fold, folds; /* which is held out, from 1, of how many; folds 0: none is */
    int64_t seed;
    const char *group_by; /* a column of the file, or NULL; borrowed */
};

/* {"fold","folds","group_by":null|column,"seed":0}; errors name validation's fields. */
int hn_folds_read(struct hn_folds *ret, const json_t *validation, struct hn_error *err);
/* The same back. New reference. */
json_t *hn_folds_write(const struct hn_folds *folds);

/*
 * The rows (0-based) of the fold, sorted, in *ret_rows (caller frees). Every row is in exactly one
 * fold. Rows of equal input (row_set.h), and rows with one value in the column group_by, are in
 * one fold together; rows without a value there (absent, null or empty) stand alone. As far as
 * that allows, each class, and each file, gives every fold the same number of rows. `labels` may
 * be NULL: rows without any. Refused: more folds than what can be parted, a class of fewer rows
 * than folds or whose rows cannot be parted, a column that no row has.
 */
int hn_folds_split(const struct hn_dataset *data, const struct hn_labels *labels,
    const struct hn_folds *folds, size_t **ret_rows, size_t *ret_n, struct hn_error *err);

#endif
