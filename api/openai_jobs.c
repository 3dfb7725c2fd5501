/*
 * /v1/fine_tuning/jobs: jobs under OpenAI's names. `ftjob-X` is the job `job_X`; a request becomes
 * a native one (fields of its own in x_hone), which is submitted like any other.
 */
#include "api/handlers.h"
#include "api/openai.h"
#include "server/base/id.h"
#include "server/process/rundir.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define JOB "ftjob-"
#define REPEATED_SECONDS 600 /* a client that repeats a request does so sooner */

/* --- the object ----------------------------------------------------------------------------- */

static json_t *parsed(const char *text) {
    json_t *value = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    return value ? value : json_null();
}

/* A number as a whole one where it is one. */
static json_t *number(const json_t *value) {
    double x = json_number_value(value);
    return !json_is_number(value)         ? json_null()
        : x == floor(x) && fabs(x) < 1e15 ? json_integer((json_int_t)x)
                                          : json_real(x);
}

static json_t *hyperparameters(const struct hn_job *job) {
    json_t *all = parsed(job->hyperparameters),
           *multiplier = json_object_get(all, "learning_rate_multiplier");
    json_t *out =
        json_pack("{s:o, s:o, s:o, s:o}", "n_epochs", number(json_object_get(all, "epochs")),
            "batch_size", number(json_object_get(all, "batch_size")), "learning_rate_multiplier",
            multiplier ? number(multiplier) : json_integer(1), "x_learning_rate",
            json_incref(json_object_get(all, "learning_rate")));
    json_decref(all);
    return out;
}

static json_t *error_of(const struct hn_job *job) {
    if (strcmp(job->status, "failed") != 0)
        return json_null();
    return json_pack("{s:s, s:s, s:n}", "code", job->reason_code ? job->reason_code : "internal",
        "message", job->reason_message ? job->reason_message : "", "param");
}

static json_t *file_id(const char *dataset) {
    char id[HN_OPENAI_ID];
    if (!dataset)
        return json_null();
    hn_openai_file_name(dataset, id);
    return json_string(id);
}

static json_t *time_or_null(const char *time) {
    return time ? json_integer((json_int_t)hn_openai_time(time)) : json_null();
}

static json_t *result_files(const struct hn_job *job, bool done) {
    char id[HN_OPENAI_ID];
    hn_openai_result_file(job->id, id);
    return done ? json_pack("[s]", id) : json_array();
}

static json_t *estimated_finish(const struct hn_job *job) {
    if (strcmp(job->status, "running") != 0 || isnan(job->step_seconds) || job->total_steps <= 0)
        return json_null();
    double left = (double)(job->total_steps - job->step) * job->step_seconds;
    return json_integer((json_int_t)time(NULL) + (json_int_t)(left > 0 ? left : 0));
}

static json_t *method_of(const struct hn_job *job) {
    return json_pack("{s:s, s:{s:o}}", "type", "supervised", "supervised", "hyperparameters",
        hyperparameters(job));
}

static json_t *seed_of(const struct hn_job *job) {
    json_t *all = parsed(job->hyperparameters), *seed = json_incref(json_object_get(all, "seed"));
    json_decref(all);
    return seed ? seed : json_integer(0);
}

static void job_name(const char *id, char ret[HN_OPENAI_ID]) {
    snprintf(ret, HN_OPENAI_ID, JOB "%.16s", id + 4);
}

static json_t *job_json(const struct hn_job *job) {
    char id[HN_OPENAI_ID], result[HN_OPENAI_NAME];
    bool done = strcmp(job->status, "succeeded") == 0;
    job_name(job->id, id);
    hn_openai_model_name(job, -1, result);
    return HN_JSON_OBJECT({"id", json_string(id)}, {"object", json_string("fine_tuning.job")},
        {"created_at", json_integer((json_int_t)hn_openai_time(job->created_at))},
        {"error", error_of(job)}, {"fine_tuned_model", done ? json_string(result) : json_null()},
        {"finished_at", time_or_null(job->finished_at)}, {"hyperparameters", hyperparameters(job)},
        {"model", json_string(job->model)}, {"organization_id", json_string("hone")},
        {"result_files", result_files(job, done)}, {"seed", seed_of(job)},
        {"status", json_string(job->status)},
        {"trained_tokens", done ? json_integer((json_int_t)job->tokens) : json_null()},
        {"training_file", file_id(job->dataset)},
        {"validation_file", file_id(job->validation_dataset)},
        {"estimated_finish", estimated_finish(job)}, {"integrations", json_array()},
        {"metadata", parsed(job->metadata)}, {"method", method_of(job)},
        {"user_provided_suffix", hn_json_string_or_null(job->name)},
        {"x_hone",
            json_pack("{s:s, s:o, s:o, s:o}", "id", job->id, "fit", parsed(job->fit), "warnings",
                parsed(job->warnings), "auto", parsed(job->auto_why))});
}

/* --- one job -------------------------------------------------------------------------------- */

int hn_openai_job_load(struct hn_request *req, struct hn_job *ret, struct hn_error *err) {
    const char *name = req->params[0];
    struct hn_reach reach = hn_access_reach(req);
    struct hn_db *db = hn_request_db(req, err);
    char id[HN_ID_SIZE];
    hn_job_init(ret);
    if (!db)
        return HN_E_INTERNAL;
    bool good = strncmp(name, JOB, strlen(JOB)) == 0 && strlen(name) == strlen(JOB) + 16;
    snprintf(id, sizeof id, "job_%.16s", good ? name + strlen(JOB) : "");
    if (!hn_id_valid("job", id) || (!reach.all && hn_db_job_reached(db, &reach, id, err)) ||
        hn_db_job_get(db, id, ret, err)) {
        hn_fail(err, HN_E_NOT_FOUND, "Could not find fine tune: %.100s", name);
        hn_error_field(err, "fine_tuning_job_id");
        return HN_E_NOT_FOUND;
    }
    return 0;
}

static int reply_job(struct hn_request *req, const char *id, struct hn_error *err) {
    struct hn_job job;
    hn_job_init(&job);
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_job_get(db, id, &job, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_reply_json(req, 200, job_json(&job), err);
    hn_job_finish(&job);
    return rc;
}

int hn_openai_jobs_get(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    int rc = hn_openai_job_load(req, &job, err);
    if (!rc)
        rc = hn_reply_json(req, 200, job_json(&job), err);
    hn_job_finish(&job);
    return rc;
}

static int ask(struct hn_request *req, const char *verb, struct hn_error *err) {
    struct hn_job job;
    int rc = hn_openai_job_load(req, &job, err);
    struct hn_job_ask question = {job.id, verb};
    if (!rc)
        rc = hn_store_call(req->server->store, hn_db_job_ask, &question, err);
    if (!rc)
        rc = reply_job(req, job.id, err);
    hn_job_finish(&job);
    return rc;
}

int hn_openai_jobs_cancel(struct hn_request *req, struct hn_error *err) {
    return ask(req, "cancel", err);
}

int hn_openai_jobs_pause(struct hn_request *req, struct hn_error *err) {
    return ask(req, "pause", err);
}

int hn_openai_jobs_resume(struct hn_request *req, struct hn_error *err) {
    return ask(req, "resume", err);
}

/* --- list ----------------------------------------------------------------------------------- */

static void add_job(void *ud, const struct hn_job *job) {
    json_array_append_new(ud, job_json(job));
}

int hn_openai_jobs_list(struct hn_request *req, struct hn_error *err) {
    struct hn_job_filter filter = {.reach = hn_access_reach(req)};
    const char *after;
    char id[HN_ID_SIZE];
    json_t *list = json_array();
    bool more = false;
    hn_job_filter_metadata(req, &filter);
    int rc = hn_query_page(req, 20, 100, &filter.limit, &after, err);
    if (!rc && after && strlen(after) == strlen(JOB) + 16) {
        snprintf(id, sizeof id, "job_%.16s", after + strlen(JOB));
        filter.after = id;
    }
    struct hn_db *db = rc ? NULL : hn_request_db(req, err);
    if (!rc)
        rc = db ? hn_db_job_list(db, &filter, add_job, list, &more, err) : HN_E_INTERNAL;
    if (rc) {
        json_decref(list);
        return rc;
    }
    return hn_openai_reply_list(req, list, more, err);
}

/* --- checkpoints ---------------------------------------------------------------------------- */

static json_t *checkpoint_json(const struct hn_job *job, const json_t *checkpoint) {
    char id[HN_OPENAI_ID + 32], own[HN_OPENAI_ID], name[HN_OPENAI_NAME];
    json_int_t step = json_integer_value(json_object_get(checkpoint, "step"));
    const json_t *metrics = json_object_get(checkpoint, "metrics");
    json_t *loss = hn_json_share_or_null(json_object_get(metrics, "val_loss")),
           *accuracy = hn_json_share_or_null(json_object_get(metrics, "val_token_accuracy"));
    hn_openai_model_name(job, step, name);
    job_name(job->id, own);
    snprintf(id, sizeof id, "ftckpt_%.16s_%lld", job->id + 4, (long long)step);
    json_t *out = HN_JSON_OBJECT({"id", json_string(id)},
        {"object", json_string("fine_tuning.job.checkpoint")},
        {"created_at",
            json_integer((json_int_t)hn_openai_time(
                json_string_value(json_object_get(checkpoint, "created_at"))))},
        {"fine_tuned_model_checkpoint", json_string(name)},
        {"fine_tuning_job_id", json_string(own)}, {"step_number", json_integer(step)},
        {"metrics",
            json_pack("{s:I, s:o, s:O, s:O, s:O, s:O}", "step", step, "train_loss",
                hn_json_share_or_null(json_object_get(metrics, "loss")), "valid_loss", loss,
                "valid_mean_token_accuracy", accuracy, "full_valid_loss", loss,
                "full_valid_mean_token_accuracy", accuracy)});
    json_decref(loss);
    json_decref(accuracy);
    return out;
}

int hn_openai_jobs_checkpoints(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    json_t *kept = NULL, *list = json_array();
    const char *after = NULL;
    int64_t limit = 10;
    bool more = false;
    int rc = hn_openai_job_load(req, &job, err);
    if (!rc)
        rc = hn_query_page(req, 10, 1000, &limit, &after, err);
    if (!rc)
        rc = hn_rundir_checkpoints(
            req->server->config->state, hn_request_db(req, err), &job, &kept, err);
    bool begun = !after;
    for (size_t i = json_array_size(kept); !rc && i-- > 0;) { /* newest first */
        json_t *one = checkpoint_json(&job, json_array_get(kept, i));
        bool full = json_array_size(list) >= (size_t)limit;
        more = more || (begun && full);
        if (begun && !full)
            json_array_append(list, one);
        begun = begun || strcmp(json_string_value(json_object_get(one, "id")), after) == 0;
        json_decref(one);
    }
    json_decref(kept);
    hn_job_finish(&job);
    if (rc) {
        json_decref(list);
        return rc;
    }
    return hn_openai_reply_list(req, list, more, err);
}

/* --- submission ----------------------------------------------------------------------------- */

static int refuse(struct hn_error *err, int code, const char *field, const char *why) {
    hn_fail(err, code, "%s", why);
    hn_error_field(err, "%s", field);
    return code;
}

/* OpenAI's names of what Hone has under its own. */
static const struct {
    const char *theirs, *ours;
} renamed[] = {
    {"n_epochs", "epochs"},
    {"batch_size", "batch_size"},
    {"learning_rate_multiplier", "learning_rate_multiplier"},
};

static int read_hyperparameters(
    const json_t *given, const char *place, json_t *request, struct hn_error *err) {
    static const char *const known[] = {"n_epochs", "batch_size", "learning_rate_multiplier", NULL};
    json_t *hp = json_object_get(request, "hyperparameters");
    int rc = hn_json_known(given, known, place, err);
    for (size_t i = 0; !rc && i < sizeof renamed / sizeof renamed[0]; i++) {
        json_t *value = json_object_get(given, renamed[i].theirs);
        bool is_auto = json_is_string(value) && strcmp(json_string_value(value), "auto") == 0;
        if (value && !json_is_null(value) && !is_auto)
            json_object_set(hp, renamed[i].ours, value);
    }
    return rc;
}

static int read_method(const json_t *body, json_t *request, struct hn_error *err) {
    const json_t *method = json_object_get(body, "method");
    const char *type = json_string_value(json_object_get(method, "type"));
    if (!method || json_is_null(method))
        return read_hyperparameters(
            json_object_get(body, "hyperparameters"), "hyperparameters.", request, err);
    if (type && (strcmp(type, "dpo") == 0 || strcmp(type, "reinforcement") == 0))
        return refuse(
            err, HN_E_UNSUPPORTED, "method", "only the method \"supervised\" can be trained here");
    if (!type || strcmp(type, "supervised") != 0)
        return refuse(err, HN_E_INVALID_FIELD, "method", "method.type must be \"supervised\"");
    return read_hyperparameters(
        json_object_get(json_object_get(method, "supervised"), "hyperparameters"),
        "method.supervised.hyperparameters.", request, err);
}

/* The data set of a file into request[to]. */
static int read_file(
    const json_t *body, const char *from, json_t *request, const char *to, struct hn_error *err) {
    const char *id = NULL;
    char dataset[HN_ID_SIZE];
    int rc = hn_json_string(body, from, &id, err);
    if (rc || !id)
        return rc;
    if (!hn_openai_file_dataset(id, dataset)) {
        hn_fail(err, HN_E_INVALID_FIELD, "%s \"%.80s\" is not the id of a file", from, id);
        hn_error_field(err, "%s", from);
        hn_error_hint(err, "upload it with POST /v1/files");
        return HN_E_INVALID_FIELD;
    }
    json_object_set_new(request, to, json_string(dataset));
    return 0;
}

/* A base, or a result or checkpoint that training goes on from. */
static int read_model(
    struct hn_request *req, const json_t *body, json_t *request, struct hn_error *err) {
    const char *name = NULL;
    char id[HN_ID_SIZE];
    int64_t step;
    int rc = hn_json_string(body, "model", &name, err);
    if (!rc && !name)
        rc = refuse(err, HN_E_MISSING_FIELD, "model", "you must provide a model parameter");
    if (rc)
        return rc;
    if (!hn_openai_model_job(name, id, &step)) {
        json_object_set_new(request, "model", json_string(name));
        return 0;
    }
    struct hn_job job;
    struct hn_reach reach = hn_access_reach(req);
    struct hn_db *db = hn_request_db(req, err);
    hn_job_init(&job);
    rc = db ? 0 : HN_E_INTERNAL;
    if (!rc && !reach.all)
        rc = hn_db_job_reached(db, &reach, id, err);
    if (!rc)
        rc = hn_db_job_get(db, id, &job, err);
    if (!rc) {
        json_object_set_new(request, "model", json_string(job.model));
        json_object_set_new(request, "init_from",
            step < 0 ? json_pack("{s:s}", "job", id)
                     : json_pack("{s:s, s:I}", "job", id, "step", (json_int_t)step));
    }
    hn_job_finish(&job);
    return rc;
}

/* Fields of Hone's own: they go before what was made of OpenAI's. */
static int add_own(const json_t *body, json_t *request, struct hn_error *err) {
    json_t *own = json_object_get(body, "x_hone"), *value;
    const char *name;
    if (own && !json_is_null(own) && !json_is_object(own))
        return refuse(err, HN_E_INVALID_FIELD, "x_hone", "x_hone is an object of a job's fields");
    json_object_foreach(own, name, value) {
        json_t *before = json_object_get(request, name);
        if (json_is_object(before) && json_is_object(value) && strcmp(name, "hyperparameters") == 0)
            json_object_update(before, value);
        else
            json_object_set(request, name, value);
    }
    json_t *form = json_object_get(request, "notify_form");
    if (json_object_get(request, "notify_url") && !form)
        json_object_set_new(request, "notify_form", json_string("openai"));
    return 0;
}

/* The native request. Without a validation file all rows are trained on, as the API has it. */
static int read_request(
    struct hn_request *req, const json_t *body, json_t *request, struct hn_error *err) {
    static const char *const known[] = {"model", "training_file", "validation_file", "suffix",
        "seed", "metadata", "integrations", "hyperparameters", "method", "x_hone", NULL};
    const char *suffix = NULL;
    int64_t seed = 0;
    json_object_set_new(request, "hyperparameters", json_object());
    json_object_set_new(request, "validation", json_string("none"));
    int rc = hn_json_known(body, known, "", err);
    if (!rc)
        rc = read_model(req, body, request, err);
    if (!rc && !json_is_string(json_object_get(body, "training_file")))
        rc = refuse(
            err, HN_E_MISSING_FIELD, "training_file", "you must provide a training_file parameter");
    if (!rc)
        rc = read_file(body, "training_file", request, "dataset", err);
    if (!rc)
        rc = read_file(body, "validation_file", request, "validation", err);
    if (!rc)
        rc = hn_json_string(body, "suffix", &suffix, err);
    if (!rc && suffix && (!*suffix || strlen(suffix) > 64))
        rc = refuse(err, HN_E_INVALID_FIELD, "suffix", "suffix has 1 to 64 characters");
    if (!rc && suffix)
        json_object_set_new(request, "name", json_string(suffix));
    if (!rc)
        rc = hn_json_int(body, "seed", 0, 2147483647, &seed, err);
    if (!rc && json_is_integer(json_object_get(body, "seed")))
        json_object_set_new(
            json_object_get(request, "hyperparameters"), "seed", json_integer(seed));
    if (!rc && json_array_size(json_object_get(body, "integrations")))
        rc = refuse(err, HN_E_UNSUPPORTED, "integrations",
            "integrations are not supported; GET /jobs/{id}/metrics has all figures");
    if (!rc)
        rc = read_method(body, request, err);
    json_t *metadata = json_object_get(body, "metadata");
    if (!rc && metadata && !json_is_null(metadata))
        json_object_set(request, "metadata", metadata);
    return rc ? rc : add_own(body, request, err);
}

/* The newest job that is asked for by the same words. */
struct repeated {
    const json_t *request;
    const char *owner;
    int64_t since;
    char id[HN_ID_SIZE];
};

static void compare(void *ud, const struct hn_job *job) {
    struct repeated *r = ud;
    json_t *request = parsed(job->request);
    const char *owner = job->owner ? job->owner : "";
    if (!*r->id && hn_openai_time(job->created_at) >= r->since && strcmp(owner, r->owner) == 0 &&
        json_equal(request, r->request))
        snprintf(r->id, sizeof r->id, "%s", job->id);
    json_decref(request);
}

/* Whether the client says that it sends this again, and the job is there: clients of OpenAI's API
 * repeat a request whose answer was lost, without a key by which it could be known. */
static int find_repeated(
    struct hn_request *req, const json_t *request, char ret[HN_ID_SIZE], struct hn_error *err) {
    const char *count = hn_request_header(req, "X-Stainless-Retry-Count");
    struct hn_job_filter filter = {.reach = hn_access_reach(req), .limit = 50};
    struct repeated repeated = {
        .request = request, .owner = req->key.id, .since = time(NULL) - REPEATED_SECONDS};
    bool more;
    *ret = 0;
    if (!count || strtol(count, NULL, 10) < 1)
        return 0;
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_job_list(db, &filter, compare, &repeated, &more, err) : HN_E_INTERNAL;
    snprintf(ret, HN_ID_SIZE, "%s", repeated.id);
    return rc;
}

/* The error's field under the name that the client used. */
static void rename_field(struct hn_error *err) {
    static const struct {
        const char *ours, *theirs;
    } names[] = {{"dataset", "training_file"}, {"validation", "validation_file"},
        {"hyperparameters.epochs", "n_epochs"}, {"hyperparameters.batch_size", "batch_size"},
        {"hyperparameters.learning_rate_multiplier", "learning_rate_multiplier"},
        {"hyperparameters.seed", "seed"}, {"name", "suffix"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(err->field, names[i].ours) == 0) {
            hn_error_field(err, "%s", names[i].theirs);
            return;
        }
}

static int submit(
    struct hn_request *req, json_t *request, char id[HN_ID_SIZE], struct hn_error *err) {
    struct hn_submitter who = hn_access_submitter(req);
    struct hn_submission s = {.request = request, .key = hn_request_header(req, "Idempotency-Key")};
    int rc = hn_submit(req->server, &who, &s, err);
    if (rc)
        rename_field(err);
    snprintf(id, HN_ID_SIZE, "%s", s.id);
    json_decref(req->details);
    req->details = s.details;
    return rc;
}

int hn_openai_jobs_create(struct hn_request *req, struct hn_error *err) {
    json_t *body = NULL, *request = json_object();
    char id[HN_ID_SIZE] = "";
    int rc = hn_body_object(req, &body, err);
    if (!rc)
        rc = read_request(req, body, request, err);
    if (!rc)
        rc = find_repeated(req, request, id, err);
    if (!rc && !*id)
        rc = submit(req, request, id, err);
    json_decref(request);
    json_decref(body);
    if (rc)
        return rc;
    hn_request_object(req, id);
    return reply_job(req, id, err);
}
