/* /models: base models, from allowed folders of the server or as an upload. */
#include "api/handlers.h"
#include "server/library/available.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check_name(const char *name, struct hn_error *err) {
    if (name && hn_name_valid(name))
        return 0;
    int rc = name ? hn_fail(err, HN_E_INVALID_FIELD, "\"%.80s\" cannot be a model's name", name)
                  : hn_fail(err, HN_E_MISSING_FIELD, "the model needs a name");
    hn_error_field(err, "name");
    hn_error_hint(err,
        "1 to 64 of a-z, 0-9, dot, underscore and dash, not starting with a dot, and "
        "not \"available\"");
    return rc;
}

/* The same answer for what is missing and what is not allowed: strangers cannot explore the disk
 * with it. */
static int resolve(
    const struct hn_request *req, const char *path, char **ret, struct hn_error *err) {
    const char *dirs = req->server->config->model_dirs;
    char *real = path[0] == '/' ? realpath(path, NULL) : NULL;
    if (real && hn_model_allowed(dirs, real)) {
        *ret = real;
        return 0;
    }
    free(real);
    hn_fail(err, HN_E_FORBIDDEN, "there is no model at %.300s in the allowed folders", path);
    hn_error_field(err, "path");
    hn_error_hint(err,
        *dirs ? "allowed are the folders of the setting model_dirs: %s"
              : "the setting model_dirs names none%s; `honed model import` takes any path",
        dirs);
    return HN_E_FORBIDDEN;
}

static int import_path(struct hn_request *req, json_t **ret, struct hn_error *err) {
    static const char *const known[] = {"name", "path", "source", NULL};
    json_t *body = NULL;
    const char *name = NULL, *path = NULL, *source = NULL;
    char *real = NULL;
    int rc = hn_body_object(req, &body, err);
    if (!rc)
        rc = hn_json_known(body, known, "", err);
    if (!rc)
        rc = hn_json_string(body, "name", &name, err);
    if (!rc)
        rc = hn_json_string(body, "path", &path, err);
    if (!rc)
        rc = hn_json_string(body, "source", &source, err);
    if (!rc)
        rc = check_name(name, err);
    if (!rc && !path) {
        rc = hn_fail(err, HN_E_MISSING_FIELD, "path is missing");
        hn_error_field(err, "path");
        hn_error_hint(err,
            "the path of a GGUF file or model folder on the server; or upload with -F "
            "file=@model.gguf");
    }
    if (!rc)
        rc = resolve(req, path, &real, err);
    struct hn_library library = hn_request_library(req);
    if (!rc)
        rc = hn_model_import(&library, name, real, req->server->config->model_dirs,
            source ? source : real, ret, &req->details, err);
    free(real);
    json_decref(body);
    return rc;
}

/* The last part of a file name; names with other characters than a model's files have are
 * refused. */
static const char *base_name(const char *filename) {
    const char *slash = strrchr(filename, '/');
    const char *base = slash ? slash + 1 : filename;
    return *base && *base != '.' && strlen(base) <= 255 && strcspn(base, "\\:") == strlen(base)
        ? base
        : NULL;
}

/* Several files of a form become a folder, as they were one. */
static int gather(struct hn_request *req, char folder[HN_PATH_SIZE], struct hn_error *err) {
    char id[HN_ID_SIZE];
    hn_id_make("dir", id);
    if (!hn_state_path(folder, req->server->config->state, "tmp", id, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_dir_create(folder, err);
    for (struct hn_part *part = req->parts; part && !rc; part = part->next) {
        char to[HN_PATH_SIZE];
        const char *base = part->filename ? base_name(part->filename) : NULL;
        if (!part->filename)
            continue;
        if (!base || !hn_state_path(to, folder, base, NULL, NULL))
            rc = hn_fail(err, HN_E_INVALID_FIELD, "\"%.100s\" cannot be a model file's name",
                part->filename);
        else if (link(part->path, to))
            rc = errno == EEXIST
                ? hn_fail(err, HN_E_INVALID_FIELD, "the file %s was sent twice", base)
                : hn_fail_errno(err, errno, "cannot store %s", base);
    }
    return rc;
}

static int import_upload(struct hn_request *req, json_t **ret, struct hn_error *err) {
    const char *name = hn_request_query(req, "name"), *path = NULL, *first = "";
    size_t files = 0;
    for (struct hn_part *part = req->parts; part; part = part->next) {
        if (part->filename) {
            files++;
            path = part->path;
            first = part->filename;
        } else if (strcmp(part->name, "name") == 0) {
            name = part->data.data;
        }
    }
    int rc = check_name(name, err);
    if (rc)
        return rc;
    if (!files) {
        hn_fail(err, HN_E_MISSING_FIELD, "the form has no file");
        hn_error_field(err, "file");
        return HN_E_MISSING_FIELD;
    }
    char folder[HN_PATH_SIZE] = "";
    if (files > 1)
        rc = gather(req, folder, err);
    struct hn_library library = hn_request_library(req);
    if (!rc)
        rc = hn_model_import(&library, name, folder[0] ? folder : path, NULL,
            *first && files == 1 ? first : NULL, ret, &req->details, err);
    if (folder[0])
        hn_dir_remove(folder, NULL);
    return rc;
}

int hn_models_create(struct hn_request *req, struct hn_error *err) {
    json_t *record = NULL;
    int rc = req->parts ? import_upload(req, &record, err) : import_path(req, &record, err);
    if (!rc)
        hn_request_object(req, json_string_value(json_object_get(record, "name")));
    if (!rc)
        rc = hn_reply_json(req, 201, hn_record_public(record), err);
    json_decref(record);
    return rc;
}

int hn_models_list(struct hn_request *req, struct hn_error *err) {
    int64_t limit;
    const char *after, *next = NULL;
    json_t *list = NULL, *out = json_array(), *record;
    bool more = false;
    size_t i;
    int rc = hn_query_page(req, 100, 1000, &limit, &after, err);
    struct hn_db *db = rc ? NULL : hn_request_db(req, err);
    if (!rc)
        rc = db ? hn_db_model_list(db, after, limit, &list, &more, err) : HN_E_INTERNAL;
    json_array_foreach(list, i, record)
        json_array_append_new(out, hn_record_public(record));
    if (more)
        next = json_string_value(
            json_object_get(json_array_get(list, json_array_size(list) - 1), "name"));
    if (rc)
        json_decref(out);
    else
        rc = hn_reply_list(req, out, next, err);
    json_decref(list);
    return rc;
}

int hn_models_found(struct hn_request *req, struct hn_error *err) {
    json_t *list = NULL;
    int rc = hn_models_available(req->server->config->model_dirs, &list, err);
    return rc ? rc : hn_reply_list(req, list, NULL, err);
}

int hn_models_get(struct hn_request *req, struct hn_error *err) {
    json_t *record = NULL;
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_model_get(db, req->params[0], &record, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_reply_json(req, 200, hn_record_public(record), err);
    json_decref(record);
    return rc;
}

int hn_models_delete(struct hn_request *req, struct hn_error *err) {
    int rc = hn_model_remove(&req->server->library, req->params[0], err);
    if (!rc)
        hn_reply_empty(req, 204);
    return rc;
}
