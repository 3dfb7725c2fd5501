/* See sift.h. */
#include "engine/insight/sift.h"
#include "engine/insight/duplicates.h"

#include <stdlib.h>

static bool is_same(const struct hn_row_match *match) {
    return match->state == HN_ROW_EXACT || match->state == HN_ROW_NEAR;
}

int hn_sift_contradictions(
    const struct hn_dataset *data, size_t *rows, size_t *n, struct hn_error *err) {
    struct hn_row_set_facts own = {0};
    struct hn_duplicates found = {0};
    size_t kept = 0;
    int rc = hn_row_set_facts_read(&own, data, rows, *n, err);
    const struct hn_duplicates_request request = {.own = &own, .no_near = true};
    if (!rc)
        rc = hn_duplicates_find(&found, &request, err);
    for (size_t i = 0; !rc && i < own.n; i++)
        if (found.contradicts[i] == HN_ROW_NONE)
            rows[kept++] = rows[i];
    if (!rc)
        *n = kept;
    hn_duplicates_finish(&found);
    free(own.facts);
    return rc;
}

int hn_sift_near(const struct hn_dataset *data, size_t *rows, size_t *n,
    const struct hn_dataset *other, const size_t *other_rows, size_t n_other,
    struct hn_error *err) {
    struct hn_row_set_facts own = {0}, others = {0};
    struct hn_duplicates found = {0};
    size_t kept = 0;
    int rc = hn_row_set_facts_read(&own, data, rows, *n, err);
    if (!rc && other)
        rc = hn_row_set_facts_read(&others, other, other_rows, n_other, err);
    const struct hn_duplicates_request request = {.own = &own, .other = other ? &others : NULL};
    if (!rc)
        rc = hn_duplicates_find(&found, &request, err);
    if (!rc && (!found.hashes || found.cut)) {
        hn_fail(err, HN_E_UNSUPPORTED,
            "%zu rows are too many, or too similar, for near duplicates to be found among all",
            own.n + others.n);
        hn_error_hint(err, "leave out equal rows only: \"exact\"");
        rc = HN_E_UNSUPPORTED;
    }
    for (size_t i = 0; !rc && i < own.n; i++)
        if (!is_same(other ? &found.leaks[i] : &found.own[i]))
            rows[kept++] = rows[i];
    if (!rc)
        *n = kept;
    hn_duplicates_finish(&found);
    free(own.facts);
    free(others.facts);
    return rc;
}
