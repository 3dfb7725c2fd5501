/*
 * /jobs/{id}/verify: whether a result can be had again. A verification is a job like others
 * (submit.h); it can be watched, paused and cancelled, and survives whatever jobs survive. The
 * answer is made when it is asked for, from three hashes a file: as told by the first run, as
 * on the disk now, as told by the second run; and from both runs' state after the last step, since
 * what is exported may be of an earlier one.
 */
#include "api/handlers.h"
#include "server/process/rundir.h"
#include "server/store/store_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 100000
#define STATE_FILE "state.safetensors"

/* {"last_steps":N}, or no body. */
static int read_body(struct hn_request *req, int64_t *ret_last, struct hn_error *err) {
    static const char *const known[] = {"last_steps", NULL};
    json_t *body = NULL;
    int rc = hn_body_object(req, &body, err);
    if (!rc)
        rc = hn_json_known(body, known, "", err);
    if (!rc)
        rc = hn_json_int(body, "last_steps", 1, INT64_MAX, ret_last, err);
    json_decref(body);
    return rc;
}

int hn_jobs_verify(struct hn_request *req, struct hn_error *err) {
    struct hn_submitter who = hn_access_submitter(req);
    struct hn_job job;
    char id[HN_ID_SIZE];
    int64_t last = 0;
    int rc = hn_job_load(req, &job, err);
    if (!rc)
        rc = read_body(req, &last, err);
    if (!rc)
        rc = hn_submit_again(req->server, &who, &job, last, id, err);
    hn_job_finish(&job);
    if (rc)
        return rc;
    hn_request_object(req, id);
    return hn_job_reply(req, 201, id, err);
}

/* As it lies on the disk; null when it is gone. */
static json_t *stored_hash(const char *state, const char *job, const char *name) {
    char hash[HN_SHA256_HEX], run_dir[HN_PATH_SIZE], open_file[HN_FD_PATH_SIZE];
    int fd;
    if (!hn_state_path(run_dir, state, "runs", job, NULL) ||
        hn_rundir_open(run_dir, name, O_RDONLY, &fd, NULL))
        return json_null();
    bool there = !hn_sha256_file(hn_fd_path(open_file, fd), hash, NULL, NULL);
    close(fd);
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

struct answer {
    struct hn_db *db;
    const char *state;
    const struct hn_job *job;
    /* by path: rows of its artifacts, hashes of its files as they are now */
    json_t *first, *stored;
    json_t *list;
    struct hn_error *err;
    int rc;
};

static json_t *file_row(const char *path, const json_t *expected, const json_t *stored,
    const json_t *found, bool same) {
    return json_pack("{s:s,s:O?,s:O?,s:O?,s:b}", "path", path, "expected", expected, "stored",
        stored, "found", found, "same", same);
}

/* One row a file of either run: {"path","expected","stored","found","same"}. */
static json_t *compare_artifacts(const struct answer *a, const json_t *second, bool *ret_same) {
    json_t *files = json_array(), *all = json_copy(a->first), *row;
    const char *path;
    json_object_update_missing(all, (json_t *)(uintptr_t)second);
    *ret_same = json_object_size(all) > 0;
    json_object_foreach(all, path, row) {
        const json_t *expected = json_object_get(json_object_get(a->first, path), "sha256");
        const json_t *found = json_object_get(json_object_get(second, path), "sha256"),
                     *stored = json_object_get(a->stored, path);
        bool same = expected && json_equal(expected, found) && json_equal(expected, stored);
        *ret_same = *ret_same && same;
        json_array_append_new(files, file_row(path, expected, stored, found, same));
    }
    json_decref(all);
    return files;
}

/* Weights and moments after the last step; no hash of them was told, so the files speak for
 * themselves. */
static json_t *compare_ends(const struct answer *a, const struct hn_job *second, bool *ret_same) {
    char name[HN_CHECKPOINT_SIZE];
    hn_rundir_checkpoint(name, a->job->step, STATE_FILE);
    json_t *stored = stored_hash(a->state, a->job->id, name),
           *found = stored_hash(a->state, second->id, name);
    *ret_same = json_is_string(stored) && json_equal(stored, found);
    json_t *row = file_row(name, NULL, stored, found, *ret_same);
    json_decref(stored);
    json_decref(found);
    return row;
}

static void add_verification(void *ud, const struct hn_job *job) {
    struct answer *a = ud;
    json_t *second = NULL, *files = NULL;
    bool same = false, same_end = false, done = strcmp(job->status, "succeeded") == 0;
    if (done && !a->rc && !(a->rc = by_path(a->db, job->n, &second, a->err))) {
        files = compare_artifacts(a, second, &same);
        json_array_append_new(files, compare_ends(a, job, &same_end));
    }
    json_array_append_new(a->list,
        HN_JSON_OBJECT({"job", json_string(job->id)},
            {"from_step", json_integer(hn_submit_began(job))}, {"status", json_string(job->status)},
            {"status_reason",
                job->reason_code ? json_pack("{s:s,s:s?}", "code", job->reason_code, "message",
                                       job->reason_message)
                                 : json_null()},
            {"same", done ? json_boolean(same && same_end) : json_null()},
            {"files", files ? files : json_array()}, {"created_at", json_string(job->created_at)},
            {"finished_at", hn_json_string_or_null(job->finished_at)}));
    json_decref(second);
}

/* What is told of the first run's artifacts, and what they are now. */
static int look_at_first(struct answer *a) {
    char full[HN_PATH_SIZE];
    const char *path;
    json_t *row;
    int rc = by_path(a->db, a->job->n, &a->first, a->err);
    if (!rc)
        json_object_foreach(a->first, path, row)
            json_object_set_new(a->stored, path,
                hn_state_path(full, "artifacts", path, NULL, NULL)
                    ? stored_hash(a->state, a->job->id, full)
                    : json_null());
    return rc;
}

int hn_jobs_verifications(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    bool more;
    int rc = hn_job_load(req, &job, err);
    struct answer a = {.db = hn_request_db(req, err),
        .state = req->server->config->state,
        .job = &job,
        .stored = json_object(),
        .list = json_array(),
        .err = err};
    struct hn_job_filter filter = {.reach = hn_access_reach(req), .verifies = job.id, .limit = 100};
    if (!rc)
        rc = look_at_first(&a);
    if (!rc)
        rc = hn_db_job_list(a.db, &filter, add_verification, &a, &more, err);
    if (!rc)
        rc = a.rc;
    json_decref(a.first);
    json_decref(a.stored);
    hn_job_finish(&job);
    if (!rc)
        return hn_reply_list(req, a.list, NULL, err);
    json_decref(a.list);
    return rc;
}
