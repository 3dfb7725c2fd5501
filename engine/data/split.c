/*
 * Which rows are held out for validation: a draw keyed by the row's index alone, so that it is the
 * same whatever the seed, and stratified by class where there are classes. What is drawn is a
 * cluster: the rows of one input, under the first of them.
 */
#include "engine/data/split.h"
#include "engine/data/split_internal.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "engine/data/label_survey.h"
#include "engine/data/row_set.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A cluster in the draw for the validation part: its rows stand in known[first, first + n). */
struct ticket {
    uint64_t label, key; /* label: hash of the class of its first row, 0 without; key: random */
    size_t row, first, n;
};

int hn_split_by_key(const void *a, const void *b) {
    const struct hn_split_row *x = a, *y = b;
    for (int i = 0; i < 2; i++)
        if (x->key[i] != y->key[i])
            return x->key[i] < y->key[i] ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int by_label_and_key(const void *a, const void *b) {
    const struct ticket *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

int hn_split_by_row(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

int hn_split_sort(const struct hn_dataset *data, struct hn_split_row **ret, struct hn_error *err) {
    struct hn_split_row *rows = hn_calloc(data->n_rows + 1, sizeof *rows);
    int rc = rows ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < data->n_rows; i++) {
        rows[i].row = i;
        rc = hn_row_key(data, i, true, rows[i].key, err);
    }
    if (!rc)
        qsort(rows, data->n_rows, sizeof *rows, hn_split_by_key);
    if (rc)
        free(rows);
    else
        *ret = rows;
    return rc;
}

size_t hn_split_end(const struct hn_split_row *rows, size_t n, size_t begin) {
    size_t end = begin + 1;
    while (
        end < n && rows[end].key[0] == rows[begin].key[0] && rows[end].key[1] == rows[begin].key[1])
        end++;
    return end;
}

int hn_split_twins(const struct hn_dataset *data, size_t *ret, struct hn_error *err) {
    struct hn_split_row *rows = NULL;
    int rc = hn_split_sort(data, &rows, err);
    *ret = 0;
    for (size_t begin = 0, end; !rc && begin < data->n_rows; begin = end) {
        end = hn_split_end(rows, data->n_rows, begin);
        *ret += end - begin > 1 ? end - begin : 0;
    }
    free(rows);
    return rc;
}

/* Numbers are spelled without quotes, whether the file has them as numbers or as texts. */
char *hn_split_label_text(const json_t *label) {
    char room[HN_LABEL_TEXT];
    double value;
    const char *text = hn_label_value(label, &value) ? hn_label_text(label, room) : NULL;
    return text ? strdup(text) : hn_json_canonical(label);
}

uint64_t hn_split_class(const struct hn_dataset *data, const struct hn_labels *labels, size_t row) {
    json_t *object = NULL;
    size_t part = hn_dataset_part(data, row);     /* each of several files gives its share */
    uint64_t hash = 14695981039346656037u + part; /* FNV-1a */
    if (data->columns != HN_ROWS_TEXT_LABEL ||
        (labels && labels->objective == HN_OBJECTIVE_VALUE) ||
        hn_dataset_row(data, row, &object, NULL))
        return part;
    char *text = hn_split_label_text(json_object_get(object, "label"));
    for (const char *s = text; s && *s; s++)
        hash = (hash ^ (unsigned char)*s) * 1099511628211u;
    free(text);
    json_decref(object);
    return hash;
}

/* How many rows each label has left for training. */
struct stock {
    const struct hn_dataset *data;
    const struct hn_labels *labels;
    size_t *left; /* [labels]; NULL: the rows have no labels */
};

/* Adds `change` to the labels of a row, each once; false: one of them would have none left. */
static bool count_labels(struct stock *s, size_t row, int change) {
    json_t *object = NULL;
    bool good = true;
    if (!s->left || hn_dataset_row(s->data, row, &object, NULL))
        return true;
    const json_t *label =
        json_object_get(object, s->data->columns == HN_ROWS_TOKENS_TAGS ? "tags" : "label");
    size_t n = json_is_array(label) ? json_array_size(label) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(label) ? json_array_get(label, i) : label;
        bool again = false, bit = false;
        int32_t number = s->labels->multi_hot ? (hn_label_bit(one, &bit) && bit ? (int32_t)i : -1)
                                              : hn_label_number(s->labels, one);
        for (size_t k = 0; !s->labels->multi_hot && k < i && !again; k++)
            again = json_equal(json_array_get(label, k), one);
        if (number < 0 || again)
            continue;
        s->left[number] += (size_t)change;
        good = good && s->left[number] > 0;
    }
    json_decref(object);
    return good;
}

/* Takes the rows of a cluster out of the training part, unless a label would have none left. */
static bool take_cluster(struct stock *s, const struct hn_split_row *rows, const struct ticket *t) {
    bool good = true;
    for (size_t i = 0; i < t->n; i++)
        good = count_labels(s, rows[t->first + i].row, -1) && good;
    for (size_t i = 0; !good && i < t->n; i++)
        count_labels(s, rows[t->first + i].row, 1);
    return good;
}

static size_t make_tickets(const struct hn_dataset *data, const struct hn_labels *labels,
    const struct hn_split_row *rows, struct ticket *tickets) {
    size_t n = 0;
    for (size_t begin = 0, end; begin < data->n_rows; begin = end, n++) {
        size_t first = rows[begin].row; /* of equal keys the rows stand in order */
        end = hn_split_end(rows, data->n_rows, begin);
        tickets[n] = (struct ticket){hn_split_class(data, labels, first),
            hn_random_u64(0, HN_PURPOSE_SPLIT, 0, first), first, begin, end - begin};
    }
    qsort(tickets, n, sizeof *tickets, by_label_and_key);
    return n;
}

/* Each class gives its share; what rounding or a label's last row leaves over is carried to the
 * next class. A cluster that is larger than what is still owed stays in training. */
static size_t draw(struct stock *s, const struct hn_split_row *rows, const struct ticket *tickets,
    size_t n, double fraction, size_t *out) {
    size_t count = 0;
    double owed = 0;
    for (size_t begin = 0, end; begin < n; begin = end) {
        size_t size = 0, taken = 0;
        for (end = begin; end < n && tickets[end].label == tickets[begin].label; end++)
            size += tickets[end].n;
        owed += fraction * (double)size;
        size_t share = owed > 0 ? (size_t)floor(owed + 0.5) : 0;
        for (size_t i = begin; i < end && taken < share; i++) {
            if (tickets[i].n > share - taken || count + tickets[i].n >= s->data->n_rows ||
                !take_cluster(s, rows, &tickets[i]))
                continue;
            for (size_t k = 0; k < tickets[i].n; k++)
                out[count++] = rows[tickets[i].first + k].row;
            taken += tickets[i].n;
        }
        owed -= (double)taken;
    }
    return count;
}

/* Where no cluster is as small as what is owed: the smallest that can be spared, up to half of all
 * rows. */
static size_t hold_least(struct stock *s, const struct hn_split_row *rows,
    const struct ticket *tickets, size_t n, size_t *out) {
    for (size_t most = 1, next; most && 2 * most <= s->data->n_rows; most = next) {
        next = 0;
        for (size_t i = 0; i < n; i++) {
            if (tickets[i].n > most && (!next || tickets[i].n < next))
                next = tickets[i].n;
            if (tickets[i].n != most || !take_cluster(s, rows, &tickets[i]))
                continue;
            for (size_t k = 0; k < most; k++)
                out[k] = rows[tickets[i].first + k].row;
            return most;
        }
    }
    return 0;
}

int hn_split_validation(const struct hn_dataset *data, const struct hn_labels *labels,
    double fraction, size_t **ret_rows, size_t *ret_n, struct hn_error *err) {
    size_t n = data->n_rows, count = 0;
    bool labelled = labels && labels->names;
    if (n < 2)
        return hn_fail(
            err, HN_E_DATASET_INVALID, "one row cannot be split into training and validation rows");
    struct hn_split_row *rows = NULL;
    int rc = hn_split_sort(data, &rows, err);
    if (rc)
        return rc;
    struct ticket *tickets = hn_calloc(n, sizeof *tickets);
    size_t *held = hn_calloc(n, sizeof *held);
    struct stock stock = {data, labels,
        labelled ? hn_calloc(json_array_size(labels->names) + 1, sizeof *stock.left) : NULL};
    if (!tickets || !held || (labelled && !stock.left))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n; i++)
        count_labels(&stock, i, 1);
    size_t clusters = rc ? 0 : make_tickets(data, labels, rows, tickets);
    if (!rc)
        count = draw(&stock, rows, tickets, clusters, fraction, held);
    if (!rc && !count)
        count = hold_least(&stock, rows, tickets, clusters, held);
    if (count)
        qsort(held, count, sizeof *held, hn_split_by_row);
    free(rows);
    free(tickets);
    free(stock.left);
    if (rc) {
        free(held);
        return rc;
    }
    *ret_rows = held;
    *ret_n = count;
    return 0;
}
