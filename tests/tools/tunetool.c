/*
 * tunetool: engine/tune for the parity tests. One JSON object a line in, one out; null is NaN.
 *
 *   {"op":"mcnemar","b","c"} · {"op":"wilcoxon","differences"} · {"op":"holm","p"} ·
 *   {"op":"quantiles","normal":[p…],"student":[[p,dof]…]} ·
 *   {"op":"mean","values","extra","confidence"} · {"op":"folds","values","confidence"} ·
 *   {"op":"bootstrap","differences","weights"|null,"seed","replicates","confidence"}: of the mean
 *     → an interval, and "rows": those of each replicate as a callback sees them ·
 *   {"op":"sequence","seed","n","dimensions"} → {"points"} ·
 *   {"op":"log_ratio","axes","trials","points"} · {"op":"suggest","axes","trials","number",
 *     "planned","seed"} · {"op":"importance","axes","trials","quantile"} ·
 *   {"op":"forecast","points":[[n,value,variance]…],"floor","seed_sd","at":[n…]} ·
 *   {"op":"asha","trials":[{"number","waiting","values"}…],"rungs","eta","may_start"} ·
 *   {"op":"label_errors","labels":[j…],"p":[[p…]…]}
 *
 * An axis is {"kind":"real"|"int"|"choice","log","low","high","step","choices","group"}, a trial
 * {"number","state":"complete"|"pruned"|"running","value","last_step","values"}.
 * A failure answers {"error","field","hint"}.
 */
#include "engine/base/buf.h"
#include "engine/tune/asha.h"
#include "engine/tune/forecast.h"
#include "engine/tune/importance.h"
#include "engine/tune/label_errors.h"
#include "engine/tune/sequence.h"
#include "engine/tune/stats.h"
#include "engine/tune/tpe.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double number(const json_t *value) {
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double field(const json_t *in, const char *name) {
    return number(json_object_get(in, name));
}

static size_t whole(const json_t *in, const char *name) {
    return (size_t)json_integer_value(json_object_get(in, name));
}

static json_t *real(double value) {
    return isnan(value) ? json_null() : isinf(value) ? json_string("inf") : json_real(value);
}

static json_t *reals(const double *values, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, real(values[i]));
    return list;
}

/* The numbers of a list; the caller frees them. */
static double *numbers(const json_t *list, size_t *ret_n) {
    size_t n = json_array_size(list);
    double *values = hn_calloc(n, sizeof *values);
    for (size_t i = 0; values && i < n; i++)
        values[i] = number(json_array_get(list, i));
    if (ret_n)
        *ret_n = n;
    return values;
}

static json_t *failure(const struct hn_error *err) {
    return json_pack(
        "{s:s, s:s, s:s}", "error", err->message, "field", err->field, "hint", err->hint);
}

static json_t *interval(const struct hn_interval *i) {
    return json_pack("{s:o, s:o, s:o, s:o}", "estimate", real(i->estimate), "low", real(i->low),
        "high", real(i->high), "p", real(i->p));
}

/* ---- statistics ---- */

static json_t *op_mcnemar(const json_t *in) {
    return json_pack("{s:o}", "p", real(hn_mcnemar(whole(in, "b"), whole(in, "c"))));
}

static json_t *op_wilcoxon(const json_t *in) {
    struct hn_error err = {0};
    struct hn_wilcoxon w;
    size_t n;
    double *d = numbers(json_object_get(in, "differences"), &n);
    int rc = hn_wilcoxon(d, n, &w, &err);
    free(d);
    return rc ? failure(&err)
              : json_pack("{s:o, s:o, s:I, s:b, s:o}", "plus", real(w.plus), "minus", real(w.minus),
                    "n", (json_int_t)w.n, "exact", w.exact, "p", real(w.p));
}

static json_t *op_holm(const json_t *in) {
    struct hn_error err = {0};
    size_t n;
    double *p = numbers(json_object_get(in, "p"), &n);
    json_t *out = hn_holm(p, n, &err) ? failure(&err) : json_pack("{s:o}", "p", reals(p, n));
    free(p);
    return out;
}

static json_t *op_quantiles(const json_t *in) {
    json_t *normal = json_array(), *student = json_array(), *each;
    size_t i;
    json_array_foreach(json_object_get(in, "normal"), i, each)
        json_array_append_new(normal, real(hn_normal_quantile(number(each))));
    json_array_foreach(json_object_get(in, "student"), i, each)
        json_array_append_new(student,
            real(hn_student_quantile(
                number(json_array_get(each, 0)), number(json_array_get(each, 1)))));
    return json_pack("{s:o, s:o}", "normal", normal, "student", student);
}

static json_t *op_mean(const json_t *in) {
    struct hn_interval i;
    size_t n;
    double *values = numbers(json_object_get(in, "values"), &n);
    if (json_object_get(in, "extra"))
        hn_mean_interval(values, n, field(in, "extra"), field(in, "confidence"), &i);
    else
        hn_folds_interval(values, n, field(in, "confidence"), &i);
    free(values);
    return interval(&i);
}

/* Keeps the rows that it is asked about. */
static double record_rows(void *context, const size_t *rows, size_t n_rows) {
    json_t *list = json_array();
    for (size_t i = 0; i < n_rows; i++)
        json_array_append_new(list, json_integer((json_int_t)rows[i]));
    json_array_append_new(context, list);
    return 0;
}

static json_t *op_bootstrap(const json_t *in) {
    struct hn_error err = {0};
    struct hn_interval i, unused;
    size_t n;
    const struct hn_bootstrap_options o = {
        whole(in, "seed"), whole(in, "replicates"), field(in, "confidence")};
    double *d = numbers(json_object_get(in, "differences"), &n),
           *w = json_is_array(json_object_get(in, "weights"))
        ? numbers(json_object_get(in, "weights"), NULL)
        : NULL;
    json_t *rows = json_array();
    int rc = hn_bootstrap_mean(d, w, n, &o, &i, &err);
    if (!rc)
        rc = hn_bootstrap(record_rows, rows, n, &o, &unused, &err);
    free(d);
    free(w);
    if (rc) {
        json_decref(rows);
        return failure(&err);
    }
    json_t *out = interval(&i);
    json_object_set_new(out, "rows", rows);
    return out;
}

static json_t *op_sequence(const json_t *in) {
    json_t *points = json_array();
    for (size_t i = 0; i < whole(in, "n"); i++) {
        json_t *point = json_array();
        for (unsigned d = 0; d < whole(in, "dimensions"); d++)
            json_array_append_new(point, real(hn_sequence(whole(in, "seed"), i, d)));
        json_array_append_new(points, point);
    }
    return json_pack("{s:o}", "points", points);
}

/* ---- search ---- */

struct space {
    struct hn_axis axes[2 * HN_TUNE_AXES];
    size_t n_axes, n_trials;
    struct hn_trial *trials;
};

static int place_in(const char *const *names, const char *name) {
    int i = 0;
    while (names[i + 1] && (!name || strcmp(names[i], name)))
        i++;
    return i;
}

static void space_init(struct space *s, const json_t *in) {
    static const char *const kinds[] = {"real", "int", "choice", NULL},
                             *const states[] = {"complete", "pruned", "running", NULL};
    const json_t *list = json_object_get(in, "axes"), *each;
    size_t i;
    memset(s, 0, sizeof *s);
    json_array_foreach(list, i, each) {
        if (s->n_axes == 2 * HN_TUNE_AXES)
            break;
        s->axes[s->n_axes++] = (struct hn_axis){
            (enum hn_axis_kind)place_in(kinds, json_string_value(json_object_get(each, "kind"))),
            json_is_true(json_object_get(each, "log")), field(each, "low"), field(each, "high"),
            json_object_get(each, "step") ? field(each, "step") : 0,
            (unsigned)whole(each, "choices"), (unsigned)whole(each, "group")};
    }
    list = json_object_get(in, "trials");
    s->trials = hn_calloc(json_array_size(list), sizeof *s->trials);
    json_array_foreach(list, i, each) {
        const char *state = json_string_value(json_object_get(each, "state"));
        s->trials[s->n_trials++] = (struct hn_trial){numbers(json_object_get(each, "values"), NULL),
            json_integer_value(json_object_get(each, "number")),
            state ? (enum hn_trial_state)place_in(states, state) : HN_TRIAL_COMPLETE,
            field(each, "value"), json_integer_value(json_object_get(each, "last_step"))};
    }
}

static void space_finish(struct space *s) {
    for (size_t i = 0; i < s->n_trials; i++)
        free((double *)(uintptr_t)s->trials[i].values);
    free(s->trials);
}

static json_t *op_log_ratio(const json_t *in) {
    struct hn_error err = {0};
    struct space s;
    json_t *ratios = json_array(), *point;
    size_t i;
    int rc = 0;
    space_init(&s, in);
    json_array_foreach(json_object_get(in, "points"), i, point) {
        double ratio = NAN, *values = numbers(point, NULL);
        rc = rc ? rc
                : hn_tpe_log_ratio(s.axes, s.n_axes, s.trials, s.n_trials, values, &ratio, &err);
        free(values);
        json_array_append_new(ratios, real(ratio));
    }
    space_finish(&s);
    if (rc)
        json_decref(ratios);
    return rc ? failure(&err) : json_pack("{s:o}", "ratios", ratios);
}

static json_t *op_suggest(const json_t *in) {
    struct hn_error err = {0};
    struct space s;
    double values[HN_TUNE_AXES];
    space_init(&s, in);
    int rc = hn_tpe_suggest(s.axes, s.n_axes, s.trials, s.n_trials, (int64_t)whole(in, "number"),
        whole(in, "planned"), whole(in, "seed"), values, &err);
    json_t *out = rc ? failure(&err) : json_pack("{s:o}", "values", reals(values, s.n_axes));
    space_finish(&s);
    return out;
}

static json_t *op_importance(const json_t *in) {
    struct hn_error err = {0};
    struct space s;
    struct hn_importance i;
    space_init(&s, in);
    int rc = hn_importance(s.axes, s.n_axes, s.trials, s.n_trials, field(in, "quantile"), &i, &err);
    json_t *out = rc
        ? failure(&err)
        : json_pack("{s:I, s:b, s:o, s:o}", "n_trials", (json_int_t)i.n_trials, "known", i.known,
              "quantile", real(i.quantile), "shares", reals(i.shares, s.n_axes));
    space_finish(&s);
    return out;
}

static json_t *op_forecast(const json_t *in) {
    struct hn_error err = {0};
    struct hn_forecast f;
    struct hn_curve_point points[2 * HN_FORECAST_POINTS];
    struct hn_forecast_value values[16];
    const json_t *list = json_object_get(in, "points"), *at = json_object_get(in, "at");
    json_t *bands = json_array();
    size_t n = json_array_size(list), m = json_array_size(at);
    for (size_t i = 0; i < n && i < 2 * HN_FORECAST_POINTS; i++) {
        const json_t *p = json_array_get(list, i);
        points[i] = (struct hn_curve_point){number(json_array_get(p, 0)),
            number(json_array_get(p, 1)), number(json_array_get(p, 2))};
    }
    for (size_t i = 0; i < m && i < 16; i++)
        values[i].n = number(json_array_get(at, i));
    if (hn_forecast(points, n, field(in, "floor"), field(in, "seed_sd"), values, m, &f, &err)) {
        json_decref(bands);
        return failure(&err);
    }
    for (size_t i = 0; i < m; i++)
        json_array_append_new(bands,
            json_pack(
                "[o, o, o]", real(values[i].value), real(values[i].low), real(values[i].high)));
    return json_pack("{s:i, s:s?, s:o, s:o, s:o, s:o, s:o, s:o}", "refusal", (int)f.refusal,
        "reason", hn_forecast_reason(f.refusal), "a", real(f.a), "b", real(f.b), "c", real(f.c),
        "chi2", real(f.chi2), "dof", real(f.dof), "values", bands);
}

static json_t *op_asha(const json_t *in) {
    static const char *const actions[] = {"nothing", "start", "promote"};
    const json_t *list = json_object_get(in, "trials"), *each;
    size_t n = json_array_size(list), i;
    struct hn_asha_trial *trials = hn_calloc(n, sizeof *trials);
    double *values[HN_TUNE_TRIALS] = {NULL};
    json_array_foreach(list, i, each) {
        values[i] = numbers(json_object_get(each, "values"), &trials[i].reached);
        trials[i].number = json_integer_value(json_object_get(each, "number"));
        trials[i].waiting = json_is_true(json_object_get(each, "waiting"));
        trials[i].values = values[i];
    }
    struct hn_asha_decision next = hn_asha_next(trials, n, whole(in, "rungs"),
                                (unsigned)whole(in, "eta"),
                                json_is_true(json_object_get(in, "may_start"))),
                            last = hn_asha_finalist(trials, n, whole(in, "rungs"));
    for (i = 0; i < n; i++)
        free(values[i]);
    free(trials);
    return json_pack("{s:s, s:I, s:I, s:s, s:I, s:I}", "action", actions[next.action], "trial",
        (json_int_t)next.trial, "rung", (json_int_t)next.rung, "finalist", actions[last.action],
        "finalist_trial", (json_int_t)last.trial, "finalist_rung", (json_int_t)last.rung);
}

static json_t *op_label_errors(const json_t *in) {
    struct hn_error err = {0};
    struct hn_label_errors found;
    const json_t *rows = json_object_get(in, "p");
    size_t n, classes = json_array_size(json_array_get(rows, 0));
    double *given = numbers(json_object_get(in, "labels"), &n);
    int32_t *labels = hn_calloc(n, sizeof *labels);
    float *p = hn_calloc(n * classes, sizeof *p);
    for (size_t i = 0; i < n; i++) {
        labels[i] = (int32_t)given[i];
        for (size_t j = 0; j < classes; j++)
            p[i * classes + j] = (float)number(json_array_get(json_array_get(rows, i), j));
    }
    json_t *out = hn_label_errors_find(labels, p, n, classes, &found, &err)
        ? failure(&err)
        : json_pack("{s:I, s:o, s:o, s:o}", "flagged", (json_int_t)found.flagged, "noise_rate",
              real(found.noise_rate), "joint_rate", real(found.joint_rate), "joint",
              reals(found.joint, classes * classes));
    hn_label_errors_finish(&found);
    free(given);
    free(labels);
    free(p);
    return out;
}

static const struct {
    const char *name;
    json_t *(*run)(const json_t *in);
} ops[] = {
    {"mcnemar", op_mcnemar},
    {"wilcoxon", op_wilcoxon},
    {"holm", op_holm},
    {"quantiles", op_quantiles},
    {"mean", op_mean},
    {"folds", op_mean},
    {"bootstrap", op_bootstrap},
    {"sequence", op_sequence},
    {"log_ratio", op_log_ratio},
    {"suggest", op_suggest},
    {"importance", op_importance},
    {"forecast", op_forecast},
    {"asha", op_asha},
    {"label_errors", op_label_errors},
};

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_t *in = json_loads(line, 0, NULL), *out = NULL;
        const char *name = json_string_value(json_object_get(in, "op"));
        for (size_t i = 0; name && i < sizeof ops / sizeof *ops; i++)
            if (strcmp(ops[i].name, name) == 0)
                out = ops[i].run(in);
        if (!out)
            out = json_pack("{s:s}", "error", "no such op");
        json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
        putchar('\n');
        fflush(stdout);
        json_decref(out);
        json_decref(in);
    }
    free(line);
    return 0;
}
