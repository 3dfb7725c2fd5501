/*
 * /compare: jobs and base models on the same rows. Without a data set jobs are compared by what
 * they scored on their validation rows; with one, whatever is named by its newest evaluation there.
 */
#include "api/handlers.h"
#include "server/library/evaluations.h"
#include "server/sweeps/compare.h"

#include <string.h>

#define COMPARED_MAX 20

struct asked {
    struct hn_request *req;
    const char *dataset;       /* id, or NULL */
    const json_t *evaluations; /* with a data set: all that are kept, the newest first */
    struct hn_compared runs[COMPARED_MAX];
    size_t n;
};

/* The step whose scores stand for the job: of its best evaluation, which is exported. */
static int best_step(const struct hn_job *job, int64_t *ret, struct hn_error *err) {
    json_t *best = NULL;
    int rc = 0;
    if (job->best && !hn_json_parse(job->best, strlen(job->best), &best, NULL))
        *ret = json_integer_value(json_object_get(best, "step"));
    else {
        rc = hn_fail(err, HN_E_CONFLICT, "job %s has no evaluation on validation rows", job->id);
        hn_error_hint(err,
            "jobs are compared by what they scored on the rows held out; name a "
            "data set to compare them on that: &dataset=ds_…");
    }
    json_decref(best);
    return rc;
}

/* The newest evaluation of it on the data set. */
static int find_evaluation(const struct asked *a, const char *kind, const char *name,
    const char **ret, struct hn_error *err) {
    const json_t *one;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)a->evaluations, i, one) {
        const char *of = json_string_value(json_object_get(one, kind)),
                   *on = json_string_value(json_object_get(one, "dataset"));
        if (!of || !on || strcmp(of, name) != 0 || strcmp(on, a->dataset) != 0 ||
            !hn_access_evaluation(a->req, one))
            continue;
        *ret = json_string_value(json_object_get(one, "id"));
        return 0;
    }
    hn_fail(err, HN_E_CONFLICT, "%s %s was not evaluated on %s", kind, name, a->dataset);
    hn_error_hint(err, "POST /%ss/%s/evaluate with {\"dataset\":\"%s\"} does so, then ask again",
        kind, name, a->dataset);
    return HN_E_CONFLICT;
}

static int add_job(struct asked *a, const char *id, struct hn_error *err) {
    struct hn_compared *run = &a->runs[a->n++];
    struct hn_reach reach = hn_access_reach(a->req);
    struct hn_job job;
    *run = (struct hn_compared){.job = id};
    hn_job_init(&job);
    struct hn_db *db = hn_request_db(a->req, err);
    int rc = db ? hn_db_job_reached(db, &reach, id, err) : HN_E_INTERNAL;
    if (!rc && a->dataset)
        rc = find_evaluation(a, "job", id, &run->evaluation, err);
    else if (!rc && !(rc = hn_db_job_get(db, id, &job, err)))
        rc = best_step(&job, &run->step, err);
    hn_job_finish(&job);
    return rc;
}

static int add_model(struct asked *a, const char *name, struct hn_error *err) {
    struct hn_compared *run = &a->runs[a->n++];
    json_t *model = NULL;
    *run = (struct hn_compared){.job = name};
    struct hn_db *db = hn_request_db(a->req, err);
    int rc = db ? hn_db_model_get(db, name, &model, err) : HN_E_INTERNAL;
    json_decref(model);
    return rc ? rc : find_evaluation(a, "model", name, &run->evaluation, err);
}

static int refuse(const char *field, const char *message, struct hn_error *err) {
    hn_fail(err, HN_E_INVALID_FIELD, "%s", message);
    hn_error_field(err, "%s", field);
    hn_error_hint(err,
        "GET /compare?jobs=job_a,job_b, or with a data set that all of them were "
        "evaluated on /compare?jobs=job_a&models=base&dataset=ds_c");
    return HN_E_INVALID_FIELD;
}

/* Adds each of a list parted by commas. */
static int add_list(struct asked *a, const char *field,
    int (*add)(struct asked *, const char *, struct hn_error *), struct hn_error *err) {
    const char *given = hn_request_query(a->req, field);
    char *rest = given && *given ? hn_request_copy(a->req, given) : NULL;
    for (char *name; rest && (name = strsep(&rest, ",")) && *name;) {
        if (a->n == COMPARED_MAX)
            return refuse(field, "more than 20 cannot be compared at once", err);
        for (size_t i = 0; i < a->n; i++)
            if (strcmp(a->runs[i].job, name) == 0)
                return refuse(field, "one is named twice", err);
        int rc = add(a, name, err);
        if (rc) {
            hn_error_field(err, "%s", field);
            return rc;
        }
    }
    return 0;
}

int hn_compare_get(struct hn_request *req, struct hn_error *err) {
    const char *metric = hn_request_query(req, "metric");
    struct asked a = {.req = req, .dataset = hn_request_query(req, "dataset")};
    json_t *record = NULL, *evaluations = NULL, *compared = NULL;
    int rc = a.dataset ? hn_access_dataset(req, a.dataset, &record, err) : 0;
    if (rc)
        hn_error_field(err, "dataset");
    else if (!a.dataset && hn_request_query(req, "models"))
        rc = refuse("models", "base models are compared on a data set, which is not named", err);
    if (!rc && a.dataset)
        a.evaluations = evaluations = hn_evaluation_list(req->server->config->state);
    if (!rc)
        rc = add_list(&a, "jobs", add_job, err);
    if (!rc)
        rc = add_list(&a, "models", add_model, err);
    if (!rc && a.n < 2)
        rc = refuse("jobs", "name at least two to compare", err);
    if (!rc)
        rc = hn_compare_runs(req->server, &req->asker, a.runs, a.n, metric, &compared, err);
    json_decref(evaluations);
    json_decref(record);
    return rc ? rc : hn_reply_json(req, 200, compared, err);
}
