/* A job as the API shows it (contract section 2). */
#include "api/handlers.h"
#include "api/cache.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One of the caller's own, to add to. */
static json_t *own_value(struct hn_kept *kept, const char *text) {
    json_t *shared = hn_kept_value(kept, text), *own = json_copy(shared);
    json_decref(shared);
    return own;
}

static json_t *real(double value) {
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *count(int64_t value) {
    return value < 0 ? json_null() : json_integer(value);
}

static json_t *progress(const struct hn_job *job) {
    double fraction = job->total_steps > 0 ? (double)job->step / (double)job->total_steps : 0;
    bool runs = strcmp(job->status, "running") == 0;
    json_t *eta = runs && job->total_steps > job->step && !isnan(job->step_seconds)
        ? json_real(round((double)(job->total_steps - job->step) * job->step_seconds * 10) / 10)
        : json_null();
    return HN_JSON_OBJECT({"step", json_integer(job->step)},
        {"total_steps", json_integer(job->total_steps)}, {"epoch", real(job->epoch)},
        {"tokens", json_integer(job->tokens)},
        {"fraction", json_real(fraction > 1 ? 1.0 : fraction)},
        {"tokens_per_second", real(job->tokens_per_second)}, {"eta_seconds", eta});
}

static json_t *validation(struct hn_kept *kept, const struct hn_job *job) {
    json_t *value = own_value(kept, job->validation);
    if (job->validation_dataset && json_is_object(value))
        json_object_set_new(value, "dataset", json_string(job->validation_dataset));
    return value;
}

/* What was measured at the end, on rows that nothing looked at before. */
static json_t *test(struct hn_kept *kept, const struct hn_job *job) {
    json_t *value = job->test ? own_value(kept, job->test) : NULL;
    if (!job->test_dataset)
        return json_null();
    if (!json_is_object(value))
        value = json_object();
    json_object_set_new(value, "dataset", json_string(job->test_dataset));
    return value;
}

static json_t *links(const struct hn_job *job) {
    static const char *const names[] = {"metrics", "events", "artifacts"};
    json_t *object = json_object();
    for (size_t i = 0; i < 3; i++)
        json_object_set_new(object, names[i], json_sprintf("/jobs/%s/%s", job->id, names[i]));
    return object;
}

static json_t *whole(struct hn_db *db, struct hn_kept *kept, const struct hn_job *job) {
    int64_t position = 0;
    hn_db_job_position(db, job, &position, NULL);
    const struct {
        const char *name;
        json_t *value;
    } fields[] = {
        {"id", json_string(job->id)},
        {"owner", job->owner && *job->owner ? json_string(job->owner) : json_null()},
        {"name", job->name ? json_string(job->name) : json_null()},
        {"status", json_string(job->status)},
        {"requested", job->requested ? json_string(job->requested) : json_null()},
        {"status_reason",
            job->reason_code
                ? json_pack("{s:s,s:s?}", "code", job->reason_code, "message", job->reason_message)
                : json_null()},
        {"queue_position", position ? json_integer(position) : json_null()},
        {"task", json_string(job->task)},
        {"method", json_string(job->method)},
        {"model", json_string(job->model)},
        {"dataset", json_string(job->dataset)},
        {"datasets", job->datasets ? hn_kept_value(kept, job->datasets) : json_null()},
        {"validation", validation(kept, job)},
        {"test", test(kept, job)},
        {"request", hn_kept_value(kept, job->request)},
        {"hyperparameters", hn_kept_value(kept, job->hyperparameters)},
        {"auto", hn_kept_value(kept, job->auto_why)},
        {"progress", progress(job)},
        {"metrics",
            json_pack("{s:o,s:o,s:o}", "loss", real(job->loss), "val_loss", real(job->val_loss),
                "best", hn_kept_value(kept, job->best))},
        {"fit", hn_kept_value(kept, job->fit)},
        {"dataset_counts", hn_kept_value(kept, job->counts)},
        {"problem", hn_json_string_or_null(job->problem)},
        {"label_count", count(job->label_count)},
        {"labels", hn_kept_value(kept, job->labels)},
        {"warnings", hn_kept_value(kept, job->warnings)},
        {"plan", hn_kept_value(kept, job->plan)},
        {"verification", hn_kept_value(kept, job->verification)},
        {"exported_step", count(job->exported_step)},
        {"kernels", job->kernels ? json_string(job->kernels) : json_null()},
        {"attempts", json_integer(job->attempts)},
        /* of its events: a page that shows the latest starts there */
        {"last_seq", json_integer(job->next_seq - 1)},
        {"parent_sweep", job->sweep ? json_string(job->sweep) : json_null()},
        {"stop_at", count(job->stop_at)},
        {"verifies", job->verifies ? json_string(job->verifies) : json_null()},
        {"priority", json_integer(job->priority)},
        {"metadata", hn_kept_value(kept, job->metadata)},
        {"artifacts_ready", json_boolean(strcmp(job->status, "succeeded") == 0)},
        {"created_at", json_string(job->created_at)},
        {"started_at", job->started_at ? json_string(job->started_at) : json_null()},
        {"finished_at", job->finished_at ? json_string(job->finished_at) : json_null()},
        {"notice", hn_kept_value(kept, job->notice)},
        {"links", links(job)},
    };
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        json_object_set_new(
            object, fields[i].name, fields[i].value ? fields[i].value : json_null());
    hn_job_request_show(json_object_get(object, "request"), object);
    return object;
}

char *hn_job_text(
    struct hn_db *db, struct hn_kept *kept, const struct hn_job *job, int64_t version) {
    char *text = hn_kept_reply(kept, job->id, version);
    if (text)
        return text;
    text = hn_reply_text(whole(db, kept, job));
    if (text)
        hn_keep_reply(kept, job->id, version, text);
    return text;
}

int hn_job_load(struct hn_request *req, struct hn_job *ret, struct hn_error *err) {
    hn_job_init(ret);
    struct hn_db *db = hn_request_db(req, err);
    return db ? hn_db_job_get(db, req->params[0], ret, err) : HN_E_INTERNAL;
}

int hn_job_reply(struct hn_request *req, int status, const char *id, struct hn_error *err) {
    struct hn_job job;
    hn_job_init(&job);
    int64_t version = hn_store_version(req->server->store);
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_job_get(db, id, &job, err) : HN_E_INTERNAL;
    char *text = rc ? NULL : hn_job_text(db, req->server->kept, &job, version);
    if (!rc && !text)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        hn_reply_bytes(req, status, "application/json", text, strlen(text));
    hn_job_finish(&job);
    return rc;
}

int hn_jobs_get(struct hn_request *req, struct hn_error *err) {
    char *text =
        hn_kept_reply(req->server->kept, req->params[0], hn_store_version(req->server->store));
    if (!text)
        return hn_job_reply(req, 200, req->params[0], err);
    hn_reply_bytes(req, 200, "application/json", text, strlen(text));
    return 0;
}
