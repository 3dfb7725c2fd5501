/*
 * What a job says of its fit: its training rows (/jobs/{id}/examples), the verdict (/jobs/{id}/fit)
 * and the job that would mend it, as a body that POST /jobs takes as it stands.
 */
#include "api/handlers.h"

#include <string.h>

/* {"run_dir"} of the job in the path, for a helper. */
static int begin_params(struct hn_request *req, json_t **ret, struct hn_error *err) {
    char run_dir[HN_PATH_SIZE];
    struct hn_job job;
    int rc = hn_job_load(req, &job, err);
    if (!rc && !job.started_at) {
        hn_fail(err, HN_E_CONFLICT, "job %s has not started", job.id);
        rc = HN_E_CONFLICT;
    }
    if (!rc && !hn_state_path(run_dir, req->server->config->state, "runs", job.id, NULL))
        rc = hn_fail(err, HN_E_INTERNAL, "path too long");
    hn_job_finish(&job);
    if (!rc && !(*ret = json_pack("{s:s}", "run_dir", run_dir)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    return rc;
}

/* Takes `params` over. */
static int ask(
    struct hn_request *req, const char *op, json_t *params, json_t **ret, struct hn_error *err) {
    const struct hn_question question = {.op = op, .params = params, .asker = &req->asker};
    int rc = hn_helper_call(req->server->data_helper, &question, ret, &req->details, err);
    json_decref(params);
    return rc;
}

static int add_number(const struct hn_request *req, const char *name, int64_t min, json_t *params,
    struct hn_error *err) {
    int64_t value = -1;
    int rc = hn_query_int(req, name, min, INT64_MAX, &value, err);
    if (!rc && value >= 0)
        json_object_set_new(params, name, json_integer((json_int_t)value));
    return rc;
}

int hn_jobs_examples(struct hn_request *req, struct hn_error *err) {
    static const char *const sorts[] = {
        "mislabelled", "hard", "forgotten", "memorised", "line", NULL};
    const char *sort = NULL;
    json_t *params = NULL, *result = NULL;
    int rc = begin_params(req, &params, err);
    if (!rc)
        rc = hn_query_word(req, "sort", sorts, &sort, err);
    if (!rc && sort)
        json_object_set_new(params, "sort", json_string(sort));
    if (!rc)
        rc = add_number(req, "epoch", 1, params, err);
    if (!rc)
        rc = add_number(req, "step", 1, params, err);
    if (!rc)
        rc = add_number(req, "after", 0, params, err);
    if (!rc)
        rc = add_number(req, "limit", 1, params, err);
    if (rc) {
        json_decref(params);
        return rc;
    }
    rc = ask(req, "examples", params, &result, err);
    return rc ? rc : hn_reply_json(req, 200, result, err);
}

/* The job's own request with the changes put in; null leaves a field out. */
static int change_request(
    const struct hn_job *job, const json_t *change, json_t **ret, struct hn_error *err) {
    json_t *body = NULL, *value, *hp;
    const char *name;
    int rc = hn_json_parse(job->request, strlen(job->request), &body, err);
    if (rc)
        return rc;
    json_object_foreach((json_t *)(uintptr_t)change, name, value) {
        if (json_is_null(value))
            json_object_del(body, name);
        else if (strcmp(name, "hyperparameters") != 0)
            json_object_set(body, name, value);
    }
    if (!json_is_object(json_object_get(body, "hyperparameters")))
        json_object_set_new(body, "hyperparameters", json_object());
    hp = json_object_get(body, "hyperparameters");
    json_object_update(hp, json_object_get(change, "hyperparameters"));
    if (!json_object_size(hp))
        json_object_del(body, "hyperparameters");
    *ret = body;
    return 0;
}

/* Puts "next" in the place of the helper's "change". */
static int put_next(const struct hn_job *job, json_t *fit, struct hn_error *err) {
    json_t *change = json_object_get(fit, "change"), *body = NULL;
    int rc = json_is_object(change) ? change_request(job, change, &body, err) : 0;
    if (!rc)
        json_object_set_new(fit, "next",
            body ? json_pack("{s:o,s:O?}", "body", body, "why", json_object_get(fit, "advice"))
                 : json_null());
    json_object_del(fit, "change");
    return rc;
}

static int find_fit(struct hn_request *req, json_t **ret, struct hn_error *err) {
    json_t *params = NULL;
    struct hn_job job;
    hn_job_init(&job);
    int rc = begin_params(req, &params, err);
    if (!rc)
        rc = ask(req, "fit", params, ret, err);
    if (!rc && (rc = hn_job_load(req, &job, err)) == 0)
        rc = put_next(&job, *ret, err);
    hn_job_finish(&job);
    return rc;
}

int hn_jobs_fit(struct hn_request *req, struct hn_error *err) {
    json_t *fit = NULL;
    int rc = find_fit(req, &fit, err);
    if (!rc)
        return hn_reply_json(req, 200, fit, err);
    json_decref(fit);
    return rc;
}

int hn_jobs_next(struct hn_request *req, struct hn_error *err) {
    struct hn_submitter who = hn_access_submitter(req);
    struct hn_submission s = {.key = hn_request_header(req, "Idempotency-Key")};
    json_t *fit = NULL;
    int rc = find_fit(req, &fit, err);
    json_t *body = json_object_get(json_object_get(fit, "next"), "body");
    if (!rc && !body) {
        const char *verdict = json_string_value(json_object_get(fit, "verdict")),
                   *advice = json_string_value(json_object_get(fit, "advice"));
        rc = hn_fail(err, HN_E_CONFLICT, "the verdict is %s: no other request would mend it",
            verdict ? verdict : "");
        hn_error_hint(err, "%s", advice ? advice : "");
    }
    if (!rc) {
        s.request = json_incref(body);
        rc = hn_submit(req->server, &who, &s, err);
    }
    json_decref(fit);
    json_decref(s.request);
    if (s.details) {
        json_decref(req->details);
        req->details = s.details;
    }
    if (rc)
        return rc;
    return s.existing ? hn_job_reply(req, 200, s.id, err) : hn_job_reply_created(req, s.id, err);
}
