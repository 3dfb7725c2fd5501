/*
 * Folds. Rows that belong together are joined into sets; the sets are dealt out, the larger ones
 * first, each to the fold that has least of its classes so far. Among equals the order is random,
 * by the seed, so that every seed gives other folds.
 */
#include "engine/data/folds.h"
#include "engine/base/buf.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "engine/data/split_internal.h"

#include <stdlib.h>
#include <string.h>

static int refuse(struct hn_error *err, const char *field, const char *hint) {
    hn_error_field(err, "validation.%s", field);
    hn_error_hint(err, "%s", hint);
    return HN_E_INVALID_FIELD;
}

int hn_folds_read(struct hn_folds *ret, const json_t *validation, struct hn_error *err) {
    static const char *const known[] = {"fold", "folds", "group_by", "seed", NULL};
    static const char example[] = "for example {\"fold\": 1, \"folds\": 5}";
    struct hn_folds f = {0};
    int rc = hn_json_known(validation, known, "validation.", err);
    if (rc)
        return rc;
    if ((rc = hn_json_int(validation, "folds", 2, HN_FOLDS_MAX, &f.folds, err)) ||
        (rc = hn_json_int(validation, "fold", 1, HN_FOLDS_MAX, &f.fold, err)) ||
        (rc = hn_json_int(validation, "seed", 0, INT64_MAX, &f.seed, err)) ||
        (rc = hn_json_string(validation, "group_by", &f.group_by, err))) {
        hn_error_inside(err, "validation");
        return rc;
    }
    if (!f.folds || !f.fold) {
        hn_fail(err, HN_E_MISSING_FIELD, "validation by folds needs both fold and folds");
        refuse(err, f.folds ? "fold" : "folds", example);
        return HN_E_MISSING_FIELD;
    }
    if (f.fold > f.folds) {
        hn_fail(err, HN_E_INVALID_FIELD, "there is no fold %lld of %lld; they count from 1",
            (long long)f.fold, (long long)f.folds);
        return refuse(err, "fold", example);
    }
    *ret = f;
    return 0;
}

json_t *hn_folds_write(const struct hn_folds *f) {
    return json_pack("{s:I, s:I, s:s?, s:I}", "fold", (json_int_t)f->fold, "folds",
        (json_int_t)f->folds, "group_by", f->group_by, "seed", (json_int_t)f->seed);
}

/* Rows that are dealt out together: members[first, first + n). */
struct set {
    size_t first, n;
    uint64_t key;
    size_t class; /* of its first row */
};

struct deal {
    const struct hn_dataset *data;
    const struct hn_labels *labels;
    const struct hn_folds *folds;
    size_t n;
    size_t *parent;  /* [n] a row of the same set; its own number for the set's first row */
    size_t *members; /* [n] rows, set by set, each set's in their order */
    size_t *class;   /* [n] number of the row's class */
    size_t *total;   /* [classes] rows */
    size_t classes;
    struct set *sets; /* [n_sets] */
    size_t n_sets;
};

static size_t root(size_t *parent, size_t row) {
    while (parent[row] != row)
        row = parent[row] = parent[parent[row]];
    return row;
}

/* The smaller row stands for both. */
static void join(size_t *parent, size_t a, size_t b) {
    size_t x = root(parent, a), y = root(parent, b);
    parent[x < y ? y : x] = x < y ? x : y;
}

static void join_equal(struct deal *d, const struct hn_split_row *rows, size_t n) {
    for (size_t begin = 0, end; begin < n; begin = end) {
        end = hn_split_end(rows, n, begin);
        for (size_t i = begin + 1; i < end; i++)
            join(d->parent, rows[begin].row, rows[i].row);
    }
}

/* No row has it: the columns that the first one has are known. */
static int unknown_column(const struct deal *d, struct hn_error *err) {
    json_t *first = NULL, *asked = json_pack("{s:b}", d->folds->group_by, 1);
    int rc = hn_dataset_column(d->data, 0, NULL, &first, err);
    size_t n = json_object_size(first), i = 0;
    const char *key, **names = hn_calloc(n + 1, sizeof *names);
    json_t *value;
    json_object_foreach(first, key, value)
        if (names)
            names[i++] = key;
    if (!rc && names && asked && hn_json_known(asked, names, "", err) && err) {
        char hint[sizeof err->hint];
        memcpy(hint, err->hint, sizeof hint);
        rc = hn_fail(err, HN_E_INVALID_FIELD, "no row has a column \"%.64s\" to group by",
            d->folds->group_by);
        refuse(err, "group_by", hint);
    }
    free(names);
    json_decref(asked);
    json_decref(first);
    return rc ? rc : HN_E_INVALID_FIELD;
}

/* The key of a row's value in the column; *ret_has false where it has none. */
static int group_key(const struct deal *d, size_t row, struct hn_split_row *ret, bool *ret_has,
    bool *ret_known, struct hn_error *err) {
    json_t *value = NULL;
    char hex[HN_SHA256_HEX], half[17] = "";
    int rc = hn_dataset_column(d->data, row, d->folds->group_by, &value, err);
    *ret_has = !rc && value && !json_is_null(value) &&
        !(json_is_string(value) && !json_string_length(value));
    *ret_known = *ret_known || value;
    char *text = *ret_has ? hn_split_label_text(value) : NULL;
    json_decref(value);
    if (*ret_has && !text)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (text)
        hn_sha256(text, strlen(text), hex);
    for (size_t i = 0; text && i < 2; i++) {
        memcpy(half, hex + 16 * i, 16);
        ret->key[i] = strtoull(half, NULL, 16);
    }
    ret->row = row;
    free(text);
    return rc;
}

static int join_groups(struct deal *d, struct hn_error *err) {
    struct hn_split_row *rows = hn_calloc(d->n, sizeof *rows);
    int rc = rows ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    bool known = false, has;
    size_t n = 0;
    for (size_t i = 0; !rc && i < d->n; i++) {
        rc = group_key(d, i, &rows[n], &has, &known, err);
        n += !rc && has;
    }
    if (!rc && !known)
        rc = unknown_column(d, err);
    if (!rc) {
        qsort(rows, n, sizeof *rows, hn_split_by_key);
        join_equal(d, rows, n);
    }
    free(rows);
    return rc;
}

static int join_rows(struct deal *d, struct hn_error *err) {
    struct hn_split_row *rows = NULL;
    for (size_t i = 0; i < d->n; i++)
        d->parent[i] = i;
    int rc = hn_split_sort(d->data, &rows, err);
    if (!rc)
        join_equal(d, rows, d->n);
    free(rows);
    return rc || !d->folds->group_by ? rc : join_groups(d, err);
}

/* A label's rows: how many, and whether they lie in more than one set. */
struct label_rows {
    size_t n, first;
    bool parted;
};

static int refuse_label(
    const struct deal *d, size_t label, const struct label_rows *rows, struct hn_error *err) {
    const char *name = hn_label_name(d->labels, label);
    if (rows->n >= (size_t)d->folds->folds) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "all %zu rows of the label \"%.64s\" have one input or one value of %.64s: a fold "
            "would have all of them, and the others none",
            rows->n, name, d->folds->group_by ? d->folds->group_by : "a column");
        return refuse(err, d->folds->group_by ? "group_by" : "folds",
            "group by another column, or give the label more rows");
    }
    hn_fail(err, HN_E_INVALID_FIELD, "the label \"%.64s\" has %zu row%s, fewer than the %lld folds",
        name, rows->n, rows->n == 1 ? "" : "s", (long long)d->folds->folds);
    return refuse(err, "folds", "ask for fewer folds, or give the label more rows");
}

/* Each label of single labels must be there to be trained on and to be validated. */
static int check_labels(struct deal *d, struct hn_error *err) {
    size_t k = json_array_size(d->labels->names);
    struct label_rows *rows = hn_calloc(k + 1, sizeof *rows);
    int rc = rows ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < d->n; i++) {
        json_t *object = NULL;
        if ((rc = hn_dataset_row(d->data, i, &object, err)))
            break;
        int32_t number = hn_label_number(d->labels, json_object_get(object, "label"));
        json_decref(object);
        if (number < 0)
            continue;
        struct label_rows *r = &rows[number];
        size_t set = root(d->parent, i);
        r->first = r->n++ ? r->first : set;
        r->parted = r->parted || set != r->first;
    }
    for (size_t c = 0; !rc && c < k; c++)
        if (rows[c].n && (rows[c].n < (size_t)d->folds->folds || !rows[c].parted))
            rc = refuse_label(d, c, &rows[c], err);
    free(rows);
    return rc;
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Numbers the classes; those with fewer rows than folds count as one, number 0. */
static int find_classes(struct deal *d, struct hn_error *err) {
    uint64_t *hashes = hn_calloc(2 * d->n, sizeof *hashes), *sorted = hashes + d->n;
    size_t classes = 1;
    if (!hashes)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < d->n; i++)
        sorted[i] = hashes[i] = hn_split_class(d->data, d->labels, i);
    qsort(sorted, d->n, sizeof *sorted, by_hash);
    for (size_t begin = 0, end; begin < d->n; begin = end) {
        for (end = begin; end < d->n && sorted[end] == sorted[begin];)
            end++;
        bool few = end - begin < (size_t)d->folds->folds;
        d->total[few ? 0 : classes] += end - begin;
        for (size_t i = begin; i < end; i++) /* the first of equals tells the number */
            d->members[i] = few ? 0 : classes;
        classes += !few;
    }
    for (size_t i = 0; i < d->n; i++) {
        const uint64_t *at = bsearch(&hashes[i], sorted, d->n, sizeof *sorted, by_hash);
        d->class[i] = d->members[at - sorted];
    }
    d->classes = classes;
    free(hashes);
    return 0;
}

static void make_sets(struct deal *d) {
    size_t *at = d->members; /* by first row, then as places */
    for (size_t i = 0; i < d->n; i++)
        at[i] = 0;
    for (size_t i = 0; i < d->n; i++)
        at[root(d->parent, i)]++;
    for (size_t i = 0, first = 0; i < d->n; i++) {
        if (d->parent[i] != i)
            continue;
        uint64_t key = hn_random_u64((uint64_t)d->folds->seed, HN_PURPOSE_FOLDS, 0, i);
        d->sets[d->n_sets++] =
            (struct set){.first = first, .n = at[i], .key = key, .class = d->class[i]};
        first += at[i];
    }
}

/* Puts the rows of each set where the set says. `next` is room for n numbers. */
static void place_members(struct deal *d, size_t *next) {
    for (size_t i = 0, set = 0; i < d->n; i++)
        if (d->parent[i] == i)
            next[i] = d->sets[set++].first;
    for (size_t i = 0; i < d->n; i++)
        d->members[next[root(d->parent, i)]++] = i;
}

static int larger_first(const void *a, const void *b) {
    const struct set *x = a, *y = b;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    if (x->class != y->class)
        return x->class < y->class ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

/* How much of the set's classes a fold has already, each against the class's rows. */
static double crowding(const struct deal *d, const struct set *set, const size_t *counts) {
    double sum = 0;
    for (size_t i = set->first; i < set->first + set->n; i++) {
        size_t class = d->class[d->members[i]];
        sum += (double)counts[class] / (double)d->total[class];
    }
    return sum;
}

/* Deals the sets out; the rows of the fold that was asked for go to `out`. */
static int deal_out(struct deal *d, size_t *out, size_t *ret_n, struct hn_error *err) {
    size_t k = (size_t)d->folds->folds, cells, count = 0;
    size_t *counts = hn_mul(k, d->classes, &cells) ? hn_calloc(cells, sizeof *counts) : NULL;
    size_t *sizes = hn_calloc(k, sizeof *sizes);
    int rc = counts && sizes ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    qsort(d->sets, d->n_sets, sizeof *d->sets, larger_first);
    for (size_t s = 0; !rc && s < d->n_sets; s++) {
        const struct set *set = &d->sets[s];
        size_t best = 0;
        double least = crowding(d, set, counts);
        for (size_t f = 1; f < k; f++) {
            double c = crowding(d, set, counts + f * d->classes);
            if (c < least || (c <= least && sizes[f] < sizes[best])) {
                least = c;
                best = f;
            }
        }
        sizes[best] += set->n;
        for (size_t i = set->first; i < set->first + set->n; i++) {
            counts[best * d->classes + d->class[d->members[i]]]++;
            if (best + 1 == (size_t)d->folds->fold)
                out[count++] = d->members[i];
        }
    }
    qsort(out, count, sizeof *out, hn_split_by_row);
    *ret_n = count;
    free(counts);
    free(sizes);
    return rc;
}

static int split(struct deal *d, size_t *out, size_t *ret_n, struct hn_error *err) {
    int rc = join_rows(d, err);
    if (!rc && d->labels && d->labels->objective == HN_OBJECTIVE_CLASSES)
        rc = check_labels(d, err);
    if (!rc)
        rc = find_classes(d, err);
    if (rc)
        return rc;
    make_sets(d);
    place_members(d, out);
    if (d->n_sets >= (size_t)d->folds->folds)
        return deal_out(d, out, ret_n, err);
    hn_fail(err, HN_E_INVALID_FIELD,
        "the %zu rows make only %zu sets that can be parted (by their input%s), fewer than the "
        "%lld folds",
        d->n, d->n_sets, d->folds->group_by ? " and group_by" : "", (long long)d->folds->folds);
    return refuse(err, "folds", "ask for fewer folds, or group by another column");
}

int hn_folds_split(const struct hn_dataset *data, const struct hn_labels *labels,
    const struct hn_folds *folds, size_t **ret_rows, size_t *ret_n, struct hn_error *err) {
    struct deal d = {.data = data, .labels = labels, .folds = folds, .n = data->n_rows};
    if ((size_t)folds->folds > d.n) {
        hn_fail(err, HN_E_INVALID_FIELD, "%lld folds of %zu row%s", (long long)folds->folds, d.n,
            d.n == 1 ? "" : "s");
        return refuse(err, "folds", "ask for at most as many folds as there are rows");
    }
    size_t *numbers = hn_calloc(d.n, 5 * sizeof *numbers);
    d.sets = hn_calloc(d.n, sizeof *d.sets);
    size_t *out = hn_calloc(d.n, sizeof *out);
    int rc = numbers && d.sets && out ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc) {
        d.parent = numbers;
        d.members = numbers + d.n;
        d.class = numbers + 2 * d.n;
        d.total = numbers + 3 * d.n; /* [classes], at most n + 1 */
        rc = split(&d, out, ret_n, err);
    }
    free(numbers);
    free(d.sets);
    if (rc)
        free(out);
    else
        *ret_rows = out;
    return rc;
}
