/* What both ways of splitting rows know of them: split.c and folds.c. */
#ifndef HN_ENGINE_DATA_SPLIT_INTERNAL_H
#define HN_ENGINE_DATA_SPLIT_INTERNAL_H

#include "engine/data/dataset.h"
#include "engine/data/labels.h"

/* A row, by its input or by something else that it shares with others. */
struct hn_split_row {
    uint64_t key[2];
    size_t row;
};

/* All rows of the data set, sorted by their input; rows of one input in their order. Caller
 * frees. */
int hn_split_sort(const struct hn_dataset *data, struct hn_split_row **ret, struct hn_error *err);
/* For qsort: by key, then by row. */
int hn_split_by_key(const void *a, const void *b);
/* End of the rows with the key of rows[begin]. */
size_t hn_split_end(const struct hn_split_row *rows, size_t n, size_t begin);
/* Hash of the class that a row is drawn with: its label and its file; the file alone where there
 * are no classes. */
uint64_t hn_split_class(const struct hn_dataset *data, const struct hn_labels *labels, size_t row);
/* A label as it is spelled in messages and hashes. Caller frees. */
char *hn_split_label_text(const json_t *label);
/* For qsort: rows in their order. */
int hn_split_by_row(const void *a, const void *b);

#endif
