/*
 * /jobs/{id}/verify: whether a result can be had again. A verification is a job like others, of the same run part and hence the
 * same bytes, at the lowest priority; it can be watched, paused and cancelled, and survives whatever jobs survive. The answer is
 * made when it is asked for, from three hashes a file: as told by the first run, as on the disk now, as told by the second run.
 */
#include "api/handlers.h"
#include "server/blob.h"
#include "server/rundir.h"
#include "server/store_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PRIORITY (-100)
#define FILES 100000

/* Both runs must see the same base; the data sets are told apart by their ids, which never change their bytes. */
static int check_base(struct hn_request *req, const struct hn_job *job, struct hn_error *err) {
    struct hn_db *db = hn_request_db(req, err);
    json_t *model = NULL, *run = NULL;
    int rc = db ? hn_db_model_get(db, job->model, &model, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_json_parse(job->run, strlen(job->run), &run, err);
    if (rc == HN_E_NOT_FOUND || (!rc && !json_equal(json_object_get(model, "sha256"),
            json_object_get(json_object_get(run, "model"), "sha256")))) {
        rc = hn_fail(err, HN_E_CONFLICT, "the base of job %s, model %s, was deleted or replaced since", job->id, job->model);
        hn_error_hint(err, "import the same model under the same name again");
    }
    json_decref(model);
    json_decref(run);
    return rc;
}

/* The parameters it began from lie in its own folder alone. */
static int place_init(const char *state, const char *from, const char *to, struct hn_error *err) {
    char source[HN_PATH_SIZE], folder[HN_PATH_SIZE], target[HN_PATH_SIZE];
    if (!hn_state_path(source, state, "runs", from, "inputs/init.safetensors") ||
        !hn_state_path(folder, state, "runs", to, "inputs") || !hn_state_path(target, folder, "init.safetensors", NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    if (access(source, F_OK))
        return 0;
    int rc = hn_dir_create(folder, err);
    return rc ? rc : hn_blob_place(source, target, HN_BLOB_SHARED, err);
}

/* The first job's record becomes the second's: what a run changes in it is not inserted. */
static int insert_again(struct hn_request *req, struct hn_job *job, char ret_id[HN_ID_SIZE], struct hn_error *err) {
    char now[HN_TIME_SIZE], dir[HN_PATH_SIZE];
    struct hn_job_insert insert = {.job = job};
    hn_id_make("job", ret_id);
    hn_time_now(now);
    free(job->verifies);
    job->verifies = job->id;
    job->id = strdup(ret_id);
    free(job->created_at);
    job->created_at = strdup(now);
    free(job->owner);
    job->owner = strdup(req->key.id);
    job->priority = PRIORITY;
    if (!job->id || !job->created_at || !job->owner)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = place_init(req->server->config->state, job->verifies, ret_id, err);
    if (!rc)
        rc = hn_store_call(req->server->store, hn_db_job_insert, &insert, err);
    if (rc && hn_state_path(dir, req->server->config->state, "runs", ret_id, NULL))
        hn_dir_remove(dir, NULL);
    return rc;
}

int hn_jobs_verify(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    char id[HN_ID_SIZE];
    int rc = hn_job_load(req, &job, err);
    if (!rc && atomic_load(&req->server->draining))
        rc = hn_fail(err, HN_E_BUSY, "the server is shutting down");
    if (!rc && strcmp(job.status, "succeeded") != 0) {
        rc = hn_fail(err, HN_E_CONFLICT, "job %s is %s; only a result can be verified", job.id, job.status);
        hn_error_hint(err, "wait until its \"artifacts_ready\" is true");
    }
    if (!rc && job.verifies) {
        rc = hn_fail(err, HN_E_CONFLICT, "job %s is itself a verification", job.id);
        hn_error_hint(err, "verify %s again", job.verifies);
    }
    if (!rc)
        rc = check_base(req, &job, err);
    if (!rc)
        rc = insert_again(req, &job, id, err);
    hn_job_finish(&job);
    if (rc)
        return rc;
    hn_workers_wake(req->server->workers);
    return hn_job_reply(req, 201, id, err);
}

/* As it lies on the disk; null when it is gone. */
static json_t *stored_hash(const char *root, const char *path) {
    char full[HN_PATH_SIZE], hash[HN_SHA256_HEX];
    struct stat st;
    bool there = hn_state_path(full, root, path, NULL, NULL) && lstat(full, &st) == 0 && S_ISREG(st.st_mode) &&
        !hn_sha256_file(full, hash, NULL, NULL);
    return there ? json_string(hash) : json_null();
}

/* {path: row} of a job's artifacts. */
static int by_path(struct hn_db *db, int64_t job, json_t **ret, struct hn_error *err) {
    json_t *list = NULL, *file;
    size_t i;
    int rc = hn_db_artifacts(db, job, NULL, FILES, &list, err);
    *ret = json_object();
    json_array_foreach(list, i, file)
        json_object_set(*ret, json_string_value(json_object_get(file, "path")), file);
    json_decref(list);
    return rc;
}

/* One row a file of either run: {"path","expected","stored","found","same"}. */
static json_t *compare(const json_t *first, const json_t *second, const json_t *stored, bool *ret_same) {
    json_t *files = json_array(), *all = json_copy((json_t *)(uintptr_t)first), *row;
    const char *path;
    json_object_update_missing(all, (json_t *)(uintptr_t)second);
    *ret_same = json_object_size(all) > 0;
    json_object_foreach(all, path, row) {
        const json_t *expected = json_object_get(json_object_get(first, path), "sha256");
        const json_t *found = json_object_get(json_object_get(second, path), "sha256"), *now = json_object_get(stored, path);
        bool same = expected && json_equal(expected, found) && json_equal(expected, now);
        *ret_same = *ret_same && same;
        json_array_append_new(files, json_pack("{s:s,s:O?,s:O?,s:O?,s:b}", "path", path, "expected", expected, "stored", now,
            "found", found, "same", same));
    }
    json_decref(all);
    return files;
}

struct answer {
    struct hn_db *db;
    const json_t *first, *stored;
    json_t *list;
    struct hn_error *err;
    int rc;
};

static void add_verification(void *ud, const struct hn_job *job) {
    struct answer *a = ud;
    json_t *second = NULL, *files = NULL;
    bool same = false, done = strcmp(job->status, "succeeded") == 0;
    if (done && !a->rc && !(a->rc = by_path(a->db, job->n, &second, a->err)))
        files = compare(a->first, second, a->stored, &same);
    json_array_append_new(a->list, json_pack("{s:s,s:s,s:o,s:o,s:o,s:s,s:s?}", "job", job->id, "status", job->status,
        "status_reason", job->reason_code ? json_pack("{s:s,s:s?}", "code", job->reason_code, "message", job->reason_message)
                                          : json_null(),
        "same", done ? json_boolean(same) : json_null(), "files", files ? files : json_array(), "created_at",
        job->created_at, "finished_at", job->finished_at));
    json_decref(second);
}

int hn_jobs_verifications(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    char root[HN_PATH_SIZE];
    const char *path;
    bool more;
    json_t *first = NULL, *stored = json_object(), *row;
    int rc = hn_job_load(req, &job, err);
    struct answer a = {.db = hn_request_db(req, err), .list = json_array(), .err = err};
    struct hn_job_filter filter = {.verifies = job.id, .limit = 100};
    if (!rc)
        rc = by_path(a.db, job.n, &first, err);
    if (!rc && !hn_state_path(root, req->server->config->state, "runs", job.id, "artifacts"))
        rc = hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!rc)
        json_object_foreach(first, path, row)
            json_object_set_new(stored, path, stored_hash(root, path));
    a.first = first;
    a.stored = stored;
    if (!rc)
        rc = hn_db_job_list(a.db, &filter, add_verification, &a, &more, err);
    if (!rc)
        rc = a.rc;
    json_decref(first);
    json_decref(stored);
    hn_job_finish(&job);
    if (!rc)
        return hn_reply_list(req, a.list, NULL, err);
    json_decref(a.list);
    return rc;
}
