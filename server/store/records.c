/* See records.h. */
#include "server/store/records.h"
#include "server/base/log.h"
#include "server/store/store_files.h"
#include "server/store/store_identity.h"
#include "server/store/store_restore.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_MAX ((size_t)64 << 20)

static bool path_of(char ret[HN_PATH_SIZE], const char *state, const char *kind, const char *name) {
    char file[320];
    int n = snprintf(file, sizeof file, "%s.json", name);
    return n > 0 && n < (int)sizeof file && hn_state_path(ret, state, "records", kind, file);
}

json_t *hn_job_to_record(const struct hn_job *job) {
    json_t *json = json_object();
#define TO_TEXT(x) ((x) ? json_string(x) : json_null())
#define TO_INT(x) ((x) == -1 ? json_null() : json_integer(x))
#define TO_REAL(x) (isnan(x) ? json_null() : json_real(x))
#define HN_JOB(TYPE, name) json_object_set_new(json, #name, TO_##TYPE(job->name));
#include "server/store/job.def"
#undef HN_JOB
    return json;
}

static char *text_of(const json_t *value) {
    return json_is_string(value) ? strdup(json_string_value(value)) : NULL;
}

int hn_job_from_record(const json_t *record, struct hn_job *ret, struct hn_error *err) {
    hn_job_init(ret);
#define FROM_TEXT(v) text_of(v)
#define FROM_INT(v) (json_is_integer(v) ? (int64_t)json_integer_value(v) : -1)
#define FROM_REAL(v) (json_is_number(v) ? json_number_value(v) : (double)NAN)
#define HN_JOB(TYPE, name) ret->name = FROM_##TYPE(json_object_get(record, #name));
#include "server/store/job.def"
#undef HN_JOB
    if (ret->id && ret->status && ret->model && ret->run && ret->host)
        return 0;
    hn_job_finish(ret);
    return hn_fail(err, HN_E_INVALID_FIELD, "the record of the job is not complete");
}

static int job_record(struct hn_db *db, const char *id, json_t **ret, struct hn_error *err) {
    struct hn_job job;
    hn_job_init(&job);
    int rc = hn_db_job_get(db, id, &job, err);
    if (!rc)
        *ret = hn_job_to_record(&job);
    hn_job_finish(&job);
    return rc;
}

static const struct {
    const char *kind;
    int (*get)(struct hn_db *db, const char *name, json_t **ret, struct hn_error *err);
} kinds[] = {{"datasets", hn_db_dataset_get}, {"models", hn_db_model_get}, {"runs", job_record}};
#define KINDS (sizeof kinds / sizeof kinds[0])

int hn_record_note(
    const char *state, struct hn_db *db, const char *kind, const char *name, struct hn_error *err) {
    char path[HN_PATH_SIZE], store[HN_ID_SIZE], dir[HN_PATH_SIZE];
    json_t *record = NULL;
    int64_t n = 0;
    int rc = path_of(path, state, kind, name) && hn_state_path(dir, state, "records", kind, NULL)
        ? hn_db_identity(db, store, err)
        : hn_fail(err, HN_E_INTERNAL, "path too long");
    for (size_t i = 0; !rc && i < KINDS; i++)
        if (strcmp(kinds[i].kind, kind) == 0)
            rc = kinds[i].get(db, name, &record, err);
    if (!rc)
        rc = hn_db_number_of(db, kind, name, &n, err);
    if (!rc)
        rc = hn_dir_create(dir, err);
    json_t *whole = rc ? NULL
                       : json_pack("{s:i,s:s,s:I,s:O}", "format", 1, "store", store, "n",
                             (json_int_t)n, "record", record);
    char *text = whole ? json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    if (!rc)
        rc = text ? hn_file_write_durable(path, text, strlen(text), err)
                  : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    json_decref(whole);
    json_decref(record);
    return rc;
}

void hn_record_update(
    const char *state, struct hn_store *store, const char *kind, const char *name) {
    struct hn_error err = {0};
    struct hn_db *db = hn_store_read(store, &err);
    int rc = db ? hn_record_note(state, db, kind, name, &err) : HN_E_INTERNAL;
    if (rc && rc != HN_E_NOT_FOUND)
        hn_log(HN_LOG_WARNING, "cannot write a record's file; the store has it", "kind", kind,
            "name", name, "error", err.message, NULL);
    hn_store_release(store, db);
}

void hn_record_forget(const char *state, const char *kind, const char *name) {
    char path[HN_PATH_SIZE];
    if (path_of(path, state, kind, name))
        unlink(path);
}

int hn_record_read(const char *state, const char *kind, const char *name, struct hn_record *ret,
    struct hn_error *err) {
    char path[HN_PATH_SIZE];
    json_t *json = NULL;
    if (!path_of(path, state, kind, name))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_json_load(path, RECORD_MAX, &json, err);
    const char *store = json_string_value(json_object_get(json, "store"));
    json_t *record = json_object_get(json, "record");
    if (!rc &&
        (!store || strlen(store) >= HN_ID_SIZE || !json_is_object(record) ||
            json_integer_value(json_object_get(json, "format")) != 1))
        rc = hn_fail(err, HN_E_INVALID_FIELD, "%s is no record of this version", path);
    if (!rc) {
        *ret = (struct hn_record){.n = (int64_t)json_integer_value(json_object_get(json, "n")),
            .record = json_incref(record)};
        snprintf(ret->store, sizeof ret->store, "%s", store);
    }
    json_decref(json);
    return rc;
}

int hn_record_names(const char *state, const char *kind, json_t **ret, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    if (!hn_state_path(path, state, "records", kind, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    DIR *dir = opendir(path);
    if (!dir && errno != ENOENT)
        return hn_fail_errno(err, errno, "cannot read %s", path);
    *ret = json_array();
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t n = strlen(entry->d_name);
        if (entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0)
            json_array_append_new(*ret, json_stringn(entry->d_name, n - 5));
    }
    if (dir)
        closedir(dir);
    return 0;
}

int hn_records_complete(const char *state, struct hn_db *db, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; !rc && i < KINDS; i++) {
        json_t *names = NULL, *name;
        size_t k;
        rc = hn_db_record_names(db, kinds[i].kind, &names, err);
        json_array_foreach(names, k, name) {
            char path[HN_PATH_SIZE], run[HN_PATH_SIZE];
            const char *text = json_string_value(name);
            bool folder =
                i < 2 || (hn_state_path(run, state, "runs", text, NULL) && access(run, F_OK) == 0);
            if (!rc && folder && path_of(path, state, kinds[i].kind, text) &&
                access(path, F_OK) != 0)
                rc = hn_record_note(state, db, kinds[i].kind, text, err);
        }
        json_decref(names);
    }
    return rc;
}
