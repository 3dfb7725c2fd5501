/*
 * examples: the training rows of a run with what they cost at every epoch, by what is to be looked
 * at in them; or the rows of one step.
 */
#include "engine/base/json.h"
#include "engine/base/pulse.h"
#include "engine/base/utf8.h"
#include "engine/helper/call.h"
#include "engine/model/objective.h"
#include "engine/run/order.h"
#include "engine/run/row_file.h"
#include "engine/tune/dynamics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_MAX 1000

/* A row of the data: its examples (windows, copies by weight) follow each other in the file. */
struct listed {
    size_t first, n;
    double score, other; /* the largest score comes first, of equals the largest `other` */
};

struct listing {
    struct hn_spec spec;
    struct hn_dataset data;
    struct hn_row_history history;
    struct hn_dynamics_point *points; /* [epochs] of the row that is looked at */
    struct listed *rows;              /* [n] */
    size_t n, epochs;                 /* epochs: kept ones that are looked at */
    const struct order *order;
    int64_t after, limit, step;
};

/* How rows are ordered. `score` gives NaN for rows that are not listed. */
struct order {
    const char *name;
    unsigned objectives; /* bits of those that have what it needs */
    double (*score)(const struct hn_dynamics *d);
    double (*other)(const struct hn_dynamics *d);
    bool ascending; /* the least score first */
    void (*why)(const struct listing *l, const struct hn_dynamics *d, int32_t predicted,
        struct hn_buf *out);
};

static double area_of(const struct hn_dynamics *d) {
    return isfinite(d->area) ? d->area : d->p;
}

static double loss_of(const struct hn_dynamics *d) {
    return d->loss;
}

static double forgotten_of(const struct hn_dynamics *d) {
    return d->forgotten ? (double)d->forgotten : (double)NAN;
}

static double learnt_of(const struct hn_dynamics *d) {
    return d->learnt > 1 ? (double)d->learnt : (double)NAN;
}

static double before_of(const struct hn_dynamics *d) {
    return d->before;
}

static double none_of(const struct hn_dynamics *d) {
    (void)d;
    return 0;
}

/* Of a number that stands in a file. */
static const char *label_name(const struct listing *l, int32_t number) {
    return number >= 0 && (size_t)number < hn_labels_outputs(&l->spec.labels)
        ? hn_label_name(&l->spec.labels, (size_t)number)
        : "";
}

static void why_mislabelled(
    const struct listing *l, const struct hn_dynamics *d, int32_t predicted, struct hn_buf *out) {
    if (l->history.layout.objective != HN_OBJECTIVE_CLASSES) {
        hn_buf_printf(out,
            "its answer's tokens had a probability of %.2g on average over %zu epochs (loss %.3g)",
            d->p, d->epochs, d->loss);
        return;
    }
    hn_buf_printf(out,
        "the given label was behind another one in %zu of %zu epochs, by a mean margin of %.3g "
        "(probability %.2g); last predicted: %.100s",
        d->epochs - d->right, d->epochs, d->area, d->p, label_name(l, predicted));
}

static void why_hard(
    const struct listing *l, const struct hn_dynamics *d, int32_t predicted, struct hn_buf *out) {
    (void)l;
    (void)predicted;
    hn_buf_printf(out, "a mean loss of %.3g over %zu epochs: %.3g at first, %.3g at last", d->loss,
        d->epochs, d->first, d->last);
}

static void why_forgotten(
    const struct listing *l, const struct hn_dynamics *d, int32_t predicted, struct hn_buf *out) {
    (void)l;
    (void)predicted;
    hn_buf_printf(out, "right and then wrong again %zu time%s in %zu epochs", d->forgotten,
        d->forgotten == 1 ? "" : "s", d->epochs);
}

static void why_memorised(
    const struct listing *l, const struct hn_dynamics *d, int32_t predicted, struct hn_buf *out) {
    (void)l;
    (void)predicted;
    hn_buf_printf(out,
        "known only from epoch %zu of %zu on, and then fully: a loss of %.3g before, %.2g at last",
        d->learnt, d->epochs, d->before, d->last);
}

#define OF(NAME) (1u << HN_OBJECTIVE_##NAME)
static const struct order orders[] = {
    {"mislabelled", OF(CLASSES) | OF(TOKENS), area_of, none_of, true, why_mislabelled},
    {"hard", ~0u, loss_of, none_of, false, why_hard},
    {"forgotten", OF(CLASSES), forgotten_of, loss_of, false, why_forgotten},
    {"memorised", OF(CLASSES) | OF(TOKENS), learnt_of, before_of, false, why_memorised},
    {"line", ~0u, none_of, none_of, false, why_hard},
};
#undef OF

static int refuse(struct hn_error *err, const char *field, const char *hint) {
    hn_error_field(err, "%s", field);
    hn_error_hint(err, "%s", hint);
    return HN_E_INVALID_FIELD;
}

static int read_order(struct listing *l, const json_t *params, struct hn_error *err) {
    const char *name = "mislabelled";
    int rc = hn_json_string(params, "sort", &name, err);
    enum hn_objective objective = l->history.layout.objective;
    bool given = !rc && json_is_string(json_object_get(params, "sort"));
    if (!given && objective != HN_OBJECTIVE_CLASSES)
        name = "hard";
    for (size_t i = 0; !rc && i < sizeof orders / sizeof orders[0]; i++)
        if (strcmp(orders[i].name, name) == 0)
            l->order = &orders[i];
    if (rc || (l->order && l->order->objectives & 1u << objective))
        return rc;
    if (!l->order)
        hn_fail(err, HN_E_INVALID_FIELD,
            "sort is mislabelled, hard, forgotten, memorised or line, not \"%.40s\"", name);
    else
        hn_fail(err, HN_E_INVALID_FIELD, "rows of %s have no order \"%s\"",
            hn_objectives[objective].name, name);
    return refuse(err, "sort", "sort=hard and sort=line are there for every task");
}

/* Kept epochs that are looked at: up to the one that is asked for. */
static int read_epoch(struct listing *l, const json_t *params, struct hn_error *err) {
    const struct hn_row_layout *y = &l->history.layout;
    size_t epoch = hn_row_layout_epoch(y), all = (y->steps + epoch - 1) / epoch;
    int64_t wanted = (int64_t)all;
    int rc = hn_json_int(params, "epoch", 1, (int64_t)all, &wanted, err);
    l->epochs = (size_t)(wanted - 1) / y->every + 1;
    l->epochs = l->epochs < y->epochs ? l->epochs : y->epochs;
    return rc;
}

static int read_params(struct listing *l, const json_t *params, struct hn_error *err) {
    l->limit = 20;
    int rc = hn_json_int(params, "after", 0, INT64_MAX, &l->after, err);
    if (!rc)
        rc = hn_json_int(params, "limit", 1, LIMIT_MAX, &l->limit, err);
    if (!rc)
        rc = hn_json_int(params, "step", 1, (int64_t)l->history.layout.steps, &l->step, err);
    if (!rc)
        rc = read_order(l, params, err);
    return rc ? rc : read_epoch(l, params, err);
}

/* The row at kept epoch k: means over its examples. Label that was predicted last in *predicted. */
static struct hn_dynamics_point point_of(
    const struct listing *l, const struct listed *row, size_t k, int32_t *predicted) {
    enum hn_objective objective = l->history.layout.objective;
    struct hn_dynamics_point out = {.margin = (double)NAN};
    double loss = 0, margin = 0, p = 0;
    size_t n = 0;
    for (size_t i = row->first; i < row->first + row->n; i++) {
        struct hn_row_record r = hn_row_history_get(&l->history, k, i);
        if (!r.trained)
            continue;
        n++;
        loss += (double)r.loss;
        margin += (double)r.choice.margin;
        p += (double)r.choice.p;
        *predicted = r.choice.predicted;
    }
    if (!n)
        return out;
    out.trained = true;
    out.loss = loss / (double)n;
    out.p = objective == HN_OBJECTIVE_CLASSES ? p / (double)n : exp(-out.loss);
    if (objective == HN_OBJECTIVE_CLASSES)
        out.margin = margin / (double)n;
    return out;
}

static void look_at(const struct listing *l, const struct listed *row, struct hn_dynamics *ret,
    int32_t *predicted) {
    *predicted = 0;
    for (size_t k = 0; k < l->epochs; k++)
        l->points[k] = point_of(l, row, k, predicted);
    hn_dynamics_of(l->points, l->epochs, ret);
}

/* Highest first; what is equal by its place in the data. */
static int by_score(const void *a, const void *b) {
    const struct listed *x = a, *y = b;
    if (x->score > y->score || x->score < y->score)
        return x->score < y->score ? 1 : -1;
    if (x->other > y->other || x->other < y->other)
        return x->other < y->other ? 1 : -1;
    return (x->first > y->first) - (x->first < y->first);
}

/* All rows of the data that the run has trained on, with their scores, in order. */
static void rank(struct listing *l) {
    size_t examples = l->history.layout.n_rows;
    for (size_t i = 0, end; i < examples; i = end) {
        struct listed row = {.first = i};
        struct hn_dynamics d;
        int32_t predicted;
        size_t number = hn_row_history_row(&l->history, i);
        for (end = i + 1; end < examples && hn_row_history_row(&l->history, end) == number; end++)
            ;
        row.n = end - i;
        hn_pulse();
        look_at(l, &row, &d, &predicted);
        row.score = d.epochs ? l->order->score(&d) : (double)NAN;
        row.score = l->order->ascending ? -row.score : row.score;
        row.other = l->order->other(&d);
        if (!isnan(row.score))
            l->rows[l->n++] = row;
    }
    qsort(l->rows, l->n, sizeof *l->rows, by_score);
}

/* The rows of a step, the largest loss first. */
static int list_step(struct listing *l, struct hn_error *err) {
    const struct hn_row_layout *y = &l->history.layout;
    size_t steps = hn_row_layout_epoch(y), step = (size_t)l->step - 1, epoch = step / steps,
           first = step % steps * y->batch_size;
    if (epoch % y->every || epoch / y->every >= y->epochs) {
        hn_fail(err, HN_E_CONFLICT,
            "of epoch %zu nothing is kept: of so many rows only every %zu. "
            "epoch is",
            epoch + 1, y->every);
        hn_error_field(err, "step");
        return HN_E_CONFLICT;
    }
    uint32_t *order = hn_calloc(y->n_rows, sizeof *order);
    if (!order)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_order_fill(order, y->n_rows, y->seed, epoch);
    for (size_t i = first; i < y->n_rows && i < first + y->batch_size; i++) {
        struct hn_row_record r = hn_row_history_get(&l->history, epoch / y->every, order[i]);
        if (r.trained)
            l->rows[l->n++] = (struct listed){order[i], 1, (double)r.loss, 0};
    }
    free(order);
    qsort(l->rows, l->n, sizeof *l->rows, by_score);
    l->epochs = epoch / y->every + 1;
    if (l->n)
        return 0;
    hn_fail(err, HN_E_CONFLICT, "step %lld has not been trained yet", (long long)l->step);
    hn_error_field(err, "step");
    return HN_E_CONFLICT;
}

static json_t *series(const struct listing *l, bool margins) {
    json_t *list = json_array();
    for (size_t k = 0; k < l->epochs; k++) {
        double value = margins ? l->points[k].margin : l->points[k].loss;
        json_array_append_new(list,
            l->points[k].trained && isfinite(value) ? hn_json_float((float)value) : json_null());
    }
    return list;
}

static int tell_row(
    const struct listing *l, const struct listed *row, json_t *list, struct hn_error *err) {
    const struct hn_row_layout *y = &l->history.layout;
    size_t number = hn_row_history_row(&l->history, row->first);
    bool classes = y->objective == HN_OBJECTIVE_CLASSES;
    struct hn_dynamics d;
    struct hn_buf why = {0};
    int32_t predicted;
    json_t *object = NULL, *out;
    look_at(l, row, &d, &predicted);
    if (number >= l->data.n_rows)
        return hn_fail(err, HN_E_CONFLICT, "the data of this run has no row %zu", number + 1);
    int rc = hn_dataset_row(&l->data, number, &object, err);
    if (rc)
        return rc;
    l->order->why(l, &d, predicted, &why);
    double score = l->step ? row->score : l->order->ascending ? -row->score : row->score;
    out = HN_JSON_OBJECT(
        {"line", json_integer((json_int_t)hn_row_history_line(&l->history, row->first))},
        {"predicted", classes ? json_string(label_name(l, predicted)) : json_null()},
        {"losses", series(l, false)}, {"margins", classes ? series(l, true) : json_null()},
        {"p",
            y->objective != HN_OBJECTIVE_VALUE && isfinite(d.p) ? hn_json_float((float)d.p)
                                                                : json_null()},
        {"score",
            l->order->score == none_of && !l->step ? json_null() : hn_json_float((float)score)},
        {"why", hn_json_text(why.data ? why.data : "", why.size)});
    if (out && l->data.n_more)
        json_object_set_new(
            out, "part", json_integer((json_int_t)hn_dataset_part(&l->data, number) + 1));
    if (out)
        hn_helper_tell_row(object, out);
    hn_buf_free(&why);
    json_decref(object);
    return out && !json_array_append_new(list, out) ? 0
                                                    : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static int tell_page(const struct listing *l, json_t **ret, struct hn_error *err) {
    json_t *list = json_array();
    size_t at = (size_t)l->after;
    int rc = list ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (; !rc && at < l->n && at - (size_t)l->after < (size_t)l->limit; at++)
        rc = tell_row(l, &l->rows[at], list, err);
    if (rc) {
        json_decref(list);
        return rc;
    }
    *ret = HN_JSON_OBJECT({"data", list},
        {"next", at < l->n ? json_integer((json_int_t)at) : json_null()},
        {"rows", json_integer((json_int_t)l->n)},
        {"every", json_integer((json_int_t)l->history.layout.every)});
    return *ret ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static int open_listing(struct listing *l, const char *dir, struct hn_error *err) {
    char path[4096];
    json_t *json = NULL;
    snprintf(path, sizeof path, "%s/spec.json", dir);
    int rc = hn_json_load(path, 16 << 20, &json, err);
    if (!rc)
        rc = hn_spec_read(&l->spec, json, err);
    snprintf(path, sizeof path, "%s/" HN_ROWS_FILE, dir);
    if (!rc && hn_row_history_open(&l->history, path, NULL)) {
        rc = hn_fail(err, HN_E_CONFLICT, "this run tells nothing of its training rows");
        hn_error_hint(err,
            "runs of earlier versions, with more rows than can be kept, or before their first "
            "step have nothing");
    }
    if (!rc && l->history.layout.objective != l->spec.labels.objective)
        rc = hn_fail(err, HN_E_CONFLICT, "%s is of another run", path);
    return rc;
}

static int make_room(struct listing *l, struct hn_error *err) {
    l->points = hn_calloc(l->history.layout.epochs, sizeof *l->points);
    l->rows = hn_calloc(l->history.layout.n_rows, sizeof *l->rows);
    return l->points && l->rows ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

int hn_helper_examples(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    struct listing *l = hn_calloc(1, sizeof *l);
    const char *dir = NULL;
    (void)call;
    if (!l)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = hn_json_string(params, "run_dir", &dir, err);
    if (!rc && !dir)
        rc = hn_fail(err, HN_E_MISSING_FIELD, "run_dir is missing");
    if (!rc)
        rc = open_listing(l, dir, err);
    if (!rc)
        rc = read_params(l, params, err);
    if (!rc)
        rc = make_room(l, err);
    if (!rc && l->step)
        rc = list_step(l, err);
    else if (!rc)
        rank(l);
    if (!rc)
        rc = hn_run_open_training(&l->data, dir, &l->spec, err);
    if (!rc)
        rc = tell_page(l, ret, err);
    free(l->points);
    free(l->rows);
    hn_dataset_close(&l->data);
    hn_row_history_close(&l->history);
    hn_spec_finish(&l->spec);
    free(l);
    return rc;
}
