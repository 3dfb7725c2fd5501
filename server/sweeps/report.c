/* See report.h. */
#include "server/sweeps/report.h"
#include "server/sweeps/compare.h"

#include "engine/tune/forecast.h"
#include "engine/tune/importance.h"
#include "engine/tune/stats.h"
#include "server/store/store_events.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPARED 10     /* trials beside the best that it is compared with */
#define RANGE_MAX 1000  /* steps of a run of rising learning rate */
#define RANGE_WINDOW 3  /* steps to either side that a slope is taken over */
#define EARLIER_MAX 200 /* jobs that a search begins from */

/* A report on its way. */
struct report {
    struct hn_server *server;
    const struct hn_sweep_plan *plan;
    const struct hn_sweep_trials *trials;
    json_t *out;
    int64_t best; /* index; -1: none */
    struct hn_buf text;
};

static const struct hn_sweep_trial *trial_at(const struct report *r, int64_t index) {
    return &r->trials->list[index];
}

/* By its best evaluation. */
static struct hn_compared by_trial(const struct hn_sweep_trial *t) {
    return (struct hn_compared){.job = t->job, .step = t->best_step};
}

static bool has_result(const struct hn_sweep_trial *t) {
    return hn_trial_phase(t) == HN_TRIAL_GOOD && !isnan(hn_trial_value(t));
}

static void put(struct report *r, const char *name, json_t *value) {
    json_object_set_new(r->out, name, value ? value : json_null());
}

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* Indices of those with a result, best first, at most `most`; "seed" runs are left out. */
static size_t ranked(const struct report *r, int64_t *ret, size_t most) {
    size_t n = 0;
    for (size_t i = 0; i < r->trials->n; i++) {
        if (!has_result(trial_at(r, (int64_t)i)) ||
            strcmp(trial_at(r, (int64_t)i)->role, "seed") == 0)
            continue;
        double value = hn_trial_value(trial_at(r, (int64_t)i));
        size_t at = n < most ? n : most;
        while (at &&
            (r->plan->smaller ? value < hn_trial_value(trial_at(r, ret[at - 1]))
                              : value > hn_trial_value(trial_at(r, ret[at - 1]))))
            at--;
        if (at == most)
            continue;
        n = n < most ? n + 1 : most;
        memmove(ret + at + 1, ret + at, (n - at - 1) * sizeof *ret);
        ret[at] = (int64_t)i;
    }
    return n;
}

/* The best beside the job as it is, and those that cannot be told from it. */
static void report_best(struct report *r) {
    int64_t list[COMPARED + 2];
    struct hn_compared runs[COMPARED + 2];
    size_t n = ranked(r, list, COMPARED + 1);
    json_t *compared = NULL, *gain = json_null(), *others = json_array();
    const struct hn_sweep_trial *best = trial_at(r, r->best), *as_is = NULL;
    struct hn_error err = {0};
    for (size_t i = 0; i < r->trials->n; i++)
        if (strcmp(trial_at(r, (int64_t)i)->role, "auto") == 0 &&
            has_result(trial_at(r, (int64_t)i)))
            as_is = trial_at(r, (int64_t)i);
    bool listed = !as_is;
    for (size_t i = 0; i < n; i++)
        listed = listed || trial_at(r, list[i]) == as_is;
    if (!listed)
        list[n++] = as_is - r->trials->list;
    for (size_t i = 0; i < n; i++)
        runs[i] = by_trial(trial_at(r, list[i]));
    if (n > 1)
        hn_compare_runs(r->server, NULL, runs, n, r->plan->metric, &compared, &err);
    for (size_t i = 0; i < n; i++) {
        struct hn_compared_pair pair;
        const char *job = runs[i].job;
        if (strcmp(job, best->job) == 0 || !hn_compared_pair(compared, best->job, job, &pair))
            continue;
        if (pair.adjusted >= 0.05)
            json_array_append_new(others, json_string(job));
        if (as_is && strcmp(job, as_is->job) == 0) {
            json_decref(gain);
            gain = json_pack("{s:f,s:[f,f],s:f}", "value", pair.difference, "interval", pair.low,
                pair.high, "p", pair.p);
        }
    }
    hn_buf_printf(&r->text, "Best of %zu trials with a result: trial %lld (%s) with %s %.4g. ", n,
        (long long)best->number, best->job, r->plan->metric, hn_trial_value(best));
    if (as_is == best)
        hn_buf_text(&r->text, "That is the job as it was sent: nothing tried was better. ");
    else if (json_is_object(gain)) {
        double p = json_number_value(json_object_get(gain, "p"));
        hn_buf_printf(&r->text,
            "Against the job as it was sent: %+.4g (95%% from %+.4g to %+.4g, "
            "p %.2g)%s. ",
            json_number_value(json_object_get(gain, "value")),
            json_number_value(json_array_get(json_object_get(gain, "interval"), 0)),
            json_number_value(json_array_get(json_object_get(gain, "interval"), 1)), p,
            p < 0.05 ? "" : ", which chance alone can give");
    } else if (err.code)
        hn_buf_printf(&r->text, "It could not be compared row by row: %s. ", err.message);
    if (json_array_size(others))
        hn_buf_printf(&r->text, "%zu other trial%s cannot be told from it on these rows. ",
            json_array_size(others), json_array_size(others) == 1 ? "" : "s");
    put(r, "best",
        json_pack("{s:I,s:s,s:s,s:f,s:I,s:o}", "number", (json_int_t)best->number, "job", best->job,
            "metric", r->plan->metric, "value", hn_trial_value(best), "step",
            (json_int_t)best->best_step, "gain_over_auto", gain));
    put(r, "indistinguishable", others);
    json_decref(compared);
}

static void report_importance(struct report *r) {
    struct hn_earlier none = {0};
    double *points = NULL;
    size_t n = 0;
    struct hn_importance found;
    if (!r->plan->space.n)
        return;
    struct hn_trial *list = hn_sweep_for_tune(r->plan, r->trials, &none, &points, &n);
    if (list && !hn_importance(r->plan->space.axes, r->plan->space.n, list, n, 0, &found, NULL) &&
        found.known) {
        json_t *shares = json_object();
        size_t most = 0;
        for (size_t i = 0; i < r->plan->space.n; i++) {
            json_object_set_new(shares, hn_space_name(&r->plan->space, i), number(found.shares[i]));
            most = found.shares[i] > found.shares[most] ? i : most;
        }
        put(r, "importance", shares);
        put(r, "importance_quantile", json_real(found.quantile));
        hn_buf_printf(&r->text, "What mattered most: %s (%.0f%% of the difference). ",
            hn_space_name(&r->plan->space, most), 100 * found.shares[most]);
    } else {
        hn_buf_printf(&r->text,
            "Fewer than %d trials were trained to their end with different results: that is too "
            "little to say which setting mattered. ",
            HN_IMPORTANCE_TRIALS);
    }
    free(list);
    free(points);
}

/* The two best again with other seeds: their values. */
static void report_seeds(struct report *r) {
    double values[64];
    size_t n = 0;
    json_t *list = json_array();
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < r->trials->n; i++) {
        const struct hn_sweep_trial *t = trial_at(r, (int64_t)i);
        if (strcmp(t->role, "seed") != 0 || !has_result(t) || n == 64)
            continue;
        json_t *settings = NULL;
        hn_json_parse(t->settings, strlen(t->settings), &settings, NULL);
        json_array_append_new(list,
            json_pack("{s:I,s:s,s:o,s:f}", "number", (json_int_t)t->number, "job", t->job,
                "settings", settings ? settings : json_null(), "value", hn_trial_value(t)));
        values[n] = hn_trial_value(t);
        least = fmin(least, values[n]);
        most = fmax(most, values[n++]);
    }
    if (n)
        hn_buf_printf(&r->text, "With other seeds the two best gave %.4g to %.4g. ", least, most);
    put(r, "seeds", n ? list : (json_decref(list), json_null()));
}

/* A metric as an error: lower is better, 0 the best there is. */
static double as_error(const struct hn_sweep_plan *plan, double value, double scale) {
    return plan->smaller ? value : scale - value;
}

/* Percentages stand between 0 and 100. */
static double scale_of(const struct hn_sweep_plan *plan) {
    static const char *const hundred[] = {"val_exact_match", "val_chrf", "val_bleu"};
    for (size_t i = 0; i < sizeof hundred / sizeof hundred[0]; i++)
        if (strcmp(plan->metric, hundred[i]) == 0)
            return 100;
    return 1;
}

/* Points of the learning curve, by size: the mean over seeds; *ret_sd: their deviation, pooled. */
static size_t curve(
    const struct report *r, const json_t *results, struct hn_curve_point *points, double *ret_sd) {
    size_t n = 0, repeats = 0;
    double squares = 0, scale = scale_of(r->plan);
    for (size_t i = 0; i < r->trials->n; i++) {
        const struct hn_sweep_trial *t = trial_at(r, (int64_t)i);
        double sum = 0, variance = 0;
        size_t count = 0, k = 0;
        if (!has_result(t))
            continue;
        while (k < n && fabs(points[k].n - (double)t->rows) > 0.5)
            k++;
        if (k < n || n == HN_FORECAST_POINTS)
            continue;
        for (size_t m = 0; m < r->trials->n; m++) {
            const struct hn_sweep_trial *o = trial_at(r, (int64_t)m);
            const json_t *result;
            size_t at;
            if (!has_result(o) || o->rows != t->rows)
                continue;
            sum += as_error(r->plan, hn_trial_value(o), scale);
            count++;
            json_array_foreach(json_object_get(results, "results"), at, result)
                if (strcmp(json_string_value(json_object_get(result, "name")), o->job) == 0) {
                    const json_t *interval = json_object_get(result, "interval");
                    double width = json_number_value(json_array_get(interval, 1)) -
                        json_number_value(json_array_get(interval, 0));
                    variance += width * width / (4 * 1.96 * 1.96);
                }
        }
        double mean = sum / (double)count;
        for (size_t m = 0; m < r->trials->n; m++)
            if (has_result(trial_at(r, (int64_t)m)) && trial_at(r, (int64_t)m)->rows == t->rows)
                squares += pow(
                    as_error(r->plan, hn_trial_value(trial_at(r, (int64_t)m)), scale) - mean, 2);
        repeats += count - 1;
        variance /= (double)count;
        points[n++] = (struct hn_curve_point){
            (double)t->rows, mean, variance > 0 ? variance : fmax(mean * mean * 1e-4, 1e-8)};
    }
    *ret_sd = repeats           ? sqrt(squares / (double)repeats)
        : r->plan->smaller && n ? 0.01 * points[n - 1].value
                                : 0.005 * scale;
    return n;
}

static int by_rows(const void *a, const void *b) {
    const struct hn_curve_point *x = a, *y = b;
    return (x->n > y->n) - (x->n < y->n);
}

static json_t *forecast_json(const struct report *r, const struct hn_forecast_value *v) {
    double scale = scale_of(r->plan);
    bool turned = !r->plan->smaller;
    return json_pack("{s:f,s:f,s:[f,f]}", "rows", v->n, "value",
        turned ? scale - v->value : v->value, "interval", turned ? scale - v->high : v->low,
        turned ? scale - v->low : v->high);
}

/* What twice and four times the rows would bring. */
static void report_forecast(struct report *r) {
    struct hn_curve_point points[HN_FORECAST_POINTS];
    struct hn_compared runs[HN_FORECAST_POINTS];
    json_t *compared = NULL, *list = json_array();
    struct hn_forecast found;
    size_t n = 0;
    double sd;
    for (size_t i = 0; i < r->trials->n && n < HN_FORECAST_POINTS; i++)
        if (has_result(trial_at(r, (int64_t)i)))
            runs[n++] = by_trial(trial_at(r, (int64_t)i));
    if (n)
        hn_compare_runs(r->server, NULL, runs, n, r->plan->metric, &compared, NULL);
    n = curve(r, compared, points, &sd);
    json_decref(compared);
    qsort(points, n, sizeof *points, by_rows);
    for (size_t i = 0; i < n; i++) {
        double value = r->plan->smaller ? points[i].value : scale_of(r->plan) - points[i].value;
        json_array_append_new(list,
            json_pack("{s:f,s:f,s:f}", "rows", points[i].n, "value", value, "standard_error",
                sqrt(points[i].variance)));
    }
    put(r, "curve", list);
    if (!n)
        return;
    struct hn_forecast_value values[] = {{.n = 2 * points[n - 1].n}, {.n = 4 * points[n - 1].n}};
    struct hn_error err = {0};
    if (hn_forecast(points, n, 0, sd, values, 2, &found, &err)) {
        put(r, "forecast_refused", json_string(err.message));
        return;
    }
    const char *why = hn_forecast_reason(found.refusal);
    if (why) {
        put(r, "forecast_refused", json_string(why));
        hn_buf_printf(&r->text, "No forecast of more rows: %s. ", why);
        return;
    }
    json_t *twice = forecast_json(r, &values[0]), *four = forecast_json(r, &values[1]);
    const json_t *band = json_object_get(twice, "interval");
    hn_buf_printf(&r->text,
        "With twice the rows expect %s %.4g (90%% from %.4g to %.4g), with four times %.4g. ",
        r->plan->metric, json_number_value(json_object_get(twice, "value")),
        json_number_value(json_array_get(band, 0)), json_number_value(json_array_get(band, 1)),
        json_number_value(json_object_get(four, "value")));
    put(r, "forecast", json_pack("{s:o,s:o}", "2x", twice, "4x", four));
}

static void report_folds(struct report *r) {
    struct hn_compared runs[HN_SWEEP_FOLDS_MAX];
    size_t n = 0;
    json_t *pooled = NULL;
    struct hn_error err = {0};
    double values[HN_SWEEP_FOLDS_MAX];
    for (size_t i = 0; i < r->trials->n && n < HN_SWEEP_FOLDS_MAX; i++)
        if (has_result(trial_at(r, (int64_t)i))) {
            values[n] = hn_trial_value(trial_at(r, (int64_t)i));
            runs[n++] = by_trial(trial_at(r, (int64_t)i));
        }
    if (!n)
        return;
    struct hn_interval mean;
    hn_folds_interval(values, n, 0.95, &mean);
    if (hn_compare_folds(
            r->server, NULL, runs, n, r->plan->metric, NULL, false, NULL, &pooled, &err))
        pooled = json_pack("{s:s}", "error", err.message);
    json_object_set_new(pooled, "mean", number(mean.estimate));
    json_object_set_new(
        pooled, "mean_interval", json_pack("[o,o]", number(mean.low), number(mean.high)));
    hn_buf_printf(&r->text, "%zu of %lld folds: %s %.4g on average", n, (long long)r->plan->trials,
        r->plan->metric, mean.estimate);
    if (isfinite(mean.low))
        hn_buf_printf(&r->text, " (95%% from %.4g to %.4g)", mean.low, mean.high);
    hn_buf_text(&r->text, "; every row was held out once. ");
    const json_t *wrong = json_object_get(pooled, "label_errors");
    if (wrong)
        hn_buf_printf(&r->text,
            "About %lld of %lld labels look wrong (%lld for certain); rows?sort=mislabelled lists "
            "the "
            "rows, the likeliest first. ",
            (long long)json_integer_value(json_object_get(wrong, "estimated")),
            (long long)json_integer_value(json_object_get(pooled, "rows")),
            (long long)json_integer_value(json_object_get(wrong, "flagged")));
    put(r, "folds", pooled);
}

/* Means over seeds of the trials with this role and name. */
static double mean_of(const struct report *r, const char *role, const char *name, size_t *ret_n,
    const struct hn_sweep_trial **ret_first) {
    double sum = 0;
    *ret_n = 0;
    *ret_first = NULL;
    for (size_t i = 0; i < r->trials->n; i++) {
        const struct hn_sweep_trial *t = trial_at(r, (int64_t)i);
        const json_t *listed = json_array_get(r->plan->settings, (size_t)t->number);
        const char *called = json_string_value(json_object_get(listed, "name"));
        if (strcmp(t->role, role) != 0 || !has_result(t) ||
            (name && (!called || strcmp(called, name) != 0)))
            continue;
        *ret_first = *ret_first ? *ret_first : t;
        sum += hn_trial_value(t);
        ++*ret_n;
    }
    return *ret_n ? sum / (double)*ret_n : (double)NAN;
}

static json_t *one_ablation(struct report *r, const char *name, json_int_t rows) {
    const struct hn_sweep_trial *without, *random, *all;
    size_t n;
    struct hn_compared_pair pair = {
        (double)NAN, (double)NAN, (double)NAN, (double)NAN, (double)NAN};
    double with_all = mean_of(r, "all", NULL, &n, &all),
           left_out = mean_of(r, "without", name, &n, &without),
           at_random = mean_of(r, "random", name, &n, &random);
    json_t *compared = NULL;
    if (without && random) {
        const struct hn_compared runs[] = {by_trial(without), by_trial(random)};
        if (!hn_compare_runs(r->server, NULL, runs, 2, r->plan->metric, &compared, NULL))
            hn_compared_pair(compared, without->job, random->job, &pair);
        json_decref(compared);
    }
    bool better = r->plan->smaller ? pair.difference < 0 : pair.difference > 0;
    const char *verdict = !(pair.p < 0.05) ? "no difference shown" : better ? "better" : "worse";
    if (strcmp(name, HN_DIVERSE_HALF) == 0)
        hn_buf_printf(&r->text, "With the diverse half alone (%lld rows fewer) ", (long long)rows);
    else
        hn_buf_printf(&r->text, "Without %s (%lld rows) ", name, (long long)rows);
    hn_buf_printf(&r->text, "%s is %.4g; without as many at random %.4g; with all %.4g: %s. ",
        r->plan->metric, left_out, at_random, with_all, verdict);
    return HN_JSON_OBJECT({"name", json_string(name)}, {"rows", json_integer(rows)},
        {"all", number(with_all)}, {"without", number(left_out)}, {"random", number(at_random)},
        {"difference", number(pair.difference)},
        {"interval", json_pack("[o,o]", number(pair.low), number(pair.high))},
        {"p", number(pair.p)}, {"verdict", json_string(verdict)});
}

static void report_ablation(struct report *r) {
    const json_t *listed;
    json_t *list = json_array(), *seen = json_object();
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)r->plan->settings, i, listed) {
        const char *name = json_string_value(json_object_get(listed, "name"));
        if (!name || json_object_get(seen, name))
            continue;
        json_object_set_new(seen, name, json_true());
        json_array_append_new(
            list, one_ablation(r, name, json_integer_value(json_object_get(listed, "rows"))));
    }
    json_decref(seen);
    put(r, "ablation", list);
}

/* A run's losses under a rising learning rate. */
struct range {
    double rates[RANGE_MAX], losses[RANGE_MAX]; /* smoothed */
    double mean, weight;
    size_t n;
};

/* An exponential moving average over about ten steps, without its bias at the beginning. */
static void add_step(void *ud, const struct hn_metric *m) {
    struct range *range = ud;
    if (isnan(m->loss) || isnan(m->learning_rate) || range->n == RANGE_MAX)
        return;
    range->mean = 0.9 * range->mean + 0.1 * m->loss;
    range->weight = 0.9 * range->weight + 0.1;
    range->rates[range->n] = m->learning_rate;
    range->losses[range->n++] = range->mean / range->weight;
}

/* Where the loss falls fastest for each doubling of the rate, before its lowest point (Smith 2017,
 * arXiv 1506.01186); -1: it does not fall. */
static int64_t steepest(const struct range *range) {
    size_t lowest = 0;
    int64_t found = -1;
    double best = 0;
    for (size_t i = 0; i < range->n; i++)
        lowest = range->losses[i] < range->losses[lowest] ? i : lowest;
    for (size_t i = RANGE_WINDOW; i + RANGE_WINDOW <= lowest; i++) {
        double slope = (range->losses[i + RANGE_WINDOW] - range->losses[i - RANGE_WINDOW]) /
            log(range->rates[i + RANGE_WINDOW] / range->rates[i - RANGE_WINDOW]);
        if (slope < best) {
            best = slope;
            found = (int64_t)i;
        }
    }
    return found;
}

/* The curve, and the learning rate that it suggests. */
static int report_range(struct report *r, int64_t *ret_found, struct hn_error *err) {
    struct range *range = hn_calloc(1, sizeof *range);
    struct hn_job job;
    json_t *list = json_array();
    hn_job_init(&job);
    struct hn_db *db = hn_store_read(r->server->store, err);
    int rc = db && range ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    const char *id = r->trials->n ? r->trials->list[0].job : "";
    if (!rc && *id && !hn_db_job_get(db, id, &job, NULL))
        rc = hn_db_metrics(
            db, &(struct hn_metric_range){job.n, 1, INT64_MAX}, RANGE_MAX, add_step, range, err);
    hn_store_release(r->server->store, db);
    hn_job_finish(&job);
    for (size_t i = 0; !rc && i < range->n; i++)
        json_array_append_new(list,
            json_pack("{s:f,s:f}", "learning_rate", range->rates[i], "loss", range->losses[i]));
    put(r, "curve", list);
    int64_t at = rc ? -1 : steepest(range);
    *ret_found = at;
    if (at >= 0) {
        put(r, "suggestion", json_pack("{s:f}", "learning_rate", range->rates[at]));
        hn_buf_printf(&r->text,
            "The loss falls fastest at a learning rate of %.3g: try that, and half and twice as "
            "much. ",
            range->rates[at]);
    } else if (!rc) {
        hn_buf_text(&r->text,
            "The loss does not fall over this range of learning rates: look at the data, or train "
            "more of the model. ");
    }
    free(range);
    return rc;
}

/* The most frequent reason why trials failed. */
static void report_failures(struct report *r) {
    const struct hn_sweep_trial *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < r->trials->n; i++) {
        const struct hn_sweep_trial *t = trial_at(r, (int64_t)i);
        if (hn_trial_phase(t) == HN_TRIAL_BAD &&
            (t->why || (t->status && strcmp(t->status, "failed") == 0))) {
            first = first ? first : t;
            n++;
        }
    }
    if (n)
        hn_buf_printf(&r->text, "%zu trial%s failed; trial %lld: %.300s. ", n, n == 1 ? "" : "s",
            (long long)first->number,
            first->why                  ? first->why
                : first->reason_message ? first->reason_message
                                        : "it has no result");
}

static int report_saved(struct report *r, const struct hn_sweep *sweep, struct hn_error *err) {
    struct hn_db *db = hn_store_read(r->server->store, err);
    int64_t rows = 0;
    int rc = db ? hn_db_sweep_saved(db, sweep->id, &rows, err) : HN_E_INTERNAL;
    hn_store_release(r->server->store, db);
    put(r, "saved", json_pack("{s:I}", "tokenised_rows", (json_int_t)rows));
    return rc;
}

int hn_sweep_report(struct hn_server *server, const struct hn_sweep *sweep,
    const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials, json_t **ret,
    int64_t *ret_best, struct hn_error *err) {
    static const char *const names[] = {"best", "indistinguishable", "importance",
        "importance_quantile", "curve", "forecast", "forecast_refused", "folds", "ablation",
        "seeds", "suggestion", "saved"};
    struct report r = {.server = server, .plan = plan, .trials = trials, .out = json_object()};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        put(&r, names[i], NULL);
    int64_t range = -1;
    int rc = plan->kind == HN_SWEEP_LR_RANGE ? report_range(&r, &range, err) : 0;
    r.best = plan->kind == HN_SWEEP_LR_RANGE ? -1 : hn_sweep_best(plan, trials);
    if (plan->kind == HN_SWEEP_FOLDS)
        report_folds(&r);
    else if (plan->kind == HN_SWEEP_ABLATION)
        report_ablation(&r);
    else if (plan->kind == HN_SWEEP_DATA_SIZE)
        report_forecast(&r);
    if (r.best >= 0) {
        report_best(&r);
        report_importance(&r);
        report_seeds(&r);
    }
    report_failures(&r);
    if (!rc)
        rc = report_saved(&r, sweep, err);
    while (r.text.size && r.text.data[r.text.size - 1] == ' ')
        r.text.size--;
    put(&r, "summary", hn_json_text(r.text.data ? r.text.data : "", r.text.size));
    hn_buf_free(&r.text);
    if (rc) {
        json_decref(r.out);
        return rc;
    }
    *ret = r.out;
    *ret_best = r.best >= 0 ? trials->list[r.best].number : range >= 0 ? 0 : -1;
    return 0;
}

/* Where hn_db_sweep_earlier's rows go. */
struct earlier_reader {
    const struct hn_sweep_plan *plan;
    struct hn_earlier *out;
};

static void add_earlier(void *ud, const char *hyperparameters, const char *request, double value) {
    struct earlier_reader *to = ud;
    json_t *settings = NULL, *sent = NULL;
    static const char *const names[] = {"method", "model", "dataset"};
    if (isnan(value) || to->out->n == EARLIER_MAX ||
        hn_json_parse(hyperparameters, strlen(hyperparameters), &settings, NULL))
        return;
    hn_json_parse(request, strlen(request), &sent, NULL);
    json_object_set_new(settings, "method", json_string("lora"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (json_object_get(sent, names[i]))
            json_object_set(settings, names[i], json_object_get(sent, names[i]));
    size_t axes = to->plan->space.n;
    hn_space_point(&to->plan->space, settings, to->out->points + to->out->n * axes);
    to->out->values[to->out->n++] = value;
    json_decref(sent);
    json_decref(settings);
}

int hn_earlier_read(struct hn_db *db, const struct hn_sweep *sweep,
    const struct hn_sweep_plan *plan, struct hn_earlier *ret, struct hn_error *err) {
    const json_t *asked = json_object_get(plan->json, "warm_start");
    struct earlier_reader to = {plan, ret};
    *ret = (struct hn_earlier){0};
    if (!asked || plan->kind != HN_SWEEP_SEARCH)
        return 0;
    ret->points = hn_calloc(EARLIER_MAX * HN_SPACE_AXES, sizeof *ret->points);
    ret->values = hn_calloc(EARLIER_MAX, sizeof *ret->values);
    if (!ret->points || !ret->values)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    char *list = json_is_array(asked) ? json_dumps(asked, JSON_COMPACT) : NULL;
    int rc = hn_db_sweep_earlier(db, sweep, plan->metric, list, add_earlier, &to, err);
    free(list);
    return rc;
}

void hn_earlier_finish(struct hn_earlier *earlier) {
    free(earlier->points);
    free(earlier->values);
    *earlier = (struct hn_earlier){0};
}
