/*
 * POST /jobs: a request becomes a planned, queued job, or nothing at all.
 *
 * Fields are checked here, hyperparameters by the engine's table, and everything that depends on
 * the model or the data by the helper's plan. Only then is the job written, in one transaction with
 * its Idempotency-Key. A data file that came with the request is taken in first and removed again
 * when the job is refused.
 */
#include "api/handlers.h"
#include "server/store/records.h"
#include "server/jobs/rundir.h"
#include "server/store/store_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One submission on its way. */
struct submission {
    struct hn_request *req;
    struct hn_db *db;
    json_t *request; /* as sent; files replaced by the data sets they became */
    json_t *columns; /* of uploaded files */
    json_t *model, *train, *validation, *test; /* records */
    /* of several training data sets: what the plan wants; [{"dataset","weight"}] */
    json_t *sources, *datasets;
    json_t *others; /* models of verify_on: [{"name","path","sha256"}], or NULL */
    /* {"path","job","step"} of the checkpoint that init_from names, or NULL */
    json_t *init;
    bool init_ended;              /* the job it is of writes no more */
    json_t *plan;                 /* the helper's answer */
    char uploaded[2][HN_ID_SIZE]; /* data sets that this request brought in */
    size_t n_uploaded;
    bool dry_run;
    const char *key;
    char body_hash[HN_SHA256_HEX];
};

static int bad_field(
    struct hn_error *err, int code, const char *field, const char *message, const char *hint) {
    hn_fail(err, code, "%s", message);
    hn_error_field(err, "%s", field);
    hn_error_hint(err, "%s", hint);
    return code;
}

static int read_form(struct submission *s, struct hn_error *err) {
    s->request = json_object();
    for (struct hn_part *part = s->req->parts; part; part = part->next) {
        bool file = part->filename != NULL;
        if (file && !hn_job_request_takes_file(part->name))
            return bad_field(err, HN_E_INVALID_FIELD, part->name,
                "only dataset and validation may be files",
                "curl -F dataset=@train.jsonl -F model=NAME");
        if (json_object_get(s->request, part->name))
            return bad_field(err, HN_E_INVALID_FIELD, part->name, "the form names a field twice",
                "send each part once");
        const char *text = part->data.data ? part->data.data : "";
        json_t *value =
            file ? json_sprintf("sha256:%s", part->sha256) : hn_job_request_form(part->name, text);
        if (!value || json_object_set_new(s->request, part->name, value))
            return bad_field(err, HN_E_INVALID_FIELD, part->name, "a form field is not valid UTF-8",
                "send UTF-8");
    }
    return 0;
}

static int read_request(struct submission *s, struct hn_error *err) {
    int rc = s->req->is_form ? read_form(s, err) : hn_body_object(s->req, &s->request, err);
    if (!rc)
        rc = hn_job_request_check(s->request, err);
    if (!rc)
        rc = hn_access_priority(
            s->req, json_integer_value(json_object_get(s->request, "priority")), err);
    json_t *columns = json_object_get(s->request, "columns");
    if (json_is_object(columns))
        s->columns = json_incref(columns);
    return rc;
}

/* A data set from an uploaded part; remembered so that a refusal can take it back. */
static int take_upload(struct submission *s, const char *name, json_t **ret, struct hn_error *err) {
    const char *format = NULL, *on_error = NULL;
    bool fresh = false;
    hn_json_string(s->request, "format", &format, NULL);
    hn_json_string(s->request, "on_error", &on_error, NULL);
    for (struct hn_part *part = s->req->parts; part; part = part->next) {
        if (!part->filename || strcmp(part->name, name) != 0)
            continue;
        int rc = hn_dataset_take(
            s->req, part, NULL, format, s->columns, on_error, true, ret, &fresh, err);
        if (rc) {
            if (rc != HN_E_INVALID_FIELD) /* which names its own */
                hn_error_field(err, "%s", name);
            return rc;
        }
        const char *id = json_string_value(json_object_get(*ret, "id"));
        if (fresh)
            snprintf(s->uploaded[s->n_uploaded++], HN_ID_SIZE, "%s", id);
        json_object_set_new(s->request, name, json_string(id));
        return 0;
    }
    return 0;
}

static int find_dataset(struct submission *s, const char *field, const json_t *value, json_t **ret,
    struct hn_error *err) {
    const char *id = json_string_value(value);
    if (!id)
        return bad_field(err, HN_E_INVALID_FIELD, field, "a data set is named by its id",
            "upload it with POST /datasets and send its \"id\"");
    int rc = hn_access_dataset(s->req, id, ret, err);
    if (!rc)
        rc = hn_dataset_check(s->req->server->seen, s->req->server->config->state, *ret, err);
    if (rc)
        hn_error_field(err, "%s", field);
    return rc;
}

/* One of several: "ds_…" or {"dataset":"ds_…","weight":2}. What the plan wants goes to the end of
 * s->sources. */
static int resolve_source(struct submission *s, const json_t *value, struct hn_error *err) {
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
            rc = bad_field(err, HN_E_INVALID_FIELD, field, "the same data set is named twice",
                "give it a weight of 2");
    if (!rc) {
        json_t *params = hn_dataset_params(s->req->server->config->state, record);
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
static int resolve_several(struct submission *s, const json_t *list, struct hn_error *err) {
    const json_t *value;
    size_t i;
    int rc = 0;
    if (!json_array_size(list) || json_array_size(list) > HN_DATASETS_MAX)
        return bad_field(err, HN_E_INVALID_FIELD, "dataset",
            "a list of data sets has 1 to 16 of them",
            "join smaller files into one before uploading");
    s->sources = json_array();
    s->datasets = json_array();
    json_array_foreach(list, i, value)
        if (!rc)
            rc = resolve_source(s, value, err);
    return rc;
}

static int resolve_train(struct submission *s, struct hn_error *err) {
    int rc = take_upload(s, "dataset", &s->train, err);
    if (rc || s->train)
        return rc;
    const json_t *value = json_object_get(s->request, "dataset");
    if (!value || json_is_null(value))
        return bad_field(err, HN_E_MISSING_FIELD, "dataset", "the job needs a data set",
            "send \"dataset\":\"ds_…\", or the file itself with curl -F dataset=@train.jsonl");
    return json_is_array(value) ? resolve_several(s, value, err)
                                : find_dataset(s, "dataset", value, &s->train, err);
}

/* "ds_…" | fraction | {"dataset"} | {"fraction"} | "none" | absent; what the plan wants goes into
 * *ret. */
static int resolve_validation(struct submission *s, json_t **ret, struct hn_error *err) {
    static const char *const known[] = {"dataset", "fraction", NULL};
    int rc = take_upload(s, "validation", &s->validation, err);
    if (rc)
        return rc;
    const json_t *value = json_object_get(s->request, "validation");
    if (json_is_object(value)) {
        rc = hn_json_known(value, known, "validation.", err);
        if (rc)
            return rc;
        if (json_object_size(value) != 1)
            return bad_field(err, HN_E_INVALID_FIELD, "validation",
                "validation is a data set or a fraction, not both",
                "for example {\"fraction\":0.1}");
        const json_t *inner = json_object_get(value, "dataset");
        value = inner ? inner : json_object_get(value, "fraction");
    }
    const char *text = json_string_value(value);
    if (!value || json_is_null(value) || (text && strcmp(text, "auto") == 0)) {
        *ret = json_string("auto");
    } else if (text && strcmp(text, "none") == 0) {
        *ret = json_string("none");
    } else if (text) {
        if (!s->validation)
            rc = find_dataset(s, "validation", value, &s->validation, err);
        if (!rc)
            *ret = hn_dataset_params(s->req->server->config->state, s->validation);
    } else if (json_is_number(value) && json_number_value(value) > 0 &&
        json_number_value(value) < 1) {
        *ret = json_pack("{s:f}", "fraction", json_number_value(value));
    } else {
        rc = bad_field(err, HN_E_INVALID_FIELD, "validation",
            "validation must be a data set's id, a fraction between 0 and 1, or \"none\"",
            "leave it out to have it chosen");
    }
    return rc;
}

static int resolve_model(struct submission *s, struct hn_error *err) {
    const char *name = NULL;
    int rc = hn_json_string(s->request, "model", &name, err);
    if (rc)
        return rc;
    if (!name || !*name)
        return bad_field(err, HN_E_MISSING_FIELD, "model", "the job needs a base model",
            "GET /models lists them");
    rc = hn_db_model_get(s->db, name, &s->model, err);
    if (!rc)
        rc = hn_model_check(s->req->server->seen, s->req->server->config->state, s->model, err);
    if (rc)
        hn_error_field(err, "model");
    return rc;
}

/* Other precisions of the base, by name. */
static int resolve_others(struct submission *s, struct hn_error *err) {
    const json_t *list = json_object_get(s->request, "verify_on"), *value;
    char path[HN_PATH_SIZE];
    size_t i;
    int rc = 0;
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || json_array_size(list) > HN_VERIFY_ON_MAX)
        return bad_field(err, HN_E_INVALID_FIELD, "verify_on",
            "verify_on is a list of at most 4 names of models", "GET /models lists them");
    s->others = json_array();
    json_array_foreach(list, i, value) {
        json_t *model = NULL;
        const char *name = json_string_value(value);
        if (rc)
            break;
        rc = hn_db_model_get(s->db, name ? name : "", &model, err);
        if (!rc)
            rc = hn_model_check(s->req->server->seen, s->req->server->config->state, model, err);
        if (!rc && !hn_model_path(path, s->req->server->config->state, model))
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
        return bad_field(err, HN_E_INVALID_FIELD, "init_from.step",
            "init_from.step is \"exported\", \"best\", \"last\" or the number of a step",
            "leave it out for the exported one");
    }
    return 0;
}

/* {"job","step"}, or the job's id alone. */
static int resolve_init(struct submission *s, struct hn_error *err) {
    static const char *const known[] = {"job", "step", NULL};
    const json_t *value = json_object_get(s->request, "init_from");
    const char *id =
        json_string_value(json_is_object(value) ? json_object_get(value, "job") : value);
    char path[HN_PATH_SIZE], run_dir[HN_PATH_SIZE], name[HN_CHECKPOINT_SIZE];
    struct hn_job job;
    int64_t step = 0;
    if (!value || json_is_null(value))
        return 0;
    if (json_is_object(value)) {
        int rc = hn_json_known(value, known, "init_from.", err);
        if (rc)
            return rc;
    }
    if (!id)
        return bad_field(err, HN_E_INVALID_FIELD, "init_from",
            "init_from names a job and a step of it",
            "for example {\"job\":\"job_…\",\"step\":\"best\"}");
    int rc = hn_access_job(s->req, id, &job, err);
    if (!rc &&
        (!job.model ||
            strcmp(job.model, json_string_value(json_object_get(s->model, "name"))) != 0))
        rc = bad_field(err, HN_E_INVALID_FIELD, "init_from",
            "the job of init_from was trained on another model", job.model ? job.model : "");
    if (!rc)
        rc = init_step(&job, json_object_get(value, "step"), &step, err);
    hn_rundir_checkpoint(name, step, "state.safetensors");
    if (!rc &&
        (step <= 0 || !hn_state_path(run_dir, s->req->server->config->state, "runs", id, NULL) ||
            !hn_state_path(path, run_dir, name, NULL, NULL) || !hn_rundir_has(run_dir, name, 0)))
        rc = bad_field(err, HN_E_NOT_FOUND, "init_from",
            "the job of init_from has no checkpoint of that step",
            "GET /jobs/{id}/checkpoints lists those that are kept");
    else if (rc == HN_E_NOT_FOUND)
        hn_error_field(err, "init_from");
    if (!rc)
        s->init = json_pack("{s:s,s:s,s:I}", "path", path, "job", id, "step", (json_int_t)step);
    s->init_ended = !rc && hn_job_ended(job.status);
    hn_job_finish(&job);
    return rc;
}

/* The checkpoint is linked into the new job's folder at once: the job it is of may be deleted while
 * this one waits. */
static int place_init(const struct submission *s, const char *job, struct hn_error *err) {
    const char *state = s->req->server->config->state;
    char to[HN_PATH_SIZE], run_dir[HN_PATH_SIZE], name[HN_CHECKPOINT_SIZE];
    if (!s->init)
        return 0;
    if (!hn_state_path(to, state, "runs", job, "inputs/init.safetensors") ||
        !hn_state_path(
            run_dir, state, "runs", json_string_value(json_object_get(s->init, "job")), NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    hn_rundir_checkpoint(
        name, json_integer_value(json_object_get(s->init, "step")), "state.safetensors");
    return hn_rundir_keep(run_dir, name, to, s->init_ended ? HN_BLOB_SHARED : HN_BLOB_OWN, err);
}

static int ask_plan(struct submission *s, json_t *validation, struct hn_error *err) {
    const struct hn_config *config = s->req->server->config;
    char path[HN_PATH_SIZE], today[16];
    time_t now = time(NULL);
    struct tm tm;
    strftime(today, sizeof today, "%Y-%m-%d", gmtime_r(&now, &tm));
    if (!hn_model_path(path, config->state, s->model))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int64_t threads = config->threads / config->slots;
    json_t *params = json_pack("{s:{s:s,s:O,s:O},s:o,s:o,s:I,s:I,s:s}", "model", "path", path,
        "sha256", json_object_get(s->model, "sha256"), "name", json_object_get(s->model, "name"),
        "train", hn_dataset_params(config->state, s->train), "validation", validation,
        "memory_bytes", (json_int_t)(config->memory / config->slots), "threads",
        (json_int_t)(threads > 0 ? threads : 1), "now", today);
    if (hn_state_path(path, config->state, "tokens", NULL, NULL) && config->token_cache)
        json_object_set_new(params, "tokens",
            json_pack("{s:s,s:I}", "folder", path, "bytes", (json_int_t)config->token_cache));
    hn_job_request_pass(s->request, params);
    if (s->init)
        json_object_set(params, "init", s->init);
    if (s->others)
        json_object_set(params, "verify_on", s->others);
    if (s->sources) { /* the first, with its weight, and the others */
        json_object_set(params, "train", json_array_get(s->sources, 0));
        json_array_remove(s->sources, 0);
        json_object_set(params, "more", s->sources);
    }
    if (s->test)
        json_object_set_new(
            params, "test", hn_dataset_params(s->req->server->config->state, s->test));
    int rc = hn_plan_ask(s->req, params, &s->plan, err);
    json_decref(params);
    return rc;
}

static int64_t peak_of(const struct submission *s) {
    return (int64_t)json_integer_value(
        json_object_get(json_object_get(s->plan, "plan"), "peak_bytes"));
}

/* Refused now, with what would fit, rather than killed after an hour. */
static int check_fit(struct submission *s, struct hn_error *err) {
    int64_t memory = s->req->server->config->memory, peak = peak_of(s);
    if (peak <= memory)
        return 0;
    hn_fail(err, HN_E_DOES_NOT_FIT,
        "the job needs %lld MiB of memory and the server may use %lld MiB", (long long)(peak >> 20),
        (long long)(memory >> 20));
    hn_error_hint(err,
        "lower micro_batch_tokens or max_length, or see \"alternatives\" of POST /jobs?dry_run=1");
    json_t *details = json_array(), *choice;
    size_t i;
    json_array_foreach(
        json_object_get(json_object_get(s->plan, "dry_run"), "alternatives"), i, choice) {
        char *change =
            json_dumps(json_object_get(choice, "change"), JSON_COMPACT | JSON_ENCODE_ANY);
        json_array_append_new(details,
            json_pack("{s:s,s:o,s:s}", "field", "hyperparameters", "message",
                json_sprintf("with %s it needs %lld MiB", change ? change : "a change",
                    (long long)(json_integer_value(json_object_get(choice, "peak_bytes")) >> 20)),
                "hint", change ? change : ""));
        free(change);
    }
    json_decref(s->req->details);
    s->req->details = json_pack("{s:o}", "details", details);
    return HN_E_DOES_NOT_FIT;
}

static int reply_dry_run(struct submission *s, struct hn_error *err) {
    int64_t memory = s->req->server->config->memory;
    json_t *answer = json_deep_copy(json_object_get(s->plan, "dry_run"));
    if (!answer)
        return hn_fail(err, HN_E_INTERNAL, "the plan is not complete");
    json_object_set_new(answer, "fits", json_boolean(peak_of(s) <= memory));
    json_object_set_new(answer, "available_bytes", json_integer(memory));
    json_object_set(answer, "warnings", json_object_get(s->plan, "warnings"));
    json_object_set(answer, "auto", json_object_get(s->plan, "auto"));
    return hn_reply_json(s->req, 200, answer, err);
}

static char *text_of(const json_t *value) {
    return json_dumps(
        value ? value : json_null(), JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
}

static const char *word(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

static char *copy_or_null(const char *text) {
    return text ? strdup(text) : NULL;
}

/* What stays in the record "as sent" must be sendable again: uploads are named by their ids by
 * now. */
static void fill_job(const struct submission *s, struct hn_job *job) {
    const json_t *plan = s->plan, *r = s->request, *dry = json_object_get(plan, "dry_run"),
                 *texts = json_object_get(plan, "texts");
    const json_t *metadata = json_object_get(r, "metadata");
    char id[HN_ID_SIZE], now[HN_TIME_SIZE];
    hn_id_make("job", id);
    hn_time_now(now);
    job->id = strdup(id);
    job->name = copy_or_null(word(r, "name"));
    job->owner = strdup(s->req->key.id);
    job->task = copy_or_null(word(plan, "task"));
    job->method = copy_or_null(word(plan, "method"));
    job->model = copy_or_null(word(s->model, "name"));
    job->dataset = copy_or_null(word(s->train, "id"));
    job->datasets = s->datasets ? text_of(s->datasets) : NULL;
    job->validation_dataset = s->validation ? copy_or_null(word(s->validation, "id")) : NULL;
    job->test_dataset = s->test ? copy_or_null(word(s->test, "id")) : NULL;
    job->validation = copy_or_null(word(texts, "validation"));
    job->request = text_of(r);
    job->hyperparameters = copy_or_null(word(texts, "hyperparameters"));
    job->auto_why = copy_or_null(word(texts, "auto"));
    job->counts = copy_or_null(word(texts, "counts"));
    job->plan = copy_or_null(word(texts, "plan"));
    job->run = copy_or_null(word(texts, "run"));
    job->host = copy_or_null(word(texts, "host"));
    job->metadata = json_is_object(metadata) ? text_of(metadata) : strdup("{}");
    job->priority = (int64_t)json_integer_value(json_object_get(r, "priority"));
    job->peak_bytes = peak_of(s);
    job->total_steps = (int64_t)json_integer_value(json_object_get(dry, "steps"));
    job->created_at = strdup(now);
}

static int insert(struct submission *s, struct hn_error *err) {
    struct hn_job job;
    hn_job_init(&job);
    fill_job(s, &job);
    struct hn_job_insert insert = {.job = &job,
        .reach = hn_access_reach(s->req),
        .warnings = json_object_get(s->plan, "warnings"),
        .key = s->key,
        .key_body = s->body_hash};
    int rc = place_init(s, job.id, err);
    if (!rc)
        rc = job.task && job.method && job.run && job.host
            ? hn_store_call(s->req->server->store, hn_db_job_insert, &insert, err)
            : hn_fail(err, HN_E_INTERNAL, "the plan is not complete");
    if (s->init && (rc || insert.existing[0]))
        hn_library_take_back(&s->req->server->library, "runs", job.id);
    if (!rc && insert.existing[0]) {
        hn_reply_header(s->req, "Idempotency-Replayed", "true");
        rc = hn_job_reply(s->req, 200, insert.existing, err);
    } else if (!rc) {
        for (size_t i = 0; i < s->n_uploaded; i++)
            hn_record_update(
                s->req->server->config->state, s->req->server->store, "datasets", s->uploaded[i]);
        s->n_uploaded = 0; /* they belong to a job now */
        hn_workers_wake(s->req->server->workers);
        hn_request_object(s->req, job.id);
        char *location = hn_request_alloc(s->req, 64);
        if (location) {
            snprintf(location, 64, "/jobs/%s", job.id);
            hn_reply_header(s->req, "Location", location);
        }
        rc = hn_job_reply(s->req, 201, job.id, err);
    }
    hn_job_finish(&job);
    return rc;
}

/* Tells in *done whether the key has its answer already. Hashes the request as sent, files by their
 * content. */
static int check_key(struct submission *s, bool *done, struct hn_error *err) {
    char existing[HN_ID_SIZE], *text;
    s->key = hn_request_header(s->req, "Idempotency-Key");
    *done = false;
    if (!s->key || s->dry_run)
        return 0;
    if (!*s->key || strlen(s->key) > 200)
        return bad_field(err, HN_E_INVALID_FIELD, "Idempotency-Key",
            "Idempotency-Key must have 1 to 200 characters", "a random UUID is a good one");
    if (!(text = hn_json_canonical(s->request)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_sha256(text, strlen(text), s->body_hash);
    free(text);
    int rc = hn_db_idempotent(s->db, s->req->key.id, s->key, s->body_hash, existing, err);
    if (rc || !existing[0])
        return rc;
    *done = true;
    hn_reply_header(s->req, "Idempotency-Replayed", "true");
    return hn_job_reply(s->req, 200, existing, err);
}

static int submit(struct submission *s, struct hn_error *err) {
    json_t *validation = NULL;
    bool done = false;
    int rc = read_request(s, err);
    if (!rc)
        rc = check_key(s, &done, err);
    if (rc || done)
        return rc;
    rc = resolve_model(s, err);
    if (!rc)
        rc = resolve_train(s, err);
    if (!rc)
        rc = resolve_validation(s, &validation, err);
    const json_t *test = json_object_get(s->request, "test");
    if (!rc && test && !json_is_null(test))
        rc = find_dataset(s, "test", test, &s->test, err);
    if (!rc)
        rc = resolve_others(s, err);
    if (!rc)
        rc = resolve_init(s, err);
    if (!rc)
        rc = ask_plan(s, validation, err);
    else
        json_decref(validation);
    if (!rc && s->dry_run)
        return reply_dry_run(s, err);
    if (!rc)
        rc = check_fit(s, err);
    return rc ? rc : insert(s, err);
}

int hn_jobs_create(struct hn_request *req, struct hn_error *err) {
    struct submission s = {.req = req};
    int rc = hn_query_flag(req, "dry_run", &s.dry_run, err);
    if (!rc && !(s.db = hn_request_db(req, err)))
        rc = HN_E_INTERNAL;
    if (!rc && atomic_load(&req->server->draining) && !s.dry_run)
        rc = hn_fail(err, HN_E_BUSY, "the server is shutting down");
    if (!rc)
        rc = submit(&s, err);
    for (size_t i = 0; i < s.n_uploaded; i++)
        hn_dataset_take_back(&req->server->library, s.uploaded[i]);
    json_decref(s.request);
    json_decref(s.columns);
    json_decref(s.model);
    json_decref(s.train);
    json_decref(s.sources);
    json_decref(s.datasets);
    json_decref(s.validation);
    json_decref(s.test);
    json_decref(s.others);
    json_decref(s.init);
    json_decref(s.plan);
    return rc;
}
