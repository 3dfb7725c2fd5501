/* See submit.h. */
#include "server/jobs/submit_internal.h"
#include "server/jobs/plan_cache.h"
#include "server/base/hook_address.h"
#include "server/process/rundir.h"
#include "server/store/records.h"
#include "server/store/store_trials.h"
#include "server/server.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int hn_submit_refuse(
    struct hn_error *err, int code, const char *field, const char *message, const char *hint) {
    hn_fail(err, code, "%s", message);
    hn_error_field(err, "%s", field);
    hn_error_hint(err, "%s", hint);
    return code;
}

int hn_submitter_priority(const struct hn_submitter *who, int64_t priority, struct hn_error *err) {
    if (priority <= 0 || who->admin)
        return 0;
    hn_fail(err, HN_E_FORBIDDEN,
        "a priority above 0 is given by keys of scope \"admin\"; this one has \"%s\"", who->scope);
    hn_error_field(err, "priority");
    hn_error_hint(err, "leave priority out, or lower it: from -100 to 0 any key may choose");
    return HN_E_FORBIDDEN;
}

/* The checkpoint is linked into the new job's folder at once: the job it is of may be deleted while
 * this one waits. */
static int place_init(const struct hn_submitting *s, const char *job, struct hn_error *err) {
    const char *state = s->server->config->state;
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

/* Where the base was imported from, for results that name it; null for a path of this machine, but
 * for one of the hub's cache, which is told in its names. */
static json_t *origin_of(const json_t *model) {
    const char *source = json_string_value(json_object_get(model, "source"));
    const char *cached = source ? strstr(source, "models--") : NULL;
    if (!source || (strchr("/.~", *source) && !cached))
        return json_null();
    return json_string(cached ? cached : source);
}

void hn_submit_details(struct hn_submitting *s, json_t *faults) {
    if (!faults)
        return;
    json_decref(s->in->details);
    s->in->details =
        json_pack("{s:o,s:I}", "details", faults, "total", (json_int_t)json_array_size(faults));
}

static int ask_plan(struct hn_submitting *s, struct hn_error *err) {
    const struct hn_config *config = s->server->config;
    char path[HN_PATH_SIZE], today[16];
    time_t now = time(NULL);
    struct tm tm;
    strftime(today, sizeof today, "%Y-%m-%d", gmtime_r(&now, &tm));
    if (!hn_model_path(path, config->state, s->model))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int64_t threads = config->threads / config->slots;
    json_t *params =
        HN_JSON_OBJECT({"model",
                           HN_JSON_OBJECT({"path", json_string(path)},
                               {"sha256", hn_json_share(json_object_get(s->model, "sha256"))},
                               {"name", hn_json_share(json_object_get(s->model, "name"))},
                               {"source", origin_of(s->model)})},
            {"train", hn_dataset_params(config->state, s->train)},
            {"validation", hn_json_share(s->split)},
            {"memory_bytes", json_integer((config->memory / config->slots))},
            {"threads", json_integer((threads > 0 ? threads : 1))}, {"now", json_string(today)});
    if (hn_state_path(path, config->state, "tokens", NULL, NULL) && config->token_cache)
        json_object_set_new(params, "tokens",
            json_pack("{s:s,s:I}", "folder", path, "bytes", (json_int_t)config->token_cache));
    hn_job_request_pass(s->in->request, params);
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
        json_object_set_new(params, "test", hn_dataset_params(s->server->config->state, s->test));
    int rc = hn_plan_ask(s->server->plans, s->who->asker, params, &s->plan, &s->in->details, err);
    json_decref(params);
    return rc;
}

static int64_t peak_of(const struct hn_submitting *s) {
    return (int64_t)json_integer_value(
        json_object_get(json_object_get(s->plan, "plan"), "peak_bytes"));
}

/* Refused now, with what would fit, rather than killed after an hour. */
static int check_fit(struct hn_submitting *s, struct hn_error *err) {
    int64_t memory = s->server->config->memory, peak = peak_of(s);
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
    hn_submit_details(s, details);
    return HN_E_DOES_NOT_FIT;
}

static int tell_estimate(struct hn_submitting *s, struct hn_error *err) {
    int64_t memory = s->server->config->memory;
    json_t *answer = json_deep_copy(json_object_get(s->plan, "dry_run"));
    if (!answer)
        return hn_fail(err, HN_E_INTERNAL, "the plan is not complete");
    json_object_set_new(answer, "fits", json_boolean(peak_of(s) <= memory));
    json_object_set_new(answer, "available_bytes", json_integer(memory));
    json_object_set(answer, "warnings", json_object_get(s->plan, "warnings"));
    json_object_set(answer, "auto", json_object_get(s->plan, "auto"));
    json_object_set(answer, "validation", json_object_get(s->plan, "validation"));
    if (json_is_object(json_object_get(s->plan, "labels")))
        json_object_update(answer, json_object_get(s->plan, "labels"));
    s->in->estimate = answer;
    return 0;
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

static void fill_labels(struct hn_job *job, const json_t *shown) {
    const json_t *list = json_object_get(shown, "labels");
    job->problem = copy_or_null(word(shown, "problem"));
    job->label_count = list ? json_integer_value(json_object_get(shown, "label_count")) : -1;
    job->labels = list ? text_of(list) : NULL;
}

/* A trial pauses at evaluations: the first at or behind each share of the run. Shares that fall
 * together are one stop, and the end is none. */
static void place_rungs(const struct hn_submitting *s, struct hn_job *job) {
    struct hn_trial_insert *trial = s->in->trial;
    const json_t *chosen = json_object_get(s->plan, "hyperparameters");
    double every = json_number_value(json_object_get(chosen, "eval_every"));
    if (!trial)
        return;
    job->sweep = copy_or_null(trial->sweep);
    trial->n_rungs = 0;
    for (size_t i = 0; i < s->in->n_rungs && every >= 1; i++) {
        double share = s->in->rungs[i] * (double)job->total_steps;
        int64_t step = (int64_t)(ceil(share / every - 1e-9) * every);
        int64_t last = trial->n_rungs ? trial->rungs[trial->n_rungs - 1] : 0;
        if (step > last && step < job->total_steps && trial->n_rungs < HN_RUNGS_MAX)
            trial->rungs[trial->n_rungs++] = step;
    }
    job->stop_at = trial->n_rungs ? trial->rungs[0] : -1;
}

/* What stays in the record "as sent" must be sendable again: uploads are named by their ids by
 * now. */
static void fill_job(const struct hn_submitting *s, struct hn_job *job) {
    const json_t *plan = s->plan, *r = s->in->request, *dry = json_object_get(plan, "dry_run"),
                 *texts = json_object_get(plan, "texts");
    const json_t *metadata = json_object_get(r, "metadata");
    char id[HN_ID_SIZE], now[HN_TIME_SIZE];
    hn_id_make("job", id);
    hn_time_now(now);
    job->id = strdup(id);
    job->name = copy_or_null(word(r, "name"));
    job->owner = strdup(s->who->owner);
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
    fill_labels(job, json_object_get(plan, "labels"));
    job->warnings = copy_or_null(word(texts, "warnings"));
    job->plan = copy_or_null(word(texts, "plan"));
    job->run = copy_or_null(word(texts, "run"));
    job->host = copy_or_null(word(texts, "host"));
    job->metadata = json_is_object(metadata) ? text_of(metadata) : strdup("{}");
    job->priority = (int64_t)json_integer_value(json_object_get(r, "priority"));
    job->peak_bytes = peak_of(s);
    job->total_steps = (int64_t)json_integer_value(json_object_get(dry, "steps"));
    place_rungs(s, job);
    job->created_at = strdup(now);
}

static int insert(struct hn_submitting *s, struct hn_error *err) {
    struct hn_server *server = s->server;
    struct hn_job job;
    hn_job_init(&job);
    fill_job(s, &job);
    struct hn_job_insert insert = {.job = &job,
        .reach = s->who->reach,
        .warnings = json_object_get(s->plan, "warnings"),
        .trial = s->in->trial,
        .key = s->in->key,
        .key_body = s->body_hash};
    int rc = place_init(s, job.id, err);
    if (!rc)
        rc = job.task && job.method && job.run && job.host
            ? hn_store_call(server->store, hn_db_job_insert, &insert, err)
            : hn_fail(err, HN_E_INTERNAL, "the plan is not complete");
    s->in->existing = !rc && insert.existing[0];
    if (s->init && (rc || s->in->existing))
        hn_library_take_back(&server->library, "runs", job.id);
    if (!rc)
        snprintf(s->in->id, sizeof s->in->id, "%s", s->in->existing ? insert.existing : job.id);
    if (!rc && !s->in->existing) {
        for (size_t i = 0; i < s->n_uploaded; i++)
            hn_record_update(server->config->state, server->store, "datasets", s->uploaded[i]);
        s->n_uploaded = 0; /* they belong to a job now */
    }
    hn_job_finish(&job);
    return rc;
}

/* Whether the key has its answer already. Hashes the request as sent, files by their content. */
static int check_key(struct hn_submitting *s, struct hn_error *err) {
    struct hn_submission *in = s->in;
    char *text;
    if (in->dry_run)
        in->key = NULL;
    if (!in->key)
        return 0;
    if (!*in->key || strlen(in->key) > 200)
        return hn_submit_refuse(err, HN_E_INVALID_FIELD, "Idempotency-Key",
            "Idempotency-Key must have 1 to 200 characters", "a random UUID is a good one");
    if (!(text = hn_json_canonical(in->request)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_sha256(text, strlen(text), s->body_hash);
    free(text);
    int rc = hn_db_idempotent(s->db, s->who->owner, in->key, s->body_hash, in->id, err);
    in->existing = !rc && in->id[0];
    return rc;
}

/* Who is told of the job's end, and in whose words. */
static int check_notice(const struct hn_submitting *s, struct hn_error *err) {
    const char *url = word(s->in->request, "notify_url"),
               *form = word(s->in->request, "notify_form");
    if (form && strcmp(form, "hone") != 0 && strcmp(form, "openai") != 0)
        return hn_submit_refuse(err, HN_E_INVALID_FIELD, "notify_form",
            "notify_form must be \"hone\" or \"openai\"", "leave it out");
    return url ? hn_hook_address_allowed(url, s->server->config->notify_hosts, err) : 0;
}

static int submit(struct hn_submitting *s, struct hn_error *err) {
    const json_t *priority = json_object_get(s->in->request, "priority");
    json_t *faults = NULL;
    int rc = hn_job_request_check(s->in->request, &faults, err);
    hn_submit_details(s, faults);
    if (!rc)
        rc = hn_submitter_priority(s->who, json_integer_value(priority), err);
    if (!rc)
        rc = check_notice(s, err);
    if (!rc)
        rc = check_key(s, err);
    if (rc || s->in->existing)
        return rc;
    rc = hn_submit_inputs(s, err);
    if (!rc)
        rc = ask_plan(s, err);
    if (!rc && s->in->dry_run)
        return tell_estimate(s, err);
    if (!rc)
        rc = check_fit(s, err);
    return rc ? rc : insert(s, err);
}

int hn_submit(struct hn_server *server, const struct hn_submitter *who,
    struct hn_submission *submission, struct hn_error *err) {
    struct hn_submitting s = {.server = server, .who = who, .in = submission};
    if (atomic_load(&server->draining) && !submission->dry_run)
        return hn_fail(err, HN_E_BUSY, "the server is shutting down");
    s.db = hn_store_read(server->store, err);
    int rc = s.db ? submit(&s, err) : HN_E_INTERNAL;
    for (size_t i = 0; i < s.n_uploaded; i++)
        hn_dataset_take_back(&server->library, s.uploaded[i]);
    json_t *owned[] = {s.model, s.train, s.sources, s.datasets, s.validation, s.split, s.test,
        s.others, s.init, s.plan};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        json_decref(owned[i]);
    hn_store_release(server->store, s.db);
    return rc;
}
