/* What a job says of its fit: /jobs/{id}/examples, its training rows. */
#include "api/handlers.h"

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
