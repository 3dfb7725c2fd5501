/* See sift.h. */
#include "engine/run/sift.h"
#include "engine/base/buf.h"
#include "engine/data/row_set.h"
#include "engine/insight/sift.h"

#include <stdlib.h>
#include <string.h>

static int drop_leaks(const struct hn_spec *spec, const struct hn_dataset *data,
    const struct hn_measuring sets[3], size_t *rows, size_t *n, struct hn_error *err) {
    struct hn_row_set seen = {0};
    int rc = 0;
    for (int i = 0; !rc && i < 3; i++)
        rc = hn_row_set_add(&seen, sets[i].data, sets[i].rows, sets[i].n, err);
    if (!rc)
        rc = hn_row_set_sift(&seen, data, rows, n, false, err);
    hn_row_set_finish(&seen);
    for (int i = 0; !rc && spec->drop_leaks == HN_SAME_NEAR && i < 3; i++)
        if (sets[i].n && *n)
            rc = hn_sift_near(data, rows, n, sets[i].data, sets[i].rows, sets[i].n, err);
    return rc;
}

static int drop_doubles(const struct hn_spec *spec, const struct hn_dataset *data, size_t *rows,
    size_t *n, struct hn_error *err) {
    struct hn_row_set seen = {0};
    int rc = hn_row_set_sift(&seen, data, rows, n, true, err);
    hn_row_set_finish(&seen);
    return rc || spec->dedupe != HN_SAME_NEAR ? rc
                                              : hn_sift_near(data, rows, n, NULL, NULL, 0, err);
}

/* Notes what is in before[n_before] and not in rows[n] any more. */
static void note(const struct hn_dataset *data, enum hn_notice_kind kind, const size_t *before,
    size_t n_before, const size_t *rows, size_t n, struct hn_notices *told) {
    for (size_t i = 0, k = 0; i < n_before; i++) {
        if (k < n && rows[k] == before[i])
            k++;
        else
            hn_notices_add(told, kind, "", data->lines[before[i]]);
    }
}

static int sift(const struct hn_spec *spec, const struct hn_dataset *data,
    const struct hn_measuring sets[3], enum hn_notice_kind kind, size_t *rows, size_t *n,
    struct hn_notices *told, struct hn_error *err) {
    size_t n_before = *n, *before = hn_calloc(n_before, sizeof *before);
    if (!before)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (n_before)
        memcpy(before, rows, n_before * sizeof *before);
    int rc = kind == HN_NOTICE_LEAK       ? drop_leaks(spec, data, sets, rows, n, err)
        : kind == HN_NOTICE_CONTRADICTION ? hn_sift_contradictions(data, rows, n, err)
                                          : drop_doubles(spec, data, rows, n, err);
    if (!rc)
        note(data, kind, before, n_before, rows, *n, told);
    if (rc == HN_E_UNSUPPORTED)
        hn_error_field(err, kind == HN_NOTICE_LEAK ? "drop_leaks" : "dedupe");
    free(before);
    return rc;
}

int hn_sift_training(const struct hn_spec *spec, const struct hn_dataset *data,
    const struct hn_measuring sets[3], size_t *rows, size_t *n, struct hn_notices *told,
    struct hn_error *err) {
    bool any = *n > 0;
    int rc = spec->drop_leaks ? sift(spec, data, sets, HN_NOTICE_LEAK, rows, n, told, err) : 0;
    if (!rc && any && !*n) {
        hn_fail(err, HN_E_DATASET_INVALID,
            "every training row stands among the validation or test rows as well");
        hn_error_field(err, "drop_leaks");
        return HN_E_DATASET_INVALID;
    }
    if (!rc && spec->drop_contradictions)
        rc = sift(spec, data, sets, HN_NOTICE_CONTRADICTION, rows, n, told, err);
    if (!rc && spec->dedupe)
        rc = sift(spec, data, sets, HN_NOTICE_DOUBLE, rows, n, told, err);
    return rc;
}
