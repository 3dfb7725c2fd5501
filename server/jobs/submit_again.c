/*
 * Verification: a job like others, of the same run part and hence the same bytes, at the lowest
 * priority. One that is to repeat the last steps alone is given the first run's checkpoints up to
 * there and goes on from them as any interrupted run does.
 */
#include "server/jobs/submit.h"
#include "server/process/rundir.h"
#include "server/store/store_files.h"
#include "server/store/store_restore.h"
#include "server/server.h"

#include <stdlib.h>
#include <string.h>

#define PRIORITY (-100)

/* Both runs must see the same base, whatever it is called by now: *job takes the name that this
 * content has. The data sets are told apart by their ids, which never change their bytes. */
static int find_base(struct hn_db *db, struct hn_job *job, struct hn_error *err) {
    json_t *name = NULL, *run = NULL, *model = NULL;
    int rc = hn_json_parse(job->run, strlen(job->run), &run, err);
    const json_t *sha256 = json_object_get(json_object_get(run, "model"), "sha256");
    if (!rc && hn_db_model_get(db, job->model, &model, NULL) == 0 &&
        json_equal(json_object_get(model, "sha256"), sha256))
        name = json_string(job->model);
    else if (!rc && json_is_string(sha256))
        rc = hn_db_name_of_hash(db, "models", json_string_value(sha256), &name, err);
    char *found = json_is_string(name) ? strdup(json_string_value(name)) : NULL;
    if (found) {
        free(job->model);
        job->model = found;
    } else if (!rc) {
        rc = hn_fail(err, HN_E_CONFLICT,
            "the base of job %s, model %s, was deleted or replaced since", job->id, job->model);
        hn_error_hint(err, "import the same model again, under any name");
    }
    json_decref(name);
    json_decref(run);
    json_decref(model);
    return rc;
}

/* The newest kept checkpoint of at least `last` steps before the end; with 0 the beginning. */
static int choose_begin(const char *state, struct hn_db *db, const struct hn_job *job, int64_t last,
    int64_t *ret_step, struct hn_error *err) {
    json_t *kept = NULL, *checkpoint;
    size_t i;
    *ret_step = 0;
    int rc = last ? hn_rundir_checkpoints(state, db, job, &kept, err) : 0;
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
static int place_checkpoints(const char *state, struct hn_db *db, const struct hn_job *from,
    const char *to, int64_t last, struct hn_error *err) {
    static const char *const files[] = {"state.safetensors", "state.json"};
    json_t *kept = NULL, *checkpoint;
    size_t i;
    int rc = last ? hn_rundir_checkpoints(state, db, from, &kept, err) : 0;
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

int64_t hn_submit_began(const struct hn_job *job) {
    json_t *host = NULL;
    int64_t step = 0;
    if (!hn_json_parse(job->host, strlen(job->host), &host, NULL))
        hn_json_int(host, "from_step", 0, INT64_MAX, &step, NULL);
    json_decref(host);
    return step;
}

/* The first job's record becomes the second's: what a run changes in it is not inserted. */
static int rewrite(
    struct hn_job *job, const struct hn_submitter *who, const char *id, struct hn_error *err) {
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    free(job->verifies);
    job->verifies = job->id;
    job->id = strdup(id);
    free(job->created_at);
    job->created_at = strdup(now);
    free(job->owner);
    job->owner = strdup(who->owner);
    job->priority = PRIORITY;
    free(job->sweep);
    job->sweep = NULL;
    job->stop_at = -1;
    return job->id && job->created_at && job->owner ? 0
                                                    : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static int insert(struct hn_server *server, const struct hn_submitter *who, struct hn_db *db,
    struct hn_job *job, int64_t step, char ret_id[HN_ID_SIZE], struct hn_error *err) {
    const char *state = server->config->state;
    struct hn_job_insert insert = {.job = job, .reach = who->reach};
    hn_id_make("job", ret_id);
    int rc = place_init(state, job->id, ret_id, err);
    if (!rc)
        rc = place_checkpoints(state, db, job, ret_id, step, err);
    if (!rc)
        rc = note_begin(job, step, err);
    if (!rc)
        rc = rewrite(job, who, ret_id, err);
    if (!rc)
        rc = hn_store_call(server->store, hn_db_job_insert, &insert, err);
    if (rc)
        hn_library_take_back(&server->library, "runs", ret_id);
    return rc;
}

/* Only a result can be had again, and not that of a verification. */
static int check_job(const struct hn_job *job, struct hn_error *err) {
    if (strcmp(job->status, "succeeded") != 0) {
        hn_fail(err, HN_E_CONFLICT, "job %s is %s; only a result can be verified", job->id,
            job->status);
        hn_error_hint(err, "wait until its \"artifacts_ready\" is true");
        return HN_E_CONFLICT;
    }
    if (job->verifies) {
        hn_fail(err, HN_E_CONFLICT, "job %s is itself a verification", job->id);
        hn_error_hint(err, "verify %s again", job->verifies);
        return HN_E_CONFLICT;
    }
    return 0;
}

int hn_submit_again(struct hn_server *server, const struct hn_submitter *who, struct hn_job *job,
    int64_t last_steps, char ret_id[HN_ID_SIZE], struct hn_error *err) {
    int64_t step = 0;
    if (atomic_load(&server->draining))
        return hn_fail(err, HN_E_BUSY, "the server is shutting down");
    int rc = check_job(job, err);
    if (rc)
        return rc;
    struct hn_db *db = hn_store_read(server->store, err);
    if (!db)
        return HN_E_INTERNAL;
    rc = find_base(db, job, err);
    if (!rc)
        rc = choose_begin(server->config->state, db, job, last_steps, &step, err);
    if (!rc)
        rc = insert(server, who, db, job, step, ret_id, err);
    hn_store_release(server->store, db);
    return rc;
}
