/*
 * Room engine/insight. What a data set is worth: what is found in its rows before anything is
 * trained on them.
 *
 * Nouns: report, finding, facts (keys of a row), shingles (a text as a set of hashes), match (a row
 *   and the one that it is equal or near to), cluster (rows that are nearly the same), spot (a
 *   place in a text).
 * Ownership: Nothing here owns a data set; results belong to whoever asked for them.
 * May include: engine/base engine/data engine/kernels.
 */

/* The report on a data set: lengths, labels, languages, diversity, and findings with what to do
 * about each. */
#ifndef HN_ENGINE_INSIGHT_REPORT_H
#define HN_ENGINE_INSIGHT_REPORT_H

#include "engine/data/dataset.h"

#include <jansson.h>

#define HN_REPORT_TOKENS 50000 /* rows at most whose tokens are counted */

struct hn_report_request {
    const struct hn_dataset *data;
    const struct hn_dataset *other; /* rows that may have leaked into `data`, or NULL */
    /* The tokens of a row of `data`, or NULL: they are not counted. */
    int (*count_tokens)(void *context, const json_t *row, size_t *ret, struct hn_error *err);
    size_t model_context; /* tokens; 0: not known */
    /* Vectors[n, width] of texts, of length 1, of at most `embedded` rows of a set. NULL: none. */
    int (*embed)(
        void *context, const char *const *texts, size_t n, float *ret, struct hn_error *err);
    size_t width, embedded;
    /* Now and then, with what is done of 1; non-zero ends the work. */
    int (*progress)(void *context, double done, struct hn_error *err);
    void *context;
};

/* {"rows","bytes","near":"full"|"coarse"|"none"}: memory that the report will need, and how near
 * duplicates are looked for then. New reference. */
json_t *hn_report_plan(const struct hn_dataset *data, const struct hn_dataset *other);
/* The contract's report without its "seconds". New reference. */
int hn_report_make(const struct hn_report_request *request, json_t **ret, struct hn_error *err);

#endif
