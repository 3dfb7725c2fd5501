/*
 * Evaluations: of a base model, of a job's result, of a checkpoint, on any data set. The helper
 * makes them; the answer and every row are kept and can be had again
 * (server/library/evaluations.h).
 */
#include "api/handlers.h"
#include "server/library/evaluating.h"
#include "server/process/rundir.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_MOST 600

/* {"dataset","step","generate"}: the data set's parameters for the helper, and the step (borrowed
 * from *ret_body). */
static int read_evaluate(
    struct hn_request *req, json_t **ret_body, json_t *params, struct hn_error *err) {
    static const char *const fields[] = {"dataset", "step", "generate", NULL};
    const char *id = NULL;
    json_t *record = NULL;
    int rc = hn_body_object(req, ret_body, err);
    if (!rc)
        rc = hn_json_known(*ret_body, fields, "", err);
    if (!rc)
        rc = hn_json_string(*ret_body, "dataset", &id, err);
    if (!rc && !id) {
        rc = hn_fail(err, HN_E_MISSING_FIELD, "say which data set to evaluate on");
        hn_error_field(err, "dataset");
        hn_error_hint(err, "{\"dataset\":\"ds_…\"}; GET /datasets lists them");
    }
    if (!rc)
        rc = hn_access_dataset(req, id, &record, err);
    if (rc == HN_E_NOT_FOUND)
        hn_error_field(err, "dataset");
    if (!rc) {
        json_object_set_new(params, "data", hn_dataset_params(req->server->config->state, record));
        json_object_set(params, "generate", json_object_get(*ret_body, "generate"));
    }
    json_decref(record);
    return rc;
}

static int reply_progress(struct hn_request *req, json_t *told, struct hn_error *err) {
    const char *id = json_string_value(json_object_get(told, "id"));
    char path[64];
    snprintf(path, sizeof path, "/evaluations/%s", id ? id : "");
    hn_reply_header(req, "Location", path);
    hn_reply_header(req, "Retry-After", "2");
    return hn_reply_json(req, 202, told, err);
}

/* Runs the evaluation and replies with it, or with how far it is. `about` says of what it is; taken
 * over, as is `params`. */
static int reply_evaluation(
    struct hn_request *req, json_t *params, json_t *about, struct hn_error *err) {
    int64_t wait = -1;
    json_t *out = NULL, *told = NULL;
    int rc = hn_query_int(req, "wait", 0, WAIT_MOST, &wait, err);
    if (rc) {
        json_decref(params);
        json_decref(about);
        return rc;
    }
    hn_request_db_release(req); /* it may wait for long */
    const struct hn_evaluation_question question = {.params = params,
        .about = about,
        .owner = req->key.id,
        .asker = &req->asker,
        .wait_ms = wait < 0 ? HN_WAIT_TO_THE_END : wait * 1000};
    rc = hn_evaluation_ask(req->server->evaluating, &question, &out, &told, &req->details, err);
    if (rc)
        return rc;
    hn_request_object(req, json_string_value(json_object_get(out ? out : told, "id")));
    return out ? hn_reply_json(req, 200, out, err) : reply_progress(req, told, err);
}

int hn_jobs_evaluate(struct hn_request *req, struct hn_error *err) {
    json_t *body = NULL, *params = json_object(), *about = NULL;
    int rc = read_evaluate(req, &body, params, err);
    const json_t *step = json_object_get(body, "step");
    if (!rc)
        rc = hn_job_source(req, step ? step : json_null(), params, err);
    if (!rc)
        about = json_pack("{s:s,s:O,s:O}", "job", req->params[0], "step",
            json_object_get(json_object_get(params, "source"), "step"), "dataset",
            json_object_get(body, "dataset"));
    json_decref(body);
    if (!rc)
        return reply_evaluation(req, params, about, err);
    json_decref(params);
    return rc;
}

int hn_models_evaluate(struct hn_request *req, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    json_t *body = NULL, *model = NULL, *params = json_object(), *about = NULL;
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_model_get(db, req->params[0], &model, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_model_check(req->server->seen, req->server->config->state, model, err);
    if (!rc)
        rc = read_evaluate(req, &body, params, err);
    if (!rc && json_object_get(body, "step")) {
        rc = hn_fail(err, HN_E_INVALID_FIELD, "a base model has no steps");
        hn_error_field(err, "step");
    }
    if (!rc && !hn_model_path(path, req->server->config->state, model))
        rc = hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!rc) {
        json_object_set_new(params, "model", json_pack("{s:s}", "path", path));
        about = json_pack(
            "{s:s,s:O}", "model", req->params[0], "dataset", json_object_get(body, "dataset"));
    }
    json_decref(model);
    json_decref(body);
    if (!rc)
        return reply_evaluation(req, params, about, err);
    json_decref(params);
    return rc;
}

static int reply_kept(
    struct hn_request *req, const char *file, const char *type, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    struct stat st;
    int rc = hn_evaluation_path(req->server->config->state, req->params[0], file, path, err);
    int fd = rc ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (!rc && (fd < 0 || fstat(fd, &st)))
        rc = hn_fail(err, HN_E_NOT_FOUND, "evaluation %s was just removed", req->params[0]);
    if (!rc)
        hn_reply_file(req, 200, type, fd, 0, (uint64_t)st.st_size);
    else if (fd >= 0)
        close(fd);
    return rc;
}

/* Whether it is of the job, the model and the data set that the query names, where it names
 * them. */
static bool is_asked_for(const struct hn_request *req, const json_t *evaluation) {
    static const char *const names[] = {"job", "model", "dataset"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *wanted = hn_request_query(req, names[i]),
                   *own = json_string_value(json_object_get(evaluation, names[i]));
        if (wanted && (!own || strcmp(own, wanted) != 0))
            return false;
    }
    return true;
}

int hn_evaluations_list(struct hn_request *req, struct hn_error *err) {
    json_t *all = hn_evaluation_list(req->server->config->state), *data = json_array(), *one;
    size_t i;
    json_array_foreach(all, i, one)
        if (is_asked_for(req, one) && hn_access_evaluation(req, one))
            json_array_append(data, one);
    json_decref(all);
    return hn_reply_list(req, data, NULL, err);
}

int hn_evaluations_get(struct hn_request *req, struct hn_error *err) {
    json_t *told = NULL;
    int rc = hn_evaluation_look(req->server->evaluating, req->params[0], &told, &req->details, err);
    if (told)
        return reply_progress(req, told, err);
    return rc ? rc : reply_kept(req, "evaluation.json", "application/json", err);
}

int hn_evaluations_rows(struct hn_request *req, struct hn_error *err) {
    return reply_kept(req, "rows.jsonl", "application/x-ndjson", err);
}

int hn_evaluations_delete(struct hn_request *req, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    if (hn_evaluation_cancel(req->server->evaluating, req->params[0])) {
        hn_reply_empty(req, 204);
        return 0;
    }
    int rc = hn_evaluation_path(req->server->config->state, req->params[0], NULL, path, err);
    if (!rc)
        rc = hn_dir_remove(path, err);
    if (!rc)
        hn_reply_empty(req, 204);
    return rc;
}
