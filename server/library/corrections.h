/*
 * Corrected copies of data sets: some rows left out, some labels set, everything else as it was.
 * The copy is a data set of its own, whose record says what it was made of and how.
 */
#ifndef HN_SERVER_LIBRARY_CORRECTIONS_H
#define HN_SERVER_LIBRARY_CORRECTIONS_H

#include "server/library/library.h"

struct hn_corrections {
    const json_t *record;  /* of the data set that is corrected */
    const json_t *request; /* {"exclude","labels","new_labels"} (engine.h: dataset.correct) */
    const char *name;      /* of the copy; NULL: the data set's, and that it is corrected */
    const char *owner;     /* of the copy */
};

/* As hn_dataset_import: the same corrections again give the same data set. The helper makes the
 * copy. */
int hn_dataset_correct(const struct hn_library *library, const struct hn_corrections *corrections,
    json_t **ret, bool *ret_existing, json_t **ret_details, struct hn_error *err);

#endif
