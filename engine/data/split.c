/*
 * Which rows are held out for validation: a draw keyed by the row's index alone, so that it is the
 * same whatever the seed, and stratified by label where there are labels.
 */
#include "engine/data/split.h"
#include "engine/base/json.h"
#include "engine/base/rng.h"

#include <math.h>
#include <stdlib.h>

/* A row in the draw for the validation part. */
struct ticket {
    uint64_t label, key; /* label: hash of the class, 0 without; key: random */
    size_t row;
};

static int by_label_and_key(const void *a, const void *b) {
    const struct ticket *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int by_row(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static uint64_t hash_label(const struct hn_dataset *data, size_t row) {
    json_t *object = NULL;
    size_t part = hn_dataset_part(data, row);     /* each of several files gives its share */
    uint64_t hash = 14695981039346656037u + part; /* FNV-1a */
    if (data->columns != HN_ROWS_TEXT_LABEL || hn_dataset_row(data, row, &object, NULL))
        return part;
    char *text = hn_json_canonical(json_object_get(object, "label"));
    for (const char *s = text; s && *s; s++)
        hash = (hash ^ (unsigned char)*s) * 1099511628211u;
    free(text);
    json_decref(object);
    return hash;
}

int hn_split_validation(const struct hn_dataset *data, double fraction, size_t **ret_rows,
    size_t *ret_n, struct hn_error *err) {
    size_t n = data->n_rows, count = 0;
    struct ticket *tickets = hn_calloc(n, sizeof *tickets);
    size_t *rows = hn_calloc(n, sizeof *rows);
    if (!tickets || !rows || n < 2) {
        free(tickets);
        free(rows);
        return n < 2 ? hn_fail(err, HN_E_DATASET_INVALID,
                           "one row cannot be split into training and validation rows")
                     : hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    for (size_t i = 0; i < n; i++)
        tickets[i] =
            (struct ticket){hash_label(data, i), hn_random_u64(0, HN_PURPOSE_SPLIT, 0, i), i};
    qsort(tickets, n, sizeof *tickets, by_label_and_key);
    /* Each class gives its share; what rounding leaves over is carried to the next class. */
    double owed = 0;
    for (size_t begin = 0, end; begin < n; begin = end) {
        for (end = begin + 1; end < n && tickets[end].label == tickets[begin].label;)
            end++;
        owed += fraction * (double)(end - begin);
        size_t take = (size_t)floor(owed + 0.5);
        take = take < end - begin ? take : end - begin;
        for (size_t i = 0; i < take; i++)
            rows[count++] = tickets[begin + i].row;
        owed -= (double)take;
    }
    count = count == n ? n - 1 : count;
    if (count == 0)
        rows[count++] = tickets[0].row;
    qsort(rows, count, sizeof *rows, by_row);
    free(tickets);
    *ret_rows = rows;
    *ret_n = count;
    return 0;
}
