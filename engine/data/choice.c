/* See choice.h. Draws are keyed by the row's place in the data, so that they do not depend on what
 * else is left out. */
#include "engine/data/choice.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "engine/data/diverse.h"
#include "engine/data/split_internal.h"
#include "engine/limits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int refuse(struct hn_error *err, const char *field, const char *hint) {
    hn_error_field(err, "rows%s%s", *field ? "." : "", field);
    hn_error_hint(err, "%s", hint);
    return HN_E_INVALID_FIELD;
}

/* Digits at *text, which is moved behind them; false: none, or too many. */
static bool read_number(const char **text, uint64_t *ret) {
    size_t digits = strspn(*text, "0123456789");
    if (!digits || digits > 10)
        return false;
    *ret = strtoull(*text, NULL, 10);
    *text += digits;
    return true;
}

static bool skip(const char **text, char c) {
    bool found = **text == c;
    *text += found;
    return found;
}

bool hn_lines_read(const json_t *entry, struct hn_lines *ret) {
    const char *text = json_string_value(entry);
    struct hn_lines l = {0};
    if (json_is_integer(entry) && json_integer_value(entry) > 0) {
        l.first = l.last = (uint64_t)json_integer_value(entry);
    } else {
        if (!text || json_string_length(entry) != strlen(text))
            return false;
        l.numbers = skip(&text, '#');
        if (!read_number(&text, &l.first))
            return false;
        if (!l.numbers && skip(&text, ':')) {
            l.part = l.first - 1; /* 0 becomes more than there are */
            l.numbers = skip(&text, '#');
            if (!read_number(&text, &l.first))
                return false;
        }
        l.last = l.first;
        if ((skip(&text, '-') && !read_number(&text, &l.last)) || *text)
            return false;
    }
    *ret = l;
    return l.first >= 1 && l.first <= l.last && l.part < HN_DATASETS_MAX;
}

void hn_lines_rows(const struct hn_lines *lines, const struct hn_dataset *data, size_t *ret_begin,
    size_t *ret_end) {
    size_t n = data->n_rows;
    if (lines->numbers) {
        *ret_begin = lines->first - 1 < n ? (size_t)lines->first - 1 : n;
        *ret_end = lines->last < n ? (size_t)lines->last : n;
    } else {
        *ret_begin = hn_dataset_row_from(data, lines->first);
        *ret_end = hn_dataset_row_from(data, lines->last + 1);
    }
}

static int check_exclude(const json_t *list, struct hn_error *err) {
    static const char hint[] = "for example [12, \"20-30\"], \"2:7\" for line 7 of the second "
                               "data set, or \"#7\" for its seventh row";
    struct hn_lines lines;
    if (!json_is_array(list)) {
        hn_fail(err, HN_E_INVALID_FIELD, "rows.exclude must be a list of lines");
        return refuse(err, "exclude", hint);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (hn_lines_read(json_array_get(list, i), &lines))
            continue;
        hn_fail(err, HN_E_INVALID_FIELD, "rows.exclude[%zu] is no line and no range of lines", i);
        hn_error_field(err, "rows.exclude[%zu]", i);
        hn_error_hint(err, "%s", hint);
        return HN_E_INVALID_FIELD;
    }
    return 0;
}

static int read_share(const json_t *json, struct hn_row_choice *c, struct hn_error *err) {
    bool given = json_is_number(json_object_get(json, "share"));
    int rc = hn_json_number(json, "share", 0, 1, &c->share, err);
    if (!rc && given && !(c->share > 0)) {
        hn_fail(err, HN_E_INVALID_FIELD, "rows.share must be above 0 and at most 1");
        return refuse(err, "share", "for example 0.25: a quarter of the training rows");
    }
    if (!rc && given && c->count) {
        hn_fail(err, HN_E_INVALID_FIELD, "rows has both a share and a count");
        return refuse(err, "count", "give one of them");
    }
    return rc;
}

int hn_row_choice_read(struct hn_row_choice *ret, const json_t *json, struct hn_error *err) {
    static const char *const known[] = {
        "exclude", "random_out", "share", "count", "seed", "diverse", NULL};
    struct hn_row_choice c = {.share = 1};
    *ret = c;
    if (!json || json_is_null(json) || (json_is_object(json) && !json_object_size(json)))
        return 0;
    if (!json_is_object(json)) {
        hn_fail(err, HN_E_INVALID_FIELD, "rows must be an object");
        return refuse(err, "", "for example {\"share\": 0.5, \"seed\": 1}");
    }
    c.json = json;
    c.exclude = json_object_get(json, "exclude");
    if (json_is_null(c.exclude))
        c.exclude = NULL;
    int rc = hn_json_known(json, known, "rows.", err);
    if (rc)
        return rc;
    if ((rc = hn_json_int(json, "random_out", 0, INT64_MAX, &c.random_out, err)) ||
        (rc = hn_json_int(json, "count", 1, INT64_MAX, &c.count, err)) ||
        (rc = hn_json_int(json, "seed", 0, INT64_MAX, &c.seed, err)) ||
        (rc = hn_json_bool(json, "diverse", &c.diverse, err)) || (rc = read_share(json, &c, err))) {
        if (err && strncmp(err->field, "rows", 4) != 0)
            hn_error_inside(err, "rows");
        return rc;
    }
    rc = c.exclude ? check_exclude(c.exclude, err) : 0;
    if (!rc && c.diverse && !c.count && !json_is_number(json_object_get(json, "share"))) {
        hn_fail(err, HN_E_INVALID_FIELD, "rows.diverse says neither a share nor a count");
        rc = refuse(err, "diverse", "{\"share\": 0.5, \"diverse\": true}");
    }
    if (!rc)
        *ret = c;
    return rc;
}

static int by_lines(const void *a, const void *b) {
    const struct hn_lines *x = a, *y = b;
    if (x->numbers != y->numbers)
        return x->numbers ? 1 : -1;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return (x->last > y->last) - (x->last < y->last);
}

static int compare_line(const struct hn_lines *l, const struct hn_lines *one) {
    if (l->numbers != one->numbers)
        return l->numbers ? 1 : -1;
    if (l->part != one->part)
        return l->part < one->part ? -1 : 1;
    return l->last < one->first ? -1 : l->first > one->first;
}

/* The sorted ranges with those that overlap made into one; `entries`: how many went into each. */
static size_t merge(struct hn_lines *lines, size_t n, uint64_t *entries) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct hn_lines *last = kept ? &lines[kept - 1] : NULL;
        if (last && last->numbers == lines[i].numbers && last->part == lines[i].part &&
            lines[i].first <= last->last) {
            last->last = lines[i].last > last->last ? lines[i].last : last->last;
            entries[kept - 1]++;
        } else {
            entries[kept] = 1;
            lines[kept++] = lines[i];
        }
    }
    return kept;
}

/* The range that the one line, or row, is in, or n. */
static size_t find_range(const struct hn_lines *lines, size_t n, const struct hn_lines *one) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_line(&lines[middle], one);
        if (!order)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return n;
}

int hn_row_choice_exclude(const struct hn_row_choice *choice, const struct hn_dataset *data,
    size_t *rows, size_t *n, struct hn_left_out *out, struct hn_error *err) {
    size_t count = json_array_size(choice->exclude), kept = 0;
    if (!count)
        return 0;
    struct hn_lines *lines = hn_calloc(count, sizeof *lines);
    uint64_t *entries = hn_calloc(count, sizeof *entries);
    int rc = lines && entries ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < count; i++)
        if (!hn_lines_read(json_array_get(choice->exclude, i), &lines[i]))
            rc = check_exclude(choice->exclude, err);
    if (!rc) {
        qsort(lines, count, sizeof *lines, by_lines);
        count = merge(lines, count, entries);
    }
    for (size_t i = 0; !rc && i < *n; i++) {
        size_t part = hn_dataset_part(data, rows[i]), line = data->lines[rows[i]],
               number = rows[i] - (part ? data->more[part - 1].first : 0) + 1;
        const struct hn_lines by[] = {{part, line, line, false}, {part, number, number, true}};
        size_t hit[] = {find_range(lines, count, &by[0]), find_range(lines, count, &by[1])};
        for (size_t k = 0; k < 2; k++)
            if (hit[k] < count)
                entries[hit[k]] = 0; /* it had an effect */
        if (hit[0] == count && hit[1] == count)
            rows[kept++] = rows[i];
    }
    if (!rc && *n && !kept) {
        hn_fail(err, HN_E_INVALID_FIELD, "rows.exclude has all %zu training rows", *n);
        rc = refuse(err, "exclude", "leave some of them; rows that are held out do not count");
    }
    for (size_t i = 0; !rc && i < count; i++)
        out->idle += entries[i];
    if (!rc) {
        out->excluded = *n - kept;
        *n = kept;
    }
    free(entries);
    free(lines);
    return rc;
}

/* A row in the order in which rows are taken. */
struct ticket {
    uint64_t label, key;
    size_t row, rank, size; /* rank: among the `size` rows of its class */
};

static int by_class(const void *a, const void *b) {
    const struct ticket *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* By (rank + 1/2) / size: so the first rows of the order are of every class as many as its share
 * is, however many rows are taken. */
static int by_place(const void *a, const void *b) {
    const struct ticket *x = a, *y = b;
    double p = ((double)x->rank + 0.5) / (double)x->size,
           q = ((double)y->rank + 0.5) / (double)y->size;
    return p < q ? -1 : p > q ? 1 : by_class(a, b);
}

static void rank(struct ticket *tickets, size_t n) {
    qsort(tickets, n, sizeof *tickets, by_class);
    for (size_t begin = 0, end; begin < n; begin = end) {
        for (end = begin; end < n && tickets[end].label == tickets[begin].label; end++)
            tickets[end].rank = end - begin;
        for (size_t i = begin; i < end; i++)
            tickets[i].size = end - begin;
    }
    qsort(tickets, n, sizeof *tickets, by_place);
}

enum { OUT, SHARE }; /* draws of one seed */

/* Keys by what is new in a row instead of by chance. */
static int order_diverse(
    const struct hn_dataset *data, struct ticket *tickets, size_t n, struct hn_error *err) {
    size_t *rows = hn_calloc(n, sizeof *rows);
    uint64_t *classes = hn_calloc(n, sizeof *classes), *places = hn_calloc(n, sizeof *places);
    int rc = rows && classes && places ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n; i++) {
        rows[i] = tickets[i].row;
        classes[i] = tickets[i].label;
    }
    if (!rc && (rc = hn_diverse_order(data, rows, classes, n, places, err)) == HN_E_INVALID_FIELD)
        refuse(err, "diverse", "take a share at random, or a smaller data set");
    for (size_t i = 0; !rc && i < n; i++)
        tickets[i].key = places[i];
    free(rows);
    free(classes);
    free(places);
    return rc;
}

/* The first `keep` of the rows in their order. `draw` tells draws of one seed apart. */
static int keep_rows(const struct hn_row_choice *choice, uint64_t draw,
    const struct hn_dataset *data, const struct hn_labels *labels, size_t *rows, size_t *n,
    size_t keep, struct hn_error *err) {
    struct ticket *tickets = hn_calloc(*n, sizeof *tickets);
    if (!tickets)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < *n; i++)
        tickets[i] = (struct ticket){.label = labels ? hn_split_class(data, labels, rows[i]) : 0,
            .key = hn_random_u64((uint64_t)choice->seed, HN_PURPOSE_ROWS, draw, rows[i]),
            .row = rows[i]};
    int rc = choice->diverse && draw == SHARE ? order_diverse(data, tickets, *n, err) : 0;
    if (!rc) {
        rank(tickets, *n);
        for (size_t i = 0; i < keep; i++)
            rows[i] = tickets[i].row;
        qsort(rows, keep, sizeof *rows, hn_split_by_row);
        *n = keep;
    }
    free(tickets);
    return rc;
}

/* At least one row has to stay. */
static int check_left(int64_t out, size_t n, const char *field, bool all, struct hn_error *err) {
    if (out < 0 || (uint64_t)out < n + all)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD, "rows.%s is %lld, of %zu training row%s", field,
        (long long)out, n, n == 1 ? "" : "s");
    return refuse(err, field, "give a smaller number; rows that are held out do not count");
}

int hn_row_choice_draw(const struct hn_row_choice *choice, const struct hn_dataset *data,
    const struct hn_labels *labels, size_t *rows, size_t *n, struct hn_left_out *out,
    struct hn_error *err) {
    int rc = 0;
    if (choice->random_out) {
        rc = check_left(choice->random_out, *n, "random_out", false, err);
        if (!rc)
            rc = keep_rows(choice, OUT, data, NULL, rows, n, *n - (size_t)choice->random_out, err);
        out->random = rc ? 0 : (uint64_t)choice->random_out;
    }
    if (!rc && choice->count)
        rc = check_left(choice->count, *n, "count", true, err);
    size_t keep =
        choice->count ? (size_t)choice->count : (size_t)floor(choice->share * (double)*n + 0.5);
    keep = keep < 1 ? 1 : keep;
    if (!rc && keep < *n) {
        out->unchosen = *n - keep;
        rc = keep_rows(choice, SHARE, data, labels, rows, n, keep, err);
    }
    return rc;
}

double hn_row_choice_estimate(const struct hn_row_choice *choice, double rows) {
    struct hn_lines lines;
    for (size_t i = 0; i < json_array_size(choice->exclude); i++)
        if (hn_lines_read(json_array_get(choice->exclude, i), &lines))
            rows -= (double)(lines.last - lines.first) + 1;
    rows -= (double)choice->random_out;
    double kept = choice->count ? (double)choice->count : choice->share * rows;
    kept = kept < rows ? kept : rows;
    return kept > 1 ? kept : 1;
}
