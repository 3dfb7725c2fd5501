/* Whether a table's first record names its columns, and what two columns are that nothing names. */
#ifndef HN_ENGINE_DATA_CSV_HEADER_H
#define HN_ENGINE_DATA_CSV_HEADER_H

#include "engine/data/dataset_internal.h"

/* Two columns that nothing names: ["text", "label"], ["label", "text"], or NULL. *ret_named:
 * `first` names them after all, in other words. Numbers are labels in the second column alone: in
 * the first they count rows. New reference. */
json_t *hn_csv_guess_header(const struct hn_row_scan *scan, const json_t *first, bool *ret_named);
/* Whether the first record is a header, by the column that is mapped as the label by its number. */
bool hn_csv_is_mapped_header(const struct hn_row_scan *scan, const json_t *first);
/* Whether the column's values, below its name, repeat as labels do or are all numbers. */
bool hn_csv_looks_like_labels(const struct hn_row_scan *scan, size_t column);
/* Names that columns of texts and labels have elsewhere: a record of nothing else is a header, even
 * where columns are mapped by their numbers. */
bool hn_csv_is_usual_header(const json_t *fields);

#endif
