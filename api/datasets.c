/* /datasets. The daemon stores and hashes; the helper reads and judges. */
#include "api/handlers.h"
#include "server/library/corrections.h"
#include "server/process/rundir.h"
#include "server/library/upload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREVIEW_SECONDS 120

int hn_columns_parse(const char *text, json_t **ret, struct hn_error *err) {
    *ret = NULL;
    if (!text || !*text)
        return 0;
    struct hn_error inner = {0};
    json_t *value = NULL;
    if (hn_json_parse(text, strlen(text), &value, &inner) || !json_is_object(value)) {
        json_decref(value);
        hn_fail(
            err, HN_E_INVALID_FIELD, "columns must be a JSON object of our names and the file's");
        hn_error_field(err, "columns");
        hn_error_hint(err, "for example {\"prompt\":\"question\",\"completion\":\"answer\"}");
        return HN_E_INVALID_FIELD;
    }
    *ret = value;
    return 0;
}

struct hn_library hn_request_library(const struct hn_request *req) {
    struct hn_library library = req->server->library;
    library.asker = &req->asker;
    return library;
}

/* A field of the form, or the query parameter of that name. */
static const char *field(const struct hn_request *req, const char *name) {
    for (const struct hn_part *part = req->parts; part; part = part->next)
        if (!part->filename && strcmp(part->name, name) == 0)
            return part->data.data ? part->data.data : "";
    return hn_request_query(req, name);
}

/* What an uploaded part is to become. */
static int read_source(struct hn_request *req, const struct hn_part *part, const json_t *columns,
    struct hn_dataset_source *ret, struct hn_error *err) {
    const char *name = field(req, "name"), *format = field(req, "format");
    struct hn_upload upload = {.path = part->path,
        .sha256 = part->sha256,
        .filename = part->filename,
        .bytes = part->bytes};
    int rc = hn_upload_source(&upload, field(req, "on_error"), ret, err);
    if (rc)
        return rc;
    ret->name = name && *name ? name : ret->name;
    ret->format = format && *format ? format : NULL;
    ret->columns = columns;
    ret->owner = req->key.id;
    return 0;
}

/* Takes it in, or says only what it is. */
static int take(
    struct hn_request *req, const struct hn_dataset_source *source, struct hn_error *err) {
    struct hn_library library = hn_request_library(req);
    json_t *record = NULL;
    bool existing = false, dry_run = false;
    int rc = hn_query_flag(req, "dry_run", &dry_run, err);
    if (!rc && dry_run) {
        rc = hn_dataset_look(&library, source, &record, err);
        return rc ? rc : hn_reply_json(req, 200, record, err);
    }
    if (!rc)
        rc = hn_dataset_import(&library, source, &record, &existing, &req->details, err);
    if (!rc)
        hn_request_object(req, json_string_value(json_object_get(record, "id")));
    if (!rc)
        rc = hn_reply_json(req, existing ? 200 : 201, hn_record_public(record), err);
    json_decref(record);
    return rc;
}

static int file_part(struct hn_request *req, struct hn_part **ret, struct hn_error *err) {
    static const char *const names[] = {"file", "name", "format", "columns", "on_error"};
    *ret = NULL;
    for (struct hn_part *part = req->parts; part; part = part->next) {
        bool known = false;
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            known = known || strcmp(part->name, names[i]) == 0;
        if (!known || (part->filename && (strcmp(part->name, "file") != 0 || *ret))) {
            hn_fail(err, HN_E_UNKNOWN_FIELD, "the form part \"%.64s\" is not expected", part->name);
            hn_error_field(err, "%.64s", part->name);
            hn_error_hint(err, "one file as part \"file\", and name, format, columns, on_error");
            return HN_E_UNKNOWN_FIELD;
        }
        if (part->filename)
            *ret = part;
    }
    if (*ret)
        return 0;
    hn_fail(err, HN_E_MISSING_FIELD, "the form has no file");
    hn_error_field(err, "file");
    hn_error_hint(err, "curl -F file=@train.jsonl");
    return HN_E_MISSING_FIELD;
}

int hn_datasets_create(struct hn_request *req, struct hn_error *err) {
    struct hn_part *part;
    json_t *columns = NULL;
    struct hn_dataset_source source;
    int rc = file_part(req, &part, err);
    if (rc)
        return rc;
    const char *name = field(req, "name");
    if (name && strlen(name) > 200)
        return hn_fail(err, HN_E_INVALID_FIELD, "name has more than 200 characters");
    rc = hn_columns_parse(field(req, "columns"), &columns, err);
    if (!rc)
        rc = read_source(req, part, columns, &source, err);
    if (!rc)
        rc = take(req, &source, err);
    json_decref(columns);
    return rc;
}

/* Without the changes of corrected copies, which can be long. */
static json_t *all_public(const json_t *list) {
    json_t *out = json_array(), *record;
    size_t i;
    json_array_foreach(list, i, record) {
        json_object_del(json_object_get(record, "corrected_from"), "changes");
        json_array_append_new(out, hn_record_public(record));
    }
    return out;
}

int hn_datasets_list(struct hn_request *req, struct hn_error *err) {
    int64_t limit;
    const char *after, *next = NULL;
    json_t *list = NULL;
    bool more;
    int rc = hn_query_page(req, 20, 1000, &limit, &after, err);
    struct hn_db *db = rc ? NULL : hn_request_db(req, err);
    if (!db)
        return rc ? rc : HN_E_INTERNAL;
    struct hn_reach reach = hn_access_reach(req);
    rc = hn_db_dataset_list(db, &reach, after, limit, &list, &more, err);
    if (rc)
        return rc;
    if (more)
        next = json_string_value(
            json_object_get(json_array_get(list, json_array_size(list) - 1), "id"));
    rc = hn_reply_list(req, all_public(list), next, err);
    json_decref(list);
    return rc;
}

int hn_datasets_get(struct hn_request *req, struct hn_error *err) {
    json_t *record = NULL;
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_dataset_get(db, req->params[0], &record, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_reply_json(req, 200, hn_record_public(record), err);
    json_decref(record);
    return rc;
}

int hn_datasets_delete(struct hn_request *req, struct hn_error *err) {
    int rc = hn_dataset_remove(&req->server->library, req->params[0], err);
    if (!rc)
        hn_reply_empty(req, 204);
    return rc;
}

/* "12,20-30" as a list. */
static json_t *split_lines(const char *text) {
    json_t *list = json_array();
    for (size_t n; list && *text; text += n + (text[n] == ',')) {
        n = strcspn(text, ",");
        if (json_array_append_new(list, json_stringn(text, n))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* What the helper answers soon. Takes `params`. */
static int ask(
    struct hn_request *req, const char *op, json_t *params, json_t **ret, struct hn_error *err) {
    const struct hn_question question = {.op = op,
        .params = params,
        .asker = &req->asker,
        .brief = true,
        .timeout_seconds = PREVIEW_SECONDS};
    int rc = hn_helper_call(req->server->data_helper, &question, ret, &req->details, err);
    json_decref(params);
    return rc;
}

int hn_datasets_rows(struct hn_request *req, struct hn_error *err) {
    const char *text = hn_request_query(req, "lines");
    json_t *record = NULL, *result = NULL, *lines = NULL;
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_dataset_get(db, req->params[0], &record, err) : HN_E_INTERNAL;
    if (!rc && (!text || !*text || !(lines = split_lines(text)))) {
        rc = hn_fail(err, HN_E_MISSING_FIELD, "say which lines are wanted");
        hn_error_field(err, "lines");
        hn_error_hint(err, "for example ?lines=12,20-30");
    }
    if (!rc) {
        json_t *params = json_pack("{s:o,s:O}", "data",
            hn_dataset_params(req->server->config->state, record), "lines", lines);
        rc = ask(req, "dataset.rows", params, &result, err);
    }
    if (!rc)
        rc = hn_reply_json(req, 200, result, err);
    json_decref(record);
    json_decref(lines);
    return rc;
}

static int read_corrections(
    struct hn_request *req, json_t **ret_body, const char **ret_name, struct hn_error *err) {
    static const char *const fields[] = {"exclude", "labels", "new_labels", "name", NULL};
    int rc = hn_body_object(req, ret_body, err);
    if (!rc)
        rc = hn_json_known(*ret_body, fields, "", err);
    if (!rc)
        rc = hn_json_string(*ret_body, "name", ret_name, err);
    if (!rc && *ret_name && strlen(*ret_name) > 200) {
        hn_fail(err, HN_E_INVALID_FIELD, "name has more than 200 characters");
        hn_error_field(err, "name");
        rc = HN_E_INVALID_FIELD;
    }
    return rc;
}

int hn_datasets_correct(struct hn_request *req, struct hn_error *err) {
    json_t *record = NULL, *made = NULL, *body = NULL;
    bool existing = false;
    struct hn_corrections corrections = {.owner = req->key.id};
    struct hn_library library = hn_request_library(req);
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_dataset_get(db, req->params[0], &record, err) : HN_E_INTERNAL;
    if (!rc)
        rc = read_corrections(req, &body, &corrections.name, err);
    corrections.record = record;
    corrections.request = body;
    hn_request_db_release(req); /* it may take long */
    if (!rc)
        rc = hn_dataset_correct(&library, &corrections, &made, &existing, &req->details, err);
    if (!rc)
        hn_request_object(req, json_string_value(json_object_get(made, "id")));
    if (!rc)
        rc = hn_reply_json(req, existing ? 200 : 201, hn_record_public(made), err);
    json_decref(record);
    json_decref(made);
    json_decref(body);
    return rc;
}

int hn_datasets_preview(struct hn_request *req, struct hn_error *err) {
    json_t *record = NULL, *model = NULL, *result = NULL;
    const char *name = hn_request_query(req, "model"),
               *template = hn_request_query(req, "template");
    int64_t row = 1;
    char path[HN_PATH_SIZE];
    if (!name) {
        hn_fail(err, HN_E_MISSING_FIELD, "a preview needs ?model=");
        hn_error_field(err, "model");
        hn_error_hint(err, "tokens are those of a base model; GET /models lists them");
        return HN_E_MISSING_FIELD;
    }
    if (template && strcmp(template, "model") != 0 && strcmp(template, "applied") != 0) {
        hn_fail(err, HN_E_INVALID_FIELD, "template is \"model\" or \"applied\"");
        hn_error_field(err, "template");
        return HN_E_INVALID_FIELD;
    }
    int rc = hn_query_int(req, "row", 1, INT64_MAX, &row, err);
    const char *state = req->server->config->state;
    struct hn_db *db = rc ? NULL : hn_request_db(req, err);
    if (!rc)
        rc = db ? hn_db_dataset_get(db, req->params[0], &record, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_db_model_get(db, name, &model, err);
    if (!rc)
        rc = hn_model_check(req->server->seen, state, model, err);
    if (!rc && !hn_model_path(path, state, model))
        rc = hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!rc) {
        json_t *params = json_pack("{s:{s:s},s:o,s:I,s:n,s:{},s:s?}", "model", "path", path, "data",
            hn_dataset_params(state, record), "row", (json_int_t)row, "task", "hyperparameters",
            "template", template);
        rc = ask(req, "dataset.preview", params, &result, err);
    }
    if (!rc)
        rc = hn_reply_json(req, 200, result, err);
    json_decref(record);
    json_decref(model);
    return rc;
}
