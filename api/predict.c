/*
 * Predictions: of a base model, of a job's result, of a checkpoint. The helper answers; here the
 * request is checked and, when streaming, its pieces are passed on as server-sent events: `chunk`,
 * then `result` or `error`.
 *
 * A streaming answer is made by a second piece of work; it and the stream share a small object that
 * the last of the two frees. A long list of inputs can be paused by the helper for other clients'
 * requests: then it is asked again for those that are left, until all are answered.
 */
#include "api/handlers.h"
#include "server/process/rundir.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PENDING_BYTES ((size_t)64 << 20)
#define BRIEF_TOKENS 256 /* of all answers of a request that is answered soon; and of its inputs: */
#define BRIEF_BYTES 4096

struct answer {
    struct hn_stream stream;
    struct hn_server *server;
    struct hn_asker asker;
    json_t *params;
    pthread_mutex_t lock; /* guards what follows */
    struct hn_buf out;
    bool finished, gone; /* the helper is done; the client is */
    int owners;
};

static void release(struct answer *a) {
    pthread_mutex_lock(&a->lock);
    bool last = --a->owners == 0;
    pthread_mutex_unlock(&a->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&a->lock);
    hn_buf_free(&a->out);
    json_decref(a->params);
    free(a);
}

/* Runs on the loop; every post holds the answer alive until here. */
static void wake(void *arg) {
    struct answer *a = arg;
    if (!a->gone && a->stream.request)
        hn_stream_wake(&a->stream);
    release(a);
}

/* Appends one event and wakes the stream. Pool thread. Non-zero when nobody listens any more. */
static int emit(struct answer *a, const char *type, const json_t *data, bool last) {
    char *text = json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(15));
    pthread_mutex_lock(&a->lock);
    if (text)
        hn_buf_printf(&a->out, "event: %s\ndata: %s\n\n", type, text);
    a->finished = a->finished || last;
    bool stop = a->gone || a->out.failed;
    a->owners++;
    pthread_mutex_unlock(&a->lock);
    free(text);
    hn_loop_post(a->server->loop, wake, a);
    return stop;
}

static int on_chunk(void *ud, const json_t *chunk) {
    return emit(ud, "chunk", chunk, false);
}

/* Few inputs, none of them long, and few tokens to answer with. */
static bool is_brief(const json_t *params) {
    json_t *inputs = json_object_get(params, "inputs"),
           *tokens = json_object_get(params, "max_tokens");
    size_t n = json_array_size(inputs);
    int64_t each = tokens ? (int64_t)json_integer_value(tokens) : HN_MAX_TOKENS;
    if (each > BRIEF_TOKENS || n > (size_t)(BRIEF_TOKENS / each))
        return false;
    return json_dumpb(inputs, NULL, 0, JSON_COMPACT) <= BRIEF_BYTES;
}

/* Takes what was answered from what is asked. The list of inputs is the request's own: another
 * takes its place. */
static void leave_rest(json_t *params, size_t answered) {
    json_t *inputs = json_object_get(params, "inputs"), *rest = json_array();
    for (size_t i = answered; i < json_array_size(inputs); i++)
        json_array_append(rest, json_array_get(inputs, i));
    json_int_t first = json_integer_value(json_object_get(params, "first"));
    json_object_set_new(params, "first", json_integer(first + (json_int_t)answered));
    json_object_set_new(params, "inputs", rest);
}

/* Has all inputs answered; changes `params`. As hn_helper_call. */
static int ask(struct hn_server *server, const struct hn_asker *asker, json_t *params,
    struct answer *a, json_t **ret, json_t **ret_details, struct hn_error *err) {
    const struct hn_question question = {.op = "predict",
        .params = params,
        .asker = asker,
        .brief = is_brief(params),
        .chunk = a ? on_chunk : NULL,
        .ud = a};
    json_t *all = json_array(), *result = NULL;
    bool paused = false;
    int rc;
    do {
        json_decref(result);
        result = NULL;
        rc = hn_helper_call(server->predict_helper, &question, &result, ret_details, err);
        json_t *data = json_object_get(result, "data");
        paused = !rc && json_is_true(json_object_get(result, "paused"));
        json_array_extend(all, data);
        if (paused && json_array_size(data))
            leave_rest(params, json_array_size(data));
        else if (paused)
            rc = hn_fail(err, HN_E_INTERNAL, "the helper's answer has no data");
    } while (!rc && paused);
    if (!rc)
        json_object_set(result, "data", all);
    json_decref(all);
    if (rc)
        json_decref(result);
    else
        *ret = result;
    return rc;
}

static void predict_streaming(void *arg) {
    struct answer *a = arg;
    json_t *result = NULL, *details = NULL;
    struct hn_error err = {0};
    int rc = ask(a->server, &a->asker, a->params, a, &result, &details, &err);
    json_t *end = rc ? hn_error_json(&err, details) : result;
    emit(a, rc ? "error" : "result", end, true);
    json_decref(end);
    json_decref(details);
    release(a);
}

static ssize_t read_answer(void *ud, char *buf, size_t max) {
    struct answer *a = ud;
    pthread_mutex_lock(&a->lock);
    size_t n = a->out.size < max ? a->out.size : max;
    if (n) {
        memcpy(buf, a->out.data, n);
        a->out.size -= n;
        memmove(a->out.data, a->out.data + n, a->out.size);
    }
    ssize_t rc = n ? (ssize_t)n : a->finished ? HN_STREAM_END : HN_STREAM_WAIT;
    pthread_mutex_unlock(&a->lock);
    return rc;
}

static void close_answer(void *ud) {
    struct answer *a = ud;
    atomic_store(&a->asker.gone, true);
    pthread_mutex_lock(&a->lock);
    a->gone = true;
    pthread_mutex_unlock(&a->lock);
    release(a);
}

static void begin_streaming(void *arg) {
    struct answer *a = arg;
    hn_loop_work_waiting(a->server->loop, predict_streaming, NULL, a);
}

static int reply_streaming(struct hn_request *req, json_t *params, struct hn_error *err) {
    struct answer *a = hn_calloc(1, sizeof *a);
    if (!a) {
        json_decref(params);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    *a = (struct answer){
        .server = req->server, .params = params, .owners = 2, .out.ceiling = PENDING_BYTES};
    snprintf(a->asker.client, sizeof a->asker.client, "%s", req->asker.client);
    a->stream =
        (struct hn_stream){.read = read_answer, .close = close_answer, .ud = a, .costly = true};
    pthread_mutex_init(&a->lock, NULL);
    hn_reply_header(req, "X-Accel-Buffering", "no");
    hn_reply_stream(req, 200, "text/event-stream", &a->stream);
    hn_loop_post(req->server->loop, begin_streaming, a); /* work is queued from the loop only */
    return 0;
}

static const char *const known[] = {"inputs", "step", "max_tokens", "temperature", "top_p", "top_k",
    "seed", "stop", "stream", NULL};

/* The helper's params from the body; what is checked here is what must not reach it wrong. */
static int read_body(struct hn_request *req, json_t **ret, bool *ret_stream, struct hn_error *err) {
    json_t *body = NULL;
    int64_t whole = 0;
    double number = 0;
    int rc = hn_body_object(req, &body, err);
    if (!rc)
        rc = hn_json_known(body, known, "", err);
    const json_t *inputs = json_object_get(body, "inputs");
    if (!rc &&
        (!json_is_array(inputs) || !json_array_size(inputs) ||
            json_array_size(inputs) > HN_INPUTS_MAX)) {
        rc = hn_fail(err, inputs ? HN_E_INVALID_FIELD : HN_E_MISSING_FIELD,
            "inputs must be a list of 1 to %d inputs", HN_INPUTS_MAX);
        hn_error_field(err, "inputs");
        hn_error_hint(err, "for example {\"inputs\":[\"What is Hone?\"]}");
    }
    if (!rc)
        rc = hn_json_int(body, "max_tokens", 1, 1 << 20, &whole, err);
    if (!rc)
        rc = hn_json_int(body, "top_k", 0, HN_TOP_K_MAX, &whole, err);
    if (!rc)
        rc = hn_json_int(body, "seed", 0, INT64_MAX, &whole, err);
    if (!rc)
        rc = hn_json_number(body, "temperature", 0, 100, &number, err);
    if (!rc)
        rc = hn_json_number(body, "top_p", 0, 1, &number, err);
    if (!rc)
        rc = hn_json_bool(body, "stream", ret_stream, err);
    if (rc) {
        json_decref(body);
        return rc;
    }
    json_t *params = json_object();
    for (const char *const *name = known; *name; name++) /* null means "as if it were not there" */
        if (strcmp(*name, "step") != 0 && !json_is_null(json_object_get(body, *name)) &&
            json_object_get(body, *name))
            json_object_set(params, *name, json_object_get(body, *name));
    json_object_set_new(params, "stream", json_boolean(*ret_stream));
    json_t *step = json_object_get(body, "step");
    json_object_set(params, "source", step ? step : json_null()); /* replaced by the caller */
    json_decref(body);
    *ret = params;
    return 0;
}

static int answer(struct hn_request *req, json_t *params, bool stream, struct hn_error *err) {
    if (stream)
        return reply_streaming(req, params, err);
    json_t *result = NULL;
    int rc = ask(req->server, &req->asker, params, NULL, &result, &req->details, err);
    json_decref(params);
    return rc ? rc : hn_reply_json(req, 200, result, err);
}

int hn_models_predict(struct hn_request *req, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    bool stream = false;
    json_t *model = NULL, *params = NULL;
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_model_get(db, req->params[0], &model, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_model_check(req->server->seen, req->server->config->state, model, err);
    if (!rc)
        rc = read_body(req, &params, &stream, err);
    if (!rc && !json_is_null(json_object_get(params, "source"))) {
        rc = hn_fail(err, HN_E_INVALID_FIELD, "a base model has no steps");
        hn_error_field(err, "step");
    }
    if (!rc && !hn_model_path(path, req->server->config->state, model))
        rc = hn_fail(err, HN_E_INTERNAL, "path too long");
    json_decref(model);
    if (rc) {
        json_decref(params);
        return rc;
    }
    json_object_set_new(params, "model", json_pack("{s:s}", "path", path));
    return answer(req, params, stream, err);
}

/* "exported" | "best" | "last" | N; a job that has not ended has no export yet. */
static int check_step(
    const json_t *step, const struct hn_job *job, json_t **ret, struct hn_error *err) {
    const char *text = json_string_value(step);
    bool good = json_is_null(step) || (json_is_integer(step) && json_integer_value(step) >= 0) ||
        (text &&
            (strcmp(text, "exported") == 0 || strcmp(text, "best") == 0 ||
                strcmp(text, "last") == 0));
    if (!good) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "step must be \"exported\", \"best\", \"last\" or the number of a checkpoint");
        hn_error_field(err, "step");
        hn_error_hint(err, "GET /jobs/%s/checkpoints lists them", job->id);
        return HN_E_INVALID_FIELD;
    }
    bool exported = json_is_null(step) || (text && text[0] == 'e');
    if (exported && strcmp(job->status, "succeeded") != 0) {
        hn_fail(
            err, HN_E_CONFLICT, "job %s is %s and has no exported result", job->id, job->status);
        hn_error_field(err, "step");
        hn_error_hint(err, "ask for \"step\":\"last\" or \"best\" to use a checkpoint");
        return HN_E_CONFLICT;
    }
    *ret = json_is_null(step) ? json_string("exported") : json_incref((json_t *)(uintptr_t)step);
    return 0;
}

/* The run keeps links of its inputs, so this works after the model was deleted from the library. */
static int damaged(struct hn_error *err, const struct hn_job *job, const struct hn_error *why) {
    hn_fail(err, HN_E_CONFLICT, "job %s cannot be asked: %.600s", job->id, why->message);
    hn_error_hint(err,
        "restore the file from a backup, or submit the job again; `honed check` lists all that is "
        "damaged");
    return HN_E_CONFLICT;
}

/* The path of the run's base in its own folder, whose bytes must be those that it was trained
 * on. */
int hn_job_model(struct hn_request *req, const struct hn_job *job, const char *run_dir,
    char path[HN_PATH_SIZE], struct hn_error *err) {
    json_t *run = NULL;
    const char *file = NULL, *sha256 = NULL;
    struct hn_error why = {0};
    int rc = hn_json_parse(job->run, strlen(job->run), &run, err);
    if (!rc)
        rc = hn_json_string(json_object_get(run, "model"), "file", &file, err);
    if (!rc)
        rc = hn_json_string(json_object_get(run, "model"), "sha256", &sha256, err);
    if (!rc &&
        (!file || !hn_state_path(path, run_dir, file, NULL, NULL) || access(path, R_OK) != 0)) {
        rc = hn_fail(err, HN_E_CONFLICT, "job %s has not started yet", job->id);
        hn_error_hint(err, "POST /models/%s/predict asks the base model", job->model);
    }
    if (!rc && sha256 && hn_seen_compare(req->server->seen, path, sha256, &why))
        rc = damaged(err, job, &why);
    json_decref(run);
    return rc;
}

/* The files of the exported result, as they were told. */
static int check_artifacts(
    struct hn_request *req, const struct hn_job *job, const char *run_dir, struct hn_error *err) {
    json_t *list = NULL, *file;
    size_t i;
    int rc = hn_db_artifacts(hn_request_db(req, err), job->n, NULL, 100000, &list, err);
    json_array_foreach(list, i, file) {
        char path[HN_PATH_SIZE];
        struct hn_error why = {0};
        if (!rc &&
            hn_state_path(path, run_dir, "artifacts",
                json_string_value(json_object_get(file, "path")), NULL) &&
            hn_seen_compare(
                req->server->seen, path, json_string_value(json_object_get(file, "sha256")), &why))
            rc = damaged(err, job, &why);
    }
    json_decref(list);
    return rc;
}

int hn_job_source(
    struct hn_request *req, const json_t *step, json_t *params, struct hn_error *err) {
    char run_dir[HN_PATH_SIZE], model[HN_PATH_SIZE];
    json_t *found = NULL;
    struct hn_job job;
    int rc = hn_job_load(req, &job, err);
    if (!rc)
        rc = check_step(step, &job, &found, err);
    if (!rc && !hn_state_path(run_dir, req->server->config->state, "runs", job.id, NULL))
        rc = hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!rc)
        rc = hn_job_model(req, &job, run_dir, model, err);
    if (!rc && json_is_string(found) && strcmp(json_string_value(found), "exported") == 0)
        rc = check_artifacts(req, &job, run_dir, err);
    hn_job_finish(&job);
    if (rc) {
        json_decref(found);
        return rc;
    }
    json_object_set_new(params, "model", json_pack("{s:s}", "path", model));
    json_object_set_new(
        params, "source", json_pack("{s:s,s:o}", "run_dir", run_dir, "step", found));
    return 0;
}

int hn_jobs_predict(struct hn_request *req, struct hn_error *err) {
    bool stream = false;
    json_t *params = NULL;
    int rc = read_body(req, &params, &stream, err);
    json_t *step = json_incref(json_object_get(params, "source"));
    if (!rc)
        rc = hn_job_source(req, step, params, err);
    json_decref(step);
    if (!rc)
        return answer(req, params, stream, err);
    json_decref(params);
    return rc;
}
