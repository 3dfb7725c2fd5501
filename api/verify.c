/*
 * /jobs/{id}/verify: whether a result can be had again. A verification is a job like others, of the
 * same run part and hence the same bytes, at the lowest priority; it can be watched, paused and
 * cancelled, and survives whatever jobs survive. One that is to repeat the last steps alone is
 * given the first run's checkpoints up to there and goes on from them as any interrupted run does.
 * The answer is made when it is asked for, from three hashes a file: as told by the first run, as
 * on the disk now, as told by the second run; and from both runs' state after the last step, since
 * what is exported may be of an earlier one.
 */
#include "api/handlers.h"
#include "server/jobs/rundir.h"
#include "server/store/store_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PRIORITY (-100)
#define FILES 100000
#define STATE_FILE "state.safetensors"

/* Both runs must see the same base; the data sets are told apart by their ids, which never change
 * their bytes. */
static int check_base(struct hn_request *req, const struct hn_job *job, struct hn_error *err) {
    struct hn_db *db = hn_request_db(req, err);
    json_t *model = NULL, *run = NULL;
    int rc = db ? hn_db_model_get(db, job->model, &model, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_json_parse(job->run, strlen(job->run), &run, err);
    if (rc == HN_E_NOT_FOUND ||
        (!rc &&
            !json_equal(json_object_get(model, "sha256"),
                json_object_get(json_object_get(run, "model"), "sha256")))) {
        rc = hn_fail(err, HN_E_CONFLICT,
            "the base of job %s, model %s, was deleted or replaced since", job->id, job->model);
        hn_error_hint(err, "import the same model under the same name again");
    }
    json_decref(model);
    json_decref(run);
    return rc;
}

/* {"last_steps":N} of the body: the newest kept checkpoint of at least N steps before the end; no
 * body: step 0. */
static int choose_begin(
    struct hn_request *req, const struct hn_job *job, int64_t *ret_step, struct hn_error *err) {
    static const char *const known[] = {"last_steps", NULL};
    json_t *body = NULL, *kept = NULL, *checkpoint;
    int64_t last = 0;
    size_t i;
    *ret_step = 0;
    int rc = hn_body_object(req, &body, err);
    if (!rc)
        rc = hn_json_known(body, known, "", err);
    if (!rc)
        rc = hn_json_int(body, "last_steps", 1, INT64_MAX, &last, err);
    json_decref(body);
    if (!rc && last)
        rc = hn_job_checkpoints(req, job, &kept, err);
    json_array_foreach(kept, i, checkpoint) {
        int64_t step = json_integer_value(json_object_get(checkpoint, "step"));
        *ret_step = step <= job->step - last ? step : *ret_step;
    }
    json_decref(kept);
    if (!rc && last && !*ret_step) {
        rc = hn_fail(err, HN_E_CONFLICT,
            "job %s keeps no checkpoint of %lld or more steps before its end, step %lld", job->id,
            (long long)last, (long long)job->step);
        hn_error_field(err, "last_steps");
        hn_error_hint(err,
            "GET /jobs/%s/checkpoints lists those that are kept; without last_steps all steps are "
            "run again",
            job->id);
    }
    return rc;
}

/* The parameters it began from lie in its own folder alone. */
static int place_init(const char *state, const char *from, const char *to, struct hn_error *err) {
    static const char name[] = "inputs/init.safetensors";
    char run_dir[HN_PATH_SIZE], target[HN_PATH_SIZE];
    if (!hn_state_path(run_dir, state, "runs", from, NULL) ||
        !hn_state_path(target, state, "runs", to, name))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_rundir_keep(run_dir, name, target, HN_BLOB_SHARED, err);
    return rc == HN_E_NOT_FOUND ? 0 : rc;
}

/* Those up to the step: it goes on from the last of them, and an earlier one may be the best of the
 * run. */
static int place_checkpoints(struct hn_request *req, const struct hn_job *from, const char *to,
    int64_t last, struct hn_error *err) {
    static const char *const files[] = {STATE_FILE, "state.json"};
    const char *state = req->server->config->state;
    json_t *kept = NULL, *checkpoint;
    size_t i;
    int rc = last ? hn_job_checkpoints(req, from, &kept, err) : 0;
    json_array_foreach(kept, i, checkpoint) {
        char run_dir[HN_PATH_SIZE], target[HN_PATH_SIZE], name[HN_CHECKPOINT_SIZE];
        int64_t step = json_integer_value(json_object_get(checkpoint, "step"));
        for (size_t k = 0; !rc && step <= last && k < sizeof files / sizeof files[0]; k++) {
            hn_rundir_checkpoint(name, step, files[k]);
            /* Not linked: the second trainer may write in its checkpoints. */
            rc = hn_state_path(run_dir, state, "runs", from->id, NULL) &&
                    hn_state_path(target, state, "runs", to, name)
                ? hn_rundir_keep(run_dir, name, target, HN_BLOB_OWN, err)
                : hn_fail(err, HN_E_INTERNAL, "path too long");
        }
    }
    json_decref(kept);
    return rc;
}

/* host changes no result; there it is remembered where the run began. */
static int note_begin(struct hn_job *job, int64_t step, struct hn_error *err) {
    json_t *host = NULL;
    int rc = hn_json_parse(job->host, strlen(job->host), &host, err);
    if (rc)
        return rc;
    json_object_set_new(host, "from_step", json_integer(step));
    free(job->host);
    job->host = json_dumps(host, JSON_COMPACT);
    json_decref(host);
    return job->host ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static int64_t begin_of(const struct hn_job *job) {
    json_t *host = NULL;
    int64_t step = 0;
    if (!hn_json_parse(job->host, strlen(job->host), &host, NULL))
        hn_json_int(host, "from_step", 0, INT64_MAX, &step, NULL);
    json_decref(host);
    return step;
}

/* The first job's record becomes the second's: what a run changes in it is not inserted. */
static int insert_again(struct hn_request *req, struct hn_job *job, int64_t step,
    char ret_id[HN_ID_SIZE], struct hn_error *err) {
    char now[HN_TIME_SIZE];
    const char *state = req->server->config->state;
    struct hn_job_insert insert = {.job = job, .reach = hn_access_reach(req)};
    hn_id_make("job", ret_id);
    hn_time_now(now);
    int rc = place_init(state, job->id, ret_id, err);
    if (!rc)
        rc = place_checkpoints(req, job, ret_id, step, err);
    if (!rc)
        rc = note_begin(job, step, err);
    free(job->verifies);
    job->verifies = job->id;
    job->id = strdup(ret_id);
    free(job->created_at);
    job->created_at = strdup(now);
    free(job->owner);
    job->owner = strdup(req->key.id);
    job->priority = PRIORITY;
    if (!rc && (!job->id || !job->created_at || !job->owner))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = hn_store_call(req->server->store, hn_db_job_insert, &insert, err);
    if (rc)
        hn_library_take_back(&req->server->library, "runs", ret_id);
    return rc;
}

int hn_jobs_verify(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    char id[HN_ID_SIZE];
    int64_t step = 0;
    int rc = hn_job_load(req, &job, err);
    if (!rc && atomic_load(&req->server->draining))
        rc = hn_fail(err, HN_E_BUSY, "the server is shutting down");
    if (!rc && strcmp(job.status, "succeeded") != 0) {
        rc = hn_fail(
            err, HN_E_CONFLICT, "job %s is %s; only a result can be verified", job.id, job.status);
        hn_error_hint(err, "wait until its \"artifacts_ready\" is true");
    }
    if (!rc && job.verifies) {
        rc = hn_fail(err, HN_E_CONFLICT, "job %s is itself a verification", job.id);
        hn_error_hint(err, "verify %s again", job.verifies);
    }
    if (!rc)
        rc = check_base(req, &job, err);
    if (!rc)
        rc = choose_begin(req, &job, &step, err);
    if (!rc)
        rc = insert_again(req, &job, step, id, err);
    hn_job_finish(&job);
    if (rc)
        return rc;
    hn_workers_wake(req->server->workers);
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
        json_pack("{s:s,s:I,s:s,s:o,s:o,s:o,s:s,s:s?}", "job", job->id, "from_step",
            (json_int_t)begin_of(job), "status", job->status, "status_reason",
            job->reason_code
                ? json_pack("{s:s,s:s?}", "code", job->reason_code, "message", job->reason_message)
                : json_null(),
            "same", done ? json_boolean(same && same_end) : json_null(), "files",
            files ? files : json_array(), "created_at", job->created_at, "finished_at",
            job->finished_at));
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
