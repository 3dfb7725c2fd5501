/*
 * compare: runs that were measured on the same rows, in pairs, by their score files; or the folds
 * of one experiment, together.
 *
 * Right or wrong is tested by McNemar's exact test, what is a mean over rows by Wilcoxon's
 * signed-rank test, and what is neither by a paired bootstrap, which gives every interval as well.
 * One seed draws the same rows for every set, so a pair's replicates are the differences of its
 * sets'.
 */
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/base/pulse.h"
#include "engine/eval/fold_scores.h"
#include "engine/eval/score_metrics.h"
#include "engine/helper/call.h"
#include "engine/tune/label_errors.h"
#include "engine/tune/stats.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETS_MAX 100
#define REPLICATES 2000
#define LEVEL 0.05

struct score_set {
    const char *name;
    struct hn_scores scores;
    double drawn[REPLICATES + 1]; /* the metric, in the order in which it was asked for */
    struct hn_interval value;
};

struct comparison {
    const struct hn_score_metric *metric;
    struct score_set *sets; /* [n] */
    size_t n;
    int64_t seed;
    struct hn_label_counts *counts; /* [labels] */
};

/* What the bootstrap asks for: a set's metric, or what was drawn of two sets. */
struct asked {
    struct comparison *c;
    struct score_set *a, *b;
    size_t next;
};

static double draw_one(void *context, const size_t *rows, size_t n) {
    struct asked *q = context;
    hn_pulse();
    double value = q->c->metric->of(q->c->metric, &q->a->scores, rows, n, q->c->counts);
    if (q->next <= REPLICATES)
        q->a->drawn[q->next++] = value;
    return value;
}

static double draw_pair(void *context, const size_t *rows, size_t n) {
    struct asked *q = context;
    (void)rows;
    (void)n;
    size_t i = q->next < REPLICATES ? q->next++ : REPLICATES;
    return q->a->drawn[i] - q->b->drawn[i];
}

static int measure(struct comparison *c, struct score_set *set, struct hn_error *err) {
    struct asked q = {.c = c, .a = set};
    struct hn_bootstrap_options o = {.seed = (uint64_t)c->seed, .replicates = REPLICATES};
    return hn_bootstrap(draw_one, &q, set->scores.n, &o, &set->value, err);
}

/* Of equal seeds, so that replicates go together. */
static int measure_pair(struct comparison *c, struct score_set *a, struct score_set *b,
    struct hn_interval *ret, struct hn_error *err) {
    struct asked q = {.c = c, .a = a, .b = b};
    struct hn_bootstrap_options o = {.seed = (uint64_t)c->seed, .replicates = REPLICATES};
    return hn_bootstrap(draw_pair, &q, 1, &o, ret, err);
}

static int test_right(const struct score_set *a, const struct score_set *b, double *ret_p) {
    uint64_t only_a = 0, only_b = 0;
    for (size_t i = 0; i < a->scores.n; i++) {
        only_a += a->scores.rows[i].right && !b->scores.rows[i].right;
        only_b += b->scores.rows[i].right && !a->scores.rows[i].right;
    }
    *ret_p = hn_mcnemar(only_a, only_b);
    return 0;
}

static int test_mean(const struct comparison *c, const struct score_set *a,
    const struct score_set *b, double *ret_p, struct hn_error *err) {
    double *differences = hn_calloc(a->scores.n, sizeof *differences);
    struct hn_wilcoxon w = {0};
    if (!differences)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < a->scores.n; i++)
        differences[i] = c->metric->row(&a->scores.rows[i]) - c->metric->row(&b->scores.rows[i]);
    int rc = hn_wilcoxon(differences, a->scores.n, &w, err);
    *ret_p = w.p;
    free(differences);
    return rc;
}

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *interval(const struct hn_interval *i) {
    return json_pack("[o, o]", number(i->low), number(i->high));
}

/* One pair without its adjusted p, and its p. */
static int compare_pair(struct comparison *c, struct score_set *a, struct score_set *b,
    json_t **ret, double *ret_p, struct hn_error *err) {
    static const char *const tests[] = {[HN_SCORE_RIGHT] = "mcnemar",
        [HN_SCORE_MEAN] = "wilcoxon",
        [HN_SCORE_STATISTIC] = "bootstrap"};
    struct hn_interval difference;
    hn_pulse();
    int rc = measure_pair(c, a, b, &difference, err);
    *ret_p = rc ? (double)NAN : difference.p;
    if (!rc && c->metric->kind == HN_SCORE_RIGHT)
        rc = test_right(a, b, ret_p);
    else if (!rc && c->metric->kind == HN_SCORE_MEAN)
        rc = test_mean(c, a, b, ret_p, err);
    if (!rc)
        *ret = HN_JSON_OBJECT({"a", json_string(a->name)}, {"b", json_string(b->name)},
            {"difference", number(difference.estimate)}, {"interval", interval(&difference)},
            {"p", number(*ret_p)}, {"test", json_string(tests[c->metric->kind])});
    return rc || *ret ? rc : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static const char *verdict(const struct comparison *c, const json_t *pair, double p) {
    double difference = json_number_value(json_object_get(pair, "difference"));
    if (!(p < LEVEL) || !(difference > 0 || difference < 0))
        return "no difference shown";
    return (difference < 0) == c->metric->lower ? "better" : "worse";
}

static int compare_pairs(struct comparison *c, json_t *list, struct hn_error *err) {
    size_t n = c->n * (c->n - 1) / 2, i = 0;
    double *p = hn_calloc(n, sizeof *p);
    int rc = p ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t a = 0; !rc && a < c->n; a++)
        for (size_t b = a + 1; !rc && b < c->n; b++) {
            json_t *pair = NULL;
            rc = compare_pair(c, &c->sets[a], &c->sets[b], &pair, &p[i++], err);
            if (!rc)
                json_array_append_new(list, pair);
        }
    if (!rc)
        rc = hn_holm(p, n, err);
    for (i = 0; !rc && i < n; i++) {
        json_t *pair = json_array_get(list, i);
        json_object_set_new(pair, "p_adjusted", number(p[i]));
        json_object_set_new(pair, "verdict", json_string(verdict(c, pair, p[i])));
    }
    free(p);
    return rc;
}

/* Whether the set's rows are those of the first. */
static int check_same(
    const struct score_set *first, const struct score_set *set, struct hn_error *err) {
    const struct hn_scores *a = &first->scores, *b = &set->scores;
    if (a->objective != b->objective)
        hn_fail(err, HN_E_CONFLICT, "\"%.100s\" and \"%.100s\" are of different tasks", first->name,
            set->name);
    else if (a->n != b->n || strcmp(a->sha256, b->sha256) != 0)
        hn_fail(err, HN_E_CONFLICT,
            "\"%.100s\" and \"%.100s\" were measured on different rows (%zu and %zu of them)",
            first->name, set->name, a->n, b->n);
    else
        return 0;
    hn_error_field(err, "sets");
    hn_error_hint(err,
        "compare runs that have the same validation rows in the same order, and drop "
        "the same ones");
    return HN_E_CONFLICT;
}

static int read_metric(struct comparison *c, const json_t *params, struct hn_error *err) {
    const char *name = NULL;
    size_t labels = 0;
    for (size_t i = 0; i < c->n; i++)
        labels = c->sets[i].scores.n_labels > labels ? c->sets[i].scores.n_labels : labels;
    int rc = hn_json_string(params, "metric", &name, err);
    if (!rc)
        rc = hn_json_int(params, "seed", 0, INT64_MAX, &c->seed, err);
    if (!rc)
        rc = hn_score_metric_find(c->sets[0].scores.objective, name, &c->metric, err);
    if (!rc && !(c->counts = hn_calloc(labels, sizeof *c->counts)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    return rc;
}

static int begin_sets(
    struct comparison *c, const json_t *list, const char *name, struct hn_error *err) {
    size_t n = json_array_size(list);
    if (!n || n > SETS_MAX) {
        hn_fail(err, HN_E_INVALID_FIELD, "%s has %zu entries; 1 to %d can be compared", name, n,
            SETS_MAX);
        hn_error_field(err, "%s", name);
        return HN_E_INVALID_FIELD;
    }
    return (c->sets = hn_calloc(n, sizeof *c->sets)) ? 0
                                                     : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static int read_sets(struct comparison *c, const json_t *list, struct hn_error *err) {
    int rc = begin_sets(c, list, "sets", err);
    for (size_t i = 0; !rc && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        struct score_set *set = &c->sets[c->n];
        const char *path;
        set->name = "";
        rc = hn_helper_path(item, &path, err);
        if (!rc)
            rc = hn_json_string(item, "name", &set->name, err);
        if (!rc)
            rc = hn_scores_read(&set->scores, path, err);
        c->n += !rc;
        if (!rc)
            rc = check_same(&c->sets[0], set, err);
    }
    return rc;
}

static json_t *begin_answer(const struct comparison *c, size_t rows) {
    return HN_JSON_OBJECT({"rows", json_integer((json_int_t)rows)},
        {"metric", json_string(c->metric->name)},
        {"lower_is_better", json_boolean(c->metric->lower)});
}

static int compare_sets(
    struct comparison *c, const json_t *params, json_t **ret, struct hn_error *err) {
    json_t *results = json_array(), *pairs = json_array();
    int rc = read_sets(c, json_object_get(params, "sets"), err);
    if (!rc)
        rc = read_metric(c, params, err);
    for (size_t i = 0; !rc && i < c->n; i++) {
        struct score_set *set = &c->sets[i];
        rc = measure(c, set, err);
        if (!rc)
            json_array_append_new(results,
                HN_JSON_OBJECT({"name", json_string(set->name)},
                    {"value", number(set->value.estimate)}, {"interval", interval(&set->value)}));
    }
    if (!rc)
        rc = compare_pairs(c, pairs, err);
    if (!rc && (*ret = begin_answer(c, c->sets[0].scores.n))) {
        json_object_set(*ret, "results", results);
        json_object_set(*ret, "pairs", pairs);
    }
    json_decref(results);
    json_decref(pairs);
    return rc || *ret ? rc : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

/* Folds are of one data set: other rows each, the same labels. */
static int check_fold(const struct comparison *c, size_t fold, struct hn_error *err) {
    const struct hn_scores *b = &c->sets[fold].scores;
    for (size_t i = 0; i < fold; i++) {
        const struct hn_scores *a = &c->sets[i].scores;
        bool same = strcmp(a->sha256, b->sha256) == 0;
        if (!same && a->objective == b->objective && a->n_labels == b->n_labels)
            continue;
        hn_fail(err, HN_E_CONFLICT,
            same ? "oof[%zu] and oof[%zu] are of the same rows"
                 : "oof[%zu] and oof[%zu] are not of one data set: their labels differ",
            i, fold);
        hn_error_field(err, "oof[%zu]", fold);
        hn_error_hint(err, "give one score file of each fold");
        return HN_E_CONFLICT;
    }
    return 0;
}

static int read_folds(struct comparison *c, const json_t *list, struct hn_error *err) {
    int rc = begin_sets(c, list, "oof", err);
    for (size_t i = 0; !rc && i < json_array_size(list); i++) {
        const char *path = json_string_value(json_array_get(list, i));
        rc = path ? hn_fold_scores_read(&c->sets[i].scores, path, err)
                  : hn_fail(err, HN_E_INVALID_FIELD, "oof[%zu] is no path", i);
        c->n += !rc;
        if (!rc)
            rc = check_fold(c, i, err);
    }
    return rc;
}

/* All folds' rows as one set. */
static int pool(const struct comparison *c, struct score_set *ret, struct hn_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += c->sets[i].scores.n;
    ret->scores = c->sets[0].scores;
    ret->scores.n = 0;
    size_t labels = ret->scores.n_labels;
    bool all = true; /* have probabilities */
    for (size_t i = 0; i < c->n; i++)
        all = all && c->sets[i].scores.probabilities;
    ret->scores.probabilities = all ? hn_calloc(n * labels, sizeof(float)) : NULL;
    ret->scores.rows = hn_calloc(n, sizeof *ret->scores.rows);
    if (!ret->scores.rows || (all && !ret->scores.probabilities))
        return hn_fail(err, HN_E_INTERNAL, "out of memory for %zu rows", n);
    for (size_t i = 0; i < c->n; i++) {
        const struct hn_scores *s = &c->sets[i].scores;
        if (s->n)
            memcpy(ret->scores.rows + ret->scores.n, s->rows, s->n * sizeof *s->rows);
        if (s->n && all)
            memcpy(ret->scores.probabilities + ret->scores.n * labels, s->probabilities,
                s->n * labels * sizeof(float));
        ret->scores.n += s->n;
    }
    return 0;
}

static json_t *label(const json_t *names, int32_t number) {
    const char *name = json_string_value(json_array_get(names, (size_t)number));
    return name ? json_string(name) : json_integer(number);
}

static json_t *row_json(
    const struct hn_scores *s, const struct hn_score *row, size_t fold, const json_t *names) {
    json_t *out = HN_JSON_OBJECT({"line", json_integer(row->line)},
        {"fold", json_integer((json_int_t)fold)}, {"loss", hn_json_float(row->loss)});
    bool classes = s->objective == HN_OBJECTIVE_CLASSES,
         values = s->objective == HN_OBJECTIVE_VALUE;
    if (classes) {
        json_object_set_new(out, "label", label(names, row->label));
        json_object_set_new(out, "predicted", label(names, row->predicted));
        json_object_set_new(out, "p", hn_json_float(row->p));
    }
    if (values) {
        json_object_set_new(out, "value", hn_json_float(row->value));
        json_object_set_new(out, "truth", hn_json_float(row->truth));
    } else if (s->objective != HN_OBJECTIVE_TOKENS) {
        json_object_set_new(out, "right", json_boolean(row->right));
    }
    return out;
}

/* A row and how much speaks against it: the larger, the sooner it should be looked at. */
struct suspect {
    const struct hn_scores *scores;
    size_t row, fold;
    double score;
};

/* Of classes what the model leaves to all other labels (self-confidence, Northcutt 2021), of values
 * how far off they are, else the loss. */
static double suspicion(const struct hn_scores *s, const struct hn_score *row) {
    if (s->objective == HN_OBJECTIVE_CLASSES)
        return 1 - (double)row->p;
    if (s->objective == HN_OBJECTIVE_VALUE)
        return fabs((double)row->value - (double)row->truth);
    return (double)row->loss;
}

static int most_suspect_first(const void *a, const void *b) {
    const struct suspect *x = a, *y = b;
    if (x->score < y->score || x->score > y->score)
        return x->score < y->score ? 1 : -1;
    uint32_t left = x->scores->rows[x->row].line, right = y->scores->rows[y->row].line;
    return (left > right) - (left < right);
}

/* All rows in the order of the folds, or the most suspect first; caller frees. */
static struct suspect *list_rows(const struct comparison *c, bool sorted, size_t *ret_n) {
    size_t n = 0, all = 0;
    for (size_t i = 0; i < c->n; i++)
        all += c->sets[i].scores.n;
    struct suspect *list = hn_calloc(all, sizeof *list);
    for (size_t fold = 0; list && fold < c->n; fold++)
        for (size_t i = 0; i < c->sets[fold].scores.n; i++) {
            const struct hn_scores *s = &c->sets[fold].scores;
            list[n++] = (struct suspect){s, i, fold, suspicion(s, &s->rows[i])};
        }
    if (list && sorted)
        qsort(list, n, sizeof *list, most_suspect_first);
    *ret_n = n;
    return list;
}

static int write_rows(const struct comparison *c, const json_t *params, struct hn_error *err) {
    const json_t *names = json_object_get(params, "labels");
    const char *path = NULL;
    bool sorted = json_is_true(json_object_get(params, "suspects_first"));
    size_t n = 0;
    int rc = hn_json_string(params, "rows_to", &path, err);
    if (rc || !path)
        return rc;
    struct suspect *list = list_rows(c, sorted, &n);
    if (!list)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    FILE *f = fopen(path, "wxe");
    int number = errno;
    for (size_t i = 0; f && i < n && !rc; i++) {
        json_t *row =
            row_json(list[i].scores, &list[i].scores->rows[list[i].row], list[i].fold + 1, names);
        json_object_set_new(row, "score", hn_json_float((float)list[i].score));
        if (!row || json_dumpf(row, f, JSON_COMPACT | JSON_REAL_PRECISION(9)) ||
            putc('\n', f) == EOF)
            rc = HN_E_INTERNAL;
        number = errno;
        json_decref(row);
    }
    if (!f || fclose(f) || rc)
        rc = hn_fail_errno(err, number, "cannot write %s", path);
    free(list);
    return rc;
}

#define SUSPECTS 100 /* lines that are named in the answer itself */

/* How many labels are wrong, and the lines to look at first. */
static int tell_label_errors(
    const struct comparison *c, const struct hn_scores *all, json_t *out, struct hn_error *err) {
    if (!all->probabilities || all->n_labels < 2)
        return 0;
    struct hn_label_errors found = {0};
    int32_t *labels = hn_calloc(all->n, sizeof *labels);
    size_t n = 0;
    struct suspect *list = list_rows(c, true, &n);
    json_t *lines = json_array();
    for (size_t i = 0; labels && i < all->n; i++)
        labels[i] = all->rows[i].label;
    int rc = labels && list
        ? hn_label_errors_find(labels, all->probabilities, all->n, all->n_labels, &found, err)
        : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n && i < found.flagged && i < SUSPECTS; i++)
        json_array_append_new(lines, json_integer(list[i].scores->rows[list[i].row].line));
    if (!rc)
        json_object_set_new(out, "label_errors",
            HN_JSON_OBJECT({"flagged", json_integer((json_int_t)found.flagged)},
                {"noise_rate", number(found.noise_rate)}, {"joint_rate", number(found.joint_rate)},
                {"estimated", json_integer(llround(found.noise_rate * (double)all->n))},
                {"lines", json_incref(lines)}));
    json_decref(lines);
    hn_label_errors_finish(&found);
    free(labels);
    free(list);
    return rc;
}

/* Each fold's own value, beside that of all `n` rows. */
static int tell_folds(struct comparison *c, size_t n, json_t *out, struct hn_error *err) {
    size_t *rows = hn_calloc(n, sizeof *rows);
    json_t *list = json_array();
    for (size_t i = 0; rows && i < n; i++)
        rows[i] = i;
    for (size_t i = 0; rows && i < c->n; i++) {
        const struct hn_scores *s = &c->sets[i].scores;
        json_array_append_new(list,
            json_pack("{s:I, s:o}", "rows", (json_int_t)s->n, "value",
                number(c->metric->of(c->metric, s, rows, s->n, c->counts))));
    }
    json_object_set_new(out, "folds", list);
    int rc = rows ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(rows);
    return rc;
}

static int pool_folds(
    struct comparison *c, const json_t *params, json_t **ret, struct hn_error *err) {
    struct score_set *all = hn_calloc(1, sizeof *all);
    json_t *out = NULL;
    int rc = all ? read_folds(c, json_object_get(params, "oof"), err)
                 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = read_metric(c, params, err);
    if (!rc)
        rc = pool(c, all, err);
    if (!rc)
        rc = measure(c, all, err);
    if (!rc)
        rc = write_rows(c, params, err);
    if (!rc && (out = begin_answer(c, all->scores.n))) {
        json_object_set_new(out, "value", number(all->value.estimate));
        json_object_set_new(out, "interval", interval(&all->value));
        rc = tell_folds(c, all->scores.n, out, err);
        if (!rc)
            rc = tell_label_errors(c, &all->scores, out, err);
    }
    if (all)
        hn_scores_finish(&all->scores);
    free(all);
    if (!rc && out)
        *ret = out;
    else
        json_decref(out);
    return rc || out ? rc : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

int hn_helper_compare(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    struct comparison c = {0};
    (void)call;
    int rc = (json_object_get(params, "oof") ? pool_folds : compare_sets)(&c, params, ret, err);
    for (size_t i = 0; i < c.n; i++)
        hn_scores_finish(&c.sets[i].scores);
    free(c.sets);
    free(c.counts);
    return rc;
}
