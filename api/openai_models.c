/* /v1/models and /v1/embeddings: bases and the results of jobs under OpenAI's names. */
#include "api/handlers.h"
#include "api/openai.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 10000 /* results that are listed, the newest ones */

static json_t *model_json(const char *id, int64_t created, const char *owner) {
    return json_pack("{s:s, s:s, s:I, s:s}", "id", id, "object", "model", "created",
        (json_int_t)created, "owned_by", owner);
}

static json_t *base_json(const json_t *model) {
    return model_json(json_string_value(json_object_get(model, "name")),
        hn_openai_time(json_string_value(json_object_get(model, "created_at"))), "hone");
}

static void add_result(void *ud, const struct hn_job *job) {
    char name[HN_OPENAI_NAME];
    hn_openai_model_name(job, -1, name);
    json_array_append_new(ud, model_json(name, hn_openai_time(job->finished_at), "hone"));
}

static int add_bases(struct hn_db *db, json_t *list, struct hn_error *err) {
    json_t *page = NULL, *model;
    bool more = true;
    char after[80] = "";
    int rc = 0;
    while (!rc && more) {
        size_t i;
        rc = hn_db_model_list(db, *after ? after : NULL, 100, &page, &more, err);
        json_array_foreach(page, i, model) {
            json_array_append_new(list, base_json(model));
            snprintf(after, sizeof after, "%s", json_string_value(json_object_get(model, "name")));
        }
        json_decref(page);
        page = NULL;
    }
    return rc;
}

int hn_openai_models_list(struct hn_request *req, struct hn_error *err) {
    struct hn_db *db = hn_request_db(req, err);
    struct hn_job_filter filter = {
        .reach = hn_access_reach(req), .status = "succeeded", .limit = MOST};
    json_t *list = json_array();
    bool more;
    int rc = db ? add_bases(db, list, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_db_job_list(db, &filter, add_result, list, &more, err);
    if (rc) {
        json_decref(list);
        return rc;
    }
    return hn_reply_json(req, 200, json_pack("{s:s, s:o}", "object", "list", "data", list), err);
}

int hn_openai_models_get(struct hn_request *req, struct hn_error *err) {
    const char *name = req->params[0];
    char id[HN_ID_SIZE], own[HN_OPENAI_NAME];
    int64_t step;
    json_t *params = json_object(), *model = NULL;
    struct hn_job job;
    hn_job_init(&job);
    int rc = hn_openai_model(req, name, params, err);
    struct hn_db *db = rc ? NULL : hn_request_db(req, err);
    if (!rc && !db)
        rc = HN_E_INTERNAL;
    if (!rc && hn_openai_model_job(name, id, &step)) {
        if (!(rc = hn_db_job_get(db, id, &job, err))) {
            hn_openai_model_name(&job, step, own);
            model = model_json(own, hn_openai_time(job.finished_at), "hone");
        }
    } else if (!rc) {
        json_t *base = NULL;
        if (!(rc = hn_db_model_get(db, name, &base, err)))
            model = base_json(base);
        json_decref(base);
    }
    hn_job_finish(&job);
    json_decref(params);
    return rc ? rc : hn_reply_json(req, 200, model, err);
}

/* --- embeddings ----------------------------------------------------------------------------- */

static const char *const embed_known[] = {
    "model", "input", "encoding_format", "dimensions", "user", NULL};

/* 32-bit floats in the machine's order (little-endian everywhere here), base64. */
static json_t *vector_base64(const json_t *vector) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct hn_buf bytes = {0}, text = {0};
    for (size_t i = 0; i < json_array_size(vector); i++) {
        float value = (float)json_number_value(json_array_get(vector, i));
        hn_buf_append(&bytes, &value, sizeof value);
    }
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t n = bytes.size - i < 3 ? bytes.size - i : 3;
        uint32_t word = 0;
        for (size_t k = 0; k < 3; k++)
            word = word << 8 | (k < n ? (unsigned char)bytes.data[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            hn_buf_char(&text, k <= n ? digits[word >> (18 - 6 * k) & 63] : '=');
    }
    json_t *out = json_string(text.data ? text.data : "");
    hn_buf_free(&bytes);
    hn_buf_free(&text);
    return out;
}

static int read_embed(const json_t *body, json_t *params, bool *base64, struct hn_error *err) {
    json_t *input = json_object_get(body, "input");
    const char *format = "float";
    int rc = hn_json_known(body, embed_known, "", err);
    if (!rc)
        rc = hn_json_string(body, "encoding_format", &format, err);
    *base64 = strcmp(format, "base64") == 0;
    if (!rc && !*base64 && strcmp(format, "float") != 0) {
        rc = hn_fail(err, HN_E_INVALID_FIELD, "encoding_format must be \"float\" or \"base64\"");
        hn_error_field(err, "encoding_format");
    }
    if (!rc && json_object_get(body, "dimensions") &&
        !json_is_null(json_object_get(body, "dimensions"))) {
        rc = hn_fail(err, HN_E_UNSUPPORTED, "dimensions cannot be chosen for these models");
        hn_error_field(err, "dimensions");
    }
    if (!rc && !json_is_string(input) && !json_is_string(json_array_get(input, 0))) {
        rc = hn_fail(err, input ? HN_E_INVALID_FIELD : HN_E_MISSING_FIELD,
            "input must be a text or a list of texts");
        hn_error_field(err, "input");
    }
    if (!rc)
        json_object_set_new(
            params, "inputs", json_is_string(input) ? json_pack("[O]", input) : json_incref(input));
    return rc;
}

static json_t *embeddings(const json_t *result, const char *name, bool base64) {
    json_t *list = json_array(), *vector;
    size_t i;
    json_array_foreach(json_object_get(result, "data"), i, vector)
        json_array_append_new(list,
            json_pack("{s:s, s:I, s:o}", "object", "embedding", "index", (json_int_t)i, "embedding",
                base64 ? vector_base64(vector) : json_incref(vector)));
    json_t *tokens = json_object_get(result, "tokens");
    return json_pack("{s:s, s:o, s:s, s:{s:O, s:O}}", "object", "list", "data", list, "model", name,
        "usage", "prompt_tokens", tokens, "total_tokens", tokens);
}

int hn_openai_embeddings(struct hn_request *req, struct hn_error *err) {
    json_t *body = NULL, *params = json_object(), *result = NULL;
    const char *name = NULL;
    bool base64 = false;
    int rc = hn_body_object(req, &body, err);
    if (!rc)
        rc = read_embed(body, params, &base64, err);
    if (!rc)
        rc = hn_json_string(body, "model", &name, err);
    if (!rc && !name) {
        rc = hn_fail(err, HN_E_MISSING_FIELD, "you must provide a model parameter");
        hn_error_field(err, "model");
    }
    if (!rc)
        rc = hn_openai_model(req, name, params, err);
    if (!rc && json_is_object(json_object_get(params, "source"))) {
        rc = hn_fail(err, HN_E_UNSUPPORTED, "embeddings are those of base models");
        hn_error_field(err, "model");
    }
    const struct hn_question question = {.op = "embed", .params = params, .asker = &req->asker};
    if (!rc)
        rc = hn_helper_call(req->server->predict_helper, &question, &result, &req->details, err);
    if (!rc)
        rc = hn_reply_json(req, 200, embeddings(result, name, base64), err);
    json_decref(result);
    json_decref(params);
    json_decref(body);
    return rc;
}
