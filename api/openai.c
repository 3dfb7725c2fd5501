/* See openai.h. */
#include "api/openai.h"
#include "api/handlers.h"
#include "server/base/id.h"
#include "server/process/rundir.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A conflict is not tried again by hand, nor should a client do it by itself. */
static int status_of(const struct hn_error *err) {
    int status = hn_error_status(err->code);
    if (err->code == HN_E_TOO_LARGE && strcmp(err->field, "messages") == 0)
        return 400;
    if (status == 409 || status == 422)
        return 400;
    return err->code == HN_E_BUSY && strstr(err->message, "queue is full") ? 429 : status;
}

static const char *type_of(int status) {
    return status == 401 ? "authentication_error"
        : status == 403  ? "permission_error"
        : status == 429  ? "rate_limit_error"
        : status >= 500  ? "server_error"
                         : "invalid_request_error";
}

static const char *code_of(const struct hn_error *err, int status) {
    if (status == 401)
        return "invalid_api_key";
    if (err->code == HN_E_NOT_FOUND && strcmp(err->field, "model") == 0)
        return "model_not_found";
    if (err->code == HN_E_TOO_LARGE && strcmp(err->field, "messages") == 0)
        return "context_length_exceeded";
    return status == 429 ? "rate_limit_exceeded" : hn_error_name(err->code);
}

/* The hint becomes part of the message: the form has no other place for it. */
static json_t *error_json(const struct hn_error *err, const json_t *details) {
    int status = status_of(err);
    struct hn_buf text = {0};
    json_t *list = json_object_get(details, "details"), *item;
    size_t i;
    hn_buf_text(&text, *err->message ? err->message : hn_error_text(err->code));
    json_array_foreach(list, i, item) {
        const char *message = json_string_value(json_object_get(item, "message"));
        json_int_t line = json_integer_value(json_object_get(item, "line"));
        if (message && line && i < 10)
            hn_buf_printf(&text, "; line %lld: %s", (long long)line, message);
    }
    if (*err->hint)
        hn_buf_printf(&text, " (%s)", err->hint);
    json_t *body = json_pack("{s:{s:o, s:s, s:o, s:s}}", "error", "message",
        hn_json_text(text.data ? text.data : "", text.size), "type", type_of(status), "param",
        *err->field ? hn_json_text(err->field, strlen(err->field)) : json_null(), "code",
        code_of(err, status));
    hn_buf_free(&text);
    return body;
}

void hn_openai_error(struct hn_request *req, const struct hn_error *err, const json_t *details) {
    int status = status_of(err);
    struct hn_error again;
    if (status == 401)
        hn_reply_header(req, "WWW-Authenticate", "Bearer");
    if (status == 503 || status == 429)
        hn_reply_header(req, "Retry-After", "5");
    if (status < 500 && status != 429)
        hn_reply_header(req, "X-Should-Retry", "false");
    if (hn_reply_json(req, status, error_json(err, details), &again))
        hn_reply_empty(req, 500);
}

char *hn_openai_error_text(const struct hn_error *err) {
    return hn_reply_text(error_json(err, NULL));
}

int hn_openai_reply_list(struct hn_request *req, json_t *data, bool more, struct hn_error *err) {
    size_t n = json_array_size(data);
    json_t *first = json_object_get(json_array_get(data, 0), "id"),
           *last = n ? json_object_get(json_array_get(data, n - 1), "id") : NULL;
    return hn_reply_json(req, 200,
        json_pack("{s:s, s:o, s:O?, s:O?, s:b}", "object", "list", "data", data, "first_id", first,
            "last_id", last, "has_more", more),
        err);
}

int64_t hn_openai_time(const char *time) {
    struct tm tm = {0};
    return time && strptime(time, "%Y-%m-%dT%H:%M:%S", &tm) ? (int64_t)timegm(&tm) : 0;
}

/* A name in a, b, c …, digits and dashes, at most `size` - 1 of them. */
static void write_slug(const char *name, char *ret, size_t size) {
    size_t n = 0;
    for (; name && *name && n + 1 < size; name++)
        if (isascii(*name) && isalnum((unsigned char)*name))
            ret[n++] = (char)tolower((unsigned char)*name);
        else if (n && ret[n - 1] != '-')
            ret[n++] = '-';
    while (n && ret[n - 1] == '-')
        n--;
    ret[n] = 0;
}

void hn_openai_model_name(const struct hn_job *job, int64_t step, char ret[HN_OPENAI_NAME]) {
    char slug[65], end[40] = "";
    write_slug(job->name, slug, sizeof slug);
    if (step >= 0)
        snprintf(end, sizeof end, ":ckpt-step-%lld", (long long)step);
    snprintf(ret, HN_OPENAI_NAME, "ft:%.64s:hone:%s:%s%s", job->model, slug, job->id + 4, end);
}

/* "ft:BASE:hone:NAME:ID" or "…:ID:ckpt-step-N"; also a bare job id. */
bool hn_openai_model_job(const char *name, char id[HN_ID_SIZE], int64_t *ret_step) {
    static const char checkpoint[] = ":ckpt-step-";
    const char *step = strstr(name, checkpoint), *end = step ? step : name + strlen(name),
               *from = end;
    *ret_step = -1;
    while (from > name && from[-1] != ':')
        from--;
    bool result = strncmp(name, "ft:", 3) == 0;
    if (end - from > 20)
        return false;
    snprintf(id, HN_ID_SIZE, "%s%.*s", result ? "job_" : "", (int)(end - from), from);
    if (!hn_id_valid("job", id))
        return false;
    if (!step)
        return true;
    char *rest;
    *ret_step = strtoll(step + sizeof checkpoint - 1, &rest, 10);
    return *ret_step >= 0 && !*rest && isdigit((unsigned char)step[sizeof checkpoint - 1]);
}

static int unknown_model(const char *name, struct hn_error *err) {
    hn_fail(err, HN_E_NOT_FOUND,
        "The model `%.200s` does not exist or you do not have access to it.", name);
    hn_error_field(err, "model");
    hn_error_hint(err, "GET /v1/models lists the models");
    return HN_E_NOT_FOUND;
}

static int job_model(struct hn_request *req, const char *name, const char *id, int64_t step,
    json_t *params, struct hn_error *err) {
    struct hn_reach reach = hn_access_reach(req);
    struct hn_db *db = hn_request_db(req, err);
    if (!db)
        return HN_E_INTERNAL;
    if (hn_db_job_exists(db, id) || (!reach.all && hn_db_job_reached(db, &reach, id, err)))
        return unknown_model(name, err);
    const char *before = req->params[0];
    json_t *which = step < 0 ? json_null() : json_integer((json_int_t)step);
    req->params[0] = id;
    int rc = hn_job_source(req, which, params, err);
    req->params[0] = before;
    json_decref(which);
    return rc;
}

int hn_openai_model(
    struct hn_request *req, const char *name, json_t *params, struct hn_error *err) {
    char id[HN_ID_SIZE], path[HN_PATH_SIZE];
    int64_t step;
    json_t *model = NULL;
    if (hn_openai_model_job(name, id, &step))
        return job_model(req, name, id, step, params, err);
    struct hn_db *db = hn_request_db(req, err);
    if (!db)
        return HN_E_INTERNAL;
    if (!hn_name_valid(name) || hn_db_model_get(db, name, &model, err))
        return unknown_model(name, err);
    int rc = hn_model_check(req->server->seen, req->server->config->state, model, err);
    if (!rc && !hn_model_path(path, req->server->config->state, model))
        rc = hn_fail(err, HN_E_INTERNAL, "path too long");
    json_decref(model);
    if (!rc) {
        json_object_set_new(params, "model", json_pack("{s:s}", "path", path));
        json_object_set_new(params, "source", json_null());
    }
    return rc;
}
