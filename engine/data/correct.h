/*
 * A corrected copy of a data set's file: some rows left out, some labels set, every other byte as
 * it was. The copy is read back: its rows are the data set's but for these corrections.
 */
#ifndef HN_ENGINE_DATA_CORRECT_H
#define HN_ENGINE_DATA_CORRECT_H

#include "engine/data/dataset.h"

#define HN_CORRECTIONS_MAX 100000 /* entries of each list */
#define HN_CORRECTIONS_TOLD 1000  /* changes that are listed */

/*
 * `request`: {"exclude":{"lines":[12,"20-30"]},"labels":[{"line":7,"label":"x"}],
 * "new_labels":false}; a row is known by the line that it begins in. A label must be one that other
 * rows have, or of values a number, unless new_labels is true. `options`: those that `data` was
 * opened with. Writes the new file `to`, of at most `limit` bytes (0: any), which the caller
 * removes after a failure.
 *
 * *ret: {"rows" of the copy,"excluded","relabelled","changes":[{"line","excluded":true} or
 * {"line","from","to"}]}, by line.
 */
int hn_correct(const struct hn_dataset *data, const struct hn_dataset_options *options,
    const json_t *request, const char *to, uint64_t limit, json_t **ret, struct hn_error *err);

#endif
