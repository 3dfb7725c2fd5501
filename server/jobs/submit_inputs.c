/*
 * What a submission names: uploads become data sets; data sets, models and checkpoints are looked
 * up within the submitter's reach, and compared with what was taken in.
 */
#include "server/jobs/submit_internal.h"
#include "server/process/rundir.h"
#include "server/store/store_files.h"
#include "server/server.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A data set from an uploaded file; remembered so that a refusal can take it back. */
static int take_upload(
    struct hn_submitting *s, const char *name, json_t **ret, struct hn_error *err) {
    const struct hn_submission *in = s->in;
    struct hn_library library = s->server->library;
    struct hn_dataset_source source;
    const char *on_error = NULL;
    bool existing = false;
    size_t i = 0;
    while (i < in->n_uploads && strcmp(in->uploads[i].field, name) != 0)
        i++;
    if (i == in->n_uploads)
        return 0;
    library.asker = s->who->asker;
    hn_json_string(in->request, "on_error", &on_error, NULL);
    int rc = hn_upload_source(&in->uploads[i], on_error, &source, err);
    if (!rc) {
        hn_json_string(in->request, "format", &source.format, NULL);
        source.columns = json_object_get(in->request, "columns");
        source.columns = json_is_object(source.columns) ? source.columns : NULL;
        source.owner = s->who->owner;
        source.provisional = true;
        rc = hn_dataset_import(&library, &source, ret, &existing, &s->in->details, err);
    }
    if (rc) {
        if (rc != HN_E_INVALID_FIELD) /* which names its own */
            hn_error_field(err, "%s", name);
        return rc;
    }
    const char *id = json_string_value(json_object_get(*ret, "id"));
    if (!existing)
        snprintf(s->uploaded[s->n_uploaded++], HN_ID_SIZE, "%s", id);
    json_object_set_new(in->request, name, json_string(id));
    return 0;
}

static int find_dataset(struct hn_submitting *s, const char *field, const json_t *value,
    json_t **ret, struct hn_error *err) {
    const char *id = json_string_value(value);
    if (!id)
        return hn_submit_refuse(err, HN_E_INVALID_FIELD, field, "a data set is named by its id",
            "upload it with POST /datasets and send its \"id\"");
    int rc = hn_db_dataset_reached(s->db, &s->who->reach, id, err);
    if (!rc)
        rc = hn_db_dataset_get(s->db, id, ret, err);
    if (!rc)
        rc = hn_dataset_check(s->server->seen, s->server->config->state, *ret, err);
    if (rc)
        hn_error_field(err, "%s", field);
    return rc;
}

/* One of several: "ds_…" or {"dataset":"ds_…","weight":2}. What the plan wants goes to the end of
 * s->sources. */
static int resolve_source(struct hn_submitting *s, const json_t *value, struct hn_error *err) {
    static const char *const known[] = {"dataset", "weight", NULL};
    char field[48], prefix[56];
    double weight = 1;
    json_t *record = NULL;
    size_t n = json_array_size(s->sources);
    snprintf(field, sizeof field, "dataset[%zu]", n);
    snprintf(prefix, sizeof prefix, "%s.", field);
    int rc = json_is_object(value) ? hn_json_known(value, known, prefix, err) : 0;
    if (!rc && json_is_object(value) &&
        hn_json_number(value, "weight", HN_WEIGHT_MIN, HN_WEIGHT_MAX, &weight, err)) {
        rc = HN_E_INVALID_FIELD;
        hn_error_field(err, "%sweight", prefix);
        hn_error_hint(err,
            "a weight says how often each row is seen in an epoch: 2 is twice, 0.5 every second "
            "row");
    }
    if (!rc)
        rc = find_dataset(s, field,
            json_is_object(value) ? json_object_get(value, "dataset") : value, &record, err);
    for (size_t i = 0; !rc && i < n; i++)
        if (json_equal(json_object_get(json_array_get(s->datasets, i), "dataset"),
                json_object_get(record, "id")))
            rc = hn_submit_refuse(err, HN_E_INVALID_FIELD, field,
                "the same data set is named twice", "give it a weight of 2");
    if (!rc) {
        json_t *params = hn_dataset_params(s->server->config->state, record);
        json_object_set_new(params, "weight", json_real(weight));
        json_array_append_new(s->sources, params);
        json_array_append_new(s->datasets,
            json_pack("{s:O,s:f}", "dataset", json_object_get(record, "id"), "weight", weight));
    }
    if (!rc && !s->train)
        s->train = json_incref(record);
    json_decref(record);
    return rc;
}

/* Several data sets: [{"dataset":"ds_…","weight":2}, "ds_…"]. */
static int resolve_several(struct hn_submitting *s, const json_t *list, struct hn_error *err) {
    const json_t *value;
    size_t i;
    int rc = 0;
    if (!json_array_size(list) || json_array_size(list) > HN_DATASETS_MAX)
        return hn_submit_refuse(err, HN_E_INVALID_FIELD, "dataset",
            "a list of data sets has 1 to 16 of them",
            "join smaller files into one before uploading");
    s->sources = json_array();
    s->datasets = json_array();
    json_array_foreach(list, i, value)
        if (!rc)
            rc = resolve_source(s, value, err);
    return rc;
}

static int resolve_train(struct hn_submitting *s, struct hn_error *err) {
    int rc = take_upload(s, "dataset", &s->train, err);
    if (rc || s->train)
        return rc;
    const json_t *value = json_object_get(s->in->request, "dataset");
    if (!value || json_is_null(value))
        return hn_submit_refuse(err, HN_E_MISSING_FIELD, "dataset", "the job needs a data set",
            "send \"dataset\":\"ds_…\", or the file itself with curl -F dataset=@train.jsonl");
    return json_is_array(value) ? resolve_several(s, value, err)
                                : find_dataset(s, "dataset", value, &s->train, err);
}

/* Of "10%" 0.1; 0: it is no share between 0 and 100 percent. */
static double read_percent(const char *text) {
    char *end;
    double percent = isdigit((unsigned char)*text) ? strtod(text, &end) : 0;
    return percent > 0 && percent < 100 && strcmp(end, "%") == 0 ? percent / 100 : 0;
}

/* "ds_…" | fraction | "10%" | {"dataset"} | {"fraction"} | {"fold","folds",…} | "none" | absent;
 * what the plan wants goes into s->split. */
static int resolve_validation(struct hn_submitting *s, struct hn_error *err) {
    static const char *const known[] = {
        "dataset", "fraction", "fold", "folds", "group_by", "seed", NULL};
    int rc = take_upload(s, "validation", &s->validation, err);
    if (rc)
        return rc;
    const json_t *value = json_object_get(s->in->request, "validation");
    if (json_is_object(value)) {
        rc = hn_json_known(value, known, "validation.", err);
        if (rc)
            return rc;
        if (json_object_get(value, "fold") || json_object_get(value, "folds")) {
            s->split = json_copy((json_t *)(uintptr_t)value); /* the plan checks it */
            return 0;
        }
        if (json_object_size(value) != 1)
            return hn_submit_refuse(err, HN_E_INVALID_FIELD, "validation",
                "validation is a data set, a fraction or one of several folds",
                "for example {\"fraction\":0.1} or {\"fold\":1,\"folds\":5}");
        const json_t *inner = json_object_get(value, "dataset");
        value = inner ? inner : json_object_get(value, "fraction");
    }
    const char *text = json_string_value(value);
    if (!value || json_is_null(value) || (text && strcmp(text, "auto") == 0)) {
        s->split = json_string("auto");
    } else if (text && strcmp(text, "none") == 0) {
        s->split = json_string("none");
    } else if (text && read_percent(text) > 0) {
        s->split = json_pack("{s:f}", "fraction", read_percent(text));
    } else if (text && strchr(text, '%')) {
        rc = hn_submit_refuse(err, HN_E_INVALID_FIELD, "validation",
            "validation in percent must be more than 0 % and less than 100 %",
            "write it as \"10%\", without a space, or as 0.1");
    } else if (text) {
        if (!s->validation)
            rc = find_dataset(s, "validation", value, &s->validation, err);
        if (!rc)
            s->split = hn_dataset_params(s->server->config->state, s->validation);
    } else if (json_is_number(value) && json_number_value(value) > 0 &&
        json_number_value(value) < 1) {
        s->split = json_pack("{s:f}", "fraction", json_number_value(value));
    } else {
        rc = hn_submit_refuse(err, HN_E_INVALID_FIELD, "validation",
            "validation must be a data set's id, a fraction between 0 and 1, one of several folds, "
            "or \"none\"",
            "leave it out to have it chosen");
    }
    return rc;
}

static int resolve_model(struct hn_submitting *s, struct hn_error *err) {
    const char *name = NULL;
    int rc = hn_json_string(s->in->request, "model", &name, err);
    if (rc)
        return rc;
    if (!name || !*name)
        return hn_submit_refuse(err, HN_E_MISSING_FIELD, "model", "the job needs a base model",
            "GET /models lists them");
    rc = hn_db_model_get(s->db, name, &s->model, err);
    if (!rc)
        rc = hn_model_check(s->server->seen, s->server->config->state, s->model, err);
    if (rc)
        hn_error_field(err, "model");
    return rc;
}

static int resolve_test(struct hn_submitting *s, struct hn_error *err) {
    const json_t *test = json_object_get(s->in->request, "test");
    return test && !json_is_null(test) ? find_dataset(s, "test", test, &s->test, err) : 0;
}

/* Other precisions of the base, by name. */
static int resolve_others(struct hn_submitting *s, struct hn_error *err) {
    const json_t *list = json_object_get(s->in->request, "verify_on"), *value;
    char path[HN_PATH_SIZE];
    size_t i;
    int rc = 0;
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || json_array_size(list) > HN_VERIFY_ON_MAX)
        return hn_submit_refuse(err, HN_E_INVALID_FIELD, "verify_on",
            "verify_on is a list of at most 4 names of models", "GET /models lists them");
    s->others = json_array();
    json_array_foreach(list, i, value) {
        json_t *model = NULL;
        const char *name = json_string_value(value);
        if (rc)
            break;
        rc = hn_db_model_get(s->db, name ? name : "", &model, err);
        if (!rc)
            rc = hn_model_check(s->server->seen, s->server->config->state, model, err);
        if (!rc && !hn_model_path(path, s->server->config->state, model))
            rc = hn_fail(err, HN_E_INTERNAL, "path too long");
        if (rc)
            hn_error_field(err, "verify_on[%zu]", i);
        else
            json_array_append_new(s->others,
                json_pack("{s:s,s:s,s:O}", "name", name, "path", path, "sha256",
                    json_object_get(model, "sha256")));
        json_decref(model);
    }
    return rc;
}

/* The step whose checkpoint is meant: a number, "last", "best", or the exported one. */
static int init_step(
    const struct hn_job *job, const json_t *step, int64_t *ret, struct hn_error *err) {
    const char *text = json_string_value(step);
    json_error_t ignored;
    if (json_is_integer(step) && json_integer_value(step) > 0) {
        *ret = (int64_t)json_integer_value(step);
    } else if (text && strcmp(text, "last") == 0) {
        *ret = job->checkpoint_step;
    } else if (text && strcmp(text, "best") == 0) {
        json_t *best = job->best ? json_loads(job->best, 0, &ignored) : NULL;
        *ret = (int64_t)json_integer_value(json_object_get(best, "step"));
        json_decref(best);
    } else if (!step || json_is_null(step) || (text && strcmp(text, "exported") == 0)) {
        *ret = job->exported_step > 0 ? job->exported_step : job->checkpoint_step;
    } else {
        return hn_submit_refuse(err, HN_E_INVALID_FIELD, "init_from.step",
            "init_from.step is \"exported\", \"best\", \"last\" or the number of a step",
            "leave it out for the exported one");
    }
    return 0;
}

/* By content: a name may have been given to another model since, and a model another name. */
static bool has_base(const json_t *run, const json_t *model) {
    return json_equal(
        json_object_get(json_object_get(run, "model"), "sha256"), json_object_get(model, "sha256"));
}

/* {"job","step"}, or the job's id alone. */
static int resolve_init(struct hn_submitting *s, struct hn_error *err) {
    static const char *const known[] = {"job", "step", NULL};
    const json_t *value = json_object_get(s->in->request, "init_from");
    const char *id =
        json_string_value(json_is_object(value) ? json_object_get(value, "job") : value);
    char path[HN_PATH_SIZE], run_dir[HN_PATH_SIZE], name[HN_CHECKPOINT_SIZE];
    struct hn_job job;
    json_t *run = NULL;
    int64_t step = 0;
    if (!value || json_is_null(value))
        return 0;
    if (json_is_object(value)) {
        int rc = hn_json_known(value, known, "init_from.", err);
        if (rc)
            return rc;
    }
    if (!id)
        return hn_submit_refuse(err, HN_E_INVALID_FIELD, "init_from",
            "init_from names a job and a step of it",
            "for example {\"job\":\"job_…\",\"step\":\"best\"}");
    hn_job_init(&job);
    int rc = hn_db_job_reached(s->db, &s->who->reach, id, err);
    if (!rc)
        rc = hn_db_job_get(s->db, id, &job, err);
    if (!rc && job.run)
        rc = hn_json_parse(job.run, strlen(job.run), &run, err);
    if (!rc && !has_base(run, s->model))
        rc = hn_submit_refuse(err, HN_E_INVALID_FIELD, "init_from",
            "the job of init_from was trained on another model",
            "name the model with the content that it was trained on; GET /models shows each "
            "sha256");
    if (!rc)
        rc = init_step(&job, json_object_get(value, "step"), &step, err);
    hn_rundir_checkpoint(name, step, "state.safetensors");
    if (!rc &&
        (step <= 0 || !hn_state_path(run_dir, s->server->config->state, "runs", id, NULL) ||
            !hn_state_path(path, run_dir, name, NULL, NULL) || !hn_rundir_has(run_dir, name, 0)))
        rc = hn_submit_refuse(err, HN_E_NOT_FOUND, "init_from",
            "the job of init_from has no checkpoint of that step",
            "GET /jobs/{id}/checkpoints lists those that are kept");
    else if (rc == HN_E_NOT_FOUND)
        hn_error_field(err, "init_from");
    if (!rc)
        s->init = HN_JSON_OBJECT({"path", json_string(path)}, {"job", json_string(id)},
            {"step", json_integer(step)},
            {"target", hn_json_share_or_null(json_object_get(run, "target"))},
            {"problem", hn_json_share_or_null(json_object_get(run, "problem"))},
            {"labels", hn_json_share_or_null(json_object_get(run, "labels"))});
    json_decref(run);
    s->init_ended = !rc && hn_job_ended(job.status);
    hn_job_finish(&job);
    return rc;
}

/* Every name that leads nowhere is told at once, but no file is taken in for a request that is
 * refused already. */
int hn_submit_inputs(struct hn_submitting *s, struct hn_error *err) {
    static int (*const resolve[])(struct hn_submitting *, struct hn_error *) = {
        resolve_model, resolve_train, resolve_validation, resolve_test, resolve_others};
    json_t *faults = json_array();
    int rc = 0;
    for (size_t i = 0; i < sizeof resolve / sizeof resolve[0]; i++) {
        struct hn_error found;
        int one = rc && s->in->n_uploads ? 0 : resolve[i](s, &found);
        if (!one)
            continue;
        json_array_append_new(faults, hn_json_fault(&found));
        if (!rc && err)
            *err = found;
        rc = rc ? rc : one;
    }
    if (!rc)
        rc = resolve_init(s, err);
    hn_submit_details(s, json_array_size(faults) > 1 ? json_incref(faults) : NULL);
    json_decref(faults);
    return rc;
}
