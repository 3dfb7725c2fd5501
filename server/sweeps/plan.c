/* See plan.h: a sweep's request is checked here, and becomes its plan. */
#include "server/sweeps/plan.h"
#include "server/server.h"
#include "server/store/store_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIALS 20       /* of a search that says nothing else */
#define LEAST_STEPS 100 /* of a run on a share of the rows */
#define RANGE_STEPS 100 /* of a run of rising learning rate */
#define SEEDS_MAX 20
#define SHARES_MAX 32

enum { SPACE = 1, HALVING = 2, FOLDS = 4, SIZES = 8, WITHOUT = 16 };

/* One row a kind: its name, and the fields of the request that it takes beside the common ones. */
static const struct kind {
    const char *name;
    unsigned fields;
} kinds[HN_SWEEP_KINDS] = {
    [HN_SWEEP_GRID] = {"grid", SPACE | HALVING},
    [HN_SWEEP_RANDOM] = {"random", SPACE | HALVING},
    [HN_SWEEP_SEARCH] = {"search", SPACE | HALVING},
    [HN_SWEEP_FOLDS] = {"folds", FOLDS},
    [HN_SWEEP_DATA_SIZE] = {"data_size", SIZES},
    [HN_SWEEP_ABLATION] = {"ablation", WITHOUT},
    [HN_SWEEP_LR_RANGE] = {"lr_range", 0},
};

/* Fields that belong to some kinds only. */
static const struct {
    const char *name;
    unsigned group;
} special[] = {{"space", SPACE}, {"scheduler", HALVING}, {"eta", HALVING}, {"rungs", HALVING},
    {"warm_start", SPACE}, {"folds", FOLDS}, {"group_by", FOLDS}, {"sizes", SIZES},
    {"without", WITHOUT}};

const char *hn_sweep_kind_name(enum hn_sweep_kind kind) {
    return kinds[kind].name;
}

/* A request on its way to a plan. */
struct planning {
    struct hn_server *server;
    const struct hn_submitter *who;
    const json_t *request;
    enum hn_sweep_kind kind;
    json_t *job, *estimate, *plan, *warnings, *details;
    double steps, seconds; /* of one whole trial */
    int64_t trials, parallel;
    int64_t most; /* different trials that a space has */
};

static int refuse(struct hn_error *err, const char *field, const char *hint) {
    hn_error_field(err, "%s", field);
    hn_error_hint(err, "%s", hint);
    return HN_E_INVALID_FIELD;
}

static void warn(struct planning *p, const char *code, json_t *message) {
    json_array_append_new(p->warnings, json_pack("{s:s,s:o}", "code", code, "message", message));
}

static const json_t *given(const struct planning *p, const char *name) {
    const json_t *value = json_object_get(p->request, name);
    return json_is_null(value) ? NULL : value;
}

/* "grid, random, …" */
static void list_kinds(char *out, size_t size) {
    out[0] = 0;
    for (size_t i = 0; i < HN_SWEEP_KINDS; i++)
        snprintf(out + strlen(out), size - strlen(out), "%s%s", i ? ", " : "", kinds[i].name);
}

static int read_kind(struct planning *p, struct hn_error *err) {
    static const char *const known[] = {"name", "kind", "job", "space", "scheduler", "eta", "rungs",
        "folds", "group_by", "sizes", "without", "warm_start", "budget", "metric", "target",
        "seeds", "seed", "parallel", "keep", NULL};
    const char *name = NULL, *kind = NULL;
    char names[120];
    list_kinds(names, sizeof names);
    int rc = hn_json_known(p->request, known, "", err);
    if (!rc)
        rc = hn_json_string(p->request, "name", &name, err);
    if (!rc && name && strlen(name) > 200) {
        hn_fail(err, HN_E_INVALID_FIELD, "name has more than 200 characters");
        rc = refuse(err, "name", "");
    }
    if (!rc)
        rc = hn_json_string(p->request, "kind", &kind, err);
    if (rc)
        return rc;
    for (size_t i = 0; kind && i < HN_SWEEP_KINDS; i++)
        if (strcmp(kind, kinds[i].name) == 0) {
            p->kind = (enum hn_sweep_kind)i;
            return 0;
        }
    hn_fail(err, kind ? HN_E_INVALID_FIELD : HN_E_MISSING_FIELD, "kind must be one of %s", names);
    hn_error_field(err, "kind");
    hn_error_hint(err, "search looks for good hyperparameters by itself");
    return err ? err->code : HN_E_INVALID_FIELD;
}

static int check_special(const struct planning *p, struct hn_error *err) {
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        char names[120] = "";
        if (!given(p, special[i].name) || special[i].group & kinds[p->kind].fields)
            continue;
        for (size_t k = 0; k < HN_SWEEP_KINDS; k++)
            if (kinds[k].fields & special[i].group)
                snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
                    *names ? ", " : "", kinds[k].name);
        hn_fail(err, HN_E_INVALID_FIELD, "%s means nothing for a sweep of kind %s", special[i].name,
            kinds[p->kind].name);
        hn_error_field(err, "%s", special[i].name);
        hn_error_hint(err, "it belongs to: %s", names);
        return HN_E_INVALID_FIELD;
    }
    return 0;
}

/* The job as trials change it: with the metric that they are compared by, and without samples. */
static int read_job(struct planning *p, struct hn_error *err) {
    const json_t *job = given(p, "job"), *metric = given(p, "metric");
    if (!json_is_object(job)) {
        hn_fail(err, job ? HN_E_INVALID_FIELD : HN_E_MISSING_FIELD,
            "job must be an object: the body of POST /jobs that the trials change");
        hn_error_field(err, "job");
        hn_error_hint(err, "{\"model\": …, \"dataset\": \"ds_…\"}");
        return err ? err->code : HN_E_INVALID_FIELD;
    }
    p->job = json_deep_copy((json_t *)(uintptr_t)job);
    if (!json_object_get(p->job, "samples"))
        json_object_set_new(p->job, "samples", json_pack("{s:i}", "rows", 0));
    if (!metric)
        return 0;
    json_t *settings = json_pack("{s:O}", "metric_for_best", metric);
    struct hn_hyperparams hp;
    hn_hyperparams_defaults(&hp);
    int rc = hn_hyperparams_read(&hp, settings, "", err);
    if (rc)
        refuse(err, "metric", "a metric of the task, such as val_loss or val_accuracy");
    if (!rc)
        rc = hn_settings_apply(settings, p->job, err);
    json_decref(settings);
    return rc;
}

/* What the job would take as it is; errors name fields as "job.model". */
static int ask_estimate(struct planning *p, json_t *job, json_t **ret, struct hn_error *err) {
    struct hn_submission s = {.request = job, .dry_run = true};
    int rc = hn_submit(p->server, p->who, &s, err);
    if (rc && err && *err->field)
        hn_error_inside(err, "job");
    if (s.details) {
        json_decref(p->details);
        p->details = s.details;
    }
    if (rc)
        json_decref(s.estimate);
    else
        *ret = s.estimate;
    return rc;
}

static double number_in(const json_t *object, const char *name) {
    return json_number_value(json_object_get(object, name));
}

static int64_t held_out(const json_t *estimate) {
    return json_integer_value(json_object_get(json_object_get(estimate, "validation"), "rows"));
}

static int estimate(struct planning *p, struct hn_error *err) {
    json_t *job = json_deep_copy(p->job);
    if (p->kind == HN_SWEEP_FOLDS)
        json_object_del(job, "validation");
    int rc = ask_estimate(p, job, &p->estimate, err);
    json_decref(job);
    if (rc)
        return rc;
    p->steps = number_in(p->estimate, "steps");
    p->seconds = number_in(p->estimate, "seconds_estimate");
    if (p->kind != HN_SWEEP_FOLDS && p->kind != HN_SWEEP_LR_RANGE && !held_out(p->estimate)) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "no rows are held out for validation, so trials could not be compared");
        return refuse(err, "job.validation", "send \"validation\": 0.2, or a data set");
    }
    return 0;
}

static const json_t *chosen(const struct planning *p) {
    return json_object_get(p->estimate, "hyperparameters");
}

/* Models that the space names must be there: a misspelled one is no result. */
static int check_models(const struct planning *p, const json_t *axes, struct hn_error *err) {
    const json_t *axis, *value;
    size_t i, k;
    struct hn_db *db = hn_store_read(p->server->store, err);
    int rc = db ? 0 : HN_E_INTERNAL;
    json_array_foreach((json_t *)(uintptr_t)axes, i, axis) {
        const char *name = json_string_value(json_object_get(axis, "name"));
        json_array_foreach(json_object_get(axis, "values"), k, value) {
            json_t *record = NULL;
            if (!rc && strcmp(name, "model") == 0)
                rc = hn_db_model_get(db, json_string_value(value), &record, err);
            else if (!rc && strcmp(name, "dataset") == 0)
                rc = hn_db_dataset_reached(db, &p->who->reach, json_string_value(value), err);
            if (rc && err && !*err->field)
                hn_error_field(err, "space.%.40s.values[%zu]", name, k);
            json_decref(record);
        }
    }
    hn_store_release(p->server->store, db);
    return rc;
}

static int plan_space(struct planning *p, struct hn_error *err) {
    json_t *axes = NULL;
    const char *method = json_string_value(json_object_get(p->job, "method"));
    struct hn_space space;
    size_t endless = 0;
    if (!given(p, "space") && p->kind == HN_SWEEP_GRID) {
        hn_fail(err, HN_E_MISSING_FIELD, "a grid needs a space");
        refuse(err, "space", "{\"learning_rate\": {\"values\": [1e-4, 3e-4, 1e-3]}}");
        return HN_E_MISSING_FIELD;
    }
    int rc = 0;
    if (given(p, "space"))
        rc = hn_space_read(given(p, "space"), p->job, &axes, err);
    else
        axes = hn_space_around(chosen(p), method ? method : "lora");
    if (!rc)
        json_object_set_new(p->plan, "axes", axes);
    if (!rc)
        rc = check_models(p, axes, err);
    if (!rc)
        rc = hn_space_open(axes, &space, err);
    if (rc)
        return rc;
    size_t points = hn_space_grid(&space, &endless);
    if (p->kind == HN_SWEEP_GRID && !points) {
        const char *name =
            json_string_value(json_object_get(json_array_get(axes, endless), "name"));
        hn_fail(err, HN_E_INVALID_FIELD, "a grid needs values of %s, or a step", name);
        hn_error_field(err, "space.%s", name);
        hn_error_hint(err, "list its \"values\", or use the kind random or search");
        return HN_E_INVALID_FIELD;
    }
    if (p->kind == HN_SWEEP_GRID && points > HN_GRID_MAX) {
        hn_fail(err, HN_E_INVALID_FIELD, "the grid has more than %d points", HN_GRID_MAX);
        return refuse(err, "space", "use the kind random or search, with budget.jobs");
    }
    /* and the job as it is; a point that was tried tells nothing more */
    p->most = points && points <= HN_GRID_MAX ? (int64_t)points + 1 : HN_TUNE_TRIALS;
    p->trials = p->kind == HN_SWEEP_GRID || p->most < TRIALS ? p->most : TRIALS;
    return 0;
}

/* Jobs that ended before, on the same rows and base: they must be there, in reach. */
static int read_warm_start(struct planning *p, struct hn_error *err) {
    const json_t *list = given(p, "warm_start");
    size_t i;
    json_t *one;
    if (!list || json_is_false(list))
        return 0;
    if (!json_is_array(list) && !json_is_true(list)) {
        hn_fail(err, HN_E_INVALID_FIELD, "warm_start must be true, false or a list of job ids");
        return refuse(err, "warm_start", "true: all succeeded jobs on the same data and base");
    }
    struct hn_db *db = hn_store_read(p->server->store, err);
    int rc = db ? 0 : HN_E_INTERNAL;
    json_array_foreach((json_t *)(uintptr_t)list, i, one) {
        if (rc)
            break;
        rc = hn_db_job_reached(
            db, &p->who->reach, json_is_string(one) ? json_string_value(one) : "", err);
        if (rc)
            hn_error_field(err, "warm_start[%zu]", i);
    }
    hn_store_release(p->server->store, db);
    json_object_set(p->plan, "warm_start", (json_t *)(uintptr_t)list);
    return rc;
}

/* Shares of a run at which trials pause, and what the whole costs on average. */
static int plan_halving(struct planning *p, double *ret_share, struct hn_error *err) {
    const char *scheduler = p->kind == HN_SWEEP_SEARCH ? "asha" : "none";
    /* One rung: at a ninth of a short run nothing is learned yet, and all trials are equal there
     * (bench/SPEED.md). */
    int64_t eta = 3, rungs = 1;
    double every = number_in(chosen(p), "eval_every"), before = 0, left = 1;
    *ret_share = 1;
    int rc = hn_json_string(p->request, "scheduler", &scheduler, err);
    if (!rc && strcmp(scheduler, "asha") != 0 && strcmp(scheduler, "none") != 0) {
        hn_fail(err, HN_E_INVALID_FIELD, "scheduler must be asha or none");
        rc = refuse(err, "scheduler", "asha trains few trials to their end, none trains all");
    }
    if (!rc)
        rc = hn_json_int(p->request, "eta", 2, 10, &eta, err);
    if (!rc)
        rc = hn_json_int(p->request, "rungs", 1, HN_RUNGS_MAX, &rungs, err);
    if (rc)
        return rc;
    if (strcmp(scheduler, "asha") == 0 && every * 2 > p->steps) {
        scheduler = "none";
        warn(p, "no_rungs",
            json_sprintf("a trial of %.0f steps is evaluated every %.0f: there is no earlier "
                         "evaluation to pause at, so every trial is trained to its end",
                p->steps, every));
    }
    json_object_set_new(p->plan, "scheduler", json_string(scheduler));
    if (strcmp(scheduler, "asha") != 0)
        return 0;
    json_t *list = json_array();
    *ret_share = 0;
    for (int64_t i = rungs; i > 0; i--) {
        double share = pow((double)eta, (double)-i);
        json_array_append_new(list, json_real(share));
        *ret_share += left * (share - before);
        before = share;
        left /= (double)eta;
    }
    *ret_share += left * (1 - before);
    json_object_set_new(p->plan, "rungs", list);
    json_object_set_new(p->plan, "eta", json_integer(eta));
    return 0;
}

static void add_setting(json_t *list, const char *role, json_t *settings) {
    json_array_append_new(list, json_pack("{s:s,s:o}", "role", role, "settings", settings));
}

static int plan_folds(struct planning *p, struct hn_error *err) {
    int64_t folds = 5, rows = (int64_t)number_in(p->estimate, "rows") + held_out(p->estimate);
    const char *group = NULL;
    json_t *list = json_array();
    int rc = hn_json_int(p->request, "folds", 2, HN_SWEEP_FOLDS_MAX, &folds, err);
    if (!rc)
        rc = hn_json_string(p->request, "group_by", &group, err);
    if (!rc && folds > rows) {
        hn_fail(err, HN_E_INVALID_FIELD, "%lld folds of %lld rows are too many", (long long)folds,
            (long long)rows);
        rc = refuse(err, "folds", "5 is usual; each fold needs rows of each class");
    }
    for (int64_t i = 0; i < folds; i++)
        add_setting(list, "fold",
            json_pack("{s:{s:I,s:I,s:s?,s:I}}", "validation", "fold", (json_int_t)(i + 1), "folds",
                (json_int_t)folds, "group_by", group, "seed",
                json_integer_value(json_object_get(p->plan, "seed"))));
    json_object_set_new(p->plan, "settings", list);
    if (rc)
        return rc;
    /* the first is planned now: what cannot be split so is refused before anything runs */
    json_t *job = json_deep_copy(p->job), *estimate = NULL;
    rc = hn_settings_apply(json_object_get(json_array_get(list, 0), "settings"), job, err);
    if (!rc)
        rc = ask_estimate(p, job, &estimate, err);
    if (rc && err && strncmp(err->field, "job.validation", 14) == 0)
        hn_error_field(err, "%s", strstr(err->field, "group") ? "group_by" : "folds");
    if (!rc) {
        p->steps = number_in(estimate, "steps");
        p->seconds = number_in(estimate, "seconds_estimate");
    }
    json_decref(estimate);
    json_decref(job);
    p->trials = folds;
    return rc;
}

static int by_number(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int read_sizes(struct planning *p, double *shares, size_t *ret_n, struct hn_error *err) {
    const json_t *list = given(p, "sizes");
    double rows = number_in(p->estimate, "rows");
    size_t n = list ? json_array_size(list) : 6, kept = 0;
    if (list && (!json_is_array(list) || !n || n > SHARES_MAX)) {
        hn_fail(err, HN_E_INVALID_FIELD, "sizes must be a list of 1 to %d shares", SHARES_MAX);
        return refuse(err, "sizes", "for example [0.125, 0.25, 0.5, 1]");
    }
    for (size_t i = 0; i < n; i++) {
        double share = list ? json_number_value(json_array_get(list, i)) : ldexp(1, (int)i - 5);
        if (list && share > 1 && share <= rows)
            share /= rows; /* a number of rows */
        if (!(share > 0) || share > 1) {
            hn_fail(err, HN_E_INVALID_FIELD,
                "sizes[%zu] must be a share above 0 and at most 1, or a number of rows up to %.0f",
                i, rows);
            return refuse(err, "sizes", "for example [0.125, 0.25, 0.5, 1]");
        }
        if (share * rows >= 16)
            shares[kept++] = share;
        else if (list) {
            hn_fail(err, HN_E_INVALID_FIELD, "sizes[%zu] of %.0f training rows are %.1f rows", i,
                rows, share * rows);
            return refuse(err, "sizes", "a run needs at least 16 rows");
        }
    }
    qsort(shares, kept, sizeof *shares, by_number);
    for (size_t i = 1; i < kept; i++)
        if (shares[i] <= shares[i - 1]) {
            hn_fail(err, HN_E_INVALID_FIELD, "sizes has %.6g twice", shares[i]);
            return refuse(err, "sizes", "name each once; \"seeds\" repeats them");
        }
    if (kept < 2) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "%.0f training rows are too few for a curve: halves of them have under 16", rows);
        return refuse(err, "sizes", "collect at least some hundred rows first");
    }
    *ret_n = kept;
    return 0;
}

/* The same number of passes, but at least LEAST_STEPS steps: a small share is trained longer. */
static json_t *size_settings(const struct planning *p, double share, int64_t seed) {
    json_t *settings = json_object();
    double steps = p->steps * share, epochs = number_in(chosen(p), "epochs");
    if (share < 1)
        json_object_set_new(
            settings, "rows", json_pack("{s:f,s:I}", "share", share, "seed", (json_int_t)seed));
    if (steps < LEAST_STEPS && p->steps > steps) {
        double least = p->steps < LEAST_STEPS ? p->steps : LEAST_STEPS;
        json_object_set_new(settings, "epochs", json_real(ceil(epochs * least / steps)));
    }
    if (seed)
        json_object_set_new(settings, "seed", json_integer((json_int_t)seed));
    return settings;
}

static int plan_sizes(struct planning *p, double *ret_share, struct hn_error *err) {
    double shares[SHARES_MAX];
    size_t n = 0;
    int64_t seeds = json_integer_value(json_object_get(p->plan, "seeds")),
            seed = json_integer_value(json_object_get(p->plan, "seed"));
    int rc = read_sizes(p, shares, &n, err);
    if (rc)
        return rc;
    if (n < 4)
        warn(p, "no_forecast",
            json_sprintf("%zu sizes show a trend; a forecast needs at least four", n));
    json_t *list = json_array();
    *ret_share = 0;
    for (int64_t k = 0; k < seeds; k++)
        for (size_t i = 0; i < n; i++) {
            add_setting(list, "size", size_settings(p, shares[i], seed + k));
            double least = LEAST_STEPS / (p->steps > 0 ? p->steps : 1);
            *ret_share += shares[i] < least ? (least < 1 ? least : 1) : shares[i];
        }
    p->trials = (int64_t)json_array_size(list);
    *ret_share /= (double)p->trials;
    json_object_set_new(p->plan, "settings", list);
    return 0;
}

/* What is left out by a name, and the settings of a job that does so. */
static const struct {
    const char *code, *settings;
} findings[] = {{"exact_duplicates", "{\"dedupe\":\"exact\"}"},
    {"duplicates", "{\"dedupe\":\"exact\"}"}, {"near_duplicates", "{\"dedupe\":\"near\"}"},
    {"contradictions", "{\"drop_contradictions\":true}"}, {"leaks", "{\"drop_leaks\":\"exact\"}"},
    {"near_leaks", "{\"drop_leaks\":\"near\"}"},
    {HN_DIVERSE_HALF, "{\"rows\":{\"share\":0.5,\"diverse\":true}}"}};

/* One of "without": *ret_settings leaves the rows out (new), *ret_name is what it is called. */
static int read_without(
    size_t i, const json_t *given, const char **ret, json_t **ret_settings, struct hn_error *err) {
    static const char *const known[] = {"name", "lines", NULL};
    char field[40], prefix[48];
    const char *code = json_string_value(given);
    snprintf(field, sizeof field, "without[%zu]", i);
    snprintf(prefix, sizeof prefix, "%s.", field);
    for (size_t k = 0; code && k < sizeof findings / sizeof findings[0]; k++)
        if (strcmp(code, findings[k].code) == 0) {
            *ret = code;
            return hn_json_parse(
                findings[k].settings, strlen(findings[k].settings), ret_settings, err);
        }
    if (!json_is_object(given)) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "%s must be exact_duplicates, near_duplicates, contradictions, leaks, "
            "near_leaks, " HN_DIVERSE_HALF " or a list of lines",
            field);
        return refuse(err, field, "{\"name\": \"mislabelled\", \"lines\": [3, 17]}");
    }
    int rc = hn_json_known(given, known, prefix, err);
    *ret = "lines";
    if (!rc)
        rc = hn_json_string(given, "name", ret, err);
    if (!rc && !json_array_size(json_object_get(given, "lines"))) {
        hn_fail(err, HN_E_INVALID_FIELD, "%s.lines must be a list of line numbers", field);
        rc = refuse(err, field, "{\"name\": \"mislabelled\", \"lines\": [3, 17]}");
    }
    if (!rc)
        *ret_settings = json_pack("{s:{s:O}}", "rows", "exclude", json_object_get(given, "lines"));
    return rc;
}

/* Each list is left out, and beside it as many rows at random, so that what the rows are is told
 * from how many they are. */
static int plan_one_ablation(
    struct planning *p, size_t i, const json_t *given, json_t *list, struct hn_error *err) {
    const char *name = NULL;
    json_t *settings = NULL, *job = json_deep_copy(p->job), *estimate = NULL;
    int64_t seed = json_integer_value(json_object_get(p->plan, "seed")),
            seeds = json_integer_value(json_object_get(p->plan, "seeds"));
    int rc = read_without(i, given, &name, &settings, err);
    if (!rc)
        rc = hn_settings_apply(settings, job, err);
    if (!rc)
        rc = ask_estimate(p, job, &estimate, err);
    int64_t fewer =
        rc ? 0 : (int64_t)(number_in(p->estimate, "rows") - number_in(estimate, "rows"));
    if (!rc && fewer <= 0)
        warn(p, "nothing_left_out",
            json_sprintf("without[%zu] (%s) leaves out no training row: it is not tried", i, name));
    for (int64_t k = 0; !rc && fewer > 0 && k < seeds; k++) {
        json_t *one = json_deep_copy(settings),
               *control = json_pack("{s:{s:I,s:I}}", "rows", "random_out", (json_int_t)fewer,
                   "seed", (json_int_t)(seed + k + 1));
        json_object_set_new(one, "seed", json_integer((json_int_t)(seed + k)));
        json_object_set_new(control, "seed", json_integer((json_int_t)(seed + k)));
        json_array_append_new(list,
            json_pack("{s:s,s:s,s:o,s:I}", "role", "without", "name", name, "settings", one, "rows",
                (json_int_t)fewer));
        json_array_append_new(list,
            json_pack("{s:s,s:s,s:o,s:I}", "role", "random", "name", name, "settings", control,
                "rows", (json_int_t)fewer));
    }
    json_decref(estimate);
    json_decref(settings);
    json_decref(job);
    return rc;
}

static int plan_ablation(struct planning *p, struct hn_error *err) {
    const json_t *without = given(p, "without");
    json_t *one, *list = json_array();
    int64_t seeds = json_integer_value(json_object_get(p->plan, "seeds")),
            seed = json_integer_value(json_object_get(p->plan, "seed"));
    size_t i;
    int rc = 0;
    json_object_set_new(p->plan, "settings", list);
    if (!json_array_size(without) || json_array_size(without) > 16) {
        hn_fail(err, HN_E_INVALID_FIELD, "without must be a list of 1 to 16");
        return refuse(err, "without",
            "[\"exact_duplicates\", {\"name\": \"mislabelled\", \"lines\": [3, 17]}]");
    }
    for (int64_t k = 0; k < seeds; k++)
        add_setting(list, "all", json_pack("{s:I}", "seed", (json_int_t)(seed + k)));
    json_array_foreach((json_t *)(uintptr_t)without, i, one)
        if (!rc)
            rc = plan_one_ablation(p, i, one, list, err);
    p->trials = (int64_t)json_array_size(list);
    if (!rc && p->trials == seeds) {
        hn_fail(err, HN_E_INVALID_FIELD, "nothing of without leaves out a training row");
        rc = refuse(err, "without", "GET /datasets/{id} tells what is in the data");
    }
    return rc;
}

/* One short run, whose learning rate rises from a thousandth of the chosen one to a hundred times
 * it; nothing is evaluated meanwhile. */
static int plan_range(struct planning *p) {
    double rate = 100 * number_in(chosen(p), "learning_rate");
    int64_t steps = RANGE_STEPS;
    json_t *list = json_array();
    add_setting(list, "range",
        HN_JSON_OBJECT({"schedule", json_string("rising")},
            {"learning_rate", json_real(rate < 10 ? rate : 10.0)}, {"epochs", json_integer(10000)},
            {"max_steps", json_integer(steps)}, {"eval_every", json_integer(steps)},
            {"eval_at_start", json_false()}, {"early_stopping_patience", json_null()},
            {"max_kl", json_null()}, {"log_every", json_integer(1)}));
    json_object_set_new(p->plan, "settings", list);
    p->seconds *= p->steps > 0 ? (double)steps / p->steps : 1;
    p->steps = (double)steps;
    p->trials = 1;
    return 0;
}

/* How many trials the budget has room for, each of `share` of a run on average. */
static int fit_budget(struct planning *p, double share, struct hn_error *err) {
    static const char *const known[] = {"jobs", "steps", "seconds", NULL};
    const json_t *budget = given(p, "budget");
    int64_t jobs = 0;
    double steps = 0, seconds = 0, room;
    bool fixed = p->kind >= HN_SWEEP_FOLDS;
    int rc = !budget || json_is_object(budget)
        ? 0
        : hn_fail(err, HN_E_INVALID_FIELD, "budget must be an object");
    if (!rc && budget)
        rc = hn_json_known(budget, known, "budget.", err);
    if (!rc)
        rc = hn_json_int(budget, "jobs", 1, HN_TUNE_TRIALS, &jobs, err);
    if (!rc)
        rc = hn_json_number(budget, "steps", 1, 1e15, &steps, err);
    if (!rc)
        rc = hn_json_number(budget, "seconds", 1, 1e12, &seconds, err);
    if (rc) {
        hn_error_inside(err, "budget");
        return rc;
    }
    const char *which = "budget";
    /* kinds whose trials are listed, and grids, know how many; a search goes as far as its jobs */
    bool counted = fixed || p->kind == HN_SWEEP_GRID;
    double asked = (double)(jobs && !counted ? (jobs < p->most ? jobs : p->most) : p->trials);
    room = jobs && (double)jobs < asked ? (double)jobs : asked;
    /* and what the job as it is takes to its end, beside its share */
    double whole = share < 1 && !fixed ? 1 - share : 0;
    if (steps > 0 && floor((steps / p->steps - whole) / share) < room) {
        room = fmax(0, floor((steps / p->steps - whole) / share));
        which = "budget.steps";
    }
    double together = fmax(
        0, (seconds * (double)p->parallel / (p->seconds > 0 ? p->seconds : 1) - whole) / share);
    if (seconds > 0 && floor(together) < room) {
        room = floor(together);
        which = "budget.seconds";
    }
    double least = fixed ? (double)p->trials : 2;
    if (room < least) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "the budget has room for %.0f of at least %.0f trials: one takes about %.0f steps and "
            "%.0f seconds, %lld at a time",
            room, least, p->steps * share, p->seconds * share, (long long)p->parallel);
        hn_error_field(err, "%s", which);
        hn_error_hint(err, "raise it, or make the job shorter with epochs or max_steps");
        return HN_E_INVALID_FIELD;
    }
    if (room < asked)
        warn(p, "fewer_trials",
            json_sprintf("%.0f trials instead of %.0f, so that the budget is kept", room, asked));
    p->trials = (int64_t)room;
    return 0;
}

static int read_common(struct planning *p, struct hn_error *err) {
    int64_t seeds = 1, seed = 0;
    double target = (double)NAN;
    const char *keep = "best";
    p->parallel = p->server->config->slots;
    int rc = hn_json_int(p->request, "seeds", 1, SEEDS_MAX, &seeds, err);
    if (!rc)
        rc = hn_json_int(p->request, "seed", 0, INT64_MAX >> 11, &seed, err);
    if (!rc)
        rc = hn_json_int(p->request, "parallel", 1, 64, &p->parallel, err);
    if (!rc)
        rc = hn_json_number(p->request, "target", -1e300, 1e300, &target, err);
    if (!rc)
        rc = hn_json_string(p->request, "keep", &keep, err);
    if (!rc && strcmp(keep, "best") != 0 && strcmp(keep, "all") != 0 && strcmp(keep, "none") != 0) {
        hn_fail(err, HN_E_INVALID_FIELD, "keep must be best, all or none");
        rc = refuse(err, "keep", "whose checkpoints stay when the sweep has ended");
    }
    if (rc)
        return rc;
    const struct hn_json_member members[] = {{"kind", json_string(kinds[p->kind].name)},
        {"seed", json_integer(seed)}, {"seeds", json_integer(seeds)},
        {"parallel", json_integer(p->parallel)}, {"keep", json_string(keep)},
        {"target", isnan(target) ? json_null() : json_real(target)},
        {"scheduler", json_string("none")}, {"axes", json_array()}, {"rungs", json_array()}};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        json_object_set_new(p->plan, members[i].name, members[i].value);
    return 0;
}

static int plan_kind(struct planning *p, double *ret_share, struct hn_error *err) {
    switch (p->kind) {
    case HN_SWEEP_FOLDS:
        return plan_folds(p, err);
    case HN_SWEEP_DATA_SIZE:
        return plan_sizes(p, ret_share, err);
    case HN_SWEEP_ABLATION:
        return plan_ablation(p, err);
    case HN_SWEEP_LR_RANGE:
        return plan_range(p);
    default:
        break;
    }
    int rc = plan_space(p, err);
    if (!rc)
        rc = read_warm_start(p, err);
    return rc ? rc : plan_halving(p, ret_share, err);
}

static void finish_plan(struct planning *p, double share) {
    const char *metric = json_string_value(json_object_get(chosen(p), "metric_for_best"));
    double all =
        (double)p->trials * share + (share < 1 && p->kind < HN_SWEEP_FOLDS ? 1 - share : 0);
    const struct hn_json_member members[] = {{"job", json_incref(p->job)},
        {"metric", json_string(metric ? metric : "val_loss")},
        {"smaller", json_boolean(hn_metric_is_smaller(metric ? metric : "val_loss"))},
        {"trials", json_integer(p->trials)}, {"steps", json_real(p->steps)},
        {"seconds", json_real(p->seconds)},
        {"rows", hn_json_share(json_object_get(p->estimate, "rows"))},
        {"validation_rows", json_integer(held_out(p->estimate))},
        {"chosen", hn_json_share(chosen(p))},
        {"estimate",
            json_pack("{s:f,s:f}", "steps", round(all * p->steps), "seconds",
                round(all * p->seconds / (double)p->parallel))},
        {"budget", hn_json_share_or_null(given(p, "budget"))},
        {"warnings", json_incref(p->warnings)}};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        json_object_set_new(p->plan, members[i].name, members[i].value);
}

int hn_sweep_plan(struct hn_server *server, const struct hn_submitter *who, const json_t *request,
    json_t **ret, json_t **ret_details, struct hn_error *err) {
    struct planning p = {.server = server,
        .who = who,
        .request = request,
        .plan = json_object(),
        .warnings = json_array()};
    double share = 1;
    int rc = read_kind(&p, err);
    if (!rc)
        rc = check_special(&p, err);
    if (!rc)
        rc = read_common(&p, err);
    if (!rc)
        rc = read_job(&p, err);
    if (!rc)
        rc = estimate(&p, err);
    if (!rc)
        rc = plan_kind(&p, &share, err);
    if (!rc)
        rc = fit_budget(&p, share, err);
    if (!rc)
        finish_plan(&p, share);
    json_decref(p.job);
    json_decref(p.estimate);
    json_decref(p.warnings);
    if (ret_details)
        *ret_details = rc ? json_incref(p.details) : NULL;
    json_decref(p.details);
    if (rc)
        json_decref(p.plan);
    else
        *ret = p.plan;
    return rc;
}

static void read_rungs(struct hn_sweep_plan *plan) {
    const json_t *rungs = json_object_get(plan->json, "rungs");
    plan->asha = json_array_size(rungs) > 0;
    for (size_t i = 0; i < json_array_size(rungs) && i < HN_RUNGS_MAX; i++)
        plan->rungs[plan->n_rungs++] = json_number_value(json_array_get(rungs, i));
}

int hn_sweep_plan_open(const char *text, struct hn_sweep_plan *ret, struct hn_error *err) {
    *ret = (struct hn_sweep_plan){.target = (double)NAN};
    int rc = hn_json_parse(text, strlen(text), &ret->json, err);
    if (rc)
        return rc;
    const json_t *j = ret->json, *target = json_object_get(j, "target"),
                 *budget = json_object_get(j, "budget");
    const char *kind = json_string_value(json_object_get(j, "kind"));
    for (size_t i = 0; kind && i < HN_SWEEP_KINDS; i++)
        if (strcmp(kind, kinds[i].name) == 0)
            ret->kind = (enum hn_sweep_kind)i;
    ret->job = json_object_get(j, "job");
    ret->settings = json_object_get(j, "settings");
    ret->metric = json_string_value(json_object_get(j, "metric"));
    ret->keep = json_string_value(json_object_get(j, "keep"));
    ret->smaller = json_is_true(json_object_get(j, "smaller"));
    ret->trials = json_integer_value(json_object_get(j, "trials"));
    ret->parallel = json_integer_value(json_object_get(j, "parallel"));
    ret->seed = json_integer_value(json_object_get(j, "seed"));
    ret->seeds = json_integer_value(json_object_get(j, "seeds"));
    ret->eta = json_integer_value(json_object_get(j, "eta"));
    ret->steps = number_in(j, "steps");
    ret->seconds = number_in(j, "seconds");
    ret->budget_steps = (int64_t)number_in(budget, "steps");
    ret->budget_seconds = number_in(budget, "seconds");
    if (json_is_number(target))
        ret->target = json_number_value(target);
    read_rungs(ret);
    if (!kind || !ret->job || !ret->metric || !ret->keep)
        return hn_fail(err, HN_E_INTERNAL, "the plan of a sweep is not complete");
    return json_array_size(json_object_get(j, "axes"))
        ? hn_space_open(json_object_get(j, "axes"), &ret->space, err)
        : 0;
}

void hn_sweep_plan_finish(struct hn_sweep_plan *plan) {
    json_decref(plan->json);
    *plan = (struct hn_sweep_plan){0};
}
