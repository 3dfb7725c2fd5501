/* See train_sample.h. */
#include "engine/run/train_sample.h"
#include "engine/base/buf.h"
#include "engine/base/file.h"
#include "engine/base/rng.h"

#include <stdlib.h>
#include <string.h>

/* A row of the data: the first of its examples (windows of it follow each other). */
struct candidate {
    uint64_t key; /* random */
    size_t first;
    int32_t label;
};

static int by_label_and_key(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

static int by_place(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* Of rows with one target of their own, else 0: rows are stratified by class only. */
static int32_t label_of(const struct hn_examples *ex, size_t row) {
    size_t targets = 0;
    int32_t label = 0;
    if (!ex->aligned || ex->outputs)
        return 0;
    for (size_t i = ex->starts[row]; i < ex->starts[row + 1] && targets < 2; i++)
        if (ex->weights[i] > 0) {
            label = ex->targets[i];
            targets++;
        }
    return targets == 1 ? label : 0;
}

static bool is_first(const struct hn_examples *ex, size_t row) {
    return !row || ex->rows[row] != ex->rows[row - 1];
}

/* All rows of the data in the order of the draw. */
static struct candidate *list_candidates(
    const struct hn_examples *ex, uint64_t seed, size_t *ret_n) {
    struct candidate *all = hn_calloc(ex->n_rows + 1, sizeof *all);
    size_t n = 0;
    for (size_t i = 0; all && i < ex->n_rows; i++)
        if (is_first(ex, i))
            all[n++] = (struct candidate){
                hn_random_u64(seed, HN_PURPOSE_PROBE, 0, ex->rows[i]), i, label_of(ex, i)};
    if (all)
        qsort(all, n, sizeof *all, by_label_and_key);
    *ret_n = n;
    return all;
}

/* Evenly spaced ones of n, so that each label gives its share; then in the order of the data. */
static size_t thin(struct candidate *all, size_t n, size_t most) {
    size_t kept = n < most ? n : most;
    for (size_t i = 0; i < kept; i++)
        all[i] = all[(2 * i + 1) * n / (2 * kept)];
    qsort(all, kept, sizeof *all, by_place);
    return kept;
}

static int name_rows(struct hn_examples *ex, struct hn_error *err) {
    void *sum = hn_sha256_begin();
    if (!sum)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_sha256_add(sum, ex->lines, ex->n_rows * sizeof *ex->lines);
    hn_sha256_add(sum, ex->tokens, ex->n_tokens * sizeof *ex->tokens);
    hn_sha256_end(sum, ex->sha256);
    return 0;
}

/* The examples of the rows that were drawn, into `rows` where it is not NULL; how many they are. */
static size_t list_examples(
    const struct hn_examples *ex, const struct candidate *drawn, size_t n, size_t *rows) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = drawn[i].first;
        do {
            if (rows)
                rows[count] = k;
            count++;
        } while (++k < ex->n_rows && !is_first(ex, k));
    }
    return count;
}

int hn_train_sample_make(const struct hn_examples *train, size_t most, uint64_t seed,
    struct hn_examples *ret, struct hn_error *err) {
    size_t n = 0;
    struct candidate *all = list_candidates(train, seed, &n);
    n = all ? thin(all, n, most) : 0;
    size_t count = list_examples(train, all, n, NULL), *rows = hn_calloc(count + 1, sizeof *rows);
    int rc = all && rows ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc) {
        list_examples(train, all, n, rows);
        rc = hn_examples_pick(train, rows, count, ret, err);
    }
    if (!rc)
        rc = name_rows(ret, err);
    free(all);
    free(rows);
    return rc;
}
