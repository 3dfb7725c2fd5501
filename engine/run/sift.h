/* What a job's fields dedupe, drop_leaks and drop_contradictions leave out of its training rows. */
#ifndef HN_ENGINE_RUN_SIFT_H
#define HN_ENGINE_RUN_SIFT_H

#include "engine/data/dataset.h"
#include "engine/data/notices.h"
#include "engine/run/spec.h"

/* Rows that measure. */
struct hn_measuring {
    const struct hn_dataset *data;
    const size_t *rows; /* [n]; NULL: its first n */
    size_t n;
};

/* Takes them out of rows[*n] (sorted) of the training data; `told` gets how many, and in which
 * lines. */
int hn_sift_training(const struct hn_spec *spec, const struct hn_dataset *data,
    const struct hn_measuring sets[3], size_t *rows, size_t *n, struct hn_notices *told,
    struct hn_error *err);

#endif
