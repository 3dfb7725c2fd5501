/*
 * /v1/files: data sets under OpenAI's names, and the metrics of jobs as result files.
 *
 * `file-X` is the data set `ds_X`, `file-metrics-X` the result file of the job `job_X`.
 */
#include "api/handlers.h"
#include "api/openai.h"
#include "server/base/id.h"
#include "server/library/upload.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA "file-"
#define METRICS "file-metrics-"
#define LIST_MOST 10000

static int no_file(const char *id, struct hn_error *err) {
    hn_fail(err, HN_E_NOT_FOUND, "No such File object: %.100s", id);
    hn_error_field(err, "id");
    return HN_E_NOT_FOUND;
}

bool hn_openai_file_dataset(const char *id, char ret[HN_ID_SIZE]) {
    if (strncmp(id, DATA, strlen(DATA)) != 0 || strlen(id) > 30)
        return false;
    snprintf(ret, HN_ID_SIZE, "ds_%.16s", id + strlen(DATA));
    return hn_id_valid("ds", ret) && strlen(id) == strlen(DATA) + 16;
}

void hn_openai_file_name(const char *dataset, char ret[HN_OPENAI_ID]) {
    snprintf(ret, HN_OPENAI_ID, DATA "%.16s", strlen(dataset) > 3 ? dataset + 3 : "");
}

void hn_openai_result_file(const char *job, char ret[HN_OPENAI_ID]) {
    snprintf(ret, HN_OPENAI_ID, METRICS "%.16s", strlen(job) > 4 ? job + 4 : "");
}

/* The job whose metrics the file is; false where it is none of these. */
static bool metrics_job(const char *id, char ret[HN_ID_SIZE]) {
    if (strncmp(id, METRICS, strlen(METRICS)) != 0 || strlen(id) != strlen(METRICS) + 16)
        return false;
    snprintf(ret, HN_ID_SIZE, "job_%.16s", id + strlen(METRICS));
    return hn_id_valid("job", ret);
}

static json_t *file_json(
    const char *id, json_int_t bytes, int64_t created, const char *name, const char *purpose) {
    return HN_JSON_OBJECT({"id", json_string(id)}, {"object", json_string("file")},
        {"bytes", json_integer(bytes)}, {"created_at", json_integer((json_int_t)created)},
        {"expires_at", json_null()}, {"filename", json_string(name)},
        {"purpose", json_string(purpose)}, {"status", json_string("processed")},
        {"status_details", json_null()});
}

static json_t *data_json(const json_t *record) {
    char id[HN_OPENAI_ID];
    hn_openai_file_name(json_string_value(json_object_get(record, "id")), id);
    return file_json(id, json_integer_value(json_object_get(record, "bytes")),
        hn_openai_time(json_string_value(json_object_get(record, "created_at"))),
        json_string_value(json_object_get(record, "name")), "fine-tune");
}

/* --- upload --------------------------------------------------------------------------------- */

static int bad_part(struct hn_error *err, int code, const char *name, const char *why) {
    hn_fail(err, code, "%s", why);
    hn_error_field(err, "%.64s", name);
    return code;
}

/* The file, wherever it stands in the form, and its purpose. */
static int read_form(struct hn_request *req, struct hn_part **ret, struct hn_error *err) {
    const char *purpose = NULL;
    *ret = NULL;
    for (struct hn_part *part = req->parts; part; part = part->next) {
        if (part->filename && strcmp(part->name, "file") == 0 && !*ret)
            *ret = part;
        else if (!part->filename && strcmp(part->name, "purpose") == 0)
            purpose = part->data.data ? part->data.data : "";
        else if (strncmp(part->name, "expires_after", 13) == 0)
            return bad_part(err, HN_E_UNSUPPORTED, "expires_after",
                "files do not expire by themselves here: delete them, or let the server's setting "
                "retain_days do so");
        else
            return bad_part(
                err, HN_E_UNKNOWN_FIELD, part->name, "the form has \"file\" and \"purpose\"");
    }
    if (!*ret)
        return bad_part(err, HN_E_MISSING_FIELD, "file", "the form has no file");
    if (!purpose)
        return bad_part(err, HN_E_MISSING_FIELD, "purpose", "the form has no purpose");
    if (strcmp(purpose, "fine-tune") != 0)
        return bad_part(err, HN_E_INVALID_FIELD, "purpose",
            "files are for training here: the purpose must be \"fine-tune\"");
    return 0;
}

int hn_openai_files_create(struct hn_request *req, struct hn_error *err) {
    struct hn_part *part;
    struct hn_dataset_source source;
    struct hn_library library = hn_request_library(req);
    json_t *record = NULL;
    bool existing;
    int rc = read_form(req, &part, err);
    if (rc)
        return rc;
    struct hn_upload upload = {.path = part->path,
        .sha256 = part->sha256,
        .filename = part->filename,
        .bytes = part->bytes};
    rc = hn_upload_source(&upload, NULL, &source, err);
    source.owner = req->key.id;
    if (!rc)
        rc = hn_dataset_import(&library, &source, &record, &existing, &req->details, err);
    if (!rc) {
        hn_request_object(req, json_string_value(json_object_get(record, "id")));
        rc = hn_reply_json(req, 200, data_json(record), err);
    }
    json_decref(record);
    return rc;
}

/* --- list, one, content --------------------------------------------------------------------- */

static int list_data(struct hn_request *req, json_t **ret, struct hn_error *err) {
    struct hn_reach reach = hn_access_reach(req);
    struct hn_db *db = hn_request_db(req, err);
    bool more;
    return db ? hn_db_dataset_list(db, &reach, NULL, LIST_MOST, ret, &more, err) : HN_E_INTERNAL;
}

int hn_openai_files_list(struct hn_request *req, struct hn_error *err) {
    static const char *const orders[] = {"asc", "desc", NULL};
    const char *order = "desc", *after = NULL, *purpose = hn_request_query(req, "purpose");
    int64_t limit = LIST_MOST;
    json_t *records = NULL, *list = json_array();
    int rc = hn_query_page(req, LIST_MOST, LIST_MOST, &limit, &after, err);
    if (!rc)
        rc = hn_query_word(req, "order", orders, &order, err);
    if (!rc && (!purpose || strcmp(purpose, "fine-tune") == 0))
        rc = list_data(req, &records, err);
    size_t n = json_array_size(records);
    bool begun = !after, more = false;
    for (size_t i = 0; !rc && i < n; i++) {
        json_t *file = data_json(json_array_get(records, order[0] == 'a' ? n - 1 - i : i));
        bool full = json_array_size(list) >= (size_t)limit;
        more = more || (begun && full);
        if (begun && !full)
            json_array_append(list, file);
        begun = begun || strcmp(json_string_value(json_object_get(file, "id")), after) == 0;
        json_decref(file);
    }
    json_decref(records);
    if (rc) {
        json_decref(list);
        return rc;
    }
    return hn_openai_reply_list(req, list, more, err);
}

/* The job of a result file, within reach and ended well; finish it always. */
static int load_metrics(struct hn_request *req, const char *id, const char *job_id,
    struct hn_job *job, struct hn_error *err) {
    struct hn_reach reach = hn_access_reach(req);
    struct hn_db *db = hn_request_db(req, err);
    hn_job_init(job);
    if (!db)
        return HN_E_INTERNAL;
    if ((!reach.all && hn_db_job_reached(db, &reach, job_id, err)) ||
        hn_db_job_get(db, job_id, job, err) || strcmp(job->status, "succeeded") != 0)
        return no_file(id, err);
    return 0;
}

static int load_data(struct hn_request *req, const char *id, json_t **ret, struct hn_error *err) {
    char dataset[HN_ID_SIZE];
    if (!hn_openai_file_dataset(id, dataset) || hn_access_dataset(req, dataset, ret, err))
        return no_file(id, err);
    return 0;
}

int hn_openai_files_get(struct hn_request *req, struct hn_error *err) {
    const char *id = req->params[0];
    char job_id[HN_ID_SIZE];
    json_t *record = NULL;
    if (metrics_job(id, job_id)) {
        struct hn_job job;
        int rc = load_metrics(req, id, job_id, &job, err);
        struct hn_buf text = {0};
        if (!rc)
            rc = hn_openai_metrics(req, &job, &text, err);
        if (!rc)
            rc = hn_reply_json(req, 200,
                file_json(id, (json_int_t)text.size, hn_openai_time(job.finished_at),
                    "step_metrics.csv", "fine-tune-results"),
                err);
        hn_buf_free(&text);
        hn_job_finish(&job);
        return rc;
    }
    int rc = load_data(req, id, &record, err);
    if (!rc)
        rc = hn_reply_json(req, 200, data_json(record), err);
    json_decref(record);
    return rc;
}

static int reply_data(struct hn_request *req, const json_t *record, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    struct stat st;
    if (!hn_state_path(path, req->server->config->state, "datasets",
            json_string_value(json_object_get(record, "sha256")), "data"))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        if (fd >= 0)
            close(fd);
        return hn_fail(err, HN_E_INTERNAL, "the file cannot be read");
    }
    hn_reply_file(req, 200, "application/octet-stream", fd, 0, (uint64_t)st.st_size);
    return 0;
}

int hn_openai_files_content(struct hn_request *req, struct hn_error *err) {
    const char *id = req->params[0];
    char job_id[HN_ID_SIZE];
    json_t *record = NULL;
    int rc;
    if (metrics_job(id, job_id)) {
        struct hn_job job;
        struct hn_buf text = {0};
        rc = load_metrics(req, id, job_id, &job, err);
        if (!rc)
            rc = hn_openai_metrics(req, &job, &text, err);
        hn_job_finish(&job);
        if (rc)
            hn_buf_free(&text);
        else
            hn_reply_bytes(req, 200, "text/csv; charset=utf-8", text.data, text.size);
        return rc;
    }
    rc = load_data(req, id, &record, err);
    if (!rc)
        rc = reply_data(req, record, err);
    json_decref(record);
    return rc;
}

int hn_openai_files_delete(struct hn_request *req, struct hn_error *err) {
    const char *id = req->params[0];
    char dataset[HN_ID_SIZE];
    json_t *record = NULL;
    int rc = load_data(req, id, &record, err);
    json_decref(record);
    if (!rc && hn_openai_file_dataset(id, dataset))
        rc = hn_dataset_remove(&req->server->library, dataset, err);
    if (rc)
        return rc;
    return hn_reply_json(
        req, 200, json_pack("{s:s, s:s, s:b}", "id", id, "object", "file", "deleted", 1), err);
}
